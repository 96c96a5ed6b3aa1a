"""A reader of cadenza.h, as far as the tests of the bindings need one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from conftest import REPOSITORY

PATH = REPOSITORY / "include" / "cadenza.h"
TEXT = re.sub(r"/\*.*?\*/", " ", PATH.read_text(), flags=re.DOTALL)


@dataclass(frozen=True)
class Function:
    name: str
    result: str
    arguments: tuple[str, ...]


def kind(declaration: str) -> str:
    """The type of an argument or a function in one spelling: `const float *const *input` becomes `float * *`.
    Only texts keep their `const`, which tells those that are read from those that are filled."""
    words = re.findall(r"\w+|\*", declaration)
    if words[-1] != "*" and len(words) > 1:
        words.pop()  # the name
    return " ".join(word for word in words if word != "const" or "char" in words)


def functions() -> list[Function]:
    """Every function that the header declares."""
    found = re.findall(r"^([a-z][\w \*]*?\*?)\b(cadenza_\w+)\(([^()]*)\);", TEXT, flags=re.MULTILINE)
    return [
        Function(name, kind(f"{result} {name}"), tuple(kind(a) for a in arguments.split(",") if a.strip() != "void"))
        for result, name, arguments in found
    ]


def structs() -> dict[str, list[str]]:
    """The names of the fields of every struct that the header defines."""
    bodies = re.findall(r"typedef struct (\w+) \{(.*?)\}", TEXT, flags=re.DOTALL)
    return {name: re.findall(r"(\w+)(?:\[[^\]]*\])?;", body) for name, body in bodies}


def enumeration(name: str) -> dict[str, int]:
    """The names and numbers of an enum."""
    (body,) = re.findall(rf"typedef enum {name} \{{(.*?)\}}", TEXT, flags=re.DOTALL)
    return {word: int(number) for word, number in re.findall(r"(\w+) = (\d+)", body)}


def macro(name: str) -> str:
    """The text that a macro stands for."""
    (text,) = re.findall(rf"^#define {name} (.+?) *$", TEXT, flags=re.MULTILINE)
    return text
