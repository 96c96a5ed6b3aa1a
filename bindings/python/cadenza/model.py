"""Models: what they are, their weights, whole sequences."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from . import _bindings as c
from ._arguments import (
    Answer,
    Array,
    PathLike,
    address,
    addresses,
    c_text,
    count,
    filled,
    filled_text,
    floats,
    in_order,
    require_shape,
    shape_text,
)
from .errors import InvalidArgumentError, UnsupportedError

if TYPE_CHECKING:
    from .pool import Pool
    from .stream import Stream

Info = TypeVar("Info", bound=c.SizedStructure)


@dataclass(frozen=True)
class Tensor:
    """An input or an output of a model."""

    name: str
    """The Keras name of the input, or of the layer that gives the output."""
    shape: tuple[int | None, ...]
    """Without the batch axis; None where any length is fine."""
    has_time: bool
    """Whether the first axis is time, so that a stream has one step of it at a time."""
    step_size: int
    """Floats per row and step in a stream."""

    @property
    def step_shape(self) -> tuple[int, ...]:
        """The shape of one row's step in a stream."""
        shape = tuple(dim or 0 for dim in (self.shape[1:] if self.has_time else self.shape))
        return shape if prod(shape) == self.step_size else (self.step_size,)


@dataclass(frozen=True)
class Layer:
    """A layer of a model, in the order in which the layers run."""

    name: str
    """The Keras name; of layers inside nested models `outer/inner`."""
    class_name: str
    """As Keras names the class."""
    shape: tuple[int | None, ...]
    """Of its first output, without the batch axis; None where any length is fine."""
    parameters: int
    """How many weights it has."""
    streams: bool
    """Whether it answers step by step what it answers on the whole."""
    reason: str
    """Why it needs the whole sequence and what would mend it; empty where it streams."""


@dataclass(frozen=True)
class StateArray:
    """A state that a stream of the model carries: an array (batch, units)."""

    layer: str
    """The layer's name; of a shared layer's second use `layer@2`."""
    name: str
    """`h` or `c`; in a stack of cells `0/h`, `0/c`, `1/h` and so on."""
    units: int

    @property
    def key(self) -> str:
        """The name in `Stream.state`: `layer/name`."""
        return f"{self.layer}/{self.name}"


class Weights(Mapping[str, Array]):
    """A model's weights by name, in Keras's order and shapes. Reading copies a weight out, assigning copies it in.

    Keras's other spellings of a name are understood too, such as `lstm/lstm_cell/kernel:0`.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    def __getitem__(self, name: str) -> Array:
        return self._model._weight(self._find(name))

    def __setitem__(self, name: str, value: Any) -> None:
        self._model._set_weight(self._find(name), floats(value))

    def __iter__(self) -> Iterator[str]:
        return (info.name.decode() for info in self._model._weight_infos)

    def __len__(self) -> int:
        return len(self._model._weight_infos)

    def __repr__(self) -> str:
        shapes = (f"{info.name.decode()!r}: {_dims(info)}" for info in self._model._weight_infos)
        return f"<weights {{{', '.join(shapes)}}}>"

    def _find(self, name: str) -> int:
        index = ctypes.c_size_t()
        c.model_weight_find(self._model._handle, c_text(name), ctypes.byref(index))
        return index.value


class Model:
    """A trained model: a plan of layers with their weights, shared by its streams.

    `cadenza.load`, `cadenza.from_json` and `cadenza.build` make models. Any number of threads may use one at once,
    except while its weights are being set.
    """

    def __init__(self, handle: c.ModelHandle) -> None:
        self._open: c.ModelHandle | None = handle
        self.inputs = _tensors(c.model_input_count, c.model_input_info, handle)
        """The inputs, as a tuple of `Tensor`."""
        self.outputs = _tensors(c.model_output_count, c.model_output_info, handle)
        """The outputs, as a tuple of `Tensor`."""

    # ── What it is ──────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in the order in which they run, inputs included."""
        return tuple(
            Layer(
                name=info.name.decode(),
                class_name=info.class_name.decode(),
                shape=_dims(info),
                parameters=info.parameter_count,
                streams=info.verdict == 0,
                reason=info.reason.decode(),
            )
            for info in _infos(c.model_layer_count, c.model_layer_info, c.LayerInfo, self._handle)
        )

    @cached_property
    def states(self) -> tuple[StateArray, ...]:
        """The states that a stream carries, in the order of the layers, h before c."""
        return tuple(
            StateArray(info.layer.decode(), info.name.decode(), info.units)
            for info in _infos(c.model_state_count, c.model_state_info, c.StateInfo, self._handle)
        )

    @property
    def streamable(self) -> bool:
        """Whether the model answers step by step what it answers on the whole."""
        return self._streamability[0]

    @property
    def reason(self) -> str:
        """Why the model needs the whole sequence and what would mend it; empty where it streams."""
        return self._streamability[1]

    @cached_property
    def _streamability(self) -> tuple[bool, str]:
        verdict, reason = ctypes.c_int(), ctypes.c_char_p()
        c.model_streamability(self._handle, ctypes.byref(verdict), ctypes.byref(reason))
        return verdict.value == 0, (reason.value or b"").decode()

    def summary(self, print_fn: Callable[[str], object] | None = None) -> None:
        """Prints the table that Keras prints, with a column for streamability; through `print_fn` if it is given."""
        (print_fn or print)(filled_text(c.model_summary, self._handle))

    def to_json(self) -> str:
        """The architecture, as Keras's `model.to_json()` gave it."""
        return filled_text(c.model_architecture, self._handle)

    @property
    def fingerprint(self) -> int:
        """A hash of architecture and weights: equal for equal models, whatever file they came from."""
        fingerprint = ctypes.c_uint64()
        c.model_fingerprint(self._handle, ctypes.byref(fingerprint))
        return fingerprint.value

    # ── Narrow weights ──────────────────────────────────────────────────────────────────────────────────

    @property
    def precision(self) -> str:
        """How the large weights are kept: `float32`, `bf16` or `int8`."""
        return PRECISIONS[c.model_precision(self._handle)]

    def quantize(self, precision: str) -> Model:
        """A model with the same weights, the large ones narrow: its steps read half (`bf16`) or a quarter (`int8`) of the bytes,
        and it takes as much less memory.

        Kernels of LSTM, GRU, SimpleRNN and Dense, and tables of Embedding, become bf16, or whole numbers of 8 bits with a
        scale for each output; all else is computed in float32. `cadenza.quantization_error` tells what it costs. This model
        stays as it is. The new one cannot be trained; `save` writes it narrow to `.safetensors`.
        Raises InvalidArgumentError for a model that is narrow already, and for int8 where a weight is not finite.
        """
        handle = c.ModelHandle()
        c.model_quantize(self._handle, precision_number(precision), ctypes.byref(handle))
        return Model(handle)

    def lock(self) -> None:
        """Locks what steps read of the model into memory, and what streams, pools and generators made of it from now on compute in.

        While nothing runs the system does not page it out. Raises OperatingSystemError where the system allows no more
        (`ulimit -l`), and so do streams, pools and generators of a locked model. What is locked is unlocked as it is freed. No other
        thread may use the model meanwhile.
        """
        c.model_lock(self._handle)

    # ── Weights ─────────────────────────────────────────────────────────────────────────────────────────

    @property
    def weights(self) -> Weights:
        """The weights by name, such as `model.weights["lstm/kernel"]`: readable and assignable."""
        return Weights(self)

    def get_weights(self) -> list[Array]:
        """Copies of all weights, in the order of Keras's `get_weights()`."""
        return [self._weight(index) for index in range(len(self._weight_infos))]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets all weights, in the order of Keras's `get_weights()`.

        Every stream of the model computes with them from its next step on. No other thread may use the model or its
        streams meanwhile. Raises InvalidArgumentError, with nothing set, where number or shapes are not the model's.
        """
        infos = self._weight_infos
        if len(weights) != len(infos):
            raise InvalidArgumentError(f"expected {len(infos)} weights, received {len(weights)}")
        values = [floats(value) for value in weights]
        for info, value in zip(infos, values):
            _require_weight_shape(info, value)
        for index, value in enumerate(values):
            self._set_weight(index, value)

    @property
    def nonfinite_weights(self) -> int:
        """How many weights are NaN or infinite. Such a model loads and computes; this tells."""
        number = ctypes.c_size_t()
        c.model_nonfinite_weights(self._handle, ctypes.byref(number))
        return number.value

    @cached_property
    def _weight_infos(self) -> list[c.WeightInfo]:
        return list(_infos(c.model_weight_count, c.model_weight_info, c.WeightInfo, self._handle))

    def _weight(self, index: int) -> Array:
        values = np.empty(_dims(self._weight_infos[index]), np.float32)
        c.model_weight_get(self._handle, index, address(values), values.size)
        return values

    def _set_weight(self, index: int, values: Array) -> None:
        _require_weight_shape(self._weight_infos[index], values)
        c.model_weight_set(self._handle, index, address(values), values.size)

    # ── Running ─────────────────────────────────────────────────────────────────────────────────────────

    def predict(self, x: Any, threads: int = 1) -> Answer:
        """What Keras's `model.predict(x)` answers: every row of the batch from a zero state.

        x: (batch, time, features) numbers of any type; (batch, time) ids for an Embedding. Several inputs come as a
        list in the model's order or as a dict by input name. `time` need not be the window of the training, unless
        a layer such as Flatten holds the model to it.
        threads: how many the rows are shared out to, for this call, and where there are two or more for each row, recurrent layers;
            the answers have the same bits.
        Returns one float32 array, batch first, or a list of them for several outputs.
        Raises InvalidArgumentError for other shapes.
        """
        inputs, batch, times = self._batch_of_inputs(x)
        outputs = [self._output_array(index, batch, times) for index in range(len(self.outputs))]
        c.model_run_threads(
            self._handle, batch, times, addresses(inputs), addresses(outputs), count(threads, "threads")
        )
        return outputs[0] if len(outputs) == 1 else outputs

    def stream(self, batch: int = 1) -> Stream:
        """A stream: this model running in time, one step after the other, for `batch` rows that step together.

        Raises CannotStreamError, naming the layer and the mend, where the model needs the whole sequence.
        """
        from .stream import Stream

        handle = c.StreamHandle()
        c.stream_create(self._handle, count(batch, "a batch size"), ctypes.byref(handle))
        return Stream(self, handle)

    def _batch_of_inputs(self, x: Any) -> tuple[list[Array], int, ctypes.Array[ctypes.c_size_t]]:
        """The inputs as arrays, how many rows they have, and the lengths of their time axes."""
        inputs = [floats(value) for value in self._input_values(x)]
        for tensor, value in zip(self.inputs, inputs):
            _require_input_shape(tensor, value)
        batches = [len(value) for value in inputs]
        if len(set(batches)) > 1:
            raise InvalidArgumentError(f"expected one batch size for all inputs, received {batches}")
        return inputs, batches[0], self._times(inputs)

    def _times(self, inputs: list[Array]) -> ctypes.Array[ctypes.c_size_t]:
        """The lengths of the inputs' time axes."""
        lengths = (value.shape[1] if tensor.has_time else 0 for tensor, value in zip(self.inputs, inputs))
        return (ctypes.c_size_t * len(inputs))(*lengths)

    def pool(self, threads: int | None = None) -> Pool:
        """A pool: thousands of streams on this model, of which a step computes those that are ready.

        threads: how many compute; None for one per processor. Raises as `stream` does.
        """
        from .pool import Pool

        return Pool(self, threads)

    def _input_values(self, x: Any) -> list[Any]:
        names = [tensor.name for tensor in self.inputs]
        if len(names) > 1 or isinstance(x, Mapping):
            return in_order(x, names, "input")
        listed_alone = isinstance(x, (list, tuple)) and len(x) == 1 and isinstance(x[0], np.ndarray)
        return [x[0]] if listed_alone and x[0].ndim == len(self.inputs[0].shape) + 1 else [x]

    def _output_array(self, index: int, batch: int, times: ctypes.Array[ctypes.c_size_t]) -> Array:
        shape = c.Shape()
        c.model_output_shape(self._handle, batch, times, index, ctypes.byref(shape))
        return np.empty(shape.dims[: shape.rank], np.float32)

    # ── Saving ──────────────────────────────────────────────────────────────────────────────────────────

    def save(self, path: PathLike) -> None:
        """Writes the model to a file, whole or not at all; `cadenza.load` reads it.

        The suffix says which: `.safetensors` (Cadenza's own, which opens without copying), `.keras` or `.weights.h5`
        (which Keras 3 loads). Raises UnsupportedError for another suffix, and for Keras's files where the model came from
        one of Keras 2.
        """
        name = os.fspath(path)
        if name.endswith((".keras", ".weights.h5")):
            c.model_export_file(self._handle, int(name.endswith(".h5")), c_text(path))
        elif name.endswith(".safetensors"):
            c.model_save_file(self._handle, c_text(path))
        else:
            raise UnsupportedError(f"expected a path ending in .safetensors, .keras or .weights.h5, received {name!r}")

    def to_bytes(self) -> bytes:
        """What `save` writes, as bytes."""
        return filled(c.model_save_memory, self._handle)

    def __reduce__(self) -> tuple[Callable[[bytes], Model], tuple[bytes]]:
        from .loading import load

        return load, (self.to_bytes(),)

    # ── Life ────────────────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Gives the model back now rather than when the last name for it goes. Its streams live on."""
        self._open = None

    @property
    def _handle(self) -> c.ModelHandle:
        if self._open is None:
            raise InvalidArgumentError("expected an open model, and this one is closed")
        return self._open

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        inputs, outputs = (
            ", ".join(shape_text(("batch", *tensor.shape)) for tensor in tensors)
            for tensors in (self.inputs, self.outputs)
        )
        return f"<cadenza.Model {inputs} → {outputs}{'' if self._open else ', closed'}>"


PRECISIONS = ("float32", "bf16", "int8")


def precision_number(precision: str) -> int:
    """The library's number of a precision."""
    if precision not in PRECISIONS:
        raise InvalidArgumentError(f"expected 'bf16' or 'int8' as precision, received {precision!r}")
    return PRECISIONS.index(precision)


def _infos(number: Any, ask: Any, kind: type[Info], handle: c.ModelHandle) -> Iterator[Info]:
    """The structs that the library fills, one for each index."""
    for index in range(number(handle)):
        info = kind()
        ask(handle, index, ctypes.byref(info))
        yield info


def _tensors(number: Any, ask: Any, handle: c.ModelHandle) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(info.name.decode(), _dims(info), bool(info.has_time), info.step_size)
        for info in _infos(number, ask, c.TensorInfo, handle)
    )


def _dims(info: Any) -> tuple[Any, ...]:
    """The struct's shape: None where any length is fine."""
    return tuple(None if dim < 0 else dim for dim in info.dims[: info.rank])


def _require_input_shape(tensor: Tensor, value: Array) -> None:
    """Raises InvalidArgumentError unless the array is a batch of this input; any length of time is fine."""
    expected = ("batch", *(("time", *tensor.shape[1:]) if tensor.has_time else tensor.shape))
    fits = len(value.shape) == len(expected) and all(
        wanted == found for wanted, found in zip(expected, value.shape) if isinstance(wanted, int)
    )
    if not fits:
        raise InvalidArgumentError(
            f"expected input '{tensor.name}' of shape {shape_text(expected)}, received {value.shape}"
        )


def _require_weight_shape(info: c.WeightInfo, value: Array) -> None:
    require_shape(value, _dims(info), f"weight '{info.name.decode()}'")
