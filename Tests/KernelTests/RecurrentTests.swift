import CSystem
import Glibc
import Testing

/// A recurrent layer's step with random weights, run by a kernel and by a plain loop.
private struct Case {
    let level: Level
    let rows: Int, inputs: Int, units: Int, gates: Int
    let x: [Float], kernel: [Float], recurrent: [Float], bias: [Float], h: [Float], c: [Float]
    var kind = CZ_FLOAT32
    /// Of the columns.
    var scales: [Float] = []

    init(_ level: Level, rows: Int, inputs: Int, units: Int, gates: Int) {
        (self.level, self.rows, self.inputs, self.units, self.gates) = (level, rows, inputs, units, gates)
        var numbers = Numbers(rows * 1_000_003 + inputs * 1009 + units * 4 + gates)
        x = numbers.next(rows * inputs)
        kernel = numbers.next(inputs * gates * units, scale: 0.7)
        recurrent = numbers.next(units * gates * units, scale: 0.5)
        bias = numbers.next(gates * units)
        h = numbers.next(rows * units)
        c = numbers.next(rows * units, scale: 2)
    }

    var width: Int { padded(units) }
    var stateStride: Int { 2 * width + rows % 3 * 5 }
    var outStride: Int { 2 * width + rows % 2 * 3 }
    var xStride: Int { inputs + rows % 4 }

    /// x·W + b of one row and column, the chain's first part.
    func input(_ row: Int, _ column: Int) -> Float {
        level.chain(bias[column], x[(row * inputs)..<((row + 1) * inputs)], kernel, column, gates * units)
    }

    /// The chain's second part from `start` on, by h or what stands in its place.
    func recurrent(_ start: Float, _ row: Int, _ column: Int, _ state: [Float]? = nil) -> Float {
        level.chain(start, (state ?? h)[(row * units)..<((row + 1) * units)], recurrent, column, gates * units)
    }

    /// The states in rows of whole blocks, h then c.
    func states() -> Guarded {
        var all: [Float] = []
        for row in 0..<rows {
            for state in [h, c] {
                all += state[(row * units)..<((row + 1) * units)] + [Float](repeating: 0, count: width - units)
            }
            all += [Float](repeating: .nan, count: stateStride - 2 * width)
        }
        return Guarded(all, offset: 1)
    }

    /// The input part of each gate in panel order, as `start` wants it.
    func starts() -> Guarded {
        var all: [Float] = []
        for row in 0..<rows { all += panels((0..<(gates * units)).map { input(row, $0) }, units: units, gates: gates) }
        return Guarded(all, offset: 2)
    }

    /// Where the new states are to go: nothing there yet.
    func outputs() -> Guarded { Guarded(filled: rows * outStride, offset: 3) }

    /// Checks what a kernel wrote: `wanted` for the units, zeros in the rest of their blocks, nothing beyond.
    func expect(_ out: Guarded, states: Int, _ label: String, within tolerance: Double = 0,
                _ wanted: (_ row: Int, _ unit: Int, _ state: Int) -> Double) {
        var isRight = true, isPadded = true, isIntact = out.isIntact
        for row in 0..<rows {
            for state in 0..<2 {
                for lane in 0..<width {
                    let index = row * outStride + state * width + lane
                    if state >= states {
                        isIntact = isIntact && out.isUntouched(index)
                    } else if lane >= units {
                        isPadded = isPadded && sameBits(out.pointer[index], 0)
                    } else {
                        isRight = isRight && abs(Double(out.pointer[index]) - wanted(row, lane, state)) <= tolerance
                    }
                }
            }
            for index in (row * outStride + 2 * width)..<((row + 1) * outStride) { isIntact = isIntact && out.isUntouched(index) }
        }
        let text = "\(label), rows \(rows), inputs \(inputs), units \(units)"
        #expect(isRight, "\(text)")
        #expect(isPadded, "the padding of \(text)")
        #expect(isIntact, "memory beyond the result of \(text)")
    }

    // MARK: The kernels

    private func packed(_ matrix: [Float], inputs: Int, gates: Int, chosen: [Int]) -> Packed {
        Packed(matrix, inputs: inputs, units: units, gates: gates, chosen: chosen, kind: kind, scales: scales)
    }

    func lstm(_ main: cz_activation, _ gate: cz_activation, useStart: Bool = false) -> Guarded {
        let xs = Guarded(spread(x, rows: rows, stride: xStride), offset: 1), start = starts(), out = outputs(), before = states()
        let w = packed(kernel, inputs: inputs, gates: 4, chosen: [0, 1, 2, 3])
        let u = packed(recurrent, inputs: units, gates: 4, chosen: [0, 1, 2, 3])
        let b = Guarded(panels(bias, units: units, gates: 4))
        var call = cz_lstm()
        (call.rows, call.inputs, call.units) = (rows, inputs, units)
        if useStart {
            (call.start, call.start_stride) = (UnsafePointer(start.pointer), 4 * width)
        } else {
            (call.x, call.x_stride) = (UnsafePointer(xs.pointer), xStride)
        }
        (call.kernel, call.recurrent, call.bias) = (w.weights, u.weights, UnsafePointer(b.pointer))
        (call.h, call.c, call.state_stride) = (UnsafePointer(before.pointer), UnsafePointer(before.pointer + width), stateStride)
        (call.h_out, call.c_out, call.state_out_stride) = (out.pointer, out.pointer + width, outStride)
        (call.activation, call.recurrent_activation) = (main, gate)
        withExtendedLifetime((xs, start, w, u, b, before)) { level.kernels.lstm(&call) }
        return out
    }

    func gru(_ main: cz_activation, _ gate: cz_activation, resetAfter: Bool, recurrentBias: [Float], useStart: Bool = false) -> Guarded {
        let xs = Guarded(spread(x, rows: rows, stride: xStride), offset: 1), start = starts(), out = outputs(), before = states()
        let w = packed(kernel, inputs: inputs, gates: 3, chosen: [0, 1, 2])
        let u = packed(recurrent, inputs: units, gates: 3, chosen: resetAfter ? [0, 1, 2] : [0, 1])
        let uh = packed(recurrent, inputs: units, gates: 3, chosen: [2])
        let b = Guarded(panels(bias, units: units, gates: 3)), bh = Guarded(panels(recurrentBias, units: units, gates: 1))
        let scratch = Guarded(filled: rows * width * 2, offset: 1)
        var call = cz_gru()
        (call.rows, call.inputs, call.units) = (rows, inputs, units)
        if useStart {
            (call.start, call.start_stride) = (UnsafePointer(start.pointer), 3 * width)
        } else {
            (call.x, call.x_stride) = (UnsafePointer(xs.pointer), xStride)
        }
        (call.kernel, call.recurrent, call.bias) = (w.weights, u.weights, UnsafePointer(b.pointer))
        if resetAfter {
            call.recurrent_bias_h = UnsafePointer(bh.pointer)
        } else {
            (call.recurrent_h, call.scratch) = (uh.weights, scratch.pointer)
        }
        (call.h, call.state_stride) = (UnsafePointer(before.pointer), stateStride)
        (call.h_out, call.state_out_stride) = (out.pointer, outStride)
        (call.activation, call.recurrent_activation) = (main, gate)
        withExtendedLifetime((xs, start, w, u, uh, b, bh, before)) { level.kernels.gru(&call) }
        #expect(scratch.isIntact)
        return out
    }

    func simpleRNN(_ main: cz_activation, useStart: Bool = false) -> Guarded {
        let xs = Guarded(spread(x, rows: rows, stride: xStride), offset: 1), start = starts(), out = outputs(), before = states()
        let w = packed(kernel, inputs: inputs, gates: 1, chosen: [0])
        let u = packed(recurrent, inputs: units, gates: 1, chosen: [0])
        let b = Guarded(panels(bias, units: units, gates: 1))
        var call = cz_simple_rnn()
        (call.rows, call.inputs, call.units) = (rows, inputs, units)
        if useStart {
            (call.start, call.start_stride) = (UnsafePointer(start.pointer), width)
        } else {
            (call.x, call.x_stride) = (UnsafePointer(xs.pointer), xStride)
        }
        (call.kernel, call.recurrent, call.bias) = (w.weights, u.weights, UnsafePointer(b.pointer))
        (call.h, call.state_stride) = (UnsafePointer(before.pointer), stateStride)
        (call.h_out, call.state_out_stride) = (out.pointer, outStride)
        call.activation = main
        withExtendedLifetime((xs, start, w, u, b, before)) { level.kernels.simple_rnn(&call) }
        return out
    }

    // MARK: The plain loops, in double precision after the sums

    func sigmoid(_ x: Float) -> Double { 1 / (1 + exp(-Double(x))) }

    func gate(_ gate: Int, _ row: Int, _ unit: Int) -> Float {
        recurrent(input(row, gate * units + unit), row, gate * units + unit)
    }
}

private let linear = activation(CZ_LINEAR), tanhKind = activation(CZ_TANH), sigmoidKind = activation(CZ_SIGMOID)
/// Not one of those that the kernels have by heart.
private let hard = activation(CZ_HARD_SIGMOID, 0.2, 0.5)

/// 0, ½ or 1 for multiples of 2^-10.
private let step = activation(CZ_HARD_SIGMOID, 1024, 0.5)

/// All units from 1 to 40 and rows from 1 to 20, with inputs from 0 on.
private let shapes: [(rows: Int, inputs: Int, units: Int)] =
    (1...40).map { (1 + $0 * 3 % 7, $0 * 5 % 11, $0) } + (1...20).map { ($0, 3 + $0 % 3, 16 + $0 % 9) }

struct RecurrentTests {
    @Test("LSTM: the sums and gates of linear activations, to the bit", arguments: Level.all)
    func lstmIsExact(level: Level) {
        for (rows, inputs, units) in shapes {
            let it = Case(level, rows: rows, inputs: inputs, units: units, gates: 4)
            for useStart in [false, true] {
                it.expect(it.lstm(linear, linear, useStart: useStart), states: 2, "LSTM, start \(useStart)") { row, unit, state in
                    let input = it.gate(0, row, unit) * it.gate(2, row, unit)
                    let c = level.multiplyAdd(it.gate(1, row, unit), it.c[row * units + unit], input)
                    return Double(state == 0 ? it.gate(3, row, unit) * c : c)
                }
            }
        }
    }

    @Test("LSTM: tanh and sigmoid", arguments: Level.all)
    func lstm(level: Level) {
        for (rows, inputs, units) in shapes {
            let it = Case(level, rows: rows, inputs: inputs, units: units, gates: 4)
            it.expect(it.lstm(tanhKind, sigmoidKind), states: 2, "LSTM", within: 5e-7) { row, unit, state in
                let input = it.sigmoid(it.gate(0, row, unit)) * tanh(Double(it.gate(2, row, unit)))
                let c = it.sigmoid(it.gate(1, row, unit)) * Double(it.c[row * units + unit]) + input
                return state == 0 ? it.sigmoid(it.gate(3, row, unit)) * tanh(c) : c
            }
        }
    }

    @Test("GRU: the sums and gates of linear activations, to the bit", arguments: Level.all)
    func gruIsExact(level: Level) {
        for (rows, inputs, units) in shapes {
            let it = Case(level, rows: rows, inputs: inputs, units: units, gates: 3)
            var numbers = Numbers(units)
            let recurrentBias = numbers.next(units)
            for useStart in [false, true] {
                it.expect(it.gru(linear, linear, resetAfter: true, recurrentBias: recurrentBias, useStart: useStart),
                          states: 1, "GRU, start \(useStart)") { row, unit, _ in
                    let product = it.recurrent(recurrentBias[unit], row, 2 * units + unit)
                    let candidate = level.multiplyAdd(it.gate(1, row, unit), product, it.input(row, 2 * units + unit))
                    let z = it.gate(0, row, unit)
                    return Double(level.multiplyAdd(z, it.h[row * units + unit], (1 - z) * candidate))
                }
                let reset = (0..<(rows * units)).map { it.gate(1, $0 / units, $0 % units) * it.h[$0] }
                it.expect(it.gru(linear, linear, resetAfter: false, recurrentBias: [], useStart: useStart),
                          states: 1, "GRU reset before, start \(useStart)") { row, unit, _ in
                    let candidate = it.recurrent(it.input(row, 2 * units + unit), row, 2 * units + unit, reset)
                    let z = it.gate(0, row, unit)
                    return Double(level.multiplyAdd(z, it.h[row * units + unit], (1 - z) * candidate))
                }
            }
        }
    }

    @Test("GRU: tanh and sigmoid", arguments: Level.all)
    func gru(level: Level) {
        for (rows, inputs, units) in shapes {
            let it = Case(level, rows: rows, inputs: inputs, units: units, gates: 3)
            var numbers = Numbers(units)
            let recurrentBias = numbers.next(units)
            func next(_ row: Int, _ unit: Int, _ candidate: Double) -> Double {
                let z = it.sigmoid(it.gate(0, row, unit))
                return z * Double(it.h[row * units + unit]) + (1 - z) * tanh(candidate)
            }
            it.expect(it.gru(tanhKind, sigmoidKind, resetAfter: true, recurrentBias: recurrentBias),
                      states: 1, "GRU", within: 5e-7) { row, unit, _ in
                let product = Double(it.recurrent(recurrentBias[unit], row, 2 * units + unit))
                return next(row, unit, Double(it.input(row, 2 * units + unit)) + it.sigmoid(it.gate(1, row, unit)) * product)
            }
            let reset = (0..<(rows * units)).map { Float(it.sigmoid(it.gate(1, $0 / units, $0 % units)) * Double(it.h[$0])) }
            it.expect(it.gru(tanhKind, sigmoidKind, resetAfter: false, recurrentBias: []),
                      states: 1, "GRU reset before", within: 1e-6) { row, unit, _ in
                next(row, unit, Double(it.recurrent(it.input(row, 2 * units + unit), row, 2 * units + unit, reset)))
            }
        }
    }

    @Test("SimpleRNN: to the bit, and tanh", arguments: Level.all)
    func simpleRNN(level: Level) {
        for (rows, inputs, units) in shapes {
            let it = Case(level, rows: rows, inputs: inputs, units: units, gates: 1)
            for useStart in [false, true] {
                it.expect(it.simpleRNN(linear, useStart: useStart), states: 1, "SimpleRNN, start \(useStart)") { row, unit, _ in
                    Double(it.gate(0, row, unit))
                }
            }
            it.expect(it.simpleRNN(tanhKind), states: 1, "SimpleRNN", within: 3e-7) { row, unit, _ in
                tanh(Double(it.gate(0, row, unit)))
            }
        }
    }

    @Test("a row alone has the bits it has in a batch", arguments: Level.all)
    func rowsAlone(level: Level) {
        for units in [5, 16, 40] {
            for (main, kind) in [(tanhKind, CZ_FLOAT32), (hard, CZ_FLOAT32), (tanhKind, CZ_BF16), (tanhKind, CZ_INT8)] {
                func make(_ gates: Int) -> Case {
                    var it = Case(level, rows: kind == CZ_FLOAT32 ? 17 : 31, inputs: 6, units: units, gates: gates)
                    it.kind = kind
                    it.scales = (0..<(gates * units)).map { 0.006 + 0.0001 * Float($0 % 7) }
                    return it
                }
                let gate = main.kind == tanhKind.kind ? sigmoidKind : hard
                let four = make(4), three = make(3), one = make(1)
                let bias = three.bias.prefix(units).map { $0 }
                expectRowsAlone(four, "LSTM", states: 2) { $0.lstm(main, gate) }
                expectRowsAlone(three, "GRU", states: 1) { $0.gru(main, gate, resetAfter: true, recurrentBias: bias) }
                expectRowsAlone(three, "GRU reset before", states: 1) { $0.gru(main, gate, resetAfter: false, recurrentBias: []) }
                expectRowsAlone(one, "SimpleRNN", states: 1) { $0.simpleRNN(main) }
            }
        }
    }

    private func expectRowsAlone(_ it: Case, _ label: String, states: Int, _ run: (Case) -> Guarded) {
        let together = run(it)
        for count in 1...6 {
            for first in stride(from: 0, through: it.rows - count, by: 5) {
                let few = Case(it, rows: first..<(first + count))
                let alone = run(few)
                var isSame = true
                for row in 0..<count {
                    for i in 0..<(states * it.width) {
                        isSame = isSame && sameBits(alone.pointer[row * few.outStride + i], together.pointer[(first + row) * it.outStride + i])
                    }
                }
                #expect(isSame, "\(label), units \(it.units), rows \(first) to \(first + count)")
            }
        }
    }

    @Test("narrow weights give the bits of the floats that they are", arguments: Level.all)
    func narrow(level: Level) {
        for (rows, inputs, units) in shapes + [(25, 40, 20), (50, 33, 70)] {
            for kind in [CZ_BF16, CZ_INT8] {
                let four = Case(level, rows: rows, inputs: inputs, units: units, gates: 4, like: kind)
                let three = Case(level, rows: rows, inputs: inputs, units: units, gates: 3, like: kind)
                let one = Case(level, rows: rows, inputs: inputs, units: units, gates: 1, like: kind)
                let bias = three.bias.prefix(units).map { $0 }
                for useStart in [false, true] {
                    expectSame(four, kind, "LSTM", states: 2) { $0.lstm(linear, step, useStart: useStart) }
                    expectSame(three, kind, "GRU", states: 1) {
                        $0.gru(linear, step, resetAfter: true, recurrentBias: bias, useStart: useStart)
                    }
                    expectSame(three, kind, "GRU reset before", states: 1) {
                        $0.gru(linear, step, resetAfter: false, recurrentBias: [], useStart: useStart)
                    }
                    expectSame(one, kind, "SimpleRNN", states: 1) { $0.simpleRNN(linear, useStart: useStart) }
                }
            }
        }
    }

    private func expectSame(_ floats: Case, _ kind: cz_weight_kind, _ label: String, states: Int, _ run: (Case) -> Guarded) {
        var narrow = floats
        narrow.kind = kind
        let a = run(floats), b = run(narrow)
        narrow.expect(b, states: states, "\(label), kind \(kind)") { row, unit, state in
            Double(a.pointer[row * floats.outStride + state * floats.width + unit])
        }
    }

    @Test("all fused levels give the same bits")
    func levelsAgree() {
        let fused = Level.all.filter(\.isFused)
        for (rows, inputs, units) in shapes {
            let results = fused.map { level in
                let it = Case(level, rows: rows, inputs: inputs, units: units, gates: 4)
                let out = it.lstm(tanhKind, sigmoidKind)
                return (0..<(rows * it.outStride)).map { out.pointer[$0].bitPattern }
            }
            for result in results { #expect(result == results[0]) }
        }
    }
}

extension Case {
    /// With weights that are halves of floats; or with few enough digits that no sum is rounded, and weights that are whole
    /// numbers of scales.
    fileprivate init(_ level: Level, rows: Int, inputs: Int, units: Int, gates: Int, like kind: cz_weight_kind) {
        let it = Case(level, rows: rows, inputs: inputs, units: units, gates: gates)
        (self.level, self.rows, self.inputs, self.units, self.gates) = (level, rows, inputs, units, gates)
        func eighths(_ values: [Float]) -> [Float] { kind == CZ_INT8 ? values.map { ($0 * 8).rounded() / 8 } : values }
        let scales = (0..<(gates * units)).map { Float(sign: .plus, exponent: -4 - $0 % 4, significand: 1) }
        func weights(_ values: [Float]) -> [Float] {
            values.enumerated().map { i, value in
                kind == CZ_INT8 ? (value * 127).rounded() * scales[i % scales.count] : Float(bitPattern: value.bitPattern & 0xFFFF_0000)
            }
        }
        (x, bias, h, c) = (eighths(it.x), eighths(it.bias), eighths(it.h), eighths(it.c))
        (kernel, recurrent) = (weights(it.kernel), weights(it.recurrent))
        self.scales = scales
    }

    /// Some rows of another case, with its weights.
    fileprivate init(_ other: Case, rows chosen: Range<Int>) {
        (level, rows, inputs, units, gates) = (other.level, chosen.count, other.inputs, other.units, other.gates)
        (kernel, recurrent, bias) = (other.kernel, other.recurrent, other.bias)
        (kind, scales) = (other.kind, other.scales)
        x = Array(other.x[(chosen.lowerBound * inputs)..<(chosen.upperBound * inputs)])
        h = Array(other.h[(chosen.lowerBound * units)..<(chosen.upperBound * units)])
        c = Array(other.c[(chosen.lowerBound * units)..<(chosen.upperBound * units)])
    }
}
