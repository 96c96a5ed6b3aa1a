"""Loops in Python over a step that a contestant has prepared: it reads x and writes y, and its two runs take turns."""

from itertools import cycle

import numpy as np

from . import Entry


def streamed(form, workload, x, y, runs):
    turns, samples = cycle(runs), list(workload.x)

    def run():
        for sample in samples:
            x[...] = sample
            next(turns)()

    run()
    return Entry(form, run, len(workload.x) * workload.rows, y[0].copy())


def fed_back(form, workload, x, y, runs):
    turns = cycle(runs)

    def run(steps=200):
        values = []
        for _ in range(steps):
            next(turns)()
            values.append(y[0, 0, 0])
            x[...] = y
        return values

    return Entry(form, run, 200, np.array(run(100), np.float32)[:, None])


def drawing(form, workload, temperature, x, y, runs):
    turns, random, answers = cycle(runs), np.random.default_rng(0), []
    for number in range(8):
        x[...] = number
        next(turns)()
        answers.append(y[0, 0].copy())

    def run():
        for _ in range(200):
            next(turns)()
            scores = np.cumsum(y[0, 0] ** (1 / temperature))
            x[...] = np.searchsorted(scores, random.random() * scores[-1])

    return Entry(form, run, 200, np.stack(answers))
