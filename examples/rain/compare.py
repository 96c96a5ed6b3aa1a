"""Trains the rain model from the record, by Cadenza and by Keras, five times each, and prints how well each does.

    pip install tensorflow-cpu
    python compare.py [seeds]

Weights, order and dropout are drawn anew for each seed, by each library in its own way: what can be compared is how the
results are spread. The years 2012-2014 train the model, 2015 is held out, as in train.py; the optimizer is Adam whose rate
decays with the updates.
"""

import os
import sys
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import cadenza

HERE = Path(__file__).parent
WINDOW, HELD_OUT_DAYS, EPOCHS, BATCH = 7, 365, 50, 32
RATE = {"initial": 0.001, "steps": 1, "decay": 0.001}
LAYERS = [
    ("LSTM", {"units": 32, "return_sequences": True}),
    ("LeakyReLU", {"negative_slope": 0.3}),
    ("Dropout", {"rate": 0.2}),
    ("LSTM", {"units": 16}),
    ("Dropout", {"rate": 0.2}),
    ("LeakyReLU", {"negative_slope": 0.3}),
    ("Dense", {"units": 1, "activation": "sigmoid"}),
]
NAMES = ["loss", "accuracy", "precision", "recall", "f1"]


def data():
    """(windows, whether it rained on the day behind each) to train on, and of the held-out year."""
    days = np.genfromtxt(HERE / "seattle_weather.csv", delimiter=",", skip_header=1, usecols=(1, 2, 3))
    samples = (days / 10).astype(np.float32)
    windows = np.stack([samples[i : i + WINDOW] for i in range(len(samples) - WINDOW)])
    tomorrow = (days[WINDOW:, :1] > 0).astype(np.float32)
    return (windows[:-HELD_OUT_DAYS], tomorrow[:-HELD_OUT_DAYS]), (windows[-HELD_OUT_DAYS:], tomorrow[-HELD_OUT_DAYS:])


def by_cadenza(seed, training, held_out):
    rate = cadenza.optimizers.InverseTimeDecay(*RATE.values())
    model = cadenza.build(WINDOW, 3, LAYERS, seed=seed)
    trainer = cadenza.Trainer(model, "binary_crossentropy", cadenza.optimizers.Adam(rate), metrics=NAMES[1:], seed=seed)
    trainer.fit(*training, epochs=EPOCHS, batch_size=BATCH, seed=seed, verbose=False)
    return trainer.evaluate(*held_out)


def by_keras(seed, training, held_out):
    keras.utils.set_random_seed(seed)
    layers = [getattr(keras.layers, name)(**options) for name, options in LAYERS]
    model = keras.Sequential([keras.Input((WINDOW, 3)), *layers])
    metrics = [
        "accuracy",
        keras.metrics.Precision(name="precision"),
        keras.metrics.Recall(name="recall"),
        keras.metrics.F1Score(threshold=0.5, average="micro", name="f1"),
    ]
    rate = keras.optimizers.schedules.InverseTimeDecay(*RATE.values())
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=metrics)
    model.fit(*training, epochs=EPOCHS, batch_size=BATCH, verbose=0)
    return model.evaluate(*held_out, verbose=0, return_dict=True)


def main():
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    sets = data()
    print(f"| held-out year | {' | '.join(NAMES)} | seconds |\n|{' --- |' * (len(NAMES) + 2)}")
    for name, train in ("Cadenza", by_cadenza), ("Keras", by_keras):
        results = []
        for seed in seeds:
            begin = time.process_time()
            found = train(seed, *sets)
            results.append([float(found[metric]) for metric in NAMES] + [time.process_time() - begin])
        means, spreads = np.mean(results, axis=0), np.std(results, axis=0, ddof=1)
        numbers = [f"{mean:.3f} ± {spread:.3f}" for mean, spread in zip(means[:-1], spreads)]
        print(f"| {name} | {' | '.join(numbers)} | {means[-1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
