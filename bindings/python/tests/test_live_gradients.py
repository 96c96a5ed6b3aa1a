"""Live comparison of gradients with TensorFlow's GradientTape over random Keras models and runs of generators.

CADENZA_LIVE_GRADIENTS says how many models (60), CADENZA_LIVE_FIRST the first seed (0).
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from conftest import assert_gradients, one_or_all, worst_difference

import cadenza

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytest.importorskip("tensorflow", reason="TensorFlow, to compare with, cannot be imported")
keras = pytest.importorskip("keras", reason="keras, to compare with, cannot be imported")
if keras.backend.backend() != "tensorflow":
    pytest.skip("Keras runs on another backend than TensorFlow", allow_module_level=True)
random_models = pytest.importorskip("random_models")
live = pytest.importorskip("gradients")
generators = pytest.importorskip("generator_gradients")

MODELS = int(os.environ.get("CADENZA_LIVE_GRADIENTS", "60"))
FIRST = int(os.environ.get("CADENZA_LIVE_FIRST", "0"))
RUNS = 24
BATCH = 3
LENGTH = 7


def compare(keras_model, model: cadenza.Model, inputs, seed: int, training: bool, record_property, what: str) -> None:
    """Holds the tape's outputs and gradients against TensorFlow's."""
    random = np.random.default_rng(seed)
    tape = cadenza.Tape(model)
    outputs = tape.forward(one_or_all(inputs), training=training, seed=seed)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    factors = [random.normal(size=output.shape).astype(np.float32) for output in outputs]
    expected, by_weight, by_input = live.gradients(keras_model, inputs, factors, training)
    found = tape.backward(factors)
    for output, answer in zip(outputs, expected, strict=True):
        assert worst_difference(output, answer) <= 1e-5
    assert list(found.weights) == [name for name, info in zip(model.weights, model._weight_infos) if info.trainable]
    pairs = list(zip(found.weights.values(), by_weight, strict=True))
    pairs += [(found.inputs[index], gradient) for index, gradient in enumerate(by_input) if gradient is not None]
    assert_gradients(pairs, record_property, what)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + MODELS))
def test_random_model(seed, record_property):
    drawn = random_models.random_model(seed)
    model = cadenza.load(drawn.model)
    inputs = random_models.random_inputs(drawn.model, seed, BATCH, LENGTH)
    compare(drawn.model, model, inputs, seed, False, record_property, "of random models")


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_training_statistics(seed, mask, record_property):
    keras.backend.clear_session()
    layers = keras.layers
    axis_model = keras.Sequential([
        keras.Input((LENGTH, 4)), *([layers.Masking()] if mask else []), layers.LSTM(5, return_sequences=True),
        layers.BatchNormalization(scale=seed % 2 == 0), layers.Dense(3, activation="tanh"),
        layers.BatchNormalization(trainable=seed < 3), layers.LayerNormalization()])
    random_models.randomize(axis_model, np.random.default_rng(seed))
    model = cadenza.load(axis_model)
    inputs = random_models.random_inputs(axis_model, seed, BATCH, LENGTH)
    compare(axis_model, model, inputs, seed, True, record_property, "by batch statistics")


@pytest.mark.parametrize("seed", range(RUNS))
def test_nested_run(seed, record_property):
    case = generators.nested_case(seed)
    a, b = cadenza.load(case.a.model), cadenza.load(case.b.model)
    head = cadenza.load(case.head) if case.head else None
    models = [model for model in (a, b, head) if model]
    run = cadenza.nested(
        cadenza.Unrolled(*models), a, b, case.x, case.counts, case.policy, head, feedback=case.feedback, upward=case.upward
    )
    outputs, by_model, by_x = generators.nested_gradients(case)
    padded = run.padded()
    for row, i in np.ndindex(case.counts.shape):
        if (count := case.counts[row, i]):
            assert worst_difference(padded[row, i, :count], np.array(outputs[row][i])) <= 1e-5
    found = run.backward(case.factors[:, :, : padded.shape[2]])
    pairs = [(np.stack([value.gradient for value in run.x], axis=1), by_x)]
    for model, gradients in zip(models, by_model, strict=True):
        pairs += zip(found[model].values(), gradients, strict=True)
    assert_gradients(pairs, record_property, f"of nested runs, {case.policy}")


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(RUNS // 3))
def test_self_fed_run(seed, share, record_property):
    case = generators.self_fed_case(seed)
    model = cadenza.load(case.model.model)
    keys = [state.key for state in model.states]
    taught = np.zeros((len(case.primer), case.steps), bool)
    random = np.random.default_rng(seed)  # as self_feeding draws
    for t in range(1, case.steps):
        taught[:, t] = share > 0 and random.random(len(case.primer)) < share
    unrolled = cadenza.Unrolled(model)
    run = cadenza.self_feeding(
        unrolled, model, case.primer, case.steps, case.targets, share, dict(zip(keys, case.states)), case.first, case.size, seed
    )
    outputs, by_weight, by_primer, by_state = generators.self_fed_gradients(case, taught)
    assert worst_difference(np.stack([value.array for value in run], axis=1), outputs) <= 1e-5
    found = unrolled.backward((value, case.factors[:, t]) for t, value in enumerate(run))[model]
    pairs = [(np.stack([value.gradient for value in run.x], axis=1), by_primer), *zip(found.values(), by_weight, strict=True)]
    pairs += [(run.initial[key].gradient, expected) for key, expected in zip(keys, by_state, strict=True)]
    assert_gradients(pairs, record_property, "of self-fed runs")


def philox_uniform(seed: int, series: int, count: int) -> np.ndarray:
    """Philox4x32-10's words as Cadenza draws them: uniform in [0, 1)."""
    block = np.arange((count + 3) // 4, dtype=np.uint64)
    low = np.uint64(0xFFFFFFFF)
    c = [block & low, block >> np.uint64(32), np.full_like(block, series & 0xFFFFFFFF), np.full_like(block, series >> 32)]
    k = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(b >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]), b & low, (a >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]), a & low]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    words = np.stack(c, axis=1).reshape(-1)[:count]
    return (words >> np.uint64(8)).astype(np.float64) * 2.0**-24


CELLS = {
    "lstm": ("LSTM", dict(dropout=0.3, recurrent_dropout=0.4), range(8)),
    "lstm inputs": ("LSTM", dict(dropout=0.3), range(1)),
    "lstm recurrent": ("LSTM", dict(recurrent_dropout=0.3), range(1, 5)),
    "gru": ("GRU", dict(dropout=0.3, recurrent_dropout=0.4), range(6)),
    "old gru": ("GRU", dict(dropout=0.3, recurrent_dropout=0.4, reset_after=False), range(6)),
    "gru inputs": ("GRU", dict(dropout=0.3), range(1)),
    "simple": ("SimpleRNN", dict(dropout=0.3, recurrent_dropout=0.4), range(2)),
}


@pytest.mark.parametrize("name", CELLS)
def test_dropout_with_the_same_masks(name, monkeypatch, record_property):
    """Keras is given the masks that Cadenza draws."""
    kind, options, series = CELLS[name]
    seed = 77
    keras.backend.clear_session()
    keras_model = keras.Sequential([keras.Input((5, 4)), getattr(keras.layers, kind)(6, return_sequences=True, **options)])
    random_models.randomize(keras_model, np.random.default_rng(1))
    model = cadenza.load(keras_model)
    waiting = iter(series)

    def dropout(inputs, rate, noise_shape=None, seed_=None, **_):
        shape = tuple(inputs.shape)
        kept = philox_uniform(seed, next(waiting), int(np.prod(shape))).reshape(shape) >= rate
        return inputs * keras.ops.convert_to_tensor(kept / (1 - rate), "float32")

    monkeypatch.setattr(keras.src.backend.random, "dropout", lambda inputs, rate, **given: dropout(inputs, rate))
    inputs = random_models.random_inputs(keras_model, seed, BATCH, 5)
    compare(keras_model, model, inputs, seed, True, record_property, "under dropout")
    assert next(waiting, None) is None
