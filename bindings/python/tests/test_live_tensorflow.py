"""Live comparison with Keras on TensorFlow, and with the models of Keras 2."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import samples, worst_difference

import cadenza

MODELS = os.environ.get("CADENZA_LIVE_TENSORFLOW_MODELS", "20")
TOLERANCE = 1e-5

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("tensorflow"), reason="TensorFlow is not installed")


@pytest.mark.skipif(not importlib.util.find_spec("keras"), reason="Keras is not installed")
def test_random_models():
    """A process of its own, because Keras takes one backend for a process's life."""
    live = Path(__file__).with_name("test_live_keras.py")
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CADENZA_LIVE_MODELS": MODELS,
        "CADENZA_LIVE_FIRST": "10000",
    }
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", live], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert f"{MODELS} passed" in done.stdout


def test_a_live_model_of_keras_2():
    tf_keras = pytest.importorskip("tf_keras", reason="tf-keras, which is Keras 2, is not installed")
    layers = tf_keras.layers
    live = tf_keras.Sequential(
        [
            tf_keras.Input((7, 3)),
            layers.LSTM(32, return_sequences=True, recurrent_activation="hard_sigmoid"),
            layers.LeakyReLU(),
            layers.GRU(16, reset_after=False),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    random = np.random.default_rng(0)
    live.set_weights([random.normal(scale=0.4, size=weight.shape) for weight in live.get_weights()])
    model = cadenza.load(live)
    x = samples(4, 7, 3)
    assert worst_difference(model.predict(x), live.predict(x, verbose=0)) <= TOLERANCE
    for ours, keras in zip(model.get_weights(), live.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, keras)
