"""What can be done between the epochs of `Trainer.fit`, in Keras's words."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arguments import PathLike
from .errors import InvalidArgumentError

if TYPE_CHECKING:
    from .trainer import Trainer

Logs = dict[str, float]


class Callback:
    """Called by `fit`. A plain function (epoch, logs) is a callback too, called at each epoch's end."""

    trainer: Trainer

    def on_train_begin(self) -> None: ...

    def on_train_end(self) -> None: ...

    def on_epoch_begin(self, epoch: int) -> None: ...

    def on_epoch_end(self, epoch: int, logs: Logs) -> None: ...

    def on_batch_end(self, batch: int, loss: float) -> None: ...


class Function(Callback):
    """Calls a function at each epoch's end."""

    def __init__(self, function: Callable[[int, Logs], Any]) -> None:
        self.function = function

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self.function(epoch, logs)


class Monitor(Callback):
    """Watches one number of the logs. mode: "min", "max" or "auto", which is max for what a name tells is better high."""

    def __init__(self, monitor: str = "val_loss", mode: str = "auto", min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise InvalidArgumentError(f"expected mode auto, min or max; received {mode!r}")
        high = any(word in monitor for word in ("acc", "auc", "f1", "precision", "recall"))
        self.monitor = monitor
        self.sign = 1.0 if mode == "max" or mode == "auto" and high else -1.0
        self.min_delta = abs(min_delta)
        self.best = -np.inf

    def on_train_begin(self) -> None:
        self.best = -np.inf

    def value(self, logs: Logs) -> float:
        """The number, by its sign so that more is better."""
        if self.monitor not in logs:
            raise InvalidArgumentError(f"expected to watch one of {', '.join(logs)}; received '{self.monitor}'")
        return self.sign * logs[self.monitor]

    def is_better(self, value: float) -> bool:
        return value > self.best + self.min_delta


class EarlyStopping(Monitor):
    """Ends training when the number has not become better for `patience` epochs."""

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 0,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch

    def on_train_begin(self) -> None:
        super().on_train_begin()
        self.wait = 0
        self.best_weights: list[Any] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if epoch < self.start_from_epoch:
            return
        value = self.value(logs)
        if self.is_better(value):
            self.best, self.wait = value, 0
            if self.restore_best_weights:
                self.best_weights = self.trainer.model.get_weights()
            return
        self.wait += 1
        if self.wait >= self.patience:
            self.trainer.stop_training = True

    def on_train_end(self) -> None:
        if self.best_weights is not None:
            self.trainer.model.set_weights(self.best_weights)


class ModelCheckpoint(Monitor):
    """Saves the model after each epoch, or only where the number has become better. `{epoch}` and the logs' names may
    stand in the path. A path ending in `.checkpoint` gets the trainer's whole state, to go on from."""

    def __init__(
        self, path: PathLike, monitor: str = "val_loss", save_best_only: bool = False, mode: str = "auto"
    ) -> None:
        super().__init__(monitor, mode)
        self.path = str(path)
        self.save_best_only = save_best_only

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self.save_best_only:
            value = self.value(logs)
            if not self.is_better(value):
                return
            self.best = value
        path = self.path.format(epoch=epoch + 1, **logs)
        if path.endswith(".checkpoint"):
            self.trainer.save_checkpoint(path)
        else:
            self.trainer.model.save(path)


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by `factor` when the number has not become better for `patience` epochs."""

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.factor, self.patience, self.cooldown, self.min_lr = factor, patience, cooldown, min_lr

    def on_train_begin(self) -> None:
        super().on_train_begin()
        self.wait = self.cooling = 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        value = self.value(logs)
        if self.cooling > 0:
            self.cooling, self.wait = self.cooling - 1, 0
        if self.is_better(value):
            self.best, self.wait = value, 0
        elif self.cooling <= 0:
            self.wait += 1
            if self.wait >= self.patience and self.trainer.learning_rate > self.min_lr:
                self.trainer.learning_rate = max(self.trainer.learning_rate * self.factor, self.min_lr)
                self.cooling, self.wait = self.cooldown, 0


class LearningRateScheduler(Callback):
    """Sets the learning rate of each epoch: schedule(epoch, rate) gives it."""

    def __init__(self, schedule: Callable[[int, float], float]) -> None:
        self.schedule = schedule

    def on_epoch_begin(self, epoch: int) -> None:
        self.trainer.learning_rate = self.schedule(epoch, self.trainer.learning_rate)


class CSVLogger(Callback):
    """Writes the logs of each epoch as a line of a CSV file."""

    def __init__(self, path: PathLike, append: bool = False) -> None:
        self.path, self.append = path, append

    def on_train_begin(self) -> None:
        self.names: list[str] | None = None
        if not self.append:
            with open(self.path, "w"):
                pass

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        with open(self.path, "a", newline="") as file:
            writer = csv.writer(file)
            if self.names is None:
                self.names = list(logs)
                if file.tell() == 0:
                    writer.writerow(["epoch", *self.names])
            writer.writerow([epoch, *(logs.get(name, "") for name in self.names)])
