"""Training on series of different lengths: the numbers are those of the series one by one."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import randomized, samples

import cadenza
from cadenza import losses

LENGTHS = [4, 1, 6, 3, 6]
INNER = {"module": "keras.layers", "class_name": "GRU", "config": {"name": "inner", "units": 4, "return_sequences": True}}
MODELS = {
    "causal": [("GRU", {"units": 4, "return_sequences": True}), ("Dense", {"units": 2})],
    "masked": [("Masking", {"mask_value": -1.0}), ("Bidirectional", {"layer": INNER}), ("Dense", {"units": 2})],
    "last": ["Masking", ("LSTM", {"units": 4}), ("Dense", {"units": 2})],
}


def random_series(*width: int, seed: int = 0) -> list[np.ndarray]:
    return [samples(length, *width, seed=seed + row) for row, length in enumerate(LENGTHS)]


def made(name: str) -> tuple[cadenza.Model, list, list]:
    model = randomized(cadenza.build(None, 3, MODELS[name]), 1)
    x = random_series(3)
    return model, x, [row[-1] for row in random_series(2, seed=9)] if name == "last" else random_series(2, seed=9)


@pytest.mark.parametrize("weighted", [None, "rows", "steps"])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_those_of_the_rows(name, reduction, weighted):
    model, x, y = made(name)
    trainer = cadenza.Trainer(model, losses.MeanSquaredError(reduction=reduction))
    summing = cadenza.Trainer(model, losses.MeanSquaredError(reduction="sum"))
    random = np.random.default_rng(3)
    sizes = [1 if name == "last" else length for length in LENGTHS]
    weights = [np.full(size, random.uniform(0.5, 2)) if weighted == "rows" else random.uniform(0.5, 2, size) for size in sizes]
    given = [row[0] for row in weights] if weighted == "rows" or name == "last" else weights
    if weighted is None:
        weights, given = [np.ones(size) for size in sizes], None
    alone = [summing.gradients(one[None], y_[None], w[None]) for one, y_, w in zip(x, y, weights)]
    divisor = {"sum": 1, "sum_over_batch_size": sum(sizes), "mean_with_sample_weight": sum(map(np.sum, weights))}[reduction]
    loss, gradients = trainer.gradients(x, np.array(y) if name == "last" else cadenza.Ragged.from_list(y), given)
    assert loss == pytest.approx(sum(one for one, _ in alone) / divisor, rel=1e-5)
    assert trainer.test(x, np.array(y) if name == "last" else y, given) == pytest.approx(loss, rel=1e-6)
    for key, gradient in gradients.items():
        expected = sum(one[key] for _, one in alone) / divisor
        assert np.abs(gradient - expected).max() <= 1e-5 * max(np.abs(expected).max(), 0.1), key


def test_ids_classes_and_metrics():
    layers = [("Embedding", {"input_dim": 9, "output_dim": 4, "mask_zero": True}), ("LSTM", {"units": 4, "return_sequences": True}),
              ("Dense", {"units": 3, "activation": "softmax"})]  # fmt: skip
    model = randomized(cadenza.build(None, None, layers), 2)
    random = np.random.default_rng(4)
    x, y = ([random.integers(low, high, length) for length in LENGTHS] for low, high in ((1, 9), (0, 3)))
    trainer = cadenza.Trainer(model, "sparse_categorical_crossentropy", metrics=["accuracy"])
    answers = [model.predict(row[None])[0] for row in x]
    right = np.concatenate([answer.argmax(axis=1) == row for answer, row in zip(answers, y)])
    each = np.concatenate([-np.log(answer[np.arange(len(row)), row]) for answer, row in zip(answers, y)])
    found = trainer.evaluate(x, y, batch_size=len(x))
    assert found["loss"] == pytest.approx(each.mean(), rel=1e-5) and found["accuracy"] == pytest.approx(right.mean())
    assert trainer.evaluate(x, y, batch_size=2)["accuracy"] == pytest.approx(right.mean())
    by_class = np.where(np.concatenate(y) == 1, 5.0, 1.0)
    data = trainer._padded(trainer._data(x, y, None, {1: 5.0}))
    assert trainer._call(cadenza._bindings.trainer_evaluate, data, False)[0] == pytest.approx((each * by_class).mean(), rel=1e-5)


def test_fit_on_series():
    random = np.random.default_rng(5)
    x = [random.normal(size=(length, 1)) for length in random.integers(1, 30, 60)]
    y = [(row + np.vstack([np.zeros((1, 1)), row[:-1]])) / 2 for row in x]
    for options in ({}, {"window": 8}):
        model = cadenza.build(None, 1, [("LSTM", {"units": 8, "return_sequences": True}), ("Dense", {"units": 1})], seed=1)
        trainer = cadenza.Trainer(model, "mse", cadenza.optimizers.Adam(0.02), metrics=["mae"])
        history = trainer.fit(x, y, epochs=10, batch_size=4, validation_split=0.2, verbose=False, **options).history
        assert history["loss"][-1] < 0.2 * history["loss"][0] and history["val_mae"][-1] < history["val_mae"][0]


def test_targets_shorter_than_the_inputs():
    """Targets of different lengths beside an array of inputs: steps behind a target's end are not taught."""
    model, _, y = made("causal")
    trainer = cadenza.Trainer(model, "mse")
    x = samples(5, 7, 3)
    error = np.concatenate([((answer[: len(row)] - row) ** 2).mean(axis=1) for answer, row in zip(model.predict(x), y)])
    assert trainer.test(x, y) == pytest.approx(error.mean(), rel=1e-5)


@pytest.mark.parametrize(
    "layers",
    [[("LSTM", {"units": 4})], [("Bidirectional", {"layer": INNER})], [("GRU", {"units": 4, "return_sequences": True, "go_backwards": True})]],
    ids=["last answer", "bidirectional", "backwards"],
)  # fmt: skip
def test_padding_that_would_be_seen_is_refused(layers):
    model = cadenza.build(None, 3, layers)
    trainer, before = cadenza.Trainer(model, "mse"), model.get_weights()
    width = model.outputs[0].shape[-1]
    y = random_series(width) if len(model.outputs[0].shape) == 2 else samples(5, width)
    with pytest.raises(cadenza.InvalidArgumentError, match="expected a model that masks what pads series, and output '.*' sees it"):
        trainer.update(random_series(3), y)
    assert all(np.array_equal(*pair) for pair in zip(model.get_weights(), before))


def test_wrong_series():
    model, x, y = made("causal")
    trainer = cadenza.Trainer(model, "mse")
    for wrong_x, wrong_y, message in [
        (x, y[::-1], "as long as the input's series"),
        (x, samples(5, 6, 2), "as long as the input's series"),
        (x, y[:4], "expected 5 rows of targets"),
        (samples(5, 5, 3), y, "expected series of 5 steps at most, received 6"),
        ([row[:, :2] for row in x], y, "expected input"),
        ([*x[:4], x[0][:0]], y, "expected series of one step or more"),
    ]:
        with pytest.raises(cadenza.InvalidArgumentError, match=message):
            trainer.update(wrong_x, wrong_y)


def test_states_are_carried_past_padding_or_not_at_all():
    model, x, y = made("causal")
    with pytest.raises(cadenza.InvalidArgumentError, match="expected series of one length, or a model that masks padding"):
        cadenza.Trainer(model, "mse").update(x, y, carry_state=True)
    model, x, y = made("last")
    trainer = cadenza.Trainer(model, "mse", cadenza.optimizers.SGD(0.0))
    for _ in range(2):
        trainer.update(x, y, carry_state=True)
    for row, one in enumerate(x):
        stream = model.stream()
        stream.run(np.concatenate([one, one])[None])
        for key, state in stream.get_state().items():
            assert np.abs(trainer.states[key][row] - state[0]).max() <= 1e-5


def test_padding_is_tried_on_where_it_is_given():
    """That targets alone had different lengths before says nothing of the inputs."""
    model = cadenza.build(None, 3, MODELS["masked"][1:])
    trainer = cadenza.Trainer(model, "mse")
    x, y = random_series(3), random_series(2)
    trainer.test(samples(5, 6, 3), y)
    with pytest.raises(cadenza.InvalidArgumentError, match="sees it"):
        trainer.test(x, y)
