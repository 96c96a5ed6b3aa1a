"""Writes gradients.npz beside this script: what TensorFlow's GradientTape says of some random Keras models.

    KERAS_BACKEND=tensorflow python make_gradients.py

For each model: "<n>/architecture" (JSON as bytes), "<n>/training", "<n>/weight/<i>", "<n>/input/<i>",
"<n>/output/<i>", "<n>/output_gradient/<i>" (what is handed back), and its answers "<n>/weight_gradient/<i>" (of the
trainable weights), "<n>/input_gradient/<i>" (of those that are numbers).
"""

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "live"))

import gradients as live
import keras
import numpy as np
import random_models

SEEDS = [0, 1, 3, 5, 8, 15, 22, 33, 41, 57, 70, 91]  # all kinds of layers, small


def chosen():
    layers = keras.layers
    for seed in SEEDS:
        drawn = random_models.random_model(seed)
        yield drawn.model, random_models.random_inputs(drawn.model, seed, 2, 5), False
    keras.backend.clear_session()
    for mask in (False, True):
        model = keras.Sequential([
            keras.Input((5, 4)), *([layers.Masking()] if mask else []), layers.GRU(5, return_sequences=True),
            layers.BatchNormalization(), layers.LSTM(4, return_sequences=True), layers.LayerNormalization(),
            layers.Dense(3, activation="gelu")])
        random_models.randomize(model, np.random.default_rng(9))
        yield model, random_models.random_inputs(model, 9, 3, 5), True


def main():
    arrays = {}
    for number, (model, inputs, training) in enumerate(chosen()):
        random = np.random.default_rng(number)
        weights = model.get_weights()
        factors = [random.normal(size=output.shape).astype(np.float32) for output in live.forward(model, inputs, False)]
        outputs, by_weight, by_input = live.gradients(model, inputs, factors, training)
        arrays[f"{number}/architecture"] = np.frombuffer(model.to_json().encode(), np.uint8)
        arrays[f"{number}/training"] = np.array(training)
        for name, values in [("weight", weights), ("input", inputs), ("output", outputs), ("output_gradient", factors),
                             ("weight_gradient", by_weight), ("input_gradient", by_input)]:
            for index, value in enumerate(values):
                if value is not None:
                    arrays[f"{number}/{name}/{index}"] = value
    np.savez_compressed(HERE / "gradients.npz", **arrays)
    print(f"{number + 1} models, {(HERE / 'gradients.npz').stat().st_size} bytes")


if __name__ == "__main__":
    main()
