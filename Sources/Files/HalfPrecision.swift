extension Float {
    /// The value of a number of IEEE 754's 16 bits.
    init(float16 bits: UInt16) {
        let sign = UInt32(bits & 0x8000) << 16, exponent = UInt32(bits >> 10 & 0x1F), mantissa = UInt32(bits & 0x03FF)
        switch exponent {
        case 0: self = Float(mantissa) * 0x1p-24 * (sign == 0 ? 1 : -1)
        case 31: self.init(bitPattern: sign | 0x7F80_0000 | mantissa << 13)
        default: self.init(bitPattern: sign | (exponent + 112) << 23 | mantissa << 13)
        }
    }

    /// The value of a number that is the upper half of a float's bits.
    init(bfloat16 bits: UInt16) { self.init(bitPattern: UInt32(bits) << 16) }
}
