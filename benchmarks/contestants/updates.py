"""Updates of three models by Adam, 32 rows. Weights are the contestants' own: answers are compared by the tests, not here.

    rain         LSTM 32, LSTM 16, Dense 1 on 7 steps of 3
    sequence     LSTM 128, Dense 64 with softmax on 100 steps of 64
    nested       A, LSTM 128, on 50 steps of 64; B, LSTM 128 and Dense 32, runs 0 to 9 steps on each of its answers and carries
                 its state
"""

import cadenza
import numpy as np
from cadenza import Trainer, losses

from . import Entry

BATCH, UNITS, OUTER, WIDTH = 32, 128, 50, 32
random = np.random.default_rng(1)
floats = lambda *shape: random.normal(size=shape).astype(np.float32)  # noqa: E731

rain_x, rain_y = floats(BATCH, 7, 3), (floats(BATCH, 1) > 0).astype(np.float32)
sequence_x, sequence_y = floats(BATCH, 100, 64), random.integers(0, 64, (BATCH, 100))
nested_x, counts = floats(BATCH, OUTER, 64), random.integers(0, 10, (BATCH, OUTER))
# Row by row the steps of all of B's runs, one behind the other: which of A's answers each reads, and whether there is one.
longest = counts.sum(axis=1).max()
source = np.stack([np.pad(np.repeat(np.arange(OUTER), row), (0, longest - row.sum())) for row in counts])
used = np.arange(longest) < counts.sum(axis=1)[:, None]
nested_y = floats(BATCH, longest, WIDTH)


# ── Cadenza ──────────────────────────────────────────────────────────────────────────────────────────────


def lstm(units, whole=True):
    return ("LSTM", {"units": units, "return_sequences": whole})


def leaky():
    return ("LeakyReLU", {"negative_slope": 0.3})


def cadenza_rain(threads):
    dense = ("Dense", {"units": 1, "activation": "sigmoid"})
    trainer = Trainer(cadenza.build(7, 3, [lstm(32), leaky(), lstm(16, False), leaky(), dense]), "binary_crossentropy", threads=threads)
    return lambda: trainer.update(rain_x, rain_y)


def cadenza_sequence(threads):
    model = cadenza.build(None, 64, [lstm(UNITS), ("Dense", {"units": 64, "activation": "softmax"})])
    trainer = Trainer(model, losses.SparseCategoricalCrossentropy(), threads=threads)
    return lambda: trainer.update(sequence_x, sequence_y)


def cadenza_nested(threads):
    a, b = cadenza.build(None, 64, [lstm(UNITS)]), cadenza.build(None, UNITS, [lstm(UNITS), ("Dense", {"units": WIDTH})])
    unrolled, trainers = cadenza.Unrolled(a, b, threads=threads), [Trainer(model, threads=threads) for model in (a, b)]
    target = nested_y[used]

    def update():
        unrolled.reset()
        run = cadenza.nested(unrolled, a, b, nested_x, counts)
        run.backward((run.flat - target) * np.float32(2 / target.size))
        for trainer in trainers:
            trainer.apply_gradients(unrolled)

    return update


# ── TensorFlow ───────────────────────────────────────────────────────────────────────────────────────────


def keras_updates(model, loss, x, y, compiled):
    """compiled: whether by XLA; None: by Keras's own train_on_batch, as Keras compiles it."""
    import keras
    import tensorflow as tf

    optimizer = keras.optimizers.Adam()
    if compiled is None:
        model.compile(optimizer, loss)
        return lambda: model.train_on_batch(x, y)
    optimizer.build(model.trainable_variables)
    x, y = tf.constant(x), tf.constant(y)

    @tf.function(jit_compile=compiled)
    def update(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        optimizer.apply_gradients(zip(tape.gradient(value, model.trainable_variables), model.trainable_variables))
        return value

    return lambda: update(x, y).numpy()


def tensorflow_rain(compiled):
    import keras
    from keras import layers

    leaky = lambda: layers.LeakyReLU(negative_slope=0.3)  # noqa: E731
    net = [keras.Input((7, 3)), layers.LSTM(32, return_sequences=True), leaky(), layers.LSTM(16), leaky(), layers.Dense(1, "sigmoid")]
    return keras_updates(keras.Sequential(net), keras.losses.BinaryCrossentropy(), rain_x, rain_y, compiled)


def tensorflow_sequence(compiled):
    import keras
    from keras import layers

    net = [keras.Input((100, 64)), layers.LSTM(UNITS, return_sequences=True), layers.Dense(64, "softmax")]
    return keras_updates(keras.Sequential(net), keras.losses.SparseCategoricalCrossentropy(), sequence_x, sequence_y, compiled)


def tensorflow_nested(_):
    import keras
    import tensorflow as tf

    a, b, dense = keras.layers.LSTMCell(UNITS), keras.layers.LSTMCell(UNITS), keras.layers.Dense(WIDTH)
    a.build((BATCH, 64)), b.build((BATCH, UNITS)), dense.build((BATCH, UNITS))
    variables = a.trainable_variables + b.trainable_variables + dense.trainable_variables
    optimizer = keras.optimizers.Adam()
    optimizer.build(variables)
    zero, numbers, x = tf.zeros((BATCH, UNITS)), tf.constant(counts), tf.constant(nested_x)
    target, scale = floats(BATCH, WIDTH), 1 / used.sum() / WIDTH

    @tf.function
    def update():
        with tf.GradientTape() as tape:
            above, below, total = (zero, zero), (zero, zero), tf.constant(0.0)
            for outer in tf.range(OUTER):
                ir, above = a(x[:, outer], above)
                above = tuple(above)
                for inner in tf.range(tf.reduce_max(numbers[:, outer])):
                    runs = (tf.cast(inner, numbers.dtype) < numbers[:, outer])[:, None]
                    output, new = b(ir, below)
                    below = tuple(tf.where(runs, after, before) for after, before in zip(new, below))
                    total += tf.reduce_sum(tf.where(runs, (dense(output) - target) ** 2, 0.0))
            total *= scale
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables))
        return total

    return lambda: update().numpy()


# ── PyTorch ──────────────────────────────────────────────────────────────────────────────────────────────


def torch_update(threads, parts, forward):
    import torch

    optimizer = torch.optim.Adam([weight for part in parts for weight in part.parameters()], fused=True)

    def update():
        torch.set_num_threads(threads)
        optimizer.zero_grad()
        loss = forward()
        loss.backward()
        optimizer.step()
        return loss.item()

    return update


def torch_rain(threads):
    import torch
    from torch import nn

    parts = nn.LSTM(3, 32, batch_first=True), nn.LSTM(32, 16, batch_first=True), nn.Linear(16, 1)
    x, y, leaky, loss = torch.tensor(rain_x), torch.tensor(rain_y), nn.LeakyReLU(0.3), nn.BCEWithLogitsLoss()
    return torch_update(threads, parts, lambda: loss(parts[2](leaky(parts[1](leaky(parts[0](x)[0]))[0][:, -1])), y))


def torch_sequence(threads):
    import torch
    from torch import nn

    parts = nn.LSTM(64, UNITS), nn.Linear(UNITS, 64)
    x, y, loss = torch.tensor(sequence_x).transpose(0, 1).contiguous(), torch.tensor(sequence_y.T.copy()).reshape(-1), nn.CrossEntropyLoss()
    return torch_update(threads, parts, lambda: loss(parts[1](parts[0](x)[0]).reshape(-1, 64), y))


def torch_nested(threads):
    import torch
    from torch import nn

    parts = nn.LSTM(64, UNITS, batch_first=True), nn.LSTM(UNITS, UNITS, batch_first=True), nn.Linear(UNITS, WIDTH)
    x, places = torch.tensor(nested_x), torch.tensor(source)[..., None].expand(-1, -1, UNITS)
    y, keep = torch.tensor(nested_y), torch.tensor(used)[..., None]

    def loss():
        return ((parts[2](parts[1](parts[0](x)[0].gather(1, places))[0]) - y) ** 2 * keep).sum() / used.sum() / WIDTH

    return torch_update(threads, parts, loss)


# ── All ──────────────────────────────────────────────────────────────────────────────────────────────────

contestants = {
    "Cadenza, 2 threads": ({"rain": cadenza_rain, "sequence": cadenza_sequence, "nested": cadenza_nested}, 2),
    "Cadenza, 1 thread": ({"rain": cadenza_rain, "sequence": cadenza_sequence, "nested": cadenza_nested}, 1),
    "TensorFlow, tf.function": ({"rain": tensorflow_rain, "sequence": tensorflow_sequence, "nested": tensorflow_nested}, False),
    "TensorFlow, jit_compile": ({"rain": tensorflow_rain, "sequence": tensorflow_sequence}, True),
    "Keras, train_on_batch": ({"rain": tensorflow_rain, "sequence": tensorflow_sequence}, None),
    "PyTorch, 2 threads": ({"rain": torch_rain, "sequence": torch_sequence, "nested": torch_nested}, 2),
    "PyTorch, 1 thread": ({"rain": torch_rain, "sequence": torch_sequence, "nested": torch_nested}, 1),
}


def entries(workload, forms):
    """forms: for the names of contestants here, those that they have in the table."""
    contest = workload.name.removeprefix("training-")
    found = [(form, *contestants[name]) for name, form in forms.items() if contest in contestants[name][0]]
    return [Entry(form, makers[contest](option)) for form, makers, option in found if workload.form in ("", form)]
