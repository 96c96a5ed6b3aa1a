"""The trainer: what it promises, and the epochs around it."""

from __future__ import annotations

import csv
import subprocess
import sys

import numpy as np
import pytest
from conftest import RAIN, RAIN_LAYERS, assert_same_bits, samples

import cadenza
from cadenza import _bindings as bindings
from cadenza import callbacks, losses, metrics, optimizers


def rain_data() -> tuple[np.ndarray, np.ndarray]:
    table = np.genfromtxt(RAIN / "seattle_weather.csv", delimiter=",", skip_header=1, usecols=(1, 2, 3))
    x = (table / 10).astype(np.float32)
    return np.stack([x[i : i + 7] for i in range(len(x) - 7)]), (table[7:, 0] > 0).astype(np.float32)


def fresh(seed: int = 1) -> cadenza.Model:
    return cadenza.build(7, 3, RAIN_LAYERS, seed=seed)


def trainer(**options) -> cadenza.Trainer:
    return cadenza.Trainer(fresh(), "binary_crossentropy", **{"optimizer": optimizers.Adam(0.005), "seed": 4, **options})


def assert_same_weights(a: cadenza.Model, b: cadenza.Model) -> None:
    for ours, theirs in zip(a.get_weights(), b.get_weights()):
        assert_same_bits(ours, theirs)


def test_fit_learns_the_rain(capsys):
    x, y = rain_data()
    ours = trainer(metrics=["accuracy", "auc", "precision", "recall", "f1"])
    history = ours.fit(x, y, epochs=6, batch_size=64, validation_split=0.25)
    assert history.history["loss"][-1] < 0.95 * history.history["loss"][0]
    assert history.history["val_accuracy"][-1] > 0.65
    assert history.epoch == list(range(6))
    assert capsys.readouterr().out.count("val_loss") == 6
    tested = ours.evaluate(x[-300:], y[-300:])
    answers = ours.predict(x[-300:])[:, 0]
    assert tested["accuracy"] == pytest.approx(np.mean((answers > 0.5) == (y[-300:] > 0.5)))
    assert_same_bits(answers, ours.model.predict(x[-300:])[:, 0])


def test_same_seed_same_bits():
    x, y = rain_data()
    first, second = trainer(), trainer()
    for ours in (first, second):
        ours.fit(x[:200], y[:200], epochs=2, seed=3, verbose=False)
    assert_same_weights(first.model, second.model)


def test_batches_of_any_form_train_alike():
    """Arrays of the shapes of the call before go a shorter way."""
    x, y = rain_data()
    arrays, others = trainer(), trainer()
    for first, count in [(0, 32), (32, 32), (64, 17), (81, 32), (113, 32)]:
        rows = slice(first, first + count)
        ours = arrays.update(x[rows], y[rows])
        theirs = others.update([x[rows].astype(np.float64)], y[rows, np.newaxis].tolist())
        assert ours == theirs
        with pytest.raises(cadenza.InvalidArgumentError, match="received"):
            arrays.update(x[rows], y[rows, np.newaxis, np.newaxis])
        with pytest.raises(cadenza.InvalidArgumentError, match="NaN"):
            arrays.update(x[rows] * np.float32(np.nan), y[rows])
    assert_same_weights(arrays.model, others.model)
    backwards = x[40:8:-1]  # neither float64 nor reversed arrays lie as the library takes them
    assert arrays.update(backwards.astype(np.float64), y[40:8:-1]) == others.update([backwards], y[40:8:-1].tolist())
    assert arrays.test(x[:32], y[:32]) == others.test([x[:32]], y[:32])
    assert_same_weights(arrays.model, others.model)


@pytest.mark.parametrize(
    "rule",
    [optimizers.Adam(amsgrad=True), optimizers.Nadam(), optimizers.SGD(momentum=0.9), "rmsprop",
     optimizers.Adam(gradient_accumulation_steps=3, use_ema=True)],
    ids=repr,
)  # fmt: skip
def test_resumed_training_ends_with_the_same_bits(rule, tmp_path):
    x, y = rain_data()
    never_stopped, stopped, resumed = trainer(optimizer=rule), trainer(optimizer=rule), trainer(optimizer=rule)
    resumed.model.set_weights([weight * 2 for weight in resumed.model.get_weights()])
    batches = [(x[i : i + 16], y[i : i + 16]) for i in range(0, 160, 16)]
    for batch in batches:
        never_stopped.update(*batch, carry_state=False)
    for batch in batches[:4]:
        stopped.update(*batch)
    stopped.save_checkpoint(tmp_path / "training.checkpoint")
    resumed.load_checkpoint(tmp_path / "training.checkpoint")
    for batch in batches[4:]:
        resumed.update(*batch)
    assert_same_weights(never_stopped.model, resumed.model)
    assert resumed.updates == never_stopped.updates == 10


def test_checkpoint_of_another_and_damaged():
    ours = trainer()
    checkpoint = ours.checkpoint()
    before = ours.model.get_weights()
    other = cadenza.Trainer(cadenza.build(7, 3, [("LSTM", {"units": 2}), ("Dense", {"units": 1})]), "mse")
    for wrong, error in [
        (other.checkpoint(), cadenza.MismatchError),
        (trainer(optimizer="sgd").checkpoint(), cadenza.MismatchError),
        (checkpoint[:-9] + b"x" + checkpoint[-8:], cadenza.InvalidFileError),
        (checkpoint[:50], cadenza.InvalidFileError),
        (b"", cadenza.InvalidFileError),
    ]:
        with pytest.raises(error):
            ours.restore(wrong)
    for ours_, expected in zip(ours.model.get_weights(), before):
        assert_same_bits(ours_, expected)


def test_what_is_no_number_changes_nothing():
    x, y = rain_data()
    ours = trainer()
    ours.update(x[:8], y[:8])
    before, state = ours.model.get_weights(), ours.checkpoint()
    wrong = x[:8].copy()
    wrong[3, 2, 1] = np.nan
    with pytest.raises(cadenza.InvalidArgumentError, match="the loss is NaN; the weights are as before"):
        ours.update(wrong, y[:8])
    for value, expected in zip(ours.model.get_weights(), before):
        assert_same_bits(value, expected)
    assert ours.checkpoint() == state
    classes = cadenza.Trainer(cadenza.build(None, 3, [("Dense", {"units": 4})]), losses.SparseCategoricalCrossentropy(True))
    for label in (4, -1, np.nan):
        with pytest.raises(cadenza.InvalidArgumentError, match="no class"):
            classes.update(samples(1, 2, 3), np.array([[0, label]]))


@pytest.mark.parametrize(
    ("spoil", "where"),
    [(0, "epoch 1, batch 3"), (1, "epoch 2, batch 3"), (None, "epoch 1, validation batch 1")],
    ids=["first epoch", "second epoch", "validation"],
)
def test_fit_names_the_batch_that_is_no_number(spoil, where):
    x, y = (part[:80].copy() for part in rain_data())

    class Spoil(callbacks.Callback):
        def on_epoch_begin(self, epoch):
            if epoch == spoil:
                y[42] = np.nan

        def on_batch_end(self, batch, loss):
            self.after = self.trainer.checkpoint()

    ours, spoiling = trainer(), Spoil()
    if spoil is None:
        x[79] = np.nan
    with pytest.raises(cadenza.InvalidArgumentError, match=f"^{where}: the loss is NaN"):
        ours.fit(x, y, 2, 16, shuffle=False, validation_split=0.1, callbacks=[spoiling], verbose=False)
    assert ours.checkpoint() == spoiling.after
    assert ours.model.nonfinite_weights == 0


FULL = """
import resource, sys
import cadenza
model = cadenza.load(sys.argv[1])
trainer = cadenza.Trainer(model, "mse")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for path in sys.argv[1:]:
    save = trainer.save_checkpoint if path.endswith(".checkpoint") else model.save
    try:
        save(path)
    except cadenza.OperatingSystemError as error:
        print(error)
"""


def test_a_full_disk_leaves_the_old_file(tmp_path):
    model = fresh()
    paths = [tmp_path / name for name in ("a.safetensors", "a.keras", "a.weights.h5", "a.checkpoint")]
    for path in paths[:3]:
        model.save(path)
    cadenza.Trainer(model, "mse").save_checkpoint(paths[3])
    before = [path.read_bytes() for path in paths]
    made = subprocess.run([sys.executable, "-c", FULL, *paths], capture_output=True, text=True, check=True)
    said = made.stdout.splitlines()
    assert len(said) == 4 and all(str(path) in line and "large" in line for path, line in zip(paths, said)), made
    assert [path.read_bytes() for path in paths] == before
    assert sorted(tmp_path.iterdir()) == sorted(paths)


@pytest.mark.parametrize(
    "rule",
    [optimizers.Adam(optimizers.ExponentialDecay(0.01, 3, 0.5), global_clipnorm=0.05),
     optimizers.AdamW(use_ema=True, ema_overwrite_frequency=2, gradient_accumulation_steps=2)],
    ids=["clipped", "averaged"],
)  # fmt: skip
def test_gradients_from_outside_train_as_an_update_does(rule):
    x, y = rain_data()
    ours, by_hand = trainer(optimizer=rule, frozen=["lstm_1"]), trainer(optimizer=rule, frozen=["lstm_1"])
    for start in range(0, 96, 16):
        batch = x[start : start + 16], y[start : start + 16]
        ours.update(*batch)
        by_hand.apply_gradients(by_hand.gradients(*batch)[1])
    assert by_hand.updates == ours.updates == 6
    assert_same_weights(ours.model, by_hand.model)


def test_wrong_gradients_from_outside_change_nothing():
    x, y = rain_data()
    ours = cadenza.Trainer(fresh(), frozen=["lstm_1"])
    with pytest.raises(cadenza.InvalidArgumentError, match="no output has a loss"):
        ours.update(x[:8], y[:8])
    before = ours.checkpoint()
    gradients = {name: np.ones(ours.model.weights[name].shape) for name in ours.model.weights if "lstm_1" not in name}
    for name, wrong in (("lstm/kernel", np.nan), ("dense/bias", np.inf)):
        with pytest.raises(cadenza.InvalidArgumentError, match="a gradient is NaN or infinite; the weights are as before"):
            ours.apply_gradients({**gradients, name: gradients[name] * wrong})
    with pytest.raises(cadenza.InvalidArgumentError, match="the gradient of 'lstm/bias' of shape"):
        ours.apply_gradients({**gradients, "lstm/bias": np.ones(3)})
    with pytest.raises(cadenza.InvalidArgumentError, match="expected gradients lstm/kernel"):
        ours.apply_gradients({"lstm/kernel": gradients["lstm/kernel"]})
    with pytest.raises(cadenza.InvalidArgumentError, match="expected gradients lstm/kernel"):
        ours.apply_gradients({**gradients, "lstm_1/bias": np.ones(64)})
    assert ours.checkpoint() == before
    ours.apply_gradients(gradients)
    assert ours.checkpoint() != before


def test_wrong_shapes_and_names():
    x, y = rain_data()
    ours = trainer()
    with pytest.raises(cadenza.InvalidArgumentError, match="expected targets of shape"):
        ours.update(x[:8], np.zeros((8, 2)))
    with pytest.raises(cadenza.InvalidArgumentError, match="expected 8 rows of targets"):
        ours.update(x[:8], y[:7])
    with pytest.raises(cadenza.InvalidArgumentError, match="sample weights"):
        ours.update(x[:8], y[:8], sample_weight=np.ones((8, 3)))
    with pytest.raises(cadenza.InvalidArgumentError, match="expected a loss out of"):
        cadenza.Trainer(fresh(), "nothing")
    with pytest.raises(cadenza.InvalidArgumentError, match="expected an optimizer out of"):
        cadenza.Trainer(fresh(), "mse", "nothing")
    with pytest.raises(cadenza.InvalidArgumentError, match="expected options of SGD"):
        optimizers.SGD(beta_1=0.9)
    with pytest.raises(cadenza.InvalidArgumentError, match="accumulation"):
        cadenza.Trainer(fresh(), "mse", optimizers.SGD(gradient_accumulation_steps=0))


def test_weights_set_between_updates_count():
    x, y = rain_data()
    ours, other = trainer(seed=0), trainer(seed=0)
    ours.update(x[:8], y[:8])
    weights = [weight * 0.5 for weight in ours.model.get_weights()]
    ours.model.set_weights(weights)
    other.model.set_weights(weights)
    assert ours.test(x[:8], y[:8]) == other.test(x[:8], y[:8])
    ours.update(x[:8], y[:8])
    assert ours.test(x[:8], y[:8]) != other.test(x[:8], y[:8])


def test_sample_and_class_weights():
    x, y = rain_data()
    ours = cadenza.Trainer(fresh(), "binary_crossentropy")
    one = [ours.test(x[i : i + 1], y[i : i + 1]) for i in range(6)]
    weights = np.array([0.5, 2, 0, 1, 3, 0.1])
    assert ours.test(x[:6], y[:6], sample_weight=weights) == pytest.approx(np.mean(np.array(one) * weights), rel=1e-5)
    by_class = np.where(y[:6] > 0.5, 3.0, 0.5)
    data = ours._data(x[:6], y[:6], None, {0: 0.5, 1: 3.0})
    assert np.allclose(data.weights[0].reshape(-1), by_class)


def test_frozen_layers_stay():
    x, y = rain_data()
    model = fresh()
    name = model.layers[1].name
    before = {key: model.weights[key] for key in model.weights}
    cadenza.Trainer(model, "binary_crossentropy", frozen=[name]).update(x[:8], y[:8])
    for key, value in before.items():
        assert np.array_equal(model.weights[key], value) == key.startswith(f"{name}/")


def test_truncated_windows_and_stateful():
    model = cadenza.build(None, 1, [("LSTM", {"units": 8, "return_sequences": True}), ("Dense", {"units": 1})], seed=2)
    wave = np.sin(np.arange(121) * 0.3, dtype=np.float32)
    x, y = wave[np.newaxis, :-1, np.newaxis], wave[np.newaxis, 1:, np.newaxis]
    ours = cadenza.Trainer(model, "mse", optimizers.Adam(0.02))
    history = ours.fit(x, y, epochs=15, window=20, verbose=False)
    assert ours.updates == 15 * 6
    assert history.history["loss"][-1] < 0.1 * history.history["loss"][0]
    pieces = x.reshape(6, 20, 1), y.reshape(6, 20, 1)
    ours.fit(*pieces, epochs=2, batch_size=1, stateful=True, verbose=False)
    with pytest.raises(cadenza.MismatchError, match="the carried states have 1 rows"):
        ours.update(np.repeat(x, 2, axis=0), np.repeat(y, 2, axis=0), carry_state=True)


def test_learning_on_a_live_stream():
    model = cadenza.build(None, 1, [("GRU", {"units": 6}), ("Dense", {"units": 1})], seed=3)
    ours, stream = cadenza.Trainer(model, "mse", optimizers.SGD(0.05)), model.stream()
    wave = np.sin(np.arange(400) * 0.4)
    errors = []
    for sample, target in zip(wave[:-1], wave[1:]):
        state = stream.get_state()
        errors.append((stream.step([sample])[0] - target) ** 2)
        ours.update([[[sample]]], [[target]], states=state)
    assert np.mean(errors[-50:]) < 0.3 * np.mean(errors[:50])


def test_several_outputs(branching):
    model = cadenza.load(branching.to_bytes())
    ours = cadenza.Trainer(model, {"gru": "mse", "head": losses.Huber(weight=0.5)}, metrics={"head": ["mae"]})
    x = [samples(6, 5, 3), samples(6, 5, 2, seed=1)]
    y = {"gru": samples(6, 5, seed=2), "head": samples(6, 4, seed=3)}
    history = ours.fit(x, y, epochs=20, batch_size=3, verbose=False)
    assert set(history.history) == {"loss", "gru_loss", "head_loss", "head_mae"}
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_callbacks(tmp_path):
    x, y = rain_data()
    x, y = x[:128], y[:128]
    ours = trainer(metrics=["accuracy"])
    seen = []
    history = ours.fit(
        x, y, epochs=50, verbose=False, validation_data=(x, 1 - y),
        callbacks=[
            callbacks.EarlyStopping(patience=2, restore_best_weights=True),
            callbacks.ReduceLROnPlateau(patience=1, factor=0.5, min_delta=0),
            callbacks.CSVLogger(tmp_path / "log.csv"),
            callbacks.ModelCheckpoint(tmp_path / "{epoch}.safetensors"),
            callbacks.ModelCheckpoint(tmp_path / "last.checkpoint"),
            lambda epoch, logs: seen.append((epoch, logs["loss"])),
        ],
    )  # fmt: skip
    assert len(history.epoch) < 50 and ours.stop_training
    assert ours.learning_rate < 0.005
    assert seen == list(zip(history.epoch, history.history["loss"]))
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == pytest.approx(history.history["val_loss"])
    best = int(np.argmin(history.history["val_loss"]))
    assert_same_weights(cadenza.load(tmp_path / f"{best + 1}.safetensors"), ours.model)
    assert (tmp_path / "last.checkpoint").exists()


def test_learning_rates():
    x, y = rain_data()
    ours = trainer(optimizer=optimizers.SGD(optimizers.ExponentialDecay(0.1, 1, 0.5)))
    for expected in (0.1, 0.05, 0.025):
        ours.update(x[:4], y[:4])
        assert ours.learning_rate == pytest.approx(expected)
    ours = trainer()
    rates = []
    schedule = callbacks.LearningRateScheduler(lambda epoch, rate: 0.1 / (epoch + 1))
    ours.fit(x[:32], y[:32], epochs=3, verbose=False, callbacks=[schedule, lambda *_: rates.append(ours.learning_rate)])
    assert rates == pytest.approx([0.1, 0.05, 0.1 / 3])


def test_metrics():
    y, p = np.array([[0.0], [1], [1], [0]]), np.array([[0.2], [0.7], [0.4], [0.9]])
    expected = {"binary_accuracy": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5, "auc": 0.5, "mae": 0.5, "mse": 0.325}
    for name, value in expected.items():
        metric = metrics.get(name, width=1, is_sparse=False)
        metric.update(y, p, np.ones(4))
        assert metric.result() == pytest.approx(value), name
    label, shares = np.array([[2.0], [0]]), np.array([[0.1, 0.2, 0.7], [0.2, 0.5, 0.3]])
    for name, value in {"sparse_categorical_accuracy": 0.5, "perplexity": np.exp(-np.log([0.7, 0.2]).mean())}.items():
        metric = metrics.get(name, width=3, is_sparse=True)
        metric.update(label, shares, np.ones(2))
        assert metric.result() == pytest.approx(value)
    top = metrics.TopKCategoricalAccuracy(2)
    top.update(label, shares, np.ones(2))
    assert top.result() == 0.5


@pytest.mark.parametrize("loss", [losses.GaussianNLL(), losses.GaussianNLL(0.7), losses.MixtureNLL(2)], ids=repr)
def test_likelihoods_by_formula_and_finite_differences(loss):
    width = 10 if isinstance(loss, losses.MixtureNLL) else 4
    model = cadenza.build(None, 3, [("GRU", {"units": 5, "return_sequences": True}), ("Dense", {"units": width})], seed=1)
    ours = cadenza.Trainer(model, loss)
    target = loss.target_width(width)
    x, y = samples(2, 4, 3), samples(2, 4, target, seed=1)

    def normal(mean, log_variance):
        return -0.5 * np.sum(np.log(2 * np.pi) + log_variance + (y - mean) ** 2 / np.exp(log_variance), axis=-1)

    p = model.predict(x).astype(float)
    if isinstance(loss, losses.MixtureNLL):
        shares = np.exp(p[..., :2]) / np.exp(p[..., :2]).sum(axis=-1, keepdims=True)
        parts = [shares[..., k] * np.exp(normal(p[..., 2 + 2 * k : 4 + 2 * k], p[..., 6 + 2 * k : 8 + 2 * k])) for k in range(2)]
        expected = -np.log(sum(parts)).mean()
    elif loss.options["sigma"] < 0:
        expected = -normal(p[..., :2], p[..., 2:]).mean()
    else:
        expected = -normal(p, np.full_like(p, 2 * np.log(0.7))).mean()
    assert ours.test(x, y) == pytest.approx(expected, rel=1e-5)
    _, gradients = ours.gradients(x, y)
    for name, gradient in gradients.items():
        value = model.weights[name]
        direction = gradient / np.linalg.norm(gradient)
        around = []
        for offset in (-1, 1):
            model.weights[name] = value + offset * 1e-2 * direction
            around.append(ours.test(x, y))
        model.weights[name] = value
        assert (around[1] - around[0]) / 2e-2 == pytest.approx(np.linalg.norm(gradient), rel=0.02), name


def test_saved_for_keras_and_back(tmp_path, rain, bidirectional):
    for model in (rain, bidirectional):
        model.save(tmp_path / "model.keras")
        model.save(tmp_path / "model.weights.h5")
        assert cadenza.load(tmp_path / "model.keras").fingerprint == model.fingerprint
        assert cadenza.load(tmp_path / "model.weights.h5", model.to_json()).fingerprint == model.fingerprint
    old = cadenza.load(RAIN / "rain.h5")
    with pytest.raises(cadenza.UnsupportedError, match="Keras 2"):
        old.save(tmp_path / "model.keras")


def test_history_plots():
    pytest.importorskip("matplotlib")
    import matplotlib

    matplotlib.use("agg")
    x, y = rain_data()
    axes = trainer().fit(x[:32], y[:32], epochs=2, verbose=False).plot()
    assert [line.get_label() for line in axes.lines] == ["loss"]


@pytest.mark.parametrize("threads, memory_limit", [(2, 0), (3, 0), (1, 220_000), (2, 220_000)])
def test_threads_and_a_memory_limit_leave_the_bits(threads, memory_limit):
    layers = [
        ("LSTM", {"units": 9, "return_sequences": True, "dropout": 0.2, "recurrent_dropout": 0.1}),
        ("GRU", {"units": 6, "return_sequences": True, "go_backwards": True}),
        ("Bidirectional", {"layer": {"module": "keras.layers", "class_name": "SimpleRNN",
                                     "config": {"name": "inner", "units": 4, "return_sequences": True}}}),
        ("GRU", {"units": 5, "reset_after": False}),
        ("Dense", {"units": 2}),
    ]  # fmt: skip
    x, y = samples(8, 40, 3, seed=1), samples(8, 2, seed=2)
    models = [cadenza.build(None, 3, layers, seed=3) for _ in range(2)]
    one = cadenza.Trainer(models[0], "mse", seed=1)
    other = cadenza.Trainer(models[1], "mse", seed=1, threads=threads, memory_limit=memory_limit)
    for _ in range(3):
        assert one.update(x, y) == other.update(x, y)
    assert_same_weights(*models)
    assert one.checkpoint() == other.checkpoint()

    tapes = [cadenza.Tape(models[0]), cadenza.Tape(models[0], threads=threads, memory_limit=memory_limit)]
    answers = [tape.forward(x, seed=7) for tape in tapes]
    assert_same_bits(*answers)
    for _ in range(2):  # a run can be run backward any number of times
        found, expected = (tape.backward(y) for tape in tapes)
        assert_same_bits(found.inputs[0], expected.inputs[0])
        for name, gradient in found.weights.items():
            assert_same_bits(gradient, expected.weights[name])


def test_a_memory_limit_that_is_too_small():
    x, y = rain_data()
    ours = trainer(memory_limit=1000)
    before = ours.checkpoint()
    with pytest.raises(cadenza.OutOfMemoryError, match="memory_limit"):
        ours.update(x[:8], y[:8])
    assert ours.checkpoint() == before


def test_gradients_that_are_refused_replace_none():
    model = cadenza.build(None, 3, [("LSTM", {"units": 4, "return_sequences": True}), ("Dense", {"units": 2})], seed=1)
    trainer, x, y = cadenza.Trainer(model, "mse", "sgd"), samples(4, 5, 3), samples(4, 5, 2)
    _, before = trainer.gradients(x, y)
    weights = model.get_weights()
    given = {name: np.full_like(gradient, 7) for name, gradient in before.items()}
    given[list(given)[-1]][...] = np.nan
    with pytest.raises(cadenza.InvalidArgumentError, match="NaN or infinite; the weights are as before"):
        trainer.apply_gradients(given)
    frozen = cadenza.Tape(model, frozen=[model.layers[-1].name])
    frozen.forward(x)
    frozen.backward(np.ones((4, 5, 2)))
    with pytest.raises(cadenza.InvalidArgumentError, match="does not train it"):
        trainer.apply_gradients(frozen)
    for index, expected in enumerate(before.values()):
        own = np.empty_like(expected)
        bindings.trainer_gradient(trainer._handle, index, own.ctypes.data, own.size)
        assert_same_bits(own, expected)
    for one, other in zip(model.get_weights(), weights, strict=True):
        assert_same_bits(one, other)
