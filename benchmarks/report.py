"""What comes of the results: verdicts, tables, a plot."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import time
from pathlib import Path

from targets import TARGETS, Figures

PACKAGES = {"litert": "ai-edge-litert", "tensorflow": "tensorflow-cpu"}
UNITS = ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
START = "## Results"
COLOURS = {"Cadenza": "#d1495b", "Limit": "#66a182"}


def header(missing, kernels, modules):
    versions = {}
    for module in modules:
        try:
            versions[module] = importlib.metadata.version(PACKAGES.get(module, module))
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"date": time.strftime("%Y-%m-%d"), "processor": processor(), "kernels": kernels, "versions": versions, "missing": missing,
            "notes": [], "workloads": {}}  # fmt: skip


def processor():
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def judge(results):
    """Adds the targets: value and verdict, None where something was not measured."""
    figures, results["targets"] = Figures(results), []
    for target in TARGETS:
        if target.workload not in results["workloads"]:
            continue
        try:
            value = target.figure(figures)
        except LookupError:
            value = None
        title = results["workloads"][target.workload]["title"]
        verdict = None if value is None else target.reached(value)
        results["targets"].append({"workload": title, "what": target.what, "bound": target.bound, "unit": target.unit, "value": value, "reached": verdict})


def duration(seconds):
    scale, unit = next(((scale, unit) for scale, unit in UNITS if seconds >= scale), UNITS[-1])
    return f"{seconds / scale:.3g} {unit}" if seconds < 100 * scale else f"{seconds / scale:.0f} {unit}"


def quantity(value, unit):
    if value is None:
        return "not measured"
    return f"{value:.1%}" if unit == "%" else f"{value:.3g} {unit}"


def table(heads, rows):
    return ["| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows)] + [""]


def text(results):
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [f"{results['date']}, {results['processor']}, kernels {results['kernels']}; {versions}.", ""]
    machine = {}
    for row in results["workloads"].get("machine", {}).get("rows", []):
        kind = "GFLOP/s of multiply-adds" if row["form"] == "multiply-adds" else f"GB/s {row['form']}"
        machine[kind, row["threads"]] = f"{1e-9 / row['median']:.0f} {kind}" + (f" on {row['threads']} threads" if row["threads"] > 1 else "")
    lines += ["This machine: " + "; ".join(machine.values()) + ".", ""]
    verdicts = {True: "yes", False: "**no**", None: ""}
    lines += table(["workload", "compared", "must reach", "measured", "reached"],
                   [[t["workload"], t["what"], t["bound"], quantity(t["value"], t["unit"]), verdicts[t["reached"]]] for t in results["targets"]])  # fmt: skip
    rows = []
    for name, workload in results["workloads"].items():
        if name == "machine":
            continue
        ours = least(workload)
        for row in sorted(workload["rows"], key=lambda row: (row["threads"], row["median"])):
            ratio = f"{row['median'] / ours[row['threads']]:.3g}" if row["threads"] in ours else ""
            rows.append([workload["title"], f"{row['contestant']}, {row['form']}", str(row["threads"]), duration(row["median"]), duration(row["p99"]), ratio])
    lines += table(["workload", "contestant", "threads", "median", "p99", "× Cadenza's"], rows)
    updates = [(workload, row) for workload in results["workloads"].values() for row in workload["rows"] if "memory" in row]
    if updates:
        lines += table(["workload", "contestant", "threads", "updates a second", "MB at most", "of them by the model and its updates"],
                       [[workload["title"], f"{row['contestant']}, {row['form']}", str(row["threads"]), f"{1 / row['median']:.4g}",
                         f"{row['memory'] / 1e6:.0f}", f"{row['own_memory'] / 1e6:.1f}"] for workload, row in updates])  # fmt: skip
    lines += [f"- {name} is missing: {why}" for name, why in results["missing"].items()]
    lines += [f"- {note}" for note in dict.fromkeys(results["notes"])]
    return "\n".join(lines).rstrip() + "\n"


def least(workload):
    """Cadenza's median by threads, from C with the kernels that it chooses."""
    ours = {}
    for row in workload["rows"]:
        if row["contestant"] == "Cadenza" and row["form"] != "C, bare steps":
            ours[row["threads"]] = min(row["median"], ours.get(row["threads"], row["median"]))
    return ours


def record(text, picture, folder):
    readme = folder / "README.md"
    before = readme.read_text().split(START)[0]
    readme.write_text(f"{before}{START}\n\n{text}\n![Medians of all contestants](bench.png)\n")
    shutil.copy(picture, folder)


def plot(results, path):
    """For each workload a bar for each contestant in its best form: how long it takes, over Cadenza."""
    try:
        from matplotlib import pyplot
    except ImportError:
        return print("matplotlib is not installed: no plot")
    panels = [(workload, threads) for name, workload in results["workloads"].items() if name != "machine" for threads in least(workload)]
    panels = [(workload, threads, best(workload, threads)) for workload, threads in panels]
    panels = [panel for panel in panels if len(panel[2]) > 2]
    if not panels:
        return
    columns = 2
    lines = -(-len(panels) // columns)
    figure, grid = pyplot.subplots(lines, columns, figsize=(13, 2.3 * lines), squeeze=False, layout="constrained", sharex=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (workload, threads, bars) in zip(grid.flat, panels):
        ours = least(workload)[threads]
        names = list(bars)
        ratios = [bars[name] / ours for name in names]
        drawn = axes.barh(names, ratios, color=[COLOURS.get(name, "#a9b4c2") for name in names], left=0)
        axes.bar_label(drawn, [f"{duration(bars[name])}" for name in names], padding=3, fontsize=8)
        axes.set(xscale="log", xlim=(0.2, 3000))
        axes.axvline(1, color="#444444", linewidth=0.8)
        axes.invert_yaxis()
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(f"{workload['title']}, {threads} thread{'s' * (threads > 1)}, time per {workload['unit']}", fontsize=9, loc="left")
    figure.suptitle(f"Time over Cadenza's (its own: 1); shorter is better. {results['processor']}, {results['date']}", fontsize=11)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def best(workload, threads):
    """The least median of each contestant, least first."""
    found = {}
    for row in sorted(workload["rows"], key=lambda row: row["median"]):
        if row["threads"] == threads and row["form"] != "C, bare steps":
            found.setdefault(row["contestant"], row["median"])
    return found
