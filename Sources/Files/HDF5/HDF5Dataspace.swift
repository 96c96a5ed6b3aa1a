import Engine

/// The shape of an array.
struct HDF5Dataspace {
    /// Empty for a single value, and for no value at all.
    let shape: [Int]
    /// How long each axis may become; nil for any length.
    let largest: [Int?]
    /// Number of elements.
    let count: Int

    init(_ reader: inout ByteReader, _ storage: HDF5Storage) throws(Failure) {
        let version = try reader.u8("the dataspace's version")
        guard version == 1 || version == 2 else {
            throw reader.failure("a dataspace of version \(version) is not one that Cadenza reads", code: .unsupported)
        }
        let rank = Int(try reader.u8("the number of axes")), flags = try reader.u8("the dataspace's flags")
        guard rank <= Limits.rank else { throw reader.failure("an array of \(rank) axes") }
        var isNull = false
        if version == 1 {
            try reader.skip(5, "reserved bytes")
        } else {
            isNull = try reader.u8("the dataspace's type") == 2
        }
        var shape: [Int] = [], largest: [Int?] = []
        for _ in 0..<rank { shape.append(try reader.length(storage, "an axis's length")) }
        for axis in 0..<rank {
            guard flags & 1 != 0 else {
                largest.append(shape[axis])
                continue
            }
            let value = try reader.number(storage.lengthSize, "an axis's largest length")
            let isUnlimited = value == UInt64.max >> UInt64(64 - storage.lengthSize * 8)
            guard isUnlimited || value >= UInt64(shape[axis]), let length = isUnlimited ? 0 : Int(exactly: value) else {
                throw reader.failure("an axis of length \(shape[axis]) may have at most \(value)")
            }
            largest.append(isUnlimited ? nil : length)
        }
        var count = isNull ? 0 : 1
        for length in shape { count = try product(count, length, "HDF5 array") }
        self.shape = shape
        self.largest = largest
        self.count = count
    }
}
