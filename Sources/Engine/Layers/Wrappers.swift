/// Reads a sequence in both directions with two RNN layers, the second from the end, and merges their answers.
public final class Bidirectional: Layer {
    public enum Merge: Sendable {
        case concatenate, sum, average, multiply
        /// Both, as two outputs.
        case none
    }

    public let forward: RNN
    public let backward: RNN
    public let merge: Merge

    /// `backward` must read in the other direction than `forward`.
    @export(interface)
    public init(name: Name, forward: RNN, backward: RNN, merge: Merge) {
        self.forward = forward
        self.backward = backward
        self.merge = merge
        super.init(name: name, className: "Bidirectional")
    }

    public override var form: Form { .bidirectional(self) }

    public override func outputShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] {
        let shape = try single(inputs)
        let ahead = try forward.outputShapes([shape]), back = try backward.outputShapes([shape])
        guard ahead.count == back.count, ahead[0].count == back[0].count else {
            throw failure("its two layers differ in return_sequences or return_state")
        }
        var merged = ahead[0]
        switch merge {
        case .concatenate:
            merged[merged.count - 1] += back[0][merged.count - 1]
        case .none:
            return [ahead[0], back[0]] + ahead.dropFirst() + back.dropFirst()
        default:
            guard merged == back[0] else { throw failure("cannot merge \(describe(merged)) with \(describe(back[0]))") }
        }
        return [merged] + ahead.dropFirst() + back.dropFirst()
    }

    override func build(_ inputs: [Shape]) throws(Failure) {
        try forward.buildOnce(inputs)
        try backward.buildOnce(inputs)
        adoptWeights(of: forward)
        adoptWeights(of: backward)
    }

    override func pack() throws(Failure) {
        try forward.pack()
        try backward.pack()
    }

    override var passesMask: Bool { forward.options.returnSequences }
    override var heedsMask: Bool { true }
    public override var isRecurrent: Bool { true }
    override var initialStateShapes: [Shape] { forward.stateShapes + backward.stateShapes }
    override func masksOutput(_ index: Int) -> Bool { index == 0 || merge == .none && index == 1 }

    override var parameters: [Float] {
        let code: Float = switch merge {
        case .concatenate: 0
        case .sum: 1
        case .average: 2
        case .multiply: 3
        case .none: 4
        }
        return [code] + forward.parameters + backward.parameters
    }

    override func streaming(_ inputs: [Timeline], _ shapes: [Shape]) -> Streaming {
        if inputs[0] == .still { return .streams(shapes.map { _ in .still }) }
        return .needsWhole("Bidirectional reads the sequence from its end too; "
            + "train the forward layer alone, or run it on the whole sequence")
    }

    override func operation(_ binding: inout Binding) throws(Failure) -> Operation? {
        for index in binding.outputs.indices { try binding.allocateOutput(index) }
        let input = [binding.inputs[0].shape]
        var forwardOutputs = try binding.tensors(forward.outputShapes(input))
        var backwardOutputs = try binding.tensors(backward.outputShapes(input))
        // The states go straight to where the model's outputs are.
        let answers = merge == .none ? 2 : 1
        let stateCount = forwardOutputs.count - 1
        for index in 0..<stateCount {
            forwardOutputs[1 + index].data = binding.outputs[answers + index].data
            backwardOutputs[1 + index].data = binding.outputs[answers + stateCount + index].data
        }
        let halves = binding.initialStates.count / 2
        return BidirectionalOperation(
            forward: try RNNOperation(forward, binding.inner(outputs: forwardOutputs,
                                                             initialStates: Array(binding.initialStates[..<halves]))),
            backward: try RNNOperation(backward, binding.inner(outputs: backwardOutputs,
                                                               initialStates: Array(binding.initialStates[halves...]))),
            merge: merge, turnsBack: backward.options.returnSequences,
            ahead: forwardOutputs[0], back: backwardOutputs[0], outputs: binding.outputs)
    }
}

extension Binding {
    /// Memory for tensors of these shapes.
    func tensors(_ shapes: [Shape]) throws(Failure) -> [Tensor] {
        var result: [Tensor] = []
        for shape in shapes {
            let count = try shape.elementCount()
            result.append(Tensor(data: try workspace.floats(multiplied(capacity, count)), shape: shape, count: count))
        }
        return result
    }

    /// The binding of a layer inside this one, on the same input, starting from zero each time.
    func inner(outputs: [Tensor], initialStates: [Tensor] = []) -> Binding {
        Binding(kernels: kernels, capacity: capacity, inputs: inputs, initialStates: initialStates,
                outputs: outputs, stateOffset: nil, workspace: workspace)
    }
}

private final class BidirectionalOperation: Operation {
    private let forward: RNNOperation
    private let backward: RNNOperation
    private let merge: Bidirectional.Merge
    private let ahead: Tensor
    private let back: Tensor
    private let outputs: [Tensor]
    /// Whether the backward answers are a sequence, last step first.
    private let turnsBack: Bool

    init(forward: RNNOperation, backward: RNNOperation, merge: Bidirectional.Merge, turnsBack: Bool,
         ahead: Tensor, back: Tensor, outputs: [Tensor]) {
        self.forward = forward
        self.backward = backward
        self.merge = merge
        self.turnsBack = turnsBack
        self.ahead = ahead
        self.back = back
        self.outputs = outputs
    }

    override func run(_ moment: Moment) {
        forward.run(moment)
        backward.run(moment)
        let time = turnsBack ? ahead.shape[0] : 1
        let width = ahead.count / max(1, time), backWidth = back.count / max(1, time)
        for row in 0..<moment.rows {
            for t in 0..<time {
                let a = ahead.data + (row &* ahead.count &+ t &* width)
                let b = back.data + (row &* back.count &+ (time &- 1 &- t) &* backWidth)
                let out = outputs[0].data + (row &* time &+ t) &* (outputs[0].count / time)
                switch merge {
                case .concatenate:
                    out.copy(from: a, count: width)
                    (out + width).copy(from: b, count: backWidth)
                case .sum:
                    for i in 0..<width { out[i] = a[i] + b[i] }
                case .average:
                    for i in 0..<width { out[i] = (a[i] + b[i]) / 2 }
                case .multiply:
                    for i in 0..<width { out[i] = a[i] * b[i] }
                case .none:
                    out.copy(from: a, count: width)
                    (outputs[1].data + (row &* time &+ t) &* backWidth).copy(from: b, count: backWidth)
                }
            }
        }
    }
}

/// Applies a layer to every time step.
public final class TimeDistributed: Layer {
    public let inner: Layer

    @export(interface)
    public init(name: Name, inner: Layer) {
        self.inner = inner
        super.init(name: name, className: "TimeDistributed")
    }

    /// The shapes of one step, which the layer inside sees. Several inputs are steps of the same time.
    private func stepShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] {
        for shape in inputs where shape.count < 2 || shape[0] != inputs[0][0] {
            throw failure("takes [batch, time, …], all of one length, not \(describe(shape))")
        }
        return inputs.map { Shape($0.dropFirst()) }
    }

    public override var form: Form { .timeDistributed(self) }

    public override func outputShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] {
        let outputs = try inner.outputShapes(try stepShapes(inputs))
        guard outputs.count == 1 else { throw failure(.unsupported, "its layer has \(outputs.count) outputs; one is what Cadenza takes here") }
        return [[inputs[0][0]] + outputs[0]]
    }

    override func build(_ inputs: [Shape]) throws(Failure) {
        try inner.buildOnce(try stepShapes(inputs))
        adoptWeights(of: inner)
    }

    override func streaming(_ inputs: [Timeline], _ shapes: [Shape]) -> Streaming {
        if inputs.allSatisfy({ $0 == inputs[0] }) { return .streams([inputs[0]]) }
        return .needsWhole("TimeDistributed joins a value that comes step by step with one that stands for the whole sequence")
    }

    override func pack() throws(Failure) { try inner.pack() }

    override func hasMask(_ inputs: [Bool]) throws(Failure) -> Bool {
        if inputs[0] && inner.heedsMask { throw failure(.unsupported, "a mask on its input, which its \(inner.className) would heed") }
        return inputs[0]
    }

    override var heedsMask: Bool { inner.heedsMask }
    override var embedding: Embedding? { inner.embedding }
    override var parameters: [Float] { inner.parameters }

    override func operation(_ binding: inout Binding) throws(Failure) -> Operation? {
        let time = binding.outputs[0].shape[0]
        func step(_ tensor: Tensor) -> Tensor {
            Tensor(data: tensor.data, shape: Shape(tensor.shape.dropFirst()), count: tensor.count / max(1, time))
        }
        var within = Binding(kernels: binding.kernels, capacity: try multiplied(binding.capacity, time),
                             inputs: binding.inputs.map(step), initialStates: [], outputs: [step(binding.outputs[0])],
                             stateOffset: nil, workspace: binding.workspace)
        let operation = try inner.operation(&within)
        binding.outputs[0].data = within.outputs[0].data
        guard let operation else { return nil }
        return TimeDistributedOperation(operation, time: time)
    }
}

private final class TimeDistributedOperation: Operation {
    private let inner: Operation
    private let time: Int

    init(_ inner: Operation, time: Int) {
        self.inner = inner
        self.time = time
    }

    override func run(_ moment: Moment) {
        inner.run(Moment(rows: moment.rows &* time, state: moment.state, next: moment.next, stride: moment.stride,
                         fresh: moment.fresh))
    }
}
