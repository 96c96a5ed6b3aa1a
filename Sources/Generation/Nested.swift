import Engine

/// One model of a nested generator, below the first.
public struct LevelOptions {
    public enum Drive: Int32, Sendable {
        /// What drives it is each inner step's input.
        case input = 0
        /// It only gives the initial state.
        case state = 1
    }

    public enum StatePolicy: Int32, Sendable {
        /// A run goes on from the state and the output of the row's run before.
        case carry = 0
        /// Each run begins from zero.
        case reset = 1
        /// Each run begins from the state that what drives it gives, through a model where there is one.
        case given = 2
    }

    public var loop = LoopOptions()
    /// The output of the model above that drives this one.
    public var driverOutput = 0
    public var drive = Drive.input
    public var driverInput = 0
    public var policy = StatePolicy.carry
    /// Turns what drives it into all its states, one after another (h, c, …): a Dense, say; it has no states itself.
    public var initialState: Model?
    /// The number of steps comes from outside: with the samples for the second level, from `counts` below that.
    public var isCounted = false
    /// Steps by the step of the model above, for levels below the second.
    public var counts: [Int] = []
    /// What goes up into the next input of the model above.
    public var upward = Upward.none
    public var upwardIndex = 0
    /// The input of the model above that it goes to.
    public var upwardInput = 0

    public enum Upward: Int32, Sendable {
        case none = 0
        /// The last step's output `upwardIndex`.
        case output = 1
        /// The last sampled value.
        case sample = 2
        /// The state `upwardIndex`.
        case state = 3
    }

    @export(interface)
    public init() {}
}

/// One value of a nested generator, with where it belongs.
public struct NestedItem {
    public var row = 0
    /// The row's sample, counted from 0.
    public var outer = 0
    /// The step within the run that it belongs to, counted from 0.
    public var inner = 0
    /// The step of the run above that: the same as `outer` for two levels.
    public var middle = 0
    /// Its log-probability, where it was sampled.
    public var logProbability: Float = 0

    @export(interface)
    public init() {}
}

/// Models one below the other: each step of one drives a run of the next, of as many steps as that takes. The first
/// is driven by samples from outside; the last one's outputs are the generator's.
///
/// `push` gives samples, `pull` makes values of them as far as its buffer reaches, in the middle of a run too.
public final class Nested {
    public let rows: Int
    public let levels: Int
    private let loops: [Loop]
    private let options: [LevelOptions]
    private let heads: [Slots?]

    // Samples that wait.
    private var samples: AlignedBuffer
    private var sampleCounts: [Int] = []
    private var waiting = 0
    private var taken = 0
    private var hasCounts = false

    /// The level that steps next.
    private var depth = 0
    /// Lanes of the last level's last step that have been handed out.
    private var delivered = 0
    /// By row.
    private let outer: UnsafeMutablePointer<Int>
    private let cuts: UnsafeMutablePointer<UInt64>
    private let columns: Columns
    private var collector: Collector?

    /// - Parameters:
    ///   - first: the model that reads the samples; of its options what concerns runs has no meaning.
    ///   - below: the models below it, in their order.
    @export(interface)
    public init(_ first: Model, firstOptions: LoopOptions = LoopOptions(), below: [(model: Model, options: LevelOptions)], rows: Int) throws(Failure) {
        guard !below.isEmpty, below.count <= 16 else { throw Failure(.invalidArgument, "a nested generator has 1 to 16 models below the first, not \(below.count)") }
        guard rows >= 1 else { throw Failure(.invalidArgument, "the batch is \(rows), expected 1 or more") }
        guard first.inputs.count >= 1 else { throw Failure(.invalidArgument, "the first model has no input") }
        self.rows = rows
        levels = below.count + 1
        options = below.map { $0.options }
        var firstOptions = firstOptions
        firstOptions.rules = []
        firstOptions.limit = 1
        firstOptions.minimum = 0
        // From the last level up: a loop must know how much comes from below it.
        var loops: [Loop] = []
        var heads: [Slots?] = []
        var widths: [Int] = []
        var model = first
        for (index, level) in below.enumerated() {
            let size = try Nested.outputSize(model, level.options.driverOutput, level: index)
            widths.append(size)
            model = level.model
        }
        var upwardWidth = 0, upwardInput = 0
        for index in stride(from: below.count - 1, through: 0, by: -1) {
            let level = below[index].options
            try Nested.check(level, level: index + 1)
            let loop = try Loop(below[index].model, rows: rows, options: level.loop, driverWidth: level.drive == .input ? widths[index] : 0,
                                driverInput: level.driverInput, repeatsDriver: true, upwardWidth: upwardWidth, upwardInput: upwardInput)
            loops.insert(loop, at: 0)
            heads.insert(try Nested.head(level, loop, width: widths[index], level: index + 1), at: 0)
            upwardWidth = try Nested.upwardWidth(level, loop, level: index + 1)
            upwardInput = level.upwardInput
        }
        var driverWidth = first.inputs[0].stepSize - (upwardInput == 0 ? upwardWidth : 0)
        if firstOptions.feedback.source != .none {
            throw Failure(.unsupported, "the first model feeds on samples and on what comes from below, not on its own output")
        }
        driverWidth = max(0, driverWidth)
        guard driverWidth >= 1 else { throw Failure(.invalidArgument, "nothing of the first model's input is left for the samples") }
        loops.insert(try Loop(first, rows: rows, options: firstOptions, driverWidth: driverWidth, upwardWidth: upwardWidth,
                              upwardInput: upwardInput), at: 0)
        self.loops = loops
        self.heads = heads
        for (index, level) in below.enumerated() where level.options.isCounted && index > 0 {
            let above = below[index - 1].options.loop.limit
            guard above > 0, level.options.counts.count >= above else {
                throw Failure(.invalidArgument, "level \(index + 1) has \(level.options.counts.count) counts for the steps of a run above it, expected as many as that run's limit (\(above))")
            }
        }
        samples = try AlignedBuffer(count: multiplied(rows, driverWidth), isLocked: first.isLocked)
        sampleCounts = [Int](repeating: -1, count: rows)
        columns = try Columns(rows: rows, width: 16, isLocked: first.isLocked)
        outer = columns.next(0)
        cuts = columns.next(0)
    }

    private static func outputSize(_ model: Model, _ index: Int, level: Int) throws(Failure) -> Int {
        guard index >= 0, index < model.outputs.count else {
            throw Failure(.invalidArgument, "level \(level + 1) is driven by output \(index) of a model that has \(model.outputs.count)")
        }
        return model.outputs[index].stepSize
    }

    private static func check(_ options: LevelOptions, level: Int) throws(Failure) {
        let loop = options.loop
        guard options.isCounted || loop.limit > 0 || !loop.rules.isEmpty else {
            throw Failure(.invalidArgument, "nothing ends the runs of level \(level): give counts, a limit or a stop rule")
        }
        for count in options.counts where count < 0 { throw Failure(.invalidArgument, "level \(level) has the count \(count), expected 0 or more") }
        guard options.drive == .input || options.policy == .given else {
            throw Failure(.invalidArgument, "what drives level \(level) goes neither into its input nor into its state")
        }
        guard options.initialState == nil || options.policy == .given else {
            throw Failure(.invalidArgument, "level \(level) has a model for its initial state, but does not begin from it")
        }
    }

    private static func head(_ options: LevelOptions, _ loop: Loop, width: Int, level: Int) throws(Failure) -> Slots? {
        guard options.policy == .given else { return nil }
        var states = 0
        for state in loop.slots.model.shownStates { states += state.slot.units }
        var head: Slots?
        var given = width
        if let model = options.initialState {
            let made = try makeHead(model, rows: 1, inputs: width, "the initial state's model of level \(level)")
            guard !made.takesIDs else { throw Failure(.unsupported, "the initial state's model of level \(level) begins with an Embedding") }
            given = made.outputSize(0)
            head = made
        }
        guard given == states, states > 0 else {
            throw Failure(.invalidArgument, "the states of level \(level) are \(states) values, it is given \(given)")
        }
        return head
    }

    private static func upwardWidth(_ options: LevelOptions, _ loop: Loop, level: Int) throws(Failure) -> Int {
        switch options.upward {
        case .none: return 0
        case .output:
            return try Generation.outputSize(loop.slots, options.upwardIndex, "the feedback to the model above")
        case .sample:
            guard loop.sampleWidth > 0 else { throw Failure(.invalidArgument, "level \(level) has no sampler to feed the model above from") }
            return loop.sampleWidth
        case .state:
            let states = loop.slots.model.shownStates
            guard options.upwardIndex >= 0, options.upwardIndex < states.count else {
                throw Failure(.invalidArgument, "level \(level) has no state \(options.upwardIndex)")
            }
            return states[options.upwardIndex].slot.units
        }
    }

    // MARK: Sizes

    /// Floats of one sample, of the values, of the sampled values.
    public var sampleSize: Int { loops[0].driverWidth }
    public var width: Int { loops[levels - 1].outputWidth }
    public var drawnWidth: Int { loops[levels - 1].sampleWidth }
    /// Steps that a level has made, all rows together, those left out included.
    @export(interface)
    public func steps(level: Int) -> UInt64 { loops[level].slots.steps }
    /// Samples that wait.
    public var pending: Int { waiting - taken }
    /// Runs of the row that a limit has cut.
    @export(interface)
    public func cuts(row: Int) -> UInt64 { cuts[row] }
    /// Of the row's last run, or the one that it is in: values so far, and what ended it.
    @export(interface)
    public func length(row: Int, level: Int) -> Int { loops[level].lengths[row] }
    @export(interface)
    public func reason(row: Int, level: Int) -> StopReason { loops[level].reasons[row] }
    @export(interface)
    public func isRunning(row: Int, level: Int) -> Bool { loops[level].slots.isActive(row) }
    @export(interface)
    public func firedRule(row: Int, level: Int) -> Int { loops[level].firedRules[row] }
    /// A level's states, for looking at.
    @export(interface)
    public func state(_ index: Int, row: Int, level: Int) -> UnsafePointer<Float> { UnsafePointer(loops[level].slots.state(index, row: row)) }
    @export(interface)
    public func model(level: Int) -> Model { loops[level].slots.model }

    /// All rows back to the beginning; samples that wait are dropped.
    @export(interface)
    public func reset() {
        for row in 0..<rows { reset(row: row) }
        loops[levels - 1].setLanes([])
        waiting = 0
        taken = 0
        depth = 0
        delivered = 0
        collector = nil
    }

    private func reset(row: Int) {
        for loop in loops { loop.reset(row) }
        outer[row] = 0
        cuts[row] = 0
    }

    // MARK: Samples in

    /// Samples for all rows: [rows][steps][sampleSize]. Those that wait still come first.
    ///
    /// - Parameters:
    ///   - lengths: nil, or for each row how many of its samples count, at most `steps`.
    ///   - counts: the second level's steps where it is counted: [steps], or with `perRow` [rows][steps].
    @export(interface)
    public func push(steps: Int, _ given: UnsafePointer<Float>, lengths: UnsafePointer<Int>? = nil,
                     counts: UnsafePointer<Int>? = nil, perRow: Bool = false) throws(Failure) {
        guard steps >= 0 else { throw Failure(.invalidArgument, "steps is \(steps), expected 0 or more") }
        let size = sampleSize
        _ = try multiplied(steps, multiplied(rows, size))
        if options[0].isCounted {
            guard counts != nil || steps == 0 else { throw Failure(.invalidArgument, "the generator's steps are counted: counts are needed with the samples") }
        } else if counts != nil {
            throw Failure(.invalidArgument, "counts are given to a generator that is not counted")
        }
        if let counts {
            for i in 0..<(perRow ? rows * steps : steps) where counts[i] < 0 || counts[i] > 1 << 32 {
                throw Failure(.invalidArgument, "count \(i) is \(counts[i]), expected 0 to 2^32")
            }
        }
        try checkLengths(lengths, rows: rows, steps: steps)
        try makeRoom(for: steps)
        for step in 0..<steps {
            let place = waiting
            for row in 0..<rows {
                (samples.floats + (place * rows + row) * size).copy(from: given + (row * steps + step) * size, count: size)
                // −2: no sample.
                sampleCounts[place * rows + row] = lengths.map { step < $0[row] } ?? true
                    ? (counts.map { perRow ? $0[row * steps + step] : $0[step] } ?? -1) : -2
            }
            waiting += 1
        }
    }

    private func makeRoom(for steps: Int) throws(Failure) {
        let size = rows * sampleSize
        if taken > 0 {
            for i in 0..<((waiting - taken) * size) { samples.floats[i] = samples.floats[taken * size + i] }
            for i in 0..<((waiting - taken) * rows) { sampleCounts[i] = sampleCounts[taken * rows + i] }
            waiting -= taken
            taken = 0
        }
        let needed = try multiplied(waiting + steps, size)
        if needed > samples.count {
            let larger = try AlignedBuffer(count: needed, isLocked: loops[0].slots.model.isLocked)
            larger.floats.copy(from: samples.floats, count: waiting * size)
            samples = larger
        }
        while sampleCounts.count < (waiting + steps) * rows { sampleCounts.append(-1) }
    }

    // MARK: Values out

    /// At most `capacity` values, made of the samples that wait: values [capacity][width], drawn [capacity][drawnWidth],
    /// each nil where not wanted; `items` is told where each belongs. Returns how many there are; fewer than `capacity` means that all
    /// samples are used up.
    ///
    /// What fails leaves everything as it was before the step that failed; values made before it are returned first, and
    /// the failure comes with the next call.
    @export(interface)
    public func pull(capacity: Int, values: UnsafeMutablePointer<Float>?, drawn: UnsafeMutablePointer<Float>? = nil,
                     items: (_ place: Int, _ item: NestedItem) -> Void = { _, _ in }) throws(Failure) -> Int {
        guard capacity >= 0 else { throw Failure(.invalidArgument, "capacity is \(capacity), expected 0 or more") }
        let loop = loops[levels - 1]
        var count = 0
        while count < capacity {
            if delivered < loop.lanes {
                let lane = delivered
                delivered += 1
                guard loop.isKept(lane: lane) else { continue }
                let row = loop.row(lane: lane)
                if let values { (values + count * width).copy(from: loop.lastOutput(loop.options.output, row: row), count: width) }
                if let drawn { (drawn + count * drawnWidth).copy(from: loop.lastSample(row: row), count: drawnWidth) }
                items(count, item(row))
                count += 1
                continue
            }
            do throws(Failure) {
                guard try advance() else { break }
            } catch {
                if count > 0 { break }
                throw error
            }
        }
        return count
    }

    private func item(_ row: Int) -> NestedItem {
        let loop = loops[levels - 1]
        var item = NestedItem()
        item.row = row
        item.outer = outer[row] - 1
        item.inner = loop.lengths[row] - 1
        item.middle = levels == 2 ? item.outer : loops[levels - 2].lengths[row] - 1
        item.logProbability = loop.sampler == nil ? 0 : loop.logs.floats[row]
        return item
    }

    /// One step of one level. False where there is nothing to do.
    private func advance() throws(Failure) -> Bool {
        let last = levels - 1
        while depth > 0 && loops[depth].slots.active == 0 { depth -= 1 }
        if depth == 0 {
            guard taken < waiting else { return false }
            try stepFirst()
            depth = 1
            return true
        }
        let loop = loops[depth]
        try loop.step()
        for lane in 0..<loop.lanes {
            let row = loop.row(lane: lane)
            if depth < last {
                if loop.isKept(lane: lane) { try begin(level: depth + 1, row, index: loop.lengths[row] - 1) }
            } else if let collector, loop.isKept(lane: lane) {
                collector.add(row, loop.lastOutput(loop.options.output, row: row), width,
                              drawnWidth > 0 ? loop.lastSample(row: row) : nil, drawnWidth, loop.logs.floats[row])
            }
            if loop.isOver(lane: lane) { finish(level: depth, row) }
        }
        if depth < last { depth += 1 } else { delivered = 0 }
        return true
    }

    /// The first model's step on the next sample of each row, and what begins with it.
    private func stepFirst() throws(Failure) {
        let loop = loops[0], size = sampleSize
        for row in 0..<rows where sampleCounts[taken * rows + row] != -2 {
            (loop.driver.floats + row * size).copy(from: samples.floats + (taken * rows + row) * size, count: size)
            loop.begin(row, count: -1)
        }
        do throws(Failure) {
            try loop.step()
        } catch {
            for row in 0..<rows { loop.park(row) }
            throw error
        }
        taken += 1
        for lane in 0..<loop.lanes {
            let row = loop.row(lane: lane)
            outer[row] += 1
            try begin(level: 1, row, index: -1)
        }
        if let collector {
            for row in 0..<rows where sampleCounts[(taken - 1) * rows + row] == -2 { collector.end(1, row, 0, .none, 0) }
        }
    }

    /// A row's run at a level begins with the step that the level above has just made.
    private func begin(level: Int, _ row: Int, index: Int) throws(Failure) {
        let loop = loops[level], options = options[level - 1]
        let source = loops[level - 1].lastOutput(options.driverOutput, row: row)
        if loop.driverWidth > 0 { (loop.driver.floats + row * loop.driverWidth).copy(from: source, count: loop.driverWidth) }
        let count = !options.isCounted ? -1 : level == 1 ? sampleCounts[(taken - 1) * rows + row] : options.counts[index]
        if count != 0 && options.policy != .carry {
            loop.forget(row)
            if options.policy == .given {
                if let head = heads[level - 1] {
                    head.input(0, slot: 0).copy(from: source, count: head.inputSize(0))
                    try head.compute(first: 1)
                    loop.slots.setStates(row, UnsafePointer(head.output(0, slot: 0)))
                } else {
                    loop.slots.setStates(row, source)
                }
            }
        }
        loop.begin(row, count: count)
        if count == 0 { finish(level: level, row) }
    }

    private func finish(level: Int, _ row: Int) {
        let loop = loops[level], options = options[level - 1]
        if loop.reasons[row] == .limit { cuts[row] &+= 1 }
        // A run whose every step was undone gives nothing up.
        if loop.lengths[row] > 0 || loop.reasons[row] == .rule && options.loop.stoppingStep == .drop {
            let place = loops[level - 1].upward.floats + row * loops[level - 1].upwardWidth
            switch options.upward {
            case .none: break
            case .output: place.copy(from: loop.lastOutput(options.upwardIndex, row: row), count: loops[level - 1].upwardWidth)
            case .sample: place.copy(from: loop.lastSample(row: row), count: loops[level - 1].upwardWidth)
            case .state: place.copy(from: loop.slots.state(options.upwardIndex, row: row), count: loops[level - 1].upwardWidth)
            }
        }
        collector?.end(level, row, loop.lengths[row], loop.reasons[row], loop.firedRules[row])
    }

    // MARK: Whole series

    /// Uses up all samples and gathers what comes of them. After a failure `gathered` has what was made before it,
    /// and the samples that are left still wait.
    @export(interface)
    public func run() throws(Failure) {
        var isWithin = delivered < loops[levels - 1].lanes
        for loop in loops where loop.slots.active > 0 { isWithin = true }
        guard !isWithin else {
            throw Failure(.invalidArgument, "a run gathers whole outer steps: pull what is left of the one that has begun")
        }
        let collector = Collector(rows: rows, levels: levels)
        self.collector = collector
        defer {
            // After a failure: runs that are not over.
            for level in 1..<levels {
                for row in 0..<rows where loops[level].slots.isActive(row) { collector.end(level, row, loops[level].lengths[row], .none, 0) }
            }
            self.collector = nil
            finished = collector
            result = nil
            delivered = loops[levels - 1].lanes
        }
        while try advance() {}
    }

    private var finished: Collector?
    private var result: NestedResult?

    /// What the last `run` made. Rows stopped in the middle of a run have what was made of it.
    @export(interface)
    public func gathered() throws(Failure) -> NestedResult {
        if let result { return result }
        let made = try (finished ?? Collector(rows: rows, levels: levels)).result(width: width, drawnWidth: drawnWidth)
        result = made
        finished = nil
        return made
    }
}

/// What a run of a nested generator made.
public final class NestedResult {
    /// Series by (row, outer step), row after row; for more than two levels split further.
    public let outputs: Ragged
    /// The sampled values with the same splits; nil without a sampler.
    public let drawn: Ragged?
    /// Of each sampled value; likewise.
    public let logProbabilities: Ragged?
    /// For each level below the first what ended each run, in the order of the splits.
    public let reasons: [[StopReason]]
    /// And the rule's number.
    public let rules: [[Int]]

    init(outputs: Ragged, drawn: Ragged?, logProbabilities: Ragged?, reasons: [[StopReason]], rules: [[Int]]) {
        self.outputs = outputs
        self.drawn = drawn
        self.logProbabilities = logProbabilities
        self.reasons = reasons
        self.rules = rules
    }
}

/// Gathers values row by row.
private final class Collector {
    private let rows: Int
    private let levels: Int
    private var values: [[Float]]
    private var drawn: [[Float]]
    private var logs: [[Float]]
    /// By level below the first, then by row.
    private var lengths: [[[Int]]]
    private var reasons: [[[StopReason]]]
    private var rules: [[[Int]]]

    init(rows: Int, levels: Int) {
        self.rows = rows
        self.levels = levels
        values = Array(repeating: [], count: rows)
        drawn = Array(repeating: [], count: rows)
        logs = Array(repeating: [], count: rows)
        lengths = Array(repeating: Array(repeating: [], count: rows), count: levels - 1)
        reasons = Array(repeating: Array(repeating: [], count: rows), count: levels - 1)
        rules = Array(repeating: Array(repeating: [], count: rows), count: levels - 1)
    }

    func add(_ row: Int, _ value: UnsafePointer<Float>, _ width: Int, _ sample: UnsafePointer<Float>?, _ drawnWidth: Int, _ log: Float) {
        values[row].append(contentsOf: UnsafeBufferPointer(start: value, count: width))
        if let sample {
            drawn[row].append(contentsOf: UnsafeBufferPointer(start: sample, count: drawnWidth))
            logs[row].append(log)
        }
    }

    func end(_ level: Int, _ row: Int, _ length: Int, _ reason: StopReason, _ rule: Int) {
        lengths[level - 1][row].append(length)
        reasons[level - 1][row].append(reason)
        rules[level - 1][row].append(rule)
    }

    func result(width: Int, drawnWidth: Int) throws(Failure) -> NestedResult {
        var allValues: [Float] = [], allDrawn: [Float] = [], allLogs: [Float] = []
        for row in 0..<rows {
            allValues += values[row]
            allDrawn += drawn[row]
            allLogs += logs[row]
        }
        var splits: [[Int]] = [], allReasons: [[StopReason]] = [], allRules: [[Int]] = []
        for level in 0..<(levels - 1) {
            var offsets = [0], levelReasons: [StopReason] = [], levelRules: [Int] = []
            for row in 0..<rows {
                for length in lengths[level][row] { offsets.append(offsets[offsets.count - 1] + length) }
                levelReasons += reasons[level][row]
                levelRules += rules[level][row]
            }
            splits.append(offsets)
            allReasons.append(levelReasons)
            allRules.append(levelRules)
        }
        return NestedResult(outputs: try Ragged(width: width, splits: splits, values: allValues),
                            drawn: drawnWidth > 0 ? try Ragged(width: drawnWidth, splits: splits, values: allDrawn) : nil,
                            logProbabilities: drawnWidth > 0 ? try Ragged(width: 1, splits: splits, values: allLogs) : nil,
                            reasons: allReasons, rules: allRules)
    }
}

// MARK: Snapshots

extension Nested: Archiving {
    private static let magic: UInt64 = 0x0001_5453_4E5A_4443 // "CDZNST", version 1

    public func write(to archive: Archive) {
        archive.put(Nested.magic)
        archive.put(fingerprint)
        archive.put(UInt64(waiting - taken))
        let size = rows * sampleSize
        archive.put(samples.floats + taken * size, count: (waiting - taken) * size)
        // The counts of the sample that is being worked on are needed no more.
        for i in (taken * rows)..<(waiting * rows) { archive.put(UInt64(sampleCounts[i] + 2)) }
        archive.put(UInt64(depth))
        for row in 0..<rows {
            archive.put(UInt64(outer[row]))
            archive.put(cuts[row])
        }
        let loop = loops[levels - 1]
        archive.put(UInt64(max(0, loop.lanes - delivered)))
        for lane in min(delivered, loop.lanes)..<loop.lanes {
            archive.put(UInt64(loop.row(lane: lane)))
            archive.put(loop.isKept(lane: lane) ? 1 : 0)
        }
        for loop in loops { loop.write(to: archive) }
        archive.seal()
    }

    private var fingerprint: UInt64 {
        var hash = Hash64()
        for loop in loops { loop.combine(into: &hash) }
        for level in options {
            for number in [level.driverOutput, Int(level.drive.rawValue), Int(level.policy.rawValue), level.isCounted ? 1 : 0,
                           Int(level.upward.rawValue), level.upwardIndex] { hash.combine(number) }
            for count in level.counts { hash.combine(count) }
            if let model = level.initialState { hash.combine(model.fingerprint) }
        }
        return hash.value
    }

    /// Goes on from a snapshot of a generator made alike. Changes nothing where it fails.
    @export(interface)
    public func restore(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
        try restore(bytes, magic: Nested.magic, fingerprint: fingerprint, what: "a nested generator",
                    of: "a generator of other models, options, batch or seeds") { (reader) throws(Failure) in try read(reader) }
    }

    private func read(_ reader: ArchiveReader) throws(Failure) {
        let size = rows * sampleSize
        let count = try reader.next(below: reader.left / (4 * size) + 1)
        waiting = 0
        taken = 0
        try makeRoom(for: count)
        try reader.next(samples.floats, count: count * size)
        for i in 0..<(count * rows) {
            sampleCounts[i] = try reader.next(below: 1 << 33) - 2
            guard sampleCounts[i] == -2 || options[0].isCounted == (sampleCounts[i] >= 0) else {
                throw Failure(.invalidFile, "the snapshot contradicts itself")
            }
        }
        waiting = count
        depth = try reader.next(below: levels)
        for row in 0..<rows {
            outer[row] = try reader.next(below: 1 << 48)
            cuts[row] = try reader.next()
        }
        let lanes = try reader.next(below: rows + 1)
        var left: [(row: Int, kept: Bool)] = []
        for _ in 0..<lanes { left.append((try reader.next(below: rows), try reader.next(below: 2) == 1)) }
        for (level, loop) in loops.enumerated() {
            try loop.read(from: reader)
            for row in 0..<rows where loop.slots.isActive(row) && level > 0 && options[level - 1].isCounted != (loop.counts[row] >= 0) {
                throw Failure(.invalidFile, "the snapshot contradicts itself")
            }
        }
        loops[levels - 1].setLanes(left)
        delivered = 0
    }

    /// A generator of its own that goes on from here.
    @export(interface)
    public func fork() throws(Failure) -> Nested {
        var below: [(model: Model, options: LevelOptions)] = []
        for (index, level) in options.enumerated() { below.append((loops[index + 1].slots.model, level)) }
        let other = try Nested(loops[0].slots.model, firstOptions: loops[0].options, below: below, rows: rows)
        try withSnapshot { (bytes) throws(Failure) in try other.restore(bytes) }
        return other
    }
}
