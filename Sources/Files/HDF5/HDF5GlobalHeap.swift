import Engine

/// A collection of a global heap, where characters of variable strings lie.
final class HDF5GlobalHeap {
    /// Objects by their numbers.
    private var objects = Table<Int, UnsafeRawBufferPointer>()

    init(_ storage: HDF5Storage, at address: Int) throws(Failure) {
        let subject: Text = "HDF5 global heap", headerSize = 8 + storage.lengthSize
        var header = try storage.reader(at: address, count: headerSize, of: subject)
        try header.expect("GCOL")
        try header.expect(version: 1)
        try header.skip(3, "reserved bytes")
        let size = try header.length(storage, "the size")
        var reader = try storage.reader(at: address, count: size, of: subject)
        try reader.skip(headerSize, "the header")
        // The header, each object's own and each object begin at multiples of 8 bytes.
        reader.align(to: 8)
        while reader.remaining >= 8 + storage.lengthSize {
            let index = Int(try reader.u16("an object's number"))
            // Number 0 is the free space at the end.
            if index == 0 { break }
            try reader.skip(6, "the number of references")
            let size = try reader.length(storage, "an object's size")
            reader.align(to: 8)
            let object = try reader.take(size, "an object")
            objects[index, default: object] = object
            reader.align(to: 8)
        }
    }

    /// The first `count` bytes of an object.
    func object(_ index: UInt32, count: Int) throws(Failure) -> UnsafeRawBufferPointer {
        guard let object = objects[Int(index)], count <= object.count else {
            throw Failure(.invalidFile, "HDF5 global heap: it has no object \(index) of \(count) bytes")
        }
        return UnsafeRawBufferPointer(rebasing: object[..<count])
    }
}
