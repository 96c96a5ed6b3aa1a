// Elementary functions of sixteen values at once. Their coefficients are ours: Tests/kernels/coefficients.py finds
// them. Every product that is added is one `fused` and nothing is reassociated, so that all instruction sets with
// a fused multiply-add give the same bits. NaN gives NaN. What gates need is inlined, the rest is calls.

/// 1.5·2²³: adding it leaves a float's nearest integer in the lowest bits.
private let roundingMagic: Float = 12_582_912
/// 1 / ln 2.
private let log2e: Float = 0x1.715476p0
/// ln 2 to the nearest float, which happens to be right to 2⁻²⁹.
private let ln2: Float = 0x1.62e43p-1
/// ln 2 in two parts; products of the first with integers up to 2⁹ are exact.
private let ln2High: Float = 0x1.62e4p-1
/// The other part.
private let ln2Low: Float = 0x1.7f7d1cp-20

/// 2ⁿ from a float's lowest bits, which hold n + 127, the exponent's bias.
@inline(always)
private func powerOfTwo(_ biased: Bits) -> Vector { Vector(bits: biased &<< 23) }

/// e^r − 1 for |r| ≤ ln 2 / 2.
@inline(always)
private func smallExponentialMinusOne(_ r: Vector) -> Vector {
    let r2 = r * r
    let low = fused(r, Vector(0x1.5554b4p-3), Vector(0x1.fffffep-2))
    let high = fused(r2, Vector(0x1.6b959cp-10), fused(r, Vector(0x1.122530p-7), Vector(0x1.5556f8p-5)))
    return fused(fused(high, r2, low), r2, r)
}

/// Takes x apart: e^x = 2ⁿ·(1 + rest). `rounded` holds n + `offset` in its lowest bits.
@inline(always)
private func split(_ x: Vector, offset: Float) -> (rest: Vector, rounded: Bits) {
    let magic = Vector(roundingMagic + offset)
    let sum = fused(x, Vector(log2e), magic)
    let n = sum - magic
    let r = fused(n, Vector(-ln2Low), fused(n, Vector(-ln2High), x))
    return (smallExponentialMinusOne(r), sum.bits)
}

/// The same of −x. The sign goes into the constants: before the bounds of x it would cost a comparison.
@inline(always)
private func splitNegative(_ x: Vector, offset: Float) -> (rest: Vector, rounded: Bits) {
    let magic = Vector(roundingMagic + offset)
    let sum = fused(x, Vector(-log2e), magic)
    let n = sum - magic
    let r = fused(n, Vector(-ln2Low), fused(n, Vector(-ln2High), -x))
    return (smallExponentialMinusOne(r), sum.bits)
}

/// e^x, over its whole range down to the subnormal numbers.
@inline(never)
func exponential(_ x: Vector) -> Vector {
    let (rest, rounded) = split(x.atLeast(Vector(-104)).atMost(Vector(89)), offset: 0)
    return scaled(rest, rounded)
}

/// e^(x − shift) for x ≤ shift, as exact as if the difference were not rounded.
@inline(never)
func exponential(_ x: Vector, minus shift: Vector) -> Vector {
    let difference = x - shift
    // What it was rounded by (Knuth's two-sum); no number where it is infinite.
    let back = difference - x
    let lost = (x - (difference - back)) - (shift + back)
    let (rest, rounded) = split(difference.atLeast(Vector(-104)), offset: 0)
    let kept = Vector(0).replaced(by: lost, where: lost.magnitude .< Vector(1))
    return scaled(fused(kept, rest + Vector(1), rest), rounded)
}

/// 2ⁿ·(1 + rest).
@inline(always)
private func scaled(_ rest: Vector, _ rounded: Bits) -> Vector {
    // 2ⁿ in two factors, as n reaches from −150 to 128.
    let n = rounded &- Bits(roundingMagic.bitPattern)
    let half = n &>> 1
    let bias = Bits(127)
    let scale = powerOfTwo(half &+ bias)
    return fused(rest, scale, scale) * powerOfTwo(n &- half &+ bias)
}

/// e^x − 1 for x ≤ 88.
@inline(never)
func exponentialMinusOne(_ x: Vector) -> Vector {
    let (rest, rounded) = split(x.atLeast(Vector(-32)), offset: 127)
    let scale = powerOfTwo(rounded)
    return fused(rest, scale, scale - Vector(1))
}

/// Sigmoids are made as s / (s·(1 + e^−x)): with this s the denominator never overflows, and the quotient is
/// rounded once even where it is subnormal.
private let sigmoidScale: Float = 0x1p-24

/// s·(1 + e^−x).
@inline(always)
func sigmoidDenominator(_ x: Vector) -> Vector {
    let (rest, rounded) = splitNegative(x.atMost(Vector(30)).atLeast(Vector(-104)), offset: 127 - 24)
    let scale = powerOfTwo(rounded)
    return fused(rest, scale, scale + Vector(sigmoidScale))
}

/// 1 / (1 + e^−x), over its whole range down to the subnormal numbers.
@inline(always)
func sigmoid(_ x: Vector) -> Vector { Vector(sigmoidScale) / sigmoidDenominator(x) }

/// tanh(|x|) as a fraction: 1 − e^−2|x| over two less that.
@inline(always)
private func tanhFraction(_ x: Vector) -> (numerator: Vector, denominator: Vector) {
    let size = x.magnitude.atMost(Vector(10))
    let magic = Vector(roundingMagic + 127)
    let sum = fused(size, Vector(-2 * log2e), magic)
    let n = sum - magic
    let y = -(size + size)
    // One part of ln 2 is enough, if its product is exact: where n is large, the fraction no longer feels the rest.
    let r = Level.isFused ? fused(n, Vector(-ln2), y) : fused(n, Vector(-ln2Low), fused(n, Vector(-ln2High), y))
    let rest = smallExponentialMinusOne(r)
    let scale = powerOfTwo(sum.bits)
    let numerator = fused(-rest, scale, Vector(1) - scale)
    return (numerator, Vector(2) - numerator)
}

/// The hyperbolic tangent.
@inline(always)
func tanh(_ x: Vector) -> Vector {
    let (numerator, denominator) = tanhFraction(x)
    return (numerator / denominator).signed(as: x)
}

/// sigmoid(x)·tanh(y) with one division.
@inline(always)
func sigmoidTimesTanh(_ x: Vector, _ y: Vector) -> Vector { timesTanh(sigmoidDenominator: sigmoidDenominator(x), y) }

/// The same from what `sigmoidDenominator` gave for x.
@inline(always)
func timesTanh(sigmoidDenominator: Vector, _ y: Vector) -> Vector {
    let (numerator, denominator) = tanhFraction(y)
    return (numerator * Vector(sigmoidScale) / (sigmoidDenominator * denominator)).signed(as: y)
}

/// log(1 + f) for 1 + f from √½ to √2, less f itself: f²·p(f).
@inline(always)
private func logarithmTail(_ f: Vector) -> Vector {
    let f2 = f * f
    let f4 = f2 * f2
    let p01 = fused(f, Vector(0x1.555550p-2), Vector(-0x1.fffff8p-2))
    let p23 = fused(f, Vector(0x1.99a428p-3), Vector(-0x1.000438p-2))
    let p45 = fused(f, Vector(0x1.226b34p-3), Vector(-0x1.542242p-3))
    let p67 = fused(f, Vector(0x1.087d90p-3), Vector(-0x1.0f4cb2p-3))
    let high = fused(f4, Vector(-0x1.385102p-4), fused(p67, f2, p45))
    return f2 * fused(high, f4, fused(p23, f2, p01))
}

/// The natural logarithm; −∞ of 0, NaN of negative numbers.
@inline(never)
func logarithm(_ x: Vector) -> Vector {
    // Subnormal numbers are brought up by 2²³ first.
    let isSmall = x .< Vector(Float.leastNormalMagnitude)
    let scaled = x.replaced(by: x * Vector(0x1p23), where: isSmall).bits
    // x = 2^k·(1 + f), 1 + f from √½ to √2.
    let offset = scaled &- Bits(0x3F35_04F3)
    let k = offset &>> 23
    let f = Vector(bits: scaled &- (k &<< 23)) - Vector(1)
    let exponent = Vector(bits: k &+ Bits(roundingMagic.bitPattern)) - Vector(roundingMagic)
    let n = exponent.replaced(by: exponent - Vector(23), where: isSmall)
    let value = fused(n, Vector(ln2High), f + fused(n, Vector(ln2Low), logarithmTail(f)))
    return x
        .replaced(by: value, where: x .< Vector(.infinity))
        .replaced(by: Vector(-.infinity), where: x .== Vector(0))
        .replaced(by: Vector(.nan), where: x .< Vector(0))
}

/// log(1 + e) for e from 0 to 1.
@inline(always)
func logarithmOfOnePlus(_ e: Vector) -> Vector {
    let isLarge = Vector(0x1.a82798p-2) .< e
    let f = e.replaced(by: (e - Vector(1)) * Vector(0.5), where: isLarge)
    let whole = Vector(0).replaced(by: Vector(1), where: isLarge)
    return fused(whole, Vector(ln2High), f + fused(whole, Vector(ln2Low), logarithmTail(f)))
}

/// log(1 + e^x).
@inline(never)
func softplus(_ x: Vector) -> Vector {
    x.atLeast(Vector(0)) + logarithmOfOnePlus(exponential(-x.magnitude))
}

/// The normal distribution's Φ(x) = (1 + erf(x / √2)) / 2, accurate in both tails.
///
/// Φ(−|x|) = e^(−x²/2)·t·b(t), t = 1 / (1 + |x|/2).
@inline(always)
func normalDistribution(_ x: Vector) -> Vector {
    let size = x.magnitude.atMost(Vector(14.5))
    let t = Vector(1) / fused(size, Vector(0.5), Vector(1))
    var b = Vector(-0x1.9723bcp-6)
    b = fused(b, t, Vector(0x1.8320a4p-3))
    b = fused(b, t, Vector(-0x1.2a9c5cp-1))
    b = fused(b, t, Vector(0x1.d774ecp-1))
    b = fused(b, t, Vector(-0x1.70f852p-1))
    b = fused(b, t, Vector(0x1.56050cp-3))
    b = fused(b, t, Vector(-0x1.e08390p-9))
    b = fused(b, t, Vector(0x1.41e252p-3))
    b = fused(b, t, Vector(0x1.974f1ap-3))
    b = fused(b, t, Vector(0x1.988e76p-3))
    // The square's rounding error would show in e^−x²/2: it is put back as a factor.
    let square = size * size
    let lost = fused(size, size, -square)
    let density = exponential(square * Vector(-0.5))
    let tail = fused(density, lost * Vector(-0.5), density) * (t * b)
    return tail.replaced(by: Vector(1) - tail, where: Vector(0) .< x)
}

/// x − tanh(x), by its own series near zero, where the difference would cancel.
@inline(always)
func tanhShrink(_ x: Vector) -> Vector {
    let s = x * x
    var t = Vector(-0x1.9c0846p-8)
    t = fused(t, s, Vector(0x1.5a1ec4p-6))
    t = fused(t, s, Vector(-0x1.b95e0ep-5))
    t = fused(t, s, Vector(0x1.110f14p-3))
    t = fused(t, s, Vector(-0x1.555554p-2))
    return (x - tanh(x)).replaced(by: -(x * s * t), where: s .< Vector(0.36))
}
