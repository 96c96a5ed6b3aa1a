import Engine

/// An array of an HDF5 file.
public final class HDF5Dataset {
    private let storage: HDF5Storage
    private let node: HDF5Node
    private let datatype: HDF5Datatype
    private let dataspace: HDF5Dataspace
    private let layout: HDF5Layout
    private let filters: HDF5Filters
    /// One element; empty where it is zeros.
    private let fillValue: UnsafeRawBufferPointer

    /// Empty for a single value, and for no value at all.
    public var shape: [Int] { dataspace.shape }
    /// Number of elements.
    public var count: Int { dataspace.count }

    init(_ node: HDF5Node, _ storage: HDF5Storage) throws(Failure) {
        self.storage = storage
        self.node = node
        let header = node.header
        guard var type = try header.first(.datatype, storage), var space = try header.first(.dataspace, storage),
              var layout = try header.first(.layout, storage) else {
            throw Failure(.invalidFile, "HDF5 dataset: its datatype, dataspace or layout is missing")
        }
        guard !header.has(.externalFiles) else { throw Failure(.unsupported, "HDF5 dataset: its data lies in other files") }
        datatype = try HDF5Datatype(&type, storage)
        dataspace = try HDF5Dataspace(&space, storage)
        self.layout = try HDF5Layout(&layout, storage)
        if var message = try header.first(.filters, storage) {
            filters = try HDF5Filters(&message)
        } else {
            filters = HDF5Filters()
        }
        fillValue = try HDF5Dataset.fillValue(header, storage, size: datatype.size)
    }

    private static func fillValue(_ header: HDF5Header, _ storage: HDF5Storage, size: Int) throws(Failure) -> UnsafeRawBufferPointer {
        let none = UnsafeRawBufferPointer(start: nil, count: 0)
        var value = none
        if var message = try header.first(.fillValue, storage) {
            let version = try message.u8("the fill value's version")
            guard version >= 1, version <= 3 else {
                throw message.failure("a fill value of version \(version) is not one that Cadenza reads", code: .unsupported)
            }
            let isThere: Bool
            if version == 3 {
                isThere = try message.u8("the flags") & 0x20 != 0
            } else {
                try message.skip(2, "the times")
                isThere = try message.u8("whether it is defined") != 0 || version == 1
            }
            if isThere { value = try message.take(Int(try message.u32("the fill value's size")), "the fill value") }
        } else if var message = try header.first(.oldFillValue, storage) {
            value = try message.take(Int(try message.u32("the fill value's size")), "the fill value")
        }
        guard value.isEmpty || value.count == size else {
            throw Failure(.invalidFile, "HDF5 dataset: a fill value of \(value.count) bytes for elements of \(size)")
        }
        return value.allSatisfy { $0 == 0 } ? none : value
    }

    // MARK: Values

    /// All elements, row by row, as floats rounded to nearest. Fails for what is no number.
    public func floats() throws(Failure) -> AlignedBuffer { try elements().floats() }

    /// All elements, row by row. Fails for what is no whole number, or beyond 63 bits.
    public func integers() throws(Failure) -> [Int] { try elements().integers() }

    /// All elements, row by row, without what fills them up. Fails for what is no string.
    public func strings() throws(Failure) -> [Name] { try elements().strings() }

    /// An attribute of the dataset; nil where it has none of that name. Fails where its type is not one that Cadenza reads.
    public func attribute(_ name: Name) throws(Failure) -> HDF5Attribute? {
        try node.attributes(storage).attribute(name, storage)
    }

    // MARK: Bytes

    private func elements() throws(Failure) -> HDF5Elements {
        let size = try product(dataspace.count, datatype.size, "HDF5 dataset")
        if size == 0 { return made(of: UnsafeRawBufferPointer(start: nil, count: 0), owner: nil) }
        switch layout {
        case .compact(let data):
            guard size <= data.count else { throw Failure(.invalidFile, "HDF5 dataset: its \(data.count) bytes in place should be \(size)") }
            return made(of: UnsafeRawBufferPointer(rebasing: data[..<size]), owner: nil)
        case .contiguous(let address?, let stored):
            guard stored == nil || size <= stored! else { throw Failure(.invalidFile, "HDF5 dataset: its \(stored!) bytes should be \(size)") }
            return made(of: try storage.data(at: address, count: size, of: "HDF5 dataset"), owner: nil)
        case .contiguous(nil, _):
            let buffer = try filled(size)
            return made(of: UnsafeRawBufferPointer(buffer.bytes), owner: buffer)
        case .chunked(let chunks):
            let buffer = try filled(size)
            let reader = try HDF5ChunkReader(storage, chunks, filters, dataspace, datatype, output: buffer.bytes)
            try reader.readAll()
            return made(of: UnsafeRawBufferPointer(buffer.bytes), owner: buffer)
        }
    }

    private func made(of bytes: UnsafeRawBufferPointer, owner: ByteBuffer?) -> HDF5Elements {
        HDF5Elements(storage, datatype, count: dataspace.count, bytes: bytes, owner: owner)
    }

    /// Memory for the whole array, full of the fill value.
    private func filled(_ size: Int) throws(Failure) -> ByteBuffer {
        try storage.expand(to: size)
        let buffer = try ByteBuffer(count: size)
        if fillValue.isEmpty { return buffer }
        for start in stride(from: 0, to: size, by: fillValue.count) {
            UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[start..<start + fillValue.count]).copyMemory(from: fillValue)
        }
        return buffer
    }
}
