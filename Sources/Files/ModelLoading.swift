import Engine

/// Loads a model from a file of any format that Cadenza reads; the content tells which.
/// - Parameter architecture: the model's JSON, for files that hold weights only.
@export(interface)
public func loadModel(path: UnsafePointer<CChar>, architecture: UnsafeRawBufferPointer?) throws(Failure) -> Model {
    let file = try MappedFile(path: path)
    defer { withExtendedLifetime(file) {} }
    return try loadModel(file.bytes, owner: file, architecture: architecture)
}

/// The same from memory. `owner` keeps the bytes alive, so that the model's weights may stay in them; nil: they are copied.
@export(interface)
public func loadModel(_ bytes: UnsafeRawBufferPointer, owner: AnyObject?,
                      architecture: UnsafeRawBufferPointer?) throws(Failure) -> Model {
    if Zip.isZip(bytes) { return try loadKerasZip(bytes) }
    if HDF5File.isHDF5(bytes) { return try loadHDF5(bytes, architecture) }
    if SafeTensors.isSafeTensors(bytes) { return try loadNative(bytes, owner: owner) }
    throw Failure(.invalidFile, "the \(bytes.count) bytes are neither a Keras file (.keras, .h5) nor Cadenza's .safetensors")
}

/// Creates a model from a Keras architecture, its weights drawn by their initializers.
@export(interface)
public func createModel(architecture: UnsafeRawBufferPointer, seed: UInt64) throws(Failure) -> Model {
    let model = try KerasImport(try JSON(architecture), version: nil).model
    try model.initialize(seed: seed)
    return model
}

/// A `.keras` file: a zip of config.json, metadata.json and model.weights.h5.
private func loadKerasZip(_ bytes: UnsafeRawBufferPointer) throws(Failure) -> Model {
    let zip = try Zip(bytes)
    func entry(_ name: Name) throws(Failure) -> ZipContent {
        guard let content = try zip.content(name) else { throw Failure(.invalidFile, "the .keras file has no \(name)") }
        return content
    }
    let config = try entry("config.json").json()
    let version = try zip.content("metadata.json")?.json()["keras_version"]?.name
    let imported = try importOwn(config, version: version)
    let weights = try entry("model.weights.h5")
    try imported.assignWeights(try HDF5File(weights.bytes, owner: weights).root)
    return imported.model
}

/// A file's own architecture: layers that do not fit together are the file's fault, not an argument's.
func importOwn(_ json: JSON, version: Name?) throws(Failure) -> KerasImport {
    do throws(Failure) {
        return try KerasImport(json, version: version)
    } catch {
        throw error.code == .invalidArgument ? Failure(.invalidFile, error.message) : error
    }
}

extension ZipContent {
    fileprivate func json() throws(Failure) -> JSON {
        defer { withExtendedLifetime(self) {} }
        return try JSON(bytes)
    }
}

/// A whole model's `.h5` of Keras 2 or 3, or a file of weights beside an architecture.
private func loadHDF5(_ bytes: UnsafeRawBufferPointer, _ architecture: UnsafeRawBufferPointer?) throws(Failure) -> Model {
    let root = try HDF5File(bytes).root
    let version = try root.attribute("keras_version")?.strings.first
    let imported: KerasImport
    if let config = try root.attribute("model_config")?.strings.first {
        imported = try config.bytes.withThrowing { bytes throws(Failure) in try importOwn(try JSON(bytes), version: version) }
    } else if let architecture {
        imported = try KerasImport(try JSON(architecture), version: version)
    } else {
        throw Failure(.invalidArgument, "the file holds weights only: give the model's architecture too (model.to_json())")
    }
    try imported.assignWeights(root)
    return imported.model
}

extension Array where Element == UInt8 {
    /// The bytes under an address, for a call that fails with a `Failure`.
    func withThrowing<R>(_ body: (UnsafeRawBufferPointer) throws(Failure) -> R) throws(Failure) -> R {
        try withUnsafeBufferPointer { bytes throws(Failure) in try body(UnsafeRawBufferPointer(bytes)) }
    }
}
