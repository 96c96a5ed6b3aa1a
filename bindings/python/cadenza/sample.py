"""How generators draw values from a model's outputs: `cadenza.sample.categorical(temperature=0.8, top_k=10)` …"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import _bindings as c
from ._arguments import address, floats

NOTHING, CATEGORICAL, GAUSSIAN, MIXTURE, BERNOULLI, CALLBACK = range(6)


@dataclass(frozen=True)
class Sampler:
    """A way to draw; made by this module's functions. Every row has random numbers of its own."""

    kind: int
    output: int = 0
    from_probabilities: bool = False
    variance_output: int | None = None
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Sequence[float] | None = None
    forbidden: Sequence[int] = ()
    sigma: float | None = None
    components: int = 0
    width: int = 1
    function: Callable[..., Any] | None = None

    def _fill(self, keep: list[Any], callback: Callable[[Any, Any], Any]) -> c.Sampler:
        sampler = c.Sampler()
        c.sampler_init(sampler)
        sampler.kind = self.kind
        sampler.output = self.output
        sampler.from_probabilities = self.from_probabilities
        sampler.variance_output = -1 if self.variance_output is None else self.variance_output
        sampler.temperature = self.temperature
        sampler.top_k = self.top_k
        sampler.top_p = self.top_p
        sampler.min_p = self.min_p
        sampler.repetition_penalty = self.repetition_penalty
        if self.logit_bias is not None:
            bias = floats(self.logit_bias).ravel()
            keep.append(bias)
            sampler.logit_bias, sampler.logit_bias_count = address(bias), bias.size
        if len(self.forbidden):
            forbidden = (c.SIZE * len(self.forbidden))(*self.forbidden)
            keep.append(forbidden)
            sampler.forbidden, sampler.forbidden_count = forbidden, len(forbidden)
        sampler.sigma = -1.0 if self.sigma is None else self.sigma
        sampler.components = self.components
        sampler.width = self.width
        if self.function is not None:
            sampler.callback = callback(self.function, self.width)
        return sampler


def argmax(*, output: int = 0, from_probabilities: bool = False) -> Sampler:
    """The likeliest class."""
    return categorical(temperature=0.0, output=output, from_probabilities=from_probabilities)


def categorical(
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    logit_bias: Sequence[float] | None = None,
    forbidden: Sequence[int] = (),
    output: int = 0,
    from_probabilities: bool = False,
) -> Sampler:
    """A class, from logits, or from probabilities where the model ends in a softmax. Temperature 0 is `argmax`."""
    return Sampler(
        CATEGORICAL,
        output,
        from_probabilities,
        None,
        temperature,
        top_k,
        top_p,
        min_p,
        repetition_penalty,
        logit_bias,
        tuple(forbidden),
    )


def gaussian(
    *, sigma: float | None = None, variance_output: int | None = None, temperature: float = 1.0, output: int = 0
) -> Sampler:
    """Normal values about the output's means: with a given sigma, with log variances from another output, or from the
    second half of the same one."""
    return Sampler(GAUSSIAN, output, sigma=sigma, variance_output=variance_output, temperature=temperature)


def mixture(components: int, *, temperature: float = 1.0, output: int = 0) -> Sampler:
    """A vector from a mixture density: the output has `components` logits, then all means, then all log variances."""
    return Sampler(MIXTURE, output, components=components, temperature=temperature)


def bernoulli(*, temperature: float = 1.0, output: int = 0, from_probabilities: bool = False) -> Sampler:
    """Each value 0 or 1."""
    return Sampler(BERNOULLI, output, from_probabilities, temperature=temperature)


def call(function: Callable[..., Any], width: int = 1, *, output: int = 0) -> Sampler:
    """What `function(values, row, step)` returns: `width` numbers for the output's values."""
    return Sampler(CALLBACK, output, width=width, function=function)
