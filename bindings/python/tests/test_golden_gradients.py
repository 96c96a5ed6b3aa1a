"""Gradients beside TensorFlow's stored ones: Tests/golden/make_gradients.py says what the file holds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY, assert_gradients, one_or_all, worst_difference

import cadenza


def read(file: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The cases, each with its "arrays" as lists by name."""
    cases = json.loads(file["cases"].tobytes())
    numbers = {False: file["given"].astype(np.float32), True: file["answers"]}
    for case in cases:
        arrays: dict[str, list[np.ndarray]] = {}
        for name, shape, is_answer in case["arrays"]:
            size = int(np.prod(shape, dtype=int))
            values, numbers[is_answer] = np.split(numbers[is_answer], [size])
            arrays.setdefault(name, []).append(values.reshape(shape))
        case["arrays"] = arrays
    assert not any(rest.size for rest in numbers.values())
    return cases


CASES = read(np.load(REPOSITORY / "Tests" / "golden" / "gradients.npz"))


def of(kind: str):
    return pytest.mark.parametrize("case", [pytest.param(case, id=str(i)) for i, case in enumerate(CASES) if case["kind"] == kind])


def test_there_are_hundreds():
    kinds = Counter(case["kind"] for case in CASES)
    assert kinds["model"] >= 200
    assert kinds["nested"] + kinds["self_fed"] >= 60
    assert {case["policy"] for case in CASES if case["kind"] == "nested"} == {"carry", "reset", "given"}


def loaded(architecture: dict, weights: list[np.ndarray]) -> cadenza.Model:
    model = cadenza.from_json(architecture)
    model.set_weights(weights)
    return model


@of("model")
def test_model(case, record_property):
    arrays = case["arrays"]
    model = loaded(case["architecture"], arrays["weight"])
    tape = cadenza.Tape(model)
    outputs = tape.forward(one_or_all(arrays["input"]), training=case["training"])
    for output, expected in zip(outputs if isinstance(outputs, list) else [outputs], arrays["output"], strict=True):
        assert worst_difference(output, expected) <= 1e-5
    found = tape.backward(arrays["factor"])
    pairs = [*zip(found.weights.values(), arrays["weight_gradient"], strict=True)]
    pairs += zip(found.inputs, arrays["input_gradient"], strict=True)
    assert_gradients(pairs, record_property, "of golden models")


@of("nested")
def test_nested(case, record_property):
    arrays = case["arrays"]
    models = {name: loaded(architecture, arrays[name]) for name, architecture in case["architectures"].items()}
    (x,), (counts,), (factor,), (series,) = (arrays[name] for name in ("x", "counts", "factor", "series"))
    run = cadenza.nested(
        cadenza.Unrolled(*models.values()), models["a"], models["b"], x, counts.astype(int), case["policy"],
        models.get("head"), feedback=case["feedback"], upward=case["upward"],
    )  # fmt: skip
    assert worst_difference(run.padded(), series) <= 1e-5
    gradients = run.backward(factor)
    pairs = [(np.stack([value.gradient for value in run.x], axis=1), arrays["x_gradient"][0])]
    for name, model in models.items():
        pairs += zip(gradients[model].values(), arrays[f"{name}_gradient"], strict=True)
    assert_gradients(pairs, record_property, f"of golden nested runs, {case['policy']}")


@of("self_fed")
def test_self_fed(case, record_property):
    arrays = case["arrays"]
    model = loaded(case["architectures"]["model"], arrays["model"])
    (primer,), (targets,), (taught,), (factor,), (series,) = (
        arrays[name] for name in ("primer", "targets", "taught", "factor", "series")
    )
    keys = [state.key for state in model.states]
    unrolled = cadenza.Unrolled(model)
    run = cadenza.self_feeding(
        unrolled, model, primer, case["steps"], targets, lambda step: float(taught[step]),
        dict(zip(keys, arrays["state"], strict=True)), case["first"], case["size"],
    )  # fmt: skip
    assert worst_difference(np.stack([value.array for value in run], axis=1), series) <= 1e-5
    gradients = unrolled.backward((value, factor[:, t]) for t, value in enumerate(run))[model]
    pairs = [(np.stack([value.gradient for value in run.x], axis=1), arrays["primer_gradient"][0])]
    pairs += zip(gradients.values(), arrays["model_gradient"], strict=True)
    pairs += [(run.initial[key].gradient, expected) for key, expected in zip(keys, arrays["state_gradient"], strict=True)]
    assert_gradients(pairs, record_property, "of golden self-fed runs")
