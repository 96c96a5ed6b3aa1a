"""TensorFlow: functions traced once, with and without XLA; and Keras as it is called."""

from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from workloads import RAIN_FILE, TEMPERATURE

from . import Entry, cells, updates

functions = SimpleNamespace(
    matmul=tf.matmul, concat=lambda parts: tf.concat(parts, -1), split=lambda x, parts: tf.split(x, parts, -1), sigmoid=tf.sigmoid,
    tanh=tf.tanh, softmax=tf.nn.softmax, maximum=tf.maximum, take=tf.gather,
)  # fmt: skip
FORMS = {"tf.function": False, "XLA": True}


def limit(threads):
    if tf.config.threading.get_intra_op_parallelism_threads() != threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def prepared(workload, rows):
    return [tf.constant(weight) for weight in cells.merged(workload)], tuple(tf.constant(state) for state in cells.zeros(workload, rows))


def step(workload, threads):
    limit(threads)
    weights, states = prepared(workload, workload.rows)
    entries = [stepping(form, xla, workload, weights, states) for form, xla in FORMS.items()]
    return entries + (predicted(workload.x) if workload.name == "rain" else [])


def stepping(form, xla, workload, weights, states):
    one = tf.function(lambda x, states: cells.step(functions, workload.layers, weights, x, states), jit_compile=xla)
    fixed = one.get_concrete_function(tf.TensorSpec(workload.x.shape[1:]), tuple(tf.TensorSpec(state.shape) for state in states))
    kept = [states]

    def run():
        for sample in workload.x:
            y, kept[0] = fixed(tf.constant(sample), kept[0])
            answer = y.numpy()
        return answer

    return Entry(form, run, len(workload.x) * workload.rows, run())


def predicted(x):
    """The window anew for each answer: what Keras has for a model that is not stateful."""
    import keras

    model, window = keras.saving.load_model(RAIN_FILE), np.ascontiguousarray(x.transpose(1, 0, 2))
    return [Entry("predict_on_batch of the window", lambda: model.predict_on_batch(window), 1, model.predict_on_batch(window))]


def sequence(workload, threads):
    import keras

    limit(threads)
    layer = keras.layers.LSTM(workload.layers[0][1], return_sequences=True)
    x = tf.constant(workload.x.transpose(1, 0, 2))
    layer(x)
    layer.set_weights(workload.weights)
    entries = []
    for form, xla in FORMS.items():
        whole = tf.function(layer, jit_compile=xla)
        entries.append(Entry(f"Keras's LSTM, {form}", lambda whole=whole: whole(x).numpy(), workload.rows, whole(x).numpy()))
    return entries


def sine(workload, threads):
    limit(threads)
    weights, states = prepared(workload, 1)

    def loop(states):
        def one(number, x, states, values):
            x, states = cells.step(functions, workload.layers, weights, x, states)
            return number + 1, x, states, values.write(number, x[0])

        values = tf.TensorArray(tf.float32, workload.steps, element_shape=(1,))
        more = lambda number, *_: number < workload.steps  # noqa: E731
        return tf.while_loop(more, one, (0, tf.zeros((1, 1)), states, values), maximum_iterations=workload.steps)[3].stack()

    return [looped(form, xla, loop, states, workload.steps, 100) for form, xla in FORMS.items()]


def looped(form, xla, loop, states, steps, compared):
    whole = tf.function(loop, jit_compile=xla)
    return Entry(f"tf.while_loop, {form}", lambda: whole(states).numpy(), steps, whole(states).numpy()[:compared])


def training(workload, threads):
    limit(threads)
    forms = {"TensorFlow, tf.function": "tf.function", "TensorFlow, jit_compile": "XLA", "Keras, train_on_batch": "Keras's train_on_batch"}
    return updates.entries(workload, forms)


def characters(workload, threads):
    limit(threads)
    weights, states = prepared(workload, 1)

    def loop(states):
        def one(number, ids, states, drawn):
            y, states = cells.step(functions, workload.layers, weights, ids, states)
            noise = -tf.math.log(-tf.math.log(tf.random.stateless_uniform(y.shape, [0, number], 1e-30)))
            ids = tf.argmax(tf.math.log(y) / TEMPERATURE + noise, -1, tf.int32)
            return number + 1, ids, states, drawn.write(number, ids)

        drawn = tf.TensorArray(tf.int32, workload.steps, element_shape=(1,))
        more = lambda number, *_: number < workload.steps  # noqa: E731
        return tf.while_loop(more, one, (0, tf.zeros(1, tf.int32), states, drawn), maximum_iterations=workload.steps)[3].stack()

    answers, after = [], states
    for number in range(8):
        y, after = cells.step(functions, workload.layers, weights, tf.constant([number]), after)
        answers.append(y[0].numpy())
    entries = [looped(form, xla, loop, states, workload.steps, 0) for form, xla in FORMS.items()]
    for entry in entries:
        entry.answer = np.stack(answers)
    return entries
