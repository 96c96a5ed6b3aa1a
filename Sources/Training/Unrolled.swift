import CSystem
import Engine
import Generation

/// What goes from a step into the next one, and what of a run is kept.
public struct UnrolledOptions {
    public enum Choice: Int32, Sendable {
        /// The values as they are.
        case none = 0
        /// The largest.
        case largest = 1
        case drawn = 2
    }

    /// Values `first ..< first + count` of an output go back in; 0: the rest.
    public var first = 0
    public var count = 0
    public var choice = Choice.none
    /// What is drawn from is probabilities, not logits.
    public var fromProbabilities = false
    /// A choice goes in as the class's number, not as a one-hot row.
    public var asNumber = false
    /// The gradient goes on through a choice as if it were the values themselves.
    public var isStraightThrough = false
    /// Of the model below.
    public var policy = LevelOptions.StatePolicy.carry
    public var feedsBack = false
    public var feedsUpward = false
    /// Whether the gradients of the states after each step are kept.
    public var keepsStateGradients = false

    @export(interface)
    public init() {}
}

/// What a run works on. Pointers are borrowed.
public struct UnrolledBatch {
    public var batch = 0
    public var steps = 0
    public var x: UnsafePointer<Float>?
    /// nil, or for each state nil (zeros) or [batch][units]: of the first model, then of the one below.
    public var states: UnsafePointer<UnsafePointer<Float>?>?
    /// Answers of a model that feeds itself.
    public var outputs = 0
    public var targets: UnsafePointer<Float>?
    /// [outputs]: how likely a row's step is fed its target; or [batch][outputs] which are.
    public var teacherForcing: UnsafePointer<Float>?
    public var taught: UnsafePointer<UInt8>?
    /// [steps], or [batch][steps].
    public var counts: UnsafePointer<Int>?
    public var countsPerRow = false
    public var isTraining = false
    public var seed: UInt64 = 0

    @export(interface)
    public init() {}
}

/// What can be read of a run. The values' order is said with each.
public enum UnrolledPart: Int32 {
    /// What came from outside: [batch][steps][features].
    case x = 0
    /// What the first of two models answered: [batch][steps][width].
    case answers = 1
    /// [batch][outputs][width]; or row after row, step after step of the first model, the runs of the second.
    case outputs = 2
    /// State `index` before the first step and after the last: [batch][units].
    case initial = 3
    case final = 4
    /// After every step, laid out as x, answers or outputs are.
    case states = 5
}

/// Whose values: what was computed, its gradient, or where gradients from outside go.
enum UnrolledSide { case values, gradients, given }

/// A loop of steps that was run forward and can be run backward: of a model that is fed with what it gave itself, or of one
/// that drives another.
public class Unrolled {
    final let options: UnrolledOptions
    /// The first model's, whose recorder says whether gradients of x are wanted.
    final let parameters: Parameters
    /// Values of an output, those of it that go back, and what goes in for them.
    final let width: Int
    final let part: Int
    final let fed: Int
    public internal(set) final var hasRun = false
    public internal(set) final var hasGradients = false
    private final let chances: AlignedBuffer

    init(_ options: UnrolledOptions, _ parameters: Parameters, of model: Model) throws(Failure) {
        self.options = options
        self.parameters = parameters
        width = model.outputs[0].stepSize
        guard options.first < width, options.count <= width - options.first else {
            throw Failure(.invalidArgument, "values \(options.first) … and \(options.count) of them go back in, but an output has \(width)")
        }
        part = options.count == 0 ? width - options.first : options.count
        fed = options.asNumber ? 1 : part
        guard options.choice != .none || !options.asNumber && !options.isStraightThrough else {
            throw Failure(.invalidArgument, "as_number and straight_through are of a choice, and none is made")
        }
        guard !options.asNumber || !options.isStraightThrough else {
            throw Failure(.invalidArgument, "the gradient cannot go straight through a class's number")
        }
        guard part <= 1 << 24 else { throw Failure(.unsupported, "\(part) classes are more than a float can number") }
        chances = try AlignedBuffer(count: part)
    }

    /// Whether gradients go back through what is fed back.
    final var goesBack: Bool { options.choice == .none || options.isStraightThrough }

    /// What of an output goes into a row's next step.
    final func feed(_ output: Floats, to input: Floats, step: Int, row: Int, seed: UInt64) throws(Failure) {
        let values = output + options.first
        if options.choice == .none { return input.copy(from: values, count: part) }
        var chosen = 0
        for i in 0..<part {
            guard !values[i].isNaN else { throw Failure(.invalidArgument, "there is NaN among what row \(row) chooses from") }
            if values[i] > values[chosen] { chosen = i }
        }
        if options.choice == .drawn {
            var random = Random(seed: seed, series: 1 << 63 | UInt64(truncatingIfNeeded: step) << 32 | UInt64(truncatingIfNeeded: row))
            var source = values
            if !options.fromProbabilities {
                parameters.kernels.pointee.softmax(values, part, chances.floats, part, 1, part)
                source = chances.floats
            }
            var total: Float = 0
            for i in 0..<part { total += max(0, source[i]) }
            var left = random.uniform() * total
            for i in 0..<part where source[i] > 0 {
                // Rounding may leave something behind the last: then it is that one.
                chosen = i
                left -= source[i]
                if left < 0 { break }
            }
        }
        if options.asNumber {
            input[0] = Float(chosen)
        } else {
            clear(input, part)
            input[chosen] = 1
        }
    }

    /// Adds the gradient of what was fed to that of the output.
    final func feedBack(_ gradient: Floats, to output: Floats) {
        if goesBack { add(gradient, to: output + options.first, part) }
    }

    // MARK: What kinds of runs do

    @export(interface)
    public func forward(_ batch: UnrolledBatch) throws(Failure) {}
    func beginBackward() {}
    func runBackward() {}
    /// Whether gradients of x are to be had.
    var wantsX: Bool { true }
    /// Makes room for gradients of state `index` after each step.
    func prepareStates(_ index: Int) throws(Failure) {}
    /// All models' parameters.
    var all: [Parameters] { [parameters] }
    /// How many places a part has, and values in each.
    func shape(_ part: UnrolledPart, _ index: Int) throws(Failure) -> (count: Int, width: Int) { (0, 0) }
    /// Where the values of a place are; nil where they are zero, or not kept.
    func values(_ part: UnrolledPart, _ index: Int, _ place: Int, _ side: UnrolledSide) -> Floats? { nil }

    // MARK: Use

    /// Floats of a part.
    @export(interface)
    public final func size(_ part: UnrolledPart, _ index: Int) throws(Failure) -> Int {
        guard hasRun else { throw Failure(.invalidArgument, "it has not run forward yet") }
        let shape = try shape(part, index)
        return try multiplied(shape.count, shape.width)
    }

    /// Copies a part out, or its gradient; `size` says how much.
    @export(interface)
    public final func copy(_ part: UnrolledPart, _ index: Int, gradient: Bool, to out: UnsafeMutablePointer<Float>) throws(Failure) {
        if gradient {
            guard hasGradients else { throw Failure(.invalidArgument, "it has not run backward yet") }
            guard part != .final else { throw Failure(.invalidArgument, "the gradient of the last states is what was given for them") }
            if part == .states && !options.keepsStateGradients {
                throw Failure(.invalidArgument, "it was made without state_gradients")
            }
            if part == .x && !wantsX { throw Failure(.invalidArgument, "the first tape was made without input_gradients") }
        }
        let shape = try shape(part, index)
        for place in 0..<shape.count {
            let target = out + place &* shape.width
            if let source = values(part, index, place, gradient ? .gradients : .values) {
                target.copy(from: source, count: shape.width)
            } else {
                clear(target, shape.width)
            }
        }
    }

    /// From gradients of outputs, answers and of states after each step, nil where zero: to those of all else. Adds to the
    /// weights'.
    @export(interface)
    public final func backward(outputs: UnsafePointer<Float>?, answers: UnsafePointer<Float>?, states: UnsafePointer<UnsafePointer<Float>?>?,
                         accumulate: Bool) throws(Failure) {
        guard hasRun else { throw Failure(.invalidArgument, "it has not run forward yet") }
        if answers != nil { _ = try shape(.answers, 0) }
        hasGradients = false
        beginBackward()
        if let outputs { try take(outputs, .outputs, 0) }
        if let answers { try take(answers, .answers, 0) }
        if let states {
            for index in 0..<(all.prefix(2).reduce(0) { $0 + $1.model.shownStates.count }) {
                guard let given = states[index] else { continue }
                try prepareStates(index)
                try take(given, .states, index)
            }
        }
        if !accumulate { for one in all { one.zeroGradients() } }
        runBackward()
        if accumulate { for one in all { one.hasGradients = true } }
        hasGradients = true
    }

    private final func take(_ given: Given, _ part: UnrolledPart, _ index: Int) throws(Failure) {
        let shape = try shape(part, index)
        for place in 0..<shape.count {
            if let target = values(part, index, place, .given) { add(given + place &* shape.width, to: target, shape.width) }
        }
    }

    /// Floats that a run of this model may still take.
    final func left(_ parameters: Parameters, after used: Int) -> Int {
        parameters.memoryLimit == .max ? .max : max(0, parameters.memoryLimit / 4 - used)
    }

    final func checkIDs(_ model: Model, _ x: Given, _ count: Int) throws(Failure) {
        for check in model.idChecks { try model.reportBadID(check.embedding, x, count: count, input: 0) }
    }
}

/// Where state `index` of a window stands.
extension WindowTape {
    func begin(_ index: Int, _ row: Int, _ side: UnrolledSide) -> Floats {
        (side == .values ? state(index) : stateGradient(index)) + row &* units(index)
    }

    func after(_ index: Int, _ place: Int, _ side: UnrolledSide) -> Floats? {
        let at = place &* units(index)
        switch side {
        case .values: return state(index) + (window.rows &* units(index) &+ at)
        case .gradients: return keptGradient(index).map { $0 + at }
        case .given: return givenGradient(index).map { $0 + at }
        }
    }
}

// MARK: Self-feeding

/// A model that goes on from a primer with what it gave itself.
public final class UnrolledSelfFeeding: Unrolled {
    private var tape: WindowTape?
    private var batch = 0
    private var primer = 0
    private var outputs = 0
    /// By step and row: whether it is fed its target; and for each step whether all are, so that it goes with the one before.
    private var taught: UnsafeMutablePointer<UInt8>?
    private var memory: Memory?
    private var isJoined: Indices?

    @export(interface)
    public static func make(_ parameters: Parameters, _ options: UnrolledOptions) throws(Failure) -> UnrolledSelfFeeding {
        let model = parameters.model
        try WindowTape.check(model, what: "the model")
        let made = try UnrolledSelfFeeding(options, parameters, of: model)
        guard model.inputs[0].stepSize == made.fed else {
            throw Failure(.invalidArgument, "\(made.fed) values go back in, but the model's input has \(model.inputs[0].stepSize)")
        }
        for check in model.idChecks {
            guard options.asNumber else { throw Failure(.invalidArgument, "layer '\(check.embedding.name)' takes ids: as_number feeds them") }
            guard made.part <= check.embedding.inputDim else {
                throw Failure(.invalidArgument, "\(made.part) classes are chosen from, but the table of layer '\(check.embedding.name)' has \(check.embedding.inputDim)")
            }
        }
        return made
    }

    private override init(_ options: UnrolledOptions, _ parameters: Parameters, of model: Model) throws(Failure) {
        try super.init(options, parameters, of: model)
    }

    public override func forward(_ given: UnrolledBatch) throws(Failure) {
        let features = parameters.model.inputs[0].stepSize
        guard given.batch >= 1, given.steps >= 1, given.outputs >= 1 else {
            throw Failure(.invalidArgument, "batch \(given.batch), steps \(given.steps) and outputs \(given.outputs) are to be 1 or more")
        }
        guard given.counts == nil else { throw Failure(.invalidArgument, "counts are of a model below, and there is none") }
        guard let x = given.x else { throw Failure(.invalidArgument, "batch->x is NULL") }
        let steps = try multiplied(given.steps + given.outputs - 1, 1)
        try checkIDs(parameters.model, x, try multiplied(multiplied(given.batch, given.steps), features))
        if given.isTraining { try WindowTape.checkTraining(parameters) }
        let teaches = given.taught != nil || given.teacherForcing != nil
        if teaches {
            guard let targets = given.targets else { throw Failure(.invalidArgument, "batch->targets is NULL, and steps are to be taught") }
            try checkIDs(parameters.model, targets, try multiplied(multiplied(given.batch, given.outputs), fed))
        }
        if let shares = given.teacherForcing, given.taught == nil {
            for i in 0..<given.outputs where !(shares[i] >= 0 && shares[i] <= 1) {
                throw Failure(.invalidArgument, "teacher_forcing[\(i)] is not a number from 0 to 1")
            }
        }
        if tape == nil || batch != given.batch || primer != given.steps || outputs != given.outputs {
            hasRun = false
            hasGradients = false
            let old = tape
            tape = nil
            let memory = Memory()
            taught = try memory.bytes(multiplied(given.batch, given.outputs))
            isJoined = try Indices(given.outputs)
            self.memory = memory
            tape = try WindowTape.make(parameters, Window(rows: given.batch, steps: steps), nil, inputGradient: true,
                                       keepsStateGradients: options.keepsStateGradients, limit: left(parameters, after: 0), old: old)
            batch = given.batch
            primer = given.steps
            outputs = given.outputs
        }
        try run(given, x)
        hasRun = true
        hasGradients = false
    }

    private func run(_ given: UnrolledBatch, _ x: Given) throws(Failure) {
        guard let tape, let taught, let isJoined else { return }
        let features = tape.features
        hasRun = false
        for t in 0..<primer {
            for row in 0..<batch { (tape.x + (t &* batch &+ row) &* features).copy(from: x + (row &* primer &+ t) &* features, count: features) }
        }
        setInitialStates(tape, given.states)
        for t in 1..<max(1, outputs) {
            var all = true
            for row in 0..<batch {
                let isTaught: Bool
                if let chosen = given.taught {
                    isTaught = chosen[row &* outputs &+ t] != 0
                } else if let share = given.teacherForcing?[t] {
                    var random = Random(seed: given.seed, series: 1 << 62 | UInt64(truncatingIfNeeded: t) << 32 | UInt64(truncatingIfNeeded: row))
                    isTaught = random.uniform() < share
                } else {
                    isTaught = false
                }
                taught[t &* batch &+ row] = isTaught ? 1 : 0
                all = all && isTaught
                guard isTaught, let targets = given.targets else { continue }
                let place = (primer &+ t &- 1) &* batch &+ row
                (tape.x + place &* features).copy(from: targets + (row &* outputs &+ t &- 1) &* fed, count: fed)
            }
            isJoined[t] = all ? 1 : 0
        }
        tape.begin(Pass(isTraining: given.isTraining, seed: given.seed, number: 0))
        var step = 0, t = 1
        while true {
            // The primer, or the step that is due, with those behind it whose inputs are known.
            var end = step == 0 ? primer : step &+ 1
            while t < outputs && isJoined[t] != 0 {
                end = end &+ 1
                t = t &+ 1
            }
            tape.forward(step, end)
            if t == outputs { break }
            step = end
            for row in 0..<batch where taught[t &* batch &+ row] == 0 {
                try feed(tape.y + ((step &- 1) &* batch &+ row) &* width, to: tape.x + (step &* batch &+ row) &* features, step: t, row: row,
                         seed: given.seed)
            }
            t = t &+ 1
        }
    }

    override func beginBackward() { tape?.beginBackward() }
    override func prepareStates(_ index: Int) throws(Failure) { try tape?.makeGivenGradient(index) }

    override func runBackward() {
        guard let tape, let taught, let isJoined, let dy = tape.yGradient, let dx = tape.xGradient else { return }
        var end = primer &+ outputs &- 1, t = outputs
        while end > 0 {
            var step = end &- 1
            t = t &- 1
            while t >= 1 && isJoined[t] != 0 {
                step = step &- 1
                t = t &- 1
            }
            if t <= 0 { step = 0 }
            tape.backward(step, end)
            end = step
            if step == 0 { break }
            for row in 0..<batch where taught[t &* batch &+ row] == 0 {
                feedBack(dx + (step &* batch &+ row) &* tape.features, to: dy + ((step &- 1) &* batch &+ row) &* width)
            }
        }
    }

    private var steps: Int { primer &+ outputs &- 1 }

    override func shape(_ part: UnrolledPart, _ index: Int) throws(Failure) -> (count: Int, width: Int) {
        guard let tape else { return (0, 0) }
        switch part {
        case .x: return (batch &* primer, tape.features)
        case .answers: throw Failure(.invalidArgument, "answers are those to a model below, and there is none")
        case .outputs: return (batch &* outputs, width)
        case .initial, .final: return (batch, try units(index))
        case .states: return (batch &* steps, try units(index))
        }
    }

    private func units(_ index: Int) throws(Failure) -> Int { try stateUnits(parameters.model, index) }

    override func values(_ part: UnrolledPart, _ index: Int, _ place: Int, _ side: UnrolledSide) -> Floats? {
        guard let tape else { return nil }
        func at(_ count: Int, _ first: Int) -> Int { (place % count &+ first) &* batch &+ place / count }
        switch part {
        case .x: return (side == .values ? tape.x : tape.xGradient).map { $0 + at(primer, 0) &* tape.features }
        case .answers: return nil
        case .outputs: return (side == .values ? tape.y : tape.yGradient).map { $0 + at(outputs, primer &- 1) &* width }
        case .initial: return tape.begin(index, place, side)
        case .final: return tape.after(index, (steps &- 1) &* batch &+ place, side)
        case .states: return tape.after(index, at(steps, 0), side)
        }
    }
}

extension Unrolled {
    func stateUnits(_ model: Model, _ index: Int) throws(Failure) -> Int {
        guard index >= 0, index < model.shownStates.count else {
            throw Failure(.invalidArgument, "index is \(index), expected less than \(model.shownStates.count)")
        }
        return model.shownStates[index].slot.units
    }

    /// All rows' states before the first step.
    func setInitialStates(_ tape: WindowTape, _ given: UnsafePointer<UnsafePointer<Float>?>?) {
        for index in 0..<tape.parameters.model.shownStates.count {
            let count = tape.window.rows &* tape.units(index)
            if let source = given?[index] { tape.state(index).copy(from: source, count: count) } else { clear(tape.state(index), count) }
        }
    }
}
