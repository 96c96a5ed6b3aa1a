"""Models: descriptions, weights, whole sequences, saving."""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import RAIN_LAYERS, assert_same_bits, randomized, samples

import cadenza


def test_inputs_and_outputs(rain):
    (window,) = rain.inputs
    assert window.shape == (7, 3)
    assert window.has_time
    assert window.step_shape == (3,)
    (answer,) = rain.outputs
    assert answer.shape == (1,)
    assert not answer.has_time
    assert answer.step_shape == (1,)


def test_layers(rain):
    assert [layer.class_name for layer in rain.layers if layer.class_name != "InputLayer"] == [
        name for name, _options in RAIN_LAYERS
    ]
    assert sum(layer.parameters for layer in rain.layers) == sum(weight.size for weight in rain.get_weights()) == 7761
    assert all(layer.streams and not layer.reason for layer in rain.layers)
    with pytest.raises(AttributeError):
        rain.layers[0].name = "other"


def test_streamability(rain, bidirectional):
    assert rain.streamable
    assert rain.reason == ""
    assert not bidirectional.streamable
    assert "bidirectional" in bidirectional.reason
    assert [layer.class_name for layer in bidirectional.layers if not layer.streams] == ["Bidirectional"]
    with pytest.raises(cadenza.CannotStreamError, match="bidirectional"):
        bidirectional.stream()
    assert bidirectional.predict(samples(2, 5, 3)).shape == (2, 2)


def test_states(rain):
    assert [state.units for state in rain.states] == [32, 32, 16, 16]
    assert [state.name for state in rain.states] == ["h", "c", "h", "c"]
    assert len({state.key for state in rain.states}) == 4


def test_summary(rain, capsys):
    assert rain.summary() is None
    printed = capsys.readouterr().out
    for layer in rain.layers:
        assert layer.name in printed
    assert "7,761" in printed
    lines = []
    rain.summary(print_fn=lines.append)
    assert capsys.readouterr().out == ""
    assert "\n".join(lines).strip() == printed.strip()


# ── Weights ─────────────────────────────────────────────────────────────────────────────────────────────


def test_weights_have_keras_order_and_shapes(rain):
    shapes = [(3, 128), (32, 128), (128,), (32, 64), (16, 64), (64,), (16, 1), (1,)]
    assert [weight.shape for weight in rain.get_weights()] == shapes
    assert [weight.shape for weight in rain.weights.values()] == shapes
    assert list(rain.weights)[:3] == ["lstm/kernel", "lstm/recurrent_kernel", "lstm/bias"]
    assert "lstm/bias" in rain.weights
    assert "lstm/lstm_cell/bias:0" in rain.weights
    assert "lstm/bassoon" not in rain.weights


def test_weights_are_read_and_written_by_name():
    model = cadenza.build(None, 3, [("SimpleRNN", {"units": 4})])
    before = model.fingerprint
    value = samples(3, 4, seed=9)
    model.weights["simple_rnn/kernel"] = value.astype(np.float64)
    assert_same_bits(model.weights["simple_rnn/kernel"], value)
    assert_same_bits(model.get_weights()[0], value)
    assert model.fingerprint != before


def test_a_weight_that_is_read_is_a_copy(rain):
    weight = rain.weights["lstm/kernel"]
    weight[...] = 0
    assert rain.weights["lstm/kernel"].any()


def test_set_weights_changes_streams_from_their_next_step():
    model = randomized(cadenza.build(None, 3, [("GRU", {"units": 4})]), seed=1)
    other = randomized(cadenza.build(None, 3, [("GRU", {"units": 4})]), seed=2)
    stream = model.stream()
    model.set_weights(other.get_weights())
    x = samples(3)
    assert_same_bits(stream.step(x), other.stream().step(x))
    assert model.fingerprint == other.fingerprint


def test_weights_of_other_shapes_are_refused_and_nothing_is_set():
    model = cadenza.build(None, 3, [("Dense", {"units": 4})])
    before = model.get_weights()
    with pytest.raises(ValueError, match="expected 2 weights, received 1"):
        model.set_weights(before[:1])
    with pytest.raises(ValueError, match=r"'dense/bias' of shape \(4,\), received \(5,\)"):
        model.set_weights([np.ones((3, 4)), np.ones(5)])
    with pytest.raises(ValueError, match=r"\(3, 4\), received \(4, 3\)"):
        model.weights["dense/kernel"] = np.ones((4, 3))
    with pytest.raises(KeyError, match="dense/colonel"):
        model.weights["dense/colonel"] = np.ones((3, 4))
    for was, is_now in zip(before, model.get_weights()):
        assert_same_bits(is_now, was)


def test_nonfinite_weights_are_told():
    model = cadenza.build(None, 3, [("Dense", {"units": 4})])
    assert model.nonfinite_weights == 0
    model.weights["dense/bias"] = [0, np.nan, np.inf, 1]
    assert model.nonfinite_weights == 2


# ── Whole sequences ─────────────────────────────────────────────────────────────────────────────────────


def test_predict_takes_any_numbers_in_any_order_of_memory(rain):
    x = np.random.default_rng(0).integers(-3, 4, size=(2, 7, 3))
    expected = rain.predict(x.astype(np.float32))
    assert expected.shape == (2, 1)
    strided = np.repeat(x, 2, axis=0)[::2]
    for same in (x, x.astype(np.float64), x.tolist(), np.asfortranarray(x), strided, [x], {rain.inputs[0].name: x}):
        assert_same_bits(rain.predict(same), expected)


def test_predict_takes_any_length(rain):
    assert rain.predict(samples(2, 30, 3)).shape == (2, 1)


@pytest.mark.parametrize("shape", [(7, 3), (2, 7, 4), (3,), (), (1, 2, 7, 3), (2, 3, 7)])
def test_predict_says_which_shape_it_expected(rain, shape):
    with pytest.raises(cadenza.InvalidArgumentError) as caught:
        rain.predict(np.zeros(shape))
    assert "(batch, time, 3)" in str(caught.value)
    assert str(shape) in str(caught.value)


def test_several_inputs_and_outputs(branching):
    wind, tide = samples(2, 5, 3, seed=1), samples(2, 4, 2, seed=2)
    gru, head = branching.predict([wind, tide])
    assert (gru.shape, head.shape) == ((2, 5), (2, 4))
    by_name = branching.predict({"tide": tide, "wind": wind})
    assert_same_bits(by_name[0], gru)
    assert_same_bits(by_name[1], head)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([samples(2, 5, 3)], "expected 2 inputs, wind, tide; received 1"),
        (samples(2, 5, 3), "received ndarray"),
        ({"wind": samples(2, 5, 3)}, "expected inputs wind, tide, received wind"),
        ([samples(2, 5, 3), samples(3, 5, 2)], r"received \[2, 3\]"),
        ([samples(2, 5, 3), samples(2, 5, 3)], r"'tide' of shape \(batch, time, 2\), received \(2, 5, 3\)"),
    ],
)
def test_several_inputs_that_do_not_fit(branching, x, message):
    with pytest.raises(cadenza.InvalidArgumentError, match=message):
        branching.predict(x)


# ── Saving and life ─────────────────────────────────────────────────────────────────────────────────────


def test_save_and_load(rain, tmp_path):
    path = tmp_path / "rain.safetensors"
    rain.save(path)
    loaded = cadenza.load(path)
    assert loaded.fingerprint == rain.fingerprint == cadenza.load(rain.to_bytes()).fingerprint
    assert path.read_bytes() == rain.to_bytes()
    x = samples(3, 7, 3)
    assert_same_bits(loaded.predict(x), rain.predict(x))


@pytest.mark.parametrize("name", ["rain.h5", "rain"])
def test_no_other_format_is_written(rain, tmp_path, name):
    with pytest.raises(cadenza.UnsupportedError, match=r"\.safetensors"):
        rain.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_saving_where_nothing_can_be_written(rain, tmp_path):
    with pytest.raises(OSError):
        rain.save(tmp_path / "no" / "such" / "folder.safetensors")


def test_pickle(rain):
    assert pickle.loads(pickle.dumps(rain)).fingerprint == rain.fingerprint


def test_a_closed_model_says_so_and_its_streams_live_on():
    with cadenza.build(None, 3, [("GRU", {"units": 4})]) as model:
        stream = model.stream()
    assert "closed" in repr(model)
    for use in (lambda: model.predict(samples(1, 2, 3)), model.stream, model.get_weights, model.to_json):
        with pytest.raises(cadenza.InvalidArgumentError, match="closed"):
            use()
    assert stream.step(samples(3)).shape == (4,)
    assert stream.fork().run(samples(2, 3), states=True)[1]["gru/h"].shape == (2, 4)
    model.close()


def test_repr(rain):
    assert repr(rain) == "<cadenza.Model (batch, 7, 3) → (batch, 1)>"


def test_kernels(rain):
    x = samples(3, 7, 3)
    chosen = cadenza.kernels.name()
    available = cadenza.kernels.available()
    assert chosen in available
    answers = {}
    try:
        for name in available:
            cadenza.kernels.force(name)
            assert cadenza.kernels.name() == name
            answers[name] = cadenza.load(rain.to_bytes()).predict(x)
            assert answers[name] == pytest.approx(rain.predict(x), abs=1e-6)
    finally:
        cadenza.kernels.force(chosen)
    if {"x86-64-v3", "x86-64-v4"} <= set(answers):
        assert_same_bits(answers["x86-64-v3"], answers["x86-64-v4"])
    with pytest.raises(cadenza.NotFoundError, match="abacus"):
        cadenza.kernels.force("abacus")


def _locked() -> int:
    """Kilobytes that this process has locked into memory."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmLck:")[1].split()[0])


def test_lock_holds_what_steps_compute_with_until_it_is_freed():
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] < 1 << 20 and os.geteuid() != 0:
        pytest.skip("this process may lock too little memory")
    model, twin = (randomized(cadenza.build(None, 3, RAIN_LAYERS), seed=4) for _ in range(2))
    before = _locked()
    model.lock()
    with_model = _locked()
    assert with_model - before >= sum(weight.nbytes for weight in model.get_weights()) // 1024
    stream, x = model.stream(batch=50), samples(50, 3)
    assert _locked() > with_model
    assert_same_bits(stream.step(x), twin.stream(batch=50).step(x))
    stream.close()
    assert _locked() == with_model
    model.close()
    assert _locked() == before


def test_lock_is_refused_by_name_where_the_system_allows_too_little():
    program = """
import os, resource, cadenza
model = cadenza.build(None, 3, [("LSTM", {"units": 64})])
resource.setrlimit(resource.RLIMIT_MEMLOCK, (16384, 16384))
if os.geteuid() == 0:
    os.setuid(65534)
try:
    model.lock()
except cadenza.OperatingSystemError as error:
    print(error)
model.stream().step([1, 2, 3])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "cannot be locked into memory" in result.stdout, result.stderr
    assert "RLIMIT_MEMLOCK is 16384" in result.stdout and result.returncode == 0
