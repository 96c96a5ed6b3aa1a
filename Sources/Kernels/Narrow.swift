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
        Weights(panels: panels + panel &* size(inputs), scales: scales.map { $0 + panel &* 16 }, kind: kind)
    }
}

extension Weights {
    /// Bytes of a panel: 64 for each one, two or four inputs.
    @inline(always)
    fileprivate func size(_ inputs: Int) -> Int { ((inputs &+ (1 &<< kind) &- 1) &>> kind) &* 64 }
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

    @inline(always)
    private func addTile<let rows: Int, let panels: Int>(_ tile: Tile<rows, panels>.Type, _ start: UnsafePointer<Float>, _ row: Int,
                                                         _ panel: Int) {
        let x = h + row &* hStride, weights = recurrent.panel(panel, inputs: units)
        let start = start + (row &* startStride &+ panel &* 16), out = out + (row &* outStride &+ panel &* 16)
        if recurrent.isHalf { addHalves(tile, x, weights, start, out) } else { addBytes(tile, x, weights, start, out) }
    }

    @inline(never)
    private func addHalves<let rows: Int, let panels: Int>(_: Tile<rows, panels>.Type, _ x: UnsafePointer<Float>, _ weights: Weights,
                                                           _ start: UnsafePointer<Float>, _ out: UnsafeMutablePointer<Float>) {
        var tile = Tile<rows, panels>(start, stride: startStride)
        tile.addHalves(x, stride: hStride, inputs: units, weights)
        tile.write(out, stride: outStride)
    }

    @inline(never)
    private func addBytes<let rows: Int, let panels: Int>(_: Tile<rows, panels>.Type, _ x: UnsafePointer<Float>, _ weights: Weights,
                                                          _ start: UnsafePointer<Float>, _ out: UnsafeMutablePointer<Float>) {
        var tile = Tile<rows, panels>()
        tile.addBytes(x, stride: hStride, inputs: units, weights)
        tile.scale(by: weights, start, stride: startStride)
        tile.write(out, stride: outStride)
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
        var k = 0
        while k &+ 4 <= inputs {
            let place = k &* 16
            let first = Vector(x[k]), second = Vector(x[k &+ 1]), third = Vector(x[k &+ 2]), fourth = Vector(x[k &+ 3])
            sumA = four(a + place, first, second, third, fourth, sumA)
            sumB = four(b + place, first, second, third, fourth, sumB)
            sumC = four(c + place, first, second, third, fourth, sumC)
            sumD = four(d + place, first, second, third, fourth, sumD)
            k &+= 4
        }
        while k < inputs {
            let value = Vector(x[k]), place = upperByte(k)
            sumA = fused(value, Vector(upperBytes: a + place), sumA)
            sumB = fused(value, Vector(upperBytes: b + place), sumB)
            sumC = fused(value, Vector(upperBytes: c + place), sumC)
            sumD = fused(value, Vector(upperBytes: d + place), sumD)
            k &+= 1
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
        var bytes = weights.bytes
        while k < inputs {
            for panel in 0..<panels { add(x + k, stride, Vector(upperBytes: bytes + panel &* weights.size(inputs)), panel) }
            k &+= 1
            bytes += k & 3 == 0 ? 61 : 1
        }
    }

    /// Makes start + scale·sum of the sums of whole numbers.
    @inline(always)
    fileprivate mutating func scale(by weights: Weights, _ start: UnsafePointer<Float>, stride: Int) {
        for row in 0..<rows {
            for panel in 0..<panels {
                sums[unchecked: row][unchecked: panel] =
                    weights.scaled(sums[unchecked: row][unchecked: panel], panel, start + row &* stride)
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

/// How many bytes into a panel the words begin that have the whole numbers of input k on top.
@inline(always)
private func upperByte(_ k: Int) -> Int { (k &>> 2) &* 64 &+ (k & 3) }

/// Adds the products of four inputs to a panel's sums, and asks for the cache line of later ones.
@inline(always)
private func four(_ bytes: UnsafeRawPointer, _ first: Vector, _ second: Vector, _ third: Vector, _ fourth: Vector,
                  _ sum: Vector) -> Vector {
    cz_prefetch(bytes + 512)
    var sum = fused(first, Vector(upperBytes: bytes), sum)
    sum = fused(second, Vector(upperBytes: bytes + 1), sum)
    sum = fused(third, Vector(upperBytes: bytes + 2), sum)
    return fused(fourth, Vector(upperBytes: bytes + 3), sum)
}
