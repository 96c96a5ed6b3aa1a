import CSystem
import Engine

/// What of a step goes into the next one's input.
public struct FeedbackOptions {
    public enum Source: Int32, Sendable {
        case none = 0
        /// Values of an output.
        case output = 1
        /// The sampler's value: a class as its id, or drawn values.
        case sample = 2
    }

    public var source = Source.none
    public var output = 0
    /// Values of the source from `first` on; count 0: all the rest.
    public var first = 0
    public var count = 0
    /// Classes of the one-hot vector that a sampled class becomes; 0: it stays an id.
    public var oneHot = 0
    /// Stepped on the values so far, with a state of its own if it has states; its first output goes on.
    public var model: Model?
    /// Called on the values so far, gives `callbackWidth` values.
    public var callback: Callback?
    public var callbackWidth = 0
    /// The model's input that it goes to.
    public var input = 0
    /// Stands for the source's values before there are any; empty: zeros, and for a one-hot vector no class.
    public var start: [Float] = []

    public init() {}
}

/// What becomes of a step in which a stop rule fires.
public enum StoppingStep: Int32, Sendable {
    case keep = 0
    /// Its output is left out; its state stands.
    case drop = 1
    /// Its output is left out and the row's state is as before it.
    case undo = 2
}

/// How one model runs on.
public struct LoopOptions {
    /// The output that is handed out.
    public var output = 0
    public var feedback = FeedbackOptions()
    public var sampler = SamplerOptions()
    public var rules: [StopRule] = []
    /// The most steps of a run; 0: no limit.
    public var limit = 0
    /// Rules are not asked before this many steps.
    public var minimum = 0
    public var stoppingStep = StoppingStep.keep
    /// A seed for each row; empty: row r has seed r.
    public var seeds: [UInt64] = []

    public init() {}
}

/// A model that runs in steps, for rows that begin and end on their own: input from a driver, from its own last step
/// and from a loop below; sampler and stop rules.
///
/// A step either is made whole or leaves everything as it was.
final class Loop {
    let options: LoopOptions
    let slots: Slots
    let rows: Int
    let sampler: Sampler?
    private let rules: [BoundRule]
    private let kernels: UnsafePointer<cz_kernels>

    // What goes into the model's inputs.
    let driverWidth: Int
    let driverInput: Int
    /// [rows][driverWidth], written by whoever drives.
    let driver: AlignedBuffer
    let upwardWidth: Int
    private let upwardInput: Int
    /// [rows][upwardWidth], written by the loop below.
    let upward: AlignedBuffer
    private let sourceWidth: Int
    private let linkWidth: Int
    private let link: Slots?
    /// By lane: the source's values, one-hot vectors and the callback's answer.
    private let linkScratch: AlignedBuffer
    private let linkResult: AlignedBuffer
    private let linkStride: Int

    // By row.
    /// For each output [rows][size]: that of the row's last step.
    private let last: [AlignedBuffer]
    private let lastSample: AlignedBuffer
    /// Whether `last` is pending: its value has not been drawn and handed out.
    private let isPending: UnsafeMutablePointer<Bool>
    private let hasLast: UnsafeMutablePointer<Bool>
    private let randoms: UnsafeMutablePointer<Random>
    let lengths: UnsafeMutablePointer<Int>
    private let made: UnsafeMutablePointer<Int>
    let counts: UnsafeMutablePointer<Int>
    let reasons: UnsafeMutablePointer<StopReason>
    /// The number of the rule that ended the run.
    let firedRules: UnsafeMutablePointer<Int>
    let logs: AlignedBuffer

    // By lane: a row of the step that is being made.
    private(set) var lanes = 0
    private let laneRows: UnsafeMutablePointer<Int>
    private let waitingRows: UnsafeMutablePointer<Int>
    private let laneReasons: UnsafeMutablePointer<StopReason>
    private let laneRules: UnsafeMutablePointer<Int>
    private let laneRandoms: UnsafeMutablePointer<Random>
    private let laneSamples: AlignedBuffer
    private let laneLogs: AlignedBuffer
    private let columns: Columns
    private var computed = 0

    /// - Parameters:
    ///   - driverInput: the model's input that the driver's values go to.
    ///   - repeatsDriver: whether the driver's values stay the same for a run.
    ///   - upwardInput: likewise for the values of the loop below.
    init(_ model: Model, rows: Int, options: LoopOptions, driverWidth: Int, driverInput: Int = 0,
         repeatsDriver: Bool = false, upwardWidth: Int = 0, upwardInput: Int = 0) throws(Failure) {
        self.options = options
        self.rows = rows
        self.driverWidth = driverWidth
        self.driverInput = driverInput
        self.upwardWidth = upwardWidth
        // Nothing else goes where the driver fills the input.
        let isRepeated = repeatsDriver && model.inputs.indices.contains(driverInput) && model.inputs[driverInput].stepSize == driverWidth
        let slots = try Slots(model, rows: rows, repeated: isRepeated && driverWidth > 0 ? driverInput : nil)
        self.slots = slots
        kernels = slots.kernels
        _ = try outputSize(slots, options.output, "the generator")
        sampler = options.sampler.kind == .none ? nil : try Sampler(options.sampler, slots)
        var rules: [BoundRule] = []
        for rule in options.rules { rules.append(try BoundRule(rule, number: rules.count, slots, sampler)) }
        self.rules = rules
        guard options.limit >= 0, options.minimum >= 0 else { throw Failure(.invalidArgument, "limit and minimum must be 0 or more") }
        guard options.limit == 0 || options.minimum <= options.limit else {
            throw Failure(.invalidArgument, "the minimum of \(options.minimum) steps is above the limit of \(options.limit)")
        }
        guard options.seeds.isEmpty || options.seeds.count == rows else {
            throw Failure(.invalidArgument, "there are \(options.seeds.count) seeds for \(rows) rows")
        }

        // The link.
        let feedback = options.feedback
        var width = 0
        switch feedback.source {
        case .none: break
        case .output: width = try outputSize(slots, feedback.output, "the feedback")
        case .sample:
            guard let sampler else { throw Failure(.invalidArgument, "the feedback is the sampled value, but there is no sampler") }
            width = sampler.width
        }
        if feedback.source == .output {
            let whole = width
            guard feedback.first >= 0, feedback.count >= 0, feedback.first < whole, feedback.count <= whole - feedback.first else {
                throw Failure(.invalidArgument, "the feedback's values \(feedback.first) … are not within the \(whole) of the output")
            }
            width = feedback.count == 0 ? whole - feedback.first : feedback.count
        }
        sourceWidth = width
        guard feedback.start.isEmpty || feedback.start.count == width else {
            throw Failure(.invalidArgument, "the start has \(feedback.start.count) values, the feedback \(width)")
        }
        if feedback.oneHot != 0 {
            guard feedback.source == .sample, options.sampler.kind == .categorical || options.sampler.kind == .callback, width == 1,
                  feedback.oneHot >= 1, feedback.oneHot <= 1 << 24 else {
                throw Failure(.invalidArgument, "one-hot feedback is of one sampled class")
            }
            if let sampler, options.sampler.kind == .categorical, sampler.count > feedback.oneHot {
                throw Failure(.invalidArgument, "the sampler draws from \(sampler.count) classes, the one-hot vector has \(feedback.oneHot)")
            }
            width = feedback.oneHot
        }
        var widest = width
        if let model = feedback.model, feedback.source != .none {
            let link = try makeStep(model, rows: rows, inputs: width, "the feedback's model")
            self.link = link
            width = try outputSize(link, 0, "the feedback")
        } else {
            link = nil
        }
        if feedback.callback != nil && feedback.source != .none {
            guard feedback.callbackWidth >= 1, feedback.callbackWidth <= 1 << 20 else {
                throw Failure(.invalidArgument, "the feedback's callback needs a width of 1 or more")
            }
            width = feedback.callbackWidth
        }
        linkWidth = width
        widest = max(widest, width)
        linkStride = widest
        func memory(_ width: Int) throws(Failure) -> AlignedBuffer {
            try AlignedBuffer(count: multiplied(rows, max(1, width)), isLocked: model.isLocked)
        }
        linkScratch = try memory(widest)
        linkResult = try memory(widest)

        // Do the sources fill the inputs?
        var sizes = [Int](repeating: 0, count: model.inputs.count)
        for (who, input, size): (Literal, Int, Int) in [("what drives it", driverInput, driverWidth), ("its own feedback", feedback.input, width),
                                   ("what comes from below", upwardInput, upwardWidth)] where size > 0 {
            guard input >= 0, input < sizes.count else {
                throw Failure(.invalidArgument, "\(who) goes to input \(input) of a model that has \(sizes.count)")
            }
            sizes[input] += size
        }
        self.upwardInput = upwardInput
        for (index, size) in sizes.enumerated() where size != slots.inputSize(index) {
            throw Failure(.invalidArgument, "input '\(model.inputs[index].name)' takes \(slots.inputSize(index)) values, but \(size) go there: "
                + "\(driverWidth) that drive it, \(width) fed back, \(upwardWidth) from below")
        }

        driver = try memory(driverWidth)
        upward = try memory(upwardWidth)
        var last: [AlignedBuffer] = []
        for index in model.outputs.indices { last.append(try memory(slots.outputSize(index))) }
        self.last = last
        let sampleWidth = sampler?.width ?? 1
        lastSample = try memory(sampleWidth)
        laneSamples = try memory(sampleWidth)
        logs = try memory(1)
        laneLogs = try memory(1)
        columns = try Columns(rows: rows, width: 11 * 8 + 2 * MemoryLayout<Random>.stride, isLocked: model.isLocked)
        isPending = columns.next(false)
        hasLast = columns.next(false)
        randoms = columns.next(Random(seed: 0))
        laneRandoms = columns.next(Random(seed: 0))
        lengths = columns.next(0)
        made = columns.next(0)
        counts = columns.next(-1)
        reasons = columns.next(StopReason.none)
        firedRules = columns.next(0)
        laneRows = columns.next(0)
        waitingRows = columns.next(0)
        laneReasons = columns.next(StopReason.none)
        laneRules = columns.next(0)
        for row in 0..<rows { randoms[row] = random(row) }
    }

    /// A row's random numbers from a position on.
    private func random(_ row: Int, position: UInt64 = 0) -> Random {
        Random(seed: options.seeds.isEmpty ? UInt64(row) : options.seeds[row], position: position)
    }

    var sampleWidth: Int { sampler?.width ?? 0 }
    var outputWidth: Int { slots.outputSize(options.output) }

    // MARK: Rows

    /// Back to the beginning: zero states, nothing fed back; the random numbers too begin anew.
    func reset(_ row: Int) {
        slots.park(row)
        link?.park(row)
        forget(row)
        randoms[row] = random(row)
        sampler?.forget(row: row)
        (upward.floats + row &* upwardWidth).update(repeating: 0, count: upwardWidth)
        lengths[row] = 0
        made[row] = 0
        reasons[row] = .none
    }

    /// Zero states and nothing fed back.
    func forget(_ row: Int) {
        slots.reset(row)
        link?.reset(row)
        hasLast[row] = false
        isPending[row] = false
    }

    /// A run of a row begins. count: the steps that it shall make; −1: as rules and limit will have it.
    /// A run of no steps is over at once.
    func begin(_ row: Int, count: Int) {
        lengths[row] = 0
        made[row] = 0
        counts[row] = count
        reasons[row] = .none
        if count == 0 {
            reasons[row] = .count
        } else {
            activate(row)
        }
    }

    func activate(_ row: Int) {
        slots.activate(row)
        link?.activate(row)
    }

    func park(_ row: Int, undoing: Bool = false) {
        slots.park(row, undoing: undoing)
        link?.park(row, undoing: undoing)
    }

    // MARK: Primer

    /// One step of the active rows on inputs that are written already; what it answers waits to be drawn from.
    func prime() throws(Failure) {
        try slots.compute()
        slots.advance()
        for slot in 0..<slots.active {
            let row = slots.row(inSlot: slot)
            keepOutputs(slot: slot, row: row)
            isPending[row] = true
            hasLast[row] = true
        }
    }

    // MARK: Steps

    /// One step of all active rows: afterwards `lanes` rows have made one, see `row(lane:)`.
    func step() throws(Failure) {
        lanes = 0
        var waiting = 0
        // Rows whose last output waits need no step of the model: they leave their slots for this one.
        for slot in stride(from: slots.active - 1, through: 0, by: -1) {
            let row = slots.row(inSlot: slot)
            if isPending[row] {
                park(row)
                waitingRows[waiting] = row
                waiting += 1
            }
        }
        computed = slots.active
        for slot in 0..<computed { laneRows[slot] = slots.row(inSlot: slot) }
        for i in 0..<waiting { laneRows[computed + i] = waitingRows[i] }
        do throws(Failure) {
            try feed()
            if computed > 0 { try slots.compute() }
            lanes = computed + waiting
            try judge()
        } catch {
            lanes = 0
            for i in 0..<waiting {
                activate(waitingRows[i])
            }
            throw error
        }
        commit()
    }

    /// Writes the inputs of all active rows.
    private func feed() throws(Failure) {
        let active = slots.active
        if active == 0 { return }
        if options.feedback.source != .none { try runLink(active) }
        for slot in 0..<active {
            let row = slots.row(inSlot: slot)
            var offset = 0
            if driverWidth > 0 {
                slots.input(driverInput, slot: slot).copy(from: driver.floats + row &* driverWidth, count: driverWidth)
                offset = driverWidth
            }
            if linkWidth > 0 {
                let place = options.feedback.input == driverInput ? offset : 0
                (slots.input(options.feedback.input, slot: slot) + place).copy(from: linkResult.floats + slot &* linkStride, count: linkWidth)
            }
            if upwardWidth > 0 {
                let size = slots.inputSize(upwardInput)
                (slots.input(upwardInput, slot: slot) + (size &- upwardWidth)).copy(from: upward.floats + row &* upwardWidth, count: upwardWidth)
            }
        }
    }

    /// The fed-back values of all active rows, by slot, into `linkResult`.
    private func runLink(_ active: Int) throws(Failure) {
        let feedback = options.feedback
        for slot in 0..<active {
            let row = slots.row(inSlot: slot)
            let result = linkResult.floats + slot &* linkStride
            let source = linkScratch.floats + slot &* linkStride
            if !hasLast[row] {
                for i in 0..<sourceWidth { source[i] = feedback.start.isEmpty ? (feedback.oneHot > 0 ? -1 : 0) : feedback.start[i] }
            } else if feedback.source == .sample {
                source.copy(from: lastSample.floats + row &* sourceWidth, count: sourceWidth)
            } else {
                let size = slots.outputSize(feedback.output)
                source.copy(from: last[feedback.output].floats + (row &* size &+ feedback.first), count: sourceWidth)
            }
            if feedback.oneHot > 0 {
                let id = source[0]
                try require(id == -1 || (id >= 0 && id < Float(feedback.oneHot)), row, made[row], "\(id) is no class of the one-hot vector")
                result.update(repeating: 0, count: feedback.oneHot)
                if id >= 0 { result[Int(id)] = 1 }
            } else {
                result.copy(from: source, count: sourceWidth)
            }
            link?.input(0, slot: slot).copy(from: result, count: feedback.oneHot > 0 ? feedback.oneHot : sourceWidth)
        }
        if let link {
            try link.compute()
            for slot in 0..<active {
                (linkResult.floats + slot &* linkStride).copy(from: link.output(0, slot: slot), count: link.outputSize(0))
            }
        }
        if let callback = feedback.callback {
            let width = link?.outputSize(0) ?? (feedback.oneHot > 0 ? feedback.oneHot : sourceWidth)
            for slot in 0..<active {
                let row = slots.row(inSlot: slot)
                let source = linkScratch.floats + slot &* linkStride, result = linkResult.floats + slot &* linkStride
                source.copy(from: result, count: width)
                let status = callback(row, made[row], source, width, result)
                if status != 0 { throw failed("feedback callback", status, row, made[row]) }
                for i in 0..<linkWidth { try require(!result[i].isNaN, row, made[row], "NaN from the feedback callback") }
            }
        }
    }

    /// An output of a lane's step.
    private func output(_ index: Int, lane: Int) -> UnsafePointer<Float> {
        lane < computed ? UnsafePointer(slots.output(index, slot: lane))
            : UnsafePointer(last[index].floats + laneRows[lane] &* slots.outputSize(index))
    }

    private func value(_ quantity: Quantity, lane: Int) -> UnsafePointer<Float> {
        if !quantity.isState { return output(quantity.index, lane: lane) }
        return lane < computed ? UnsafePointer(slots.newState(quantity.index, slot: lane))
            : UnsafePointer(slots.state(quantity.index, row: laneRows[lane]))
    }

    /// Draws and asks the rules, for every lane; changes nothing but lanes.
    private func judge() throws(Failure) {
        for rule in rules { try rule.prepare(lanes: lanes) { value($0, lane: $1) } }
        for lane in 0..<lanes {
            let row = laneRows[lane]
            laneRandoms[lane] = randoms[row]
            var drawn: UnsafePointer<Float>?
            if let sampler {
                let sample = laneSamples.floats + lane &* sampler.width
                laneLogs.floats[lane] = try sampler.draw({ output($0, lane: lane) }, row: row, step: made[row],
                                                         random: &laneRandoms[lane], into: sample)
                drawn = UnsafePointer(sample)
            }
            let number = made[row] &+ 1
            laneReasons[lane] = .none
            if number >= options.minimum {
                for (index, rule) in rules.enumerated() {
                    if try rule.fires(lane: lane, row: row, step: made[row], value: { value($0, lane: $1) }, drawn: drawn,
                                      random: &laneRandoms[lane]) {
                        laneReasons[lane] = .rule
                        laneRules[lane] = index
                        break
                    }
                }
            }
            if laneReasons[lane] == .none {
                if counts[row] >= 0 && number >= counts[row] {
                    laneReasons[lane] = .count
                } else if options.limit > 0 && number >= options.limit {
                    laneReasons[lane] = .limit
                }
            }
        }
    }

    private func keepOutputs(slot: Int, row: Int) {
        for (index, buffer) in last.enumerated() {
            let size = slots.outputSize(index)
            (buffer.floats + row &* size).copy(from: slots.output(index, slot: slot), count: size)
        }
    }

    /// Makes the step's results the rows'.
    private func commit() {
        slots.advance()
        link?.advance()
        for lane in 0..<lanes {
            let row = laneRows[lane]
            let undone = isUndone(lane: lane)
            randoms[row] = laneRandoms[lane]
            made[row] &+= 1
            isPending[row] = false
            if !undone {
                if lane < computed { keepOutputs(slot: lane, row: row) }
                hasLast[row] = true
                if let sampler {
                    (lastSample.floats + row &* sampler.width).copy(from: laneSamples.floats + lane &* sampler.width, count: sampler.width)
                    sampler.remember(laneSamples.floats[lane &* sampler.width], row: row)
                }
            }
            logs.floats[row] = laneLogs.floats[lane]
            if isKept(lane: lane) { lengths[row] &+= 1 }
            reasons[row] = laneReasons[lane]
            firedRules[row] = laneRules[lane]
        }
        // Whoever is over leaves, once all outputs have been taken from the slots.
        for lane in 0..<lanes {
            let row = laneRows[lane]
            if lane < computed {
                if laneReasons[lane] != .none { park(row, undoing: isUndone(lane: lane)) }
            } else if laneReasons[lane] == .none {
                activate(row)
            }
        }
    }

    private func isUndone(lane: Int) -> Bool { laneReasons[lane] == .rule && options.stoppingStep == .undo }

    // MARK: What the last step gave

    func row(lane: Int) -> Int { laneRows[lane] }
    /// Whether the lane's output is handed out.
    func isKept(lane: Int) -> Bool { laneReasons[lane] != .rule || options.stoppingStep == .keep }
    /// Whether the row's run has ended with it.
    func isOver(lane: Int) -> Bool { laneReasons[lane] != .none }

    /// After a restore: lanes whose outputs have not been handed out.
    func setLanes(_ left: [(row: Int, kept: Bool)]) {
        lanes = left.count
        for (lane, entry) in left.enumerated() {
            laneRows[lane] = entry.row
            laneReasons[lane] = entry.kept ? .none : .rule
        }
    }

    func lastOutput(_ index: Int, row: Int) -> UnsafePointer<Float> {
        UnsafePointer(last[index].floats + row &* slots.outputSize(index))
    }
    func lastSample(row: Int) -> UnsafePointer<Float> { UnsafePointer(lastSample.floats + row &* (sampler?.width ?? 1)) }

    // MARK: Scores

    /// For a waiting row: the log-probability of a given value, which then counts as drawn.
    func score(_ value: UnsafePointer<Float>, row: Int, step: Int) throws(Failure) -> Float {
        guard let sampler else { throw Failure(.invalidArgument, "a score needs a sampler") }
        return try sampler.logProbability({ lastOutput($0, row: row) }, of: value, row: row, step: step)
    }

    /// Makes `value` the row's drawn value.
    func adopt(_ value: UnsafePointer<Float>, row: Int) {
        guard let sampler else { return }
        (lastSample.floats + row &* sampler.width).copy(from: value, count: sampler.width)
        hasLast[row] = true
        isPending[row] = false
    }

    /// One step of the active rows on what is fed back, without drawing; what it answers waits.
    func feedAndPrime() throws(Failure) {
        try feed()
        try slots.compute()
        slots.advance()
        link?.advance()
        for slot in 0..<slots.active {
            let row = slots.row(inSlot: slot)
            keepOutputs(slot: slot, row: row)
            isPending[row] = true
        }
    }

    /// Rows first ..< first + count, each in the slot of its own number, go on from others among them.
    func permute(first: Int, count: Int, sources: UnsafePointer<Int>) {
        slots.permute(first: first, count: count, sources: sources)
        link?.permute(first: first, count: count, sources: sources)
    }

    func isWaiting(_ row: Int) -> Bool { isPending[row] }

    // MARK: Snapshots

    func write(to archive: Archive) {
        slots.write(to: archive)
        link?.write(to: archive)
        sampler?.write(to: archive)
        for row in 0..<rows {
            for number in [isPending[row] ? 1 : 0, hasLast[row] ? 1 : 0, lengths[row], made[row], counts[row] + 1,
                           Int(reasons[row].rawValue), firedRules[row]] { archive.put(UInt64(number)) }
            archive.put(randoms[row].position)
            archive.put(driver.floats + row * driverWidth, count: driverWidth)
            archive.put(upward.floats + row * upwardWidth, count: upwardWidth)
            archive.put(lastSample.floats + row * sampleWidth, count: sampleWidth)
            archive.put(logs.floats + row, count: 1)
            for (index, buffer) in last.enumerated() {
                archive.put(buffer.floats + row * slots.outputSize(index), count: slots.outputSize(index))
            }
        }
    }

    func read(from archive: ArchiveReader) throws(Failure) {
        try slots.read(from: archive)
        if let link { try link.read(from: archive) }
        if let link, link.active != slots.active { throw Failure(.invalidFile, "the snapshot contradicts itself") }
        try sampler?.read(from: archive)
        let most = 1 << 48
        for row in 0..<rows {
            isPending[row] = try archive.next(below: 2) == 1
            hasLast[row] = try archive.next(below: 2) == 1
            lengths[row] = try archive.next(below: most)
            made[row] = try archive.next(below: most)
            counts[row] = try archive.next(below: most) - 1
            reasons[row] = StopReason(rawValue: Int32(try archive.next(below: 4))) ?? .none
            firedRules[row] = try archive.next(below: most)
            // What runs is not at its end.
            let isOver = options.limit > 0 && made[row] >= options.limit || counts[row] >= 0 && made[row] >= counts[row]
            guard lengths[row] <= made[row], !(isOver && slots.isActive(row)) else {
                throw Failure(.invalidFile, "the snapshot contradicts itself")
            }
            randoms[row] = random(row, position: try archive.next())
            try archive.next(driver.floats + row * driverWidth, count: driverWidth)
            try archive.next(upward.floats + row * upwardWidth, count: upwardWidth)
            try archive.next(lastSample.floats + row * sampleWidth, count: sampleWidth)
            try archive.next(logs.floats + row, count: 1)
            for (index, buffer) in last.enumerated() {
                try archive.next(buffer.floats + row * slots.outputSize(index), count: slots.outputSize(index))
            }
        }
    }

    /// What two loops must share for a snapshot of one to go on in the other.
    func combine(into hash: inout Hash64) {
        hash.combine(slots.model.fingerprint)
        hash.combine(rows)
        let feedback = options.feedback, sampling = options.sampler
        for number in [driverWidth, upwardWidth, sampleWidth, linkWidth, Int(feedback.source.rawValue), feedback.output, feedback.first,
                       feedback.count, feedback.oneHot, Int(sampling.kind.rawValue), sampling.output, sampling.topK,
                       sampling.components, options.limit, options.minimum, Int(options.stoppingStep.rawValue), options.rules.count] {
            hash.combine(number)
        }
        for number in [sampling.temperature, sampling.topP, sampling.minP, sampling.repetitionPenalty, sampling.sigma ?? -1] {
            hash.combine(UInt64(number.bitPattern))
        }
        for number in [options.output, driverInput, upwardInput, feedback.input, sampling.varianceOutput ?? -1,
                       sampling.fromProbabilities ? 1 : 0] + sampling.forbidden { hash.combine(number) }
        for value in sampling.bias + feedback.start { hash.combine(UInt64(value.bitPattern)) }
        if let model = feedback.model { hash.combine(model.fingerprint) }
        for rule in options.rules {
            hash.combine(Int(rule.kind.rawValue))
            hash.combine(UInt64(rule.threshold.bitPattern))
            for number in [rule.token, rule.quantity.isState ? 1 : 0, rule.quantity.index, rule.quantity.element,
                           rule.fromProbabilities ? 1 : 0] { hash.combine(number) }
            if let model = rule.through { hash.combine(model.fingerprint) }
        }
        for seed in options.seeds { hash.combine(seed) }
    }
}

/// For each row, how many of its steps count: nil is all.
func checkLengths(_ lengths: UnsafePointer<Int>?, rows: Int, steps: Int) throws(Failure) {
    guard let lengths else { return }
    for row in 0..<rows where lengths[row] < 0 || lengths[row] > steps {
        throw Failure(.invalidArgument, "row \(row) has \(lengths[row]) of \(steps) steps")
    }
}
