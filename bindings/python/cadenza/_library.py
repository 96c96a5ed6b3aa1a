"""Finds libcadenza.so, loads it, and turns its statuses into exceptions."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ._version import __version__
from .errors import CadenzaError, error_for

LIBRARY_NAME = "libcadenza.so"


def places() -> list[Path]:
    """Where the library is looked for, in order. CADENZA_LIBRARY overrules the other places."""
    named = os.environ.get("CADENZA_LIBRARY")
    if named:
        return [Path(named)]
    package = Path(__file__).resolve().parent
    found = [package / LIBRARY_NAME]
    checkout = package.parent.parent.parent
    if (checkout / "include" / "cadenza.h").is_file():
        found.append(checkout / "build" / LIBRARY_NAME)
    return found


def find() -> Path:
    """The library's file. Raises ImportError that lists every place looked in."""
    looked_in = places()
    for place in looked_in:
        if place.is_file():
            return place
    listing = "".join(f"\n  {place}" for place in looked_in)
    raise ImportError(
        f"Cadenza's library was not found. Looked in:{listing}\n"
        "In a checkout, `make library` builds it; CADENZA_LIBRARY may name another file."
    )


path = find()
try:
    # The same library twice: calls through the first release the interpreter lock, calls through the second keep it.
    _releasing = ctypes.CDLL(str(path))
    _keeping = ctypes.PyDLL(str(path))
except OSError as error:
    raise ImportError(f"Cadenza's library {path} could not be loaded: {error}") from error


class STATUS:
    """The result of a function that can fail: checked after every call, and raised where it is not CADENZA_OK."""


def function(name: str, result: Any, *arguments: Any) -> Any:
    """Binds a function of the library. It releases the interpreter lock while it runs."""
    bound: Any = _releasing[name]
    bound.argtypes = arguments
    if result is STATUS:
        bound.restype = ctypes.c_int
        bound.errcheck = _check
    else:
        bound.restype = result
    return bound


def prepared(checked: Any, *arguments: Any, keep_lock: bool) -> Callable[[], int]:
    """A call of a bound function, made ready once: it returns its status instead of raising, and takes no arguments,
    since these would be converted anew each time.

    arguments: ctypes objects of the function's very types. `keep_lock` also keeps the interpreter lock: for calls of a few
    microseconds, which would otherwise hand the lock to another thread each time.
    """
    bound: Any = (_keeping if keep_lock else _releasing)[checked.__name__]
    bound.restype = ctypes.c_int
    return partial(bound, *map(_reference, arguments))


class _Memory(ctypes.Structure):
    """What a pointer points to."""

    owner: Any


def _reference(pointer: Any) -> Any:
    """The same pointer in the one form for which ctypes makes no object at each call."""
    if not isinstance(pointer, ctypes.c_void_p):  # an array
        return ctypes.byref(pointer)
    memory = _Memory.from_address(pointer.value or 0)
    memory.owner = pointer
    return ctypes.byref(memory)


def failure(status: int) -> CadenzaError:
    """The exception for this thread's last failed call, with the library's message."""
    return error_for(status, last_message().decode())


def require_version(version: bytes) -> None:
    """Raises ImportError unless the library's major and minor version are this package's."""
    found = version.decode()
    if found.split(".")[:2] != __version__.split(".")[:2]:
        raise ImportError(f"cadenza {__version__} needs a library of its own version; {path} is {found}")


def _check(status: int, _function: Any, _arguments: Any) -> int:
    if status:
        raise failure(status)
    return status


last_message = function("cadenza_last_message", ctypes.c_char_p)
