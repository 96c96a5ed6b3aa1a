"""Gradients: finite differences, and what a tape promises."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import assert_same_bits, layer, randomized, samples, tensor

import cadenza

ACTIVATIONS = [
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign",
    "sigmoid", "hard_sigmoid", "hard_silu", "hard_tanh", "hard_shrink", "soft_shrink", "tanh_shrink", "squareplus",
    "sparse_plus", "sparse_sigmoid", "tanh", "log_sigmoid", "exponential", "softmax", "log_softmax", "glu",
]  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_by_finite_differences(activation):
    model = cadenza.build(None, 3, [("Dense", {"units": 6, "activation": activation}), ("Dense", {"units": 2})], seed=3)
    assert cadenza.check_gradients(randomized(model, 4), samples(2, 3, 3, seed=5), step=2e-3) < 0.03


DROPPING = {
    "lstm": [("LSTM", {"units": 4, "dropout": 0.3, "recurrent_dropout": 0.4, "return_sequences": True})],
    "gru": [("GRU", {"units": 4, "dropout": 0.3, "recurrent_dropout": 0.4})],
    "old gru": [("GRU", {"units": 4, "dropout": 0.3, "recurrent_dropout": 0.4, "reset_after": False})],
    "inputs alone": [("LSTM", {"units": 4, "dropout": 0.5})],
    "simple": [("SimpleRNN", {"units": 4, "dropout": 0.3, "recurrent_dropout": 0.4})],
    "layers": [("LSTM", {"units": 4, "return_sequences": True}), ("Dropout", {"rate": 0.4}),
               ("SpatialDropout1D", {"rate": 0.3}), ("GaussianDropout", {"rate": 0.2}), ("AlphaDropout", {"rate": 0.2}),
               ("GaussianNoise", {"stddev": 0.3}), ("Dense", {"units": 3})],
    "normalized": [("GRU", {"units": 4, "return_sequences": True}), "BatchNormalization", "LayerNormalization",
                   ("Dense", {"units": 3})],
}  # fmt: skip


@pytest.mark.parametrize("name", DROPPING)
def test_training_mode_by_finite_differences(name):
    model = randomized(cadenza.build(None, 3, DROPPING[name]), 1)
    if name == "normalized":
        model.weights["batch_normalization/moving_variance"] = np.ones(4)
    x = samples(3, 4, 3)
    assert cadenza.check_gradients(model, x, training=True, seed=8, step=5e-3) < 0.03
    tape = cadenza.Tape(model)
    first = tape.forward(x, seed=1)
    assert_same_bits(first, tape.forward(x, seed=1))
    if name != "normalized":
        assert np.any(first != tape.forward(x, seed=2))
    assert np.abs(tape.forward(x, training=False) - model.predict(x)).max() <= 1e-6


def test_dropout_keeps_its_share():
    model = cadenza.build(None, 100, [("Dropout", {"rate": 0.3})])
    kept = cadenza.Tape(model).forward(np.ones((10, 20, 100)), seed=3)
    assert set(np.unique(kept)) == {np.float32(0), np.float32(1 / 0.7)}
    assert abs(np.mean(kept > 0) - 0.7) < 0.01


def test_states_join_runs(rain):
    """Two halves, the second from the first's states, and its states' gradient back: the whole."""
    model = randomized(cadenza.build(None, 3, [("LSTM", {"units": 5, "return_sequences": True}),
                                               ("GRU", {"units": 4, "return_sequences": True})]), 3)  # fmt: skip
    x, factor = samples(2, 8, 3), samples(2, 8, 4, seed=1)
    whole = cadenza.Tape(model)
    output = whole.forward(x)
    expected = whole.backward(factor)
    first, second = cadenza.Tape(model), cadenza.Tape(model)
    a = first.forward(x[:, :5])
    b = second.forward(x[:, 5:], states=first.states)
    assert np.abs(np.concatenate([a, b], axis=1) - output).max() <= 1e-6
    back = second.backward(factor[:, 5:])
    front = first.backward(factor[:, :5], states=back.states)
    for name, gradient in expected.weights.items():
        assert np.abs(front.weights[name] + back.weights[name] - gradient).max() <= 1e-5
    joined = np.concatenate([front.inputs[0], back.inputs[0]], axis=1)
    assert np.abs(joined - expected.inputs[0]).max() <= 1e-5
    for key, gradient in expected.states.items():
        assert np.abs(front.states[key] - gradient).max() <= 1e-5


def test_backward_again_and_accumulated(rain):
    tape = cadenza.Tape(rain)
    output = tape.forward(samples(4, 7, 3), seed=2)
    once, twice = tape.backward(np.ones_like(output)), tape.backward(np.ones_like(output))
    both = tape.backward(np.ones_like(output), accumulate=True)
    for name, gradient in once.weights.items():
        assert_same_bits(gradient, twice.weights[name])
        assert np.abs(both.weights[name] - 2 * gradient).max() <= 1e-5 * np.abs(gradient).max()


def test_equal_and_opposite_parts_cancel():
    """A layer that is used twice, minus itself: its bias has no part in what comes out, and its gradient is exactly 0."""

    def node(name: str) -> dict:
        return {"args": [tensor(name, None, 3)], "kwargs": {}}

    shared = layer("Dense", "shared", [], units=3, activation="linear")
    shared["inbound_nodes"] = [node("x"), node("left")]
    ways = [tensor("shared", None, 3), tensor("shared", None, 3)]
    ways[1]["config"]["keras_history"] = ["shared", 1, 0]
    config = {
        "name": "difference",
        "layers": [
            layer("InputLayer", "x", [], batch_shape=[None, None, 3]),
            layer("Dense", "left", [tensor("x", None, 3)], units=3, activation="tanh"),
            shared,
            layer("Subtract", "difference", [ways]),
        ],
        "input_layers": [["x", 0, 0]],
        "output_layers": [["difference", 0, 0]],
    }
    model = randomized(cadenza.from_json({"module": "keras", "class_name": "Functional", "config": config}), 6)
    tape = cadenza.Tape(model, threads=2)
    output = tape.forward(samples(3, 150, 3))
    found = tape.backward(samples(*output.shape, seed=1)).weights
    assert not found["shared/bias"].any()
    assert found["shared/kernel"].all()


def test_frozen_layers(rain):
    name = rain.layers[1].name
    tape = cadenza.Tape(rain, frozen=[name])
    output = tape.forward(samples(4, 7, 3))
    found = tape.backward(np.ones_like(output))
    assert found.weights and not any(weight.startswith(f"{name}/") for weight in found.weights)
    with pytest.raises(cadenza.NotFoundError, match="received 'none'"):
        cadenza.Tape(rain, frozen=["none"])


def test_batch_statistics_are_committed():
    model = cadenza.build(None, 2, [("BatchNormalization", {"momentum": 0.9})])
    x = samples(5, 6, 2) * 3 + 1
    tape = cadenza.Tape(model)
    tape.forward(x)
    assert np.all(model.weights["batch_normalization/moving_mean"] == 0)
    tape.commit_statistics()
    mean, variance = x.mean(axis=(0, 1)), x.var(axis=(0, 1))
    assert np.allclose(model.weights["batch_normalization/moving_mean"], 0.1 * mean, atol=1e-6)
    assert np.allclose(model.weights["batch_normalization/moving_variance"], 0.9 + 0.1 * variance, atol=1e-5)


def test_wrong_use(rain):
    tape = cadenza.Tape(rain)
    with pytest.raises(cadenza.InvalidArgumentError, match="has not run"):
        tape.backward(np.ones((4, 1)))
    tape.forward(samples(4, 7, 3))
    with pytest.raises(cadenza.InvalidArgumentError, match=r"expected a gradient of output .* of shape \(4, 1\)"):
        tape.backward(np.ones((3, 1)))
    with pytest.raises(cadenza.NotFoundError, match="expected the name of a state"):
        tape.forward(samples(4, 7, 3), states={"nothing/h": np.zeros((4, 1))})
    constrained = {"units": 2, "kernel_constraint": {"class_name": "MaxNorm", "config": {}}}
    with pytest.raises(cadenza.UnsupportedError, match="kernel_constraint"):
        cadenza.Tape(cadenza.build(None, 3, [("LSTM", constrained)]))
