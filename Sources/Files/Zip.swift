import Engine

/// A zip file, read-only: stored and deflated entries, also of the zip64 kind.
public final class Zip {
    /// An entry as the directory describes it.
    private struct Entry {
        let name: Name
        /// 0: stored; 8: deflated.
        let method: UInt16
        let crc: UInt32
        /// Bytes as they are stored.
        let stored: Range<Int>
        /// Number of bytes that they expand to.
        let size: Int
        /// Why its content cannot be read; nil where it can.
        let obstacle: Text?
    }

    private let bytes: UnsafeRawBufferPointer
    private var entries = Table<Name, Entry>()
    /// The names of all entries, in the directory's order.
    public private(set) var names: [Name] = []

    /// Whether the bytes begin as a zip file does, or end as one that something else was put before.
    public static func isZip(_ bytes: UnsafeRawBufferPointer) -> Bool {
        bytes.starts(with: [0x50, 0x4B, 0x03, 0x04]) || ZipDirectory.findEnd(bytes) != nil
    }

    /// Reads the directory of a zip file in memory, which the caller keeps alive. Fails where the directory is cut short,
    /// contradicts the entries' own headers, names an entry twice, or lays two over one another.
    public init(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
        self.bytes = bytes
        let directory = try ZipDirectory(bytes)
        var reader = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[directory.place]), of: "zip directory", origin: directory.place.lowerBound)
        var occupied: [Range<Int>] = []
        for _ in 0..<directory.count {
            let (entry, place) = try Zip.readEntry(&reader, bytes, directory)
            guard entries.insert(entry, for: entry.name) else {
                throw Failure(.invalidFile, "zip directory: two entries are named '\(entry.name)'")
            }
            names.append(entry.name)
            occupied.append(place)
        }
        guard reader.remaining == 0 else { throw reader.failure("\(reader.remaining) bytes follow the last of \(directory.count) entries") }
        occupied = occupied.inOrder { $0.lowerBound < $1.lowerBound }
        for (first, second) in zip(occupied, occupied.dropFirst()) where first.upperBound > second.lowerBound {
            throw Failure(.invalidFile, "zip directory: the entry at offset \(second.lowerBound) begins within the one at \(first.lowerBound)")
        }
    }

    /// The content of an entry; nil where there is none of that name. A stored one lies in the zip file's own bytes.
    ///
    /// Fails for an entry that is encrypted or compressed by another method than deflate, that expands to more than
    /// `Limits.expanded`, or whose size or checksum is wrong.
    public func content(_ name: Name) throws(Failure) -> ZipContent? {
        guard let entry = entries[name] else { return nil }
        if let obstacle = entry.obstacle { throw Zip.failure(name, obstacle, .unsupported) }
        let stored = UnsafeRawBufferPointer(rebasing: bytes[entry.stored])
        let content: ZipContent
        if entry.method == 0 {
            content = ZipContent(stored, owner: nil)
        } else {
            let limit = Limits.expanded(from: stored.count)
            guard entry.size <= limit else {
                throw Zip.failure(name, "it expands from \(stored.count) bytes to \(entry.size), more than the \(limit) allowed")
            }
            let buffer = try ByteBuffer(count: entry.size)
            do throws(Failure) {
                try Inflate.raw(stored, into: buffer.bytes)
            } catch {
                throw Zip.failure(name, error.message, error.code)
            }
            content = ZipContent(UnsafeRawBufferPointer(buffer.bytes), owner: buffer)
        }
        guard Checksum.agree(entry.crc, Checksum.crc32(content.bytes)) else { throw Zip.failure(name, "its checksum is wrong") }
        return content
    }

    private static func failure(_ name: Name, _ text: Text, _ code: Failure.Code = .invalidFile) -> Failure {
        Failure(code, "zip entry '\(name)': \(text)")
    }

    /// Reads a record of the directory and the entry's own header, which lies before the directory. Also returns the bytes
    /// that the entry takes, its header included.
    private static func readEntry(_ reader: inout ByteReader, _ bytes: UnsafeRawBufferPointer,
                                  _ directory: ZipDirectory) throws(Failure) -> (Entry, Range<Int>) {
        try reader.expect("PK\u{01}\u{02}")
        try reader.skip(4, "the versions")
        let flags = try reader.u16("the flags"), method = try reader.u16("the method")
        try reader.skip(4, "the time")
        let crc = try reader.u32("the checksum")
        var stored = UInt64(try reader.u32("the stored size")), size = UInt64(try reader.u32("the size"))
        let nameCount = Int(try reader.u16("the name's length")), extraCount = Int(try reader.u16("the extra field's length"))
        let commentCount = Int(try reader.u16("the comment's length"))
        try reader.skip(8, "the attributes")
        var offset = UInt64(try reader.u32("the offset"))
        let name = Name(try reader.take(nameCount, "the name"))
        var extra = try reader.part(extraCount, "the extra field")
        try reader.skip(commentCount, "the comment")
        try widen(&size, &stored, &offset, from: &extra)

        let end = directory.place.lowerBound
        guard offset <= UInt64(end - directory.shift) else {
            throw failure(name, "its offset \(offset) is not before the directory at \(end)")
        }
        let start = directory.shift + Int(offset)
        var header = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[start..<end]), of: "zip entry '\(name)'", origin: start)
        try header.expect("PK\u{03}\u{04}")
        try header.skip(2, "the version")
        let ownFlags = try header.u16("the flags"), ownMethod = try header.u16("the method")
        try header.skip(16, "the time and the sizes")
        let ownNameCount = Int(try header.u16("the name's length")), ownExtraCount = Int(try header.u16("the extra field's length"))
        let ownName = Name(try header.take(ownNameCount, "the name"))
        try header.skip(ownExtraCount, "the extra field")
        guard ownName == name, ownMethod == method else {
            throw failure(name, "the directory and its own header contradict one another")
        }
        guard let storedCount = Int(exactly: stored), let sizeCount = Int(exactly: size) else {
            throw failure(name, "its size \(size) is beyond any file's")
        }
        let first = start + header.offset
        try header.skip(storedCount, "the data")
        guard method != 0 || size == stored else { throw failure(name, "it is stored as it is, but its two sizes differ") }
        let obstacle: Text? = (flags | ownFlags) & 1 != 0 ? "it is encrypted"
            : method != 0 && method != 8 ? "compression method \(method) is not one that Cadenza reads (0 stored, 8 deflated)" : nil
        let place = first..<first + storedCount
        return (Entry(name: name, method: method, crc: crc, stored: place, size: sizeCount, obstacle: obstacle), start..<place.upperBound)
    }

    /// Sizes and offset that do not fit in 32 bits stand in the zip64 extra field, in this order.
    private static func widen(_ size: inout UInt64, _ stored: inout UInt64, _ offset: inout UInt64,
                              from extra: inout ByteReader) throws(Failure) {
        let absent = UInt64(UInt32.max)
        while extra.remaining >= 4 {
            let kind = try extra.u16("the extra field's kind")
            var field = try extra.part(Int(try extra.u16("the extra field's length")), "the extra field")
            guard kind == 1 else { continue }
            if size == absent { size = try field.u64("the size") }
            if stored == absent { stored = try field.u64("the stored size") }
            if offset == absent { offset = try field.u64("the offset") }
        }
    }
}

/// The content of a zip entry.
public final class ZipContent {
    /// Valid as long as this object, and the zip file's bytes, live.
    public let bytes: UnsafeRawBufferPointer
    private let owner: AnyObject?

    fileprivate init(_ bytes: UnsafeRawBufferPointer, owner: AnyObject?) {
        self.bytes = bytes
        self.owner = owner
    }
}

/// Where a zip file's directory lies.
private struct ZipDirectory {
    /// Bytes of the end record without its comment, of the zip64 one, and of what tells of that.
    private static let endSize = 22, wideEndSize = 56, locatorSize = 20

    let place: Range<Int>
    /// Number of entries.
    let count: Int
    /// How many bytes were put before the zip file, as for one that extracts itself; its offsets do not count them.
    let shift: Int

    /// Finds the record at the end of the file, which a comment of up to 64 KiB may follow; nil where there is none.
    static func findEnd(_ bytes: UnsafeRawBufferPointer) -> Int? {
        var start = bytes.count - endSize
        let first = max(0, start - 0xFFFF)
        while start >= first {
            // The comment must end where the file does.
            if bytes[start..<start + 4].elementsEqual([0x50, 0x4B, 0x05, 0x06]),
               start + endSize + Int(bytes[start + 20]) + Int(bytes[start + 21]) << 8 == bytes.count { return start }
            start -= 1
        }
        return nil
    }

    init(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
        guard let start = ZipDirectory.findEnd(bytes) else {
            throw Failure(.invalidFile, "zip file: it has no end record; it may be cut short")
        }
        var record = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[start...]), of: "zip end record", origin: start)
        try record.skip(4, "the signature")
        var disks = UInt32(try record.u16("the disk's number"))
        disks |= UInt32(try record.u16("the directory's disk"))
        var countHere = UInt64(try record.u16("the number of entries")), count = UInt64(try record.u16("the number of entries"))
        var size = UInt64(try record.u32("the directory's size")), offset = UInt64(try record.u32("the directory's offset"))
        var end = start
        let locator = start - ZipDirectory.locatorSize, wideEnd = locator - ZipDirectory.wideEndSize
        if wideEnd >= 0, bytes[locator..<locator + 4].elementsEqual([0x50, 0x4B, 0x06, 0x07]) {
            var wide = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[wideEnd..<locator]), of: "zip64 end record", origin: wideEnd)
            try wide.expect("PK\u{06}\u{06}")
            try wide.skip(12, "its size and versions")
            disks = try wide.u32("the disk's number")
            disks |= try wide.u32("the directory's disk")
            countHere = try wide.u64("the number of entries")
            count = try wide.u64("the number of entries")
            size = try wide.u64("the directory's size")
            offset = try wide.u64("the directory's offset")
            end = wideEnd
        }
        guard disks == 0, countHere == count else { throw Failure(.unsupported, "zip file: it is one of several volumes") }
        guard size <= UInt64(end), offset <= UInt64(end) - size else {
            throw Failure(.invalidFile, "zip file: a directory of \(size) bytes at offset \(offset) does not end before its end record at \(end)")
        }
        // A record of the directory takes 46 bytes at least.
        guard count <= size / 46 else { throw Failure(.invalidFile, "zip file: a directory of \(size) bytes cannot have \(count) entries") }
        place = end - Int(size)..<end
        shift = place.lowerBound - Int(offset)
        self.count = Int(count)
    }
}
