"""Cadenza beside other libraries and the machine's limits: a table, a JSON file and a plot.

    make bench                      everything; BENCH=--quick takes a minute
    python benchmarks/bench.py [--quick] [--record] [--only rain,pool256]

Each contestant runs in a process of its own on as many cores as it has threads. They take turns, round after round. README.md
tells how to read the results; --record puts them there.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

import report
from workloads import RAIN_FILE, Workload, workloads

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
FOLDER = REPOSITORY / "build" / "bench"
PATIENCE = 300  # seconds without an answer, after which a contestant is given up
MEMORY, UPDATES = "memory", 5  # the question for it, and how many updates are made before it is answered
CLOSE = 1e-4  # answers agree, relative to the largest
CONTESTANTS = {
    "Limit": "limits",
    "Cadenza": "ours",
    "onnxruntime": "onnxruntime",
    "OpenVINO": "openvino",
    "LiteRT": "litert",
    "JAX": "jax",
    "TensorFlow": "tensorflow",
    "PyTorch": "torch",
}


# ── In a contestant's process ────────────────────────────────────────────────────────────────────────────


def work(pipe, module, threads):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    try:
        contestant = importlib.import_module(f"contestants.{module}")
    except ImportError as error:
        return pipe.send(str(error))
    pipe.send(None)
    gc.disable()
    entries = []
    while (message := pipe.recv()) is not None:
        try:
            if isinstance(message, Workload):
                make = getattr(contestant, message.kind, None)
                held = hold() if message.form else 0
                entries = make(message, threads) if make else []
                pipe.send([(entry.form, entry.answer) for entry in entries])
            elif message == MEMORY:
                for _ in range(UPDATES):
                    entries[0].run()
                pipe.send((status("VmHWM"), status("VmHWM") - held))
            else:
                pipe.send(measured(entries[message[0]], message[1]))
        except Exception:
            pipe.send(traceback.format_exc())


def hold():
    """Bytes that the process holds; the most that it held is counted from here."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def status(key):
    return next(int(line.split()[1]) * 1024 for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))


def measured(entry, seconds):
    """Median, p99 and p99.9 of a unit's seconds, and how many cores were busy."""
    if entry.time:
        times, cores = entry.time(), 1.0
    else:
        end = time.perf_counter() + seconds / 5  # its own data into the caches, its threads awake
        while time.perf_counter() < end:
            entry.run()
        times, start, busy = [], time.perf_counter(), time.process_time()
        while len(times) < 3 or time.perf_counter() - start < seconds:
            before = time.perf_counter()
            entry.run()
            times.append((time.perf_counter() - before) / entry.steps)
        cores = (time.process_time() - busy) / (time.perf_counter() - start)
    return *np.quantile(times, (0.5, 0.99, 0.999)).tolist(), cores


# ── In the command's ─────────────────────────────────────────────────────────────────────────────────────


class Worker:
    """A contestant with so many threads."""

    def __init__(self, name, module, threads, **environment):
        self.name, self.threads, self.made = name, threads, (name, module, threads, environment)
        environment = environment | {"OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
        kept = dict(os.environ)
        os.environ.update(environment, KERAS_BACKEND="tensorflow")
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, module, threads), daemon=True)
        self.process.start()
        theirs.close()
        os.environ.clear()
        os.environ.update(kept)

    def again(self):
        """The same in another process, when it is ready."""
        name, module, threads, environment = self.made
        other = Worker(name, module, threads, **environment)
        other.answer()
        return other

    def ask(self, message):
        with suppress(OSError):  # a process that has ended says so in its answer
            self.pipe.send(message)

    def answer(self):
        try:
            if not self.pipe.poll(PATIENCE):
                self.process.kill()
            return self.pipe.recv()
        except (EOFError, OSError):
            return "its process ended"


def compiled():
    """limits.c and steps.c, by the environment's names for contestants."""
    library = REPOSITORY / "build" / "libcadenza.so"
    clang = [os.environ.get("CC", "clang"), "-O3", "-Wall", f"-I{REPOSITORY / 'include'}"]
    linked = [HERE / "steps.c", library, f"-Wl,-rpath,{library.parent}"]
    made = {
        "CADENZA_BENCH_LIMITS": [HERE / "limits.c", "-march=native", "-ffp-contract=fast", "-pthread", "-shared", "-fPIC"],
        "CADENZA_BENCH_STEPS": [*linked, "-shared", "-fPIC"],
        "CADENZA_BENCH_FIRST": linked,
    }
    for name, command in made.items():
        os.environ[name] = str(FOLDER / name.rsplit("_", 1)[1].lower())
        subprocess.run([*clang, *command, "-o", os.environ[name]], check=True)


def started(kernels):
    """Workers that are ready, and why others are missing."""
    made = [Worker(name, module, threads) for name, module in CONTESTANTS.items() for threads in (1, 2)]
    made += [Worker(f"Cadenza {level}", "ours", threads, CADENZA_KERNELS=level) for level in kernels for threads in (1, 2)]
    ready, missing = [], {}
    for worker in made:
        if (error := worker.answer()) is None:
            ready.append(worker)
        else:
            missing[worker.name] = error
    return ready, missing


def prepared(workload, workers, notes):
    """Entries that can run this workload and give the answer that Cadenza gives."""
    asked = [worker for worker in workers if worker.threads in workload.threads]
    for worker in asked:
        worker.ask(workload)
    entries, wanted = [], None
    for worker in sorted(asked, key=lambda worker: worker.name != "Cadenza"):
        forms = worker.answer()
        if isinstance(forms, str):
            notes.append(f"{worker.name} on {workload.title}: {forms.strip().splitlines()[-1]}")
            continue
        for index, (form, answer) in enumerate(forms):
            wanted = answer if wanted is None else wanted
            if answer is not None and not (off := distance(answer, wanted)) <= CLOSE:
                notes.append(f"{worker.name}, {form}, on {workload.title} answers differently, by {off:.2g}: not measured")
            else:
                entries.append((worker, index, form))
    return entries


def distance(answer, wanted):
    return np.abs(answer - wanted).max() / np.abs(wanted).max() if answer.shape == wanted.shape else np.inf


def rounds(entries, number, seconds, notes):
    """Of every entry the least median, p99 and p99.9 of all rounds, and the cores that were busy."""
    figures = [[] for _ in entries]
    for _ in range(number):
        for kept, (worker, index, form) in zip(figures, entries):
            worker.ask((index, seconds))
            answer = worker.answer()
            if isinstance(answer, str):
                notes.append(f"{worker.name}, {form}: {answer.strip().splitlines()[-1]}")
            else:
                kept.append(answer)
    rows = []
    for kept, (worker, _, form) in zip(figures, entries):
        if kept:
            names = ("median", "p99", "p999")
            best = dict(zip(names, np.min(kept, axis=0)[:3].tolist()))
            rows.append({"contestant": worker.name, "form": form, "threads": worker.threads, **best, "cores": float(np.median(kept, axis=0)[3])})
    return rows


def remembered(rows, entries, workload, notes):
    """Adds to rows the most bytes that a process held which did nothing but some updates; and how many of them by those."""
    for row in rows:
        original = next(worker for worker, _, form in entries if (worker.name, worker.threads, form) == (row["contestant"], row["threads"], row["form"]))
        worker = original.again()
        for message in (replace(workload, form=row["form"]), MEMORY):
            worker.ask(message)
            answer = worker.answer()
        worker.ask(None)
        if isinstance(answer, str):
            notes.append(f"{worker.name}, {row['form']}, by itself: {answer.strip().splitlines()[-1]}")
        else:
            row["memory"], row["own_memory"] = answer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    parser.add_argument("--record", action="store_true", help="put table and plot into benchmarks/")
    parser.add_argument("--only", help="names of workloads, with commas between")
    options = parser.parse_args()
    number, seconds = (3, 0.04) if options.quick else (7, 0.15)

    FOLDER.mkdir(parents=True, exist_ok=True)
    compiled()
    import cadenza

    wanted = [Workload("machine", "this machine", "machine", unit="operation or byte", threads=(1, 2)), *workloads(cadenza.load(RAIN_FILE).get_weights())]
    if options.only:
        wanted = [workload for workload in wanted if workload.name in ("machine", *options.only.split(","))]
    kernels = [level for level in cadenza.kernels.available() if level != cadenza.kernels.name()]
    workers, missing = started(kernels)
    results = report.header(missing, cadenza.kernels.name(), CONTESTANTS.values())
    for workload in wanted:
        print(f"{workload.title} …", file=sys.stderr, flush=True)
        entries = prepared(workload, workers, results["notes"])
        rows = rounds(entries, number, seconds, results["notes"])
        if workload.unit == "update":
            remembered(rows, entries, workload, results["notes"])
        results["workloads"][workload.name] = {"title": workload.title, "unit": workload.unit, "rows": rows}
    for worker in workers:
        worker.ask(None)

    report.judge(results)
    (FOLDER / "bench.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    text = report.text(results)
    (FOLDER / "bench.md").write_text(text)
    print(text)
    report.plot(results, FOLDER / "bench.png")
    if options.record:
        report.record(text, FOLDER / "bench.png", HERE)


if __name__ == "__main__":
    main()
