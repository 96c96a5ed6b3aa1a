/// Puts a model together: inputs, layers applied to values, outputs.
public final class ModelBuilder {
    private var values: [Model.Value] = []
    private var nodes: [Model.Node] = []
    private var inputs: [(name: Name, value: Int)] = []

    @export(interface)
    public init() {}

    /// An input of the model. Shape without batch, −1 for a flexible time axis.
    @export(interface)
    public func input(name: Name, shape: Shape) throws(Failure) -> ValueID {
        let layer = InputLayer(name: name, shape: shape)
        for length in shape where length == 0 || length < anyLength {
            throw layer.failure("its shape \(describe(shape)) has an axis of length \(length)")
        }
        guard shape.count <= 8 else { throw layer.failure(.unsupported, "its rank \(shape.count + 1) is above 9") }
        let output = add(shape, hasMask: false)
        inputs.append((name, output))
        nodes.append(Model.Node(layer: layer, inputs: [], initialStates: [], outputs: [output]))
        return ValueID(index: output)
    }

    /// Applies a layer, building it on its first use.
    @export(interface)
    public func apply(_ layer: Layer, to given: [ValueID], initialStates: [ValueID] = []) throws(Failure) -> [ValueID] {
        guard !given.isEmpty else { throw layer.failure("has no input") }
        let shapes = given.map { values[$0.index].shape }
        try layer.buildOnce(shapes)
        if !initialStates.isEmpty { try check(initialStates, of: layer) }
        let hasMask = try layer.hasMask(given.map { values[$0.index].hasMask })
        var outputs: [Int] = []
        for (index, shape) in try layer.outputShapes(shapes).enumerated() {
            guard shape.count <= 8 else { throw layer.failure(.unsupported, "its output's rank \(shape.count + 1) is above 9") }
            outputs.append(add(shape, hasMask: hasMask && layer.masksOutput(index)))
        }
        nodes.append(Model.Node(layer: layer, inputs: given.map { $0.index }, initialStates: initialStates.map { $0.index }, outputs: outputs))
        return outputs.map { ValueID(index: $0) }
    }

    /// Whether a value has a mask.
    @export(interface)
    public func hasMask(_ value: ValueID) -> Bool { values[value.index].hasMask }

    private func add(_ shape: Shape, hasMask: Bool) -> Int {
        values.append(Model.Value(shape: shape, hasMask: hasMask))
        return values.count - 1
    }

    private func check(_ initialStates: [ValueID], of layer: Layer) throws(Failure) {
        let expected = layer.initialStateShapes
        guard !expected.isEmpty else { throw layer.failure("takes no initial state") }
        let given = initialStates.map { values[$0.index].shape }
        guard given == expected else {
            throw layer.failure("its initial states are \(Text.joined(expected.map(describe), ", ")), not \(Text.joined(given.map(describe), ", "))")
        }
    }

    /// The model. `layers`: the order in which Keras lists the layers, and so their weights.
    @export(interface)
    public func finish(outputs: [ValueID], layers: [Layer], architecture: Text) throws(Failure) -> Model {
        guard !inputs.isEmpty, !outputs.isEmpty else { throw Failure(.invalidArgument, "a model needs an input and an output") }
        let idChecks = try findIDChecks()
        settleTimelines()
        let (states, stateSize) = placeStates()
        let entries = listEntries()
        let ports = inputs.map { port(name: $0.name, value: $0.value) }
        let results = outputs.map { output in
            port(name: nodes.first { $0.outputs.contains(output.index) }!.layer.name, value: output.index)
        }
        var weights: [Weight] = [], weightLayers: [Int] = []
        for layer in layers {
            guard let index = entries.firstIndex(where: { $0.layer === layer }) else { continue }
            for weight in layer.weights where !weights.contains(where: { $0 === weight }) {
                weights.append(weight)
                weightLayers.append(index)
            }
        }
        makeUnique(weights)
        return Model(values: values, nodes: nodes, entries: entries, inputs: ports, outputs: results, states: states,
                     stateSize: stateSize, weights: weights, weightLayers: weightLayers,
                     architecture: architecture, idChecks: idChecks)
    }

    /// Paths tell weights apart in files; a repeated one gets a number.
    private func makeUnique(_ weights: [Weight]) {
        var seen: [Name: Int] = [:]
        for weight in weights {
            let uses = (seen[weight.path] ?? 0) + 1
            seen[weight.path] = uses
            if uses > 1 { weight.path = weight.path + Name("@\(uses)") }
            weight.cPath = CText(weight.path)
        }
    }

    private func port(name: Name, value: Int) -> Model.Port {
        let shape = values[value].shape
        let hasTime = values[value].timeline == .flowing
        let step = hasTime ? Shape(shape.dropFirst()) : shape
        return Model.Port(name: name, shape: shape, hasTime: hasTime,
                          stepSize: step.isKnown ? step.reduce(1, &*) : 0, cName: CText(name), value: value)
    }

    // MARK: Ids

    /// Every Embedding must look up an input of the model, unchanged, so that ids are checked before anything runs.
    private func findIDChecks() throws(Failure) -> [Model.IDCheck] {
        var checks: [Model.IDCheck] = []
        for node in nodes {
            guard let embedding = node.layer.embedding else { continue }
            var value = node.inputs[0]
            while let producer = nodes.first(where: { $0.outputs.contains(value) }), producer.layer.keepsValues {
                value = producer.inputs[0]
            }
            guard let input = inputs.firstIndex(where: { $0.value == value }) else {
                throw node.layer.failure(.unsupported, "looks up ids that the model computes; ids must be an input of the model")
            }
            checks.append(Model.IDCheck(input: input, embedding: embedding))
        }
        return checks
    }

    // MARK: Time

    /// Finds out which axes are time, and which layers can stream. The first axis of an input of rank 2 or more is time;
    /// that of ids is time where it leads into a recurrent layer's, or may have any length.
    private func settleTimelines() {
        for (_, value) in inputs { values[value].timeline = .flowing }
        follow()
        for (_, value) in inputs where values[value].shape.count == 1 && values[value].shape[0] >= 0 && !leadsToRecurrence(value) {
            values[value].timeline = .still
        }
        follow()
    }

    /// Carries the inputs' timelines through the graph.
    private func follow() {
        for (_, value) in inputs { values[value].dependsOnTime = values[value].timeline == .flowing }
        for index in nodes.indices where !nodes[index].inputs.isEmpty {
            let node = nodes[index]
            let depends = (node.inputs + node.initialStates).contains { values[$0].dependsOnTime }
            var verdict = node.layer.streaming(node.inputs.map { values[$0].timeline }, node.inputs.map { values[$0].shape })
            if values[node.inputs[0]].timeline == .flowing {
                if values[node.inputs[0]].shape.count == 1 && node.layer.embedding == nil && !node.layer.keepsValues {
                    verdict = .needsWhole("it works along the time axis; give it one step's features, of shape [time, features]")
                }
                if node.initialStates.contains(where: { values[$0].dependsOnTime }) {
                    verdict = .needsWhole("its initial state is the answer of layers that read the whole sequence; "
                        + "make two models of it, and give the second the first one's state")
                }
            }
            var timelines = [Timeline](repeating: .still, count: node.outputs.count)
            switch verdict {
            case .streams(let given):
                nodes[index].reason = nil
                for (i, timeline) in given.prefix(timelines.count).enumerated() { timelines[i] = timeline }
            case .needsWhole(let reason):
                nodes[index].reason = reason
            }
            for (i, output) in node.outputs.enumerated() {
                values[output].timeline = timelines[i]
                values[output].dependsOnTime = depends
            }
        }
    }

    /// Whether the first axis of a value flows on to a recurrent layer.
    private func leadsToRecurrence(_ value: Int) -> Bool {
        var reached = [Bool](repeating: false, count: values.count)
        reached[value] = true
        for node in nodes where node.inputs.contains(where: { reached[$0] && values[$0].timeline == .flowing }) {
            if node.layer.isRecurrent { return true }
            for output in node.outputs { reached[output] = true }
        }
        return false
    }

    // MARK: States

    private func placeStates() -> ([Model.State], Int) {
        var states: [Model.State] = []
        var offset = 0
        var uses: [Name: Int] = [:]
        for index in nodes.indices where !nodes[index].inputs.isEmpty {
            let node = nodes[index], input = values[node.inputs[0]]
            let slots = node.layer.states(masked: input.hasMask && node.layer.heedsMask(withInitialState: !node.initialStates.isEmpty))
            guard input.timeline == .flowing, node.reason == nil, !slots.isEmpty else { continue }
            nodes[index].stateOffset = offset
            let use = (uses[node.layer.name] ?? 0) + 1
            uses[node.layer.name] = use
            let name = use == 1 ? node.layer.name : node.layer.name + Name("@\(use)")
            let answer = slots.lastIndex { $0.name == "h" || $0.name.hasSuffix("/h") }
            let previous = slots[slots.count - 1].isHidden ? offset + slots.dropLast().reduce(0) { $0 + padded($1.units) } : nil
            for (index, slot) in slots.enumerated() {
                states.append(Model.State(layer: name, slot: slot, offset: offset, previousOutput: index == answer ? previous : nil,
                                          cLayer: CText(name), cName: CText(slot.name)))
                offset += padded(slot.units)
            }
        }
        return (states, offset)
    }

    private func listEntries() -> [Model.Entry] {
        var entries: [Model.Entry] = []
        for node in nodes where !entries.contains(where: { $0.layer === node.layer }) {
            let reason = nodes.first { $0.layer === node.layer && $0.reason != nil }?.reason ?? ""
            entries.append(Model.Entry(layer: node.layer, shape: values[node.outputs[0]].shape, reason: reason,
                                       cName: CText(node.layer.name), cClassName: CText(node.layer.className),
                                       cReason: CText(reason)))
        }
        return entries
    }
}

/// An input of a model; its values come from outside.
final class InputLayer: Layer {
    private let shape: Shape

    init(name: Name, shape: Shape) {
        self.shape = shape
        super.init(name: name, className: "InputLayer")
    }

    override var form: Form { .input }

    public override func outputShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] { [shape] }
}
