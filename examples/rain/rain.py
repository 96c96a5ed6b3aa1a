"""Will it rain tomorrow? Streams the last days of Seattle's weather record through a trained Keras model.

    python rain.py [rain.keras | rain.h5]

Each day is one step: the three numbers that seattle_weather.csv has for it, divided by ten as in train.py. After
each day the model gives the probability of rain on the next one, and Keras's stored answer stands beside it.
"""

import csv
import sys
from pathlib import Path

import cadenza

HERE = Path(__file__).parent
TOLERANCE = 1e-5


def rows(name):
    with open(HERE / name, newline="") as file:
        return list(csv.DictReader(file))


def main():
    model = cadenza.load(sys.argv[1] if len(sys.argv) > 1 else HERE / "rain.keras")
    model.summary()

    expected = rows("expected.csv")
    weather = rows("seattle_weather.csv")[-len(expected) :]
    differences = []

    print("\ndate        rain tomorrow   Keras says")
    stream = model.stream()
    for day, answer in zip(weather, expected):
        _date, *measured = day.values()
        sample = [float(value) / 10 for value in measured]
        probability = stream.step(sample)[0]

        keras = float(answer["probability"])
        differences.append(abs(probability - keras))
        print(f"{answer['date']}  {probability:13.6f}   {keras:10.6f}")

    apart = sum(not difference <= TOLERANCE for difference in differences)
    if apart:
        sys.exit(f"\n{apart} of {len(differences)} days differ from Keras by more than {TOLERANCE:g}.")
    print(
        f"\nAll {len(differences)} days agree with Keras within {TOLERANCE:g}; "
        f"the largest difference is {max(differences):.2g}."
    )


if __name__ == "__main__":
    main()
