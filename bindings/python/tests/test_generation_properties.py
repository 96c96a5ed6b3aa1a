"""Laws of generators, held to the bit over random models, options, data and cuts."""

from __future__ import annotations

import itertools

import numpy as np
from conftest import assert_same_bits, randomized, samples
from hypothesis import given, settings
from hypothesis import strategies as st

import cadenza
from cadenza import Feedback, Level, Nested, SelfFeeding, sample, stop

CLASSES = 5
SEEDS = st.integers(0, 2**32 - 1)


def model(features: int | None, units: int, classes: int, kind: str, seed: int) -> cadenza.Model:
    recurrent = (kind, {"units": units, "return_sequences": True})
    return randomized(cadenza.build(None, features, [recurrent, ("Dense", {"units": classes})]), seed)


def level(draw, driver: int, batch: int, *, counts: list[int] | None = None) -> tuple[Level, bool]:
    """A model of one step's `driver` values that ends its runs by counts, or by limit and rules."""
    seed = draw(SEEDS)
    feedback = draw(st.sampled_from([None, "output", "sample"]))
    joined = driver + (0 if feedback is None else CLASSES)
    kind = draw(st.sampled_from(["LSTM", "GRU", "SimpleRNN"]))
    below = model(joined, draw(st.integers(1, 9)), CLASSES, kind, seed)
    sampler = draw(
        st.sampled_from([sample.categorical(temperature=0.8), sample.categorical(top_k=3, repetition_penalty=1.5)])
    )
    if feedback != "sample":
        sampler = draw(st.sampled_from([None, sampler, sample.bernoulli(), sample.gaussian(sigma=0.3)]))
    counted = draw(st.booleans())
    rules = draw(
        st.lists(
            st.sampled_from(
                [stop.gate(element=1), stop.norm_above(1.2), stop.below(-0.8, element=2), stop.above(0.3, state=0)]
            ),
            max_size=2,
        )
    )
    return Level(
        below,
        feedback=Feedback("sample", one_hot=CLASSES) if feedback == "sample" else feedback,
        sampler=sampler,
        stops=rules,
        limit=6 if not counted or rules else None,
        minimum=draw(st.integers(0, 2)),
        stopping=draw(st.sampled_from(["keep", "drop", "undo"])),
        seeds=draw(st.lists(SEEDS, min_size=batch, max_size=batch)),
        counted=counted,
        counts=counts if counted else None,
        state=draw(st.sampled_from(["carry", "reset"])),
    ), counted


class Series:
    """A nested generator of two or three models, with samples and counts; made as often as one likes."""

    def __init__(self, draw) -> None:
        self.batch, self.outer = draw(st.integers(1, 4)), draw(st.integers(0, 6))
        self.x = samples(self.batch, self.outer, 3, seed=draw(SEEDS))
        upward = draw(st.booleans())
        self.a = model(3 + (CLASSES if upward else 0), draw(st.integers(1, 9)), 4, "GRU", draw(SEEDS))
        first, counted = level(draw, 4, self.batch)
        if upward:
            first = Level(**{**vars(first), "upward": "output"})
        self.levels = [first]
        if draw(st.booleans()):
            if first.limit is None:
                self.levels[0] = Level(**{**vars(first), "limit": 6})
            self.levels.append(level(draw, CLASSES, self.batch, counts=[2, 0, 3, 1, 4, 2])[0])
        random = np.random.default_rng(draw(SEEDS))
        self.counts = random.integers(0, 5, (self.batch, self.outer)) if counted else None

    def nested(self, row: int | None = None) -> Nested:
        rows = slice(None) if row is None else slice(row, row + 1)
        levels = [Level(**{**vars(one), "seeds": one.seeds[rows]}) for one in self.levels]
        return Nested(self.a, *levels, batch=self.batch if row is None else 1)

    def counts_of(self, rows: slice, steps: slice) -> np.ndarray | None:
        return None if self.counts is None else self.counts[rows, steps]


@st.composite
def series(draw) -> Series:
    return Series(draw)


def splits(ragged: cadenza.Ragged) -> list[list[int]]:
    return [one.tolist() for one in (*ragged.above, ragged.row_splits)]


@settings(deadline=None, max_examples=120)
@given(series())
def test_a_batch_is_its_rows_one_by_one(made):
    whole = made.nested()
    ragged = whole.run(made.x, counts=made.counts)
    values, drawn, reasons, steps = [], [], [], 0
    for row in range(made.batch):
        alone = made.nested(row)
        one = alone.run(made.x[row : row + 1], counts=made.counts_of(slice(row, row + 1), slice(None)))
        values.append(one.values)
        drawn.append(alone.drawn.values if alone.drawn is not None else np.empty((0, 0), np.float32))
        reasons += alone.reasons()
        steps += alone.steps(len(made.levels))
    assert_same_bits(ragged.values, np.concatenate(values))
    if whole.drawn is not None:
        assert_same_bits(whole.drawn.values, np.concatenate(drawn))
    assert whole.reasons() == reasons
    assert whole.steps(len(made.levels)) == steps
    if all(one.stopping == "keep" for one in made.levels):
        assert len(ragged.values) == steps


@settings(deadline=None, max_examples=150)
@given(series(), st.data())
def test_pushing_and_pulling_in_pieces_from_snapshots_is_one_run(made, data):
    ragged = made.nested().run(made.x, counts=made.counts)
    nested = made.nested()
    cuts = sorted(data.draw(st.lists(st.integers(0, made.outer), max_size=3)))
    rows: list[list[np.ndarray]] = [[] for _ in range(made.batch)]
    for start, end in itertools.pairwise([0, *cuts, made.outer]):
        nested.push(made.x[:, start:end], counts=made.counts_of(slice(None), slice(start, end)))
        capacity = came = 1
        while came == capacity:
            capacity = data.draw(st.integers(1, 9))
            values, _, items = nested.pull(capacity)
            came = len(items)
            for value, item in zip(values, items, strict=True):
                rows[item.row].append(value)
            if data.draw(st.integers(0, 3)) == 0:
                snapshot, fork = nested.snapshot(), nested.fork()
                nested = made.nested()
                nested.restore(snapshot)
                assert nested.snapshot() == snapshot == fork.snapshot()
                nested = fork if data.draw(st.booleans()) else nested
    values = [value for row in rows for value in row]
    assert_same_bits(np.array(values, np.float32).reshape(-1, CLASSES), ragged.values)
    assert nested.pending == 0


@settings(deadline=None, max_examples=120)
@given(series())
def test_splits_cut_what_was_made(made):
    nested = made.nested()
    ragged = nested.run(made.x, counts=made.counts)
    above = made.batch * made.outer
    for depth, offsets in enumerate(splits(ragged), start=1):
        assert len(offsets) == above + 1 == len(nested.reasons(depth)) + 1
        above = offsets[-1]
        if made.levels[depth - 1].stopping == "keep":
            assert above == nested.steps(depth)
    assert above == len(ragged.values)
    if made.counts is not None and not made.levels[0].stops:
        lengths = np.diff(splits(ragged)[0]).reshape(made.batch, made.outer)
        limit = made.levels[0].limit or 99
        assert lengths.tolist() == np.minimum(made.counts, limit).tolist()


SAMPLERS = st.sampled_from([
    sample.categorical(temperature=1.3),
    sample.categorical(top_p=0.8, min_p=0.05),
    sample.categorical(repetition_penalty=2.0, forbidden=[1]),
    sample.argmax(),
])  # fmt: skip


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_self_feeding_in_pieces_and_row_by_row(data):
    draw = data.draw
    batch, steps = draw(st.integers(1, 4)), draw(st.integers(0, 30))
    kind = draw(st.sampled_from(["LSTM", "GRU", "SimpleRNN"]))
    text = model(CLASSES + 1, draw(st.integers(1, 9)), CLASSES, kind, draw(SEEDS))
    sampler, seeds = draw(SAMPLERS), draw(st.lists(SEEDS, min_size=batch, max_size=batch))
    stops = [stop.token(0), stop.gate(element=2)][: draw(st.integers(0, 2))]
    outside, primer = samples(batch, steps, 1, seed=draw(SEEDS)), samples(batch, 4, CLASSES + 1, seed=draw(SEEDS))
    lengths = draw(st.lists(st.integers(0, 4), min_size=batch, max_size=batch))

    def generator(rows: slice) -> SelfFeeding:
        made = SelfFeeding(
            text, batch=len(seeds[rows]), feedback=Feedback("sample", one_hot=CLASSES), sampler=sampler, stops=stops,
            seeds=seeds[rows], exogenous=1, minimum=2,
        )  # fmt: skip
        made.prime(primer[rows], lengths=lengths[rows])
        return made

    whole = generator(slice(None))
    made = whole.run(steps, outside)
    for row in range(batch):
        rows = slice(row, row + 1)
        alone = generator(rows)
        one = alone.run(steps, outside[rows])
        for ours, theirs in zip(one[:3], made[:3], strict=True):
            assert_same_bits(ours[0], theirs[row])
        assert one.lengths[0] == made.lengths[row] and alone.row() == whole.row(row)
    pieces, goes_on = [], generator(slice(None))
    for start, end in itertools.pairwise(sorted([0, *draw(st.lists(st.integers(0, steps), max_size=4)), steps])):
        pieces.append(goes_on.run(end - start, outside[:, start:end]))
        snapshot = goes_on.snapshot()
        goes_on = generator(slice(None)) if draw(st.booleans()) else goes_on.fork()
        goes_on.restore(snapshot)
        assert goes_on.snapshot() == snapshot
    for part in range(3):
        assert_same_bits(np.concatenate([piece[part] for piece in pieces], axis=1), made[part])
    assert sum(piece.lengths for piece in pieces).tolist() == made.lengths.tolist()
