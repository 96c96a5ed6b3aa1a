import CSystem
import Engine
import Generation

/// Runs of the second model that are computed together: all of them, or where it feeds the first one those of one of its steps.
private final class Block {
    let window: Window
    /// What runs it, and where a model makes initial states of answers that.
    var tape: WindowTape!
    var head: WindowTape?
    /// By sequence, longest first: its row, its length, and the first of its runs among the answers.
    let count: Int
    let rows: Indices
    let lengths: Indices
    let beginnings: Indices
    /// By place: which of the answers that are read drives it, the number of its value, and whether it begins a run.
    let drivers: Indices
    let numbers: Indices
    let begins: Indices
    /// The answers that are read, by their place in the first model's window.
    let answers: Indices
    let answerCount: Int
    /// By sequence whether its row had run before.
    let continues: Indices

    /// Those of outer steps first ..< end; nil where none has a step.
    /// - Parameters:
    ///   - counts: [batch][outer].
    ///   - starts: the number of each run's first value.
    ///   - joins: whether a row's runs are one sequence; else each is one.
    init?(_ counts: Indices, _ starts: Indices, batch: Int, outer: Int, _ first: Int, _ end: Int, joins: Bool) throws(Failure) {
        let most = joins ? batch : try multiplied(batch, end - first)
        // Sequences as they come: row, first run, length.
        let found = try Indices(multiplied(most, 3))
        var count = 0, total = 0, longest = 0, runs = 0
        for row in 0..<batch {
            var length = 0
            for i in first..<end {
                let own = counts[row * outer + i]
                guard own > 0 else { continue }
                runs += 1
                if length == 0 || !joins {
                    found[3 * count] = row
                    found[3 * count + 1] = i
                    count += 1
                    length = 0
                }
                length += own
                total += own
                found[3 * count - 1] = length
                longest = max(longest, length)
            }
        }
        if total == 0 { return nil }
        // Longest first, those of one length in their order: counted by length.
        let places = try Indices(longest + 2)
        for i in 0..<count { places[longest - found[3 * i + 2] + 1] += 1 }
        for i in 1..<(longest + 2) { places[i] += places[i - 1] }
        rows = try Indices(count)
        beginnings = try Indices(count)
        lengths = try Indices(count)
        continues = try Indices(count)
        for i in 0..<count {
            let bucket = longest - found[3 * i + 2], place = places[bucket]
            places[bucket] = place + 1
            rows[place] = found[3 * i]
            beginnings[place] = found[3 * i + 1]
            lengths[place] = found[3 * i + 2]
        }
        self.count = count
        window = try Window(rows: count, lengths: lengths)
        drivers = try Indices(total)
        numbers = try Indices(total)
        begins = try Indices(total)
        answers = try Indices(runs)
        var driver = 0
        for sequence in 0..<count {
            let row = rows[sequence]
            var step = 0, i = beginnings[sequence]
            while step < lengths[sequence] {
                let own = counts[row * outer + i]
                if own > 0 {
                    answers[driver] = i * batch + row
                    for j in 0..<own {
                        let place = window.place(step) + sequence
                        drivers[place] = driver
                        numbers[place] = starts[row * outer + i] + j
                        begins[place] = j == 0 ? 1 : 0
                        step += 1
                    }
                    driver += 1
                }
                i += 1
            }
        }
        answerCount = runs
    }

    /// A row's last place.
    func lastPlace(_ sequence: Int) -> Int { window.place(lengths[sequence] &- 1) &+ sequence }
}

/// A model over time, each of whose answers drives a run of a second one.
public final class UnrolledNested: Unrolled {
    private let below: Parameters
    private let head: Parameters?
    /// Features of x, and values of an answer.
    private let features: Int
    private let answer: Int
    override var wantsX: Bool { hasInputGradients }
    private let hasInputGradients: Bool

    private var batch = 0
    private var outer = 0
    private var tape: WindowTape?
    /// Where the answers' gradients are summed up.
    private var answerGradients: Floats?
    private var blocks: [Block] = []
    private var counts: Indices?
    /// By value the block that it is of, and its place there.
    private var blockOf: Indices?
    private var placeOf: Indices?
    private var total = 0
    private var memory = Memory()
    /// Of the second model, by state: where the rows begin, where they are, and its gradient; [batch][units] each.
    private var initial: [Floats] = []
    private var current: [Floats] = []
    private var dCurrent: [Floats] = []
    /// What each row gave last, and its gradient: [batch][width].
    private var last: Floats?
    private var dLast: Floats?
    private var hasLast: Indices?

    @export(interface)
    public static func make(_ parameters: Parameters, wantsX: Bool, below: Parameters, head: Parameters?, _ options: UnrolledOptions) throws(Failure) -> UnrolledNested {
        try WindowTape.check(parameters.model, what: "the first model")
        try WindowTape.check(below.model, what: "the model below")
        guard below.model.idChecks.isEmpty else { throw Failure(.unsupported, "the model below takes ids, and answers are none") }
        let made = try UnrolledNested(options, parameters, wantsX: wantsX, below: below, head: head)
        let input = below.model.inputs[0].stepSize, expected = made.answer + (options.feedsBack ? made.fed : 0)
        guard input == expected else {
            throw Failure(.invalidArgument, "the model below takes \(input) values, but is given \(expected)")
        }
        guard made.features >= 1 else {
            throw Failure(.invalidArgument, "the first model takes \(parameters.model.inputs[0].stepSize) values, \(made.width) of which come from below: none are left for x")
        }
        guard !options.feedsUpward || parameters.model.idChecks.isEmpty else {
            throw Failure(.unsupported, "the first model takes ids, and what comes from below is none")
        }
        let states = below.model.shownStates.reduce(0) { $0 + $1.slot.units }
        if options.policy == .given {
            if let head {
                try WindowTape.check(head.model, what: "the initial states' model")
                guard head.model.idChecks.isEmpty, head.model.inputs[0].stepSize == made.answer, head.model.outputs[0].stepSize == states else {
                    throw Failure(.invalidArgument, "the initial states' model makes \(head.model.outputs[0].stepSize) values of "
                        + "\(head.model.inputs[0].stepSize), expected \(states) of \(made.answer)")
                }
            } else if made.answer != states {
                throw Failure(.invalidArgument, "an answer has \(made.answer) values, but the states of the model below are \(states)")
            }
        } else if head != nil {
            throw Failure(.invalidArgument, "initial_state is for CADENZA_STATE_GIVEN")
        }
        return made
    }

    private init(_ options: UnrolledOptions, _ parameters: Parameters, wantsX: Bool, below: Parameters, head: Parameters?) throws(Failure) {
        self.below = below
        self.head = head
        hasInputGradients = wantsX
        features = parameters.model.inputs[0].stepSize - (options.feedsUpward ? below.model.outputs[0].stepSize : 0)
        answer = parameters.model.outputs[0].stepSize
        try super.init(options, parameters, of: below.model)
    }

    override var all: [Parameters] { head.map { [parameters, below, $0] } ?? [parameters, below] }

    private var statesAbove: Int { parameters.model.shownStates.count }

    // MARK: Plans

    /// Where the shapes and counts are other ones, everything is made anew.
    private func prepare(_ given: UnrolledBatch) throws(Failure) {
        guard let asked = given.counts else { throw Failure(.invalidArgument, "batch->counts is NULL") }
        let runs = try multiplied(given.batch, given.steps)
        var isSame = tape != nil && batch == given.batch && outer == given.steps
        // Where they are other ones, memory for so many runs comes before they are gone through.
        let room: Indices? = if isSame { nil } else { try Indices(runs) }
        var sum = 0
        for row in 0..<given.batch {
            for i in 0..<given.steps {
                let own = asked[given.countsPerRow ? row * given.steps + i : i]
                guard own >= 0, own <= 1 << 32 else { throw Failure(.invalidArgument, "counts[\(i)] of row \(row) is beyond 2^32") }
                sum = try multiplied(sum + own, 1)
                if isSame, let counts, counts[row * given.steps + i] != own { isSame = false }
            }
        }
        if isSame { return }
        hasRun = false
        hasGradients = false
        let old = blocks
        var made = tape
        tape = nil
        blocks = []
        let counts = try Indices(runs), starts = if let room { room } else { try Indices(runs) }
        let blockOf = try Indices(sum), placeOf = try Indices(sum), hasLast = try Indices(given.batch)
        var next = 0
        for row in 0..<given.batch {
            for i in 0..<given.steps {
                let own = asked[given.countsPerRow ? row * given.steps + i : i]
                counts[row * given.steps + i] = own
                starts[row * given.steps + i] = next
                next += own
            }
        }
        let memory = Memory()
        if batch != given.batch || outer != given.steps || made == nil {
            made = try WindowTape.make(parameters, Window(rows: given.batch, steps: given.steps), nil,
                                       inputGradient: wantsX || options.feedsUpward, keepsStateGradients: options.keepsStateGradients,
                                       limit: left(parameters, after: 0))
        }
        answerGradients = if let own = made?.yGradient { own } else { try memory.floats(runs, answer) }
        initial = []
        current = []
        dCurrent = []
        for state in below.model.shownStates {
            initial.append(try memory.floats(given.batch, state.slot.units))
            current.append(try memory.floats(given.batch, state.slot.units))
            dCurrent.append(try memory.floats(given.batch, state.slot.units))
        }
        last = try memory.floats(given.batch, width)
        dLast = try memory.floats(given.batch, width)
        var found: [Block] = [], used = 0, usedByHead = 0
        let pieces = options.feedsUpward ? given.steps : 1, steps = options.feedsUpward ? 1 : given.steps
        for piece in 0..<pieces {
            guard let block = try Block(counts, starts, batch: given.batch, outer: given.steps, piece * steps, (piece + 1) * steps,
                                      joins: options.policy == .carry) else { continue }
            let sources = options.feedsBack ? nil : Sources(count: block.answerCount, rows: block.drivers)
            let last = piece < old.count ? old[piece] : nil
            let own = try WindowTape.make(below, block.window, sources, inputGradient: true, keepsStateGradients: options.keepsStateGradients,
                                          limit: left(below, after: used), old: last?.tape)
            used += own.size
            block.tape = own
            if let head {
                let made = try WindowTape.make(head, Window(rows: block.count, steps: 1), nil, inputGradient: true, keepsStateGradients: false,
                                               limit: left(head, after: usedByHead), old: last?.head)
                usedByHead += made.size
                block.head = made
            }
            for place in 0..<block.window.count {
                blockOf[block.numbers[place]] = found.count
                placeOf[block.numbers[place]] = place
            }
            found.append(block)
        }
        batch = given.batch
        outer = given.steps
        total = sum
        self.counts = counts
        self.blockOf = blockOf
        self.placeOf = placeOf
        self.hasLast = hasLast
        self.memory = memory
        blocks = found
        tape = made
    }

    /// The block of an outer step, where the second model feeds the first.
    private func block(_ i: Int) -> Int? { blocks.firstIndex { $0.beginnings[0] == i } }

    // MARK: Forward

    public override func forward(_ given: UnrolledBatch) throws(Failure) {
        guard given.batch >= 1, given.steps >= 1 else {
            throw Failure(.invalidArgument, "batch \(given.batch) and steps \(given.steps) are to be 1 or more")
        }
        guard given.targets == nil, given.taught == nil, given.teacherForcing == nil, given.outputs == 0 else {
            throw Failure(.invalidArgument, "outputs, targets and teacher_forcing are of a model that feeds itself, and this one drives another")
        }
        guard let x = given.x else { throw Failure(.invalidArgument, "batch->x is NULL") }
        try checkIDs(parameters.model, x, try multiplied(multiplied(given.batch, given.steps), features))
        if options.policy != .carry, let states = given.states {
            for index in below.model.shownStates.indices where states[statesAbove + index] != nil {
                throw Failure(.invalidArgument, "states[\(statesAbove + index)] is of the model below, whose runs do not begin there")
            }
        }
        if given.isTraining { for one in all { try WindowTape.checkTraining(one) } }
        try prepare(given)
        hasRun = false
        try run(given, x)
        hasRun = true
        hasGradients = false
    }

    private func run(_ given: UnrolledBatch, _ x: Given) throws(Failure) {
        guard let tape, let last, let hasLast else { return }
        for row in 0..<batch {
            for i in 0..<outer {
                (tape.x + (i &* batch &+ row) &* tape.features).copy(from: x + (row &* outer &+ i) &* features, count: features)
            }
            hasLast[row] = 0
        }
        setInitialStates(tape, given.states)
        for index in initial.indices {
            let count = batch &* below.model.shownStates[index].slot.units
            if let source = given.states?[statesAbove &+ index] { initial[index].copy(from: source, count: count) } else { clear(initial[index], count) }
            current[index].copy(from: initial[index], count: count)
        }
        clear(last, batch &* width)
        tape.begin(Pass(isTraining: given.isTraining, seed: given.seed, number: 0))
        guard options.feedsUpward else {
            tape.forward(0, outer)
            if !blocks.isEmpty { try run(0, given) }
            return
        }
        for i in 0..<outer {
            for row in 0..<batch { (tape.x + ((i &* batch &+ row) &* tape.features &+ features)).copy(from: last + row &* width, count: width) }
            tape.forward(i, i &+ 1)
            if let block = block(i) { try run(block, given) }
        }
    }

    private func run(_ index: Int, _ given: UnrolledBatch) throws(Failure) {
        guard let above = tape, let last, let hasLast else { return }
        let block = blocks[index]
        guard let tape = block.tape else { return }
        func answer(_ driver: Int) -> Floats { above.y + block.answers[driver] &* self.answer }
        // A series of random numbers for each block, one for what makes its states.
        let number = UInt64(2 &* index &+ 1) << 22
        if let head = block.head {
            for sequence in 0..<block.count { (head.x + sequence &* self.answer).copy(from: answer(block.drivers[sequence]), count: self.answer) }
            for state in head.parameters.model.shownStates.indices { clear(head.state(state), block.count &* head.units(state)) }
            head.begin(Pass(isTraining: given.isTraining, seed: given.seed, number: number &+ 1 << 22))
            head.forward(0, 1)
        }
        var place = 0
        for state in current.indices {
            let units = tape.units(state), to = tape.state(state)
            for sequence in 0..<block.count {
                let own = to + sequence &* units
                switch options.policy {
                case .carry: own.copy(from: current[state] + block.rows[sequence] &* units, count: units)
                case .reset: clear(own, units)
                case .given:
                    let source = block.head.map { $0.y + sequence &* $0.width } ?? answer(block.drivers[sequence])
                    own.copy(from: source + place, count: units)
                }
            }
            place = place &+ units
        }
        tape.begin(Pass(isTraining: given.isTraining, seed: given.seed, number: number))
        if !options.feedsBack {
            for driver in 0..<block.answerCount { (tape.x + driver &* tape.features).copy(from: answer(driver), count: self.answer) }
            tape.forward(0, tape.window.steps)
        } else {
            for sequence in 0..<block.count { block.continues[sequence] = hasLast[block.rows[sequence]] }
            for step in 0..<tape.window.steps {
                for sequence in 0..<tape.window.live(step) {
                    let place = tape.window.place(step) &+ sequence, x = tape.x + place &* tape.features
                    x.copy(from: answer(block.drivers[place]), count: self.answer)
                    if let source = fedFrom(block, step, sequence) {
                        try feed(source, to: x + self.answer, step: block.numbers[place], row: block.rows[sequence], seed: given.seed)
                    } else if options.policy == .carry && step == 0 && block.continues[sequence] != 0 {
                        try feed(last + block.rows[sequence] &* width, to: x + self.answer, step: block.numbers[place], row: block.rows[sequence],
                                 seed: given.seed)
                    } else {
                        clear(x + self.answer, fed)
                    }
                }
                tape.forward(step, step &+ 1)
            }
        }
        for sequence in 0..<block.count {
            let row = block.rows[sequence], place = block.lastPlace(sequence)
            // Where each run is a sequence of its own, only a row's last one leaves its state.
            if options.policy != .carry && !isLastRun(row, block.beginnings[sequence]) { continue }
            for state in current.indices {
                let units = tape.units(state)
                (current[state] + row &* units).copy(from: tape.state(state) + (block.count &+ place) &* units, count: units)
            }
        }
        for sequence in 0..<block.count where options.feedsUpward {
            (last + block.rows[sequence] &* width).copy(from: tape.y + block.lastPlace(sequence) &* width, count: width)
            hasLast[block.rows[sequence]] = 1
        }
    }

    private func isLastRun(_ row: Int, _ i: Int) -> Bool {
        guard let counts else { return true }
        if options.feedsUpward { return true }
        for later in (i &+ 1)..<max(outer, i &+ 1) where counts[row &* outer &+ later] > 0 { return false }
        return true
    }

    /// The output of the step before that is fed to a step of the same block; nil where there is none.
    private func fedFrom(_ block: Block, _ step: Int, _ sequence: Int) -> Floats? {
        fedPlace(block, step, sequence).map { block.tape.y + $0 &* width }
    }

    private func fedPlace(_ block: Block, _ step: Int, _ sequence: Int) -> Int? {
        guard step > 0 else { return nil }
        if options.policy != .carry && block.begins[block.tape.window.place(step) &+ sequence] != 0 { return nil }
        return block.tape.window.place(step &- 1) &+ sequence
    }

    // MARK: Backward

    override func beginBackward() {
        tape?.beginBackward()
        if let answerGradients, tape?.yGradient == nil { clear(answerGradients, batch &* outer &* answer) }
        for block in blocks {
            block.tape.beginBackward()
            block.head?.beginBackward()
        }
        for (index, gradient) in dCurrent.enumerated() { clear(gradient, batch &* below.model.shownStates[index].slot.units) }
        if let dLast { clear(dLast, batch &* width) }
    }

    override func prepareStates(_ index: Int) throws(Failure) {
        if index < statesAbove { return try tape?.makeGivenGradient(index) ?? () }
        for block in blocks { try block.tape.makeGivenGradient(index - statesAbove) }
    }

    override func runBackward() {
        guard let tape, let dLast else { return }
        guard options.feedsUpward else {
            if !blocks.isEmpty { runBack(blocks[0]) }
            return tape.backward(0, outer)
        }
        for i in (0..<outer).reversed() {
            if let block = block(i) { runBack(blocks[block]) }
            tape.backward(i, i &+ 1)
            guard let dx = tape.xGradient else { continue }
            for row in 0..<batch { add(dx + ((i &* batch &+ row) &* tape.features &+ features), to: dLast + row &* width, width) }
        }
    }

    private func runBack(_ block: Block) {
        guard let answerGradients, let dLast, let tape = block.tape else { return }
        guard let dx = tape.xGradient, let dy = tape.yGradient else { return }
        func dAnswer(_ driver: Int) -> Floats { answerGradients + block.answers[driver] &* answer }
        for sequence in 0..<block.count {
            let row = block.rows[sequence]
            if options.feedsUpward {
                add(dLast + row &* width, to: dy + block.lastPlace(sequence) &* width, width)
                clear(dLast + row &* width, width)
            }
            guard options.policy == .carry else { continue }
            for (state, gradient) in dCurrent.enumerated() {
                let units = tape.units(state)
                add(gradient + row &* units, to: tape.stateGradient(state) + sequence &* units, units)
            }
        }
        if !options.feedsBack {
            tape.backward(0, tape.window.steps)
            for driver in 0..<block.answerCount { add(dx + driver &* tape.features, to: dAnswer(driver), answer) }
        } else {
            for step in (0..<tape.window.steps).reversed() {
                tape.backward(step, step &+ 1)
                for sequence in 0..<tape.window.live(step) {
                    let place = tape.window.place(step) &+ sequence, dx = dx + place &* tape.features
                    add(dx, to: dAnswer(block.drivers[place]), answer)
                    if let before = fedPlace(block, step, sequence) {
                        feedBack(dx + answer, to: dy + before &* width)
                    } else if options.policy == .carry && step == 0 && block.continues[sequence] != 0 {
                        feedBack(dx + answer, to: dLast + block.rows[sequence] &* width)
                    }
                }
            }
        }
        beginningsBack(block, dAnswer)
    }

    /// The gradients of the states that a block began in go on.
    private func beginningsBack(_ block: Block, _ dAnswer: (Int) -> Floats) {
        var place = 0
        for (state, gradient) in dCurrent.enumerated() {
            let units = block.tape.units(state)
            for sequence in 0..<block.count {
                let own = block.tape.stateGradient(state) + sequence &* units
                switch options.policy {
                case .carry: (gradient + block.rows[sequence] &* units).copy(from: own, count: units)
                case .reset: break
                case .given:
                    if let head = block.head {
                        if let target = head.yGradient { add(own, to: target + (sequence &* head.width &+ place), units) }
                    } else {
                        add(own, to: dAnswer(block.drivers[sequence]) + place, units)
                    }
                }
            }
            place = place &+ units
        }
        guard let head = block.head, let dx = head.xGradient else { return }
        head.backward(0, 1)
        for sequence in 0..<block.count { add(dx + sequence &* answer, to: dAnswer(block.drivers[sequence]), answer) }
    }

    // MARK: Parts

    override func shape(_ part: UnrolledPart, _ index: Int) throws(Failure) -> (count: Int, width: Int) {
        switch part {
        case .x: return (batch &* outer, features)
        case .answers: return (batch &* outer, answer)
        case .outputs: return (total, width)
        case .initial, .final:
            if index < statesAbove { return (batch, try stateUnits(parameters.model, index)) }
            return (batch, try stateUnits(below.model, index - statesAbove))
        case .states:
            if index < statesAbove { return (batch &* outer, try stateUnits(parameters.model, index)) }
            return (total, try stateUnits(below.model, index - statesAbove))
        }
    }

    override func values(_ part: UnrolledPart, _ index: Int, _ place: Int, _ side: UnrolledSide) -> Floats? {
        guard let tape, let blockOf, let placeOf else { return nil }
        let at = place % outer &* batch &+ place / outer, state = index &- statesAbove
        switch part {
        case .x: return (side == .values ? tape.x : tape.xGradient).map { $0 + at &* tape.features }
        case .answers: return (side == .values ? tape.y : answerGradients).map { $0 + at &* answer }
        case .outputs:
            guard let tape = blocks[blockOf[place]].tape else { return nil }
            return (side == .values ? tape.y : tape.yGradient).map { $0 + placeOf[place] &* width }
        case .initial:
            if state < 0 { return tape.begin(index, place, side) }
            let units = below.model.shownStates[state].slot.units
            return (side == .values ? initial[state] : dCurrent[state]) + place &* units
        case .final:
            if state < 0 { return tape.after(index, (outer &- 1) &* batch &+ place, side) }
            return current[state] + place &* below.model.shownStates[state].slot.units
        case .states:
            if state < 0 { return tape.after(index, at, side) }
            return blocks[blockOf[place]].tape.after(state, placeOf[place], side)
        }
    }
}
