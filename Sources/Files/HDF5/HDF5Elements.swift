import Engine

/// Elements of an array as the file stores them, row by row, and what they mean.
struct HDF5Elements {
    private let storage: HDF5Storage
    private let datatype: HDF5Datatype
    private let count: Int
    /// count × size bytes.
    private let bytes: UnsafeRawBufferPointer
    /// What keeps the bytes alive; nil where the file does.
    private let owner: AnyObject?

    init(_ storage: HDF5Storage, _ datatype: HDF5Datatype, count: Int, bytes: UnsafeRawBufferPointer, owner: AnyObject?) {
        self.storage = storage
        self.datatype = datatype
        self.count = count
        self.bytes = bytes
        self.owner = owner
    }

    /// All of them, as what they are.
    func values() throws(Failure) -> HDF5Attribute.Values {
        switch datatype.content {
        case .integer: .integers(try integers())
        case .float: .floats(try doubles())
        case .fixedString, .string: .strings(try strings())
        case .other:
            if count == 0 { .strings([]) } else { throw unreadable("numbers or strings") }
        }
    }

    private func unreadable(_ wanted: Text) -> Failure {
        let found: Text = switch datatype.content {
        case .integer: "integers"
        case .float: "floating-point numbers"
        case .fixedString, .string: "strings"
        case .other(let name): "elements of the type '\(name)', which Cadenza does not read"
        }
        return Failure(.unsupported, "HDF5 array: expected \(wanted), it has \(found)")
    }

    /// The bits of element `index`, in the lowest of 64.
    @inline(__always)
    private func bits(_ index: Int) -> UInt64 {
        let place = index &* datatype.size
        switch datatype.size {
        case 1: return UInt64(bytes[place])
        case 2:
            let value = bytes.loadUnaligned(fromByteOffset: place, as: UInt16.self)
            return UInt64(datatype.isBigEndian ? UInt16(bigEndian: value) : UInt16(littleEndian: value))
        case 4:
            let value = bytes.loadUnaligned(fromByteOffset: place, as: UInt32.self)
            return UInt64(datatype.isBigEndian ? UInt32(bigEndian: value) : UInt32(littleEndian: value))
        default:
            let value = bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self)
            return datatype.isBigEndian ? UInt64(bigEndian: value) : UInt64(littleEndian: value)
        }
    }

    /// A signed number of the datatype's size from its bits.
    @inline(__always)
    private func signed(_ bits: UInt64) -> Int64 {
        let unused = UInt64(64 - datatype.size * 8)
        return Int64(bitPattern: bits << unused) >> Int64(unused)
    }

    /// The numbers as floats, rounded to nearest.
    func floats() throws(Failure) -> AlignedBuffer {
        try storage.expand(to: try product(count, MemoryLayout<Float>.stride, "HDF5 array"))
        let buffer = try AlignedBuffer(count: count)
        let floats = buffer.floats
        switch datatype.content {
        case .float(.float32):
            for i in 0..<count { floats[i] = Float(bitPattern: UInt32(truncatingIfNeeded: bits(i))) }
        case .float(.float64):
            for i in 0..<count { floats[i] = Float(Double(bitPattern: bits(i))) }
        case .float(.float16):
            for i in 0..<count { floats[i] = Float(float16: UInt16(truncatingIfNeeded: bits(i))) }
        case .float(.bfloat16):
            for i in 0..<count { floats[i] = Float(bfloat16: UInt16(truncatingIfNeeded: bits(i))) }
        case .integer(isSigned: true):
            for i in 0..<count { floats[i] = Float(signed(bits(i))) }
        case .integer(isSigned: false):
            for i in 0..<count { floats[i] = Float(bits(i)) }
        case .fixedString, .string, .other:
            guard count == 0 else { throw unreadable("numbers") }
        }
        return buffer
    }

    /// Floating-point numbers as doubles.
    private func doubles() throws(Failure) -> [Double] {
        guard case .float(let format) = datatype.content else { throw unreadable("floating-point numbers") }
        try storage.expand(to: try product(count, MemoryLayout<Double>.stride, "HDF5 array"))
        var numbers: [Double] = []
        numbers.reserveCapacity(count)
        for i in 0..<count {
            let bits = bits(i)
            switch format {
            case .float16: numbers.append(Double(Float(float16: UInt16(truncatingIfNeeded: bits))))
            case .bfloat16: numbers.append(Double(Float(bfloat16: UInt16(truncatingIfNeeded: bits))))
            case .float32: numbers.append(Double(Float(bitPattern: UInt32(truncatingIfNeeded: bits))))
            case .float64: numbers.append(Double(bitPattern: bits))
            }
        }
        return numbers
    }

    /// Whole numbers. Fails for one beyond what an Int holds.
    func integers() throws(Failure) -> [Int] {
        guard case .integer(let isSigned) = datatype.content else {
            guard count == 0 else { throw unreadable("integers") }
            return []
        }
        try storage.expand(to: try product(count, MemoryLayout<Int>.stride, "HDF5 array"))
        var numbers: [Int] = []
        numbers.reserveCapacity(count)
        for i in 0..<count {
            let bits = bits(i)
            guard let number = isSigned ? Int(signed(bits)) : Int(exactly: bits) else {
                throw Failure(.unsupported, "HDF5 array: the integer \(bits) is beyond 63 bits")
            }
            numbers.append(number)
        }
        return numbers
    }

    /// Strings, without what fills them up; those of variable length end before a zero.
    func strings() throws(Failure) -> [Name] {
        // An array of none may be of any type: so Keras writes empty lists of names.
        guard count > 0 else { return [] }
        try storage.expand(to: try product(count, 48, "HDF5 array"))
        var strings: [Name] = []
        strings.reserveCapacity(count)
        switch datatype.content {
        case .fixedString(let padding):
            for i in 0..<count {
                strings.append(fixed(UnsafeRawBufferPointer(rebasing: bytes[i * datatype.size..<(i + 1) * datatype.size]), padding))
            }
        case .string:
            var reader = ByteReader(bytes, of: "HDF5 string")
            for _ in 0..<count { strings.append(try variable(&reader)) }
        case .integer, .float, .other:
            throw unreadable("strings")
        }
        return strings
    }

    private func fixed(_ characters: UnsafeRawBufferPointer, _ padding: HDF5Datatype.Padding) -> Name {
        var end = characters.count
        switch padding {
        case .nullTerminated: return Name(characters.prefix { $0 != 0 })
        case .nulls: while end > 0, characters[end - 1] == 0 { end -= 1 }
        case .spaces: while end > 0, characters[end - 1] == 0x20 { end -= 1 }
        }
        return Name(characters[..<end])
    }

    private func variable(_ reader: inout ByteReader) throws(Failure) -> Name {
        let length = Int(try reader.u32("the length")), address = try reader.address(storage, "the heap's address")
        let index = try reader.u32("the object's number")
        guard length > 0, let address, address > 0 else { return Name("") }
        try storage.expand(to: length)
        return Name(try storage.heap(at: address).object(index, count: length).prefix { $0 != 0 })
    }
}
