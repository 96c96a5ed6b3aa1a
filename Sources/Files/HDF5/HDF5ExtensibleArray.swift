import Engine

/// A list of chunks of an array that can grow along one axis without limit.
///
/// The first entries lie in the index block; then come data blocks, each pair of "super blocks" of them twice as large as
/// the pair before. The first data blocks are listed in the index block, the further ones in blocks of their own.
struct HDF5ExtensibleArray {
    private let storage: HDF5Storage
    private let entrySize: Int
    /// Bytes of a block's place in the list.
    private let placeSize: Int
    /// Entries in the index block.
    private let directCount: Int
    /// Entries of the smallest data block.
    private let smallestCount: Int
    /// Addresses of data blocks in the smallest block of them.
    private let smallestPointers: Int
    /// Entries of a page; data blocks of more consist of pages.
    private let pageCount: Int
    /// Number of super blocks that the list may have.
    private let superBlocks: Int
    /// Entries from this one on were never written.
    private let count: Int
    private let index: Int?

    init(_ storage: HDF5Storage, at address: Int) throws(Failure) {
        self.storage = storage
        let size = 12 + storage.lengthSize * 6 + storage.offsetSize + 4
        var reader = try storage.checkedReader(at: address, count: size, of: "HDF5 extensible array")
        try reader.expect("EAHD")
        try reader.expect(version: 0)
        try reader.skip(1, "what it lists")
        entrySize = Int(try reader.u8("an entry's size"))
        let bits = Int(try reader.u8("the width of numbers"))
        directCount = Int(try reader.u8("the entries in the index block"))
        smallestCount = Int(try reader.u8("the entries in the smallest data block"))
        smallestPointers = Int(try reader.u8("the data blocks of the smallest block of them"))
        let pageBits = Int(try reader.u8("the pages' width"))
        try reader.skip(storage.lengthSize * 4, "the statistics")
        count = try reader.length(storage, "the number of entries")
        try reader.skip(storage.lengthSize, "the number of entries with room")
        index = try reader.address(storage, "the index block's address")
        guard entrySize >= storage.offsetSize, bits >= 1, bits <= 62, pageBits < 32,
              smallestCount.nonzeroBitCount == 1, smallestPointers.nonzeroBitCount == 1,
              smallestCount.trailingZeroBitCount <= bits else {
            throw reader.failure("an array of entries of \(entrySize) bytes, numbers of \(bits) bits, \(smallestCount) entries "
                + "in a block and \(smallestPointers) blocks")
        }
        placeSize = (bits + 7) / 8
        pageCount = 1 << pageBits
        superBlocks = 1 + bits - smallestCount.trailingZeroBitCount
    }

    /// Calls `body` with the number of each entry, and the entry.
    func forEach(_ body: (Int, inout ByteReader) throws(Failure) -> Void) throws(Failure) {
        guard let index else { return }
        // Super blocks whose data blocks the index block lists by itself.
        let directSuperBlocks = min(2 * smallestPointers.trailingZeroBitCount, superBlocks)
        var directBlocks = 0
        for number in 0..<directSuperBlocks { directBlocks += 1 << (number / 2) }
        let size = 6 + storage.offsetSize + directCount * entrySize
            + (directBlocks + superBlocks - directSuperBlocks) * storage.offsetSize + 4
        var reader = try storage.checkedReader(at: index, count: size, of: "HDF5 extensible array")
        try reader.expect("EAIB")
        try reader.expect(version: 0)
        try reader.skip(1 + storage.offsetSize, "the header's address")
        for number in 0..<directCount {
            var entry = try reader.part(entrySize, "an entry")
            if number < count { try body(number, &entry) }
        }
        var first = directCount
        for number in 0..<superBlocks {
            // A super block has 2^(n/2) data blocks of 2^((n+1)/2) times the smallest's entries.
            let blocks = 1 << (number / 2), entries = smallestCount << ((number + 1) / 2)
            if first >= count { return }
            if number < directSuperBlocks {
                for block in 0..<blocks {
                    let address = try reader.address(storage, "a data block's address")
                    if let address, first + block * entries < count {
                        try readBlock(address, entries, first: first + block * entries, isPresent: { _ in true }, body)
                    }
                }
            } else if let address = try reader.address(storage, "a super block's address") {
                try readSuperBlock(address, blocks, entries, first: first, body)
            }
            first += blocks * entries
        }
    }

    /// Reads a block of `blocks` addresses of data blocks, with a bitmap of their pages where they have such.
    private func readSuperBlock(_ address: Int, _ blocks: Int, _ entries: Int, first: Int,
                                _ body: (Int, inout ByteReader) throws(Failure) -> Void) throws(Failure) {
        let pages = entries > pageCount ? entries / pageCount : 0
        let bitmapSize = try product(blocks, (pages + 7) / 8, "HDF5 extensible array")
        let addresses = try product(blocks, storage.offsetSize, "HDF5 extensible array")
        guard bitmapSize <= 1 << 60, addresses <= 1 << 60 else { throw Failure(.invalidFile, "HDF5 extensible array: \(blocks) data blocks") }
        let size = 6 + storage.offsetSize + placeSize + bitmapSize + addresses + 4
        var reader = try storage.checkedReader(at: address, count: size, of: "HDF5 extensible array")
        try reader.expect("EASB")
        try reader.expect(version: 0)
        try reader.skip(1 + storage.offsetSize + placeSize, "the header's address")
        let bitmap = try reader.take(bitmapSize, "the bitmap of pages")
        for block in 0..<blocks {
            guard let child = try reader.address(storage, "a data block's address") else { continue }
            let start = first + block * entries
            if start >= count { return }
            try readBlock(child, entries, first: start, isPresent: { page in
                let bit = block * pages + page
                return bitmap[bit / 8] & (0x80 >> UInt8(bit % 8)) != 0
            }, body)
        }
    }

    private func readBlock(_ address: Int, _ entries: Int, first: Int, isPresent: (Int) -> Bool,
                           _ body: (Int, inout ByteReader) throws(Failure) -> Void) throws(Failure) {
        let prefixSize = 6 + storage.offsetSize + placeSize
        let isPaged = entries > pageCount
        let bytes = isPaged ? 0 : try product(entries, entrySize, "HDF5 extensible array")
        guard bytes <= 1 << 60 else { throw Failure(.invalidFile, "HDF5 extensible array: a block of \(bytes) bytes") }
        var reader = try storage.checkedReader(at: address, count: prefixSize + bytes + 4, of: "HDF5 extensible array")
        try reader.expect("EADB")
        try reader.expect(version: 0)
        try reader.skip(1 + storage.offsetSize + placeSize, "the header's address")
        if !isPaged {
            for number in first..<min(first + entries, count) {
                var entry = try reader.part(entrySize, "an entry")
                try body(number, &entry)
            }
            return
        }
        var page = address + prefixSize + 4
        for number in 0..<entries / pageCount {
            let start = first + number * pageCount
            if start >= count { return }
            if isPresent(number) {
                try storage.forEachEntry(ofPageAt: page, pageCount, size: entrySize, first: start, body)
            }
            let (next, overflow) = page.addingReportingOverflow(pageCount * entrySize + 4)
            guard !overflow else { throw reader.failure("pages beyond any file's size") }
            page = next
        }
    }
}
