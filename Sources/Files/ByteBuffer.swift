import CSystem
import Engine

/// Bytes of our own, zero at first, at a multiple of 64; they stay where they are as long as this object lives.
final class ByteBuffer {
    let bytes: UnsafeMutableRawBufferPointer

    /// Memory for `count` bytes. Fails where there is none.
    init(count: Int) throws(Failure) {
        guard count >= 0, let memory = cz_allocate(count) else {
            throw Failure(.outOfMemory, "no memory for \(count) bytes")
        }
        bytes = UnsafeMutableRawBufferPointer(start: memory, count: count)
    }

    deinit { cz_free(bytes.baseAddress) }
}
