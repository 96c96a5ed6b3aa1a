import Engine

/// The beginning of an HDF5 file: how wide its addresses are, and where its root is.
struct HDF5Superblock {
    /// From the superblock on: what addresses count from.
    let bytes: UnsafeRawBufferPointer
    /// Bytes of an address.
    let offsetSize: Int
    /// Bytes of a size.
    let lengthSize: Int
    /// Address of the root group's object header.
    let root: Int

    private static let signature: [UInt8] = [0x89, 0x48, 0x44, 0x46, 0x0D, 0x0A, 0x1A, 0x0A]

    /// Where the superblock begins: at 0, or at 512, 1024, 2048 … behind a block of the user's.
    static func find(_ bytes: UnsafeRawBufferPointer) -> Int? {
        var offset = 0
        while offset <= bytes.count - signature.count {
            if bytes[offset..<offset + signature.count].elementsEqual(signature) { return offset }
            let (next, overflow) = max(offset, 256).multipliedReportingOverflow(by: 2)
            if overflow { break }
            offset = next
        }
        return nil
    }

    init(_ file: UnsafeRawBufferPointer) throws(Failure) {
        guard let start = HDF5Superblock.find(file) else { throw Failure(.invalidFile, "HDF5 file: its signature is missing") }
        bytes = UnsafeRawBufferPointer(rebasing: file[start...])
        var reader = ByteReader(bytes, of: "HDF5 superblock")
        try reader.skip(HDF5Superblock.signature.count, "the signature")
        let version = try reader.u8("the version")
        guard version <= 3 else { throw reader.failure("version \(version) is not one that Cadenza reads", code: .unsupported) }
        let isOld = version < 2
        // The versions of parts that have never had another.
        if isOld { try reader.skip(4, "the parts' versions") }
        offsetSize = try HDF5Superblock.width(&reader, "addresses")
        lengthSize = try HDF5Superblock.width(&reader, "sizes")
        try reader.skip(isOld ? 1 + 4 + 4 : 1, "the flags")
        if version == 1 { try reader.skip(4, "the tree's widths") }
        let base = try reader.number(offsetSize, "the base address")
        try reader.skip(offsetSize, isOld ? "the free space's address" : "the extension's address")
        let end = try reader.number(offsetSize, "the end of the file")
        if isOld {
            try reader.skip(offsetSize, "the driver's address")
            try reader.skip(offsetSize, "the root's name")
        }
        root = try reader.size(offsetSize, "the root's address")
        if !isOld {
            let checked = UnsafeRawBufferPointer(rebasing: bytes[..<reader.offset])
            guard Checksum.agree(try reader.u32("the checksum"), Checksum.lookup3(checked)) else {
                throw reader.failure("its checksum is wrong")
            }
        }
        guard end >= base, end - base <= UInt64(bytes.count) else {
            throw Failure(.invalidFile, "HDF5 file: it should end at byte \(end) but has \(file.count): it is cut short")
        }
    }

    private static func width(_ reader: inout ByteReader, _ what: Literal) throws(Failure) -> Int {
        let width = try reader.u8("a width")
        guard width == 2 || width == 4 || width == 8 else { throw reader.failure("\(what) of \(width) bytes", code: .unsupported) }
        return Int(width)
    }
}
