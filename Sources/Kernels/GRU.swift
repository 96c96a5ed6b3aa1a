import CSystem

/// One GRU step; see kernels.h.
struct GRU {
    let call: UnsafePointer<cz_gru>

    @inline(always)
    func run() {
        if Level.isOneRowApart && call.pointee.rows == 1 && isResetAfter && !isNarrow {
            for block in 0..<blocks { oneRow(block) }
        } else {
            withScratch(rows: call.pointee.rows) { rows($0) }
        }
    }

    @inline(never)
    private func rows(_ sums: UnsafeMutablePointer<Float>) {
        if isResetAfter {
            resetAfter(sums)
        } else {
            gates(sums)
            candidates(sums)
        }
    }

    // MARK: Reset after the product

    /// The whole step of a block of 16 units. The h gate's product with x is set aside, and its product with h starts from
    /// the recurrent bias.
    @inline(always)
    private func resetAfter(_ sums: UnsafeMutablePointer<Float>) {
        for block in 0..<blocks {
            forEachGroup(of: call.pointee.rows) { row, count in
                inputSums(row: row, panel: block &* 3, out: sums).add(rows: count, panels: 3)
                let recurrentBias = Vector(call.pointee.recurrent_bias_h.unsafelyUnwrapped + block &* 16)
                for i in 0..<count {
                    let gate = sums + (i &* scratchStride &+ 32)
                    Vector(gate).store(gate + 16)
                    recurrentBias.store(gate)
                }
                stateSums(row: row, weights: Weights(call.pointee.recurrent).panel(block &* 3, inputs: units), out: sums)
                    .add(rows: count, panels: 3)
                finishResetAfter(sums, row: row, count: count, block: block)
            }
        }
    }

    /// The same for the only row.
    @inline(always)
    private func oneRow(_ block: Int) {
        let out = call.pointee.h_out.unsafelyUnwrapped
        var gates: Tile<1, 3> = inputSums(row: 0, panel: block &* 3, out: out).tile(at: 0)
        let input = gates[2]
        gates[2] = Vector(call.pointee.recurrent_bias_h.unsafelyUnwrapped + block &* 16)
        gates.add(call.pointee.h.unsafelyUnwrapped, stride: 0, inputs: units,
                  Weights(call.pointee.recurrent).floats + block &* 48 &* units)
        finish(row: 0, block: block, update: gate(gates[0]), candidate: fused(gate(gates[1]), gates[2], input))
    }

    @inline(never)
    private func finishResetAfter(_ sums: UnsafePointer<Float>, row: Int, count: Int, block: Int) {
        for i in 0..<count {
            let gates = sums + i &* scratchStride
            finish(row: row &+ i, block: block, update: gate(Vector(gates)),
                   candidate: fused(gate(Vector(gates + 16)), Vector(gates + 32), Vector(gates + 48)))
        }
    }

    // MARK: Reset before the product

    /// z and r·h of all units into the call's scratch, [rows][2][blocks · 16].
    @inline(always)
    private func gates(_ sums: UnsafeMutablePointer<Float>) {
        for block in 0..<blocks {
            forEachGroup(of: call.pointee.rows) { row, count in
                inputSums(row: row, panel: block &* 3, out: sums).add(rows: count, panels: 2)
                stateSums(row: row, weights: Weights(call.pointee.recurrent).panel(block &* 2, inputs: units), out: sums)
                    .add(rows: count, panels: 2)
                finishGates(sums, row: row, count: count, block: block)
            }
        }
    }

    @inline(never)
    private func finishGates(_ sums: UnsafePointer<Float>, row: Int, count: Int, block: Int) {
        for i in 0..<count {
            let gates = sums + i &* scratchStride, kept = kept(row: row &+ i) + block &* 16
            gate(Vector(gates)).store(kept)
            (gate(Vector(gates + 16)) * state(row: row &+ i, block: block)).store(kept + blocks &* 16)
        }
    }

    /// … and from them the new state, once all units' r·h are there. A block's products with r·h lie side by side, those
    /// with x apart.
    @inline(always)
    private func candidates(_ sums: UnsafeMutablePointer<Float>) {
        var block = 0
        while block < blocks {
            let panels = blocks &- block < 4 ? blocks &- block : 4
            forEachGroup(of: call.pointee.rows) { row, count in
                for panel in 0..<panels {
                    inputSums(row: row, panel: (block &+ panel) &* 3 &+ 2, out: sums + panel &* 16).add(rows: count, panels: 1)
                }
                var products = stateSums(row: row, weights: Weights(call.pointee.recurrent_h).panel(block, inputs: units), out: sums)
                products.h = UnsafePointer(kept(row: row) + blocks &* 16)
                products.hStride = 2 &* blocks &* 16
                products.add(rows: count, panels: panels)
                for panel in 0..<panels { finishCandidate(sums + panel &* 16, row: row, count: count, block: block &+ panel) }
            }
            block &+= panels
        }
    }

    @inline(never)
    private func finishCandidate(_ sums: UnsafePointer<Float>, row: Int, count: Int, block: Int) {
        for i in 0..<count {
            finish(row: row &+ i, block: block, update: Vector(kept(row: row &+ i) + block &* 16),
                   candidate: Vector(sums + i &* scratchStride))
        }
    }

    // MARK: Both

    @inline(always)
    private var isNarrow: Bool { call.pointee.kernel.kind != 0 }
    @inline(always)
    private var isResetAfter: Bool { call.pointee.recurrent_h.panels == nil }
    @inline(always)
    private var units: Int { call.pointee.units }
    @inline(always)
    private var blocks: Int { (call.pointee.units &+ 15) / 16 }

    /// What a row keeps in the call's scratch: z, then r·h.
    @inline(always)
    private func kept(row: Int) -> UnsafeMutablePointer<Float> {
        call.pointee.scratch.unsafelyUnwrapped + row &* 2 &* blocks &* 16
    }

    @inline(always)
    private func state(row: Int, block: Int) -> Vector {
        Vector(call.pointee.h.unsafelyUnwrapped + (row &* call.pointee.state_stride &+ block &* 16))
    }

    /// The bias and x's products, or `start`.
    @inline(always)
    private func inputSums(row: Int, panel: Int, out: UnsafeMutablePointer<Float>) -> Sums {
        let weights = Weights(call.pointee.recurrent), h = call.pointee.h.unsafelyUnwrapped
        var sums = Sums(x: h, kernel: weights, h: h, recurrent: weights, out: out, outStride: scratchStride)
        if let x = call.pointee.x {
            sums.start = call.pointee.bias.unsafelyUnwrapped + panel &* 16
            sums.h = x + row &* call.pointee.x_stride
            sums.hStride = call.pointee.x_stride
            sums.units = call.pointee.inputs
            sums.recurrent = Weights(call.pointee.kernel).panel(panel, inputs: call.pointee.inputs)
        } else {
            sums.start = call.pointee.start.unsafelyUnwrapped + (row &* call.pointee.start_stride &+ panel &* 16)
            sums.startStride = call.pointee.start_stride
        }
        return sums
    }

    /// `out` and h's products.
    @inline(always)
    private func stateSums(row: Int, weights: Weights, out: UnsafeMutablePointer<Float>) -> Sums {
        let h = call.pointee.h.unsafelyUnwrapped + row &* call.pointee.state_stride
        return Sums(start: UnsafePointer(out), startStride: scratchStride, x: h, kernel: weights,
                    h: h, hStride: call.pointee.state_stride, units: units, recurrent: weights, out: out, outStride: scratchStride)
    }

    /// The recurrent activation.
    @inline(always)
    private func gate(_ sum: Vector) -> Vector {
        call.pointee.recurrent_activation.isSigmoid ? sigmoid(sum) : call.pointee.recurrent_activation.applied(to: sum)
    }

    /// h' = z·h + (1 − z)·activation(candidate) of one block of one row.
    @inline(always)
    private func finish(row: Int, block: Int, update z: Vector, candidate sum: Vector) {
        let candidate = call.pointee.activation.isTanh ? tanh(sum) : call.pointee.activation.applied(to: sum)
        let next = fused(z, state(row: row, block: block), (Vector(1) - z) * candidate)
        let lanes = units &- block &* 16
        (lanes < 16 ? next.keeping(lanes) : next)
            .store(call.pointee.h_out.unsafelyUnwrapped + (row &* call.pointee.state_out_stride &+ block &* 16))
        if let answer = call.pointee.answer { answer.pointee.give(next, row: row, block: block, lanes: lanes) }
    }
}
