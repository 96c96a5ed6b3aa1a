import CSystem

/// One SimpleRNN step; see kernels.h. A block is four panels of 16 units.
struct SimpleRNN {
    let call: UnsafePointer<cz_simple_rnn>

    @inline(always)
    func run() {
        withScratch(rows: call.pointee.rows) { rows($0) }
    }

    @inline(never)
    private func rows(_ out: UnsafeMutablePointer<Float>) {
        let call = call.pointee
        let all = (call.units &+ 15) / 16
        let recurrent = Weights(call.recurrent), h = call.h.unsafelyUnwrapped
        var sums = Sums(x: call.x ?? h, xStride: call.x_stride, inputs: call.x == nil ? 0 : call.inputs, kernel: recurrent,
                        h: h, hStride: call.state_stride, units: call.units, recurrent: recurrent,
                        out: out, outStride: scratchStride)
        var panel = 0
        while panel < all {
            let panels = all &- panel < 4 ? all &- panel : 4
            if call.x != nil {
                sums.start = call.bias.unsafelyUnwrapped + panel &* 16
                sums.kernel = Weights(call.kernel).panel(panel, inputs: call.inputs)
            }
            sums.recurrent = recurrent.panel(panel, inputs: call.units)
            forEachGroup(of: call.rows) { row, count in
                if let x = call.x {
                    sums.x = x + row &* call.x_stride
                } else {
                    sums.start = call.start.unsafelyUnwrapped + (row &* call.start_stride &+ panel &* 16)
                    sums.startStride = call.start_stride
                }
                sums.h = h + row &* call.state_stride
                sums.add(rows: count, panels: panels)
                finish(out, row: row, count: count, panel: panel, panels: panels)
            }
            panel &+= panels
        }
    }

    /// The new states from the sums.
    @inline(never)
    private func finish(_ sums: UnsafePointer<Float>, row: Int, count: Int, panel: Int, panels: Int) {
        let activation = call.pointee.activation
        for i in 0..<count {
            let out = call.pointee.h_out.unsafelyUnwrapped + ((row &+ i) &* call.pointee.state_out_stride &+ panel &* 16)
            for p in 0..<panels {
                let sum = Vector(sums + (i &* scratchStride &+ p &* 16))
                let h = activation.isTanh ? tanh(sum) : activation.applied(to: sum)
                let lanes = call.pointee.units &- (panel &+ p) &* 16
                h.keeping(lanes).store(out + p &* 16)
                if let answer = call.pointee.answer { answer.pointee.give(h, row: row &+ i, block: panel &+ p, lanes: lanes) }
            }
        }
    }
}
