"""What Cadenza must reach: comparisons of what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Target:
    workload: str
    what: str
    figure: Callable[[Figures], float]
    least: float | None = None
    most: float | None = None
    unit: str = "×"

    @property
    def bound(self) -> str:
        value = self.least if self.most is None else self.most
        number = f"{value:.0%}" if self.unit == "%" else f"{value:g} {self.unit}"
        return ("≥ " if self.most is None else "≤ ") + number

    def reached(self, value: float) -> bool:
        return value >= self.least if self.most is None else value <= self.most


class Figures:
    """Medians, in seconds, of what was measured; LookupError for what was not."""

    def __init__(self, results: dict) -> None:
        self.workloads = results["workloads"]

    def rows(self, workload: str, contestant: str, threads: int = 1, form: str = "") -> list[dict]:
        rows = self.workloads[workload]["rows"]
        return [row for row in rows if (row["contestant"], row["threads"]) == (contestant, threads) and row["form"].startswith(form)]

    def of(self, workload: str, contestant: str, threads: int = 1, form: str = "", key: str = "median") -> float:
        found = [row[key] for row in self.rows(workload, contestant, threads, form)]
        if not found:
            raise LookupError(contestant)
        return min(found)

    def ours(self, workload: str, threads: int = 1, form: str = "C", key: str = "median") -> float:
        return self.of(workload, "Cadenza", threads, form, key)

    def best(self, workload: str, *contestants: str, threads: int = 1, form: str = "") -> float:
        """Of those that were measured."""
        found = [row["median"] for name in contestants for row in self.rows(workload, name, threads, form)]
        if not found:
            raise LookupError(", ".join(contestants))
        return min(found)


def share(workload: str, threads: int = 1) -> Callable[[Figures], float]:
    return lambda f: f.of(workload, "Limit", threads) / f.ours(workload, threads)


def ahead(workload: str, *contestants: str, threads: int = 1, ours: str = "C", form: str = "") -> Callable[[Figures], float]:
    return lambda f: f.best(workload, *contestants, threads=threads, form=form) / f.ours(workload, threads, ours)


def scaling(workload: str) -> Callable[[Figures], float]:
    return lambda f: f.ours(workload, 1) / f.ours(workload, 2)


def narrow(precision: str) -> Callable[[Figures], float]:
    return lambda f: f.ours("narrow", form="float32") / f.ours("narrow", form=precision)


def trained(workload: str) -> Callable[[Figures], float]:
    return ahead(workload, "TensorFlow", "PyTorch", "JAX", threads=2, ours="Python")


BANDWIDTH = "of the read bandwidth of what holds the weights"
TARGETS = [
    Target("rain", "time, over reading the weights from L1", lambda f: f.ours("rain") / f.of("rain", "Limit"), most=1.6),
    Target("rain", "onnxruntime over C", ahead("rain", "onnxruntime"), least=50),
    Target("rain", "Python less C", lambda f: (f.ours("rain", form="Python") - f.ours("rain")) * 1e6, most=1.5, unit="µs"),
    Target("rain", "onnxruntime over Python", ahead("rain", "onnxruntime", ours="Python"), least=10),
    Target("rain", "Keras's predict_on_batch over Python", ahead("rain", "TensorFlow", ours="Python", form="predict"), least=200),
    *[Target(name, BANDWIDTH, share(name), least=0.9, unit="%") for name in ("lstm128x2", "lstm256", "lstm512", "gru256", "lstm1024")],
    Target("pool256", "of multiply-adds, 1 thread", share("pool256"), least=0.86, unit="%"),
    Target("pool256", "of multiply-adds, 2 threads", share("pool256", 2), least=0.86, unit="%"),
    Target("pool256", "2 threads over 1", scaling("pool256"), least=1.9),
    Target("pool256", "onnxruntime, 2 threads", ahead("pool256", "onnxruntime", threads=2), least=1),
    Target("pool1024", "of multiply-adds, 1 thread", share("pool1024"), least=0.45, unit="%"),
    Target("pool1024", "of multiply-adds, 2 threads", share("pool1024", 2), least=0.45, unit="%"),
    Target("pool1024", "2 threads over 1", scaling("pool1024"), least=1.9),
    Target("pool1024", "best of OpenVINO, LiteRT, onnxruntime, 2 threads", ahead("pool1024", "OpenVINO", "LiteRT", "onnxruntime", threads=2), least=1.4),
    Target("sequence", "of multiply-adds, 2 threads", share("sequence", 2), least=0.88, unit="%"),
    Target("sequence", "onnxruntime, 2 threads", ahead("sequence", "onnxruntime", threads=2), least=1),
    Target("sine", "time, over the bare steps", lambda f: f.ours("sine", form="C, fed back") / f.ours("sine", form="C, bare"), most=1.15),
    Target("sine", "best of XLA's loops", ahead("sine", "JAX", "TensorFlow", ours="C, fed back"), least=1),
    Target("characters", "time, over JAX's fori_loop", lambda f: f.ours("characters") / f.of("characters", "JAX"), most=0.8),
    Target("nested", "PyTorch, forward, 2 threads", ahead("nested", "PyTorch", threads=2), least=2),
    Target("narrow", "bf16: float32's time over it", narrow("bf16"), least=1.8),
    Target("narrow", "int8: float32's time over it", narrow("int8"), least=3.2),
    Target("training-rain", "best of TensorFlow, PyTorch, JAX, 2 threads", trained("training-rain"), least=4),
    Target("training-sequence", "best of TensorFlow, PyTorch, JAX, 2 threads", trained("training-sequence"), least=1.5),
    Target("training-nested", "PyTorch, forward and backward, 2 threads", ahead("training-nested", "PyTorch", threads=2, ours="Python"), least=2),
    Target("tail", "p99.9 over the median", lambda f: f.ours("tail", key="p999") / f.ours("tail"), most=3),
    Target("load", "from load to first answer", lambda f: f.ours("load") * 1e3, most=2, unit="ms"),
]
