import Testing
@testable import Engine
@testable import Files

/// Damaged files: whatever is wrong with them, they are read or refused, and the process lives on.
@Suite struct MalformedTests {
    /// A format: its name, files that are small enough for each to be damaged in many ways, and a reader of all that is in one.
    struct Format: CustomTestStringConvertible, Sendable {
        let name: String
        let files: [String]
        let read: @Sendable (UnsafeRawBufferPointer) throws(Failure) -> Void
        var testDescription: String { name }
    }

    private static let formats = [
        Format(name: "HDF5", files: ["attributes_earliest", "attributes_latest", "numbers_latest", "fills_earliest", "fills_latest", "groups_latest",
                                     "userblock_latest", "unsupported", "strings_latest", "superblock_1"].map { "hdf5/\($0).h5" },
               read: { bytes throws(Failure) in try walkHDF5(bytes) }),
        Format(name: "HDF5, many ways", files: ["layouts_latest", "layouts_earliest", "many_chunks_latest", "groups_earliest"].map { "hdf5/\($0).h5" },
               read: { bytes throws(Failure) in try walkHDF5(bytes) }),
        Format(name: "zip", files: ["deflated", "blocks_fixed", "zip64_directory", "data_descriptors"].map { "zip/\($0).keras" },
               read: { bytes throws(Failure) in try walkZip(bytes) }),
        Format(name: "JSON", files: ["keras/gru.json", "keras/embedding.json"], read: { bytes throws(Failure) in _ = try JSON(bytes) }),
        Format(name: "safetensors", files: ["SAFETENSORS"], read: { bytes throws(Failure) in try walkSafeTensors(bytes) }),
    ]

    private static func bytes(_ file: String) throws -> [UInt8] {
        guard file == "SAFETENSORS" else { return try Golden.bytes(file) }
        var writer = SafeTensorsWriter(metadata: [("key", "value")])
        let values: [Float] = [1, 2, 3, 4, 5]
        return try values.withUnsafeBufferPointer { values in
            try writer.add("a", shape: [2, 2], values: values.baseAddress!)
            try writer.add("b", shape: [5], values: values.baseAddress!)
            var bytes = [UInt8](repeating: 0, count: writer.size)
            bytes.withUnsafeMutableBytes { writer.write(to: $0.baseAddress!) }
            return bytes
        }
    }

    /// Reads damaged bytes; what is refused must say why.
    private func survive(_ bytes: [UInt8], _ format: Format) {
        let result = Result { try bytes.reading { try format.read($0) } }
        if case .failure(let error) = result { #expect((error as? Failure)?.message.isEmpty == false) }
    }

    /// Every one where a file is small, some hundreds else.
    @Test(arguments: formats) func truncations(format: Format) throws {
        for file in format.files {
            let bytes = try MalformedTests.bytes(file)
            let step = max(1, bytes.count / 600)
            for count in stride(from: 0, to: bytes.count, by: step) { survive(Array(bytes[..<count]), format) }
        }
    }

    /// Bytes changed, numbers replaced by extreme ones, pieces copied over others.
    @Test(arguments: formats) func mutations(format: Format) throws {
        var random = SplitMix(seed: 11)
        for file in format.files {
            let original = try MalformedTests.bytes(file)
            for _ in 0..<400 {
                var bytes = original
                for _ in 0...random.below(4) { mutate(&bytes, &random) }
                survive(bytes, format)
            }
        }
    }

    private func mutate(_ bytes: inout [UInt8], _ random: inout SplitMix) {
        let extremes: [UInt64] = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 0x7FFF_FFFF_FFFF_FFFF, .max, 1 << 62, UInt64(bytes.count)]
        let place = random.below(bytes.count), width = 1 << random.below(4)
        switch random.below(4) {
        case 0: bytes[place] ^= 1 << UInt8(random.below(8))
        case 1: bytes[place] = UInt8(random.below(256))
        case 2:
            let extreme = little(extremes[random.below(extremes.count)])
            for index in place..<min(place + width, bytes.count) { bytes[index] = extreme[index - place] }
        default:
            let source = random.below(bytes.count), count = min(random.below(64), bytes.count - max(source, place))
            let piece = Array(bytes[source..<source + count])
            bytes.replaceSubrange(place..<place + count, with: piece)
        }
    }
}
