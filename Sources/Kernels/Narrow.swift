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

    /// The products with h.
    @inline(never)
    private func addNarrow(_ rows: Int, _ panels: Int) {
        if Level.isOneRowApart && rows == 1 { addRow(panels) } else { addRows(rows, panels) }
    }

    /// Of one row: the weights are widened on their way. Where there are less than four panels, the first stands in.
    @inline(always)
    private func addRow(_ panels: Int) {
        var memory = Scratch<1>()
        memory.with { sums in
            begin(sums, 1, panels)
            var tile = Tile<1, 4>(sums, stride: 0)
            recurrent.isHalf ? tile.addHalves(h, units, recurrent, panels) : tile.addBytes(h, units, recurrent, panels)
            tile.write(sums, stride: 0)
            finish(sums, 1, panels)
        }
    }

    /// Of several rows: some weights of each panel are widened in the nearest cache, and serve all rows.
    @inline(always)
    private func addRows(_ rows: Int, _ panels: Int) {
        var memory = Scratch<24>(), wide = Wide()
        memory.with { sums in
            wide.with { wide in
                begin(sums, rows, panels)
                let weights = Weights(floats: wide)
                var k = 0
                while k < units {
                    let count = units &- k < Wide.inputs ? units &- k : Wide.inputs
                    for panel in 0..<panels { recurrent.panel(panel, inputs: units).widen(k, wide + panel &* count &* 16, count) }
                    forEachGroup(of: rows) { row, rows in
                        let x = h + (row &* hStride &+ k), out = sums + row &* scratchStride
                        Sums(start: out, startStride: scratchStride, x: x, kernel: weights, h: x, hStride: hStride, units: count,
                             recurrent: weights, out: out, outStride: scratchStride).add(rows: rows, panels: panels)
                    }
                    k &+= count
                }
                finish(sums, rows, panels)
            }
        }
    }

    /// What chains of products begin with: those of whole numbers with zero.
    @inline(never)
    private func begin(_ sums: UnsafeMutablePointer<Float>, _ rows: Int, _ panels: Int) {
        guard recurrent.isHalf, let start else { return }
        for row in 0..<rows {
            for panel in 0..<panels { Vector(start + (row &* startStride &+ panel &* 16)).store(sums + (row &* scratchStride &+ panel &* 16)) }
        }
    }

    /// Writes what they have come to: of whole numbers a multiple is added to the start.
    @inline(never)
    private func finish(_ sums: UnsafePointer<Float>, _ rows: Int, _ panels: Int) {
        for row in 0..<rows {
            for panel in 0..<panels {
                var sum = Vector(sums + (row &* scratchStride &+ panel &* 16))
                if !recurrent.isHalf {
                    let start = start.map { Vector($0 + (row &* startStride &+ panel &* 16)) } ?? Vector(0)
                    sum = units > 0 ? fused(sum, recurrent.scale(panel), start) : start
                }
                sum.store(out + (row &* outStride &+ panel &* 16))
            }
        }
    }
}

extension Weights {
    @inline(always)
    fileprivate init(floats: UnsafePointer<Float>) { self.init(panels: floats, scales: nil, kind: 0) }

    @inline(always)
    fileprivate var bytes: UnsafeRawPointer { panels }

    @inline(always)
    fileprivate var isHalf: Bool { kind == 1 }

    /// The scales of a panel.
    @inline(always)
    fileprivate func scale(_ panel: Int) -> Vector { Vector(scales.unsafelyUnwrapped + panel &* 16) }

    /// `count` weights of each lane of the first panel as floats.
    @inline(never)
    fileprivate func widen(_ first: Int, _ out: UnsafeMutablePointer<Float>, _ count: Int) {
        let weights = panels + place(first)
        if isHalf {
            for k in 0..<count {
                let pair = Pair(weights + place(k &- k % 2))
                (k % 2 == 0 ? pair.first : pair.second).store(out + k &* 16)
            }
        } else {
            for k in 0..<count { Vector(int8: weights + k &* 16).store(out + k &* 16) }
        }
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

/// Widened weights of four panels.
private struct Wide {
    /// Of each lane.
    static let inputs = 32
    private var values = InlineArray<128, Vector>(repeating: Vector(0))

    @inline(always)
    mutating func with(_ body: (UnsafeMutablePointer<Float>) -> Void) {
        withUnsafeMutablePointer(to: &values) { body(UnsafeMutableRawPointer($0).assumingMemoryBound(to: Float.self)) }
    }
}
