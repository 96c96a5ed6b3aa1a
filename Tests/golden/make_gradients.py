"""Writes gradients.npz beside this script: what TensorFlow's GradientTape says of random models and runs of generators.

    KERAS_BACKEND=tensorflow python make_gradients.py

Three arrays. "cases": JSON as bytes, a list of objects, each of which says what it is ("kind": "model", "nested",
"self_fed"), its options, its architectures as Keras writes them, and which arrays it has, as [name, shape, whether they are
answers]. "given": the numbers of those that are no answers, one after another in the order of the cases; they were rounded to
16 bits before anything was computed from them, so that they are here without loss, whoever draws them. "answers": what
TensorFlow says to them, in 32 bits. bindings/python/tests/test_golden_gradients.py reads it.

    model       weight …, input …, factor … (of each output in the loss) → output …, weight_gradient … (of the trainable
                ones, in their order), input_gradient … (zeros of ids)
    nested      a …, b …, head … (weights), x, counts, factor → series (the outputs, padded with zeros), a_gradient …,
                b_gradient …, head_gradient …, x_gradient
    self_fed    model … (weights), primer, targets, taught (by step: whether a target goes in), state …, factor → series,
                model_gradient …, primer_gradient, state_gradient …
"""

import json
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "live"))

import generator_gradients as generators
import gradients as live
import keras
import numpy as np
import random_models

MODELS, NESTED, SELF_FED = 220, 48, 24
UNITS, BATCH, LENGTH = 5, 2, 4


def halves(values):
    """As 16 bits hold them."""
    return np.asarray(values).astype(np.float16).astype(np.asarray(values).dtype)


class File:
    def __init__(self):
        self.cases, self.given, self.answers = [], [], []

    def add(self, kind, options, given, answers):
        """given, answers: pairs of names and arrays, or lists of arrays."""
        shapes = []
        for named, numbers, are_answers in ((given, self.given, False), (answers, self.answers, True)):
            for name, values in named:
                for value in values if isinstance(values, list) else [values]:
                    stored = np.asarray(value, np.float32 if are_answers else np.float16)
                    assert np.isfinite(stored).all() and (are_answers or np.array_equal(stored, value)), (kind, name)
                    shapes.append([name, list(stored.shape), are_answers])
                    numbers.append(stored.ravel())
        self.cases.append({"kind": kind, **options, "arrays": shapes})

    def write(self, path):
        cases = np.frombuffer(json.dumps(self.cases, separators=(",", ":")).encode(), np.uint8)
        np.savez_compressed(path, cases=cases, given=np.concatenate(self.given), answers=np.concatenate(self.answers))


def architecture(model):
    return json.loads(model.to_json())


def round_weights(*models):
    for model in models:
        model.set_weights([halves(weight) for weight in model.get_weights()])


def random_models_and_inputs():
    """Models, inputs, whether they run as in training."""
    for seed in range(MODELS):
        model = random_models.random_model(seed, most=UNITS).model
        yield model, random_models.random_inputs(model, seed, BATCH, LENGTH), False
    for seed in range(8):
        keras.backend.clear_session()
        layers = keras.layers
        model = keras.Sequential([
            keras.Input((LENGTH, 4)), *([layers.Masking()] if seed % 2 else []), layers.GRU(5, return_sequences=True),
            layers.BatchNormalization(scale=seed % 4 < 2), layers.LSTM(4, return_sequences=True), layers.LayerNormalization(),
            layers.BatchNormalization(trainable=seed < 6), layers.Dense(3, activation="gelu")])
        random_models.randomize(model, np.random.default_rng(seed))
        yield model, random_models.random_inputs(model, seed, 3, LENGTH), True


def add_models(file):
    for number, (model, inputs, training) in enumerate(random_models_and_inputs()):
        random = np.random.default_rng(number)
        round_weights(model)
        weights = model.get_weights()  # before a run in training mode moves statistics
        inputs = [halves(value) for value in inputs]
        factors = [halves(random.normal(size=output.shape).astype(np.float32)) for output in live.forward(model, inputs, False)]
        outputs, by_weight, by_input = live.gradients(model, inputs, factors, training)
        by_input = [np.zeros(value.shape) if gradient is None else gradient for value, gradient in zip(inputs, by_input)]
        file.add("model", {"training": training, "architecture": architecture(model)},
                 [("weight", weights), ("input", inputs), ("factor", factors)],
                 [("output", outputs), ("weight_gradient", by_weight), ("input_gradient", by_input)])


def add_nested(file):
    for seed in range(NESTED):
        case = generators.nested_case(seed)
        models = {"a": case.a.model, "b": case.b.model, **({"head": case.head} if case.head else {})}
        round_weights(*models.values())
        case.x, case.factors = halves(case.x), halves(case.factors)
        outputs, by_model, by_x = generators.nested_gradients(case)
        series = np.zeros((*case.counts.shape, case.counts.max(), case.b.sizes[0]), np.float32)
        for row, outer in np.ndindex(case.counts.shape):
            series[row, outer, : case.counts[row, outer]] = np.reshape(outputs[row][outer], (-1, series.shape[-1]))
        options = {"policy": case.policy, "feedback": case.feedback, "upward": case.upward}
        file.add("nested", {**options, "architectures": {name: architecture(model) for name, model in models.items()}},
                 [*((name, model.get_weights()) for name, model in models.items()), ("x", case.x), ("counts", case.counts),
                  ("factor", case.factors[:, :, : series.shape[2]])],
                 [("series", series), *((f"{name}_gradient", found) for name, found in zip(models, by_model)), ("x_gradient", by_x)])


def add_self_fed(file):
    for seed in range(SELF_FED):
        case = generators.self_fed_case(seed)
        round_weights(case.model.model)
        case.primer, case.targets, case.factors = halves(case.primer), halves(case.targets), halves(case.factors)
        case.states = [halves(state) for state in case.states]
        # Free-running, teacher forcing, and some steps of each.
        share = (0, 1, 0.5)[seed % 3]
        taught = np.random.default_rng(seed).random(case.steps) < share
        outputs, by_weight, by_primer, by_state = generators.self_fed_gradients(case, np.tile(taught, (len(case.primer), 1)))
        file.add("self_fed", {"steps": case.steps, "first": case.first, "size": case.size,
                              "architectures": {"model": architecture(case.model.model)}},
                 [("model", case.model.model.get_weights()), ("primer", case.primer), ("targets", case.targets), ("taught", taught),
                  ("state", case.states), ("factor", case.factors)],
                 [("series", outputs), ("model_gradient", by_weight), ("primer_gradient", by_primer), ("state_gradient", by_state)])


def main():
    file = File()
    for add in (add_models, add_nested, add_self_fed):
        add(file)
    file.write(HERE / "gradients.npz")
    print(f"{len(file.cases)} cases, {(HERE / 'gradients.npz').stat().st_size} bytes")


if __name__ == "__main__":
    main()
