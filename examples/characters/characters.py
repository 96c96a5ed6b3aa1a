"""Writes on, character by character, as the first chapters of "Alice's Adventures in Wonderland" would.

    python characters.py [prompt [seed [temperature]]]

Each character is drawn from the model's answer to the one before. The same seed gives the same text, here and in
characters.c; temperature 0 takes the likeliest character each time.
"""

import sys
from pathlib import Path

import cadenza

HERE = Path(__file__).parent
LENGTH = 400


def main():
    prompt, seed, temperature = [*sys.argv[1:], *["alice ", "1", "0.5"][len(sys.argv) - 1 :]]
    vocabulary = sorted(set((HERE / "alice.txt").read_text()))
    if not prompt or not set(prompt) <= set(vocabulary):
        sys.exit("The prompt must have characters of alice.txt, and no others.")

    generator = cadenza.SelfFeeding(
        cadenza.load(HERE / "characters.keras"),
        feedback="sample",
        sampler=cadenza.sample.categorical(temperature=float(temperature)),
        seeds=[int(seed)],
    )
    generator.prime([vocabulary.index(character) for character in prompt])
    made = generator.run(LENGTH)
    print(prompt + "".join(vocabulary[int(drawn)] for drawn in made.drawn[0, :, 0]))
    print(f"\n{LENGTH} characters, {-made.log_probabilities.mean():.3f} nats each by the model's own count")


if __name__ == "__main__":
    main()
