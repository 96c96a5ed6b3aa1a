import Engine

/// A tree of the old kind: of a group's symbol tables, or of an array's chunks.
struct HDF5Tree1 {
    private let storage: HDF5Storage
    /// 0: of a group; 1: of chunks.
    private let type: UInt8
    private let keySize: Int

    init(_ storage: HDF5Storage, type: UInt8, keySize: Int) {
        self.storage = storage
        self.type = type
        self.keySize = keySize
    }

    /// Calls `body` with the key and the address of each leaf below the node at an address.
    func forEach(at address: Int, _ body: (_ key: ByteReader, _ child: Int) throws(Failure) -> Void) throws(Failure) {
        try visit(address, level: nil, body)
    }

    /// Each level is one lower than that above, so no tree goes in circles.
    private func visit(_ address: Int, level expected: Int?, _ body: (ByteReader, Int) throws(Failure) -> Void) throws(Failure) {
        let headerSize = 8 + storage.offsetSize * 2
        var header = try storage.reader(at: address, count: headerSize, of: "HDF5 tree")
        try header.expect("TREE")
        let foundType = try header.u8("the node's type"), level = Int(try header.u8("the node's level"))
        guard foundType == type, level <= Limits.treeDepth, level == expected ?? level else {
            throw header.failure("a node of type \(foundType) and level \(level), expected type \(type) and "
                + (expected.map { "level \($0)" } ?? "a level up to \(Limits.treeDepth)"))
        }
        let count = Int(try header.u16("the number of children"))
        var reader = try storage.reader(at: address + headerSize, count: count * (keySize + storage.offsetSize), of: "HDF5 tree")
        for _ in 0..<count {
            let key = try reader.part(keySize, "a key")
            let child = try reader.definedAddress(storage, "a child's address")
            if level == 0 {
                try body(key, child)
            } else {
                try visit(child, level: level - 1, body)
            }
        }
    }
}
