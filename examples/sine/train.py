"""Trains the sine model and writes two files beside this script.

    pip install tensorflow-cpu
    python train.py

A hundred samples of a sine over 0..10; at each of them LSTM(5) → Dense(1, tanh) learns to give the next one (the series
rolled by one), taught by the series itself: the loss is the sum of squares over 2n, the optimizer Adam, 500 updates.

sine.keras    the trained model as Keras 3 saves it
expected.csv  1000 steps that the model made by itself after the hundred samples, each fed with the one before: Keras's
              cell, called in a loop
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
SAMPLES, UPDATES, FREE_STEPS = 100, 500, 1000


def build():
    return keras.Sequential([
        keras.Input((None, 1), name="series"),
        layers.LSTM(5, return_sequences=True, unit_forget_bias=True, name="lstm"),
        layers.Dense(1, activation="tanh", name="next"),
    ], name="sine")


def half_squares(target, answer):
    return tf.reduce_sum((target - answer) ** 2) / (2 * SAMPLES)


def free_run(model, primer):
    """Keras's cell and Dense in a loop: through the primer, then on what they gave themselves."""
    lstm, dense = model.layers[-2:]
    states = lstm.cell.get_initial_state(batch_size=1)
    for sample in primer:
        output, states = lstm.cell(tf.constant([[sample]]), states)
        value = dense(output)
    for _ in range(FREE_STEPS):
        yield float(value[0, 0])
        output, states = lstm.cell(value, states)
        value = dense(output)


def main():
    series = np.sin(np.linspace(0, 10, SAMPLES)).astype("float32")
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    model = build()
    model.compile(keras.optimizers.Adam(0.02), half_squares)
    inputs, targets = series[None, :, None], np.roll(series, -1)[None, :, None]
    history = model.fit(inputs, targets, epochs=UPDATES, verbose=0)
    print(f"loss {history.history['loss'][-1]:.5f}")

    bare = build()
    bare.set_weights(model.get_weights())
    bare.save(HERE / "sine.keras")
    with open(HERE / "expected.csv", "w") as out:
        print("value", file=out)
        for value in free_run(bare, series):
            print(f"{value:.9g}", file=out)


if __name__ == "__main__":
    main()
