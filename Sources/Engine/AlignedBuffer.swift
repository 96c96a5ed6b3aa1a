import CSystem

/// What can be locked into memory, so that the system leaves it there (mlock).
public class Lockable {
    /// Does nothing where it is locked. Where it fails, part of it may be.
    func lock() throws(Failure) {}
    func unlock() {}

    static func lock(_ memory: UnsafeRawPointer, bytes: Int) throws(Failure) {
        var why = [CChar](repeating: 0, count: 256)
        let result = why.withUnsafeMutableBufferPointer { cz_lock(memory, bytes, $0.baseAddress, $0.count) }
        guard result == 0 else { throw Failure(.system, Text(cString: why)) }
    }

    static func unlock(_ memory: UnsafeRawPointer, bytes: Int) { cz_unlock(memory, bytes) }
}

/// Floats at a multiple of 64 bytes, zero at first.
public final class AlignedBuffer: Lockable {
    /// The first of them; it stays where it is as long as the buffer lives.
    public let floats: UnsafeMutablePointer<Float>
    /// How many there are.
    public let count: Int
    private var isLocked = false

    /// Memory for `count` floats. Fails where there is none, or where it is to be locked and the system refuses.
    public init(count: Int, isLocked: Bool = false) throws(Failure) {
        let (bytes, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Float>.stride)
        guard count >= 0, !overflow, let memory = cz_allocate(bytes) else {
            throw Failure(.outOfMemory, "no memory for \(count) floats")
        }
        floats = memory.bindMemory(to: Float.self, capacity: count)
        self.count = count
        super.init()
        if isLocked { try lock() }
    }

    deinit {
        unlock()
        cz_free(floats)
    }

    override func lock() throws(Failure) {
        guard !isLocked else { return }
        try Lockable.lock(floats, bytes: count &* 4)
        isLocked = true
    }

    override func unlock() {
        if isLocked { Lockable.unlock(floats, bytes: count &* 4) }
        isLocked = false
    }
}
