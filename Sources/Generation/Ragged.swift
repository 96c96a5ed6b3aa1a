import Engine

/// Series of different lengths: values one after another, and where each series begins.
///
/// Splits may be nested: `splits[0]` cuts the next level's series (or the values) into groups, and so on; each begins
/// with 0, never falls, and ends with the number of what it cuts.
public final class Ragged {
    /// Floats of one value.
    public let width: Int
    public let splits: [[Int]]
    public let values: [Float]

    @export(interface)
    public init(width: Int, splits: [[Int]], values: [Float]) throws(Failure) {
        guard width >= 1, values.count % width == 0 else {
            throw Failure(.invalidArgument, "\(values.count) floats are no whole number of values of \(width)")
        }
        guard !splits.isEmpty else { throw Failure(.invalidArgument, "there are no row splits") }
        for (level, offsets) in splits.enumerated() {
            guard let first = offsets.first, first == 0 else { throw Failure(.invalidArgument, "row splits begin with 0") }
            for i in 1..<max(1, offsets.count) where offsets[i] < offsets[i - 1] {
                throw Failure(.invalidArgument, "row splits fall from \(offsets[i - 1]) to \(offsets[i]) at \(i)")
            }
            let expected = level + 1 < splits.count ? splits[level + 1].count - 1 : values.count / width
            guard offsets[offsets.count - 1] == expected else {
                throw Failure(.invalidArgument, "row splits end with \(offsets[offsets.count - 1]), expected \(expected)")
            }
        }
        self.width = width
        self.splits = splits
        self.values = values
    }

    /// Series of the first level.
    public var rows: Int { splits[0].count - 1 }

    @export(interface)
    public func length(_ row: Int, level: Int = 0) -> Int { splits[level][row + 1] - splits[level][row] }

    /// The longest series of the last level.
    public var longest: Int {
        let offsets = splits[splits.count - 1]
        var longest = 0
        for i in 1..<max(1, offsets.count) { longest = max(longest, offsets[i] - offsets[i - 1]) }
        return longest
    }

    public enum Layout: Int32, Sendable {
        /// [batch][outer][longest][width]
        case batchMajor = 0
        /// [outer][longest][batch][width]
        case timeMajor = 1
    }

    /// Zero-padded, for series of (row of the batch, outer step). mask, where wanted, has 1 where there is a value.
    ///
    /// - Parameter batch: rows of the batch; the number of series must be a multiple of it.
    @export(interface)
    public func pad(batch: Int, longest: Int, layout: Layout, into padded: UnsafeMutablePointer<Float>,
                    mask: UnsafeMutablePointer<UInt8>?) throws(Failure) {
        let outer = try Ragged.outer(series: splits[splits.count - 1].count - 1, batch: batch)
        guard longest >= self.longest else {
            throw Failure(.invalidArgument, "the longest series has \(self.longest) values, more than \(longest)")
        }
        let places = try multiplied(multiplied(batch, outer), longest)
        padded.update(repeating: 0, count: try multiplied(places, width))
        mask?.update(repeating: 0, count: places)
        let offsets = splits[splits.count - 1]
        values.withUnsafeBufferPointer { values in
            guard let values = values.baseAddress else { return }
            for row in 0..<batch {
                for step in 0..<outer {
                    let series = row * outer + step
                    for i in 0..<(offsets[series + 1] - offsets[series]) {
                        let place = Ragged.place(row, step, i, batch: batch, outer: outer, longest: longest, layout: layout)
                        (padded + place * width).copy(from: values + (offsets[series] + i) * width, count: width)
                        mask?[place] = 1
                    }
                }
            }
        }
    }

    /// The way back, from padded values and the lengths [batch][outer].
    @export(interface)
    public static func from(padded: UnsafePointer<Float>, lengths: UnsafePointer<Int>, batch: Int, outer: Int, longest: Int,
                            width: Int, layout: Layout) throws(Failure) -> Ragged {
        guard batch >= 0, outer >= 0, longest >= 0, width >= 1 else { throw Failure(.invalidArgument, "a size is negative") }
        let series = try multiplied(batch, outer)
        _ = try multiplied(multiplied(series, longest), width)
        var offsets = [0]
        var values: [Float] = []
        for row in 0..<batch {
            for step in 0..<outer {
                let length = lengths[row * outer + step]
                guard length >= 0, length <= longest else {
                    throw Failure(.invalidArgument, "row \(row), outer step \(step) has length \(length), expected 0 to \(longest)")
                }
                for i in 0..<length {
                    let place = Ragged.place(row, step, i, batch: batch, outer: outer, longest: longest, layout: layout)
                    values.append(contentsOf: UnsafeBufferPointer(start: padded + place * width, count: width))
                }
                offsets.append(offsets[offsets.count - 1] + length)
            }
        }
        return try Ragged(width: width, splits: [offsets], values: values)
    }

    private static func outer(series: Int, batch: Int) throws(Failure) -> Int {
        guard batch >= 1, series % batch == 0 else {
            throw Failure(.invalidArgument, "\(series) series are no whole number of outer steps for \(batch) rows")
        }
        return series / batch
    }

    private static func place(_ row: Int, _ step: Int, _ i: Int, batch: Int, outer: Int, longest: Int, layout: Layout) -> Int {
        layout == .batchMajor ? (row * outer + step) * longest + i : (step * longest + i) * batch + row
    }
}
