"""Training: gradients of models by tape."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _bindings as c
from ._arguments import Answer, Array, address, addresses, count, floats, in_order, require_shape
from .errors import InvalidArgumentError, NotFoundError
from .model import Model


@dataclass(frozen=True)
class Gradients:
    """What a backward run gives: how a loss changes with each number that it depends on."""

    weights: dict[str, Array]
    """By the names of `Model.weights`, of the weights that are trained."""
    inputs: list[Array]
    """In the model's order, each of the input's shape."""
    states: dict[str, Array]
    """Of the initial states, (batch, units) each, by `layer/name`; empty where the model does not stream."""


def layer_indices(model: Model, layers: Iterable[str]) -> list[int]:
    """The places of layers, by name. Raises NotFoundError for a name that is none."""
    names = [layer.name for layer in model.layers]
    result = []
    for layer in layers:
        if layer not in names:
            raise NotFoundError(f"expected the name of a layer ({', '.join(names)}), received '{layer}'")
        result.append(names.index(layer))
    return result


class Tape:
    """Runs a model forward, keeps what it needs, and runs it backward: gradients for any loss.

        tape = cadenza.Tape(model)
        output = tape.forward(x, training=True, seed=1)
        gradients = tape.backward(2 * (output - y) / output.size)

    A tape is used by one thread at a time. It takes the model's weights as they are at each forward run.
    """

    def __init__(
        self,
        model: Model,
        frozen: Iterable[str] = (),
        input_gradients: bool = True,
        threads: int = 1,
        memory_limit: int = 0,
    ) -> None:
        """frozen: names of layers that are not trained, beside those that the model says. threads: how many compute; the
        bits are the same with any number. memory_limit: bytes that a run may keep for the way back (0: no limit); where
        recurrent layers would keep more, they compute it again on the way back. A run that cannot be held raises
        OutOfMemoryError.

        Raises UnsupportedError, naming the layer, for constraints and activity regularizers.
        """
        self._model = model
        indices = layer_indices(model, frozen)
        places = (ctypes.c_size_t * len(indices))(*indices)
        options = c.TapeOptions()
        c.tape_options_init(ctypes.byref(options))
        options.input_gradients = int(input_gradients)
        options.frozen = ctypes.cast(places, c.SIZES)
        options.frozen_count = len(indices)
        options.threads = count(threads, "threads")
        options.memory_limit = count(memory_limit, "a memory limit")
        self._handle = c.TapeHandle()
        c.tape_create(model._handle, ctypes.byref(options), ctypes.byref(self._handle))
        self._inputs: list[tuple[int, ...]] = []
        self._trained = [
            index for index, info in enumerate(model._weight_infos) if info.trainable and info.layer not in indices
        ]
        self._input_gradients = input_gradients

    def forward(self, x: Any, states: Mapping[str, Any] | None = None, training: bool = True, seed: int = 0) -> Answer:
        """What the model answers: an array, or a list of them for several outputs.

        x: as for `Model.predict`. states: initial states by `layer/name`, (batch, units) each; those left out are zero,
        or what the model gives. training: whether dropout drops (by `seed`) and batches are normalized by their own
        statistics.
        """
        inputs, batch, times = self._model._batch_of_inputs(x)
        given = state_arrays(self._model, states or {}, batch)
        self._inputs = []
        c.tape_forward(
            self._handle,
            batch,
            times,
            addresses(inputs),
            _addresses_or_null(given),
            int(training),
            count(seed, "a seed"),
        )
        self._inputs = [value.shape for value in inputs]
        outputs = [self._output(index) for index in range(len(self._model.outputs))]
        return outputs[0] if len(outputs) == 1 else outputs

    def backward(self, gradients: Any, states: Mapping[str, Any] | None = None, accumulate: bool = False) -> Gradients:
        """The gradients of everything, from those of the outputs.

        gradients: of the output's shape; for several outputs a list or a dict, None where zero. states: gradients of
        the states after the last step. accumulate: whether the weights' gradients are added to those of earlier calls.
        """
        names = [tensor.name for tensor in self._model.outputs]
        single = len(names) == 1 and not isinstance(gradients, (Mapping, list, tuple))
        listed = [gradients] if single else in_order(gradients, names, "output gradient")
        given = [None if value is None else floats(value) for value in listed]
        for index, value in enumerate(given):
            if value is not None:
                require_shape(value, self._shape(index), f"a gradient of output '{names[index]}'")
        self._run_backward(given, states or {}, accumulate)
        return Gradients(self._weight_gradients(), *self._input_and_state_gradients())

    def fork(self) -> Tape:
        """A tape that has run nothing yet and shares the weights' gradients, for loops of steps: see `Unrolled`."""
        other = Tape.__new__(Tape)
        other._model, other._trained, other._input_gradients = self._model, self._trained, self._input_gradients
        other._inputs, other._handle = [], c.TapeHandle()
        c.tape_fork(self._handle, ctypes.byref(other._handle))
        return other

    def _run_backward(self, given: Sequence[Array | None], states: Mapping[str, Any], accumulate: bool) -> None:
        finals = state_arrays(self._model, states, self._inputs[0][0] if self._inputs else 0, "state gradient")
        c.tape_backward(self._handle, _addresses_or_null(given), _addresses_or_null(finals), int(accumulate))

    def _weight_gradients(self) -> dict[str, Array]:
        infos = self._model._weight_infos
        return {
            infos[index].name.decode(): self._filled(
                c.tape_weight_gradient, index, tuple(infos[index].dims[: infos[index].rank])
            )
            for index in self._trained
        }

    def _input_and_state_gradients(self) -> tuple[list[Array], dict[str, Array]]:
        if not self._input_gradients:
            return [], {}
        inputs = [self._filled(c.tape_input_gradient, i, shape) for i, shape in enumerate(self._inputs)]
        states = {
            state.key: self._filled(c.tape_state_gradient, i, (self._inputs[0][0], state.units))
            for i, state in enumerate(self._model.states)
        }
        return inputs, states

    @property
    def states(self) -> dict[str, Array]:
        """The states after the last step of the last run, by `layer/name`."""
        batch = self._inputs[0][0] if self._inputs else 0
        return {
            state.key: self._filled(c.tape_state, index, (batch, state.units))
            for index, state in enumerate(self._model.states)
        }

    def mask(self, index: int = 0) -> np.ndarray | None:
        """Which steps of an output count, (batch, time) booleans; None where it has no mask."""
        shape = self._shape(index)
        mask = np.ones(shape[:2], np.uint8)
        has_mask = ctypes.c_int()
        place = mask.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        c.tape_output_mask(self._handle, index, place, mask.size, ctypes.byref(has_mask))
        return mask.astype(bool) if has_mask.value else None

    def commit_statistics(self) -> None:
        """Takes the last run's batch statistics into BatchNormalization's moving ones, as Keras does within the run."""
        c.tape_commit_statistics(self._handle)

    def _shape(self, index: int) -> tuple[int, ...]:
        shape = c.Shape()
        c.tape_output_shape(self._handle, index, ctypes.byref(shape))
        return tuple(shape.dims[: shape.rank])

    def _output(self, index: int) -> Array:
        return self._filled(c.tape_output, index, self._shape(index))

    def _filled(self, ask: Any, index: int, shape: tuple[int, ...]) -> Array:
        values = np.empty(shape, np.float32)
        ask(self._handle, index, address(values), values.size)
        return values


def state_arrays(model: Model, states: Mapping[str, Any], batch: int, what: str = "state") -> list[Array | None]:
    """Of each of the model's states the array given by its name, (batch, units), or None. what: what errors call them."""
    known = {state.key: state.units for state in model.states}
    for key in states:
        if key not in known:
            raise NotFoundError(f"expected the name of a state ({', '.join(known) or 'none'}), received '{key}'")
    arrays = [floats(states[key]) if key in states else None for key in known]
    for (key, units), array in zip(known.items(), arrays):
        if array is not None:
            require_shape(array, (batch, units), f"{what} '{key}'")
    return arrays


def _addresses_or_null(arrays: Sequence[Array | None]) -> Any:
    """A C array of addresses, NULL where there is no array. The caller keeps the arrays alive."""
    return (ctypes.c_void_p * max(1, len(arrays)))(*(None if array is None else address(array) for array in arrays))


def check_gradients(
    model: Model, x: Any, *, training: bool = False, seed: int = 0, step: float = 1e-2, directions: int = 8
) -> float:
    """The largest difference between the tape's gradients and finite differences, relative to the larger of both.

    For each weight, and for several random directions of it, a fourth-order difference quotient of a random linear loss
    is held against the gradient's product with the direction. Numbers are 32-bit: 1e-2 is a good answer, 1 is not. The
    weights are as before afterwards.
    """
    tape = Tape(model)
    random = np.random.default_rng(seed)

    def loss() -> float:
        outputs = tape.forward(x, training=training, seed=seed)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        return sum(float(np.sum(output.astype(np.float64) * factor)) for output, factor in zip(outputs, factors))

    first = tape.forward(x, training=training, seed=seed)
    firsts = first if isinstance(first, list) else [first]
    factors = [random.normal(size=output.shape) / np.sqrt(output.size) for output in firsts]
    if not tape._trained:
        raise InvalidArgumentError("expected a model with weights to train, and this one has none")
    gradients = tape.backward(factors)
    worst = 0.0
    for name, gradient in gradients.weights.items():
        value = model.weights[name]
        scale = float(np.linalg.norm(gradient))
        try:
            for _ in range(directions):
                direction = random.normal(size=value.shape)
                direction /= max(1e-12, float(np.linalg.norm(direction)))
                sums = []
                for offset in (-2, -1, 1, 2):
                    model.weights[name] = value + offset * step * direction
                    sums.append(loss())
                numeric = (sums[0] - 8 * sums[1] + 8 * sums[2] - sums[3]) / (12 * step)
                exact = float(np.sum(gradient.astype(np.float64) * direction))
                # Against what a direction of this many axes has on average, so that a small product is not blamed.
                size = max(abs(numeric), abs(exact), scale / np.sqrt(value.size), 1e-4)
                worst = max(worst, abs(numeric - exact) / size)
        finally:
            model.weights[name] = value
    return worst
