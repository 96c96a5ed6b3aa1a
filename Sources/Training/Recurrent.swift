import Engine

/// An RNN layer over a whole sequence: in one piece, or where memory is short in segments, of which only the states between
/// them are kept; what is within a segment is computed again when it runs backward.
final class RecurrentTape: TapeOperation {
    private let layer: RNN
    private let parameters: Parameters
    private let cells: [CellTape]
    private let input: TapeValue
    private let initialStates: [TapeValue]
    private let outputs: [TapeValue]
    private let links: [StateLink]
    private let time: Int
    private let features: Int
    /// Steps of a segment, how many there are, and which the cells hold.
    private let length: Int
    private let segments: Int
    private var held = -1
    /// The states before each segment and after the last, those of one after another: [segments + 1][rows][all units].
    private let states: Floats
    private let stateUnits: Int
    /// A segment's input, and the whole mask, in the order of the steps: [length][rows][features].
    private let x: Floats
    private let mask: UnsafeMutablePointer<UInt8>?

    private enum Phase: Int { case forward, backward }

    static func make(_ layer: RNN, _ binding: TapeBinding) throws(Failure) -> RecurrentTape {
        var input = binding.inputs[0]
        if layer.options.forgetsMaskWithInitialState && !binding.initialStates.isEmpty { input.mask = nil }
        let time = input.shape[0], features = input.shape[1], memory = binding.memory
        let length = min(time, binding.segment), segments = length == 0 ? 0 : (time + length - 1) / length
        let x = try memory.floats(binding.rows, length, features)
        let mask = input.mask == nil ? nil : try memory.bytes(multiplied(binding.rows, time))
        var cells: [CellTape] = []
        var source = x
        let window = try Window(rows: binding.rows, steps: length)
        for cell in layer.cells {
            let tape = try CellTape.make(cell, binding, window, x: source, mask: mask)
            cells.append(tape)
            source = tape.h + tape.size
        }
        let units = layer.stateShapes.reduce(0) { $0 + $1[0] }
        return RecurrentTape(layer, cells, input, binding, x, mask, length, segments, try memory.floats(segments + 1, binding.rows, units), units)
    }

    private init(_ layer: RNN, _ cells: [CellTape], _ input: TapeValue, _ binding: TapeBinding, _ x: Floats,
                 _ mask: UnsafeMutablePointer<UInt8>?, _ length: Int, _ segments: Int, _ states: Floats, _ stateUnits: Int) {
        self.layer = layer
        self.cells = cells
        self.input = input
        self.x = x
        self.mask = mask
        self.length = length
        self.segments = segments
        self.states = states
        self.stateUnits = stateUnits
        parameters = binding.parameters
        initialStates = binding.initialStates
        outputs = binding.outputs
        links = binding.links
        time = input.shape[0]
        features = input.shape[1]
        super.init(rows: binding.rows)
    }

    private func moment(_ step: Int) -> Int { layer.options.goBackwards ? time &- 1 &- step : step }

    /// Calls `body` with each state in the order of the layer's, and its place among `states` of a segment.
    @inline(__always)
    private func eachState(_ body: (_ state: Int, _ cell: CellTape, _ index: Int, _ place: Int) -> Void) {
        var state = 0, place = 0
        for (number, cell) in cells.enumerated() {
            for index in 0..<layer.cells[number].stateNames.count {
                body(state, cell, index, place)
                state = state &+ 1
                place = place &+ cell.size
            }
        }
    }

    /// The states before a segment.
    private func states(_ segment: Int) -> Floats { states + segment &* rows &* stateUnits }

    private func steps(_ segment: Int) -> Int { min(length, time &- segment &* length) }

    /// Whether the output of a step is zero, whatever the state: a masked step's, before the first that counts or with
    /// zero_output_for_mask.
    private func isBlank(_ step: Int, _ row: Int) -> Bool {
        guard let mask, mask[step &* rows &+ row] == 0 else { return false }
        if layer.options.zeroOutputForMask { return true }
        // States that were set are what came before.
        if !links.isEmpty, links[0].initial != nil { return false }
        for earlier in 0..<step where mask[earlier &* rows &+ row] != 0 { return false }
        return true
    }

    override var isByRow: Bool { true }

    override var productCount: Int {
        var sum = 0
        for cell in cells { sum = sum &+ (cell.units &+ cell.inputWidth) &* cell.gateWidth }
        return sum &* rows &* time
    }

    override func forward(_ pass: Pass) {
        begin(pass)
        parameters.team.run(self, Phase.forward.rawValue)
    }

    override func begin(_ pass: Pass) {
        if let mask, let given = input.mask {
            for step in 0..<time {
                for row in 0..<rows { mask[step &* rows &+ row] = given[row &* time &+ moment(step)] }
            }
        }
        for cell in cells { cell.begin(pass) }
        held = segments &- 1
    }

    /// Of some rows the states before the first step.
    private func beginStates(_ firstRow: Int, _ count: Int) {
        eachState { state, cell, _, place in
            let own = firstRow &* cell.units, size = count &* cell.units, first = states + (place &+ own)
            if state < links.count, let given = links[state].initial {
                first.copy(from: given + own, count: size)
            } else if state < initialStates.count {
                first.copy(from: initialStates[state].data + own, count: size)
            } else {
                clear(first, size)
            }
        }
    }

    /// Those after the last step go where they are wanted.
    private func endStates(_ firstRow: Int, _ count: Int) {
        eachState { state, cell, _, place in
            let own = firstRow &* cell.units, size = count &* cell.units, last = states(segments) + (place &+ own)
            if state < links.count { (links[state].final + own).copy(from: last, count: size) }
            if state &+ 1 < outputs.count { (outputs[state &+ 1].data + own).copy(from: last, count: size) }
        }
    }

    override func run(_ phase: Int, _ worker: Int, of workers: Int) {
        let own = share(rows, worker, of: workers)
        if phase == Phase.backward.rawValue { return runBackward(part, own.first, own.count) }
        beginStates(own.first, own.count)
        for segment in 0..<segments {
            let span = Span(start: segment &* length, steps: steps(segment), first: own.first, count: own.count)
            run(segment, span)
            let last = cells[cells.count - 1], units = last.units
            eachOutput(span) { step, row, place in
                if isBlank(span.start &+ step, row) {
                    clear(outputs[0].data + place, units)
                } else {
                    (outputs[0].data + place).copy(from: last.h + ((step &+ 1) &* rows &+ row) &* units, count: units)
                }
            }
        }
        endStates(own.first, own.count)
    }

    /// The cells over a span of a segment, from the states before it.
    private func run(_ segment: Int, _ span: Span) {
        for step in 0..<span.steps {
            for row in span.first..<(span.first &+ span.count) {
                let from = row &* time &+ moment(span.start &+ step), to = step &* rows &+ row
                (x + to &* features).copy(from: input.data + from &* features, count: features)
            }
        }
        let before = states(segment), after = states(segment &+ 1)
        eachState { _, cell, index, place in
            let own = span.first &* cell.units
            (cell.states(index) + own).copy(from: before + (place &+ own), count: span.count &* cell.units)
        }
        for cell in cells { cell.forward(span, 0, span.steps) }
        eachState { _, cell, index, place in
            let own = span.first &* cell.units
            (after + (place &+ own)).copy(from: cell.states(index) + (cell.before(span.steps) &* cell.units &+ own), count: span.count &* cell.units)
        }
    }

    /// The steps and rows of a span that the first output has, and where there.
    @inline(__always)
    private func eachOutput(_ span: Span, _ body: (_ step: Int, _ row: Int, _ place: Int) -> Void) {
        let units = cells[cells.count - 1].units
        for row in span.first..<(span.first &+ span.count) {
            if layer.options.returnSequences {
                for step in 0..<span.steps { body(step, row, (row &* time &+ span.start &+ step) &* units) }
            } else if span.start &+ span.steps == time {
                body(span.steps &- 1, row, row &* units)
            }
        }
    }

    /// Steps of a segment that run backward before the next.
    private struct Part {
        var segment = 0
        var first = 0
        var end = 0
    }

    /// The one that all workers are at.
    private var part = Part()

    /// Calls `body` with the parts from the last to the first, each of as many steps as fill the product's chunk with a half of the
    /// rows: what they left is still near.
    private func eachPart(_ body: (Part) -> Void) {
        for segment in (0..<segments).reversed() {
            var end = steps(segment)
            while end > 0 {
                let first = max(0, end &- max(1, 2 &* GradientProduct.chunk / rows))
                body(Part(segment: segment, first: first, end: end))
                end = first
            }
        }
    }

    override func backward() {
        guard outputs[0].gradient != nil else { return }
        eachPart { part in
            self.part = part
            parameters.team.run(self, Phase.backward.rawValue)
            for cell in cells { cell.addGradients(parameters.product, steps: part.first, part.end) }
        }
        endBack()
    }

    /// Of some rows the gradients of the states after the last step.
    private func beginGradients(_ firstRow: Int, _ count: Int) {
        eachState { state, cell, index, _ in
            let own = firstRow &* cell.units, size = count &* cell.units, place = cell.stateGradient(index) + own
            clear(place, size)
            if state < links.count, let given = links[state].finalGradient { add(given + own, to: place, size) }
            if state &+ 1 < outputs.count, let given = outputs[state &+ 1].gradient { add(given + own, to: place, size) }
        }
    }

    /// Those before the first step go where they are wanted.
    private func endGradients(_ firstRow: Int, _ count: Int) {
        eachState { state, cell, index, _ in
            let own = firstRow &* cell.units, size = count &* cell.units, place = cell.stateGradient(index) + own
            if state < links.count, links[state].initial != nil || state >= initialStates.count {
                (links[state].gradient + own).copy(from: place, count: size)
            } else if state < initialStates.count, let gradient = initialStates[state].gradient {
                add(place, to: gradient + own, size)
            }
        }
    }

    override func runBackward(_ worker: Int, of workers: Int, _ product: GradientProduct) {
        if outputs[0].gradient == nil { return }
        let own = share(rows, worker, of: workers)
        eachPart { part in
            runBackward(part, own.first, own.count)
            for cell in cells { cell.addGradients(product, steps: part.first, part.end) }
        }
    }

    override func endBack() { held = cells.contains { $0.losesGates } ? -1 : 0 }

    /// A part of some rows.
    @inline(never)
    private func runBackward(_ part: Part, _ firstRow: Int, _ count: Int) {
        guard let dy = outputs[0].gradient else { return }
        let span = Span(start: part.segment &* length, steps: steps(part.segment), first: firstRow, count: count)
        let last = cells[cells.count - 1], units = last.units
        if part.end == span.steps {
            if part.segment == segments &- 1 { beginGradients(firstRow, count) }
            // Only what ran last can still be there.
            if held != part.segment || part.segment != segments &- 1 { run(part.segment, span) }
            for cell in cells where cell !== last || mask != nil || !layer.options.returnSequences {
                for step in 0..<span.steps { clear(cell.dh + (step &* cell.size &+ span.first &* cell.units), span.count &* cell.units) }
            }
            eachOutput(span) { step, row, place in
                if !isBlank(span.start &+ step, row) { (last.dh + (step &* rows &+ row) &* units).copy(from: dy + place, count: units) }
            }
        }
        for number in (0..<cells.count).reversed() {
            if number > 0 {
                let below = cells[number - 1]
                cells[number].backward(span, part.first, part.end, dx: below.dh + span.first &* below.units, below.units, nil)
            } else {
                let dx = input.gradient.map { $0 + (span.first &* time &+ moment(span.start)) &* features }
                cells[0].backward(span, part.first, part.end, dx: dx, time &* features, layer.options.goBackwards ? -features : features)
            }
        }
        if part.segment == 0 && part.first == 0 { endGradients(firstRow, count) }
    }
}

/// Two RNN layers on one input, the second reading from the end.
final class BidirectionalTape: TapeOperation {
    private let forward: RecurrentTape
    private let backward_: RecurrentTape
    private let merge: Bidirectional.Merge
    private let ahead: TapeValue
    private let back: TapeValue
    private let outputs: [TapeValue]
    private let time: Int

    static func make(_ layer: Bidirectional, _ binding: TapeBinding) throws(Failure) -> BidirectionalTape {
        let shape = [binding.inputs[0].shape]
        let needsGradient = binding.outputs[0].gradient != nil
        func results(_ shapes: [Shape], stateOffset: Int) throws(Failure) -> [TapeValue] {
            var values: [TapeValue] = [try binding.value(shapes[0], needsGradient: needsGradient)]
            // The states are the model's outputs themselves.
            for index in 1..<max(1, shapes.count) { values.append(binding.outputs[stateOffset + index - 1]) }
            return values
        }
        let forwardShapes = try layer.forward.outputShapes(shape), backwardShapes = try layer.backward.outputShapes(shape)
        let answers = layer.merge == .none ? 2 : 1
        let ahead = try results(forwardShapes, stateOffset: answers)
        let back = try results(backwardShapes, stateOffset: answers + forwardShapes.count - 1)
        let half = binding.initialStates.count / 2
        func within(_ outputs: [TapeValue], _ states: ArraySlice<TapeValue>) -> TapeBinding {
            TapeBinding(parameters: binding.parameters, memory: binding.memory, rows: binding.rows, inputs: binding.inputs,
                        initialStates: Array(states), outputs: outputs, links: [], series: binding.series, segment: binding.segment)
        }
        return BidirectionalTape(layer, try RecurrentTape.make(layer.forward, within(ahead, binding.initialStates[..<half])),
                                 try RecurrentTape.make(layer.backward, within(back, binding.initialStates[half...])),
                                 ahead[0], back[0], binding)
    }

    private init(_ layer: Bidirectional, _ forward: RecurrentTape, _ backward: RecurrentTape, _ ahead: TapeValue, _ back: TapeValue,
                 _ binding: TapeBinding) {
        self.forward = forward
        backward_ = backward
        merge = layer.merge
        self.ahead = ahead
        self.back = back
        outputs = binding.outputs
        time = layer.backward.options.returnSequences ? ahead.shape[0] : 1
        super.init(rows: binding.rows)
    }

    override func forward(_ pass: Pass) {
        forward.forward(pass)
        backward_.forward(pass)
        join { a, b, out, width, backWidth in
            let a = ahead.data + a, b = back.data + b
            let result = outputs[0].data + out
            switch merge {
            case .concatenate:
                result.copy(from: a, count: width)
                (result + width).copy(from: b, count: backWidth)
            case .sum: for i in 0..<width { result[i] = a[i] + b[i] }
            case .average: for i in 0..<width { result[i] = (a[i] + b[i]) / 2 }
            case .multiply: for i in 0..<width { result[i] = a[i] * b[i] }
            case .none:
                result.copy(from: a, count: width)
                (outputs[1].data + out / max(1, width) &* backWidth).copy(from: b, count: backWidth)
            }
        }
    }

    /// Calls `body` for each row and step with the places of both answers and of the output.
    @inline(__always)
    private func join(_ body: (_ a: Int, _ b: Int, _ out: Int, _ width: Int, _ backWidth: Int) -> Void) {
        let width = ahead.count / max(1, time), backWidth = back.count / max(1, time)
        let outWidth = outputs[0].count / max(1, time)
        for row in 0..<rows {
            for t in 0..<time {
                body(row &* ahead.count &+ t &* width, row &* back.count &+ (time &- 1 &- t) &* backWidth, (row &* time &+ t) &* outWidth,
                     width, backWidth)
            }
        }
    }

    override func backward() {
        guard let dy = outputs[0].gradient, let da = ahead.gradient, let db = back.gradient else { return }
        clear(da, rows &* ahead.count)
        clear(db, rows &* back.count)
        join { a, b, out, width, backWidth in
            let d = dy + out, x = ahead.data + a, y = back.data + b, da = da + a, db = db + b
            switch merge {
            case .concatenate:
                add(d, to: da, width)
                add(d + width, to: db, backWidth)
            case .sum, .average:
                let share: Float = merge == .sum ? 1 : 0.5
                for i in 0..<width {
                    da[i] += share * d[i]
                    db[i] += share * d[i]
                }
            case .multiply:
                for i in 0..<width {
                    da[i] += d[i] * y[i]
                    db[i] += d[i] * x[i]
                }
            case .none:
                add(d, to: da, width)
                if let second = outputs[1].gradient { add(second + out / max(1, width) &* backWidth, to: db, backWidth) }
            }
        }
        forward.backward()
        backward_.backward()
    }
}
