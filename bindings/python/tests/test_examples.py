"""The example programs run, and say that all is well."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import RAIN, REPOSITORY

EXAMPLES = REPOSITORY / "examples"
MORSE = (
    " .- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.."
).split(" ")


def run(*command) -> str:
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_sine():
    assert "1000 steps agree with Keras" in run(EXAMPLES / "sine" / "sine.py")


def test_characters():
    """The C program is held against the same file by Tests/c/run.sh."""
    assert run(EXAMPLES / "characters" / "characters.py") == (EXAMPLES / "characters" / "expected.txt").read_text()


def test_nested():
    text = "the quick brown fox jumps over the lazy dog"
    _, table, _ = run(EXAMPLES / "nested" / "nested.py", text).split("\n\n")
    assert table.splitlines() == [f"{letter}  {MORSE[' abcdefghijklmnopqrstuvwxyz'.index(letter)]}" for letter in text]


def test_spelling():
    assert run(EXAMPLES / "spelling" / "spelling.py", "Mixtures").splitlines() == [
        "m  i   x    t   u  r   e  s",
        "M  IH  K S  CH  ·  ER  ·  Z",
        "",
    ]


@pytest.mark.parametrize("file", ["rain.keras", "rain.h5"])
def test_rain(file):
    done = subprocess.run([sys.executable, RAIN / "rain.py", RAIN / file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "agree with Keras" in done.stdout.splitlines()[-1]
    days = (RAIN / "expected.csv").read_text().split()[1:]
    for day in days:
        assert day.split(",")[0] in done.stdout
