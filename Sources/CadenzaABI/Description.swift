import CCadenza
import Engine

// What a model is: inputs, outputs, layers, streamability; its weights; whole sequences.

private typealias Dims = (Int64, Int64, Int64, Int64, Int64, Int64, Int64, Int64)

private func dims(_ shape: Shape) -> Dims {
    func at(_ i: Int) -> Int64 { i < shape.count ? Int64(shape[i]) : 0 }
    return (at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7))
}

@c @implementation
public func cadenza_model_input_count(_ model: OpaquePointer?) -> Int { (try? object(model, "model") as Model)?.inputs.count ?? 0 }

@c @implementation
public func cadenza_model_output_count(_ model: OpaquePointer?) -> Int { (try? object(model, "model") as Model)?.outputs.count ?? 0 }

private func info(_ port: Model.Port) -> cadenza_tensor_info {
    cadenza_tensor_info(struct_size: 0, name: port.cName.pointer, rank: Int32(port.shape.count), has_time: port.hasTime ? 1 : 0,
                        dims: dims(port.shape), step_size: port.stepSize)
}

@c @implementation
public func cadenza_model_input_info(_ model: OpaquePointer?, _ index: Int,
                                     _ info: UnsafeMutablePointer<cadenza_tensor_info>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let port = model.inputs[try CadenzaABI.index(index, below: model.inputs.count, "index")]
        try fill(info, "info", CadenzaABI.info(port))
    }
}

@c @implementation
public func cadenza_model_output_info(_ model: OpaquePointer?, _ index: Int,
                                      _ info: UnsafeMutablePointer<cadenza_tensor_info>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let port = model.outputs[try CadenzaABI.index(index, below: model.outputs.count, "index")]
        try fill(info, "info", CadenzaABI.info(port))
    }
}

@c @implementation
public func cadenza_model_layer_count(_ model: OpaquePointer?) -> Int { (try? object(model, "model") as Model)?.entries.count ?? 0 }

@c @implementation
public func cadenza_model_layer_info(_ model: OpaquePointer?, _ index: Int,
                                     _ info: UnsafeMutablePointer<cadenza_layer_info>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let entry = model.entries[try CadenzaABI.index(index, below: model.entries.count, "index")]
        let verdict = entry.reason.isEmpty ? CADENZA_STREAMS : CADENZA_NEEDS_WHOLE_SEQUENCE
        try fill(info, "info", cadenza_layer_info(
            struct_size: 0, name: entry.cName.pointer, class_name: entry.cClassName.pointer, rank: Int32(entry.shape.count),
            verdict: Int32(verdict.rawValue), dims: dims(entry.shape), parameter_count: UInt64(entry.parameterCount),
            reason: entry.cReason.pointer))
    }
}

@c @implementation
public func cadenza_model_streamability(_ model: OpaquePointer?, _ verdict: UnsafeMutablePointer<cadenza_verdict>?,
                                        _ reason: UnsafeMutablePointer<UnsafePointer<CChar>?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let verdict = try given(verdict, "verdict")
        verdict.pointee = model.canStream ? CADENZA_STREAMS : CADENZA_NEEDS_WHOLE_SEQUENCE
        reason?.pointee = model.cObstacle.pointer
    }
}

@c @implementation
public func cadenza_model_summary(_ model: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int,
                                  _ size: UnsafeMutablePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        try deliver(model.summary, to: buffer, capacity: capacity, size)
    }
}

@c @implementation
public func cadenza_model_architecture(_ model: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int,
                                       _ size: UnsafeMutablePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        try deliver(model.architecture, to: buffer, capacity: capacity, size)
    }
}

@c @implementation
public func cadenza_model_fingerprint(_ model: OpaquePointer?, _ fingerprint: UnsafeMutablePointer<UInt64>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        try given(fingerprint, "fingerprint").pointee = model.fingerprint
    }
}

// MARK: Weights

@c @implementation
public func cadenza_model_weight_count(_ model: OpaquePointer?) -> Int { (try? object(model, "model") as Model)?.weights.count ?? 0 }

@c @implementation
public func cadenza_model_weight_info(_ model: OpaquePointer?, _ index: Int,
                                      _ info: UnsafeMutablePointer<cadenza_weight_info>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let index = try CadenzaABI.index(index, below: model.weights.count, "index")
        let weight = model.weights[index]
        try fill(info, "info", cadenza_weight_info(
            struct_size: 0, name: weight.cPath.pointer, layer: model.weightLayers[index], rank: Int32(weight.shape.count),
            trainable: weight.isTrainable ? 1 : 0, dims: dims(weight.shape), count: weight.count))
    }
}

@c @implementation
public func cadenza_model_weight_find(_ model: OpaquePointer?, _ name: UnsafePointer<CChar>?,
                                      _ index: UnsafeMutablePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let name = Name(try bytes(name, "name")), index = try given(index, "index")
        guard let found = model.weightIndex(name) else { throw Failure(.notFound, "the model has no weight '\(name)'") }
        index.pointee = found
    }
}

/// A weight whose number of values the caller knows.
private func weight(_ model: Model, _ index: Int, _ count: Int) throws(Failure) -> Int {
    let index = try CadenzaABI.index(index, below: model.weights.count, "index")
    let weight = model.weights[index]
    guard count == weight.count else {
        throw Failure(.invalidArgument, "count is \(count < 0 ? "beyond all" : "\(count)"), but weight '\(weight.path)' "
            + "of shape \(weight.shape) has \(weight.count) values")
    }
    return index
}

@c @implementation
public func cadenza_model_weight_get(_ model: OpaquePointer?, _ index: Int, _ values: UnsafeMutablePointer<Float>?,
                                     _ count: Int) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let values = try given(values, "values")
        model.weights[try CadenzaABI.weight(model, index, count)].copy(to: values)
    }
}

@c @implementation
public func cadenza_model_weight_set(_ model: OpaquePointer?, _ index: Int, _ values: UnsafePointer<Float>?,
                                     _ count: Int) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let values = try given(values, "values")
        try model.setWeight(try weight(model, index, count), values)
    }
}

@c @implementation
public func cadenza_model_nonfinite_weights(_ model: OpaquePointer?, _ count: UnsafeMutablePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        try given(count, "count").pointee = model.nonfiniteWeights
    }
}

// MARK: Whole sequences

/// A batch of 1 or more.
private func batch(_ size: Int) throws(Failure) -> Int {
    let size = try count(size, "batch")
    guard size >= 1 else { throw Failure(.invalidArgument, "batch is 0, expected 1 or more") }
    return size
}

@c @implementation
public func cadenza_model_run(_ model: OpaquePointer?, _ batch: Int, _ time: Int, _ input: UnsafePointer<Float>?,
                              _ output: UnsafeMutablePointer<Float>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let input = try given(input, "input"), output = try given(output, "output")
        try requireOneEach(model, "cadenza_model_run_multi")
        let batch = try CadenzaABI.batch(batch)
        var time = try count(time, "time")
        var inputs: UnsafePointer<Float>? = input
        var outputs: UnsafeMutablePointer<Float>? = output
        try model.run(batch: batch, times: &time, inputs: &inputs, outputs: &outputs)
    }
}

@c @implementation
public func cadenza_model_run_multi(_ model: OpaquePointer?, _ batch: Int, _ times: UnsafePointer<Int>?,
                                    _ inputs: UnsafePointer<UnsafePointer<Float>?>?,
                                    _ outputs: UnsafePointer<UnsafeMutablePointer<Float>?>?) -> cadenza_status {
    cadenza_model_run_threads(model, batch, times, inputs, outputs, 1)
}

@c @implementation
public func cadenza_model_run_threads(_ model: OpaquePointer?, _ batch: Int, _ times: UnsafePointer<Int>?,
                                      _ inputs: UnsafePointer<UnsafePointer<Float>?>?,
                                      _ outputs: UnsafePointer<UnsafeMutablePointer<Float>?>?, _ threads: Int) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let inputs = try given(inputs, "inputs"), outputs = try given(outputs, "outputs")
        try checkTimes(model, times)
        try model.run(batch: try CadenzaABI.batch(batch), times: times, inputs: inputs, outputs: outputs,
                      threads: try count(threads, "threads"))
    }
}

func checkTimes(_ model: Model, _ times: UnsafePointer<Int>?) throws(Failure) {
    guard let times else { return }
    for (i, port) in model.inputs.enumerated() where port.hasTime { _ = try count(times[i], "times") }
}

@c @implementation
public func cadenza_model_output_shape(_ model: OpaquePointer?, _ batch: Int, _ times: UnsafePointer<Int>?, _ index: Int,
                                       _ shape: UnsafeMutablePointer<cadenza_shape>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let batch = try CadenzaABI.batch(batch)
        try checkTimes(model, times)
        let found = try model.outputShape(try CadenzaABI.index(index, below: model.outputs.count, "index"), times: times)
        try fill(shape, "shape", wholeShape([batch] + found))
    }
}

/// A shape with its batch axis.
func wholeShape(_ dims: Shape) throws(Failure) -> cadenza_shape {
    func at(_ i: Int) -> Int { i < dims.count ? dims[i] : 0 }
    return cadenza_shape(struct_size: 0, rank: Int32(dims.count), reserved: 0,
                         dims: (at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8)), count: try dims.elementCount())
}

/// The short calls are for models with one input and one output.
func requireOneEach(_ model: Model, _ other: Literal) throws(Failure) {
    guard model.inputs.count == 1, model.outputs.count == 1 else {
        throw Failure(.invalidArgument, "the model has \(model.inputs.count) inputs and \(model.outputs.count) outputs: use "
            + "\(other)")
    }
}
