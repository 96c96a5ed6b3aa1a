import CSystem

/// A model running in time: its state, carried from step to step, for rows that step together.
///
/// The state is two blocks of [rows][stateSize] floats: a step reads one and writes the other, and then they swap.
/// So a step that is not to count (peek) is one that does not swap.
public final class Stream: Snapshotting {
    public let model: Model
    public let batch: Int
    /// Whether the model has one input and one output.
    public let isSimple: Bool
    private let program: Program
    /// Where the program reads and writes.
    private let inputs: Ports
    private let outputs: Ports
    /// The first of each, at hand for the step that has no others.
    private let input: (data: UnsafeMutablePointer<Float>, count: Int)
    private let output: (data: UnsafeMutablePointer<Float>, count: Int)
    private let blocks: AlignedBuffer
    private var current: UnsafeMutablePointer<Float>
    private var next: UnsafeMutablePointer<Float>
    private let stateSize: Int
    private let checksIDs: Bool
    /// Steps that each row has made since its reset.
    private let positions: UnsafeMutablePointer<UInt64>
    /// Per row: 1 from its reset to its first step, while initial states given by the model hold.
    private let fresh: UnsafeMutablePointer<UInt8>
    private let columns: Columns

    @export(interface)
    public init(_ model: Model, batch: Int) throws(Failure) {
        guard batch >= 1 else { throw Failure(.invalidArgument, "batch is \(batch), expected 1 or more") }
        guard model.canStream else { throw Failure(.cannotStream, "the model cannot stream: \(model.obstacle)") }
        self.model = model
        self.batch = batch
        program = try Program(model, capacity: batch, times: model.inputs.map { _ in 1 }, streaming: true)
        inputs = Ports(program.inputs)
        outputs = Ports(program.outputs)
        input = inputs[0]
        output = outputs[0]
        isSimple = inputs.count == 1 && outputs.count == 1
        stateSize = model.stateSize
        checksIDs = !model.idChecks.isEmpty
        let count = padded(try multiplied(batch, max(1, stateSize)))
        blocks = try AlignedBuffer(count: multiplied(2, count), isLocked: model.isLocked)
        current = blocks.floats
        next = current + count
        columns = try Columns(rows: batch, width: 9, isLocked: model.isLocked)
        positions = columns.next(0)
        fresh = columns.next(1)
    }

    /// A copy that goes on from here on its own.
    @export(interface)
    public func fork() throws(Failure) -> Stream {
        let other = try Stream(model, batch: batch)
        other.copyState(of: self)
        return other
    }

    func copyState(of other: Stream) {
        current.copy(from: other.current, count: batch * stateSize)
        positions.copy(from: other.positions, count: batch)
        fresh.copy(from: other.fresh, count: batch)
    }

    // MARK: Steps

    /// `steps` steps of all rows. Inputs [batch][steps][step size], outputs likewise; an output that is nil, or all, are
    /// not wanted. states: nil, or for each shown state nil or [batch][steps][units].
    ///
    /// Fails before anything has changed, or not at all.
    @export(interface)
    public func run(steps: Int, inputs given: UnsafePointer<UnsafePointer<Float>?>,
                    outputs wanted: UnsafePointer<UnsafeMutablePointer<Float>?>?,
                    states: UnsafePointer<UnsafeMutablePointer<Float>?>? = nil, advance: Bool = true) throws(Failure) {
        guard steps >= 0 else { throw Failure(.invalidArgument, "steps is \(steps), expected 0 or more") }
        try check(given, steps: steps)
        for step in 0..<steps {
            for index in 0..<inputs.count { gather(index, from: given[index].unsafelyUnwrapped, step: step, steps: steps) }
            compute(advance: advance)
            if let wanted {
                for index in 0..<outputs.count {
                    if let output = wanted[index] { scatter(index, to: output, step: step, steps: steps) }
                }
            }
            if let states { scatterStates(to: states, step: step, steps: steps) }
        }
    }

    /// A step of a model with one input and one output: what `run` does, without its loops.
    @export(interface)
    public func step(_ input: UnsafePointer<Float>, _ output: UnsafeMutablePointer<Float>, advance: Bool) throws(Failure) {
        if checksIDs {
            var given: UnsafePointer<Float>? = input
            try check(&given, steps: 1)
        }
        self.input.data.copy(from: input, count: batch &* self.input.count)
        compute(advance: advance)
        output.copy(from: self.output.data, count: batch &* self.output.count)
    }

    @inline(__always)
    private func compute(advance: Bool) {
        program.run(Moment(rows: batch, state: UnsafePointer(current), next: next, stride: stateSize, fresh: UnsafePointer(fresh)))
        guard advance else { return }
        swap(&current, &next)
        var row = 0
        while row < batch {
            positions[row] &+= 1
            fresh[row] = 0
            row &+= 1
        }
    }

    private func check(_ given: UnsafePointer<UnsafePointer<Float>?>, steps: Int) throws(Failure) {
        for index in 0..<inputs.count {
            if given[index] == nil { throw Failure(.invalidArgument, "input \(index) ('\(model.inputs[index].name)') is NULL") }
            _ = try multiplied(steps, batch &* inputs[index].count)
        }
        guard checksIDs else { return }
        for check in model.idChecks {
            try model.reportBadID(check.embedding, given[check.input].unsafelyUnwrapped,
                                  count: batch * steps * inputs[check.input].count, input: check.input)
        }
    }

    private func gather(_ index: Int, from source: UnsafePointer<Float>, step: Int, steps: Int) {
        let (data, count) = inputs[index]
        if steps == 1 { return data.copy(from: source, count: batch &* count) }
        for row in 0..<batch { (data + row &* count).copy(from: source + (row &* steps &+ step) &* count, count: count) }
    }

    private func scatter(_ index: Int, to output: UnsafeMutablePointer<Float>, step: Int, steps: Int) {
        let (data, count) = outputs[index]
        if steps == 1 { return output.copy(from: data, count: batch &* count) }
        for row in 0..<batch { (output + (row &* steps &+ step) &* count).copy(from: data + row &* count, count: count) }
    }

    private func scatterStates(to states: UnsafePointer<UnsafeMutablePointer<Float>?>, step: Int, steps: Int) {
        for (index, state) in model.shownStates.enumerated() {
            guard let output = states[index] else { continue }
            let units = state.slot.units
            for row in 0..<batch {
                (output + (row &* steps &+ step) &* units).copy(from: place(state, row), count: units)
            }
        }
    }

    private func place(_ state: Model.State, _ row: Int) -> UnsafeMutablePointer<Float> {
        current + (row &* stateSize &+ state.offset)
    }

    // MARK: State

    /// Back to the zero state.
    @export(interface)
    public func reset() {
        for row in 0..<batch { reset(row: row) }
    }

    @export(interface)
    public func reset(row: Int) {
        (current + row * stateSize).update(repeating: 0, count: stateSize)
        positions[row] = 0
        fresh[row] = 1
    }

    @export(interface)
    public func position(row: Int) -> UInt64 { positions[row] }

    /// Copies a shown state out: [batch][units].
    @export(interface)
    public func state(_ state: Model.State, into values: UnsafeMutablePointer<Float>) {
        for row in 0..<batch { (values + row * state.slot.units).copy(from: place(state, row), count: state.slot.units) }
    }

    /// Copies a shown state in. The model's own initial states no longer hold, and a masked step that comes next answers
    /// with what was copied in.
    @export(interface)
    public func setState(_ state: Model.State, _ values: UnsafePointer<Float>) {
        for row in 0..<batch {
            let source = values + row * state.slot.units
            place(state, row).copy(from: source, count: state.slot.units)
            if let previous = state.previousOutput {
                (current + (row * stateSize + previous)).copy(from: source, count: state.slot.units)
            }
            fresh[row] = 0
        }
    }

    /// How many values of a row's state are NaN or infinite.
    @export(interface)
    public func nonfiniteStates(row: Int) -> Int {
        var count = 0
        for state in model.states {
            let values = place(state, row)
            for i in 0..<state.slot.units where !values[i].isFinite { count += 1 }
        }
        return count
    }
}

/// Where inputs or outputs lie and how many floats a row has, as plain memory.
final class Ports {
    let count: Int
    private let places: UnsafeMutablePointer<(data: UnsafeMutablePointer<Float>, count: Int)>

    init(_ tensors: [Tensor]) {
        count = tensors.count
        places = .allocate(capacity: max(1, tensors.count))
        for (index, tensor) in tensors.enumerated() { (places + index).initialize(to: (tensor.data, tensor.count)) }
    }

    deinit { places.deallocate() }

    @inline(always)
    subscript(_ index: Int) -> (data: UnsafeMutablePointer<Float>, count: Int) { places[index] }
}

// MARK: Snapshots

extension Stream {
    private func rowState(_ row: Int) -> RowState {
        RowState(position: positions + row, fresh: fresh + row, values: current + row &* stateSize)
    }

    /// Bytes that a snapshot takes.
    public var snapshotSize: Int { Snapshot.size(model, rows: batch) }

    /// Writes `snapshotSize` bytes.
    @export(interface)
    public func snapshot(into bytes: UnsafeMutableRawPointer) { Snapshot.write(model, rows: batch, into: bytes, rowState) }

    /// Continues from a snapshot. Changes nothing where it fails.
    @export(interface)
    public func restore(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
        try Snapshot.check(model, rows: batch, bytes)
        Snapshot.read(model, rows: batch, bytes, rowState)
    }
}
