import CSystem

/// One SimpleRNN step; see kernels.h. A block is four panels of 16 units.
struct SimpleRNN {
    let call: UnsafePointer<cz_simple_rnn>

    @inline(always)
    func run() {
        let call = call.pointee
        let all = (call.units &+ 15) / 16
        let recurrent = call.recurrent.unsafelyUnwrapped, h = call.h.unsafelyUnwrapped
        var scratch = Scratch()
        scratch.with { out in
            var sums = Sums(x: call.x ?? h, xStride: call.x_stride, inputs: call.x == nil ? 0 : call.inputs, kernel: recurrent,
                            h: h, hStride: call.state_stride, units: call.units, recurrent: recurrent,
                            out: out, outStride: Scratch.stride)
            var panel = 0
            while panel < all {
                let panels = all &- panel < 4 ? all &- panel : 4
                if call.x != nil {
                    sums.start = call.bias.unsafelyUnwrapped + panel &* 16
                    sums.kernel = call.kernel.unsafelyUnwrapped + panel &* 16 &* call.inputs
                }
                sums.recurrent = recurrent + panel &* 16 &* call.units
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
    }

    /// The new states from the sums.
    @inline(never)
    private func finish(_ sums: UnsafePointer<Float>, row: Int, count: Int, panel: Int, panels: Int) {
        let activation = call.pointee.activation
        for i in 0..<count {
            let out = call.pointee.h_out.unsafelyUnwrapped + ((row &+ i) &* call.pointee.state_out_stride &+ panel &* 16)
            for p in 0..<panels {
                let sum = Vector(sums + (i &* Scratch.stride &+ p &* 16))
                let h = activation.isTanh ? tanh(sum) : activation.applied(to: sum)
                h.keeping(call.pointee.units &- (panel &+ p) &* 16).store(out + p &* 16)
            }
        }
    }
}
