"""Optimizers and learning-rate schedules, as Keras defines and names them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from . import _bindings as c
from .errors import InvalidArgumentError

Schedule = Callable[[int], float]
"""The learning rate of an update, by how many came before it."""


class Optimizer:
    """How weights change by their gradients.

    learning_rate: a number, or a schedule. Further options in Keras's words: weight_decay, clipnorm, global_clipnorm,
    clipvalue, use_ema, ema_momentum, ema_overwrite_frequency, gradient_accumulation_steps, and `decay` of Keras 2's
    legacy optimizers.
    """

    kind: ClassVar[int]
    own: ClassVar[tuple[str, ...]] = ()
    common: ClassVar[tuple[str, ...]] = (
        "weight_decay",
        "clipnorm",
        "global_clipnorm",
        "clipvalue",
        "use_ema",
        "ema_momentum",
        "ema_overwrite_frequency",
        "gradient_accumulation_steps",
        "decay",
    )

    def __init__(self, learning_rate: float | Schedule | None = None, **options: Any) -> None:
        for name in options:
            if name not in self.own + self.common:
                known = ", ".join(("learning_rate", *self.own, *self.common))
                raise InvalidArgumentError(f"expected options of {type(self).__name__} ({known}), received '{name}'")
        self.schedule = learning_rate if callable(learning_rate) else None
        self.learning_rate = None if callable(learning_rate) else learning_rate
        self.options = {name: value for name, value in options.items() if value is not None}

    def struct(self) -> c.Optimizer:
        """For the library."""
        optimizer = c.Optimizer()
        c.optimizer_init(optimizer, self.kind)
        if self.learning_rate is not None:
            optimizer.learning_rate = self.learning_rate
        if self.schedule is not None:
            optimizer.learning_rate = self.schedule(0)
        for name, value in self.options.items():
            setattr(optimizer, name, int(value) if isinstance(value, bool) else value)
        return optimizer

    def __repr__(self) -> str:
        rate = self.schedule or self.learning_rate
        return f"{type(self).__name__}({rate!r}{''.join(f', {n}={v!r}' for n, v in self.options.items())})"


class SGD(Optimizer):
    kind, own = 0, ("momentum", "nesterov")


class RMSprop(Optimizer):
    kind, own = 1, ("rho", "momentum", "epsilon", "centered")


class Adam(Optimizer):
    kind, own = 2, ("beta_1", "beta_2", "epsilon", "amsgrad")


class AdamW(Optimizer):
    kind, own = 3, ("beta_1", "beta_2", "epsilon", "amsgrad")


class Nadam(Optimizer):
    kind, own = 4, ("beta_1", "beta_2", "epsilon")


class Adagrad(Optimizer):
    kind, own = 5, ("initial_accumulator_value", "epsilon")


class Adamax(Optimizer):
    kind, own = 6, ("beta_1", "beta_2", "epsilon")


class Lion(Optimizer):
    kind, own = 7, ("beta_1", "beta_2")


BY_NAME = {kind.__name__.lower(): kind for kind in (SGD, RMSprop, Adam, AdamW, Nadam, Adagrad, Adamax, Lion)}


def get(optimizer: str | Optimizer) -> Optimizer:
    """An optimizer by its name, with Keras's defaults, or the optimizer itself."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if str(optimizer).lower() not in BY_NAME:
        raise InvalidArgumentError(f"expected an optimizer out of {', '.join(BY_NAME)}; received {optimizer!r}")
    return BY_NAME[optimizer.lower()]()


# ── Schedules ───────────────────────────────────────────────────────────────────────────────────────────


def ExponentialDecay(initial: float, decay_steps: int, decay_rate: float, staircase: bool = False) -> Schedule:
    def rate(step: int) -> float:
        part = step / decay_steps
        return initial * decay_rate ** (math.floor(part) if staircase else part)

    return rate


def InverseTimeDecay(initial: float, decay_steps: int, decay_rate: float, staircase: bool = False) -> Schedule:
    def rate(step: int) -> float:
        part = step / decay_steps
        return initial / (1 + decay_rate * (math.floor(part) if staircase else part))

    return rate


def PiecewiseConstantDecay(boundaries: Sequence[int], values: Sequence[float]) -> Schedule:
    def rate(step: int) -> float:
        return next((value for bound, value in zip(boundaries, values) if step <= bound), values[-1])

    return rate


def PolynomialDecay(
    initial: float, decay_steps: int, end: float = 0.0001, power: float = 1.0, cycle: bool = False
) -> Schedule:
    def rate(step: int) -> float:
        steps = decay_steps * max(1, math.ceil(step / decay_steps)) if cycle else decay_steps
        return float((initial - end) * (1 - min(step, steps) / steps) ** power + end)

    return rate


def CosineDecay(
    initial: float, decay_steps: int, alpha: float = 0.0, warmup_target: float | None = None, warmup_steps: int = 0
) -> Schedule:
    def rate(step: int) -> float:
        top = initial if warmup_target is None else warmup_target
        if warmup_target is not None and step < warmup_steps:
            return initial + (warmup_target - initial) * step / warmup_steps
        done = step - warmup_steps if warmup_target is not None else step
        cosine = 0.5 * (1 + math.cos(math.pi * min(done, decay_steps) / decay_steps))
        return top * ((1 - alpha) * cosine + alpha)

    return rate


def CosineDecayRestarts(
    initial: float, first_decay_steps: int, t_mul: float = 2.0, m_mul: float = 1.0, alpha: float = 0.0
) -> Schedule:
    def rate(step: int) -> float:
        done, length, height = float(step), float(first_decay_steps), 1.0
        while done >= length:
            done, length, height = done - length, length * t_mul, height * m_mul
        cosine = 0.5 * height * (1 + math.cos(math.pi * done / length))
        return initial * ((1 - alpha) * cosine + alpha)

    return rate
