/// Sums of products, which all kernels are made of: out = start + x·kernel + h·recurrent for some panels of outputs.
///
/// Of several rows, a block's sums are made by calls of `add`, one piece of code for each shape of tile, and stored; what a
/// layer does with them, it does row by row in a piece of code of its own. One row alone cannot wait for its sums to go
/// through memory: `tile` keeps them in registers.
struct Sums {
    /// [rows][panels · 16], with `startStride` floats between rows; 0: one row for all. nil: zeros.
    var start: UnsafePointer<Float>?
    var startStride = 0
    /// [rows][inputs]; not read where inputs is 0.
    var x: UnsafePointer<Float>
    var xStride = 0
    var inputs = 0
    /// The panels of x's weights.
    var kernel: Weights
    /// [rows][units]; not read where units is 0.
    var h: UnsafePointer<Float>
    var hStride = 0
    var units = 0
    /// The panels of h's weights.
    var recurrent: Weights
    /// [rows][panels · 16]; may be `start`.
    var out: UnsafeMutablePointer<Float>
    var outStride = 0

    /// For `rows` rows, at most `Level.rows` of them.
    @inline(never)
    func add(rows: Int, panels: Int) {
        if recurrent.isNarrow { return addNarrow(rows: rows, panels: panels) }
        switch rows {
        case 1: add(Level.Rows1.self, panels)
        case 2: add(Level.Rows2.self, panels)
        case 3: add(Level.Rows3.self, panels)
        case 4: add(Level.Rows4.self, panels)
        case 5: add(Level.Rows5.self, panels)
        default: add(Level.Rows6.self, panels)
        }
    }

    /// As many panels at once as the tile takes.
    @inline(never)
    private func add<let rows: Int, let panels: Int>(_ tile: Tile<rows, panels>.Type, _ count: Int) {
        var panel = 0
        while panel < count {
            let left = count &- panel
            if left >= panels {
                add(tile, at: panel)
                panel &+= panels
            } else if panels > 3 && left == 3 {
                add(Tile<rows, 3>.self, at: panel)
                panel &+= 3
            } else if panels > 2 && left >= 2 {
                add(Tile<rows, 2>.self, at: panel)
                panel &+= 2
            } else {
                add(Tile<rows, 1>.self, at: panel)
                panel &+= 1
            }
        }
        // The next block's weights follow these.
        if rows == 1 {
            if inputs > 0 {
                Tile<rows, panels>.prefetch(kernel.floats + count &* inputs &* 16, inputs: inputs)
            } else {
                Tile<rows, panels>.prefetch(recurrent.floats + count &* units &* 16, inputs: units)
            }
        }
    }

    @inline(always)
    private func add<let rows: Int, let panels: Int>(_: Tile<rows, panels>.Type, at panel: Int) {
        let tile: Tile<rows, panels> = tile(at: panel)
        tile.write(out + panel &* 16, stride: outStride)
    }

    /// The sums of some panels.
    @inline(always)
    func tile<let rows: Int, let panels: Int>(at panel: Int) -> Tile<rows, panels> {
        var tile = Tile<rows, panels>()
        if let start { tile = Tile(start + panel &* 16, stride: startStride) }
        if inputs > 0 {
            Tile<rows, panels>.prefetch(recurrent.floats + panel &* units &* 16, inputs: units)
            tile.add(x, stride: xStride, inputs: inputs, kernel.floats + panel &* inputs &* 16)
        }
        tile.add(h, stride: hStride, inputs: units, recurrent.floats + panel &* units &* 16)
        return tile
    }
}

/// Calls `body` with the first row of each group of rows that `Sums.add` takes, and with how many they are.
@inline(always)
func forEachGroup(of rows: Int, _ body: (_ row: Int, _ count: Int) -> Void) {
    var row = 0
    while row < rows {
        let left = rows &- row
        body(row, left < Level.rows ? left : Level.rows)
        row &+= Level.rows
    }
}

/// Floats between a scratch's rows.
let scratchStride = 64

/// Calls `body` with room for a block's sums between the products and what is done with them: [rows][4 panels], for as many
/// rows as a group has. A call, which leaves those alone that do without.
@inline(never)
func withScratch(rows: Int, _ body: (UnsafeMutablePointer<Float>) -> Void) {
    if rows == 1 {
        var scratch = Scratch<1>()
        scratch.with(body)
    } else {
        var scratch = Scratch<6>()
        scratch.with(body)
    }
}

private struct Scratch<let rows: Int> {
    private var values = InlineArray<rows, InlineArray<4, Vector>>(repeating: InlineArray(repeating: Vector(0)))

    @inline(always)
    mutating func with(_ body: (UnsafeMutablePointer<Float>) -> Void) {
        withUnsafeMutablePointer(to: &values) { body(UnsafeMutableRawPointer($0).assumingMemoryBound(to: Float.self)) }
    }
}
