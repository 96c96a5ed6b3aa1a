"""A sine that goes on by itself: a hundred samples in, then each answer is the next input.

    python sine.py

expected.csv has what Keras made in the same way, and the two are held against each other.
"""

import csv
import math
import sys
from pathlib import Path

import cadenza

HERE = Path(__file__).parent
TOLERANCE = 1e-5


def main():
    with open(HERE / "expected.csv", newline="") as file:
        expected = [float(row["value"]) for row in csv.DictReader(file)]
    generator = cadenza.SelfFeeding(cadenza.load(HERE / "sine.keras"))
    generator.prime([math.sin(10 * i / 99) for i in range(100)])
    made = generator.run(len(expected)).values[0, :, 0]

    for step in range(0, 200, 4):
        print(f"{step:5} {made[step]:9.5f} " + " " * round(20 + 20 * made[step]) + "*")
    difference = max(abs(ours - keras) for ours, keras in zip(made, expected, strict=True))
    if not difference <= TOLERANCE:
        sys.exit(f"\nThe {len(made)} steps differ from Keras's by {difference:.2g}, more than {TOLERANCE:g}.")
    print(f"\n{len(made)} steps agree with Keras's loop within {TOLERANCE:g}; the largest difference is {difference:.2g}.")


if __name__ == "__main__":
    main()
