"""Self-fed and nested runs as plain loops of `Unrolled.step`, each step on a tape of its own: what whole runs are held against."""

from __future__ import annotations

import numpy as np

import cadenza


def self_feeding(run, model, primer, steps, targets, taught, states, first=0, size=None, choose=None, straight_through=False):
    """Outputs, x, initial states and the states after each step. taught: (batch, steps). choose: a function that makes of an
    output's array what goes in."""
    initial = {key: run.value(value) for key, value in states.items()}
    x = [run.value(primer[:, t]) for t in range(primer.shape[1])]
    carried, after = [], initial
    for sample in x:
        output, after = run.step(model, sample, after)
        carried.append(after)
    outputs = [output]
    for t in range(1, steps):
        fed = run.part(output, first, size or output.array.shape[1] - first)
        if choose:
            fed = run.choice(fed, choose(fed.array), straight_through)
        fed = run.where(taught[:, t], run.value(targets[:, t - 1]), fed)
        output, after = run.step(model, fed, after)
        outputs.append(output)
        carried.append(after)
    return outputs, x, initial, carried


def nested(run, first, second, x, counts, policy, head=None, feedback=False, upward=False, choose=None, straight_through=False):
    """Outputs by outer and inner step, x, answers, and the second model's states after each step. choose: as above."""
    batch, width = len(x), second.outputs[0].step_size
    zero = {state.key: run.value(np.zeros((batch, state.units))) for state in second.states}
    blank = run.value(np.zeros((batch, width)))
    above, below, last, fed = None, dict(zero), blank, blank
    samples, answers, outputs, carried = [], [], [], []
    for i in range(x.shape[1]):
        samples.append(run.value(x[:, i]))
        answer, above = run.step(first, run.concatenate([samples[-1], last]) if upward else samples[-1], above)
        answers.append(answer)
        if policy != "carry":
            fed = blank
        if policy == "reset":
            below = dict(zero)
        elif policy == "given":
            source = run.step(head, answer)[0] if head else answer
            place, below = 0, dict(below)
            for state in second.states:
                given = run.part(source, place, state.units)
                below[state.key] = run.where(counts[:, i] > 0, given, below[state.key])
                place += state.units
        outputs.append([])
        carried.append([])
        for j in range(counts[:, i].max()):
            rows = counts[:, i] > j
            output, after = run.step(second, run.concatenate([answer, fed]) if feedback else answer, below)
            below = {key: run.where(rows, value, below[key]) for key, value in after.items()}
            outputs[i].append(run.where(rows, output, blank))
            chosen = run.choice(output, choose(output.array), straight_through) if choose else output
            fed, last = run.where(rows, chosen, fed), run.where(rows, output, last)
            carried[i].append(below)
    return outputs, samples, answers, carried


def weight_gradients(gradients: dict[cadenza.Model, dict[str, np.ndarray]]) -> list[np.ndarray]:
    return [gradient for model in gradients.values() for gradient in model.values()]
