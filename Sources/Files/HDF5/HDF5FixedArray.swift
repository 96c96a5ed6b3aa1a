import Engine

/// A list of chunks of an array that cannot grow without limit.
struct HDF5FixedArray {
    private let storage: HDF5Storage
    private let entrySize: Int
    private let count: Int
    /// Entries of a page; all where the list has no pages.
    private let pageCount: Int
    private let block: Int?

    init(_ storage: HDF5Storage, at address: Int) throws(Failure) {
        self.storage = storage
        let size = 8 + storage.lengthSize + storage.offsetSize + 4
        var reader = try storage.checkedReader(at: address, count: size, of: "HDF5 fixed array")
        try reader.expect("FAHD")
        try reader.expect(version: 0)
        try reader.skip(1, "what it lists")
        entrySize = Int(try reader.u8("an entry's size"))
        let pageBits = Int(try reader.u8("the pages' width"))
        count = try reader.length(storage, "the number of entries")
        block = try reader.address(storage, "the entries' address")
        guard entrySize >= storage.offsetSize, pageBits < 32 else {
            throw reader.failure("entries of \(entrySize) bytes in pages of 2^\(pageBits)")
        }
        pageCount = 1 << pageBits
    }

    /// Calls `body` with the number of each entry, and the entry.
    func forEach(_ body: (Int, inout ByteReader) throws(Failure) -> Void) throws(Failure) {
        guard let block else { return }
        let prefixSize = 6 + storage.offsetSize
        guard count > pageCount else {
            let size = prefixSize + (try product(count, entrySize, "HDF5 fixed array")) + 4
            var reader = try storage.checkedReader(at: block, count: size, of: "HDF5 fixed array")
            try readPrefix(&reader)
            for index in 0..<count {
                var entry = try reader.part(entrySize, "an entry")
                try body(index, &entry)
            }
            return
        }
        let pages = (count - 1) / pageCount + 1
        let bitmapSize = (pages - 1) / 8 + 1
        var reader = try storage.checkedReader(at: block, count: prefixSize + bitmapSize + 4, of: "HDF5 fixed array")
        try readPrefix(&reader)
        let bitmap = try reader.take(bitmapSize, "the bitmap of pages")
        var address = block + prefixSize + bitmapSize + 4
        for page in 0..<pages {
            let first = page * pageCount, entries = min(pageCount, count - first)
            if bitmap[page / 8] & (0x80 >> UInt8(page % 8)) != 0 {
                try storage.forEachEntry(ofPageAt: address, entries, size: entrySize, first: first, body)
            }
            let (next, overflow) = address.addingReportingOverflow(pageCount * entrySize + 4)
            guard !overflow else { throw reader.failure("pages beyond any file's size") }
            address = next
        }
    }

    private func readPrefix(_ reader: inout ByteReader) throws(Failure) {
        try reader.expect("FADB")
        try reader.expect(version: 0)
        try reader.skip(1 + storage.offsetSize, "the header's address")
    }
}

extension HDF5Storage {
    /// Calls `body` with the number of each entry of a page, and the entry; the first one's number is `first`.
    func forEachEntry(ofPageAt address: Int, _ count: Int, size: Int, first: Int,
                      _ body: (Int, inout ByteReader) throws(Failure) -> Void) throws(Failure) {
        let bytes = try product(count, size, "HDF5 page")
        guard bytes <= Int.max - 4 else { throw Failure(.invalidFile, "HDF5 page: it has \(bytes) bytes") }
        var reader = try checkedReader(at: address, count: bytes + 4, of: "HDF5 page")
        for index in 0..<count {
            var entry = try reader.part(size, "an entry")
            try body(first + index, &entry)
        }
    }
}
