import CSystem
import Testing

struct AffineTests {
    /// How the sums start.
    enum Start: CaseIterable {
        case none, bias, rows, inPlace
    }

    private func check(_ level: Level, rows: Int, inputs: Int, outputs: Int, start: Start, gap: Int) {
        var numbers = Numbers(rows * 10_007 + inputs * 101 + outputs)
        let x = numbers.next(rows * inputs), w = numbers.next(inputs * outputs), bias = numbers.next(rows * outputs)
        let xStride = inputs + gap, outStride = outputs + 2 * gap
        let xs = Guarded(spread(x, rows: rows, stride: xStride), offset: 1)
        let packed = pack(w, inputs: inputs, units: outputs, gates: 1, chosen: [0])
        let starts = Guarded(spread(bias, rows: rows, stride: outStride), offset: 3)
        let out = start == .inPlace ? starts : Guarded(filled: (rows - 1) * outStride + outputs, offset: 5)

        level.kernels.affine(xs.pointer, xStride, rows, inputs, packed.pointer, outputs,
                             start == .none ? nil : starts.pointer, start == .bias ? 0 : outStride, out.pointer, outStride)

        var isExact = true, gapsHold = true
        for row in 0..<rows {
            for j in 0..<outputs {
                let first: Float = start == .none ? 0 : bias[start == .bias ? j : row * outputs + j]
                let wanted = level.chain(first, x[(row * inputs)..<((row + 1) * inputs)], w, j, outputs)
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

    @Test("every number of inputs, and many outputs", arguments: Level.all)
    func inputs(level: Level) {
        for inputs in 0...70 {
            check(level, rows: 1 + inputs % 7, inputs: inputs, outputs: 16 + inputs, start: .bias, gap: 0)
        }
        check(level, rows: 13, inputs: 5, outputs: 300, start: .rows, gap: 1)
        check(level, rows: 1, inputs: 129, outputs: 515, start: .inPlace, gap: 0)
    }
}
