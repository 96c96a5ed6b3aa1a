"""Pools: thousands of streams on one model, of which a step computes those that are ready."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _bindings as c
from ._arguments import Answer, addresses, as_bytes, count, floats, in_order, require_shape
from .errors import InvalidArgumentError
from .model import Model


class Pool:
    """Streams of one row each on one model, known by numbers.

    `step` computes just the streams that are named, as one product of many rows; each has the same bits as alone. `threads`
    compute together, the calling one among them. A pool is used by one thread at a time.

    >>> pool = model.pool()
    >>> first, second = pool.join(), pool.join()
    >>> pool.step([second, first], samples)     # (2, features) → (2, outputs)
    """

    def __init__(self, model: Model, threads: int | None = None) -> None:
        """threads: None for one per processor. Raises CannotStreamError where the model needs the whole sequence."""
        self._model = model
        self._open: c.PoolHandle | None = None
        handle = c.PoolHandle()
        wanted = (os.cpu_count() or 1) if threads is None else count(threads, "threads")
        c.pool_create(model._handle, wanted, ctypes.byref(handle))
        self._open = handle

    def join(self) -> int:
        """A new stream in the zero state: its id, never 0 and never given twice."""
        return self._id(c.pool_join, self._handle)

    def leave(self, id: int) -> None:
        """The stream's end. Raises NotFoundError where the pool has no such stream, as all that takes an id does."""
        c.pool_leave(self._handle, count(id, "an id"))

    def reset(self, id: int) -> None:
        """Back to the zero state."""
        c.pool_reset(self._handle, count(id, "an id"))

    def fork(self, id: int) -> int:
        """A stream with a copy of the state, going on from here: its id."""
        return self._id(c.pool_fork, self._handle, count(id, "an id"))

    def position(self, id: int) -> int:
        """Steps that the stream has made since it joined or was reset."""
        return self._id(c.pool_position, self._handle, count(id, "an id"))

    def snapshot(self, id: int) -> bytes:
        """The stream's state as bytes, which a `Stream` of one row can be restored from, too."""
        size = ctypes.c_size_t()
        number = count(id, "an id")
        c.pool_snapshot(self._handle, number, None, 0, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        c.pool_snapshot(self._handle, number, buffer, size, ctypes.byref(size))
        return buffer.raw[: size.value]

    def restore(self, id: int, snapshot: Any) -> None:
        """Continues from a snapshot of a pool's stream, or of a `Stream` of one row, of the same model."""
        data = as_bytes(snapshot)
        c.pool_restore(self._handle, count(id, "an id"), data, len(data))

    def step(self, ids: Any, samples: Any) -> Answer:
        """One step of each stream that is named.

        ids: (count,), each at most once. samples: (count, features), or for several inputs a list in the model's order or a
        dict by name. Returns (count, outputs), or a list of them. Raises with no step made.
        """
        numbers = _ids(ids)
        inputs, outputs = self._model.inputs, self._model.outputs
        if len(inputs) == 1 and not isinstance(samples, Mapping):
            arrays = [floats(samples)]
        else:
            arrays = [floats(item) for item in in_order(samples, [tensor.name for tensor in inputs], "input")]
        for array, tensor in zip(arrays, inputs):
            require_shape(array, (len(numbers), *tensor.step_shape), f"input '{tensor.name}'")
        answers = [np.empty((len(numbers), *tensor.step_shape), np.float32) for tensor in outputs]
        c.pool_step_multi(
            self._handle, len(numbers), numbers.ctypes.data_as(c.IDS), addresses(arrays), addresses(answers)
        )
        return answers[0] if len(answers) == 1 else answers

    @property
    def model(self) -> Model:
        """The model that runs here."""
        return self._model

    def __len__(self) -> int:
        return int(c.pool_count(self._handle))

    def close(self) -> None:
        """Gives the pool and its threads back now rather than when the last name for it goes."""
        self._open = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<cadenza.Pool of {len(self) if self._open else 'no'} streams of {self._model!r}>"

    @property
    def _handle(self) -> c.PoolHandle:
        if self._open is None:
            raise InvalidArgumentError("expected an open pool, and this one is closed")
        return self._open

    @staticmethod
    def _id(call: Any, *arguments: Any) -> int:
        number = ctypes.c_uint64()
        call(*arguments, ctypes.byref(number))
        return number.value


def _ids(ids: Any) -> NDArray[np.uint64]:
    """The ids as C has them."""
    numbers = np.asarray(ids, order="C")
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "ui"):
        raise InvalidArgumentError(
            f"expected ids as a row of whole numbers, received shape {numbers.shape}, {numbers.dtype}"
        )
    if numbers.dtype.kind == "i" and (numbers < 0).any():
        raise InvalidArgumentError(f"expected ids of 1 or more, received {int(numbers.min())}")
    return numbers.astype(np.uint64, copy=False)
