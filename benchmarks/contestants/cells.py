"""A step of a workload's layers over an array library's own functions: for JAX, and for TensorFlow and LiteRT."""

import numpy as np


def merged(workload):
    """The weights, an LSTM's kernel and recurrent kernel as one."""
    weights, made = iter(workload.weights), []
    for kind, *_ in workload.layers:
        if kind == "LSTM":
            made += [np.concatenate([next(weights), next(weights)]), next(weights)]
        else:
            made += [next(weights) for _ in range({"GRU": 3, "Dense": 2, "Embedding": 1, "LeakyReLU": 0}[kind])]
    return made


def step(o, layers, weights, x, states):
    """o: the functions. x [rows, features] or [rows] ids. Returns the answer and the states after it."""
    weights, states, after = iter(weights), iter(states), []
    for kind, *options in layers:
        if kind == "LSTM":
            h, c = next(states), next(states)
            i, f, g, out = o.split(o.matmul(o.concat([x, h]), next(weights)) + next(weights), 4)
            c = o.sigmoid(f) * c + o.sigmoid(i) * o.tanh(g)
            x = o.sigmoid(out) * o.tanh(c)
            after += [x, c]
        elif kind == "GRU":
            h, kernel, inner, bias = next(states), next(weights), next(weights), next(weights)
            xz, xr, xh = o.split(o.matmul(x, kernel) + bias[0], 3)
            hz, hr, hh = o.split(o.matmul(h, inner) + bias[1], 3)
            z = o.sigmoid(xz + hz)
            x = z * h + (1 - z) * o.tanh(xh + o.sigmoid(xr + hr) * hh)
            after.append(x)
        elif kind == "Embedding":
            x = o.take(next(weights), x)
        elif kind == "LeakyReLU":
            x = o.maximum(x, options[0] * x)
        else:
            x = o.matmul(x, next(weights)) + next(weights)
            if options[1] != "linear":
                x = getattr(o, options[1])(x)
    return x, tuple(after)


def zeros(workload, rows):
    return tuple(np.zeros((rows, units), np.float32) for units in workload.states)
