"""What narrow weights cost: the answers of a quantized model beside those of the model that it was made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InvalidArgumentError
from .model import Model


@dataclass(frozen=True)
class Deviation:
    """How far an output of a quantized model is from that of the model itself."""

    name: str
    """The layer that gives the output."""
    maximum: float
    """The largest difference."""
    mean: float
    """The mean of the differences, each without its sign."""
    largest: float
    """The model's own output that is largest, without its sign: what the differences are small beside, or not."""


def quantization_error(model: Model, quantized: Model, x: Any) -> list[Deviation]:
    """Runs both models on the same data, and tells for each output how far they are apart.

    x: as for `Model.predict`; the more it is like what the model will meet, the more the figures say.
    """
    if [tensor.shape for tensor in model.outputs] != [tensor.shape for tensor in quantized.outputs]:
        raise InvalidArgumentError("expected two models of the same architecture: their outputs have other shapes")
    answers = [one if isinstance(one, list) else [one] for one in (model.predict(x), quantized.predict(x))]
    errors = []
    for tensor, wanted, found in zip(model.outputs, *answers):
        apart = np.abs(wanted.astype(np.float64) - found)
        if not apart.size:
            raise InvalidArgumentError("expected data of one row at least, received none")
        errors.append(Deviation(tensor.name, float(apart.max()), float(apart.mean()), float(np.abs(wanted).max())))
    return errors
