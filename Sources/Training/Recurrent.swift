import Engine

/// An RNN layer over a whole sequence.
final class RecurrentTape: TapeOperation {
    private let layer: RNN
    private let cells: [CellTape]
    private let input: TapeValue
    private let initialStates: [TapeValue]
    private let outputs: [TapeValue]
    private let links: [StateLink]
    private let rows: Int
    private let time: Int
    private let features: Int
    /// The input, its gradient and its mask in the order of the steps: [time][rows][features].
    private let x: Floats
    private let dx: Floats
    private let mask: UnsafeMutablePointer<UInt8>?

    static func make(_ layer: RNN, _ binding: TapeBinding) throws(Failure) -> RecurrentTape {
        var input = binding.inputs[0]
        if layer.options.forgetsMaskWithInitialState && !binding.initialStates.isEmpty { input.mask = nil }
        let time = input.shape[0], features = input.shape[1], memory = binding.memory
        let x = try memory.floats(binding.rows, input.count)
        let mask = input.mask == nil ? nil : try memory.bytes(multiplied(binding.rows, time))
        var cells: [CellTape] = []
        var source = x, width = features
        for cell in layer.cells {
            let tape = try CellTape.make(cell, binding, steps: time, x: source, features: width, mask: mask)
            cells.append(tape)
            source = tape.h + tape.size
            width = cell.units
        }
        return RecurrentTape(layer, cells, input, binding, x, try memory.floats(binding.rows, input.count), mask)
    }

    private init(_ layer: RNN, _ cells: [CellTape], _ input: TapeValue, _ binding: TapeBinding, _ x: Floats, _ dx: Floats,
                 _ mask: UnsafeMutablePointer<UInt8>?) {
        self.layer = layer
        self.cells = cells
        self.input = input
        self.x = x
        self.dx = dx
        self.mask = mask
        initialStates = binding.initialStates
        outputs = binding.outputs
        links = binding.links
        rows = binding.rows
        time = input.shape[0]
        features = input.shape[1]
    }

    private func moment(_ step: Int) -> Int { layer.options.goBackwards ? time &- 1 &- step : step }

    /// Calls `body` with each state's place in the order of the layer's states.
    @inline(__always)
    private func eachState(_ body: (_ state: Int, _ cell: CellTape, _ index: Int) -> Void) {
        var state = 0
        for (number, cell) in cells.enumerated() {
            for index in 0..<layer.cells[number].stateNames.count {
                body(state, cell, index)
                state = state &+ 1
            }
        }
    }

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

    override func forward(_ pass: Pass) {
        for step in 0..<time {
            for row in 0..<rows {
                let from = row &* time &+ moment(step), to = step &* rows &+ row
                (x + to &* features).copy(from: input.data + from &* features, count: features)
                if let mask, let given = input.mask { mask[to] = given[from] }
            }
        }
        eachState { state, cell, index in
            let place = cell.initial(index)
            if state < links.count, let given = links[state].initial {
                place.copy(from: given, count: cell.size)
            } else if state < initialStates.count {
                place.copy(from: initialStates[state].data, count: cell.size)
            } else {
                clear(place, cell.size)
            }
        }
        for cell in cells { cell.forward(pass) }
        let last = cells[cells.count - 1], units = last.units
        eachOutput { step, row, place in
            let source = last.h + ((step &+ 1) &* rows &+ row) &* units
            if isBlank(step, row) {
                clear(outputs[0].data + place, units)
            } else {
                (outputs[0].data + place).copy(from: source, count: units)
            }
        }
        eachState { state, cell, index in
            if state < links.count { links[state].final.copy(from: cell.final(index), count: cell.size) }
            if state &+ 1 < outputs.count { outputs[state &+ 1].data.copy(from: cell.final(index), count: cell.size) }
        }
    }

    /// The steps and rows that the first output has, and where there.
    @inline(__always)
    private func eachOutput(_ body: (_ step: Int, _ row: Int, _ place: Int) -> Void) {
        let units = cells[cells.count - 1].units
        for row in 0..<rows {
            if layer.options.returnSequences {
                for step in 0..<time { body(step, row, (row &* time &+ step) &* units) }
            } else {
                body(time &- 1, row, row &* units)
            }
        }
    }

    override func backward() {
        guard let dy = outputs[0].gradient else { return }
        let last = cells[cells.count - 1], units = last.units
        for cell in cells { clear(cell.dh, (time &+ 1) &* cell.size) }
        eachOutput { step, row, place in
            if !isBlank(step, row) { add(dy + place, to: last.dh + ((step &+ 1) &* rows &+ row) &* units, units) }
        }
        eachState { state, cell, index in
            let place = cell.finalGradient(index)
            if index > 0 { clear(place, cell.size) }
            if state < links.count, let given = links[state].finalGradient { add(given, to: place, cell.size) }
            if state &+ 1 < outputs.count, let given = outputs[state &+ 1].gradient { add(given, to: place, cell.size) }
        }
        for number in (0..<cells.count).reversed() {
            if number > 0 {
                cells[number].backward(dx: cells[number - 1].dh + cells[number - 1].size)
            } else if let gradient = input.gradient {
                clear(dx, rows &* input.count)
                cells[0].backward(dx: dx)
                for step in 0..<time {
                    for row in 0..<rows {
                        add(dx + (step &* rows &+ row) &* features, to: gradient + (row &* time &+ moment(step)) &* features, features)
                    }
                }
            } else {
                cells[0].backward(dx: nil)
            }
        }
        eachState { state, cell, index in
            let place = cell.initialGradient(index)
            if state < links.count, links[state].initial != nil || state >= initialStates.count {
                links[state].gradient.copy(from: place, count: cell.size)
            } else if state < initialStates.count, let gradient = initialStates[state].gradient {
                add(place, to: gradient, cell.size)
            }
        }
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
    private let rows: Int
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
                        initialStates: Array(states), outputs: outputs, links: [], series: binding.series)
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
        rows = binding.rows
        time = layer.backward.options.returnSequences ? ahead.shape[0] : 1
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
