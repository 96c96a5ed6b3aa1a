import CSystem
import Engine

/// Steps of a window and rows of each, for one thread.
struct Span {
    /// The window's step that is the tape's first.
    var start: Int
    var steps: Int
    let first: Int
    let count: Int
}

/// x·W for a window, step by step, with the dropout of x: one product, or one for each gate where each drops its own.
final class Projection {
    private let groups: [(matrix: Matrix, column: Int)]
    /// Values of x in a step's row.
    private let width: Int
    private let window: Window
    private let rate: Float
    private let series: Int
    /// By group [rows][width], and the dropped x by place.
    private let masks: Floats?
    private let dropped: Floats?
    private let scratch: Floats?
    private var isActive = false

    /// - Parameters:
    ///   - gates: gates of `units` columns, from gate `first` on.
    static func make(_ binding: TapeBinding, _ weight: Weight, first: Int, gates: Int, units: Int, window: Window, rate: Float,
                     byGate: Bool) throws(Failure) -> Projection {
        let drops = rate > 0, count = drops && byGate ? gates : 1, size = gates / count * units
        var groups: [(matrix: Matrix, column: Int)] = []
        for group in 0..<count {
            groups.append((try binding.parameters.matrix(weight, first: first * units + group * size, columns: size), group * size))
        }
        let width = weight.shape[0]
        return Projection(groups, width: width, window: window, rate: rate, series: binding.series.take(count),
                          masks: drops ? try binding.memory.floats(window.rows, width, count) : nil,
                          dropped: drops ? try binding.memory.floats(window.count, width, count) : nil,
                          scratch: drops ? try binding.memory.floats(window.rows, width) : nil)
    }

    private init(_ groups: [(matrix: Matrix, column: Int)], width: Int, window: Window, rate: Float, series: Int,
                 masks: Floats?, dropped: Floats?, scratch: Floats?) {
        self.groups = groups
        self.width = width
        self.window = window
        self.rate = rate
        self.series = series
        self.masks = masks
        self.dropped = dropped
        self.scratch = scratch
    }

    /// Draws what is dropped in this run.
    func begin(_ pass: Pass) {
        isActive = pass.isTraining && rate > 0
        guard isActive, let masks else { return }
        let size = window.rows &* width
        for group in 0..<groups.count {
            drawMask(masks + group &* size, size, rate: rate, scale: rate < 1 ? 1 / (1 - rate) : 0, pass.random(series + group))
        }
    }

    /// out = start + x·W for a span's rows of a step. x, start and out: of the step's first row.
    func multiply(_ x: Given, step: Int, _ span: Span, start: Given?, _ startStride: Int, _ out: Floats, _ stride: Int) {
        for (index, group) in groups.enumerated() {
            let source = (isActive ? drop(x, index, step, span) : x) + span.first &* width
            group.matrix.multiply(source, width, rows: span.count, start: start.map { $0 + (group.column &+ span.first &* startStride) },
                                  startStride, out + (group.column &+ span.first &* stride), stride)
        }
    }

    private func drop(_ x: Given, _ group: Int, _ step: Int, _ span: Span) -> Given {
        guard let masks, let dropped else { return x }
        let out = dropped + (group &* window.count &+ window.place(step)) &* width, mask = masks + group &* window.rows &* width
        for i in (span.first &* width)..<((span.first &+ span.count) &* width) { out[i] = x[i] * mask[i] }
        return UnsafePointer(out)
    }

    /// dx += dz·Wᵀ for a span's rows of a step. dx: of the span's first row, with `dxStride` floats between rows.
    func multiplyTransposed(_ dz: Given, _ span: Span, _ stride: Int, addTo dx: Floats, _ dxStride: Int) {
        let dz = dz + span.first &* stride
        for (index, group) in groups.enumerated() {
            guard isActive, let masks, let scratch else {
                group.matrix.multiplyTransposed(dz + group.column, stride, rows: span.count, start: dx, dx, dxStride)
                continue
            }
            let place = span.first &* width, product = scratch + place, mask = masks + (index &* window.rows &* width &+ place)
            group.matrix.multiplyTransposed(dz + group.column, stride, rows: span.count, start: nil, product, width)
            for row in 0..<span.count {
                let at = row &* width, dx = dx + row &* dxStride
                for i in 0..<width { dx[i] += product[at &+ i] * mask[at &+ i] }
            }
        }
    }

    /// Whether it is one product.
    var isWhole: Bool { groups.count == 1 }

    /// x from a place on as a factor of a group's gradient.
    func factor(_ x: Given, _ place: Int, _ group: Int = 0) -> GradientProduct.Factor? {
        var source = x
        if isActive, let dropped { source = UnsafePointer(dropped + group &* window.count &* width) }
        return groups[group].matrix.factor(source + place &* width, width)
    }

    /// The weight's gradient by the places from `first` on; and that of the bias. x, dz: of the window's first place.
    func addGradient(_ product: GradientProduct, _ x: Given, _ dz: Given, _ stride: Int, _ first: Int, _ block: GradientProduct.Block,
                     bias: GradientPlace?) {
        for (index, group) in groups.enumerated() {
            product.add(dz + (group.column &+ first &* stride), stride, columns: group.matrix.columns, block,
                        factor(x, first, index), bias: bias.map { $0 + group.column })
        }
    }
}

/// A cell over a window, or a segment of it. Everything lies by place, steps in the order in which they are read.
class CellTape {
    let parameters: Parameters
    final let window: Window
    let rows: Int
    let units: Int
    let input: Projection
    let inputWidth: Int
    let bias: Weight?
    let biasGradient: GradientPlace?
    /// What it reads.
    let x: Floats
    /// [rows]: the states before the first step, then by place those after it.
    let h: Floats
    /// By place: h before the step; h itself where all rows are as long.
    final let hBefore: Floats
    /// The gradient of h after each step by what reads it there, by place; and of h before a step by the step itself, [rows][units].
    let dh: Floats
    let carry: Floats
    /// The whole window's, 1 = use; nil: all.
    let mask: UnsafeMutablePointer<UInt8>?
    /// Where x is one row for several places.
    final let repeated: RepeatedInput?
    /// For each state nil or by place: gradients of the state after each step that come from outside, and from layers that
    /// read it; and where those of everything behind it go.
    final var givenGradients: [AlignedBuffer?] = []
    final var returnedGradients: [Floats?] = []
    final var keptGradients: [Floats?] = []
    /// Sums of the gates, then the gates; and the sums' gradients.
    let z: Floats
    let dz: Floats
    /// The sums, where activations need them.
    let sums: Floats
    let gates: Int

    struct Buffers {
        let input: Projection
        let x: Floats
        let h: Floats
        let hBefore: Floats
        let dh: Floats
        let carry: Floats
        let z: Floats
        let dz: Floats
        let sums: Floats
        let bias: GradientPlace?
    }

    /// The cell of an RNN over a window of x [places][features].
    static func make(_ cell: Cell, _ binding: TapeBinding, _ window: Window, x: Floats, mask: UnsafeMutablePointer<UInt8>?,
                     sources: Sources? = nil, dx: Floats? = nil) throws(Failure) -> CellTape {
        let rows = window.rows, units = cell.units, memory = binding.memory
        try binding.parameters.product.reserve(inputs: cell.weights[0].shape[0] + units, columns: cell.weights[0].shape[1])
        let h = try memory.floats(window.count + rows, units), dh = try memory.floats(window.count, units)
        let hBefore = window.isUniform ? h : try memory.floats(window.count, units)
        let carry = try memory.floats(rows, units)
        let options = cell.trainingOptions
        func buffers(_ gates: Int, keepsSums: Bool, byGate: Bool, inPlace: Bool = false) throws(Failure) -> Buffers {
            let count = try multiplied(window.count, gates * units)
            let z = try memory.floats(count)
            return Buffers(input: try Projection.make(binding, cell.weights[0], first: 0, gates: gates, units: units, window: window,
                                                      rate: options.dropout, byGate: byGate),
                           x: x, h: h, hBefore: hBefore, dh: dh, carry: carry, z: z, dz: inPlace ? z : try memory.floats(count), sums: keepsSums ? try memory.floats(count) : z,
                           bias: cell.weights.count > 2 ? try binding.parameters.place(cell.weights[2]) : nil)
        }
        func recurrent(_ first: Int, _ gates: Int, byGate: Bool) throws(Failure) -> Projection {
            try Projection.make(binding, cell.weights[1], first: first, gates: gates, units: units, window: window,
                                rate: options.recurrentDropout, byGate: byGate)
        }
        let byGate = options.dropsByGate
        let repeated: RepeatedInput? = if let sources { try RepeatedInput(sources, x: x, dx: dx, width: cell.weights[0].shape[1], memory) } else { nil }
        let frame = Frame(window: window, mask: mask, repeated: repeated)
        switch cell.form {
        case .lstm(let lstm):
            let keeps = lstm.activation.needsInput || lstm.recurrentActivation.needsInput
            let size = try multiplied(window.count + rows, units)
            let isPlain = LSTMTape.isPlain(lstm)
            return LSTMTape(lstm, binding, frame, try buffers(4, keepsSums: keeps, byGate: byGate, inPlace: isPlain), try recurrent(0, 4, byGate: byGate),
                            c: try memory.floats(size), active: try memory.floats(size), dc: try memory.floats(rows, units),
                            temporary: try memory.floats(rows, units))
        case .gru(let gru):
            let keeps = gru.activation.needsInput || gru.recurrentActivation.needsInput
            let size = try multiplied(window.count, units)
            let b = try buffers(3, keepsSums: keeps, byGate: byGate)
            return GRUTape(gru, binding, frame, b, try recurrent(0, gru.resetAfter ? 3 : 2, byGate: byGate),
                           last: gru.resetAfter ? nil : try recurrent(2, 1, byGate: byGate),
                           inner: try memory.floats(multiplied(size, gru.resetAfter ? 3 : 1)),
                           dInner: try memory.floats(multiplied(size, gru.resetAfter ? 3 : 1)))
        case .simple(let simple):
            return SimpleRNNTape(simple, binding, frame, try buffers(1, keepsSums: simple.activation.needsInput, byGate: false),
                                 try recurrent(0, 1, byGate: false))
        case .unknown:
            throw Failure(.unsupported, "a cell of class \(cell.className) cannot be trained")
        }
    }

    /// Where and when it runs.
    struct Frame {
        let window: Window
        let mask: UnsafeMutablePointer<UInt8>?
        let repeated: RepeatedInput?
    }

    init(_ cell: Cell, _ binding: TapeBinding, _ frame: Frame, _ buffers: Buffers, gates: Int) {
        parameters = binding.parameters
        window = frame.window
        rows = window.rows
        mask = frame.mask
        repeated = frame.repeated
        self.gates = gates
        units = cell.units
        input = buffers.input
        x = buffers.x
        h = buffers.h
        hBefore = buffers.hBefore
        dh = buffers.dh
        carry = buffers.carry
        z = buffers.z
        dz = buffers.dz
        sums = buffers.sums
        inputWidth = cell.weights[0].shape[0]
        bias = cell.weights.count > 2 ? cell.weights[2] : nil
        biasGradient = buffers.bias
    }

    /// Floats of all rows' states, and of a row's gates.
    final var size: Int { rows &* units }
    final var gateWidth: Int { gates &* units }

    /// Rows of states before and after a step.
    final func before(_ s: Int) -> Int { s == 0 ? 0 : rows &+ window.place(s &- 1) }
    final func after(_ s: Int) -> Int { rows &+ window.place(s) }

    /// Its states: h, and for an LSTM c: [rows][units] before the first step, then by place after it.
    func states(_ index: Int) -> Floats { h }
    /// Their gradients after a run's last step, and in the end before its first.
    func stateGradient(_ index: Int) -> Floats { carry }
    /// Whether its gates are lost when it runs backward.
    final var losesGates: Bool { dz == z }

    /// Before a run's first step.
    func begin(_ pass: Pass) { input.begin(pass) }

    /// Steps first ..< end of a span's rows.
    final func forward(_ span: Span, _ first: Int, _ end: Int) {
        for s in first..<end {
            let span = window.part(of: span, at: s), place = window.place(s)
            if span.count == 0 { return }
            let z = z + place &* gateWidth
            if let repeated {
                repeated.copySums(place, span, to: z)
            } else {
                input.multiply(x + place &* inputWidth, step: s, span, start: bias?.values, 0, z, gateWidth)
            }
            step(s, span)
            guard mask != nil else { continue }
            for row in span.first..<(span.first &+ span.count) where isMasked(s, row, span) { hold(before(s) &+ row, after(s) &+ row) }
        }
    }

    /// Steps first ..< end, from the last to the first. dx: nil, or where the gradient of x is added: of the span's first row,
    /// with so many floats between rows, and between steps; nil: by place.
    final func backward(_ span: Span, _ first: Int, _ end: Int, dx: Floats?, _ rowStride: Int, _ stepStride: Int?) {
        for s in (first..<end).reversed() {
            let span = window.part(of: span, at: s), place = window.place(s)
            if span.count == 0 { continue }
            exchangeGradients(place, span)
            stepBack(s, span)
            let dz = dz + place &* gateWidth
            if let repeated { repeated.gather(dz, place, span) }
            guard let dx else { continue }
            let offset = stepStride.map { s &* $0 } ?? place &* rowStride
            input.multiplyTransposed(dz, span, gateWidth, addTo: dx + offset, rowStride)
        }
    }

    /// Takes in the gradients of states that come from outside, and hands out those that are wanted.
    private final func exchangeGradients(_ place: Int, _ span: Span) {
        for (index, given) in givenGradients.enumerated() {
            let own = stateGradient(index) + span.first &* units, at = (place &+ span.first) &* units, count = span.count &* units
            if let given { add(given.floats + at, to: own, count) }
            if let returned = returnedGradients[index] { add(returned + at, to: own, count) }
            if let kept = keptGradients[index] { (kept + at).copy(from: own, count: count) }
        }
    }

    /// Adds a row's carried gradient to that of h after a step; a masked step carries it on.
    final func takeCarry(_ s: Int, _ row: Int, _ span: Span) -> Bool {
        let place = window.place(s) &+ row
        let carry = carry + row &* units, dh = dh + place &* units
        add(carry, to: dh, units)
        guard isMasked(s, row, span) else {
            clear(carry, units)
            return true
        }
        clear(dz + place &* gateWidth, gateWidth)
        carry.copy(from: dh, count: units)
        return false
    }

    final func isMasked(_ s: Int, _ row: Int, _ span: Span) -> Bool { mask != nil && mask![span.start &* rows &+ window.place(s) &+ row] == 0 }

    func step(_ s: Int, _ span: Span) {}
    func stepBack(_ s: Int, _ span: Span) {}
    /// The weights' gradients by the places first ..< end, when all rows of the product have run backward through them.
    func addGradients(_ product: GradientProduct, _ first: Int, _ end: Int) {}

    /// The same by the steps first ..< end.
    final func addGradients(_ product: GradientProduct, steps first: Int, _ end: Int) {
        if hBefore != h {
            for s in first..<end {
                (hBefore + window.place(s) &* units).copy(from: h + before(s) &* units, count: window.live(s) &* units)
            }
        }
        addGradients(product, window.place(first), window.place(end))
    }

    /// Those of a cell whose recurrent sums have the gradients of its sums.
    final func addGradients(_ product: GradientProduct, _ recurrent: Projection, _ first: Int, _ end: Int) {
        if repeated == nil && input.isWhole && recurrent.isWhole {
            product.add(dz + first &* gateWidth, gateWidth, columns: gateWidth, window.block(first, end), input.factor(x, first),
                        recurrent.factor(hBefore, first), bias: biasGradient)
        } else {
            addInputGradients(product, first, end)
            recurrent.addGradient(product, hBefore, dz, gateWidth, first, window.block(first, end), bias: nil)
        }
    }

    final func addInputGradients(_ product: GradientProduct, _ first: Int, _ end: Int) {
        if repeated == nil { input.addGradient(product, x, dz, gateWidth, first, window.block(first, end), bias: biasGradient) }
    }

    /// A masked row's states stay.
    func hold(_ before: Int, _ after: Int) { (h + after &* units).copy(from: h + before &* units, count: units) }

    /// Keeps a step's sums where they are needed.
    final func keepSums(_ s: Int, _ span: Span) {
        let at = (window.place(s) &+ span.first) &* gateWidth
        if sums != z { (sums + at).copy(from: z + at, count: span.count &* gateWidth) }
    }

    /// Applies an activation to gates of a row of sums, in place.
    final func activate(_ activation: Activation, _ row: Floats, _ gate: Int, _ count: Int = 1) {
        let place = row + gate &* units
        if activation.elementwise != nil {
            activation.apply(parameters.kernels, place, place, rows: 1, count: count &* units)
        } else {
            activation.apply(parameters.kernels, place, place, rows: count, count: units)
        }
    }

    /// The same backward: d of a gate's output becomes that of its sum. place: of the row in z.
    final func backpropagate(_ activation: Activation, _ place: Int, _ gate: Int, _ count: Int = 1) {
        let at = place &* gateWidth &+ gate &* units
        activation.backpropagate(parameters, x: sums + at, y: z + at, dy: dz + at, dx: dz + at, rows: count, count: units)
    }
}

final class LSTMTape: CellTape {
    private let cell: LSTMCell
    private let recurrent: Projection
    /// Like h; and activation(c) after each step.
    private let c: Floats
    private let active: Floats
    /// With respect to c: at the end, then step by step backward.
    private let dc: Floats
    private let temporary: Floats
    /// Whether its activations are tanh and sigmoid, for which there are kernels.
    private let isPlain: Bool

    init(_ cell: LSTMCell, _ binding: TapeBinding, _ frame: Frame, _ buffers: Buffers,
         _ recurrent: Projection, c: Floats, active: Floats, dc: Floats, temporary: Floats) {
        self.cell = cell
        self.recurrent = recurrent
        self.c = c
        self.active = active
        self.dc = dc
        self.temporary = temporary
        isPlain = LSTMTape.isPlain(cell)
        super.init(cell, binding, frame, buffers, gates: 4)
    }

    static func isPlain(_ cell: LSTMCell) -> Bool {
        cell.activation.elementwise?.kind == Int32(CZ_TANH.rawValue)
            && cell.recurrentActivation.elementwise?.kind == Int32(CZ_SIGMOID.rawValue)
    }

    override func states(_ index: Int) -> Floats { index == 0 ? h : c }
    override func stateGradient(_ index: Int) -> Floats { index == 0 ? carry : dc }

    override func begin(_ pass: Pass) {
        super.begin(pass)
        recurrent.begin(pass)
    }

    override func hold(_ before: Int, _ after: Int) {
        super.hold(before, after)
        (c + after &* units).copy(from: c + before &* units, count: units)
    }

    override func step(_ s: Int, _ span: Span) {
        let z = z + window.place(s) &* gateWidth, from = before(s) &* units, to = after(s) &* units
        recurrent.multiply(h + from, step: s, span, start: z, gateWidth, z, gateWidth)
        let place = span.first &* units
        if isPlain {
            let before = from &+ place, after = to &+ place
            return parameters.kernels.pointee.lstm_gates(span.count, units, z + span.first &* gateWidth, c + before, c + after, active + after,
                                                         h + after)
        }
        keepSums(s, span)
        for row in span.first..<(span.first &+ span.count) {
            let gates = z + row &* gateWidth
            activate(cell.recurrentActivation, gates, 0, 2)
            activate(cell.activation, gates, 2)
            activate(cell.recurrentActivation, gates, 3)
            let before = c + (from &+ row &* units), after = c + (to &+ row &* units)
            let i = gates, f = i + units, g = f + units
            for unit in 0..<units { after[unit] = f[unit] * before[unit] + i[unit] * g[unit] }
        }
        cell.activation.apply(parameters.kernels, c + (to &+ place), active + (to &+ place), rows: span.count, count: units)
        for row in span.first..<(span.first &+ span.count) {
            let o = z + (row &* gateWidth &+ 3 &* units), at = to &+ row &* units
            for unit in 0..<units { h[at &+ unit] = o[unit] * active[at &+ unit] }
        }
    }

    override func stepBack(_ s: Int, _ span: Span) {
        if isPlain && mask == nil {
            let place = (window.place(s) &+ span.first) &* units, own = span.first &* units, count = span.count &* units
            add(carry + own, to: dh + place, count)
            clear(carry + own, count)
            parameters.kernels.pointee.lstm_gates_back(span.count, units, z + 4 &* place, c + (before(s) &* units &+ own), active + (place &+ size),
                                                       dh + place, dc + own, dz + 4 &* place)
        } else {
            stepBackByRow(s, span)
        }
        recurrent.multiplyTransposed(dz + window.place(s) &* gateWidth, span, gateWidth, addTo: carry + span.first &* units, units)
    }

    private func stepBackByRow(_ s: Int, _ span: Span) {
        let before = before(s)
        for row in span.first..<(span.first &+ span.count) {
            guard takeCarry(s, row, span) else { continue }
            let place = window.place(s) &+ row, at = (place &+ rows) &* units
            let d = dz + place &* gateWidth, gates = z + place &* gateWidth, dh = dh + place &* units, dc = dc + row &* units
            let active = active + at, cBefore = c + (before &+ row) &* units
            if isPlain {
                parameters.kernels.pointee.lstm_gates_back(1, units, gates, cBefore, active, dh, dc, d)
                continue
            }
            let t = temporary + row &* units
            let i = gates, f = i + units, g = f + units, o = g + units
            for unit in 0..<units { t[unit] = dh[unit] * o[unit] }
            cell.activation.backpropagate(parameters, x: c + at, y: active, dy: t, dx: t, rows: 1, count: units)
            for unit in 0..<units {
                let total = dc[unit] + t[unit]
                d[unit] = total * g[unit]
                d[units &+ unit] = total * cBefore[unit]
                d[2 &* units &+ unit] = total * i[unit]
                d[3 &* units &+ unit] = dh[unit] * active[unit]
                dc[unit] = total * f[unit]
            }
            backpropagate(cell.recurrentActivation, place, 0, 2)
            backpropagate(cell.activation, place, 2)
            backpropagate(cell.recurrentActivation, place, 3)
        }
    }

    override func addGradients(_ product: GradientProduct, _ first: Int, _ end: Int) { addGradients(product, recurrent, first, end) }
}

final class SimpleRNNTape: CellTape {
    private let cell: SimpleRNNCell
    private let recurrent: Projection

    init(_ cell: SimpleRNNCell, _ binding: TapeBinding, _ frame: Frame, _ buffers: Buffers,
         _ recurrent: Projection) {
        self.cell = cell
        self.recurrent = recurrent
        super.init(cell, binding, frame, buffers, gates: 1)
    }

    override func begin(_ pass: Pass) {
        super.begin(pass)
        recurrent.begin(pass)
    }

    override func step(_ s: Int, _ span: Span) {
        let z = z + window.place(s) &* units, place = span.first &* units
        recurrent.multiply(h + before(s) &* units, step: s, span, start: z, units, z, units)
        keepSums(s, span)
        cell.activation.apply(parameters.kernels, z + place, z + place, rows: span.count, count: units)
        (h + (after(s) &* units &+ place)).copy(from: z + place, count: span.count &* units)
    }

    override func stepBack(_ s: Int, _ span: Span) {
        for row in span.first..<(span.first &+ span.count) {
            guard takeCarry(s, row, span) else { continue }
            let place = window.place(s) &+ row
            (dz + place &* units).copy(from: dh + place &* units, count: units)
            backpropagate(cell.activation, place, 0)
        }
        recurrent.multiplyTransposed(dz + window.place(s) &* units, span, units, addTo: carry + span.first &* units, units)
    }

    override func addGradients(_ product: GradientProduct, _ first: Int, _ end: Int) { addGradients(product, recurrent, first, end) }
}

final class GRUTape: CellTape {
    private let cell: GRUCell
    /// Gates z r h; or z r, and `last` for h, which reads r·h.
    private let recurrent: Projection
    private let last: Projection?
    /// By place. reset_after: b₁ + h·U [3·units]; else r·h [units]. And its gradient.
    private let inner: Floats
    private let dInner: Floats

    init(_ cell: GRUCell, _ binding: TapeBinding, _ frame: Frame, _ buffers: Buffers,
         _ recurrent: Projection, last: Projection?, inner: Floats, dInner: Floats) {
        self.cell = cell
        self.recurrent = recurrent
        self.last = last
        self.inner = inner
        self.dInner = dInner
        super.init(cell, binding, frame, buffers, gates: 3)
    }

    override func begin(_ pass: Pass) {
        super.begin(pass)
        recurrent.begin(pass)
        last?.begin(pass)
    }

    override func step(_ s: Int, _ span: Span) {
        let width = gateWidth, own = span.first..<(span.first &+ span.count)
        let place = window.place(s)
        let z = z + place &* width, before = h + before(s) &* units, after = h + after(s) &* units
        if let last {
            recurrent.multiply(before, step: s, span, start: z, width, z, width)
            keepSums(s, span)
            let inner = inner + place &* units
            for row in own {
                let gates = z + row &* width, at = row &* units
                activate(cell.recurrentActivation, gates, 0, 2)
                for unit in 0..<units { inner[at &+ unit] = gates[units &+ unit] * before[at &+ unit] }
            }
            last.multiply(inner, step: s, span, start: z + 2 &* units, width, z + 2 &* units, width)
            if sums != self.z {
                for row in own {
                    let at = row &* width &+ 2 &* units
                    (sums + (place &* width &+ at)).copy(from: z + at, count: units)
                }
            }
        } else {
            let inner = inner + place &* width
            let bias = bias.map { $0.values + width }
            recurrent.multiply(before, step: s, span, start: bias, 0, inner, width)
            for row in own {
                let gates = z + row &* width, inner = inner + row &* width
                for i in 0..<(2 &* units) { gates[i] += inner[i] }
                if sums != self.z { (sums + (place &+ row) &* width).copy(from: gates, count: 2 &* units) }
                activate(cell.recurrentActivation, gates, 0, 2)
                for i in (2 &* units)..<width { gates[i] += gates[i &- units] * inner[i] }
                if sums != self.z { (sums + ((place &+ row) &* width &+ 2 &* units)).copy(from: gates + 2 &* units, count: units) }
            }
        }
        for row in own {
            let gates = z + row &* width, at = row &* units
            activate(cell.activation, gates, 2)
            for unit in 0..<units {
                let update = gates[unit]
                after[at &+ unit] = update * before[at &+ unit] + (1 - update) * gates[2 &* units &+ unit]
            }
        }
    }

    override func stepBack(_ s: Int, _ span: Span) {
        let width = gateWidth, own = span.first..<(span.first &+ span.count)
        let first = window.place(s), before = h + before(s) &* units
        for row in own {
            guard takeCarry(s, row, span) else { continue }
            let place = first &+ row
            let d = dz + place &* width, gates = z + place &* width
            let dh = dh + place &* units, carry = carry + row &* units, before = before + row &* units
            for unit in 0..<units {
                let update = gates[unit], candidate = gates[2 &* units &+ unit]
                d[unit] = dh[unit] * (before[unit] - candidate)
                d[2 &* units &+ unit] = dh[unit] * (1 - update)
                carry[unit] = dh[unit] * update
            }
            backpropagate(cell.activation, place, 2)
        }
        let d = dz + first &* width
        if let last {
            // dInner is then the gradient of r·h.
            let dInner = dInner + first &* units, place = span.first &* units
            clear(dInner + place, span.count &* units)
            last.multiplyTransposed(d + 2 &* units, span, width, addTo: dInner + place, units)
            for row in own where !isMasked(s, row, span) {
                let at = row &* units, gates = z + (first &+ row) &* width, d = d + row &* width
                for unit in 0..<units {
                    d[units &+ unit] = dInner[at &+ unit] * before[at &+ unit]
                    carry[at &+ unit] += dInner[at &+ unit] * gates[units &+ unit]
                }
                backpropagate(cell.recurrentActivation, first &+ row, 0, 2)
            }
            recurrent.multiplyTransposed(d, span, width, addTo: carry + span.first &* units, units)
        } else {
            let dInner = dInner + first &* width, inner = inner + first &* width
            for row in own {
                let at = row &* width, gates = z + (first &+ row) &* width, d = d + at
                if !isMasked(s, row, span) {
                    for unit in 0..<units { d[units &+ unit] = d[2 &* units &+ unit] * inner[at &+ 2 &* units &+ unit] }
                    backpropagate(cell.recurrentActivation, first &+ row, 0, 2)
                }
                for i in 0..<(2 &* units) { dInner[at &+ i] = d[i] }
                for i in (2 &* units)..<width { dInner[at &+ i] = d[i] * gates[i &- units] }
            }
            recurrent.multiplyTransposed(dInner, span, width, addTo: carry + span.first &* units, units)
        }
    }

    override func addGradients(_ product: GradientProduct, _ first: Int, _ end: Int) {
        addInputGradients(product, first, end)
        if let last {
            recurrent.addGradient(product, hBefore, dz, gateWidth, first, window.block(first, end), bias: nil)
            last.addGradient(product, inner, dz + 2 &* units, gateWidth, first, window.block(first, end), bias: nil)
        } else {
            recurrent.addGradient(product, hBefore, dInner, gateWidth, first, window.block(first, end), bias: biasGradient.map { $0 + gateWidth })
        }
    }
}
