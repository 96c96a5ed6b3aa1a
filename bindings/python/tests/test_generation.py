"""Generators: against loops over streams, numbers of TensorFlow, snapshots, ragged forms, errors."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import REPOSITORY, assert_same_bits, randomized, samples

import cadenza
from cadenza import Feedback, Level, Nested, Ragged, SelfFeeding, sample, stop

GOLDEN = REPOSITORY / "Tests" / "golden" / "nested" / "nested_simple_rnn.npz"


def model(features, *layers, seed=1):
    return randomized(cadenza.build(None, features, layers), seed)


def rnn(kind, units):
    return kind, {"units": units, "return_sequences": True}


def cells(weights):
    made = cadenza.build(None, 4, [rnn("SimpleRNN", 4)])
    made.set_weights(weights)
    return made


@pytest.mark.parametrize("case", ["source", "reset", "zero", "ones", "allzero_first"])
def test_the_worked_example(case):
    golden = np.load(GOLDEN)
    a, b = (cells([golden[f"{name}_{part}"] for part in ("kernel", "recurrent_kernel", "bias")]) for name in "ab")
    state = "carry" if golden[f"{case}/carry"] else "reset"
    nested = Nested(a, Level(b, counted=True, state=state), batch=2)
    ragged = nested.run(golden["x"], counts=golden[f"{case}/steps"])
    np.testing.assert_allclose(ragged.to_padded(layout="time"), golden[f"{case}/out"], atol=1e-5)
    assert nested.steps() == 2 * golden[f"{case}/steps"].sum() == len(ragged.values)


@pytest.mark.parametrize("case", ["row_counts", "norm", "token"])
def test_variants_of_the_worked_example(case):
    golden, variants = np.load(GOLDEN), np.load(GOLDEN.with_name("nested_variants.npz"))
    a, b = (cells([golden[f"{name}_{part}"] for part in ("kernel", "recurrent_kernel", "bias")]) for name in "ab")
    dense = cadenza.build(None, 4, [("Dense", {"units": 3})])
    dense.set_weights([variants["dense_kernel"], variants["dense_bias"]])
    level, counts = {
        "row_counts": (Level(b, counted=True), variants["row_counts/lengths"]),
        "norm": (Level(b, stops=[stop.norm_above(2.0, state=0, through=dense)], limit=9), None),
        "token": (Level(b, stops=[stop.token(2)], limit=9), None),
    }[case]
    nested = Nested(a, level, batch=2)
    ragged = nested.run(golden["x"], counts=counts)
    assert ragged.lengths.tolist() == variants[f"{case}/lengths"].tolist()
    np.testing.assert_allclose(ragged.to_padded(layout="time"), variants[f"{case}/out"], atol=1e-5)
    reasons = [("count", "limit", "rule").index(reason) for reason, _ in nested.reasons()]
    assert reasons == variants[f"{case}/reasons"].ravel().tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_a_million_draws_have_the_softmax_s_distribution(temperature):
    logits = cadenza.build(None, 1, [("Dense", {"units": 39})])
    logits.set_weights([np.zeros((1, 39)), np.random.default_rng(8).normal(size=39)])
    drawing = SelfFeeding(logits, batch=100, feedback=None, sampler=sample.categorical(temperature=temperature), exogenous=1)
    drawn = drawing.run(10_000, np.zeros((100, 10_000, 1))).drawn
    weights = np.exp(logits.get_weights()[1].astype(np.float64) / temperature)
    expected = drawn.size * weights / weights.sum()
    chi_square = ((np.bincount(drawn.astype(int).ravel(), minlength=39) - expected) ** 2 / expected).sum()
    assert 38 - 4 * np.sqrt(2 * 38) < chi_square < 38 + 4 * np.sqrt(2 * 38)


def test_pull_equals_run_and_goes_on_from_snapshots():
    a, b = model(3, rnn("LSTM", 5)), model(5 + 6, rnn("GRU", 7), ("Dense", {"units": 6}), seed=2)
    level = Level(
        b, feedback=Feedback("sample", one_hot=6), sampler=sample.categorical(temperature=1.1), stops=[stop.token(2)], limit=7,
        seeds=[4, 5, 6],
    )  # fmt: skip
    x = samples(3, 8, 3)
    whole = Nested(a, level, batch=3)
    ragged = whole.run(x)
    assert whole.drawn.row_splits.tolist() == ragged.row_splits.tolist()
    for (reason, rule), ids in zip(whole.reasons(), whole.drawn, strict=True):
        assert (reason, rule) == (("rule", 0) if ids[-1] == 2 else ("limit", None))
    nested = Nested(a, level, batch=3)
    rows = [[], [], []]
    for start, end in [(0, 1), (1, 5), (5, 8)]:
        nested.push(x[:, start:end])
        while True:
            values, _, items = nested.pull(4)
            for value, item in zip(values, items, strict=True):
                rows[item.row].append(value)
                assert ragged[item.row, item.outer][item.inner].tobytes() == value.tobytes()
            if len(items) < 4:
                break
            snapshot = nested.snapshot()
            nested = Nested(a, level, batch=3)
            nested.restore(snapshot)
    assert_same_bits(np.array(sum(rows, [])), ragged.values)


def test_self_feeding_equals_a_loop():
    trained = model(2, rnn("LSTM", 6), ("Dense", {"units": 2, "activation": "tanh"}))
    generator, stream = SelfFeeding(trained), trained.stream()
    primer = samples(9, 2)
    generator.prime(primer)
    y = stream.run(primer)[-1]
    made = generator.run(50).values[0]
    for value in made:
        assert_same_bits(value, np.asarray(y).reshape(2))
        y = stream.step(value)


def test_characters_samplers_and_scores():
    layers = [("Embedding", {"input_dim": 9, "output_dim": 4}), rnn("LSTM", 8), ("Dense", {"units": 9})]
    text = randomized(cadenza.build(None, None, layers), 3)
    one = SelfFeeding(text, batch=2, feedback="sample", sampler=sample.categorical(top_k=5), seeds=[7, 8], stops=[stop.token(0)])
    one.prime([[1, 2, 3], [4, 5, 0]], lengths=[3, 2])
    made = one.run(40)
    alone = SelfFeeding(text, feedback="sample", sampler=sample.categorical(top_k=5), seeds=[8], stops=[stop.token(0)])
    alone.prime([4, 5])
    assert_same_bits(alone.run(40).drawn[0], made.drawn[1])
    scorer = SelfFeeding(text, batch=2, feedback="sample", sampler=sample.categorical())
    scorer.prime([[1, 2, 3], [4, 5, 0]], lengths=[3, 2])
    assert_same_bits(scorer.score(made.drawn, lengths=made.lengths), made.log_probabilities)
    greedy = SelfFeeding(text, feedback="sample", sampler=sample.argmax())
    greedy.prime([1, 2, 3])
    (best,) = cadenza.beam_search(text, [1, 2, 3], maximum_length=12, width=1)
    assert best[0].classes == greedy.run(12).drawn[0, :, 0].tolist()
    for row in range(2):
        run = one.row(row)
        assert run.length == made.lengths[row] and run.running == (run.reason == "")


def test_callbacks():
    a, b = model(3, rnn("LSTM", 5)), model(5 + 5, rnn("GRU", 5), seed=2)
    level = Level(
        b, feedback=Feedback("output", function=lambda values, row, step: values * 2, function_width=5),
        stops=[stop.call(lambda values, row, step: step == row)],
    )  # fmt: skip
    ragged = Nested(a, level, batch=3).run(samples(3, 2, 3))
    assert ragged.lengths.tolist() == [[1, 1], [2, 2], [3, 3]]

    def broken(values, row, step):
        raise KeyError("mine")

    nested = Nested(a, Level(b, feedback="output", stops=[stop.call(broken)]))
    with pytest.raises(KeyError, match="mine"):
        nested.run(samples(1, 2, 3))
    assert nested.steps() == 0 and len(nested.gathered().values) == 0


def test_what_cannot_be_is_refused():
    a, b = model(3, rnn("LSTM", 5)), model(5, rnn("GRU", 5), seed=2)
    with pytest.raises(cadenza.InvalidArgumentError, match="nothing ends"):
        Nested(a, b)
    with pytest.raises(cadenza.InvalidArgumentError, match="can never fire"):
        Nested(a, Level(b, stops=[stop.token(5)]))
    with pytest.raises(cadenza.InvalidArgumentError, match="takes 5 values"):
        Nested(a, Level(b, limit=3, feedback="output"))
    nested = Nested(a, Level(b, counted=True))
    for counts in (None, [1], [-1, 2], [[1, 2, 3]], [0.5, 1]):
        with pytest.raises(cadenza.InvalidArgumentError):
            nested.run(samples(1, 2, 3), counts=counts)
    with pytest.raises(cadenza.InvalidArgumentError, match="state"):
        Nested(a, Level(b, limit=3, state="none"))
    with pytest.raises(cadenza.MismatchError):
        nested.restore(Nested(a, Level(b, limit=3)).snapshot())


def test_ragged():
    ragged = Ragged.from_list([[[1, 2], [3, 4]], [], [[5, 6]]])
    assert ragged.lengths.tolist() == [2, 0, 1] and ragged.width == 2 and len(ragged) == 3
    padded, mask = ragged.to_padded(mask=True)
    assert padded.shape == (3, 2, 2) and mask.tolist() == [[True, True], [False, False], [True, False]]
    assert [one.tolist() for one in ragged] == [[[1, 2], [3, 4]], [], [[5, 6]]] and ragged[-1].tolist() == [[5, 6]]
    assert repr(ragged) == "<Ragged: 3 series of width 2, lengths 2 0 1>"
    lengths = np.array([[2, 0, 1], [1, 3, 0]])
    values = samples(2, 3, 4, 5)
    back = Ragged.from_padded(values, lengths)
    assert_same_bits(back[1, 1], values[1, 1, :3])
    for layout in ("batch", "time"):
        again = Ragged.from_padded(back.to_padded(5, layout=layout), lengths, layout=layout)
        assert_same_bits(again.values, back.values)
        assert again.lengths.tolist() == lengths.tolist()
    for wrong in ([0, 3], [1, 7], [0, 5, 2, 7]):
        with pytest.raises(cadenza.InvalidArgumentError):
            Ragged(back.values, wrong)
    with pytest.raises(IndexError):
        back[2, 0]


@pytest.mark.parametrize("library", ["tensorflow", pytest.param("torch", marks=pytest.mark.a_gigabyte), "awkward", "pyarrow"])
def test_other_libraries_forms(library):
    pytest.importorskip(library)
    name = {"pyarrow": "arrow"}.get(library, library)
    ragged = Ragged.from_list([[[1, 2], [3, 4]], [[7, 8]], [[5, 6]]])
    back = getattr(Ragged, f"from_{name}")(getattr(ragged, f"to_{name}")())
    assert_same_bits(back.values, ragged.values)
    assert back.row_splits.tolist() == ragged.row_splits.tolist()
