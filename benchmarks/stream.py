"""What a step of the rain model takes, from C and from Python, beside onnxruntime and Keras's predict_on_batch.

    python benchmarks/stream.py        what is not installed (onnx and onnxruntime, TensorFlow's Keras) is left out

All in one process on one thread, the contestants in turn, round after round; of each the median round and the best.
Then, in fresh C processes: loading rain.keras, and the first step after it.
"""

import ctypes
import os
import shutil
import statistics
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

REPOSITORY = Path(__file__).resolve().parents[1]
RAIN = REPOSITORY / "examples" / "rain" / "rain.keras"
ROUNDS = 31

C = """
#include <cadenza.h>
#include <stdio.h>
#include <time.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + 1e-9 * t.tv_nsec; }
int steps(cadenza_stream *stream, size_t steps, const float *sample) {
    float answer[1];
    for (; steps; steps--) if (cadenza_stream_step(stream, sample, answer)) return 1;
    return 0;
}
int main(int count, char **path) {
    float sample[3] = {0.1f, 0.2f, 0.3f}, answer[1];
    cadenza_model *model; cadenza_stream *stream;
    double start = now();
    if (count < 2 || cadenza_model_load_file(path[1], NULL, &model)) return 1;
    double loaded = now();
    if (cadenza_stream_create(model, 1, &stream) || cadenza_stream_step(stream, sample, answer)) return 1;
    printf("%.9f %.9f\\n", loaded - start, now() - loaded);
    return 0;
}
"""


def compiled(folder):
    """The C above as a library for steps and as a program for loading; None without a compiler."""
    compiler = shutil.which("clang") or shutil.which("cc")
    library = next((path for path in map(Path, open("/proc/self/maps").read().split()) if "libcadenza" in path.name), None)
    if not compiler or not library:
        return None
    (folder / "stream.c").write_text(C)
    command = [compiler, "-O2", f"-I{REPOSITORY / 'include'}", folder / "stream.c", library, f"-Wl,-rpath,{library.parent}"]
    subprocess.run([*command, "-shared", "-fPIC", "-o", folder / "stream.so"], check=True)
    subprocess.run([*command, "-o", folder / "stream"], check=True)
    return ctypes.CDLL(str(folder / "stream.so")), folder / "stream"


def onnx_step(weights):
    """The model's step as an ONNX graph with its states as inputs and outputs; None where onnxruntime is not installed."""
    try:
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        return None
    nodes, constants, states, previous = [], [], [], "x"

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    for layer, units in enumerate((32, 16)):
        kernel, recurrent, bias = (np.split(value, 4, axis=-1) for value in weights[3 * layer : 3 * layer + 3])
        i, f, c, o = range(4)  # Keras's order; ONNX has i o f c
        merged = [np.concatenate([gates[g] for g in (i, o, f, c)], axis=-1) for gates in (kernel, recurrent, bias)]
        names = [
            constant(f"W{layer}", merged[0].T[None]),
            constant(f"R{layer}", merged[1].T[None]),
            constant(f"B{layer}", np.concatenate([merged[2], np.zeros_like(merged[2])])[None]),
        ]
        outputs = ["", f"h{layer}_", f"c{layer}_"]
        nodes.append(helper.make_node("LSTM", [previous, *names, "", f"h{layer}", f"c{layer}"], outputs, hidden_size=units))
        nodes.append(helper.make_node("LeakyRelu", [f"h{layer}_"], [f"l{layer}"], alpha=0.3))
        states += [(f"h{layer}", units), (f"c{layer}", units)]
        previous = f"l{layer}"
    nodes.append(helper.make_node("Squeeze", [previous, constant("axis", np.array([0]))], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", constant("K", weights[6]), constant("b", weights[7])], ["sum"]))
    nodes.append(helper.make_node("Sigmoid", ["sum"], ["y"]))
    F = TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("x", F, [1, 1, 3])]
    inputs += [helper.make_tensor_value_info(name, F, [1, 1, units]) for name, units in states]
    outputs = [helper.make_tensor_value_info("y", F, [1, 1])]
    outputs += [helper.make_tensor_value_info(name + "_", F, [1, 1, units]) for name, units in states]
    graph = helper.make_graph(nodes, "step", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    carried = {name: np.zeros((1, 1, units), np.float32) for name, units in states}

    def step(sample):
        answer, *after = session.run(None, {"x": sample.reshape(1, 1, 3), **carried})
        carried.update(zip(carried, after))
        return answer

    return step


def main():
    model = cadenza.load(RAIN)
    samples = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    stream = model.stream()
    contests = {"Cadenza, Python": (lambda: [stream.step(sample) for sample in samples], len(samples))}

    folder = Path(tempfile.mkdtemp())
    c = compiled(folder)
    if c:
        own, many = model.stream(), 2000
        contests = {"Cadenza, C": (lambda: c[0].steps(own._handle, ctypes.c_size_t(many), samples.ctypes.data_as(ctypes.c_void_p)), many)} | contests

    step = onnx_step(model.get_weights())
    if step:
        ours, theirs = model.stream(), [step(sample)[0, 0] for sample in samples]
        difference = max(abs(ours.step(sample)[0] - other) for sample, other in zip(samples, theirs))
        assert difference < 1e-5, f"onnxruntime answers differently, by {difference}"
        contests["onnxruntime, Python"] = lambda: [step(sample) for sample in samples], len(samples)
    else:
        print("onnx or onnxruntime is not installed: left out")

    try:
        import keras

        whole, window = keras.saving.load_model(RAIN), samples[None, :7]
        contests["Keras, predict_on_batch of 7 days"] = lambda: [whole.predict_on_batch(window) for _ in range(4)], 4
    except ImportError:
        print("Keras or its backend is not installed: left out")

    times = {name: [] for name in contests}
    for number in range(ROUNDS + 1):  # the first warms up
        for name, (run, steps) in contests.items():
            start = time.perf_counter()
            run()
            if number:
                times[name].append((time.perf_counter() - start) / steps)
    fastest = statistics.median(times[next(iter(contests))])
    print(f"kernels: {cadenza.kernels.name()}; one step of the rain model, microseconds\n{'':36}    median      best")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"  {name:34} {median * 1e6:9.2f} {min(values) * 1e6:9.2f}  {median / fastest:9.1f} ×")

    if c:
        runs = [[float(part) for part in subprocess.run([c[1], RAIN], check=True, capture_output=True, text=True).stdout.split()] for _ in range(51)]
        load, first = (statistics.median(column) * 1e6 for column in zip(*runs))
        print(f"a fresh C process: rain.keras loaded in {load:.0f} µs, stream made and first step done {first:.0f} µs after it")
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
