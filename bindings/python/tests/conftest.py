"""What the tests share: where things are, models to play with, comparisons."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import cadenza

REPOSITORY = Path(__file__).resolve().parents[3]
RAIN = REPOSITORY / "examples" / "rain"

sys.path.insert(0, str(REPOSITORY / "Tests" / "live"))

RAIN_LAYERS = [
    ("LSTM", {"units": 32, "return_sequences": True}),
    ("LeakyReLU", {"negative_slope": 0.3}),
    ("Dropout", {"rate": 0.2}),
    ("LSTM", {"units": 16}),
    ("Dropout", {"rate": 0.2}),
    ("LeakyReLU", {"negative_slope": 0.3}),
    ("Dense", {"units": 1, "activation": "sigmoid"}),
]


def randomized(model: cadenza.Model, seed: int) -> cadenza.Model:
    """The model with every weight random: no zero biases behind which swapped gates could hide."""
    generator = np.random.default_rng(seed)
    model.set_weights([generator.normal(scale=0.4, size=weight.shape) for weight in model.get_weights()])
    return model


def samples(*shape: int, seed: int = 0) -> np.ndarray:
    """Random float32 numbers of a shape."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def assert_same_bits(actual: np.ndarray, expected: np.ndarray) -> None:
    """Holds that the arrays are equal to the last bit, NaNs included."""
    assert actual.dtype == expected.dtype == np.float32
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()


def worst_difference(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest finite expected number. Where Keras answers NaN or infinity,
    so must the library."""
    assert actual.shape == expected.shape
    finite = np.isfinite(expected)
    if not np.array_equal(actual[~finite], expected[~finite], equal_nan=True):
        return np.inf
    if not finite.any():
        return 0.0
    return float(np.abs(actual - expected)[finite].max() / max(np.abs(expected[finite]).max(), 1e-30))


GRADIENT_TOLERANCE = 1e-4


def gradient_difference(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The worst of a run's gradients, pairs of found and expected: each relative to its own largest number, or to a hundredth
    of the largest of all, where it is less: what is nothing but rounding is compared beside the others."""
    least = 0.01 * max((np.abs(expected).max() for _, expected in pairs if expected.size), default=0.0)
    worst = 0.0
    for found, expected in pairs:
        assert found.shape == expected.shape
        assert np.isfinite(expected).all()
        if expected.size:
            worst = max(worst, float(np.abs(found - expected).max() / max(np.abs(expected).max(), least, 1e-30)))
    return worst


def assert_gradients(pairs: list[tuple[np.ndarray, np.ndarray]], record_property, what: str) -> None:
    """Holds a run's gradients against TensorFlow's."""
    worst = gradient_difference(pairs)
    record_property(f"largest difference from TensorFlow's gradients {what}", worst)
    assert worst <= GRADIENT_TOLERANCE


def streamed(model: cadenza.Model, inputs: list[np.ndarray], cuts: list[int], stream: cadenza.Stream | None = None):
    """The answers for whole inputs [batch, time, …], through a stream, in chunks that end at the cuts: a list of
    arrays [batch, time, …], one for each output. Inputs without a time axis are given at each step."""
    timed = [value for tensor, value in zip(model.inputs, inputs) if tensor.has_time]
    steps = timed[0].shape[1]
    everywhere = [
        value if tensor.has_time else np.repeat(value[:, np.newaxis], steps, axis=1)
        for tensor, value in zip(model.inputs, inputs)
    ]
    stream = stream or model.stream(batch=len(inputs[0]))
    pieces = []
    for start, end in itertools.pairwise([0, *sorted(cuts), steps]):
        answers = stream.run(one_or_all([value[:, start:end] for value in everywhere]))
        pieces.append(answers if isinstance(answers, list) else [answers])
    return [np.concatenate(piece, axis=1) for piece in zip(*pieces)]


def one_or_all(values: list) -> object:
    """What `predict`, `step` and `run` take and give: the value alone where there is one."""
    return values[0] if len(values) == 1 else values


@pytest.fixture(scope="session")
def rain() -> cadenza.Model:
    """LSTM 32 → LeakyReLU → Dropout → LSTM 16 → Dropout → LeakyReLU → Dense sigmoid: (7, 3) → (1,)."""
    return randomized(cadenza.build(7, 3, RAIN_LAYERS), seed=1)


@pytest.fixture(scope="session")
def bidirectional() -> cadenza.Model:
    """A model that needs the whole sequence."""
    lstm = {"module": "keras.layers", "class_name": "LSTM", "config": {"name": "lstm", "units": 4}}
    return cadenza.build(None, 3, [("Bidirectional", {"layer": lstm}), ("Dense", {"units": 2})])


def tensor(name: str, *shape: int | None) -> dict:
    """A layer's output as Keras 3 writes it where another layer takes it."""
    return {
        "class_name": "__keras_tensor__",
        "config": {"shape": [None, *shape], "dtype": "float32", "keras_history": [name, 0, 0]},
    }


def layer(class_name: str, name: str, arguments: list, **config: object) -> dict:
    """A layer of a functional model as Keras 3 writes it."""
    return {
        "module": "keras.layers",
        "class_name": class_name,
        "config": {"name": name, **config},
        "registered_name": None,
        "name": name,
        "inbound_nodes": [{"args": arguments, "kwargs": {}}] if arguments else [],
    }


@pytest.fixture(scope="session")
def branching() -> cadenza.Model:
    """Two inputs, (time, 3) and (time, 2), and two outputs: a GRU's (5,) and a Dense's (4,) of both branches."""
    config = {
        "name": "branching",
        "layers": [
            layer("InputLayer", "wind", [], batch_shape=[None, None, 3]),
            layer("InputLayer", "tide", [], batch_shape=[None, None, 2]),
            layer("GRU", "gru", [tensor("wind", None, 3)], units=5),
            layer("LSTM", "lstm", [tensor("tide", None, 2)], units=6),
            layer("Concatenate", "both", [[tensor("gru", 5), tensor("lstm", 6)]], axis=-1),
            layer("Dense", "head", [tensor("both", 11)], units=4, activation="tanh"),
        ],
        "input_layers": [["wind", 0, 0], ["tide", 0, 0]],
        "output_layers": [["gru", 0, 0], ["head", 0, 0]],
    }
    architecture = {"module": "keras", "class_name": "Functional", "config": config, "registered_name": "Functional"}
    return randomized(cadenza.from_json(architecture), seed=2)


def pytest_configure(config) -> None:
    config.addinivalue_line("markers", "a_gigabyte: needs a package too large to install everywhere; may always be skipped")


def required(report, what_was_skipped: str):
    """With CADENZA_REQUIRE_ALL=1, what is skipped has failed."""
    if report.skipped and os.environ.get("CADENZA_REQUIRE_ALL") == "1":
        report.outcome = "failed"
        report.longrepr = f"{what_was_skipped} was skipped, under CADENZA_REQUIRE_ALL=1: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    return report if item.get_closest_marker("a_gigabyte") else required(report, item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return required((yield), collector.nodeid)


def pytest_terminal_summary(terminalreporter) -> None:
    """Says how many measurements the tests recorded, and the largest of each kind."""
    measured: dict[str, list[float]] = {}
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties if report.when == "call" else ():
            measured.setdefault(name, []).append(value)
    for name, values in measured.items():
        terminalreporter.write_line(f"{name}: {max(values):.3g}, of {len(values)}")
