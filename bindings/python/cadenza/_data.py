"""What a trainer trains on: inputs, targets and sample weights of the same rows, whole or in series of different lengths."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._arguments import Array, floats
from .errors import InvalidArgumentError
from .loading import load
from .model import Model
from .ragged import Ragged
from .training import Tape


class Series:
    """Rows of different lengths: arrays (steps, …)."""

    def __init__(self, rows: Sequence[Array]) -> None:
        self.rows = rows
        self.lengths = np.array([len(row) for row in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Array]:
        return iter(self.rows)

    def take(self, rows: Any) -> Series:
        return Series([self.rows[row] for row in np.arange(len(self.rows))[rows]])

    def cut(self, steps: slice) -> Series:
        return Series([row[steps] for row in self.rows])

    @property
    def longest(self) -> int:
        return int(self.lengths.max())

    @property
    def shape(self) -> tuple[int, ...]:
        """Padded."""
        return len(self.rows), self.longest, *self.rows[0].shape[1:]

    def padded(self, length: int, fill: float = 0.0) -> Array:
        """(rows, length, …)"""
        if self.longest > length:
            raise InvalidArgumentError(f"expected series of {length} steps at most, received {self.longest}")
        result = np.full((len(self), length, *self.shape[2:]), fill, np.float32)
        for whole, row in zip(result, self.rows):
            whole[: len(row)] = row
        return result

    def there(self, length: int) -> NDArray[np.bool_]:
        """Where a row has not ended: (rows, length)."""
        return np.arange(length) < self.lengths[:, np.newaxis]


Rows: TypeAlias = "Array | Series"


def rows_of(value: Any) -> Rows:
    """An array; or series (steps, width), of a `Ragged` or of a list whose items differ in length."""
    is_list = isinstance(value, (list, tuple)) and all(np.ndim(one) > 0 for one in value)
    if is_list and len({len(one) for one in value}) > 1:
        value = Ragged.from_list(value)
    if not isinstance(value, Ragged):
        array = floats(value)
        if array.ndim == 0:
            raise InvalidArgumentError(f"expected rows, received the number {array}")
        return array
    if not len(value) or not value.lengths.all():
        raise InvalidArgumentError("expected series of one step or more")
    return Series(list(value))


def numbers_of(value: Any) -> Rows:
    """The same where each step is one number: rows (steps,)."""
    rows = rows_of(value)
    return Series([row.reshape(len(row)) for row in rows.rows]) if isinstance(rows, Series) else rows


def same_lengths(a: Rows, b: Rows) -> bool:
    return isinstance(a, Series) and isinstance(b, Series) and np.array_equal(a.lengths, b.lengths)


def is_even(value: Rows) -> bool:
    """Whether all rows have one length."""
    return not isinstance(value, Series) or len(set(value.lengths)) == 1


def one_or_all(values: Sequence[Any]) -> Any:
    """What a model takes: the value alone where there is one."""
    return values if len(values) > 1 else values[0]


class Data:
    """Inputs, targets and sample weights of the same rows, one of each of the model's inputs and outputs."""

    def __init__(self, inputs: Sequence[Rows], targets: Sequence[Rows | None], weights: Sequence[Rows | None]) -> None:
        self.inputs, self.targets, self.weights = inputs, targets, weights
        self.rows = len(inputs[0])

    @property
    def has_series(self) -> bool:
        return any(isinstance(value, Series) for value in (*self.inputs, *self.targets, *self.weights))

    def take(self, rows: Any) -> Data:
        def taken(value: Any) -> Any:
            return value if value is None else value.take(rows) if isinstance(value, Series) else value[rows]

        return Data(*(list(map(taken, values)) for values in (self.inputs, self.targets, self.weights)))

    def windows(self, length: int, model: Model) -> Iterator[Data]:
        """The same rows, `length` steps at a time."""
        timed = [value for tensor, value in zip(model.inputs, self.inputs) if tensor.has_time]
        times = {value.shape[1] for value in timed}
        if length < 1 or len(times) != 1 or not all(tensor.has_time for tensor in model.outputs):
            raise InvalidArgumentError(
                "expected a window of 1 step or more, and inputs and outputs that share a time axis"
            )

        def cut(value: Any, steps: slice) -> Any:
            return value.cut(steps) if isinstance(value, Series) else value[:, steps]

        for start in range(0, times.pop(), length):
            steps = slice(start, start + length)
            yield Data(
                [cut(value, steps) if tensor.has_time else value for tensor, value in zip(model.inputs, self.inputs)],
                [None if value is None else cut(value, steps) for value in self.targets],
                [value if value is None or len(value.shape) == 1 else cut(value, steps) for value in self.weights],
            )


@dataclass
class Batch:
    """Arrays alone."""

    inputs: Sequence[Any]
    targets: list[Any]
    weights: list[Any]
    scales: list[float]
    """By output: what its weights are multiplied with in the loss."""


@dataclass(frozen=True)
class Tried:
    """What padding does in a model."""

    is_masked: list[bool]
    """By output: whether it has a mask, which leaves padding out of the loss by itself."""
    keeps_states: bool


class Padding:
    """How series are padded so that no answer at a real step changes."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._fill = next(_mask_values(json.loads(model.to_json())), 0.0)
        self._tried: dict[tuple[bool, ...], Tried] = {}

    def arrays(self, inputs: Sequence[Rows], more: int = 0) -> list[Array]:
        """The inputs padded to the longest, and by so many steps more."""

        def array(value: Rows) -> Array:
            return value.padded(value.longest + more, self._fill) if isinstance(value, Series) else value

        return list(map(array, inputs))

    def try_on(self, inputs: Sequence[Rows]) -> Tried:
        """What padding does: tried once, on the first row, by a copy of the model with random weights.

        Raises InvalidArgumentError where it changes answers.
        """
        which = tuple(isinstance(value, Series) for value in inputs)
        if which in self._tried:
            return self._tried[which]
        copy, random = load(self._model.to_bytes()), np.random.default_rng(0)
        for name in copy.weights:
            shape = copy.weights[name].shape
            value = random.normal(size=shape) / np.sqrt(shape[0])
            copy.weights[name] = np.abs(value) if name.endswith("variance") else value
        first = Data(inputs, (), ()).take(slice(1)).inputs
        tape, answers, states = Tape(copy, input_gradients=False), [], []
        for more in (0, 2):
            answer = tape.forward(one_or_all(self.arrays(first, more)), training=False)
            answers.append(answer if isinstance(answer, list) else [answer])
            states.append(tape.states)
        for tensor, alone, padded in zip(copy.outputs, *answers):
            if not np.array_equal(alone, padded[:, : alone.shape[1]]):
                raise InvalidArgumentError(
                    f"expected a model that masks what pads series, and output '{tensor.name}' sees it: put a Masking layer "
                    "behind the input or mask_zero into the Embedding, or train on series of one length at a time"
                )
        is_masked = [tape.mask(index) is not None for index in range(len(copy.outputs))]
        self._tried[which] = tried = Tried(
            is_masked, all(np.array_equal(states[0][key], states[1][key]) for key in states[0])
        )
        return tried


def _mask_values(config: Any) -> Iterator[float]:
    """Of the Masking layers in an architecture."""
    if isinstance(config, dict):
        if config.get("class_name") == "Masking":
            yield config["config"].get("mask_value", 0.0)
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            yield from _mask_values(part)
