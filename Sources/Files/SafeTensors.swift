import Engine

/// A safetensors file: the length of a JSON header, the header, then the tensors' values one after the other.
///
/// Refused are files that the reference implementation refuses: with a header of more than `Limits.safetensorsHeader`
/// bytes, with holes, overlaps or bytes that belong to no tensor, or with lengths that contradict the shapes.
public final class SafeTensors {
    /// A tensor of a file, valid as long as the file's bytes are.
    public struct Tensor {
        public let name: Name
        /// Empty for a single value.
        public let shape: [Int]
        /// Number of values.
        public let count: Int
        let type: ElementType
        let bytes: UnsafeRawBufferPointer
    }

    /// The types of values; only the first four can be read.
    enum ElementType {
        case float32, float16, bfloat16, float64
        case other(Name, size: Int)

        init?(_ name: Name) {
            switch name {
            case "F32": self = .float32
            case "F16": self = .float16
            case "BF16": self = .bfloat16
            case "F64": self = .float64
            case "BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3": self = .other(name, size: 1)
            case "I16", "U16": self = .other(name, size: 2)
            case "I32", "U32": self = .other(name, size: 4)
            case "I64", "U64": self = .other(name, size: 8)
            default: return nil
            }
        }

        /// Bytes of a value.
        var size: Int {
            switch self {
            case .float16, .bfloat16: 2
            case .float32: 4
            case .float64: 8
            case .other(_, let size): size
            }
        }
    }

    static let metadataKey: Name = "__metadata__"
    /// Tensors that `SafeTensorsWriter` adds so that the next one is aligned are named this and a number.
    static let paddingPrefix: Name = "__pad_"

    /// In the order of their values; without padding.
    public private(set) var tensors: [Tensor] = []
    private var places: [Name: Int] = [:]
    private var metadata = Table<Name, Name>()

    /// Whether the bytes begin as a safetensors file does.
    public static func isSafeTensors(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard bytes.count > 8, bytes[8] == UInt8(ascii: "{") else { return false }
        return UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self)) <= UInt64(bytes.count - 8)
    }

    /// Reads the header of a file in memory, which the caller keeps alive.
    public init(_ file: UnsafeRawBufferPointer) throws(Failure) {
        var reader = ByteReader(file, of: "safetensors file")
        let size = try reader.u64("the header's length")
        guard size <= UInt64(Limits.safetensorsHeader) else { throw reader.failure("a header of \(size) bytes") }
        let text = try reader.take(Int(size), "the header")
        let data = UnsafeRawBufferPointer(rebasing: file[reader.offset...])
        guard text.first == UInt8(ascii: "{"), let members = try JSON(text, subject: "safetensors header").object else {
            throw reader.failure("the header is no JSON object")
        }
        var found: [(tensor: Tensor, place: Range<Int>)] = []
        var names: [Name: Int] = [:]
        for (name, value) in members {
            guard names.updateValue(1, forKey: name) == nil else { throw SafeTensors.failure(name, "it is there twice") }
            if name == SafeTensors.metadataKey {
                try readMetadata(value)
            } else {
                found.append(try SafeTensors.readTensor(name, value, data))
            }
        }
        found = found.inOrder { ($0.place.lowerBound, $0.place.upperBound) < ($1.place.lowerBound, $1.place.upperBound) }
        var end = 0
        for (tensor, place) in found {
            guard place.lowerBound == end else {
                throw SafeTensors.failure(tensor.name, "its values begin at \(place.lowerBound), expected \(end), where those before it end")
            }
            end = place.upperBound
            if tensor.name.hasPrefix(SafeTensors.paddingPrefix) { continue }
            places[tensor.name] = tensors.count
            tensors.append(tensor)
        }
        guard end == data.count else { throw reader.failure("\(data.count) bytes of values are there, the tensors have \(end)") }
    }

    private static func failure(_ name: Name, _ text: Text, _ code: Failure.Code = .invalidFile) -> Failure {
        Failure(code, "safetensors file, tensor '\(name)': \(text)")
    }

    private func readMetadata(_ value: JSON) throws(Failure) {
        guard let members = value.object else { throw Failure(.invalidFile, "safetensors file: its metadata is no JSON object") }
        for (key, value) in members {
            guard let text = value.name else { throw Failure(.invalidFile, "safetensors file: metadata '\(key)' is no string") }
            metadata[key, default: text] = text
        }
    }

    private static func readTensor(_ name: Name, _ value: JSON, _ data: UnsafeRawBufferPointer) throws(Failure) -> (Tensor, Range<Int>) {
        guard let typeName = value["dtype"]?.name, let lengths = value["shape"]?.array,
              let offsets = value["data_offsets"]?.array, offsets.count == 2 else {
            throw failure(name, "dtype, shape or data_offsets is missing")
        }
        guard let type = ElementType(typeName) else {
            throw failure(name, "dtype \(typeName) is not one that Cadenza knows", .unsupported)
        }
        guard let start = offsets[0].int, let end = offsets[1].int, start >= 0, end >= start, end <= data.count else {
            throw failure(name, "its data_offsets are not within the \(data.count) bytes of values")
        }
        var shape: [Int] = [], count = 1
        for length in lengths {
            guard let length = length.int, length >= 0 else { throw failure(name, "its shape is not of whole numbers") }
            shape.append(length)
            count = try product(count, length, "safetensors tensor")
        }
        guard try product(count, type.size, "safetensors tensor") == end - start else {
            throw failure(name, "\(count) values of \(type.size) bytes do not fill the \(end - start) bytes it has")
        }
        let bytes = UnsafeRawBufferPointer(rebasing: data[start..<end])
        return (Tensor(name: name, shape: shape, count: count, type: type, bytes: bytes), start..<end)
    }

    /// The text that the file's metadata has under a key; nil where it has none.
    public func metadata(_ key: Name) -> Name? { metadata[key] }

    /// The tensor of a name; nil where there is none.
    public func tensor(_ name: Name) -> Tensor? { places[name].map { tensors[$0] } }
}

extension SafeTensors.Tensor {
    /// The values where they lie in the file; nil where they are no 32-bit floats, or do not lie at a multiple of 4 bytes.
    public var floatsInPlace: UnsafePointer<Float>? {
        guard case .float32 = type, let start = bytes.baseAddress, UInt(bitPattern: start) % 4 == 0 else { return nil }
        return start.assumingMemoryBound(to: Float.self)
    }

    /// The values of a narrow precision, where they lie. Fails where they are of another type.
    func narrowBytes(_ precision: Precision) throws(Failure) -> UnsafeRawBufferPointer {
        switch (type, precision) {
        case (.bfloat16, .bfloat16), (.other("I8", _), .int8): return bytes
        default:
            throw Failure(.invalidFile, "safetensors file, tensor '\(name)': its values are not \(precision.name), as the metadata says")
        }
    }

    /// A copy of the values as floats, rounded to nearest. Fails for what is no floating-point number.
    public func floats() throws(Failure) -> AlignedBuffer {
        let buffer = try AlignedBuffer(count: count)
        let floats = buffer.floats
        func value<Bits: FixedWidthInteger>(_ index: Int, _: Bits.Type) -> Bits {
            Bits(littleEndian: bytes.loadUnaligned(fromByteOffset: index * type.size, as: Bits.self))
        }
        switch type {
        case .float32:
            for i in 0..<count { floats[i] = Float(bitPattern: value(i, UInt32.self)) }
        case .float16:
            for i in 0..<count { floats[i] = Float(float16: value(i, UInt16.self)) }
        case .bfloat16:
            for i in 0..<count { floats[i] = Float(bfloat16: value(i, UInt16.self)) }
        case .float64:
            for i in 0..<count { floats[i] = Float(Double(bitPattern: value(i, UInt64.self))) }
        case .other(let type, _):
            throw Failure(.unsupported, "safetensors file, tensor '\(name)': \(type) values are not ones that Cadenza reads "
                + "(F32, F16, BF16, F64)")
        }
        return buffer
    }
}
