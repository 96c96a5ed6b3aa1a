"""onnxruntime: inputs, outputs and states bound to arrays that stay."""

import numpy as np
import onnxruntime

from workloads import TEMPERATURE

from . import Entry
from .graphs import Graph, stepped
from .loops import drawing, fed_back, streamed


def session(model, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def bound(session, inputs, outputs):
    """A run of the session from these arrays to those."""
    binding = session.io_binding()
    for names, bind in ((inputs, binding.bind_input), (outputs, binding.bind_output)):
        for name, array in names.items():
            bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    return lambda _=(inputs, outputs): session.run_with_iobinding(binding)


def stepper(workload, threads):
    """x, y, and the two runs that take turns: each from the states that the other one left."""
    model, x, sides, y = stepped(workload)
    one = session(model, threads)
    runs = [
        bound(one, {"x": x, **here}, {"y": y, **{name + "_": array for name, array in there.items()}})
        for here, there in (sides, sides[::-1])
    ]
    return x, y, runs


def step(workload, threads):
    return [streamed("Python, bound arrays", workload, *stepper(workload, threads))]


def sequence(workload, threads):
    x = np.ascontiguousarray(workload.x)
    y = np.empty((*x.shape[:2], workload.layers[-1][1]), np.float32)
    run = bound(session(Graph(workload, states=False).model(x, workload.rows), threads), {"x": x}, {"y": y})
    run()
    return [Entry("Python, bound arrays", run, workload.rows, y.transpose(1, 0, 2).copy())]


def sine(workload, threads):
    return [fed_back("a loop in Python", workload, *stepper(workload, threads))]


def characters(workload, threads):
    return [drawing("a loop in Python", workload, TEMPERATURE, *stepper(workload, threads))]
