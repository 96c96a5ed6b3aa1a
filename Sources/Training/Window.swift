import Engine

/// Whole numbers, zero at first, of a count that a caller may say.
final class Indices {
    private let buffer: AlignedBuffer

    init(_ count: Int) throws(Failure) { buffer = try AlignedBuffer(count: multiplied(count, 2)) }

    @inline(__always)
    subscript(index: Int) -> Int {
        get { UnsafeRawPointer(buffer.floats).load(fromByteOffset: index &* 8, as: Int.self) }
        set { UnsafeMutableRawPointer(buffer.floats).storeBytes(of: newValue, toByteOffset: index &* 8, as: Int.self) }
    }
}

/// Steps of rows that are not all as long: the longest first, so that those that a step has are the first ones. Values lie by
/// place: step after step, of each its rows.
final class Window {
    let rows: Int
    let steps: Int
    /// The place of each step's first row, and how many places there are.
    private let places: Indices
    let isUniform: Bool

    /// All rows as long.
    convenience init(rows: Int, steps: Int) throws(Failure) {
        _ = try multiplied(rows, steps)
        try self.init(rows, steps) { _ in rows }
    }

    /// Rows of `lengths`, which never rise.
    convenience init(rows: Int, lengths: Indices) throws(Failure) {
        var live = rows
        try self.init(rows, rows == 0 ? 0 : lengths[0]) { step in
            while live > 0 && lengths[live - 1] <= step { live -= 1 }
            return live
        }
    }

    private init(_ rows: Int, _ steps: Int, _ live: (Int) -> Int) throws(Failure) {
        self.rows = rows
        self.steps = steps
        places = try Indices(steps + 1)
        for step in 0..<steps { places[step + 1] = places[step] + live(step) }
        isUniform = places[steps] == rows * steps
    }

    @inline(__always)
    func place(_ step: Int) -> Int { places[step] }
    @inline(__always)
    func live(_ step: Int) -> Int { places[step &+ 1] &- places[step] }
    var count: Int { places[steps] }

    /// How the places first ..< end, which are whole steps, go into a product.
    func block(_ first: Int, _ end: Int) -> GradientProduct.Block {
        isUniform && rows > 0 ? .init(steps: (end &- first) / rows, rows: rows, batch: rows) : .flat(end &- first)
    }

    /// Those rows of a span that a step has.
    @inline(__always)
    func part(of span: Span, at step: Int) -> Span {
        Span(start: span.start, steps: span.steps, first: span.first, count: max(0, min(span.count, live(step) &- span.first)))
    }

    /// A worker's rows of steps first ..< end, so that all have about as much to do.
    func share(_ first: Int, _ end: Int, _ worker: Int, of workers: Int) -> Span {
        // The places of the rows before `row` in these steps.
        func work(before row: Int) -> Int {
            if row >= live(first) { return place(end) &- place(first) }
            var sum = 0
            for step in first..<end { sum = sum &+ min(row, live(step)) }
            return sum
        }
        func bound(_ worker: Int) -> Int {
            if isUniform || worker == 0 || worker == workers { return live(first) &* worker / workers }
            let wanted = (place(end) &- place(first)) &* worker / workers
            var low = 0, high = live(first)
            while low < high {
                let middle = (low &+ high) / 2
                if work(before: middle) < wanted { low = middle &+ 1 } else { high = middle }
            }
            return low
        }
        let own = bound(worker)
        return Span(start: 0, steps: steps, first: own, count: bound(worker &+ 1) &- own)
    }
}

/// Rows that steps read, each several ones: for each place of a window the number of its row.
final class Sources {
    let count: Int
    let rows: Indices

    init(count: Int, rows: Indices) {
        self.count = count
        self.rows = rows
    }
}

/// The first cell's input where rows serve several places: a row's part of the sums is made once, and the gradients of all that
/// it served are summed up before they go back.
final class RepeatedInput {
    let sources: Sources
    /// [sources][features], and its gradient.
    let x: Floats
    let dx: Floats?
    /// [sources][width] each.
    let sums: Floats
    let gradients: Floats
    let width: Int

    init(_ sources: Sources, x: Floats, dx: Floats?, width: Int, _ memory: Memory) throws(Failure) {
        self.sources = sources
        self.x = x
        self.dx = dx
        self.width = width
        sums = try memory.floats(sources.count, width)
        gradients = try memory.floats(sources.count, width)
    }

    func copySums(_ place: Int, _ span: Span, to z: Floats) {
        for row in span.first..<(span.first &+ span.count) {
            (z + row &* width).copy(from: sums + sources.rows[place &+ row] &* width, count: width)
        }
    }

    /// dz: of the step's first row.
    func gather(_ dz: Floats, _ place: Int, _ span: Span) {
        for row in span.first..<(span.first &+ span.count) {
            add(dz + row &* width, to: gradients + sources.rows[place &+ row] &* width, width)
        }
    }
}

/// Repeats rows, for layers that know nothing of sources.
final class GatherTape: TapeOperation {
    private let input: TapeValue
    private let output: TapeValue
    private let sources: Sources

    init(_ input: TapeValue, _ output: TapeValue, _ sources: Sources, places: Int) {
        self.input = input
        self.output = output
        self.sources = sources
        super.init(rows: places)
    }

    override func forward(_ pass: Pass) {
        let count = input.count
        for place in first..<(first &+ rows) {
            (output.data + place &* count).copy(from: input.data + sources.rows[place] &* count, count: count)
        }
    }

    override func backward() {
        guard let dy = output.gradient, let dx = input.gradient else { return }
        let count = input.count
        for place in (first..<(first &+ rows)).reversed() { add(dy + place &* count, to: dx + sources.rows[place] &* count, count) }
    }
}

/// An RNN layer over a window, some steps at a time: what it gives after each of them.
final class WindowRecurrentTape: TapeOperation {
    private let layer: RNN
    private let parameters: Parameters
    private let window: Window
    private let cells: [CellTape]
    private let input: TapeValue
    private let outputs: [TapeValue]
    private let mask: UnsafeMutablePointer<UInt8>?
    /// Steps firstStep ..< endStep of a run; those from `pending` on are in the weights' gradients.
    private var firstStep = 0
    private var endStep = 0
    private var pending = 0
    /// Whether a backward run has taken the gates, and they must be computed again for the next.
    private var isSpent = false

    private enum Phase: Int { case input, forward, backward, inputBack }

    /// Its states, h and c of each cell: what keeps them and where.
    var states: [(cell: CellTape, index: Int)] {
        var result: [(cell: CellTape, index: Int)] = []
        for (number, cell) in layer.cells.enumerated() {
            for index in cell.stateNames.indices { result.append((cells[number], index)) }
        }
        return result
    }

    /// - Parameter sources: where the input is rows that serve several places.
    static func make(_ layer: RNN, _ binding: inout TapeBinding, _ window: Window, _ sources: Sources?, keepsGradients: Bool) throws(Failure) -> WindowRecurrentTape {
        let input = binding.inputs[0], memory = binding.memory, mask = input.mask
        var cells: [CellTape] = []
        var source = input.data
        for (number, cell) in layer.cells.enumerated() {
            let tape = try CellTape.make(cell, binding, window, x: source, mask: mask, sources: number == 0 ? sources : nil, dx: input.gradient)
            for _ in cell.stateNames {
                tape.givenGradients.append(nil)
                tape.returnedGradients.append(nil)
                tape.keptGradients.append(keepsGradients ? try memory.floats(window.count, cell.units) : nil)
            }
            cells.append(tape)
            source = tape.h + tape.size
        }
        let last = cells[cells.count - 1]
        binding.outputs[0].data = mask == nil ? last.h + last.size : try memory.floats(window.count, last.units)
        if binding.outputs[0].gradient != nil { binding.outputs[0].gradient = try memory.floats(window.count, last.units) }
        let made = WindowRecurrentTape(layer, cells, binding, window, mask)
        // What it returns of its states is what they are after each step.
        for (state, own) in made.states.enumerated() where state + 1 < binding.outputs.count {
            binding.outputs[state + 1].data = own.cell.states(own.index) + own.cell.size
            if binding.outputs[state + 1].gradient == nil { continue }
            binding.outputs[state + 1].gradient = try memory.floats(window.count, own.cell.units)
            own.cell.returnedGradients[own.index] = binding.outputs[state + 1].gradient
        }
        return made
    }

    private init(_ layer: RNN, _ cells: [CellTape], _ binding: TapeBinding, _ window: Window, _ mask: UnsafeMutablePointer<UInt8>?) {
        self.layer = layer
        self.cells = cells
        self.window = window
        self.mask = mask
        parameters = binding.parameters
        input = binding.inputs[0]
        outputs = binding.outputs
        super.init(rows: window.count)
    }

    /// The steps that the selected places are.
    private func findSteps() {
        firstStep = step(at: first)
        endStep = step(at: first &+ rows)
    }

    private func step(at place: Int) -> Int {
        var low = 0, high = window.steps
        while low < high {
            let middle = (low &+ high) / 2
            if window.place(middle) < place { low = middle &+ 1 } else { high = middle }
        }
        return low
    }

    /// Products of the cells in some steps.
    private var products: Int {
        var sum = 0
        for cell in cells { sum = sum &+ (cell.units &+ cell.inputWidth) &* cell.gateWidth }
        return sum &* (window.place(endStep) &- window.place(firstStep))
    }

    override func forward(_ pass: Pass) {
        findSteps()
        if firstStep == 0 { for cell in cells { cell.begin(pass) } }
        if let repeated = cells[0].repeated { parameters.team.run(self, Phase.input.rawValue, products: repeated.sources.count &* repeated.width &* cells[0].inputWidth) }
        parameters.team.run(self, Phase.forward.rawValue, products: products)
        isSpent = false
    }

    override func run(_ phase: Int, _ worker: Int, of workers: Int) {
        switch Phase(rawValue: phase) {
        case .forward: runForward(window.share(firstStep, endStep, worker, of: workers))
        case .backward: runBackward(window.share(firstStep, endStep, worker, of: workers))
        default:
            guard let repeated = cells[0].repeated else { return }
            let own = share(repeated.sources.count, worker, of: workers)
            let span = Span(start: 0, steps: 0, first: own.first, count: own.count)
            if phase == Phase.input.rawValue {
                cells[0].input.multiply(repeated.x, step: 0, span, start: cells[0].bias?.values, 0, repeated.sums, repeated.width)
            } else if let dx = repeated.dx {
                cells[0].input.multiplyTransposed(repeated.gradients, span, repeated.width, addTo: dx + own.first &* cells[0].inputWidth, cells[0].inputWidth)
            }
        }
    }

    private func runForward(_ span: Span) {
        for cell in cells { cell.forward(span, firstStep, endStep) }
        guard let mask else { return }
        let last = cells[cells.count - 1], units = last.units
        for step in firstStep..<endStep {
            let part = window.part(of: span, at: step)
            for row in part.first..<(part.first &+ part.count) {
                let place = window.place(step) &+ row, out = outputs[0].data + place &* units
                if mask[place] == 0 && layer.options.zeroOutputForMask {
                    clear(out, units)
                } else {
                    out.copy(from: last.h + (window.rows &+ place) &* units, count: units)
                }
            }
        }
    }

    /// Before the last steps run backward: what comes from behind them is zero, but for what `states` are then given.
    func beginBackward() {
        if isSpent && cells.contains(where: { $0.losesGates }) {
            firstStep = 0
            endStep = window.steps
            parameters.team.run(self, Phase.forward.rawValue, products: products)
        }
        isSpent = true
        pending = window.steps
        for cell in cells {
            if let repeated = cell.repeated { clear(repeated.gradients, repeated.sources.count &* repeated.width) }
            for index in cell.givenGradients.indices {
                clear(cell.stateGradient(index), cell.size)
                cell.givenGradients[index] = nil
            }
        }
    }

    override func backward() {
        guard outputs[0].gradient != nil else { return }
        findSteps()
        let begin = firstStep
        while endStep > begin {
            // As many steps as fill the product's chunk: what they left is still near.
            firstStep = endStep &- 1
            while firstStep > begin && window.place(endStep) &- window.place(firstStep &- 1) <= GradientProduct.chunk { firstStep = firstStep &- 1 }
            parameters.team.run(self, Phase.backward.rawValue, products: 2 &* products)
            if firstStep == 0 || window.place(pending) &- window.place(firstStep) >= GradientProduct.chunk / 2 {
                for cell in cells { cell.addGradients(parameters.product, steps: firstStep, pending) }
                pending = firstStep
            }
            endStep = firstStep
        }
        guard begin == 0, let repeated = cells[0].repeated else { return }
        if repeated.dx != nil {
            parameters.team.run(self, Phase.inputBack.rawValue, products: repeated.sources.count &* repeated.width &* cells[0].inputWidth)
        }
        cells[0].input.addGradient(parameters.product, repeated.x, repeated.gradients, repeated.width, 0, .flat(repeated.sources.count),
                                   bias: cells[0].biasGradient)
    }

    private func runBackward(_ span: Span) {
        guard let dy = outputs[0].gradient else { return }
        let last = cells[cells.count - 1], units = last.units
        for step in firstStep..<endStep {
            let part = window.part(of: span, at: step), place = window.place(step) &+ part.first
            for cell in cells where cell !== last { clear(cell.dh + place &* cell.units, part.count &* cell.units) }
            (last.dh + place &* units).copy(from: dy + place &* units, count: part.count &* units)
            guard let mask, layer.options.zeroOutputForMask else { continue }
            for at in place..<(place &+ part.count) where mask[at] == 0 { clear(last.dh + at &* units, units) }
        }
        for number in (0..<cells.count).reversed() {
            if number > 0 {
                let below = cells[number - 1]
                cells[number].backward(span, firstStep, endStep, dx: below.dh + span.first &* below.units, below.units, nil)
            } else {
                let features = cells[0].inputWidth
                let dx = cells[0].repeated == nil ? input.gradient.map { $0 + span.first &* features } : nil
                cells[0].backward(span, firstStep, endStep, dx: dx, features, nil)
            }
        }
    }
}
