"""One module for each contestant, with a function for each kind of workload that it can run: (workload, threads) → entries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Entry:
    """A form of the contestant, ready to run."""

    form: str
    run: Callable[[], Any] | None  # makes `steps` units
    steps: float = 1
    answer: np.ndarray | None = None  # None: nothing to compare
    time: Callable[[], np.ndarray] | None = None  # in place of `run`: seconds of each of many units
