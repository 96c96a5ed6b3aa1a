import Engine

/// A cursor over bytes of a file. Numbers are little-endian; every read is checked, and one that goes beyond the
/// end fails with what was to be read and where.
struct ByteReader {
    /// What is read, for messages: "zip central directory".
    let subject: Text
    /// All that may be read.
    let bytes: UnsafeRawBufferPointer
    /// Where in the file the bytes begin, for messages.
    private let origin: Int
    /// The next byte to read.
    private(set) var offset: Int

    /// Reads `bytes`, which begin at `origin` of the file, from their beginning.
    init(_ bytes: UnsafeRawBufferPointer, of subject: Text, origin: Int = 0) {
        self.subject = subject
        self.bytes = bytes
        self.origin = origin
        offset = 0
    }

    /// Where in the file the next byte is.
    var position: Int { origin + offset }

    /// Bytes not yet read.
    var remaining: Int { bytes.count - offset }

    /// An error at the place of the next byte.
    func failure(_ text: Text, code: Failure.Code = .invalidFile) -> Failure {
        Failure(code, "\(subject) at offset \(position): \(text)")
    }

    /// The next `count` bytes.
    mutating func take(_ count: Int, _ what: Literal) throws(Failure) -> UnsafeRawBufferPointer {
        guard count >= 0, count <= remaining else {
            throw failure("\(what) needs \(count) bytes, but \(remaining) are left")
        }
        let part = UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
        offset += count
        return part
    }

    /// The next `count` bytes as a reader of their own.
    mutating func part(_ count: Int, _ what: Literal) throws(Failure) -> ByteReader {
        let start = position
        return ByteReader(try take(count, what), of: subject, origin: start)
    }

    mutating func skip(_ count: Int, _ what: Literal) throws(Failure) {
        _ = try take(count, what)
    }

    /// Skips to the next multiple of `alignment` bytes from the beginning, or to the end where that comes first.
    mutating func align(to alignment: Int) {
        offset = min(bytes.count, (offset + alignment - 1) / alignment * alignment)
    }

    mutating func u8(_ what: Literal) throws(Failure) -> UInt8 { try take(1, what)[0] }

    mutating func u16(_ what: Literal) throws(Failure) -> UInt16 {
        UInt16(littleEndian: try take(2, what).loadUnaligned(as: UInt16.self))
    }

    mutating func u32(_ what: Literal) throws(Failure) -> UInt32 {
        UInt32(littleEndian: try take(4, what).loadUnaligned(as: UInt32.self))
    }

    mutating func u64(_ what: Literal) throws(Failure) -> UInt64 {
        UInt64(littleEndian: try take(8, what).loadUnaligned(as: UInt64.self))
    }

    /// A number of `width` bytes (0 … 8).
    mutating func number(_ width: Int, _ what: Literal) throws(Failure) -> UInt64 {
        var value: UInt64 = 0
        for byte in try take(width, what).reversed() { value = value << 8 | UInt64(byte) }
        return value
    }

    /// A size of `width` bytes (0 … 8), which must not be beyond what an Int holds.
    mutating func size(_ width: Int, _ what: Literal) throws(Failure) -> Int {
        let value = try number(width, what)
        guard let size = Int(exactly: value) else { throw failure("\(what) is \(value), beyond any file's size") }
        return size
    }

    /// Reads a signature; anything else fails.
    mutating func expect(_ signature: Literal) throws(Failure) {
        let found = try take(signature.bytes.count, "the signature")
        guard signature.bytes.elementsEqual(found) else {
            throw failure("the signature \(signature) is missing")
        }
    }

    /// Reads one byte that must be `version`.
    mutating func expect(version: UInt8) throws(Failure) {
        let found = try u8("the version")
        guard found == version else { throw failure("version \(found) is not one that Cadenza reads", code: .unsupported) }
    }
}
