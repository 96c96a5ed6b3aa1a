"""What TensorFlow's GradientTape says of nested and self-fed runs, as plain loops over Keras cells, row after row.

    outputs, by_model, by_x = nested_gradients(case)
    outputs, by_weight, by_primer, by_state = self_fed_gradients(case, taught)

Needs keras with the TensorFlow backend.
"""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from nested_cells import Stepped, randomize


@dataclass
class NestedCase:
    """A nested run in the words of `cadenza.nested`. factors: of the loss, (batch, outer steps, longest, width)."""

    a: Stepped
    b: Stepped
    head: keras.Model | None
    x: np.ndarray
    counts: np.ndarray
    policy: str
    feedback: bool
    upward: bool
    factors: np.ndarray


@dataclass
class SelfFedCase:
    """A self-fed run in the words of `cadenza.self_feeding`. factors: of the loss, (batch, steps, width)."""

    model: Stepped
    primer: np.ndarray
    targets: np.ndarray
    steps: int
    first: int
    size: int
    states: list
    factors: np.ndarray


def step(stepped, x, states):
    """As Stepped.step, on tensors [1, features]: the first head's output, new states."""
    after = []
    for layer in stepped.recurrent:
        size = len(np.atleast_1d(layer.cell.state_size))
        x, new = layer.cell.call(x, states[len(after) : len(after) + size])
        after += new if isinstance(new, (list, tuple)) else [new]
    return (stepped.heads[0](x) if stepped.heads else x), after


def zeros(stepped):
    return [tf.zeros((1, size)) for size in stepped.state_sizes]


def differentiated(models, watched, forward):
    """The outputs that forward(watched) makes, and the gradients of the loss that it makes too."""
    tensors = [tf.convert_to_tensor(value) for value in watched]
    variables = [[variable.value for variable in model.trainable_weights] for model in models]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        outputs, loss = forward(*tensors)
    by_model, by_tensor = tape.gradient(loss, [variables, tensors], unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return outputs, [[gradient.numpy() for gradient in model] for model in by_model], [gradient.numpy() for gradient in by_tensor]


def nested_gradients(case):
    """Series by row and outer step, and gradients: by model (a, b, and the head) its weights', and x's."""

    def forward(x):
        rows, loss = [], tf.constant(0.0)
        for row, counts in enumerate(case.counts):
            above, below, rows = zeros(case.a), zeros(case.b), [*rows, []]
            last = tf.zeros((1, case.b.sizes[0]))
            for i, count in enumerate(counts):
                sample = x[row : row + 1, i]
                ir, above = step(case.a, tf.concat([sample, last], 1) if case.upward else sample, above)
                series, fed = [], last if case.policy == "carry" else tf.zeros_like(last)
                if case.policy == "reset":
                    below = zeros(case.b)
                elif case.policy == "given" and count:
                    below = tf.split(case.head(ir[:, None])[:, 0] if case.head else ir, case.b.state_sizes, axis=1)
                for j in range(count):
                    last, below = step(case.b, tf.concat([ir, fed], 1) if case.feedback else ir, below)
                    fed = last
                    series.append(last.numpy()[0])
                    loss += tf.reduce_sum(last[0] * case.factors[row, i, j])
                rows[row].append(series)
        return rows, loss

    models = [case.a.model, case.b.model, *([case.head] if case.head else [])]
    outputs, by_model, (by_x,) = differentiated(models, [case.x], forward)
    return outputs, by_model, by_x


def self_fed_gradients(case, taught):
    """Outputs (batch, steps, width), and gradients: of the weights, of the primer, of each initial state. taught: (batch,
    steps), where a target goes in at the step instead of the output before."""

    def forward(primer, *states):
        rows, loss = [], tf.constant(0.0)
        for row in range(len(case.primer)):
            carried, outputs = [state[row : row + 1] for state in states], []
            for t in range(primer.shape[1]):
                output, carried = step(case.model, primer[row : row + 1, t], carried)
            outputs.append(output)
            for t in range(1, case.steps):
                fed = output[:, case.first : case.first + case.size]
                if taught[row, t]:
                    fed = tf.constant(case.targets[row : row + 1, t - 1])
                output, carried = step(case.model, fed, carried)
                outputs.append(output)
            loss += tf.reduce_sum(tf.concat(outputs, 0) * case.factors[row])
            rows.append([output.numpy()[0] for output in outputs])
        return np.array(rows), loss

    outputs, (by_weight,), (by_primer, *by_state) = differentiated([case.model.model], [case.primer, *case.states], forward)
    return outputs, by_weight, by_primer, by_state


# ── Random cases ────────────────────────────────────────────────────────────────────────────────────────────


class Draw:
    def __init__(self, seed):
        keras.backend.clear_session()
        self.random = np.random.default_rng(seed)

    def chance(self, share):
        return self.random.random() < share

    def one_of(self, *choices):
        return choices[self.random.integers(len(choices))]

    def size(self, most=6):
        return int(self.random.integers(1, most))

    def normal(self, *shape):
        return self.random.normal(size=shape).astype(np.float32)

    def recurrent(self, most=2):
        made = []
        for _ in range(self.random.integers(1, most + 1)):
            kind = self.one_of(layers.LSTM, layers.GRU, layers.SimpleRNN)
            options = {"reset_after": self.chance(0.5)} if kind is layers.GRU else {}
            made.append(kind(self.size() + 1, return_sequences=True, **options))
        return made

    def heads(self, width=None):
        return [layers.Dense(width or self.size(), activation=self.one_of(None, "tanh"))] if width or self.chance(0.5) else []


def nested_case(seed):
    draw = Draw(seed)
    policy, feedback, upward = ("carry", "reset", "given")[seed % 3], draw.chance(0.5), draw.chance(0.4)
    batch, outer, features = draw.size(4), draw.size(5), draw.size(5)
    below, below_heads = draw.recurrent(), draw.heads()
    width = below_heads[0].units if below_heads else below[-1].units
    states = sum(int(size) for layer in below for size in np.atleast_1d(layer.cell.state_size))
    exact = policy == "given" and draw.chance(0.5)
    a = Stepped(features + width * upward, draw.recurrent(), draw.heads(states if exact else None), draw.random)
    b = Stepped(a.sizes[0] + width * feedback, below, below_heads, draw.random)
    head = None
    if policy == "given" and not exact:
        head = keras.Sequential([keras.Input((None, a.sizes[0])), layers.Dense(states, activation="tanh")])
        randomize(head, draw.random)
    counts = draw.random.integers(0, 4, (batch, outer))
    if draw.chance(0.3):
        counts[:] = counts[0]
    counts[0, 0] += not counts.any()
    return NestedCase(a, b, head, draw.normal(batch, outer, features), counts, policy, feedback, upward,
                      draw.normal(batch, outer, 3, width))


def self_fed_case(seed):
    draw = Draw(seed)
    features, wider, steps, batch = draw.size(), draw.size(3) - 1, 2 + draw.size(), draw.size(4)
    model = Stepped(features, draw.recurrent(), draw.heads(features + wider), draw.random)
    first = int(draw.random.integers(0, wider + 1))
    states = [draw.normal(batch, size) * draw.one_of(0, 1) for size in model.state_sizes]
    return SelfFedCase(model, draw.normal(batch, draw.size(4), features), draw.normal(batch, steps, features), steps, first,
                       features, [np.float32(state) for state in states], draw.normal(batch, steps, features + wider))
