import CSystem

/// One GRU step; see kernels.h.
struct GRU {
    let call: UnsafePointer<cz_gru>

    @inline(always)
    func run() {
        let rows = call.pointee.rows, blocks = (call.pointee.units &+ 15) / 16
        if call.pointee.recurrent_h == nil {
            GRUResetAfter(call: call).run(rows: rows, blocks: blocks)
        } else {
            GRUGates(call: call).run(rows: rows, blocks: blocks)
            GRUCandidate(call: call).run(rows: rows, blocks: (blocks &+ Level.panels &- 1) / Level.panels)
        }
    }
}

/// The whole step of a block of 16 units, where the reset comes after the product.
private struct GRUResetAfter: BlockKernel {
    let call: UnsafePointer<cz_gru>

    @inline(always)
    func run<let rows: Int, let panels: Int>(_ tile: Tile<rows, panels>.Type, row: Int, block: Int) {
        let panel = block &* 3
        let recurrentBias = Vector(call.pointee.recurrent_bias_h.unsafelyUnwrapped + block &* 16)
        // The h gate's product with x is set aside, and its product with h starts from the recurrent bias.
        if panels >= 3 {
            var gates: Tile<rows, 3> = call.inputSums(row: row, panel: panel)
            var input = Tile<rows, 1>()
            for i in 0..<rows {
                input.sums[unchecked: i][unchecked: 0] = gates.sums[unchecked: i][unchecked: 2]
                gates.sums[unchecked: i][unchecked: 2] = recurrentBias
            }
            call.addState(to: &gates, row: row, panel: panel)
            for i in 0..<rows {
                finish(row: row &+ i, block: block, z: gates.sums[unchecked: i][unchecked: 0],
                       r: gates.sums[unchecked: i][unchecked: 1], recurrent: gates.sums[unchecked: i][unchecked: 2],
                       input: input.sums[unchecked: i][unchecked: 0])
            }
        } else {
            let gates = InlineArray<2, Tile<rows, 1>> {
                var sums: Tile<rows, 1> = call.inputSums(row: row, panel: panel &+ $0)
                call.addState(to: &sums, row: row, panel: panel &+ $0)
                return sums
            }
            let input: Tile<rows, 1> = call.inputSums(row: row, panel: panel &+ 2)
            var recurrent = Tile<rows, 1>(call.pointee.recurrent_bias_h.unsafelyUnwrapped + block &* 16, stride: 0)
            call.addState(to: &recurrent, row: row, panel: panel &+ 2)
            for i in 0..<rows {
                finish(row: row &+ i, block: block, z: gates[unchecked: 0].sums[unchecked: i][unchecked: 0],
                       r: gates[unchecked: 1].sums[unchecked: i][unchecked: 0],
                       recurrent: recurrent.sums[unchecked: i][unchecked: 0], input: input.sums[unchecked: i][unchecked: 0])
            }
        }
    }

    /// The new state from the gates' sums.
    @inline(always)
    private func finish(row: Int, block: Int, z: Vector, r: Vector, recurrent: Vector, input: Vector) {
        call.finish(row: row, block: block, update: call.gate(z), candidate: fused(call.gate(r), recurrent, input))
    }
}

/// Where the reset comes before the product: z and r·h of a block into scratch, [rows][2][blocks · 16].
private struct GRUGates: BlockKernel {
    let call: UnsafePointer<cz_gru>

    @inline(always)
    func run<let rows: Int, let panels: Int>(_ tile: Tile<rows, panels>.Type, row: Int, block: Int) {
        if panels >= 2 {
            finish(InlineArray<1, Tile<rows, 2>> { _ in sums(row: row, block: block, gate: 0) }, row: row, block: block)
        } else {
            finish(InlineArray<2, Tile<rows, 1>> { sums(row: row, block: block, gate: $0) }, row: row, block: block)
        }
    }

    /// The sums of a block's gates from `gate` on.
    @inline(always)
    private func sums<let rows: Int, let panels: Int>(row: Int, block: Int, gate: Int) -> Tile<rows, panels> {
        var tile: Tile<rows, panels> = call.inputSums(row: row, panel: block &* 3 &+ gate)
        call.addState(to: &tile, row: row, panel: block &* 2 &+ gate)
        return tile
    }

    @inline(always)
    private func finish<let tiles: Int, let rows: Int, let panels: Int>(
        _ gates: borrowing InlineArray<tiles, Tile<rows, panels>>, row: Int, block: Int
    ) {
        for i in 0..<rows {
            let scratch = call.scratch(row: row &+ i) + block &* 16
            let h = Vector(call.pointee.h.unsafelyUnwrapped + ((row &+ i) &* call.pointee.state_stride &+ block &* 16))
            call.gate(gates[unchecked: 0].sums[unchecked: i][unchecked: 0]).store(scratch)
            let reset = call.gate(gates[unchecked: 1 / panels].sums[unchecked: i][unchecked: 1 % panels])
            (reset * h).store(scratch + call.paddedUnits)
        }
    }
}

/// … and from them the new state, once all units' r·h are there. A block here is as many panels as the widest tile has.
private struct GRUCandidate: BlockKernel {
    let call: UnsafePointer<cz_gru>

    @inline(always)
    func run<let rows: Int, let panels: Int>(_ tile: Tile<rows, panels>.Type, row: Int, block: Int) {
        var panel = block &* Level.panels
        let all = call.paddedUnits / 16
        let end = all < panel &+ Level.panels ? all : panel &+ Level.panels
        while panel < end {
            if end &- panel >= panels {
                step(tile, row: row, first: panel)
                panel &+= panels
            } else {
                step(Tile<rows, 1>.self, row: row, first: panel)
                panel &+= 1
            }
        }
    }

    /// The new state of panels side by side. Their products with h lie side by side, those with x apart.
    @inline(always)
    private func step<let rows: Int, let panels: Int>(_: Tile<rows, panels>.Type, row: Int, first: Int) {
        let units = call.pointee.units, width = call.paddedUnits
        var sums = Tile<rows, panels>()
        for panel in 0..<panels {
            let input: Tile<rows, 1> = call.inputSums(row: row, panel: (first &+ panel) &* 3 &+ 2)
            for i in 0..<rows { sums.sums[unchecked: i][unchecked: panel] = input.sums[unchecked: i][unchecked: 0] }
        }
        sums.add(call.scratch(row: row) + width, stride: 2 &* width, inputs: units,
                 call.pointee.recurrent_h.unsafelyUnwrapped + first &* units &* 16)
        for i in 0..<rows {
            for panel in 0..<panels {
                call.finish(row: row &+ i, block: first &+ panel,
                            update: Vector(call.scratch(row: row &+ i) + (first &+ panel) &* 16),
                            candidate: sums.sums[unchecked: i][unchecked: panel])
            }
        }
    }
}

extension UnsafePointer<cz_gru> {
    /// Units in whole blocks.
    @inline(always)
    fileprivate var paddedUnits: Int { (pointee.units &+ 15) / 16 &* 16 }

    /// A row of scratch: z, then r·h.
    @inline(always)
    fileprivate func scratch(row: Int) -> UnsafeMutablePointer<Float> {
        pointee.scratch.unsafelyUnwrapped + row &* 2 &* paddedUnits
    }

    /// The bias and x's products, or `start`, of panels side by side.
    @inline(always)
    fileprivate func inputSums<let rows: Int, let panels: Int>(row: Int, panel: Int) -> Tile<rows, panels> {
        guard let x = pointee.x else {
            return Tile(pointee.start.unsafelyUnwrapped + (row &* pointee.start_stride &+ panel &* 16), stride: pointee.start_stride)
        }
        var tile = Tile<rows, panels>(pointee.bias.unsafelyUnwrapped + panel &* 16, stride: 0)
        tile.add(x + row &* pointee.x_stride, stride: pointee.x_stride, inputs: pointee.inputs,
                 pointee.kernel.unsafelyUnwrapped + panel &* pointee.inputs &* 16)
        return tile
    }

    /// Adds h's products with panels side by side.
    @inline(always)
    fileprivate func addState<let rows: Int, let panels: Int>(to tile: inout Tile<rows, panels>, row: Int, panel: Int) {
        tile.add(pointee.h.unsafelyUnwrapped + row &* pointee.state_stride, stride: pointee.state_stride, inputs: pointee.units,
                 pointee.recurrent.unsafelyUnwrapped + panel &* pointee.units &* 16)
    }

    /// The recurrent activation.
    @inline(always)
    fileprivate func gate(_ sum: Vector) -> Vector {
        pointee.recurrent_activation.isSigmoid ? sigmoid(sum) : pointee.recurrent_activation.applied(to: sum)
    }

    /// h' = z·h + (1 − z)·activation(candidate) of one block of one row.
    @inline(always)
    fileprivate func finish(row: Int, block: Int, update z: Vector, candidate sum: Vector) {
        let candidate = pointee.activation.isTanh ? tanh(sum) : pointee.activation.applied(to: sum)
        let h = Vector(pointee.h.unsafelyUnwrapped + (row &* pointee.state_stride &+ block &* 16))
        let next = fused(z, h, (Vector(1) - z) * candidate)
        let lanes = pointee.units &- block &* 16
        (lanes < 16 ? next.keeping(lanes) : next)
            .store(pointee.h_out.unsafelyUnwrapped + (row &* pointee.state_out_stride &+ block &* 16))
    }
}
