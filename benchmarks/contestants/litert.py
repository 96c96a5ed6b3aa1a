"""LiteRT, on XNNPACK: one step, which TensorFlow converts."""

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from workloads import TEMPERATURE

from . import cells
from .loops import drawing, fed_back, streamed
from .tensorflow import functions


def stepper(workload, threads):
    """x, y, and a run that copies the states that it gave to where the next one reads them."""
    rows = workload.rows if workload.x.size else 1
    weights = [tf.constant(weight) for weight in cells.merged(workload)]
    ids = workload.layers[0][0] == "Embedding"
    shape = tf.TensorSpec((rows,), tf.int32, "x") if ids else tf.TensorSpec((rows, workload.features), name="x")
    place = []  # of the answer among the outputs
    names = [f"s{number}" for number in range(len(workload.states))]

    @tf.function(input_signature=[shape, *(tf.TensorSpec((rows, units), name=name) for name, units in zip(names, workload.states))])
    def one(x, *states):
        y, after = cells.step(functions, workload.layers, weights, x, states)
        own = [number for number, state in enumerate(after) if state is y]  # LiteRT gives one tensor one name
        place[:] = own or [len(after)]
        return after if own else (*after, y)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([one.get_concrete_function()], tf.Module())
    interpreter = Interpreter(model_content=converter.convert(), num_threads=threads)
    interpreter.allocate_tensors()
    # Named serving_default_x:0, and PartitionedCall:0, PartitionedCall:1 …
    places = {detail["name"].split("_")[-1].split(":")[0]: interpreter.tensor(detail["index"]) for detail in interpreter.get_input_details()}
    details = sorted(interpreter.get_output_details(), key=lambda detail: int(detail["name"].split(":")[1]))
    after = [interpreter.tensor(detail["index"]) for detail in details]
    answer = after[place[0]]
    before = [places[name] for name in names]
    for given in before:
        given()[...] = 0
    x = np.zeros((1, *shape.shape), shape.dtype.as_numpy_dtype)
    y = np.zeros((1, rows, workload.layers[-1][1]), np.float32)

    def run():
        places["x"]()[...] = x[0]
        interpreter.invoke()
        y[0] = answer()
        for given, made in zip(before, after):
            given()[...] = made()

    return x, y, [run]


def step(workload, threads):
    return [streamed("Python, XNNPACK", workload, *stepper(workload, threads))]


def sine(workload, threads):
    return [fed_back("a loop in Python", workload, *stepper(workload, threads))]


def characters(workload, threads):
    return [drawing("a loop in Python", workload, TEMPERATURE, *stepper(workload, threads))]
