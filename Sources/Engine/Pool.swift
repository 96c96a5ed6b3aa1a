import CSystem

/// Thousands of streams of one row each on one model, known by numbers: a step computes just those that are ready, as
/// one product of many rows.
///
/// A stream's state lies in slabs that stay where they are; a step copies the states of its rows side by side, a block at a
/// time, and the new ones back. A stream has the same bits as alone: its row never sees the others.
public final class Pool {
    public let model: Model
    public let threads: Int
    /// How many streams there are.
    public private(set) var count = 0
    private let stateSize: Int
    private let lanes: [Lane]
    private let workers: OpaquePointer
    private var slabs: [Slab] = []
    /// Where the slabs' memory is, as plain memory: a step looks each of its ids up.
    private var memory: UnsafeMutablePointer<SlabMemory>
    private var slots = 0
    /// Slots that nobody has, as a list through the slots.
    private var firstFree = Place.none
    /// Counts the steps: what finds an id that is given twice.
    private var round: UInt32 = 0
    /// The rows of the step in progress; grows with the largest step.
    private var rows: UnsafeMutablePointer<RowState>
    private var rowCapacity = 0
    /// Where those two lie.
    private var columns: (memory: Columns, rows: Columns)
    private var call = Call()

    /// Rows that are computed together: enough to reuse each weight from the registers, few enough for their states to stay in
    /// the nearest caches.
    private static let blockRows = 96
    /// Streams of a slab.
    private static let slabRows = 256

    @export(interface)
    public init(_ model: Model, threads: Int) throws(Failure) {
        guard threads >= 1, threads <= 1024 else { throw Failure(.invalidArgument, "threads is \(threads), expected 1 to 1024") }
        guard model.canStream else { throw Failure(.cannotStream, "the model cannot stream: \(model.obstacle)") }
        var lanes: [Lane] = []
        for _ in 0..<threads { lanes.append(try Lane(model, rows: Pool.blockRows)) }
        columns = (try Columns(rows: 0, width: 0), try Columns(rows: 0, width: 0))
        memory = columns.memory.next()
        rows = columns.rows.next()
        guard let workers = cz_workers_create(Int32(threads)) else {
            throw Failure(.system, "\(threads) threads cannot be had")
        }
        self.model = model
        self.threads = threads
        self.lanes = lanes
        self.workers = workers
        stateSize = model.stateSize
    }

    deinit { cz_workers_destroy(workers) }

    // MARK: Ids

    /// A new stream, in the zero state.
    @export(interface)
    public func join() throws(Failure) -> UInt64 {
        if firstFree == Place.none { try grow() }
        let slot = Int(firstFree)
        let place = place(slot)
        firstFree = place.pointee.next
        place.pointee.next = Place.used
        count += 1
        clear(slot)
        return id(slot)
    }

    /// The stream's end; its id is never given again.
    @export(interface)
    public func leave(_ id: UInt64) throws(Failure) {
        let slot = try find(id)
        let place = place(slot)
        place.pointee.next = Place.none
        place.pointee.generation &+= 1
        count -= 1
        // A slot whose generations are used up is given up.
        if place.pointee.generation == 0 { return }
        place.pointee.next = firstFree
        firstFree = Int32(slot)
    }

    @export(interface)
    public func reset(_ id: UInt64) throws(Failure) { clear(try find(id)) }

    /// A copy that goes on from here on its own.
    @export(interface)
    public func fork(_ id: UInt64) throws(Failure) -> UInt64 {
        let slot = try find(id)
        let copy = try join()
        let from = rowState(slot), to = rowState(try find(copy))
        to.values.copy(from: from.values, count: stateSize)
        to.position.pointee = from.position.pointee
        to.fresh.pointee = from.fresh.pointee
        return copy
    }

    /// Steps that the stream has made since its reset.
    @export(interface)
    public func position(_ id: UInt64) throws(Failure) -> UInt64 { rowState(try find(id)).position.pointee }

    public var snapshotSize: Int { Snapshot.size(model, rows: 1) }

    /// Writes `snapshotSize` bytes: a stream of one row can be restored from them, too.
    @export(interface)
    public func snapshot(_ id: UInt64, into bytes: UnsafeMutableRawPointer) throws(Failure) {
        let state = rowState(try find(id))
        Snapshot.write(model, rows: 1, into: bytes) { _ in state }
    }

    @export(interface)
    public func restore(_ id: UInt64, _ bytes: UnsafeRawBufferPointer) throws(Failure) {
        let state = rowState(try find(id))
        try Snapshot.check(model, rows: 1, bytes)
        Snapshot.read(model, rows: 1, bytes) { _ in state }
    }

    /// An id is a slot and how often the slot was given before.
    private func id(_ slot: Int) -> UInt64 { UInt64(place(slot).pointee.generation) << 32 | UInt64(slot) }

    @inline(__always)
    private func find(_ id: UInt64) throws(Failure) -> Int {
        let slot = Int(id & 0xFFFF_FFFF)
        guard slot < slots, place(slot).pointee.next == Place.used, place(slot).pointee.generation == UInt32(id >> 32) else {
            throw Failure(.notFound, "the pool has no stream \(id)")
        }
        return slot
    }

    @inline(__always)
    private func place(_ slot: Int) -> UnsafeMutablePointer<Place> {
        memory[slot / Pool.slabRows].places + slot % Pool.slabRows
    }

    @inline(__always)
    private func rowState(_ slot: Int) -> RowState {
        let slab = memory[slot / Pool.slabRows], row = slot % Pool.slabRows
        return RowState(position: slab.positions + row, fresh: slab.fresh + row, values: slab.states + row &* stateSize)
    }

    private func clear(_ slot: Int) {
        let state = rowState(slot)
        for i in 0..<stateSize { state.values[i] = 0 }
        state.position.pointee = 0
        state.fresh.pointee = 1
    }

    private func grow() throws(Failure) {
        let first = slots
        guard first + Pool.slabRows <= 1 << 31 else { throw Failure(.outOfMemory, "a pool holds at most 2^31 streams") }
        let slab = try Slab(rows: Pool.slabRows, stateSize: stateSize, isLocked: model.isLocked), count = slabs.count
        // As large as the next power of two.
        if count & (count - 1) == 0 {
            let columns = try Columns(rows: 2 * count + 1, width: MemoryLayout<SlabMemory>.stride, isLocked: model.isLocked)
            let larger: UnsafeMutablePointer<SlabMemory> = columns.next()
            larger.copy(from: memory, count: count)
            memory = larger
            self.columns.memory = columns
        }
        memory[count] = slab.memory
        slabs.append(slab)
        slots += Pool.slabRows
        for slot in (first..<slots).reversed() {
            place(slot).pointee.next = firstFree
            firstFree = Int32(slot)
        }
    }

    // MARK: Steps

    /// One step of each named stream. Inputs [count][step size] in the order of the ids, outputs likewise; an output that
    /// is nil is not wanted. Fails before anything has changed, or not at all.
    @export(interface)
    public func step(_ ids: UnsafeBufferPointer<UInt64>, inputs: UnsafePointer<UnsafePointer<Float>?>,
                     outputs: UnsafePointer<UnsafeMutablePointer<Float>?>?) throws(Failure) {
        if ids.isEmpty { return }
        for (index, port) in model.inputs.enumerated() where inputs[index] == nil {
            throw Failure(.invalidArgument, "input \(index) ('\(port.name)') is NULL")
        }
        try resolve(ids)
        for check in model.idChecks {
            try model.reportBadID(check.embedding, inputs[check.input].unsafelyUnwrapped,
                                  count: ids.count * lanes[0].inputs[check.input].count, input: check.input)
        }
        call = Call(count: ids.count, inputs: inputs, outputs: outputs)
        let used = min(threads, (ids.count + 5) / 6)
        if used == 1 {
            run(lane: 0, 0..<ids.count)
        } else {
            cz_workers_run(workers, { context, worker in
                Unmanaged<Pool>.fromOpaque(context!).takeUnretainedValue().run(worker: Int(worker))
            }, Unmanaged.passUnretained(self).toOpaque())
        }
    }

    /// Finds the slots of ids. Fails where one is none, or comes twice.
    private func resolve(_ ids: UnsafeBufferPointer<UInt64>) throws(Failure) {
        // Where there are more ids than streams, one is found to be wrong before the rows end.
        let most = min(ids.count, count)
        if most > rowCapacity {
            columns.rows = try Columns(rows: most, width: MemoryLayout<RowState>.stride, isLocked: model.isLocked)
            rows = columns.rows.next()
            rowCapacity = most
        }
        if round == .max {
            for slot in 0..<slots { place(slot).pointee.round = 0 }
            round = 0
        }
        round += 1
        for row in 0..<ids.count {
            let slot = try find(ids[row]), place = place(slot)
            guard place.pointee.round != round else {
                throw Failure(.invalidArgument, "stream \(ids[row]) is named twice in one step")
            }
            place.pointee.round = round
            rows[row] = rowState(slot)
        }
    }

    /// A worker's share: rows in a whole number of tiles.
    private func run(worker: Int) {
        let tiles = (call.count + 5) / 6
        let first = tiles * worker / threads * 6, end = min(call.count, tiles * (worker + 1) / threads * 6)
        if first < end { run(lane: worker, first..<end) }
    }

    private func run(lane index: Int, _ range: Range<Int>) {
        let lane = lanes[index]
        var first = range.lowerBound
        while first < range.upperBound {
            let count = min(Pool.blockRows, range.upperBound - first)
            for row in 0..<count {
                let state = rows[first + row]
                (lane.state + row &* stateSize).copy(from: state.values, count: stateSize)
                lane.fresh[row] = state.fresh.pointee
            }
            for input in 0..<lane.inputs.count {
                let (data, width) = lane.inputs[input]
                data.copy(from: call.inputs.unsafelyUnwrapped[input].unsafelyUnwrapped + first &* width, count: count &* width)
            }
            lane.program.run(Moment(rows: count, state: UnsafePointer(lane.state), next: lane.next, stride: stateSize,
                                    fresh: UnsafePointer(lane.fresh)))
            for row in 0..<count {
                let state = rows[first + row]
                state.values.copy(from: lane.next + row &* stateSize, count: stateSize)
                state.position.pointee &+= 1
                state.fresh.pointee = 0
            }
            if let wanted = call.outputs {
                for output in 0..<lane.outputs.count {
                    let (data, width) = lane.outputs[output]
                    if let target = wanted[output] { (target + first &* width).copy(from: data, count: count &* width) }
                }
            }
            first += count
        }
    }

    /// What the workers are at.
    private struct Call {
        var count = 0
        var inputs: UnsafePointer<UnsafePointer<Float>?>?
        var outputs: UnsafePointer<UnsafeMutablePointer<Float>?>?
    }

    private struct Place {
        /// How often the slot was given before, from 1 on: an id is never 0.
        var generation: UInt32 = 1
        /// The last step that named it.
        var round: UInt32 = 0
        /// The next slot that nobody has, or one of these.
        var next = Place.none

        static let none: Int32 = -1
        static let used: Int32 = -2
    }

    private struct SlabMemory {
        let places: UnsafeMutablePointer<Place>
        let positions: UnsafeMutablePointer<UInt64>
        let fresh: UnsafeMutablePointer<UInt8>
        let states: UnsafeMutablePointer<Float>
    }

    /// Memory of some streams.
    private final class Slab {
        let memory: SlabMemory
        private let states: AlignedBuffer
        private let columns: Columns

        init(rows: Int, stateSize: Int, isLocked: Bool) throws(Failure) {
            states = try AlignedBuffer(count: multiplied(rows, max(1, stateSize)), isLocked: isLocked)
            columns = try Columns(rows: rows, width: MemoryLayout<Place>.stride + 9, isLocked: isLocked)
            memory = SlabMemory(places: columns.next(Place()), positions: columns.next(0), fresh: columns.next(1), states: states.floats)
        }
    }

    /// What one thread computes with.
    private final class Lane {
        let program: Program
        let inputs: Ports
        let outputs: Ports
        let state: UnsafeMutablePointer<Float>
        let next: UnsafeMutablePointer<Float>
        let fresh: UnsafeMutablePointer<UInt8>
        private let blocks: AlignedBuffer

        init(_ model: Model, rows: Int) throws(Failure) {
            program = try Program(model, capacity: rows, times: model.inputs.map { _ in 1 }, streaming: true)
            inputs = Ports(program.inputs)
            outputs = Ports(program.outputs)
            let count = padded(try multiplied(rows, max(1, model.stateSize)))
            blocks = try AlignedBuffer(count: multiplied(2, count), isLocked: model.isLocked)
            state = blocks.floats
            next = state + count
            fresh = .allocate(capacity: rows)
            fresh.initialize(repeating: 1, count: rows)
        }

        deinit { fresh.deallocate() }
    }
}
