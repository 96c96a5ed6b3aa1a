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
    /// By operation the thread that runs it, and how far it is.
    private var stages: [Int] = []
    private var progress: UnsafeMutablePointer<Float>?

    /// - Parameters:
    ///   - times: for each input with a time axis its length.
    ///   - streaming: whether recurrent layers carry their states from and to a stream's; time is then 1.
    ///   - repeated: an input that stays the same over several steps; its products are kept.
    ///   - callers: where inputs lie and outputs are wanted; nil: in buffers of the program's own.
    init(_ model: Model, capacity: Int, times: [Int], streaming: Bool, repeated: Int? = nil, callers: Rows? = nil) throws(Failure) {
        self.capacity = capacity
        workspace = Workspace(isLocked: streaming && model.isLocked)
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

    // MARK: Stages

    /// Shares the operations out to at most `wanted` threads, that go through time one behind the other. Returns to how many: to one
    /// where they have so little to do that starting a thread would take longer.
    func makeStages(_ wanted: Int, steps: Int) throws(Failure) -> Int {
        var total = 0, recurrent = 0
        for index in 0..<operations.count {
            operations.with(index) {
                total = total &+ $0.cost
                if $0.pieces != nil { recurrent = recurrent &+ 1 }
            }
        }
        let count = steps &* total < 4_000_000 ? 1 : max(1, min(wanted, recurrent))
        var before = 0
        for index in 0..<operations.count {
            operations.with(index) { operation in
                stages.append(min(count &- 1, (before &+ operation.cost / 2) &* count / max(1, total)))
                before = before &+ operation.cost
            }
        }
        progress = try workspace.floats(multiplied(operations.count, 16))
        return count
    }

    /// Whether all is there when a stage has run.
    func ends(withStage stage: Int) -> Bool { (stages.last ?? stage) == stage }

    /// One thread's operations.
    func run(_ moment: Moment, stage: Int) {
        let callers = cz_float_mode_enter()
        defer { cz_float_mode_leave(callers) }
        var index = stages.firstIndex(of: stage) ?? stages.count
        while index < stages.count, stages[index] == stage {
            let time = pieces(index)
            var end = index &+ 1
            guard let time else {
                wait(for: index &- 1, .max)
                operations.with(index) { $0.run(moment) }
                publish(index, .max)
                index = end
                continue
            }
            while end < stages.count, stages[end] == stage, pieces(end) == time, givesPieces(end &- 1) { end = end &+ 1 }
            let size = Program.pieceSize(time)
            var step = 0
            while step < time {
                let piece = step..<min(time, step &+ size)
                wait(for: index &- 1, pieces(index &- 1) == time ? piece.upperBound : .max)
                for own in index..<end {
                    operations.with(own) { $0.run(moment, piece) }
                    publish(own, piece.upperBound == time ? .max : givesPieces(own) ? piece.upperBound : 0)
                }
                step = piece.upperBound
            }
            index = end
        }
    }

    /// Steps that a thread makes before it tells the next: whole tiles of rows in products with them, and a small part of the time.
    private static func pieceSize(_ time: Int) -> Int { min(24, max(1, time / 48) * 6) }

    @inline(never)
    private func pieces(_ index: Int) -> Int? {
        var result: Int?
        if index >= 0 { operations.with(index) { result = $0.pieces } }
        return result
    }

    @inline(never)
    private func givesPieces(_ index: Int) -> Bool {
        var result = false
        operations.with(index) { result = $0.givesPieces }
        return result
    }

    /// Of an operation the steps that are there; .max: all of it.
    private func place(_ index: Int) -> UnsafeMutablePointer<Int> {
        UnsafeMutableRawPointer(progress.unsafelyUnwrapped + index &* 16).assumingMemoryBound(to: Int.self)
    }

    private func publish(_ index: Int, _ steps: Int) { cz_progress_tell(place(index), steps) }

    private func wait(for index: Int, _ steps: Int) {
        if index >= 0 { cz_progress_wait(place(index), steps) }
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
    /// Rows are split over `threads`, the calling one among them; where those are twice as many as rows or more, recurrent layers
    /// are, too. Fails before anything is written, or not at all.
    @export(interface)
    public func run(batch: Int, times: UnsafePointer<Int>?, inputs given: UnsafePointer<UnsafePointer<Float>?>,
                    outputs wanted: UnsafePointer<UnsafeMutablePointer<Float>?>, threads: Int = 1) throws(Failure) {
        guard threads >= 1, threads <= 1024 else { throw Failure(.invalidArgument, "threads is \(threads), expected 1 to 1024") }
        let lengths = try lengths(times), count = min(threads, batch)
        var stages = max(1, threads / max(1, count))
        var parts: [SequencePart] = []
        for part in 0..<count {
            let first = try multiplied(batch, part) / count, end = try multiplied(batch, part + 1) / count
            let rows = Program.Rows(first: first, inputs: given, outputs: wanted)
            let program = try Program(self, capacity: end - first, times: lengths, streaming: false, callers: rows)
            if stages > 1 { stages = try program.makeStages(stages, steps: lengths.max() ?? 1) }
            parts.append(try SequencePart(program, rows, stages: stages))
        }
        for check in idChecks {
            let tensor = parts[0].program.inputs[check.input]
            try reportBadID(check.embedding, tensor.data, count: batch * tensor.count, input: check.input)
        }
        let list = ObjectList(parts)
        defer { withExtendedLifetime(list) {} }
        if count &* stages == 1 { return parts[0].run(stage: 0) }
        guard let workers = cz_workers_create(Int32(count &* stages)) else { throw Failure(.system, "\(threads) threads cannot be had") }
        // A stage waits for those before it, which are workers of lower numbers: one that does not come in time is run by the caller,
        // in the order of the numbers.
        cz_workers_run(workers, { context, worker in
            let list = Unmanaged<ObjectList<SequencePart>>.fromOpaque(context!).takeUnretainedValue()
            var stages = 1
            list.with(0) { stages = $0.stages }
            list.with(Int(worker) / stages) { $0.run(stage: Int(worker) % stages) }
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

/// Some rows of whole sequences, on threads of their own.
private final class SequencePart {
    let program: Program
    private let rows: Program.Rows
    /// In place of a stream's states: nothing reads or writes it.
    private let nothing: AlignedBuffer
    /// Threads that run it.
    let stages: Int

    init(_ program: Program, _ rows: Program.Rows, stages: Int) throws(Failure) {
        self.program = program
        self.rows = rows
        self.stages = stages
        nothing = try AlignedBuffer(count: 1)
    }

    func run(stage: Int) {
        let moment = Moment(rows: program.capacity, state: UnsafePointer(nothing.floats), next: nothing.floats, stride: 0,
                           fresh: UnsafePointer(UnsafeMutableRawPointer(nothing.floats).assumingMemoryBound(to: UInt8.self)))
        if stages == 1 { program.run(moment) } else { program.run(moment, stage: stage) }
        if !program.ends(withStage: stage) { return }
        for (index, tensor) in program.outputs.enumerated() {
            if let output = rows.output(index, count: tensor.count), output != tensor.data {
                output.copy(from: tensor.data, count: program.capacity * tensor.count)
            }
        }
    }
}
