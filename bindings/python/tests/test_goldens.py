"""Parity with Keras's stored answers: Tests/golden/make_goldens.py says what the files are."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, assert_same_bits, one_or_all, streamed, worst_difference

import cadenza

FOLDER = REPOSITORY / "Tests" / "golden" / "keras"
TOLERANCE = 1e-5

FILES = sorted(path for path in FOLDER.glob("*.*") if path.suffix in (".keras", ".h5"))


def golden(path: Path) -> str:
    """The golden's name: what stands before a file name's first dot."""
    return path.name.split(".")[0]


def loaded(path: Path) -> cadenza.Model:
    """The file's model; for weights alone with the architecture that stands beside them, by itself or in a file of
    the whole model."""
    if not path.name.endswith((".weights.h5", ".old.h5")):
        return cadenza.load(path)
    beside = FOLDER / f"{golden(path)}.json"
    return cadenza.load(path, beside.read_text() if beside.exists() else cadenza.load(whole(path)).to_json())


def whole(path: Path) -> Path:
    """The golden's file of the whole model."""
    return FOLDER / f"{golden(path)}.h5"


def arrays(path: Path, kind: str) -> list[np.ndarray]:
    """The arrays `input_0`, `input_1` … or another kind, of the file's golden."""
    with np.load(FOLDER / f"{golden(path)}.npz") as stored:
        names = [name for name in stored if re.fullmatch(rf"{kind}_\d+", name)]
        found = [stored[name] for name in sorted(names, key=lambda name: int(name.rsplit("_", 1)[1]))]
    if golden(path) == "time_major_k2":  # Keras has time before batch there; Cadenza's arrays are batch first for every model
        found = [np.ascontiguousarray(value.swapaxes(0, 1)) for value in found]
    return found


def as_list(answer: object) -> list[np.ndarray]:
    return answer if isinstance(answer, list) else [answer]


def assert_keras_says_so(answers: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(answers) == len(expected)
    for answer, keras in zip(answers, expected):
        assert worst_difference(answer, keras) <= TOLERANCE


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_predict(path):
    inputs = arrays(path, "input")
    assert_keras_says_so(as_list(loaded(path).predict(one_or_all(inputs))), arrays(path, "output"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_stream(path):
    model = loaded(path)
    inputs, expected = arrays(path, "input"), arrays(path, "output")
    if not model.streamable:
        with pytest.raises(cadenza.CannotStreamError, match=re.escape(model.reason)):
            model.stream()
        return
    lengths = {value.shape[1] for tensor, value in zip(model.inputs, inputs) if tensor.has_time}
    if len(lengths) != 1:
        return  # no time axis to stream along, or several lengths
    (steps,) = lengths
    whole = streamed(model, inputs, [])
    ends = [answer if tensor.has_time else answer[:, -1] for tensor, answer in zip(model.outputs, whole)]
    assert_keras_says_so(ends, expected)
    for answer, stepped in zip(whole, streamed(model, inputs, list(range(1, steps))), strict=True):
        assert_same_bits(stepped, answer)


@pytest.mark.parametrize("path", [path for path in FILES if arrays(path, "then_input")], ids=lambda path: path.name)
def test_a_stateful_models_next_call_is_the_streams_next_chunk(path):
    model = loaded(path)
    stream = model.stream(batch=len(arrays(path, "input")[0]))
    for kind in ("", "then_"):
        answers = streamed(model, arrays(path, f"{kind}input"), [], stream)
        ends = [answer if tensor.has_time else answer[:, -1] for tensor, answer in zip(model.outputs, answers)]
        assert_keras_says_so(ends, arrays(path, f"{kind}output"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_saved_as_its_own_format(path):
    model = loaded(path)
    again = cadenza.load(model.to_bytes())
    assert again.fingerprint == model.fingerprint
    inputs = arrays(path, "input")
    for answer, same in zip(as_list(model.predict(one_or_all(inputs))), as_list(again.predict(one_or_all(inputs)))):
        assert_same_bits(same, answer)


def test_weights_alone_need_their_architecture():
    (path, *_) = (path for path in FILES if path.name.endswith(".weights.h5"))
    with pytest.raises(cadenza.CadenzaError, match="architecture"):
        cadenza.load(path)
