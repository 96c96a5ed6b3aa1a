"""From spelling to sound: each letter of a word drives a second model, which says as many phonemes as the letter has.

    python spelling.py [words]

Three small models, trained by train.py: "ahead" reads the word from its end, so that a letter's future is known; "letters"
reads it from its beginning, a letter at a time with what "ahead" says of the rest; and below it "sounds" gives phonemes, each
one fed back into it, until it gives STOP: the next letter's turn.
"""

import sys
from pathlib import Path

import numpy as np

import cadenza

HERE = Path(__file__).parent
LETTERS = "abcdefghijklmnopqrstuvwxyz'"
PHONEMES = (
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
).split()
STOP = len(PHONEMES)
MOST = 3  # phonemes of one letter
NAMES = "ahead", "letters", "sounds"


def numbers(words):
    """The words' letters as numbers, (words, longest), -1 behind a word's end; and their lengths."""
    lengths = np.array([len(word) for word in words])
    ids = np.full((len(words), lengths.max()), -1)
    for row, word in zip(ids, words):
        row[: len(word)] = [LETTERS.index(letter) for letter in word]
    return ids, lengths


def one_hot(ids, size):
    """Rows of zeros for -1."""
    return np.vstack([np.eye(size, dtype=np.float32), np.zeros((1, size), np.float32)])[ids]


def reverse(values, lengths):
    """Each row's first `length` steps in the opposite order; what is behind them is of no use."""
    places = np.maximum(lengths[:, None] - 1 - np.arange(values.shape[1]), 0)
    return np.take_along_axis(values, places[..., None], axis=1)


class Speller:
    """Says how words sound."""

    def __init__(self, ahead, letters, sounds):
        self.ahead, self.letters, self.sounds = ahead, letters, sounds

    @classmethod
    def load(cls, folder=HERE):
        return cls(*(cadenza.load(folder / f"{name}.safetensors") for name in NAMES))

    def __call__(self, words):
        """For each word a list of phonemes for each of its letters."""
        ids, lengths = numbers(words)
        letters = one_hot(ids, len(LETTERS))
        ahead = reverse(self.ahead.predict(reverse(letters, lengths)), lengths)
        below = cadenza.Level(
            self.sounds,
            feedback=cadenza.Feedback("sample", one_hot=STOP + 1),
            sampler=cadenza.sample.argmax(),
            stops=[cadenza.stop.token(STOP)],
            stopping="drop",
            state="carry",
            limit=MOST + 1,
        )
        nested = cadenza.Nested(self.letters, below, batch=len(words))
        nested.run(np.concatenate([letters, ahead], axis=-1), lengths=lengths)
        drawn = nested.drawn
        return [
            [[PHONEMES[int(one)] for one in drawn[row, step][:, 0]] for step in range(len(word))]
            for row, word in enumerate(words)
        ]


def main():
    words = [word.lower() for word in sys.argv[1:]] or ["cadenza", "rallentando", "scherzo", "arpeggio", "unfriended"]
    for word in words:
        if not word or not set(word) <= set(LETTERS):
            sys.exit(f"A word must have the letters a to z and ' only, and '{word}' has others.")
    for word, sounds in zip(words, Speller.load()(words)):
        below = [" ".join(phonemes) or "·" for phonemes in sounds]
        print("  ".join(f"{letter:{len(given)}}" for letter, given in zip(word, below)).rstrip())
        print("  ".join(f"{given:1}" for given in below) + "\n")


if __name__ == "__main__":
    main()
