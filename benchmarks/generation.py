"""How long a generator's step takes, beside loops in Keras, TensorFlow and onnxruntime over the same weights.

    python benchmarks/generation.py            numpy and cadenza; whatever else is installed is measured too

Three measurements, all in one process on one thread, the contestants in turn, round after round; of each the best
round counts:

    sine         LSTM 128, Dense 1: closed-loop steps of one row
    characters   Embedding 64, LSTM 128 twice, Dense 64: a class drawn and fed back, one row
    nested       A and B LSTM 128, 32 rows, 10 outer steps of 0 to 9 inner ones: time for each inner step of a row
"""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ[name] = "1"
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cadenza  # noqa: E402
import numpy as np  # noqa: E402
from cadenza import Feedback, Level, Nested, SelfFeeding, sample  # noqa: E402

HERE = Path(__file__).parent
ROUNDS = 7
STEPS, BATCH, OUTER, UNITS, CLASSES = 200, 32, 10, 128, 64
LSTM = ("LSTM", {"units": UNITS, "return_sequences": True})


def randomized(model, seed):
    random = np.random.default_rng(seed)
    model.set_weights([random.normal(scale=0.3 / np.sqrt(max(1, one.shape[0])), size=one.shape) for one in model.get_weights()])
    return model


sine = randomized(cadenza.build(None, 1, [LSTM, ("Dense", {"units": 1, "activation": "tanh"})]), 1)
characters = randomized(cadenza.build(None, None, [("Embedding", {"input_dim": CLASSES, "output_dim": CLASSES}), LSTM, LSTM,
                                                   ("Dense", {"units": CLASSES})]), 2)
a, b = randomized(cadenza.build(None, 8, [LSTM]), 3), randomized(cadenza.build(None, UNITS, [LSTM]), 4)
x = np.random.default_rng(5).normal(size=(BATCH, OUTER, 8)).astype(np.float32)
counts = np.random.default_rng(6).integers(0, 10, (BATCH, OUTER))
contests = {"sine": {}, "characters": {}, "nested": {}}  # name: a function that makes the steps, and how many it makes


# ── Cadenza from Python ──────────────────────────────────────────────────────────────────────────────────

closed = SelfFeeding(sine)
drawing = SelfFeeding(characters, feedback="sample", sampler=sample.categorical(temperature=0.8))
nested = Nested(a, Level(b, counted=True), batch=BATCH)
contests["sine"]["Cadenza, Python, run"] = lambda: closed.run(STEPS), STEPS
contests["characters"]["Cadenza, Python, run"] = lambda: drawing.run(STEPS), STEPS
contests["sine"]["Cadenza, Python, next"] = lambda: [closed.next() for _ in range(STEPS)], STEPS
contests["characters"]["Cadenza, Python, next"] = lambda: [drawing.next() for _ in range(STEPS)], STEPS
contests["nested"]["Cadenza, Python"] = lambda: nested.run(x, counts=counts), int(counts.sum())


# ── Cadenza from C: generation.c, compiled as a library ──────────────────────────────────────────────────


def add_c():
    compiler = shutil.which("cc") or shutil.which("clang")
    folder = Path(tempfile.mkdtemp())
    library = next((path for path in map(Path, open("/proc/self/maps").read().split()) if "libcadenza" in path.name), None)
    if not compiler or not library:
        return
    (folder / "generation.c").write_text(C)
    include = HERE.parent / "include"
    made = subprocess.run([compiler, "-O2", "-shared", "-fPIC", f"-I{include}", folder / "generation.c", library,
                           f"-Wl,-rpath,{library.parent}", "-o", folder / "generation.so"], capture_output=True, text=True)
    if made.returncode:
        return print(made.stderr)
    c = ctypes.CDLL(str(folder / "generation.so"))
    shutil.rmtree(folder)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (x, counts.astype(np.uintp))]
    keep = counts.astype(np.uintp)
    pointers[1] = keep.ctypes.data_as(ctypes.c_void_p)
    contests["sine"]["Cadenza, C"] = lambda: c.steps(closed._handle, ctypes.c_size_t(STEPS)), STEPS
    contests["characters"]["Cadenza, C"] = lambda: c.steps(drawing._handle, ctypes.c_size_t(STEPS)), STEPS
    contests["nested"]["Cadenza, C"] = lambda _=keep: c.nested(nested._handle, ctypes.c_size_t(OUTER), *pointers), int(counts.sum())


C = """
#include <cadenza.h>
static float values[512 * 128], drawn[512];
int steps(cadenza_selffeeding *generator, size_t steps) {
    for (; steps; steps--)
        if (cadenza_selffeeding_run(generator, 1, 0, values, drawn, 0, 0)) return 1;
    return 0;
}
int nested(cadenza_nested *nested, size_t outer, const float *x, const size_t *counts) {
    size_t count = 512;
    if (cadenza_nested_push(nested, outer, x, 0, counts, 1)) return 1;
    while (count == 512) if (cadenza_nested_pull(nested, 512, values, 0, 0, &count)) return 1;
    return 0;
}
"""


# ── Loops over Keras's cells, one call after another and compiled by TensorFlow ──────────────────────────


def add_keras():
    try:
        import keras
        import tensorflow as tf
    except ImportError:
        return print("TensorFlow is not installed: no Keras loops")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    layers = keras.layers

    def cells(model, inputs, kinds):
        made = [layers.LSTMCell(UNITS) if kind == "lstm" else kind for kind in kinds]
        net = keras.Sequential([inputs, *(layers.RNN(one, return_sequences=True) if isinstance(one, layers.LSTMCell) else one for one in made)])
        net.set_weights(model.get_weights())
        return made

    lstm, dense = cells(sine, keras.Input((None, 1)), ["lstm", layers.Dense(1, activation="tanh")])
    embedding, one, two, logits = cells(characters, keras.Input((None,)), [layers.Embedding(CLASSES, CLASSES), "lstm", "lstm", layers.Dense(CLASSES)])
    (above,), (below,) = cells(a, keras.Input((None, 8)), ["lstm"]), cells(b, keras.Input((None, UNITS)), ["lstm"])
    zero = lambda rows: (tf.zeros((rows, UNITS)), tf.zeros((rows, UNITS)))  # noqa: E731

    def sine_step(value, states):
        output, states = lstm(value, states)
        return dense(output), states

    def character_step(ids, states):
        output, first = one(embedding(ids), states[:2])
        output, second = two(output, states[2:])
        drawn = tf.random.categorical(logits(output) / 0.8, 1, dtype=tf.int32)[:, 0]
        return drawn, (*first, *second)

    def loop(step, first, states, steps):
        for _ in range(steps):
            first, states = step(first, states)
        return first

    def compiled(step, first, states):
        @tf.function
        def run(value, *states):
            for _ in tf.range(STEPS):
                value, states = step(value, tuple(states))
                states = tuple(states)
            return value

        return lambda: run(first, *states)

    few = 40
    contests["sine"]["Keras cells, a Python loop"] = lambda: loop(sine_step, tf.zeros((1, 1)), zero(1), few), few
    contests["sine"]["Keras cells, tf.function"] = compiled(sine_step, tf.zeros((1, 1)), zero(1)), STEPS
    id0 = tf.zeros((1,), tf.int32)
    contests["characters"]["Keras cells, a Python loop"] = lambda: loop(character_step, id0, zero(1) * 2, few), few
    contests["characters"]["Keras cells, tf.function"] = compiled(character_step, id0, zero(1) * 2), STEPS

    tensor, numbers = tf.constant(x), tf.constant(counts)

    @tf.function
    def ragged(samples, numbers):
        """All rows to the longest run of each outer step; rows that are done keep their state."""
        up, down = zero(BATCH), zero(BATCH)
        made = tf.TensorArray(tf.float32, size=0, dynamic_size=True, element_shape=(BATCH, UNITS))
        place = 0
        for outer in tf.range(OUTER):
            ir, up = above(samples[:, outer], up)
            up = tuple(up)
            for inner in tf.range(tf.reduce_max(numbers[:, outer])):
                output, new = below(ir, down)
                runs = (tf.cast(inner, numbers.dtype) < numbers[:, outer])[:, None]
                down = (tf.where(runs, new[0], down[0]), tf.where(runs, new[1], down[1]))
                made = made.write(place, output)
                place += 1
        return made.stack()

    contests["nested"]["Keras cells, tf.function, padded"] = lambda: ragged(tensor, numbers), int(counts.sum())


# ── onnxruntime: one step as a graph, the loop in Python ─────────────────────────────────────────────────


def add_onnx():
    try:
        import onnx
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        return print("onnx or onnxruntime is not installed: not measured")

    def lstm(number, weights, source):
        kernel, recurrent, bias = weights
        order = [0, 3, 1, 2]  # ONNX has the gates i o f c, Keras i f c o
        gates = lambda array: np.concatenate([np.split(array, 4, axis=-1)[gate] for gate in order], axis=-1)  # noqa: E731
        tensors = {"W": gates(kernel).T[None], "R": gates(recurrent).T[None], "B": np.concatenate([gates(bias), np.zeros_like(bias)])[None]}
        names = [f"{key}{number}" for key in tensors]
        starts = [numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name) for name, value in zip(names, tensors.values())]
        node = helper.make_node("LSTM", [source, *names, "", f"h{number}", f"c{number}"], ["", f"h{number}_", f"c{number}_"], hidden_size=UNITS)
        return node, starts

    def session(nodes, starts, inputs, outputs):
        rank = lambda name: 2 if name == "y" or (name, TensorProto.INT64) in inputs else 3  # noqa: E731
        value = lambda name, kind: helper.make_tensor_value_info(name, kind, [None] * rank(name))  # noqa: E731
        graph = helper.make_graph(nodes, "step", [value(*one) for one in inputs], [value(one, TensorProto.FLOAT) for one in outputs], starts)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def dense(weights, source, activation):
        starts = [numpy_helper.from_array(np.ascontiguousarray(one), name) for one, name in zip(weights, ("K", "b"))]
        nodes = [helper.make_node("Squeeze", [source, "axis"], ["flat"]), helper.make_node("Gemm", ["flat", "K", "b"], ["y0"]),
                 helper.make_node(activation, ["y0"], ["y"])]
        return nodes, [*starts, numpy_helper.from_array(np.array([0]), "axis")]

    F, states = TensorProto.FLOAT, lambda count: [(f"{kind}{i}", TensorProto.FLOAT) for i in range(count) for kind in "hc"]  # noqa: E731
    after = lambda count: [f"{kind}{i}_" for i in range(count) for kind in "hc"]  # noqa: E731
    w = sine.get_weights()
    node, starts = lstm(0, w[:3], "x")
    nodes, more = dense(w[3:], "h0_", "Tanh")
    one_sine = session([node, *nodes], starts + more, [("x", F), *states(1)], ["y", *after(1)])
    w = characters.get_weights()
    node0, starts0 = lstm(0, w[1:4], "e")
    node1, starts1 = lstm(1, w[4:7], "h0_")
    nodes, more = dense(w[7:], "h1_", "Identity")
    gather = helper.make_node("Gather", ["E", "x"], ["e"])
    one_character = session([gather, node0, node1, *nodes], starts0 + starts1 + more + [numpy_helper.from_array(w[0], "E")],
                            [("x", TensorProto.INT64), *states(2)], ["y", *after(2)])
    random = np.random.default_rng(9)

    def run_sine():
        value, h, c = np.zeros((1, 1, 1), np.float32), *np.zeros((2, 1, 1, UNITS), np.float32)
        for _ in range(STEPS):
            value, h, c = one_sine.run(None, {"x": value.reshape(1, 1, 1), "h0": h, "c0": c})

    def run_characters():
        drawn, state = 0, list(np.zeros((4, 1, 1, UNITS), np.float32))
        for _ in range(STEPS):
            feeds = dict(zip(("x", "h0", "c0", "h1", "c1"), [np.array([[drawn]]), *state]))
            logits, *state = one_character.run(None, feeds)
            weights = np.exp((logits[0] - logits[0].max()) / 0.8)
            drawn = int(np.searchsorted(np.cumsum(weights), random.random() * weights.sum()))

    (node_a, starts_a), (node_b, starts_b) = lstm(0, a.get_weights(), "x"), lstm(0, b.get_weights(), "x")
    above = session([node_a], starts_a, [("x", F), *states(1)], after(1))
    below = session([node_b], starts_b, [("x", F), *states(1)], after(1))

    def run_nested():
        """Active rows picked out for each inner step."""
        h = c = np.zeros((1, BATCH, UNITS), np.float32)
        state, made = np.zeros((2, 1, BATCH, UNITS), np.float32), []
        for outer in range(OUTER):
            h, c = above.run(None, {"x": x[None, :, outer], "h0": h, "c0": c})
            for inner in range(counts[:, outer].max()):
                rows = np.flatnonzero(counts[:, outer] > inner)
                new = below.run(None, {"x": np.ascontiguousarray(h[:, rows]), "h0": state[0][:, rows], "c0": state[1][:, rows]})
                state[0][:, rows], state[1][:, rows] = new
                made.append(new[0])

    contests["sine"]["onnxruntime, a Python loop"] = run_sine, STEPS
    contests["characters"]["onnxruntime, a Python loop"] = run_characters, STEPS
    contests["nested"]["onnxruntime, a Python loop, active rows"] = run_nested, int(counts.sum())


def main():
    for add in (add_c, add_keras, add_onnx):
        add()
    best = {(contest, name): np.inf for contest, entries in contests.items() for name in entries}
    for _ in range(ROUNDS):
        for contest, entries in contests.items():
            for name, (run, steps) in entries.items():
                run()  # so that its own weights are in the caches, not the last one's
                start = time.perf_counter()
                run()
                best[contest, name] = min(best[contest, name], (time.perf_counter() - start) / steps)
    print(f"kernels: {cadenza.kernels.name()}; microseconds a step, and how many times the fastest")
    for contest, entries in contests.items():
        fastest = min(best[contest, name] for name in entries)
        print(f"\n{contest}" + (f", {int(counts.sum())} inner steps" if contest == "nested" else ""))
        for name in entries:
            print(f"  {name:42} {best[contest, name] * 1e6:10.2f}  {best[contest, name] / fastest:9.1f} ×")


if __name__ == "__main__":
    sys.exit(main())
