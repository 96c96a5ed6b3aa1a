import Engine

/// Where a name in a group leads.
enum HDF5Link {
    /// To the object header at an address.
    case hard(Int)
    /// To another path, from this group or from the root.
    case soft(Name)
    /// Into another file.
    case external
    /// By a way that an extension of the writer's knows.
    case custom(UInt8)
}

/// The links of a group.
struct HDF5Links {
    private var links = Table<Name, HDF5Link>()
    /// In order of creation where the file keeps it, else by name.
    private(set) var names: [Name] = []

    /// Reads the links of the group that a header describes.
    init(_ header: HDF5Header, _ storage: HDF5Storage) throws(Failure) {
        if var table = try header.first(.symbolTable, storage) {
            try readSymbolTable(&table, storage)
            return
        }
        var found: [(name: Name, order: UInt64?)] = []
        for var message in try header.all(.link, storage) { found.append(try readLink(&message, storage)) }
        if var info = try header.first(.linkInfo, storage), let (heap, index) = try HDF5Links.denseStorage(&info, storage) {
            let fractalHeap = try HDF5FractalHeap(storage, at: heap)
            let tree = try HDF5Tree2(storage, at: index, type: 5)
            try tree.forEach { record throws(Failure) in
                var record = record
                try record.skip(4, "the name's hash")
                var link = try fractalHeap.object(&record)
                found.append(try readLink(&link, storage))
            }
        }
        let isOrdered = found.allSatisfy { $0.order != nil }
        found = found.inOrder { isOrdered ? $0.order! < $1.order! : $0.name.bytes.lexicographicallyPrecedes($1.name.bytes) }
        names = found.map { $0.name }
    }

    /// The link of a name; nil where the group has none.
    subscript(name: Name) -> HDF5Link? { links[name] }

    private mutating func add(_ name: Name, _ link: HDF5Link) throws(Failure) {
        guard links.insert(link, for: name) else {
            throw Failure(.invalidFile, "HDF5 group: two links are named '\(name)'")
        }
    }

    // MARK: Groups of link messages

    /// Heap and index by name of a group with many links; nil where all links are in the header.
    private static func denseStorage(_ info: inout ByteReader, _ storage: HDF5Storage) throws(Failure) -> (heap: Int, index: Int)? {
        try info.expect(version: 0)
        if try info.u8("the flags") & 1 != 0 { try info.skip(8, "the largest creation order") }
        guard let heap = try info.address(storage, "the address of the links' heap") else { return nil }
        return (heap, try info.definedAddress(storage, "the address of the links' index"))
    }

    /// Reads a link message; returns its name and place in the order of creation.
    private mutating func readLink(_ reader: inout ByteReader, _ storage: HDF5Storage) throws(Failure) -> (name: Name, order: UInt64?) {
        try reader.expect(version: 1)
        let flags = try reader.u8("the link's flags")
        let type = flags & 0x08 != 0 ? try reader.u8("the link's type") : 0
        let order = flags & 0x04 != 0 ? try reader.u64("the creation order") : nil
        if flags & 0x10 != 0 { try reader.skip(1, "the character set") }
        let name = Name(try reader.take(try reader.size(1 << Int(flags & 3), "the name's length"), "the name"))
        switch type {
        case 0: try add(name, .hard(try reader.definedAddress(storage, "the link's address")))
        case 1: try add(name, .soft(Name(try reader.take(Int(try reader.u16("the path's length")), "the path"))))
        case 64: try add(name, .external)
        default: try add(name, .custom(type))
        }
        return (name, order)
    }

    // MARK: Groups of the old kind

    private mutating func readSymbolTable(_ reader: inout ByteReader, _ storage: HDF5Storage) throws(Failure) {
        let tree = try reader.definedAddress(storage, "the address of the tree")
        let heap = try HDF5LocalHeap(storage, at: try reader.definedAddress(storage, "the address of the names"))
        try HDF5Tree1(storage, type: 0, keySize: storage.lengthSize).forEach(at: tree) { _, child throws(Failure) in
            try readSymbols(at: child, heap, storage)
        }
    }

    private mutating func readSymbols(at address: Int, _ heap: HDF5LocalHeap, _ storage: HDF5Storage) throws(Failure) {
        var header = try storage.reader(at: address, count: 8, of: "HDF5 symbol table")
        try header.expect("SNOD")
        try header.expect(version: 1)
        try header.skip(1, "a reserved byte")
        let count = Int(try header.u16("the number of symbols"))
        let size = storage.offsetSize * 2 + 24
        var reader = try storage.reader(at: address + 8, count: count * size, of: "HDF5 symbol table")
        for _ in 0..<count {
            let name = try heap.name(at: try reader.size(storage.offsetSize, "the name's place"))
            let object = try reader.address(storage, "the object's address")
            let type = try reader.u32("the symbol's type")
            try reader.skip(4, "reserved bytes")
            let pathPlace = Int(try reader.u32("the path's place"))
            try reader.skip(12, "reserved bytes")
            if type == 2 {
                try add(name, .soft(try heap.name(at: pathPlace)))
            } else {
                guard let object else { throw reader.failure("the address of '\(name)' is undefined") }
                try add(name, .hard(object))
            }
            names.append(name)
        }
    }
}

/// The names of an old group.
private struct HDF5LocalHeap {
    private let storage: HDF5Storage
    private let segment: UnsafeRawBufferPointer

    init(_ storage: HDF5Storage, at address: Int) throws(Failure) {
        self.storage = storage
        var reader = try storage.reader(at: address, count: 8 + storage.lengthSize * 2 + storage.offsetSize, of: "HDF5 local heap")
        try reader.expect("HEAP")
        try reader.expect(version: 0)
        try reader.skip(3, "reserved bytes")
        let size = try reader.length(storage, "the size of the names")
        try reader.skip(storage.lengthSize, "the free list")
        let place = try reader.definedAddress(storage, "the address of the names")
        segment = try storage.data(at: place, count: size, of: "HDF5 local heap")
    }

    /// The name that begins at an offset and ends before a zero.
    func name(at offset: Int) throws(Failure) -> Name {
        guard offset < segment.count else { throw Failure(.invalidFile, "HDF5 local heap: a name at \(offset) of \(segment.count) bytes") }
        var end = offset
        while end < segment.count, segment[end] != 0 { end += 1 }
        try storage.look(at: end - offset)
        guard end < segment.count else { throw Failure(.invalidFile, "HDF5 local heap: the name at \(offset) has no end") }
        return Name(segment[offset..<end])
    }
}
