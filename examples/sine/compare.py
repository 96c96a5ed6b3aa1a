"""Three ways to train a model that shall go on with a sine by itself, five seeds each.

    python compare.py [seeds]

A hundred samples are known. LSTM(5) → Dense(1, tanh) first learns to give the sample behind each of them: the series
rolled by one, without what comes round from its front; sum of squares over 2n, Adam, 500 updates. From there it learns on in
three ways, the same number of updates each, twenty samples in and then

  teacher forcing      fed with the series, as before
  scheduled sampling   fed with the series or with its own answer by chance, ever more often with its own
  free-running         fed with its own answer always; gradients go back through what is fed back

What is printed is how far 1000 steps of its own are off the sine (root of the mean square). train.c is the first step and
the last way in C.
"""

import sys
import time

import numpy as np

import cadenza
from cadenza import losses, optimizers

SAMPLES, PRIMER, RUN = 100, 20, 1000
TAUGHT_UPDATES, UPDATES = 500, 1000
SERIES = np.sin(np.arange(SAMPLES + RUN) * 10 / 99).astype(np.float32)
WAYS = {
    "teacher forcing": lambda done: 1.0,
    "scheduled sampling": lambda done: max(0.0, 1 - 1.5 * done),
    "free-running": lambda done: 0.0,
}


def taught(seed):
    """A model that has learned to give the next sample, told all before it."""
    layers = [("LSTM", {"units": 5, "return_sequences": True}), ("Dense", {"units": 1, "activation": "tanh"})]
    model = cadenza.build(None, 1, layers, seed=seed)
    trainer = cadenza.Trainer(model, losses.MeanSquaredError(weight=0.5), optimizers.Adam(0.02))
    x, y = SERIES[None, : SAMPLES - 1, None], SERIES[None, 1:SAMPLES, None]
    for _ in range(TAUGHT_UPDATES):
        trainer.update(x, y)
    return model


def learn_on(model, share, seed):
    """share: how often a step is fed with the series, by the part of the updates that is done."""
    trainer = cadenza.Trainer(model, optimizer=optimizers.Adam(optimizers.CosineDecay(0.01, UPDATES), global_clipnorm=0.1))
    primer, targets = SERIES[None, :PRIMER, None], SERIES[None, PRIMER:SAMPLES, None]
    steps = targets.shape[1]
    run = cadenza.Unrolled(model)
    for update in range(UPDATES):
        run.reset()
        outputs = cadenza.self_feeding(
            run, model, primer, steps, targets, teacher_forcing=share(update / UPDATES), seed=seed * UPDATES + update
        )
        outputs.backward((outputs.array - targets) / steps)
        trainer.apply_gradients(run)


def error(model):
    generator = cadenza.SelfFeeding(model)
    generator.prime(SERIES[:SAMPLES])
    return np.sqrt(np.mean((generator.run(RUN).values[0, :, 0] - SERIES[SAMPLES:]) ** 2))


def main():
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    print(f"| error of {RUN} steps | {' | '.join(f'seed {seed}' for seed in seeds)} | mean | seconds |")
    print(f"|{' --- |' * (len(seeds) + 3)}")
    begin = time.process_time()
    models = [taught(seed) for seed in seeds]
    begun = [model.get_weights() for model in models]
    rows = {f"{TAUGHT_UPDATES} updates": ([error(model) for model in models], time.process_time() - begin)}
    for name, share in WAYS.items():
        begin, errors = time.process_time(), []
        for seed, model, weights in zip(seeds, models, begun):
            model.set_weights(weights)
            learn_on(model, share, seed)
            errors.append(error(model))
        rows[f"… then {name}"] = errors, time.process_time() - begin
    for name, (errors, seconds) in rows.items():
        numbers = " | ".join(f"{one:.3f}" for one in errors)
        print(f"| {name} | {numbers} | {np.mean(errors):.3f} | {seconds / len(seeds):.2f} |")


if __name__ == "__main__":
    main()
