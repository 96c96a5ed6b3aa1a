"""Whole runs of the library against loops of single steps: random models, policies and counts; threads; choices; dropout."""

from __future__ import annotations

import os

import numpy as np
import pytest
import step_loops
from conftest import assert_same_bits, randomized, samples

import cadenza

CELLS = [
    ("LSTM", {}),
    ("LSTM", {"activation": "softsign", "use_bias": False}),
    ("GRU", {}),
    ("GRU", {"reset_after": False, "recurrent_activation": "hard_sigmoid"}),
    ("SimpleRNN", {"activation": "elu"}),
]


def random_model(random, features: int, width: int, seed: int) -> cadenza.Model:
    """One to three recurrent layers with others before, between and behind them."""
    layers: list = []
    if random.random() < 0.3:
        layers.append(("Dense", {"units": 4, "activation": "tanh"}))
    if random.random() < 0.3:
        layers.append(("Masking", {"mask_value": 0.25}))
    for _ in range(random.integers(1, 4)):
        name, options = CELLS[random.integers(len(CELLS))]
        layers.append((name, {"units": int(random.integers(2, 7)), "return_sequences": True, **options}))
        if random.random() < 0.3:
            layers.append(("LayerNormalization", {}))
    if random.random() < 0.5:
        layers[-1] = (layers[-1][0], {**layers[-1][1], "return_sequences": False}) if "units" in layers[-1][1] else layers[-1]
    layers.append(("Dense", {"units": width, "activation": ["linear", "softmax", "sigmoid"][random.integers(3)]}))
    return randomized(cadenza.build(None, features, layers), seed)


def hold(found, expected, tolerance: float = 1e-5) -> None:
    """Gradients as large, and equal but for rounding."""
    largest = max([1e-3, *(np.abs(one).max(initial=0) for one in expected)])
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max(initial=0) <= tolerance * max(np.abs(other).max(initial=0), 0.05 * largest)


def gradients(values) -> list[np.ndarray]:
    return [value.gradient for value in values]


@pytest.mark.parametrize("seed", range(40))
def test_nested_is_its_steps(seed):
    random = np.random.default_rng(seed)
    batch, outer, width, answer = int(random.integers(1, 7)), int(random.integers(1, 6)), int(random.integers(1, 4)), int(random.integers(1, 5))
    policy = ["carry", "reset", "given"][seed % 3]
    feedback, upward = bool(seed // 3 % 2), bool(seed // 6 % 2)
    second = random_model(random, answer + width * feedback, width, seed + 1)
    units = sum(state.units for state in second.states)
    head = None
    if policy == "given":
        head = randomized(cadenza.build(None, answer, [("Dense", {"units": units, "activation": "tanh"})]), seed + 2)
    first = random_model(random, 3 + width * upward, answer, seed + 3)
    x = samples(batch, outer, 3, seed=seed)
    x[random.random(x.shape[:2]) < 0.2] = 0.25
    counts = random.integers(0, 5, (batch, outer)) * (random.random((batch, outer)) < 0.8)
    models = [first, second, *([head] if head else [])]
    steps = cadenza.Unrolled(*models)
    chooses, straight = feedback and seed % 2 == 1, seed % 4 == 1
    choose = (lambda values: np.eye(width)[values.argmax(axis=1)]) if chooses else None
    outputs, xs, answers, carried = step_loops.nested(
        steps, first, second, x, counts, policy, head, feedback, upward, choose, straight
    )
    runs = [
        cadenza.nested(
            cadenza.Unrolled(*models, threads=threads), first, second, x, counts, policy, head, feedback, upward,
            choice="largest" if chooses else None, straight_through=chooses and straight,
        )
        for threads in (1, 2)
    ]
    assert_same_bits(runs[0].flat, runs[1].flat)
    for i, series in enumerate(outputs):
        assert_same_bits(runs[0].ir[i].array, answers[i].array)
        for j, value in enumerate(series):
            assert_same_bits(runs[0].outputs[i][j].array, value.array)
            for key, state in carried[i][j].items():
                there = counts[:, i] > j
                assert_same_bits(runs[0].carried[i][j][key].array[there], state.array[there])
                if policy != "reset" or there.all():
                    assert_same_bits(runs[0].carried[i][j][key].array, state.array)
    # A loss of outputs, and in half of the cases of answers and states too.
    factor = [[random.normal(size=value.array.shape) * (counts[:, i] > j)[:, None] for j, value in enumerate(series)]
              for i, series in enumerate(outputs)]
    more = [random.normal(size=answers[0].array.shape) for _ in answers] if seed % 2 else []
    key = second.states[0].key

    def loss(outputs, answers, carried):
        pairs = [(value, factor[i][j]) for i, series in enumerate(outputs) for j, value in enumerate(series)]
        if more:
            pairs += [(value, one) for value, one in zip(answers, more)]
            pairs += [(states[key], np.ones_like(states[key].array)) for series in carried for states in series[-1:]]
        return pairs

    expected = steps.backward(loss(outputs, answers, carried))
    found = [run.run.backward(loss(run.outputs, run.ir, run.carried)) for run in runs]
    for one, other in zip(step_loops.weight_gradients(found[0]), step_loops.weight_gradients(found[1]), strict=True):
        assert_same_bits(one, other)
    hold(step_loops.weight_gradients(found[0]), step_loops.weight_gradients(expected))
    hold(gradients(runs[0].x), gradients(xs))
    hold(gradients(runs[0].ir), gradients(answers))
    if not more:
        padded = runs[1].padded()
        gradient = np.zeros_like(padded)
        for i, series in enumerate(factor):
            for j, one in enumerate(series):
                gradient[:, i, j] = one
        for one, other in zip(step_loops.weight_gradients(runs[1].backward(gradient)), step_loops.weight_gradients(found[1])):
            assert_same_bits(one, other)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
@pytest.mark.parametrize("policy", ["carry", "reset", "given", "feedback", "self_feeding"])
def test_threads_with_work_to_do(cell, policy):
    """Runs large enough that threads are woken: the same bits with any number of them, and where they have to share a processor."""
    first = cadenza.build(None, 5, [("Masking", {"mask_value": 0.25}), (cell, {"units": 40}), ("Dense", {"units": 6})], seed=1)
    below = [(cell, {"units": 33}), ("Dense", {"units": 5})]
    second = cadenza.build(None, 6 + 5 * (policy == "feedback"), below, seed=2)
    states = sum(state.units for state in second.states)
    head = cadenza.build(None, 6, [("Dense", {"units": states, "activation": "tanh"})], seed=3) if policy == "given" else None
    alone = cadenza.build(None, 5, below, seed=4)
    random = np.random.default_rng(5)
    x, counts = samples(66, 12, 5, seed=6), random.integers(0, 9, (66, 12))
    x[random.random(x.shape[:2]) < 0.2] = 0.25
    models = [alone] if policy == "self_feeding" else [first, second, *([head] if head else [])]

    def bits(threads):
        run = cadenza.Unrolled(*models, threads=threads)
        if policy == "self_feeding":
            made = cadenza.self_feeding(run, alone, x, 20, x.repeat(2, axis=1), lambda step: float(step % 5 > 0), training=True)
            values = made.array
        else:
            how = policy if head or policy == "reset" else "carry"
            made = cadenza.nested(run, first, second, x, counts, how, head, policy == "feedback", training=True)
            values = made.flat
        gradients = made.backward(np.cos(np.arange(values.size)).reshape(values.shape))
        arrays = [values, *(value.gradient for value in made.x), *step_loops.weight_gradients(gradients)]
        return b"".join(array.tobytes() for array in arrays)

    expected = bits(1)
    assert bits(2) == expected and bits(3) == expected
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    try:
        assert bits(3) == expected
    finally:
        os.sched_setaffinity(0, processors)


@pytest.mark.parametrize("seed", range(24))
def test_self_feeding_is_its_steps(seed):
    random = np.random.default_rng(seed)
    batch, primer_steps, count = int(random.integers(1, 6)), int(random.integers(1, 5)), int(random.integers(1, 9))
    first, size, width = int(random.integers(0, 2)), int(random.integers(1, 4)), 5
    model = random_model(random, size, width, seed)
    primer, targets = samples(batch, primer_steps, size, seed=seed), samples(batch, count, size, seed=seed + 1)
    states = {state.key: samples(batch, state.units, seed=seed + 2) for state in model.states}
    share = [0.0, 0.5, 1.0, lambda t: float(t % 3 > 0)][seed % 4]
    choice = [None, None, "largest"][seed % 3]
    straight = seed % 2 == 0 and choice is not None
    runs = [
        cadenza.self_feeding(
            cadenza.Unrolled(model, threads=threads), model, primer, count, targets, share, states, first, size, seed,
            choice=choice, straight_through=straight,
        )
        for threads in (1, 2)
    ]
    assert_same_bits(runs[0].array, runs[1].array)
    steps = cadenza.Unrolled(model)
    choose = (lambda values: np.eye(size)[values.argmax(axis=1)]) if choice else None
    outputs, xs, initial, carried = step_loops.self_feeding(
        steps, model, primer, count, targets, runs[0].taught, states, first, size, choose, straight
    )
    factor = [random.normal(size=value.array.shape) for value in outputs]
    for t, value in enumerate(outputs):
        assert_same_bits(runs[0][t].array, value.array)
        for key, state in carried[primer_steps - 1 + t].items():
            assert_same_bits(runs[0].carried[t][key].array, state.array)
    expected = steps.backward(zip(outputs, factor))
    found = [run.run.backward(zip(run, factor)) for run in runs]
    for one, other in zip(step_loops.weight_gradients(found[0]), step_loops.weight_gradients(found[1]), strict=True):
        assert_same_bits(one, other)
    hold(step_loops.weight_gradients(found[0]), step_loops.weight_gradients(expected))
    hold(gradients(runs[0].x), gradients(xs))
    hold(gradients(runs[0].outputs), gradients(outputs))
    hold(gradients(runs[0].initial.values()), gradients(initial.values()))
    for key in states:
        hold(gradients(after[key] for after in runs[0].carried), gradients(after[key] for after in carried[primer_steps - 1 :]))


def test_taught_in_training_is_the_whole_sequence_under_dropout():
    """Recurrent layers drop as they do on a sequence: the same masks from the same seed."""
    layers = [("LSTM", {"units": 6, "return_sequences": True, "dropout": 0.3, "recurrent_dropout": 0.4}), ("Dense", {"units": 2})]
    model = randomized(cadenza.build(None, 2, layers), 1)
    x = samples(3, 8, 2)
    run = cadenza.self_feeding(cadenza.Unrolled(model), model, x[:, :3], 6, x[:, 3:], 1.0, seed=5, training=True)
    tape = cadenza.Tape(model)
    output = tape.forward(x, training=True, seed=5)
    assert_same_bits(run.array, output[:, 2:])
    assert not np.array_equal(output, tape.forward(x, training=False))
    gradient = samples(*output.shape, seed=2)
    gradient[:, :2] = 0
    expected = tape.backward(gradient)
    tape.forward(x, training=True, seed=5)
    expected = tape.backward(gradient)
    found = run.backward(gradient[:, 2:])[model]
    for name, one in expected.weights.items():
        assert np.abs(found[name] - one).max() <= 1e-5 * np.abs(one).max()


@pytest.mark.parametrize("feedback", [False, True])
def test_nested_dropout_by_finite_differences(feedback):
    dropped = {"units": 5, "return_sequences": True, "dropout": 0.3, "recurrent_dropout": 0.3}
    a = randomized(cadenza.build(None, 3, [("GRU", dropped), ("Dropout", {"rate": 0.4})]), 1)
    b = randomized(cadenza.build(None, 5 + 2 * feedback, [("Dropout", {"rate": 0.2}), ("LSTM", dropped), ("Dense", {"units": 2})]), 2)
    x, counts = samples(3, 4, 3), np.array([[2, 0, 3, 1], [1, 2, 1, 0], [0, 0, 0, 0]])
    run = cadenza.Unrolled(a, b)

    def forward(seed=3):
        run.reset()
        return cadenza.nested(run, a, b, x, counts, feedback=feedback, training=True, seed=seed)

    made = forward()
    factor = samples(*made.padded().shape, seed=4)
    assert_same_bits(made.flat, forward().flat)
    assert not np.array_equal(made.flat, forward(4).flat)
    found = forward().backward(factor)
    for model in (a, b):
        for name, gradient in found[model].items():
            value = model.weights[name]
            direction = gradient / max(np.linalg.norm(gradient), 1e-12)
            sums = []
            for offset in (-2, -1, 1, 2):
                model.weights[name] = value + offset * 1e-2 * direction
                sums.append(float(np.sum(forward().padded().astype(float) * factor)))
            model.weights[name] = value
            slope = (sums[0] - 8 * sums[1] + 8 * sums[2] - sums[3]) / 12e-2
            assert slope == pytest.approx(np.linalg.norm(gradient), rel=1e-2, abs=1e-3), name


def test_a_drawn_class_follows_its_probability():
    """A model that always answers with the same probabilities."""
    model = cadenza.build(None, 3, [("Dense", {"units": 3, "activation": "softmax"})])
    model.set_weights([np.zeros((3, 3)), np.log([0.2, 0.5, 0.3])])
    for from_probabilities in (True, False):
        if not from_probabilities:
            model = cadenza.build(None, 3, [("Dense", {"units": 3})])
            model.set_weights([np.zeros((3, 3)), np.log([0.2, 0.5, 0.3])])
        run = cadenza.Unrolled(model)
        made = cadenza.self_feeding(run, model, np.zeros((2000, 1, 3)), 3, choice="drawn", from_probabilities=from_probabilities, seed=7)
        # What was fed shows in the gradient of the kernel: sums of one-hot rows.
        gradient = np.zeros_like(made.array)
        gradient[:, 2, 0] = 1
        drawn = made.backward(gradient)[model]
        counts = next(iter(drawn.values()))[:, 0]
        if not from_probabilities:
            assert np.abs(counts / 2000 - [0.2, 0.5, 0.3]).max() < 0.04
        again = cadenza.self_feeding(run, model, np.zeros((2000, 1, 3)), 3, choice="drawn", from_probabilities=from_probabilities, seed=7)
        assert_same_bits(again.array, made.array)


def test_a_number_is_fed_to_an_embedding():
    layers = [("Embedding", {"input_dim": 6, "output_dim": 4}), ("GRU", {"units": 5}), ("Dense", {"units": 6})]
    model = randomized(cadenza.build(None, None, layers), 1)
    ids = np.array([[1, 2, 3], [5, 0, 4]])
    run = cadenza.Unrolled(model)
    made = cadenza.self_feeding(run, model, ids[..., np.newaxis], 5, choice="largest", as_number=True)
    stream = model.stream(batch=2)
    for t in range(3):
        answer = stream.step(ids[:, t])
    for t in range(5):
        assert np.abs(made.array[:, t] - answer).max() <= 1e-6
        answer = stream.step(answer.argmax(axis=1))
    found = made.backward(np.ones_like(made.array))[model]
    assert all(np.abs(gradient).max() > 0 for gradient in found.values())


@pytest.mark.parametrize("upward", [False, True])
def test_runs_of_other_counts_are_as_the_first(upward):
    """Buffers are taken over from run to run; and updates from the run itself are those by its gradients."""
    a = randomized(cadenza.build(None, 3 + 2 * upward, [("GRU", {"units": 4})]), 1)
    b = randomized(cadenza.build(None, 4, [("LSTM", {"units": 5}), ("Dense", {"units": 2})]), 2)
    used = cadenza.Unrolled(a, b)
    random = np.random.default_rng(3)
    for batch, steps, longest in ((3, 4, 3), (3, 4, 9), (3, 4, 2), (5, 2, 4), (3, 4, 9), (3, 4, 0), (3, 4, 9)):
        x, counts = samples(batch, steps, 3, seed=steps), random.integers(0, longest + 1, (batch, steps))
        found = []
        for run in (used, cadenza.Unrolled(a, b)):
            run.reset()
            made = cadenza.nested(run, a, b, x, counts, upward=upward)
            gradients = made.backward(np.ones_like(made.flat))
            again = made.backward(np.ones_like(made.flat))
            found.append([made.flat, *step_loops.weight_gradients(gradients), *step_loops.weight_gradients(again)])
        for one, other in zip(*found, strict=True):
            assert_same_bits(one, other)
    trainers = [cadenza.Trainer(model) for model in (a, a)]
    before = a.get_weights()
    after = []
    for trainer, given in zip(trainers, (gradients[a], used)):
        a.set_weights(before)
        trainer.apply_gradients(given)
        after.append(a.get_weights())
    for one, other in zip(*after, strict=True):
        assert_same_bits(one, other)
    assert not np.array_equal(after[0][0], before[0]) or not gradients[a]
    with pytest.raises(cadenza.InvalidArgumentError, match="that Unrolled was made for"):
        trainers[0].apply_gradients(cadenza.Unrolled(b))


def test_self_fed_runs_of_other_shapes_are_as_the_first():
    model = randomized(cadenza.build(None, 2, [("LSTM", {"units": 5}), ("Dense", {"units": 2})]), 1)
    used = cadenza.Unrolled(model)
    for batch, primer, steps in ((3, 4, 5), (3, 1, 9), (8, 2, 2), (3, 4, 5), (3, 4, 1)):
        found = []
        for run in (used, cadenza.Unrolled(model)):
            run.reset()
            made = cadenza.self_feeding(run, model, samples(batch, primer, 2), steps)
            found.append([made.array, *made.backward(np.ones_like(made.array))[model].values()])
        for one, other in zip(*found, strict=True):
            assert_same_bits(one, other)


def test_frozen_layers_have_no_gradient():
    a = randomized(cadenza.build(None, 3, [("GRU", {"units": 4}), ("Dense", {"units": 4})]), 1)
    b = randomized(cadenza.build(None, 4, [("LSTM", {"units": 5}), ("Dense", {"units": 2})]), 2)
    x, counts = samples(2, 3, 3), [2, 0, 3]
    free, held = cadenza.Unrolled(a, b), cadenza.Unrolled(a, b, frozen={a: ["gru", "dense"], b: ["lstm"]})
    runs = [cadenza.nested(run, a, b, x, counts) for run in (free, held)]
    factor = samples(*runs[0].flat.shape)
    all_of, some = (run.backward(factor) for run in runs)
    assert list(some[a]) == [] and list(some[b]) == [name for name in all_of[b] if name.startswith("dense")]
    for name, gradient in some[b].items():
        assert_same_bits(gradient, all_of[b][name])
    hold(gradients(runs[1].x), gradients(runs[0].x))
    hold(gradients(runs[1].ir), gradients(runs[0].ir))


def test_what_cannot_be_is_refused_by_name():
    a = cadenza.build(None, 3, [("GRU", {"units": 4, "return_sequences": True})])
    b = cadenza.build(None, 4, [("BatchNormalization", {}), ("LSTM", {"units": 2})])
    x = samples(2, 3, 3)
    run = cadenza.Unrolled(a, b)
    with pytest.raises(cadenza.UnsupportedError, match="batch_normalization.*freeze it"):
        cadenza.nested(run, a, b, x, [1, 2, 3], training=True)
    cadenza.nested(cadenza.Unrolled(a, b, frozen={b: ["batch_normalization"]}), a, b, x, [1, 2, 3], training=True)
    with pytest.raises(cadenza.InvalidArgumentError, match="takes 4 values, but is given 6"):
        cadenza.nested(run, a, b, x, [1, 2, 3], feedback=True)
    with pytest.raises(cadenza.InvalidArgumentError, match="an answer has 4 values"):
        c = cadenza.build(None, 4, [("GRU", {"units": 3})])
        cadenza.nested(cadenza.Unrolled(a, c), a, c, x, [1, 2, 3], policy="given")
    with pytest.raises(cadenza.InvalidArgumentError, match="go back in"):
        cadenza.self_feeding(run, a, x, 3)
    with pytest.raises(cadenza.InvalidArgumentError, match="expected x"):
        cadenza.nested(run, a, b, x[..., :2], [1, 2, 3])
    with pytest.raises(cadenza.OutOfMemoryError, match="memory_limit"):
        cadenza.nested(cadenza.Unrolled(a, b, memory_limit=1000), a, b, x, [1, 2, 3])
    made = cadenza.nested(run, a, b, x, [1, 2, 3])
    run.reset()
    with pytest.raises(cadenza.InvalidArgumentError, match="forgotten"):
        made.carried  # noqa: B018


def test_a_run_that_was_forgotten_goes_nowhere():
    model = cadenza.build(None, 3, [("LSTM", {"units": 4}), ("Dense", {"units": 3})], seed=1)
    run = cadenza.Unrolled(model)
    made = cadenza.self_feeding(run, model, samples(2, 3, 3), 4)
    run.reset()
    with pytest.raises(cadenza.InvalidArgumentError, match="forgotten"):
        made.backward(np.ones_like(made.array))


def test_a_gradient_given_for_x_counts():
    model = cadenza.build(None, 3, [("LSTM", {"units": 4}), ("Dense", {"units": 3})], seed=1)
    run = cadenza.Unrolled(model)
    made = cadenza.self_feeding(run, model, samples(2, 3, 3), 4)
    run.backward([(made[1], np.ones((2, 3)))])
    alone = made.x[0].gradient.copy()
    run.backward([(made[1], np.ones((2, 3))), (made.x[0], np.full((2, 3), 5))])
    assert alone.any() and np.array_equal(made.x[0].gradient, alone + 5)


@pytest.mark.parametrize("counts", [[1.5, 2, 0], [1, 2], [[1, 2, 0]], [1, -1, 0]])
def test_counts_that_are_none(counts):
    model = cadenza.build(None, 3, [("LSTM", {"units": 3})], seed=1)
    with pytest.raises(cadenza.InvalidArgumentError, match="counts of 0 or more"):
        cadenza.nested(cadenza.Unrolled(model), model, model, samples(2, 3, 3), counts)
