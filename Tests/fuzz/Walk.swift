#if canImport(Engine)
@testable import Engine
@testable import Files
#endif

// Readers of all that is in a file, for fuzzers and for tests with damaged files.

/// Reads all groups, attributes and datasets of an HDF5 file. What one of them is refused for does not keep the others
/// from being read.
func walkHDF5(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
    var left = 400
    try walkHDF5(try HDF5File(bytes).root, depth: 0, &left)
}

private func walkHDF5(_ group: HDF5Group, depth: Int, _ left: inout Int) throws(Failure) {
    for name in try group.attributeNames().prefix(100) { attempt { () throws(Failure) in _ = try group.attribute(name) } }
    for name in try group.names() {
        left -= 1
        guard left > 0 else { return }
        do throws(Failure) {
            switch try group.object(name) {
            case .group(let child) where depth < 8: try walkHDF5(child, depth: depth + 1, &left)
            case .dataset(let dataset):
                attempt { () throws(Failure) in _ = try dataset.floats() }
                attempt { () throws(Failure) in _ = try dataset.integers() }
                attempt { () throws(Failure) in _ = try dataset.strings() }
                _ = try dataset.attribute("none")
            default: break
            }
        } catch {}
    }
}

/// Calls `body`, whose failure is as good as success.
private func attempt(_ body: () throws(Failure) -> Void) {
    do throws(Failure) { try body() } catch {}
}

/// Reads all entries of a zip file.
func walkZip(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
    let zip = try Zip(bytes)
    for name in zip.names { attempt { () throws(Failure) in _ = try zip.content(name)?.bytes.last } }
}

/// Reads all tensors of a safetensors file.
func walkSafeTensors(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
    for tensor in try SafeTensors(bytes).tensors {
        attempt { () throws(Failure) in _ = try tensor.floats() }
        _ = tensor.floatsInPlace.map { UnsafeBufferPointer(start: $0, count: tensor.count).reduce(0, +) }
    }
}
