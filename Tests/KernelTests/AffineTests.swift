import CSystem
import Testing

struct AffineTests {
    /// How the sums start.
    enum Start: CaseIterable {
        case none, bias, rows, inPlace
    }

    private func check(_ level: Level, rows: Int, inputs: Int, outputs: Int, start: Start, gap: Int,
                       kind: cz_weight_kind = CZ_FLOAT32) {
        var numbers = Numbers(rows * 10_007 + inputs * 101 + outputs)
        let x = numbers.next(rows * inputs), bias = numbers.next(rows * outputs)
        var w = numbers.next(inputs * outputs)
        if kind == CZ_BF16 { w = w.map { Float(bitPattern: $0.bitPattern & 0xFFFF_0000) } }
        if kind == CZ_INT8 { w = w.map { ($0 * 127).rounded() } }
        let scales = (0..<outputs).map { 0.01 + 0.003 * Float($0 % 5) }
        let xStride = inputs + gap, outStride = outputs + 2 * gap
        let xs = Guarded(spread(x, rows: rows, stride: xStride), offset: 1)
        let whole = zip(w, 0...).map { kind == CZ_INT8 ? $0 * scales[$1 % outputs] : $0 }
        let packed = Packed(whole, inputs: inputs, units: outputs, gates: 1, chosen: [0], kind: kind, scales: scales)
        let starts = Guarded(spread(bias, rows: rows, stride: outStride), offset: 3)
        let out = start == .inPlace ? starts : Guarded(filled: (rows - 1) * outStride + outputs, offset: 5)

        let first = start == .none ? nil : starts.pointer, firstStride = start == .bias ? 0 : outStride
        var weights = packed.weights
        if kind == CZ_FLOAT32 {
            let panels = weights.panels.assumingMemoryBound(to: Float.self)
            level.kernels.affine(xs.pointer, xStride, rows, inputs, panels, outputs, first, firstStride, out.pointer, outStride)
        } else {
            level.kernels.affine_packed(xs.pointer, xStride, rows, inputs, &weights, outputs, first, firstStride, out.pointer, outStride)
        }
        withExtendedLifetime(packed) {}

        var isExact = true, gapsHold = true
        for row in 0..<rows {
            for j in 0..<outputs {
                let first: Float = start == .none ? 0 : bias[start == .bias ? j : row * outputs + j]
                var wanted = level.chain(kind == CZ_INT8 ? 0 : first, x[(row * inputs)..<((row + 1) * inputs)], w, j, outputs)
                if kind == CZ_INT8 { wanted = inputs > 0 ? level.multiplyAdd(wanted, scales[j], first) : first }
                isExact = isExact && sameBits(out.pointer[row * outStride + j], wanted)
            }
            if row + 1 < rows && start != .inPlace {
                for j in outputs..<outStride { gapsHold = gapsHold && out.isUntouched(row * outStride + j) }
            }
        }
        #expect(isExact, "rows \(rows), inputs \(inputs), outputs \(outputs), \(start)")
        #expect(gapsHold && out.isIntact && starts.isIntact && xs.isIntact, "rows \(rows), inputs \(inputs), outputs \(outputs), \(start)")
    }

    @Test("every tail of rows and outputs is the one chain, to the bit", arguments: Level.all)
    func tails(level: Level) {
        for outputs in 1...70 {
            for rows in 1...20 {
                let start = Start.allCases[(rows + outputs) % 4]
                check(level, rows: rows, inputs: (outputs * 7 + rows * 3) % 19, outputs: outputs, start: start, gap: rows % 3)
            }
        }
    }

    @Test("narrow weights: every tail of rows, inputs and outputs, to the bit", arguments: Level.all)
    func narrow(level: Level) {
        for kind in [CZ_BF16, CZ_INT8] {
            for outputs in 1...70 {
                for rows in [1, 2, 3, 5, 6, 7, 23, 24, 25, 31] {
                    let start = Start.allCases[(rows + outputs) % 4]
                    check(level, rows: rows, inputs: (outputs * 7 + rows * 3) % 70, outputs: outputs, start: start, gap: rows % 3, kind: kind)
                }
            }
            check(level, rows: 1, inputs: 129, outputs: 515, start: .inPlace, gap: 0, kind: kind)
        }
    }

    @Test("every number of inputs, and many outputs", arguments: Level.all)
    func inputs(level: Level) {
        for inputs in 0...70 {
            check(level, rows: 1 + inputs % 7, inputs: inputs, outputs: 16 + inputs, start: .bias, gap: 0)
        }
        check(level, rows: 13, inputs: 5, outputs: 300, start: .rows, gap: 1)
        check(level, rows: 1, inputs: 129, outputs: 515, start: .inPlace, gap: 0)
    }
}
