"""Nested generators against a plain loop over Keras cells, over random models and options.

CADENZA_NESTED_CASES says how many cases (300), CADENZA_NESTED_FIRST the first seed (0).
"""

from __future__ import annotations

import os

import numpy as np
import pytest

import cadenza
from cadenza import Feedback, Level, Nested, sample, stop

os.environ.setdefault("KERAS_BACKEND", "numpy")
pytest.importorskip("keras", reason="keras, to compare with, cannot be imported")
nested_cells = pytest.importorskip("nested_cells")

CASES = int(os.environ.get("CADENZA_NESTED_CASES", "300"))
FIRST = int(os.environ.get("CADENZA_NESTED_FIRST", "0"))
TOLERANCE = 1e-5


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
