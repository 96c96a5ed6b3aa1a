"""Laws of streams, held to the bit over random models, data and cuts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from conftest import assert_same_bits, randomized, samples, streamed
from hypothesis import given, settings
from hypothesis import strategies as st

import cadenza

BATCHES = st.integers(1, 5)
SEEDS = st.integers(0, 2**32 - 1)
STEPS = st.integers(1, 24)

RECURRENT = st.fixed_dictionaries(
    {"units": st.integers(1, 20)},
    optional={
        "use_bias": st.booleans(),
        "activation": st.sampled_from(["tanh", "relu", "softsign", "linear", "elu"]),
    },
)
GATED = st.fixed_dictionaries(
    {}, optional={"recurrent_activation": st.sampled_from(["sigmoid", "hard_sigmoid", "tanh"])}
)
BETWEEN = st.sampled_from(
    [
        "LeakyReLU",
        "LayerNormalization",
        "BatchNormalization",
        ("Dropout", {"rate": 0.5}),
        ("Dense", {"units": 5, "activation": "tanh"}),
        ("Activation", {"activation": "gelu"}),
    ]
)


@st.composite
def recurrent_layers(draw):
    """A recurrent layer that gives its whole sequence."""
    class_name = draw(st.sampled_from(["LSTM", "GRU", "SimpleRNN"]))
    options = draw(RECURRENT) | {"return_sequences": True}
    if class_name != "SimpleRNN":
        options |= draw(GATED)
    if class_name == "GRU":
        options |= {"reset_after": draw(st.booleans())}
    return class_name, options


@st.composite
def models(draw, sequences=st.booleans()):
    """A sequential model that streams; the last layer gives its whole sequence or its last step."""
    layers = []
    if draw(st.booleans()):
        layers.append(("Masking", {"mask_value": 0.0}))
    for recurrent in draw(st.lists(recurrent_layers(), min_size=1, max_size=3)):
        layers += [recurrent, *draw(st.lists(BETWEEN, max_size=2))]
    layers.append(("GRU", {"units": draw(st.integers(1, 6)), "return_sequences": draw(sequences)}))
    model = cadenza.build(None, draw(st.integers(1, 7)), layers)
    return randomized(model, seed=draw(SEEDS))


@st.composite
def runs(draw, sequences=st.booleans()):
    """A model and a batch of sequences for it, some of whose samples are all zero and so masked."""
    model = draw(models(sequences))
    batch, steps = draw(BATCHES), draw(STEPS)
    x = samples(batch, steps, model.inputs[0].shape[-1], seed=draw(SEEDS))
    x[np.random.default_rng(draw(SEEDS)).random((batch, steps)) < 0.2] = 0
    return model, x


@given(runs(), st.data())
def test_any_cut_into_chunks_gives_the_same_bits(run, data):
    model, x = run
    cuts = data.draw(st.lists(st.integers(0, x.shape[1]), max_size=6))
    whole = model.stream(len(x)).run(x)
    assert_same_bits(streamed(model, [x], cuts)[0], whole)
    stream = model.stream(len(x))
    for step in range(x.shape[1]):
        assert_same_bits(stream.step(x[:, step]), whole[:, step])


@given(runs(sequences=st.just(True)))
def test_a_stream_answers_what_predict_answers(run):
    model, x = run
    assert_same_bits(model.stream(len(x)).run(x), model.predict(x))


@given(runs(sequences=st.just(False)))
def test_each_step_answers_what_predict_answers_for_the_prefix(run):
    model, x = run
    answers = model.stream(len(x)).run(x)
    for steps in range(1, x.shape[1] + 1):
        assert_same_bits(answers[:, steps - 1], model.predict(x[:, :steps]))


@given(runs())
def test_rows_do_not_see_each_other(run):
    model, x = run
    together = model.stream(len(x)).run(x)
    whole = model.predict(x)
    for row in range(len(x)):
        assert_same_bits(model.stream().run(x[row]), together[row])
        assert_same_bits(model.predict(x[row : row + 1])[0], whole[row])


@given(runs(), st.data())
def test_peek_foresees_step_and_changes_nothing(run, data):
    model, x = run
    peeking, stepping = model.stream(len(x)), model.stream(len(x))
    for step in range(x.shape[1]):
        for _ in range(data.draw(st.integers(0, 2))):
            peeked = peeking.peek(x[:, step])
            assert_same_bits(peeked, stepping.peek(x[:, step]))
        assert_same_bits(peeking.step(x[:, step]), stepping.step(x[:, step]))
        assert peeking.snapshot() == stepping.snapshot()


@given(runs(), st.data())
def test_a_fork_and_a_restored_snapshot_go_on_alike(run, data):
    model, x = run
    cut = data.draw(st.integers(0, x.shape[1]))
    stream = model.stream(len(x))
    stream.run(x[:, :cut])
    snapshot, fork, restored, by_state = stream.snapshot(), stream.fork(), model.stream(len(x)), model.stream(len(x))
    expected = stream.run(x[:, cut:])
    restored.restore(snapshot)
    assert restored.position.tolist() == fork.position.tolist() == [cut] * len(x)
    assert_same_bits(fork.run(x[:, cut:]), expected)
    assert_same_bits(restored.run(x[:, cut:]), expected)
    assert fork.snapshot() == restored.snapshot() == stream.snapshot()
    stream.restore(snapshot)
    by_state.set_state(stream.get_state())
    assert_same_bits(stream.run(x[:, cut:]), expected)
    assert_same_bits(by_state.run(x[:, cut:]), expected)


@given(runs(), st.data())
def test_a_reset_row_starts_anew_and_the_others_go_on(run, data):
    model, x = run
    row = data.draw(st.integers(0, len(x) - 1))
    stream, undisturbed = model.stream(len(x)), model.stream(len(x))
    first = stream.run(x)
    undisturbed.run(x)
    stream.reset(row)
    second, going_on = stream.run(x), undisturbed.run(x)
    for other in range(len(x)):
        assert_same_bits(second[other], first[other] if other == row else going_on[other])


@given(runs())
def test_the_states_of_a_run_are_those_after_each_step(run):
    model, x = run
    answers, histories = model.stream(len(x)).run(x, states=True)
    stream = model.stream(len(x))
    for step in range(x.shape[1]):
        assert_same_bits(stream.step(x[:, step]), answers[:, step])
        for key, state in stream.state.items():
            assert_same_bits(state, histories[key][:, step])


@settings(max_examples=20)
@given(runs())
def test_a_saved_model_is_the_same_model(run):
    model, x = run
    again = cadenza.load(model.to_bytes())
    assert again.fingerprint == model.fingerprint
    assert again.to_bytes() == model.to_bytes()
    assert_same_bits(again.predict(x), model.predict(x))
    stream = again.stream(len(x))
    stream.restore(model.stream(len(x)).snapshot())


@settings(max_examples=20)
@given(models(), st.lists(BATCHES, min_size=2, max_size=2, unique=True))
def test_a_snapshot_of_another_batch_is_refused(model, batches):
    one, other = map(model.stream, batches)
    for taker, giver in itertools.permutations((one, other)):
        before = taker.snapshot()
        with pytest.raises(cadenza.MismatchError):
            taker.restore(giver.snapshot())
        assert taker.snapshot() == before
