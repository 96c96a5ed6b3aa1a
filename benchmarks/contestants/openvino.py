"""OpenVINO: two requests that take turns, each writing the states that the other one reads."""

import numpy as np
import openvino

from workloads import TEMPERATURE

from . import Entry
from .graphs import Graph, stepped
from .loops import drawing, fed_back, streamed


def compiled(model, threads):
    core = openvino.Core()
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
    return core.compile_model(core.read_model(model.SerializeToString()), "CPU", options)


def request(model, inputs, outputs):
    made = model.create_infer_request()
    for name, array in inputs.items():
        made.set_tensor(name, openvino.Tensor(array, shared_memory=True))
    for name, array in outputs.items():
        made.set_tensor(name, openvino.Tensor(array, shared_memory=True))
    return lambda _=(inputs, outputs): made.infer()


def stepper(workload, threads):
    model, x, sides, y = stepped(workload)
    one = compiled(model, threads)
    runs = [
        request(one, {"x": x, **here}, {"y": y, **{name + "_": array for name, array in there.items()}})
        for here, there in (sides, sides[::-1])
    ]
    return x, y, runs


def step(workload, threads):
    return [streamed("Python, shared arrays", workload, *stepper(workload, threads))]


def sequence(workload, threads):
    x = np.ascontiguousarray(workload.x)
    y = np.empty((*x.shape[:2], workload.layers[-1][1]), np.float32)
    run = request(compiled(Graph(workload, states=False).model(x, workload.rows), threads), {"x": x}, {"y": y})
    run()
    return [Entry("Python, shared arrays", run, workload.rows, y.transpose(1, 0, 2).copy())]


def sine(workload, threads):
    return [fed_back("a loop in Python", workload, *stepper(workload, threads))]


def characters(workload, threads):
    return [drawing("a loop in Python", workload, TEMPERATURE, *stepper(workload, threads))]
