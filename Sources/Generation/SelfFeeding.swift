import Engine

/// A model that goes on from what it gave itself, for rows that stop on their own.
///
/// `prime` feeds a prefix; then each step hands out what the model gives, draws from it, and feeds that back for the
/// next one. The first step after a primer needs no step of the model: the primer's last answer is there already.
public final class SelfFeeding {
    public let rows: Int
    public let model: Model
    private let loop: Loop
    private let options: LoopOptions
    /// By row: whether it takes part in a primer or a score.
    private let running: UnsafeMutablePointer<Bool>
    private let columns: Columns

    /// - Parameters:
    ///   - exogenousSize: values that come from outside with every step, before the fed-back ones.
    ///   - exogenousInput: the model's input that they go to.
    @export(interface)
    public init(_ model: Model, rows: Int, options: LoopOptions, exogenousSize: Int = 0, exogenousInput: Int = 0) throws(Failure) {
        guard exogenousSize >= 0 else { throw Failure(.invalidArgument, "exogenous_size is \(exogenousSize), expected 0 or more") }
        self.model = model
        self.rows = rows
        self.options = options
        loop = try Loop(model, rows: rows, options: options, driverWidth: exogenousSize, driverInput: exogenousInput)
        columns = try Columns(rows: rows, width: 1, isLocked: loop.slots.model.isLocked)
        running = columns.next(false)
        for row in 0..<rows { loop.begin(row, count: -1) }
    }

    public var width: Int { loop.outputWidth }
    public var drawnWidth: Int { loop.sampleWidth }
    public var exogenousSize: Int { loop.driverWidth }
    private var exogenousInput: Int { loop.driverInput }
    /// Values of a primer's step.
    @export(interface)
    public func inputSize(_ index: Int) -> Int { loop.slots.inputSize(index) }
    @export(interface)
    public func isRunning(_ row: Int) -> Bool { loop.slots.isActive(row) }
    /// Steps handed out since the row's run began.
    @export(interface)
    public func length(_ row: Int) -> Int { loop.lengths[row] }
    @export(interface)
    public func reason(_ row: Int) -> StopReason { loop.reasons[row] }
    @export(interface)
    public func firedRule(_ row: Int) -> Int { loop.firedRules[row] }
    /// Steps of the model, all rows together.
    public var steps: UInt64 { loop.slots.steps }
    @export(interface)
    public func state(_ index: Int, row: Int) -> UnsafePointer<Float> { UnsafePointer(loop.slots.state(index, row: row)) }

    /// Back to the beginning.
    @export(interface)
    public func reset() {
        for row in 0..<rows { reset(row: row) }
    }

    @export(interface)
    public func reset(row: Int) {
        loop.reset(row)
        loop.begin(row, count: -1)
    }

    // MARK: Primer

    /// Feeds a prefix: for each input [rows][steps][size]. A row that has stopped goes on with a new run.
    ///
    /// - Parameter lengths: nil, or for each row how many of its steps count; 0 leaves the row as it is.
    @export(interface)
    public func prime(steps: Int, inputs: UnsafePointer<UnsafePointer<Float>?>, lengths: UnsafePointer<Int>? = nil) throws(Failure) {
        guard steps >= 0 else { throw Failure(.invalidArgument, "steps is \(steps), expected 0 or more") }
        try checkLengths(lengths, rows: rows, steps: steps)
        for index in model.inputs.indices {
            guard let values = inputs[index] else { throw Failure(.invalidArgument, "input \(index) ('\(model.inputs[index].name)') is NULL") }
            let size = loop.slots.inputSize(index)
            _ = try multiplied(steps, multiplied(rows, size))
            for row in 0..<rows {
                try loop.slots.checkIDs(index, values + row * steps * size, count: (lengths?[row] ?? steps) * size)
            }
        }
        for row in 0..<rows where lengths?[row] ?? steps > 0 && !loop.slots.isActive(row) { loop.begin(row, count: -1) }
        for row in 0..<rows { running[row] = loop.slots.isActive(row) }
        defer { for row in 0..<rows where running[row] { loop.activate(row) } }
        for step in 0..<steps {
            for row in 0..<rows where running[row] {
                if step < lengths?[row] ?? steps { loop.activate(row) } else { loop.park(row) }
            }
            for slot in 0..<loop.slots.active {
                let row = loop.slots.row(inSlot: slot)
                for index in model.inputs.indices {
                    let size = loop.slots.inputSize(index)
                    if let values = inputs[index] {
                        loop.slots.input(index, slot: slot).copy(from: values + (row * steps + step) * size, count: size)
                    }
                }
            }
            if loop.slots.active > 0 { try loop.prime() }
        }
    }

    // MARK: Steps

    /// Up to `steps` steps of every row that runs.
    ///
    /// - Parameters:
    ///   - exogenous: [rows][steps][exogenousSize], where there are such values.
    ///   - values: nil or [rows][steps][width]: zeros behind a row's end.
    ///   - drawn: nil or [rows][steps][drawnWidth].
    ///   - logs: nil or [rows][steps], log-probabilities of what was drawn.
    ///   - made: nil or [rows]: the steps of each row that were handed out here. Where a step fails, those before it.
    @export(interface)
    public func run(steps: Int, exogenous: UnsafePointer<Float>? = nil, values: UnsafeMutablePointer<Float>? = nil,
                    drawn: UnsafeMutablePointer<Float>? = nil, logs: UnsafeMutablePointer<Float>? = nil,
                    made: UnsafeMutablePointer<Int>? = nil) throws(Failure) {
        try check(steps, exogenous)
        let places = rows * steps
        values?.update(repeating: 0, count: places * width)
        drawn?.update(repeating: 0, count: places * drawnWidth)
        logs?.update(repeating: 0, count: places)
        made?.update(repeating: 0, count: rows)
        defer { drive(exogenous, steps, steps) }
        for step in 0..<steps where loop.slots.active > 0 {
            drive(exogenous, step, steps)
            try loop.step()
            for lane in 0..<loop.lanes where loop.isKept(lane: lane) {
                let row = loop.row(lane: lane), place = row * steps + step
                if let values { (values + place * width).copy(from: loop.lastOutput(options.output, row: row), count: width) }
                if let drawn { (drawn + place * drawnWidth).copy(from: loop.lastSample(row: row), count: drawnWidth) }
                logs?[place] = loop.sampler == nil ? 0 : loop.logs.floats[row]
                made?[row] += 1
            }
        }
    }

    private func check(_ steps: Int, _ exogenous: UnsafePointer<Float>?) throws(Failure) {
        guard steps >= 0 else { throw Failure(.invalidArgument, "steps is \(steps), expected 0 or more") }
        _ = try multiplied(steps, multiplied(rows, max(width, drawnWidth, exogenousSize)))
        guard steps == 0 || (exogenous != nil) == (exogenousSize > 0) else {
            throw Failure(.invalidArgument, "exogenous is \(exogenous == nil ? "" : "not ")NULL: the generator takes \(exogenousSize) values with each step")
        }
    }

    /// The values of a step from outside; without a step, zeros.
    private func drive(_ exogenous: UnsafePointer<Float>?, _ step: Int, _ steps: Int) {
        guard let exogenous, exogenousSize > 0 else { return }
        for row in 0..<rows {
            let place = loop.driver.floats + row * exogenousSize
            if step < steps {
                place.copy(from: exogenous + (row * steps + step) * exogenousSize, count: exogenousSize)
            } else {
                place.update(repeating: 0, count: exogenousSize)
            }
        }
    }

    // MARK: Score

    /// The log-probability of each step of a given continuation, which is fed instead of what would be drawn; the rows
    /// that run go on behind it. Stop rules are not asked.
    ///
    /// - Parameters:
    ///   - values: [rows][steps][drawnWidth].
    ///   - lengths: nil, or for each row how many of its steps count.
    ///   - logs: [rows][steps], zeros behind a row's end.
    @export(interface)
    public func score(steps: Int, values: UnsafePointer<Float>, lengths: UnsafePointer<Int>? = nil,
                      exogenous: UnsafePointer<Float>? = nil, logs: UnsafeMutablePointer<Float>) throws(Failure) {
        try check(steps, exogenous)
        guard let sampler = loop.sampler, options.feedback.source != .output else {
            throw Failure(.invalidArgument, "a score needs a sampler whose values are fed back")
        }
        try checkLengths(lengths, rows: rows, steps: steps)
        let width = sampler.width
        for row in 0..<rows {
            for step in 0..<(lengths?[row] ?? steps) * (sampler.options.kind == .categorical ? 1 : 0) {
                let value = values[row * steps + step]
                guard value >= 0, value < Float(sampler.count), value == value.rounded(.towardZero) else {
                    throw Failure(.invalidArgument, "row \(row), step \(step): the class is none of the \(sampler.count)")
                }
            }
        }
        for row in 0..<rows { running[row] = loop.slots.isActive(row) }
        defer { for row in 0..<rows where running[row] { loop.activate(row) } }
        logs.update(repeating: 0, count: rows * steps)
        defer { drive(exogenous, steps, steps) }
        for step in 0..<steps {
            for row in 0..<rows where running[row] {
                if step < lengths?[row] ?? steps && !loop.isWaiting(row) { loop.activate(row) } else { loop.park(row) }
            }
            drive(exogenous, step, steps)
            if loop.slots.active > 0 { try loop.feedAndPrime() }
            for row in 0..<rows where running[row] && step < lengths?[row] ?? steps {
                logs[row * steps + step] = try loop.score(values + (row * steps + step) * width, row: row, step: step)
            }
            for row in 0..<rows where running[row] && step < lengths?[row] ?? steps {
                loop.adopt(values + (row * steps + step) * width, row: row)
            }
        }
    }
}

// MARK: Snapshots

extension SelfFeeding: Archiving {
    private static let magic: UInt64 = 0x0001_4653_4E5A_4443 // "CDZNSF", version 1

    public func write(to archive: Archive) {
        archive.put(SelfFeeding.magic)
        archive.put(fingerprint)
        loop.write(to: archive)
        archive.seal()
    }

    private var fingerprint: UInt64 {
        var hash = Hash64()
        loop.combine(into: &hash)
        return hash.value
    }

    /// Goes on from a snapshot of a generator made alike. Changes nothing where it fails.
    @export(interface)
    public func restore(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
        try restore(bytes, magic: SelfFeeding.magic, fingerprint: fingerprint, what: "a self-feeding generator",
                    of: "a generator of another model, other options, batch or seeds") { (reader) throws(Failure) in try loop.read(from: reader) }
    }

    /// A generator of its own that goes on from here.
    @export(interface)
    public func fork() throws(Failure) -> SelfFeeding {
        let other = try SelfFeeding(model, rows: rows, options: options, exogenousSize: exogenousSize, exogenousInput: exogenousInput)
        try withSnapshot { (bytes) throws(Failure) in try other.restore(bytes) }
        return other
    }
}
