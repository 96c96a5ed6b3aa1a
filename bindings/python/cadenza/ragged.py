"""Series of different lengths."""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from . import _bindings as c
from ._arguments import Array, address, floats, sizes
from .errors import InvalidArgumentError

Layout = Literal["batch", "time"]


class Ragged:
    """Series of different lengths: values one after another, and offsets that cut them.

    >>> ragged[2]                  # the third series: an array (length, width)
    >>> ragged.to_padded()         # (series, longest, width), zeros behind the ends

    What a nested generator gives has a batch: series are (row, outer step), row after row; `ragged[row, step]`. With three
    models or more `above` has the splits of the levels above, and the series are those of the last one.

    Raises InvalidArgumentError where the splits do not cut the values.
    """

    def __init__(
        self,
        values: Any,
        row_splits: Any,
        *,
        batch: int | None = None,
        above: Sequence[NDArray[np.int64]] = (),
    ) -> None:
        self.values: Array = floats(values)
        """All values, (total, width)."""
        self.row_splits: NDArray[np.int64] = np.asarray(row_splits, dtype=np.int64)
        """Offsets from 0 to the number of values, one more than there are series."""
        self.above: tuple[NDArray[np.int64], ...] = tuple(above)
        """For more than two models: the splits of the levels above, from the first down."""
        self.batch = batch
        """Rows of the batch; None where the series have none."""
        splits = self.row_splits
        if self.values.ndim != 2:
            raise InvalidArgumentError(f"expected values of shape (total, width), received {self.values.shape}")
        if (
            splits.ndim != 1
            or not len(splits)
            or splits[0] != 0
            or splits[-1] != len(self.values)
            or (np.diff(splits) < 0).any()
        ):
            raise InvalidArgumentError(f"expected row_splits that rise from 0 to {len(self.values)}, received {splits}")
        if batch is not None and (batch < 1 or len(self._outer_splits) % batch != 1 % batch):
            raise InvalidArgumentError(
                f"expected as many series as {batch} rows have, received {len(self._outer_splits) - 1}"
            )

    @property
    def _outer_splits(self) -> NDArray[np.int64]:
        return self.above[0] if self.above else self.row_splits

    @classmethod
    def from_list(cls, series: Iterable[Any], *, width: int | None = None) -> Ragged:
        """From series of shape (length, width), or (length,) for width 1. `width` is needed where all are empty."""
        arrays = [floats(one) for one in series]
        arrays = [one[:, np.newaxis] if one.ndim == 1 and one.size else one for one in arrays]
        widths = {one.shape[1] for one in arrays if one.ndim == 2 and one.size} | (
            {width} if width is not None else set()
        )
        if len(widths) != 1 or any(one.ndim != 2 for one in arrays if one.size):
            raise InvalidArgumentError(
                f"expected series of shape (length, width) with one width, received widths {sorted(widths)}"
            )
        width = widths.pop()
        lengths = [len(one) if one.size else 0 for one in arrays]
        values = (
            np.concatenate([one for one in arrays if one.size]) if sum(lengths) else np.empty((0, width), np.float32)
        )
        return cls(values, _offsets(lengths))

    @classmethod
    def from_padded(cls, padded: Any, lengths: Any, *, layout: Layout = "batch") -> Ragged:
        """From (batch, outer, longest, width), or with layout "time" (outer, longest, batch, width), and lengths (batch, outer)."""
        array, counts = floats(padded), np.ascontiguousarray(lengths, dtype=np.int64)
        if array.ndim != 4 or counts.ndim != 2:
            raise InvalidArgumentError(
                f"expected padded values of rank 4 and lengths of rank 2, received {array.shape} and {counts.shape}"
            )
        batch, outer, longest = (
            array.shape[:3] if layout == "batch" else (array.shape[2], array.shape[0], array.shape[1])
        )
        if counts.shape != (batch, outer) or (counts < 0).any():
            raise InvalidArgumentError(
                f"expected lengths of shape {(batch, outer)}, not negative, received {counts.shape}"
            )
        handle, numbers = c.RaggedHandle(), counts.astype(c.SIZE)
        c.ragged_from_padded(
            address(array), sizes(numbers), batch, outer, longest, array.shape[3], _layout(layout), ctypes.byref(handle)
        )
        return _from_handle(handle, batch=batch)

    @property
    def width(self) -> int:
        """Floats of one value."""
        return int(self.values.shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The series' lengths: (series,), or (batch, outer) with a batch and two models."""
        lengths = np.diff(self.row_splits)
        return lengths if self.batch is None or self.above else lengths.reshape(self.batch, -1)

    def __len__(self) -> int:
        return len(self.row_splits) - 1

    def __getitem__(self, key: Any) -> Array:
        if isinstance(key, tuple):
            if self.batch is None or self.above or len(key) != 2:
                raise IndexError(f"series {key} of {self!r}")
            row, step = (_index(part, size) for part, size in zip(key, self.lengths.shape))
            key = row * self.lengths.shape[1] + step
        key = _index(key, len(self))
        return self.values[self.row_splits[key] : self.row_splits[key + 1]]

    def __iter__(self) -> Iterator[Array]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        lengths = self.lengths
        if lengths.ndim == 1:
            return f"<Ragged: {len(self)} series of width {self.width}, lengths {_numbers(lengths)}>"
        rows = [f"    row {row}: {_numbers(of_row)}" for row, of_row in enumerate(lengths[:8])]
        more = ["    …"] if len(lengths) > 8 else []
        return "\n".join([
            f"<Ragged: {lengths.shape[0]} rows × {lengths.shape[1]} outer steps, {len(self.values)} values of width {self.width}, lengths",
            *rows, *more,
        ]) + ">"  # fmt: skip

    def to_list(self) -> list[Array]:
        """The series, copied."""
        return [one.copy() for one in self]

    def to_padded(
        self, longest: int | None = None, *, layout: Layout = "batch", mask: bool = False
    ) -> Array | tuple[Array, NDArray[np.bool_]]:
        """Zero-padded: (series, longest, width); with a batch (batch, outer, longest, width), or with layout "time"
        (outer, longest, batch, width). With `mask` also where there are values."""
        lengths = np.diff(self.row_splits)
        batch, whole = (self.batch, True) if self.batch is not None and not self.above else (1, False)
        outer = len(self) // batch
        size = int(lengths.max(initial=0)) if longest is None else longest
        shape = (batch, outer, size) if layout == "batch" else (outer, size, batch)
        padded, there = np.empty((*shape, self.width), np.float32), np.empty(shape, np.uint8)
        handle, splits = c.RaggedHandle(), self.row_splits.astype(c.SIZE)
        values = np.ascontiguousarray(self.values)
        c.ragged_create(self.width, address(values), len(values), sizes(splits), len(splits), ctypes.byref(handle))
        c.ragged_pad(
            handle, batch, size, _layout(layout), address(padded), there.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        )
        if not whole:
            padded, there = (padded[0], there[0]) if layout == "batch" else (padded[:, :, 0], there[:, :, 0])
        return (padded, there.astype(bool)) if mask else padded

    # ── Other libraries' forms, where they are installed ──────────────────────────────────────────────────

    @property
    def _levels(self) -> list[NDArray[np.int64]]:
        """All splits, from the first level down."""
        return [*self.above, self.row_splits]

    def to_tensorflow(self) -> Any:
        """A `tf.RaggedTensor` (series, length, width), with a ragged axis more for each level above."""
        import tensorflow as tf

        return tf.RaggedTensor.from_nested_row_splits(self.values, self._levels)

    def to_torch(self) -> Any:
        """A nested tensor (series, length, width) of the last level."""
        import torch

        return torch.nested.nested_tensor([torch.from_numpy(one.copy()) for one in self])

    def to_awkward(self) -> Any:
        """An awkward array (series, length, width), with an axis more for each level above."""
        import awkward as ak

        array = ak.from_numpy(self.values, regulararray=True)
        for splits in reversed(self._levels):
            array = ak.unflatten(array, np.diff(splits))
        return array

    def to_arrow(self) -> Any:
        """A `ListArray` of fixed-size lists, within further ones for the levels above."""
        import pyarrow as pa

        array = pa.FixedSizeListArray.from_arrays(pa.array(self.values.ravel()), self.width)
        for splits in reversed(self._levels):
            array = pa.ListArray.from_arrays(pa.array(splits, pa.int32()), array)
        return array

    @classmethod
    def from_tensorflow(cls, tensor: Any, *, batch: int | None = None) -> Ragged:
        """From a `tf.RaggedTensor` of one or more ragged axes and values (total, width)."""
        *above, splits = [one.numpy().astype(np.int64) for one in tensor.nested_row_splits]
        return cls(tensor.flat_values.numpy(), splits, batch=batch, above=above)

    @classmethod
    def from_torch(cls, tensor: Any, *, batch: int | None = None) -> Ragged:
        """From a nested tensor (series, length, width)."""
        made = cls.from_list([one.detach().cpu().numpy() for one in tensor.unbind()])
        return cls(made.values, made.row_splits, batch=batch)

    @classmethod
    def from_awkward(cls, array: Any, *, batch: int | None = None) -> Ragged:
        """From an awkward array (series, length, width), or of more ragged axes."""
        import awkward as ak

        levels = []
        for _ in range(array.ndim - 2):
            levels.append(_offsets(ak.to_numpy(ak.num(array))))
            array = ak.flatten(array)
        *above, splits = levels
        return cls(ak.to_numpy(array), splits, batch=batch, above=above)

    @classmethod
    def from_arrow(cls, array: Any, *, batch: int | None = None) -> Ragged:
        """From a `ListArray` of fixed-size lists, or of further such arrays."""
        levels = []
        while not hasattr(array.type, "list_size"):
            levels.append(_offsets(np.diff(array.offsets.to_numpy())))
            array = array.flatten()
        *above, splits = levels
        values = array.flatten().to_numpy(zero_copy_only=False)
        return cls(values.reshape(-1, array.type.list_size), splits, batch=batch, above=above)

    def plot(self, axes: Any = None, *, row: int = 0, unit: int = 0) -> Any:
        """With matplotlib: outer steps across, inner steps down, value `unit` of row `row` as colour; nothing where a series
        has ended. Returns the axes, those given or the current ones."""
        import matplotlib.pyplot as plt

        axes = plt.gca() if axes is None else axes
        padded, there = self.to_padded(mask=True)
        if padded.ndim == 4:
            padded, there = padded[row], there[row]
        picture = np.where(there, padded[..., unit], np.nan).T
        axes.imshow(picture, aspect="auto", interpolation="nearest")
        axes.set_title(
            f"{len(self.values)} values in {len(self)} series" if self.batch is None else f"row {row}, unit {unit}"
        )
        axes.set_xlabel("outer step")
        axes.set_ylabel("inner step")
        return axes


def _numbers(lengths: NDArray[np.int64]) -> str:
    return " ".join(map(str, lengths[:20])) + (" …" if len(lengths) > 20 else "")


def _offsets(lengths: Any) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def joined(pieces: Sequence[Ragged], marks: Sequence[Sequence[NDArray[Any]]]) -> tuple[Ragged, list[NDArray[Any]]]:
    """What a generator gave for the same rows in one go after another, as if it had been one. `marks`: for each piece and
    level a value for each series."""
    batch = pieces[0].batch or 1
    lengths: list[list[NDArray[np.int64]]] = [[] for _ in pieces[0]._levels]
    marked: list[list[NDArray[Any]]] = [[] for _ in lengths]
    values = []
    for row in range(batch):
        for piece, marks_of in zip(pieces, marks, strict=True):
            size = (len(piece._levels[0]) - 1) // batch
            first, end = row * size, (row + 1) * size
            for level, splits in enumerate(piece._levels):
                lengths[level].append(np.diff(splits[first : end + 1]))
                marked[level].append(marks_of[level][first:end])
                first, end = splits[first], splits[end]
            values.append(piece.values[first:end])
    *above, splits = [_offsets(np.concatenate(level)) for level in lengths]
    whole = Ragged(np.concatenate(values), splits, batch=pieces[0].batch, above=above)
    return whole, [np.concatenate(level) for level in marked]


def _index(key: SupportsIndex, size: int) -> int:
    number = operator.index(key)
    if not -size <= number < size:
        raise IndexError(f"{number} of {size}")
    return number + size if number < 0 else number


def _layout(layout: Layout) -> int:
    if layout not in ("batch", "time"):
        raise InvalidArgumentError(f'expected layout "batch" or "time", received {layout!r}')
    return 0 if layout == "batch" else 1


def _from_handle(handle: c.RaggedHandle, *, batch: int | None) -> Ragged:
    """The library's object as arrays."""
    info = c.RaggedInfo()
    c.ragged_describe(handle, info)
    values = np.empty((info.value_count, info.width), np.float32)
    c.ragged_values(handle, address(values), values.size)
    levels = []
    for level in range(info.level_count):
        size = ctypes.c_size_t()
        c.ragged_splits(handle, level, None, 0, size)
        splits = np.empty(size.value, c.SIZE)
        c.ragged_splits(handle, level, sizes(splits), len(splits), size)
        levels.append(splits.astype(np.int64))
    return Ragged(values, levels[-1], batch=batch, above=levels[:-1])
