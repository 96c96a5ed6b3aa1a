"""Adds to keras/ what older Keras versions themselves wrote. Run it once with each:

    pip install "tensorflow-cpu==2.12.*"                      python make_old_goldens.py    (Keras 2.12)
    pip install "tensorflow-cpu==2.16.*" "keras==3.0.5"       python make_old_goldens.py    (Keras 3.0)

<name>_keras212.* and <name>_keras30.*: the forms and the .npz are those of make_goldens.py. The answers are the
same whenever it is run, but the .keras files bear the date.
"""

import os
import zlib
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

FOLDER = Path(__file__).parent / "keras"
VERSION = "keras" + "".join(keras.__version__.split(".")[:2])
layers = keras.layers


def stacked(noise):
    model = keras.Sequential([
        keras.Input((6, 4)),
        layers.Masking(),
        layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        layers.BatchNormalization(),
        layers.GRU(5, return_sequences=True, recurrent_activation="hard_sigmoid"),
        layers.Dropout(0.2),
        layers.TimeDistributed(layers.Dense(3, activation="relu")),
        layers.RNN([layers.LSTMCell(2), layers.GRUCell(4)]),
        layers.LeakyReLU(),
    ])
    samples = noise(3, 6, 4)
    samples[1, 4:] = samples[2, 1] = 0
    return model, [samples]


def graph(noise):
    source, target = keras.Input((6, 4)), keras.Input((5, 2))
    inner = keras.Sequential([keras.Input((6, 4)), layers.Dense(3), layers.PReLU(), layers.Dense(4)])
    _, *state = layers.LSTM(5, return_state=True)(inner(source))
    decoded = layers.LSTM(5, return_sequences=True)(target, initial_state=state)
    joined = layers.Concatenate()([decoded, target])
    return keras.Model([source, target], [layers.Dense(3, activation="softmax")(joined), state[1]]), [
        noise(3, 6, 4), noise(3, 5, 2)]


def main():
    for function in (stacked, graph):
        name = f"{function.__name__}_{VERSION}"
        random = np.random.default_rng(zlib.crc32(name.encode()))
        model, inputs = function(lambda *shape: random.standard_normal(shape).astype("float32"))
        model.set_weights([0.5 + random.random(w.shape) if "moving_variance" in w.name
                           else 0.6 * random.standard_normal(w.shape) for w in model.weights])
        outputs = tf.nest.flatten(model.predict(inputs, verbose=0))
        arrays = {f"input_{i}": array for i, array in enumerate(inputs)}
        np.savez(FOLDER / f"{name}.npz", **arrays, **{f"output_{i}": array for i, array in enumerate(outputs)})
        model.save(FOLDER / f"{name}.keras")
        if VERSION == "keras212":  # for which .keras meant HDF5, and the zip file was still to be asked for
            model.save(FOLDER / f"{name}.v3.keras", save_format="keras_v3")
        if function is graph:
            (FOLDER / f"{name}.json").write_text(model.to_json(indent=1) + "\n")
            model.save_weights(FOLDER / f"{name}.weights.h5")


if __name__ == "__main__":
    main()
