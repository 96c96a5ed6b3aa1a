"""PyTorch: its own LSTM and GRU layers, without gradients."""

import numpy as np
import torch
from torch import nn

from workloads import TEMPERATURE

from . import Entry, updates

GATES = {"LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2)}  # PyTorch's order in Keras's: i f c o, r z h


class Net(nn.Module):
    """x [time, batch, features], states → y, states."""

    def __init__(self, workload):
        super().__init__()
        weights, width, self.layers = iter(map(torch.tensor, workload.weights)), workload.features, nn.ModuleList()
        for kind, *options in workload.layers:
            self.layers.append(layer(kind, width, options, weights))
            width = width if kind == "LeakyReLU" else options[0]
            if kind == "Dense" and options[1] != "linear":
                self.layers.append({"sigmoid": nn.Sigmoid(), "softmax": nn.Softmax(-1)}[options[1]])

    def forward(self, x, states):
        after = []
        for one in self.layers:
            if isinstance(one, (nn.LSTM, nn.GRU)):
                x, state = one(x, states[len(after)] if states else None)
                after.append(state)
            else:
                x = one(x)
        return x, after


def layer(kind, width, options, weights):
    with torch.no_grad():
        if kind in GATES:
            made = getattr(nn, kind)(width, options[0])
            order = lambda w: torch.cat([w.chunk(len(GATES[kind]), -1)[gate] for gate in GATES[kind]], -1)  # noqa: E731
            made.weight_ih_l0.copy_(order(next(weights)).T)
            made.weight_hh_l0.copy_(order(next(weights)).T)
            bias = order(next(weights))
            made.bias_ih_l0.copy_(bias[0] if bias.ndim == 2 else bias)
            made.bias_hh_l0.copy_(bias[1] if bias.ndim == 2 else torch.zeros_like(bias))
        elif kind == "Dense":
            made = nn.Linear(width, options[0])
            made.weight.copy_(next(weights).T)
            made.bias.copy_(next(weights))
        elif kind == "Embedding":
            made = nn.Embedding.from_pretrained(next(weights))
        else:
            made = nn.LeakyReLU(options[0])
    return made


def step(workload, threads):
    torch.set_num_threads(threads)
    net, x = Net(workload), torch.tensor(workload.x)[:, None]
    kept = [None]

    @torch.inference_mode()
    def run():
        for sample in x:
            y, kept[0] = net(sample, kept[0])
        return y

    return [Entry("eager", run, len(x) * workload.rows, run()[0].numpy())]


def sequence(workload, threads):
    torch.set_num_threads(threads)
    net, x = Net(workload), torch.tensor(workload.x)

    @torch.inference_mode()
    def run():
        return net(x, None)[0]

    return [Entry("eager", run, workload.rows, run().numpy().transpose(1, 0, 2))]


def sine(workload, threads):
    torch.set_num_threads(threads)
    net = Net(workload)

    @torch.inference_mode()
    def run(steps=200):
        x, states, values = torch.zeros(1, 1, 1), None, []
        for _ in range(steps):
            x, states = net(x, states)
            values.append(x.item())
        return values

    return [Entry("a loop in Python", run, 200, np.array(run(100), np.float32)[:, None])]


def characters(workload, threads):
    torch.set_num_threads(threads)
    net = Net(workload)

    @torch.inference_mode()
    def run():
        x, states = torch.zeros(1, 1, dtype=torch.int64), None
        for _ in range(200):
            y, states = net(x, states)
            x = torch.multinomial(y[0] ** (1 / TEMPERATURE), 1)

    with torch.inference_mode():
        answer = net(torch.arange(8)[:, None], None)[0][:, 0].numpy()
    return [Entry("a loop in Python", run, 200, answer)]


def nested(workload, threads):
    """The second model on the first one's answers, each repeated as often as it is read; padded, and packed."""
    torch.set_num_threads(threads)
    above, below, x = Net(workload), Net(workload.below), torch.tensor(workload.x)
    lengths = workload.counts.sum(axis=1)
    source = [np.repeat(np.arange(len(x)), row) for row in workload.counts]
    places = torch.tensor(np.stack([np.pad(one, (0, lengths.max() - len(one))) for one in source]).T.copy())[..., None].expand(-1, -1, 128)
    sizes = torch.tensor(lengths)
    lstm, dense = below.layers

    @torch.inference_mode()
    def padded():
        return below(above(x, None)[0].gather(0, places), None)[0]

    @torch.inference_mode()
    def packed():
        rows = nn.utils.rnn.pack_padded_sequence(above(x, None)[0].gather(0, places), sizes, enforce_sorted=False)
        return rows._replace(data=dense(lstm(rows)[0].data))

    def answer(whole):
        return np.concatenate([whole[:length, row].numpy() for row, length in enumerate(lengths)])

    unpacked = nn.utils.rnn.pad_packed_sequence(packed())[0]
    return [Entry("eager, padded", padded, 1, answer(padded())), Entry("eager, packed", packed, 1, answer(unpacked))]


def training(workload, threads):
    torch.set_num_threads(threads)
    return updates.entries(workload, {f"PyTorch, {threads} threads": "eager"})
