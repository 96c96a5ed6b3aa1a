import CSystem

/// A loop over time around one cell, or around a stack of them: LSTM, GRU, SimpleRNN, RNN.
///
/// Input [time, features]. Outputs: [time, units] with return_sequences, else [units]; with return_state the
/// final states behind it, each [units].
public final class RNN: Layer {
    public struct Options: Sendable {
        public var returnSequences = false
        public var returnState = false
        public var goBackwards = false
        /// Masked steps give zeros instead of the previous output.
        public var zeroOutputForMask = false
        /// Keras 3 passes no mask to a layer that it gives an initial state (as of 3.15): all steps count.
        public var forgetsMaskWithInitialState = false

        @export(interface)
        public init() {}
    }

    public let cells: [Cell]
    public let options: Options
    /// Whether the weights' paths name the cell: for RNN over given cells.
    private let namesCells: Bool
    private var features = anyLength

    @export(interface)
    public init(name: Name, className: Name, cells: [Cell], namesCells: Bool, options: Options) {
        self.cells = cells
        self.namesCells = namesCells
        self.options = options
        super.init(name: name, className: className)
    }

    var units: Int { cells[cells.count - 1].units }

    /// Widths of the states as they are shown: h (and c) of each cell.
    public var stateShapes: [Shape] { cells.flatMap { cell in cell.stateNames.map { _ in [cell.units] } } }

    /// Masked steps answer with the previous output, which is then a state too.
    override func states(masked: Bool) -> [StateSlot] {
        var slots: [StateSlot] = []
        for (index, cell) in cells.enumerated() {
            for state in cell.stateNames {
                let name = cells.count == 1 ? state : Name("\(index)/") + state
                slots.append(StateSlot(name: name, units: cell.units, isHidden: false))
            }
        }
        if masked { slots.append(StateSlot(name: "previous output", units: units, isHidden: true)) }
        return slots
    }

    public override var form: Form { .rnn(self) }

    public override func outputShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] {
        let shape = try single(inputs)
        guard shape.count == 2 else { throw failure("takes [batch, time, features], not \(describe(shape))") }
        if features >= 0, shape[1] >= 0, shape[1] != features {
            throw failure("expects \(features) features, not \(shape[1]) (its input is \(describe(shape)))")
        }
        let output = options.returnSequences ? [shape[0], units] : [units]
        return options.returnState ? [output] + stateShapes : [output]
    }

    override func build(_ inputs: [Shape]) throws(Failure) {
        let shape = try single(inputs)
        features = shape.count == 2 ? shape[1] : anyLength
        var width = features
        for (index, cell) in cells.enumerated() {
            try cell.build(features: width, in: self, path: namesCells ? Name(cells.count == 1 ? "cell" : "\(index)") : "")
            width = cell.units
        }
    }

    override func pack() throws(Failure) {
        for cell in cells { try cell.pack() }
    }

    override var passesMask: Bool { options.returnSequences }
    override var heedsMask: Bool { true }

    override func heedsMask(withInitialState: Bool) -> Bool {
        !(withInitialState && options.forgetsMaskWithInitialState)
    }

    public override var isRecurrent: Bool { true }
    override var initialStateShapes: [Shape] { stateShapes }

    override var parameters: [Float] {
        [options.returnSequences, options.returnState, options.goBackwards, options.zeroOutputForMask].map { $0 ? 1 : 0 }
            + cells.flatMap { [Float($0.units)] + $0.parameters }
    }

    override func streaming(_ inputs: [Timeline], _ shapes: [Shape]) -> Streaming {
        let others = [Timeline](repeating: .still, count: options.returnState ? stateShapes.count : 0)
        if inputs[0] == .still { return .streams([.still] + others) }
        if options.goBackwards {
            return .needsWhole("go_backwards=True reads the last step first; "
                + "train it forwards, or run it on the whole sequence")
        }
        return .streams([options.returnSequences ? .flowing : .still] + others)
    }

    override func operation(_ binding: inout Binding) throws(Failure) -> Operation? {
        for index in binding.outputs.indices { try binding.allocateOutput(index) }
        return try RNNOperation(self, binding)
    }
}

final class RNNOperation: Operation {
    private let goesBackwards: Bool
    private let returnsSequences: Bool
    private let zeroesMasked: Bool
    private let x: UnsafeMutablePointer<Float>
    private let mask: UnsafeMutablePointer<UInt8>?
    /// Where the first output goes.
    private let out: UnsafeMutablePointer<Float>
    private let initialStates: [Tensor]
    /// The outputs of final states.
    private let stateOutputs: [Tensor]
    private let hasStateOutputs: Bool
    private let time: Int
    private let features: Int
    private let units: Int
    /// Floats of one row's states: those of the cells, then the previous output where there is a mask.
    private let width: Int
    /// Where in a row of states the output lies: the last cell's h, or the previous output.
    private let outputPlace: Int
    /// Where the last cell's h lies.
    private let lastPlace: Int
    private let steps: ObjectList<CellStep>
    /// What the last cell writes to `out` by itself.
    private let answer: UnsafeMutablePointer<cz_answer>
    private let answers: Bool
    /// Floats of one row's states of each cell.
    private let widths: UnsafeMutablePointer<Int>
    private let beginsElsewhere: Bool
    private let offset: Int?
    /// The only cell, where all that a step does is done by it: it carries its states and writes the output.
    private let cell: Unmanaged<CellStep>?
    /// nil: the first cell makes its products with the input itself.
    private let products: InputProducts?
    /// How many its cells have.
    private let weightCount: Int
    /// Two blocks of states [rows][width], for states that the stream does not carry or that begin elsewhere.
    private let blocks: (UnsafeMutablePointer<Float>, UnsafeMutablePointer<Float>)?

    init(_ layer: RNN, _ binding: Binding) throws(Failure) {
        goesBackwards = layer.options.goBackwards
        returnsSequences = layer.options.returnSequences
        zeroesMasked = layer.options.zeroOutputForMask
        initialStates = binding.initialStates
        beginsElsewhere = !initialStates.isEmpty
        let input = binding.inputs[0]
        x = input.data
        mask = layer.options.forgetsMaskWithInitialState && beginsElsewhere ? nil : input.mask
        out = binding.outputs[0].data
        stateOutputs = Array(binding.outputs.dropFirst())
        time = input.shape[0]
        features = input.shape[1]
        units = layer.units
        let cellsWidth = layer.cells.reduce(0) { $0 + $1.stateWidth }
        lastPlace = cellsWidth - layer.cells[layer.cells.count - 1].stateWidth
        outputPlace = mask == nil ? lastPlace : cellsWidth
        width = mask == nil ? cellsWidth : cellsWidth + padded(units)
        offset = binding.stateOffset
        var steps: [CellStep] = []
        var features = features
        for cell in layer.cells {
            steps.append(try cell.step(features: features, rows: binding.capacity, kernels: binding.kernels,
                                       workspace: binding.workspace))
            features = cell.units
        }
        if offset == nil, time > 1, !goesBackwards, binding.capacity <= InputProducts.rows,
           let weights = steps[0].inputWeights, layer.cells[0].weights[0].count >= InputProducts.weights {
            products = try InputProducts(weights, rows: binding.capacity, time: time, binding.kernels, binding.workspace)
        } else {
            products = nil
        }
        weightCount = layer.cells.reduce(0) { $0 + $1.weights[0].count + $1.weights[1].count }
        if offset == nil || beginsElsewhere {
            let count = try multiplied(binding.capacity, width)
            blocks = (try binding.workspace.floats(count), try binding.workspace.floats(count))
        } else {
            blocks = nil
        }
        self.steps = ObjectList(steps)
        answer = .allocate(capacity: 1)
        answer.initialize(to: cz_answer())
        answer.pointee.stride = returnsSequences ? time * units : units
        answers = mask == nil && steps[steps.count - 1].writes(UnsafePointer(answer))
        hasStateOutputs = !stateOutputs.isEmpty
        if offset != nil && !beginsElsewhere && answers && !hasStateOutputs && steps.count == 1 {
            cell = .passUnretained(steps[0])
            answer.pointee.out = out
        } else {
            cell = nil
        }
        widths = .allocate(capacity: layer.cells.count)
        for (index, cell) in layer.cells.enumerated() { widths[index] = cell.stateWidth }
    }

    deinit {
        widths.deallocate()
        answer.deallocate()
    }

    override func keepsProducts(rows: Int, _ kernels: UnsafePointer<cz_kernels>,
                                _ workspace: Workspace) throws(Failure) -> KeptProducts? {
        var first: CellStep?
        steps.with(0) { first = $0 }
        guard let first, let weights = first.inputWeights else { return nil }
        first.kept = try KeptProducts(weights, rows: rows, kernels, workspace)
        return first.kept
    }

    override func applies(_ activation: cz_activation) -> Bool {
        guard answers else { return false }
        answer.pointee.activation = activation
        return true
    }

    override func run(_ moment: Moment) {
        if let cell, let offset {
            cell._withUnsafeGuaranteedRef {
                $0.run(rows: moment.rows, x: UnsafePointer(x), xStride: features, from: moment.state + offset, fromStride: moment.stride,
                       to: moment.next + offset, toStride: moment.stride)
            }
        } else if let offset {
            let from = UnsafePointer(begin(moment, offset)) ?? moment.state + offset
            let fromStride = beginsElsewhere ? width : moment.stride
            let to = moment.next + offset
            step(0, rows: moment.rows, from: from, fromStride: fromStride, to: to, toStride: moment.stride)
            finish(rows: moment.rows, states: UnsafePointer(to), stride: moment.stride)
        } else {
            run(moment, 0..<time)
        }
    }

    override var cost: Int { weightCount }
    override var pieces: Int? { goesBackwards || beginsElsewhere || hasStateOutputs ? nil : time }
    override var givesPieces: Bool { returnsSequences }

    override func run(_ moment: Moment, _ piece: Range<Int>) {
        guard var (from, to) = blocks else { return }
        if piece.lowerBound & 1 == 1 { swap(&from, &to) }
        if piece.lowerBound == 0 { begin(rows: moment.rows, from) }
        for t in piece {
            if let products {
                steps.with(0) { products.prepare(t, before: piece.upperBound, rows: moment.rows, x, time &* features, for: $0) }
            }
            step(t, rows: moment.rows, from: UnsafePointer(from), fromStride: width, to: to, toStride: width)
            swap(&from, &to)
        }
        if piece.upperBound == time { finish(rows: moment.rows, states: UnsafePointer(from), stride: width) }
    }

    /// The carried states with the model's own initial states in the rows that begin; nil where there are none.
    private func begin(_ moment: Moment, _ offset: Int) -> UnsafeMutablePointer<Float>? {
        guard beginsElsewhere, let (block, _) = blocks else { return nil }
        for row in 0..<moment.rows {
            (block + row &* width).copy(from: moment.state + offset + row &* moment.stride, count: width)
            if moment.fresh[row] != 0 { setInitialStates(block + row &* width, row: row) }
        }
        return block
    }

    /// Zeros, or the model's own initial states.
    private func begin(rows: Int, _ block: UnsafeMutablePointer<Float>) {
        block.update(repeating: 0, count: rows &* width)
        if !beginsElsewhere { return }
        for row in 0..<rows { setInitialStates(block + row &* width, row: row) }
    }

    private func setInitialStates(_ states: UnsafeMutablePointer<Float>, row: Int) {
        var place = states
        for state in initialStates {
            place.copy(from: state.data + row &* state.count, count: state.count)
            place += padded(state.count)
        }
    }

    /// Step `t` of the loop for all rows, and its output.
    private func step(_ t: Int, rows: Int, from: UnsafePointer<Float>, fromStride: Int,
                      to: UnsafeMutablePointer<Float>, toStride: Int) {
        let moment = goesBackwards ? time &- 1 &- t : t
        var x = UnsafePointer(x + moment &* features)
        var xStride = time &* features
        var place = 0
        if answers {
            answer.pointee.out = returnsSequences ? out + t &* units : t == time &- 1 ? out : nil
        }
        for index in 0..<steps.count {
            steps.with(index) {
                $0.run(rows: rows, x: x, xStride: xStride, from: from + place, fromStride: fromStride,
                       to: to + place, toStride: toStride)
            }
            x = UnsafePointer(to + place)
            xStride = toStride
            place = place &+ widths[index]
        }
        if let mask {
            for row in 0..<rows {
                holdBack(masked: mask[row &* time &+ moment] == 0, from: from + row &* fromStride, to: to + row &* toStride)
            }
        }
        if returnsSequences && !answers {
            for row in 0..<rows {
                (out + (row &* time &+ t) &* units).copy(from: to + (row &* toStride &+ outputPlace), count: units)
            }
        }
    }

    /// Under a mask: a masked step leaves a row's states as they were and answers with the previous output, or with zeros.
    private func holdBack(masked: Bool, from: UnsafePointer<Float>, to: UnsafeMutablePointer<Float>) {
        if !masked {
            (to + outputPlace).copy(from: to + lastPlace, count: units)
        } else {
            to.copy(from: from, count: width)
            if zeroesMasked { (to + outputPlace).update(repeating: 0, count: units) }
        }
    }

    /// The outputs that are there only at the end.
    private func finish(rows: Int, states: UnsafePointer<Float>, stride: Int) {
        if answers && !hasStateOutputs { return }
        for row in 0..<rows {
            let first = states + row &* stride
            if !returnsSequences && !answers { (out + row &* units).copy(from: first + outputPlace, count: units) }
            var place = first
            for state in stateOutputs {
                (state.data + row &* state.count).copy(from: place, count: state.count)
                place += padded(state.count)
            }
        }
    }
}
