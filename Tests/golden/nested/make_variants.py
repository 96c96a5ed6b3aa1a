"""Variants of the worked example, by a plain loop over Keras cells (Tests/live/nested_cells.py):

nested_variants.npz  the weights and x of nested_simple_rnn.npz, other endings: for each case CASE/lengths (batch, outer),
                     CASE/reasons (0 count, 1 limit, 2 rule) and CASE/out (outer, longest, batch, units), zero-padded;
                     dense_kernel and dense_bias, which the norm is taken behind
worked_example.h     both files' cases for the C tests
"""

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "numpy"
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "live"))

import nested_cells  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers  # noqa: E402

REASONS = ["count", "limit", "rule"]
given = np.load(HERE / "nested_simple_rnn.npz")
random = np.random.default_rng(3)


def cells(name):
    made = nested_cells.Stepped(4, [layers.SimpleRNN(4, return_sequences=True)], [], random)
    made.model.set_weights([given[f"{name}_{part}"] for part in ("kernel", "recurrent_kernel", "bias")])
    return made


def case(**options):
    return nested_cells.Case(cells("a"), cells("b"), given["x"], **options)


dense = nested_cells.dense(4, 3, random)
weights = dict(zip(("dense_kernel", "dense_bias"), dense[0].get_weights()))
cases = {
    "row_counts": case(counts=np.array([[3, 0, 2], [1, 4, 2]])),
    "norm": case(stops=[{"kind": "norm_above", "of": ("state", 0), "through": dense, "threshold": 2.0}], limit=9),
    "token": case(stops=[{"kind": "token", "of": ("output", 0), "element": 2}], limit=9),
}
made = {}
for name, one in cases.items():
    answer = nested_cells.run(one)
    lengths = np.array([[len(series) for series in row] for row in answer.series])
    out = np.zeros((3, lengths.max(), 2, 4), np.float32)
    for row, of_row in enumerate(answer.series):
        for outer, series in enumerate(of_row):
            out[outer, : len(series), row] = series
    print(name, lengths.tolist(), answer.reasons)
    made |= {f"{name}/lengths": lengths, f"{name}/out": out,
             f"{name}/reasons": np.array([[REASONS.index(reason) for reason, _ in row] for row in answer.reasons])}
np.savez_compressed(HERE / "nested_variants.npz", **weights, **made)


def c_array(name, array):
    kind, text = ("float", "{:.9g}f") if array.dtype == np.float32 else ("size_t", "{}")
    numbers = [text.format(value) for value in array.ravel().tolist()]
    numbers = [one.replace("f", ".0f") if kind == "float" and "." not in one and "e" not in one else one for one in numbers]
    return f"static const {kind} {name}[] = {{{', '.join(numbers)}}};"


lines = ["/* Written by make_variants.py: the worked example and its variants. Outputs are [outer][longest][batch][units]. */"]
for name in ("x", *(f"{model}_{part}" for model in "ab" for part in ("kernel", "recurrent_kernel", "bias"))):
    lines.append(c_array(name, given[name]))
lines += [c_array(name, array) for name, array in weights.items()]
for name in ("source", "reset", "zero", "ones", "allzero_first"):
    lines += [c_array(f"{name}_steps", given[f"{name}/steps"].astype(int)), c_array(f"{name}_out", given[f"{name}/out"])]
for name in cases:
    lines += [c_array(f"{name}_lengths", made[f"{name}/lengths"]), c_array(f"{name}_out", made[f"{name}/out"])]
(HERE / "worked_example.h").write_text("\n".join(lines) + "\n")
