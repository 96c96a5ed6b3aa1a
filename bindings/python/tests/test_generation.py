"""Generators: against loops over streams, numbers of TensorFlow, snapshots, ragged forms, errors."""

from __future__ import annotations

import importlib.util

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
    drawing = SelfFeeding(
        logits, batch=100, feedback=None, sampler=sample.categorical(temperature=temperature), exogenous=1
    )
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


def one_hot(ids, classes):
    return np.eye(classes, dtype=np.float32)[np.asarray(ids, int)]


LINKS = {
    # What goes from a step to the next: options, values of the model's input from it, and the same in NumPy.
    "values": (Feedback("output"), 6, lambda link, y, drawn: y),
    "slice": (Feedback("output", first=2, size=3), 3, lambda link, y, drawn: y[2:5]),
    "one-hot": (Feedback("sample", one_hot=6), 6, lambda link, y, drawn: one_hot(drawn, 6)),
    "id": (Feedback("sample"), 1, lambda link, y, drawn: np.array([drawn])),
    "function": (
        Feedback("output", function=lambda v, row, step: v[:2] * 3, function_width=2),
        2,
        lambda link, y, drawn: y[:2] * 3,
    ),
    "dense": (Feedback("output"), 4, lambda link, y, drawn: link.step(y)),
    "embedding": (Feedback("sample"), 4, lambda link, y, drawn: link.step(np.array([drawn]))),
    "recurrent": (Feedback("sample", one_hot=6), 4, lambda link, y, drawn: link.step(one_hot(drawn, 6))),
}
LINK_LAYERS = {
    "dense": (6, [("Dense", {"units": 4})]),
    "embedding": (None, [("Embedding", {"input_dim": 6, "output_dim": 4})]),
    "recurrent": (6, [rnn("GRU", 3), ("Dense", {"units": 4})]),
}


@pytest.mark.parametrize("name", LINKS)
def test_what_goes_from_a_step_to_the_next(name):
    feedback, width, in_numpy = LINKS[name]
    link = model(LINK_LAYERS[name][0], *LINK_LAYERS[name][1], seed=5) if name in LINK_LAYERS else None
    made = model(2 + width, rnn("LSTM", 6), ("Dense", {"units": 6}), seed=6)
    generator = SelfFeeding(
        made, feedback=Feedback(**{**vars(feedback), "model": link}), sampler=sample.argmax(), exogenous=2,
    )  # fmt: skip
    outside, first = samples(1, 20, 2), samples(2 + width, seed=3)
    generator.prime(first[np.newaxis])
    generated = generator.run(20, outside)
    stream, aside = made.stream(), link.stream() if link else None
    y = stream.step(first)
    # The first step hands out the primer's answer: what comes from outside with it meets no step of the model.
    for step in range(20):
        assert_same_bits(generated.values[0, step], y)
        assert generated.drawn[0, step, 0] == y.argmax()
        if step < 19:
            joined = np.concatenate([outside[0, step + 1], in_numpy(aside, y, y.argmax()).ravel()]).astype(np.float32)
            y = stream.step(joined)


def test_the_beam_finds_what_a_search_of_everything_finds():
    text = model(
        None, ("Embedding", {"input_dim": 4, "output_dim": 3}), rnn("LSTM", 5), ("Dense", {"units": 4}), seed=4
    )
    for one in text.get_weights():
        one *= 3
    for penalty in (0.0, 1.0):
        (found,) = cadenza.beam_search(text, [1, 2], maximum_length=4, width=300, end_token=0, length_penalty=penalty)
        scorer, everything = SelfFeeding(text, feedback="sample", sampler=sample.categorical()), []
        for number in range(4**4):
            classes = [number // 4**place % 4 for place in range(4)]
            classes = classes[: classes.index(0) + 1] if 0 in classes else classes
            scorer.reset()
            scorer.prime([1, 2])
            score = scorer.score(np.array(classes, np.float32)[np.newaxis, :, np.newaxis]).sum()
            everything.append((float(score) / len(classes) ** penalty, tuple(classes)))
        best = sorted(set(everything), reverse=True)
        assert [tuple(one.classes) for one in found[:10]] == [classes for _, classes in best[:10]]
        np.testing.assert_allclose([one.score for one in found[:10]], [score for score, _ in best[:10]], rtol=1e-5)


def test_beams_of_a_batch_are_those_of_its_rows():
    text = model(None, ("Embedding", {"input_dim": 7, "output_dim": 4}), rnn("GRU", 9), ("Dense", {"units": 7}), seed=4)
    prefixes, lengths = [[1, 2, 3], [4, 0, 0], [5, 6, 0]], [3, 1, 2]
    found = cadenza.beam_search(text, prefixes, lengths=lengths, batch=3, width=4, maximum_length=9, end_token=0)
    for row, length in enumerate(lengths):
        (alone,) = cadenza.beam_search(text, prefixes[row][:length], width=4, maximum_length=9, end_token=0)
        assert alone == found[row]
        assert [one.score for one in alone] == sorted([one.score for one in alone], reverse=True)


def test_characters_samplers_and_scores():
    layers = [("Embedding", {"input_dim": 9, "output_dim": 4}), rnn("LSTM", 8), ("Dense", {"units": 9})]
    text = randomized(cadenza.build(None, None, layers), 3)
    one = SelfFeeding(
        text, batch=2, feedback="sample", sampler=sample.categorical(top_k=5), seeds=[7, 8], stops=[stop.token(0)]
    )
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


@pytest.mark.parametrize("where", ["stop", "sampler", "feedback"])
@pytest.mark.parametrize("answer", [KeyError("mine"), float("nan"), [1, 2, 3]])
def test_a_failing_callback_leaves_the_steps_before_it(where, answer):
    broken = False

    def function(values, row, step):
        if broken and row == 1 and step == 5:
            if isinstance(answer, Exception):
                raise answer
            return answer
        return 0.25 * step if where == "feedback" else 0

    recurrent = model(1, rnn("LSTM", 5), ("Dense", {"units": 1}))
    options = {
        "stop": {"stops": [stop.call(function)]},
        "sampler": {"feedback": "sample", "sampler": sample.call(function)},
        "feedback": {"feedback": Feedback("output", function=function, function_width=1)},
    }[where]
    generator, twin = (SelfFeeding(recurrent, batch=2, **options) for _ in range(2))
    whole = twin.run(9)
    broken = True
    with pytest.raises(KeyError if isinstance(answer, Exception) else cadenza.InvalidArgumentError) as raised:
        generator.run(9)
    assert "mine" in str(raised.value) or "row 1, step 5" in str(raised.value) or "shape (1,)" in str(raised.value)
    before = generator.gathered()
    assert before.lengths.tolist() == [5, 5]
    snapshot = generator.snapshot()
    with pytest.raises(Exception):
        generator.next()
    assert generator.snapshot() == snapshot
    broken = False
    assert_same_bits(np.concatenate([before.values[:, :5], generator.run(4).values], axis=1), whole.values)


def test_nan_logits_are_an_error_that_says_where():
    text = model(1, rnn("GRU", 5), ("Dense", {"units": 4}))
    drawing = SelfFeeding(text, batch=2, feedback=None, sampler=sample.categorical(), exogenous=1)
    outside = samples(2, 6, 1)
    outside[1, 3] = np.nan
    with pytest.raises(cadenza.InvalidArgumentError, match="row 1, step 3.*NaN"):
        drawing.run(6, outside)
    assert drawing.gathered().lengths.tolist() == [3, 3]
    assert drawing.steps == 6 and drawing.row(1).running
    again = SelfFeeding(text, batch=2, feedback=None, sampler=sample.categorical(), exogenous=1)
    outside[1, 3] = 0
    assert_same_bits(
        np.concatenate([drawing.gathered().drawn[:, :3], drawing.run(3, outside[:, 3:]).drawn], axis=1),
        again.run(6, outside).drawn,
    )


def test_sigma_zero_draws_the_mean():
    means = model(1, rnn("GRU", 5), ("Dense", {"units": 3}))
    drawing = SelfFeeding(means, feedback=None, sampler=sample.gaussian(sigma=0.0), exogenous=1)
    made = drawing.run(4, samples(1, 4, 1))
    assert_same_bits(made.drawn, made.values)
    assert np.isposinf(made.log_probabilities).all()


def test_a_token_is_sought_in_the_output_where_no_class_is_drawn():
    means = model(4, rnn("GRU", 5), ("Dense", {"units": 4}))
    drawing = SelfFeeding(means, feedback="output", sampler=sample.gaussian(sigma=0.1), stops=[stop.token(2)])
    made = drawing.run(60)
    classes = made.values[0, : made.lengths[0]].argmax(axis=1)
    assert 2 not in classes[:-1] and (classes[-1] == 2) == (not drawing.row().running)
    for wrong in (
        {"stops": [stop.token(4)]},
        {"sampler": sample.Sampler(sample.GAUSSIAN, sigma=1.0, forbidden=(10**6,))},
    ):
        with pytest.raises(cadenza.InvalidArgumentError):
            SelfFeeding(means, **{"sampler": sample.gaussian(sigma=0.1), **wrong})


def test_a_long_run_in_pieces_under_a_bar(capsys):
    pytest.importorskip("tqdm")
    a, b = model(3, rnn("LSTM", 5)), model(5 + 6, rnn("GRU", 7), ("Dense", {"units": 6}), seed=2)
    c_ = model(6, rnn("GRU", 2), seed=3)
    middle = Level(
        b, feedback=Feedback("sample", one_hot=6), sampler=sample.categorical(), stops=[stop.token(2)], limit=4
    )
    last = Level(c_, counted=True, counts=[1, 0, 3, 2], sampler=sample.bernoulli())
    x, lengths = samples(3, 230, 3), [230, 0, 117]
    made = [Nested(a, middle, last, batch=3) for _ in range(2)]
    plain, barred = made[0].run(x, lengths=lengths), made[1].run(x, lengths=lengths, progress=True)
    assert "230/230" in capsys.readouterr().err
    assert_same_bits(plain.values, barred.values)
    assert_same_bits(made[0].drawn.values, made[1].drawn.values)
    assert_same_bits(made[0].log_probabilities.values, made[1].log_probabilities.values)
    for ours, theirs in zip((*plain.above, plain.row_splits), (*barred.above, barred.row_splits), strict=True):
        assert ours.tolist() == theirs.tolist()
    for level in (1, 2):
        assert made[0].reasons(level) == made[1].reasons(level)
    text = model(2, rnn("LSTM", 6), ("Dense", {"units": 2}))
    assert_same_bits(SelfFeeding(text).run(333, progress=True).values, SelfFeeding(text).run(333).values)


def test_the_picture_shows_which_steps_there_were():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ragged = Ragged(samples(6, 2), [0, 3, 3, 4, 6], batch=2)
    _, axes = plt.subplots()
    assert ragged.plot(axes, row=1, unit=1) is axes
    picture = axes.images[0].get_array()
    assert picture.shape == (3, 2)
    assert np.isnan(np.ma.filled(picture, np.nan)).tolist() == [[False, False], [True, False], [True, True]]
    plt.close("all")


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
    assert repr(Ragged(samples(4, 1), [0, 3, 3, 4, 4], batch=2)).splitlines() == [
        "<Ragged: 2 rows × 2 outer steps, 4 values of width 1, lengths",
        "    row 0: 3 0",
        "    row 1: 1 0>",
    ]
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


@pytest.mark.parametrize(
    "library", ["tensorflow", pytest.param("torch", marks=pytest.mark.a_gigabyte), "awkward", "pyarrow"]
)
def test_other_libraries_forms(library):
    pytest.importorskip(library)
    name = {"pyarrow": "arrow"}.get(library, library)
    ragged = Ragged.from_list([[[1, 2], [3, 4]], [[7, 8]], [[5, 6]]])
    back = getattr(Ragged, f"from_{name}")(getattr(ragged, f"to_{name}")())
    assert_same_bits(back.values, ragged.values)
    assert back.row_splits.tolist() == ragged.row_splits.tolist()
    if library != "torch":  # which has one ragged axis
        deep = Ragged(samples(4, 3), [0, 1, 1, 4], batch=2, above=[np.array([0, 2, 3])])
        again = getattr(Ragged, f"from_{name}")(getattr(deep, f"to_{name}")(), batch=2)
        assert_same_bits(again.values, deep.values)
        assert again.row_splits.tolist() == deep.row_splits.tolist() and again.above[0].tolist() == [0, 2, 3]


def test_empty_series_go_to_other_libraries_too():
    ragged = Ragged.from_list([[[1, 2]], [], [[3, 4], [5, 6]], []])
    for library in ("tensorflow", "awkward", "arrow"):
        if importlib.util.find_spec({"arrow": "pyarrow"}.get(library, library)):
            back = getattr(Ragged, f"from_{library}")(getattr(ragged, f"to_{library}")())
            assert_same_bits(back.values, ragged.values)
            assert back.row_splits.tolist() == [0, 1, 1, 3, 3]


def test_a_nested_run_computes_with_weights_that_have_changed():
    """The products of what drives a run are kept for the run: not beyond a change of the weights."""
    random = np.random.default_rng(11)
    driver = cadenza.build(1, 3, [("LSTM", {"units": 4})], seed=1)
    below = [cadenza.build(1, 4, [("LSTM", {"units": 5})], seed=2) for _ in range(2)]
    x = random.normal(size=(1, 1, 3)).astype(np.float32)
    weights = [random.normal(size=weight.shape) for weight in below[0].get_weights()]

    changed = cadenza.Nested(driver, cadenza.Level(below[0], counted=True), batch=1)
    changed.run(x, counts=[[2]])
    below[0].set_weights(weights)
    changed.reset()
    below[1].set_weights(weights)
    fresh = cadenza.Nested(driver, cadenza.Level(below[1], counted=True), batch=1)
    assert_same_bits(changed.run(x, counts=[[3]]).values, fresh.run(x, counts=[[3]]).values)
