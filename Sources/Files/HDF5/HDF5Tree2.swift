import Engine

/// A tree of the new kind, of records of one size: links or attributes by name, huge objects, chunks.
struct HDF5Tree2 {
    private let storage: HDF5Storage
    private let type: UInt8
    private let recordSize: Int
    private let depth: Int
    private let root: Int?
    private let rootCount: Int
    /// For each level, from the leaves up: bytes of a child's number of records in all its subtree; 0 for leaves.
    private let totalSizes: [Int]
    /// Bytes of a child's own number of records.
    private let countSize: Int

    /// Reads a tree's header, which must be of a type.
    init(_ storage: HDF5Storage, at address: Int, type: UInt8) throws(Failure) {
        self.storage = storage
        self.type = type
        let size = 16 + storage.offsetSize + 2 + storage.lengthSize + 4
        var reader = try storage.checkedReader(at: address, count: size, of: "HDF5 tree")
        try reader.expect("BTHD")
        try reader.expect(version: 0)
        let found = try reader.u8("the tree's type")
        guard found == type else { throw reader.failure("a tree of type \(found), expected \(type)") }
        let nodeSize = Int(try reader.u32("the nodes' size"))
        recordSize = Int(try reader.u16("the records' size"))
        depth = Int(try reader.u16("the depth"))
        try reader.skip(2, "the percentages")
        root = try reader.address(storage, "the root's address")
        rootCount = Int(try reader.u16("the number of records"))
        guard depth <= Limits.treeDepth, recordSize > 0, nodeSize >= 10 + recordSize else {
            throw reader.failure("a tree of depth \(depth), with nodes of \(nodeSize) bytes and records of \(recordSize)")
        }
        // How wide the counts are follows from how many records fit in a node.
        var most = (nodeSize - 10) / recordSize
        countSize = encodedSize(of: most)
        var totalSizes = [0]
        for _ in 0..<depth {
            let pointer = storage.offsetSize + countSize + totalSizes[totalSizes.count - 1]
            guard nodeSize >= 10 + pointer else { throw reader.failure("nodes of \(nodeSize) bytes hold no pointer") }
            let fitting = (nodeSize - 10 - pointer) / (recordSize + pointer)
            most = try product(fitting + 1, most, "HDF5 tree")
            guard most <= Int.max - fitting else { throw reader.failure("a tree of too many records") }
            most += fitting
            totalSizes.append(encodedSize(of: most))
        }
        self.totalSizes = totalSizes
    }

    /// Calls `body` with each record, in order.
    func forEach(_ body: (ByteReader) throws(Failure) -> Void) throws(Failure) {
        if let root { try visit(root, count: rootCount, level: depth, body) }
    }

    private func visit(_ address: Int, count: Int, level: Int, _ body: (ByteReader) throws(Failure) -> Void) throws(Failure) {
        let pointerSize = level == 0 ? 0 : storage.offsetSize + countSize + totalSizes[level - 1]
        let recordsSize = count * recordSize
        let size = 6 + recordsSize + (level == 0 ? 0 : (count + 1) * pointerSize) + 4
        var reader = try storage.checkedReader(at: address, count: size, of: "HDF5 tree node")
        try reader.expect(level == 0 ? "BTLF" : "BTIN")
        try reader.expect(version: 0)
        let found = try reader.u8("the node's type")
        guard found == type else { throw reader.failure("a node of type \(found), expected \(type)") }
        var records = try reader.part(recordsSize, "the records")
        for index in 0...count {
            if level > 0 {
                let child = try reader.definedAddress(storage, "a child's address")
                let childCount = try reader.size(countSize, "a child's number of records")
                try reader.skip(totalSizes[level - 1], "the number of records below")
                guard childCount <= Int(UInt16.max) else { throw reader.failure("a node of \(childCount) records") }
                try visit(child, count: childCount, level: level - 1, body)
            }
            if index < count { try body(try records.part(recordSize, "a record")) }
        }
    }
}

/// How many bytes HDF5 takes for numbers up to `largest`.
func encodedSize(of largest: Int) -> Int {
    largest < 1 ? 1 : (Int.bitWidth - 1 - largest.leadingZeroBitCount) / 8 + 1
}
