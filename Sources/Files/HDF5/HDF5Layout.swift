import Engine

/// Where an array's data lies.
enum HDF5Layout {
    /// In the header itself.
    case compact(UnsafeRawBufferPointer)
    /// In one piece: where, or nil where none was ever written, and how many bytes, where the file says so.
    case contiguous(Int?, Int?)
    case chunked(HDF5Chunks)

    init(_ reader: inout ByteReader, _ storage: HDF5Storage) throws(Failure) {
        let version = try reader.u8("the layout's version")
        switch version {
        case 1, 2: self = try HDF5Layout.old(&reader, storage)
        case 3, 4, 5: self = try HDF5Layout.new(&reader, storage, version)
        default: throw reader.failure("a layout of version \(version) is not one that Cadenza reads", code: .unsupported)
        }
    }

    /// Versions 1 and 2.
    private static func old(_ reader: inout ByteReader, _ storage: HDF5Storage) throws(Failure) -> HDF5Layout {
        let rank = Int(try reader.u8("the number of axes")), kind = try reader.u8("the layout's class")
        try reader.skip(5, "reserved bytes")
        let address = kind == 0 ? nil : try reader.address(storage, "the data's address")
        let lengths = try lengths(&reader, rank, width: 4)
        switch kind {
        case 0: return .compact(try reader.take(Int(try reader.u32("the data's size")), "the data"))
        case 1: return .contiguous(address, nil)
        case 2: return .chunked(try HDF5Chunks(lengths, reader, index: .tree1(address)))
        default: throw reader.failure("a layout of class \(kind) is not one that Cadenza reads", code: .unsupported)
        }
    }

    /// Versions 3 to 5.
    private static func new(_ reader: inout ByteReader, _ storage: HDF5Storage, _ version: UInt8) throws(Failure) -> HDF5Layout {
        switch try reader.u8("the layout's class") {
        case 0: return .compact(try reader.take(Int(try reader.u16("the data's size")), "the data"))
        case 1:
            let address = try reader.address(storage, "the data's address")
            return .contiguous(address, try reader.length(storage, "the data's size"))
        case 2 where version == 3:
            let rank = Int(try reader.u8("the number of axes"))
            let address = try reader.address(storage, "the chunks' address")
            return .chunked(try HDF5Chunks(try lengths(&reader, rank, width: 4), reader, index: .tree1(address)))
        case 2: return .chunked(try indexed(&reader, storage, version))
        case 3: throw reader.failure("a virtual dataset, of parts of others, is not one that Cadenza reads", code: .unsupported)
        case let kind: throw reader.failure("a layout of class \(kind) is not one that Cadenza reads", code: .unsupported)
        }
    }

    private static func lengths(_ reader: inout ByteReader, _ rank: Int, width: Int) throws(Failure) -> [Int] {
        var lengths: [Int] = []
        for _ in 0..<rank { lengths.append(try reader.size(width, "a chunk's length")) }
        return lengths
    }

    /// Chunks with one of the newer indexes.
    private static func indexed(_ reader: inout ByteReader, _ storage: HDF5Storage, _ version: UInt8) throws(Failure) -> HDF5Chunks {
        let flags = try reader.u8("the layout's flags"), rank = Int(try reader.u8("the number of axes"))
        let width = Int(try reader.u8("the width of lengths"))
        guard width >= 1, width <= 8 else { throw reader.failure("lengths of \(width) bytes") }
        let lengths = try lengths(&reader, rank, width: width)
        let kind = try reader.u8("the kind of index")
        var single: (size: Int, mask: UInt32)?
        switch kind {
        case 1:
            if flags & 2 != 0 { single = (try reader.length(storage, "the chunk's size"), try reader.u32("the filter mask")) }
        case 2: break
        // What creates an index stands in its own header too.
        case 3: try reader.skip(1, "the pages' width")
        case 4: try reader.skip(5, "the array's widths")
        case 5: try reader.skip(6, "the tree's widths")
        default: throw reader.failure("a chunk index of kind \(kind) is not one that Cadenza reads", code: .unsupported)
        }
        let address = try reader.address(storage, "the chunks' address")
        let index: HDF5Chunks.Index = switch kind {
        case 1: .single(address, size: single?.size, mask: single?.mask ?? 0)
        case 2: .implicit(address)
        case 3: .fixedArray(address)
        case 4: .extensibleArray(address)
        default: .tree2(address)
        }
        return try HDF5Chunks(lengths, reader, index: index, leavesEdgesUnfiltered: flags & 1 != 0, hasWideSizes: version == 5)
    }
}

/// The chunks of an array: their shape, and where they are listed.
struct HDF5Chunks {
    /// The list of chunks; an address is nil where no chunk was ever written.
    enum Index {
        case tree1(Int?)
        /// One chunk only; `size` is nil where it has no filters.
        case single(Int?, size: Int?, mask: UInt32)
        /// All chunks one after the other.
        case implicit(Int?)
        case fixedArray(Int?)
        case extensibleArray(Int?)
        case tree2(Int?)
    }

    /// Elements along each axis; none is 0.
    let shape: [Int]
    /// Bytes of an element.
    let elementSize: Int
    let index: Index
    /// Whether chunks that reach beyond the array's end are stored without filters.
    let leavesEdgesUnfiltered: Bool
    /// Whether the sizes of filtered chunks are as wide as the file's other sizes.
    let hasWideSizes: Bool

    /// `lengths` has the bytes of an element as its last.
    init(_ lengths: [Int], _ reader: ByteReader, index: Index, leavesEdgesUnfiltered: Bool = false,
         hasWideSizes: Bool = false) throws(Failure) {
        guard lengths.count >= 2, lengths.count <= Limits.rank + 1, !lengths.contains(0) else {
            throw reader.failure("chunks of \(lengths.count - 1) axes, or without elements")
        }
        shape = Array(lengths.dropLast())
        elementSize = lengths[lengths.count - 1]
        self.index = index
        self.leavesEdgesUnfiltered = leavesEdgesUnfiltered
        self.hasWideSizes = hasWideSizes
    }
}
