import CSystem

/// One LSTM step; see kernels.h. A block is 16 units: their four gates' sums, then the gates' arithmetic on them.
struct LSTM: BlockKernel {
    let call: UnsafePointer<cz_lstm>

    @inline(always)
    func run() { run(rows: call.pointee.rows, blocks: (call.pointee.units &+ 15) / 16) }

    @inline(always)
    func run<let rows: Int, let panels: Int>(_ tile: Tile<rows, panels>.Type, row: Int, block: Int) {
        // The four gates' sums, as many of them at once as the tile takes.
        if panels >= 4 {
            finish(InlineArray<1, Tile<rows, 4>> { _ in sums(row: row, panel: block &* 4) }, row: row, block: block)
        } else if panels >= 2 {
            finish(InlineArray<2, Tile<rows, 2>> { sums(row: row, panel: block &* 4 &+ $0 &* 2) }, row: row, block: block)
        } else {
            finish(InlineArray<4, Tile<rows, 1>> { sums(row: row, panel: block &* 4 &+ $0) }, row: row, block: block)
        }
    }

    /// The gates' arithmetic on a block's sums, and the states after the step.
    @inline(always)
    private func finish<let tiles: Int, let rows: Int, let panels: Int>(
        _ gates: borrowing InlineArray<tiles, Tile<rows, panels>>, row: Int, block: Int
    ) {
        prefetchBlock(Tile<rows, 4>.self, block &+ 1)
        let hOut = call.pointee.h_out.unsafelyUnwrapped, cOut = call.pointee.c_out.unsafelyUnwrapped
        let lanes = call.pointee.units &- block &* 16
        for i in 0..<rows {
            let state = (row &+ i) &* call.pointee.state_stride &+ block &* 16
            let stateOut = (row &+ i) &* call.pointee.state_out_stride &+ block &* 16
            let c = Vector(call.pointee.c.unsafelyUnwrapped + state)
            let (hNext, cNext) = next(
                gates[unchecked: 0].sums[unchecked: i][unchecked: 0],
                gates[unchecked: 1 / panels].sums[unchecked: i][unchecked: 1 % panels],
                gates[unchecked: 2 / panels].sums[unchecked: i][unchecked: 2 % panels],
                gates[unchecked: 3 / panels].sums[unchecked: i][unchecked: 3 % panels], c)
            (lanes < 16 ? hNext.keeping(lanes) : hNext).store(hOut + stateOut)
            (lanes < 16 ? cNext.keeping(lanes) : cNext).store(cOut + stateOut)
        }
    }

    /// Asks for the weights that the next block begins with.
    @inline(always)
    private func prefetchBlock<let rows: Int>(_: Tile<rows, 4>.Type, _ block: Int) {
        if call.pointee.x != nil {
            Tile<rows, 4>.prefetch(call.pointee.kernel.unsafelyUnwrapped + block &* 64 &* call.pointee.inputs, inputs: call.pointee.inputs)
        } else {
            Tile<rows, 4>.prefetch(call.pointee.recurrent.unsafelyUnwrapped + block &* 64 &* call.pointee.units, inputs: call.pointee.units)
        }
    }

    /// The sums of panels side by side: the bias and x's products, or `start`; then h's products.
    @inline(always)
    private func sums<let rows: Int, let panels: Int>(row: Int, panel: Int) -> Tile<rows, panels> {
        let inputs = call.pointee.inputs, units = call.pointee.units
        let recurrent = call.pointee.recurrent.unsafelyUnwrapped + panel &* units &* 16
        var tile: Tile<rows, panels>
        if let x = call.pointee.x {
            Tile<rows, panels>.prefetch(recurrent, inputs: units)
            tile = Tile(call.pointee.bias.unsafelyUnwrapped + panel &* 16, stride: 0)
            tile.add(x + row &* call.pointee.x_stride, stride: call.pointee.x_stride, inputs: inputs,
                     call.pointee.kernel.unsafelyUnwrapped + panel &* inputs &* 16)
        } else {
            tile = Tile(call.pointee.start.unsafelyUnwrapped + (row &* call.pointee.start_stride &+ panel &* 16),
                        stride: call.pointee.start_stride)
        }
        tile.add(call.pointee.h.unsafelyUnwrapped + row &* call.pointee.state_stride, stride: call.pointee.state_stride,
                 inputs: units, recurrent)
        return tile
    }

    /// The states after the step, from the gates' sums and the cell state before.
    @inline(always)
    private func next(_ i: Vector, _ f: Vector, _ candidate: Vector, _ o: Vector, _ c: Vector) -> (h: Vector, c: Vector) {
        let activation = call.pointee.activation, recurrent = call.pointee.recurrent_activation
        guard activation.isTanh, recurrent.isSigmoid else { return nextOutOfLine(activation, recurrent, i, f, candidate, o, c) }
        let c = fused(sigmoid(f), c, sigmoidTimesTanh(i, candidate))
        return (sigmoidTimesTanh(o, c), c)
    }
}

/// The same with any activations.
@inline(never)
private func nextOutOfLine(_ activation: cz_activation, _ recurrent: cz_activation, _ i: Vector, _ f: Vector,
                           _ candidate: Vector, _ o: Vector, _ c: Vector) -> (h: Vector, c: Vector) {
    let input = recurrent.applied(to: i) * activation.applied(to: candidate)
    let c = fused(recurrent.applied(to: f), c, input)
    return (recurrent.applied(to: o) * activation.applied(to: c), c)
}
