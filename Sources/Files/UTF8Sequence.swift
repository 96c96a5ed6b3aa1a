import Engine

/// UTF-8, as Unicode defines it: no overlong forms, no surrogates, nothing beyond U+10FFFF.
enum UTF8Sequence {
    /// How many bytes the code point beyond ASCII at `offset` takes; 0 where there is no valid one.
    static func length(in text: UnsafeRawBufferPointer, at offset: Int) -> Int {
        let lead = text[offset]
        let count: Int, second: ClosedRange<UInt8>
        switch lead {
        case 0xC2...0xDF: (count, second) = (2, 0x80...0xBF)
        case 0xE0: (count, second) = (3, 0xA0...0xBF)
        case 0xED: (count, second) = (3, 0x80...0x9F)
        case 0xE1...0xEF: (count, second) = (3, 0x80...0xBF)
        case 0xF0: (count, second) = (4, 0x90...0xBF)
        case 0xF1...0xF3: (count, second) = (4, 0x80...0xBF)
        case 0xF4: (count, second) = (4, 0x80...0x8F)
        default: return 0
        }
        guard count <= text.count - offset, second.contains(text[offset + 1]) else { return 0 }
        for index in 2..<max(2, count) where text[offset + index] & 0xC0 != 0x80 { return 0 }
        return count
    }

    /// Appends a code point that is no surrogate.
    static func append(_ scalar: UInt32, to bytes: inout [UInt8]) {
        func tail(_ shift: UInt32) -> UInt8 { UInt8(0x80 | scalar >> shift & 0x3F) }
        switch scalar {
        case ..<0x80: bytes.append(UInt8(scalar))
        case ..<0x800: bytes += [UInt8(0xC0 | scalar >> 6), tail(0)]
        case ..<0x10000: bytes += [UInt8(0xE0 | scalar >> 12), tail(6), tail(0)]
        default: bytes += [UInt8(0xF0 | scalar >> 18), tail(12), tail(6), tail(0)]
        }
    }
}

extension Name {
    /// Whether the bytes are valid UTF-8.
    var isUTF8: Bool {
        bytes.withUnsafeBytes { text in
            var offset = 0
            while offset < text.count {
                let count = text[offset] < 0x80 ? 1 : UTF8Sequence.length(in: text, at: offset)
                if count == 0 { return false }
                offset += count
            }
            return true
        }
    }
}
