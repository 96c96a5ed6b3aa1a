"""Streams: steps, shapes, state, life."""

from __future__ import annotations

import ctypes
import gc

import numpy as np
import pytest
from conftest import assert_same_bits, layer, samples, tensor

import cadenza
from cadenza import _bindings


@pytest.fixture
def stream(rain) -> cadenza.Stream:
    return rain.stream()


# ── Shapes ──────────────────────────────────────────────────────────────────────────────────────────────


def test_step_with_and_without_batch_axis(rain):
    x = samples(3)
    answer = rain.stream().step(x)
    assert answer.shape == (1,)
    assert answer.dtype == np.float32
    with_batch = rain.stream().step(x[np.newaxis])
    assert with_batch.shape == (1, 1)
    assert_same_bits(with_batch[0], answer)


def test_step_takes_any_numbers(rain):
    x = np.array([1, -2, 3])
    expected = rain.stream().step(x.astype(np.float32))
    for same in (x, x.astype(np.float64), x.tolist(), tuple(x), {rain.inputs[0].name: x}, np.repeat(x, 2)[::2]):
        assert_same_bits(rain.stream().step(same), expected)


def test_step_of_a_batch(rain):
    stream = rain.stream(batch=4)
    assert stream.batch == 4
    x = samples(4, 3)
    answers = stream.step(x)
    assert answers.shape == (4, 1)
    for row in range(4):
        assert_same_bits(rain.stream().step(x[row]), answers[row])


@pytest.mark.parametrize("shape", [(), (1,), (2,), (4,), (3, 1), (2, 3), (1, 1, 3)])
@pytest.mark.parametrize("verb", ["step", "peek"])
def test_a_sample_of_another_shape(stream, verb, shape):
    with pytest.raises(cadenza.InvalidArgumentError) as caught:
        getattr(stream, verb)(np.zeros(shape))
    assert "(3,) or (1, 3)" in str(caught.value)
    assert str(shape) in str(caught.value)
    assert stream.position == [0]


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 3), (4,)])
def test_a_batch_of_another_shape(rain, shape):
    with pytest.raises(ValueError, match=r"expected shape \(4, 3\); received"):
        rain.stream(4).step(np.zeros(shape))


def test_what_is_no_number(stream):
    for value in ("warm", ["warm"] * 3, [None, "x", 1], object(), [[1], [2, 3]]):
        with pytest.raises((ValueError, TypeError)):
            stream.step(value)
    assert stream.position == [0]


def test_run_with_and_without_batch_axis(rain):
    x = samples(9, 3)
    answers = rain.stream().run(x)
    assert answers.shape == (9, 1)
    assert_same_bits(rain.stream().run(x[np.newaxis])[0], answers)
    assert rain.stream(2).run(np.stack([x, x])).shape == (2, 9, 1)
    assert rain.stream().run(x[:0]).shape == (0, 1)


@pytest.mark.parametrize("shape", [(3,), (5, 4), (2, 5, 3), (), (1, 1, 5, 3)])
def test_a_chunk_of_another_shape(stream, shape):
    with pytest.raises(cadenza.InvalidArgumentError) as caught:
        stream.run(np.zeros(shape))
    assert "(steps, 3) or (1, steps, 3)" in str(caught.value)
    assert str(shape) in str(caught.value)
    assert stream.position == [0]


@pytest.mark.parametrize("batch", [-1, 0, 2**64])
def test_batch_sizes_that_are_none(rain, batch):
    with pytest.raises(cadenza.InvalidArgumentError):
        rain.stream(batch)


# ── Answers ─────────────────────────────────────────────────────────────────────────────────────────────


def test_each_step_answers_for_the_prefix(rain, stream):
    x = samples(12, 3)
    for steps in range(1, 13):
        assert_same_bits(stream.step(x[steps - 1]), rain.predict(x[np.newaxis, :steps])[0])


def test_answers_are_new_arrays(stream):
    first = stream.step(samples(3, seed=1))
    kept = first.copy()
    stream.step(samples(3, seed=2))
    assert_same_bits(first, kept)


def test_out_receives_the_answer_and_is_returned(rain, stream):
    x = samples(3)
    expected = stream.peek(x)
    for verb in (stream.peek, stream.step):
        out = np.zeros(1, np.float32)
        assert verb(x, out=out) is out
        assert_same_bits(out, expected)
    strided = np.zeros((2, 2), np.float32)
    rain.stream(2).step(samples(2, 3), out=strided[:, :1])
    assert_same_bits(np.ascontiguousarray(strided[:, :1]), rain.stream(2).step(samples(2, 3)))
    assert not strided[:, 1:].any()


def test_the_same_out_again_and_again(rain):
    """The library then writes into it itself."""
    stream, other = rain.stream(), rain.stream()
    x, flat, deep = samples(12, 3), np.zeros(1, np.float32), np.zeros((1, 1), np.float32)
    for step in range(12):
        out, sample = (deep, x[step : step + 1]) if step % 6 > 3 else (flat, x[step])
        assert stream.step(sample, out=out) is out
        assert_same_bits(out.reshape(1), other.step(x[step]))
        assert stream.position == step + 1
    for wrong in (flat, np.zeros(1)):
        with pytest.raises(cadenza.InvalidArgumentError, match="expected out"):
            stream.step(x[:1], out=wrong)
    for change, back in (
        (lambda: flat.setflags(write=False), lambda: flat.setflags(write=True)),
        (lambda: setattr(flat, "dtype", np.int32), lambda: setattr(flat, "dtype", np.float32)),
        (lambda: setattr(flat, "shape", (1, 1)), lambda: setattr(flat, "shape", (1,))),
    ):
        kept = flat.tobytes()
        change()
        with pytest.raises(cadenza.InvalidArgumentError, match="expected out"):
            stream.step(x[0], out=flat)
        assert flat.tobytes() == kept and stream.position == other.position
        back()
    for refcheck in (True, False):
        with pytest.raises(ValueError, match="cannot resize"):
            flat.resize(1 << 20, refcheck=refcheck)
    assert_same_bits(stream.step(x[0]), other.step(x[0]))  # an array of its own
    aside = np.zeros(2, np.float32)[::2]
    for _ in range(4):
        assert_same_bits(stream.step(x[0], out=aside).copy(), other.step(x[0]))
    stream.close()
    with pytest.raises(cadenza.CadenzaError, match="closed"):
        stream.step(x[0], out=flat)


def test_out_of_another_shape_or_type(stream):
    for out, message in (
        (np.zeros(2, np.float32), r"out of shape \(1,\), received \(2,\)"),
        (np.zeros((1, 1), np.float32), r"out of shape \(1,\), received \(1, 1\)"),
        (np.zeros(1), "out of type float32, received float64"),
    ):
        for verb in (stream.step, stream.peek):
            with pytest.raises(cadenza.InvalidArgumentError, match=message):
                verb(samples(3), out=out)
    assert stream.position == [0]


def test_the_sample_may_be_the_last_answer():
    model = cadenza.build(None, 4, [("GRU", {"units": 4})])
    stream, other = model.stream(), model.stream()
    value, expected = samples(4), samples(4)
    for _ in range(5):
        stream.step(value, out=value)
        expected = other.step(expected)
        assert_same_bits(value, expected)


def test_run_gives_the_states_of_every_step(rain, stream):
    x = samples(6, 3)
    answers, states = rain.stream().run(x, states=True)
    assert list(states) == list(stream.state)
    for step in range(6):
        assert_same_bits(stream.step(x[step]), answers[step])
        for key, history in states.items():
            assert history.shape == (6, stream.state[key].shape[1])
            assert_same_bits(history[step], stream.state[key][0])
    _, batched = rain.stream(2).run(samples(2, 6, 3), states=True)
    assert [history.shape for history in batched.values()] == [(2, 6, 32), (2, 6, 32), (2, 6, 16), (2, 6, 16)]


def test_several_inputs_and_outputs(branching):
    wind, tide = samples(6, 3, seed=1), samples(6, 2, seed=2)
    stream, by_name = branching.stream(), branching.stream()
    whole = branching.stream().run([wind, tide])
    outs = [np.zeros(5, np.float32), np.zeros(4, np.float32)]
    for step in range(6):
        peeked = stream.peek([wind[step], tide[step]])
        answers = stream.step([wind[step], tide[step]])
        assert by_name.step({"tide": tide[step], "wind": wind[step]}, out=outs) is outs
        for answer, peek, out, run in zip(answers, peeked, outs, whole, strict=True):
            assert_same_bits(answer, peek)
            assert_same_bits(answer, out)
            assert_same_bits(answer, run[step])
    expected = branching.predict([wind[np.newaxis], tide[np.newaxis]])
    for answer, whole_answer in zip(answers, expected):
        assert_same_bits(answer, whole_answer[0])


def test_several_inputs_that_do_not_fit(branching):
    stream = branching.stream()
    for sample in (
        [samples(3)],
        samples(3),
        {"wind": samples(3)},
        [samples(3), samples(3)],
        [samples(1, 3), samples(2)],
    ):
        with pytest.raises(cadenza.InvalidArgumentError, match="expected"):
            stream.step(sample)
    with pytest.raises(cadenza.InvalidArgumentError, match="expected"):
        stream.run([samples(5, 3), samples(4, 2)])
    with pytest.raises(cadenza.InvalidArgumentError, match="2 out arrays"):
        stream.step([samples(3), samples(2)], out=[np.zeros(5, np.float32)])
    assert stream.position == [0]


# ── State ───────────────────────────────────────────────────────────────────────────────────────────────


def test_state_is_read_and_written_by_name(stream):
    stream.run(samples(5, 3))
    h = stream.state["lstm/h"]
    assert h.shape == (1, 32)
    stream.state["lstm/h"] = h[0] * 2
    assert_same_bits(stream.state["lstm/h"], h * 2)
    h[...] = 0
    assert stream.state["lstm/h"].any()


def test_set_state_goes_on_in_another_stream(rain, stream):
    stream.run(samples(5, 3))
    other = rain.stream()
    other.set_state(stream.get_state())
    x = samples(3, seed=8)
    assert_same_bits(other.step(x), stream.step(x))


def test_states_of_other_names_and_shapes_are_refused_and_nothing_is_set(stream):
    stream.run(samples(5, 3))
    before = stream.get_state()
    for state, error, message in (
        (
            {"lstm/h": np.zeros(32), "lstm/c": np.zeros(31)},
            ValueError,
            r"'lstm/c' of shape \(1, 32\), received \(31,\)",
        ),
        ({"lstm/h": np.zeros(32), "lstm/d": np.zeros(32)}, KeyError, "lstm/d"),
    ):
        with pytest.raises(error, match=message):
            stream.set_state(state)
    for key, value in stream.state.items():
        assert_same_bits(value, before[key])


def test_a_shared_layer_has_a_state_for_each_use():
    gru = layer("GRU", "gru", [tensor("left", None, 3)], units=4)
    gru["inbound_nodes"] += layer("GRU", "gru", [tensor("right", None, 3)])["inbound_nodes"]
    second_use = tensor("gru", 4)
    second_use["config"]["keras_history"] = ["gru", 1, 0]
    config = {
        "name": "twins",
        "layers": [
            layer("InputLayer", "left", [], batch_shape=[None, None, 3]),
            layer("InputLayer", "right", [], batch_shape=[None, None, 3]),
            gru,
            layer("Concatenate", "both", [[tensor("gru", 4), second_use]], axis=-1),
        ],
        "input_layers": [["left", 0, 0], ["right", 0, 0]],
        "output_layers": [["both", 0, 0]],
    }
    stream = cadenza.from_json({"module": "keras", "class_name": "Functional", "config": config}).stream()
    answer = stream.step([samples(3, seed=1), samples(3, seed=2)])
    assert list(stream.state) == ["gru/h", "gru@2/h"]
    assert_same_bits(np.concatenate(list(stream.state.values()), axis=1)[0], answer)


def test_reset_of_all_and_of_one_row(rain):
    x = samples(3, 5, 3)
    stream = rain.stream(3)
    first = stream.run(x)
    stream.reset()
    assert stream.position.tolist() == [0, 0, 0]
    assert_same_bits(stream.run(x), first)
    stream.reset(row=1)
    assert stream.position.tolist() == [5, 0, 5]
    assert_same_bits(stream.run(x)[1], first[1])
    for row in (3, -1):
        with pytest.raises(cadenza.InvalidArgumentError):
            stream.reset(row)


def test_health(rain):
    stream = rain.stream(2)
    assert stream.health.tolist() == [0, 0]
    stream.step([[0, 0, 0], [0, np.nan, 0]])
    healthy, ill = stream.health
    assert healthy == 0
    assert ill > 0
    stream.reset(row=1)
    assert stream.health.tolist() == [0, 0]


def test_snapshot_to_a_file(rain, stream, tmp_path):
    stream.run(samples(5, 3))
    path = tmp_path / "rain.state"
    stream.save(path)
    assert path.read_bytes() == stream.snapshot()
    other = rain.stream()
    other.load(path)
    assert other.position == [5]
    x = samples(3, seed=8)
    assert_same_bits(other.step(x), stream.step(x))
    with pytest.raises(FileNotFoundError):
        other.load(tmp_path / "nothing")
    with pytest.raises(OSError):
        stream.save(tmp_path / "no" / "folder")


def test_a_snapshot_fits_its_model_and_batch_only(rain, branching, stream):
    stream.run(samples(5, 3))
    for other in (rain.stream(2), branching.stream()):
        with pytest.raises(cadenza.MismatchError):
            other.restore(stream.snapshot())
        assert not other.position.any()
    stream.restore(memoryview(bytearray(stream.snapshot())))


def test_a_damaged_snapshot_changes_nothing(rain, stream):
    stream.run(samples(5, 3))
    good = stream.snapshot()
    other = rain.stream()
    for place in range(0, len(good), 7):
        damaged = bytearray(good)
        damaged[place] ^= 0x10
        with pytest.raises((cadenza.InvalidFileError, cadenza.MismatchError)):
            other.restore(damaged)
    for size in range(0, len(good), 5):
        with pytest.raises(cadenza.InvalidFileError):
            other.restore(good[:size])
    assert other.position == [0]
    assert not any(value.any() for value in other.get_state().values())


# ── Life ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_closed_stream_says_so(rain):
    with rain.stream() as stream:
        stream.step(samples(3))
    stream.close()
    uses = (
        lambda: stream.step(samples(3)),
        lambda: stream.step([1, 2, 3]),
        lambda: stream.peek(samples(3)),
        lambda: stream.run(samples(2, 3)),
        lambda: stream.state["lstm/h"],
        stream.get_state,
        lambda: stream.set_state({"lstm/h": np.zeros(32)}),
        stream.snapshot,
        lambda: stream.restore(b""),
        stream.reset,
        stream.fork,
        lambda: stream.position,
        lambda: stream.health,
        lambda: stream.handle,
    )
    for use in uses:
        with pytest.raises(cadenza.InvalidArgumentError, match="closed"):
            use()
    assert "closed" in repr(stream)


def test_a_stream_keeps_its_model(rain):
    stream = cadenza.load(rain.to_bytes()).stream()
    gc.collect()
    assert_same_bits(stream.step(samples(3)), rain.stream().step(samples(3)))
    assert rain.stream().model is rain


def test_repr(rain):
    stream = rain.stream(2)
    stream.run(samples(2, 5, 3))
    assert repr(stream) == "<cadenza.Stream of 2 rows at step [5, 5] of <cadenza.Model (batch, 7, 3) → (batch, 1)>>"


def stream_made_in_c(model: cadenza.Model) -> ctypes.c_void_p:
    """A stream as C code makes one: a bare address that nobody releases but its maker."""
    address = ctypes.c_void_p()
    place = ctypes.cast(ctypes.byref(address), ctypes.POINTER(_bindings.StreamHandle))
    _bindings.stream_create(model._handle, 1, place)
    return address


def test_from_handle_shares_the_stream_and_outlives_its_maker(rain):
    address = stream_made_in_c(rain)
    stream = cadenza.Stream.from_handle(address.value)
    assert stream.handle == address.value
    assert stream.model.fingerprint == rain.fingerprint
    again = cadenza.Stream.from_handle(stream.handle)
    x = samples(4, 3)
    reference = rain.stream()
    assert_same_bits(stream.step(x[0]), reference.step(x[0]))
    assert_same_bits(again.step(x[1]), reference.step(x[1]))
    _bindings.stream_release(address.value)
    assert_same_bits(stream.step(x[2]), reference.step(x[2]))
    stream.close()
    assert_same_bits(again.step(x[3]), reference.step(x[3]))


def test_from_handle_that_python_gives_back_first(rain):
    address = stream_made_in_c(rain)
    cadenza.Stream.from_handle(address.value).close()
    again = cadenza.Stream.from_handle(address.value)
    assert again.step(samples(3)).shape == (1,)
    del again
    _bindings.stream_release(address.value)


@pytest.mark.parametrize("address", [0, -1, 2**64])
def test_an_address_that_is_none(address):
    with pytest.raises(cadenza.InvalidArgumentError):
        cadenza.Stream.from_handle(address)
