"""Writes corpus/: small files for the fuzzers to begin with, each with another part of its format.

    pip install h5py
    python make_corpus.py
"""

import io
import json
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np

FOLDER = Path(__file__).parent / "corpus"


def save(kind, name, data):
    folder = FOLDER / kind
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def h5(fill, libver="latest", **options):
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver=libver, **options) as file:
        fill(file)
    return memory.getvalue().rstrip(b"\0") if libver == "latest" and not options else memory.getvalue()


def values(*shape):
    return np.arange(np.prod(shape), dtype="<f4").reshape(shape)


# HDF5, a corner of the format a file


def links(file):
    file["a/b"] = np.float32(1)
    file["soft"] = h5py.SoftLink("/a/b")
    file["outside"] = h5py.ExternalLink("x", "/y")


def dense_links(file):
    for i in range(12):
        file[f"l{i}"] = h5py.SoftLink("/l0")


def dense_attributes(file):
    for i in range(10):
        file.attrs[f"a{i}"] = i


def huge_attribute(file):
    dense_attributes(file)
    file.attrs["huge"] = np.zeros(1100, "<f4")


def strings(file):
    file.attrs["variable"] = ["a", "bc"]
    file.attrs["fixed"] = np.array([b"a", b"bc"])
    file["text"] = "text"


def numbers(file):
    for kind in ("<f2", ">f8", "<i1", ">u2", "<i8", "?"):
        file.attrs[kind] = np.array([1, 0], kind)
    file["named"] = np.dtype("<f4")
    file.create_dataset("typed", data=values(2), dtype=file["named"])


def chunks(shape, chunk, limit=None, **options):
    return lambda file: file.create_dataset("d", data=values(*shape), chunks=chunk, maxshape=limit, **options)


def early(file):
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk((2,))
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    h5py.h5d.create(file.id, b"d", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((5,)), creation)


GZIP = {"compression": "gzip", "shuffle": True, "fletcher32": True}
HDF5 = {
    "links": links, "dense_links": dense_links, "dense_attributes": dense_attributes, "huge_attribute": huge_attribute,
    "strings": strings, "numbers": numbers, "contiguous": chunks((2, 3), None), "single": chunks((2, 3), (2, 3), **GZIP),
    "fixed": chunks((5, 3), (2, 2)), "fixed_gzip": chunks((5, 3), (2, 2), **GZIP),
    "growing": chunks((9,), (1,), (None,)), "growing_gzip": chunks((9,), (1,), (None,), **GZIP),
    "tree": chunks((3, 3), (2, 2), (None, None)), "tree_gzip": chunks((3, 3), (2, 2), (None, None), **GZIP),
    "implicit": early, "filled": lambda file: file.create_dataset("d", (3, 3), "<f4", chunks=(2, 2), fillvalue=7),
}


# Models


def architecture():
    return {"class_name": "Sequential", "config": {"name": "s", "layers": [
        {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [None, None, 1]}},
        {"class_name": "LSTM", "config": {"name": "l", "units": 1}},
        {"class_name": "Dense", "config": {"name": "d", "units": 1, "activation": "tanh"}},
    ]}}


WEIGHTS = {"l": [("kernel", (1, 4)), ("recurrent_kernel", (1, 4)), ("bias", (4,))], "d": [("kernel", (1, 1)), ("bias", (1,))]}


def keras2(file):
    file.attrs["keras_version"] = "2.15.0"
    file.attrs["model_config"] = json.dumps(architecture())
    group = file.create_group("model_weights")
    group.attrs["layer_names"] = [b"l", b"d"]
    for layer, weights in WEIGHTS.items():
        inner = group.create_group(layer)
        inner.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name, _ in weights]
        for name, shape in weights:
            inner[f"{layer}/{name}:0"] = values(*shape)


def keras3(file):
    for path, names in (("layers/lstm/cell", WEIGHTS["l"]), ("layers/dense", WEIGHTS["d"])):
        for index, (_, shape) in enumerate(names):
            file[f"{path}/vars/{index}"] = values(*shape)


def zipped(entries, method=zipfile.ZIP_DEFLATED, comment=b""):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", method) as archive:
        archive.comment = comment
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return memory.getvalue()


def safetensors(tensors, metadata=None):
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, (kind, shape, content) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def main():
    for name, fill in HDF5.items():
        save("hdf5", name, h5(fill))
    for name in ("links", "strings", "numbers", "fixed_gzip"):
        save("hdf5", name + "_old", h5(HDF5[name], libver="earliest"))
    save("hdf5", "userblock", h5(links, userblock_size=512))

    for index, text in enumerate(['{"a":[1,-2.5e-3,true,null],"b":{}}', '"\\u00e9\\ud83d\\ude00\\n\u00e9"', "[NaN,-Infinity,1e308,5e-324]",
                                  "[[[[{}]]]]", "123456789012345678901234567890.5", "0.1000000000000000055511151231257827"]):
        save("json", f"text{index}", text.encode())

    config = json.dumps(architecture())
    entries = {"metadata.json": '{"keras_version":"3.0.0"}', "config.json": config, "model.weights.h5": h5(keras3)}
    save("zip", "stored", zipped({"a": b"abc", "b/": b""}, zipfile.ZIP_STORED))
    save("zip", "deflated", zipped({"a": b"abc" * 50, "b": config.encode()}, comment=b"comment"))

    lstm = {"l/kernel": ("F32", [1, 4], b"\0" * 16), "l/recurrent_kernel": ("F32", [1, 4], b"\0" * 16), "l/bias": ("F32", [4], b"\0" * 16),
            "d/kernel": ("F32", [1, 1], b"\0" * 4), "d/bias": ("F32", [1], b"\0" * 4)}
    native = safetensors(lstm, {"cadenza.architecture": config, "format": "cadenza"})
    save("safetensors", "native", native)
    save("safetensors", "types", safetensors({"a": ("F16", [2], b"\0" * 4), "b": ("BF16", [], b"\0\0"), "c": ("F64", [1, 1], b"\0" * 8),
                                              "d": ("I64", [1], b"\0" * 8), "e": ("F32", [0], b""), "__pad_0": ("U8", [3], b"\0" * 3)}))

    save("keras", "keras3", zipped(entries, zipfile.ZIP_STORED))
    save("keras", "keras2", h5(keras2))
    save("keras", "native", native)

    # All words of the header and the checksum put right; two rows of 9 + 4 * (3 + 3 + 3 + 1 + 1) bytes.
    save("snapshot", "whole", b"\x1f" + bytes(32 + 2 * 53 + 8))


if __name__ == "__main__":
    main()
