"""Where models come from: files, bytes, live models, architectures, lists of layers."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import RAIN, RAIN_LAYERS, assert_same_bits, samples
from hypothesis import given
from hypothesis import strategies as st

import cadenza


@pytest.fixture(params=["rain.keras", "rain.h5"])
def rain_file(request) -> Path:
    return RAIN / request.param


def test_from_a_path_a_text_and_bytes(rain_file):
    x = samples(2, 7, 3)
    expected = cadenza.load(rain_file).predict(x)
    assert_same_bits(cadenza.load(str(rain_file)).predict(x), expected)
    for kind in (bytes, bytearray, memoryview):
        assert_same_bits(cadenza.load(kind(rain_file.read_bytes())).predict(x), expected)


def test_both_formats_hold_the_same_model():
    keras_2, keras_3 = cadenza.load(RAIN / "rain.h5"), cadenza.load(RAIN / "rain.keras")
    assert keras_2.fingerprint == keras_3.fingerprint
    x = samples(4, 7, 3)
    assert_same_bits(keras_2.predict(x), keras_3.predict(x))


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.keras"):
        cadenza.load(tmp_path / "nowhere.keras")


def test_a_folder(tmp_path):
    with pytest.raises(cadenza.CadenzaError):
        cadenza.load(tmp_path)


def test_a_path_with_a_zero_byte():
    with pytest.raises(cadenza.InvalidArgumentError):
        cadenza.load("a\0b")


def test_what_is_neither_path_nor_bytes_nor_model():
    with pytest.raises(TypeError):
        cadenza.load(5)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_model(data):
    with pytest.raises(cadenza.CadenzaError):
        cadenza.load(data)


@given(st.data())
def test_a_file_cut_short(data):
    whole = (RAIN / "rain.keras").read_bytes()
    with pytest.raises(cadenza.InvalidFileError):
        cadenza.load(whole[: data.draw(st.integers(0, len(whole) - 1))])


class LiveModel:
    """What `load` sees of a keras.Model."""

    def __init__(self, file: Path, keras_version: str | None = None) -> None:
        self.file = file
        self.keras_version = keras_version
        self.saved_to: list[Path] = []

    def save(self, path: Path) -> None:
        self.saved_to.append(path)
        path.write_bytes(self.file.read_bytes())

    def to_json(self) -> str:
        return json.dumps({"keras_version": self.keras_version} if self.keras_version else {})

    def get_weights(self) -> list:
        return []


class PicklingLiveModel(LiveModel):
    """The same of Keras 3's, which pickles itself as the bytes of its file."""

    def __reduce__(self):
        return bytes, (io.BytesIO(self.file.read_bytes()),)


@pytest.mark.parametrize(
    ("live", "suffixes"),
    [
        (PicklingLiveModel(RAIN / "rain.keras"), []),
        (LiveModel(RAIN / "rain.keras"), [".keras"]),
        (PicklingLiveModel(RAIN / "rain.h5", keras_version="2.15.0"), [".h5"]),
    ],
    ids=["Keras 3", "Keras 3 that does not pickle", "Keras 2"],
)
def test_a_live_model_is_saved_and_loaded(live, suffixes):
    x = samples(2, 7, 3)
    assert_same_bits(cadenza.load(live).predict(x), cadenza.load(live.file).predict(x))
    assert [path.suffix for path in live.saved_to] == suffixes
    assert not any(path.exists() for path in live.saved_to)


def test_a_live_model_has_its_own_architecture():
    with pytest.raises(cadenza.InvalidArgumentError, match="architecture"):
        cadenza.load(PicklingLiveModel(RAIN / "rain.keras"), architecture="{}")


def test_from_json_takes_text_and_dict(rain):
    text = rain.to_json()
    model = cadenza.from_json(text, seed=5)
    assert model.fingerprint == cadenza.from_json(json.loads(text), seed=5).fingerprint
    assert model.fingerprint != cadenza.from_json(text, seed=6).fingerprint
    assert [weight.shape for weight in model.get_weights()] == [weight.shape for weight in rain.get_weights()]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"LSTM"', "null", "\0"])
def test_from_json_of_what_is_no_model(text):
    with pytest.raises(cadenza.CadenzaError):
        cadenza.from_json(text)


def test_the_seed_decides_the_weights():
    same, again, other = (cadenza.build(7, 3, RAIN_LAYERS, seed=seed) for seed in (3, 3, 4))
    for first, second in zip(same.get_weights(), again.get_weights()):
        assert_same_bits(first, second)
    assert any((first != second).any() for first, second in zip(same.get_weights(), other.get_weights()))


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_are_of_64_bits(seed):
    with pytest.raises(cadenza.InvalidArgumentError, match=r"2\*\*64"):
        cadenza.build(7, 3, RAIN_LAYERS, seed=seed)


def test_build_takes_every_kind_of_option():
    model = cadenza.build(
        None,
        3,
        [
            ("LSTM", {"units": 4, "use_bias": False, "return_sequences": True, "name": "first, second"}),
            ("GRU", {"units": 5, "bias_initializer": {"class_name": "Constant", "config": {"value": 0.25}}}),
            ("Dense", {"units": 2, "activation": None}),
            "Softmax",
        ],
    )
    assert [layer.class_name for layer in model.layers][-4:] == ["LSTM", "GRU", "Dense", "Softmax"]
    assert model.weights["first, second/kernel"].shape == (3, 16)
    assert np.all(model.weights["gru/bias"] == 0.25)
    assert model.predict(samples(2, 4, 3)).sum(axis=1) == pytest.approx([1, 1])


def test_build_for_ids():
    model = cadenza.build(None, None, [("Embedding", {"input_dim": 10, "output_dim": 4}), ("GRU", {"units": 3})])
    assert model.inputs[0].shape == (None,)
    ids = np.array([[1, 2, 9], [0, 0, 5]])
    answers = model.predict(ids)
    stream = model.stream()
    for token in ids[0]:
        answer = stream.step(int(token))
    assert_same_bits(answer, answers[0])


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ([("LSTM", {"units": 4, "clairvoyance": True})], "clairvoyance"),
        (["Oracle"], "Oracle"),
        ([("Dense", {"units": 4, "activation": "wishful"})], "wishful"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(layers, named):
    with pytest.raises(cadenza.UnsupportedError, match=named):
        cadenza.build(None, 3, layers)


def test_numbers_have_a_point_whatever_the_locale(tmp_path):
    made = shutil.which("localedef") and subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "UTF-8", tmp_path / "de_DE.UTF-8"], capture_output=True
    )
    if not made or made.returncode:
        pytest.skip("no locale whose numbers have commas can be made: localedef, or its sources, are missing")
    program = """if True:
        import locale
        import cadenza
        locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
        assert locale.format_string("%g", 0.5) == "0,5"
        model = cadenza.build(None, 2, [("LeakyReLU", {"negative_slope": slope}) for slope in (0.3, 1e-7, 2.5e30)])
        print(model.to_json())
    """
    environment = {**os.environ, "LOCPATH": str(tmp_path)}
    answer = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    slopes = re.findall(r"'?negative_slope'?\W+([0-9.e+-]+)", answer.stdout)
    assert [np.float32(slope) for slope in slopes] == [np.float32(slope) for slope in (0.3, 1e-7, 2.5e30)]
