"""From what callers pass to what the library takes: arrays, counts, texts; and the errors when it cannot be."""

from __future__ import annotations

import ctypes
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _bindings as c
from .errors import InvalidArgumentError, MissingFileError

Array: TypeAlias = NDArray[np.float32]

Answer: TypeAlias = "Array | Any"
"""One array for a model with one output, a list of arrays for several."""

PathLike: TypeAlias = "str | os.PathLike[str]"


def floats(value: Any) -> Array:
    """A float32 array in C order with the value's numbers: the value itself where it is one."""
    return np.asarray(value, dtype=np.float32, order="C")


def address(array: NDArray[Any]) -> int:
    """Where the array's first number lies. The caller keeps the array alive."""
    return array.ctypes.data


def addresses(arrays: Sequence[NDArray[Any]]) -> ctypes.Array[ctypes.c_void_p]:
    """A C array of the arrays' addresses. The caller keeps the arrays alive."""
    return (ctypes.c_void_p * len(arrays))(*map(address, arrays))


def in_order(values: Any, names: Sequence[str], noun: str) -> list[Any]:
    """The values for these names: given as a mapping by name or as a sequence in their order."""
    if isinstance(values, Mapping):
        if sorted(values) != sorted(names):
            raise InvalidArgumentError(f"expected {noun}s {listed(names)}, received {listed(values)}")
        return [values[name] for name in names]
    if not isinstance(values, (list, tuple)):
        raise InvalidArgumentError(
            f"expected a list or a dict of {len(names)} {noun}s, {listed(names)}; received {type(values).__name__}"
        )
    if len(values) != len(names):
        raise InvalidArgumentError(f"expected {len(names)} {noun}s, {listed(names)}; received {len(values)}")
    return list(values)


def listed(texts: Iterable[str]) -> str:
    """The texts, with commas."""
    return ", ".join(texts)


def shape_text(shape: Sequence[int | str | None]) -> str:
    """A shape as Python writes it, with words where any length is fine: `(batch, time, 3)`."""
    inside = ", ".join("any" if dim is None else str(dim) for dim in shape)
    return f"({inside},)" if len(shape) == 1 else f"({inside})"


def require_shape(array: NDArray[Any], shape: tuple[int, ...], what: str) -> None:
    """Raises InvalidArgumentError unless the array has this shape."""
    if array.shape != shape:
        raise InvalidArgumentError(f"expected {what} of shape {shape}, received {array.shape}")


def count(value: SupportsIndex, what: str, bits: int = 64) -> int:
    """The value as a whole number that an unsigned C integer holds."""
    number = operator.index(value)
    if not 0 <= number < 1 << bits:
        raise InvalidArgumentError(f"expected {what} from 0 to 2**{bits} - 1, received {number}")
    return number


def c_text(value: PathLike) -> bytes:
    """The text for a `const char *`, which ends at the first zero byte: so it must not have one."""
    text = os.fsencode(value)
    if b"\0" in text:
        raise InvalidArgumentError(f"expected a text without zero bytes, received {value!r}")
    return text


def existing_path(path: PathLike) -> bytes:
    """The path for the library. Raises MissingFileError where there is nothing."""
    text = c_text(path)
    if not os.path.exists(path):
        raise MissingFileError(f"expected a file at '{os.fspath(path)}', and there is none")
    return text


def as_bytes(data: Any) -> bytes:
    """The bytes of any bytes-like object: the object itself where it is `bytes`."""
    return data if isinstance(data, bytes) else bytes(memoryview(data))


def filled(function: Any, handle: c.Handle) -> bytes:
    """The bytes that a size-then-fill function of the library gives."""
    size = ctypes.c_size_t()
    function(handle, None, 0, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    function(handle, buffer, size, ctypes.byref(size))
    return buffer.raw[: size.value]


def filled_text(function: Any, handle: c.Handle) -> str:
    """The text that a size-then-fill function of the library gives, its terminating zero dropped."""
    return filled(function, handle)[:-1].decode()


def sizes(array: NDArray[Any]) -> Any:
    """Where the numbers of a size_t array begin. The caller keeps the array alive."""
    return array.ctypes.data_as(c.SIZES)
