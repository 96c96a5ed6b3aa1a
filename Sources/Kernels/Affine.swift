/// out = start + x·W; the arguments are those of `affine` in kernels.h.
struct Affine {
    let x: UnsafePointer<Float>
    let xStride: Int
    let inputs: Int
    let packed: Weights
    let outputs: Int
    let start: UnsafePointer<Float>?
    let startStride: Int
    let out: UnsafeMutablePointer<Float>
    let outStride: Int

    /// Four panels of weights serve all rows before the next four are read.
    @inline(never)
    func run(rows: Int) {
        var column = 0
        while column < outputs {
            let left = (outputs &- column) / 16
            if left > 0 {
                let panels = left < 4 ? left : 4
                forEachGroup(of: rows) { row, count in
                    sums(row, column, out: out + (row &* outStride &+ column), outStride).add(rows: count, panels: panels)
                }
                column &+= panels &* 16
            } else {
                lastPanel(rows: rows, column)
                column = outputs
            }
        }
    }

    /// The outputs of the last panel, where it is not whole.
    @inline(never)
    private func lastPanel(rows: Int, _ column: Int) {
        let lanes = outputs &- column
        var scratch = InlineArray<6, Vector>(repeating: Vector(0))
        withUnsafeMutablePointer(to: &scratch) {
            let sums = UnsafeMutableRawPointer($0).assumingMemoryBound(to: Float.self)
            forEachGroup(of: rows) { row, count in
                var product = self.sums(row, column, out: sums, 16)
                if let start {
                    for i in 0..<count {
                        Vector(start + ((row &+ i) &* startStride &+ column), count: lanes).store(sums + i &* 16)
                    }
                    product.start = UnsafePointer(sums)
                    product.startStride = 16
                }
                product.add(rows: count, panels: 1)
                for i in 0..<count { Vector(sums + i &* 16).store(out + ((row &+ i) &* outStride &+ column), count: lanes) }
            }
        }
    }

    @inline(always)
    private func sums(_ row: Int, _ column: Int, out: UnsafeMutablePointer<Float>, _ outStride: Int) -> Sums {
        let weights = packed.panel(column / 16, inputs: inputs)
        return Sums(start: start.map { $0 + (row &* startStride &+ column) }, startStride: startStride, x: x, kernel: weights,
                    h: x + row &* xStride, hStride: xStride, units: inputs, recurrent: weights, out: out, outStride: outStride)
    }
}
