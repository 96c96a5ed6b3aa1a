import Engine

/// Makes a safetensors file in which each tensor's values begin at a multiple of 64 bytes of the file, so
/// that a mapped file can be computed with as it is.
///
/// The format allows no holes between tensors. So the header ends with as many spaces as make the values begin aligned, and
/// behind a tensor whose values end elsewhere stands one of bytes named "__pad_0", "__pad_1" …, which our reader passes over.
public struct SafeTensorsWriter {
    private struct Tensor {
        let name: Name
        let shape: [Int]
        let type: Name
        let values: UnsafeRawPointer
        let place: Range<Int>
    }

    private static let alignment = 64

    private let metadata: [(Name, Name)]
    private var tensors: [Tensor] = []
    private var names: [Name: Int] = [:]

    /// Begins a file with texts under keys.
    @export(interface)
    public init(metadata: [(Name, Name)]) {
        self.metadata = metadata
    }

    private static func aligned(_ size: Int) -> Int { (size + alignment - 1) / alignment * alignment }

    /// Adds a tensor of 32-bit floats, whose values must stay where they are until the file is written. Fails for a name that
    /// is there already, that is the format's or the padding's, or that is not UTF-8.
    @export(interface)
    public mutating func add(_ name: Name, shape: [Int], values: UnsafePointer<Float>) throws(Failure) {
        try add(name, shape: shape, "F32", size: 4, values)
    }

    /// The same of another type, of `size` bytes a value.
    @inline(never)
    mutating func add(_ name: Name, shape: [Int], _ type: Name, size: Int, _ values: UnsafeRawPointer) throws(Failure) {
        guard !name.hasPrefix(SafeTensors.paddingPrefix), name != SafeTensors.metadataKey, name.isUTF8, names.updateValue(1, forKey: name) == nil else {
            throw Failure(.invalidArgument, "a safetensors file cannot have a tensor named '\(name)' (again)")
        }
        let start = SafeTensorsWriter.aligned(tensors.last?.place.upperBound ?? 0)
        let size = try multiplied(try shape.elementCount(), size)
        tensors.append(Tensor(name: name, shape: shape, type: type, values: values, place: start..<start + size))
    }

    /// The header's text, filled up with spaces.
    private var header: [UInt8] {
        var members: [(Name, JSON)] = []
        if !metadata.isEmpty { members.append((SafeTensors.metadataKey, .object(metadata.map { ($0.0, .string($0.1)) }))) }
        var end = 0, paddings = 0
        func add(_ name: Name, _ type: Name, _ shape: [Int], _ place: Range<Int>) {
            func list(_ numbers: [Int]) -> JSON { .array(numbers.map { .number(Double($0)) }) }
            let tensor: [(Name, JSON)] = [
                ("dtype", .string(type)), ("shape", list(shape)), ("data_offsets", list([place.lowerBound, place.upperBound])),
            ]
            members.append((name, .object(tensor)))
        }
        for tensor in tensors {
            if tensor.place.lowerBound > end {
                let gap = end..<tensor.place.lowerBound
                add(SafeTensors.paddingPrefix + Name("\(paddings)"), "U8", [gap.count], gap)
                paddings += 1
            }
            add(tensor.name, tensor.type, tensor.shape, tensor.place)
            end = tensor.place.upperBound
        }
        var text = JSON.object(members).serialized
        let size = SafeTensorsWriter.aligned(8 + text.count) - 8
        text += repeatElement(UInt8(ascii: " "), count: size - text.count)
        return text
    }

    /// Bytes of the file.
    @export(interface)
    public var size: Int { 8 + header.count + (tensors.last?.place.upperBound ?? 0) }

    /// Writes the file to `size` bytes of memory.
    @export(interface)
    public func write(to memory: UnsafeMutableRawPointer) {
        let header = header
        memory.storeBytes(of: UInt64(header.count).littleEndian, as: UInt64.self)
        for (index, byte) in header.enumerated() { memory.storeBytes(of: byte, toByteOffset: 8 + index, as: UInt8.self) }
        var end = 0
        let data = memory + 8 + header.count
        for tensor in tensors {
            UnsafeMutableRawBufferPointer(start: data + end, count: tensor.place.lowerBound - end).initializeMemory(as: UInt8.self, repeating: 0)
            (data + tensor.place.lowerBound).copyMemory(from: tensor.values, byteCount: tensor.place.count)
            end = tensor.place.upperBound
        }
    }
}
