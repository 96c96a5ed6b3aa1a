"""What the machine does at most: time to read a step's weights, or to make its multiply-adds."""

import ctypes
import os
from pathlib import Path

import numpy as np

from . import Entry

c = ctypes.CDLL(os.environ["CADENZA_BENCH_LIMITS"])
c.limits_multiply_add.restype = ctypes.c_double
SLOT = 5e-4  # seconds that one run takes, about


def cache_sizes():
    """Bytes of the first core's data caches, by level."""
    sizes = {}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        text = {name: (index / name).read_text().strip() for name in ("type", "level", "size")}
        if text["type"] != "Instruction":
            sizes[int(text["level"])] = int(text["size"].rstrip("K")) * 1024
    return sizes


def reading(size, steps_bytes=None):
    """An entry whose unit is reading `steps_bytes`, or one byte, in a region of `size`."""
    size = max(512, size // 512 * 512)
    room = np.ones(size + 4096, np.uint8)
    start = -(-room.ctypes.data // 4096) * 4096
    times = max(1, int(SLOT * 5e10 / size))
    run = lambda _=room: c.limits_read(ctypes.c_void_p(start), ctypes.c_size_t(size), ctypes.c_size_t(times))  # noqa: E731
    return run, size * times / (steps_bytes or 1)


def multiplying(threads, operations=1.0):
    made = c.limits_multiply_add(ctypes.c_double(SLOT * 5e10 * threads), threads)
    return lambda: c.limits_multiply_add(ctypes.c_double(SLOT * 5e10 * threads), threads), made / operations


def step(workload, threads):
    if workload.rows == 1:
        first = cache_sizes().get(1, 32768)
        inside = first * 3 // 4 if workload.bytes < first * 5 // 4 else workload.bytes
        return [Entry("reading the weights", *reading(inside, workload.bytes))]
    return [Entry("multiply-adds", *multiplying(threads, workload.operations))]


def sequence(workload, threads):
    return [Entry("multiply-adds", *multiplying(threads, workload.operations * workload.x.shape[0]))]


def nested(workload, threads):
    """The input part of the second model once for each outer step, its recurrent part for each inner one."""
    kernel, *others = [2 * weight.size for weight in workload.below.weights if weight.ndim > 1]
    operations = workload.counts.size * (workload.operations + kernel) + workload.counts.sum() * sum(others)
    return [Entry("multiply-adds", *multiplying(threads, float(operations)))]


def machine(_workload, threads):
    sizes = cache_sizes()
    regions = {f"L{level}": size // 2 for level, size in sorted(sizes.items())} | {"memory": 8 * max(sizes.values(), default=1 << 25)}
    entries = [Entry("multiply-adds", *multiplying(threads))]
    return entries + [Entry(f"reads from {name}", *reading(size)) for name, size in regions.items() if threads == 1]
