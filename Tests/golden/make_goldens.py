"""Writes keras/: small Keras models, their inputs, and Keras's answers.

    pip install tensorflow-cpu tf-keras keras h5py
    python make_goldens.py            # everything
    python make_goldens.py lstm gru   # only these cases

What stands before a file name's first dot is the golden's name:

    <name>.keras, <name>.h5                a whole model, by Keras 3
    <name>.json + <name>.weights.h5        architecture and weights apart, by Keras 3
    <name>_k2.h5, <name>_k2.keras,         the same by Keras 2 (tf-keras)
    <name>_k2.json + <name>_k2.weights.h5
    <name>_k2.old.h5                       weights alone as save_weights wrote them before there was .weights.h5
    <name>.npz, <name>_k2.npz              input_0 ... and output_0 ... of model.predict, in the order of
                                           model.inputs and model.outputs; a stateful model also has
                                           then_input_0, then_output_0: the call after it, state kept

All files of one name hold the same weights. Running the script again gives the same bytes.
"""

import json
import os
import sys
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import keras
import numpy as np
import tensorflow as tf
import tf_keras
import tf_keras.api._v1.keras

FOLDER = Path(__file__).parent / "keras"
CASES = {}

KERAS_3 = ("keras", "h5", "weights")
KERAS_2 = ("k2", "k2keras", "k2weights", "k2old")


def case(*formats):
    """Registers a function (library) -> (model, inputs) to be saved in these formats."""
    def register(function):
        CASES[function.__name__] = (function, formats)
        return function
    return register


# Inputs. `random` is seeded anew for every golden, so that a case does not depend on its neighbours.

random = np.random.default_rng(0)


def noise(*shape, scale=1.0):
    return (scale * random.standard_normal(shape)).astype("float32")


def tokens(batch, length, classes):
    """Token rows with every kind of padding: none, a tail, gaps, everything, a head."""
    rows = random.integers(1, classes, (batch, length))
    rows[1, -2:] = 0
    rows[2, 1:-1:2] = 0
    rows[3, :] = 0
    rows[4, :2] = 0
    return rows.astype("int32")


def padded(batch, length, features, value=0.0):
    """Float rows, masked (all features equal to `value`) in the same places."""
    samples = noise(batch, length, features)
    samples[tokens(batch, length, 9) == 0] = value
    samples[0, 0, 0] = value  # one feature alone masks nothing
    return samples


def chain(k, shape, *layers, batch_size=None):
    return k.Sequential([k.Input(shape, batch_size=batch_size), *layers])


def randomize(model):
    """Gives every weight random values: no zeros, no symmetry, no identity to hide an error."""
    def values(weight):
        name = getattr(weight, "path", weight.name)
        if "moving_variance" in name:
            return (0.5 + random.random(weight.shape)).astype("float32")
        return noise(*weight.shape, scale=0.6)
    model.set_weights([values(weight) for weight in model.weights])


# Recurrent layers and their options


@case("keras", "h5", "weights", "k2", "k2keras", "k2weights", "k2old")
def lstm(k):
    return chain(k, (6, 4), k.layers.LSTM(5, return_sequences=True), k.layers.LSTM(3)), [noise(3, 6, 4)]


@case("keras", "k2")
def lstm_options(k):
    return chain(
        k, (6, 4),
        k.layers.LSTM(5, activation="relu", recurrent_activation="hard_sigmoid", return_sequences=True),
        k.layers.LSTM(3, activation="softsign", recurrent_activation="tanh", use_bias=False, return_sequences=True),
        k.layers.LSTM(4, activation="linear", unit_forget_bias=False, implementation=1),
    ), [noise(3, 6, 4)]


@case("keras")
def backwards(k):
    return chain(
        k, (6, 4),
        k.layers.LSTM(5, go_backwards=True, return_sequences=True),
        k.layers.GRU(3, go_backwards=True, return_sequences=True),
        k.layers.SimpleRNN(4, go_backwards=True),
    ), [noise(3, 6, 4)]


@case("keras", "h5", "weights", "k2")
def gru(k):
    return chain(k, (6, 4), k.layers.GRU(5, return_sequences=True), k.layers.GRU(3)), [noise(3, 6, 4)]


@case("keras", "k2")
def gru_reset_before(k):
    return chain(
        k, (6, 4),
        k.layers.GRU(5, reset_after=False, return_sequences=True),
        k.layers.GRU(3, reset_after=False, recurrent_activation="hard_sigmoid"),
    ), [noise(3, 6, 4)]


@case("keras")
def gru_options(k):
    return chain(
        k, (6, 4),
        k.layers.GRU(5, use_bias=False, activation="softsign", recurrent_activation="hard_sigmoid",
                     return_sequences=True),
        k.layers.GRU(3, use_bias=False, reset_after=False, activation="elu", return_sequences=True),
        k.layers.GRU(4, implementation=1),
    ), [noise(3, 6, 4)]


@case("keras", "k2")
def simple_rnn(k):
    return chain(
        k, (6, 4),
        k.layers.SimpleRNN(7, return_sequences=True),
        k.layers.SimpleRNN(3, activation="relu", use_bias=False),
    ), [noise(3, 6, 4)]


@case("keras", "k2")
def return_state(k):
    x = k.Input((6, 4))
    outputs = [
        *k.layers.LSTM(5, return_sequences=True, return_state=True)(x),
        *k.layers.GRU(3, return_state=True)(x),
        *k.layers.SimpleRNN(4, return_state=True, go_backwards=True)(x),
    ]
    return k.Model(x, outputs), [noise(3, 6, 4)]


@case("keras", "k2")
def stateful(k):
    return chain(
        k, (4, 2),
        k.layers.LSTM(5, stateful=True, return_sequences=True),
        k.layers.GRU(3, stateful=True),
        batch_size=3,
    ), [noise(3, 4, 2)]


@case("keras", "k2")
def unroll(k):
    return chain(
        k, (5, 3),
        k.layers.Masking(),
        k.layers.LSTM(4, unroll=True, return_sequences=True),
        k.layers.GRU(5, unroll=True, go_backwards=True),
    ), [padded(5, 5, 3)]


@case("keras", "k2")
def zero_output_for_mask(k):
    x = k.Input((5, 3))
    masked = k.layers.Masking()(x)
    outputs = [
        k.layers.LSTM(4, zero_output_for_mask=True, return_sequences=True)(masked),
        k.layers.GRU(3, zero_output_for_mask=True)(masked),
        k.layers.LSTM(3, zero_output_for_mask=True, unroll=True, return_sequences=True)(masked),
        k.layers.SimpleRNN(2, zero_output_for_mask=True, go_backwards=True, return_sequences=True)(masked),
    ]
    return k.Model(x, outputs), [padded(5, 5, 3)]


@case("k2")
def time_major(k):
    x = k.Input((3, 4), batch_size=5)
    sequence = k.layers.LSTM(6, time_major=True, return_sequences=True)(x)
    sequence = k.layers.GRU(2, time_major=True, return_sequences=True)(sequence)
    return k.Model(x, sequence), [noise(5, 3, 4)]


@case("keras", "k2")
def cells(k):
    return chain(
        k, (6, 4),
        k.layers.RNN(k.layers.LSTMCell(5), return_sequences=True),
        k.layers.RNN(k.layers.GRUCell(3), return_sequences=True),
        k.layers.RNN(k.layers.SimpleRNNCell(7), return_sequences=True),
        k.layers.RNN(k.layers.GRUCell(4, reset_after=False), go_backwards=True),
    ), [noise(3, 6, 4)]


@case("keras", "h5", "k2")
def stacked_cells(k):
    stack = [k.layers.LSTMCell(4), k.layers.GRUCell(5, reset_after=False), k.layers.SimpleRNNCell(3)]
    return chain(k, (6, 2), k.layers.RNN(k.layers.StackedRNNCells(stack), return_sequences=True)), [noise(3, 6, 2)]


@case("keras", "k2")
def stacked_cells_state(k):
    x = k.Input((6, 2))
    stack = [k.layers.LSTMCell(4), k.layers.GRUCell(5), k.layers.LSTMCell(3)]
    outputs = k.layers.RNN(stack, return_state=True)(k.layers.Masking()(x))
    return k.Model(x, tf.nest.flatten(outputs)), [padded(5, 6, 2)]


# Wrappers


def merged_both_ways(k, **options):
    x = k.Input((6, 4))
    outputs = []
    for mode in ("concat", "sum", "ave", "mul", None):
        merged = k.layers.Bidirectional(k.layers.LSTM(3, **options), merge_mode=mode)(x)
        outputs += list(merged) if mode is None else [merged]
    return k.Model(x, outputs), [noise(3, 6, 4)]


@case("keras", "k2")
def bidirectional_sequences(k):
    return merged_both_ways(k, return_sequences=True)


@case("keras")
def bidirectional_last(k):
    return merged_both_ways(k)


@case("keras", "k2")
def bidirectional_two_layers(k):
    return chain(
        k, (6, 4),
        k.layers.Bidirectional(
            k.layers.LSTM(3, activation="relu", return_sequences=True),
            backward_layer=k.layers.GRU(3, go_backwards=True, return_sequences=True)),
        k.layers.Bidirectional(
            k.layers.GRU(4, go_backwards=True),
            backward_layer=k.layers.SimpleRNN(4), merge_mode="sum"),
    ), [noise(3, 6, 4)]


@case("keras", "k2")
def bidirectional_state(k):
    x = k.Input((6, 4))
    encoded = k.layers.Bidirectional(k.layers.LSTM(3, return_sequences=True, return_state=True))(x)
    decoded = k.layers.Bidirectional(k.layers.LSTM(3))(encoded[0], initial_state=list(encoded[1:]))
    return k.Model(x, [*encoded, decoded]), [noise(3, 6, 4)]


@case("keras", "k2")
def bidirectional_masked(k):
    return chain(
        k, (5, 3),
        k.layers.Masking(),
        k.layers.Bidirectional(k.layers.LSTM(4, return_sequences=True)),
        k.layers.Bidirectional(k.layers.GRU(2), merge_mode="sum"),
    ), [padded(5, 5, 3)]


@case("keras", "k2")
def time_distributed(k):
    inner = k.layers.Input((5,))
    residual = k.Model(inner, k.layers.Add()([inner, k.layers.Dense(5, activation="tanh")(inner)]))
    return chain(
        k, (6, 4),
        k.layers.TimeDistributed(k.layers.Dense(5, activation="relu")),
        k.layers.TimeDistributed(k.Sequential([k.Input((5,)), k.layers.Dense(7), k.layers.Dense(5)])),
        k.layers.TimeDistributed(residual),
    ), [noise(3, 6, 4)]


@case("keras")
def time_distributed_lstm(k):
    return chain(
        k, (2, 6, 4),
        k.layers.TimeDistributed(k.layers.LSTM(5, return_sequences=True)),
        k.layers.TimeDistributed(k.layers.Bidirectional(k.layers.GRU(3))),
        k.layers.LSTM(2),
    ), [noise(3, 2, 6, 4)]


@case("keras", "k2")
def time_distributed_masked(k):
    return chain(
        k, (5, 3),
        k.layers.Masking(),
        k.layers.TimeDistributed(k.layers.Dense(4)),
        k.layers.LSTM(2, return_sequences=True),
    ), [padded(5, 5, 3)]


# Masks and embeddings


@case("keras", "k2")
def masking(k):
    x = k.Input((5, 3))
    masked = k.layers.Masking(mask_value=-1.5)(x)
    sequence = k.layers.LSTM(4, return_sequences=True)(masked)
    outputs = [
        masked, sequence,
        k.layers.GRU(2)(sequence),
        k.layers.GRU(3, go_backwards=True, return_sequences=True)(masked),
        *k.layers.LSTM(2, return_state=True)(masked),
        k.layers.SimpleRNN(3)(masked),
    ]
    return k.Model(x, outputs), [padded(5, 5, 3, value=-1.5)]


@case("keras", "k2")
def mask_kept(k):
    """The mask passes through layers that keep the time axis."""
    return chain(
        k, (5, 3),
        k.layers.Masking(),
        k.layers.Dense(4, activation="relu"),
        k.layers.BatchNormalization(),
        k.layers.LayerNormalization(),
        k.layers.Dropout(0.2),
        k.layers.LeakyReLU(),
        k.layers.Activation("tanh"),
        k.layers.SimpleRNN(6, return_sequences=True),
        k.layers.LSTM(2),
    ), [padded(5, 5, 3)]


@case("keras", "k2")
def mask_dropped(k):
    """Reshape, Flatten and RepeatVector end it: the layers after them see every step."""
    x = k.Input((5, 4))
    masked = k.layers.Masking()(x)
    flat = k.layers.Flatten()(masked)
    outputs = [
        k.layers.LSTM(3)(k.layers.Reshape((5, 4))(masked)),
        k.layers.Dense(2)(flat),
        k.layers.LSTM(2)(k.layers.RepeatVector(3)(flat)),
    ]
    return k.Model(x, outputs), [padded(5, 5, 4)]


@case("keras", "k2")
def masked_merges(k):
    """Two masks meet, and a mask meets none. Keras 3 and 2 differ here."""
    x, y, z = k.Input((5, 3)), k.Input((5, 3)), k.Input((5, 3))
    a = k.layers.Masking()(x)
    b = k.layers.Masking(mask_value=-1.5)(y)
    readers = {width: k.layers.SimpleRNN(2, return_sequences=True) for width in (3, 6)}
    outputs = []
    for layer in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"):
        for pair in ([a, b], [a, z]):
            merged = getattr(k.layers, layer)()(pair)
            outputs += [merged, readers[merged.shape[-1]](merged)]
    return k.Model([x, y, z], outputs), [padded(5, 5, 3), padded(5, 5, 3, value=-1.5)[::-1], noise(5, 5, 3)]


@case("keras", "h5", "weights", "k2", "k2weights")
def embedding(k):
    return chain(
        k, (7,),
        k.layers.Embedding(11, 4, mask_zero=True),
        k.layers.LSTM(5, return_sequences=True),
        k.layers.LSTM(3),
        k.layers.Dense(11, activation="softmax"),
    ), [tokens(5, 7, 11)]


@case("keras")
def embedding_unmasked(k):
    options = {} if k is keras else {"input_length": 7}
    return chain(
        k, (7,), k.layers.Embedding(11, 4, **options), k.layers.Flatten(), k.layers.Dense(3),
    ), [tokens(5, 7, 11)]


# Activations

ACTIVATIONS = {
    keras: ["celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish",
            "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu",
            "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid",
            "sparsemax", "squareplus", "swish", "tanh", "tanh_shrink"],
    tf_keras: ["elu", "exponential", "gelu", "hard_sigmoid", "linear", "mish", "relu", "selu", "sigmoid",
               "softmax", "softplus", "softsign", "swish", "tanh"],
}


@case("keras", "k2")
def activations(k):
    """The outputs are in the order of the list above."""
    x = k.Input((4,))
    return k.Model(x, [k.layers.Activation(name)(x) for name in ACTIVATIONS[k]]), [noise(9, 4, scale=2.5)]


@case("keras")
def dense_activations(k):
    x = k.Input((3, 5))
    names = ["relu", "hard_sigmoid", "gelu", "softmax", "selu", "swish"]
    outputs = [k.layers.Dense(3 + i % 2, activation=name, use_bias=i % 3 != 0)(x) for i, name in enumerate(names)]
    return k.Model(x, outputs), [noise(4, 3, 5)]


@case("keras", "h5", "k2")
def activation_layers(k):
    x = k.Input((5, 4))
    slope = "negative_slope" if k is keras else "alpha"
    layers = [
        k.layers.LeakyReLU(), k.layers.LeakyReLU(**{slope: 0.07}),
        k.layers.PReLU(), k.layers.PReLU(shared_axes=[1]), k.layers.PReLU(shared_axes=[1, 2]),
        k.layers.ELU(), k.layers.ELU(alpha=0.4),
        k.layers.ReLU(), k.layers.ReLU(max_value=1.2, negative_slope=0.15, threshold=0.3),
        k.layers.ReLU(threshold=0.5), k.layers.ReLU(max_value=0.8),
        k.layers.Softmax(), k.layers.Softmax(axis=1), k.layers.Softmax(axis=[1, 2]),
    ]
    if k is tf_keras:
        layers.append(k.layers.ThresholdedReLU(theta=0.6))
    return k.Model(x, [layer(x) for layer in layers]), [noise(3, 5, 4)]


# Layers that only training sees, and normalization


@case("keras", "k2")
def training_only(k):
    return chain(
        k, (6, 4),
        k.layers.GaussianNoise(0.3),
        k.layers.LSTM(5, dropout=0.2, recurrent_dropout=0.3, return_sequences=True),
        k.layers.SpatialDropout1D(0.2),
        k.layers.GRU(3, dropout=0.2, kernel_regularizer="l2", recurrent_constraint="max_norm", return_sequences=True),
        k.layers.GaussianDropout(0.2),
        k.layers.AlphaDropout(0.1),
        k.layers.ActivityRegularization(l1=0.1),
        k.layers.Dropout(0.5, noise_shape=(None, 1, 3)),
        k.layers.Dense(2, activity_regularizer="l1"),
    ), [noise(3, 6, 4)]


@case("keras", "k2")
def batch_normalization(k):
    return chain(
        k, (5, 4),
        k.layers.BatchNormalization(),
        k.layers.BatchNormalization(center=False, epsilon=0.02),
        k.layers.BatchNormalization(scale=False, axis=1),
        k.layers.LSTM(3, return_sequences=True),
        k.layers.BatchNormalization(center=False, scale=False),
    ), [noise(3, 5, 4)]


@case("keras", "k2")
def layer_normalization(k):
    return chain(
        k, (5, 4),
        k.layers.LayerNormalization(),
        k.layers.LayerNormalization(axis=[1, 2], epsilon=0.02),
        k.layers.LayerNormalization(center=False, axis=1),
        k.layers.LSTM(3, return_sequences=True),
        k.layers.LayerNormalization(scale=False),
    ), [noise(3, 5, 4)]


@case("keras")
def rms_scaling(k):
    return chain(k, (5, 4), k.layers.LayerNormalization(rms_scaling=True)), [noise(3, 5, 4)]


# Shapes and merges


@case("keras")
def shapes(k):
    x = k.Input((6, 4))
    flat = k.layers.Flatten()(x)
    reshaped = k.layers.Reshape((3, -1))(x)
    last = k.layers.LSTM(3)(reshaped)
    repeated = k.layers.RepeatVector(4)(last)
    outputs = [k.layers.Dense(2)(flat), reshaped, repeated, k.layers.LSTM(2, return_sequences=True)(repeated),
               k.layers.Reshape((2, 2, 6))(flat)]
    return k.Model(x, outputs), [noise(3, 6, 4)]


@case("keras")
def merges(k):
    x, y, z = k.Input((5, 4)), k.Input((5, 4)), k.Input((5, 4))
    outputs = [getattr(k.layers, layer)()([x, y, z])
               for layer in ("Add", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")]
    outputs += [
        k.layers.Subtract()([x, y]),
        k.layers.Concatenate(axis=1)([x, z]),
        k.layers.Concatenate(axis=2)([y, x]),
        k.layers.Add()([x, k.layers.Dense(1)(y)]),
        k.layers.Multiply()([k.layers.LSTM(4)(x), y]),
    ]
    return k.Model([x, y, z], outputs), [noise(3, 5, 4) for _ in range(3)]


# Graphs


@case("keras", "k2")
def several_inputs_outputs(k):
    series, place = k.Input((6, 4), name="series"), k.Input((3,), name="place")
    sequence = k.layers.LSTM(5, return_sequences=True, name="reader")(series)
    last = k.layers.GRU(3, name="summary")(sequence)
    joined = k.layers.Concatenate(name="joined")([place, last])
    outputs = [k.layers.Dense(2, activation="softmax", name="kind")(joined),
               k.layers.Dense(1, name="level")(sequence), joined]
    return k.Model([series, place], outputs, name="reader_model"), [noise(3, 6, 4), noise(3, 3)]


@case("keras")
def named_inputs_outputs(k):
    inputs = {"later": k.Input((6, 4), name="later"), "earlier": k.Input((6, 2), name="earlier")}
    state = k.layers.LSTM(3, return_state=True)(inputs["earlier"])[1:]
    outputs = {"sequence": k.layers.LSTM(3, return_sequences=True)(inputs["later"], initial_state=state),
               "last": state[0]}
    return k.Model(inputs, outputs), {"later": noise(3, 6, 4), "earlier": noise(3, 6, 2)}


@case("keras", "k2")
def shared_layer(k):
    x, y = k.Input((6, 4)), k.Input((3, 4))
    reader, head = k.layers.LSTM(5), k.layers.Dense(5, activation="tanh")
    a, b = reader(x), reader(y)
    return k.Model([x, y], [head(a), k.layers.Subtract()([head(head(b)), a])]), [noise(3, 6, 4), noise(3, 3, 4)]


@case("keras", "h5", "weights", "k2", "k2keras", "k2weights", "k2old")
def nested(k):
    head = k.Sequential([k.Input((5,)), k.layers.Dense(7, activation="relu"), k.layers.BatchNormalization()],
                        name="head")
    inner_x = k.Input((6, 3))
    inner = k.Model(inner_x, [head(k.layers.LSTM(5)(inner_x)), k.layers.GRU(2, return_sequences=True)(inner_x)],
                    name="inner")
    x, y = k.Input((6, 3)), k.Input((6, 3))
    a, sequence = inner(x)
    b, _ = inner(y)
    tail = k.Sequential([k.Input((14,)), k.layers.Dense(4), k.layers.PReLU()], name="tail")
    return k.Model([x, y], [tail(k.layers.Concatenate()([a, b])), sequence]), [noise(3, 6, 3), noise(3, 6, 3)]


@case("keras", "h5", "k2", "k2old")
def frozen(k):
    """An h5 group lists the trainable weights first, so that freezing some changes their order."""
    first = k.layers.LSTM(4, return_sequences=True)
    first.trainable = False
    inner = k.Sequential([k.Input((6, 3)), first, k.layers.BatchNormalization(), k.layers.GRU(3)])
    return chain(k, (6, 3), k.layers.Dense(3), inner, k.layers.Dense(2)), [noise(3, 6, 3)]


@case("keras", "h5", "k2")
def encoder_decoder(k):
    source, target = k.Input((6, 4)), k.Input((None, 2))
    _, *state = k.layers.LSTM(5, return_state=True)(source)
    decoded, *_ = k.layers.LSTM(5, return_sequences=True, return_state=True)(target, initial_state=state)
    summary = k.layers.GRU(5)(target, initial_state=k.layers.Dense(5)(state[1]))
    return k.Model([source, target], [k.layers.Dense(3, activation="softmax")(decoded), summary]), [
        noise(3, 6, 4), noise(3, 4, 2)]


@case("keras", "k2")
def initial_state_masked(k):
    """Keras 2 honours the mask (until the first step that counts the output is zero). Keras 3, given an initial
    state, does not pass the mask to the layer: every step counts there."""
    x, state = k.Input((5, 3)), k.Input((4,))
    outputs = k.layers.GRU(4, return_sequences=True, return_state=True)(k.layers.Masking()(x), initial_state=state)
    return k.Model([x, state], outputs), [padded(5, 5, 3), noise(5, 4)]


@case("keras", "h5", "k2")
def fixed_batch(k):
    if k is keras:
        return k.Sequential([k.layers.InputLayer(batch_shape=(2, 5, 3)), k.layers.LSTM(4)]), [noise(2, 5, 3)]
    return k.Sequential([k.layers.LSTM(4, batch_input_shape=(2, 5, 3))]), [noise(2, 5, 3)]


# Saving


class Frozen:
    """Stands for a clock in the saving code: the dates in a .keras file are always these."""
    time = staticmethod(lambda: 0.0)
    localtime = staticmethod(lambda *_: (1980, 1, 1, 0, 0, 0))
    now = classmethod(lambda cls: SimpleNamespace(strftime=lambda _: "1980-01-01@00:00:00"))


def flat(values):
    """The arrays in the order of model.inputs or model.outputs (a dict counts by sorted key)."""
    if isinstance(values, dict):
        return [values[key] for key in sorted(values)]
    return list(values) if isinstance(values, (list, tuple)) else [values]


def predict(model, inputs):
    feed = inputs if isinstance(inputs, dict) or len(inputs) > 1 else inputs[0]
    return flat(model.predict(feed, batch_size=len(flat(inputs)[0]), verbose=0))


def answers(model, inputs):
    arrays = {f"input_{i}": array for i, array in enumerate(flat(inputs))}
    arrays |= {f"output_{i}": array for i, array in enumerate(predict(model, inputs))}
    if any(getattr(layer, "stateful", False) for layer in model.layers):
        then = [noise(*array.shape) for array in flat(inputs)]
        arrays |= {f"then_input_{i}": array for i, array in enumerate(then)}
        arrays |= {f"then_output_{i}": array for i, array in enumerate(predict(model, then))}
    return arrays


def save(model, name, form):
    serial = {}
    for library in (keras, tf_keras):
        # Keras tells shared objects by their addresses. Here they are numbered, in order of appearance.
        library.src.saving.serialization_lib.id = (
            lambda shared: serial.setdefault(id(shared), (len(serial), shared))[0])
    if form in ("weights", "k2weights"):
        (FOLDER / f"{name}.json").write_text(model.to_json(indent=1) + "\n")
        model.save_weights(FOLDER / f"{name}.weights.h5")
    elif form == "k2old":
        model.save_weights(FOLDER / f"{name}.old.h5")
    else:
        model.save(FOLDER / f"{name}.{'h5' if form in ('h5', 'k2') else 'keras'}")


def make(name):
    global random
    function, formats = CASES[name]
    for library, suffix, known in ((keras, "", KERAS_3), (tf_keras, "_k2", KERAS_2)):
        wanted = [form for form in known if form in formats]
        if not wanted:
            continue
        random = np.random.default_rng(zlib.crc32((name + suffix).encode()))
        library.backend.clear_session()
        model, inputs = function(library)
        randomize(model)
        np.savez(FOLDER / f"{name}{suffix}.npz", **answers(model, inputs))
        for form in wanted:
            save(model, name + suffix, form)


# Files of older Keras versions, made from those above: what differs is the description, not the weights.


def rewritten(source, name, change):
    """A copy of an h5 golden with `change(file, model_config)` applied."""
    with h5py.File(FOLDER / f"{source}.h5") as old, h5py.File(FOLDER / f"{name}.h5", "w") as new:
        for key in old:
            old.copy(key, new)
        for key, value in old.attrs.items():
            new.attrs[key] = value
        config = json.loads(new.attrs["model_config"])
        config = change(new, config) or config
        new.attrs["model_config"] = json.dumps(config)
    (FOLDER / f"{name}.npz").write_bytes((FOLDER / f"{source}.npz").read_bytes())


def as_keras_2_1(file, config):
    """Keras 2.1 saved a Sequential as a bare list, whose first layer has batch_input_shape, and no dtypes."""
    file.attrs["keras_version"] = file["model_weights"].attrs["keras_version"] = "2.1.6"
    shape, *layers = config["config"]["layers"]
    for layer in layers:
        for key in ("module", "registered_name", "build_config"):
            layer.pop(key, None)
        for key in ("dtype", "time_major", "reset_after"):
            layer["config"].pop(key, None)
    layers[0]["config"]["batch_input_shape"] = shape["config"]["batch_input_shape"]
    return {"class_name": "Sequential", "config": layers}


def as_model_class(file, config):
    """Until TensorFlow 2.2 a functional model's class was called Model, and its layers had no `module`."""
    file.attrs["keras_version"] = file["model_weights"].attrs["keras_version"] = "2.2.4-tf"
    config["class_name"] = "Model"
    for layer in config["config"]["layers"]:
        for key in ("module", "registered_name", "build_config"):
            layer.pop(key, None)


def with_parted_names(file, config):
    """Names too long for one attribute are spread over layer_names0, layer_names1 ..."""
    weights = file["model_weights"]
    names = weights.attrs.pop("layer_names")
    weights.attrs["layer_names0"], weights.attrs["layer_names1"] = names[:1], names[1:]


REWRITTEN = {
    "list_config_k2": ("gru_reset_before_k2", as_keras_2_1),
    "model_class_k2": ("several_inputs_outputs_k2", as_model_class),
    "parted_names_k2": ("lstm_k2", with_parted_names),
}


# CuDNNLSTM and CuDNNGRU run on a GPU only, but tf-keras builds them anywhere, and converts into them the weights
# of a usual model, whose answers are theirs.


@case("k2")
def plain_lstm(k):
    return chain(k, (6, 4), k.layers.LSTM(5, return_sequences=True), k.layers.Dense(2)), [noise(3, 6, 4)]


@case("k2")
def plain_gru(k):
    return chain(k, (6, 4), k.layers.GRU(5, go_backwards=True), k.layers.Dense(2)), [noise(3, 6, 4)]


@case("k2")
def plain_bidirectional(k):
    return chain(k, (6, 4), k.layers.Bidirectional(k.layers.LSTM(3)), k.layers.Dense(2)), [noise(3, 6, 4)]


CUDNN = {
    "plain_lstm_k2": lambda k: k.CuDNNLSTM(5, return_sequences=True),
    "plain_gru_k2": lambda k: k.CuDNNGRU(5, go_backwards=True),
    "plain_bidirectional_k2": lambda k: k.Bidirectional(k.CuDNNLSTM(3)),
}


def make_cudnn(source, layer):
    global random
    random = np.random.default_rng(zlib.crc32(source.encode()))
    name = source.replace("plain", "cudnn")
    tf_keras.backend.clear_session()
    model = chain(tf_keras, (6, 4), layer(tf_keras.api._v1.keras.layers), tf_keras.layers.Dense(2))
    model.load_weights(FOLDER / f"{source}.h5")
    weights = model.get_weights()
    for bias in weights:
        if bias.ndim == 1 and len(bias) % 8 == 0:  # an LSTM's two biases came out equal: only the sum counts
            shift = noise(len(bias) // 2)
            bias += np.concatenate([shift, -shift])
    model.set_weights(weights)
    save(model, name, "k2")
    (FOLDER / f"{name}.npz").write_bytes((FOLDER / f"{source}.npz").read_bytes())


def main():
    FOLDER.mkdir(exist_ok=True)
    zipfile.time = Frozen
    for library in (keras, tf_keras):
        library.src.saving.saving_lib.datetime = SimpleNamespace(datetime=Frozen)
    for name in sys.argv[1:] or CASES:
        print(name, flush=True)
        make(name)
    for name, (source, change) in REWRITTEN.items():
        rewritten(source, name, change)
    for source, layer in CUDNN.items():
        make_cudnn(source, layer)


if __name__ == "__main__":
    main()
