"""Exceptions: one class for each status of the library, each also the built-in exception that fits it."""

from __future__ import annotations


class CadenzaError(Exception):
    """Base of everything that Cadenza raises. Its text says what was expected and what came."""

    status: int = -1
    """The library's `cadenza_status`."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class InvalidArgumentError(CadenzaError, ValueError):
    """An argument is missing, out of range or of the wrong shape; or the object is closed."""

    status = 1


class InvalidFileError(CadenzaError, ValueError):
    """A file or buffer is not what it should be: cut short, damaged, contradictory."""

    status = 2


class UnsupportedError(CadenzaError, NotImplementedError):
    """A layer, option or format that Cadenza does not have; the message names it."""

    status = 3


class NotFoundError(CadenzaError, KeyError):
    """No such layer, weight, state or name."""

    status = 4


class OperatingSystemError(CadenzaError, OSError):
    """The operating system refused to open, read, write or rename."""

    status = 5


class MissingFileError(OperatingSystemError, FileNotFoundError):
    """There is no file at the path."""


class OutOfMemoryError(CadenzaError, MemoryError):
    """There is not enough memory."""

    status = 6


class CannotStreamError(CadenzaError, RuntimeError):
    """The model needs the whole sequence; the message names the layer and the mend."""

    status = 7


class MismatchError(CadenzaError, ValueError):
    """A snapshot of another model, or of another batch size."""

    status = 8


_BY_STATUS: dict[int, type[CadenzaError]] = {
    error.status: error
    for error in (
        InvalidArgumentError,
        InvalidFileError,
        UnsupportedError,
        NotFoundError,
        OperatingSystemError,
        OutOfMemoryError,
        CannotStreamError,
        MismatchError,
    )
}


def error_for(status: int, message: str) -> CadenzaError:
    """The exception for a status other than CADENZA_OK."""
    error = _BY_STATUS.get(status, CadenzaError)(message)
    error.status = status
    return error
