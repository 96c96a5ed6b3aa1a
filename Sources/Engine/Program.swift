import CSystem

/// A model bound to buffers: for at most `capacity` rows and given lengths of time. Runs without allocating.
final class Program {
    let capacity: Int
    let inputs: [Tensor]
    let outputs: [Tensor]
    private let operations: ObjectList<Operation>
    private let workspace: Workspace

    /// - Parameters:
    ///   - times: for each input with a time axis its length.
    ///   - streaming: whether recurrent layers carry their states from and to a stream's; time is then 1.
    init(_ model: Model, capacity: Int, times: [Int], streaming: Bool) throws(Failure) {
        self.capacity = capacity
        workspace = Workspace()
        var tensors: [Tensor?] = Array(repeating: nil, count: model.values.count)
        for (index, port) in model.inputs.enumerated() {
            let tensor = try Program.input(port, index, times[index], capacity, workspace)
            tensors[port.value] = tensor
        }
        var operations: [Operation] = []
        // By value: what makes it, and how often it is used.
        var makers: [Operation?] = Array(repeating: nil, count: model.values.count)
        let uses = model.uses
        for node in model.nodes where !node.inputs.isEmpty {
            let inputs = node.inputs.map { tensors[$0]! }
            let shapes = try node.layer.outputShapes(inputs.map { $0.shape })
            var outputs: [Tensor] = []
            for shape in shapes {
                outputs.append(Tensor(data: inputs[0].data, shape: shape, count: try shape.elementCount()))
            }
            if case .activation(let layer) = node.layer.form, let activation = layer.activation.elementwise,
               uses[node.inputs[0]] == 1, let maker = makers[node.inputs[0]], maker.applies(activation) {
                tensors[node.outputs[0]] = inputs[0]
                continue
            }
            var binding = Binding(kernels: model.kernels, capacity: capacity, inputs: inputs,
                                  initialStates: node.initialStates.map { tensors[$0]! }, outputs: outputs,
                                  stateOffset: streaming ? node.stateOffset : nil, workspace: workspace)
            if let operation = try node.layer.operation(&binding) {
                operations.append(operation)
                makers[node.outputs[0]] = operation
            }
            for (i, output) in node.outputs.enumerated() {
                var tensor = binding.outputs[i]
                if model.values[output].hasMask && tensor.mask == nil { tensor.mask = inputs[0].mask }
                tensors[output] = tensor
            }
        }
        self.operations = ObjectList(operations)
        inputs = model.inputs.map { tensors[$0.value]! }
        outputs = model.outputs.map { tensors[$0.value]! }
    }

    private static func input(_ port: Model.Port, _ index: Int, _ time: Int, _ capacity: Int,
                              _ workspace: Workspace) throws(Failure) -> Tensor {
        var shape = port.shape
        if port.hasTime { shape[0] = time }
        guard shape.isKnown else {
            throw Failure(.unsupported, "input '\(port.name)' of shape \(describe(shape)) has another axis of unknown length than time")
        }
        let count = try shape.elementCount()
        return Tensor(data: try workspace.floats(multiplied(capacity, count)), shape: shape, count: count)
    }

    func run(_ moment: Moment) {
        let callers = cz_float_mode_enter()
        defer { cz_float_mode_leave(callers) }
        for index in 0..<operations.count { operations.with(index) { $0.run(moment) } }
    }
}

extension Model {
    /// By value: how many read it.
    fileprivate var uses: [Int] {
        var uses = Array(repeating: 0, count: values.count)
        for node in nodes {
            for value in node.inputs + node.initialStates { uses[value] += 1 }
        }
        for output in outputs { uses[output.value] += 1 }
        return uses
    }

    /// The inputs' time lengths: those given, or the declared windows.
    public func lengths(_ times: UnsafePointer<Int>?) throws(Failure) -> [Int] {
        var result: [Int] = []
        for (index, port) in inputs.enumerated() {
            guard port.hasTime else {
                result.append(1)
                continue
            }
            let time = times?[index] ?? port.shape[0]
            guard time >= 1 else {
                throw Failure(.invalidArgument, times == nil
                    ? "input '\(port.name)' has no window of its own: its length must be given"
                    : "input '\(port.name)': time is \(time), expected 1 or more")
            }
            result.append(time)
        }
        return result
    }

    /// The shapes of all outputs for a run over these lengths, without batch.
    public func outputShape(_ index: Int, times: UnsafePointer<Int>?) throws(Failure) -> Shape {
        let times = try lengths(times)
        var shapes: [Shape?] = Array(repeating: nil, count: values.count)
        for (input, port) in inputs.enumerated() {
            var shape = port.shape
            if port.hasTime { shape[0] = times[input] }
            shapes[port.value] = shape
        }
        for node in nodes where !node.inputs.isEmpty {
            for (output, shape) in zip(node.outputs, try node.layer.outputShapes(node.inputs.map { shapes[$0]! })) {
                shapes[output] = shape
            }
        }
        return shapes[outputs[index].value]!
    }

    /// Whole sequences: inputs [batch][shape…], dense; outputs likewise, nil where not wanted. Every row starts from zero.
    public func run(batch: Int, times: UnsafePointer<Int>?, inputs given: UnsafePointer<UnsafePointer<Float>?>,
                    outputs wanted: UnsafePointer<UnsafeMutablePointer<Float>?>) throws(Failure) {
        let program = try Program(self, capacity: batch, times: try lengths(times), streaming: false)
        defer { withExtendedLifetime(program) {} }
        for (index, tensor) in program.inputs.enumerated() {
            guard let source = given[index] else {
                throw Failure(.invalidArgument, "input \(index) ('\(inputs[index].name)') is NULL")
            }
            tensor.data.copy(from: source, count: batch * tensor.count)
        }
        for check in idChecks {
            let tensor = program.inputs[check.input]
            try reportBadID(check.embedding, tensor.data, count: batch * tensor.count, input: check.input)
        }
        let fresh = try AlignedBuffer(count: batch)
        defer { withExtendedLifetime(fresh) {} }
        program.run(Moment(rows: batch, state: UnsafePointer(fresh.floats), next: fresh.floats, stride: 0,
                           fresh: UnsafePointer(UnsafeMutableRawPointer(fresh.floats).assumingMemoryBound(to: UInt8.self))))
        for (index, tensor) in program.outputs.enumerated() {
            wanted[index]?.copy(from: tensor.data, count: batch * tensor.count)
        }
    }

    /// Fails where one of `count` values is no id of the table.
    public func reportBadID(_ embedding: Embedding, _ ids: UnsafePointer<Float>, count: Int, input: Int) throws(Failure) {
        guard let bad = embedding.firstBadID(ids, count: count) else { return }
        let shown: Text = bad.isFinite && abs(bad) < 1e15 ? "\(Int(bad))" : "a number that is none"
        throw Failure(.invalidArgument, "input '\(inputs[input].name)': \(shown) is not an id of layer "
            + "'\(embedding.name)', whose table has \(embedding.inputDim)")
    }
}
