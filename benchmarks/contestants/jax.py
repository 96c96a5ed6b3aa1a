"""JAX: jit, states donated, whole loops compiled."""

from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
from jax import numpy as jnp

from workloads import TEMPERATURE

from . import Entry, cells

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
