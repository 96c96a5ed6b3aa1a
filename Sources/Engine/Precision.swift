import CSystem

/// How the values of large weights are kept for computing. The numbers are those of cz_weight_kind.
public enum Precision: Int32 {
    case float32 = 0
    /// Upper halves of floats.
    case bfloat16
    /// Whole numbers with a scale for each output.
    case int8

    /// Bytes of a value.
    public var size: Int { 4 >> Int(rawValue) }
    /// As a user names it.
    public var name: Name {
        switch self {
        case .float32: "float32"
        case .bfloat16: "bf16"
        case .int8: "int8"
        }
    }
}

extension Weight {
    /// Whether it can be kept narrow: what inputs and states are multiplied with, and tables of vectors.
    public var canBeNarrow: Bool { isTable || variable == "kernel" || variable == "recurrent_kernel" }

    /// How many scales whole numbers have: one for each output, or for each vector of a table.
    public var scaleCount: Int { shape[isTable ? 0 : 1] }

    private func scaleIndex(_ i: Int) -> Int { isTable ? i / shape[1] : i % shape[1] }

    /// Keeps `source` narrow from now on: each value the nearest that there is, to even where two are. Fails for whole
    /// numbers where a value is NaN or infinite.
    @export(interface)
    public func narrow(_ source: UnsafePointer<Float>, to precision: Precision) throws(Failure) {
        let mode = cz_float_mode_enter()
        defer { cz_float_mode_leave(mode) }
        let buffer = try AlignedBuffer(count: (count * precision.size + 3) / 4), memory = UnsafeMutableRawPointer(buffer.floats)
        guard precision == .int8 else {
            for i in 0..<count { memory.storeBytes(of: upperHalf(source[i]), toByteOffset: i * 2, as: UInt16.self) }
            return try adopt(memory, precision, scales: nil, owner: buffer)
        }
        let scales = try AlignedBuffer(count: scaleCount)
        for i in 0..<count {
            let channel = scaleIndex(i), size = source[i].magnitude
            guard size.isFinite else { throw Failure(.invalidArgument, "weight '\(path)' has values that are not finite: int8 has none") }
            if size > scales.floats[channel] { scales.floats[channel] = size }
        }
        for channel in 0..<scaleCount { scales.floats[channel] /= 127 }
        for i in 0..<count { memory.storeBytes(of: whole(source[i], scales.floats[scaleIndex(i)]), toByteOffset: i, as: Int8.self) }
        try adopt(memory, precision, scales: scales, owner: buffer)
    }

    /// Copies all values out as floats: narrow ones as what is computed with.
    @export(interface)
    public func copy(to out: UnsafeMutablePointer<Float>) {
        guard precision != .float32 else { return out.copy(from: values, count: count) }
        let mode = cz_float_mode_enter()
        defer { cz_float_mode_leave(mode) }
        for row in 0..<shape[0] { copyRow(row, to: out + row * shape[1]) }
    }

    /// Copies a row of a matrix out, in the caller's float mode.
    func copyRow(_ row: Int, to out: UnsafeMutablePointer<Float>) {
        let width = shape[1], first = memory + row &* width &* precision.size
        switch precision {
        case .float32:
            out.copy(from: first.assumingMemoryBound(to: Float.self), count: width)
        case .bfloat16:
            for i in 0..<width {
                out[i] = Float(bitPattern: UInt32(first.loadUnaligned(fromByteOffset: i &* 2, as: UInt16.self)) &<< 16)
            }
        case .int8:
            guard let scales = scales?.floats else { return }
            let start = scales + (isTable ? row : 0), step = isTable ? 0 : 1
            for i in 0..<width { out[i] = Float(first.load(fromByteOffset: i, as: Int8.self)) * start[i &* step] }
        }
    }

    /// How many values are NaN or infinite.
    var nonfiniteCount: Int {
        func number(_ isOne: (Int) -> Bool) -> Int { (0..<count).reduce(0) { $0 + (isOne($1) ? 1 : 0) } }
        return switch precision {
        case .float32: number { !values[$0].isFinite }
        case .bfloat16: number { memory.loadUnaligned(fromByteOffset: $0 * 2, as: UInt16.self) & 0x7F80 == 0x7F80 }
        case .int8: 0
        }
    }
}

/// The nearest whole multiple of the scale, to even.
private func whole(_ value: Float, _ scale: Float) -> Int8 {
    let magic: Float = 12_582_912
    let multiple = value / scale + magic - magic
    if multiple >= -128 && multiple <= 127 { return Int8(multiple) }
    return multiple > 127 ? 127 : multiple < -128 ? -128 : 0
}

/// The upper half of the nearest float that has no other, to even.
private func upperHalf(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    if value.isNaN { return UInt16(bits >> 16) | 0x40 }
    return UInt16(truncatingIfNeeded: (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
}
