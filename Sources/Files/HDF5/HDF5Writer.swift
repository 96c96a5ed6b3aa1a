import Engine

/// Bytes of a file, little-endian.
struct ByteWriter {
    private(set) var bytes: [UInt8] = []

    mutating func put(_ number: Int, _ size: Int) {
        for i in 0..<size { bytes.append(UInt8(truncatingIfNeeded: number >> (8 * i))) }
    }

    mutating func put(_ other: [UInt8]) { bytes += other }

    /// A weight's values as floats, which are aligned in memory where a multiple of 4 bytes is before them.
    mutating func put(_ weight: Weight) {
        let place = bytes.count
        bytes += repeatElement(0, count: 4 * weight.count)
        bytes.withUnsafeMutableBytes {
            if let start = $0.baseAddress { weight.copy(to: (start + place).assumingMemoryBound(to: Float.self)) }
        }
    }

    mutating func set(_ number: Int, _ size: Int, at place: Int) {
        for i in 0..<size { bytes[place + i] = UInt8(truncatingIfNeeded: number >> (8 * i)) }
    }
}

/// Makes an HDF5 file (format of HDF5 1.8: superblock 2, object headers 2) of groups and contiguous float datasets.
struct HDF5Writer {
    private var file = ByteWriter()
    private static let superblockSize = 48
    private static let undefined = -1

    init() { file.put([UInt8](repeating: 0, count: HDF5Writer.superblockSize)) }

    /// Writes an object header of these messages and answers where it is.
    private mutating func object(_ messages: [(type: Int, body: [UInt8])]) -> Int {
        while file.bytes.count % 8 != 0 { file.put(0, 1) }
        let start = file.bytes.count
        var body = ByteWriter()
        for message in messages {
            body.put(message.type, 1)
            body.put(message.body.count, 2)
            body.put(0, 1)
            body.put(message.body)
        }
        var header = ByteWriter()
        header.put(Array(Text("OHDR").bytes))
        header.put(2, 1)
        header.put(2, 1) // the size of what follows takes four bytes
        header.put(body.bytes.count, 4)
        header.put(body.bytes)
        file.put(header.bytes)
        file.put(Int(HDF5Writer.checksum(header.bytes)), 4)
        return start
    }

    private static func checksum(_ bytes: [UInt8]) -> UInt32 { bytes.withUnsafeBytes { Checksum.lookup3($0) } }

    mutating func dataset(_ weight: Weight) -> Int {
        while file.bytes.count % 8 != 0 { file.put(0, 1) }
        let data = file.bytes.count
        file.put(weight)
        var space = ByteWriter(), layout = ByteWriter(), type = ByteWriter()
        space.put(2, 1)
        space.put(weight.shape.count, 1)
        space.put(0, 1)
        space.put(weight.shape.isEmpty ? 0 : 1, 1)
        for length in weight.shape { space.put(length, 8) }
        type.put(0x11, 1)       // floating point, version 1
        type.put(0x1F20, 3)     // little-endian, implied leading bit, the sign in bit 31
        type.put(4, 4)
        type.put(0, 2)
        type.put(32, 2)
        type.put(0x0817, 2)     // eight bits of exponent from bit 23 on
        type.put(0x1700, 2)     // 23 bits of mantissa from bit 0 on
        type.put(127, 4)
        layout.put(0x0103, 2)   // version 3, contiguous
        layout.put(weight.count == 0 ? HDF5Writer.undefined : data, 8)
        layout.put(4 * weight.count, 8)
        var fill = ByteWriter()
        fill.put(0x0A03, 2)     // version 3; no value
        return object([(1, space.bytes), (3, type.bytes), (5, fill.bytes), (8, layout.bytes)])
    }

    mutating func group(_ links: [(name: Name, address: Int)]) -> Int {
        var info = ByteWriter()
        info.put(0, 2)
        info.put(HDF5Writer.undefined, 8)
        info.put(HDF5Writer.undefined, 8)
        var messages: [(type: Int, body: [UInt8])] = [(2, info.bytes), (10, [UInt8](repeating: 0, count: 2))]
        for link in links {
            var body = ByteWriter()
            body.put(0x0101, 2) // version 1; the name's length takes two bytes
            body.put(link.name.bytes.count, 2)
            body.put(link.name.bytes)
            body.put(link.address, 8)
            messages.append((6, body.bytes))
        }
        return object(messages)
    }

    /// The whole file.
    mutating func finish(root: Int) -> [UInt8] {
        var superblock = ByteWriter()
        superblock.put(0x89, 1)
        superblock.put(Array(Text("HDF\r\n").bytes))
        superblock.put(0x0A1A, 2)
        superblock.put(2, 1)
        superblock.put(0x0808, 2)
        superblock.put(0, 1)
        superblock.put(0, 8)
        superblock.put(HDF5Writer.undefined, 8)
        superblock.put(file.bytes.count, 8)
        superblock.put(root, 8)
        superblock.put(Int(HDF5Writer.checksum(superblock.bytes)), 4)
        for (i, byte) in superblock.bytes.enumerated() { file.set(Int(byte), 1, at: i) }
        return file.bytes
    }
}
