"""Builds libcadenza.so for the wheel: `make library` in the checkout, or the file that CADENZA_LIBRARY names."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class LibraryHook(BuildHookInterface):
    """Puts the library beside the Python files, and the platform into the wheel's name."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        library = prebuilt_library() or build_library(checkout_of(Path(self.root)))
        if version == "editable":
            return  # the package finds the library in the checkout's build/
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["force_include"][str(library)] = "cadenza/libcadenza.so"


def prebuilt_library() -> Path | None:
    """The library that CADENZA_LIBRARY names, if it names one."""
    name = os.environ.get("CADENZA_LIBRARY")
    if not name:
        return None
    library = Path(name)
    if not library.is_file():
        raise SystemExit(f"CADENZA_LIBRARY names {library}, and there is no such file")
    return library.resolve()


def checkout_of(package: Path) -> Path:
    """The repository that the package's folder, bindings/python, stands in."""
    checkout = package.parent.parent
    if not (checkout / "include" / "cadenza.h").is_file() or not (checkout / "Makefile").is_file():
        raise SystemExit(
            f"cadenza is built in a checkout of its repository, and {checkout} is none: the sources of "
            "libcadenza.so are not part of the Python package. Install it with `pip install ./bindings/python` "
            "from a checkout, or set CADENZA_LIBRARY to a libcadenza.so that is already built."
        )
    return checkout


def build_library(checkout: Path) -> Path:
    """Runs `make library` and gives the file that it makes."""
    try:
        subprocess.run(["make", "-C", str(checkout), "library"], check=True)
    except FileNotFoundError:
        raise SystemExit("cadenza needs `make` and Swift to build libcadenza.so; `make` was not found") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"`make library` failed in {checkout} with exit status {error.returncode}") from None
    library = checkout / "build" / "libcadenza.so"
    if not library.is_file():
        raise SystemExit(f"`make library` succeeded but left no {library}")
    return library.resolve()
