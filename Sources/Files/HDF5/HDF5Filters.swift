import Engine

/// What was done to a chunk's bytes before they were stored.
struct HDF5Filters {
    private enum Kind: Equatable {
        case deflate
        /// Bytes of an element.
        case shuffle(Int)
        case fletcher32
    }

    /// In the order in which they were applied.
    private var kinds: [Kind] = []

    var isEmpty: Bool { kinds.isEmpty }

    init() {}

    init(_ reader: inout ByteReader) throws(Failure) {
        let version = try reader.u8("the filters' version")
        guard version == 1 || version == 2 else {
            throw reader.failure("filters of version \(version) are not ones that Cadenza reads", code: .unsupported)
        }
        let count = Int(try reader.u8("the number of filters"))
        if version == 1 { try reader.skip(6, "reserved bytes") }
        for _ in 0..<count {
            let id = try reader.u16("the filter"), hasName = version == 1 || id >= 256
            let nameSize = hasName ? Int(try reader.u16("the name's length")) : 0
            try reader.skip(2, "the filter's flags")
            let valueCount = Int(try reader.u16("the number of the filter's values"))
            let name = Name(try reader.take(version == 1 ? (nameSize + 7) / 8 * 8 : nameSize, "the name").prefix { $0 != 0 })
            var values = try reader.part(valueCount * 4, "the filter's values")
            if version == 1, valueCount % 2 == 1 { try reader.skip(4, "padding") }
            kinds.append(try HDF5Filters.kind(id, name, &values))
        }
        // Only then is it known how much it expands to.
        guard kinds.filter({ $0 == .deflate }).count <= 1 else { throw reader.failure("data deflated twice", code: .unsupported) }
    }

    private static func kind(_ id: UInt16, _ name: Name, _ values: inout ByteReader) throws(Failure) -> Kind {
        switch id {
        case 1: return .deflate
        case 2: return .shuffle(Int(try values.u32("the element's size")))
        case 3: return .fletcher32
        default:
            let known: Text = switch id {
            case 4: "szip"
            case 5: "nbit"
            case 6: "scaleoffset"
            case 32_000: "lzf"
            case 32_001: "blosc"
            case 32_015: "zstd"
            default: name.isEmpty ? "without a name" : name
            }
            throw Failure(.unsupported, "HDF5 dataset: filter \(id) (\(known)) is not one that Cadenza reads (deflate, shuffle, fletcher32)")
        }
    }

    /// The `size` bytes of a chunk from those that are stored. Of filters whose bit is set in `mask` the chunk is free.
    /// The result lies in the stored bytes or in memory of its own.
    func decode(_ stored: UnsafeRawBufferPointer, mask: UInt32, size: Int) throws(Failure) -> (bytes: UnsafeRawBufferPointer, owner: ByteBuffer?) {
        var applied: [Kind] = []
        for (index, kind) in kinds.enumerated() where index >= 32 || mask >> UInt32(index) & 1 == 0 { applied.append(kind) }
        var bytes = stored
        var owner: ByteBuffer?
        for (index, kind) in applied.enumerated().reversed() {
            switch kind {
            case .fletcher32:
                bytes = try HDF5Filters.verified(bytes)
            case .deflate:
                // Before it came checksums of four bytes each.
                let checksums = applied[..<index].filter { $0 == .fletcher32 }.count
                let buffer = try ByteBuffer(count: size + 4 * checksums)
                try Inflate.zlib(bytes, into: buffer.bytes)
                (bytes, owner) = (UnsafeRawBufferPointer(buffer.bytes), buffer)
            case .shuffle(let elementSize) where elementSize > 1:
                let buffer = try ByteBuffer(count: bytes.count)
                HDF5Filters.unshuffle(bytes, elementSize, into: buffer.bytes)
                (bytes, owner) = (UnsafeRawBufferPointer(buffer.bytes), buffer)
            case .shuffle:
                break
            }
        }
        guard bytes.count == size else { throw Failure(.invalidFile, "HDF5 dataset: a chunk has \(bytes.count) bytes, expected \(size)") }
        return (bytes, owner)
    }

    /// The bytes before a checksum that fits them.
    private static func verified(_ bytes: UnsafeRawBufferPointer) throws(Failure) -> UnsafeRawBufferPointer {
        guard bytes.count >= 4 else { throw Failure(.invalidFile, "HDF5 dataset: a chunk of \(bytes.count) bytes has no checksum") }
        let data = UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count - 4)])
        let stored = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: data.count, as: UInt32.self))
        guard Checksum.agree(stored, Checksum.fletcher32(data)) else { throw Failure(.invalidFile, "HDF5 dataset: a chunk's checksum is wrong") }
        return data
    }

    /// All elements' first bytes come first, then all second ones; bytes beyond the last whole element stay at the end.
    private static func unshuffle(_ bytes: UnsafeRawBufferPointer, _ elementSize: Int, into output: UnsafeMutableRawBufferPointer) {
        let count = bytes.count / elementSize
        var source = 0
        if count > 0 {
            for byte in 0..<elementSize {
                var place = byte
                for _ in 0..<count {
                    output[place] = bytes[source]
                    source &+= 1
                    place &+= elementSize
                }
            }
        }
        for place in source..<bytes.count { output[place] = bytes[place] }
    }
}
