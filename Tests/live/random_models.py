"""Random Keras models, for comparing Cadenza with Keras itself.

    drawn = random_model(seed)                        the same seed gives the same model; of at most 9 units a layer
    inputs = random_inputs(drawn.model, seed, batch=3, length=9)
    outputs = answers(drawn.model, inputs)            what Keras says, as a list of arrays

Needs keras (3.x), numpy and h5py. KERAS_BACKEND=numpy is the fastest here, because nothing is compiled anew
for every model and length (but Keras imports jax even then: it must be installed); jax and tensorflow work as well.

Left out, because Keras answers in several ways: masked steps under an initial state (Keras 3 forgets the mask),
and in an unrolled layer with zero_output_for_mask (backends differ). Tests/golden holds what TensorFlow answers.
"""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

CLASSES = 11  # tokens are 0 ... 10, and 0 is padding
FIXED_LENGTH = 6

CELL_ACTIVATIONS = ["tanh", "tanh", "tanh", "sigmoid", "relu", "softsign", "elu", "hard_tanh", "linear", "gelu"]
GATE_ACTIVATIONS = ["sigmoid", "sigmoid", "sigmoid", "hard_sigmoid", "tanh", "softsign", "hard_tanh"]
ACTIVATIONS = ["linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus",
               "softsign", "sigmoid", "hard_sigmoid", "hard_silu", "hard_tanh", "hard_shrink", "soft_shrink",
               "tanh_shrink", "sparse_plus", "sparse_sigmoid", "squareplus", "tanh", "log_sigmoid", "log_softmax",
               "softmax"]
MERGES = ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"]


if keras.backend.backend() == "numpy":
    # Keras takes a LayerNormalization's variance as E[x²] − E[x]² there, which loses up to two digits ("less numerically
    # stable", says its source). As TensorFlow takes it, Keras's float32 is as close to float64 as Cadenza's is.
    def moments(x, axes, keepdims=False, synchronized=False):
        axes = tuple(axes) if isinstance(axes, list) else axes
        return np.mean(x, axes, keepdims=keepdims), np.var(x, axes, keepdims=keepdims)

    keras.src.backend.nn.moments = moments


@dataclass
class Drawn:
    model: keras.Model
    streams: bool        # causal: the output at step t is that of the whole model on the first t + 1 steps
    length: int | None   # the only length the model takes; None: any, so that Keras can be asked about prefixes


def random_model(seed, most=9):
    keras.backend.clear_session()
    draw = Draw(seed, most)
    form = draw.one_of([draw.sequential, draw.sequential, draw.functional, draw.functional, draw.branches,
                        draw.encoder_decoder])
    model = form()
    randomize(model, draw.random)
    return Drawn(model, draw.streams, draw.length)


def random_inputs(model, seed, batch, length):
    """Arrays in the order of model.inputs; `length` is used where the model leaves it open."""
    random = np.random.default_rng([seed, batch, length])
    inputs = []
    for tensor in model.inputs:
        shape = [batch if i == 0 else length if size is None else size for i, size in enumerate(tensor.shape)]
        padding = random.random(shape[:2]) < random.choice([0.0, 0.2, 0.5])
        if tensor.dtype == "int32":
            values = random.integers(1, CLASSES, shape).astype("int32")
        else:
            values = random.standard_normal(shape).astype("float32")
        if len(shape) == 3 or tensor.dtype == "int32":
            values[padding] = 0
        inputs.append(values)
    return inputs


def answers(model, inputs):
    given = inputs if len(inputs) > 1 else inputs[0]
    if keras.backend.backend() == "tensorflow":
        # Not as a traced program: under a mask, Keras's TensorFlow loop fails at other lengths than the first (3.15).
        outputs = model(given, training=False)
    else:
        outputs = model.predict_on_batch(given)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [np.asarray(output) for output in outputs]


def randomize(model, random):
    """Every weight random, and moderate: signals neither die out nor saturate over some dozens of steps."""
    values = []
    for weight in model.weights:
        noise = random.standard_normal(weight.shape)
        if weight.name == "moving_variance":
            values.append(0.5 + random.random(weight.shape))
        elif weight.name in ("gamma", "embeddings"):
            values.append((weight.name == "gamma") + 0.5 * noise)
        elif len(weight.shape) == 2 and "kernel" in weight.name:
            values.append(0.7 * noise / np.sqrt(weight.shape[0]))
        else:
            values.append(0.3 * noise)
    model.set_weights(values)


class Draw:
    """One model's choices. Layers that look ahead clear `streams`."""

    def __init__(self, seed, most):
        self.random = np.random.default_rng(seed)
        self.most = most
        self.streams = True
        self.length = FIXED_LENGTH if self.chance(0.15) else None
        self.masked = False

    def chance(self, probability):
        return self.random.random() < probability

    def one_of(self, choices):
        return choices[self.random.integers(len(choices))]

    def size(self):
        return int(self.random.integers(2, self.most + 1))

    def activation(self):
        return self.one_of(ACTIVATIONS)

    # Layers

    def recurrent_options(self, gated):
        options = {"activation": self.one_of(CELL_ACTIVATIONS), "use_bias": self.chance(0.8)}
        if gated:
            options["recurrent_activation"] = self.one_of(GATE_ACTIVATIONS)
        if self.chance(0.3):
            options = {}  # the defaults are what most models have
        return options

    def cell(self):
        kind = self.one_of(["LSTM", "GRU", "SimpleRNN"])
        options = self.recurrent_options(gated=kind != "SimpleRNN")
        if kind == "GRU":
            options["reset_after"] = self.chance(0.5)
        return kind, options

    def recurrent(self, units=None, backwards=None, **options):
        """LSTM, GRU or SimpleRNN; or RNN over one of their cells, or over several."""
        units = units or self.size()
        if backwards is None:
            backwards = self.chance(0.08)
            self.streams &= not backwards
        options["go_backwards"] = backwards
        if self.length and self.chance(0.2):
            options["unroll"] = True
        elif self.chance(0.15):
            options["zero_output_for_mask"] = True
        kind, inner = self.cell()
        if self.chance(0.75):
            return getattr(layers, kind)(units, **inner, **options)
        cells = [getattr(layers, kind + "Cell")(units, **inner)]
        while self.chance(0.5):
            kind, inner = self.cell()
            cells.insert(0, getattr(layers, kind + "Cell")(self.size(), **inner))
        return layers.RNN(cells if len(cells) > 1 else cells[0], **options)

    def bidirectional(self, return_sequences):
        self.streams = False
        mode, units = self.one_of(["concat", "sum", "ave", "mul"]), self.size()
        options = {"return_sequences": return_sequences}
        forward = self.recurrent(units, backwards=False, **options)
        backward = self.recurrent(units, backwards=True, **options) if self.chance(0.4) else None
        return layers.Bidirectional(forward, merge_mode=mode, backward_layer=backward)

    def point(self):
        """A layer that treats every step by itself."""
        choices = [
            lambda: layers.Dense(self.size(), activation=self.activation(), use_bias=self.chance(0.8)),
            lambda: layers.TimeDistributed(layers.Dense(self.size(), activation=self.activation())),
            lambda: layers.TimeDistributed(keras.Sequential([
                layers.Dense(self.size(), activation=self.activation()), layers.LayerNormalization(),
                layers.Dense(self.size())])),
            lambda: layers.Activation(self.activation()),
            lambda: layers.LeakyReLU(negative_slope=0.1 + 0.4 * self.random.random()),
            lambda: layers.PReLU(shared_axes=[1]),
            lambda: layers.ELU(alpha=0.3 + self.random.random()),
            lambda: layers.ReLU(max_value=self.one_of([None, 1.3]), negative_slope=self.one_of([0.0, 0.2]),
                                threshold=self.one_of([0.0, 0.15])),
            lambda: layers.BatchNormalization(center=self.chance(0.7), scale=self.chance(0.7), epsilon=0.01),
            lambda: layers.LayerNormalization(center=self.chance(0.7), scale=self.chance(0.7)),
            lambda: self.one_of([layers.Dropout, layers.SpatialDropout1D, layers.GaussianNoise,
                                 layers.GaussianDropout, layers.AlphaDropout])(0.2),
        ]
        if not self.masked:  # under a mask, Keras's Softmax layer fails or mixes steps with features
            choices.append(layers.Softmax)
        return self.one_of(choices)()

    def sequence_layer(self):
        """A layer from a sequence to a sequence."""
        if self.chance(0.45):
            return self.recurrent(return_sequences=True)
        if self.chance(0.08):
            return self.bidirectional(return_sequences=True)
        if self.chance(0.12):
            return keras.Sequential([self.point(), self.recurrent(return_sequences=True), self.point()])
        return self.point()

    def sequence_layers(self, least=0):
        return [self.sequence_layer() for _ in range(self.random.integers(least, 4))]

    def ending(self):
        """Layers that end in a sequence, in its last answer, or in something that needs all of it."""
        head = [layers.Dense(self.size(), activation=self.activation())]
        if self.length and self.chance(0.4):
            self.streams = False
            return [layers.Flatten()] + head
        if self.chance(0.08):
            # At each step the decoder begins anew, with the encoder's answer so far, and may go backwards at will.
            decoder = self.recurrent(backwards=self.chance(0.2), return_sequences=True)
            return [self.recurrent(), layers.RepeatVector(4), decoder] + head
        if self.chance(0.08):
            return [self.bidirectional(return_sequences=False)] + head
        return [self.recurrent(return_sequences=self.chance(0.5))] + self.one_of([[], head])

    # Models

    def entrance(self):
        """An input and the layers that belong to it: tokens are embedded, padding is masked (or not)."""
        mask = self.chance(0.4)
        self.masked |= mask
        if self.chance(0.2):
            return keras.Input((self.length,), dtype="int32"), [
                layers.Embedding(CLASSES, self.size(), mask_zero=mask)]
        return keras.Input((self.length, self.size())), [layers.Masking()] if mask else []

    def sequential(self):
        entrance, first = self.entrance()
        return keras.Sequential([entrance, *first, *self.sequence_layers(), *self.ending()])

    def apply(self, x, chain):
        for layer in chain:
            x = layer(x)
        return x

    def functional(self):
        """Two ways through the middle, merged; several outputs; sometimes a layer used twice."""
        x, first = self.entrance()
        sequence = self.apply(x, first + self.sequence_layers())
        width = self.size()
        ways = [self.apply(sequence, [self.sequence_layer(), layers.Dense(width)]) for _ in range(2)]
        if self.chance(0.4):
            shared = self.recurrent(width, return_sequences=True)
            ways = [shared(way) for way in ways]
        merged = getattr(layers, self.one_of(MERGES))()(ways)
        outputs = [self.apply(merged, self.ending())]
        if self.chance(0.4):
            outputs.append(self.apply(merged, [self.point()]))
        if self.chance(0.3):
            outputs += self.recurrent(return_state=True, return_sequences=self.chance(0.5))(merged)
        return keras.Model(x, flat(outputs))

    def branches(self):
        """Two series come in side by side; the body is a model of its own, sometimes used for both."""
        (x, first_x), (y, first_y) = self.entrance(), self.entrance()
        width, inner = self.size(), self.size()
        a = self.apply(x, first_x + [layers.Dense(width)])
        b = self.apply(y, first_y + [layers.Dense(width)])
        inside = keras.Input((self.length, width))
        body = keras.Model(inside, self.apply(inside, self.sequence_layers(least=1) + [layers.Dense(inner)]))
        a = body(a)
        b = body(b) if self.chance(0.6) else layers.Dense(inner, activation=self.activation())(b)
        merged = getattr(layers, self.one_of(MERGES))()([a, b])
        return keras.Model([x, y], [self.apply(merged, self.ending()), merged])

    def encoder_decoder(self):
        """The decoder starts from the encoder's last states, and so waits for the whole source."""
        self.streams = False
        units = self.size()
        source, target = keras.Input((self.length, self.size())), keras.Input((self.length, self.size()))
        kind, options = self.cell()
        encoded, *states = getattr(layers, kind)(units, return_state=True, **options)(source)
        if self.chance(0.3):
            states = [layers.Dense(units, activation="tanh")(state) for state in states]
        decoded = getattr(layers, kind)(units, return_sequences=True, **options)(target, initial_state=states)
        return keras.Model([source, target], [self.apply(decoded, [self.point(), layers.Dense(3)]), encoded])


def flat(tensors):
    return [tensor for part in tensors for tensor in (part if isinstance(part, (list, tuple)) else [part])]
