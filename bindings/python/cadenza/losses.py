"""Losses, as Keras defines and names them."""

from __future__ import annotations

from typing import Any, ClassVar

from . import _bindings as c
from .errors import InvalidArgumentError

REDUCTIONS = {"sum_over_batch_size": 0, "mean": 0, "sum": 1, "mean_with_sample_weight": 2}


class Loss:
    """What is minimized for one output.

    reduction: "sum_over_batch_size" (Keras's default), "sum" or "mean_with_sample_weight". weight: its part in the sum
    over several outputs.
    """

    kind: ClassVar[int]
    is_sparse: ClassVar[bool] = False

    def __init__(self, reduction: str = "sum_over_batch_size", weight: float = 1.0, **options: Any) -> None:
        if reduction not in REDUCTIONS:
            raise InvalidArgumentError(f"expected a reduction out of {', '.join(REDUCTIONS)}; received '{reduction}'")
        self.reduction = reduction
        self.weight = weight
        self.options = options

    def struct(self, output: int) -> c.Loss:
        """For the library."""
        loss = c.Loss()
        c.loss_init(loss, self.kind)
        loss.reduction = REDUCTIONS[self.reduction]
        loss.weight = self.weight
        loss.output = output
        for name, value in self.options.items():
            setattr(loss, name, value)
        return loss

    def target_width(self, width: int) -> int:
        """Values of a target beside `width` values of the output's last axis."""
        return width

    def __repr__(self) -> str:
        options = {"reduction": self.reduction, "weight": self.weight, **self.options}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in options.items())})"


class MeanSquaredError(Loss):
    """mean (y - p)²"""

    kind = 0


class MeanAbsoluteError(Loss):
    """mean |y - p|"""

    kind = 1


class Huber(Loss):
    """Squared near zero, straight beyond `delta`."""

    kind = 2

    def __init__(self, delta: float = 1.0, **options: Any) -> None:
        super().__init__(delta=delta, **options)


class LogCosh(Loss):
    """mean log cosh(p - y)"""

    kind = 3


class BinaryCrossentropy(Loss):
    """Of probabilities, or with `from_logits` of what goes into a sigmoid."""

    kind = 4

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0, **options: Any) -> None:
        super().__init__(from_logits=int(from_logits), label_smoothing=label_smoothing, **options)


class CategoricalCrossentropy(Loss):
    """Of one-hot targets."""

    kind = 5

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0, **options: Any) -> None:
        super().__init__(from_logits=int(from_logits), label_smoothing=label_smoothing, **options)


class SparseCategoricalCrossentropy(Loss):
    """Of class numbers."""

    kind = 6
    is_sparse = True

    def __init__(self, from_logits: bool = False, **options: Any) -> None:
        super().__init__(from_logits=int(from_logits), **options)


class Poisson(Loss):
    """mean p - y log p"""

    kind = 7


class GaussianNLL(Loss):
    """The output is means, then log variances; or means alone beside a given `sigma`."""

    kind = 8

    def __init__(self, sigma: float | None = None, **options: Any) -> None:
        super().__init__(sigma=-1.0 if sigma is None else sigma, **options)

    def target_width(self, width: int) -> int:
        return width // 2 if self.options["sigma"] < 0 else width


class MixtureNLL(Loss):
    """The output is `components` logits, then all means, then all log variances."""

    kind = 9

    def __init__(self, components: int, **options: Any) -> None:
        super().__init__(components=components, **options)

    def target_width(self, width: int) -> int:
        return int(width // self.options["components"] - 1) // 2


BY_NAME: dict[str, type[Loss]] = {
    "mse": MeanSquaredError,
    "mean_squared_error": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError,
    "huber": Huber,
    "log_cosh": LogCosh,
    "logcosh": LogCosh,
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "poisson": Poisson,
    "gaussian_nll": GaussianNLL,
}


def get(loss: str | Loss) -> Loss:
    """A loss by its Keras name, or the loss itself."""
    if isinstance(loss, Loss):
        return loss
    if loss not in BY_NAME:
        raise InvalidArgumentError(f"expected a loss out of {', '.join(BY_NAME)}; received {loss!r}")
    return BY_NAME[loss]()
