"""What is measured: models with their weights and samples, the same for every contestant."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

RAIN_FILE = Path(__file__).resolve().parents[1] / "examples" / "rain" / "rain.keras"
SAMPLES = 7  # different ones that a stream steps over; answers are compared after that many
RAIN = (("LSTM", 32), ("LeakyReLU", 0.3), ("LSTM", 16), ("LeakyReLU", 0.3), ("Dense", 1, "sigmoid"))
CHARACTERS = 64
TEMPERATURE = 0.8


@dataclass
class Workload:
    """Layers are written (class, units …); weights are in the order of Keras's get_weights()."""

    name: str
    title: str
    kind: str  # the function of a contestant's module that prepares it
    layers: tuple[tuple[Any, ...], ...] = ()
    features: int = 0
    x: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    unit: str = "step"
    threads: tuple[int, ...] = (1,)
    weights: list[np.ndarray] = field(default_factory=list)
    steps: int = SAMPLES  # that answers are compared after, or that one run makes
    form: str = ""  # the only one of a contestant's forms that is to be prepared
    below: Workload | None = None  # the second model of a nested generator
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # steps of it

    def __post_init__(self) -> None:
        random = np.random.default_rng(sum(self.name.encode()))
        if not self.weights:
            for shape in shapes(self.layers, self.features):
                fan = shape[0] if len(shape) > 1 else 10
                self.weights.append(random.uniform(-1, 1, shape).astype(np.float32) / np.float32(np.sqrt(fan)))

    @property
    def rows(self) -> int:
        return self.x.shape[-2]

    @property
    def bytes(self) -> int:
        """Of weights, which a step of one row reads."""
        return sum(weight.nbytes for weight in self.weights)

    @property
    def operations(self) -> int:
        """Multiplications and additions of products in a step of one row."""
        return sum(2 * weight.size for weight in self.weights if weight.ndim > 1)

    @property
    def states(self) -> list[int]:
        """Units of each state, h before c."""
        return [layer[1] for layer in self.layers for _ in range({"LSTM": 2, "GRU": 1}.get(layer[0], 0))]


def shapes(layers: tuple[tuple[Any, ...], ...], width: int) -> list[tuple[int, ...]]:
    made: list[tuple[int, ...]] = []
    for kind, size, *_ in layers:
        if kind == "Embedding":
            made.append((CHARACTERS, size))
        elif kind == "LSTM":
            made += [(width, 4 * size), (size, 4 * size), (4 * size,)]
        elif kind == "GRU":
            made += [(width, 3 * size), (size, 3 * size), (2, 3 * size)]
        elif kind == "Dense":
            made += [(width, size), (size,)]
        width = width if kind == "LeakyReLU" else size
    return made


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def workloads(rain: list[np.ndarray]) -> list[Workload]:
    """`rain`: the weights of the rain model."""

    def stream(name: str, title: str, features: int, *layers: tuple[Any, ...], **more: Any) -> Workload:
        return Workload(name, f"stream of {title}", "step", layers, features, floats(SAMPLES, 1, features), **more)

    def pool(name: str, title: str, rows: int, features: int, *layers: tuple[Any, ...], **more: Any) -> Workload:
        x = floats(SAMPLES, rows, features)
        return Workload(name, title, "step", layers, features, x, "stream-step", (1, 2), **more)

    below = Workload("below", "", "", (("LSTM", 128), ("Dense", 32, "linear")), 128)
    counts = np.random.default_rng(2).integers(0, 10, (32, 50))
    return [
        stream("rain", "the rain model", 3, *RAIN, weights=rain),
        stream("lstm128x2", "LSTM 128 twice", 64, ("LSTM", 128), ("LSTM", 128)),
        stream("lstm256", "LSTM 256", 64, ("LSTM", 256)),
        stream("lstm512", "LSTM 512", 64, ("LSTM", 512)),
        stream("gru256", "GRU 256", 64, ("GRU", 256)),
        stream("lstm1024", "LSTM 1024", 256, ("LSTM", 1024)),
        pool("pool256", "pool of 256 × LSTM 256, Dense 1", 256, 64, ("LSTM", 256), ("Dense", 1, "linear")),
        pool("pool1024", "pool of 1,024 rain models", 1024, 3, *RAIN, weights=rain),
        Workload("sequence", "32 sequences of 100 → LSTM 128", "sequence", (("LSTM", 128),), 64, floats(100, 32, 64), "sequence", (1, 2)),
        Workload("sine", "self-feeding LSTM 128, Dense 1", "sine", (("LSTM", 128), ("Dense", 1, "linear")), 1, steps=1000),
        Workload("characters", "self-feeding characters, drawn", "characters",
                 (("Embedding", CHARACTERS), ("LSTM", 128), ("LSTM", 128), ("Dense", CHARACTERS, "softmax")), CHARACTERS, steps=1000),
        Workload("nested", "nested LSTM 128 → LSTM 128, Dense 32", "nested", (("LSTM", 128),), 64, floats(50, 32, 64), "run", (1, 2),
                 below=below, counts=counts),
        Workload("narrow", "stream of LSTM 1024, narrow weights", "narrow", (("LSTM", 1024),), 256, floats(SAMPLES, 1, 256)),
        Workload("training-rain", "training: the rain model, 32 × 7", "training", unit="update", threads=(2,)),
        Workload("training-sequence", "training: LSTM 128, Dense 64, 32 × 100", "training", unit="update", threads=(2,)),
        Workload("training-nested", "training: nested LSTM 128 → LSTM 128, Dense 32", "training", unit="update", threads=(2,)),
        Workload("tail", "the rain model, each step timed", "tail", RAIN, 3, floats(SAMPLES, 1, 3), weights=rain),
        Workload("load", "rain.keras loaded, first answer, fresh process", "load", unit="process"),
    ]
