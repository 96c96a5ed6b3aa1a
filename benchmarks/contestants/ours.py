"""Cadenza: from C, called once for many steps or where one call is long, and from Python."""

import ctypes
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import cadenza
import numpy as np
from cadenza import _bindings as c

from workloads import RAIN_FILE, TEMPERATURE

from . import Entry, updates

steps = ctypes.CDLL(os.environ["CADENZA_BENCH_STEPS"])
OPTIONS = {"LSTM": ("units",), "GRU": ("units",), "LeakyReLU": ("negative_slope",), "Dense": ("units", "activation"), "Embedding": ("output_dim",)}


def built(workload):
    layers = []
    for kind, *values in workload.layers:
        options = dict(zip(OPTIONS[kind], values))
        options |= {"LSTM": {"return_sequences": True}, "GRU": {"return_sequences": True}, "Embedding": {"input_dim": workload.features}}.get(kind, {})
        layers.append((kind, options))
    model = cadenza.build(None, None if layers[0][0] == "Embedding" else workload.features, layers)
    model.set_weights(workload.weights)
    return model


def pointer(array):
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


def step(workload, threads):
    return one_row(workload) if workload.rows == 1 else pool(workload, threads)


def one_row(workload):
    model, x = built(workload), workload.x
    many = len(x) * max(1, int(workload.steps * 2e5 / workload.bytes))
    answer = np.empty((1, model.outputs[0].step_shape[-1]), np.float32)
    call, stream = stepping(steps.steps_make, model, many, x, answer)
    own, rows = model.stream(), list(x[:, 0])
    out = own.step(rows[0])
    return [
        Entry("C", lambda _=stream: call(), many, last(model, x)),
        Entry("Python", lambda: [own.step(row, out) for row in rows], len(x)),
    ]


def stepping(function, model, many, x, *results):
    """A call of a function in steps.c."""
    stream, size = model.stream(), ctypes.c_size_t
    arguments = [ctypes.c_void_p(stream.handle), size(many), pointer(x), size(len(x)), size(x.shape[-1])]
    arguments += [ctypes.c_void_p(array.ctypes.data) for array in results]

    def call(_keep=(stream, x, results)):
        if function(*arguments):
            raise RuntimeError("a step failed")

    return call, stream


def last(model, x):
    stream = model.stream()
    return [stream.step(row) for row in x[:, 0]][-1][None]


def pool(workload, threads):
    model, x = built(workload), np.ascontiguousarray(workload.x)
    pool = model.pool(threads)
    ids = np.array([pool.join() for _ in range(workload.rows)], np.uint64)
    answer = np.empty((workload.rows, model.outputs[0].step_shape[-1]), np.float32)
    calls = [(pool._handle, len(ids), ids.ctypes.data_as(c.IDS), pointer(row), pointer(answer)) for row in x]
    for arguments in calls:
        c.pool_step(*arguments)
    again = cycle(calls)
    return [Entry("C", lambda _=(pool, ids): c.pool_step(*next(again)), len(ids), answer.copy())]


def narrow(workload, _threads):
    model, x = built(workload), workload.x
    models = {"float32": model, "bf16": model.quantize("bf16"), "int8": model.quantize("int8")}
    answer = np.empty((1, workload.layers[-1][1]), np.float32)
    return [Entry(f"{name}, C", stepping(steps.steps_make, one, len(x), x, answer)[0], len(x)) for name, one in models.items()]


def sequence(workload, threads):
    model, x = built(workload), np.ascontiguousarray(workload.x.transpose(1, 0, 2))
    answer = np.empty((*x.shape[:2], workload.layers[-1][1]), np.float32)
    rows = len(x) // threads

    def part(first):
        c.model_run(model._handle, rows, x.shape[1], pointer(x[first:]), pointer(answer[first:]))

    together = in_parts(part, range(0, len(x), rows))
    together()
    return [Entry("C" if threads == 1 else "C, called on threads", together, len(x), answer.copy())]


def in_parts(part, firsts):
    """Calls for parts of the rows, on threads of the caller's."""
    if len(firsts) == 1:
        return lambda: part(firsts[0])
    others = ThreadPoolExecutor(len(firsts) - 1)

    def together():
        waiting = [others.submit(part, first) for first in firsts[1:]]
        part(firsts[0])
        for one in waiting:
            one.result()

    return together


def sine(workload, _threads):
    model = built(workload)
    generator = cadenza.SelfFeeding(model)
    values = np.empty((workload.steps, 1), np.float32)
    run = lambda: c.selffeeding_run(generator._handle, workload.steps, None, pointer(values), None, None, None)  # noqa: E731
    run()
    bare, _ = stepping(steps.steps_make, model, workload.steps, np.full((7, 1, 1), 0.1, np.float32), np.empty(1, np.float32))
    return [Entry("C, fed back", run, workload.steps, values[:100].copy()), Entry("C, bare steps", bare, workload.steps)]


def characters(workload, _threads):
    model = built(workload)
    options = {"feedback": "sample", "sampler": cadenza.sample.categorical(temperature=TEMPERATURE, from_probabilities=True)}
    generator = cadenza.SelfFeeding(model, **options)
    drawn = np.empty((workload.steps, 1), np.float32)
    run = lambda: c.selffeeding_run(generator._handle, workload.steps, None, None, pointer(drawn), None, None)  # noqa: E731
    stream = model.stream()
    answer = np.concatenate([stream.step(np.array([float(i % 50)], np.float32)).reshape(1, -1) for i in range(8)])
    generator.prime([0])
    return [Entry("C", run, workload.steps, answer)]


def nested(workload, threads):
    a, b = built(workload), built(workload.below)
    x, counts = np.ascontiguousarray(workload.x.transpose(1, 0, 2)), workload.counts
    rows = len(x) // threads
    values = [np.empty((int(counts[first : first + rows].sum()) + 1, 32), np.float32) for first in range(0, len(x), rows)]
    generators = [cadenza.Nested(a, cadenza.Level(b, counted=True), batch=rows) for _ in values]
    sizes = np.ascontiguousarray(counts, np.uintp)

    def part(number):
        first, count, place = number * rows, ctypes.c_size_t(), values[number]
        steps_of = sizes[first:].ctypes.data_as(ctypes.POINTER(ctypes.c_size_t))
        handle = generators[number]._handle
        c.nested_push(handle, x.shape[1], pointer(x[first:]), None, steps_of, 1)
        c.nested_pull(handle, len(place), pointer(place), None, None, ctypes.byref(count))

    generator = cadenza.Nested(a, cadenza.Level(b, counted=True), batch=len(x))
    answer = generator.run(x, counts=counts).values
    return [Entry("C" if threads == 1 else "C, called on threads", in_parts(part, range(len(values))), 1, np.asarray(answer))]


def training(workload, threads):
    return updates.entries(workload, {f"Cadenza, {threads} threads": "Python"})


def tail(workload, _threads):
    seconds = np.empty(1_000_000)
    call, _ = stepping(steps.steps_time, built(workload), len(seconds), workload.x, np.empty(1, np.float32), seconds)

    def time():
        call()
        return seconds

    return [Entry("C", None, time=time)]


def load(_workload, _threads):
    program = os.environ["CADENZA_BENCH_FIRST"]
    first = lambda: float(subprocess.run([program, RAIN_FILE], check=True, capture_output=True, text=True).stdout)  # noqa: E731
    return [Entry("C", None, time=lambda: np.array([first() for _ in range(25)]))]
