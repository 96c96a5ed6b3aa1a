/// Decimal numerals to numbers, correctly rounded. The Embedded library has no such conversion, and C's obeys
/// the host's locale.
enum Decimal {
    /// Beyond these many digits only whether a non-zero one follows can matter: no halfway point between two doubles
    /// has more.
    private static let significantDigits = 770

    /// The double nearest to digits × 10^exponent, ties to even.
    ///
    /// - digits: ASCII digits, the most significant first; a decimal point is not among them.
    static func double(digits: some Sequence<UInt8>, exponent: Int) -> Double {
        var kept: [UInt8] = []
        var exponent = exponent
        var isInexact = false
        for digit in digits {
            if kept.isEmpty, digit == zero { continue }
            if kept.count < significantDigits {
                kept.append(digit - zero)
            } else {
                exponent += 1
                if digit != zero { isInexact = true }
            }
        }
        guard !kept.isEmpty else { return 0 }
        // A trailing 1 stands for all the digits left out.
        if isInexact {
            kept.append(1)
            exponent -= 1
        }
        if kept.count + exponent > 310 { return .infinity }
        if kept.count + exponent < -326 { return 0 }
        return small(kept, exponent) ?? exact(kept, exponent)
    }

    private static let zero = UInt8(ascii: "0")

    /// Where digits and power of ten are exact as doubles, one multiplication or division rounds correctly.
    private static func small(_ digits: [UInt8], _ exponent: Int) -> Double? {
        guard digits.count <= 15, abs(exponent) <= 22 else { return nil }
        var value = 0.0, power = 1.0
        for digit in digits { value = value * 10 + Double(digit) }
        for _ in 0..<abs(exponent) { power *= 10 }
        return exponent < 0 ? value / power : value * power
    }

    /// By whole numbers of any length: the quotient of numerator and denominator, scaled to 64 bits or a few more.
    private static func exact(_ digits: [UInt8], _ exponent: Int) -> Double {
        var numerator = BigNumber(0), denominator = BigNumber(1)
        for digit in digits { numerator.multiply(by: 10, plus: UInt32(digit)) }
        for _ in 0..<abs(exponent) {
            if exponent > 0 { numerator.multiply(by: 10) } else { denominator.multiply(by: 10) }
        }
        // Scale by 2^shift so that the quotient has 55 or 56 bits; fewer where the result is subnormal.
        var shift = 55 - (numerator.bitWidth - denominator.bitWidth)
        shift = min(shift, 1076)
        if shift > 0 { numerator.shiftLeft(shift) } else { denominator.shiftLeft(-shift) }
        var (quotient, isExact) = numerator.quotient(by: denominator)
        if !isExact { quotient |= 1 }
        // Two bits or more below the last place, the lowest of them sticky, so this rounds once; the power is exact
        // as long as its product with the quotient is, which the bound of `shift` sees to.
        return scaled(quotient, by: -shift)
    }

    /// quotient × 2^power, rounded to nearest, ties to even; quotient < 2⁵⁷.
    private static func scaled(_ quotient: UInt64, by power: Int) -> Double {
        let width = 64 - quotient.leadingZeroBitCount
        // The exponent of the last place of the result: 53 bits, or the fixed place of subnormals.
        let place = max(width + power - 53, -1074)
        let dropped = place - power
        guard dropped > 0 else { return Double(quotient) * Double(sign: .plus, exponent: power, significand: 1) }
        guard dropped < 64 else { return 0 }
        var kept = quotient >> UInt64(dropped)
        let rest = quotient & (1 << UInt64(dropped) - 1), half: UInt64 = 1 << UInt64(dropped - 1)
        if rest > half || (rest == half && kept & 1 == 1) { kept += 1 }
        guard place <= 971 else { return .infinity }
        return Double(kept) * Double(sign: .plus, exponent: place, significand: 1)
    }
}

/// A natural number of any length, as far as decimal conversion needs it.
private struct BigNumber {
    /// Least significant first, without leading zeros.
    private var words: [UInt32]

    init(_ value: UInt32) { words = value == 0 ? [] : [value] }

    var bitWidth: Int { words.isEmpty ? 0 : words.count * 32 - words[words.count - 1].leadingZeroBitCount }

    mutating func multiply(by factor: UInt32, plus addend: UInt32 = 0) {
        var carry = UInt64(addend)
        for i in words.indices {
            carry += UInt64(words[i]) * UInt64(factor)
            words[i] = UInt32(truncatingIfNeeded: carry)
            carry >>= 32
        }
        if carry > 0 { words.append(UInt32(carry)) }
    }

    mutating func shiftLeft(_ bits: Int) {
        guard !words.isEmpty else { return }
        multiply(by: 1 << UInt32(bits % 32))
        words.insert(contentsOf: repeatElement(0, count: bits / 32), at: 0)
    }

    /// The quotient, which must be below 2⁶⁴, by schoolbook steps of one bit, and whether nothing remains.
    func quotient(by divisor: BigNumber) -> (quotient: UInt64, isExact: Bool) {
        var rest = self, quotient: UInt64 = 0
        var step = divisor
        let bits = max(0, bitWidth - divisor.bitWidth)
        step.shiftLeft(bits)
        for _ in 0...bits {
            quotient <<= 1
            if rest.subtractIfNotLess(step) { quotient |= 1 }
            step.halve()
        }
        return (quotient, rest.words.isEmpty)
    }

    private mutating func halve() {
        var carry: UInt32 = 0
        for i in words.indices.reversed() {
            let word = words[i]
            words[i] = word >> 1 | carry << 31
            carry = word & 1
        }
        if words.last == 0 { words.removeLast() }
    }

    /// Subtracts `other` and answers true, or leaves the number alone where it is smaller.
    private mutating func subtractIfNotLess(_ other: BigNumber) -> Bool {
        guard !isLess(than: other) else { return false }
        var borrow: Int64 = 0
        for i in words.indices {
            var difference = Int64(words[i]) - (i < other.words.count ? Int64(other.words[i]) : 0) - borrow
            borrow = difference < 0 ? 1 : 0
            difference += borrow << 32
            words[i] = UInt32(difference)
        }
        while words.last == 0 { words.removeLast() }
        return true
    }

    private func isLess(than other: BigNumber) -> Bool {
        if words.count != other.words.count { return words.count < other.words.count }
        for i in words.indices.reversed() where words[i] != other.words[i] { return words[i] < other.words[i] }
        return false
    }
}
