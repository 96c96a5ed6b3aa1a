"""A text in Morse code: one model reads letters, and each letter drives a second one, which gives its signs.

    python nested.py [text]

How many signs a letter has is the second model's business: it goes on until it gives the sign that ends a letter.
"""

import sys
from pathlib import Path

import cadenza

HERE = Path(__file__).parent
ALPHABET = " abcdefghijklmnopqrstuvwxyz"
SIGNS, END = ".-", 2


def main():
    text = (sys.argv[1] if len(sys.argv) > 1 else "down the rabbit hole").lower()
    if not set(text) <= set(ALPHABET):
        sys.exit("The text must have letters and spaces only.")
    nested = cadenza.Nested(
        cadenza.load(HERE / "letters.keras"),
        cadenza.Level(
            cadenza.load(HERE / "signs.keras"),
            feedback=cadenza.Feedback("sample", one_hot=3),
            sampler=cadenza.sample.argmax(),
            stops=[cadenza.stop.token(END)],
            stopping="drop",
            state="reset",
            limit=8,
        ),
    )
    ragged = nested.run([[ALPHABET.index(letter)] for letter in text])
    print(f"{ragged!r}\n")
    for letter, drawn, (reason, _) in zip(text, nested.drawn, nested.reasons(), strict=True):
        signs = "".join(SIGNS[int(sign)] for sign in drawn[:, 0])
        print(f"{letter}  {signs}" + ("   (cut by the limit)" if reason == "limit" else ""))
    print(f"\n{len(text)} letters, {len(ragged.values)} signs; the second model made {nested.steps()} steps.")


if __name__ == "__main__":
    main()
