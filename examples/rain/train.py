"""Trains the rain model and writes the four files beside this script.

    pip install tensorflow-cpu tf-keras vega_datasets
    python train.py

The question is: will it rain tomorrow? Each day gives three numbers, the day's precipitation (mm),
highest temperature (deg C) and wind (m/s), all divided by ten: the only scaling there is.

seattle_weather.csv  date and the three numbers as measured (2012-2015; "rain" is precipitation > 0)
rain.keras           the trained model as Keras 3 saves it
rain.h5              the same weights in a whole-model file of Keras 2 (written by tf-keras)
expected.csv         Keras's answers for the last 60 days of the record. The stream starts empty on the
                     first of them, so the answer for day t is the model's on days 0...t of the 60.

The years 2012-2014 train the model; 2015 is held out, and the accuracy printed is that year's.
"""

import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from vega_datasets import data

HERE = Path(__file__).parent
FEATURES = ["precipitation", "temp_max", "wind"]
SCALE = 10.0
WINDOW = 7
HELD_OUT_DAYS = 365
SHOWN_DAYS = 60


def build(library, length):
    """The model in `library` (keras or tf_keras) for windows of `length` days (None: any length)."""
    layers = library.layers
    leaky_relu = {"negative_slope": 0.3} if library is keras else {"alpha": 0.3}
    return library.Sequential([
        library.Input((length, len(FEATURES)), name="days"),
        layers.LSTM(32, return_sequences=True, name="lstm_1"),
        layers.LeakyReLU(**leaky_relu, name="leaky_relu_1"),
        layers.Dropout(0.2, name="dropout_1"),
        layers.LSTM(16, name="lstm_2"),
        layers.Dropout(0.2, name="dropout_2"),
        layers.LeakyReLU(**leaky_relu, name="leaky_relu_2"),
        layers.Dense(1, activation="sigmoid", name="rain_tomorrow"),
    ], name="rain")


def train(samples, rain):
    starts = range(len(samples) - WINDOW)
    windows = np.stack([samples[i:i + WINDOW] for i in starts])
    tomorrow = np.stack([rain[i + WINDOW] for i in starts])
    training = len(starts) - HELD_OUT_DAYS

    keras.utils.set_random_seed(7)
    tf.config.experimental.enable_op_determinism()
    model = build(keras, WINDOW)
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(windows[:training], tomorrow[:training], epochs=50, batch_size=32, verbose=0)

    _, accuracy = model.evaluate(windows[training:], tomorrow[training:], verbose=0)
    always = max(tomorrow[training:].mean(), 1 - tomorrow[training:].mean())
    as_today = (rain[-HELD_OUT_DAYS - 1:-1] == rain[-HELD_OUT_DAYS:]).mean()
    print(f"held-out year: accuracy {accuracy:.3f} "
          f"(always the commoner answer {always:.3f}, tomorrow as today {as_today:.3f})")
    return model


def main():
    weather = data.seattle_weather()[["date"] + FEATURES]
    weather.to_csv(HERE / "seattle_weather.csv", index=False)
    samples = (weather[FEATURES].to_numpy() / SCALE).astype("float32")
    rain = (weather["precipitation"].to_numpy() > 0).astype("float32")

    trained = train(samples, rain)

    # Without the optimizer's moments the files hold the model and nothing else.
    model = build(keras, WINDOW)
    model.set_weights(trained.get_weights())
    model.save(HERE / "rain.keras")
    old = build(tf_keras, WINDOW)
    old.set_weights(trained.get_weights())
    old.save(HERE / "rain.h5", include_optimizer=False)

    any_length = build(keras, None)
    any_length.set_weights(trained.get_weights())
    with open(HERE / "expected.csv", "w") as out:
        print("date,probability", file=out)
        first = len(samples) - SHOWN_DAYS
        for day in range(first, len(samples)):
            probability = any_length.predict(samples[None, first:day + 1], verbose=0)[0, 0]
            print(f"{weather['date'][day]:%Y-%m-%d},{probability:.9g}", file=out)


if __name__ == "__main__":
    main()
