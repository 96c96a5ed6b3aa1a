import CSystem

/// Packed weights of any kind; see kernels.h.
struct Weights {
    private let panels: UnsafeRawPointer
    private let scales: UnsafePointer<Float>?
    private let kind: Int

    @inline(always)
    init(_ weights: cz_weights) {
        self.init(panels: weights.panels.unsafelyUnwrapped, scales: weights.scales, kind: Int(weights.kind))
    }

    @inline(always)
    private init(panels: UnsafeRawPointer, scales: UnsafePointer<Float>?, kind: Int) {
        self.panels = panels
        self.scales = scales
        self.kind = kind
    }

    /// Whether they are no floats.
    @inline(always)
    var isNarrow: Bool { kind != 0 }

    /// They, where they are floats.
    @inline(always)
    var floats: UnsafePointer<Float> { panels.assumingMemoryBound(to: Float.self) }

    /// Those from a panel on; `inputs`: the panels' length.
    @inline(always)
    func panel(_ panel: Int, inputs: Int) -> Weights {
        Weights(panels: panels + panel &* place(inputs), scales: scales.map { $0 + panel &* 16 }, kind: kind)
    }
}

extension Weights {
    /// How many bytes into a panel the weights of input k begin, where k is even or they are no halves; at k = inputs the
    /// next panel does.
    @inline(always)
    fileprivate func place(_ k: Int) -> Int { kind == 1 ? ((k &+ 1) &>> 1) &* 64 : (k &* 64) &>> kind }
}

extension Sums {
    /// `add` with narrow weights: the products with x, then those with h.
    @inline(never)
    func addNarrow(rows: Int, panels: Int) {
        var rest = self
        if inputs > 0 {
            rest.h = x
            rest.hStride = xStride
            rest.units = inputs
            rest.recurrent = kernel
            rest.addNarrow(rows, panels)
            rest = self
            rest.start = UnsafePointer(out)
            rest.startStride = outStride
        }
        rest.addNarrow(rows, panels)
    }

    /// The products with h. Weights are widened on their way into each tile: the processor has time for it while it multiplies.
    @inline(never)
    private func addNarrow(_ rows: Int, _ panels: Int) {
        guard let start else { return addFromZero(rows, panels) }
        if rows == Level.rows { return addRows(Level.Rows6.self, start, 0, panels) }
        var row = 0
        while row &+ 2 <= rows {
            addRows(Level.Rows2.self, start, row, panels)
            row &+= 2
        }
        if row < rows { Level.isOneRowApart ? addRow(start, row, panels) : addRows(Level.Rows1.self, start, row, panels) }
    }

    /// The same where nothing is to start from.
    @inline(never)
    private func addFromZero(_ rows: Int, _ panels: Int) {
        for row in 0..<rows {
            for panel in 0..<panels { Vector(0).store(out + (row &* outStride &+ panel &* 16)) }
        }
        var rest = self
        rest.start = UnsafePointer(out)
        rest.startStride = outStride
        rest.addNarrow(rows, panels)
    }

    /// Of one row. Where there are less than four panels, the first stands in.
    @inline(always)
    private func addRow(_ start: UnsafePointer<Float>, _ row: Int, _ panels: Int) {
        let x = h + row &* hStride, start = start + row &* startStride, out = out + row &* outStride
        var tile = Tile<1, 4>()
        if recurrent.isHalf {
            for panel in 0..<4 where panel < panels { tile[panel] = Vector(start + panel &* 16) }
            tile.addHalves(x, units, recurrent, panels)
        } else {
            tile.addBytes(x, units, recurrent, panels)
            for panel in 0..<4 where panel < panels { tile[panel] = recurrent.scaled(tile[panel], panel, start) }
        }
        for panel in 0..<4 where panel < panels { tile[panel].store(out + panel &* 16) }
    }

    /// Of a tile's rows.
    @inline(always)
    private func addRows<let rows: Int, let width: Int>(_ tile: Tile<rows, width>.Type, _ start: UnsafePointer<Float>, _ row: Int,
                                                        _ panels: Int) {
        var panel = 0
        while panel &+ width <= panels {
            addTile(tile, start, row, panel)
            panel &+= width
        }
        while panel < panels {
            addTile(Tile<rows, 1>.self, start, row, panel)
            panel &+= 1
        }
    }

    @inline(never)
    private func addTile<let rows: Int, let panels: Int>(_: Tile<rows, panels>.Type, _ start: UnsafePointer<Float>, _ row: Int, _ panel: Int) {
        let x = h + row &* hStride, weights = recurrent.panel(panel, inputs: units)
        let start = start + (row &* startStride &+ panel &* 16), out = out + (row &* outStride &+ panel &* 16)
        if recurrent.isHalf {
            var tile = Tile<rows, panels>(start, stride: startStride)
            tile.addHalves(x, stride: hStride, inputs: units, weights)
            tile.write(out, stride: outStride)
        } else {
            var tile = Tile<rows, panels>()
            tile.addBytes(x, stride: hStride, inputs: units, weights)
            tile.scale(by: weights, start, stride: startStride)
            tile.write(out, stride: outStride)
        }
    }
}

extension Weights {
    @inline(always)
    fileprivate var bytes: UnsafeRawPointer { panels }

    @inline(always)
    fileprivate var isHalf: Bool { kind == 1 }

    /// start + scale·sum, of a panel's sums.
    @inline(always)
    fileprivate func scaled(_ sum: Vector, _ panel: Int, _ start: UnsafePointer<Float>) -> Vector {
        fused(sum, Vector(scales.unsafelyUnwrapped + panel &* 16), Vector(start + panel &* 16))
    }
}

/// Sixteen halves of each of two inputs.
private struct Pair {
    private let words: Bits

    @inline(always)
    init(_ pointer: UnsafeRawPointer) { words = Vector(aligned: pointer.assumingMemoryBound(to: Float.self)).bits }

    /// Those of the first input, widened.
    @inline(always)
    var first: Vector { Vector(bits: words &<< 16) }
    /// Those of the second.
    @inline(always)
    var second: Vector { Vector(bits: words & Bits(0xFFFF_0000)) }
}

extension Tile<1, 4> {
    /// Adds x·W of one row, W of halves.
    @inline(always)
    fileprivate mutating func addHalves(_ x: UnsafePointer<Float>, _ inputs: Int, _ weights: Weights, _ panels: Int) {
        let a = weights.bytes, b = weights.panel(panels > 1 ? 1 : 0, inputs: inputs).bytes
        let c = weights.panel(panels > 2 ? 2 : 0, inputs: inputs).bytes, d = weights.panel(panels > 3 ? 3 : 0, inputs: inputs).bytes
        var (sumA, sumB, sumC, sumD) = (self[0], self[1], self[2], self[3])
        var k = 0
        while k &+ 2 <= inputs {
            let first = Vector(x[k]), second = Vector(x[k &+ 1]), place = k &* 32
            // Between two prefetches the compiler takes loads together: all of them would not fit into the registers.
            let pairA = Pair(a + place)
            sumA = fused(second, pairA.second, fused(first, pairA.first, sumA))
            cz_prefetch(a + (place &+ 512))
            let pairB = Pair(b + place)
            sumB = fused(second, pairB.second, fused(first, pairB.first, sumB))
            cz_prefetch(b + (place &+ 512))
            let pairC = Pair(c + place)
            sumC = fused(second, pairC.second, fused(first, pairC.first, sumC))
            cz_prefetch(c + (place &+ 512))
            let pairD = Pair(d + place)
            sumD = fused(second, pairD.second, fused(first, pairD.first, sumD))
            cz_prefetch(d + (place &+ 512))
            k &+= 2
        }
        if k < inputs {
            let last = Vector(x[k]), place = k &* 32
            sumA = fused(last, Pair(a + place).first, sumA)
            sumB = fused(last, Pair(b + place).first, sumB)
            sumC = fused(last, Pair(c + place).first, sumC)
            sumD = fused(last, Pair(d + place).first, sumD)
        }
        (self[0], self[1], self[2], self[3]) = (sumA, sumB, sumC, sumD)
    }

    /// The same, W of bytes.
    @inline(always)
    fileprivate mutating func addBytes(_ x: UnsafePointer<Float>, _ inputs: Int, _ weights: Weights, _ panels: Int) {
        let a = weights.bytes, b = weights.panel(panels > 1 ? 1 : 0, inputs: inputs).bytes
        let c = weights.panel(panels > 2 ? 2 : 0, inputs: inputs).bytes, d = weights.panel(panels > 3 ? 3 : 0, inputs: inputs).bytes
        // Of its own the compiler would not keep them in registers.
        var (sumA, sumB, sumC, sumD) = (self[0], self[1], self[2], self[3])
        for k in 0..<inputs {
            let value = Vector(x[k]), place = k &* 16
            cz_prefetch(a + (place &+ 512))
            cz_prefetch(b + (place &+ 512))
            cz_prefetch(c + (place &+ 512))
            cz_prefetch(d + (place &+ 512))
            sumA = fused(value, Vector(int8: a + place), sumA)
            sumB = fused(value, Vector(int8: b + place), sumB)
            sumC = fused(value, Vector(int8: c + place), sumC)
            sumD = fused(value, Vector(int8: d + place), sumD)
        }
        (self[0], self[1], self[2], self[3]) = (sumA, sumB, sumC, sumD)
    }
}

extension Tile {
    /// Adds x·W as `add` does, W of halves.
    @inline(always)
    fileprivate mutating func addHalves(_ x: UnsafePointer<Float>, stride: Int, inputs: Int, _ weights: Weights) {
        var k = 0
        while k &+ 2 <= inputs {
            for panel in 0..<panels {
                let pair = Pair(weights.panel(panel, inputs: inputs).bytes + k &* 32)
                add(x + k, stride, pair.first, panel)
                add(x + (k &+ 1), stride, pair.second, panel)
            }
            k &+= 2
        }
        if k < inputs {
            for panel in 0..<panels { add(x + k, stride, Pair(weights.panel(panel, inputs: inputs).bytes + k &* 32).first, panel) }
        }
    }

    /// The same, W of bytes.
    @inline(always)
    fileprivate mutating func addBytes(_ x: UnsafePointer<Float>, stride: Int, inputs: Int, _ weights: Weights) {
        var k = 0
        while k < inputs {
            for panel in 0..<panels {
                add(x + k, stride, Vector(int8: weights.panel(panel, inputs: inputs).bytes + k &* 16), panel)
            }
            k &+= 1
        }
    }

    /// Makes start + scale·sum of the sums of whole numbers.
    @inline(always)
    fileprivate mutating func scale(by weights: Weights, _ start: UnsafePointer<Float>, stride: Int) {
        for row in 0..<rows {
            for panel in 0..<panels {
                sums[unchecked: row][unchecked: panel] = weights.scaled(sums[unchecked: row][unchecked: panel], panel, start + row &* stride)
            }
        }
    }

    /// Adds the products of one input.
    @inline(always)
    private mutating func add(_ x: UnsafePointer<Float>, _ stride: Int, _ weights: Vector, _ panel: Int) {
        for row in 0..<rows {
            sums[unchecked: row][unchecked: panel] = fused(Vector(x[row &* stride]), weights, sums[unchecked: row][unchecked: panel])
        }
    }
}
