"""Trains the character model and writes characters.keras beside this script.

    pip install tensorflow-cpu
    python train.py

alice.txt is the first two chapters of Lewis Carroll's "Alice's Adventures in Wonderland" (1865, in the public domain),
a paragraph a line, in small letters. Its different characters, in the order of their codes, are the model's classes.
"""

import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

HERE = Path(__file__).parent
WINDOW = 96
EPOCHS = 120


def build(classes):
    return keras.Sequential([
        keras.Input((None,), name="characters"),
        layers.Embedding(classes, 12, name="embedding"),
        layers.LSTM(56, return_sequences=True, name="lstm"),
        layers.Dense(classes, name="logits"),
    ], name="characters")


def main():
    text = (HERE / "alice.txt").read_text()
    vocabulary = sorted(set(text))
    ids = np.array([vocabulary.index(character) for character in text])

    keras.utils.set_random_seed(5)
    tf.config.experimental.enable_op_determinism()
    model = build(len(vocabulary))
    rate = keras.optimizers.schedules.CosineDecay(0.01, EPOCHS * (len(ids) // (WINDOW // 2) // 32))
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    starts = np.arange(0, len(ids) - WINDOW - 1, WINDOW // 2)
    windows = np.stack([ids[start : start + WINDOW + 1] for start in starts])
    history = model.fit(windows[:, :-1], windows[:, 1:], epochs=EPOCHS, batch_size=32, verbose=0)
    print(f"{len(vocabulary)} classes, {model.count_params()} weights, {history.history['loss'][-1]:.3f} nats a character")

    # Without the optimizer's moments the file holds the model and nothing else.
    bare = build(len(vocabulary))
    bare.set_weights(model.get_weights())
    bare.save(HERE / "characters.keras")


if __name__ == "__main__":
    main()
