import CCadenza
import Engine
import Training

// Training: the tape.

@c @implementation
public func cadenza_tape_options_init(_ options: UnsafeMutablePointer<cadenza_tape_options>?) {
    options?.pointee = cadenza_tape_options(struct_size: MemoryLayout<cadenza_tape_options>.size, input_gradients: 1, reserved: 0,
                                            frozen: nil, frozen_count: 0)
}

/// Indices of layers that a caller gives.
private func layers(_ indices: UnsafePointer<Int>?, _ size: Int, of model: Model, _ argument: StaticString) throws(Failure) -> [Int] {
    guard let indices else { return [] }
    var result: [Int] = []
    for i in 0..<(try count(size, argument)) { result.append(try index(indices[i], below: model.entries.count, argument)) }
    return result
}

@c @implementation
public func cadenza_tape_create(_ model: OpaquePointer?, _ options: UnsafePointer<cadenza_tape_options>?,
                                _ tape: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let tape = try given(tape, "tape")
        var frozen: [Int] = [], inputGradients = true
        if let options = options?.pointee {
            try require(options.struct_size, MemoryLayout<cadenza_tape_options>.size, "options")
            frozen = try layers(options.frozen, options.frozen_count, of: model, "options->frozen")
            inputGradients = options.input_gradients != 0
        }
        tape.pointee = handle(Recorder(try Parameters.make(model, frozen: frozen), inputGradients: inputGradients))
    }
}

/// Holds that a struct is as large as this library's.
func require(_ size: Int, _ expected: Int, _ argument: StaticString) throws(Failure) {
    guard size >= expected else {
        throw Failure(.invalidArgument, "\(Name(stringLiteral: argument).string)->struct_size is \(size < 0 ? 0 : size), "
            + "expected sizeof the struct (\(expected))")
    }
}

@c @implementation
public func cadenza_tape_release(_ tape: OpaquePointer?) { release(tape, Recorder.self) }

@c @implementation
public func cadenza_tape_forward(_ tape: OpaquePointer?, _ batch: Int, _ times: UnsafePointer<Int>?,
                                 _ inputs: UnsafePointer<UnsafePointer<Float>?>?, _ states: UnsafePointer<UnsafePointer<Float>?>?,
                                 _ training: Int32, _ seed: UInt64) -> cadenza_status {
    attempt { () throws(Failure) in
        let recorder: Recorder = try object(tape, "tape")
        try checkTimes(recorder.parameters.model, times)
        try recorder.forward(batch: try count(batch, "batch"), times: times, inputs: try given(inputs, "inputs"), states: states,
                             isTraining: training != 0, seed: seed)
    }
}

@c @implementation
public func cadenza_tape_output_shape(_ tape: OpaquePointer?, _ index: Int,
                                      _ shape: UnsafeMutablePointer<cadenza_shape>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let recorder: Recorder = try object(tape, "tape")
        let tape = try recorder.current()
        let output = try CadenzaABI.index(index, below: recorder.parameters.model.outputs.count, "index")
        try fill(shape, "shape", wholeShape([tape.batch] + tape.outputShape(output)))
    }
}

/// Copies values out, where the caller counted right.
private func copy(_ source: UnsafePointer<Float>?, _ expected: Int, to values: UnsafeMutablePointer<Float>?, _ count: Int) throws(Failure) {
    let values = try given(values, "values")
    guard count == expected else { throw Failure(.invalidArgument, "count is \(count), expected \(expected)") }
    if let source { values.update(from: source, count: expected) } else { values.update(repeating: 0, count: expected) }
}

@c @implementation
public func cadenza_tape_output(_ tape: OpaquePointer?, _ index: Int, _ values: UnsafeMutablePointer<Float>?,
                                _ count: Int) -> cadenza_status {
    attempt { () throws(Failure) in
        let recorder: Recorder = try object(tape, "tape")
        let tape = try recorder.current()
        let output = try CadenzaABI.index(index, below: recorder.parameters.model.outputs.count, "index")
        try copy(tape.output(output), tape.batch * tape.outputCount(output), to: values, count)
    }
}

@c @implementation
public func cadenza_tape_output_mask(_ tape: OpaquePointer?, _ index: Int, _ mask: UnsafeMutablePointer<UInt8>?, _ count: Int,
                                     _ has_mask: UnsafeMutablePointer<Int32>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let recorder: Recorder = try object(tape, "tape")
        let tape = try recorder.current()
        let output = try CadenzaABI.index(index, below: recorder.parameters.model.outputs.count, "index")
        let own = tape.outputMask(output)
        let hasMask = try given(has_mask, "has_mask")
        if let own, let mask {
            let expected = tape.batch * tape.outputShape(output)[0]
            guard count == expected else { throw Failure(.invalidArgument, "count is \(count), expected \(expected)") }
            mask.update(from: own, count: expected)
        }
        hasMask.pointee = own == nil ? 0 : 1
    }
}

@c @implementation
public func cadenza_tape_state(_ tape: OpaquePointer?, _ index: Int, _ values: UnsafeMutablePointer<Float>?,
                               _ count: Int) -> cadenza_status {
    attempt { () throws(Failure) in
        let recorder: Recorder = try object(tape, "tape")
        let tape = try recorder.current(), states = recorder.parameters.model.shownStates
        let state = try CadenzaABI.index(index, below: states.count, "index")
        try copy(tape.finalState(state), tape.batch * states[state].slot.units, to: values, count)
    }
}

@c @implementation
public func cadenza_tape_backward(_ tape: OpaquePointer?, _ outputs: UnsafePointer<UnsafePointer<Float>?>?,
                                  _ states: UnsafePointer<UnsafePointer<Float>?>?, _ accumulate: Int32) -> cadenza_status {
    attempt { () throws(Failure) in
        let recorder: Recorder = try object(tape, "tape")
        try recorder.backward(outputs: try given(outputs, "outputs"), states: states, accumulate: accumulate != 0)
    }
}

/// The recorder, once it has run backward.
private func differentiated(_ tape: OpaquePointer?) throws(Failure) -> Recorder {
    let recorder: Recorder = try object(tape, "tape")
    guard recorder.hasGradients else { throw Failure(.invalidArgument, "the tape has not run backward yet") }
    return recorder
}

@c @implementation
public func cadenza_tape_weight_gradient(_ tape: OpaquePointer?, _ index: Int, _ values: UnsafeMutablePointer<Float>?,
                                         _ count: Int) -> cadenza_status {
    attempt { () throws(Failure) in
        let parameters = try differentiated(tape).parameters
        let weight = try CadenzaABI.index(index, below: parameters.gradients.count, "index")
        guard let gradient = parameters.gradients[weight] else {
            throw Failure(.invalidArgument, "weight '\(parameters.model.weights[weight].path.string)' is not trained")
        }
        try copy(gradient.floats, gradient.count, to: values, count)
    }
}

@c @implementation
public func cadenza_tape_input_gradient(_ tape: OpaquePointer?, _ index: Int, _ values: UnsafeMutablePointer<Float>?,
                                        _ count: Int) -> cadenza_status {
    attempt { () throws(Failure) in
        let recorder = try differentiated(tape)
        let tape = try recorder.current()
        let input = try CadenzaABI.index(index, below: recorder.parameters.model.inputs.count, "index")
        guard let gradient = tape.inputGradient(input) else {
            throw Failure(.invalidArgument, "the tape was made without input_gradients")
        }
        try copy(gradient, tape.batch * tape.inputCount(input), to: values, count)
    }
}

@c @implementation
public func cadenza_tape_state_gradient(_ tape: OpaquePointer?, _ index: Int, _ values: UnsafeMutablePointer<Float>?,
                                        _ count: Int) -> cadenza_status {
    attempt { () throws(Failure) in
        let recorder = try differentiated(tape)
        let tape = try recorder.current(), states = recorder.parameters.model.shownStates
        let state = try CadenzaABI.index(index, below: states.count, "index")
        try copy(tape.stateGradient(state), tape.batch * states[state].slot.units, to: values, count)
    }
}

@c @implementation
public func cadenza_tape_commit_statistics(_ tape: OpaquePointer?) -> cadenza_status {
    attempt { () throws(Failure) in
        let recorder: Recorder = try object(tape, "tape")
        try recorder.current().commitStatistics()
        try recorder.parameters.model.pack()
    }
}
