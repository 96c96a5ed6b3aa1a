"""examples/spelling: what its kept models say, and the parts that trained them."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from conftest import REPOSITORY

SAID = {
    "knightly": "N AY T L IY",
    "mixtures": "M IH K S CH ER Z",
    "autograph": "AO T OW G R AE F",
    "psychology": "S AY K AA L AH JH IY",
    "scherzo": "SH EH R Z OW",
    "don't": "D OW N T",
}


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "examples" / "spelling")
    return importlib.import_module


def test_what_the_kept_models_say(example):
    speller = example("spelling").Speller.load()
    together = speller(list(SAID))
    assert [" ".join(sum(sounds, [])) for sounds in together] == list(SAID.values())
    assert together == [speller([word])[0] for word in SAID]
    assert together[1] == [["M"], ["IH"], ["K", "S"], ["CH"], [], ["ER"], [], ["Z"]]


def test_letters_and_phonemes_find_each_other(example):
    """Words of a language in which each letter has its sounds: x two, e none, u three, the others one."""
    align = example("align")
    sounds = {"a": ["AE"], "b": ["B"], "t": ["T"], "x": ["K", "S"], "e": [], "u": ["Y", "UW", "L"], "m": ["M"]}
    random = np.random.default_rng(1)
    words = ["b" + "".join(random.choice(list(sounds), random.integers(1, 8))) for _ in range(400)]
    pairs = [(word, [sound for letter in word for sound in sounds[letter]]) for word in words]
    found = align.Alignment(pairs).best([*pairs, ("e", ["AE"] * 4)])
    for word, parts in zip(words, found):
        assert [[align.PHONEMES[number] for number in part] for part in parts] == [sounds[letter] for letter in word]
    assert found[-1] == []  # no letter gives four


def test_gradients_go_through_all_three_models(example):
    train = example("train")
    models = train.build()
    training = train.Training(models, updates=1)
    examples = [train.Example("axe", [[3], [20, 29], []]), train.Example("be", [[7], [17]])]
    _, gradients = training.gradients(examples)
    step = 1e-2
    for model, found in zip(models, gradients, strict=True):
        before = model.get_weights()
        length = np.sqrt(sum(np.sum(gradient**2) for gradient in found.values()))
        losses = []
        for sign in (1, -1):
            for name, value in zip(found, before, strict=True):
                model.weights[name] = value + sign * step / length * found[name]
            losses.append(training.gradients(examples)[0])
        model.set_weights(before)
        assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(length, rel=1e-2)


def test_training_begins_to_work(example):
    train = example("train")
    models = train.build()
    training = train.Training(models, updates=200)
    examples = [train.Example(word, [[train.LETTERS.index(letter)] for letter in word]) for word in ("abc", "cab", "bca", "ac")]
    losses = [training.update(examples) for _ in range(200)]
    assert losses[-1] < 0.1 * losses[0]
    said = train.Speller(*models)(["abc", "ca"])
    names = example("spelling").PHONEMES
    assert said == [[[names[0]], [names[1]], [names[2]]], [[names[2]], [names[0]]]]
