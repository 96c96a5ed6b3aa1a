"""Workloads as ONNX graphs, for onnxruntime and OpenVINO. States are inputs h0, c0, h1 …, and outputs h0_, c0_ …"""

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

GATES = {"LSTM": (0, 3, 1, 2), "GRU": (0, 1, 2)}  # ONNX's order in Keras's: i o f c, z r h


class Graph:
    """An input x [time, batch, features], or [time, batch] ids, and an output y."""

    def __init__(self, workload, states=True, place="x"):
        """states: given and handed out."""
        self.nodes, self.constants, self.states = [], [], []
        self.given, self.place = states, place
        weights = iter(workload.weights)
        for kind, *options in workload.layers:
            getattr(self, kind.lower())(weights, *options)

    def add(self, kind, *inputs, outputs=1, **options):
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **options))
        return names if outputs > 1 else names[0]

    def constant(self, value):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), f"w{len(self.constants)}"))
        return self.constants[-1].name

    def embedding(self, weights, _units):
        self.place = self.add("Gather", self.constant(next(weights)), self.place)

    def lstm(self, weights, units):
        self.recurrent("LSTM", weights, units, 2)

    def gru(self, weights, units):
        self.recurrent("GRU", weights, units, 1, linear_before_reset=1)

    def recurrent(self, kind, weights, units, states, **options):
        def gates(array):
            parts = np.split(array, len(GATES[kind]), axis=-1)
            return np.concatenate([parts[gate] for gate in GATES[kind]], axis=-1)

        kernel, inner, bias = next(weights), next(weights), next(weights)
        both = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
        tensors = [self.constant(value) for value in (gates(kernel).T[None], gates(inner).T[None], gates(both).reshape(1, -1))]
        names = [f"{letter}{len(self.states) // states}" for letter in "hc"[:states]]
        whole, *after = self.add(kind, self.place, *tensors, "", *(names if self.given else ()), outputs=1 + states, hidden_size=units, **options)
        for name, place in zip(names, after):
            self.nodes.append(helper.make_node("Identity", [place], [name + "_"]))
            self.states.append((name, units))
        self.place = self.add("Squeeze", whole, self.constant(np.array([1])))

    def leakyrelu(self, _weights, slope):
        self.place = self.add("LeakyRelu", self.place, alpha=slope)

    def dense(self, weights, _units, activation):
        self.place = self.add("Add", self.add("MatMul", self.place, self.constant(next(weights))), self.constant(next(weights)))
        if activation != "linear":
            self.place = self.add(activation.capitalize(), self.place, **({"axis": -1} if activation == "softmax" else {}))

    def model(self, x, rows):
        """x: a sample input, for shape and type."""
        F = TensorProto.FLOAT
        self.nodes.append(helper.make_node("Identity", [self.place], ["y"]))
        states = self.states if self.given else []
        inputs = [helper.make_tensor_value_info("x", F if x.dtype == np.float32 else TensorProto.INT64, x.shape)]
        inputs += [helper.make_tensor_value_info(name, F, [1, rows, units]) for name, units in states]
        outputs = [helper.make_tensor_value_info("y", F, [None, None, None])]
        outputs += [helper.make_tensor_value_info(name + "_", F, [1, rows, units]) for name, units in states]
        graph = helper.make_graph(self.nodes, "workload", inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        checker.check_model(model)
        return model


def stepped(workload):
    """The graph of a step, x for it, and two sets of arrays for states, which take turns."""
    rows = workload.rows if workload.x.size else 1
    ids = workload.layers[0][0] == "Embedding"
    x = np.zeros((1, rows), np.int64) if ids else np.zeros((1, rows, workload.features), np.float32)
    graph = Graph(workload)
    sides = [{name: np.zeros((1, rows, units), np.float32) for name, units in graph.states} for _ in range(2)]
    return graph.model(x, rows), x, sides, np.zeros((1, rows, workload.layers[-1][1]), np.float32)
