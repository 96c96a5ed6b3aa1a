"""Live comparison of training with Keras on TensorFlow: the same weights, data and order give the same losses."""

from __future__ import annotations

import os

import numpy as np
import pytest
from conftest import RAIN

import cadenza
from cadenza import losses, optimizers

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytest.importorskip("tensorflow", reason="TensorFlow, to compare with, cannot be imported")
keras = pytest.importorskip("keras", reason="keras, to compare with, cannot be imported")
if keras.backend.backend() != "tensorflow":
    pytest.skip("Keras runs on another backend than TensorFlow", allow_module_level=True)

TOLERANCE = 1e-4


def rain_model():
    keras.utils.set_random_seed(3)
    layers = keras.layers
    return keras.Sequential([
        keras.Input((7, 3)),
        layers.LSTM(32, return_sequences=True),
        layers.LeakyReLU(negative_slope=0.3),
        layers.LSTM(16),
        layers.LeakyReLU(negative_slope=0.3),
        layers.Dense(1, activation="sigmoid"),
    ])


def rain_data():
    table = np.genfromtxt(RAIN / "seattle_weather.csv", delimiter=",", skip_header=1, usecols=(1, 2, 3))
    x = (table / 10).astype(np.float32)
    windows = np.stack([x[i : i + 7] for i in range(len(x) - 7)])
    return windows, (table[7:, 0] > 0).astype(np.float32)[:, np.newaxis]


def follow(model, ours, batches, record_property, tolerance=TOLERANCE):
    """Trains both on the same batches; holds loss after loss."""
    worst = 0.0
    for number, (x, y, *weight) in enumerate(batches):
        expected = float(model.train_on_batch(x, y, *weight))
        found = ours.update(x, y, *weight)
        worst = max(worst, difference := abs(found - running(model, number, expected)) / max(abs(expected), 1e-3))
        assert difference <= tolerance, f"update {number}: {found} for {expected}"
    record_property("largest relative difference from Keras's loss", worst)


def running(model, number, value):
    """train_on_batch answers with the mean since the last reset: this batch's own loss."""
    model.reset_metrics()
    return value


def batches(x, y, size, number, seed=5):
    random = np.random.default_rng(seed)
    for _ in range(number):
        rows = random.integers(0, len(x), size)
        yield x[rows], y[rows]


RULES = {
    "sgd": {},
    "sgd momentum": dict(learning_rate=0.05, momentum=0.9),
    "sgd nesterov": dict(learning_rate=0.05, momentum=0.9, nesterov=True),
    "rmsprop": {},
    "rmsprop centered": dict(momentum=0.5, centered=True),
    "adam": {},
    "adam amsgrad": dict(learning_rate=0.01, amsgrad=True),
    "adamw": dict(learning_rate=0.01),
    "nadam": {},
    "adagrad": dict(learning_rate=0.05),
    "adamax": dict(learning_rate=0.01),
    "lion": dict(learning_rate=0.0005),
    "adam clipnorm": dict(clipnorm=0.01),
    "sgd clipvalue": dict(learning_rate=0.5, clipvalue=0.01),
    "sgd global_clipnorm": dict(learning_rate=0.5, global_clipnorm=0.05),
    "sgd decay": dict(learning_rate=0.1, weight_decay=0.01),
    "adam ema": dict(learning_rate=0.01, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=7),
    "adam accumulated": dict(learning_rate=0.01, gradient_accumulation_steps=3),
}
NAMES = {"sgd": "SGD", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW", "nadam": "Nadam", "adagrad": "Adagrad",
         "adamax": "Adamax", "lion": "Lion"}


@pytest.mark.parametrize("rule", RULES)
def test_rain_model_follows_keras(rule, record_property):
    options = RULES[rule]
    name = NAMES[rule.split()[0]]
    model = rain_model()
    ours = cadenza.Trainer(cadenza.load(model), "binary_crossentropy", getattr(optimizers, name)(**options))
    model.compile(optimizer=getattr(keras.optimizers, name)(**options), loss="binary_crossentropy")
    number = 200 if rule in ("sgd", "rmsprop", "adam") else 60
    x, y = rain_data()
    follow(model, ours, batches(x, y, 32, number), record_property)
    for found, expected in zip(ours.model.get_weights(), model.get_weights()):
        assert np.abs(found - expected).max() <= 2e-3 * max(1, np.abs(expected).max())


def test_schedules_are_keras(record_property):
    schedules = keras.optimizers.schedules
    pairs = [
        (optimizers.ExponentialDecay(0.1, 7, 0.5), schedules.ExponentialDecay(0.1, 7, 0.5)),
        (optimizers.ExponentialDecay(0.1, 7, 0.5, True), schedules.ExponentialDecay(0.1, 7, 0.5, True)),
        (optimizers.InverseTimeDecay(0.1, 7, 0.5), schedules.InverseTimeDecay(0.1, 7, 0.5)),
        (optimizers.PiecewiseConstantDecay([5, 9], [1.0, 0.5, 0.1]), schedules.PiecewiseConstantDecay([5, 9], [1.0, 0.5, 0.1])),
        (optimizers.PolynomialDecay(0.1, 7, 0.01, 2.0), schedules.PolynomialDecay(0.1, 7, 0.01, 2.0)),
        (optimizers.PolynomialDecay(0.1, 7, 0.01, 2.0, True), schedules.PolynomialDecay(0.1, 7, 0.01, 2.0, True)),
        (optimizers.CosineDecay(0.1, 17, 0.1), schedules.CosineDecay(0.1, 17, 0.1)),
        (optimizers.CosineDecay(0.01, 17, 0.1, 0.1, 4), schedules.CosineDecay(0.01, 17, 0.1, warmup_target=0.1, warmup_steps=4)),
        (optimizers.CosineDecayRestarts(0.1, 7), schedules.CosineDecayRestarts(0.1, 7)),
    ]
    for ours, theirs in pairs:
        for step in range(1, 40):
            assert abs(ours(step) - float(theirs(step))) < 1e-6, (theirs, step)


def sequence_model(activation, width, mask=True, **options):
    keras.utils.set_random_seed(7)
    layers = keras.layers
    inside = [layers.Masking()] if mask else []
    return keras.Sequential([
        keras.Input((None, 4)), *inside, layers.GRU(8, return_sequences=True), layers.BatchNormalization(momentum=0.8),
        layers.Dense(width, activation=activation, kernel_regularizer=keras.regularizers.L1L2(1e-3, 2e-3)), *options.get("more", ())])


def sequences(kind, width, number, seed=2):
    random = np.random.default_rng(seed)
    for _ in range(number):
        x = random.normal(size=(6, 5, 4)).astype(np.float32)
        x[random.random((6, 5)) < 0.3] = 0
        if kind == "sparse":
            y = random.integers(0, width, (6, 5))
        elif kind == "onehot":
            y = np.eye(width, dtype=np.float32)[random.integers(0, width, (6, 5))]
        elif kind == "binary":
            y = random.integers(0, 2, (6, 5, width)).astype(np.float32)
        elif kind == "counts":
            y = random.integers(0, 4, (6, 5, width)).astype(np.float32)
        else:
            y = random.normal(size=(6, 5, width)).astype(np.float32)
        yield x, y


LOSSES = {
    "mse": ("MeanSquaredError", {}, None, "values"),
    "mae": ("MeanAbsoluteError", {}, None, "values"),
    "huber": ("Huber", dict(delta=0.7), None, "values"),
    "log_cosh": ("LogCosh", {}, None, "values"),
    "poisson": ("Poisson", {}, "softplus", "counts"),
    "binary": ("BinaryCrossentropy", dict(label_smoothing=0.1), "sigmoid", "binary"),
    "binary logits": ("BinaryCrossentropy", dict(from_logits=True), None, "binary"),
    "binary probabilities": ("BinaryCrossentropy", {}, "hard_sigmoid", "binary"),
    "categorical": ("CategoricalCrossentropy", dict(label_smoothing=0.1), "softmax", "onehot"),
    "categorical logits": ("CategoricalCrossentropy", dict(from_logits=True, label_smoothing=0.2), None, "onehot"),
    "categorical behind sigmoid": ("CategoricalCrossentropy", {}, "sigmoid", "onehot"),
    "categorical probabilities": ("CategoricalCrossentropy", {}, "softplus", "onehot"),
    "sparse": ("SparseCategoricalCrossentropy", {}, "softmax", "sparse"),
    "sparse logits": ("SparseCategoricalCrossentropy", dict(from_logits=True), None, "sparse"),
    "sparse behind sigmoid": ("SparseCategoricalCrossentropy", {}, "sigmoid", "sparse"),
    "sparse probabilities": ("SparseCategoricalCrossentropy", {}, "hard_sigmoid", "sparse"),
    "sum": ("MeanSquaredError", dict(reduction="sum"), None, "values"),
    "mean": ("MeanSquaredError", dict(reduction="mean_with_sample_weight"), None, "values"),
}


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_follow_keras(name, weighted, masked, record_property):
    kind, options, activation, data = LOSSES[name]
    model = sequence_model(activation, 3, masked)
    ours = cadenza.Trainer(cadenza.load(model), getattr(losses, kind)(**options), optimizers.Adam(0.01))
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss=getattr(keras.losses, kind)(**options))
    random = np.random.default_rng(1)
    given = [
        (x, y, random.random((6, 5)).astype(np.float32)) if weighted else (x, y) for x, y in sequences(data, 3, 15)
    ]
    follow(model, ours, given, record_property)
    for found, expected in zip(ours.model.get_weights(), model.get_weights()):
        assert np.abs(found - expected).max() <= 1e-3 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("weighted", [False, True])
def test_series_follow_keras_on_padded_ones(weighted, record_property):
    """Keras is given what Cadenza pads by itself; both mask it."""
    model = sequence_model("softmax", 3)
    ours = cadenza.Trainer(cadenza.load(model), "sparse_categorical_crossentropy", optimizers.Adam(0.01))
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy")
    random, worst = np.random.default_rng(6), 0.0
    for _ in range(20):
        lengths = random.integers(1, 8, 6)
        x = [random.normal(size=(length, 4)).astype(np.float32) for length in lengths]
        y = [random.integers(0, 3, length) for length in lengths]
        weights = [random.random(length).astype(np.float32) for length in lengths] if weighted else None
        padded = [np.zeros((6, lengths.max(), *width), np.float32) for width in ((4,), (), ())]
        for array, series in zip(padded, (x, y, weights or ())):
            for row, one in zip(array, series):
                row[: len(one)] = one
        expected = float(model.train_on_batch(*padded[: 2 + weighted]))
        model.reset_metrics()
        worst = max(worst, abs(ours.update(x, y, weights) - expected) / expected)
    record_property("largest relative difference from Keras's loss, series", worst)
    assert worst <= TOLERANCE


def test_stateful_model_follows_keras(record_property):
    keras.utils.set_random_seed(4)
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((5, 3), batch_size=4), layers.LSTM(6, stateful=True, return_sequences=True),
        layers.GRU(5, stateful=True), layers.Dense(2)])
    ours = cadenza.Trainer(cadenza.load(model), "mse", "adam")
    model.compile(optimizer="adam", loss="mse")
    random = np.random.default_rng(0)
    for number in range(30):
        x, y = random.normal(size=(4, 5, 3)).astype(np.float32), random.normal(size=(4, 2)).astype(np.float32)
        if number == 12:
            for layer in model.layers[:2]:
                layer.reset_states()
            ours.reset_states()
        expected = float(model.train_on_batch(x, y))
        model.reset_metrics()
        assert abs(ours.update(x, y, carry_state=True) - expected) <= TOLERANCE * abs(expected)


def test_metrics_are_keras():
    from cadenza import metrics

    random = np.random.default_rng(0)
    p, y = random.random((50, 1)).astype(np.float32), random.integers(0, 2, (50, 1)).astype(np.float32)
    weights = random.random(50).astype(np.float32)
    shares = random.dirichlet(np.ones(7), 50).astype(np.float32)
    labels = random.integers(0, 7, 50)
    onehot = np.eye(7, dtype=np.float32)[labels]
    theirs = keras.metrics
    pairs = [
        (metrics.BinaryAccuracy(), theirs.BinaryAccuracy(), y, p),
        (metrics.Precision(), theirs.Precision(), y, p),
        (metrics.Recall(0.3), theirs.Recall(0.3), y, p),
        (metrics.AUC(), theirs.AUC(), y, p),
        (metrics.MeanAbsoluteError(), theirs.MeanAbsoluteError(), y, p),
        (metrics.RootMeanSquaredError(), theirs.RootMeanSquaredError(), y, p),
        (metrics.CategoricalAccuracy(), theirs.CategoricalAccuracy(), onehot, shares),
        (metrics.TopKCategoricalAccuracy(3), theirs.TopKCategoricalAccuracy(3), onehot, shares),
        (metrics.SparseCategoricalAccuracy(), theirs.SparseCategoricalAccuracy(), labels[:, None].astype(np.float32), shares),
    ]
    for ours, keras_metric, target, output in pairs:
        for part in (slice(0, 30), slice(30, 50)):
            ours.update(target[part].astype(float), output[part].astype(float), weights[part].astype(float))
            keras_metric.update_state(target[part], output[part], sample_weight=weights[part])
        assert ours.result() == pytest.approx(float(keras_metric.result()), rel=1e-5), keras_metric.name
