import CSystem

/// Floats at a multiple of 64 bytes, zero at first.
public final class AlignedBuffer {
    /// The first of them; it stays where it is as long as the buffer lives.
    public let floats: UnsafeMutablePointer<Float>
    /// How many there are.
    public let count: Int

    /// Memory for `count` floats. Fails where there is none.
    public init(count: Int) throws(Failure) {
        let (bytes, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Float>.stride)
        guard count >= 0, !overflow, let memory = cz_allocate(bytes) else {
            throw Failure(.outOfMemory, "no memory for \(count) floats")
        }
        floats = memory.bindMemory(to: Float.self, capacity: count)
        self.count = count
    }

    deinit { cz_free(floats) }
}
