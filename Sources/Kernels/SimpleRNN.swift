import CSystem

/// One SimpleRNN step; see kernels.h. A block is as many panels as the widest tile has.
struct SimpleRNN: BlockKernel {
    let call: UnsafePointer<cz_simple_rnn>

    /// Panels of 16 units.
    @inline(always)
    private var panelCount: Int { (call.pointee.units &+ 15) / 16 }

    @inline(always)
    func run() { run(rows: call.pointee.rows, blocks: (panelCount &+ Level.panels &- 1) / Level.panels) }

    @inline(always)
    func run<let rows: Int, let panels: Int>(_ tile: Tile<rows, panels>.Type, row: Int, block: Int) {
        var panel = block &* Level.panels
        let end = panelCount < panel &+ Level.panels ? panelCount : panel &+ Level.panels
        while panel < end {
            if end &- panel >= panels {
                step(tile, row: row, panel: panel)
                panel &+= panels
            } else {
                step(Tile<rows, 1>.self, row: row, panel: panel)
                panel &+= 1
            }
        }
    }

    /// The new states of panels side by side.
    @inline(always)
    private func step<let rows: Int, let panels: Int>(_: Tile<rows, panels>.Type, row: Int, panel: Int) {
        let inputs = call.pointee.inputs, units = call.pointee.units
        var tile: Tile<rows, panels>
        if let x = call.pointee.x {
            tile = Tile(call.pointee.bias.unsafelyUnwrapped + panel &* 16, stride: 0)
            tile.add(x + row &* call.pointee.x_stride, stride: call.pointee.x_stride, inputs: inputs,
                     call.pointee.kernel.unsafelyUnwrapped + panel &* inputs &* 16)
        } else {
            tile = Tile(call.pointee.start.unsafelyUnwrapped + (row &* call.pointee.start_stride &+ panel &* 16),
                        stride: call.pointee.start_stride)
        }
        tile.add(call.pointee.h.unsafelyUnwrapped + row &* call.pointee.state_stride, stride: call.pointee.state_stride,
                 inputs: units, call.pointee.recurrent.unsafelyUnwrapped + panel &* units &* 16)
        let activation = call.pointee.activation
        for i in 0..<rows {
            let out = call.pointee.h_out.unsafelyUnwrapped + ((row &+ i) &* call.pointee.state_out_stride &+ panel &* 16)
            for p in 0..<panels {
                let sum = tile.sums[unchecked: i][unchecked: p]
                let h = activation.isTanh ? tanh(sum) : activation.applied(to: sum)
                h.keeping(units &- (panel &+ p) &* 16).store(out + p &* 16)
            }
        }
    }
}
