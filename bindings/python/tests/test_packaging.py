"""The wheel: what is in it, what it is called, and what is said where it cannot be built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest
from conftest import REPOSITORY

from cadenza import _library

PACKAGE = REPOSITORY / "bindings" / "python"

pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")


def build(package, folder, **environment) -> subprocess.CompletedProcess:
    """Builds the package's wheel into a folder, as pip does."""
    without = {name: value for name, value in os.environ.items() if name != "CADENZA_LIBRARY"}
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=package,
        env={**without, **environment},
        capture_output=True,
        text=True,
    )


def test_the_wheel_holds_the_library_and_names_the_platform(tmp_path):
    done = build(PACKAGE, tmp_path, CADENZA_LIBRARY=str(_library.path))
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.iterdir()
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.name.endswith(f"-py3-none-{platform}.whl")
    with zipfile.ZipFile(wheel) as files:
        assert files.read("cadenza/libcadenza.so") == _library.path.read_bytes()
        names = {name for name in files.namelist() if name.startswith("cadenza/")}
    sources = {f"cadenza/{path.name}" for path in (PACKAGE / "cadenza").glob("*.py")}
    assert names == sources | {"cadenza/py.typed", "cadenza/libcadenza.so"}


def test_a_library_that_is_not_there(tmp_path):
    done = build(PACKAGE, tmp_path, CADENZA_LIBRARY=str(tmp_path / "missing.so"))
    assert done.returncode != 0
    assert "missing.so" in done.stderr


def test_outside_of_a_checkout(tmp_path):
    package = tmp_path / "somewhere" / "else" / "python"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    done = build(package, tmp_path / "wheels")
    assert done.returncode != 0
    assert "built in a checkout" in done.stderr
