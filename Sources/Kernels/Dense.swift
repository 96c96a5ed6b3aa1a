import CSystem

/// A dense layer; see kernels.h.
struct Dense {
    let call: UnsafePointer<cz_dense>

    @inline(always)
    func run() {
        if call.pointee.rows == 1 && call.pointee.units < 16 && !Weights(call.pointee.kernel).isNarrow { oneRow() } else { rows() }
    }

    /// Of one row and less than sixteen units: the sums stay in registers until they are the answer.
    @inline(always)
    private func oneRow() {
        let call = call.pointee
        var tile = Tile<1, 1>(call.bias.unsafelyUnwrapped, stride: 0)
        if let column = call.column {
            for k in 0..<call.inputs { tile[0] = fused(Vector(call.x.unsafelyUnwrapped[k]), Vector(column[k]), tile[0]) }
        } else {
            tile.add(call.x.unsafelyUnwrapped, stride: 0, inputs: call.inputs, Weights(call.kernel).floats)
        }
        let activation = call.activation, sums = tile[0]
        let answer = activation.isLinear ? sums : activation.isSigmoid ? sigmoid(sums) : activation.applied(to: sums)
        answer.store(call.out.unsafelyUnwrapped, count: call.units)
    }

    @inline(never)
    private func rows() {
        let call = call.pointee, out = call.out.unsafelyUnwrapped
        Affine(x: call.x.unsafelyUnwrapped, xStride: call.inputs, inputs: call.inputs, packed: Weights(call.kernel), outputs: call.units,
               start: call.bias, startStride: 0, out: out, outStride: call.units).run(rows: call.rows)
        if !call.activation.isLinear { call.activation.apply(out, out, count: call.rows &* call.units) }
    }
}
