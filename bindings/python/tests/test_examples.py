"""The example programs run, and say that all is well."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import RAIN


@pytest.mark.parametrize("file", ["rain.keras", "rain.h5"])
def test_rain(file):
    done = subprocess.run([sys.executable, RAIN / "rain.py", RAIN / file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "agree with Keras" in done.stdout.splitlines()[-1]
    days = (RAIN / "expected.csv").read_text().split()[1:]
    for day in days:
        assert day.split(",")[0] in done.stdout
