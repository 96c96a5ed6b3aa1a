/// out = start + x·W; the arguments are those of `affine` in kernels.h.
struct Affine: BlockKernel {
    let x: UnsafePointer<Float>
    let xStride: Int
    let inputs: Int
    let packed: UnsafePointer<Float>
    let outputs: Int
    let start: UnsafePointer<Float>?
    let startStride: Int
    let out: UnsafeMutablePointer<Float>
    let outStride: Int

    /// A block is as many panels as the widest tile has.
    @inline(always)
    func run(rows: Int) {
        let width = Level.panels &* 16
        run(rows: rows, blocks: (outputs &+ width &- 1) / width)
    }

    @inline(always)
    func run<let rows: Int, let panels: Int>(_ tile: Tile<rows, panels>.Type, row: Int, block: Int) {
        var column = block &* Level.panels &* 16
        let end = outputs &- column < Level.panels &* 16 ? outputs : column &+ Level.panels &* 16
        while column < end {
            let count = end &- column
            if count >= panels &* 16 {
                product(tile, row, column)
                column &+= panels &* 16
            } else if panels > 3 && count >= 48 {
                product(Tile<rows, 3>.self, row, column)
                column &+= 48
            } else if panels > 2 && count >= 32 {
                product(Tile<rows, 2>.self, row, column)
                column &+= 32
            } else if count >= 16 {
                product(Tile<rows, 1>.self, row, column)
                column &+= 16
            } else {
                partialProduct(Tile<rows, 1>.self, row, column, count)
                column = end
            }
        }
    }

    /// The outputs of whole panels.
    @inline(always)
    private func product<let rows: Int, let panels: Int>(_: Tile<rows, panels>.Type, _ row: Int, _ column: Int) {
        var tile = Tile<rows, panels>()
        if let start { tile = Tile(start + (row &* startStride &+ column), stride: startStride) }
        tile.add(x + row &* xStride, stride: xStride, inputs: inputs, packed + column &* inputs)
        tile.write(out + (row &* outStride &+ column), stride: outStride)
    }

    /// The outputs of the last panel, where it is not whole.
    @inline(always)
    private func partialProduct<let rows: Int>(_: Tile<rows, 1>.Type, _ row: Int, _ column: Int, _ count: Int) {
        var tile = Tile<rows, 1>()
        if let start {
            for i in 0..<rows {
                tile.sums[unchecked: i][unchecked: 0] = Vector(start + ((row &+ i) &* startStride &+ column), count: count)
            }
        }
        tile.add(x + row &* xStride, stride: xStride, inputs: inputs, packed + column &* inputs)
        for i in 0..<rows {
            tile.sums[unchecked: i][unchecked: 0].store(out + ((row &+ i) &* outStride &+ column), count: count)
        }
    }
}
