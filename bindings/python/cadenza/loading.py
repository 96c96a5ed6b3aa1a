"""Where models come from: files, bytes, live Keras models, architectures, a list of layers."""

from __future__ import annotations

import ctypes
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import _bindings as c
from ._arguments import as_bytes, c_text, count, existing_path
from .errors import InvalidArgumentError
from .model import Model, precision_number


def load(source: Any, architecture: str | Mapping[str, Any] | None = None, precision: str | None = None) -> Model:
    """Loads a trained model.

    source: the path of a `.keras`, whole-model `.h5` / `.hdf5`, `.weights.h5` or `.safetensors` file (told by its
    content, not its name); or such a file's bytes; or a live `keras.Model`.
    architecture: for a file that holds weights only, the JSON that `model.to_json()` gave, as text or as a dict.
    precision: `"bf16"` or `"int8"` for a model as `Model.quantize` makes it, unless the file has it so already.
    Raises MissingFileError or OperatingSystemError (the file cannot be read), InvalidFileError (it is damaged),
    UnsupportedError, naming the layer and the option that Cadenza cannot honour.
    """
    if _is_keras_model(source):
        if architecture is not None:
            raise InvalidArgumentError("expected no architecture beside a live model, which has its own")
        source = _saved_by_keras(source)
    options = c.LoadOptions()
    c.load_options_init(ctypes.byref(options))
    if architecture is not None:
        options.architecture = _json_bytes(architecture)
        options.architecture_size = len(options.architecture)
    if precision is not None:
        options.precision = precision_number(precision)
    handle = c.ModelHandle()
    if isinstance(source, (str, os.PathLike)):
        c.model_load_file(existing_path(source), ctypes.byref(options), ctypes.byref(handle))
    else:
        data = as_bytes(source)
        c.model_load_memory(data, len(data), ctypes.byref(options), ctypes.byref(handle))
    return Model(handle)


def from_json(architecture: str | Mapping[str, Any], seed: int = 0) -> Model:
    """A model with fresh weights from the JSON that Keras's `model.to_json()` gives, as text or as a dict.

    Each weight is drawn by the initializer that its layer names; the same seed gives the same weights.
    """
    text = _json_bytes(architecture)
    handle = c.ModelHandle()
    c.model_create(text, len(text), count(seed, "a seed"), ctypes.byref(handle))
    return Model(handle)


def build(
    steps: int | None,
    features: int | None,
    layers: Iterable[str | tuple[str, Mapping[str, Any]]],
    seed: int = 0,
) -> Model:
    """A sequential model with fresh weights, layer by layer, in Keras's words:

        build(7, 3, [("LSTM", dict(units=32)), "Dropout", ("Dense", dict(units=1, activation="sigmoid"))])

    steps: the window's length, None for any. features: values of a time step, None for a model that begins with an
    Embedding. What a layer's options leave out has Keras 3's default.
    Raises UnsupportedError, naming it, for a layer or an option that Cadenza does not have.
    """
    window = 0 if steps is None else count(steps, "steps")
    builder = c.BuilderHandle()
    if features is None:
        c.builder_create_for_ids(window, ctypes.byref(builder))
    else:
        c.builder_create(window, count(features, "features"), ctypes.byref(builder))
    for layer in layers:
        class_name, options = (layer, {}) if isinstance(layer, str) else layer
        text = ", ".join(f"{name}={json.dumps(value)}" for name, value in options.items())
        c.builder_add(builder, c_text(class_name), c_text(text))
    handle = c.ModelHandle()
    c.builder_build(builder, count(seed, "a seed"), ctypes.byref(handle))
    return Model(handle)


def _json_bytes(architecture: str | Mapping[str, Any]) -> bytes:
    text = architecture if isinstance(architecture, str) else json.dumps(architecture)
    return text.encode()


def _is_keras_model(source: Any) -> bool:
    return all(callable(getattr(source, method, None)) for method in ("save", "to_json", "get_weights"))


def _saved_by_keras(model: Any) -> bytes:
    """The live model's file as bytes. Keras 3 pickles a model as the bytes of its `.keras` file; what does not is
    saved to a file of a moment, by Keras 2 as `.h5`."""
    keras_2 = str(json.loads(model.to_json()).get("keras_version", "")).startswith("2")
    if not keras_2:
        for part in model.__reduce__()[1]:
            if isinstance(part, io.BytesIO):
                return part.getvalue()
    with tempfile.TemporaryDirectory(prefix="cadenza-") as folder:
        file = Path(folder, "model.h5" if keras_2 else "model.keras")
        model.save(file)
        return file.read_bytes()
