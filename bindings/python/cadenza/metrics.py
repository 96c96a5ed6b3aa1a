"""Metrics, as Keras defines and names them: numbers that are watched while training, and not minimized."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidArgumentError

Numbers = NDArray[Any]


class Metric:
    """Gathers batches; `result` tells what they come to.

    A metric of one's own needs `name`, `reset`, `update(y, p, weights)` and `result`. y and p: arrays
    (..., width), (..., 1) for class numbers; weights: (...), 0 where masked.
    """

    name = "metric"

    def __init__(self, name: str | None = None) -> None:
        if name is not None:
            self.name = name
        self.reset()

    def reset(self) -> None:
        self.total = 0.0
        self.count = 0.0

    def update(self, y: Numbers, p: Numbers, weights: Numbers) -> None:
        self.total += float(np.sum(self.values(y, p) * weights))
        self.count += float(np.sum(weights))

    def values(self, y: Numbers, p: Numbers) -> Numbers:
        """One number for each answer."""
        raise NotImplementedError

    def result(self) -> float:
        return self.total / self.count if self.count else 0.0


class BinaryAccuracy(Metric):
    name = "binary_accuracy"

    def __init__(self, threshold: float = 0.5, name: str | None = None) -> None:
        self.threshold = threshold
        super().__init__(name)

    def values(self, y: Numbers, p: Numbers) -> Numbers:
        return np.asarray(np.mean((p > self.threshold) == (y > 0.5), axis=-1))


class CategoricalAccuracy(Metric):
    name = "categorical_accuracy"

    def values(self, y: Numbers, p: Numbers) -> Numbers:
        return np.asarray(np.argmax(y, axis=-1) == np.argmax(p, axis=-1), float)


class SparseCategoricalAccuracy(Metric):
    name = "sparse_categorical_accuracy"

    def values(self, y: Numbers, p: Numbers) -> Numbers:
        return np.asarray(y[..., 0] == np.argmax(p, axis=-1), float)


class TopKCategoricalAccuracy(Metric):
    """Targets are one-hot or class numbers."""

    name = "top_k_categorical_accuracy"

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        self.k = k
        super().__init__(name)

    def values(self, y: Numbers, p: Numbers) -> Numbers:
        label = y[..., 0].astype(int) if y.shape[-1] == 1 else np.argmax(y, axis=-1)
        own = np.take_along_axis(p, label[..., np.newaxis], axis=-1)
        return np.asarray(np.sum(p > own, axis=-1) < self.k, float)


class MeanAbsoluteError(Metric):
    name = "mae"

    def values(self, y: Numbers, p: Numbers) -> Numbers:
        return np.asarray(np.mean(np.abs(y - p), axis=-1))


class MeanSquaredError(Metric):
    name = "mse"

    def values(self, y: Numbers, p: Numbers) -> Numbers:
        return np.asarray(np.mean((y - p) ** 2, axis=-1))


class RootMeanSquaredError(MeanSquaredError):
    name = "rmse"

    def result(self) -> float:
        return float(np.sqrt(super().result()))


class Perplexity(Metric):
    """exp of the mean cross-entropy of probabilities, or `from_logits` of what goes into a softmax."""

    name = "perplexity"

    def __init__(self, from_logits: bool = False, name: str | None = None) -> None:
        self.from_logits = from_logits
        super().__init__(name)

    def values(self, y: Numbers, p: Numbers) -> Numbers:
        if self.from_logits:
            p = p - np.max(p, axis=-1, keepdims=True)
            logarithms = p - np.log(np.sum(np.exp(p), axis=-1, keepdims=True))
        else:
            logarithms = np.log(np.clip(p, 1e-7, 1 - 1e-7))
        if y.shape[-1] == 1 and p.shape[-1] > 1:
            return np.asarray(-np.take_along_axis(logarithms, y.astype(int), axis=-1)[..., 0])
        return np.asarray(-np.sum(y * logarithms, axis=-1))

    def result(self) -> float:
        return float(np.exp(super().result()))


class _Confusion(Metric):
    """Counts right and wrong answers at thresholds."""

    def __init__(self, thresholds: Any, name: str | None) -> None:
        self.thresholds = np.atleast_1d(np.asarray(thresholds, float))
        super().__init__(name)

    def reset(self) -> None:
        self.counts = np.zeros((4, len(self.thresholds)))

    def update(self, y: Numbers, p: Numbers, weights: Numbers) -> None:
        p, y = p.reshape(-1), y.reshape(-1) > 0.5
        weights = np.repeat(weights.reshape(-1), p.size // max(1, weights.size))
        for index, threshold in enumerate(self.thresholds):
            said = p > threshold
            cases = (said & y, said & ~y, ~said & y, ~said & ~y)
            self.counts[:, index] += [float(np.sum(weights[case])) for case in cases]

    @property
    def rates(self) -> tuple[Numbers, Numbers, Numbers]:
        """Precision, recall, false positive rate."""
        tp, fp, fn, tn = self.counts
        return _divided(tp, tp + fp), _divided(tp, tp + fn), _divided(fp, fp + tn)


def _divided(a: Numbers, b: Numbers) -> Numbers:
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


class Precision(_Confusion):
    name = "precision"

    def __init__(self, threshold: float = 0.5, name: str | None = None) -> None:
        super().__init__(threshold, name)

    def result(self) -> float:
        return float(self.rates[0][0])


class Recall(_Confusion):
    name = "recall"

    def __init__(self, threshold: float = 0.5, name: str | None = None) -> None:
        super().__init__(threshold, name)

    def result(self) -> float:
        return float(self.rates[1][0])


class F1(_Confusion):
    """The harmonic mean of precision and recall."""

    name = "f1"

    def __init__(self, threshold: float = 0.5, name: str | None = None) -> None:
        super().__init__(threshold, name)

    def result(self) -> float:
        tp, fp, fn, _ = self.counts[:, 0]
        return float(2 * tp / (2 * tp + fp + fn)) if tp else 0.0


class AUC(_Confusion):
    """The area under the ROC curve, by Keras's 200 thresholds."""

    name = "auc"

    def __init__(self, num_thresholds: int = 200, name: str | None = None) -> None:
        inside = np.arange(1, num_thresholds - 1) / (num_thresholds - 1)
        super().__init__(np.concatenate([[-1e-7], inside, [1 + 1e-7]]), name)

    def result(self) -> float:
        _, recall, false = self.rates
        return float(np.sum((false[:-1] - false[1:]) * (recall[:-1] + recall[1:]) / 2))


BY_NAME: dict[str, type[Metric]] = {
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
    "precision": Precision,
    "recall": Recall,
    "f1": F1,
    "auc": AUC,
    "perplexity": Perplexity,
    "mae": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError,
    "mse": MeanSquaredError,
    "mean_squared_error": MeanSquaredError,
    "rmse": RootMeanSquaredError,
}


def get(metric: str | Metric, *, width: int, is_sparse: bool) -> Metric:
    """A metric by its Keras name, or the metric itself. "accuracy" is the one that fits the output and its loss."""
    if not isinstance(metric, str):
        return metric
    if metric in ("accuracy", "acc"):
        fitting = SparseCategoricalAccuracy if is_sparse else CategoricalAccuracy if width > 1 else BinaryAccuracy
        return fitting(name=metric)
    if metric not in BY_NAME:
        raise InvalidArgumentError(f"expected a metric out of accuracy, {', '.join(BY_NAME)}; received {metric!r}")
    return BY_NAME[metric](name=metric)
