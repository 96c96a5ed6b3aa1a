"""Gradients against central differences of a plain float64 twin, on random models."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import layer, tensor

import cadenza

twin = pytest.importorskip("twin")

MODELS = 60
BATCH, LENGTH = 3, 5
STEP = 1e-5
TOLERANCE = 1e-4
CURVES = ["linear", "tanh", "sigmoid", "softplus", "softsign", "silu", "elu", "softmax"]


class Drawn:
    """A random functional model with random weights, its inputs and initial states."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.layers: list[dict] = []
        self.training, self.masked = self.chance(0.5), self.chance(0.4)
        sequence = self.sequence_layers(self.entrance())
        if self.chance(0.4):
            width = self.size()
            ways = [self.dense(self.sequence_layers(sequence), width) for _ in range(2)]
            kind = self.one_of("Add", "Subtract", "Multiply", "Average", "Concatenate")
            sequence = self.add(kind, ways, (None, width * (1 + (kind == "Concatenate"))))
        ending = self.recurrent(sequence, self.chance(0.5))
        outputs = [self.dense(ending, self.size()) if self.chance(0.7) else ending]
        if self.chance(0.3):
            outputs.append(sequence)
        self.architecture = {"module": "keras", "class_name": "Functional", "registered_name": "Functional", "config": {
            "name": "drawn", "layers": self.layers, "input_layers": [["input", 0, 0]],
            "output_layers": [[name, 0, 0] for name, _ in outputs]}}  # fmt: skip
        self.model = cadenza.from_json(self.architecture)
        for name in self.model.weights:
            value = self.random.normal(scale=0.5, size=self.model.weights[name].shape)
            self.model.weights[name] = 0.5 + value**2 if name.endswith("moving_variance") else value
        self.states = {}
        if self.model.streamable and not self.masked:
            for state in self.model.states:
                self.states[state.key] = self.random.normal(size=(BATCH, state.units)).astype(np.float32)

    def chance(self, share):
        return self.random.random() < share

    def one_of(self, *choices):
        return choices[self.random.integers(len(choices))]

    def size(self):
        return int(self.random.integers(2, 6))

    def add(self, kind, sources, shape, **config):
        """A layer on one source (name, shape) or on a list of them: its own."""
        name = f"{kind.lower()}_{len(self.layers)}"
        tensors = [tensor(source, *of) for source, of in sources]
        self.layers.append(layer(kind, name, [tensors] if len(tensors) > 1 else tensors, **config))
        return name, shape

    def entrance(self):
        is_ids, width = self.chance(0.2), self.size()
        self.layers.append(layer("InputLayer", "input", [], batch_shape=[None, None] + [width] * (not is_ids)))
        padding = self.random.random((BATCH, LENGTH)) < (0.3 if self.masked else 0)
        if is_ids:
            self.x = np.where(padding, 0, self.random.integers(1, 7, (BATCH, LENGTH))).astype(np.float32)
            return self.add("Embedding", [("input", (None,))], (None, width), input_dim=7, output_dim=width, mask_zero=self.masked)
        self.x = np.where(padding[..., np.newaxis], 0, self.random.normal(size=(BATCH, LENGTH, width))).astype(np.float32)
        source = "input", (None, width)
        return self.add("Masking", [source], (None, width)) if self.masked else source

    def dense(self, source, width):
        return self.add("Dense", [source], (*source[1][:-1], width), units=width, activation=self.one_of(*CURVES))

    def cell(self, sequences):
        kind, units = self.one_of("LSTM", "GRU", "SimpleRNN"), self.size()
        config = {"units": units, "activation": self.one_of("tanh", "tanh", "softsign", "sigmoid"), "return_sequences": sequences}
        if kind != "SimpleRNN":
            config["recurrent_activation"] = self.one_of("sigmoid", "sigmoid", "softsign")
        if kind == "GRU":
            config["reset_after"] = self.chance(0.5)
        return kind, config

    def recurrent(self, source, sequences):
        kind, config = self.cell(sequences)
        width = config["units"]
        if self.chance(0.2):
            config = {"layer": {"module": "keras.layers", "class_name": kind, "config": {"name": "inner", **config}}}
            kind, width = "Bidirectional", 2 * width
        else:
            config["go_backwards"] = self.chance(0.1)
        return self.add(kind, [source], (None, width) if sequences else (width,), **config)

    def sequence_layers(self, source):
        for _ in range(self.random.integers(0, 3)):
            kind, width = self.one_of("Dense", "TimeDistributed", "BatchNormalization", "LayerNormalization", "Activation", *4 * ["cell"]), self.size()
            if kind == "cell":
                source = self.recurrent(source, True)
            elif kind == "Dense":
                source = self.dense(source, width)
            elif kind == "TimeDistributed":
                inner = {"module": "keras.layers", "class_name": "Dense", "config": {"name": "inner", "units": width, "activation": "tanh"}}
                source = self.add(kind, [source], (None, width), layer=inner)
            else:
                config = {"activation": self.one_of(*CURVES)} if kind == "Activation" else {}
                source = self.add(kind, [source], source[1], **config)
        return source


def numeric_gradient(loss, value: np.ndarray) -> np.ndarray:
    """Central differences of a loss that takes many variants of the value side by side."""
    value = value.astype(np.float64)
    steps = STEP * np.eye(value.size).reshape(value.size, *value.shape)
    return ((loss(value + steps) - loss(value - steps)) / (2 * STEP)).reshape(value.shape)


@pytest.mark.parametrize("seed", range(MODELS))
def test_random_model(seed, record_property):
    drawn = Drawn(seed)
    model, states = drawn.model, drawn.states
    weights = {name: model.weights[name] for name in model.weights}
    tape = cadenza.Tape(model)
    outputs = tape.forward(drawn.x, states=states, training=drawn.training)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    factors = [drawn.random.normal(size=output.shape) for output in outputs]

    def run(weights=weights, x=drawn.x, states=states):
        return twin.run(drawn.architecture, weights, [x], states, drawn.training)

    def loss(**changed):
        return sum(
            (output * factor).sum(axis=tuple(range(-factor.ndim, 0))) for output, factor in zip(run(**changed), factors)
        )

    for output, expected in zip(outputs, run()):
        assert np.abs(output - expected).max() <= 1e-5 * np.abs(expected).max()
    found = tape.backward(factors)
    pairs = [
        (gradient, numeric_gradient(lambda value, name=name: loss(weights={**weights, name: value}), weights[name]))
        for name, gradient in found.weights.items()
    ]
    if drawn.x.ndim == 3:
        pairs.append((found.inputs[0], numeric_gradient(lambda value: loss(x=value), drawn.x)))
    pairs += [
        (found.states[key], numeric_gradient(lambda value, key=key: loss(states={**states, key: value}), states[key]))
        for key in states
    ]
    largest = max(np.abs(expected).max() for _, expected in pairs)
    # What cancels to nothing but rounding is compared beside the others.
    worst = max(np.abs(ours - expected).max() / max(np.abs(expected).max(), 0.01 * largest) for ours, expected in pairs)
    record_property("largest difference from a float64 twin's finite differences", float(worst))
    assert worst <= TOLERANCE
