import Engine

/// For each symbol the bits of its code; several codes may lie one after the other.
typealias CodeLengths = InlineArray<320, UInt8>

/// A canonical Huffman code of DEFLATE: at most 288 symbols, of 1 to 15 bits.
///
/// Codes of up to ten bits are looked up at once; longer ones are told bit by bit from how many codes there are of
/// each length, so that making a table costs little, however many blocks a file has.
struct HuffmanCode {
    /// Bits that one lookup sees.
    private static let lookupBits = 10

    /// By the next ten bits: symbol × 16 + length; 0 where the code is longer, or where there is none.
    private var lookup = InlineArray<1024, UInt16>(repeating: 0)
    /// Number of codes of each length.
    private var counts = InlineArray<16, UInt16>(repeating: 0)
    /// Symbols ordered by code.
    private var symbols = InlineArray<288, UInt16>(repeating: 0)

    /// The code whose symbol s has `lengths[range.lowerBound + s]` bits (0 … 15), 0 for a symbol without a code. nil where
    /// the lengths describe no prefix code, or an incomplete one of more than one symbol.
    init?(_ lengths: borrowing CodeLengths, _ range: Range<Int>) {
        for index in range { counts[Int(lengths[index])] += 1 }
        let used = range.count - Int(counts[0])
        counts[0] = 0
        var free = 1
        var starts = InlineArray<17, UInt16>(repeating: 0), codes = InlineArray<17, UInt32>(repeating: 0)
        for length in 1...15 {
            free = free * 2 - Int(counts[length])
            guard free >= 0 else { return nil }
            starts[length + 1] = starts[length] + counts[length]
            codes[length + 1] = (codes[length] + UInt32(counts[length])) << 1
        }
        guard free == 0 || used == 0 || (used == 1 && counts[1] == 1) else { return nil }
        for symbol in 0..<range.count {
            let length = Int(lengths[range.lowerBound + symbol])
            if length == 0 { continue }
            symbols[Int(starts[length])] = UInt16(symbol)
            starts[length] += 1
            if length <= HuffmanCode.lookupBits { enter(symbol, code: codes[length], length: length) }
            codes[length] += 1
        }
    }

    /// Enters a short code under all bits that may follow it. Codes come highest bit first, the lookup's lowest bit is the first.
    private mutating func enter(_ symbol: Int, code: UInt32, length: Int) {
        var index = 0
        for bit in 0..<length { index |= Int(code >> UInt32(bit) & 1) << (length - 1 - bit) }
        while index < 1 << HuffmanCode.lookupBits {
            lookup[index] = UInt16(symbol << 4 | length)
            index += 1 << length
        }
    }

    /// The symbol that `bits` begins with, lowest bit first, and its length; a length of 0 where no code fits.
    @inline(__always)
    func decode(_ bits: UInt64) -> (symbol: Int, length: Int) {
        let entry = lookup[Int(bits & 1023)]
        return entry != 0 ? (Int(entry >> 4), Int(entry & 15)) : decodeSlowly(bits)
    }

    private func decodeSlowly(_ bits: UInt64) -> (symbol: Int, length: Int) {
        var code = 0, first = 0, index = 0
        for length in 1...15 {
            code |= Int(bits >> UInt64(length - 1) & 1)
            let count = Int(counts[length])
            if code - first < count { return (Int(symbols[index + code - first]), length) }
            index += count
            first = (first + count) << 1
            code <<= 1
        }
        return (0, 0)
    }
}

extension HuffmanCode {
    /// The literals and lengths of blocks that bring no codes.
    static let fixedLiterals = fixed(288) { symbol in
        switch symbol {
        case ..<144: 8
        case ..<256: 9
        case ..<280: 7
        default: 8
        }
    }

    /// The distances of blocks that bring no codes; the last two never occur.
    static let fixedDistances = fixed(32) { _ in 5 }

    private static func fixed(_ count: Int, _ length: (Int) -> UInt8) -> HuffmanCode {
        var lengths = CodeLengths(repeating: 0)
        for symbol in 0..<count { lengths[symbol] = length(symbol) }
        return HuffmanCode(lengths, 0..<count)!
    }

    /// In which order a block gives the lengths of the code that its lengths are written in.
    static let lengthOrder: InlineArray<19, Int> = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
}
