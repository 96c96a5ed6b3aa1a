"""Narrow weights: the answers beside NumPy's roundings, the same bits however a model is run, files, and what is refused."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from conftest import assert_same_bits, randomized, samples, streamed, worst_difference
from hypothesis import given, settings
from hypothesis import strategies as st
from test_properties import SEEDS, models

import cadenza

PRECISIONS = ["bf16", "int8"]

LAYERS = {
    "lstm": [("LSTM", {"units": 21, "return_sequences": True}), ("LSTM", {"units": 37})],
    "gru": [("GRU", {"units": 35, "return_sequences": True}), ("GRU", {"units": 18, "reset_after": False})],
    "simple": [("SimpleRNN", {"units": 33, "activation": "softmax"}), ("Dense", {"units": 70})],
    "softmax gates": [("LSTM", {"units": 19, "activation": "softmax"}), ("Dense", {"units": 3, "activation": "tanh"})],
    "both ways": [("Dense", {"units": 9}), ("GRU", {"units": 17, "recurrent_activation": "softmax"})],
}


def is_narrow(name: str) -> bool:
    return name.rsplit("/", 1)[-1] in ("kernel", "recurrent_kernel", "embeddings")


def rounded(name: str, weight: np.ndarray, precision: str) -> np.ndarray:
    """The weight as it is to be computed with."""
    if not is_narrow(name):
        return weight
    if precision == "bf16":
        bits = weight.view(np.uint32).astype(np.uint64)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    axis = 1 if name.endswith("embeddings") else 0
    scale = np.abs(weight).max(axis=axis, keepdims=True) / np.float32(127)
    return ((np.rint(weight / np.where(scale > 0, scale, 1)) + 0) * scale).astype(np.float32)


def with_rounded_weights(model: cadenza.Model, precision: str) -> cadenza.Model:
    other = cadenza.from_json(model.to_json())
    other.set_weights([rounded(name, weight, precision) for name, weight in model.weights.items()])
    return other


def made(layers: list, features: int | None = 13, seed: int = 3) -> cadenza.Model:
    return randomized(cadenza.build(None, features, layers), seed)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("layers", LAYERS)
def test_it_answers_as_a_model_of_the_rounded_weights(layers, precision):
    model = made(LAYERS[layers])
    quantized, twin = model.quantize(precision), with_rounded_weights(model, precision)
    assert (model.precision, quantized.precision) == ("float32", precision)
    for mine, its in zip(quantized.get_weights(), twin.get_weights()):
        assert_same_bits(mine, its)
    for batch in (1, 2, 7, 30):
        x = samples(batch, 9, 13)
        answer, expected = quantized.predict(x), twin.predict(x)
        if precision == "bf16":
            assert_same_bits(answer, expected)
        else:
            assert worst_difference(answer, expected) < 1e-5


@pytest.mark.parametrize("precision", PRECISIONS)
def test_embeddings_are_rounded_row_by_row(precision):
    model = made([("Embedding", {"input_dim": 11, "output_dim": 6}), ("GRU", {"units": 5})], None)
    quantized = model.quantize(precision)
    expected = rounded("embeddings", model.weights["embedding/embeddings"], precision)
    assert_same_bits(quantized.weights["embedding/embeddings"], expected)
    ids = np.arange(10).reshape(2, 5)
    assert worst_difference(quantized.predict(ids), with_rounded_weights(model, precision).predict(ids)) < 1e-5


@settings(max_examples=25, deadline=None)
@given(models(), SEEDS, st.sampled_from(PRECISIONS))
def test_chunks_rows_pools_and_files_change_no_bit(model, seed, precision):
    quantized = randomized(model, seed).quantize(precision)
    x = samples(7, 6, model.inputs[0].shape[-1], seed=seed)
    whole = quantized.predict(x)
    assert_same_bits(quantized.predict(x[2:3]), whole[2:3])
    (answers,) = streamed(quantized, [x], [2, 3])
    last = whole[:, -1] if whole.ndim == 3 else whole
    assert_same_bits(np.ascontiguousarray(answers[:, -1]), np.ascontiguousarray(last))
    pool = quantized.pool(threads=2)
    ids = [pool.join() for _ in x]
    for step in range(x.shape[1]):
        answer = pool.step(ids, x[:, step])
    assert_same_bits(answer, np.ascontiguousarray(last))
    again = pickle.loads(pickle.dumps(quantized))
    assert (again.precision, again.fingerprint) == (precision, quantized.fingerprint)
    assert_same_bits(again.predict(x), whole)


def test_kernel_levels_agree():
    model, used, answers = made(LAYERS["lstm"]), cadenza.kernels.name(), []
    try:
        for level in cadenza.kernels.available():
            cadenza.kernels.force(level)
            for precision in PRECISIONS:
                answers.append(model.quantize(precision).predict(samples(5, 8, 13)))
    finally:
        cadenza.kernels.force(used)
    for level in range(1, len(answers) // 2):
        for kind in range(2):
            assert worst_difference(answers[2 * level + kind], answers[kind]) < 1e-5


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_generator_runs_with_it(precision):
    model = made([("LSTM", {"units": 20}), ("Dense", {"units": 13})])
    quantized, twin = model.quantize(precision), with_rounded_weights(model, precision)
    runs = []
    for one in (quantized, twin):
        generator = cadenza.SelfFeeding(one)
        runs.append(np.asarray(generator.run(12).values))
    assert worst_difference(runs[0], runs[1]) < 1e-5


@pytest.mark.parametrize("precision", PRECISIONS)
def test_setting_a_weight_rounds_it_and_streams_hear_of_it(precision):
    model = made(LAYERS["lstm"]).quantize(precision)
    stream, x = model.stream(), samples(13)
    stream.step(x)
    new = samples(13, 84, seed=9)
    model.weights["lstm/kernel"] = new
    assert_same_bits(model.weights["lstm/kernel"], rounded("lstm/kernel", new, precision))
    stream.reset()
    assert_same_bits(stream.step(x), model.predict(x[None, None])[0])


def test_loading_narrow(tmp_path):
    model = made(LAYERS["gru"])
    file = tmp_path / "model.safetensors"
    model.save(file)
    for precision in PRECISIONS:
        narrow = cadenza.load(file, precision=precision)
        assert narrow.fingerprint == model.quantize(precision).fingerprint != model.fingerprint
        narrow.save(tmp_path / f"{precision}.safetensors")
        assert cadenza.load(tmp_path / f"{precision}.safetensors", precision=precision).fingerprint == narrow.fingerprint
        assert cadenza.load(tmp_path / f"{precision}.safetensors").precision == precision
    sizes = [len(model.to_bytes()), *(len(model.quantize(precision).to_bytes()) for precision in PRECISIONS)]
    assert sizes[0] > sizes[1] > sizes[2]


HOLDS = """
import re, sys, cadenza
def kilobytes():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
cadenza.build(None, 2, [("LSTM", {"units": 4})])
before = kilobytes()
model = cadenza.load(sys.argv[1], precision=sys.argv[2]) if sys.argv[3] == "load" else cadenza.load(sys.argv[1]).quantize(sys.argv[2])
print(kilobytes() - before)
"""


def holds(file: object, precision: str, how: str) -> int:
    """Kilobytes that a model takes in a process of its own."""
    done = subprocess.run([sys.executable, "-c", HOLDS, str(file), precision, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_floats_are_held(tmp_path):
    model = cadenza.build(None, 256, [("LSTM", {"units": 512})], seed=1)
    files = {precision: tmp_path / f"{precision}.safetensors" for precision in PRECISIONS}
    for precision, file in files.items():
        model.quantize(precision).save(file)
    model.save(tmp_path / "model.keras")
    floats = holds(tmp_path / "model.keras", "float32", "load")
    assert floats >= 2 * 4 * 768 * 2048 / 1024  # as in the file, and packed for the kernels
    for precision, share in (("bf16", 0.6), ("int8", 0.35)):
        for how in ("load", "quantize"):
            assert holds(tmp_path / "model.keras", precision, how) <= share * floats
        assert holds(files[precision], precision, "load") <= share * floats


@pytest.mark.parametrize("precision", PRECISIONS)
def test_keras_files_get_floats(precision, tmp_path):
    quantized = made(LAYERS["lstm"]).quantize(precision)
    quantized.save(tmp_path / "model.keras")
    again = cadenza.load(tmp_path / "model.keras")
    assert again.precision == "float32"
    for mine, its in zip(again.get_weights(), quantized.get_weights()):
        assert_same_bits(mine, its)


def test_the_error_is_told_output_by_output():
    model = made(LAYERS["lstm"])
    x = samples(4, 9, 13)
    wide, narrow = (cadenza.quantization_error(model, model.quantize(precision), x) for precision in PRECISIONS)
    (error,) = narrow
    apart = np.abs(model.predict(x) - model.quantize("int8").predict(x))
    assert error.name == model.outputs[0].name
    assert error.maximum == pytest.approx(apart.max(), rel=1e-3)
    assert error.mean == pytest.approx(apart.mean(), rel=1e-3)
    assert 0 < wide[0].mean < error.mean < error.maximum < error.largest
    with pytest.raises(ValueError, match="same architecture"):
        cadenza.quantization_error(model, made(LAYERS["simple"]), x)


def test_what_is_refused():
    model = made(LAYERS["lstm"])
    narrow = model.quantize("int8")
    with pytest.raises(ValueError, match="already"):
        narrow.quantize("bf16")
    with pytest.raises(ValueError, match="already"):
        cadenza.load(narrow.to_bytes(), precision="bf16")
    for precision in ("int4", "", None):
        with pytest.raises(ValueError, match="precision"):
            model.quantize(precision)
    with pytest.raises(ValueError, match="expected CADENZA_BF16"):
        model.quantize("float32")
    with pytest.raises(cadenza.UnsupportedError, match="int8"):
        cadenza.Tape(narrow)
    with pytest.raises(cadenza.UnsupportedError, match="int8"):
        cadenza.Trainer(narrow, loss="mse")
    kernel = narrow.weights["lstm/kernel"]
    with pytest.raises(ValueError, match="finite"):
        narrow.weights["lstm/kernel"] = np.full(kernel.shape, np.nan)
    assert_same_bits(narrow.weights["lstm/kernel"], kernel)
    model.weights["lstm/kernel"] = np.full(kernel.shape, np.inf)
    with pytest.raises(ValueError, match="finite"):
        model.quantize("int8")
    assert model.quantize("bf16").nonfinite_weights == kernel.size


def test_channels_of_zeros_and_of_tiny_weights():
    model = made([("Dense", {"units": 4})])
    kernel = samples(13, 4)
    kernel[:, 1] = 0
    kernel[:, 2] *= 1e-44
    model.weights["dense/kernel"] = kernel
    answer = model.quantize("int8").predict(samples(3, 5, 13))
    assert np.isfinite(answer).all()


def header_and_values(data: bytes) -> tuple[dict, bytes]:
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def file_of(header: dict, values: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + values


@pytest.mark.parametrize("precision", PRECISIONS)
def test_files_that_contradict_themselves_are_refused(precision):
    header, values = header_and_values(made(LAYERS["lstm"]).quantize(precision).to_bytes())
    assert cadenza.load(file_of(header, values)).precision == precision
    assert header["lstm/kernel"]["dtype"] == {"bf16": "BF16", "int8": "I8"}[precision]

    def refused(error: type, match: str, **changes: object) -> None:
        other = json.loads(json.dumps(header))
        for key, change in changes.items():
            change(other)
        with pytest.raises(error, match=match):
            cadenza.load(file_of(other, values))

    wrong = {"bf16": "F16", "int8": "U8"}[precision]
    refused(cadenza.InvalidFileError, "lstm/kernel", dtype=lambda h: h["lstm/kernel"].update(dtype=wrong))
    refused(cadenza.UnsupportedError, "precision", key=lambda h: h["__metadata__"].update({"cadenza.precision": "int4"}))
    if precision == "int8":
        name = "lstm/kernel.scales"
        refused(cadenza.InvalidFileError, "scales", missing=lambda h: h.update({"other": h.pop(name)}))
        refused(cadenza.InvalidFileError, "shape", shape=lambda h: h[name].update(shape=[2, h[name]["shape"][0] // 2]))
        refused(cadenza.UnsupportedError, "I8", plain=lambda h: h["__metadata__"].pop("cadenza.precision"))
        start = header[name]["data_offsets"][0]
        for scale in (np.nan, np.inf, -1, 3e38):
            damaged = values[:start] + np.float32(scale).tobytes() + values[start + 4 :]
            with pytest.raises(cadenza.InvalidFileError, match="scale"):
                cadenza.load(file_of(header, damaged))
