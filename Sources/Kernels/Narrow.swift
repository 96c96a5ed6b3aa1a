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
        Weights(panels: panels + (panel &* inputs &* 64) &>> kind, scales: scales.map { $0 + panel &* 16 }, kind: kind)
    }
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
            recurrent.isHalf
                ? tile.add(h, units, recurrent, panels, 32) { Vector(bfloat16: $0) }
                : tile.add(h, units, recurrent, panels, 16) { Vector(int8: $0) }
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
        for k in 0..<count {
            let place = panels + (first &+ k) &* 64 &>> kind
            (isHalf ? Vector(bfloat16: place) : Vector(int8: place)).store(out + k &* 16)
        }
    }
}

extension Tile<1, 4> {
    /// Adds x·W of one row; `widened` are sixteen weights of `size` bytes.
    @inline(always)
    fileprivate mutating func add(_ x: UnsafePointer<Float>, _ inputs: Int, _ weights: Weights, _ panels: Int, _ size: Int,
                                  _ widened: (UnsafeRawPointer) -> Vector) {
        let a = weights.bytes, b = weights.panel(panels > 1 ? 1 : 0, inputs: inputs).bytes
        let c = weights.panel(panels > 2 ? 2 : 0, inputs: inputs).bytes, d = weights.panel(panels > 3 ? 3 : 0, inputs: inputs).bytes
        // Of its own the compiler would not keep them in registers.
        var (sumA, sumB, sumC, sumD) = (self[0], self[1], self[2], self[3])
        for k in 0..<inputs {
            let value = Vector(x[k]), place = k &* size
            cz_prefetch(a + (place &+ 512))
            cz_prefetch(b + (place &+ 512))
            cz_prefetch(c + (place &+ 512))
            cz_prefetch(d + (place &+ 512))
            sumA = fused(value, widened(a + place), sumA)
            sumB = fused(value, widened(b + place), sumB)
            sumC = fused(value, widened(c + place), sumC)
            sumD = fused(value, widened(d + place), sumD)
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
