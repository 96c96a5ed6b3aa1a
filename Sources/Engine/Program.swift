import CSystem

/// A model bound to buffers: for at most `capacity` rows and given lengths of time. Runs without allocating.
final class Program {
    let capacity: Int
    let inputs: [Tensor]
    let outputs: [Tensor]
    /// Products of the input that is repeated.
    let kept: [KeptProducts]
    private let operations: ObjectList<Operation>
    private let workspace: Workspace

    /// - Parameters:
    ///   - times: for each input with a time axis its length.
    ///   - streaming: whether recurrent layers carry their states from and to a stream's; time is then 1.
    ///   - repeated: an input that stays the same over several steps; its products are kept.
    ///   - callers: where inputs lie and outputs are wanted; nil: in buffers of the program's own.
    init(_ model: Model, capacity: Int, times: [Int], streaming: Bool, repeated: Int? = nil, callers: Rows? = nil) throws(Failure) {
        self.capacity = capacity
        workspace = Workspace()
        var tensors: [Tensor?] = Array(repeating: nil, count: model.values.count)
        for (index, port) in model.inputs.enumerated() {
            let tensor = try Program.input(port, index, times[index], capacity, workspace, callers)
            tensors[port.value] = tensor
        }
        // By value: where it is wanted.
        var destinations: [Int?] = Array(repeating: nil, count: model.values.count)
        for (index, port) in model.outputs.enumerated() { destinations[port.value] = index }
        var operations: [Operation] = []
        // By value: what makes it, and how often it is used.
        var makers: [Operation?] = Array(repeating: nil, count: model.values.count)
        let uses = model.uses
        var kept: [KeptProducts] = []
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
            var places: [UnsafeMutablePointer<Float>?] = []
            if let callers {
                for (index, value) in node.outputs.enumerated() {
                    _ = try multiplied(callers.first + capacity, outputs[index].count)
                    places.append(destinations[value].flatMap { callers.output($0, count: outputs[index].count) })
                }
            }
            var binding = Binding(kernels: model.kernels, capacity: capacity, inputs: inputs,
                                  initialStates: node.initialStates.map { tensors[$0]! }, outputs: outputs,
                                  stateOffset: streaming ? node.stateOffset : nil, workspace: workspace)
            binding.places = places
            if let operation = try node.layer.operation(&binding) {
                operations.append(operation)
                makers[node.outputs[0]] = operation
                if let repeated, node.inputs[0] == model.inputs[repeated].value,
                   let products = try operation.keepsProducts(rows: capacity, model.kernels, workspace) {
                    kept.append(products)
                }
            } else if uses[node.inputs[0]] == 1, binding.outputs[0].data == inputs[0].data {
                // Dropout, say: what makes its input makes its output.
                makers[node.outputs[0]] = makers[node.inputs[0]]
            }
            for (i, output) in node.outputs.enumerated() {
                var tensor = binding.outputs[i]
                if model.values[output].hasMask && tensor.mask == nil { tensor.mask = inputs[0].mask }
                tensors[output] = tensor
            }
        }
        self.operations = ObjectList(operations)
        self.kept = kept
        inputs = model.inputs.map { tensors[$0.value]! }
        outputs = model.outputs.map { tensors[$0.value]! }
    }

    /// Some rows of a caller's arrays.
    struct Rows {
        /// The first of them.
        let first: Int
        let inputs: UnsafePointer<UnsafePointer<Float>?>
        let outputs: UnsafePointer<UnsafeMutablePointer<Float>?>

        /// Where the rows of an output are wanted, whose rows have `count` floats; nil where they are not.
        func output(_ index: Int, count: Int) -> UnsafeMutablePointer<Float>? { outputs[index].map { $0 + first * count } }
    }

    private static func input(_ port: Model.Port, _ index: Int, _ time: Int, _ capacity: Int,
                              _ workspace: Workspace, _ callers: Rows?) throws(Failure) -> Tensor {
        var shape = port.shape
        if port.hasTime { shape[0] = time }
        guard shape.isKnown else {
            throw Failure(.unsupported, "input '\(port.name)' of shape \(describe(shape)) has another axis of unknown length than time")
        }
        let count = try shape.elementCount()
        guard let callers else {
            return Tensor(data: try workspace.floats(multiplied(capacity, count)), shape: shape, count: count)
        }
        guard let source = callers.inputs[index] else {
            throw Failure(.invalidArgument, "input \(index) ('\(port.name)') is NULL")
        }
        _ = try multiplied(callers.first + capacity, count)
        return Tensor(data: UnsafeMutablePointer(mutating: source + callers.first * count), shape: shape, count: count)
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
    /// Rows are split over `threads`, the calling one among them. Fails before anything is written, or not at all.
    @export(interface)
    public func run(batch: Int, times: UnsafePointer<Int>?, inputs given: UnsafePointer<UnsafePointer<Float>?>,
                    outputs wanted: UnsafePointer<UnsafeMutablePointer<Float>?>, threads: Int = 1) throws(Failure) {
        guard threads >= 1, threads <= 1024 else { throw Failure(.invalidArgument, "threads is \(threads), expected 1 to 1024") }
        let lengths = try lengths(times), count = min(threads, batch)
        var parts: [SequencePart] = []
        for part in 0..<count {
            let first = try multiplied(batch, part) / count, end = try multiplied(batch, part + 1) / count
            let rows = Program.Rows(first: first, inputs: given, outputs: wanted)
            parts.append(try SequencePart(try Program(self, capacity: end - first, times: lengths, streaming: false, callers: rows), rows))
        }
        for check in idChecks {
            let tensor = parts[0].program.inputs[check.input]
            try reportBadID(check.embedding, tensor.data, count: batch * tensor.count, input: check.input)
        }
        let list = ObjectList(parts)
        defer { withExtendedLifetime(list) {} }
        if count == 1 { return parts[0].run() }
        guard let workers = cz_workers_create(Int32(count)) else { throw Failure(.system, "\(count) threads cannot be had") }
        cz_workers_run(workers, { context, worker in
            Unmanaged<ObjectList<SequencePart>>.fromOpaque(context!).takeUnretainedValue().with(Int(worker)) { $0.run() }
        }, Unmanaged.passUnretained(list).toOpaque())
        cz_workers_destroy(workers)
    }

    /// Fails where one of `count` values is no id of the table.
    public func reportBadID(_ embedding: Embedding, _ ids: UnsafePointer<Float>, count: Int, input: Int) throws(Failure) {
        guard let bad = embedding.firstBadID(ids, count: count) else { return }
        let shown: Text = bad.isFinite && abs(bad) < 1e15 ? "\(Int(bad))" : "a number that is none"
        throw Failure(.invalidArgument, "input '\(inputs[input].name)': \(shown) is not an id of layer "
            + "'\(embedding.name)', whose table has \(embedding.inputDim)")
    }
}

/// Some rows of whole sequences, on a thread of their own.
private final class SequencePart {
    let program: Program
    private let rows: Program.Rows
    /// In place of a stream's states: nothing reads or writes it.
    private let nothing: AlignedBuffer

    init(_ program: Program, _ rows: Program.Rows) throws(Failure) {
        self.program = program
        self.rows = rows
        nothing = try AlignedBuffer(count: 1)
    }

    func run() {
        program.run(Moment(rows: program.capacity, state: UnsafePointer(nothing.floats), next: nothing.floats, stride: 0,
                           fresh: UnsafePointer(UnsafeMutableRawPointer(nothing.floats).assumingMemoryBound(to: UInt8.self))))
        for (index, tensor) in program.outputs.enumerated() {
            if let output = rows.output(index, count: tensor.count), output != tensor.data {
                output.copy(from: tensor.data, count: program.capacity * tensor.count)
            }
        }
    }
}
