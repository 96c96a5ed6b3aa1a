"""Pools: every stream of one has the bits that a stream of its own has."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import RAIN, RAIN_LAYERS, assert_same_bits, randomized, samples
from hypothesis import given, settings
from hypothesis import strategies as st

import cadenza


@pytest.fixture(scope="module")
def rain():
    return cadenza.load(RAIN / "rain.keras")


@settings(max_examples=40, deadline=None)
@given(data=st.data(), threads=st.integers(1, 3), count=st.integers(1, 40))
def test_any_order_gives_the_bits_of_streams_alone(rain, data, threads, count):
    with rain.pool(threads) as pool:
        ids = [pool.join() for _ in range(count)]
        streams = {number: rain.stream() for number in ids}
        for round in range(data.draw(st.integers(1, 6))):
            ready = data.draw(st.lists(st.sampled_from(ids), unique=True, min_size=1))
            x = samples(len(ready), 3, seed=round)
            answers = pool.step(ready, x)
            for row, number in enumerate(ready):
                assert_same_bits(answers[row], streams[number].step(x[row]))
        assert all(pool.position(number) == streams[number].position[0] for number in ids)


def test_streams_come_and_go(rain):
    pool = rain.pool(1)
    first, second = pool.join(), pool.join()
    assert first and second and first != second and len(pool) == 2
    x = samples(4, 3)
    pool.step([first], x[:1])
    copy = pool.fork(first)
    both = pool.step([copy, first], x[[1, 1]])
    for answer in both:
        assert_same_bits(answer, _after_two(rain, x[0], x[1]))
    pool.reset(first)
    assert pool.position(first) == 0 and pool.position(copy) == 2
    pool.leave(second)
    with pytest.raises(cadenza.NotFoundError, match=f"no stream {second}"):
        pool.step([second], x[:1])
    again = pool.join()
    assert again not in (first, second, copy)
    assert "3 streams" in repr(pool)


def _after_two(model, first, second):
    stream = model.stream()
    stream.step(first)
    return stream.step(second)


def test_snapshots_are_those_of_streams(rain):
    pool, stream = rain.pool(2), rain.stream()
    number = pool.join()
    x = samples(3, 3)
    pool.step([number], x[:1])
    stream.step(x[0])
    assert pool.snapshot(number) == stream.snapshot()
    stream.restore(pool.snapshot(number))
    answer = stream.step(x[1])
    pool.restore(number, stream.snapshot())
    pool.step([number], x[:1])
    pool.reset(number)
    pool.step([number], x[:1])
    assert_same_bits(pool.step([number], x[1:2])[0], answer)
    other = randomized(cadenza.build(None, 3, RAIN_LAYERS), 1).stream()
    with pytest.raises(cadenza.MismatchError):
        pool.restore(number, other.snapshot())


def test_wrong_calls_change_nothing(rain):
    pool = rain.pool(1)
    number = pool.join()
    x = samples(2, 3)
    for ids, given in [
        ([number, number], x),
        ([number], x),
        ([number], x[:1, :2]),
        ([[number]], x[:1]),
        ([0.5], x[:1]),
        ([-1], x[:1]),
    ]:
        with pytest.raises(cadenza.InvalidArgumentError):
            pool.step(ids, given)
    with pytest.raises(cadenza.NotFoundError):
        pool.step([0], x[:1])
    assert pool.position(number) == 0
    assert pool.step([], x[:0]).shape == (0, 1)
    with pytest.raises(cadenza.CannotStreamError):
        cadenza.build(None, 3, [("LSTM", {"units": 2, "go_backwards": True})]).pool()
    pool.close()
    with pytest.raises(cadenza.InvalidArgumentError, match="closed"):
        pool.join()


def test_a_large_pool_and_threads_give_the_same_bits(rain):
    x = samples(5000, 3)
    answers = []
    for threads in (1, 2):
        with rain.pool(threads) as pool:
            ids = [pool.join() for _ in range(len(x))]
            pool.step(ids, x)
            answers.append(pool.step(ids[::-1], x)[::-1])
    assert_same_bits(np.ascontiguousarray(answers[0]), np.ascontiguousarray(answers[1]))
    assert_same_bits(answers[0][-1], _after_two(rain, x[-1], x[0]))
