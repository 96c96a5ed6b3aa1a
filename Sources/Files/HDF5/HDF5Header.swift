import Engine

/// Kinds of header messages that Cadenza understands.
enum HDF5MessageKind: UInt16 {
    case dataspace = 0x01
    case linkInfo = 0x02
    case datatype = 0x03
    case oldFillValue = 0x04
    case fillValue = 0x05
    case link = 0x06
    case externalFiles = 0x07
    case layout = 0x08
    case groupInfo = 0x0A
    case filters = 0x0B
    case attribute = 0x0C
    case continuation = 0x10
    case symbolTable = 0x11
    case attributeInfo = 0x15
}

/// An object header: the messages that describe a group, a dataset or a named datatype.
struct HDF5Header {
    /// Where a message lies; a shared one lies elsewhere, and this is a reference to it.
    private struct Message {
        let address: Int
        let size: UInt16
        let kind: HDF5MessageKind
        let isShared: Bool
    }

    private var messages: [Message] = []
    /// Blocks yet to be read.
    private var blocks: [(address: Int, size: Int)] = []

    init(_ storage: HDF5Storage, at address: Int) throws(Failure) {
        var start = try storage.reader(at: address, count: 6, of: "HDF5 object header")
        if start.bytes.starts(with: [0x4F, 0x48, 0x44, 0x52]) {
            try readVersion2(storage, at: address)
        } else {
            try start.expect(version: 1)
            try readVersion1(storage, at: address)
        }
    }

    // MARK: Messages

    /// Whether there is a message of a kind.
    func has(_ kind: HDF5MessageKind) -> Bool { messages.contains { $0.kind == kind } }

    /// The first message of a kind; nil where there is none.
    func first(_ kind: HDF5MessageKind, _ storage: HDF5Storage) throws(Failure) -> ByteReader? {
        guard let message = messages.first(where: { $0.kind == kind }) else { return nil }
        return try body(of: message, storage)
    }

    /// All messages of a kind, in the file's order.
    func all(_ kind: HDF5MessageKind, _ storage: HDF5Storage) throws(Failure) -> [ByteReader] {
        var result: [ByteReader] = []
        for message in messages where message.kind == kind { result.append(try body(of: message, storage)) }
        return result
    }

    private func body(of message: Message, _ storage: HDF5Storage) throws(Failure) -> ByteReader {
        let bytes = try storage.data(at: message.address, count: Int(message.size), of: "HDF5 message")
        let reader = ByteReader(bytes, of: "HDF5 message", origin: message.address)
        return message.isShared ? try HDF5Header.shared(message.kind, reader, storage) : reader
    }

    /// The message that a shared one stands for: that of a committed datatype, say, in the header of another object.
    static func shared(_ kind: HDF5MessageKind, _ reference: ByteReader, _ storage: HDF5Storage) throws(Failure) -> ByteReader {
        var reader = reference
        let version = try reader.u8("the version of a shared message"), type = try reader.u8("the type of a shared message")
        guard version >= 1, version <= 3, version < 3 || type == 2 else {
            throw reader.failure("a message in the file's shared message heap is not one that Cadenza reads", code: .unsupported)
        }
        if version == 1 { try reader.skip(6, "reserved bytes") }
        let address = try reader.definedAddress(storage, "the address of a shared message")
        let header = try storage.node(at: address).header
        guard let message = header.messages.first(where: { $0.kind == kind }), !message.isShared else {
            throw reader.failure("a shared message refers to an object that does not have it")
        }
        return try header.body(of: message, storage)
    }

    private mutating func add(_ kind: UInt16, flags: UInt8, _ body: ByteReader, _ storage: HDF5Storage) throws(Failure) {
        guard messages.count < Limits.headerMessages else {
            throw body.failure("an object has more than \(Limits.headerMessages) messages")
        }
        guard let known = HDF5MessageKind(rawValue: kind) else {
            // The writer may have said that whoever does not know the message must not read the object.
            guard kind <= 0x17 || flags & 0x80 == 0 else {
                throw body.failure("a message of kind \(kind) is not one that Cadenza reads", code: .unsupported)
            }
            return
        }
        if known == .continuation {
            var reader = body
            let address = try reader.definedAddress(storage, "the address of a continuation")
            blocks.append((address, try reader.length(storage, "the size of a continuation")))
        } else {
            messages.append(Message(address: body.position, size: UInt16(body.remaining), kind: known, isShared: flags & 2 != 0))
        }
    }

    // MARK: Blocks of messages

    /// Version 1: messages at multiples of 8 bytes.
    private mutating func readVersion1(_ storage: HDF5Storage, at address: Int) throws(Failure) {
        var prefix = try storage.reader(at: address, count: 16, of: "HDF5 object header")
        try prefix.skip(8, "version, number of messages and references")
        blocks = [(address + 16, Int(try prefix.u32("the header's size")))]
        while let block = blocks.popLast() {
            var reader = try storage.reader(at: block.address, count: block.size, of: "HDF5 object header")
            while reader.remaining >= 8 {
                let kind = try reader.u16("a message's kind"), size = Int(try reader.u16("a message's size"))
                let flags = try reader.u8("a message's flags")
                try reader.skip(3, "reserved bytes")
                try add(kind, flags: flags, try reader.part(size, "a message"), storage)
            }
        }
    }

    /// Version 2: each block with a signature and a checksum.
    private mutating func readVersion2(_ storage: HDF5Storage, at address: Int) throws(Failure) {
        var prefix = try storage.reader(at: address, count: 6, of: "HDF5 object header")
        try prefix.expect("OHDR")
        try prefix.expect(version: 2)
        let flags = try prefix.u8("the flags")
        let hasOrder = flags & 0x04 != 0
        // Times of access, change …; when attributes move to dense storage.
        let optional = (flags & 0x20 != 0 ? 16 : 0) + (flags & 0x10 != 0 ? 4 : 0)
        let sizeWidth = 1 << Int(flags & 3)
        var sizeReader = try storage.reader(at: address + 6, count: optional + sizeWidth, of: "HDF5 object header")
        try sizeReader.skip(optional, "the times")
        let size = try sizeReader.size(sizeWidth, "the size of the first block")
        let prefixSize = 6 + optional + sizeWidth
        guard size <= Int.max - prefixSize - 4 else { throw sizeReader.failure("the first block has \(size) bytes") }
        var first = try storage.checkedReader(at: address, count: prefixSize + size + 4, of: "HDF5 object header")
        try first.skip(prefixSize, "the prefix")
        try readMessages(&first, hasOrder: hasOrder, storage)
        while let block = blocks.popLast() {
            guard block.size >= 8 else { throw first.failure("a continuation has \(block.size) bytes") }
            var reader = try storage.checkedReader(at: block.address, count: block.size, of: "HDF5 header continuation")
            try reader.expect("OCHK")
            try readMessages(&reader, hasOrder: hasOrder, storage)
        }
    }

    /// Messages up to the end of a block, where a gap too small for another may lie.
    private mutating func readMessages(_ reader: inout ByteReader, hasOrder: Bool, _ storage: HDF5Storage) throws(Failure) {
        while reader.remaining >= (hasOrder ? 6 : 4) {
            let kind = UInt16(try reader.u8("a message's kind")), size = Int(try reader.u16("a message's size"))
            let flags = try reader.u8("a message's flags")
            if hasOrder { try reader.skip(2, "a message's creation order") }
            try add(kind, flags: flags, try reader.part(size, "a message"), storage)
        }
    }
}
