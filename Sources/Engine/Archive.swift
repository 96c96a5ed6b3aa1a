/// What can be written into bytes, and go on from them.
public protocol Snapshotting: AnyObject {
    var snapshotSize: Int { get }
    /// Writes `snapshotSize` bytes.
    func snapshot(into bytes: UnsafeMutableRawPointer)
    /// Changes nothing where it fails.
    func restore(_ bytes: UnsafeRawBufferPointer) throws(Failure)
}

/// What writes itself into an archive.
public protocol Archiving: Snapshotting {
    func write(to archive: Archive)
}

extension Archiving {
    public var snapshotSize: Int {
        let archive = Archive()
        write(to: archive)
        return archive.size
    }

    public func snapshot(into bytes: UnsafeMutableRawPointer) { write(to: Archive(bytes)) }

    /// Calls `body` with a snapshot.
    public func withSnapshot(_ body: (UnsafeRawBufferPointer) throws(Failure) -> Void) throws(Failure) {
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: snapshotSize, alignment: 8)
        defer { bytes.deallocate() }
        if let base = bytes.baseAddress { snapshot(into: base) }
        try body(UnsafeRawBufferPointer(bytes))
    }

    /// Calls `read` with what stands behind a snapshot's magic and fingerprint; where that fails, once more with its own.
    public func restore(_ bytes: UnsafeRawBufferPointer, magic: UInt64, fingerprint: UInt64, what: Literal, of: Literal,
                        _ read: (ArchiveReader) throws(Failure) -> Void) throws(Failure) {
        let reader = try ArchiveReader(bytes, magic: magic, what: what)
        guard try reader.next() == fingerprint else { throw Failure(.mismatch, "the snapshot was taken of \(of)") }
        try withSnapshot { (own) throws(Failure) in
            do throws(Failure) {
                try read(reader)
                try reader.expectEnd()
            } catch {
                if let reader = try? ArchiveReader(own, magic: magic, what: what), (try? reader.next()) != nil { try? read(reader) }
                throw error
            }
        }
    }
}

/// Writes a snapshot: little-endian words and floats, one after another. Without memory it only counts the bytes.
public final class Archive {
    private let memory: UnsafeMutableRawPointer?
    /// Bytes so far.
    public private(set) var size = 0

    public init(_ memory: UnsafeMutableRawPointer? = nil) { self.memory = memory }

    public func put(_ word: UInt64) {
        memory?.storeBytes(of: word.littleEndian, toByteOffset: size, as: UInt64.self)
        size += 8
    }

    public func put(_ values: UnsafePointer<Float>, count: Int) {
        if let memory {
            for i in 0..<count { memory.storeBytes(of: values[i].bitPattern.littleEndian, toByteOffset: size + 4 * i, as: UInt32.self) }
        }
        size += 4 * count
    }

    /// Ends the snapshot with a hash of all that was put.
    public func seal() {
        var hash = Hash64()
        if let memory { hash.combine(bytes: UnsafeRawBufferPointer(start: memory, count: size)) }
        put(hash.value)
    }
}

/// Reads what an `Archive` wrote. Nothing that it is given makes it read beyond the end.
public final class ArchiveReader {
    private let bytes: UnsafeRawBufferPointer
    private var place = 0

    /// Fails where the bytes are no sealed archive that begins with `magic`.
    public init(_ given: UnsafeRawBufferPointer, magic: UInt64, what: Literal) throws(Failure) {
        guard given.count >= 16, let base = given.baseAddress else {
            throw Failure(.invalidFile, "the snapshot has \(given.count) bytes, fewer than its header")
        }
        bytes = UnsafeRawBufferPointer(start: base, count: given.count - 8)
        guard UInt64(littleEndian: base.loadUnaligned(as: UInt64.self)) == magic else {
            throw Failure(.invalidFile, "this is not a snapshot of \(what), or one of another version")
        }
        var hash = Hash64()
        hash.combine(bytes: bytes)
        guard UInt64(littleEndian: base.loadUnaligned(fromByteOffset: bytes.count, as: UInt64.self)) == hash.value else {
            throw Failure(.invalidFile, "the snapshot is damaged: its checksum does not fit")
        }
        place = 8
    }

    /// Bytes that have not been read.
    public var left: Int { bytes.count - place }

    private func take(_ size: Int) throws(Failure) -> Int {
        guard size <= bytes.count - place else { throw Failure(.invalidFile, "the snapshot is cut short") }
        defer { place += size }
        return place
    }

    public func next() throws(Failure) -> UInt64 {
        UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: try take(8), as: UInt64.self))
    }

    /// A number from 0 up to, not including, `limit`.
    public func next(below limit: Int) throws(Failure) -> Int {
        let word = try next()
        guard word < UInt64(limit) else { throw Failure(.invalidFile, "the snapshot holds \(word) where less than \(limit) is expected") }
        return Int(word)
    }

    public func next(_ values: UnsafeMutablePointer<Float>, count: Int) throws(Failure) {
        let start = try take(4 * count)
        for i in 0..<count {
            values[i] = Float(bitPattern: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: start + 4 * i, as: UInt32.self)))
        }
    }

    public func expectEnd() throws(Failure) {
        guard place == bytes.count else { throw Failure(.invalidFile, "the snapshot has \(bytes.count - place) bytes too many") }
    }
}
