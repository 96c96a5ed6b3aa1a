import Engine

// Cadenza's own files: safetensors, with the architecture in the metadata under "cadenza.architecture". Where weights are narrow,
// "cadenza.precision" is "bf16" and they are BF16; or it is "int8" and they are I8, with F32 scales beside them.

private let architectureKey: Name = "cadenza.architecture"
private let precisionKey: Name = "cadenza.precision"
private let scalesSuffix: Name = ".scales"

/// A model as a safetensors file, ready to be written.
@export(interface)
public func nativeFile(_ model: Model) throws(Failure) -> SafeTensorsWriter {
    var metadata: [(Name, Name)] = [(architectureKey, Name(model.architecture)), ("format", "cadenza")]
    let precision = model.precision
    if precision != .float32 { metadata.append((precisionKey, precision.name)) }
    var writer = SafeTensorsWriter(metadata: metadata)
    for weight in model.weights {
        let type: Name = switch weight.precision {
        case .float32: "F32"
        case .bfloat16: "BF16"
        case .int8: "I8"
        }
        try writer.add(weight.path, shape: weight.shape, type, size: weight.precision.size, weight.memory)
        if let scales = weight.scales {
            try writer.add(weight.path + scalesSuffix, shape: [weight.scaleCount], values: scales.floats)
        }
    }
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
    let model = try unfilled(Text(architecture.bytes))
    let precision: Precision = switch file.metadata(precisionKey) {
    case nil: .float32
    case Precision.bfloat16.name: .bfloat16
    case Precision.int8.name: .int8
    default: throw Failure(.unsupported, "the safetensors file has a \(precisionKey) that Cadenza does not know")
    }
    func named(_ name: Name, _ shape: [Int]) throws(Failure) -> SafeTensors.Tensor {
        guard let tensor = file.tensor(name) else { throw Failure(.invalidFile, "the file has no weight '\(name)'") }
        guard tensor.shape == shape else {
            throw Failure(.invalidFile, "weight '\(name)' has shape \(tensor.shape) in the file, the model needs \(shape)")
        }
        return tensor
    }
    for weight in model.weights {
        let tensor = try named(weight.path, weight.shape)
        if precision != .float32 && weight.canBeNarrow {
            let values = try tensor.narrowBytes(precision)
            let scales = precision == .int8 ? try named(weight.path + scalesSuffix, [weight.scaleCount]).floats() : nil
            if let owner, let inPlace = values.baseAddress {
                try weight.adopt(inPlace, precision, scales: scales, owner: owner)
            } else {
                let buffer = try AlignedBuffer(count: (values.count + 3) / 4)
                UnsafeMutableRawBufferPointer(start: buffer.floats, count: values.count).copyMemory(from: values)
                try weight.adopt(buffer.floats, precision, scales: scales, owner: buffer)
            }
        } else if let owner, let inPlace = tensor.floatsInPlace {
            weight.adopt(inPlace, owner: owner)
        } else {
            weight.adopt(try tensor.floats())
        }
    }
    try model.pack()
    return model
}

/// A model of an architecture of ours, without weights.
private func unfilled(_ architecture: Text) throws(Failure) -> Model {
    try architecture.bytes.withThrowing { text throws(Failure) in try importOwn(try JSON(text), version: nil).model }
}

/// A model with the same weights, the large ones narrow.
@export(interface)
public func quantized(_ model: Model, to precision: Precision) throws(Failure) -> Model {
    guard model.precision == .float32 else {
        throw Failure(.invalidArgument, "the model's weights are \(model.precision.name) already: quantize the float32 model that it was made of")
    }
    let result = try unfilled(model.architecture)
    for (weight, own) in zip(model.weights, result.weights) {
        if own.canBeNarrow {
            try own.narrow(weight.values, to: precision)
        } else {
            try own.assign(weight.values)
        }
    }
    try result.pack()
    return result
}
