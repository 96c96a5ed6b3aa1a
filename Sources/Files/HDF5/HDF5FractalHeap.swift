import Engine

/// A heap of links or attributes of an object that has many of them.
final class HDF5FractalHeap {
    /// A block of objects.
    private struct Block {
        /// Where it begins in the heap's own space.
        let start: Int
        let size: Int
        let address: Int
    }

    private let storage: HDF5Storage
    private let idSize: Int
    private let hasChecksums: Bool
    private let startSize: Int
    private let largestSize: Int
    private let width: Int
    private let offsetSize: Int
    private let lengthSize: Int
    private let hugeTree: Int?
    /// In the order of their starts.
    private var blocks: [Block] = []
    private var hugeObjects: Table<Int, (address: Int, size: Int)>?

    init(_ storage: HDF5Storage, at address: Int) throws(Failure) {
        self.storage = storage
        let size = 26 + storage.lengthSize * 12 + storage.offsetSize * 3
        var reader = try storage.checkedReader(at: address, count: size, of: "HDF5 heap")
        try reader.expect("FRHP")
        try reader.expect(version: 0)
        idSize = Int(try reader.u16("the ids' size"))
        guard try reader.u16("the filters' size") == 0 else { throw reader.failure("a heap with filters is not one that Cadenza reads", code: .unsupported) }
        hasChecksums = try reader.u8("the flags") & 2 != 0
        let largestObject = Int(try reader.u32("the largest object's size"))
        try reader.skip(storage.lengthSize, "the next huge object's id")
        hugeTree = try reader.address(storage, "the address of the huge objects")
        try reader.skip(storage.lengthSize + storage.offsetSize + storage.lengthSize * 8, "the statistics")
        width = Int(try reader.u16("the table's width"))
        startSize = try reader.length(storage, "the first block's size")
        largestSize = try reader.length(storage, "the largest block's size")
        let spaceBits = Int(try reader.u16("the bits of the heap's space"))
        try reader.skip(2, "the first number of rows")
        let root = try reader.address(storage, "the root's address")
        let rows = Int(try reader.u16("the number of rows"))
        guard width > 0, width.nonzeroBitCount == 1, startSize > 0, startSize.nonzeroBitCount == 1, largestSize.nonzeroBitCount == 1,
              largestSize >= startSize, spaceBits <= 64 else {
            throw reader.failure("a heap of blocks of \(startSize) to \(largestSize) bytes, \(width) a row")
        }
        offsetSize = (spaceBits + 7) / 8
        lengthSize = min(encodedSize(of: largestSize), encodedSize(of: largestObject))
        guard let root else { return }
        if rows == 0 {
            try addBlock(at: root, start: 0, size: startSize)
        } else {
            try addBlocks(at: root, start: 0, rows: rows, depth: 0)
        }
    }

    // MARK: Objects

    /// The object whose id stands next in a record.
    func object(_ record: inout ByteReader) throws(Failure) -> ByteReader {
        var id = try record.part(idSize, "an object's id")
        let first = try id.u8("an object's id")
        guard first >> 6 == 0 else { throw id.failure("an id of version \(first >> 6)", code: .unsupported) }
        switch first >> 4 & 3 {
        case 0: return try managedObject(&id)
        case 1: return try hugeObject(&id)
        case 2: return try tinyObject(&id, first)
        default: throw id.failure("an object of the kind that does not exist")
        }
    }

    /// One that lies in a block.
    private func managedObject(_ id: inout ByteReader) throws(Failure) -> ByteReader {
        let offset = try id.size(offsetSize, "an object's place"), count = try id.size(lengthSize, "an object's size")
        // The last block that begins at or before it.
        var low = 0, high = blocks.count
        while low < high {
            let middle = (low + high) / 2
            if blocks[middle].start <= offset { low = middle + 1 } else { high = middle }
        }
        guard low > 0, offset - blocks[low - 1].start < blocks[low - 1].size,
              count <= blocks[low - 1].size - (offset - blocks[low - 1].start) else {
            throw id.failure("an object of \(count) bytes at \(offset), where the heap has no block")
        }
        let block = blocks[low - 1]
        return try storage.reader(at: block.address + (offset - block.start), count: count, of: "HDF5 heap object")
    }

    /// One that lies in the file by itself: the id has its place, or a number to find it by.
    private func hugeObject(_ id: inout ByteReader) throws(Failure) -> ByteReader {
        if id.remaining >= storage.offsetSize + storage.lengthSize {
            let address = try id.definedAddress(storage, "an object's address")
            return try storage.reader(at: address, count: try id.length(storage, "an object's size"), of: "HDF5 heap object")
        }
        let number = Int(truncatingIfNeeded: try id.number(min(id.remaining, 8), "an object's number"))
        if hugeObjects == nil { hugeObjects = try readHugeObjects() }
        guard let place = hugeObjects?[number] else { throw id.failure("the heap has no huge object \(number)") }
        return try storage.reader(at: place.address, count: place.size, of: "HDF5 heap object")
    }

    private func readHugeObjects() throws(Failure) -> Table<Int, (address: Int, size: Int)> {
        guard let hugeTree else { throw Failure(.invalidFile, "HDF5 heap: it has no huge objects") }
        var objects = Table<Int, (address: Int, size: Int)>()
        try HDF5Tree2(storage, at: hugeTree, type: 1).forEach { record throws(Failure) in
            var record = record
            let address = try record.definedAddress(storage, "a huge object's address")
            let size = try record.length(storage, "a huge object's size")
            let number = Int(truncatingIfNeeded: try record.number(storage.lengthSize, "a huge object's number"))
            objects[number, default: (address, size)] = (address, size)
        }
        return objects
    }

    /// One that lies in its id.
    private func tinyObject(_ id: inout ByteReader, _ first: UInt8) throws(Failure) -> ByteReader {
        var count = Int(first & 0x0F)
        // Longer ids have a second byte for the size.
        if idSize > 18 { count = count << 8 | Int(try id.u8("an object's size")) }
        return try id.part(count + 1, "an object")
    }

    // MARK: Blocks

    private func addBlock(at address: Int, start: Int, size: Int) throws(Failure) {
        let headerSize = 5 + storage.offsetSize + offsetSize
        var reader = try storage.reader(at: address, count: size, of: "HDF5 heap block")
        try reader.expect("FHDB")
        try reader.expect(version: 0)
        if hasChecksums {
            // It is over the block with zeros in its own place.
            try reader.skip(headerSize - 5, "the header")
            let stored = try reader.u32("the checksum")
            let copy = try ByteBuffer(count: size)
            copy.bytes.copyMemory(from: reader.bytes)
            copy.bytes.storeBytes(of: 0, toByteOffset: headerSize, as: UInt32.self)
            guard Checksum.agree(stored, Checksum.lookup3(UnsafeRawBufferPointer(copy.bytes))) else {
                throw Failure(.invalidFile, "HDF5 heap block at offset \(address): its checksum is wrong")
            }
        }
        blocks.append(Block(start: start, size: size, address: address))
    }

    /// Bytes of a block of a row: the first two rows have blocks of the first size, each further one twice those before.
    private func blockSize(row: Int) throws(Failure) -> Int {
        let doublings = max(0, row - 1)
        guard doublings < startSize.leadingZeroBitCount - 1 else { throw Failure(.invalidFile, "HDF5 heap: a table of \(row) rows") }
        return startSize << doublings
    }

    /// Adds the blocks of a table: rows of blocks, those that would be larger than the largest being tables themselves.
    private func addBlocks(at address: Int, start: Int, rows: Int, depth: Int) throws(Failure) {
        guard depth < Limits.treeDepth else { throw Failure(.invalidFile, "HDF5 heap: its tables are nested too deep") }
        let headerSize = 5 + storage.offsetSize + offsetSize
        let count = try product(rows, width, "HDF5 heap")
        let size = headerSize + (try product(count, storage.offsetSize, "HDF5 heap")) + 4
        var reader = try storage.checkedReader(at: address, count: size, of: "HDF5 heap table")
        try reader.expect("FHIB")
        try reader.expect(version: 0)
        try reader.skip(headerSize - 5, "the header")
        var next = start
        for row in 0..<rows {
            let size = try blockSize(row: row)
            for _ in 0..<width {
                if let child = try reader.address(storage, "a block's address") {
                    if size <= largestSize {
                        try addBlock(at: child, start: next, size: size)
                    } else {
                        try addBlocks(at: child, start: next, rows: tableRows(size), depth: depth + 1)
                    }
                }
                let (end, overflow) = next.addingReportingOverflow(size)
                guard !overflow else { throw reader.failure("a heap beyond any file's size") }
                next = end
            }
        }
    }

    /// Rows of a table that covers `size` bytes.
    private func tableRows(_ size: Int) -> Int {
        max(0, size.trailingZeroBitCount - startSize.trailingZeroBitCount - width.trailingZeroBitCount) + 1
    }
}
