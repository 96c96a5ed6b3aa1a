"""Generators against plain loops over Keras cells: nested ones over random models and options, and the examples' models.

CADENZA_NESTED_CASES says how many cases (300), CADENZA_NESTED_FIRST the first seed (0).
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from conftest import REPOSITORY

import cadenza
from cadenza import Feedback, Level, Nested, SelfFeeding, sample, stop

os.environ.setdefault("KERAS_BACKEND", "numpy")
pytest.importorskip("keras", reason="keras, to compare with, cannot be imported")
nested_cells = pytest.importorskip("nested_cells")

CASES = int(os.environ.get("CADENZA_NESTED_CASES", "300"))
FIRST = int(os.environ.get("CADENZA_NESTED_FIRST", "0"))
TOLERANCE = 1e-5
EXAMPLES = REPOSITORY / "examples"


def as_stop(given: dict) -> cadenza.Stop:
    kind, (of, index) = given["kind"], given["of"]
    if kind == "token":
        return stop.token(given["element"])
    options = {of: index, "through": cadenza.load(given["through"][0]) if given.get("through") else None}
    if kind == "gate":
        return stop.gate(element=given["element"], **options)
    if not kind.startswith("norm"):
        options["element"] = given["element"]
    return getattr(stop, kind)(given["threshold"], **options)


def as_nested(case) -> Nested:
    feedback = case.feedback and Feedback(
        case.feedback,
        first=case.part[0],
        size=case.part[1],
        one_hot=case.b.sizes[0] if case.feedback == "sample" else 0,
        model=cadenza.load(case.link[0]) if case.link else None,
    )
    level = Level(
        cadenza.load(case.b.model),
        feedback=feedback,
        sampler=None if case.temperature is None else sample.categorical(temperature=case.temperature),
        stops=[as_stop(one) for one in case.stops],
        limit=case.limit,
        minimum=case.minimum,
        stopping=case.stopping,
        seeds=case.seeds,
        counted=case.counts is not None,
        state=case.state,
        initial_state=cadenza.load(case.initial[0]) if case.initial else None,
        drive=case.drive,
        driver_output=case.driver_output,
        upward=case.upward and case.upward[0],
        upward_index=case.upward[1] if case.upward else 0,
    )
    return Nested(cadenza.load(case.a.model), level, batch=len(case.x))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + CASES))
def test_random_case(seed, record_property):
    case = nested_cells.random_case(seed)
    expected = nested_cells.run(case)
    nested = as_nested(case)
    ragged = nested.run(case.x, counts=case.counts)
    assert ragged.lengths.tolist() == [[len(one) for one in row] for row in expected.series]
    assert nested.reasons() == sum(expected.reasons, [])
    assert nested.steps() == expected.steps
    values = np.concatenate([one for row in expected.series for one in row])
    largest = max(1.0, np.abs(values).max(initial=0))
    worst = np.abs(ragged.values - values).max(initial=0) / largest
    record_property("largest difference from a loop over Keras cells", worst)
    assert worst <= TOLERANCE
    for row in range(len(case.x)):
        assert nested.row(row).cut == sum(reason == "limit" for reason, _ in expected.reasons[row])


# ── Self-feeding: the trained examples ───────────────────────────────────────────────────────────────────


def keras_cell(path):
    """A model of Embedding (or not), LSTM and Dense as a function (values of a step, states) -> (answers, states)."""
    import keras

    *front, lstm, dense = (layer for layer in keras.models.load_model(path, compile=False).layers)
    embedding = [layer for layer in front if layer.weights]

    def step(values, states):
        x = np.asarray(embedding[0](np.asarray(values, np.int32)))[:, 0] if embedding else values
        output, states = lstm.cell.call(x, states)
        return np.asarray(dense(output)), [np.asarray(state) for state in states]

    return step, lambda: [np.zeros((1, lstm.units), np.float32)] * 2


def test_a_batch_of_sines_is_a_loop_over_keras_cells(record_property):
    model = cadenza.load(EXAMPLES / "sine" / "sine.keras")
    step, zero = keras_cell(EXAMPLES / "sine" / "sine.keras")
    lengths, steps = [1, 17, 100, 0], 300
    primers = np.stack([np.sin(np.linspace(start, start + 10, 100)) for start in (0, 1, 2, 3)]).astype(np.float32)
    generator = SelfFeeding(model, batch=4)
    generator.prime(primers[..., None], lengths=lengths)
    made = generator.run(steps).values[..., 0]
    for row, length in enumerate(lengths):
        value, states, expected, forced = np.zeros((1, 1), np.float32), zero(), [], []
        for given in primers[row, :length]:
            value, states = step(np.full((1, 1), given), states)
        if not length:  # nothing was given: the first step is fed with the start, zero
            value, states = step(value, states)
        aside = states
        for number in range(steps):
            expected.append(value[0, 0])
            value, states = step(value, states)
            answer, aside = step(made[row, number].reshape(1, 1), aside)
            forced.append(answer[0, 0])
        free, taught = np.abs(made[row] - expected).max(), np.abs(made[row, 1:] - forced[:-1]).max()
        record_property("largest difference from Keras, sine, free-running", free)
        record_property("largest difference from Keras, sine, each step on the same input", taught)
        assert taught <= 1e-6 and free <= TOLERANCE


@pytest.mark.parametrize("seed, temperature", [(1, 0.5), (2, 1.0), (3, 0)])
def test_the_character_model_writes_what_a_loop_over_keras_cells_draws(seed, temperature):
    step, states = keras_cell(EXAMPLES / "characters" / "characters.keras")
    states, prompt, drawn, logs = states(), [1, 20, 30], [], []
    for character in prompt:
        logits, states = step([[character]], states)
    random = nested_cells.Philox(seed)
    for _ in range(200):
        drawn.append(nested_cells.draw(logits[0], temperature, random))
        logs.append(logits[0, drawn[-1]] - np.log(np.exp(logits[0].astype(np.float64)).sum()))
        logits, states = step([[drawn[-1]]], states)
    generator = SelfFeeding(
        cadenza.load(EXAMPLES / "characters" / "characters.keras"),
        feedback="sample",
        sampler=sample.categorical(temperature=temperature) if temperature else sample.argmax(),
        seeds=[seed],
    )
    generator.prime(prompt)
    made = generator.run(200)
    assert made.drawn[0, :, 0].tolist() == drawn
    np.testing.assert_allclose(made.log_probabilities[0], logs, atol=1e-4)
