import CSystem
import Engine

/// A layer as a Keras file names it: a layer of the engine, a model of its own, or a computation of a mask.
final class KerasLayer {
    enum Content {
        case layer(Layer)
        case model(KerasModel)
        /// An operation that Keras 3 writes for masks; the engine carries masks by itself.
        case maskOperation(className: Name, constant: Float?)
        case input(Shape)
    }

    /// Its name among its siblings.
    let name: Name
    let className: Name
    let content: Content
    /// Where a Keras file has its weights.
    let weights: WeightGroup

    init(name: Name, className: Name, content: Content, weights: WeightGroup) {
        self.name = name
        self.className = className
        self.content = content
        self.weights = weights
    }
}

/// What a model's recurrent layers say of Keras 2's time_major.
final class TimeMajor {
    private(set) var isSet = false
    private(set) var isUnset = false

    func see(_ value: Bool) {
        if value { isSet = true } else { isUnset = true }
    }
}

/// Makes layers of the engine from their descriptions in a Keras file.
struct LayerFactory {
    let version: KerasVersion
    let timeMajor: TimeMajor

    /// How deep layers may hold layers.
    private static let deepest = 32

    /// - Parameters:
    ///   - json: {"class_name", "config", …}
    ///   - prefix: the path of the model around it, with its "/".
    func layer(_ json: JSON, prefix: Name, depth: Int = 0) throws(Failure) -> KerasLayer {
        guard depth < LayerFactory.deepest else { throw Failure(.unsupported, "layers within layers, more than \(LayerFactory.deepest) deep") }
        guard let className = json["class_name"]?.name else { throw Failure(.invalidFile, "a layer has no class_name") }
        let configuration = json["config"] ?? .object([])
        let name = json["name"]?.name ?? configuration["name"]?.name ?? className
        if className == "Sequential" || className == "Functional" || className == "Model" {
            let model = try KerasModel(json, version: version, timeMajor: timeMajor, prefix: prefix + name + "/", depth: depth + 1)
            let group = WeightGroup(key: snakeCase(className), children: [model.weights])
            return KerasLayer(name: name, className: className, content: .model(model), weights: group)
        }
        if let module = json["module"]?.name, module.hasPrefix("keras.src.ops") {
            return KerasLayer(name: name, className: className, content: .maskOperation(className: className, constant: maskConstant(json)),
                              weights: WeightGroup(key: snakeCase(className)))
        }
        let config = try Config(className: className, configuration)
        if className == "InputLayer" {
            return KerasLayer(name: name, className: className, content: .input(try inputShape(config)),
                              weights: WeightGroup(key: "input_layer"))
        }
        try config.checkDType()
        let path = prefix + name
        if className == "TimeDistributed" || className == "Bidirectional" {
            return try wrapper(config, name: name, path: path, depth: depth)
        }
        let (layer, weights) = try plain(config, path: path, depth: depth)
        layer.isTrainable = try config.bool("trainable", default: true)
        layer.initializers = try config.initializers()
        return KerasLayer(name: name, className: className, content: .layer(layer), weights: weights)
    }

    /// The number that a NotEqual compares with.
    private func maskConstant(_ json: JSON) -> Float? {
        let arguments = json["inbound_nodes"]?.array?.first?["args"]?.array ?? []
        for argument in arguments {
            if let number = argument.double { return Float(number) }
        }
        return nil
    }

    /// An InputLayer's shape without batch.
    private func inputShape(_ config: Config) throws(Failure) -> Shape {
        try config.refuse("sparse")
        try config.refuse("ragged")
        guard let json = config.value("batch_shape") ?? config.value("batch_input_shape") else {
            throw config.failure(.invalidFile, "has neither batch_shape nor batch_input_shape")
        }
        return try sampleShape(json)
    }

    // MARK: Layers

    private func plain(_ config: Config, path: Name, depth: Int) throws(Failure) -> (Layer, WeightGroup) {
        let key = snakeCase(config.className)
        if let (cell, options) = try recurrentCell(config, path: path) {
            let rnn = RNN(name: path, className: config.className, cells: [cell], namesCells: false, options: options)
            return (rnn, WeightGroup(key: key, children: [
                WeightGroup(key: "cell", cell: cell, isCuDNN: config.className.hasPrefix("CuDNN")),
            ]))
        }
        if config.className == "RNN" {
            let (rnn, weights) = try rnn(config, path: path, key: key)
            return (rnn, weights)
        }
        let layer = try simple(config, path: path)
        return (layer, WeightGroup(key: key, layer: layer))
    }

    private func simple(_ config: Config, path: Name) throws(Failure) -> Layer {
        if let activation = try config.layerActivation(version) {
            try config.finish()
            return ActivationLayer(name: path, className: config.className, activation: activation)
        }
        let layer: Layer
        var harmless: [Name] = []
        switch config.className {
        case "Dense":
            try config.refuse("quantization_config", unless: { _ in false })
            try config.refuse("lora_rank", unless: { _ in false })
            layer = Dense(name: path, units: try config.size("units"), activation: try config.activation("activation", version),
                          useBias: try config.bool("use_bias", default: true))
        case "Embedding":
            try config.refuse("quantization_config", unless: { _ in false })
            try config.refuse("lora_rank", unless: { _ in false })
            layer = Embedding(name: path, inputDim: try config.size("input_dim"), outputDim: try config.size("output_dim"),
                              maskZero: try config.bool("mask_zero", default: false))
            harmless = ["input_length", "sparse"]
        case "Masking":
            layer = Masking(name: path, maskValue: try config.float("mask_value", default: 0))
        case "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise", "GaussianDropout",
             "AlphaDropout", "ActivityRegularization", "Identity":
            layer = Identity(name: path, className: config.className)
            harmless = ["rate", "noise_shape", "stddev", "l1", "l2", "data_format"]
        case "PReLU":
            layer = PReLU(name: path, sharedAxes: try config.ints("shared_axes") ?? [])
        case "Softmax":
            let axes = try config.ints("axis") ?? [-1]
            layer = axes == [-1]
                ? ActivationLayer(name: path, className: "Softmax", activation: .softmax)
                : SoftmaxOverAxes(name: path, axes: axes)
        case "BatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2":
            try config.refuse("renorm")
            layer = try batchNormalization(config, path)
            harmless = ["momentum", "fused", "synchronized", "virtual_batch_size", "renorm_clipping", "renorm_momentum"]
        case "LayerNormalization":
            layer = LayerNormalization(name: path, axes: try config.ints("axis") ?? [-1],
                                       epsilon: try config.float("epsilon", default: 1e-3),
                                       center: try config.bool("center", default: true),
                                       scale: try config.bool("scale", default: true),
                                       rmsScaling: try config.bool("rms_scaling", default: false))
        case "Flatten":
            try config.refuse("data_format", unless: { $0.name == "channels_last" })
            layer = Flatten(name: path)
        case "Reshape":
            layer = Reshape(name: path, target: try targetShape(config))
        case "RepeatVector":
            layer = RepeatVector(name: path, times: try config.size("n"))
        case "Concatenate":
            layer = Concatenate(name: path, axis: try config.ints("axis")?.first ?? -1, masks: maskRule)
        case "Add", "Multiply", "Subtract", "Average", "Maximum", "Minimum":
            layer = Merge(name: path, className: config.className, kind: mergeKind(config.className),
                          masks: maskRule)
        default:
            throw config.failure(.unsupported, "is of a class that Cadenza does not have")
        }
        try config.finish(alsoHarmless: harmless)
        return layer
    }

    private var maskRule: MaskRule { version.isKeras3 ? .anyUses : .allUse }

    private func mergeKind(_ className: Name) -> Merge.Kind {
        switch className {
        case "Multiply": .multiply
        case "Subtract": .subtract
        case "Average": .average
        case "Maximum": .maximum
        case "Minimum": .minimum
        default: .add
        }
    }

    private func batchNormalization(_ config: Config, _ path: Name) throws(Failure) -> Layer {
        let axes = try config.ints("axis") ?? [-1]
        guard axes.count == 1 else { throw config.failure(.unsupported, "axis names \(axes.count) axes; Cadenza has one") }
        return BatchNormalization(name: path, axis: axes[0], epsilon: try config.float("epsilon", default: 1e-3),
                                  center: try config.bool("center", default: true),
                                  scale: try config.bool("scale", default: true))
    }

    private func targetShape(_ config: Config) throws(Failure) -> Shape {
        guard let json = config.value("target_shape"), let items = json.array ?? json["items"]?.array else {
            throw config.failure(.invalidFile, "target_shape is not a list")
        }
        var shape: Shape = []
        for item in items {
            guard item.isNull || item.int != nil else { throw config.failure(.invalidFile, "target_shape is not a list of whole numbers") }
            let length = item.int ?? anyLength
            guard length >= anyLength, length <= 1 << 31, length != anyLength || !shape.contains(anyLength) else {
                throw config.failure(.invalidFile, "target_shape has an axis of length \(length)")
            }
            shape.append(length)
        }
        return shape
    }

    // MARK: Recurrent layers

    /// A layer's cell and options where it is LSTM, GRU, SimpleRNN or one of Keras 2's CuDNN layers; nil otherwise.
    private func recurrentCell(_ config: Config, path: Name) throws(Failure) -> (Cell, RNN.Options)? {
        guard let cell = try cell(config, className: config.className, name: path) else { return nil }
        let options = try rnnOptions(config)
        try config.finish()
        return (cell, options)
    }

    private func rnnOptions(_ config: Config) throws(Failure) -> RNN.Options {
        var options = RNN.Options()
        options.returnSequences = try config.bool("return_sequences", default: false)
        options.returnState = try config.bool("return_state", default: false)
        options.goBackwards = try config.bool("go_backwards", default: false)
        options.zeroOutputForMask = try config.bool("zero_output_for_mask", default: false)
        // Cadenza's arrays are [batch, time, features] whatever the layers were told, as long as they all agree.
        options.forgetsMaskWithInitialState = version.isKeras3
        timeMajor.see(try config.bool("time_major", default: false))
        return options
    }

    /// A cell by the class of the cell or of the layer around it.
    private func cell(_ config: Config, className: Name, name: Name) throws(Failure) -> Cell? {
        let isCuDNN = className == "CuDNNLSTM" || className == "CuDNNGRU"
        let recurrentDefault: Activation = version.major == 2 && version.minor < 3 && !isCuDNN
            ? try config.activation("recurrent_activation", default: .kind(CZ_HARD_SIGMOID, 0.2, 0.5), version)
            : .sigmoid
        func activations() throws(Failure) -> (Activation, Activation) {
            let pair = (try config.activation("activation", default: .tanh, version),
                        try config.activation("recurrent_activation", default: recurrentDefault, version))
            for activation in [pair.0, pair.1] {
                if case .glu = activation { throw config.failure(.unsupported, "glu halves its input, which a recurrent state cannot") }
            }
            return pair
        }
        let cell: Cell
        switch className {
        case "LSTM", "LSTMCell", "CuDNNLSTM":
            let (activation, recurrent) = try activations()
            cell = LSTMCell(name: name, units: try config.size("units"), activation: activation, recurrentActivation: recurrent,
                            useBias: try config.bool("use_bias", default: true),
                            unitForgetBias: try config.bool("unit_forget_bias", default: true))
        case "GRU", "GRUCell", "CuDNNGRU":
            let (activation, recurrent) = try activations()
            let resetAfter = try config.bool("reset_after", default: version.isKeras3 || isCuDNN)
            cell = GRUCell(name: name, units: try config.size("units"), activation: activation, recurrentActivation: recurrent,
                           useBias: try config.bool("use_bias", default: true), resetAfter: resetAfter)
        case "SimpleRNN", "SimpleRNNCell":
            cell = SimpleRNNCell(name: name, units: try config.size("units"), activation: try activations().0,
                                 useBias: try config.bool("use_bias", default: true))
        default:
            return nil
        }
        cell.initializers = try config.initializers()
        return cell
    }

    /// RNN over a cell or a stack of cells.
    private func rnn(_ config: Config, path: Name, key: Name) throws(Failure) -> (RNN, WeightGroup) {
        guard let json = config.value("cell") else { throw config.failure(.invalidFile, "cell is missing") }
        var descriptions = [json]
        var isStack = false
        if json["class_name"]?.name == "StackedRNNCells" {
            isStack = true
            let stack = try Config(className: "StackedRNNCells", json["config"] ?? .object([]))
            guard let cells = stack.value("cells")?.array, !cells.isEmpty else {
                throw config.failure(.invalidFile, "its StackedRNNCells has no cells")
            }
            try stack.refuse("reverse_state_order")
            try stack.finish()
            descriptions = cells
        }
        var cells: [Cell] = [], groups: [WeightGroup] = []
        var keys = UniqueKeys()
        for description in descriptions {
            guard let className = description["class_name"]?.name else { throw config.failure(.invalidFile, "a cell has no class_name") }
            let inner = try Config(className: className, description["config"] ?? .object([]))
            guard className.hasSuffix("Cell"), let cell = try cell(inner, className: className, name: path) else {
                throw config.failure(.unsupported, "its cell is of class \(className), which Cadenza does not have")
            }
            try inner.checkDType()
            try inner.finish()
            cells.append(cell)
            groups.append(WeightGroup(key: isStack ? keys.next(snakeCase(className)) : "cell", cell: cell))
        }
        let options = try rnnOptions(config)
        try config.finish()
        let layer = RNN(name: path, className: "RNN", cells: cells, namesCells: true, options: options)
        let inner = isStack ? [WeightGroup(key: "cell", children: [WeightGroup(key: "cells", children: groups)])] : groups
        return (layer, WeightGroup(key: key, children: inner))
    }

    // MARK: Wrappers

    private func wrapper(_ config: Config, name: Name, path: Name, depth: Int) throws(Failure) -> KerasLayer {
        guard let json = config.value("layer") else { throw config.failure(.invalidFile, "layer is missing") }
        let key = snakeCase(config.className)
        if config.className == "Bidirectional" {
            let (layer, weights) = try bidirectional(config, json, path: path, key: key)
            return KerasLayer(name: name, className: config.className, content: .layer(layer), weights: weights)
        }
        try config.finish()
        let inner = try self.layer(json, prefix: path + "/", depth: depth + 1)
        let weights = WeightGroup(key: key, children: [inner.weights.renamed("layer")])
        switch inner.content {
        case .layer(let layer):
            let wrapped = TimeDistributed(name: path, inner: layer)
            return KerasLayer(name: name, className: config.className, content: .layer(wrapped), weights: weights)
        case .model(let model):
            model.distributeOverTime()
            return KerasLayer(name: name, className: config.className, content: .model(model), weights: weights)
        default:
            throw config.failure(.unsupported, "wraps a \(inner.className)")
        }
    }

    private func bidirectional(_ config: Config, _ json: JSON, path: Name, key: Name) throws(Failure) -> (Layer, WeightGroup) {
        let merge: Bidirectional.Merge
        switch config.value("merge_mode")?.name {
        case nil: merge = config.isNull("merge_mode") ? .none : .concatenate
        case "concat": merge = .concatenate
        case "sum": merge = .sum
        case "ave": merge = .average
        case "mul": merge = .multiply
        case let mode?: throw config.failure(.unsupported, "merge_mode '\(mode)' is not one that Cadenza has")
        }
        let other = config.value("backward_layer")
        try config.finish()
        let (forward, forwardGroup) = try direction(json, config, path: path, key: "forward_layer", turned: false)
        let (backward, backwardGroup) = try direction(other ?? json, config, path: path, key: "backward_layer", turned: other == nil)
        guard forward.options.goBackwards != backward.options.goBackwards else {
            throw config.failure(.invalidFile, "its two layers read in the same direction")
        }
        let layer = Bidirectional(name: path, forward: forward, backward: backward, merge: merge)
        return (layer, WeightGroup(key: key, children: [forwardGroup, backwardGroup]))
    }

    /// One of the two layers of a Bidirectional; `turned`: made from the forward one by turning it round.
    private func direction(_ json: JSON, _ owner: Config, path: Name, key: Name, turned: Bool) throws(Failure) -> (RNN, WeightGroup) {
        guard let className = json["class_name"]?.name else { throw owner.failure(.invalidFile, "one of its layers has no class_name") }
        let config = try Config(className: className, json["config"] ?? .object([]))
        try config.checkDType()
        var name = config.name
        let prefix: Name = key == "forward_layer" ? "forward_" : "backward_"
        if name.hasPrefix("forward_") && turned { name = Name(name.bytes.dropFirst(8)) }
        if !name.hasPrefix(prefix) { name = prefix + name }
        let inner = path + "/" + name
        let made: (cells: [Cell], groups: [WeightGroup])
        var options: RNN.Options
        if let (cell, given) = try recurrentCell(config, path: inner) {
            made = ([cell], [WeightGroup(key: "cell", cell: cell, isCuDNN: className.hasPrefix("CuDNN"))])
            options = given
        } else if className == "RNN" {
            let (rnn, group) = try rnn(config, path: inner, key: key)
            made = (rnn.cells, group.children)
            options = rnn.options
        } else {
            throw owner.failure(.unsupported, "wraps a \(className); Cadenza has it around LSTM, GRU, SimpleRNN and RNN")
        }
        if turned { options.goBackwards.toggle() }
        // Keras sets this on both layers.
        options.zeroOutputForMask = options.returnSequences
        let layer = RNN(name: inner, className: className, cells: made.cells, namesCells: className == "RNN", options: options)
        return (layer, WeightGroup(key: key, children: made.groups))
    }
}

/// A shape with its batch axis, as JSON, without it.
func sampleShape(_ json: JSON) throws(Failure) -> Shape {
    guard let axes = json.array ?? json["items"]?.array, !axes.isEmpty else { throw Failure(.invalidFile, "an input's shape is not a list with a batch axis") }
    var shape: Shape = []
    for axis in axes.dropFirst() {
        guard axis.isNull || axis.int.map({ $0 >= 1 && $0 <= 1 << 31 }) ?? false else {
            throw Failure(.invalidFile, "an input's shape has an axis that is neither null nor a length of 1 or more")
        }
        shape.append(axis.int ?? anyLength)
    }
    return shape
}

/// Keras's way from a class to a name: "TimeDistributed" is "time_distributed", "LSTMCell" is "lstm_cell".
func snakeCase(_ name: Name) -> Name {
    func isUpper(_ c: UInt8) -> Bool { c >= 65 && c <= 90 }
    func isLower(_ c: UInt8) -> Bool { c >= 97 && c <= 122 }
    var result: [UInt8] = []
    let letters = name.bytes
    for (i, c) in letters.enumerated() {
        if i > 0, isUpper(c) {
            let startsWord = i + 1 < letters.count && isLower(letters[i + 1])
            if startsWord || isLower(letters[i - 1]) { result.append(UInt8(ascii: "_")) }
        }
        result.append(isUpper(c) ? c + 32 : c)
    }
    return Name(result)
}

/// Numbers repeated names as Keras does: "lstm", "lstm_1", "lstm_2" …
struct UniqueKeys {
    private var uses: [Name: Int] = [:]

    /// A numbered name's parts: ("lstm", 0), ("lstm", 1) …
    static func parts(_ name: Name) -> (key: Name, number: Int) {
        var digits = 0
        while digits < min(9, name.bytes.count), name.bytes[name.bytes.count - 1 - digits] >= 48,
              name.bytes[name.bytes.count - 1 - digits] <= 57 { digits += 1 }
        let stem = name.bytes.dropLast(digits)
        guard digits > 0, stem.last == UInt8(ascii: "_") else { return (name, 0) }
        return (Name(stem.dropLast()), name.bytes.suffix(digits).reduce(0) { $0 * 10 + Int($1 - 48) })
    }

    mutating func next(_ key: Name) -> Name {
        let count = uses[key] ?? 0
        uses[key] = count + 1
        return count == 0 ? key : key + Name("_\(count)")
    }
}
