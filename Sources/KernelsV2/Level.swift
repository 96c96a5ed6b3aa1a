/// x86-64-v2: SSE 4.2 has sixteen registers of four floats and no fused multiply-add. Eight
/// sums leave room for the weights, a value of x and their products.
enum Level {
    /// Whether `fused` rounds once.
    static let isFused = false
    /// Rows that a tile takes at most.
    static let rows = 2
    /// Whether all gates' sums of a row fit into registers together.
    static let isOneRowApart = false

    typealias Rows1 = Tile<1, 2>
    typealias Rows2 = Tile<2, 1>
    // There are never more than two.
    typealias Rows3 = Rows2
    typealias Rows4 = Rows2
    typealias Rows5 = Rows2
    typealias Rows6 = Rows2
}

/// x·y + z, rounded twice: fused, it would be a call of libm for each lane.
@inline(always)
func fused(_ x: Vector, _ y: Vector, _ z: Vector) -> Vector { x * y + z }
