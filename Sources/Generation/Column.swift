/// A value for each row, in memory of its own that is there from the beginning.
final class Column<Value> {
    private let values: UnsafeMutablePointer<Value>
    private let count: Int

    init(_ count: Int, _ value: Value) {
        values = .allocate(capacity: count)
        values.initialize(repeating: value, count: count)
        self.count = count
    }

    deinit {
        values.deinitialize(count: count)
        values.deallocate()
    }

    subscript(row: Int) -> Value {
        get { values[row] }
        _modify { yield &values[row] }
    }
}
