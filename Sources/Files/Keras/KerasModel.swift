import Engine

/// A Sequential or Functional model as a Keras file describes it; it may be part of another.
final class KerasModel {
    /// A tensor by the layer that gives it, that layer's how-manieth call, and which of its outputs.
    private struct Reference {
        let layer: Name
        let call: Int
        let output: Int
    }

    /// One call of a layer.
    private struct Call {
        let layer: Int
        let inputs: [Reference]
        let initialStates: [Reference]
        /// A mask that the file names for the call.
        let mask: Reference?
    }

    private let name: Name
    private let isSequential: Bool
    private let layers: [KerasLayer]
    private var calls: [Call] = []
    private var inputs: [Reference] = []
    private var outputs: [Reference] = []
    /// The input of a Sequential model, where the file has it.
    private let sequentialInput: (name: Name, shape: Shape)?
    private var wrapped: [(inner: Layer, wrapper: Layer)] = []
    private var isDistributed = false
    /// "layers" and what is in it.
    let weights: WeightGroup

    init(_ json: JSON, version: KerasVersion, timeMajor: TimeMajor, prefix: Name, depth: Int = 0) throws(Failure) {
        let className = json["class_name"]?.name ?? ""
        guard let config = json["config"] else { throw Failure(.invalidFile, "a model's description has no config") }
        // Keras before 2.2.3 wrote a Sequential's config as the bare list of its layers.
        guard let descriptions = config.array ?? config["layers"]?.array else {
            throw Failure(.invalidFile, "a model's config has no list of layers")
        }
        isSequential = className == "Sequential"
        name = json["name"]?.name ?? config["name"]?.name ?? className
        let factory = LayerFactory(version: version, timeMajor: timeMajor)
        var layers: [KerasLayer] = [], groups: [WeightGroup] = []
        var keys = UniqueKeys()
        for description in descriptions {
            let layer = try factory.layer(description, prefix: prefix, depth: depth)
            layers.append(layer)
            groups.append(layer.weights.renamed(keys.next(layer.weights.key)))
        }
        self.layers = layers
        weights = WeightGroup(key: "layers", children: groups)
        sequentialInput = isSequential ? try KerasModel.input(of: layers, descriptions, config) : nil
        if !isSequential { try readGraph(descriptions, config, version) }
    }

    /// The layers with their names and where their weights are.
    var namedGroups: [(name: Name, group: WeightGroup)] { layers.map { ($0.name, $0.weights) } }

    /// The model's parts are to be applied to every time step, by a TimeDistributed around it.
    func distributeOverTime() { isDistributed = true }

    /// The engine's layers in Keras's order, those of models within included.
    var engineLayers: [Layer] {
        var result: [Layer] = []
        for layer in layers {
            switch layer.content {
            case .layer(let it): result.append(isDistributed ? wrapper(of: it) : it)
            case .model(let model): result += model.engineLayers
            default: break
            }
        }
        return result
    }

    private func wrapper(of layer: Layer) -> Layer {
        if let known = wrapped.first(where: { $0.inner === layer }) { return known.wrapper }
        let wrapper = TimeDistributed(name: layer.name, inner: layer)
        wrapped.append((layer, wrapper))
        return wrapper
    }

    // MARK: Sequential

    /// A Sequential's input: an InputLayer, the first layer's batch_input_shape, or what it was built with.
    private static func input(of layers: [KerasLayer], _ descriptions: [JSON], _ config: JSON) throws(Failure) -> (Name, Shape)? {
        guard let first = layers.first else { throw Failure(.invalidFile, "a Sequential model has no layers") }
        if case .input(let shape) = first.content { return (first.name, shape) }
        if case .model(let model) = first.content, let inner = model.sequentialInput { return inner }
        let known = descriptions[0]["config"]?["batch_input_shape"] ?? descriptions[0]["config"]?["batch_shape"]
            ?? config["build_input_shape"]
        guard let known, !known.isNull else { return nil }
        return (first.name + "_input", try sampleShape(known))
    }

    // MARK: Graph

    private func readGraph(_ descriptions: [JSON], _ config: JSON, _ version: KerasVersion) throws(Failure) {
        for (index, description) in descriptions.enumerated() {
            for node in description["inbound_nodes"]?.array ?? [] {
                if let call = try readCall(node, layer: index) { calls.append(call) }
            }
        }
        inputs = try references(config["input_layers"], of: "input_layers")
        outputs = try references(config["output_layers"], of: "output_layers")
        countCallsOfModelsFromZero(version)
        guard !inputs.isEmpty, !outputs.isEmpty else { throw Failure(.invalidFile, "a functional model has no input_layers or no output_layers") }
    }

    /// Keras 2 counts the calls of a model within a model from 1: its call 0 is the model's own. Keras 3 does so for
    /// Functional models, but only where output_layers names them.
    private func countCallsOfModelsFromZero(_ version: KerasVersion) {
        var shiftedInCalls: [Name: Int] = [:], shiftedInOutputs: [Name: Int] = [:]
        for layer in layers {
            guard case .model = layer.content else { continue }
            if !version.isKeras3 { shiftedInCalls[layer.name] = 1 }
            if !version.isKeras3 || layer.className != "Sequential" { shiftedInOutputs[layer.name] = 1 }
        }
        for call in calls {
            for reference in call.inputs + call.initialStates where reference.call == 0 { shiftedInCalls[reference.layer] = 0 }
        }
        for output in outputs where output.call == 0 { shiftedInOutputs[output.layer] = 0 }
        func shifted(_ references: [Reference], _ shifts: [Name: Int]) -> [Reference] {
            references.map { Reference(layer: $0.layer, call: $0.call - (shifts[$0.layer] ?? 0), output: $0.output) }
        }
        calls = calls.map {
            Call(layer: $0.layer, inputs: shifted($0.inputs, shiftedInCalls),
                 initialStates: shifted($0.initialStates, shiftedInCalls), mask: $0.mask)
        }
        outputs = shifted(outputs, shiftedInOutputs)
    }

    /// A call as Keras 3 writes it, {"args": […], "kwargs": {…}}, or Keras 2, [["layer", 0, 0, {…}], …].
    private func readCall(_ node: JSON, layer: Int) throws(Failure) -> Call? {
        let isMaskOperation = if case .maskOperation = layers[layer].content { true } else { false }
        if node["args"] != nil || node["kwargs"] != nil {
            var inputs: [Reference] = []
            for argument in node["args"]?.array ?? [] { try collect(argument, into: &inputs, layer) }
            var call = (states: [Reference](), mask: Reference?.none)
            for (key, value) in node["kwargs"]?.object ?? [] where !isMaskOperation {
                try readKeyword(key, value, layer, &inputs, &call)
            }
            return Call(layer: layer, inputs: inputs, initialStates: call.states, mask: call.mask)
        }
        guard let list = node.array else { throw Failure(.invalidFile, "an inbound node of layer '\(layers[layer].name)' is not a list") }
        if list.isEmpty { return nil }
        // A single input may stand without the list around it.
        let items = list[0].name != nil ? [node] : list
        var inputs: [Reference] = []
        var call = (states: [Reference](), mask: Reference?.none)
        for item in items {
            inputs.append(try reference(item, layer))
            for (key, value) in item.array.flatMap({ $0.count > 3 ? $0[3].object : nil }) ?? [] {
                try readKeyword(key, value, layer, &inputs, &call)
            }
        }
        return Call(layer: layer, inputs: inputs, initialStates: call.states, mask: call.mask)
    }

    private func readKeyword(_ key: Name, _ value: JSON, _ layer: Int, _ inputs: inout [Reference],
                             _ call: inout (states: [Reference], mask: Reference?)) throws(Failure) {
        if value.isNull || value.bool == false { return }
        switch key {
        case "initial_state":
            try collect(value, into: &call.states, layer)
        case "mask":
            var masks: [Reference] = []
            try collect(value, into: &masks, layer)
            call.mask = masks.first
        case "inputs", "sequences", "sequence", "x":
            try collect(value, into: &inputs, layer)
        default:
            throw Failure(.unsupported, "layer '\(layers[layer].name)' (\(layers[layer].className)): "
                + "is called with \(key), which Cadenza does not have")
        }
    }

    /// All tensors in an argument: one, or a list of them. Numbers are passed over.
    private func collect(_ json: JSON, into list: inout [Reference], _ layer: Int, depth: Int = 0) throws(Failure) {
        guard depth < 8 else { throw Failure(.unsupported, "arguments nested more than 8 deep") }
        if let history = json["config"]?["keras_history"] {
            list.append(try reference(history, layer))
        } else if let items = json.array {
            if items.first?.name != nil {
                list.append(try reference(json, layer))
            } else {
                for item in items { try collect(item, into: &list, layer, depth: depth + 1) }
            }
        } else if json["class_name"] != nil {
            throw Failure(.unsupported, "layer '\(layers[layer].name)' is called with a constant, which Cadenza does not have")
        }
    }

    /// ["layer", call, output, …]
    private func reference(_ json: JSON, _ layer: Int? = nil) throws(Failure) -> Reference {
        guard let parts = json.array, parts.count >= 3, let name = parts[0].name,
              let call = parts[1].int, let output = parts[2].int, call >= 0, output >= 0 else {
            let place: Text = layer.map { "layer '\(layers[$0].name)'" } ?? "the model"
            throw Failure(.invalidFile, "\(place): an input is not a reference [\"layer\", call, output]")
        }
        return Reference(layer: name, call: call, output: output)
    }

    /// A list of references, one alone, or an object of them.
    private func references(_ json: JSON?, of key: Text) throws(Failure) -> [Reference] {
        guard let json else { throw Failure(.invalidFile, "a functional model has no \(key)") }
        if let list = json.array {
            if list.first?.name != nil { return [try reference(json)] }
            var result: [Reference] = []
            for item in list { result += try references(item, of: key) }
            return result
        }
        var result: [Reference] = []
        // A model whose inputs are a dict has them in the order of their sorted keys.
        let members = (json.object ?? []).inOrder { $0.0.bytes.lexicographicallyPrecedes($1.0.bytes) }
        for (_, item) in members { result += try references(item, of: key) }
        return result
    }

    // MARK: Application

    /// Builds the model on its own inputs.
    func applyToInputs(_ builder: ModelBuilder) throws(Failure) -> [ValueID] {
        if isSequential {
            guard let (name, shape) = sequentialInput else {
                throw Failure(.unsupported, "the model was saved before it was built: its input's shape is not in the file")
            }
            return try apply(builder, to: [try builder.input(name: name, shape: shape)])
        }
        var given: [ValueID] = []
        for input in inputs {
            guard let layer = layers.first(where: { $0.name == input.layer }), case .input(let shape) = layer.content else {
                throw Failure(.invalidFile, "input_layers names '\(input.layer)', which is no InputLayer of the model")
            }
            given.append(try builder.input(name: layer.name, shape: shape))
        }
        return try apply(builder, to: given)
    }

    /// Applies the model to values, as a layer of another model.
    func apply(_ builder: ModelBuilder, to given: [ValueID], initialStates: [ValueID] = []) throws(Failure) -> [ValueID] {
        guard initialStates.isEmpty else { throw Failure(.unsupported, "model '\(name)' is given an initial state") }
        if isSequential {
            var values = given
            for layer in layers {
                if case .input = layer.content { continue }
                values = try apply(layer, builder, to: values, initialStates: [])
            }
            return values
        }
        return try applyGraph(builder, to: given)
    }

    private func apply(_ layer: KerasLayer, _ builder: ModelBuilder, to values: [ValueID],
                       initialStates: [ValueID]) throws(Failure) -> [ValueID] {
        switch layer.content {
        case .layer(let it):
            // A recurrent layer's further inputs are its initial states: so Keras 2 writes them.
            if it.isRecurrent, values.count > 1, initialStates.isEmpty {
                return try builder.apply(it, to: [values[0]], initialStates: Array(values.dropFirst()))
            }
            return try builder.apply(isDistributed ? wrapper(of: it) : it, to: values, initialStates: initialStates)
        case .model(let model):
            if isDistributed { model.distributeOverTime() }
            return try model.apply(builder, to: values, initialStates: initialStates)
        case .input, .maskOperation:
            throw Failure(.invalidFile, "layer '\(layer.name)' (\(layer.className)) is called on values")
        }
    }

    /// What a call gave: values, or a mask, which the engine carries by itself.
    private enum Result {
        case values([ValueID])
        case mask
    }

    /// Runs through the calls as their inputs become known, in the file's order where it has a choice.
    private func applyGraph(_ builder: ModelBuilder, to given: [ValueID]) throws(Failure) -> [ValueID] {
        guard given.count == inputs.count else {
            throw Failure(.invalidFile, "model '\(name)' takes \(inputs.count) inputs, not \(given.count)")
        }
        var results = Table<Name, Result>()
        for (input, value) in zip(inputs, given) { results[callKey(input.layer, 0), default: .mask] = .values([value]) }
        // Which calls wait for which results.
        var keys: [Name] = [], known: [Name: Int] = [:]
        var callsOfLayer = [Int](repeating: 0, count: layers.count)
        for (index, call) in calls.enumerated() {
            let key = callKey(layers[call.layer].name, callsOfLayer[call.layer])
            callsOfLayer[call.layer] += 1
            keys.append(key)
            known[key] = index
        }
        var waiting = [[Int]](repeating: [], count: calls.count)
        var missing = [Int](repeating: 0, count: calls.count)
        var ready: [Int] = []
        for (index, call) in calls.enumerated() {
            for reference in call.inputs + call.initialStates + (call.mask.map { [$0] } ?? []) {
                let key = callKey(reference.layer, reference.call)
                if results[key] != nil { continue }
                guard let source = known[key] else { throw unknown(reference, by: call.layer) }
                waiting[source].append(index)
                missing[index] += 1
            }
            if missing[index] == 0 { ready.append(index) }
        }
        var next = 0
        while next < ready.count {
            let index = ready[next]
            next += 1
            let result = try run(calls[index], builder, results)
            results[keys[index], default: result] = result
            for follower in waiting[index] {
                missing[follower] -= 1
                if missing[follower] == 0 { ready.append(follower) }
            }
        }
        guard ready.count == calls.count else { throw Failure(.invalidFile, "model '\(name)' goes in a circle") }
        var values: [ValueID] = []
        for output in outputs { values.append(try value(output, results, by: nil)) }
        return values
    }

    private func run(_ call: Call, _ builder: ModelBuilder, _ results: Table<Name, Result>) throws(Failure) -> Result {
        let layer = layers[call.layer]
        if case .maskOperation(let className, let constant) = layer.content {
            try checkMask(layer, className, constant, call)
            return .mask
        }
        var inputs: [ValueID] = [], states: [ValueID] = []
        for reference in call.inputs { inputs.append(try value(reference, results, by: call.layer)) }
        for reference in call.initialStates { states.append(try value(reference, results, by: call.layer)) }
        if let mask = call.mask {
            let isOurs = if case .mask? = results[callKey(mask.layer, mask.call)] { true } else { false }
            guard isOurs, let first = inputs.first, builder.hasMask(first) else {
                throw Failure(.unsupported, "layer '\(layer.name)' (\(layer.className)): is called with a mask of its own; "
                    + "Cadenza has those of Masking and Embedding(mask_zero=True)")
            }
        }
        return .values(try apply(layer, builder, to: inputs, initialStates: states))
    }

    /// The operations of which Keras 3 makes a mask are those that the engine's own masks are made of; any other is refused.
    private func checkMask(_ layer: KerasLayer, _ className: Name, _ constant: Float?, _ call: Call) throws(Failure) {
        switch className {
        case "NotEqual":
            if isMasked(call.inputs.first, constant) { return }
        case "Any", "LogicalOr", "LogicalAnd", "ExpandDims", "Concatenate", "ZerosLike", "OnesLike", "BroadcastTo":
            return
        default:
            break
        }
        throw Failure(.unsupported, "layer '\(layer.name)' (\(className)): is of a class that Cadenza does not have")
    }

    /// Whether a Masking or Embedding of the model, called on this very tensor, hides what equals `constant`.
    private func isMasked(_ source: Reference?, _ constant: Float?) -> Bool {
        guard let source, let constant else { return false }
        return calls.contains { call in
            guard let input = call.inputs.first, input.layer == source.layer, input.call == source.call,
                  input.output == source.output, case .layer(let layer) = layers[call.layer].content else { return false }
            return layer.hides(constant)
        }
    }

    private func value(_ reference: Reference, _ results: Table<Name, Result>, by layer: Int?) throws(Failure) -> ValueID {
        guard let result = results[callKey(reference.layer, reference.call)] else { throw unknown(reference, by: layer) }
        switch result {
        case .values(let values):
            guard reference.output < values.count else { throw unknown(reference, by: layer) }
            return values[reference.output]
        case .mask:
            throw Failure(.unsupported, "'\(reference.layer)' is used as a value; Cadenza has masks only as masks")
        }
    }

    private func unknown(_ reference: Reference, by layer: Int?) -> Failure {
        let who: Text = layer.map { "layer '\(layers[$0].name)'" } ?? "output_layers"
        return Failure(.invalidFile, "\(who) names output \(reference.output) of call \(reference.call) of "
            + "'\(reference.layer)', which is not there")
    }
}

/// What the result of a layer's call is kept under.
private func callKey(_ layer: Name, _ call: Int) -> Name { "\(layer)/\(call)" }
