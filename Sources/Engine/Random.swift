/// Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011). Number n of a series depends only on seed,
/// series and n, so series can be drawn in any order, and a position is one integer.
public struct Random: Sendable {
    private let key: (UInt32, UInt32)
    private let series: UInt64
    /// How many words have been drawn.
    public private(set) var position: UInt64

    public init(seed: UInt64, series: UInt64 = 0, position: UInt64 = 0) {
        key = (UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
        self.series = series
        self.position = position
    }

    /// 32 random bits.
    public mutating func next() -> UInt32 {
        let c = words(block: position / 4)
        defer { position &+= 1 }
        switch position % 4 {
        case 0: return c.0
        case 1: return c.1
        case 2: return c.2
        default: return c.3
        }
    }

    /// The four words from number 4 · block on.
    public func words(block: UInt64) -> (UInt32, UInt32, UInt32, UInt32) {
        var c = (UInt32(truncatingIfNeeded: block), UInt32(truncatingIfNeeded: block >> 32),
                 UInt32(truncatingIfNeeded: series), UInt32(truncatingIfNeeded: series >> 32))
        var k = key
        for _ in 0..<10 {
            let a = UInt64(0xD251_1F53) &* UInt64(c.0), b = UInt64(0xCD9E_8D57) &* UInt64(c.2)
            c = (UInt32(truncatingIfNeeded: b >> 32) ^ c.1 ^ k.0, UInt32(truncatingIfNeeded: b),
                 UInt32(truncatingIfNeeded: a >> 32) ^ c.3 ^ k.1, UInt32(truncatingIfNeeded: a))
            k = (k.0 &+ 0x9E37_79B9, k.1 &+ 0xBB67_AE85)
        }
        return c
    }

    /// Uniform in [0, 1), in steps of 2⁻²⁴.
    public mutating func uniform() -> Float { Float(next() >> 8) * 0x1p-24 }

    /// Normal, mean 0 and deviation 1, by the polar method (Marsaglia & Bray 1964).
    public mutating func normal() -> Float {
        while true {
            let u = Double(next()) * 0x1p-31 - 1, v = Double(next()) * 0x1p-31 - 1
            let s = u * u + v * v
            if s > 0 && s < 1 { return Float(u * (-2 * naturalLogarithm(s) / s).squareRoot()) }
        }
    }
}

/// log(x) of a positive, normal x in double precision, by arithmetic alone, so that it has the same bits everywhere:
/// with x = m·2ᵉ and m about 1, log m = 2·atanh((m − 1)/(m + 1)), whose series converges fast.
func naturalLogarithm(_ x: Double) -> Double {
    var m = x.significand, e = Double(x.exponent)
    if m > 1.4142135623730951 {
        m /= 2
        e += 1
    }
    let t = (m - 1) / (m + 1), t2 = t * t
    var sum = 0.0
    for n in stride(from: 23, through: 1, by: -2) { sum = sum * t2 + 1 / Double(n) }
    return 2 * t * sum + e * 0.6931471805599453
}
