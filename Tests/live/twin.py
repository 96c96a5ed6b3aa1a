"""A plain forward run of Keras models in float64, for finite differences: what gradients are held against.

    outputs = run(architecture, weights, inputs, states, training)

architecture: a functional model, as Keras's `to_json()` gives it and json.loads reads it. weights and states: by
Cadenza's names; inputs: in the model's order. Any of the arrays may have an axis more in front, of variants that run side
by side, and then so have the outputs. Needs numpy alone.

A sequence is a list of steps [..., batch, features], and its mask a list of [..., batch] or None.
"""

import numpy as np

ACTIVATIONS = {
    "linear": lambda x: x,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True),
}


def run(architecture, weights, inputs, states=None, training=False):
    """The outputs: [..., batch, features], or [..., batch, time, features] of sequences."""
    config = architecture["config"]
    given = dict(zip((name for name, *_ in config["input_layers"]), inputs))
    tensors = {}
    for layer in config["layers"]:
        kind, name, options = layer["class_name"], layer["name"], layer["config"]
        own = [np.float64(value) for key, value in weights.items() if key.startswith(f"{name}/")]
        if kind == "InputLayer":
            x, is_ids = np.float64(given[name]), len(options["batch_shape"]) == 2
            tensors[name] = list(np.moveaxis(x, -1 if is_ids else -2, 0)), None
            continue
        (sources,) = layer["inbound_nodes"][0]["args"]
        values = [tensors[one["config"]["keras_history"][0]] for one in (sources if isinstance(sources, list) else [sources])]
        if kind in MERGES:
            tensors[name] = each(MERGES[kind], *(value for value, _ in values)), values[0][1]
        elif kind in CELLS:
            initial = [np.float64(states[key]) for key in (f"{name}/h", f"{name}/c") if key in (states or {})]
            tensors[name] = recurrent(kind, options, own, *values[0], initial)
        elif kind == "Bidirectional":
            tensors[name] = bidirectional(options["layer"], own, *values[0])
        else:
            tensors[name] = LAYERS[kind](options, own, *values[0], training)
    outputs = [tensors[name][0] for name, *_ in config["output_layers"]]
    return [stacked(value) if isinstance(value, list) else value for value in outputs]


def each(function, *values):
    """The function of every step, or of the values where they are no sequences."""
    return [function(*steps) for steps in zip(*values)] if isinstance(values[0], list) else function(*values)


def stacked(steps):
    """[..., batch, time, features]"""
    return np.stack(np.broadcast_arrays(*steps), axis=-2)


def activation(options, key="activation", default="linear"):
    return ACTIVATIONS[options.get(key, default)]


def affine(x, kernel, bias):
    return x @ kernel + bias[..., np.newaxis, :]


# ── Layers: (options, weights, value, mask, training) → value, mask ─────────────────────────────────────────


def dense(options, own, value, mask, training):
    return each(lambda x: activation(options)(affine(x, *own)), value), mask


def embedding(options, own, value, mask, training):
    ids = [step.astype(int) for step in value]
    return [own[0][..., step, :] for step in ids], [step != 0 for step in ids] if options.get("mask_zero") else None


def masking(options, own, value, mask, training):
    return value, [(np.abs(step) > 1e-3).any(axis=-1) for step in value]  # a difference's step unmasks nothing


def layer_normalization(options, own, value, mask, training):
    def one(x):
        centered = x - x.mean(axis=-1, keepdims=True)
        normal = centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-3)
        return normal * own[0][..., np.newaxis, :] + own[1][..., np.newaxis, :]

    return each(one, value), mask


def batch_normalization(options, own, value, mask, training):
    gamma, beta, mean, variance = (array[..., np.newaxis, :] for array in own)
    if training:
        steps = value if isinstance(value, list) else [value]
        use = [np.ones(step.shape[:-1]) for step in steps] if mask is None else mask
        rows = np.concatenate(np.broadcast_arrays(*steps), axis=-2)
        share = np.concatenate(use, axis=-1)[..., np.newaxis]
        mean = (rows * share).sum(axis=-2, keepdims=True) / share.sum(axis=-2, keepdims=True)
        variance = ((rows - mean) ** 2 * share).sum(axis=-2, keepdims=True) / share.sum(axis=-2, keepdims=True)
    return each(lambda x: (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta, value), mask


LAYERS = {
    "Dense": dense,
    "Embedding": embedding,
    "Masking": masking,
    "LayerNormalization": layer_normalization,
    "BatchNormalization": batch_normalization,
    "Activation": lambda options, own, value, mask, training: (each(activation(options), value), mask),
    "TimeDistributed": lambda options, *rest: dense(options["layer"]["config"], *rest),
}

def beside(a, b):
    shape = np.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    return np.concatenate([np.broadcast_to(one, (*shape, one.shape[-1])) for one in (a, b)], axis=-1)


MERGES = {
    "Add": lambda a, b: a + b,
    "Subtract": lambda a, b: a - b,
    "Multiply": lambda a, b: a * b,
    "Average": lambda a, b: (a + b) / 2,
    "Concatenate": beside,
}

# ── Recurrent layers ────────────────────────────────────────────────────────────────────────────────────────


def simple_rnn(options, x, states, kernel, recurrent_kernel, bias):
    (h,) = states
    return [activation(options, default="tanh")(affine(x, kernel, bias) + h @ recurrent_kernel)]


def lstm(options, x, states, kernel, recurrent_kernel, bias):
    h, c = states
    gate, inner = activation(options, "recurrent_activation", "sigmoid"), activation(options, default="tanh")
    i, f, candidate, o = np.split(affine(x, kernel, bias) + h @ recurrent_kernel, 4, axis=-1)
    c = gate(f) * c + gate(i) * inner(candidate)
    return [gate(o) * inner(c), c]


def gru(options, x, states, kernel, recurrent_kernel, bias):
    (h,) = states
    gate, inner = activation(options, "recurrent_activation", "sigmoid"), activation(options, default="tanh")
    after = options.get("reset_after", True)
    x_z, x_r, x_h = np.split(affine(x, kernel, bias[..., 0, :] if after else bias), 3, axis=-1)
    r_z, r_r, r_h = np.split(recurrent_kernel, 3, axis=-1)
    if after:
        b_z, b_r, b_h = np.split(bias[..., 1, :], 3, axis=-1)
        z, r = gate(x_z + affine(h, r_z, b_z)), gate(x_r + affine(h, r_r, b_r))
        candidate = inner(x_h + r * affine(h, r_h, b_h))
    else:
        z, r = gate(x_z + h @ r_z), gate(x_r + h @ r_r)
        candidate = inner(x_h + (r * h) @ r_h)
    return [z * h + (1 - z) * candidate]


CELLS = {"SimpleRNN": simple_rnn, "LSTM": lstm, "GRU": gru}


def recurrent(kind, options, own, value, mask, initial=()):
    batch, units = value[0].shape[-2], options["units"]
    states = list(initial) or [np.zeros((batch, units))] * (2 if kind == "LSTM" else 1)
    output, outputs = np.zeros((batch, units)), []
    backwards = options.get("go_backwards")
    for t in reversed(range(len(value))) if backwards else range(len(value)):
        after = CELLS[kind](options, value[t], states, *own)
        if mask is None:
            states, output = after, after[0]
        else:
            use = mask[t][..., np.newaxis]
            states, output = [np.where(use, *pair) for pair in zip(after, states)], np.where(use, after[0], output)
        outputs.append(output)
    if not options.get("return_sequences"):
        return output, None
    return outputs, mask[::-1] if mask is not None and backwards else mask


def bidirectional(layer, own, value, mask):
    kind, options, half = layer["class_name"], layer["config"], len(own) // 2
    forward, there = recurrent(kind, options, own[:half], value, mask)
    backward, _ = recurrent(kind, {**options, "go_backwards": True}, own[half:], value, mask)
    if options.get("return_sequences"):
        backward = backward[::-1]
    return each(MERGES["Concatenate"], forward, backward), there
