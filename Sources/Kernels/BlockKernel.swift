/// An operation that goes by blocks of outputs and, within a block, by tiles of rows.
protocol BlockKernel {
    /// Computes one block of outputs for the tile's rows, from `row` on.
    func run<let rows: Int, let panels: Int>(_ tile: Tile<rows, panels>.Type, row: Int, block: Int)
}

extension BlockKernel {
    /// Computes all blocks for all rows. A block's weights serve all rows before the next block's are read; what is
    /// left over of the rows goes to a smaller tile.
    @inline(always)
    func run(rows: Int, blocks: Int) {
        var block = 0
        if rows == 1 {
            while block < blocks {
                run(Level.Rows1.self, row: 0, block: block)
                block &+= 1
            }
            return
        }
        while block < blocks {
            var row = 0
            while row < rows {
                switch rows &- row {
                case 1: runOutOfLine(Level.Rows1.self, row: row, block: block)
                case 2: runOutOfLine(Level.Rows2.self, row: row, block: block)
                case 3: runOutOfLine(Level.Rows3.self, row: row, block: block)
                case 4: runOutOfLine(Level.Rows4.self, row: row, block: block)
                case 5: runOutOfLine(Level.Rows5.self, row: row, block: block)
                default: runOutOfLine(Level.Rows6.self, row: row, block: block)
                }
                row &+= Level.rows
            }
            block &+= 1
        }
    }

    /// A call: the shapes stay apart in the code.
    @inline(never)
    private func runOutOfLine<let rows: Int, let panels: Int>(_ tile: Tile<rows, panels>.Type, row: Int, block: Int) {
        run(tile, row: row, block: block)
    }
}
