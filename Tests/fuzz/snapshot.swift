import Engine
import Files

/// Every kind of state: LSTM and GRU, behind a mask, which adds the previous outputs.
private let architecture = """
    {"class_name": "Sequential", "keras_version": "3.0.0", "config": {"name": "s", "layers": [
    {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [null, null, 2]}},
    {"class_name": "Masking", "config": {"name": "m", "mask_value": 0.0}},
    {"class_name": "LSTM", "config": {"name": "l", "units": 3, "return_sequences": true}},
    {"class_name": "GRU", "config": {"name": "g", "units": 1}}]}}
    """

private let batch = 2
private let model: Model = {
    var text = architecture
    return text.withUTF8 { try! createModel(architecture: UnsafeRawBufferPointer($0), seed: 1) }
}()

private func snapshot(_ stream: Stream) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: stream.snapshotSize) { bytes, count in
        stream.snapshot(into: bytes.baseAddress!)
        count = stream.snapshotSize
    }
}

/// Snapshots of a stream. The first byte tells which of the header's words, and whether the checksum, are put right, so
/// that the rest is reached. What is refused changes nothing; what is taken can be stepped from.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count > 0 else { return 0 }
    let stream = try! Stream(model, batch: batch)
    let before = snapshot(stream)
    let repairs = bytes[0]
    var given = [UInt8](UnsafeBufferPointer(start: bytes + 1, count: count - 1))
    for word in 0..<4 where repairs & 1 << UInt8(word) != 0 && given.count >= 8 * (word + 1) {
        given.replaceSubrange(8 * word..<8 * (word + 1), with: before[8 * word..<8 * (word + 1)])
    }
    if repairs & 16 != 0, given.count >= 8 {
        var hash = Hash64()
        given.withUnsafeBytes { hash.combine(bytes: UnsafeRawBufferPointer(rebasing: $0.dropLast(8))) }
        withUnsafeBytes(of: hash.value.littleEndian) { given.replaceSubrange(given.count - 8..<given.count, with: $0) }
    }
    do throws(Failure) {
        try given.withUnsafeBufferPointer { bytes throws(Failure) in try stream.restore(UnsafeRawBufferPointer(bytes)) }
    } catch {
        precondition(snapshot(stream) == before, "a snapshot that is refused has changed the stream")
        return 0
    }
    let sample: [Float] = [1, 2, 3, 4]
    sample.withUnsafeBufferPointer { sample in
        var input = sample.baseAddress
        try! stream.run(steps: 1, inputs: &input, outputs: nil)
    }
    precondition(stream.position(row: 0) != 0 || given[32] == 255, "a step does not count")
    return 0
}
