import CSystem

/// Sums that stay in registers while products are added: `rows` rows × `panels` panels of sixteen outputs.
///
/// Each of its sums is one chain in index order, whatever the tile's shape. Which shapes are fast is said level by
/// level in Level.swift.
struct Tile<let rows: Int, let panels: Int> {
    var sums: InlineArray<rows, InlineArray<panels, Vector>>

    /// A panel's sums of the first row.
    @inline(always)
    subscript(_ panel: Int) -> Vector {
        get { sums[unchecked: 0][unchecked: panel] }
        set { sums[unchecked: 0][unchecked: panel] = newValue }
    }

    /// Sums that start at zero.
    @inline(always)
    init() {
        sums = InlineArray(repeating: InlineArray(repeating: Vector(0)))
    }

    /// Sums that start at the values in memory: [rows][panels · 16] with `stride` floats between rows.
    @inline(always)
    init(_ start: UnsafePointer<Float>, stride: Int) {
        self.init()
        for row in 0..<rows {
            for panel in 0..<panels {
                sums[unchecked: row][unchecked: panel] = Vector(start + (row &* stride &+ panel &* 16))
            }
        }
    }

    /// Adds x·W: x [rows][inputs] with `stride` floats between rows, W in panels that lie one after another.
    @inline(always)
    mutating func add(_ x: UnsafePointer<Float>, stride: Int, inputs: Int, _ packed: UnsafePointer<Float>) {
        if rows == 1 && inputs >= longInputs { return addLong(x, inputs: inputs, packed) }
        var k = 0
        while k < inputs {
            for panel in 0..<panels {
                let weights = Vector(aligned: packed + (panel &* inputs &+ k) &* 16)
                for row in 0..<rows {
                    sums[unchecked: row][unchecked: panel] =
                        fused(Vector(x[row &* stride &+ k]), weights, sums[unchecked: row][unchecked: panel])
                }
            }
            k &+= 1
        }
    }

    /// The same for one row and weights beyond the nearest cache: asks for them a few lines ahead.
    @inline(always)
    private mutating func addLong(_ x: UnsafePointer<Float>, inputs: Int, _ packed: UnsafePointer<Float>) {
        var k = 0
        while k < inputs {
            let value = Vector(x[k])
            for panel in 0..<panels {
                let weights = packed + (panel &* inputs &+ k) &* 16
                cz_prefetch(weights + linesAhead &* 16)
                sums[unchecked: 0][unchecked: panel] = fused(value, Vector(aligned: weights), sums[unchecked: 0][unchecked: panel])
            }
            k &+= 1
        }
    }

    /// Asks for the first lines of panels that are to be added next, where they are long.
    @inline(always)
    static func prefetch(_ packed: UnsafePointer<Float>, inputs: Int) {
        guard rows == 1 && inputs >= longInputs else { return }
        for panel in 0..<panels {
            for line in 0..<linesAhead { cz_prefetch(packed + (panel &* inputs &+ line) &* 16) }
        }
    }

    /// Writes the sums: [rows][panels · 16] with `stride` floats between rows.
    @inline(always)
    func write(_ out: UnsafeMutablePointer<Float>, stride: Int) {
        for row in 0..<rows {
            for panel in 0..<panels {
                sums[unchecked: row][unchecked: panel].store(out + (row &* stride &+ panel &* 16))
            }
        }
    }
}

/// Inputs from which on the panels of a block are not expected in the nearest cache.
private let longInputs = 64

/// How many cache lines, 16 weights each, are asked for ahead of each panel's use. More would wait for one another.
private let linesAhead = 4
