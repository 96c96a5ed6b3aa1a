/// What a row carries from step to step.
struct RowState {
    let position: UnsafeMutablePointer<UInt64>
    let fresh: UnsafeMutablePointer<UInt8>
    /// As the model lays them out.
    let values: UnsafeMutablePointer<Float>
}

/// Rows' states as bytes: little-endian 64-bit words (magic and version, model's fingerprint, rows, floats of a row), then for
/// each row its position, whether it is fresh, and its states as 32-bit floats, then a hash of all that.
enum Snapshot {
    private static let magic: UInt64 = 0x0001_4D41_4544_5A43 // "CZDEAM", version 1
    private static let headerSize = 32
    private static let hashSize = 8

    private static func floatsPerRow(_ model: Model) -> Int { model.states.reduce(0) { $0 + $1.slot.units } }

    static func size(_ model: Model, rows: Int) -> Int { headerSize + rows * (8 + 1 + 4 * floatsPerRow(model)) + hashSize }

    /// Writes `size` bytes.
    static func write(_ model: Model, rows: Int, into bytes: UnsafeMutableRawPointer, _ state: (Int) -> RowState) {
        var place = bytes
        func put<T: FixedWidthInteger>(_ value: T) {
            place.storeBytes(of: value.littleEndian, as: T.self)
            place += MemoryLayout<T>.size
        }
        put(magic)
        put(model.fingerprint)
        put(UInt64(rows))
        put(UInt64(floatsPerRow(model)))
        for row in 0..<rows {
            let state = state(row)
            put(state.position.pointee)
            put(state.fresh.pointee)
            for slot in model.states {
                let values = state.values + slot.offset
                for i in 0..<slot.slot.units { put(values[i].bitPattern) }
            }
        }
        put(hash(UnsafeRawBufferPointer(start: bytes, count: place - bytes)))
    }

    /// Fails where the bytes are no snapshot of so many rows of this model.
    static func check(_ model: Model, rows: Int, _ bytes: UnsafeRawBufferPointer) throws(Failure) {
        guard bytes.count >= headerSize + hashSize, let base = bytes.baseAddress else {
            throw Failure(.invalidFile, "the snapshot has \(bytes.count) bytes, fewer than its header")
        }
        func word(_ offset: Int) -> UInt64 { UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) }
        guard word(0) == magic else {
            throw Failure(.invalidFile, "this is not a snapshot of a stream, or one of another version")
        }
        let body = UnsafeRawBufferPointer(start: base, count: bytes.count - hashSize)
        guard word(body.count) == hash(body) else {
            throw Failure(.invalidFile, "the snapshot is damaged: its checksum does not fit")
        }
        guard word(8) == model.fingerprint else {
            throw Failure(.mismatch, "the snapshot was taken of another model: its fingerprint differs")
        }
        guard word(16) == UInt64(rows) else {
            throw Failure(.mismatch, "the snapshot has \(word(16)) rows, expected \(rows)")
        }
        guard word(24) == UInt64(floatsPerRow(model)), bytes.count == size(model, rows: rows) else {
            throw Failure(.invalidFile, "the snapshot has \(bytes.count) bytes, expected \(size(model, rows: rows))")
        }
    }

    /// Reads what `check` has found to be right.
    static func read(_ model: Model, rows: Int, _ bytes: UnsafeRawBufferPointer, _ state: (Int) -> RowState) {
        guard var place = bytes.baseAddress else { return }
        place += headerSize
        func get<T: FixedWidthInteger>(_ type: T.Type) -> T {
            defer { place += MemoryLayout<T>.size }
            return T(littleEndian: place.loadUnaligned(as: type))
        }
        for row in 0..<rows {
            let state = state(row)
            state.position.pointee = get(UInt64.self)
            state.fresh.pointee = get(UInt8.self) == 0 ? 0 : 1
            for slot in model.states {
                let values = state.values + slot.offset
                for i in 0..<slot.slot.units { values[i] = Float(bitPattern: get(UInt32.self)) }
            }
        }
    }

    private static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var hash = Hash64()
        hash.combine(bytes: bytes)
        return hash.value
    }
}
