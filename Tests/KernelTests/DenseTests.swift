import CSystem
import Testing

struct DenseTests {
    @Test("a dense layer is affine, then its activation, to the bit", arguments: Level.all)
    func dense(level: Level) {
        for units in [1, 2, 7, 15, 16, 17, 40] {
            for rows in [1, 2, 6, 7] {
                for inputs in [0, 1, 5, 16, 70] {
                    for kind in [CZ_LINEAR, CZ_SIGMOID, CZ_TANH, CZ_RELU, CZ_ELU] {
                        for weights in [CZ_FLOAT32, CZ_BF16, CZ_INT8] {
                            check(level, rows: rows, inputs: inputs, units: units, kind, weights, column: units == 1 && weights == CZ_FLOAT32)
                        }
                    }
                    if units == 1 { check(level, rows: rows, inputs: inputs, units: 1, CZ_SIGMOID, CZ_FLOAT32, column: false) }
                }
            }
        }
    }

    private func check(_ level: Level, rows: Int, inputs: Int, units: Int, _ kind: cz_activation_kind, _ precision: cz_weight_kind,
                       column: Bool) {
        var numbers = Numbers(rows * 10_007 + inputs * 101 + units)
        let xs = Guarded(numbers.next(rows * inputs, scale: 2), offset: 1)
        var w = numbers.next(inputs * units)
        if precision == CZ_BF16 { w = w.map { Float(bitPattern: $0.bitPattern & 0xFFFF_0000) } }
        if precision == CZ_INT8 { w = w.map { ($0 * 127).rounded() * 0.01 } }
        let packed = Packed(w, inputs: inputs, units: units, gates: 1, chosen: [0], kind: precision,
                            scales: [Float](repeating: 0.01, count: units))
        let bias = Guarded(numbers.next(units) + [Float](repeating: 0, count: padded(units) - units))
        let columns = Guarded(w, offset: 3)
        let out = Guarded(filled: rows * units, offset: 5), wanted = Guarded(filled: rows * units, offset: 2)
        var call = cz_dense()
        call.rows = rows
        call.inputs = inputs
        call.units = units
        call.x = UnsafePointer(xs.pointer)
        call.kernel = packed.weights
        call.column = column ? UnsafePointer(columns.pointer) : nil
        call.bias = UnsafePointer(bias.pointer)
        call.out = out.pointer
        call.activation = cz_activation(kind: Int32(kind.rawValue), a: 1, b: 0.5, c: 0.1)
        level.kernels.dense(&call)

        level.kernels.affine_packed(xs.pointer, inputs, rows, inputs, &call.kernel, units, bias.pointer, 0, wanted.pointer, units)
        level.kernels.activate(&call.activation, wanted.pointer, wanted.pointer, rows * units)
        withExtendedLifetime(packed) {}
        let isSame = (0..<(rows * units)).allSatisfy { sameBits(out.pointer[$0], wanted.pointer[$0]) }
        #expect(isSame && out.isIntact, "rows \(rows), inputs \(inputs), units \(units), activation \(kind), weights \(precision)")
    }
}
