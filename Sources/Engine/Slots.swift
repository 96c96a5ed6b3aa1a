import CSystem

/// A model stepping for rows that come and go, so that a step costs only the rows that take part in it.
///
/// A row that takes part has a slot; slots 0 ..< active are always filled. A parked row's state lies aside, untouched.
/// A step has two halves: `compute` reads the states and writes new ones beside them, `advance` makes those the
/// states. What is found wrong in between leaves every state as it was.
///
/// Nothing is allocated after creation.
public final class Slots {
    public let model: Model
    /// Rows that there are, in slots or parked.
    public let rows: Int
    /// Rows that take part in the next step.
    public private(set) var active = 0
    /// Steps of rows that have been made, all rows together.
    public private(set) var steps: UInt64 = 0

    private let program: Program
    /// The weights that the program's kept products are of.
    private var version: Int
    private let parked: AlignedBuffer
    private var current: AlignedBuffer
    private var next: AlignedBuffer
    private let size: Int
    /// By slot.
    private let rowOfSlot: UnsafeMutablePointer<Int>
    private let freshOfSlot: UnsafeMutablePointer<UInt8>
    /// By row: −1 where it is parked.
    private let slotOfRow: UnsafeMutablePointer<Int>
    private let freshOfRow: UnsafeMutablePointer<UInt8>
    private let positions: UnsafeMutablePointer<UInt64>
    private let columns: Columns

    /// - Parameter repeated: an input that stays the same over several steps of a row.
    public init(_ model: Model, rows: Int, repeated: Int? = nil) throws(Failure) {
        guard rows >= 1 else { throw Failure(.invalidArgument, "the batch is \(rows), expected 1 or more") }
        guard model.canStream else { throw Failure(.cannotStream, "the model cannot stream: \(model.obstacle)") }
        self.model = model
        self.rows = rows
        size = model.stateSize
        program = try Program(model, capacity: rows, times: model.inputs.map { _ in 1 }, streaming: true, repeated: repeated)
        version = model.version
        let count = try multiplied(rows, max(1, size))
        parked = try AlignedBuffer(count: count, isLocked: model.isLocked)
        current = try AlignedBuffer(count: count, isLocked: model.isLocked)
        next = try AlignedBuffer(count: count, isLocked: model.isLocked)
        columns = try Columns(rows: rows, width: 26, isLocked: model.isLocked)
        rowOfSlot = columns.next(0)
        freshOfSlot = columns.next(1)
        slotOfRow = columns.next(-1)
        freshOfRow = columns.next(1)
        positions = columns.next(0)
    }

    public var kernels: UnsafePointer<cz_kernels> { model.kernels }

    // MARK: Who takes part

    public func row(inSlot slot: Int) -> Int { rowOfSlot[slot] }
    public func isActive(_ row: Int) -> Bool { slotOfRow[row] >= 0 }
    /// Steps that a row has made since its reset.
    public func position(_ row: Int) -> UInt64 { positions[row] }

    /// Gives a parked row the next slot.
    public func activate(_ row: Int) {
        guard slotOfRow[row] < 0 else { return }
        slotOfRow[row] = active
        rowOfSlot[active] = row
        freshOfSlot[active] = freshOfRow[row]
        copy(parked, row, current, active)
        active &+= 1
    }

    /// Takes a row's slot away; the last active row moves there.
    ///
    /// - Parameter undoing: the row's state is to be the one before the step that `advance` has just finished.
    public func park(_ row: Int, undoing: Bool = false) {
        let slot = slotOfRow[row]
        guard slot >= 0 else { return }
        if undoing {
            copy(next, slot, parked, row)
            positions[row] &-= 1
            steps &-= 1
            freshOfRow[row] = freshOfSlot[slot]
        } else {
            copy(current, slot, parked, row)
        }
        active &-= 1
        if slot != active {
            let moved = rowOfSlot[active]
            copy(current, active, current, slot)
            copy(next, active, next, slot)
            for products in program.kept { products.move(active, to: slot) }
            rowOfSlot[slot] = moved
            freshOfSlot[slot] = freshOfSlot[active]
            slotOfRow[moved] = slot
        }
        slotOfRow[row] = -1
    }

    private func copy(_ from: AlignedBuffer, _ a: Int, _ to: AlignedBuffer, _ b: Int) {
        (to.floats + b &* size).copy(from: from.floats + a &* size, count: size)
    }

    // MARK: Steps

    /// Where a slot's input lies: write it before `compute`.
    public func input(_ index: Int, slot: Int) -> UnsafeMutablePointer<Float> {
        program.inputs[index].data + slot &* program.inputs[index].count
    }

    /// Where a slot's output lies after `compute`.
    public func output(_ index: Int, slot: Int) -> UnsafeMutablePointer<Float> {
        program.outputs[index].data + slot &* program.outputs[index].count
    }

    public func inputSize(_ index: Int) -> Int { program.inputs[index].count }
    public func outputSize(_ index: Int) -> Int { program.outputs[index].count }

    /// The outputs of all slots for their inputs. Fails, before anything has changed, where an input holds a bad id.
    public func compute() throws(Failure) {
        for check in model.idChecks {
            let ids = program.inputs[check.input]
            try model.reportBadID(check.embedding, ids.data, count: active &* ids.count, input: check.input)
        }
        for slot in 0..<active { freshOfSlot[slot] = freshOfRow[rowOfSlot[slot]] }
        if version != model.version {
            for products in program.kept { products.forget() }
            version = model.version
        }
        program.run(Moment(rows: active, state: UnsafePointer(current.floats), next: next.floats, stride: size,
                           fresh: UnsafePointer(freshOfSlot)))
    }

    /// Whether an input holds ids that are looked up.
    public var takesIDs: Bool { !model.idChecks.isEmpty }

    /// Fails where values for an input are no ids of the table that it is looked up in.
    public func checkIDs(_ index: Int, _ values: UnsafePointer<Float>, count: Int) throws(Failure) {
        for check in model.idChecks where check.input == index {
            try model.reportBadID(check.embedding, values, count: count, input: index)
        }
    }

    /// Makes the states that `compute` found the states.
    public func advance() {
        swap(&current, &next)
        for slot in 0..<active {
            let row = rowOfSlot[slot]
            positions[row] &+= 1
            freshOfRow[row] = 0
        }
        steps &+= UInt64(active)
    }

    /// For a model without states: the outputs of the first `count` slots, whoever's rows they are.
    public func compute(first count: Int) throws(Failure) {
        for check in model.idChecks {
            let ids = program.inputs[check.input]
            try model.reportBadID(check.embedding, ids.data, count: count &* ids.count, input: check.input)
        }
        program.run(Moment(rows: count, state: UnsafePointer(current.floats), next: next.floats, stride: size,
                           fresh: UnsafePointer(freshOfSlot)))
    }

    // MARK: States

    /// Back to the zero state.
    public func reset(_ row: Int) {
        place(row).update(repeating: 0, count: size)
        positions[row] = 0
        freshOfRow[row] = 1
        if slotOfRow[row] >= 0 { freshOfSlot[slotOfRow[row]] = 1 }
    }

    /// The state that a row has.
    public func state(_ index: Int, row: Int) -> UnsafeMutablePointer<Float> {
        place(row) + model.shownStates[index].offset
    }

    /// The state that a slot gets, between `compute` and `advance`.
    public func newState(_ index: Int, slot: Int) -> UnsafeMutablePointer<Float> {
        next.floats + slot &* size + model.shownStates[index].offset
    }

    /// A row's shown states, one after another, from `values`. The model's own initial states no longer hold.
    public func setStates(_ row: Int, _ values: UnsafePointer<Float>) {
        var source = values
        for (index, shown) in model.shownStates.enumerated() {
            state(index, row: row).copy(from: source, count: shown.slot.units)
            source += shown.slot.units
        }
        freshOfRow[row] = 0
        if slotOfRow[row] >= 0 { freshOfSlot[slotOfRow[row]] = 0 }
    }

    /// Every row gets the state of another, all at once: row r that of row `sources[r]`, for rows in slots of their own
    /// number (row r in slot r).
    public func permute(first: Int, count: Int, sources: UnsafePointer<Int>) {
        for row in first..<(first &+ count) { copy(current, sources[row], next, row) }
        for row in first..<(first &+ count) { copy(next, row, current, row) }
    }

    private func place(_ row: Int) -> UnsafeMutablePointer<Float> {
        slotOfRow[row] >= 0 ? current.floats + slotOfRow[row] &* size : parked.floats + row &* size
    }

    // MARK: Snapshots

    /// Everything that a step depends on.
    public func write(to archive: Archive) {
        archive.put(steps)
        archive.put(UInt64(active))
        for slot in 0..<active { archive.put(UInt64(rowOfSlot[slot])) }
        for row in 0..<rows {
            archive.put(positions[row])
            archive.put(UInt64(freshOfRow[row]))
            for state in model.states { archive.put(place(row) + state.offset, count: state.slot.units) }
        }
    }

    /// What `write` wrote. On failure the slots are in any condition, but a safe one.
    public func read(from archive: ArchiveReader) throws(Failure) {
        for row in 0..<rows { slotOfRow[row] = -1 }
        active = 0
        steps = try archive.next()
        let count = try archive.next(below: rows + 1)
        for _ in 0..<count {
            let row = try archive.next(below: rows)
            guard slotOfRow[row] < 0 else { throw Failure(.invalidFile, "the snapshot has a row twice") }
            activate(row)
        }
        for row in 0..<rows {
            positions[row] = try archive.next()
            freshOfRow[row] = try archive.next(below: 2) == 1 ? 1 : 0
            place(row).update(repeating: 0, count: size)
            for state in model.states { try archive.next(place(row) + state.offset, count: state.slot.units) }
        }
        for slot in 0..<active { freshOfSlot[slot] = freshOfRow[rowOfSlot[slot]] }
    }
}
