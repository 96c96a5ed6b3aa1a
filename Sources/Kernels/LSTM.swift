import CSystem

/// One LSTM step; see kernels.h. A block is 16 units: their four gates' sums, then the gates' arithmetic on them.
struct LSTM {
    let call: UnsafePointer<cz_lstm>

    @inline(always)
    func run() {
        let blocks = (call.pointee.units &+ 15) / 16
        if Level.isOneRowApart && call.pointee.rows == 1 && isUsual && !Weights(call.pointee.kernel).isNarrow {
            for block in 0..<blocks { oneRow(block) }
        } else {
            withScratch(rows: call.pointee.rows) { rows(blocks, $0) }
        }
    }

    @inline(never)
    private func rows(_ blocks: Int, _ gates: UnsafeMutablePointer<Float>) {
        for block in 0..<blocks {
            forEachGroup(of: call.pointee.rows) { row, count in
                sums(row: row, block: block, out: gates).add(rows: count, panels: 4)
                finish(gates, row: row, count: count, block: block)
            }
        }
    }

    @inline(always)
    private func sums(row: Int, block: Int, out: UnsafeMutablePointer<Float>) -> Sums {
        let call = call.pointee
        let h = call.h.unsafelyUnwrapped + row &* call.state_stride
        let recurrent = Weights(call.recurrent).panel(block &* 4, inputs: call.units)
        var sums = Sums(x: h, kernel: recurrent, h: h, hStride: call.state_stride, units: call.units, recurrent: recurrent,
                        out: out, outStride: scratchStride)
        if let x = call.x {
            sums.start = call.bias.unsafelyUnwrapped + block &* 64
            sums.x = x + row &* call.x_stride
            sums.xStride = call.x_stride
            sums.inputs = call.inputs
            sums.kernel = Weights(call.kernel).panel(block &* 4, inputs: call.inputs)
        } else {
            sums.start = call.start.unsafelyUnwrapped + (row &* call.start_stride &+ block &* 64)
            sums.startStride = call.start_stride
        }
        return sums
    }

    /// A block of the only row, with the usual gates.
    @inline(always)
    private func oneRow(_ block: Int) {
        let gates: Tile<1, 4> = sums(row: 0, block: block, out: call.pointee.h_out.unsafelyUnwrapped).tile(at: 0)
        let c = cellState(gates[0], gates[1], gates[2], state(row: 0, block: block))
        store(h: sigmoidTimesTanh(gates[3], c), c: c, row: 0, block: block)
    }

    /// Two passes where the gates are the usual ones: one after another their arithmetic would take longer than the processor
    /// looks ahead, and rows would wait for one another.
    @inline(never)
    private func finish(_ gates: UnsafeMutablePointer<Float>, row: Int, count: Int, block: Int) {
        guard isUsual else {
            for i in 0..<count {
                let sums = gates + i &* scratchStride
                finishOther(Vector(sums), Vector(sums + 16), Vector(sums + 32), Vector(sums + 48), row: row &+ i, block: block)
            }
            return
        }
        for i in 0..<count {
            let sums = gates + i &* scratchStride
            cellState(Vector(sums), Vector(sums + 16), Vector(sums + 32), state(row: row &+ i, block: block)).store(sums)
            sigmoidDenominator(Vector(sums + 48)).store(sums + 48)
        }
        for i in 0..<count {
            let sums = gates + i &* scratchStride, c = Vector(sums)
            store(h: timesTanh(sigmoidDenominator: Vector(sums + 48), c), c: c, row: row &+ i, block: block)
        }
    }

    /// The gates' arithmetic on a block's sums with any activations, and the states after the step.
    @inline(never)
    private func finishOther(_ i: Vector, _ f: Vector, _ candidate: Vector, _ o: Vector, row: Int, block: Int) {
        let activation = call.pointee.activation, recurrent = call.pointee.recurrent_activation
        let input = recurrent.applied(to: i) * activation.applied(to: candidate)
        let c = fused(recurrent.applied(to: f), state(row: row, block: block), input)
        store(h: recurrent.applied(to: o) * activation.applied(to: c), c: c, row: row, block: block)
    }

    /// Whether the activations are tanh and sigmoid.
    @inline(always)
    private var isUsual: Bool { call.pointee.activation.isTanh && call.pointee.recurrent_activation.isSigmoid }

    /// The cell state before the step.
    @inline(always)
    private func state(row: Int, block: Int) -> Vector {
        Vector(call.pointee.c.unsafelyUnwrapped + (row &* call.pointee.state_stride &+ block &* 16))
    }

    /// Writes a block's states, and its answers where they are wanted.
    @inline(always)
    private func store(h: Vector, c: Vector, row: Int, block: Int) {
        let call = call.pointee
        let place = row &* call.state_out_stride &+ block &* 16, lanes = call.units &- block &* 16
        (lanes < 16 ? h.keeping(lanes) : h).store(call.h_out.unsafelyUnwrapped + place)
        (lanes < 16 ? c.keeping(lanes) : c).store(call.c_out.unsafelyUnwrapped + place)
        if let answer = call.answer { answer.pointee.give(h, row: row, block: block, lanes: lanes) }
    }

    /// The cell state after the step, from the gates' sums and the one before.
    @inline(always)
    private func cellState(_ i: Vector, _ f: Vector, _ candidate: Vector, _ c: Vector) -> Vector {
        fused(sigmoid(f), c, sigmoidTimesTanh(i, candidate))
    }
}
