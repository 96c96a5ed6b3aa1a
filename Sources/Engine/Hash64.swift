/// A 64-bit hash of words, for fingerprints and checksums: each word is mixed in by the finalizer of
/// SplitMix64 (Steele, Lea & Flood 2014). The same on every machine. Not for secrets.
public struct Hash64 {
    private var state: UInt64 = 0x9E37_79B9_7F4A_7C15
    private var words: UInt64 = 0

    public init() {}

    public mutating func combine(_ word: UInt64) {
        words &+= 1
        var z = state ^ (word &+ words &* 0x9E37_79B9_7F4A_7C15)
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        state = z ^ (z >> 31)
    }

    public mutating func combine(_ number: Int) { combine(UInt64(bitPattern: Int64(number))) }

    public mutating func combine(_ values: UnsafePointer<Float>, count: Int) {
        combine(count)
        var i = 0
        while i &+ 2 <= count {
            combine(UInt64(values[i].bitPattern) | UInt64(values[i &+ 1].bitPattern) << 32)
            i = i &+ 2
        }
        if i < count { combine(UInt64(values[i].bitPattern)) }
    }

    public mutating func combine(bytes: UnsafeRawBufferPointer) {
        combine(bytes.count)
        var word: UInt64 = 0
        var filled: UInt64 = 0
        for byte in bytes {
            word |= UInt64(byte) << (filled &* 8)
            filled &+= 1
            if filled == 8 {
                combine(word)
                word = 0
                filled = 0
            }
        }
        if filled > 0 { combine(word) }
    }

    public var value: UInt64 { state }
}
