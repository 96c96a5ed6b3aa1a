"""The SIMD kernels: which are in use, which this processor can run, and choosing among them."""

from __future__ import annotations

from itertools import count, takewhile

from . import _bindings as c
from ._arguments import c_text

__all__ = ["available", "force", "name"]


def name() -> str:
    """The kernels in use, such as `x86-64-v3`."""
    text: bytes = c.kernels_name()
    return text.decode()


def available() -> list[str]:
    """The names of the kernels that this processor can run."""
    return [text.decode() for text in takewhile(bool, map(c.kernels_available, count()))]


def force(name: str) -> None:
    """Chooses the kernels for models loaded from now on: for tests and comparisons.

    Raises NotFoundError where this processor cannot run them.
    """
    c.kernels_force(c_text(name))
