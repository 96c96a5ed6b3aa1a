"""Trains two models that put letters into Morse code, and writes two files beside this script.

    pip install tensorflow-cpu
    python train.py

letters.keras  A, which reads a text letter by letter (the numbers of ALPHABET)
signs.keras    B, which gives a letter's signs one by one: its input is A's answer for the letter, joined with its own
               last sign as a one-hot vector, none at first; its state begins from zero for each letter. The third sign
               ends the letter, so that E has one sign, Q has four, and a space none.
"""

import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

HERE = Path(__file__).parent
ALPHABET = " abcdefghijklmnopqrstuvwxyz"
MORSE = (" .- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --..").split(" ")
SIGNS, END, LONGEST = ".-", 2, 5
WINDOW, UPDATES = 24, 1500


def build():
    a = keras.Sequential([
        keras.Input((None,), name="letters"),
        layers.Embedding(len(ALPHABET), 8, name="embedding"),
        layers.GRU(16, return_sequences=True, name="gru"),
    ], name="letters")
    b = keras.Sequential([
        keras.Input((None, 16 + 3), name="letter_and_sign"),
        layers.GRU(20, return_sequences=True, name="gru"),
        layers.Dense(3, name="logits"),
    ], name="signs")
    return a, b


def joined(a, b):
    """Both as one model of letters (WINDOW,) and the signs before (WINDOW, LONGEST, 3): logits (WINDOW, LONGEST, 3)."""
    letters, before = keras.Input((WINDOW,)), keras.Input((WINDOW, LONGEST, 3))
    repeated = ops.repeat(ops.expand_dims(a(letters), 2), LONGEST, axis=2)
    rows = ops.reshape(ops.concatenate([repeated, before], axis=-1), (-1, LONGEST, 16 + 3))
    return keras.Model([letters, before], ops.reshape(b(rows), (-1, WINDOW, LONGEST, 3)))


def main():
    keras.utils.set_random_seed(1)
    tf.config.experimental.enable_op_determinism()
    ids = np.full((len(ALPHABET), LONGEST), END)
    counts = np.zeros((len(ALPHABET), LONGEST), "float32")
    for letter, code in enumerate(MORSE):
        ids[letter, : len(code)] = [SIGNS.index(sign) for sign in code]
        counts[letter, : len(code) + 1] = 1  # behind the end nothing counts
    before = np.zeros((len(ALPHABET), LONGEST, 3), "float32")
    before[:, 1:] = np.eye(3)[ids[:, :-1]]

    a, b = build()
    model = joined(a, b)
    texts = np.random.default_rng(1).integers(0, len(ALPHABET), (UPDATES * 32, WINDOW))
    rate = keras.optimizers.schedules.CosineDecay(0.01, UPDATES)
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit([texts, before[texts]], ids[texts], sample_weight=counts[texts], batch_size=32, verbose=0)
    print(f"{a.count_params() + b.count_params()} weights, loss {history.history['loss'][-1]:.4f}")
    for trained, bare, name in zip((a, b), build(), ("letters", "signs")):
        bare.set_weights(trained.get_weights())
        bare.save(HERE / f"{name}.keras")


if __name__ == "__main__":
    main()
