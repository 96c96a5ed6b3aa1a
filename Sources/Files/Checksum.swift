import Engine

/// The checksums that files carry.
enum Checksum {
    /// Whether a stored checksum is the computed one. Fuzzers build with FUZZING, where all pass: they would never
    /// get past one otherwise.
    static func agree(_ stored: UInt32, _ computed: @autoclosure () -> UInt32) -> Bool {
        #if FUZZING
        true
        #else
        stored == computed()
        #endif
    }

    // MARK: Zip and zlib

    /// CRC-32 of zip files (polynomial 0xEDB88320).
    static func crc32(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        var crc = UInt32.max
        var offset = 0
        while offset + 8 <= bytes.count {
            let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) ^ UInt64(crc)
            crc = 0
            for byte in 0..<8 { crc ^= crcTable[(7 - byte) * 256 + Int(word >> UInt64(byte * 8) & 0xFF)] }
            offset += 8
        }
        while offset < bytes.count {
            crc = crc >> 8 ^ crcTable[Int((crc ^ UInt32(bytes[offset])) & 0xFF)]
            offset += 1
        }
        return ~crc
    }

    /// What a byte adds to the CRC when n more bytes follow it, at n × 256 + byte, n from 0 to 7.
    private static let crcTable: [UInt32] = {
        var table = [UInt32](repeating: 0, count: 8 * 256)
        for byte in 0..<256 {
            var crc = UInt32(byte)
            for _ in 0..<8 { crc = crc >> 1 ^ (crc & 1 == 1 ? 0xEDB8_8320 : 0) }
            table[byte] = crc
        }
        for index in 256..<8 * 256 {
            let before = table[index - 256]
            table[index] = before >> 8 ^ table[Int(before & 0xFF)]
        }
        return table
    }()

    /// Adler-32 of zlib streams.
    static func adler32(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        var sum: UInt32 = 1, sumOfSums: UInt32 = 0
        var offset = 0
        while offset < bytes.count {
            // So many bytes cannot overflow 32 bits.
            let end = min(offset + 5552, bytes.count)
            for index in offset..<end {
                sum &+= UInt32(bytes[index])
                sumOfSums &+= sum
            }
            sum %= 65_521
            sumOfSums %= 65_521
            offset = end
        }
        return sumOfSums << 16 | sum
    }

    // MARK: HDF5

    /// Fletcher's checksum as HDF5's filter has it: over big-endian words of 16 bits, an odd last byte being a word's upper one.
    static func fletcher32(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        var sum: UInt32 = 0, sumOfSums: UInt32 = 0
        func fold(_ value: UInt32) -> UInt32 { value & 0xFFFF &+ value >> 16 }
        var offset = 0
        while offset < bytes.count {
            // So many words cannot overflow 32 bits.
            let end = min(offset + 720, bytes.count)
            while offset < end {
                let low = offset + 1 < bytes.count ? UInt32(bytes[offset + 1]) : 0
                sum &+= UInt32(bytes[offset]) << 8 | low
                sumOfSums &+= sum
                offset += 2
            }
            sum = fold(sum)
            sumOfSums = fold(sumOfSums)
        }
        return fold(sumOfSums) << 16 | fold(sum)
    }

    /// Jenkins's hash "lookup3" with initial value 0, which HDF5's newer structures end with.
    static func lookup3(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        var a = 0xDEAD_BEEF &+ UInt32(truncatingIfNeeded: bytes.count)
        var b = a, c = a
        var offset = 0
        func word(_ index: Int) -> UInt32 {
            UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + index * 4, as: UInt32.self))
        }
        while bytes.count - offset > 12 {
            a &+= word(0)
            b &+= word(1)
            c &+= word(2)
            mix(&a, &b, &c)
            offset += 12
        }
        guard offset < bytes.count else { return c }
        for index in offset..<bytes.count {
            let place = index - offset, value = UInt32(bytes[index]) << UInt32(place % 4 * 8)
            switch place / 4 {
            case 0: a &+= value
            case 1: b &+= value
            default: c &+= value
            }
        }
        finish(&a, &b, &c)
        return c
    }

    private static func rotate(_ value: UInt32, _ bits: UInt32) -> UInt32 { value << bits | value >> (32 - bits) }

    private static func mix(_ a: inout UInt32, _ b: inout UInt32, _ c: inout UInt32) {
        a = (a &- c) ^ rotate(c, 4)
        c &+= b
        b = (b &- a) ^ rotate(a, 6)
        a &+= c
        c = (c &- b) ^ rotate(b, 8)
        b &+= a
        a = (a &- c) ^ rotate(c, 16)
        c &+= b
        b = (b &- a) ^ rotate(a, 19)
        a &+= c
        c = (c &- b) ^ rotate(b, 4)
        b &+= a
    }

    private static func finish(_ a: inout UInt32, _ b: inout UInt32, _ c: inout UInt32) {
        c = (c ^ b) &- rotate(b, 14)
        a = (a ^ c) &- rotate(c, 11)
        b = (b ^ a) &- rotate(a, 25)
        c = (c ^ b) &- rotate(b, 16)
        a = (a ^ c) &- rotate(c, 4)
        b = (b ^ a) &- rotate(a, 14)
        c = (c ^ b) &- rotate(b, 24)
    }
}
