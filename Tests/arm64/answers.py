"""Holds the answers of the library for arm64 against Keras's, and to the bit against those of this machine's kernels.

    python answers.py HERE THERE...     # answers.c for this machine; for arm64, behind the command that runs it
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

GOLDENS = Path(__file__).resolve().parent.parent / "golden" / "keras"
TOLERANCE = 1e-5


def arrays(stored, kind, is_time_major):
    names = sorted((name for name in stored if re.fullmatch(rf"{kind}_\d+", name)), key=lambda name: int(name.rsplit("_", 1)[1]))
    found = [np.asarray(stored[name], np.float32) for name in names]
    return [np.ascontiguousarray(value.swapaxes(0, 1)) for value in found] if is_time_major else found


def main():
    here, there = sys.argv[1:2], sys.argv[2:]
    models, worst = 0, 0.0
    for path in sorted(GOLDENS.glob("*.*")):
        if path.suffix not in (".keras", ".h5") or path.name.endswith((".weights.h5", ".old.h5")):
            continue
        golden = path.name.split(".")[0]
        with np.load(GOLDENS / f"{golden}.npz") as stored:
            inputs, expected = (arrays(stored, kind, golden == "time_major_k2") for kind in ("input", "output"))
        told = [str(path), str(len(inputs[0])), *(str(value.shape[1]) for value in inputs)]
        sent = b"".join(value.tobytes() for value in inputs)
        mine, theirs = (subprocess.run(command + told, input=sent, stdout=subprocess.PIPE, check=True).stdout for command in (here, there))
        if mine != theirs:
            sys.exit(f"{path.name}: other bits on arm64")
        found, place = np.frombuffer(theirs, np.float32), 0
        for value in expected:
            answer = found[place : place + value.size].reshape(value.shape)
            place += value.size
            finite = np.isfinite(value)
            np.testing.assert_array_equal(answer[~finite], value[~finite])
            if finite.any():
                worst = max(worst, np.abs(answer - value)[finite].max() / max(np.abs(value[finite]).max(), 1e-30))
        models += 1
    print(f"arm64: {models} models answer as here to the bit, and as Keras within {worst:.2g}")
    sys.exit(not (models > 50 and worst <= TOLERANCE))


if __name__ == "__main__":
    main()
