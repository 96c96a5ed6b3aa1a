"""Cadenza opens trained Keras recurrent models and runs them whole, or one sample at a time with their state carried.

>>> model = cadenza.load("rain.keras")
>>> stream = model.stream()
>>> for sample in samples:
...     probability = stream.step(sample)
"""

from . import callbacks, kernels, losses, metrics, optimizers, sample, stop
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
from .quantization import Deviation, quantization_error
from .ragged import Ragged
from .stream import State, Stream
from .trainer import History, Trainer
from .training import Gradients, Tape, check_gradients
from .unrolled import (
    Influence,
    NestedRun,
    SelfFedInfluence,
    SelfFedRun,
    Unrolled,
    Value,
    influence,
    nested,
    self_feeding,
)

__all__ = [
    "CadenzaError",
    "CannotStreamError",
    "Deviation",
    "Feedback",
    "Generated",
    "Gradients",
    "History",
    "Hypothesis",
    "Influence",
    "InvalidArgumentError",
    "InvalidFileError",
    "Item",
    "Layer",
    "Level",
    "MismatchError",
    "MissingFileError",
    "Model",
    "Nested",
    "NestedRun",
    "NotFoundError",
    "OperatingSystemError",
    "OutOfMemoryError",
    "Pool",
    "Ragged",
    "Run",
    "SelfFedInfluence",
    "SelfFedRun",
    "SelfFeeding",
    "State",
    "StateArray",
    "Stream",
    "Tape",
    "Tensor",
    "Trainer",
    "Unrolled",
    "UnsupportedError",
    "Value",
    "Weights",
    "__version__",
    "beam_search",
    "build",
    "callbacks",
    "check_gradients",
    "from_json",
    "influence",
    "kernels",
    "load",
    "losses",
    "metrics",
    "nested",
    "optimizers",
    "quantization_error",
    "sample",
    "self_feeding",
    "stop",
]
