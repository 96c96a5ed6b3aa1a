"""Streams: a model running in time, its state carried from step to step."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NoReturn, overload

import numpy as np
from numpy.typing import NDArray

from . import _bindings as c
from ._arguments import (
    Answer,
    Array,
    PathLike,
    address,
    addresses,
    as_bytes,
    c_text,
    count,
    existing_path,
    filled,
    floats,
    in_order,
    listed,
    require_shape,
    shape_text,
)
from ._library import failure, prepared
from .errors import InvalidArgumentError, NotFoundError
from .model import Model, Tensor

SHORT_STEP = 100_000
"""Weights times rows up to which a step takes some microseconds at most. Such steps keep the interpreter lock:
giving it away and waiting to have it back would take longer than the step."""

_FLOAT32 = np.dtype(np.float32)


class State(Mapping[str, Array]):
    """A stream's state by `layer/name`, such as `"lstm/h"`: arrays (batch, units).

    Reading copies a state out; assigning copies one in and takes (batch, units), or (units,) in a stream of one row.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._index = {state.key: index for index, state in enumerate(stream._states)}

    def __getitem__(self, key: str) -> Array:
        index = self._find(key)
        values = np.empty(self._shape(index), np.float32)
        c.stream_state_get(self._stream._handle, index, address(values))
        return values

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def update(self, values: Mapping[str, Any]) -> None:
        """Sets several states, or none where a name or a shape is not the stream's."""
        arrays = {}
        for key, value in values.items():
            shape = self._shape(self._find(key))
            array = floats(value)
            if shape[0] == 1 and array.shape == shape[1:]:
                array = array[np.newaxis]
            require_shape(array, shape, f"state '{key}'")
            arrays[self._index[key]] = array
        for index, array in arrays.items():
            c.stream_state_set(self._stream._handle, index, address(array))

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        return f"<state {dict(self)!r}>"

    def _find(self, key: str) -> int:
        if key not in self._index:
            raise NotFoundError(f"expected one of the states {', '.join(self._index)}; received {key!r}")
        return self._index[key]

    def _shape(self, index: int) -> tuple[int, int]:
        return self._stream.batch, self._stream._states[index].units


class _Place:
    """Where samples of one shape are put, and where the answers to them will be: in `target`; or once a caller gives the same
    array again and again, right in that."""

    __slots__ = ("source", "target", "shape", "last", "kept", "step", "guard")

    def __init__(self, source: Array, target: Array) -> None:
        self.source, self.target, self.shape = source, target, target.shape
        self.last: Any = None
        self.kept: Any = self  # no array
        self.step: Any = None
        self.guard: Any = None


class Stream:
    """A model running in time for `batch` rows that step together.

    `Model.stream` makes streams; a stream is used by one thread at a time. A stream of one row takes and gives
    samples with or without the batch axis: (features,) → (outputs,), (1, features) → (1, outputs). A stream of
    several rows takes (batch, features) and gives (batch, outputs). All answers are float32.
    Models with several inputs take a list in the model's order or a dict by name; several outputs come as a list.
    """

    def __init__(self, model: Model, handle: c.StreamHandle) -> None:
        self._model = model
        self._open: c.StreamHandle | None = handle
        self._batch: int = c.stream_batch(handle)
        self._states = model.states
        self._sources = [self._rows(tensor) for tensor in model.inputs]
        self._targets = [self._rows(tensor) for tensor in model.outputs]
        several = len(self._sources) > 1 or len(self._targets) > 1

        weights = sum(layer.parameters for layer in model.layers)
        keep_lock = weights * self._batch <= SHORT_STEP
        places = [
            addresses(rows) if several else ctypes.c_void_p(address(rows[0])) for rows in (self._sources, self._targets)
        ]
        step, peek = (c.stream_step_multi, c.stream_peek_multi) if several else (c.stream_step, c.stream_peek)
        self._keep_lock = keep_lock
        self._step = prepared(step, handle, *places, keep_lock=keep_lock)
        self._peek = prepared(peek, handle, *places, keep_lock=keep_lock)

        # Where samples of these shapes are put and where the answers to them will be: one place for each input and
        # output, with and without the batch axis. And for `step` alone, the only place of the only input and output.
        self._places = {_shapes(self._sources): (self._sources, self._targets)}
        if self._batch == 1:
            sources, targets = ([row.reshape(row.shape[1:]) for row in rows] for rows in (self._sources, self._targets))
            self._places[_shapes(sources)] = sources, targets
        self._only_place = (
            {}
            if several
            else {sources[0].shape: _Place(sources[0], targets[0]) for sources, targets in self._places.values()}
        )

    # ── Steps ───────────────────────────────────────────────────────────────────────────────────────────

    def step(self, sample: Any, out: Any = None) -> Answer:
        """Makes one step of every row and returns the answer: what the whole model gives on the samples so far.

        sample: (features,) or (1, features) for one row, (batch, features) for several.
        out: a float32 array of the answer's shape, or a list of them for several outputs: receives it, and is returned.
        Raises InvalidArgumentError for other shapes, with no step made.
        """
        try:
            place = self._only_place[sample.shape]
        except (AttributeError, KeyError, TypeError):  # a list, several inputs, or a shape to complain about
            return self._exchange(self._step, sample, out)
        place.source[...] = sample
        if out is place.kept and out.shape == place.shape and out.dtype is _FLOAT32 and out.flags.writeable:
            if status := place.step():
                raise failure(status)
            return out
        target = place.target
        if out is not None:
            _require_out(out, target)
        if status := self._step():
            raise failure(status)
        if out is None:
            return target.copy()
        out[...] = target
        if out is place.last:
            self._keep(place, out)
        place.last = out
        return out

    def peek(self, sample: Any, out: Any = None) -> Answer:
        """The answer that `step` would give, without making the step."""
        return self._exchange(self._peek, sample, out)

    @overload
    def run(self, chunk: Any, states: Literal[False] = False) -> Answer: ...

    @overload
    def run(self, chunk: Any, states: Literal[True]) -> tuple[Answer, dict[str, Array]]: ...

    def run(self, chunk: Any, states: bool = False) -> Answer | tuple[Answer, dict[str, Array]]:
        """Makes several steps: the same answers, to the bit, as step by step.

        chunk: (steps, features) or (1, steps, features) for one row, (batch, steps, features) for several; inputs
        without a time axis are given for each step too.
        Returns (steps, outputs) or (batch, steps, outputs) alike. With `states` also a dict of the states after every
        step, by the names of `Stream.state`, each (steps, units) or (batch, steps, units).
        """
        chunks = self._inputs(chunk)
        bare = self._batch == 1 and all(
            value.ndim == 1 + len(tensor.step_shape) for value, tensor in zip(chunks, self._model.inputs)
        )
        lead = () if bare else (self._batch,)
        steps = (*chunks[0].shape, 0, 0)[len(lead)]
        if any(value.shape != (*lead, steps, *t.step_shape) for value, t in zip(chunks, self._model.inputs)):
            raise self._unexpected(chunks, ("steps",))
        answers = [np.empty((*lead, steps, *tensor.step_shape), np.float32) for tensor in self._model.outputs]
        histories = {state.key: np.empty((*lead, steps, state.units), np.float32) for state in self._states if states}
        c.stream_run_multi(
            self._handle,
            steps,
            addresses(chunks),
            addresses(answers),
            addresses(list(histories.values())) if states else None,
        )
        answer = _one_or_all(answers)
        return (answer, histories) if states else answer

    def reset(self, row: int | None = None) -> None:
        """Back to the zero state: all rows, or one."""
        if row is None:
            c.stream_reset(self._handle)
        else:
            c.stream_reset_row(self._handle, count(row, "a row"))

    def fork(self) -> Stream:
        """A stream of the same model with a copy of the state, going on from here."""
        handle = c.StreamHandle()
        c.stream_fork(self._handle, ctypes.byref(handle))
        return Stream(self._model, handle)

    # ── State ───────────────────────────────────────────────────────────────────────────────────────────

    @property
    def state(self) -> State:
        """The state by `layer/name`, such as `stream.state["lstm/h"]`: readable and assignable."""
        return State(self)

    def get_state(self) -> dict[str, Array]:
        """Copies of all state arrays, (batch, units) each, by `layer/name`."""
        return dict(self.state)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Sets the states that the mapping names, or none where a name or a shape is not the stream's."""
        self.state.update(state)

    def snapshot(self) -> bytes:
        """The whole state as bytes: checksummed, bound to the model, the same on every machine."""
        return filled(c.stream_snapshot, self._handle)

    def restore(self, snapshot: Any) -> None:
        """Continues from a snapshot of any stream of the same model with the same batch size.

        Raises MismatchError (another model or batch) or InvalidFileError (damaged), with the state as it was.
        """
        data = as_bytes(snapshot)
        c.stream_restore(self._handle, data, len(data))

    def save(self, path: PathLike) -> None:
        """Writes the snapshot to a file, whole or not at all."""
        c.stream_snapshot_file(self._handle, c_text(path))

    def load(self, path: PathLike) -> None:
        """Continues from a file that `save` wrote. Raises as `restore` does."""
        c.stream_restore_file(self._handle, existing_path(path))

    @property
    def position(self) -> NDArray[np.int64]:
        """Steps that each row has made since its reset: (batch,)."""
        return self._per_row(c.stream_position, ctypes.c_uint64)

    @property
    def health(self) -> NDArray[np.int64]:
        """How many values of each row's state are NaN or infinite: (batch,); 0 is healthy."""
        return self._per_row(c.stream_health, ctypes.c_size_t)

    # ── Identity and life ───────────────────────────────────────────────────────────────────────────────

    @property
    def model(self) -> Model:
        """The model that runs here."""
        return self._model

    @property
    def batch(self) -> int:
        """How many rows step together."""
        return self._batch

    @property
    def handle(self) -> int:
        """The address of the `cadenza_stream`, for C code in the same process: valid while this object is open."""
        return self._handle.value or 0

    @classmethod
    def from_handle(cls, address: int) -> Stream:
        """A stream made in C, by its address. Both sides own it: C still releases its own reference."""
        handle = c.stream_retain(count(address, "an address"))
        if not handle:
            raise InvalidArgumentError("expected the address of a cadenza_stream, received 0")
        model = c.ModelHandle()
        c.stream_model(handle, ctypes.byref(model))
        return cls(Model(model), handle)

    def close(self) -> None:
        """Gives the stream back now rather than when the last name for it goes."""
        self._open = None
        self._only_place.clear()
        self._step = self._peek = _refuse

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = f"at step {self.position.tolist()}" if self._open else "closed"
        return f"<cadenza.Stream of {self._batch} row{'s' * (self._batch != 1)} {where} of {self._model!r}>"

    # ── Detail ──────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _handle(self) -> c.StreamHandle:
        if self._open is None:
            raise _closed()
        return self._open

    def _rows(self, tensor: Tensor) -> Array:
        return np.zeros((self._batch, *tensor.step_shape), np.float32)

    def _keep(self, place: _Place, out: Any) -> None:
        """From now on the library writes its answers into this array, which was given twice in a row."""
        if type(out) is np.ndarray and out.flags.carray and out.dtype is _FLOAT32:
            ends = ctypes.c_void_p(address(self._sources[0])), ctypes.c_void_p(address(out))
            place.step = prepared(c.stream_step, self._handle, *ends, keep_lock=self._keep_lock)
            place.kept = out
            # NumPy refuses to resize an array with a weak reference: its memory stays where it is.
            place.guard = weakref.ref(out)

    def _exchange(self, call: Any, sample: Any, out: Any) -> Answer:
        """A step or a peek for every kind of sample: lists, several inputs, several outputs."""
        samples = self._inputs(sample)
        try:
            sources, targets = self._places[_shapes(samples)]
        except KeyError:
            raise self._unexpected(samples, ()) from None
        outs = None if out is None else self._outs(out, targets)
        for source, value in zip(sources, samples):
            source[...] = value
        if status := call():
            raise failure(status)
        if outs is None:
            return _one_or_all([target.copy() for target in targets])
        for array, target in zip(outs, targets):
            array[...] = target
        return out

    def _inputs(self, value: Any) -> list[Array]:
        tensors = self._model.inputs
        if len(tensors) == 1 and not isinstance(value, Mapping):
            return [floats(value)]
        return [floats(item) for item in in_order(value, [tensor.name for tensor in tensors], "input")]

    def _outs(self, out: Any, targets: list[Array]) -> list[Any]:
        names = [tensor.name for tensor in self._model.outputs]
        outs = [out] if len(names) == 1 and not isinstance(out, Mapping) else in_order(out, names, "out array")
        for array, target in zip(outs, targets):
            _require_out(array, target)
        return outs

    def _unexpected(self, values: list[Array], axes: tuple[str, ...]) -> InvalidArgumentError:
        """The error for samples, or for chunks with the axis `steps`, of other shapes than this stream takes."""

        def shapes(*lead: int) -> str:
            return listed(shape_text((*lead, *axes, *tensor.step_shape)) for tensor in self._model.inputs)

        without_batch = f"{shapes()} or " if self._batch == 1 else ""
        received = listed(str(value.shape) for value in values)
        return InvalidArgumentError(f"expected shape {without_batch}{shapes(self._batch)}; received {received}")

    def _per_row(self, ask: Any, kind: Any) -> NDArray[np.int64]:
        value = kind()
        answers = np.empty(self._batch, np.int64)
        for row in range(self._batch):
            ask(self._handle, row, ctypes.byref(value))
            answers[row] = value.value
        return answers


def _shapes(arrays: list[Array]) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape for array in arrays)


def _one_or_all(arrays: list[Array]) -> Answer:
    return arrays[0] if len(arrays) == 1 else arrays


def _closed() -> InvalidArgumentError:
    return InvalidArgumentError("expected an open stream, and this one is closed")


def _refuse() -> NoReturn:
    raise _closed()


def _require_out(out: Any, target: Array) -> None:
    """Raises InvalidArgumentError unless `out` is an array that can take the answer."""
    require_shape(out, target.shape, "out")
    if out.dtype != np.float32:
        raise InvalidArgumentError(f"expected out of type float32, received {out.dtype}")
    if not out.flags.writeable:
        raise InvalidArgumentError("expected out to be writeable")
