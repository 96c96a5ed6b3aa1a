import CCadenza
import Engine
import Generation

// Ragged.

@c @implementation
public func cadenza_ragged_create(_ width: Int, _ values: UnsafePointer<Float>?, _ value_count: Int, _ splits: UnsafePointer<Int>?,
                                  _ split_count: Int, _ ragged: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let ragged = try given(ragged, "ragged"), splits = try given(splits, "splits")
        let floats = try multiplied(try count(value_count, "value_count"), try count(width, "width"))
        let offsets = Array(UnsafeBufferPointer(start: splits, count: try count(split_count, "split_count")))
        for offset in offsets { _ = try count(offset, "splits") }
        let all = floats == 0 ? [] : Array(UnsafeBufferPointer(start: try given(values, "values"), count: floats))
        ragged.pointee = handle(try Ragged(width: width, splits: [offsets], values: all))
    }
}

private func layout(_ layout: cadenza_layout) throws(Failure) -> Ragged.Layout {
    guard let result = Ragged.Layout(rawValue: Int32(truncatingIfNeeded: layout.rawValue)) else {
        throw Failure(.invalidArgument, "layout is \(layout.rawValue), which is none")
    }
    return result
}

@c @implementation
public func cadenza_ragged_from_padded(_ padded: UnsafePointer<Float>?, _ lengths: UnsafePointer<Int>?, _ batch: Int, _ outer: Int,
                                       _ longest: Int, _ width: Int, _ layout: cadenza_layout,
                                       _ ragged: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let ragged = try given(ragged, "ragged")
        ragged.pointee = handle(try Ragged.from(padded: try given(padded, "padded"), lengths: try given(lengths, "lengths"),
                                                batch: try count(batch, "batch"), outer: try count(outer, "outer"),
                                                longest: try count(longest, "longest"), width: try count(width, "width"),
                                                layout: try CadenzaABI.layout(layout)))
    }
}

@c @implementation
public func cadenza_ragged_release(_ ragged: OpaquePointer?) { release(ragged, Ragged.self) }

@c @implementation
public func cadenza_ragged_describe(_ ragged: OpaquePointer?, _ info: UnsafeMutablePointer<cadenza_ragged_info>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let ragged: Ragged = try object(ragged, "ragged")
        try fill(info, "info", cadenza_ragged_info(struct_size: 0, width: ragged.width, value_count: ragged.values.count / ragged.width,
                                                   level_count: ragged.splits.count,
                                                   series_count: ragged.splits[ragged.splits.count - 1].count - 1, longest: ragged.longest))
    }
}

@c @implementation
public func cadenza_ragged_values(_ ragged: OpaquePointer?, _ values: UnsafeMutablePointer<Float>?, _ capacity: Int) -> cadenza_status {
    attempt { () throws(Failure) in
        let ragged: Ragged = try object(ragged, "ragged")
        let values = try given(values, "values")
        guard capacity < 0 || capacity >= ragged.values.count else {
            throw Failure(.invalidArgument, "capacity is \(capacity) floats, expected \(ragged.values.count) or more")
        }
        ragged.values.withUnsafeBufferPointer { if let base = $0.baseAddress { values.copy(from: base, count: $0.count) } }
    }
}

@c @implementation
public func cadenza_ragged_splits(_ ragged: OpaquePointer?, _ level: Int, _ splits: UnsafeMutablePointer<Int>?, _ capacity: Int,
                                  _ count: UnsafeMutablePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let ragged: Ragged = try object(ragged, "ragged")
        let offsets = ragged.splits[try index(level, below: ragged.splits.count, "level")], count = try given(count, "count")
        if let splits {
            guard capacity < 0 || capacity >= offsets.count else {
                throw Failure(.invalidArgument, "capacity is \(capacity), expected \(offsets.count) or more")
            }
            for (i, offset) in offsets.enumerated() { splits[i] = offset }
        }
        count.pointee = offsets.count
    }
}

@c @implementation
public func cadenza_ragged_pad(_ ragged: OpaquePointer?, _ batch: Int, _ longest: Int, _ layout: cadenza_layout,
                               _ padded: UnsafeMutablePointer<Float>?, _ mask: UnsafeMutablePointer<UInt8>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let ragged: Ragged = try object(ragged, "ragged")
        try ragged.pad(batch: try count(batch, "batch"), longest: try count(longest, "longest"), layout: try CadenzaABI.layout(layout),
                       into: try given(padded, "padded"), mask: mask)
    }
}
