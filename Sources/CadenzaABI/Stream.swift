import CCadenza
import Engine
import Files

// Stream.

@c @implementation
public func cadenza_stream_create(_ model: OpaquePointer?, _ batch: Int,
                                  _ stream: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let stream = try given(stream, "stream")
        stream.pointee = handle(try Stream(model, batch: try count(batch, "batch")))
    }
}

@c @implementation
public func cadenza_stream_retain(_ stream: OpaquePointer?) -> OpaquePointer? {
    if let stream { retain(stream, Stream.self) }
    return stream
}

@c @implementation
public func cadenza_stream_release(_ stream: OpaquePointer?) { release(stream, Stream.self) }

@c @implementation
public func cadenza_stream_fork(_ stream: OpaquePointer?, _ fork: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let stream: Stream = try object(stream, "stream")
        let fork = try given(fork, "fork")
        fork.pointee = handle(try stream.fork())
    }
}

@c @implementation
public func cadenza_stream_batch(_ stream: OpaquePointer?) -> Int { (try? object(stream, "stream") as Stream)?.batch ?? 0 }

@c @implementation
public func cadenza_stream_model(_ stream: OpaquePointer?, _ model: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let stream: Stream = try object(stream, "stream")
        let model = try given(model, "model")
        model.pointee = handle(stream.model)
    }
}

// MARK: Steps

private func run(_ stream: OpaquePointer?, _ steps: Int, _ input: UnsafePointer<Float>?, _ output: UnsafeMutablePointer<Float>?,
                 advance: Bool, _ other: Literal) -> cadenza_status {
    attempt { () throws(Failure) in
        try borrowed(stream, "stream") { (stream: Stream) throws(Failure) in
            let input = try given(input, "input"), output = try given(output, "output")
            if !stream.isSimple { try requireOneEach(stream.model, other) }
            if steps == 1 { return try stream.step(input, output, advance: advance) }
            var inputs: UnsafePointer<Float>? = input
            var outputs: UnsafeMutablePointer<Float>? = output
            try stream.run(steps: try count(steps, "steps"), inputs: &inputs, outputs: &outputs, advance: advance)
        }
    }
}

@c @implementation
public func cadenza_stream_step(_ stream: OpaquePointer?, _ input: UnsafePointer<Float>?,
                                _ output: UnsafeMutablePointer<Float>?) -> cadenza_status {
    run(stream, 1, input, output, advance: true, "cadenza_stream_step_multi")
}

@c @implementation
public func cadenza_stream_run(_ stream: OpaquePointer?, _ steps: Int, _ input: UnsafePointer<Float>?,
                               _ output: UnsafeMutablePointer<Float>?) -> cadenza_status {
    run(stream, steps, input, output, advance: true, "cadenza_stream_run_multi")
}

@c @implementation
public func cadenza_stream_peek(_ stream: OpaquePointer?, _ input: UnsafePointer<Float>?,
                                _ output: UnsafeMutablePointer<Float>?) -> cadenza_status {
    run(stream, 1, input, output, advance: false, "cadenza_stream_peek_multi")
}

@c @implementation
public func cadenza_stream_step_multi(_ stream: OpaquePointer?, _ inputs: UnsafePointer<UnsafePointer<Float>?>?,
                                      _ outputs: UnsafePointer<UnsafeMutablePointer<Float>?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let stream: Stream = try object(stream, "stream")
        try stream.run(steps: 1, inputs: try given(inputs, "inputs"), outputs: outputs)
    }
}

@c @implementation
public func cadenza_stream_run_multi(_ stream: OpaquePointer?, _ steps: Int, _ inputs: UnsafePointer<UnsafePointer<Float>?>?,
                                     _ outputs: UnsafePointer<UnsafeMutablePointer<Float>?>?,
                                     _ states: UnsafePointer<UnsafeMutablePointer<Float>?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let stream: Stream = try object(stream, "stream")
        try stream.run(steps: try count(steps, "steps"), inputs: try given(inputs, "inputs"), outputs: outputs, states: states)
    }
}

@c @implementation
public func cadenza_stream_peek_multi(_ stream: OpaquePointer?, _ inputs: UnsafePointer<UnsafePointer<Float>?>?,
                                      _ outputs: UnsafePointer<UnsafeMutablePointer<Float>?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let stream: Stream = try object(stream, "stream")
        try stream.run(steps: 1, inputs: try given(inputs, "inputs"), outputs: outputs, advance: false)
    }
}

// MARK: State

@c @implementation
public func cadenza_stream_reset(_ stream: OpaquePointer?) -> cadenza_status {
    attempt { () throws(Failure) in (try object(stream, "stream") as Stream).reset() }
}

@c @implementation
public func cadenza_stream_reset_row(_ stream: OpaquePointer?, _ row: Int) -> cadenza_status {
    attempt { () throws(Failure) in
        let stream: Stream = try object(stream, "stream")
        stream.reset(row: try index(row, below: stream.batch, "row"))
    }
}

@c @implementation
public func cadenza_stream_position(_ stream: OpaquePointer?, _ row: Int, _ position: UnsafeMutablePointer<UInt64>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let stream: Stream = try object(stream, "stream")
        let row = try index(row, below: stream.batch, "row")
        try given(position, "position").pointee = stream.position(row: row)
    }
}

@c @implementation
public func cadenza_model_state_count(_ model: OpaquePointer?) -> Int { (try? object(model, "model") as Model)?.shownStates.count ?? 0 }

@c @implementation
public func cadenza_model_state_info(_ model: OpaquePointer?, _ index: Int,
                                     _ info: UnsafeMutablePointer<cadenza_state_info>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let state = model.shownStates[try CadenzaABI.index(index, below: model.shownStates.count, "index")]
        try fill(info, "info", cadenza_state_info(struct_size: 0, layer: state.cLayer.pointer, name: state.cName.pointer,
                                                  units: state.slot.units))
    }
}

@c @implementation
public func cadenza_stream_state_get(_ stream: OpaquePointer?, _ index: Int, _ values: UnsafeMutablePointer<Float>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let stream: Stream = try object(stream, "stream")
        let states = stream.model.shownStates
        let state = states[try CadenzaABI.index(index, below: states.count, "index")]
        stream.state(state, into: try given(values, "values"))
    }
}

@c @implementation
public func cadenza_stream_state_set(_ stream: OpaquePointer?, _ index: Int, _ values: UnsafePointer<Float>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let stream: Stream = try object(stream, "stream")
        let states = stream.model.shownStates
        let state = states[try CadenzaABI.index(index, below: states.count, "index")]
        stream.setState(state, try given(values, "values"))
    }
}

@c @implementation
public func cadenza_stream_health(_ stream: OpaquePointer?, _ row: Int, _ nonfinite: UnsafeMutablePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let stream: Stream = try object(stream, "stream")
        let row = try index(row, below: stream.batch, "row")
        try given(nonfinite, "nonfinite").pointee = stream.nonfiniteStates(row: row)
    }
}

// MARK: Snapshots

@c @implementation
public func cadenza_stream_snapshot(_ stream: OpaquePointer?, _ buffer: UnsafeMutableRawPointer?, _ capacity: Int,
                                    _ size: UnsafeMutablePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in try deliver(try object(stream, "stream") as Stream, to: buffer, capacity: capacity, size) }
}

@c @implementation
public func cadenza_stream_snapshot_file(_ stream: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> cadenza_status {
    attempt { () throws(Failure) in try write(try object(stream, "stream") as Stream, to: path) }
}

@c @implementation
public func cadenza_stream_restore(_ stream: OpaquePointer?, _ bytes: UnsafeRawPointer?, _ size: Int) -> cadenza_status {
    attempt { () throws(Failure) in try restore(try object(stream, "stream") as Stream, bytes, size) }
}

@c @implementation
public func cadenza_stream_restore_file(_ stream: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> cadenza_status {
    attempt { () throws(Failure) in try restore(try object(stream, "stream") as Stream, from: path) }
}
