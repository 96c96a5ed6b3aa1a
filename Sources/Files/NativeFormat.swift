import Engine

// Cadenza's own files: safetensors, with the architecture in the metadata under "cadenza.architecture".

private let architectureKey: Name = "cadenza.architecture"

/// A model as a safetensors file, ready to be written.
@export(interface)
public func nativeFile(_ model: Model) throws(Failure) -> SafeTensorsWriter {
    var writer = SafeTensorsWriter(metadata: [(architectureKey, Name(model.architecture)), ("format", "cadenza")])
    for weight in model.weights { try writer.add(weight.path, shape: weight.shape, values: weight.values) }
    return writer
}

@export(interface)
public func saveModel(_ model: Model, path: UnsafePointer<CChar>) throws(Failure) {
    let file = try nativeFile(model)
    defer { withExtendedLifetime(model) {} }
    try writeFile(path: path, size: file.size) { file.write(to: $0) }
}

/// Loads a model from one of our files. With an owner, weights stay in its memory, where they lie aligned.
func loadNative(_ bytes: UnsafeRawBufferPointer, owner: AnyObject?) throws(Failure) -> Model {
    let file = try SafeTensors(bytes)
    guard let architecture = file.metadata(architectureKey) else {
        throw Failure(.invalidFile, "the safetensors file has no \(architectureKey) in its metadata: Cadenza did not write it")
    }
    let model = try architecture.bytes.withThrowing { text throws(Failure) in
        try importOwn(try JSON(text), version: nil).model
    }
    for weight in model.weights {
        guard let tensor = file.tensor(weight.path) else { throw Failure(.invalidFile, "the file has no weight '\(weight.path)'") }
        guard tensor.shape == weight.shape else {
            throw Failure(.invalidFile, "weight '\(weight.path)' has shape \(tensor.shape) in the file, the model needs \(weight.shape)")
        }
        if let owner, let inPlace = tensor.floatsInPlace {
            weight.adopt(inPlace, owner: owner)
        } else {
            weight.adopt(try tensor.floats())
        }
    }
    try model.pack()
    return model
}
