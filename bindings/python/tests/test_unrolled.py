"""Gradients through loops: TensorFlow's numbers for the nested generator, finite differences, who depends on whom."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import REPOSITORY, randomized, samples

import cadenza

GOLDEN = np.load(REPOSITORY / "Tests" / "golden" / "nested" / "nested_simple_rnn.npz")


def golden_models() -> tuple[cadenza.Model, cadenza.Model]:
    rnn = ("SimpleRNN", {"units": 4})
    a = cadenza.build(None, 4, [("SimpleRNN", {"units": 4, "return_sequences": True})])
    b = cadenza.build(None, 4, [rnn])
    for model, name in ((a, "a"), (b, "b")):
        model.set_weights([GOLDEN[f"{name}_{part}"] for part in ("kernel", "recurrent_kernel", "bias")])
    return a, b


@pytest.mark.parametrize("case", ["source", "reset", "zero", "ones", "allzero_first"])
def test_nested_gradients_are_tensorflows(case, record_property):
    a, b = golden_models()
    carry = bool(GOLDEN[f"{case}/carry"])
    run = cadenza.nested(
        cadenza.Unrolled(a, b), a, b, GOLDEN["x"], GOLDEN[f"{case}/steps"], policy="carry" if carry else "reset"
    )
    padded = run.padded().transpose(1, 2, 0, 3)
    assert np.abs(padded - GOLDEN[f"{case}/out"]).max() <= 1e-5
    weights = GOLDEN["loss_weights"][:, : padded.shape[1]]
    gradients = run.backward(weights.transpose(2, 0, 1, 3))
    worst = np.abs(np.stack([value.gradient for value in run.x], axis=1) - GOLDEN[f"{case}/grad_x"]).max()
    for model, name in ((a, "a"), (b, "b")):
        for part, found in zip(("kernel", "recurrent_kernel", "bias"), gradients[model].values(), strict=True):
            expected = GOLDEN[f"{case}/grad_{name}_{part}"]
            worst = max(worst, np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
    assert worst <= 1e-5
    record_property("largest difference from TensorFlow's nested gradients", float(worst))


@pytest.mark.parametrize("case", ["source", "reset"])
def test_influence_is_tensorflows(case):
    a, b = golden_models()
    policy = "carry" if case == "source" else "reset"
    run = cadenza.nested(cadenza.Unrolled(a, b), a, b, GOLDEN["x"], [3, 4, 2], policy=policy)
    found = cadenza.influence(run)
    expected = GOLDEN[f"{case}/influence_ir"]
    there = ~np.isnan(found.by_ir)
    assert np.abs(found.by_ir - expected)[there].max() <= 1e-5
    assert (found.by_output[2, 0, 0, 1] > 1e-4) == (case == "source")  # Out[0][1] reaches Out[2][0], or does not
    assert found.by_output[0, 0, 2, 0] == 0  # nothing reaches back in time
    assert found.by_x[2, 0, 0] > 0  # through the first model's state, whatever the second one's


def test_one_step_each_goes_through_both_models():
    """Counts of 1: six steps of A, each with one of B, whose state is carried or not."""
    a, b = golden_models()
    x = samples(2, 6, 4)
    for policy in ("carry", "reset"):
        found = cadenza.influence(cadenza.nested(cadenza.Unrolled(a, b), a, b, x, [1] * 6, policy=policy))
        assert found.by_x[5, 0, 0] > 0  # through A's state, whatever B's
        assert (found.by_output[5, 0, 0, 0] > 0) == (policy == "carry")  # through B's state
        assert (found.by_ir[5, 0, 0] > 0) == (policy == "carry")  # into B, and on through its state
        assert (found.by_ir[5, 0, 5] > 0) and found.by_output[0, 0, 5, 0] == 0


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_influence_of_a_self_fed_run_by_differences(share):
    model = randomized(cadenza.build(None, 2, [("SimpleRNN", {"units": 3}), ("Dense", {"units": 2, "activation": "tanh"})]), 1)
    primer, targets, states = samples(2, 3, 2), samples(2, 4, 2, seed=1), samples(2, 3, seed=2)
    key = model.states[0].key

    def outputs(primer=primer, states=states):
        run = cadenza.Unrolled(model)
        return cadenza.self_feeding(run, model, primer, 4, targets, teacher_forcing=share, states={key: states})

    def by_differences(name, value, place):
        """The norms of all outputs' derivatives by the numbers at a place of the value."""
        squares = np.zeros(4)
        for index in np.ndindex(value[place].shape):
            off = np.zeros_like(value)
            off[place][index] = 1e-2
            pair = [np.stack([one.array.astype(float) for one in outputs(**{name: value + sign * off})]) for sign in (1, -1)]
            squares += (((pair[0] - pair[1]) / 2e-2) ** 2).sum(axis=(1, 2))
        return np.sqrt(squares)

    found = cadenza.influence(outputs())
    assert found.by_initial == pytest.approx(by_differences("states", states, np.s_[:]), rel=1e-2, abs=1e-5)
    for k in range(3):
        assert found.by_x[:, k] == pytest.approx(by_differences("primer", primer, np.s_[:, k]), rel=1e-2, abs=1e-5)
    later, earlier = np.tril_indices(4, -1)
    assert (found.by_output[later, earlier] > 0).all() and np.triu(found.by_output).max() == 0


def test_influence_by_a_fed_back_output_alone():
    """Without a state that is carried, an output is reached through what is fed back or not at all."""
    model = randomized(cadenza.build(None, 2, [("Dense", {"units": 2, "activation": "tanh"})]), 1)
    targets = samples(1, 3, 2)
    fed, taught = (
        cadenza.influence(cadenza.self_feeding(cadenza.Unrolled(model), model, samples(1, 1, 2), 3, targets, share))
        for share in (0.0, 1.0)
    )
    assert fed.by_output[2, 0] > 0 and fed.by_x[2, 0] > 0
    assert taught.by_output[2, 0] == taught.by_x[2, 0] == 0 and taught.by_x[0, 0] > 0


def test_influence_plots():
    pytest.importorskip("matplotlib").use("agg")
    a, b = golden_models()
    nested = cadenza.nested(cadenza.Unrolled(a, b), a, b, GOLDEN["x"], [3, 0, 2], policy="carry")
    model = cadenza.build(None, 2, [("GRU", {"units": 2})])
    fed = cadenza.self_feeding(cadenza.Unrolled(model), model, samples(1, 3, 2), 4)
    for run, rows, columns in ((nested, 5, 3 + 3 + 5), (fed, 4, 1 + 3 + 4)):
        axes = cadenza.influence(run).plot()
        assert axes.images[0].get_array().shape == (rows, columns)
        assert axes.images[0].colorbar.ax.get_ylabel() == "norm of the derivative"
        assert [label.get_text() for label in axes.get_xticklabels()][-1] == axes.get_yticklabels()[-1].get_text()
        assert axes.get_title()


def numeric(loss, model: cadenza.Model, name: str, gradient: np.ndarray, step: float = 1e-2) -> tuple[float, float]:
    """The loss's slope along the gradient, by differences and as the gradient says."""
    value = model.weights[name]
    direction = gradient / max(np.linalg.norm(gradient), 1e-12)
    around = []
    for offset in (-2, -1, 1, 2):
        model.weights[name] = value + offset * step * direction
        around.append(loss())
    model.weights[name] = value
    return (around[0] - 8 * around[1] + 8 * around[2] - around[3]) / (12 * step), float(np.linalg.norm(gradient))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_self_feeding_by_finite_differences(share):
    model = randomized(cadenza.build(None, 2, [("GRU", {"units": 5}), ("Dense", {"units": 2, "activation": "tanh"})]), 1)
    primer, targets = samples(3, 4, 2), samples(3, 6, 2, seed=1)
    unrolled = cadenza.Unrolled(model)

    def forward():
        unrolled.reset()
        return cadenza.self_feeding(unrolled, model, primer, 6, targets, teacher_forcing=share, seed=2)

    outputs = forward()
    error = [2 * (output.array - targets[:, t]) for t, output in enumerate(outputs)]
    gradients = unrolled.backward(zip(outputs, error))[model]

    def loss():
        return sum(float(np.sum((value.array.astype(float) - targets[:, t]) ** 2)) for t, value in enumerate(forward()))

    for name, gradient in gradients.items():
        slope, norm = numeric(loss, model, name, gradient)
        assert slope == pytest.approx(norm, rel=5e-3), name
    generator = cadenza.SelfFeeding(model, batch=3)
    generator.prime(primer)
    if share == 0:
        values = generator.run(6).values
        assert np.abs(values - np.stack([value.array for value in outputs], axis=1)).max() <= 1e-5


def test_teacher_forcing_is_the_whole_sequence():
    """With the targets fed, the unrolled gradient is that of one run over the sequence."""
    model = randomized(cadenza.build(None, 2, [("LSTM", {"units": 4, "return_sequences": True}), ("Dense", {"units": 2})]), 3)
    x, factor = samples(2, 7, 2), samples(2, 6, 2, seed=5)
    unrolled = cadenza.Unrolled(model)
    outputs = cadenza.self_feeding(unrolled, model, x[:, :2], 6, x[:, 2:], teacher_forcing=1.0)
    gradients = unrolled.backward((value, factor[:, t]) for t, value in enumerate(outputs))[model]
    tape = cadenza.Tape(model)
    output = tape.forward(x)
    whole = np.zeros_like(output)
    whole[:, 1:] = factor
    for name, expected in tape.backward(whole).weights.items():
        assert np.abs(gradients[name] - expected).max() <= 1e-5 * max(1, np.abs(expected).max()), name


@pytest.mark.parametrize(
    "options",
    [dict(feedback=True), dict(upward=True), dict(policy="reset", feedback=True), dict(policy="given"), dict(policy="given", head=True)],
    ids=str,
)
def test_nested_by_finite_differences(options):
    options = dict(options)
    feedback, upward, head = options.get("feedback", False), options.get("upward", False), options.pop("head", False)
    units = 6 if options.get("policy") == "given" and not head else 5
    a = randomized(cadenza.build(None, 3 + 2 * upward, [("GRU", {"units": units, "return_sequences": True})]), 1)
    b = randomized(cadenza.build(None, units + 2 * feedback, [("LSTM", {"units": 3}), ("Dense", {"units": 2})]), 2)
    models = [a, b]
    if head:
        options["initial_state"] = randomized(cadenza.build(None, units, [("Dense", {"units": 6, "activation": "tanh"})]), 3)
        models.append(options["initial_state"])
    x, counts = samples(2, 3, 3), np.array([[2, 0, 3], [1, 2, 1]])
    unrolled = cadenza.Unrolled(*models)

    def forward():
        unrolled.reset()
        return cadenza.nested(unrolled, a, b, x, counts, **options)

    run = forward()
    factor = samples(*run.padded().shape, seed=4)
    for row, i in np.ndindex(counts.shape):
        assert np.all(run.padded()[row, i, counts[row, i] :] == 0)
    gradients = run.backward(factor)
    for model in models:
        for name, gradient in gradients[model].items():
            slope, norm = numeric(lambda: float(np.sum(forward().padded().astype(float) * factor)), model, name, gradient)
            assert slope == pytest.approx(norm, rel=1e-2, abs=1e-3), name


def test_choices_stop_the_gradient():
    model = randomized(cadenza.build(None, 3, [("GRU", {"units": 3, "activation": "tanh"})]), 1)
    for straight in (False, True):
        unrolled = cadenza.Unrolled(model)
        first, _ = unrolled.step(model, samples(2, 3))
        chosen = np.eye(3)[first.array.argmax(axis=1)]
        step_input = unrolled.choice(first, chosen, straight_through=straight)
        output, _ = unrolled.step(model, step_input)
        unrolled.backward([(output, np.ones_like(output.array))])
        assert step_input.gradient.any()
        assert np.array_equal(first.gradient, step_input.gradient * straight)
    with pytest.raises(cadenza.InvalidArgumentError, match="that Unrolled was made for"):
        unrolled.step(cadenza.build(None, 3, [("GRU", {"units": 2})]), samples(2, 3))


def test_a_stop_gate_learns_lengths():
    """The input says how long each run is to be. The gate is an output of the second model, taught to say 1 at a run's last
    step by a Bernoulli loss over runs of the true lengths; then it ends the runs by itself."""
    a = cadenza.build(None, 4, [("GRU", {"units": 8, "return_sequences": True})], seed=1)
    b = cadenza.build(None, 8, [("GRU", {"units": 12}), ("Dense", {"units": 1})], seed=2)
    trainers = {model: cadenza.Trainer(model, optimizer=cadenza.optimizers.Adam(0.02)) for model in (a, b)}
    random, unrolled = np.random.default_rng(3), cadenza.Unrolled(a, b)
    for _ in range(150):
        lengths = random.integers(1, 5, (16, 3))
        unrolled.reset()
        run = cadenza.nested(unrolled, a, b, np.eye(4)[lengths - 1], lengths, policy="reset")
        step = np.arange(1, lengths.max() + 1)
        is_last, is_there = step == lengths[..., None], step <= lengths[..., None]
        probability = 1 / (1 + np.exp(-run.padded()[..., 0]))
        gradients = run.backward(((probability - is_last) * is_there / is_there.sum())[..., np.newaxis])
        for model, trainer in trainers.items():
            trainer.apply_gradients(gradients[model])
    lengths = random.integers(1, 5, (32, 5))
    for stop, least in ((cadenza.stop.above(0), 1.0), (cadenza.stop.gate(), 0.95)):
        nested = cadenza.Nested(a, cadenza.Level(b, state="reset", stops=[stop], limit=9), batch=32)
        assert np.mean(nested.run(np.eye(4)[lengths - 1]).lengths == lengths) >= least
