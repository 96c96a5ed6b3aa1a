import CSystem

/// Sixteen floats: one panel's width. Two registers on AVX2, one on AVX-512, four on SSE and NEON.
struct Vector {
    fileprivate var lanes: cz_floats

    @inline(always)
    fileprivate init(_ lanes: cz_floats) { self.lanes = lanes }

    /// The same value in all lanes.
    @inline(always)
    init(_ value: Float) { lanes = cz_splat(value) }

    /// The lanes' numbers, 0 … 15.
    @inline(always)
    static var indices: Vector { Vector(cz_floats(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)) }

    // MARK: Memory

    /// Loads sixteen floats.
    @inline(always)
    init(_ pointer: UnsafePointer<Float>) { lanes = UnsafeRawPointer(pointer).loadUnaligned(as: cz_floats.self) }

    /// Loads from an address that is a multiple of 64 bytes, as packed weights are.
    @inline(always)
    init(aligned pointer: UnsafePointer<Float>) { lanes = UnsafeRawPointer(pointer).load(as: cz_floats.self) }

    /// Loads the first `count` lanes and reads not a byte more; zeros in the others.
    @inline(always)
    init(_ pointer: UnsafePointer<Float>, count: Int) {
        if count >= 16 { self.init(pointer) } else { self = firstLanes(pointer, count) }
    }

    /// Loads the uppermost bytes of sixteen words, with their signs, times 2^24.
    @inline(always)
    init(upperBytes pointer: UnsafeRawPointer) { lanes = cz_from_upper_bytes(pointer) }

    /// Stores sixteen floats.
    @inline(always)
    func store(_ pointer: UnsafeMutablePointer<Float>) {
        UnsafeMutableRawPointer(pointer).storeBytes(of: lanes, as: cz_floats.self)
    }

    /// Stores the first `count` lanes and touches nothing beyond them.
    @inline(always)
    func store(_ pointer: UnsafeMutablePointer<Float>, count: Int) {
        if count >= 16 { store(pointer) } else { storeFirstLanes(self, pointer, count) }
    }

    // MARK: Arithmetic, lane by lane

    /// The sum.
    @inline(always)
    static func + (x: Vector, y: Vector) -> Vector { Vector(cz_add(x.lanes, y.lanes)) }
    /// The difference.
    @inline(always)
    static func - (x: Vector, y: Vector) -> Vector { Vector(cz_subtract(x.lanes, y.lanes)) }
    /// The product.
    @inline(always)
    static func * (x: Vector, y: Vector) -> Vector { Vector(cz_multiply(x.lanes, y.lanes)) }
    /// The quotient.
    @inline(always)
    static func / (x: Vector, y: Vector) -> Vector { Vector(cz_divide(x.lanes, y.lanes)) }
    /// The value with the other sign.
    @inline(always)
    static prefix func - (x: Vector) -> Vector { Vector(cz_negate(x.lanes)) }

    /// x·y + z, rounded once; only where the processor has it.
    @inline(always)
    static func fused(_ x: Vector, _ y: Vector, _ z: Vector) -> Vector { Vector(cz_fused(x.lanes, y.lanes, z.lanes)) }

    /// The square root, correctly rounded.
    @inline(always)
    func squareRoot() -> Vector { Vector(cz_square_root(lanes)) }

    /// The value without its sign.
    @inline(always)
    var magnitude: Vector { Vector(bits: bits & Bits(0x7FFF_FFFF)) }

    /// The value, which must not be negative, with the sign of `y`.
    @inline(always)
    func signed(as y: Vector) -> Vector { Vector(bits: bits | (y.bits & Bits(0x8000_0000))) }

    /// The lanes' sum, halves upon halves.
    @inline(always)
    func sum() -> Float {
        let (a, b, c, d) = unsafeBitCast(lanes, to: (SIMD4<Float>, SIMD4<Float>, SIMD4<Float>, SIMD4<Float>).self)
        let four = (a + c) + (b + d)
        return (four[0] + four[2]) + (four[1] + four[3])
    }

    /// The largest lane; lanes that are not numbers are passed over.
    @inline(always)
    func largest() -> Float {
        var result = -Float.infinity
        for lane in 0..<16 where lanes[lane] > result { result = lanes[lane] }
        return result
    }

    // MARK: Choice

    /// The smaller of the two; NaN where this is.
    @inline(always)
    func atMost(_ limit: Vector) -> Vector { replaced(by: limit, where: limit .< self) }

    /// The larger of the two; NaN where this is.
    @inline(always)
    func atLeast(_ limit: Vector) -> Vector { replaced(by: limit, where: self .< limit) }

    /// Where x is less than y; nowhere where one of them is NaN.
    @inline(always)
    static func .< (x: Vector, y: Vector) -> Mask { Mask(lanes: cz_is_less(x.lanes, y.lanes)) }
    /// Where x is at most y.
    @inline(always)
    static func .<= (x: Vector, y: Vector) -> Mask { Mask(lanes: cz_is_at_most(x.lanes, y.lanes)) }
    /// Where they are equal.
    @inline(always)
    static func .== (x: Vector, y: Vector) -> Mask { Mask(lanes: cz_is_equal(x.lanes, y.lanes)) }

    /// The vector with other lanes where the mask holds.
    @inline(always)
    func replaced(by other: Vector, where mask: Mask) -> Vector { Vector(cz_select(mask.lanes, other.lanes, lanes)) }

    /// The vector with zeros from lane `count` on.
    @inline(always)
    func keeping(_ count: Int) -> Vector {
        Vector(0).replaced(by: self, where: .indices .< Vector(Float(count)))
    }

    // MARK: Bits

    /// The values of sixteen representations.
    @inline(always)
    init(bits: Bits) { lanes = cz_from_bits(bits.lanes) }

    /// The values' representations.
    @inline(always)
    var bits: Bits { Bits(lanes: cz_to_bits(lanes)) }
}

/// Where something holds, by lane.
struct Mask {
    fileprivate let lanes: cz_lanes
}

/// The representations of sixteen floats, as integers that wrap around.
struct Bits {
    fileprivate let lanes: cz_bits

    @inline(always)
    fileprivate init(lanes: cz_bits) { self.lanes = lanes }

    /// The same value in all lanes.
    @inline(always)
    init(_ value: UInt32) { lanes = cz_bits_splat(value) }

    /// The bits that both have.
    @inline(always)
    static func & (x: Bits, y: Bits) -> Bits { Bits(lanes: cz_bits_and(x.lanes, y.lanes)) }
    /// The bits that either has.
    @inline(always)
    static func | (x: Bits, y: Bits) -> Bits { Bits(lanes: cz_bits_or(x.lanes, y.lanes)) }
    /// The sum.
    @inline(always)
    static func &+ (x: Bits, y: Bits) -> Bits { Bits(lanes: cz_bits_add(x.lanes, y.lanes)) }
    /// The difference.
    @inline(always)
    static func &- (x: Bits, y: Bits) -> Bits { Bits(lanes: cz_bits_subtract(x.lanes, y.lanes)) }
    /// Shifts to the left.
    @inline(always)
    static func &<< (x: Bits, count: UInt32) -> Bits { Bits(lanes: cz_bits_shift_left(x.lanes, count)) }

    /// Shifts two's complement integers to the right, keeping their signs.
    @inline(always)
    static func &>> (x: Bits, count: UInt32) -> Bits { Bits(lanes: cz_lanes_shift_right(x.lanes, count)) }
}

// MARK: Fewer than sixteen

/// The first `count` lanes, zeros behind them. A call: rows end once, and inlined it would be most of the code.
@inline(never)
private func firstLanes(_ pointer: UnsafePointer<Float>, _ count: Int) -> Vector {
    var low = SIMD8<Float>(), high = SIMD8<Float>()
    if count >= 8 {
        low = UnsafeRawPointer(pointer).loadUnaligned(as: SIMD8<Float>.self)
        high = eight(pointer + 8, count &- 8)
    } else {
        low = eight(pointer, count)
    }
    return Vector(cz_floats(lowHalf: low, highHalf: high))
}

/// Stores the first `count` lanes and touches nothing beyond them.
@inline(never)
private func storeFirstLanes(_ vector: Vector, _ pointer: UnsafeMutablePointer<Float>, _ count: Int) {
    let (low, high) = unsafeBitCast(vector.lanes, to: (SIMD8<Float>, SIMD8<Float>).self)
    if count >= 8 {
        UnsafeMutableRawPointer(pointer).storeBytes(of: low, as: SIMD8<Float>.self)
        storeEight(high, pointer + 8, count &- 8)
    } else {
        storeEight(low, pointer, count)
    }
}

/// The first `count` of fewer than eight floats, zeros behind them.
@inline(always)
private func eight(_ pointer: UnsafePointer<Float>, _ count: Int) -> SIMD8<Float> {
    var low = SIMD4<Float>(), high = SIMD4<Float>()
    if count >= 4 {
        low = UnsafeRawPointer(pointer).loadUnaligned(as: SIMD4<Float>.self)
        high = four(pointer + 4, count &- 4)
    } else {
        low = four(pointer, count)
    }
    return SIMD8(lowHalf: low, highHalf: high)
}

/// The first `count` of fewer than four.
@inline(always)
private func four(_ pointer: UnsafePointer<Float>, _ count: Int) -> SIMD4<Float> {
    switch count {
    case 3: SIMD4(pointer[0], pointer[1], pointer[2], 0)
    case 2: SIMD4(pointer[0], pointer[1], 0, 0)
    case 1: SIMD4(pointer[0], 0, 0, 0)
    default: SIMD4()
    }
}

/// Stores the first `count` of fewer than eight.
@inline(always)
private func storeEight(_ lanes: SIMD8<Float>, _ pointer: UnsafeMutablePointer<Float>, _ count: Int) {
    let (low, high) = unsafeBitCast(lanes, to: (SIMD4<Float>, SIMD4<Float>).self)
    if count >= 4 {
        UnsafeMutableRawPointer(pointer).storeBytes(of: low, as: SIMD4<Float>.self)
        storeFour(high, pointer + 4, count &- 4)
    } else {
        storeFour(low, pointer, count)
    }
}

/// Stores the first `count` of fewer than four.
@inline(always)
private func storeFour(_ lanes: SIMD4<Float>, _ pointer: UnsafeMutablePointer<Float>, _ count: Int) {
    if count >= 1 { pointer[0] = lanes[0] }
    if count >= 2 { pointer[1] = lanes[1] }
    if count >= 3 { pointer[2] = lanes[2] }
}
