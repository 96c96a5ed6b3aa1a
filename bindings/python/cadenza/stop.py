"""What ends a row's run in a generator: `stops=[cadenza.stop.token(2), cadenza.stop.norm_above(1.5)]`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import _bindings as c
from .model import Model

TOKEN, ABOVE, BELOW, NORM_ABOVE, NORM_BELOW, GATE, CALLBACK = range(7)


@dataclass(frozen=True)
class Stop:
    """A rule; made by this module's functions. It looks at an output, or at a state where `state` is given, and first
    through a model where `through` is: one without states, such as a Dense."""

    kind: int
    output: int = 0
    state: int | None = None
    element: int = 0
    token: int = 0
    threshold: float = 0.0
    from_probabilities: bool = False
    through: Model | None = None
    function: Callable[..., Any] | None = None

    def _fill(self, stop: c.Stop, callback: Callable[[Any, Any], Any]) -> None:
        c.stop_init(stop)
        stop.kind = self.kind
        stop.of_state = self.state is not None
        stop.index = self.output if self.state is None else self.state
        stop.element = self.element
        stop.token = self.token
        stop.threshold = self.threshold
        stop.from_probabilities = self.from_probabilities
        stop.through = None if self.through is None else self.through._handle.value
        if self.function is not None:
            stop.callback = callback(self.function, 1)


def token(token: int, *, output: int = 0) -> Stop:
    """The drawn class, or where none is drawn the output's largest value, is this one."""
    return Stop(TOKEN, output, token=token)


def above(
    threshold: float, *, element: int = 0, output: int = 0, state: int | None = None, through: Model | None = None
) -> Stop:
    """A value is above the threshold."""
    return Stop(ABOVE, output, state, element, threshold=threshold, through=through)


def below(
    threshold: float, *, element: int = 0, output: int = 0, state: int | None = None, through: Model | None = None
) -> Stop:
    """A value is below the threshold."""
    return Stop(BELOW, output, state, element, threshold=threshold, through=through)


def norm_above(threshold: float, *, output: int = 0, state: int | None = None, through: Model | None = None) -> Stop:
    """The L2 norm of all values is above the threshold."""
    return Stop(NORM_ABOVE, output, state, threshold=threshold, through=through)


def norm_below(threshold: float, *, output: int = 0, state: int | None = None, through: Model | None = None) -> Stop:
    """The L2 norm of all values is below the threshold."""
    return Stop(NORM_BELOW, output, state, threshold=threshold, through=through)


def gate(
    *,
    element: int = 0,
    output: int = 0,
    state: int | None = None,
    through: Model | None = None,
    from_probabilities: bool = False,
) -> Stop:
    """By chance, with the probability that a value gives: as a logit, or as it is."""
    return Stop(GATE, output, state, element, from_probabilities=from_probabilities, through=through)


def call(
    function: Callable[..., Any], *, output: int = 0, state: int | None = None, through: Model | None = None
) -> Stop:
    """`function(values, row, step)` is true."""
    return Stop(CALLBACK, output, state, through=through, function=function)
