"""A nested generator as a plain loop over Keras cells, one row after another: what Cadenza's is held against.

    case = random_case(seed)                    two Keras models, options, inputs
    expected = run(case)                        series by (row, outer step), steps of B, what ended each run

Models are `Stepped`: recurrent Keras layers, whose cells make the steps, and heads behind the last of them.
"""

from dataclasses import dataclass, field

import keras
import numpy as np
from keras import layers


class Stepped:
    """Recurrent layers and heads on the last one's output, as a Keras model and as a function of one step."""

    def __init__(self, features, recurrent, heads, random):
        self.recurrent, self.heads = recurrent, heads
        first = inputs = keras.Input((None, features))
        for layer in recurrent:
            inputs = layer(inputs)
        self.model = keras.Model(first, [head(inputs) for head in heads] or [inputs])
        randomize(self.model, random)
        self.state_sizes = [size for layer in recurrent for size in np.atleast_1d(layer.cell.state_size)]
        self.features = features
        self.sizes = [head.units for head in heads] or [recurrent[-1].units]

    def zero(self):
        return [np.zeros((1, size), np.float32) for size in self.state_sizes]

    def split(self, values):
        """States from all their values, one after another."""
        return [part[None] for part in np.split(np.asarray(values, np.float32), np.cumsum(self.state_sizes)[:-1])]

    def step(self, values, states):
        """Values (features,), states as `zero` gives them: outputs, new states."""
        x, after = np.asarray(values, np.float32)[None], []
        for layer in self.recurrent:
            size = len(np.atleast_1d(layer.cell.state_size))
            before = states[len(after) : len(after) + size]
            x, new = layer.cell.call(x, before)
            after += new if isinstance(new, (list, tuple)) else [new]
        return [np.asarray(head(x))[0] for head in self.heads] or [np.asarray(x)[0]], [np.asarray(one) for one in after]


def randomize(model, random):
    model.set_weights([random.normal(scale=0.6, size=weight.shape) for weight in model.weights])


def dense(inputs, units, random):
    """A Dense layer as a model of single steps, and as a function of one row's values."""
    model = keras.Sequential([keras.Input((None, inputs)), layers.Dense(units)])
    randomize(model, random)
    return model, lambda values: np.asarray(model.layers[-1](np.asarray(values, np.float32)[None]))[0]


class Philox:
    """Counter-based random numbers (Salmon et al. 2011), a series for each seed, as Cadenza draws them."""

    def __init__(self, seed):
        self.seed, self.position = seed, 0

    def next(self):
        block, lane = divmod(self.position, 4)
        self.position += 1
        c, k = [block & 0xFFFFFFFF, block >> 32, 0, 0], [self.seed & 0xFFFFFFFF, self.seed >> 32]
        for _ in range(10):
            a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
            k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
        return c[lane]


@dataclass
class Case:
    """Everything that a run depends on. Options have the words of `cadenza.Level`."""

    a: Stepped
    b: Stepped
    x: np.ndarray
    counts: np.ndarray | None = None
    state: str = "carry"
    drive: str = "input"
    driver_output: int = 0
    initial: tuple | None = None
    feedback: str | None = None
    """None, "output" of index 0, or "sample": the drawn class as a one-hot vector."""
    link: tuple | None = None
    part: tuple = (0, 0)
    """First and count of the output's values that are fed back; count 0: the rest."""
    temperature: float | None = None
    """A categorical sampler on output 0; None: nothing is drawn."""
    stops: list = field(default_factory=list)
    """Dicts: kind (token, above, below, norm_above, norm_below, gate), of (output or state, index), element, threshold, through."""
    limit: int | None = None
    minimum: int = 0
    stopping: str = "keep"
    upward: tuple | None = None
    """("output" | "sample" | "state", index)."""
    seeds: list = field(default_factory=list)


@dataclass
class Answer:
    series: list
    """By row and outer step: arrays (length, units)."""
    reasons: list
    """Likewise: ("count" | "limit" | "rule", number of the rule or None)."""
    steps: int


def run(case):
    rows = [run_row(case, row) for row in range(len(case.x))]
    return Answer([one.series for one in rows], [one.reasons for one in rows], sum(one.steps for one in rows))


def run_row(case, row):
    a, b, random = case.a, case.b, Philox(case.seeds[row] if case.seeds else row)
    above, states = a.zero(), b.zero()
    up = np.zeros(upward_size(case), np.float32)
    last = None  # outputs and drawn class of the step before
    answer = Answer([], [], 0)
    for outer, sample in enumerate(case.x[row]):
        outputs, above = a.step(np.concatenate([sample, up]), above)
        driver = outputs[case.driver_output]
        wanted = None if case.counts is None else (case.counts if case.counts.ndim == 1 else case.counts[row])[outer]
        series, reason, made = [], ("count", None), 0
        if wanted != 0 and case.state != "carry":
            last = None
            states = b.zero() if case.state == "reset" else b.split(case.initial[1](driver) if case.initial else driver)
        while wanted != 0:
            joined = [driver] if case.drive == "input" else []
            outputs, new = b.step(np.concatenate([*joined, fed_back(case, last)]), states)
            answer.steps += 1
            drawn = None if case.temperature is None else draw(outputs[0], case.temperature, random)
            made += 1
            fired = next((i for i, stop in enumerate(case.stops) if fires(stop, outputs, new, drawn, random)), None) if made >= case.minimum else None
            undone = fired is not None and case.stopping == "undo"
            if not undone:
                states, last = new, (outputs, drawn)
            else:
                answer.steps -= 1
            if fired is None or case.stopping == "keep":
                series.append(outputs[0])
            if fired is not None:
                reason = ("rule", fired)
            elif wanted is not None and made >= wanted:
                reason = ("count", None)
            elif case.limit and made >= case.limit:
                reason = ("limit", None)
            else:
                continue
            if case.upward and (series or reason[0] == "rule" and case.stopping == "drop"):
                kind, index = case.upward
                up = states[index][0] if kind == "state" else last[0][index] if kind == "output" else np.array([last[1]], np.float32)
            break
        answer.series.append(np.array(series, np.float32).reshape(-1, b.sizes[0]))
        answer.reasons.append(reason)
    return answer


def fed_back(case, last):
    if case.feedback is None:
        return []
    if case.feedback == "sample":
        values = np.zeros(case.b.sizes[0], np.float32)
        if last:
            values[last[1]] = 1
    else:
        first, count = case.part
        values = last[0][0] if last else np.zeros(case.b.sizes[0], np.float32)
        values = values[first : first + count if count else None]
    return case.link[1](values) if case.link else values


def draw(logits, temperature, random):
    if temperature == 0:
        return int(np.argmax(logits))
    weights = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    return int(np.searchsorted(np.cumsum(weights), random.next() * 2.0**-32 * weights.sum(), side="right"))


def fires(stop, outputs, states, drawn, random):
    kind, (of, index) = stop["kind"], stop["of"]
    values = outputs[index] if of == "output" else states[index][0]
    if stop.get("through"):
        values = stop["through"][1](values)
    if kind == "token":
        return (int(np.argmax(values)) if drawn is None else drawn) == stop["element"]
    if kind == "gate":
        return (random.next() >> 8) * 2.0**-24 < 1 / (1 + np.exp(-float(values[stop["element"]])))
    value = np.linalg.norm(values) if kind.startswith("norm") else values[stop["element"]]
    return bool(value > stop["threshold"] if kind.endswith("above") else value < stop["threshold"])


def upward_size(case):
    if case.upward is None:
        return 0
    kind, index = case.upward
    return {"output": lambda: case.b.sizes[index], "sample": lambda: 1, "state": lambda: case.b.state_sizes[index]}[kind]()


# ── Random cases ─────────────────────────────────────────────────────────────────────────────────────────


def random_case(seed):
    keras.backend.clear_session()
    random = np.random.default_rng(seed)

    def one_of(*choices):
        return choices[random.integers(len(choices))]

    def chance(share):
        return random.random() < share

    def recurrent(most):
        made = []
        for _ in range(random.integers(1, most + 1)):
            kind = one_of(layers.LSTM, layers.GRU, layers.SimpleRNN)
            options = {"reset_after": chance(0.5)} if kind is layers.GRU else {}
            made.append(kind(int(random.integers(2, 9)), return_sequences=True, **options))
        return made

    def heads(most, smallest):
        return [layers.Dense(int(random.integers(smallest, 6)), activation=one_of(None, "tanh")) for _ in range(random.integers(0, most + 1))]

    batch, outer, features = (int(random.integers(1, most)) for most in (5, 6, 5))
    case = Case(None, None, random.normal(size=(batch, outer, features)).astype(np.float32))
    below, ends = recurrent(2), heads(2, 2)
    width = ends[0].units if ends else below[-1].units
    state_sizes = [int(size) for layer in below for size in np.atleast_1d(layer.cell.state_size)]
    sizes = [head.units for head in ends] or [width]

    case.temperature = one_of(None, None, 0.0, 0.7, 1.0)
    case.feedback = one_of(None, "output", "output", *(["sample"] if case.temperature is not None else []))
    fed = 0
    if case.feedback:
        fed = width
        if case.feedback == "output" and chance(0.3):
            first = int(random.integers(0, width))
            case.part = (first, int(random.integers(0, width - first + 1)))
            fed = case.part[1] or width - first
        if chance(0.3):
            case.link = dense(fed, int(random.integers(1, 5)), random)
            fed = case.link[0].layers[-1].units
    case.state = one_of("carry", "reset", "given")
    if case.state == "given" and fed and chance(0.5):
        case.drive = "state"
    kinds = ["output"] + ["state"] + (["sample"] if case.temperature is not None else [])
    if chance(0.4):
        kind = one_of(*kinds)
        case.upward = (kind, int(random.integers(len(state_sizes) if kind == "state" else len(sizes))) if kind != "sample" else 0)
    up = 0 if case.upward is None else {"sample": 1, "output": sizes[case.upward[1]] if case.upward[0] == "output" else 0,
                                        "state": state_sizes[case.upward[1]] if case.upward[0] == "state" else 0}[case.upward[0]]

    exact = case.state == "given" and chance(0.3)
    a_heads = [layers.Dense(sum(state_sizes))] if exact else heads(2, 1)
    case.a = Stepped(features + up, recurrent(2), a_heads, random)
    case.driver_output = int(random.integers(len(case.a.sizes))) if not exact else 0
    driver = case.a.sizes[case.driver_output]
    if case.state == "given" and driver != sum(state_sizes):
        case.initial = dense(driver, sum(state_sizes), random)
    case.b = Stepped((driver if case.drive == "input" else 0) + fed, below, ends, random)

    ending = one_of("counts", "row counts", "rules", "rules", "both")
    if ending in ("counts", "both"):
        case.counts = random.integers(0, 6, outer)
    if ending == "row counts":
        case.counts = random.integers(0, 6, (batch, outer))
    if ending in ("rules", "both"):
        for _ in range(random.integers(1, 3)):
            case.stops.append(random_stop(case, random, one_of, chance))
        case.limit = int(random.integers(1, 9)) if case.counts is None or chance(0.5) else None
        case.minimum = int(random.integers(0, min(4, (case.limit or 4) + 1)))
        case.stopping = one_of("keep", "drop", "undo")
    case.seeds = [int(seed) for seed in random.integers(0, 2**40, batch)]
    return case


def random_stop(case, random, one_of, chance):
    kind = one_of("token", "above", "below", "norm_above", "norm_below", "gate")
    if kind == "token":
        return {"kind": kind, "of": ("output", 0), "element": int(random.integers(case.b.sizes[0]))}
    of, sizes = one_of(("output", case.b.sizes), ("state", case.b.state_sizes))
    index = int(random.integers(len(sizes)))
    stop, size = {"kind": kind, "of": (of, index)}, int(sizes[index])
    if chance(0.4):
        stop["through"] = dense(size, int(random.integers(1, 4)), random)
        size = stop["through"][0].layers[-1].units
    stop["element"] = int(random.integers(size))
    stop["threshold"] = float(np.float32(random.uniform(0.3, 1.2) if kind.startswith("norm") else random.normal(scale=0.5)))
    return stop
