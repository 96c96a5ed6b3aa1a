import Engine

// Files that Keras 3 loads.

public enum KerasFormat: Int32 {
    /// A zip of the architecture and the weights.
    case keras = 0
    /// The weights alone.
    case weights = 1
}

/// A model as a file of Keras 3.
@export(interface)
public func kerasFile(_ model: Model, _ format: KerasFormat) throws(Failure) -> [UInt8] {
    let json = try model.architecture.bytes.withThrowing { text throws(Failure) in try JSON(text) }
    // The same plan once more tells where each weight has its place.
    let plan = try KerasImport(json, version: nil)
    guard plan.isKeras3 else {
        throw Failure(.unsupported, "the model's architecture is one of Keras 2, and its layers mean other things in Keras 3; "
            + "save it as .safetensors, or give its weights to a model of Keras by set_weights")
    }
    var writer = HDF5Writer()
    let root = plan.write(model, to: &writer)
    let weights = writer.finish(root: root)
    guard format == .keras else { return weights }
    var members = json.object ?? []
    let isSequential = json["class_name"]?.name == "Sequential"
    members.removeAll { $0.0 == "keras_version" || $0.0 == "class_name" }
    let name: Name = isSequential ? "Sequential" : "Functional"
    members.insert(("class_name", .string(name)), at: 0)
    members.insert(("module", .string(isSequential ? "keras" : "keras.src.models.functional")), at: 0)
    members.append(("registered_name", .string(name)))
    let version = json["keras_version"] ?? .string("3.0.0")
    var zip = ZipWriter()
    zip.add("metadata.json", JSON.object([("keras_version", version), ("date_saved", .string("1980-01-01@00:00:00"))]).serialized)
    zip.add("config.json", JSON.object(members).serialized)
    zip.add("model.weights.h5", weights)
    return zip.finish()
}

extension KerasImport {
    /// The weights of a model of this very plan, as the group of the file's root.
    fileprivate func write(_ model: Model, to writer: inout HDF5Writer) -> Int {
        write(WeightGroup(key: "", children: [weightTree]), model, to: &writer)
    }

    private func write(_ group: WeightGroup, _ values: Model, to writer: inout HDF5Writer) -> Int {
        var links: [(name: Name, address: Int)] = []
        if !group.own.isEmpty {
            var variables: [(name: Name, address: Int)] = []
            for (number, weight) in group.own.enumerated() {
                for (index, candidate) in model.weights.enumerated() where candidate === weight {
                    variables.append(("\(number)", writer.dataset(values.weights[index])))
                }
            }
            links.append(("vars", writer.group(variables)))
        }
        for child in group.children where !child.all.isEmpty {
            links.append((child.key, write(child, values, to: &writer)))
        }
        return writer.group(links)
    }
}

/// A zip of stored entries, with the date at which MS-DOS's calendar begins: the same content gives the same bytes.
private struct ZipWriter {
    private var file = ByteWriter()
    private var directory = ByteWriter()
    private var count = 0

    mutating func add(_ name: Name, _ content: [UInt8]) {
        let start = file.bytes.count
        var common = ByteWriter()
        common.put(20, 2)       // the version that is needed
        common.put(0, 4)        // no flags; stored
        common.put(0x0021_0000, 4)
        common.put(Int(content.withUnsafeBytes { Checksum.crc32($0) }), 4)
        common.put(content.count, 4)
        common.put(content.count, 4)
        common.put(name.bytes.count, 2)
        common.put(0, 2)
        file.put(0x0403_4B50, 4)
        file.put(common.bytes)
        file.put(name.bytes)
        file.put(content)
        directory.put(0x0201_4B50, 4)
        directory.put(20, 2)
        directory.put(common.bytes)
        directory.put(0, 10)
        directory.put(start, 4)
        directory.put(name.bytes)
        count += 1
    }

    mutating func finish() -> [UInt8] {
        let start = file.bytes.count
        file.put(directory.bytes)
        file.put(0x0605_4B50, 4)
        file.put(0, 4)
        file.put(count, 2)
        file.put(count, 2)
        file.put(directory.bytes.count, 4)
        file.put(start, 4)
        file.put(0, 2)
        return file.bytes
    }
}
