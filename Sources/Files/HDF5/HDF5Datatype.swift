import Engine

/// How an element of an array is stored.
struct HDF5Datatype {
    enum Content {
        /// A whole number; enumerations, h5py's bool among them, are the number behind them.
        case integer(isSigned: Bool)
        case float(HDF5FloatFormat)
        /// Characters in place; what fills up the rest.
        case fixedString(Padding)
        /// A reference to characters in a global heap.
        case string
        /// What Cadenza does not read, by name.
        case other(Text)
    }

    enum Padding {
        case nullTerminated, nulls, spaces
    }

    let content: Content
    /// Bytes of an element; at least 1.
    let size: Int
    let isBigEndian: Bool

    init(_ reader: inout ByteReader, _ storage: HDF5Storage) throws(Failure) {
        try self.init(&reader, storage, isBase: false)
    }

    private init(_ reader: inout ByteReader, _ storage: HDF5Storage, isBase: Bool) throws(Failure) {
        let first = try reader.u8("the datatype's class"), flags = try reader.size(3, "the datatype's flags")
        let version = first >> 4
        guard version >= 1, version <= 5 else {
            throw reader.failure("a datatype of version \(version) is not one that Cadenza reads", code: .unsupported)
        }
        var size = Int(try reader.u32("the element's size"))
        guard size > 0 else { throw reader.failure("elements have no size") }
        var isBigEndian = flags & 1 != 0
        switch first & 0x0F {
        case 0:
            content = try HDF5Datatype.integer(&reader, size, flags)
        case 1:
            content = try HDF5Datatype.float(&reader, size, flags)
        case 3:
            isBigEndian = false
            switch flags & 0x0F {
            case 0: content = .fixedString(.nullTerminated)
            case 1: content = .fixedString(.nulls)
            case 2: content = .fixedString(.spaces)
            default: throw reader.failure("a string with padding of kind \(flags & 0x0F)")
            }
        case 8 where !isBase:
            let base = try HDF5Datatype(&reader, storage, isBase: true)
            guard case .integer = base.content else { throw reader.failure("an enumeration of what is no integer") }
            content = base.content
            size = base.size
            isBigEndian = base.isBigEndian
        case 9 where flags & 0x0F == 1:
            guard size == 4 + storage.offsetSize + 4 else { throw reader.failure("a variable string's reference has \(size) bytes") }
            content = .string
        case let kind:
            content = .other(HDF5Datatype.className(kind))
        }
        self.size = size
        self.isBigEndian = isBigEndian
    }

    /// Only whole bytes: of 1, 2, 4 or 8.
    private static func integer(_ reader: inout ByteReader, _ size: Int, _ flags: Int) throws(Failure) -> Content {
        let start = try reader.u16("the number's first bit"), bits = try reader.u16("the number's bits")
        guard size <= 8, size.nonzeroBitCount == 1, start == 0, Int(bits) == size * 8 else {
            return .other("integer of \(bits) bits from bit \(start) in \(size) bytes")
        }
        return .integer(isSigned: flags & 0x08 != 0)
    }

    private static func float(_ reader: inout ByteReader, _ size: Int, _ flags: Int) throws(Failure) -> Content {
        let start = try reader.u16("the number's first bit"), bits = try reader.u16("the number's bits")
        let exponentStart = try reader.u8("the exponent's first bit"), exponentBits = try reader.u8("the exponent's bits")
        let mantissaStart = try reader.u8("the mantissa's first bit"), mantissaBits = try reader.u8("the mantissa's bits")
        let bias = try reader.u32("the exponent's bias")
        for format in HDF5FloatFormat.allCases {
            let shape = format.shape
            // Byte order, no VAX; the mantissa's first bit is implied; the sign is the highest bit.
            if size == shape.size, start == 0, Int(bits) == size * 8, flags & 0x40 == 0, flags & 0x30 == 0x20, flags >> 8 & 0xFF == size * 8 - 1,
               mantissaStart == 0, mantissaBits == shape.mantissaBits, exponentStart == shape.mantissaBits,
               Int(exponentBits) == size * 8 - 1 - Int(shape.mantissaBits), bias == 1 << (UInt32(exponentBits) - 1) - 1 {
                return .float(format)
            }
        }
        return .other("floating-point number of \(size) bytes with \(exponentBits) bits of exponent and \(mantissaBits) of mantissa")
    }

    private static func className(_ kind: UInt8) -> Text {
        switch kind {
        case 2: "time"
        case 4: "bit field"
        case 5: "opaque"
        case 6: "compound"
        case 7: "reference"
        case 8: "enumeration within an enumeration"
        case 9: "sequence of variable length"
        case 10: "array"
        case 11: "complex number"
        default: "class \(kind)"
        }
    }
}

/// The kinds of floating-point numbers that are read.
enum HDF5FloatFormat: CaseIterable {
    case float16, bfloat16, float32, float64

    /// Bytes, and bits of the mantissa.
    var shape: (size: Int, mantissaBits: UInt8) {
        switch self {
        case .float16: (2, 10)
        case .bfloat16: (2, 7)
        case .float32: (4, 23)
        case .float64: (8, 52)
        }
    }
}
