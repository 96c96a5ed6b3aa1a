/// A sample's shape, without the batch axis; −1 stands for an axis of any length.
public typealias Shape = [Int]

/// An axis that may have any length.
public let anyLength = -1

extension Array where Element == Int {
    /// The number of values of one sample. Fails where it is not known or beyond what memory could hold.
    public func elementCount() throws(Failure) -> Int {
        var count = 1
        for length in self {
            guard length >= 0 else {
                throw Failure(.invalidArgument, "the shape \(describe(self)) has an axis of unknown length")
            }
            count = try multiplied(count, length)
        }
        return count
    }

    /// Whether every axis has a length.
    var isKnown: Bool { allSatisfy { $0 >= 0 } }
}

/// A product of sizes, refused beyond 2⁴⁰: what no machine's memory holds is a mistake of the caller's.
public func multiplied(_ a: Int, _ b: Int) throws(Failure) -> Int {
    let (product, overflow) = a.multipliedReportingOverflow(by: b)
    guard !overflow, product >= 0, product <= 1 << 40 else {
        throw Failure(.outOfMemory, "\(a) × \(b) values are more than any memory holds")
    }
    return product
}

/// A shape as Keras prints it, batch first: "(None, 7, 3)".
public func describe(_ shape: Shape) -> Text {
    var text: Text = "(None"
    for length in shape {
        text += length < 0 ? ", None" : ", \(length)"
    }
    return text + (shape.isEmpty ? ",)" : ")")
}

/// The values of one sample in groups that lie along some of its axes, for operations on each group.
struct AxisGroups {
    /// Where a group's values lie from its first one on, in row-major order of the axes.
    let places: [Int]
    /// Where in a sample the groups' first values lie.
    let starts: [Int]

    init(_ shape: Shape, _ axes: [Int]) {
        var places = [0], starts = [0]
        var stride = 1
        for axis in shape.indices.reversed() {
            let steps = (0..<shape[axis]).map { $0 * stride }
            if axes.contains(axis) {
                places = steps.flatMap { step in places.map { $0 + step } }
            } else {
                starts = steps.flatMap { step in starts.map { $0 + step } }
            }
            stride *= shape[axis]
        }
        self.places = places
        self.starts = starts
    }
}

/// Units rounded up to whole blocks of 16, the kernels' width.
@inline(__always)
func padded(_ units: Int) -> Int { (units + 15) / 16 * 16 }
