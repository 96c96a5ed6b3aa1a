/// x86-64-v4: AVX-512 has thirty-two registers of sixteen floats. Twelve sums keep two fused multiply-adds a cycle
/// busy; with twenty-four, which would fit, the compiler spills some of them where gates follow.
enum Level {
    /// Whether `fused` rounds once.
    static let isFused = true
    /// Rows that a tile takes at most.
    static let rows = 6
    /// Whether all gates' sums of a row fit into registers together.
    static let isOneRowApart = true

    typealias Rows1 = Tile<1, 4>
    typealias Rows2 = Tile<2, 4>
    typealias Rows3 = Tile<3, 4>
    typealias Rows4 = Tile<4, 2>
    typealias Rows5 = Tile<5, 2>
    typealias Rows6 = Tile<6, 2>
}

/// x·y + z, rounded once.
@inline(always)
func fused(_ x: Vector, _ y: Vector, _ z: Vector) -> Vector { .fused(x, y, z) }
