import CCadenza
import Engine
import Files

// Model: load, create, save, release.

@c @implementation
public func cadenza_load_options_init(_ options: UnsafeMutablePointer<cadenza_load_options>?) {
    options?.pointee = cadenza_load_options(struct_size: MemoryLayout<cadenza_load_options>.size,
                                            architecture: nil, architecture_size: 0, precision: 0, reserved: 0)
}

/// The architecture that the options give, if any.
private func architecture(_ options: UnsafePointer<cadenza_load_options>?) throws(Failure) -> UnsafeRawBufferPointer? {
    guard let options = options?.pointee else { return nil }
    guard options.struct_size >= MemoryLayout<cadenza_load_options>.size else {
        throw Failure(.invalidArgument, "options->struct_size is too small: use cadenza_load_options_init")
    }
    guard let text = options.architecture else { return nil }
    return UnsafeRawBufferPointer(start: text, count: try count(options.architecture_size, "options->architecture_size"))
}

/// The model in the precision that the options ask for.
private func narrowed(_ model: Model, _ options: UnsafePointer<cadenza_load_options>?) throws(Failure) -> Model {
    guard let number = options?.pointee.precision, number != 0, number != model.precision.rawValue else { return model }
    return try quantized(model, to: try narrowPrecision(number))
}

private func narrowPrecision(_ number: Int32) throws(Failure) -> Precision {
    guard number != 0, let precision = Precision(rawValue: number) else {
        throw Failure(.invalidArgument, "precision is \(Int(number)), expected CADENZA_BF16 (1) or CADENZA_INT8 (2)")
    }
    return precision
}

@c @implementation
public func cadenza_model_load_file(_ path: UnsafePointer<CChar>?, _ options: UnsafePointer<cadenza_load_options>?,
                                    _ model: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attemptRounding { () throws(Failure) in
        let path = try given(path, "path"), model = try given(model, "model")
        let loaded = try loadModel(path: path, architecture: try architecture(options))
        model.pointee = handle(try narrowed(loaded, options))
    }
}

@c @implementation
public func cadenza_model_load_memory(_ bytes: UnsafeRawPointer?, _ size: Int,
                                      _ options: UnsafePointer<cadenza_load_options>?,
                                      _ model: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attemptRounding { () throws(Failure) in
        guard let bytes else { throw missing("bytes") }
        let model = try given(model, "model")
        let buffer = UnsafeRawBufferPointer(start: bytes, count: try count(size, "size"))
        let loaded = try loadModel(buffer, owner: nil, architecture: try architecture(options))
        model.pointee = handle(try narrowed(loaded, options))
    }
}

@c @implementation
public func cadenza_model_create(_ architecture: UnsafePointer<CChar>?, _ size: Int, _ seed: UInt64,
                                 _ model: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attemptRounding { () throws(Failure) in
        let text = UnsafeRawBufferPointer(start: try given(architecture, "architecture"), count: try count(size, "size"))
        let model = try given(model, "model")
        model.pointee = handle(try createModel(architecture: text, seed: seed))
    }
}

@c @implementation
public func cadenza_model_save_file(_ model: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        try saveModel(model, path: try given(path, "path"))
    }
}

@c @implementation
public func cadenza_model_save_memory(_ model: OpaquePointer?, _ buffer: UnsafeMutableRawPointer?, _ capacity: Int,
                                      _ size: UnsafeMutablePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let file = try nativeFile(model)
        defer { withExtendedLifetime(model) {} }
        try deliver(file.size, to: buffer, capacity: capacity, size) { file.write(to: $0) }
    }
}

@c @implementation
public func cadenza_model_quantize(_ model: OpaquePointer?, _ precision: Int32,
                                   _ quantized: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let result = try given(quantized, "quantized")
        result.pointee = handle(try Files.quantized(model, to: try narrowPrecision(precision)))
    }
}

@c @implementation
public func cadenza_model_precision(_ model: OpaquePointer?) -> Int32 {
    (try? object(model, "model") as Model)?.precision.rawValue ?? 0
}

@c @implementation
public func cadenza_model_lock(_ model: OpaquePointer?) -> cadenza_status {
    attempt { () throws(Failure) in try (try object(model, "model") as Model).lock() }
}

@c @implementation
public func cadenza_model_retain(_ model: OpaquePointer?) -> OpaquePointer? {
    if let model { retain(model, Model.self) }
    return model
}

@c @implementation
public func cadenza_model_release(_ model: OpaquePointer?) { release(model, Model.self) }

// MARK: Builder

@c @implementation
public func cadenza_builder_create(_ steps: Int, _ features: Int,
                                   _ builder: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let builder = try given(builder, "builder")
        let features = try count(features, "features")
        guard features >= 1 else { throw Failure(.invalidArgument, "features is 0, expected 1 or more") }
        builder.pointee = handle(SequentialBuilder(steps: try count(steps, "steps"), features: features))
    }
}

@c @implementation
public func cadenza_builder_create_for_ids(_ steps: Int, _ builder: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let builder = try given(builder, "builder")
        builder.pointee = handle(SequentialBuilder(steps: try count(steps, "steps"), features: nil))
    }
}

@c @implementation
public func cadenza_builder_add(_ builder: OpaquePointer?, _ class_name: UnsafePointer<CChar>?,
                                _ options: UnsafePointer<CChar>?) -> cadenza_status {
    attemptRounding { () throws(Failure) in
        let builder: SequentialBuilder = try object(builder, "builder")
        try builder.add(className: Name(try bytes(class_name, "class_name")),
                        options: options == nil ? [] : try bytes(options, "options"))
    }
}

@c @implementation
public func cadenza_builder_build(_ builder: OpaquePointer?, _ seed: UInt64,
                                  _ model: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attemptRounding { () throws(Failure) in
        let builder: SequentialBuilder = try object(builder, "builder")
        let model = try given(model, "model")
        model.pointee = handle(try builder.build(seed: seed))
    }
}

@c @implementation
public func cadenza_builder_release(_ builder: OpaquePointer?) { release(builder, SequentialBuilder.self) }
