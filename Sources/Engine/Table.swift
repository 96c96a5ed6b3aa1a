// `Dictionary`, `Set` and `sort` are compiled anew for each type that they are used with, 3 to 5 KB each time. What is here
// costs a type a few instructions around one dictionary of places, and one sort of indices; where a set of names is wanted, there
// is a dictionary of numbers.

/// Values by key.
public struct Table<Key: Hashable, Value> {
    private var places: [Key: Int] = [:]
    private var values: [Value] = []

    public init() {}

    public subscript(key: Key) -> Value? {
        if let place = places[key] { values[place] } else { nil }
    }

    public subscript(key: Key, default value: Value) -> Value {
        get { self[key] ?? value }
        _modify {
            let place = places[key] ?? values.count
            if place == values.count {
                places[key] = place
                values.append(value)
            }
            yield &values[place]
        }
    }

    /// false: the key has a value, and keeps it.
    public mutating func insert(_ value: Value, for key: Key) -> Bool {
        if places[key] != nil { return false }
        self[key, default: value] = value
        return true
    }
}

extension Array {
    /// Its elements in order; those of which neither precedes the other stay in theirs.
    public func inOrder(_ precedes: (Element, Element) -> Bool) -> [Element] {
        orderedIndices(count) { precedes(self[$0], self[$1]) }.map { self[$0] }
    }
}

extension [UInt8] {
    /// What lies between the bytes `separator`, without empty parts.
    public func parts(_ separator: UInt8) -> [[UInt8]] {
        var parts: [[UInt8]] = [], part: [UInt8] = []
        for byte in self + [separator] {
            if byte != separator {
                part.append(byte)
            } else if !part.isEmpty {
                parts.append(part)
                part = []
            }
        }
        return parts
    }
}

/// A merge sort of 0..<count.
@inline(never)
public func orderedIndices(_ count: Int, _ precedes: (Int, Int) -> Bool) -> [Int] {
    var indices = Array(0..<count), merged = indices, width = 1
    while width < count {
        for start in stride(from: 0, to: count, by: 2 * width) {
            let middle = min(start + width, count), end = min(middle + width, count)
            var left = start, right = middle
            for place in start..<end {
                if right == end || left < middle && !precedes(indices[right], indices[left]) {
                    merged[place] = indices[left]
                    left += 1
                } else {
                    merged[place] = indices[right]
                    right += 1
                }
            }
        }
        swap(&indices, &merged)
        width *= 2
    }
    return indices
}
