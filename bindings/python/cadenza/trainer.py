"""The trainer: updates, epochs, evaluation, checkpoints."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _bindings as c
from . import callbacks as calls
from . import losses, metrics, optimizers
from ._arguments import (
    Answer,
    Array,
    PathLike,
    address,
    as_bytes,
    c_text,
    count,
    existing_path,
    filled,
    floats,
    in_order,
    require_shape,
)
from ._data import Batch, Data, Padding, Rows, Series, is_even, numbers_of, one_or_all, rows_of, same_lengths
from .errors import InvalidArgumentError, NotFoundError
from .model import Model
from .training import Tape, layer_indices, state_arrays
from .unrolled import Unrolled

Values: TypeAlias = "Any | Sequence[Any] | Mapping[str, Any]"
"""One array, or a list or a dict by name of them, for several inputs or outputs."""


class History:
    """What `fit` gives: the numbers of each epoch, by name."""

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def add(self, epoch: int, logs: calls.Logs) -> None:
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def plot(self, names: Iterable[str] | None = None, axes: Any = None) -> Any:
        """Draws the numbers over the epochs with matplotlib, and returns the axes."""
        if axes is None:
            from matplotlib import pyplot

            axes = pyplot.figure().add_subplot()
        for name in names or self.history:
            axes.plot(self.epoch, self.history[name], label=name)
        axes.set_xlabel("epoch")
        axes.legend()
        return axes

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={values[-1]:.4g}" for name, values in self.history.items())
        return f"<cadenza.History of {len(self.epoch)} epochs{': ' * bool(last)}{last}>"


class Trainer:
    """Trains a model.

        trainer = cadenza.Trainer(model, loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
        history = trainer.fit(x, y, epochs=20, validation_split=0.2)

    loss: a Keras name or a `cadenza.losses` object; for several outputs a list or a dict by output name, None where one is
    not trained on, or where `apply_gradients` alone is used. optimizer: a Keras name or a `cadenza.optimizers` object. metrics: names or `cadenza.metrics` objects;
    for several outputs a dict by output name or a list of lists. frozen: names of layers that are not trained. seed: of
    dropout. Same weights, data, order and seed: same bits, whatever the threads and the memory limit; see `Tape`.

    The model's weights change; its streams compute with them from their next step on. One thread at a time. A model learns
    while it streams by steps from the stream's own states:

        before = stream.get_state()
        error = abs(stream.step(sample) - y)            # y: what was to be foretold, known a little later
        trainer.update([[sample]], [y], states=before)

    Rows may differ in length: x and y then are `cadenza.Ragged` or lists of arrays (steps, …), and so are sample weights by
    step. They are padded; what is padded has no weight, and a mean is that over the real steps, as Keras's under a mask. The
    loss of an epoch is the mean over its batches, weighted by their rows. A model that looks ahead or gives only its last
    answer must mask padding, by Masking or mask_zero, or is refused. As in Keras, a BatchNormalization that is not masked
    takes padding into its statistics.
    """

    def __init__(
        self,
        model: Model,
        loss: Any = None,
        optimizer: str | optimizers.Optimizer = "adam",
        metrics: Any = (),
        frozen: Iterable[str] = (),
        seed: int = 0,
        threads: int = 1,
        memory_limit: int = 0,
    ) -> None:
        self._model = model
        names = [tensor.name for tensor in model.outputs]
        given = _per_output(loss, names, "loss")
        self._losses = [None if item is None else losses.get(item) for item in given]
        structs = [item.struct(index) for index, item in enumerate(self._losses) if item is not None]
        self._optimizer = optimizers.get(optimizer)
        rule = self._optimizer.struct()
        indices = layer_indices(model, frozen)
        self._trained = [
            index for index, info in enumerate(model._weight_infos) if info.trainable and info.layer not in indices
        ]
        options = c.TrainerOptions()
        options.losses = (c.Loss * max(1, len(structs)))(*structs)
        options.loss_count = len(structs)
        options.optimizer = ctypes.pointer(rule)
        options.frozen = (ctypes.c_size_t * len(indices))(*indices)
        options.frozen_count = len(indices)
        options.seed = count(seed, "a seed")
        options.threads = count(threads, "threads")
        options.memory_limit = count(memory_limit, "a memory limit")
        self._handle = c.TrainerHandle()
        c.trainer_create(model._handle, ctypes.byref(options), ctypes.byref(self._handle))
        self._metrics = self._named_metrics(metrics, names)
        self._padding = Padding(model)
        self.stop_training = False
        """Set by callbacks: `fit` ends after this epoch."""

    # ── Batches ─────────────────────────────────────────────────────────────────────────────────────────

    def update(
        self, x: Values, y: Values, sample_weight: Any = None, carry_state: bool = False, states: Any = None
    ) -> float:
        """One update on a batch: its loss before the update, the weights' regularizers included.

        sample_weight: (batch,) or (batch, steps). carry_state: rows begin where those of the call before ended, and the
        gradient stops there: truncated BPTT. states: initial states by `layer/name`, such as a stream's `get_state()`.
        Raises InvalidArgumentError, with the weights as before, where the loss or a gradient is NaN or infinite, or a
        target is no class.
        """
        self._schedule()
        return self._run(c.trainer_update, x, y, sample_weight, carry_state, states)[0]

    def test(
        self, x: Values, y: Values, sample_weight: Any = None, carry_state: bool = False, states: Any = None
    ) -> float:
        """The loss of a batch, as the model computes without training."""
        return self._run(c.trainer_evaluate, x, y, sample_weight, carry_state, states)[0]

    def gradients(
        self, x: Values, y: Values, sample_weight: Any = None, states: Any = None
    ) -> tuple[float, dict[str, Array]]:
        """The loss of a batch in training and the weights' gradients by name, without an update."""
        loss = self._run(c.trainer_differentiate, x, y, sample_weight, False, states)[0]
        found = {}
        for index in self._trained:
            name, shape = self._weight(index)
            values = np.empty(shape, np.float32)
            c.trainer_gradient(self._handle, index, address(values), values.size)
            found[name] = values
        return loss, found

    def apply_gradients(self, gradients: Mapping[str, Any] | Tape | Unrolled) -> None:
        """One update by gradients computed outside: for each weight that is trained, by name, an array of its shape; or the
        `Tape` or the `Unrolled` that has run backward, whose gradients are then not copied.

        They are clipped, averaged and so on as those of `update`; the weights' regularizers are not added. Raises
        InvalidArgumentError, with the weights as before, where one is missing, of another shape, NaN or infinite.
        """
        if isinstance(gradients, Unrolled):
            gradients = gradients.tape(self._model)
        if isinstance(gradients, Tape):
            self._schedule()
            c.trainer_apply_tape(self._handle, gradients._handle)
            return
        arrays: list[Array | None] = [None] * len(self._model._weight_infos)
        weights = [self._weight(index) for index in self._trained]
        listed = in_order(gradients, [name for name, _ in weights], "gradient")
        for index, (name, shape), value in zip(self._trained, weights, listed):
            arrays[index] = array = floats(value)
            require_shape(array, shape, f"the gradient of '{name}'")
        self._schedule()
        c.trainer_apply(self._handle, _pointers(arrays))

    def reset_states(self) -> None:
        """The next batch that carries states begins from zero."""
        c.trainer_reset_states(self._handle)

    # ── Epochs ──────────────────────────────────────────────────────────────────────────────────────────

    def fit(
        self,
        x: Values,
        y: Values,
        epochs: int = 1,
        batch_size: int = 32,
        *,
        shuffle: bool = True,
        seed: int = 0,
        validation_data: Any = None,
        validation_split: float = 0.0,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        callbacks: Iterable[calls.Callback | Callable[[int, calls.Logs], Any]] = (),
        initial_epoch: int = 0,
        stateful: bool = False,
        window: int | None = None,
        verbose: bool = True,
    ) -> History:
        """Trains for some epochs, as Keras's `fit`. Raises as `update` does, naming the epoch and the batch, from 1.

        seed: of the order of rows. validation_split: the share of rows, the last ones, that only evaluate; or
        validation_data: (x, y) or (x, y, sample_weight). class_weight: weights by class. stateful: batch after batch goes
        on in time, row by row; nothing is shuffled, and states are zero at each epoch's beginning. window: truncated BPTT:
        each batch is cut into so many steps at a time, states carried from one to the next.
        """
        data = self._data(x, y, sample_weight, class_weight)
        validation = None
        if validation_data is not None:
            validation = self._data(*validation_data, *(None,) * (4 - len(validation_data)))
        elif validation_split:
            if not 0 < validation_split < 1:
                raise InvalidArgumentError(f"expected validation_split from 0 to 1, received {validation_split}")
            cut = int(data.rows * (1 - validation_split))
            data, validation = data.take(slice(None, cut)), data.take(slice(cut, None))
        if batch_size < 1 or data.rows == 0 or (validation is not None and validation.rows == 0):
            raise InvalidArgumentError("expected one row or more to train on, to validate on, and in a batch")
        history, order = History(), np.random.default_rng(seed)
        for _ in range(initial_epoch):
            order.permutation(data.rows)  # the order of an epoch does not depend on where training began
        listeners = [item if isinstance(item, calls.Callback) else calls.Function(item) for item in callbacks]
        self.stop_training = False
        for listener in listeners:
            listener.trainer = self
            listener.on_train_begin()
        for epoch in range(initial_epoch, epochs):
            for listener in listeners:
                listener.on_epoch_begin(epoch)
            rows = order.permutation(data.rows)
            if stateful or not shuffle:
                rows = np.arange(data.rows)
            progress = Progress(f"epoch {epoch + 1}/{epochs}", verbose)
            where = f"epoch {epoch + 1}, "
            logs = self._pass(data, rows, batch_size, True, stateful, window, listeners, progress, where)
            if validation is not None:
                where += "validation "
                tested = self._pass(validation, np.arange(validation.rows), batch_size, False, stateful, where=where)
                logs.update({f"val_{name}": value for name, value in tested.items()})
            progress.end(logs)
            for listener in listeners:
                listener.on_epoch_end(epoch, logs)
            history.add(epoch, logs)
            if self.stop_training:
                break
        if self._optimizer.options.get("use_ema"):
            c.trainer_finish_averages(self._handle)
        for listener in listeners:
            listener.on_train_end()
        return history

    def evaluate(
        self, x: Values, y: Values, batch_size: int = 32, sample_weight: Any = None, stateful: bool = False
    ) -> calls.Logs:
        """The loss and the metrics over all rows, by name."""
        data = self._data(x, y, sample_weight, None)
        return self._pass(data, np.arange(data.rows), batch_size, False, stateful)

    def predict(self, x: Values, batch_size: int = 32) -> Answer:
        """What the model answers: `Model.predict` in batches."""
        inputs, rows, _ = self._model._batch_of_inputs(x)
        parts = []
        for start in range(0, rows, batch_size):
            batch = [value[start : start + batch_size] for value in inputs]
            answer = self._model.predict(one_or_all(batch))
            parts.append(answer if isinstance(answer, list) else [answer])
        joined = [np.concatenate(part) for part in zip(*parts)]
        return joined if len(joined) > 1 else joined[0]

    # ── State ───────────────────────────────────────────────────────────────────────────────────────────

    @property
    def model(self) -> Model:
        """The model that is trained."""
        return self._model

    @property
    def optimizer(self) -> optimizers.Optimizer:
        """How it is trained."""
        return self._optimizer

    @property
    def learning_rate(self) -> float:
        """The rate of the next update. Assignable; a schedule sets it anew at each update."""
        return float(c.trainer_learning_rate(self._handle))

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        c.trainer_set_learning_rate(self._handle, rate)

    @property
    def updates(self) -> int:
        """How many updates there were."""
        return int(c.trainer_updates(self._handle))

    @property
    def states(self) -> dict[str, Array]:
        """The states after the last batch's last step, (batch, units) each, by `layer/name`."""
        result = {}
        for index, state in enumerate(self._model.states):
            values = np.empty((self._batch, state.units), np.float32)
            c.trainer_state(self._handle, index, address(values), values.size)
            result[state.key] = values
        return result

    def checkpoint(self) -> bytes:
        """Everything as bytes: a trainer that goes on from it ends with the same bits as one that never stopped."""
        return filled(c.trainer_checkpoint, self._handle)

    def restore(self, checkpoint: Any) -> None:
        """Goes on from a checkpoint of a trainer of the same model and optimizer.

        Raises MismatchError (another model or optimizer) or InvalidFileError (damaged), with all as it was.
        """
        data = as_bytes(checkpoint)
        c.trainer_restore(self._handle, data, len(data))

    def save_checkpoint(self, path: PathLike) -> None:
        """Writes the checkpoint to a file, whole or not at all."""
        c.trainer_checkpoint_file(self._handle, c_text(path))

    def load_checkpoint(self, path: PathLike) -> None:
        """Goes on from a file that `save_checkpoint` wrote. Raises as `restore` does."""
        c.trainer_restore_file(self._handle, existing_path(path))

    def __repr__(self) -> str:
        return f"<cadenza.Trainer after {self.updates} updates of {self._model!r}>"

    # ── Detail ──────────────────────────────────────────────────────────────────────────────────────────

    _batch = 0
    _ready: _Ready | None = None

    def _weight(self, index: int) -> tuple[str, tuple[int, ...]]:
        info = self._model._weight_infos[index]
        return info.name.decode(), tuple(info.dims[: info.rank])

    def _schedule(self) -> None:
        """Sets the rate of the next update."""
        if self._optimizer.schedule is not None:
            self.learning_rate = self._optimizer.schedule(self.updates)

    def _named_metrics(self, given: Any, names: list[str]) -> list[list[tuple[str, metrics.Metric]]]:
        lists = (
            [given]
            if len(names) == 1 and not isinstance(given, Mapping)
            else _per_output(given or {}, names, "metrics")
        )
        result: list[list[tuple[str, metrics.Metric]]] = []
        for name, tensor, loss, items in zip(names, self._model.outputs, self._losses, lists):
            listed = [items] if isinstance(items, (str, metrics.Metric)) else list(items or ())
            if listed and loss is None:
                raise InvalidArgumentError(f"expected a loss for output '{name}', which has metrics")
            width = (tensor.shape or (1,))[-1] or 1
            found = [metrics.get(item, width=width, is_sparse=bool(loss and loss.is_sparse)) for item in listed]
            result.append([(item.name if len(names) == 1 else f"{name}_{item.name}", item) for item in found])
        return result

    def _data(self, x: Values, y: Values, sample_weight: Any, class_weight: Mapping[int, float] | None) -> Data:
        inputs = [
            numbers_of(value) if len(tensor.shape) == 1 else rows_of(value)
            for tensor, value in zip(self._model.inputs, self._model._input_values(x))
        ]
        series = [value for value in inputs if isinstance(value, Series)]
        if not series:
            inputs = list(self._model._batch_of_inputs(one_or_all(inputs))[0])
        rows = len(inputs[0])
        if any(len(value) != rows for value in inputs):
            raise InvalidArgumentError(f"expected one batch size, received {[len(value) for value in inputs]}")
        names = [tensor.name for tensor in self._model.outputs]
        targets = [
            None if loss is None else rows_of(value)
            for loss, value in zip(self._losses, _per_output(y, names, "target"))
        ]
        for tensor, target in zip(self._model.outputs, targets):
            if target is None:
                continue
            if len(target) != rows:
                raise InvalidArgumentError(
                    f"expected {rows} rows of targets of '{tensor.name}', received {len(target)}"
                )
            if len(tensor.shape) > 1 and series and not any(same_lengths(target, value) for value in series):
                raise InvalidArgumentError(f"expected targets of '{tensor.name}' as long as the input's series")
        weights: list[Rows | None] = [None] * len(names)
        if sample_weight is not None:
            by_output = isinstance(sample_weight, (Mapping, tuple))
            listed = _per_output(sample_weight, names, "weight") if by_output else [sample_weight] * len(names)
            weights = [None if value is None else numbers_of(value) for value in listed]
        if class_weight is not None:
            if len(names) > 1:
                raise InvalidArgumentError("expected class_weight for a model with one output")
            weights[0] = _by_class(class_weight, self._losses[0], targets[0], weights[0])
        for weight in weights:
            if weight is not None and len(weight) != rows:
                raise InvalidArgumentError(f"expected {rows} rows of sample weights, received {len(weight)}")
        return Data(inputs, targets, weights)

    def _padded(self, data: Data, carry_state: bool = False) -> Batch:
        """Series as arrays: padded, and behind their ends without weight. carry_state: whether states go on from it."""
        if not data.has_series:
            return Batch(data.inputs, list(data.targets), list(data.weights), [1.0] * len(data.targets))
        tried = self._padding.try_on(data.inputs)
        if carry_state and not tried.keeps_states and not all(is_even(value) for value in data.inputs):
            raise InvalidArgumentError(
                "expected series of one length, or a model that masks padding, where states are carried"
            )
        inputs = self._padding.arrays(data.inputs)
        _, rows, times = self._model._batch_of_inputs(one_or_all(inputs))
        batch = Batch(inputs, [], [], [])
        for index, (loss, target, weight) in enumerate(zip(self._losses, data.targets, data.weights)):
            shape = self._shape(index, rows, times)
            steps = shape[1] if len(shape) > 2 else 1
            there = target.there(steps) if isinstance(target, Series) else np.ones((rows, steps), bool)
            batch.targets.append(target.padded(steps) if isinstance(target, Series) else target)
            if isinstance(weight, Series):
                weight = weight.padded(steps)
            batch.weights.append(there * (np.float32(1) if weight is None else weight.reshape(rows, -1)[:, :steps]))
            counts_all = (
                loss is not None and loss.reduction in ("sum_over_batch_size", "mean") and not tried.is_masked[index]
            )
            batch.scales.append(there.size / max(1, int(there.sum())) if counts_all else 1.0)
        return batch

    def _run(
        self, call: Any, x: Values, y: Values, sample_weight: Any, carry_state: bool, states: Any
    ) -> tuple[float, list[float]]:
        if sample_weight is not None or states or type(x) is not np.ndarray or type(y) is not np.ndarray:
            return self._call(
                call, self._padded(self._data(x, y, sample_weight, None), carry_state), carry_state, states
            )
        x, y = floats(x), floats(y)
        if (ready := self._ready) is None or ready.shapes != (x.shape, y.shape):
            data = self._padded(self._data(x, y, None, None), carry_state)
            answer = self._call(call, data, carry_state)
            is_plain = len(data.inputs) == len(data.targets) == 1
            self._ready = _Ready(x, y, self._model._times(list(data.inputs))) if is_plain else None
            return answer
        answer = ready.call(call, self._handle, x, y, carry_state)
        self._batch = len(x)
        return answer

    def _call(self, call: Any, data: Batch, carry_state: bool, states: Any = None) -> tuple[float, list[float]]:
        inputs = [floats(value) for value in data.inputs]
        rows, times = len(inputs[0]), self._model._times(inputs)
        targets = [
            None if loss is None or target is None else self._target(index, loss, target, rows, times)
            for index, (loss, target) in enumerate(zip(self._losses, data.targets))
        ]
        steps = {weight.ndim for weight in data.weights if weight is not None}
        if len(steps) > 1 or steps - {1, 2}:
            raise InvalidArgumentError("expected sample weights (batch,) or (batch, steps), alike for all outputs")
        for index, weight in enumerate(data.weights):
            if weight is not None and weight.ndim == 2:
                shape = self._shape(index, rows, times)
                expected = shape[:2] if len(shape) > 2 else (rows, 1)
                if weight.shape != expected:
                    raise InvalidArgumentError(f"expected sample weights {expected}, received {weight.shape}")
        # Padding has no weight; where the loss is a mean over all steps, the real ones make up for it.
        weights = [
            None if weight is None else floats(weight * scale) for weight, scale in zip(data.weights, data.scales)
        ]
        given = state_arrays(self._model, states, rows) if states else None
        batch = c.Batch()
        batch.batch = rows
        batch.times = ctypes.cast(times, c.SIZES)
        batch.inputs, batch.targets = _pointers(inputs), _pointers(targets)
        if steps:
            batch.weights = _pointers(weights)
        batch.weights_per_step = int(2 in steps)
        batch.carry_state = int(carry_state)
        batch.states = _pointers(given) if given else None
        loss, parts = ctypes.c_double(), (ctypes.c_double * len(self._losses))()
        call(self._handle, ctypes.byref(batch), ctypes.byref(loss), parts)
        self._batch = rows
        return loss.value, list(parts)

    def _shape(self, index: int, rows: int, times: Any) -> tuple[int, ...]:
        shape = c.Shape()
        c.model_output_shape(self._model._handle, rows, times, index, ctypes.byref(shape))
        return tuple(shape.dims[: shape.rank])

    def _target(self, index: int, loss: losses.Loss, target: Array, rows: int, times: Any) -> Array:
        """The target as the library takes it: (..., width), where an axis of length 1 may be left out."""
        shape = self._shape(index, rows, times)
        full = shape[:-1] if loss.is_sparse else (*shape[:-1], loss.target_width(shape[-1]))
        allowed = {full, (*full, 1)} if loss.is_sparse else {full, full[:-1]} if full[-1] == 1 else {full}
        if target.shape not in allowed:
            raise InvalidArgumentError(f"expected targets of shape {full}, received {target.shape}")
        return np.ascontiguousarray(target).reshape(full)

    def _pass(
        self,
        data: Data,
        rows: NDArray[np.int64],
        batch_size: int,
        training: bool,
        stateful: bool,
        window: int | None = None,
        listeners: Sequence[calls.Callback] = (),
        progress: Progress | None = None,
        where: str = "",
    ) -> calls.Logs:
        """All batches once: the loss and the metrics. where: what stands before the batch's number in errors."""
        call = c.trainer_update if training else c.trainer_evaluate
        total = seen = 0.0
        parts = np.zeros(len(self._losses))
        for output in self._metrics:
            for _, metric in output:
                metric.reset()
        if stateful:
            self.reset_states()
        starts = range(0, len(rows), batch_size)
        for number, start in enumerate(starts):
            batch = data.take(rows[start : start + batch_size])
            if window is not None and not stateful:
                self.reset_states()
            loss = 0.0
            pieces = list(batch.windows(window, self._model)) if window is not None else [batch]
            for piece in (self._padded(piece, stateful) for piece in pieces):
                if training:
                    self._schedule()
                try:
                    value, each = self._call(call, piece, stateful or window is not None)
                except InvalidArgumentError as error:
                    raise InvalidArgumentError(f"{where}batch {number + 1}: {error}") from error
                loss += value / len(pieces)
                total += value * batch.rows / len(pieces)
                parts += np.asarray(each) * batch.rows / len(pieces)
                self._measure(piece)
            seen += batch.rows
            for listener in listeners:
                listener.on_batch_end(number, loss)
            if progress is not None:
                progress.show(number + 1, len(starts), total / seen)
        logs: calls.Logs = {"loss": total / seen}
        if len(self._losses) > 1:
            for tensor, loss_, part in zip(self._model.outputs, self._losses, parts):
                if loss_ is not None:
                    logs[f"{tensor.name}_loss"] = float(part) / seen
        logs.update({name: metric.result() for output in self._metrics for name, metric in output})
        return logs

    def _measure(self, batch: Batch) -> None:
        """Gives the last call's outputs to the metrics."""
        if not any(self._metrics):
            return
        _, rows, times = self._model._batch_of_inputs(one_or_all(batch.inputs))
        for index, found in enumerate(self._metrics):
            target, loss = batch.targets[index], self._losses[index]
            if not found or target is None or loss is None:
                continue
            shape = self._shape(index, rows, times)
            output = np.empty(shape, np.float32)
            c.trainer_output(self._handle, index, address(output), output.size)
            y = self._target(index, loss, target, rows, times)
            y = y[..., np.newaxis] if loss.is_sparse else y
            weights = np.ones(shape[:-1])
            if (given := batch.weights[index]) is not None:
                weights *= given.reshape(given.shape + (1,) * (weights.ndim - given.ndim))
            mask, has_mask = np.ones(shape[:2], np.uint8), ctypes.c_int()
            if len(shape) > 2:
                place = mask.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
                c.trainer_output_mask(self._handle, index, place, mask.size, ctypes.byref(has_mask))
                weights *= mask.reshape(mask.shape + (1,) * (weights.ndim - 2))
            for _, metric in found:
                metric.update(y.astype(np.float64), output.astype(np.float64), weights)


class Progress:
    """A line that grows while an epoch runs, on a terminal; elsewhere only the epoch's last line."""

    def __init__(self, title: str, verbose: bool) -> None:
        self.title, self.verbose = title, verbose
        self.live = verbose and sys.stdout.isatty()
        self.begin = self.last = time.monotonic()

    def show(self, done: int, all_: int, loss: float) -> None:
        now = time.monotonic()
        if not self.live or now - self.last < 0.1:
            return
        self.last = now
        bar = "━" * (24 * done // all_)
        left = (now - self.begin) / done * (all_ - done)
        print(f"\r{self.title} {bar:<24} {done}/{all_}  {left:4.0f} s left  loss {loss:.4f}\033[K", end="", flush=True)

    def end(self, logs: calls.Logs) -> None:
        if self.verbose:
            numbers = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
            line = f"{self.title}  {time.monotonic() - self.begin:.1f} s  {numbers}"
            print(f"\r{line}\033[K" if self.live else line)


def _per_output(values: Any, names: list[str], noun: str) -> list[Any]:
    """One item for each output: given alone, as a list, or as a dict by name, where outputs may be left out."""
    if isinstance(values, Mapping):
        for name in values:
            if name not in names:
                raise NotFoundError(f"expected the {noun} of an output ({', '.join(names)}), received '{name}'")
        return [values.get(name) for name in names]
    if len(names) == 1:
        alone = isinstance(values, (list, tuple)) and len(values) == 1 and not np.isscalar(values[0])
        return [values[0] if alone and isinstance(values[0], (np.ndarray, losses.Loss)) else values]
    if not isinstance(values, (list, tuple)) or len(values) != len(names):
        raise InvalidArgumentError(f"expected a list or a dict of {noun}s for {len(names)} outputs: {', '.join(names)}")
    return list(values)


def _by_class(
    class_weight: Mapping[int, float], loss: losses.Loss | None, target: Rows | None, weight: Rows | None
) -> Rows:
    """Sample weights by class, as Keras makes them: of class numbers, of one-hot rows, of 0 and 1."""
    if target is None or loss is None:
        raise InvalidArgumentError("expected a loss and targets beside class_weight")
    if isinstance(target, Series) or isinstance(weight, Series):
        weighted = [None] * len(target) if weight is None else weight
        return Series([_of_class(class_weight, loss, row, own) for row, own in zip(target, weighted)])
    return _of_class(class_weight, loss, target, weight)


def _of_class(class_weight: Mapping[int, float], loss: losses.Loss, target: Array, weight: Array | None) -> Array:
    if loss.is_sparse or target.shape[-1] == 1 or target.ndim == 1:
        labels = target.reshape(target.shape[:-1]) if target.ndim > 1 and target.shape[-1] == 1 else target
        labels = np.round(labels).astype(int)
    else:
        labels = np.argmax(target, axis=-1)
    by_class = np.ones(max(int(labels.max(initial=0)), *class_weight, 0) + 1, np.float32)
    for label, value in class_weight.items():
        by_class[label] = value
    found: Array = by_class[labels]
    return found if weight is None else floats(found * weight.reshape(weight.shape + (1,) * (found.ndim - weight.ndim)))


class _Ready:
    """What a call takes for an input and a target of these shapes, which the trainer has taken before."""

    def __init__(self, x: Array, y: Array, times: Any) -> None:
        self.shapes = x.shape, y.shape
        self._times, self._x, self._y = times, (ctypes.c_void_p * 1)(), (ctypes.c_void_p * 1)()
        self._batch, self._loss, self._part = c.Batch(), ctypes.c_double(), (ctypes.c_double * 1)()
        self._batch.batch, self._batch.times = len(x), ctypes.cast(times, c.SIZES)
        self._batch.inputs, self._batch.targets = (ctypes.cast(place, c.FLOAT_ARRAYS) for place in (self._x, self._y))
        self._references = ctypes.byref(self._batch), ctypes.byref(self._loss), self._part

    def call(self, call: Any, handle: Any, x: Array, y: Array, carry_state: bool) -> tuple[float, list[float]]:
        self._x[0], self._y[0] = address(x), address(y)
        self._batch.carry_state = carry_state
        call(handle, *self._references)
        return self._loss.value, [self._part[0]]


def _pointers(arrays: Sequence[Array | None]) -> Any:
    """A C array of addresses, NULL where there is no array. The caller keeps the arrays alive."""
    values = (ctypes.c_void_p * max(1, len(arrays)))(*(None if array is None else address(array) for array in arrays))
    return ctypes.cast(values, c.FLOAT_ARRAYS)
