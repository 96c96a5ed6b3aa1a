"""Live comparison of gradients with TensorFlow's GradientTape over random Keras models.

CADENZA_LIVE_GRADIENTS says how many models (60), CADENZA_LIVE_FIRST the first seed (0).
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from conftest import one_or_all

import cadenza

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytest.importorskip("tensorflow", reason="TensorFlow, to compare with, cannot be imported")
keras = pytest.importorskip("keras", reason="keras, to compare with, cannot be imported")
if keras.backend.backend() != "tensorflow":
    pytest.skip("Keras runs on another backend than TensorFlow", allow_module_level=True)
random_models = pytest.importorskip("random_models")
live = pytest.importorskip("gradients")

MODELS = int(os.environ.get("CADENZA_LIVE_GRADIENTS", "60"))
FIRST = int(os.environ.get("CADENZA_LIVE_FIRST", "0"))
BATCH = 3
LENGTH = 7
TOLERANCE = 1e-4


def difference(actual: np.ndarray, expected: np.ndarray, scale: float = 0.0) -> float:
    """The largest difference, relative to the largest expected number."""
    assert actual.shape == expected.shape
    assert np.isfinite(expected).all()
    if expected.size == 0:
        return 0.0
    return float(np.abs(actual - expected).max() / max(np.abs(expected).max(), scale, 1e-30))


def compare(keras_model, model: cadenza.Model, inputs, seed: int, training: bool) -> float:
    """Holds the tape's outputs and gradients against TensorFlow's; the worst difference."""
    random = np.random.default_rng(seed)
    tape = cadenza.Tape(model)
    outputs = tape.forward(one_or_all(inputs), training=training, seed=seed)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    factors = [random.normal(size=output.shape).astype(np.float32) for output in outputs]
    expected, by_weight, by_input = live.gradients(keras_model, inputs, factors, training)
    found = tape.backward(factors)
    worst = 0.0
    for output, answer in zip(outputs, expected):
        assert difference(output, answer) <= 1e-5
    names = [name for name, info in zip(model.weights, model._weight_infos) if info.trainable]
    assert list(found.weights) == names and len(names) == len(by_weight)
    largest = max([np.abs(gradient).max() for gradient in by_weight if gradient.size], default=0.0)
    for name, gradient in zip(names, by_weight):
        # What cancels to nothing but rounding is compared beside the others.
        worst = max(worst, (found_difference := difference(found.weights[name], gradient, 0.01 * largest)))
        assert found_difference <= TOLERANCE, name
    for index, gradient in enumerate(by_input):
        if gradient is not None:
            worst = max(worst, (found_difference := difference(found.inputs[index], gradient, 0.01 * largest)))
            assert found_difference <= TOLERANCE, f"input {index}"
    return worst


@pytest.mark.parametrize("seed", range(FIRST, FIRST + MODELS))
def test_random_model(seed, record_property):
    drawn = random_models.random_model(seed)
    model = cadenza.load(drawn.model)
    inputs = random_models.random_inputs(drawn.model, seed, BATCH, LENGTH)
    record_property("largest difference from TensorFlow's gradients", compare(drawn.model, model, inputs, seed, False))
