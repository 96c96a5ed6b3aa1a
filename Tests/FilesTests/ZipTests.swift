import Testing
@testable import Engine
@testable import Files

@Suite struct ZipTests {
    private static let source = try! contents(Golden.bytes("keras/lstm.keras"))

    private static func contents(_ file: [UInt8]) throws -> [Name: [UInt8]] {
        try file.reading { bytes in
            #expect(Zip.isZip(bytes))
            let zip = try Zip(bytes)
            var contents: [Name: [UInt8]] = [:]
            for name in zip.names { contents[name] = try zip.content(name).map { Array($0.bytes) } }
            return contents
        }
    }

    @Test(arguments: Golden.names("zip", ".keras").filter { !$0.hasPrefix("bad_") })
    func golden(name: String) throws {
        let contents = try ZipTests.contents(Golden.bytes("zip/" + name))
        for (name, expected) in ZipTests.source { #expect(contents[name] == expected, "\(name.string)") }
    }

    @Test(arguments: ["bad_checksum", "bad_encrypted", "bad_method", "bad_offset", "bad_size"])
    func bad(name: String) throws {
        let file = try Golden.bytes("zip/\(name).keras")
        let failure = failure { _ = try ZipTests.contents(file) }
        #expect(failure?.code == (name == "bad_encrypted" || name == "bad_method" ? .unsupported : .invalidFile))
    }

    private func check(_ entries: [MadeZip.Entry], _ expected: String, _ change: (inout MadeZip) -> Void = { _ in }) {
        var zip = MadeZip(entries)
        change(&zip)
        let failure = failure { _ = try ZipTests.contents(zip.bytes) }
        #expect(failure?.message.contains(expected) == true, "\(failure?.message ?? "")")
    }

    @Test func madeEntriesAreRead() throws {
        let zip = MadeZip([.init("a", [1, 2, 3]), .init("b/", []), .init("c", [9], method: 8, stored: [1, 1, 0, 0xFE, 0xFF, 9])])
        #expect(try ZipTests.contents(zip.bytes) == ["a": [1, 2, 3], "b/": [], "c": [9]])
        #expect(try ZipTests.contents(MadeZip([]).bytes) == [:])
        let none = try zip.bytes.reading { try Zip($0).content("none") }
        #expect(none == nil)
    }

    @Test func liesAreCaught() {
        let a = MadeZip.Entry("a", [1, 2, 3]), b = MadeZip.Entry("b", [4])
        check([a, a], "two entries are named 'a'")
        // b's header and data lie in what a holds.
        check([.init("a", Array(MadeZip([b]).bytes.prefix(32))), b], "begins within") { $0.entries[1].offset = 31 }
        check([a, b], "contradict") { $0.entries[1].ownName = "c" }
        check([a, b], "its two sizes differ") { $0.entries[1].size = 2 }
        check([a, b], "the data needs 4000000 bytes") { $0.entries[1].storedSize = 4_000_000 }
        check([a, b], "is not before the directory") { $0.entries[1].offset = 4_000_000_000 }
        check([a, b], "checksum is wrong") { $0.entries[0].crc ^= 1 }
        check([a, b], "cannot have 3 entries") { $0.count = 3 }
        check([a, b], "bytes follow the last of 1") { $0.count = 1 }
        check([a], "compression method 12") { $0.entries[0].method = 12 }
        check([a], "is encrypted") { $0.entries[0].flags = 1 }
    }

    @Test func bombsAreRefused() {
        let stored: [UInt8] = [1, 0, 0, 0xFF, 0xFF]
        check([.init("bomb", [], method: 8, stored: stored)], "more than the 67108864 allowed") { $0.entries[0].size = 64 << 20 + 1 }
        check([.init("bomb", [], method: 8, stored: stored)], "more than the 67108864 allowed") { $0.entries[0].size = 0xFFFF_FFFE }
        check([.init("bomb", [], method: 8, stored: stored)], "expands to 0 bytes, 1000 were announced") { $0.entries[0].size = 1000 }
        check([.init("bomb", [], method: 8, stored: [1, 2, 0, 0xFD, 0xFF, 7, 8])], "more than the 1 bytes") { $0.entries[0].size = 1 }
    }

    @Test func wideSizesMayLieToo() {
        for value in [UInt64.max, UInt64(Int.max), 1 << 62, 1 << 32] {
            for field in 0..<3 {
                var zip = MadeZip([.init("a", [1])])
                zip.entries[0].wide = (0..<3).map { $0 == field ? value : 1 }
                #expect(failure { _ = try ZipTests.contents(zip.bytes) } != nil)
            }
        }
    }
}

/// A zip file that may tell lies.
private struct MadeZip {
    struct Entry {
        var name: String, ownName: String
        var method: UInt16
        var flags: UInt16 = 0
        var crc: UInt32
        var size: UInt32, storedSize: UInt32
        var stored: [UInt8]
        /// Where the directory says it is.
        var offset: UInt32 = 0
        /// Size, stored size and offset in a zip64 field.
        var wide: [UInt64] = []

        init(_ name: String, _ content: [UInt8], method: UInt16 = 0, stored: [UInt8]? = nil) {
            (self.name, ownName) = (name, name)
            self.method = method
            crc = content.reading { Checksum.crc32($0) }
            self.stored = stored ?? content
            (size, storedSize) = (UInt32(content.count), UInt32(self.stored.count))
        }
    }

    var entries: [Entry]
    var count: UInt16

    init(_ entries: [Entry]) {
        self.entries = entries
        count = UInt16(entries.count)
        var offset = 0
        for index in entries.indices {
            self.entries[index].offset = UInt32(offset)
            offset += 30 + entries[index].name.utf8.count + entries[index].stored.count
        }
    }

    var bytes: [UInt8] {
        var file: [UInt8] = [], directory: [UInt8] = []
        for entry in entries {
            file += [0x50, 0x4B, 3, 4] + little(UInt16(20)) + little(entry.flags) + little(entry.method) + little(UInt32(0))
            file += little(entry.crc) + little(entry.storedSize) + little(entry.size)
            file += little(UInt16(entry.ownName.utf8.count)) + little(UInt16(0)) + Array(entry.ownName.utf8) + entry.stored

            let isWide = !entry.wide.isEmpty
            var extra: [UInt8] = []
            if isWide { extra = little(UInt16(1)) + little(UInt16(24)) + entry.wide.flatMap { little($0) } }
            directory += [0x50, 0x4B, 1, 2] + little(UInt32(0)) + little(entry.flags) + little(entry.method) + little(UInt32(0))
            directory += little(entry.crc) + little(isWide ? .max : entry.storedSize) + little(isWide ? .max : entry.size)
            directory += little(UInt16(entry.name.utf8.count)) + little(UInt16(extra.count)) + little(UInt16(0)) + little(UInt64(0))
            directory += little(isWide ? .max : entry.offset) + Array(entry.name.utf8) + extra
        }
        var end: [UInt8] = [0x50, 0x4B, 5, 6] + little(UInt32(0)) + little(count) + little(count)
        end += little(UInt32(directory.count)) + little(UInt32(file.count)) + little(UInt16(0))
        return file + directory + end
    }
}
