import CSystem

/// A value of a model: what flows along an edge of its graph.
public struct ValueID: Equatable, Sendable {
    let index: Int
}

/// An immutable plan of layers with their weights.
///
/// A model knows shapes and weights, but owns no state: `Program` binds it to buffers, `Stream` carries a state.
public final class Model {
    public struct Value {
        /// As declared: −1 where any length is fine.
        public let shape: Shape
        public let hasMask: Bool
        var timeline: Timeline = .still
        /// Whether it changes as a stream goes on.
        var dependsOnTime = false
    }

    public struct Node {
        public let layer: Layer
        public let inputs: [Int]
        /// An RNN's initial states, where the model gives them.
        public let initialStates: [Int]
        public let outputs: [Int]
        /// Where in a row of a stream's state its states begin.
        public internal(set) var stateOffset: Int?
        /// Why it cannot stream; nil where it does.
        var reason: Text?
    }

    /// A carried state of a stream.
    public struct State {
        public let layer: Name
        public let slot: StateSlot
        /// Where in a row of the stream's state it lies.
        public let offset: Int
        /// Of the h that its masked layer answers with: where the layer's previous output lies, which is that h after every
        /// step that counts.
        let previousOutput: Int?
        public let cLayer: CText
        public let cName: CText
    }

    /// A layer as the outside sees it.
    public struct Entry {
        public let layer: Layer
        /// Of its first output, as declared.
        public let shape: Shape
        /// Why it cannot stream; "" where it does.
        public let reason: Text
        public let cName: CText
        public let cClassName: CText
        public let cReason: CText
        public var parameterCount: Int { layer.weights.reduce(0) { $0 + $1.count } }
    }

    /// An input or output as the outside sees it.
    public struct Port {
        public let name: Name
        /// As declared.
        public let shape: Shape
        /// Whether its first axis is time.
        public let hasTime: Bool
        /// Values of one row in one step of a stream; 0 where that is not known.
        public let stepSize: Int
        public let cName: CText
        public let value: Int
    }

    /// Ids that an Embedding looks up in an input, to be checked before a run.
    public struct IDCheck {
        public let input: Int
        public let embedding: Embedding
    }

    public let values: [Value]
    public let nodes: [Node]
    public let entries: [Entry]
    public let inputs: [Port]
    public let outputs: [Port]
    public let states: [State]
    /// Floats of one row of a stream's state.
    let stateSize: Int
    /// In the order of Keras's get_weights().
    public let weights: [Weight]
    /// For each weight, the index of its layer in `entries`.
    public let weightLayers: [Int]
    /// The architecture as JSON.
    public let architecture: Text
    public let idChecks: [IDCheck]
    /// The kernels of its programs.
    public let kernels: UnsafePointer<cz_kernels>
    /// 0: not known. One word, which threads that ask at the same time write alike.
    private var knownFingerprint: UInt64 = 0
    /// Changes whenever weights do.
    public private(set) var version = 0
    /// Whether what steps read and write is locked into memory.
    public private(set) var isLocked = false

    init(values: [Value], nodes: [Node], entries: [Entry], inputs: [Port], outputs: [Port], states: [State],
         stateSize: Int, weights: [Weight], weightLayers: [Int], architecture: Text, idChecks: [IDCheck]) {
        self.values = values
        self.nodes = nodes
        self.entries = entries
        self.inputs = inputs
        self.outputs = outputs
        self.states = states
        self.stateSize = stateSize
        self.weights = weights
        self.weightLayers = weightLayers
        self.architecture = architecture
        self.idChecks = idChecks
        kernels = KernelTable.current
        shownStates = states.filter { !$0.slot.isHidden }
        var obstacle: Text = ""
        if let node = nodes.first(where: { $0.reason != nil }), let reason = node.reason {
            obstacle = "layer '\(node.layer.name)': \(reason)"
        }
        self.obstacle = obstacle
        cObstacle = CText(obstacle)
    }

    /// Why the model cannot stream, naming the first layer that cannot; "" where it can.
    public let obstacle: Text
    public let cObstacle: CText
    public var canStream: Bool { obstacle.isEmpty }
    /// The states that are shown to the outside.
    public let shownStates: [State]

    /// The index of a weight by its path, with or without Keras 2's ":0" and the cell's own name.
    @export(interface)
    public func weightIndex(_ path: Name) -> Int? {
        var wanted = path
        if wanted.hasSuffix(":0") { wanted = Name(wanted.bytes.dropLast(2)) }
        if let exact = weights.firstIndex(where: { $0.path == wanted }) { return exact }
        // "lstm/lstm_cell/kernel": the last part but one names a cell that our paths leave out.
        guard let last = wanted.bytes.lastIndex(of: UInt8(ascii: "/")),
              let before = wanted.bytes[..<last].lastIndex(of: UInt8(ascii: "/")) else { return nil }
        let short = Name(wanted.bytes[..<before]) + Name(wanted.bytes[last...])
        return weights.firstIndex { $0.path == short }
    }

    /// Packs all weights for the kernels. Call after weights were given or changed.
    @export(interface)
    public func pack() throws(Failure) {
        let callers = cz_float_mode_enter_default()
        defer { cz_float_mode_leave(callers) }
        for entry in entries { try entry.layer.pack() }
        knownFingerprint = 0
        version &+= 1
    }

    /// Draws every weight anew by its initializer; the same seed gives the same weights.
    @export(interface)
    public func initialize(seed: UInt64) throws(Failure) {
        let callers = cz_float_mode_enter_default()
        defer { cz_float_mode_leave(callers) }
        for (index, weight) in weights.enumerated() {
            let buffer = try AlignedBuffer(count: weight.count)
            var random = Random(seed: seed, series: UInt64(index))
            try weight.initializer.fill(buffer.floats, shape: weight.shape, random: &random)
            weight.adopt(buffer)
        }
        try pack()
    }

    /// Changes one weight. Running streams compute with it from their next step on.
    @export(interface)
    public func setWeight(_ index: Int, _ source: UnsafePointer<Float>) throws(Failure) {
        try weights[index].assign(source)
        let callers = cz_float_mode_enter_default()
        defer { cz_float_mode_leave(callers) }
        try entries[weightLayers[index]].layer.pack()
        knownFingerprint = 0
        version &+= 1
    }

    /// Locks into memory the weights as steps read them and, from now on, what its streams, pools and generators compute with.
    @export(interface)
    public func lock() throws(Failure) {
        do {
            for index in entries.indices { try entries[index].layer.lock() }
            isLocked = true
        } catch {
            if !isLocked {
                for index in entries.indices { entries[index].layer.unlock() }
            }
            throw error
        }
    }

    /// How its large weights are kept.
    public var precision: Precision { weights.first { $0.precision != .float32 }?.precision ?? .float32 }

    /// How many weights are NaN or infinite.
    public var nonfiniteWeights: Int { weights.reduce(0) { $0 + $1.nonfiniteCount } }

    /// A hash of layers, options, connections and weights; names do not count.
    public var fingerprint: UInt64 {
        if knownFingerprint != 0 { return knownFingerprint }
        var hash = Hash64()
        for node in nodes {
            node.layer.className.bytes.withUnsafeBytes { hash.combine(bytes: $0) }
            for edge in [node.inputs, node.initialStates, node.outputs] {
                hash.combine(edge.count)
                for value in edge { hash.combine(value) }
            }
            for parameter in node.layer.parameters { hash.combine(UInt64(parameter.bitPattern)) }
        }
        for weight in weights {
            for length in weight.shape { hash.combine(length) }
            guard weight.precision != .float32 else {
                hash.combine(weight.values, count: weight.count)
                continue
            }
            hash.combine(Int(weight.precision.rawValue))
            hash.combine(bytes: UnsafeRawBufferPointer(start: weight.memory, count: weight.count * weight.precision.size))
            if let scales = weight.scales { hash.combine(scales.floats, count: scales.count) }
        }
        knownFingerprint = hash.value
        return hash.value
    }
}
