import CSystem
import Engine

/// A file mapped read-only, as long as this object lives.
public final class MappedFile {
    public let bytes: UnsafeRawBufferPointer

    public init(path: UnsafePointer<CChar>) throws(Failure) {
        var address: UnsafeRawPointer?
        var size = 0
        var why = [CChar](repeating: 0, count: 256)
        let result = why.withUnsafeMutableBufferPointer { cz_map_file(path, &address, &size, $0.baseAddress, $0.count) }
        guard result == 0 else { throw Failure(.system, "'\(shown(path))' \(shown(why))") }
        bytes = UnsafeRawBufferPointer(start: address, count: size)
    }

    deinit { cz_unmap(bytes.baseAddress, bytes.count) }
}

/// Writes a file of `size` bytes whole or not at all.
public func writeFile(path: UnsafePointer<CChar>, size: Int, _ fill: (UnsafeMutableRawPointer) -> Void) throws(Failure) {
    let buffer = try AlignedBuffer(count: size / 4 + 1)
    defer { withExtendedLifetime(buffer) {} }
    fill(UnsafeMutableRawPointer(buffer.floats))
    var why = [CChar](repeating: 0, count: 256)
    let result = why.withUnsafeMutableBufferPointer { cz_write_file(path, buffer.floats, size, $0.baseAddress, $0.count) }
    guard result == 0 else { throw Failure(.system, "'\(shown(path))' \(shown(why))") }
}

/// A C string for a message.
private func shown(_ text: UnsafePointer<CChar>) -> Text {
    var bytes: [UInt8] = []
    var next = text
    while next.pointee != 0 && bytes.count < 1024 {
        bytes.append(UInt8(bitPattern: next.pointee))
        next += 1
    }
    return Name(bytes)
}
