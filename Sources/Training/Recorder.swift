import Engine

/// A tape for any shapes: made anew where batch or lengths change.
public final class Recorder {
    public let parameters: Parameters
    public let inputGradients: Bool
    private var tape: Tape?
    /// Whether the last run has not been followed by a failed one of other shapes.
    public private(set) var hasGradients = false

    @export(interface)
    public init(_ parameters: Parameters, inputGradients: Bool) {
        self.parameters = parameters
        self.inputGradients = inputGradients
    }

    /// The tape of the last run.
    @export(interface)
    public func current() throws(Failure) -> Tape {
        guard let tape, tape.hasRun else { throw Failure(.invalidArgument, "the tape has not run forward yet") }
        return tape
    }

    /// The tape for these shapes.
    @export(interface)
    public func tape(batch: Int, times: UnsafePointer<Int>?) throws(Failure) -> Tape {
        guard batch >= 1 else { throw Failure(.invalidArgument, "batch is \(batch), expected 1 or more") }
        if let tape, tape.batch == batch, tape.times == (try parameters.model.lengths(times)) { return tape }
        hasGradients = false
        tape = nil
        let made = try Tape.make(parameters, batch: batch, times: times, inputGradients: inputGradients)
        tape = made
        return made
    }

    @export(interface)
    public func forward(batch: Int, times: UnsafePointer<Int>?, inputs: UnsafePointer<UnsafePointer<Float>?>,
                        states: UnsafePointer<UnsafePointer<Float>?>?, isTraining: Bool, seed: UInt64) throws(Failure) {
        let tape = try tape(batch: batch, times: times)
        parameters.refresh()
        try tape.forward(inputs: inputs, states: states, isTraining: isTraining, seed: seed, number: 0)
        hasGradients = false
    }

    /// From the outputs' gradients, nil where zero; and those of the final states.
    @export(interface)
    public func backward(outputs: UnsafePointer<UnsafePointer<Float>?>, states: UnsafePointer<UnsafePointer<Float>?>?,
                         accumulate: Bool) throws(Failure) {
        let tape = try current()
        tape.beginBackward()
        for index in 0..<parameters.model.outputs.count {
            guard let given = outputs[index], let gradient = tape.outputGradient(index) else { continue }
            add(given, to: gradient, tape.batch * tape.outputCount(index))
        }
        for index in 0..<parameters.model.shownStates.count { tape.setFinalStateGradient(index, states?[index]) }
        if !accumulate { parameters.zeroGradients() }
        tape.backward()
        for index in 0..<parameters.model.shownStates.count { tape.setFinalStateGradient(index, nil) }
        hasGradients = true
        parameters.hasGradients = true
    }
}
