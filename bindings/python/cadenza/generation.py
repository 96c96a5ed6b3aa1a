"""Generators: models fed with what they gave themselves, and models one below the other."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _bindings as c
from ._arguments import Array, address, addresses, as_bytes, count, filled, floats, in_order, require_shape, sizes
from .errors import InvalidArgumentError
from .model import Model
from .ragged import Ragged, _from_handle, joined
from .sample import Sampler
from .stop import Stop

REASONS = ("", "count", "limit", "rule")
FEEDBACK = {None: 0, "output": 1, "sample": 2}
STOPPING = {"keep": 0, "drop": 1, "undo": 2}
POLICY = {"carry": 0, "reset": 1, "given": 2}
DRIVE = {"input": 0, "state": 1}
UPWARD = {None: 0, "output": 1, "sample": 2, "state": 3}


def _choice(names: dict[Any, int], value: Any, what: str) -> int:
    if value not in names:
        raise InvalidArgumentError(f"expected {what} to be one of {', '.join(map(repr, names))}, received {value!r}")
    return names[value]


@dataclass(frozen=True)
class Feedback:
    """What of a step goes into the next one's input: "output" values or the drawn "sample"; then, as far as given, as a
    one-hot vector, through a model (with its own state), through a function of (values, row, step)."""

    source: Literal["output", "sample"] | None = None
    output: int = 0
    first: int = 0
    size: int = 0
    one_hot: int = 0
    model: Model | None = None
    function: Callable[..., Any] | None = None
    function_width: int = 0
    input: int = 0
    start: Any = None


class Run(NamedTuple):
    """A row's run: whether it goes on, what ended it ("count", "limit" or "rule"), the number of the rule that did, its
    length so far, and how often a limit has cut the row's runs."""

    running: bool
    reason: str
    rule: int | None
    length: int
    cut: int


class _Options:
    """The options as the library takes them, with all that they point to."""

    def __init__(
        self,
        feedback: Feedback | Literal["output", "sample"] | None,
        sampler: Sampler | None,
        stops: Sequence[Stop],
        limit: int | None,
        minimum: int,
        stopping: str,
        seeds: Any,
        output: int,
        exogenous: int = 0,
        exogenous_input: int = 0,
    ) -> None:
        self.keep: list[Any] = []
        self.error: BaseException | None = None
        self.value = options = c.GeneratorOptions()
        c.generator_options_init(options)
        link = feedback if isinstance(feedback, Feedback) else Feedback(feedback)
        options.output = count(output, "output")
        options.feedback = _choice(FEEDBACK, link.source, "feedback")
        options.stopping_step = _choice(STOPPING, stopping, "stopping")
        options.feedback_output = count(link.output, "feedback output")
        options.feedback_first = count(link.first, "feedback first")
        options.feedback_count = count(link.size, "feedback size")
        options.one_hot = count(link.one_hot, "one_hot")
        if link.model is not None:
            options.feedback_model = link.model._handle.value
        if link.function is not None:
            options.feedback_callback = self.callback(link.function, link.function_width)
            options.feedback_callback_width = count(link.function_width, "function_width")
        options.feedback_input = count(link.input, "feedback input")
        if link.start is not None:
            start = np.atleast_1d(floats(link.start)).ravel()
            self.keep.append(start)
            options.start, options.start_count = address(start), start.size
        if sampler is not None:
            made = sampler._fill(self.keep, self.callback)
            self.keep += [made, sampler]
            options.sampler = ctypes.pointer(made)
        if stops:
            array = (c.Stop * len(stops))()
            for stop, place in zip(stops, array, strict=True):
                stop._fill(place, self.callback)
            self.keep += [array, tuple(stops)]
            options.stops, options.stop_count = array, len(stops)
        options.limit = 0 if limit is None else count(limit, "limit")
        options.minimum = count(minimum, "minimum")
        if seeds is not None:
            numbers = (ctypes.c_uint64 * len(seeds))(*[count(seed, "seed") for seed in seeds])
            self.keep.append(numbers)
            options.seeds, options.seed_count = numbers, len(numbers)
        options.exogenous_size = count(exogenous, "exogenous")
        options.exogenous_input = count(exogenous_input, "exogenous_input")
        self.keep.append(link)

    def callback(self, function: Callable[..., Any], width: int) -> Any:
        def call(_context: Any, row: int, step: int, values: Any, size: int, result: Any) -> int:
            try:
                array = np.ctypeslib.as_array(values, (size,)).copy()
                answer = np.atleast_1d(floats(function(array, row, step))).ravel()
                require_shape(answer, (width,), "the function's answer")
                np.ctypeslib.as_array(result, (width,))[:] = answer
            except BaseException as error:  # it goes on behind the library's call
                self.error = error
                return 1
            return 0

        bound = c.CALLBACK(call)
        self.keep.append(bound)
        return bound


class _Generator:
    _options: list[_Options]

    def _call(self, function: Any, *arguments: Any) -> None:
        """Calls the library; an exception from a callback comes out as it was."""
        try:
            function(*arguments)
        except Exception as failure:
            for options in self._options:
                error, options.error = options.error, None
                if error is not None:
                    raise error from failure
            raise


def _lengths(lengths: Any, batch: int) -> Any:
    if lengths is None:
        return None
    numbers = [count(length, "a length") for length in lengths]
    if len(numbers) != batch:
        raise InvalidArgumentError(f"expected {batch} lengths, received {len(numbers)}")
    return (c.SIZE * batch)(*numbers)


def _chunk(values: Any, batch: int, size: int, what: str) -> Array:
    """(batch, steps, size); without the batch axis for one row, without the last one for size 1."""
    array = floats(values)
    if size == 1 and array.ndim in (1, 2) and (array.ndim == 1 or array.shape[0] == batch):
        array = array[..., np.newaxis]
    if batch == 1 and array.ndim == 2:
        array = array[np.newaxis]
    if array.ndim != 3 or array.shape[0] != batch or array.shape[2] != size:
        raise InvalidArgumentError(f"expected {what} of shape ({batch}, steps, {size}), received {array.shape}")
    return np.ascontiguousarray(array)


class Generated(NamedTuple):
    """What a self-feeding generator made: zeros behind a row's end, see `lengths`."""

    values: Array
    """(batch, steps, width): the model's outputs."""
    drawn: Array | None
    """(batch, steps, drawn width): what was drawn of them; None without a sampler."""
    log_probabilities: Array | None
    """(batch, steps): of what was drawn, as the model itself gave it."""
    lengths: NDArray[np.int64]
    """(batch,): steps of each row."""


class SelfFeeding(_Generator):
    """A model that goes on from what it gave itself, for rows that stop on their own.

    `batch`: rows. `feedback`, `sampler`, `stops`: see `Feedback`, `cadenza.sample`, `cadenza.stop`. `limit`, `minimum`: the
    most steps of a run, and the steps before which stops are not asked. `stopping`: what becomes of a step in which a
    stop fires: "keep" hands it out, "drop" does not, "undo" also takes the state back to before it. `seeds`: one for each
    row; else row r has seed r. `output`: the model's output that is handed out. `exogenous`: how many values come from outside with
    each step, for input `exogenous_input`, before what is fed back.

    Raises InvalidArgumentError where sizes do not join or a stop can never fire, CannotStreamError for a model that needs the
    whole sequence.

    >>> generator = cadenza.SelfFeeding(model, feedback="sample", sampler=cadenza.sample.categorical(temperature=0.8))
    >>> generator.prime(ids)
    >>> text = generator.run(200).drawn
    """

    def __init__(
        self,
        model: Model,
        *,
        batch: int = 1,
        feedback: Feedback | Literal["output", "sample"] | None = "output",
        sampler: Sampler | None = None,
        stops: Sequence[Stop] = (),
        limit: int | None = None,
        minimum: int = 0,
        stopping: Literal["keep", "drop", "undo"] = "keep",
        seeds: Sequence[int] | None = None,
        output: int = 0,
        exogenous: int = 0,
        exogenous_input: int = 0,
    ) -> None:
        self.model = model
        self._options = [
            _Options(feedback, sampler, stops, limit, minimum, stopping, seeds, output, exogenous, exogenous_input)
        ]
        self._handle = c.SelfFeedingHandle()
        c.selffeeding_create(model._handle, count(batch, "batch"), self._options[0].value, ctypes.byref(self._handle))
        self._shape = self._info()
        self._pieces: list[tuple[Array, Array | None, Array | None, NDArray[Any]]] = []

    def _info(self) -> c.SelfFeedingInfo:
        info = c.SelfFeedingInfo()
        c.selffeeding_describe(self._handle, info)
        return info

    @property
    def batch(self) -> int:
        return int(self._shape.batch)

    @property
    def steps(self) -> int:
        """Steps of the model so far, all rows together."""
        return int(self._info().steps)

    def row(self, row: int = 0) -> Run:
        """How a row's run stands."""
        info = c.RunInfo()
        c.selffeeding_row(self._handle, count(row, "row"), info)
        return _run(info)

    def reset(self, row: int | None = None) -> None:
        """Back to the beginning, random numbers too."""
        if row is None:
            c.selffeeding_reset(self._handle)
        else:
            c.selffeeding_reset_row(self._handle, count(row, "row"))

    def prime(self, inputs: Any, lengths: Any = None) -> None:
        """Feeds a prefix (batch, steps, features), or (batch, steps) ids; without the batch axis for one row. `lengths`:
        how many steps of each row count. For several inputs a list, or a dict by name."""
        batch, tensors = self.batch, self.model.inputs
        given = [inputs] if len(tensors) == 1 else in_order(inputs, [tensor.name for tensor in tensors], "input")
        arrays = [
            _chunk(one, batch, tensor.step_size, f"input '{tensor.name}'")
            for one, tensor in zip(given, tensors, strict=True)
        ]
        if len({array.shape[1] for array in arrays}) != 1:
            raise InvalidArgumentError("expected inputs with the same number of steps")
        self._call(c.selffeeding_prime, self._handle, arrays[0].shape[1], addresses(arrays), _lengths(lengths, batch))

    def next(self, exogenous: Any = None) -> Generated:
        """One step."""
        return self.run(1, exogenous)

    def run(self, steps: int, exogenous: Any = None, *, progress: bool = False) -> Generated:
        """Up to `steps` steps of each row that has not stopped. `exogenous`: (batch, steps, size) values from outside.
        `progress` shows a bar where tqdm is installed.

        Raises InvalidArgumentError where a shape does not fit or a step has NaN to draw from, and what a callback raised;
        steps before that stand, and `gathered` has them."""
        shape, steps = self._shape, count(steps, "steps", 40)
        outside = (
            None if exogenous is None else _chunk(exogenous, shape.batch, shape.exogenous_size, "exogenous values")
        )
        if outside is not None and outside.shape[1] != steps:
            raise InvalidArgumentError(f"expected exogenous values for {steps} steps, received {outside.shape[1]}")
        self._pieces = []
        for start, size in _pieces(steps, progress):
            values, made = np.zeros((shape.batch, size, shape.width), np.float32), np.zeros(shape.batch, c.SIZE)
            drawn = logs = None
            if shape.drawn_width:
                drawn, logs = (
                    np.zeros((shape.batch, size, shape.drawn_width), np.float32),
                    np.zeros((shape.batch, size), np.float32),
                )
            self._pieces.append((values, drawn, logs, made))
            piece = (
                outside if outside is None or size == steps else np.ascontiguousarray(outside[:, start : start + size])
            )
            self._call(
                c.selffeeding_run, self._handle, size, None if piece is None else address(piece), address(values),
                None if drawn is None else address(drawn), None if logs is None else address(logs), sizes(made),
            )  # fmt: skip
        return self.gathered()

    def gathered(self) -> Generated:
        """What the last run made: all of it, or where a step failed, what was made before."""
        if not self._pieces:
            raise InvalidArgumentError("expected a run before what it made is asked for")
        values, drawn, logs = (_end_to_end([piece[part] for piece in self._pieces]) for part in range(3))
        return Generated(
            values, drawn, logs, np.stack([piece[3] for piece in self._pieces]).sum(axis=0, dtype=np.int64)
        )

    def score(self, continuation: Any, lengths: Any = None, exogenous: Any = None) -> Array:
        """The log-probability of each step of a given continuation (batch, steps, drawn width): (batch, steps)."""
        info = self._shape
        array = _chunk(continuation, info.batch, max(1, info.drawn_width), "a continuation")
        outside = None if exogenous is None else _chunk(exogenous, info.batch, info.exogenous_size, "exogenous values")
        if outside is not None and outside.shape[1] != array.shape[1]:
            raise InvalidArgumentError(
                f"expected exogenous values for {array.shape[1]} steps, received {outside.shape[1]}"
            )
        logs = np.zeros(array.shape[:2], np.float32)
        self._call(
            c.selffeeding_score, self._handle, array.shape[1], address(array), _lengths(lengths, info.batch),
            None if outside is None else address(outside), address(logs),
        )  # fmt: skip
        return logs

    def snapshot(self) -> bytes:
        """Everything as bytes, the samplers' positions too."""
        return filled(c.selffeeding_snapshot, self._handle)

    def restore(self, snapshot: Any) -> None:
        """Goes on from a snapshot of a generator made alike."""
        data = as_bytes(snapshot)
        c.selffeeding_restore(self._handle, data, len(data))

    def fork(self) -> SelfFeeding:
        """A generator of its own that goes on from here."""
        other = SelfFeeding.__new__(SelfFeeding)
        other.model, other._options, other._shape = self.model, self._options, self._shape
        other._handle, other._pieces = c.SelfFeedingHandle(), []
        c.selffeeding_fork(self._handle, ctypes.byref(other._handle))
        return other


def _end_to_end(pieces: list[Any]) -> Any:
    """(batch, steps, …) pieces as one; None where there are none."""
    return pieces[0] if len(pieces) == 1 or pieces[0] is None else np.concatenate(pieces, axis=1)


def _pieces(steps: int, progress: bool) -> Iterator[tuple[int, int]]:
    """The steps at once, or in hundredths under a bar where tqdm is installed."""
    if not progress or not importlib.util.find_spec("tqdm"):
        yield 0, steps
        return
    from tqdm.auto import tqdm

    size = max(1, steps // 100)
    with tqdm(total=steps) as bar:
        for start in range(0, max(1, steps), size):
            piece = min(size, steps - start)
            yield start, piece
            bar.update(piece)


def _run(info: c.RunInfo) -> Run:
    reason = REASONS[info.reason]
    return Run(bool(info.running), reason, info.rule if reason == "rule" else None, info.length, info.cut)


class Hypothesis(NamedTuple):
    """A continuation that beam search found."""

    classes: list[int]
    score: float


def beam_search(
    model: Model,
    prefix: Any,
    *,
    maximum_length: int,
    batch: int = 1,
    width: int = 4,
    end_token: int | None = None,
    length_penalty: float = 0.0,
    lengths: Any = None,
    feedback: Feedback | Literal["sample"] = "sample",
    sampler: Sampler | None = None,
) -> list[list[Hypothesis]]:
    """The likeliest continuations of each row's prefix, best first. `sampler`: a categorical one, for the output that is read
    and forbidden classes."""
    from .sample import categorical

    options = _Options(feedback, sampler or categorical(), (), None, 0, "keep", None, 0)
    beam = c.BeamOptions()
    c.beam_options_init(beam)
    beam.width = width = count(width, "width", 16)
    beam.maximum_length = maximum_length = count(maximum_length, "maximum_length", 24)
    beam.end_token = -1 if end_token is None else end_token
    beam.length_penalty = length_penalty
    batch = count(batch, "batch")
    tensors = model.inputs
    given = [prefix] if len(tensors) == 1 else in_order(prefix, [tensor.name for tensor in tensors], "input")
    arrays = [
        _chunk(one, batch, tensor.step_size, f"input '{tensor.name}'")
        for one, tensor in zip(given, tensors, strict=True)
    ]
    classes = np.zeros((batch, width, maximum_length), c.SIZE)
    counts, scores = np.zeros((batch, width), c.SIZE), np.zeros((batch, width), np.float32)
    c.beam_search(
        model._handle, batch, options.value, beam, arrays[0].shape[1], addresses(arrays), _lengths(lengths, batch), sizes(classes),
        sizes(counts), address(scores),
    )  # fmt: skip
    return [
        [
            Hypothesis([int(one) for one in classes[row, rank, : counts[row, rank]]], float(scores[row, rank]))
            for rank in range(width)
            if counts[row, rank]
        ]
        for row in range(batch)
    ]


@dataclass(frozen=True)
class Level:
    """A model below the first in a nested generator, with what it does. What has the same name as in `SelfFeeding` is the
    same: here a run is what one step of the model above drives.

    `drive`: what drives it is the input of each of its steps, or (with state "given") only the state that a run begins
    from. `driver_output`: the output of the model above that drives it; `driver_input`: the input that it goes to, before
    what is fed back. The input's values are those, then the fed-back ones, then what comes up from the model below."""

    model: Model
    feedback: Feedback | Literal["output", "sample"] | None = None
    sampler: Sampler | None = None
    stops: Sequence[Stop] = ()
    limit: int | None = None
    minimum: int = 0
    stopping: Literal["keep", "drop", "undo"] = "keep"
    seeds: Sequence[int] | None = None
    output: int = 0
    counted: bool = False
    """The number of steps is given: with the samples, or by `counts` below the second model."""
    counts: Sequence[int] | None = None
    state: Literal["carry", "reset", "given"] = "carry"
    """What a run begins from: the row's run before, zero, or what drives it (through `initial_state` where given)."""
    initial_state: Model | None = None
    drive: Literal["input", "state"] = "input"
    driver_output: int = 0
    driver_input: int = 0
    upward: Literal["output", "sample", "state"] | None = None
    """What goes back into the next input of the model above."""
    upward_index: int = 0
    upward_input: int = 0


class Item(NamedTuple):
    """Where a pulled value belongs."""

    row: int
    outer: int
    middle: int
    inner: int
    log_probability: float


class _Gathered(NamedTuple):
    """What a run made: outputs, what was drawn, its log-probabilities; by level what ended each run: (runs, 2)."""

    series: list[Ragged]
    reasons: list[NDArray[np.int64]]


class Nested(_Generator):
    """Models one below the other: each step of one drives a run of the next, as long as that takes.

    >>> nested = cadenza.Nested(a, cadenza.Level(b, counted=True), batch=2)
    >>> ragged = nested.run(x, counts=[3, 4, 2])
    >>> ragged.to_padded(layout="time")            # (outer, longest, batch, units)

    Raises InvalidArgumentError where sizes do not join, or where nothing can end a run: neither counts, nor a limit, nor a
    stop that can fire.
    """

    def __init__(self, first: Model, *levels: Level | Model, batch: int = 1) -> None:
        self.levels = tuple(level if isinstance(level, Level) else Level(level) for level in levels)
        self.first = first
        self._before: list[_Gathered] = []
        self._options = []
        array = (c.Level * max(1, len(self.levels)))()
        keep: list[Any] = []
        for level, place in zip(self.levels, array):
            options = _Options(
                level.feedback,
                level.sampler,
                level.stops,
                level.limit,
                level.minimum,
                level.stopping,
                level.seeds,
                level.output,
            )
            self._options.append(options)
            c.level_init(place)
            place.model = level.model._handle.value
            place.options = ctypes.pointer(options.value)
            place.driver_output = count(level.driver_output, "driver_output")
            place.driver_input = count(level.driver_input, "driver_input")
            place.drive = _choice(DRIVE, level.drive, "drive")
            place.policy = _choice(POLICY, level.state, "state")
            if level.initial_state is not None:
                place.initial_state = level.initial_state._handle.value
            place.is_counted = level.counted
            place.upward = _choice(UPWARD, level.upward, "upward")
            place.upward_index = count(level.upward_index, "upward_index")
            place.upward_input = count(level.upward_input, "upward_input")
            if level.counts is not None:
                counts = (c.SIZE * len(level.counts))(*[count(number, "a count", 40) for number in level.counts])
                keep.append(counts)
                place.counts, place.count_count = counts, len(counts)
        self._handle = c.NestedHandle()
        c.nested_create(first._handle, array, len(self.levels), count(batch, "batch"), ctypes.byref(self._handle))

    def _info(self) -> c.NestedInfo:
        info = c.NestedInfo()
        c.nested_describe(self._handle, info)
        return info

    @property
    def batch(self) -> int:
        return int(self._info().batch)

    @property
    def pending(self) -> int:
        """Samples of each row that wait."""
        return int(self._info().pending)

    def steps(self, level: int = 1) -> int:
        """Steps that a level's model has made, all rows together."""
        steps = ctypes.c_uint64()
        c.nested_steps(self._handle, count(level, "level"), steps)
        return steps.value

    def row(self, row: int = 0, level: int = 1) -> Run:
        """How a row's run at a level stands."""
        info = c.RunInfo()
        c.nested_row(self._handle, count(row, "row"), count(level, "level"), info)
        return _run(info)

    def reset(self) -> None:
        """Back to the beginning; samples that wait are dropped."""
        c.nested_reset(self._handle)

    def push(self, samples: Any, *, counts: Any = None, lengths: Any = None) -> None:
        """Samples (batch, steps, features). `counts`, where the second model is counted: (steps,) or (batch, steps).
        `lengths`: how many samples of each row count."""
        info = self._info()
        array = _chunk(samples, info.batch, info.sample_size, "samples")
        steps, per_row, numbers = array.shape[1], False, None
        if counts is not None:
            given = np.asarray(counts)
            per_row = given.ndim == 2
            expected = (info.batch, steps) if per_row else (steps,)
            if given.shape != expected or (given.size and (given.dtype.kind not in "iu" or (given < 0).any())):
                raise InvalidArgumentError(
                    f"expected counts from 0 up of shape ({steps},) or ({info.batch}, {steps}), received {counts!r}"
                )
            numbers = np.ascontiguousarray(given, c.SIZE)
        self._call(
            c.nested_push,
            self._handle,
            steps,
            address(array),
            _lengths(lengths, info.batch),
            None if numbers is None else sizes(numbers),
            per_row,
        )

    def pull(self, capacity: int) -> tuple[Array, Array | None, list[Item]]:
        """At most `capacity` outputs of the samples that wait, what was drawn with them, and where they belong. Fewer
        than `capacity` mean that all samples are used up."""
        info, capacity = self._info(), count(capacity, "capacity", 40)
        values = np.empty((capacity, info.width), np.float32)
        drawn = np.empty((capacity, info.drawn_width), np.float32)
        items, made = (c.NestedItem * max(1, capacity))(), ctypes.c_size_t()
        self._call(c.nested_pull, self._handle, capacity, address(values), address(drawn), items, made)
        places = [Item(one.row, one.outer, one.middle, one.inner, one.log_probability) for one in items[: made.value]]
        return values[: made.value], drawn[: made.value] if info.drawn_width else None, places

    def run(self, samples: Any = None, *, counts: Any = None, lengths: Any = None, progress: bool = False) -> Ragged:
        """Pushes samples, and makes all of those that wait into a ragged series. What was drawn: see `drawn`.
        `progress` shows a bar over the samples where tqdm is installed.

        Raises InvalidArgumentError where shapes or counts do not fit, and what a callback raised; what was made
        before that is in `gathered`."""
        self._before = []
        if samples is not None and not progress:
            self.push(samples, counts=counts, lengths=lengths)
        if samples is None or not progress:
            self._call(c.nested_run, self._handle, ctypes.byref(c.RaggedHandle()), None, None)
            return self.gathered()
        info = self._info()
        array, numbers = (
            _chunk(samples, info.batch, info.sample_size, "samples"),
            None if counts is None else np.asarray(counts),
        )
        ends = None if lengths is None else np.asarray(lengths)
        for start, size in _pieces(array.shape[1], progress):
            piece = slice(start, start + size)
            if start:
                self._before.append(self._last())
            self.push(
                array[:, piece],
                counts=None if numbers is None else numbers[..., piece],
                lengths=None if ends is None else np.clip(ends - start, 0, size),
            )
            self._call(c.nested_run, self._handle, ctypes.byref(c.RaggedHandle()), None, None)
        return self.gathered()

    def gathered(self) -> Ragged:
        """What the last run made: all of it, or where a step failed, what was made before."""
        return self._all().series[0]

    @property
    def drawn(self) -> Ragged | None:
        """What the last run drew, with the same splits; None without a sampler."""
        return next(iter(self._all().series[1:]), None)

    @property
    def log_probabilities(self) -> Ragged | None:
        """Of what the last run drew: series of width 1; None without a sampler."""
        return next(iter(self._all().series[2:]), None)

    def reasons(self, level: int = 1) -> list[tuple[str, int | None]]:
        """What ended each run of the last `run` at a level, in the order of its splits: "count", "limit", or "rule" and
        its number."""
        marks = self._all().reasons
        if not 1 <= level <= len(marks):
            raise InvalidArgumentError(f"expected a level from 1 to {len(marks)}, received {level}")
        return [(REASONS[reason], int(rule) if reason == 3 else None) for reason, rule in marks[level - 1].tolist()]

    def _all(self) -> _Gathered:
        """What the last run made, in one go or in pieces."""
        pieces = [*self._before, self._last()]
        if len(pieces) == 1:
            return pieces[0]
        joins = [
            joined(series, [piece.reasons for piece in pieces]) for series in zip(*(piece.series for piece in pieces))
        ]
        return _Gathered([series for series, _ in joins], joins[0][1])

    def _last(self) -> _Gathered:
        """What the library's last run made."""
        info = self._info()
        handles = [c.RaggedHandle() for _ in range(3 if info.drawn_width else 1)]
        self._call(
            c.nested_gathered,
            self._handle,
            *(ctypes.byref(handle) for handle in handles),
            *([None] * (3 - len(handles))),
        )
        series = [_from_handle(handle, batch=info.batch) for handle in handles]
        reasons = []
        for level in range(1, info.levels):
            size = ctypes.c_size_t()
            c.nested_reasons(self._handle, level, None, None, 0, size)
            kinds, rules = np.zeros(size.value, np.int32), np.zeros(size.value, c.SIZE)
            c.nested_reasons(
                self._handle, level, kinds.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)), sizes(rules), size, size
            )
            reasons.append(np.stack([kinds, rules.astype(np.int64)], axis=1))
        return _Gathered(series, reasons)

    def snapshot(self) -> bytes:
        """Everything as bytes, in the middle of a run too."""
        return filled(c.nested_snapshot, self._handle)

    def restore(self, snapshot: Any) -> None:
        """Goes on from a snapshot of a generator made alike."""
        data = as_bytes(snapshot)
        c.nested_restore(self._handle, data, len(data))

    def fork(self) -> Nested:
        """A generator of its own that goes on from here."""
        other = Nested.__new__(Nested)
        other.levels, other.first, other._options, other._handle = (
            self.levels,
            self.first,
            self._options,
            c.NestedHandle(),
        )
        other._before = []
        c.nested_fork(self._handle, ctypes.byref(other._handle))
        return other
