/// Plain values for each of some rows, a column beside the other, in memory that is there from the beginning.
public final class Columns {
    private let rows: Int
    private let buffer: AlignedBuffer
    private var used = 0

    /// Fails where there is no memory.
    ///
    /// - Parameter width: bytes of a row, all columns together.
    @export(interface)
    public init(rows: Int, width: Int, isLocked: Bool = false) throws(Failure) {
        self.rows = rows
        // Each column begins at a multiple of 8; sixteen of them have room for that.
        buffer = try AlignedBuffer(count: (multiplied(rows, width) + 16 * 8) / 4, isLocked: isLocked)
    }

    /// The next column, of zero bytes; it stays where it is as long as this object lives.
    public func next<Value>() -> UnsafeMutablePointer<Value> {
        take(MemoryLayout<Value>.stride).bindMemory(to: Value.self, capacity: rows)
    }

    /// The next column, each of its values the same.
    public func next<Value>(_ value: Value) -> UnsafeMutablePointer<Value> {
        let column: UnsafeMutablePointer<Value> = next()
        for row in 0..<rows { column[row] = value }
        return column
    }

    @export(interface)
    public func take(_ width: Int) -> UnsafeMutableRawPointer {
        let place = UnsafeMutableRawPointer(buffer.floats) + used
        used += (rows * width + 7) / 8 * 8
        precondition(used <= buffer.count * 4)
        return place
    }
}
