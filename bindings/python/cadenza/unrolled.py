"""Gradients through loops of steps: models fed with what they gave themselves, models one below the other.

    run = cadenza.Unrolled(model)
    output, states = run.step(model, x0)
    output, states = run.step(model, output, states)       # what it gave goes in again
    gradients = run.backward([(output, 2 * (output.array - y))])

`self_feeding` and `nested` make whole runs, and `influence` tells what depends on what in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from ._arguments import Array, floats, require_shape
from .errors import InvalidArgumentError
from .model import Model
from .training import Tape


class Value:
    """An array (batch, …) that steps make and take, and after a backward run its gradient."""

    def __init__(self, array: Any) -> None:
        self.array: Array = floats(array)
        self.gradient: Array = np.zeros_like(self.array)
        self._back: Callable[[], None] = _nothing

    def _add(self, gradient: Any) -> None:
        self.gradient += gradient

    def __repr__(self) -> str:
        return f"<cadenza.Value {self.array.shape}>"


def _nothing() -> None:
    """A value from outside hands nothing on."""


class Unrolled:
    """Steps of models as they are made, so that gradients can go back through all of them."""

    def __init__(self, *models: Model, frozen: Mapping[Model, Iterable[str]] | None = None) -> None:
        """models: those that will step. frozen: by model the names of layers that are not trained."""
        self._tapes = {id(model): Tape(model, frozen=(frozen or {}).get(model, ())) for model in models}
        self._models = models
        self._spare: dict[int, list[Tape]] = {id(model): [] for model in models}
        self._used: list[tuple[int, Tape]] = []
        self._made: list[Value] = []
        self._backward: dict[int, Tape] = {}

    def reset(self) -> None:
        """Forgets all steps, to begin anew; their memory is used again. The weights may have changed meanwhile."""
        for owner, tape in self._used:
            self._spare[owner].append(tape)
        self._used, self._made = [], []

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
        if id(model) not in self._tapes:
            raise InvalidArgumentError("expected a model that Unrolled was made for")
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
                accumulate=id(model) in self._backward,
            )
            self._backward[id(model)] = tape
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
        self._backward.clear()
        for value in self._made:
            value.gradient[...] = 0
        for value, gradient in gradients:
            value._add(gradient)
        for value in reversed(self._made):
            value._back()
        return {model: self._weight_gradients(model) for model in self._models}

    # ── Detail ──────────────────────────────────────────────────────────────────────────────────────────

    def _keep(self, value: Value) -> Value:
        self._made.append(value)
        return value

    def _tape(self, model: Model) -> Tape:
        spare = self._spare[id(model)]
        tape = spare.pop() if spare else self._tapes[id(model)].fork()
        self._used.append((id(model), tape))
        return tape

    def _weight_gradients(self, model: Model) -> dict[str, Array]:
        if id(model) in self._backward:
            return self._backward[id(model)]._weight_gradients()
        infos = model._weight_infos  # no step of it had a part in the loss
        return {
            infos[index].name.decode(): np.zeros(tuple(infos[index].dims[: infos[index].rank]), np.float32)
            for index in self._tapes[id(model)]._trained
        }


# ── Self-feeding ────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class SelfFedRun(Sequence[Value]):
    """What a self-fed run made: a sequence of its outputs, (batch, width) each, and what they came from."""

    run: Unrolled
    x: list[Value]
    """x[k]: (batch, features), the primer."""
    initial: dict[str, Value]
    """The states before the first step, by `layer/name`."""
    outputs: list[Value]
    carried: list[dict[str, Value]]
    """carried[t]: the states after the step that made output t."""

    @overload
    def __getitem__(self, index: int) -> Value: ...

    @overload
    def __getitem__(self, index: slice) -> list[Value]: ...

    def __getitem__(self, index: int | slice) -> Value | list[Value]:
        return self.outputs[index]

    def __len__(self) -> int:
        return len(self.outputs)


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
) -> SelfFedRun:
    """The outputs of a model that goes on from a primer with what it gave itself: a value (batch, width) each step.

    primer: (batch, primer steps, features). first, size: what of an output goes back in (all of it). targets: (batch,
    steps, size), fed in place of the own output with the probability teacher_forcing (a number, or a function of the
    step): 1 is teacher forcing, 0 free-running, between them scheduled sampling, row by row. states: those before the
    primer, by `layer/name`; left out: zeros.
    """
    primer, random = floats(primer), np.random.default_rng(seed)
    if primer.ndim != 3 or primer.shape[1] < 1 or steps < 1:
        raise InvalidArgumentError(
            f"expected a primer (batch, steps, features) and a step or more, received {primer.shape}"
        )
    zeros = {state.key: np.zeros((len(primer), state.units)) for state in model.states}
    given = {**zeros, **(states or {})}
    begun = {key: item if isinstance(item, Value) else run.value(item) for key, item in given.items()}
    x = [run.value(primer[:, t]) for t in range(primer.shape[1])]
    output: Any = None
    after = begun
    for t, sample in enumerate(x):
        output, after = run.step(model, sample, after, training, seed + t)
    result = SelfFedRun(run, x, begun, [output], [after])
    for t in range(1, steps):
        fed = output if size is None and first == 0 else run.part(output, first, size or output.array.shape[-1] - first)
        share = teacher_forcing(t) if callable(teacher_forcing) else teacher_forcing
        if share > 0:
            if targets is None:
                raise InvalidArgumentError("expected targets for teacher forcing")
            rows = random.random(len(primer)) < share
            fed = run.where(rows, run.value(floats(targets)[:, t - 1]), fed)
        output, after = run.step(model, fed, after, training, seed + primer.shape[1] + t)
        result.outputs.append(output)
        result.carried.append(after)
    return result


# ── Nested ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class NestedRun:
    """What a nested run made, as values: `run.backward` leaves their gradients in them."""

    run: Unrolled
    x: list[Value]
    """x[i]: (batch, features)"""
    ir: list[Value]
    """ir[i]: what the first model gave at outer step i."""
    outputs: list[list[Value]]
    """outputs[i][j]: (batch, width), zero in the rows that do not run so long."""
    counts: np.ndarray
    """(batch, outer steps)"""
    carried: list[list[dict[str, Value]]]
    """carried[i][j]: the second model's states after the step."""

    def padded(self) -> Array:
        """(batch, outer, longest, width), zeros behind each run's end."""
        longest = max((len(series) for series in self.outputs), default=0)
        width = next((value.array.shape[1] for series in self.outputs for value in series), 0)
        result = np.zeros((len(self.counts), len(self.outputs), longest, width), np.float32)
        for i, series in enumerate(self.outputs):
            for j, value in enumerate(series):
                result[:, i, j] = value.array
        return result

    def backward(self, gradient: Any) -> dict[Model, dict[str, Array]]:
        """From the gradient of `padded()`."""
        gradient = floats(gradient)
        require_shape(gradient, self.padded().shape, "a gradient of the padded outputs")
        return self.run.backward(
            (value, gradient[:, i, j]) for i, series in enumerate(self.outputs) for j, value in enumerate(series)
        )


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
) -> NestedRun:
    """`first` reads x (batch, steps, features); each of its answers drives a run of `second`, as in `cadenza.Nested`.

    counts: steps of each run, (outer steps,) or (batch, outer steps). policy: a run of the second model begins in the state
    in which the one before it ended ("carry"), from zero ("reset"), or from states that the answer gives ("given"): the
    answer itself, or what the model `initial_state` makes of it. feedback: the second model's last output stands behind
    the answer in its input. upward: the second model's last output stands behind the sample in the first one's input.
    """
    x = floats(x)
    numbers = np.broadcast_to(np.asarray(counts, int), x.shape[:2])
    if (numbers < 0).any():
        raise InvalidArgumentError("expected counts of 0 or more")
    batch, width = len(x), (second.outputs[0].shape or (1,))[-1] or 1
    zero = {state.key: run.value(np.zeros((batch, state.units))) for state in second.states}
    blank = run.value(np.zeros((batch, width)))
    above: Mapping[str, Value] | None = None
    below, last = dict(zero), blank
    result = NestedRun(run, [], [], [], numbers, [])
    draws = seed
    for i in range(x.shape[1]):
        sample = run.value(x[:, i])
        result.x.append(sample)
        ir, above = run.step(first, run.concatenate([sample, last]) if upward else sample, above, training, draws)
        draws += 1
        result.ir.append(ir)
        fed = last if policy == "carry" else blank
        if policy == "reset":
            below = dict(zero)
        elif policy == "given":
            source = ir if initial_state is None else run.step(initial_state, ir, None, training, draws)[0]
            place, given = 0, {}
            for state in second.states:
                given[state.key] = run.part(source, place, state.units)
                place += state.units
            runs = numbers[:, i] > 0
            below = {key: run.where(runs, value, below[key]) for key, value in given.items()}
        series: list[Value] = []
        states: list[dict[str, Value]] = []
        for j in range(int(numbers[:, i].max(initial=0))):
            rows = numbers[:, i] > j
            output, after = run.step(second, run.concatenate([ir, fed]) if feedback else ir, below, training, draws)
            draws += 1
            below = {key: run.where(rows, value, below[key]) for key, value in after.items()}
            series.append(run.where(rows, output, blank))
            fed = run.where(rows, output, fed)
            last = run.where(rows, output, last)
            states.append(below)
        result.outputs.append(series)
        result.carried.append(states)
    return result


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
