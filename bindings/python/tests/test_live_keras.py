"""Live comparison with Keras over random models: whole sequences, streams step by step, random chunks.

CADENZA_LIVE_MODELS says how many models (300), CADENZA_LIVE_FIRST the first seed (0), and KERAS_BACKEND which backend
answers (numpy).
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from conftest import assert_same_bits, one_or_all, streamed, worst_difference

import cadenza

os.environ.setdefault("KERAS_BACKEND", "numpy")
pytest.importorskip("keras", reason="keras, to compare with, cannot be imported")
random_models = pytest.importorskip("random_models")

MODELS = int(os.environ.get("CADENZA_LIVE_MODELS", "300"))
FIRST = int(os.environ.get("CADENZA_LIVE_FIRST", "0"))
BATCH = 3
LENGTH = 9
TOLERANCE = 1e-5


@pytest.mark.parametrize("seed", range(FIRST, FIRST + MODELS))
def test_random_model(seed, record_property):
    drawn = random_models.random_model(seed)
    model = cadenza.load(drawn.model)
    inputs = random_models.random_inputs(drawn.model, seed, BATCH, LENGTH)

    answers = model.predict(one_or_all(inputs))
    compared = Comparison()
    compared.hold(answers if isinstance(answers, list) else [answers], random_models.answers(drawn.model, inputs))

    assert model.streamable == drawn.streams, model.reason
    if model.streamable:
        compare_stream(model, drawn, inputs, np.random.default_rng(seed), compared)
    record_property("largest difference from Keras", compared.worst)


class Comparison:
    """Holds that answers are Keras's, and keeps the worst difference."""

    worst = 0.0

    def hold(self, answers: list[np.ndarray], expected: list[np.ndarray]) -> None:
        assert len(answers) == len(expected)
        for index, (answer, keras) in enumerate(zip(answers, expected)):
            difference = worst_difference(answer, keras)
            assert difference <= TOLERANCE, f"output {index}"
            self.worst = max(self.worst, difference)


def compare_stream(model, drawn, inputs, random, compared: Comparison) -> None:
    """Streams the inputs, and holds the answer at each step against Keras's for the prefix that ends there; then cuts
    them into random chunks, which must give the same bits."""
    steps = inputs[0].shape[1]
    stepped = streamed(model, inputs, list(range(1, steps)))
    for end in range(1, steps + 1) if drawn.length is None else [steps]:
        answers = [
            answer[:, :end] if tensor.has_time else answer[:, end - 1] for tensor, answer in zip(model.outputs, stepped)
        ]
        compared.hold(answers, random_models.answers(drawn.model, [value[:, :end] for value in inputs]))
    for _ in range(3):
        cuts = random.integers(0, steps + 1, size=random.integers(0, 5)).tolist()
        for chunks, answer in zip(streamed(model, inputs, cuts), stepped):
            assert_same_bits(chunks, answer)
