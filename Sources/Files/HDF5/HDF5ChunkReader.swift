import Engine

/// Reads the chunks of an array into the place that the array has in memory, row by row.
struct HDF5ChunkReader {
    private let storage: HDF5Storage
    private let chunks: HDF5Chunks
    private let filters: HDF5Filters
    private let dataspace: HDF5Dataspace
    private let output: UnsafeMutableRawBufferPointer
    /// Bytes of a whole chunk.
    private let chunkSize: Int

    /// `output` has room for the whole array, and what stands for missing chunks in it.
    init(_ storage: HDF5Storage, _ chunks: HDF5Chunks, _ filters: HDF5Filters, _ dataspace: HDF5Dataspace,
         _ datatype: HDF5Datatype, output: UnsafeMutableRawBufferPointer) throws(Failure) {
        guard chunks.shape.count == dataspace.shape.count, chunks.elementSize == datatype.size else {
            throw Failure(.invalidFile, "HDF5 dataset: chunks of \(chunks.shape.count) axes and elements of \(chunks.elementSize) bytes "
                + "in an array of \(dataspace.shape.count) axes and elements of \(datatype.size) bytes")
        }
        self.storage = storage
        self.chunks = chunks
        self.filters = filters
        self.dataspace = dataspace
        self.output = output
        var size = chunks.elementSize
        for length in chunks.shape { size = try product(size, length, "HDF5 chunk") }
        chunkSize = size
    }

    func readAll() throws(Failure) {
        switch chunks.index {
        case .tree1(let address?): try readTree1(address)
        case .single(let address?, let size, let mask):
            try place(address, size ?? chunkSize, mask, at: chunks.shape.map { _ in 0 })
        case .implicit(let address?):
            let grid = try HDF5ChunkGrid(chunks, dataspace, hasUnlimitedAxis: false)
            var next = address
            for index in 0..<grid.count {
                try place(next, chunkSize, 0, at: grid.origin(index))
                let (end, overflow) = next.addingReportingOverflow(chunkSize)
                guard !overflow else { throw Failure(.invalidFile, "HDF5 dataset: its chunks go beyond the file's end") }
                next = end
            }
        case .fixedArray(let address?):
            let grid = try HDF5ChunkGrid(chunks, dataspace, hasUnlimitedAxis: false)
            try HDF5FixedArray(storage, at: address).forEach { index, entry throws(Failure) in try place(&entry, index, grid) }
        case .extensibleArray(let address?):
            let grid = try HDF5ChunkGrid(chunks, dataspace, hasUnlimitedAxis: true)
            try HDF5ExtensibleArray(storage, at: address).forEach { index, entry throws(Failure) in try place(&entry, index, grid) }
        case .tree2(let address?): try readTree2(address)
        case .tree1(nil), .single(nil, _, _), .implicit(nil), .fixedArray(nil), .extensibleArray(nil), .tree2(nil): break
        }
    }

    // MARK: Lists of chunks

    /// Keys have the stored size, the mask, and the first element of the chunk along each axis.
    private func readTree1(_ address: Int) throws(Failure) {
        let rank = chunks.shape.count
        try HDF5Tree1(storage, type: 1, keySize: 8 + 8 * (rank + 1)).forEach(at: address) { key, child throws(Failure) in
            var key = key
            let size = Int(try key.u32("a chunk's size")), mask = try key.u32("a chunk's filter mask")
            var origin: [Int] = []
            for _ in 0..<rank { origin.append(try key.size(8, "a chunk's place")) }
            try place(child, size, mask, at: origin)
        }
    }

    /// Records have the address, with filters the stored size and the mask, and the chunk's place in units of chunks.
    private func readTree2(_ address: Int) throws(Failure) {
        try HDF5Tree2(storage, at: address, type: filters.isEmpty ? 10 : 11).forEach { record throws(Failure) in
            var record = record
            // What is neither address, mask nor place is the size.
            let sizeWidth = record.remaining - storage.offsetSize - 8 * chunks.shape.count - 4
            guard filters.isEmpty || (1...8).contains(sizeWidth) else { throw record.failure("a chunk's size of \(sizeWidth) bytes") }
            let child = try record.definedAddress(storage, "a chunk's address")
            let size = filters.isEmpty ? chunkSize : try record.size(sizeWidth, "a chunk's size")
            let mask = filters.isEmpty ? 0 : try record.u32("a chunk's filter mask")
            var origin: [Int] = []
            for length in chunks.shape { origin.append(try product(try record.size(8, "a chunk's place"), length, "HDF5 chunk")) }
            try place(child, size, mask, at: origin)
        }
    }

    /// Reads the chunk that an array's entry stands for, if there is one. Of filtered chunks it has the stored size and the
    /// mask behind the address.
    private func place(_ entry: inout ByteReader, _ index: Int, _ grid: HDF5ChunkGrid) throws(Failure) {
        let sizeWidth = entry.remaining - storage.offsetSize - 4
        guard let address = try entry.address(storage, "a chunk's address") else { return }
        guard index < grid.count else { throw entry.failure("chunk \(index) of \(grid.count)") }
        var size = chunkSize, mask: UInt32 = 0
        if !filters.isEmpty {
            guard (1...8).contains(sizeWidth) else { throw entry.failure("a chunk's size of \(sizeWidth) bytes") }
            size = try entry.size(sizeWidth, "a chunk's size")
            mask = try entry.u32("a chunk's filter mask")
        }
        try place(address, size, mask, at: grid.origin(index))
    }

    // MARK: One chunk

    /// Decodes a chunk of `size` stored bytes and copies what of it lies within the array to its place.
    private func place(_ address: Int, _ size: Int, _ mask: UInt32, at origin: [Int]) throws(Failure) {
        var isWhole = true
        for (axis, start) in origin.enumerated() {
            guard start < dataspace.shape[axis] else { return }
            if chunks.shape[axis] > dataspace.shape[axis] - start { isWhole = false }
        }
        try storage.expand(to: chunkSize)
        let stored = try storage.data(at: address, count: size, of: "HDF5 chunk")
        let isUnfiltered = filters.isEmpty || (chunks.leavesEdgesUnfiltered && !isWhole)
        let chunk = isUnfiltered ? try HDF5Filters().decode(stored, mask: 0, size: chunkSize)
            : try filters.decode(stored, mask: mask, size: chunkSize)
        withExtendedLifetime(chunk.owner) { copy(chunk.bytes, at: origin) }
    }

    /// Copies a chunk's rows, as far as they lie within the array.
    private func copy(_ chunk: UnsafeRawBufferPointer, at origin: [Int]) {
        let last = origin.count - 1
        let extent = origin.indices.map { min(chunks.shape[$0], dataspace.shape[$0] - origin[$0]) }
        let rowSize = extent[last] * chunks.elementSize
        var position = origin.map { _ in 0 }
        while true {
            var from = 0, to = 0
            for axis in 0...last {
                from = from * chunks.shape[axis] + position[axis]
                to = to * dataspace.shape[axis] + origin[axis] + position[axis]
            }
            from *= chunks.elementSize
            to *= chunks.elementSize
            UnsafeMutableRawBufferPointer(rebasing: output[to..<to + rowSize])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: chunk[from..<from + rowSize]))
            // The next row: like a counter, the last axis but one fastest.
            var axis = last - 1
            while axis >= 0 {
                position[axis] += 1
                if position[axis] < extent[axis] { break }
                position[axis] = 0
                axis -= 1
            }
            if axis < 0 { return }
        }
    }
}

/// How chunks are numbered: row by row over what the array may grow to, an axis without limit being the slowest.
struct HDF5ChunkGrid {
    private let chunkShape: [Int]
    /// The axes, the slowest first.
    private let order: [Int]
    /// Chunks along each of them; the first one's do not count.
    private let lengths: [Int]
    /// Number of chunks; as many as numbers may go where an axis has no limit.
    let count: Int

    init(_ chunks: HDF5Chunks, _ dataspace: HDF5Dataspace, hasUnlimitedAxis: Bool) throws(Failure) {
        chunkShape = chunks.shape
        var order = Array(chunks.shape.indices)
        let unlimited = order.filter { dataspace.largest[$0] == nil }
        guard unlimited.count == (hasUnlimitedAxis ? 1 : 0) else {
            throw Failure(.invalidFile, "HDF5 dataset: its chunk index is not one for \(unlimited.count) axes without limit")
        }
        if let axis = unlimited.first {
            order.remove(at: axis)
            order.insert(axis, at: 0)
        }
        var lengths: [Int] = [], count = 1
        for axis in order {
            let largest = dataspace.largest[axis] ?? dataspace.shape[axis]
            let length = largest / chunks.shape[axis] + (largest % chunks.shape[axis] > 0 ? 1 : 0)
            lengths.append(length)
            count = try product(count, length, "HDF5 chunks")
        }
        self.order = order
        self.lengths = lengths
        self.count = count
    }

    /// The first element, along each axis, of the chunk of a number below `count`.
    func origin(_ index: Int) -> [Int] {
        var origin = chunkShape.map { _ in 0 }
        var rest = index
        for (axis, length) in zip(order, lengths).reversed() {
            origin[axis] = rest % length * chunkShape[axis]
            rest /= length
        }
        return origin
    }
}
