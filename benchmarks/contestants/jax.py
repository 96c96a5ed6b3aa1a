"""JAX: jit, states donated, whole loops compiled."""

from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
from jax import numpy as jnp

from workloads import RAIN, TEMPERATURE, shapes

from . import Entry, cells
from . import updates as arrays

functions = SimpleNamespace(
    matmul=jnp.matmul, concat=partial(jnp.concatenate, axis=-1), split=partial(jnp.split, axis=-1), sigmoid=jax.nn.sigmoid,
    tanh=jnp.tanh, softmax=jax.nn.softmax, maximum=jnp.maximum, take=lambda table, ids: table[ids],
)  # fmt: skip


def prepared(workload, rows):
    return jax.device_put(cells.merged(workload)), jax.device_put(cells.zeros(workload, rows))


def step(workload, _threads):
    weights, states = prepared(workload, workload.rows)
    one = jax.jit(partial(cells.step, functions, workload.layers), donate_argnums=2)
    kept = [states]

    def run():
        for sample in workload.x:
            y, kept[0] = one(weights, sample, kept[0])
            answer = np.asarray(y)
        return answer

    return [Entry("jit", run, len(workload.x) * workload.rows, run())]


def scanned(weights, x, h, c):
    """An LSTM over x [time, rows, features], its input part as one product."""
    kernel, inner, bias = weights

    def one(carried, inputs):
        h, c = carried
        i, f, g, out = jnp.split(inputs + h @ inner, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(out) * jnp.tanh(c)
        return (h, c), h

    return jax.lax.scan(one, (h, c), x @ kernel + bias)[1]


def sequence(workload, _threads):
    weights, x = jax.device_put(workload.weights), jax.device_put(workload.x)
    states = jax.device_put(cells.zeros(workload, workload.rows))
    whole = jax.jit(scanned)
    run = lambda: whole(weights, x, *states).block_until_ready()  # noqa: E731
    return [Entry("jit, scan", run, workload.rows, np.asarray(run()).transpose(1, 0, 2))]


def sine(workload, _threads):
    weights, states = prepared(workload, 1)

    @jax.jit
    def loop(weights, states):
        def one(number, carried):
            x, states, values = carried
            x, states = cells.step(functions, workload.layers, weights, x, states)
            return x, states, values.at[number].set(x[0])

        return jax.lax.fori_loop(0, workload.steps, one, (jnp.zeros((1, 1)), states, jnp.zeros((workload.steps, 1))))[2]

    run = lambda: loop(weights, states).block_until_ready()  # noqa: E731
    return [Entry("jit, fori_loop", run, workload.steps, np.asarray(run())[:100])]


def characters(workload, _threads):
    weights, states = prepared(workload, 1)
    one = partial(cells.step, functions, workload.layers)

    @jax.jit
    def loop(weights, states, key):
        def advance(number, carried):
            ids, states, drawn = carried
            y, states = one(weights, ids, states)
            ids = jax.random.categorical(jax.random.fold_in(key, number), jnp.log(y) / TEMPERATURE)
            return ids, states, drawn.at[number].set(ids[0])

        ids = jnp.zeros(1, jnp.int32)
        return jax.lax.fori_loop(0, workload.steps, advance, (ids, states, jnp.zeros(workload.steps, jnp.int32)))[2]

    key, answers, after = jax.random.key(0), [], states
    for number in range(8):
        y, after = one(weights, jnp.array([number]), after)
        answers.append(np.asarray(y[0]))
    return [Entry("jit, fori_loop", lambda: loop(weights, states, key).block_until_ready(), workload.steps, np.stack(answers))]


def training(workload, _threads):
    """Updates of the models in updates.py by Adam, compiled as one function, weights and moments donated."""
    made = {"training-rain": (rain_loss, (RAIN, 3), arrays.rain_x, arrays.rain_y),
            "training-sequence": (sequence_loss, ((("LSTM", 128), ("Dense", 64)), 64), arrays.sequence_x, arrays.sequence_y)}  # fmt: skip
    if workload.name not in made:
        return []
    loss, layers, x, y = made[workload.name]
    weights = [jax.random.normal(jax.random.key(number), shape) * 0.1 for number, shape in enumerate(shapes(*layers))]
    x, y = jax.device_put(x.transpose(1, 0, 2)), jax.device_put(y)

    @partial(jax.jit, donate_argnums=0)
    def update(kept, x, y):
        weights, means, squares, number = kept
        value, gradients = jax.value_and_grad(loss)(weights, x, y)
        rate = 1e-3 * jnp.sqrt(1 - 0.999**number) / (1 - 0.9**number)
        means = [m + 0.1 * (g - m) for m, g in zip(means, gradients)]
        squares = [v + 0.001 * (g * g - v) for v, g in zip(squares, gradients)]
        weights = [w - rate * m / (jnp.sqrt(v) + 1e-7) for w, m, v in zip(weights, means, squares)]
        return (weights, means, squares, number + 1), value

    kept = [(weights, *([jnp.zeros_like(weight) for weight in weights] for _ in range(2)), jnp.ones(()))]

    def run():
        kept[0], value = update(kept[0], x, y)
        return float(value)

    return [Entry("jit", run)]


def whole(weights, x):
    states = jnp.zeros((x.shape[1], weights[1].shape[0]))
    return scanned(weights, x, states, states)


def rain_loss(weights, x, y):
    leaky = partial(jax.nn.leaky_relu, negative_slope=0.3)
    logits = leaky(whole(weights[3:6], leaky(whole(weights[:3], x)))[-1]) @ weights[6] + weights[7]
    return jnp.mean(jnp.maximum(logits, 0) - logits * y + jnp.log1p(jnp.exp(-jnp.abs(logits))))


def sequence_loss(weights, x, y):
    scores = jax.nn.log_softmax(whole(weights[:3], x) @ weights[3] + weights[4])
    return -jnp.mean(jnp.take_along_axis(scores, y.T[..., None], axis=-1))
