/// NEON: arm64 has thirty-two registers of four floats. Two to four fused multiply-adds a cycle, each of four cycles, want
/// sixteen sums in flight; twenty-four leave room for the weights and one value of x.
enum Level {
    /// Whether `fused` rounds once.
    static let isFused = true
    /// Rows that a tile takes at most.
    static let rows = 6
    /// Whether all gates' sums of a row fit into registers together.
    static let isOneRowApart = true

    typealias Rows1 = Tile<1, 4>
    typealias Rows2 = Tile<2, 3>
    typealias Rows3 = Tile<3, 2>
    typealias Rows4 = Tile<4, 1>
    typealias Rows5 = Tile<5, 1>
    typealias Rows6 = Tile<6, 1>
}

/// x·y + z, rounded once.
@inline(always)
func fused(_ x: Vector, _ y: Vector, _ z: Vector) -> Vector { .fused(x, y, z) }
