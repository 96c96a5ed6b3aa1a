import Engine

/// The attributes of a group or dataset.
struct HDF5Attributes {
    private var messages = Table<Name, ByteReader>()
    /// In order of creation, or the file's order where it does not keep it.
    private(set) var names: [Name] = []

    init(_ header: HDF5Header, _ storage: HDF5Storage) throws(Failure) {
        for message in try header.all(.attribute, storage) { names.append(try add(message)) }
        guard var info = try header.first(.attributeInfo, storage) else { return }
        try info.expect(version: 0)
        if try info.u8("the flags") & 1 != 0 { try info.skip(2, "the largest creation order") }
        guard let address = try info.address(storage, "the address of the attributes' heap") else { return }
        let index = try info.definedAddress(storage, "the address of the attributes' index")
        let heap = try HDF5FractalHeap(storage, at: address)
        var found: [(name: Name, order: UInt32)] = []
        try HDF5Tree2(storage, at: index, type: 8).forEach { record throws(Failure) in
            var record = record
            let message = try heap.object(&record)
            guard try record.u8("the flags") & 2 == 0 else {
                throw record.failure("an attribute in the file's shared message heap is not one that Cadenza reads", code: .unsupported)
            }
            found.append((try add(message), try record.u32("the creation order")))
        }
        names += found.inOrder { $0.order < $1.order }.map { $0.name }
    }

    private mutating func add(_ message: ByteReader) throws(Failure) -> Name {
        let name = try HDF5Attribute.Parts(message).name
        guard messages.insert(message, for: name) else {
            throw message.failure("two attributes are named '\(name)'")
        }
        return name
    }

    /// The attribute of a name; nil where there is none.
    func attribute(_ name: Name, _ storage: HDF5Storage) throws(Failure) -> HDF5Attribute? {
        guard let message = messages[name] else { return nil }
        return try HDF5Attribute(message, storage)
    }
}

/// An attribute's values.
public struct HDF5Attribute {
    /// The values, as what they are.
    public enum Values {
        case strings([Name])
        case integers([Int])
        case floats([Double])
    }

    /// Empty for a single value, and for no value at all.
    public let shape: [Int]
    public let values: Values

    /// The values where they are strings, else none.
    public var strings: [Name] { if case .strings(let values) = values { values } else { [] } }
    /// The values where they are whole numbers, else none.
    public var integers: [Int] { if case .integers(let values) = values { values } else { [] } }
    /// The values where they are numbers, else none.
    public var floats: [Double] {
        switch values {
        case .strings: []
        case .integers(let values): values.map { Double($0) }
        case .floats(let values): values
        }
    }

    init(_ message: ByteReader, _ storage: HDF5Storage) throws(Failure) {
        var parts = try Parts(message)
        if parts.hasSharedDatatype { parts.datatype = try HDF5Header.shared(.datatype, parts.datatype, storage) }
        if parts.hasSharedDataspace { parts.dataspace = try HDF5Header.shared(.dataspace, parts.dataspace, storage) }
        let datatype = try HDF5Datatype(&parts.datatype, storage), dataspace = try HDF5Dataspace(&parts.dataspace, storage)
        let size = try product(dataspace.count, datatype.size, "HDF5 attribute")
        let elements = HDF5Elements(storage, datatype, count: dataspace.count, bytes: try parts.data.take(size, "the values"), owner: nil)
        shape = dataspace.shape
        values = try elements.values()
    }

    /// An attribute message taken apart.
    struct Parts {
        let name: Name
        var datatype: ByteReader
        var dataspace: ByteReader
        var data: ByteReader
        let hasSharedDatatype: Bool
        let hasSharedDataspace: Bool

        init(_ message: ByteReader) throws(Failure) {
            var reader = message
            let version = try reader.u8("the attribute's version"), flags = try reader.u8("the attribute's flags")
            guard version >= 1, version <= 3 else {
                throw reader.failure("an attribute of version \(version) is not one that Cadenza reads", code: .unsupported)
            }
            let nameSize = Int(try reader.u16("the name's size")), datatypeSize = Int(try reader.u16("the datatype's size"))
            let dataspaceSize = Int(try reader.u16("the dataspace's size"))
            if version == 3 { try reader.skip(1, "the character set") }
            // Version 1 fills each part up to a multiple of 8 bytes.
            func whole(_ size: Int) -> Int { version == 1 ? (size + 7) / 8 * 8 : size }
            name = Name(try reader.take(whole(nameSize), "the name").prefix(nameSize).prefix { $0 != 0 })
            datatype = try reader.part(whole(datatypeSize), "the datatype")
            dataspace = try reader.part(whole(dataspaceSize), "the dataspace")
            data = try reader.part(reader.remaining, "the values")
            hasSharedDatatype = version > 1 && flags & 1 != 0
            hasSharedDataspace = version > 1 && flags & 2 != 0
        }
    }
}
