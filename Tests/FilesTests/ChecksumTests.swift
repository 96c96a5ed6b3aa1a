import Testing
@testable import Files

/// The checksums' published test values.
@Suite struct ChecksumTests {
    @Test func crc32() {
        #expect(Array("123456789".utf8).reading { Checksum.crc32($0) } == 0xCBF4_3926)
        #expect([UInt8]().reading { Checksum.crc32($0) } == 0)
        #expect(Array("The quick brown fox jumps over the lazy dog".utf8).reading { Checksum.crc32($0) } == 0x414F_A339)
    }

    @Test func adler32() {
        #expect(Array("Wikipedia".utf8).reading { Checksum.adler32($0) } == 0x11E6_0398)
        // As many bytes as do not fit in 32 bits at once.
        var a: UInt64 = 1, b: UInt64 = 0
        for _ in 0..<1_000_000 { (a, b) = ((a + 255) % 65_521, (b + a + 255) % 65_521) }
        let expected = UInt32(b << 16 | a)
        #expect([UInt8](repeating: 255, count: 1_000_000).reading { Checksum.adler32($0) } == expected)
    }

    @Test func lookup3() {
        #expect([UInt8]().reading { Checksum.lookup3($0) } == 0xDEAD_BEEF)
        #expect(Array("Four score and seven years ago".utf8).reading { Checksum.lookup3($0) } == 0x1777_0551)
    }
}
