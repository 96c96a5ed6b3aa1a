"""One model in many threads: the same bits as in one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import assert_same_bits, randomized, samples

import cadenza

THREADS = 8


@pytest.fixture(scope="module", params=[8, 160], ids=["short steps", "long steps"])
def model(request) -> cadenza.Model:
    """One model below and one above the size from which on a step releases the interpreter lock."""
    layers = [("LSTM", {"units": request.param, "return_sequences": True}), ("GRU", {"units": 5})]
    return randomized(cadenza.build(None, 6, layers), seed=request.param)


def at_once(work) -> list:
    """The results of work(0), work(1), …, in threads that begin together."""
    barrier = threading.Barrier(THREADS)

    def begin(thread: int) -> object:
        barrier.wait()
        return work(thread)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


def test_streams_in_threads(model):
    x = samples(THREADS, 200, 6)

    def stepped(thread: int):
        stream = model.stream()
        return [stream.step(sample) for sample in x[thread]]

    for thread, answers in enumerate(at_once(stepped)):
        for answer, expected in zip(answers, stepped(thread), strict=True):
            assert_same_bits(answer, expected)


def test_chunks_in_threads(model):
    x = samples(THREADS, 3, 200, 6)
    for thread, answers in enumerate(at_once(lambda thread: model.stream(3).run(x[thread]))):
        assert_same_bits(answers, model.stream(3).run(x[thread]))


def test_predictions_in_threads(model):
    x = samples(THREADS, 3, 50, 6)
    for thread, answers in enumerate(at_once(lambda thread: model.predict(x[thread]))):
        assert_same_bits(answers, model.predict(x[thread]))


@pytest.mark.parametrize("threads", [2, 3, 40])
def test_the_rows_of_a_prediction_on_threads_have_the_same_bits(model, threads):
    x = samples(7, 5, *model.inputs[0].step_shape)
    assert_same_bits(model.predict(x, threads=threads), model.predict(x))


LSTM, GRU = ("LSTM", {"units": 19, "return_sequences": True}), ("GRU", {"units": 33, "return_sequences": True})
STACKS = {
    "two": [LSTM, GRU],
    "one and a dense layer": [LSTM, ("Dense", {"units": 4})],
    "many, uneven": [("LSTM", {"units": 90, "return_sequences": True}), GRU, ("SimpleRNN", {"units": 7, "return_sequences": True}), LSTM, GRU],
    "the last answers once": [LSTM, ("LeakyReLU", {}), GRU, ("LSTM", {"units": 5}), ("Dense", {"units": 3, "activation": "softmax"})],
    "one reads from the end": [LSTM, ("GRU", {"units": 8, "return_sequences": True, "go_backwards": True}), LSTM, GRU],
    "another length between": [LSTM, ("GRU", {"units": 6}), ("RepeatVector", {"n": 9}), LSTM, ("GRU", {"units": 6, "reset_after": False})],
    "masked": [("Masking", {"mask_value": 0.0}), LSTM, GRU, LSTM],
}


@pytest.mark.parametrize("rows", [1, 2, 4, 5])
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS.keys())
def test_few_rows_have_the_bits_of_streams_on_any_number_of_threads(stack, rows):
    model = randomized(cadenza.build(None, 6, stack), seed=rows)
    x = samples(rows, 131, 6)
    x[0, 40:60] = 0
    expected = model.predict(x)
    for threads in (2, 3, 4, 12):
        assert_same_bits(model.predict(x, threads=threads), expected)
    if model.streamable:
        stream = model.stream(rows)
        stepped = [stream.step(x[:, t]) for t in range(x.shape[1])]
        assert_same_bits(expected if expected.ndim == 2 else expected[:, -1], stepped[-1])


@pytest.mark.parametrize("threads", [0, -1, 1025])
def test_a_number_of_threads_that_cannot_be(model, threads):
    with pytest.raises(cadenza.InvalidArgumentError, match="threads"):
        model.predict(samples(1, 5, *model.inputs[0].step_shape), threads=threads)


def test_models_are_made_and_dropped_in_threads(model):
    data = model.to_bytes()
    x = samples(1, 20, 6)
    expected = model.predict(x)
    for answers in at_once(lambda _thread: [cadenza.load(data).predict(x) for _ in range(20)]):
        for answer in answers:
            assert_same_bits(answer, expected)


def test_messages_are_of_their_own_thread(model):
    def provoked(thread: int) -> bool:
        for _ in range(200):
            with pytest.raises(cadenza.UnsupportedError) as caught:
                cadenza.build(None, 2, [f"Unheard{thread}"])
            if f"Unheard{thread}" not in str(caught.value):
                return False
        return True

    assert all(at_once(provoked))


def test_a_stream_closed_while_it_runs_finishes_its_call(model):
    stream = model.stream()
    chunk = samples(20_000, 6)
    started = threading.Event()

    def run():
        started.set()
        return stream.run(chunk)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        started.wait()
        stream.close()
        try:
            assert running.result().shape == (20_000, 5)
        except cadenza.InvalidArgumentError as error:
            assert "closed" in str(error)  # closed before the call began
