"""Gradients through loops of steps: models fed with what they gave themselves, models one below the other.

    run = cadenza.Unrolled(model)
    output, states = run.step(model, x0)
    output, states = run.step(model, output, states)       # what it gave goes in again
    gradients = run.backward([(output, 2 * (output.array - y))])

`self_feeding` and `nested` make whole runs, and `influence` tells what depends on what in them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from . import _bindings as c
from ._arguments import Array, address, count, floats, require_shape, sizes
from .errors import InvalidArgumentError
from .model import Model
from .training import Tape, _addresses_or_null


class Value:
    """An array (batch, …) that steps make and take, and after a backward run its gradient."""

    def __init__(self, array: Any) -> None:
        self.array: Array = floats(array)
        self.gradient: Array = np.zeros_like(self.array)
        self._back: Callable[[], None] = _nothing

    def _clear(self) -> None:
        self.gradient[...] = 0

    def _forget(self) -> None:
        """A value keeps what it is."""

    def _add(self, gradient: Any) -> None:
        self.gradient += gradient

    def __repr__(self) -> str:
        return f"<cadenza.Value {self.array.shape}>"


def _nothing() -> None:
    """A value from outside hands nothing on."""


class Unrolled:
    """Steps of models as they are made, so that gradients can go back through all of them."""

    def __init__(
        self,
        *models: Model,
        frozen: Mapping[Model, Iterable[str]] | None = None,
        threads: int = 1,
        memory_limit: int = 0,
    ) -> None:
        """models: those that will step. frozen: by model the names of layers that are not trained. threads, memory_limit: as
        for `Tape`; the limit is one for each step that is made, and for each model of a whole run, which cannot keep to it by
        computing again: it raises OutOfMemoryError."""
        self._tapes = {
            id(model): Tape(model, (frozen or {}).get(model, ()), threads=threads, memory_limit=memory_limit)
            for model in models
        }
        self._models = models
        self._spare: dict[int, list[Tape]] = {id(model): [] for model in models}
        self._used: list[tuple[int, Tape]] = []
        self._spare_loops: dict[Any, list[c.UnrolledHandle]] = {}
        self._made: list[Value | _Loop] = []

    def reset(self) -> None:
        """Forgets all steps, to begin anew; their memory is used again. The weights may have changed meanwhile."""
        for owner, tape in self._used:
            self._spare[owner].append(tape)
        for made in self._made:
            made._forget()
        self._used, self._made = [], []

    def tape(self, model: Model) -> Tape:
        """The tape in which the model's gradients are summed up."""
        self._require(model)
        return self._tapes[id(model)]

    def value(self, array: Any) -> Value:
        """A value from outside."""
        return self._keep(Value(array))

    def step(
        self,
        model: Model,
        inputs: Any,
        states: Mapping[str, Value] | None = None,
        training: bool = False,
        seed: int = 0,
    ) -> tuple[Any, dict[str, Value]]:
        """One step of a model: its output, or a list of them, and its states by `layer/name`.

        inputs: a value or an array (batch, features) for each input, in a list where there are several. states: those
        that the step begins from; left out: zeros, or what the model gives.
        """
        self._require(model)
        several = isinstance(inputs, (list, tuple)) and len(model.inputs) > 1
        given = [item if isinstance(item, Value) else self.value(item) for item in (inputs if several else [inputs])]
        before = {key: item if isinstance(item, Value) else self.value(item) for key, item in (states or {}).items()}
        tape = self._tape(model)
        x = [item.array[:, np.newaxis] if tensor.has_time else item.array for tensor, item in zip(model.inputs, given)]
        answers = tape.forward(
            x if len(x) > 1 else x[0], {key: item.array for key, item in before.items()}, training, seed
        )
        listed = answers if isinstance(answers, list) else [answers]
        outputs = [
            self._keep(Value(answer[:, 0] if tensor.has_time else answer))
            for tensor, answer in zip(model.outputs, listed)
        ]
        after = {key: self._keep(Value(array)) for key, array in tape.states.items()}

        def back() -> None:
            if not any(item.gradient.any() for item in (*outputs, *after.values())):
                return
            tape._run_backward(
                [item.gradient.reshape(answer.shape) for item, answer in zip(outputs, listed)],
                {key: item.gradient for key, item in after.items()},
                accumulate=True,
            )
            by_input, by_state = tape._input_and_state_gradients()
            for item, gradient in zip(given, by_input):
                item._add(gradient.reshape(item.array.shape))
            for key, item in before.items():
                item._add(by_state[key])

        # The first of what a step gives is the last to be asked for: then all gradients have come.
        outputs[0]._back = back
        return (outputs if len(outputs) > 1 else outputs[0]), after

    def concatenate(self, values: Sequence[Value]) -> Value:
        """Side by side along the last axis."""
        result = self._keep(Value(np.concatenate([value.array for value in values], axis=-1)))

        def back() -> None:
            start = 0
            for value in values:
                value._add(result.gradient[..., start : start + value.array.shape[-1]])
                start += value.array.shape[-1]

        result._back = back
        return result

    def part(self, value: Value, first: int, size: int) -> Value:
        """Some of the last axis."""
        result = self._keep(Value(value.array[..., first : first + size]))

        def back() -> None:
            value.gradient[..., first : first + size] += result.gradient

        result._back = back
        return result

    def where(self, rows: Any, value: Value, other: Value) -> Value:
        """`value` in the rows that are true, `other` in the others. rows: (batch,)."""
        chosen = np.asarray(rows, bool).reshape((-1,) + (1,) * (value.array.ndim - 1))
        result = self._keep(Value(np.where(chosen, value.array, other.array)))

        def back() -> None:
            value._add(np.where(chosen, result.gradient, 0))
            other._add(np.where(chosen, 0, result.gradient))

        result._back = back
        return result

    def choice(self, value: Value, chosen: Any, straight_through: bool = False) -> Value:
        """What was chosen by means of `value`: a class as a one-hot row, a sample. The gradient stops here, or with
        `straight_through` goes on as if the choice were the value itself."""
        result = self._keep(Value(chosen))
        if straight_through:
            require_shape(result.array, value.array.shape, "a choice to go straight through")
            result._back = lambda: value._add(result.gradient)
        return result

    def backward(self, gradients: Iterable[tuple[Value, Any]]) -> dict[Model, dict[str, Array]]:
        """The weights' gradients of each model, by name; those of values stand in `Value.gradient`.

        gradients: pairs of a value and a loss's gradient with respect to it. May be called again for another loss.
        """
        self._begin_backward()
        for value, gradient in gradients:
            value._add(gradient)
        return self._go_back()

    # ── Detail ──────────────────────────────────────────────────────────────────────────────────────────

    def _keep(self, value: Value) -> Value:
        self._made.append(value)
        return value

    def _require(self, model: Model) -> None:
        if id(model) not in self._tapes:
            raise InvalidArgumentError("expected a model that Unrolled was made for")

    def _tape(self, model: Model) -> Tape:
        spare = self._spare[id(model)]
        tape = spare.pop() if spare else self._tapes[id(model)].fork()
        self._used.append((id(model), tape))
        return tape

    def _begin_backward(self) -> None:
        for tape in self._tapes.values():
            c.tape_zero_gradients(tape._handle)
        for made in self._made:
            made._clear()

    def _go_back(self) -> dict[Model, dict[str, Array]]:
        for made in reversed(self._made):
            made._back()
        return {model: self._tapes[id(model)]._weight_gradients() for model in self._models}


# ── Runs that the library makes as a whole ──────────────────────────────────────────────────────────────

_X, _ANSWERS, _OUTPUTS, _INITIAL, _STATES = 0, 1, 2, 3, 5
_CHOICES = {None: 0, "largest": 1, "drawn": 2}
_POLICIES = {"carry": 0, "reset": 1, "given": 2}

Choice = Literal["largest", "drawn"]


@dataclass
class _Layout:
    """How the library's array of a part is cut into values (batch, …), one after another, and made of their gradients."""

    shape: tuple[int, ...]
    cut: Callable[[Array], Any]
    join: Callable[[Array], Array]


def _by_time(*shape: int) -> _Layout:
    """(batch, time, width)"""
    return _Layout(shape, lambda whole: whole.swapaxes(0, 1), lambda values: floats(values.swapaxes(0, 1)))


class _Loop:
    """A run of the library. What it made becomes values where it is asked for."""

    def __init__(self, run: Unrolled, models: Sequence[Model], **options: int) -> None:
        """models: the one that feeds itself; or the first, the one below it, and what makes that one's initial states.
        options: fields of cadenza_unrolled_options."""
        for model in models:
            run._require(model)
        self._run, self._models = run, models
        self._key = (*map(id, models), *options.items())
        spare = run._spare_loops.setdefault(self._key, [])
        self._handle = spare.pop() if spare else self._new(options)
        self.states = [state for model in models[:2] for state in model.states]
        self._layouts: dict[tuple[int, int], _Layout] = {}
        self._values: dict[tuple[int, int], list[Value]] = {}
        self._initial: Sequence[Value] = ()
        self._given: Array | None = None
        self._is_forgotten = self._has_gradients = False

    def _new(self, options: Mapping[str, int]) -> c.UnrolledHandle:
        asked = c.UnrolledOptions()
        c.unrolled_options_init(ctypes.byref(asked))
        for name, value in {**options, "state_gradients": 1}.items():
            setattr(asked, name, value)
        tapes = [self._run._tapes[id(model)]._handle for model in self._models]
        asked.below, asked.initial_state = [*(tape.value for tape in tapes[1:]), None, None][:2]
        handle = c.UnrolledHandle()
        c.unrolled_create(tapes[0], ctypes.byref(asked), ctypes.byref(handle))
        return handle

    def forward(self, x: Array, initial: Sequence[Value] = (), **given: Any) -> None:
        """initial: the first model's states before the first step. given: fields of cadenza_unrolled_batch."""
        batch = c.UnrolledBatch()
        for name, field in {"batch": len(x), "steps": x.shape[1], "x": address(x), **given}.items():
            setattr(batch, name, field)
        for value, state in zip(initial, self.states):
            require_shape(value.array, (len(x), state.units), f"state '{state.key}'")
        if initial:
            batch.states = _addresses_or_null([value.array for value in initial])
        c.unrolled_forward(self._handle, ctypes.byref(batch))
        self._initial = initial
        self._run._made.append(self)

    def read(self, part: int, index: int, shape: tuple[int, ...], gradient: bool = False) -> Array:
        """A part of the run, or its gradient."""
        self._require_remembered()
        values = np.empty(shape, np.float32)
        (c.unrolled_gradient if gradient else c.unrolled_values)(
            self._handle, part, index, address(values), values.size
        )
        return values

    def values(self, part: int, layout: _Layout, index: int = 0, whole: Array | None = None) -> list[Value]:
        """A part as values. whole: the library's array, where it is known."""
        if (part, index) not in self._values:
            whole = self.read(part, index, layout.shape) if whole is None else whole
            self._layouts[part, index] = layout
            self._values[part, index] = [Value(array) for array in layout.cut(whole)]
            if self._has_gradients:
                self._fill(part, index)
        return self._values[part, index]

    def _fill(self, part: int, index: int) -> None:
        layout = self._layouts[part, index]
        for value, gradient in zip(
            self._values[part, index], layout.cut(self.read(part, index, layout.shape, gradient=True))
        ):
            # The library's has in it what was given, but for x.
            value.gradient[...] = value.gradient + gradient if part == _X else gradient

    def backward(self, outputs: Array) -> dict[Model, dict[str, Array]]:
        """From the gradient of the outputs as the library has them."""
        self._require_remembered()
        self._run._begin_backward()
        self._given = outputs
        return self._run._go_back()

    def _clear(self) -> None:
        self._given, self._has_gradients = None, False
        for values in self._values.values():
            for value in values:
                value._clear()

    def _back(self) -> None:
        def joined(part: int, index: int = 0) -> Array | None:
            values = self._values.get((part, index), ())
            if not any(value.gradient.any() for value in values):
                return None
            return self._layouts[part, index].join(np.stack([value.gradient for value in values]))

        outputs, answers = joined(_OUTPUTS), joined(_ANSWERS)
        if self._given is not None:
            outputs = self._given
        states = [joined(_STATES, index) for index in range(len(self.states))]
        c.unrolled_backward(
            self._handle,
            None if outputs is None else address(outputs),
            None if answers is None else address(answers),
            _addresses_or_null(states),
            1,
        )
        self._has_gradients = True
        for part, index in self._values:
            self._fill(part, index)
        for index, value in enumerate(self._initial):
            value._add(self.read(_INITIAL, index, value.array.shape, gradient=True))

    def _require_remembered(self) -> None:
        if self._is_forgotten:
            raise InvalidArgumentError("expected a run that Unrolled.reset has not made forgotten")

    def _forget(self) -> None:
        self._is_forgotten = True
        self._run._spare_loops[self._key].append(self._handle)


# ── Self-feeding ────────────────────────────────────────────────────────────────────────────────────────


class SelfFedRun(Sequence[Value]):
    """What a self-fed run made: a sequence of its outputs, (batch, width) each, and what they came from."""

    run: Unrolled
    initial: dict[str, Value]
    """The states before the first step, by `layer/name`."""
    array: Array
    """All outputs: (batch, steps, width)."""
    taught: np.ndarray
    """Which rows were fed their targets for the step that made an output: (batch, steps) booleans."""

    def __init__(self, loop: _Loop, primer: Array, initial: dict[str, Value], array: Array, taught: np.ndarray) -> None:
        self.run, self.initial, self.array, self.taught = loop._run, initial, array, taught
        self._loop, self._primer = loop, primer
        self._outputs = loop.values(_OUTPUTS, _by_time(*array.shape), whole=array)

    @property
    def x(self) -> list[Value]:
        """x[k]: (batch, features), the primer."""
        return self._loop.values(_X, _by_time(*self._primer.shape), whole=self._primer)

    @property
    def outputs(self) -> list[Value]:
        """The outputs, one after another."""
        return self._outputs

    @property
    def carried(self) -> list[dict[str, Value]]:
        """carried[t]: the states after the step that made output t."""
        batch, primer = self._primer.shape[:2]
        steps = primer - 1 + len(self)
        series = {
            state.key: self._loop.values(_STATES, _by_time(batch, steps, state.units), index)
            for index, state in enumerate(self._loop.states)
        }
        return [{key: values[primer - 1 + t] for key, values in series.items()} for t in range(len(self))]

    @overload
    def __getitem__(self, index: int) -> Value: ...

    @overload
    def __getitem__(self, index: slice) -> list[Value]: ...

    def __getitem__(self, index: int | slice) -> Value | list[Value]:
        return self._outputs[index]

    def __len__(self) -> int:
        return len(self._outputs)

    def backward(self, gradient: Any) -> dict[Model, dict[str, Array]]:
        """From the gradient of `array`."""
        gradient = floats(gradient)
        require_shape(gradient, self.array.shape, "a gradient of the outputs")
        return self._loop.backward(gradient)


def self_feeding(
    run: Unrolled,
    model: Model,
    primer: Any,
    steps: int,
    targets: Any = None,
    teacher_forcing: float | Callable[[int], float] = 0.0,
    states: Mapping[str, Any] | None = None,
    first: int = 0,
    size: int | None = None,
    seed: int = 0,
    training: bool = False,
    choice: Choice | None = None,
    from_probabilities: bool = False,
    as_number: bool = False,
    straight_through: bool = False,
) -> SelfFedRun:
    """The outputs of a model that goes on from a primer with what it gave itself: a value (batch, width) each step.

    primer: (batch, primer steps, features). first, size: what of an output goes back in (all of it). targets: (batch,
    steps, size), fed in place of the own output with the probability teacher_forcing (a number, or a function of the
    step): 1 is teacher forcing, 0 free-running, between them scheduled sampling, row by row. states: those before the
    primer, by `layer/name`; left out: zeros. training: recurrent layers drop the same in all steps of a row, Dropout anew in
    each; a BatchNormalization must be frozen.

    choice: what goes back in is the class with the largest value, or one drawn by the seed from logits or with
    `from_probabilities` from probabilities: as a one-hot row, or `as_number` for a model that begins with an Embedding. The
    gradient stops there, or goes `straight_through` a one-hot row as if it were the values.
    """
    primer, random = floats(primer), np.random.default_rng(count(seed, "a seed"))
    if primer.ndim != 3 or primer.shape[1] < 1 or steps < 1 or primer.shape[2] != model.inputs[0].step_size:
        raise InvalidArgumentError(
            f"expected a primer (batch, steps, {model.inputs[0].step_size}) and a step or more, received {primer.shape}"
        )
    batch = len(primer)
    taught = np.zeros((batch, steps), bool)
    for t in range(1, steps):
        share = teacher_forcing(t) if callable(teacher_forcing) else teacher_forcing
        taught[:, t] = share > 0 and random.random(batch) < share
    loop = _Loop(
        run,
        [model],
        feedback_first=count(first, "first"),
        feedback_count=count(size or 0, "size"),
        choice=_choice(choice),
        from_probabilities=int(from_probabilities),
        as_number=int(as_number),
        straight_through=int(straight_through),
    )
    known = {state.key for state in model.states}
    for key in states or {}:
        if key not in known:
            raise InvalidArgumentError(f"expected the name of a state ({', '.join(known) or 'none'}), received '{key}'")
    given = {**{state.key: np.zeros((batch, state.units)) for state in model.states}, **(states or {})}
    initial = {key: item if isinstance(item, Value) else run.value(item) for key, item in given.items()}
    fed = np.zeros((batch, steps, primer.shape[2]), np.float32)
    if taught.any():
        if targets is None:
            raise InvalidArgumentError("expected targets for teacher forcing")
        targets = floats(targets)[:, : steps - 1]
        require_shape(targets, (batch, steps - 1, primer.shape[2]), "targets (all but the last)")
        fed[:, :-1] = targets
    loop.forward(
        primer,
        list(initial.values()),
        outputs=steps,
        targets=address(fed),
        taught=taught.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8)),
        training=int(training),
        seed=count(seed, "a seed"),
    )
    array = loop.read(_OUTPUTS, 0, (batch, steps, model.outputs[0].step_size))
    return SelfFedRun(loop, primer, initial, array, taught)


def _choice(choice: str | None) -> int:
    if choice not in _CHOICES:
        raise InvalidArgumentError(f"expected the choice 'largest', 'drawn' or None, received {choice!r}")
    return _CHOICES[choice]


# ── Nested ──────────────────────────────────────────────────────────────────────────────────────────────


class NestedRun:
    """What a nested run made, as values: `run.backward` leaves their gradients in them."""

    run: Unrolled
    counts: np.ndarray
    """(batch, outer steps)"""
    flat: Array
    """All outputs, row after row, run after run: (outputs, width)."""

    def __init__(self, loop: _Loop, x: Array, counts: np.ndarray, flat: Array, answers: Array, policy: str) -> None:
        self.run, self.counts, self.flat = loop._run, counts, flat
        self._loop, self._x, self._answers, self._policy = loop, x, answers, policy
        # [row, i, j]: whether there is such an output.
        self._there = np.arange(counts.max(initial=0)) < counts[..., np.newaxis]

    @property
    def x(self) -> list[Value]:
        """x[i]: (batch, features)"""
        return self._loop.values(_X, _by_time(*self._x.shape), whole=self._x)

    @property
    def ir(self) -> list[Value]:
        """ir[i]: what the first model gave at outer step i."""
        return self._loop.values(_ANSWERS, _by_time(*self._answers.shape), whole=self._answers)

    @property
    def outputs(self) -> list[list[Value]]:
        """outputs[i][j]: (batch, width), zero in the rows that do not run so long."""
        return self._by_step(self._loop.values(_OUTPUTS, self._ragged(self.flat.shape[1]), whole=self.flat))

    @property
    def carried(self) -> list[list[dict[str, Value]]]:
        """carried[i][j]: the second model's states after the step; a row that does not run so long has that of its last one,
        and no gradient there."""
        below = self._loop._models[1].states
        first = len(self._loop.states) - len(below)
        series = [
            self._by_step(self._loop.values(_STATES, self._held(state.units), first + index))
            for index, state in enumerate(below)
        ]
        keys = [state.key for state in below]
        return [
            [{key: values[i][j] for key, values in zip(keys, series)} for j in range(number)]
            for i, number in enumerate(self._numbers())
        ]

    def padded(self) -> Array:
        """(batch, outer, longest, width), zeros behind each run's end."""
        return self._pad(self.flat)

    def backward(self, gradient: Any) -> dict[Model, dict[str, Array]]:
        """From the gradient of `padded()`, or of `flat`."""
        gradient = floats(gradient)
        if gradient.ndim == 2:
            require_shape(gradient, self.flat.shape, "a gradient of the outputs")
            return self._loop.backward(gradient)
        require_shape(gradient, (*self._there.shape, self.flat.shape[1]), "a gradient of the padded outputs")
        return self._loop.backward(gradient[self._there])

    # ── Detail ──────────────────────────────────────────────────────────────────────────────────────────

    def _numbers(self) -> list[int]:
        """The longest run of each outer step."""
        return [int(number) for number in self.counts.max(axis=0, initial=0)]

    def _pad(self, flat: Array) -> Array:
        padded = np.zeros((*self._there.shape, flat.shape[1]), np.float32)
        padded[self._there] = flat
        return padded

    def _by_step(self, values: list[Value]) -> list[list[Value]]:
        ends = np.cumsum([0, *self._numbers()])
        return [values[start:end] for start, end in zip(ends, ends[1:])]

    def _cut(self, padded: NDArray[Any]) -> list[Any]:
        return [padded[:, i, j] for i, number in enumerate(self._numbers()) for j in range(number)]

    def _join(self, values: Array) -> Array:
        padded = np.zeros((*self._there.shape, values.shape[-1]), np.float32)
        for target, value in zip(self._cut(padded), values):
            target[...] = value
        return padded[self._there]

    def _ragged(self, width: int) -> _Layout:
        return _Layout((len(self.flat), width), lambda flat: self._cut(self._pad(flat)), self._join)

    def _held(self, width: int) -> _Layout:
        """Of states, which a row keeps where it does not run."""
        total = self.counts.sum(axis=1)
        begins = np.cumsum(total) - total
        made = np.cumsum(self.counts, axis=1)[..., np.newaxis] - self.counts[..., np.newaxis]
        last = made + np.minimum(np.arange(self._there.shape[2]) + 1, self.counts[..., np.newaxis]) - 1
        # Before a row's first step, and where each run begins from zero and there is none, the state is zero.
        is_zero = (last < 0) | ((self._policy == "reset") & (self.counts[..., np.newaxis] == 0))
        place = np.where(is_zero, len(self.flat), begins[:, np.newaxis, np.newaxis] + last)

        def cut(flat: Array) -> list[Array]:
            return self._cut(np.concatenate([flat, np.zeros((1, width), np.float32)])[place])

        def join(values: Array) -> Array:
            flat = np.zeros((len(self.flat) + 1, width), np.float32)
            for at, value in zip(self._cut(place), values):
                np.add.at(flat, at, value)
            return flat[:-1]

        return _Layout((len(self.flat), width), cut, join)


def nested(
    run: Unrolled,
    first: Model,
    second: Model,
    x: Any,
    counts: Any,
    policy: Literal["carry", "reset", "given"] = "carry",
    initial_state: Model | None = None,
    feedback: bool = False,
    upward: bool = False,
    training: bool = False,
    seed: int = 0,
    choice: Choice | None = None,
    from_probabilities: bool = False,
    straight_through: bool = False,
) -> NestedRun:
    """`first` reads x (batch, steps, features); each of its answers drives a run of `second`, as in `cadenza.Nested`.

    counts: steps of each run, (outer steps,) or (batch, outer steps). policy: a run of the second model begins in the state
    in which the one before it ended ("carry"), from zero ("reset"), or from states that the answer gives ("given"): the
    answer itself, or what the model `initial_state` makes of it. feedback: the second model's last output stands behind
    the answer in its input. upward: the second model's last output stands behind the sample in the first one's input.
    training: as for `self_feeding`, and so for feedback `choice`, `from_probabilities` and `straight_through`.

    Without `feedback` and `upward` all steps of all rows are computed as one sequence; rows that have ended cost nothing.
    """
    x = floats(x)
    width = second.outputs[0].step_size
    features = first.inputs[0].step_size - (width if upward else 0)
    if x.ndim != 3 or x.shape[2] != features:
        raise InvalidArgumentError(f"expected x (batch, steps, {features}), received {x.shape}")
    given = np.asarray(counts)
    if given.shape not in ((), x.shape[1:2], x.shape[:2]) or (given != (whole := given.astype(int))).any() or (whole < 0).any():
        raise InvalidArgumentError(f"expected counts of 0 or more, (outer steps,) or (batch, outer steps), received {counts!r}")
    numbers = np.broadcast_to(whole, x.shape[:2])
    if policy not in _POLICIES:
        raise InvalidArgumentError(f"expected the policy 'carry', 'reset' or 'given', received {policy!r}")
    models = [first, second] if initial_state is None or policy != "given" else [first, second, initial_state]
    loop = _Loop(
        run,
        models,
        policy=_POLICIES[policy],
        feedback=int(feedback),
        upward=int(upward),
        choice=_choice(choice),
        from_probabilities=int(from_probabilities),
        straight_through=int(straight_through),
    )
    steps = np.ascontiguousarray(numbers, np.uintp)
    loop.forward(x, counts=sizes(steps), counts_per_row=1, training=int(training), seed=count(seed, "a seed"))
    flat = loop.read(_OUTPUTS, 0, (int(numbers.sum()), width))
    answers = loop.read(_ANSWERS, 0, (*x.shape[:2], first.outputs[0].step_size))
    return NestedRun(loop, x, numbers, flat, answers, policy)


# ── Who depends on whom ─────────────────────────────────────────────────────────────────────────────────


@dataclass
class Influence:
    """Who depends on whom in a nested run: Frobenius norms of derivatives over the whole batch, NaN where there is no such
    output."""

    by_output: Array
    """[i, j, k, l]: of Out[i][j] by what the step (k, l) left behind: its state, and its output where that is fed on."""
    by_ir: Array
    """[i, j, k]: of Out[i][j] by IR[k]"""
    by_x: Array
    """[i, j, k]: of Out[i][j] by x[k]"""

    def plot(self, axes: Any = None) -> Any:
        """Draws which outputs depend on what, with matplotlib: a row for each output, a column for each x, IR and output.
        Returns the axes."""
        outer = range(len(self.by_x))
        there = [place for place in np.ndindex(self.by_x.shape[:2]) if not np.isnan(self.by_x[place]).all()]
        columns_there = tuple(zip(*there))
        table = [[*self.by_x[row], *self.by_ir[row], *self.by_output[row][columns_there]] for row in there]
        names = [f"Out[{i}][{j}]" for i, j in there]
        columns = [f"x[{k}]" for k in outer], [f"IR[{k}]" for k in outer], names
        return _draw(axes, table, names, columns)


@dataclass
class SelfFedInfluence:
    """Who depends on whom in a self-fed run: Frobenius norms of derivatives over the whole batch."""

    by_output: Array
    """[t, k]: of Out[t] by what the step that gave Out[k] left behind: its state, and its output where that is fed on."""
    by_x: Array
    """[t, k]: of Out[t] by the primer's x[k]"""
    by_initial: Array
    """[t]: of Out[t] by the states before the first step"""

    def plot(self, axes: Any = None) -> Any:
        """Draws which outputs depend on what, with matplotlib: a row for each output, a column for the initial state, each
        x and each output. Returns the axes."""
        table = np.column_stack([self.by_initial, self.by_x, self.by_output])
        names = [f"Out[{t}]" for t in range(len(self.by_output))]
        return _draw(axes, table, names, (["state"], [f"x[{k}]" for k in range(self.by_x.shape[1])], names))


@overload
def influence(run: NestedRun) -> Influence: ...


@overload
def influence(run: SelfFedRun) -> SelfFedInfluence: ...


def influence(run: NestedRun | SelfFedRun) -> Influence | SelfFedInfluence:
    """How much each output of a run depends on each step before it, and on each x; in a nested run on each IR, in a self-fed
    one on the initial state.

    One backward run for each value of each output: for examples, not for training.
    """
    return _of_nested(run) if isinstance(run, NestedRun) else _of_self_fed(run)


def _of_nested(made: NestedRun) -> Influence:
    outer, longest = len(made.outputs), max((len(series) for series in made.outputs), default=0)
    by_output = np.full((outer, longest, outer, longest), np.nan, np.float32)
    by_ir, by_x = (np.full((outer, longest, outer), np.nan, np.float32) for _ in range(2))
    places = [(k, m) for k, series in enumerate(made.outputs) for m in range(len(series))]
    sources = [[ir] for ir in made.ir] + [[x] for x in made.x]
    sources += [[made.outputs[k][m], *made.carried[k][m].values()] for k, m in places]
    for i, j in places:
        norms = _norms(made.run, made.outputs[i][j], made.counts[:, i] > j, sources)
        by_ir[i, j], by_x[i, j] = norms[:outer], norms[outer : 2 * outer]
        by_output[i, j][tuple(zip(*places))] = norms[2 * outer :]
        by_output[i, j, i, j] = 0
    return Influence(by_output, by_ir, by_x)


def _of_self_fed(made: SelfFedRun) -> SelfFedInfluence:
    sources = [list(made.initial.values())] + [[x] for x in made.x]
    sources += [[output, *states.values()] for output, states in zip(made.outputs, made.carried)]
    every_row = np.ones(len(made.x[0].array), bool)
    norms = np.array([_norms(made.run, output, every_row, sources) for output in made.outputs], np.float32)
    initial, x, outputs = np.split(norms, [1, 1 + len(made.x)], axis=1)
    np.fill_diagonal(outputs, 0)
    return SelfFedInfluence(outputs, x, initial[:, 0])


def _norms(run: Unrolled, target: Value, rows: Any, sources: Sequence[Sequence[Value]]) -> NDArray[np.float64]:
    """The norm of the target's derivative by each of the sources, over the rows that are true."""
    squares = np.zeros(len(sources))
    for row, unit in np.ndindex(target.array.shape):
        if not rows[row]:
            continue
        seed = np.zeros_like(target.array)
        seed[row, unit] = 1
        run.backward([(target, seed)])
        squares += [sum(float(np.sum(value.gradient.astype(float) ** 2)) for value in values) for values in sources]
    return np.sqrt(squares)


def _draw(axes: Any, table: Any, rows: Sequence[str], columns: Sequence[Sequence[str]]) -> Any:
    """Norms as colours, rows depending on columns. columns: their names, in groups that lines part."""
    from matplotlib import colors, pyplot

    names = [name for group in columns for name in group]
    if axes is None:
        size = 2.5 + 0.28 * len(names), 1.5 + 0.28 * len(rows)
        axes = pyplot.figure(figsize=size, layout="constrained").add_subplot()
    norms = np.ma.masked_invalid(np.asarray(table, float))
    norms = np.ma.masked_equal(norms, 0)
    axes.set_facecolor("0.9")
    image = axes.imshow(norms, norm=colors.LogNorm(), aspect="auto", interpolation="nearest")
    axes.figure.colorbar(image, ax=axes, label="norm of the derivative")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(rows)), rows)
    for end in np.cumsum([len(group) for group in columns])[:-1]:
        axes.axvline(end - 0.5, color="white", linewidth=3)
    axes.set_xlabel("by")
    axes.set_ylabel("derivative of")
    axes.set_title("Who depends on whom (grey: not at all)")
    return axes
