import Foundation
import Testing
@testable import Engine
@testable import Files

/// The files under Tests/golden.
enum Golden {
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("golden")

    /// The names of a folder's files with an ending, sorted.
    static func names(_ subfolder: String, _ ending: String) -> [String] {
        let names = try? FileManager.default.contentsOfDirectory(atPath: folder.appendingPathComponent(subfolder).path)
        return (names ?? []).filter { $0.hasSuffix(ending) }.sorted()
    }

    static func bytes(_ path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: folder.appendingPathComponent(path))) }

    static func json(_ path: String) throws -> JSON { try bytes(path).reading { try JSON($0) } }
}

extension Array where Element == UInt8 {
    /// Calls `body` with a copy of the bytes that lies by itself, so that AddressSanitizer sees reads beyond the end.
    func reading<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
        defer { copy.deallocate() }
        copy.copyBytes(from: self)
        return try body(UnsafeRawBufferPointer(copy))
    }
}

extension AlignedBuffer {
    var array: [Float] { Array(UnsafeBufferPointer(start: floats, count: count)) }
}

/// The failure that `body` must end with.
func failure(_ body: () throws -> Void) -> Failure? {
    do {
        try body()
        Issue.record("it should fail")
    } catch let failure as Failure {
        return failure
    } catch {
        Issue.record("\(error) is no failure of ours")
    }
    return nil
}
