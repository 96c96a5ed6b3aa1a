"""Cadenza opens trained Keras recurrent models and runs them whole, or one sample at a time with their state carried.

>>> model = cadenza.load("rain.keras")
>>> stream = model.stream()
>>> for sample in samples:
...     probability = stream.step(sample)
"""

from . import kernels, sample, stop
from ._version import __version__
from .errors import (
    CadenzaError,
    CannotStreamError,
    InvalidArgumentError,
    InvalidFileError,
    MismatchError,
    MissingFileError,
    NotFoundError,
    OperatingSystemError,
    OutOfMemoryError,
    UnsupportedError,
)
from .generation import Feedback, Generated, Hypothesis, Item, Level, Nested, Run, SelfFeeding, beam_search
from .loading import build, from_json, load
from .model import Layer, Model, StateArray, Tensor, Weights
from .pool import Pool
from .ragged import Ragged
from .stream import State, Stream

__all__ = [
    "CadenzaError",
    "CannotStreamError",
    "Feedback",
    "Generated",
    "Hypothesis",
    "InvalidArgumentError",
    "InvalidFileError",
    "Item",
    "Layer",
    "Level",
    "MismatchError",
    "MissingFileError",
    "Model",
    "Nested",
    "NotFoundError",
    "OperatingSystemError",
    "OutOfMemoryError",
    "Pool",
    "Ragged",
    "Run",
    "SelfFeeding",
    "State",
    "StateArray",
    "Stream",
    "Tensor",
    "UnsupportedError",
    "Weights",
    "__version__",
    "beam_search",
    "build",
    "from_json",
    "kernels",
    "load",
    "sample",
    "stop",
]
