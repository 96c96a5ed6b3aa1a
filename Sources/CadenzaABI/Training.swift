import CCadenza
import Engine
import Files
import Generation
import Training

// Training: the tape.

@c @implementation
public func cadenza_tape_options_init(_ options: UnsafeMutablePointer<cadenza_tape_options>?) {
    options?.pointee = cadenza_tape_options(struct_size: MemoryLayout<cadenza_tape_options>.size, input_gradients: 1, reserved: 0,
                                            frozen: nil, frozen_count: 0, threads: 1, memory_limit: 0)
}

/// Indices of layers that a caller gives.
private func layers(_ indices: UnsafePointer<Int>?, _ size: Int, of model: Model, _ argument: Literal) throws(Failure) -> [Int] {
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
        var frozen: [Int] = [], inputGradients = true, threads = 1, memoryLimit = 0
        if let options = options?.pointee {
            try require(options.struct_size, MemoryLayout<cadenza_tape_options>.size, "options")
            frozen = try layers(options.frozen, options.frozen_count, of: model, "options->frozen")
            inputGradients = options.input_gradients != 0
            threads = try count(options.threads, "options->threads")
            memoryLimit = try count(options.memory_limit, "options->memory_limit")
        }
        let parameters = try Parameters.make(model, frozen: frozen, threads: threads, memoryLimit: memoryLimit)
        tape.pointee = handle(Recorder(parameters, inputGradients: inputGradients))
    }
}

/// Holds that a struct is as large as this library's.
func require(_ size: Int, _ expected: Int, _ argument: Literal) throws(Failure) {
    guard size >= expected else {
        throw Failure(.invalidArgument, "\(argument)->struct_size is \(size < 0 ? 0 : size), "
            + "expected sizeof the struct (\(expected))")
    }
}

@c @implementation
public func cadenza_tape_fork(_ tape: OpaquePointer?, _ fork: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let recorder: Recorder = try object(tape, "tape")
        let fork = try given(fork, "fork")
        fork.pointee = handle(Recorder(recorder.parameters, inputGradients: recorder.inputGradients))
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
        try CadenzaABI.mask(try recorder.current(), index, mask, count, has_mask)
    }
}

private func mask(_ tape: Tape, _ index: Int, _ mask: UnsafeMutablePointer<UInt8>?, _ count: Int,
                  _ has_mask: UnsafeMutablePointer<Int32>?) throws(Failure) {
    let output = try CadenzaABI.index(index, below: tape.model.outputs.count, "index")
    let own = tape.outputMask(output)
    let hasMask = try given(has_mask, "has_mask")
    if let own, let mask {
        let expected = tape.batch * tape.outputShape(output)[0]
        guard count == expected else { throw Failure(.invalidArgument, "count is \(count), expected \(expected)") }
        mask.update(from: own, count: expected)
    }
    hasMask.pointee = own == nil ? 0 : 1
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
        let parameters = (try object(tape, "tape") as Recorder).parameters
        guard parameters.hasGradients else { throw Failure(.invalidArgument, "the tape has not run backward yet") }
        try gradient(parameters, index, values, count)
    }
}

private func gradient(_ parameters: Parameters, _ index: Int, _ values: UnsafeMutablePointer<Float>?, _ count: Int) throws(Failure) {
    let weight = try CadenzaABI.index(index, below: parameters.gradients.count, "index")
    guard let gradient = parameters.gradients[weight] else {
        throw Failure(.invalidArgument, "weight '\(parameters.model.weights[weight].path)' is not trained")
    }
    try copy(gradient.floats, gradient.count, to: values, count)
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
    attemptRounding { () throws(Failure) in
        let recorder: Recorder = try object(tape, "tape")
        try recorder.current().commitStatistics()
        try recorder.parameters.model.pack()
    }
}

@c @implementation
public func cadenza_tape_zero_gradients(_ tape: OpaquePointer?) -> cadenza_status {
    attempt { () throws(Failure) in (try object(tape, "tape") as Recorder).parameters.zeroGradients() }
}

// MARK: Loops of steps

@c @implementation
public func cadenza_unrolled_options_init(_ options: UnsafeMutablePointer<cadenza_unrolled_options>?) {
    options?.pointee = cadenza_unrolled_options(
        struct_size: MemoryLayout<cadenza_unrolled_options>.size, feedback_first: 0, feedback_count: 0, choice: 0, from_probabilities: 0,
        as_number: 0, straight_through: 0, below: nil, initial_state: nil, policy: 0, feedback: 0, upward: 0, state_gradients: 0)
}

@c @implementation
public func cadenza_unrolled_create(_ tape: OpaquePointer?, _ options: UnsafePointer<cadenza_unrolled_options>?,
                                    _ unrolled: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let recorder: Recorder = try object(tape, "tape")
        let unrolled = try given(unrolled, "unrolled")
        var own = UnrolledOptions()
        guard let options = options?.pointee else {
            unrolled.pointee = handle(try UnrolledSelfFeeding.make(recorder.parameters, own) as Unrolled)
            return
        }
        try require(options.struct_size, MemoryLayout<cadenza_unrolled_options>.size, "options")
        guard let choice = UnrolledOptions.Choice(rawValue: options.choice) else {
            throw Failure(.invalidArgument, "options->choice is \(Int(options.choice)), which is none")
        }
        guard let policy = LevelOptions.StatePolicy(rawValue: options.policy) else {
            throw Failure(.invalidArgument, "options->policy is \(Int(options.policy)), which is none")
        }
        own.first = try count(options.feedback_first, "options->feedback_first")
        own.count = try count(options.feedback_count, "options->feedback_count")
        own.choice = choice
        own.policy = policy
        own.fromProbabilities = options.from_probabilities != 0
        own.asNumber = options.as_number != 0
        own.isStraightThrough = options.straight_through != 0
        own.feedsBack = options.feedback != 0
        own.feedsUpward = options.upward != 0
        own.keepsStateGradients = options.state_gradients != 0
        if let below = options.below {
            let below: Recorder = try object(below, "options->below")
            let head: Recorder? = options.initial_state == nil ? nil : try object(options.initial_state, "options->initial_state")
            unrolled.pointee = handle(try UnrolledNested.make(recorder.parameters, wantsX: recorder.inputGradients, below: below.parameters,
                                                              head: head?.parameters, own) as Unrolled)
        } else {
            guard !own.feedsBack, !own.feedsUpward, policy == .carry, options.initial_state == nil else {
                throw Failure(.invalidArgument, "feedback, upward, policy and initial_state are of a model below, and options->below is NULL")
            }
            unrolled.pointee = handle(try UnrolledSelfFeeding.make(recorder.parameters, own) as Unrolled)
        }
    }
}

@c @implementation
public func cadenza_unrolled_release(_ unrolled: OpaquePointer?) { release(unrolled, Unrolled.self) }

@c @implementation
public func cadenza_unrolled_forward(_ unrolled: OpaquePointer?, _ batch: UnsafePointer<cadenza_unrolled_batch>?) -> cadenza_status {
    attemptRounding { () throws(Failure) in
        let unrolled: Unrolled = try object(unrolled, "unrolled")
        let given = try CadenzaABI.given(batch, "batch").pointee
        try require(given.struct_size, MemoryLayout<cadenza_unrolled_batch>.size, "batch")
        var batch = UnrolledBatch()
        batch.batch = try count(given.batch, "batch->batch")
        batch.steps = try count(given.steps, "batch->steps")
        batch.x = given.x
        batch.states = given.states
        batch.outputs = try count(given.outputs, "batch->outputs")
        batch.targets = given.targets
        batch.teacherForcing = given.teacher_forcing
        batch.taught = given.taught
        batch.counts = given.counts
        batch.countsPerRow = given.counts_per_row != 0
        batch.isTraining = given.training != 0
        batch.seed = given.seed
        try unrolled.forward(batch)
    }
}

private func part(_ part: Int32) throws(Failure) -> UnrolledPart {
    guard let part = UnrolledPart(rawValue: part) else { throw Failure(.invalidArgument, "part is \(Int(part)), which is none") }
    return part
}

@c @implementation
public func cadenza_unrolled_size(_ unrolled: OpaquePointer?, _ part: Int32, _ index: Int, _ count: UnsafeMutablePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let unrolled: Unrolled = try object(unrolled, "unrolled")
        let count = try given(count, "count")
        count.pointee = try unrolled.size(try CadenzaABI.part(part), index)
    }
}

private func read(_ unrolled: OpaquePointer?, _ part: Int32, _ index: Int, gradient: Bool, _ values: UnsafeMutablePointer<Float>?,
                  _ count: Int) throws(Failure) {
    let unrolled: Unrolled = try object(unrolled, "unrolled")
    let part = try CadenzaABI.part(part), expected = try unrolled.size(part, index)
    guard count == expected else { throw Failure(.invalidArgument, "count is \(count), expected \(expected)") }
    try unrolled.copy(part, index, gradient: gradient, to: try given(values, "values"))
}

@c @implementation
public func cadenza_unrolled_values(_ unrolled: OpaquePointer?, _ part: Int32, _ index: Int, _ values: UnsafeMutablePointer<Float>?,
                                    _ count: Int) -> cadenza_status {
    attempt { () throws(Failure) in try read(unrolled, part, index, gradient: false, values, count) }
}

@c @implementation
public func cadenza_unrolled_gradient(_ unrolled: OpaquePointer?, _ part: Int32, _ index: Int, _ values: UnsafeMutablePointer<Float>?,
                                      _ count: Int) -> cadenza_status {
    attempt { () throws(Failure) in try read(unrolled, part, index, gradient: true, values, count) }
}

@c @implementation
public func cadenza_unrolled_backward(_ unrolled: OpaquePointer?, _ outputs: UnsafePointer<Float>?, _ answers: UnsafePointer<Float>?,
                                      _ states: UnsafePointer<UnsafePointer<Float>?>?, _ accumulate: Int32) -> cadenza_status {
    attemptRounding { () throws(Failure) in
        let unrolled: Unrolled = try object(unrolled, "unrolled")
        try unrolled.backward(outputs: outputs, answers: answers, states: states, accumulate: accumulate != 0)
    }
}

// MARK: Trainer

@c @implementation
public func cadenza_loss_init(_ loss: UnsafeMutablePointer<cadenza_loss>?, _ kind: Int32) {
    loss?.pointee = cadenza_loss(struct_size: MemoryLayout<cadenza_loss>.size, kind: kind, reduction: 0, from_logits: 0, reserved: 0,
                                 label_smoothing: 0, delta: 1, weight: 1, sigma: -1, components: 1, output: 0)
}

@c @implementation
public func cadenza_optimizer_init(_ optimizer: UnsafeMutablePointer<cadenza_optimizer>?, _ kind: Int32) {
    let options = OptimizerOptions.defaults(OptimizerOptions.Kind(rawValue: kind) ?? .adam)
    optimizer?.pointee = cadenza_optimizer(
        struct_size: MemoryLayout<cadenza_optimizer>.size, kind: kind, nesterov: 0, amsgrad: 0, centered: 0, use_ema: 0, reserved: 0,
        learning_rate: options.learningRate, beta_1: options.beta1, beta_2: options.beta2, epsilon: options.epsilon,
        momentum: options.momentum, rho: options.rho, initial_accumulator_value: options.initialAccumulator, decay: options.decay,
        weight_decay: options.weightDecay, clipnorm: 0, global_clipnorm: 0, clipvalue: 0, ema_momentum: options.emaMomentum,
        ema_overwrite_frequency: 0, gradient_accumulation_steps: 1)
}

private func loss(_ given: cadenza_loss) throws(Failure) -> Loss {
    try require(given.struct_size, MemoryLayout<cadenza_loss>.size, "losses")
    guard let kind = Loss.Kind(rawValue: given.kind), let reduction = Loss.Reduction(rawValue: given.reduction) else {
        throw Failure(.invalidArgument, "a loss has kind \(Int(given.kind)) and reduction \(Int(given.reduction)), one of which is none")
    }
    var loss = Loss()
    loss.kind = kind
    loss.reduction = reduction
    loss.fromLogits = given.from_logits != 0
    loss.labelSmoothing = given.label_smoothing
    loss.delta = given.delta
    loss.weight = given.weight
    loss.sigma = given.sigma
    loss.components = try count(given.components, "losses->components")
    return loss
}

private func optimizer(_ given: cadenza_optimizer) throws(Failure) -> OptimizerOptions {
    try require(given.struct_size, MemoryLayout<cadenza_optimizer>.size, "optimizer")
    guard let kind = OptimizerOptions.Kind(rawValue: given.kind) else {
        throw Failure(.invalidArgument, "the optimizer's kind is \(Int(given.kind)), which is none")
    }
    var options = OptimizerOptions()
    options.kind = kind
    options.learningRate = given.learning_rate
    options.beta1 = given.beta_1
    options.beta2 = given.beta_2
    options.epsilon = given.epsilon
    options.momentum = given.momentum
    options.rho = given.rho
    options.initialAccumulator = given.initial_accumulator_value
    options.decay = given.decay
    options.weightDecay = given.weight_decay
    options.clipNorm = given.clipnorm
    options.globalClipNorm = given.global_clipnorm
    options.clipValue = given.clipvalue
    options.nesterov = given.nesterov != 0
    options.amsgrad = given.amsgrad != 0
    options.centered = given.centered != 0
    options.usesEMA = given.use_ema != 0
    options.emaMomentum = given.ema_momentum
    options.emaOverwriteFrequency = try count(given.ema_overwrite_frequency, "optimizer->ema_overwrite_frequency")
    options.accumulationSteps = try count(given.gradient_accumulation_steps, "optimizer->gradient_accumulation_steps")
    return options
}

@c @implementation
public func cadenza_trainer_create(_ model: OpaquePointer?, _ options: UnsafePointer<cadenza_trainer_options>?,
                                   _ trainer: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attemptRounding { () throws(Failure) in
        let model: Model = try object(model, "model")
        let options = try CadenzaABI.given(options, "options").pointee, trainer = try given(trainer, "trainer")
        try require(options.struct_size, MemoryLayout<cadenza_trainer_options>.size, "options")
        var losses: [Loss?] = Array(repeating: nil, count: model.outputs.count)
        for i in 0..<(try count(options.loss_count, "options->loss_count")) {
            let given = try CadenzaABI.given(options.losses, "options->losses")
            let output = try index(given[i].output, below: losses.count, "losses->output")
            guard losses[output] == nil else { throw Failure(.invalidArgument, "output \(output) has two losses") }
            losses[output] = try loss(given[i])
        }
        let rule = options.optimizer == nil ? OptimizerOptions() : try optimizer(options.optimizer.pointee)
        let frozen = try layers(options.frozen, options.frozen_count, of: model, "options->frozen")
        trainer.pointee = handle(try Trainer.make(model, losses: losses, options: rule, frozen: frozen, seed: options.seed,
                                                 threads: try count(options.threads, "options->threads"),
                                                 memoryLimit: try count(options.memory_limit, "options->memory_limit")))
    }
}

@c @implementation
public func cadenza_trainer_release(_ trainer: OpaquePointer?) { release(trainer, Trainer.self) }

private enum TrainerCall { case update, evaluate, differentiate }

private func run(_ call: TrainerCall, _ trainer: OpaquePointer?, _ batch: UnsafePointer<cadenza_batch>?,
                 _ loss: UnsafeMutablePointer<Double>?, _ losses: UnsafeMutablePointer<Double>?) -> cadenza_status {
    attemptRounding { () throws(Failure) in
        let trainer: Trainer = try object(trainer, "trainer")
        let given = try CadenzaABI.given(batch, "batch").pointee
        try require(given.struct_size, MemoryLayout<cadenza_batch>.size, "batch")
        try checkTimes(trainer.model, given.times)
        var batch = TrainingBatch()
        batch.batch = try count(given.batch, "batch->batch")
        batch.times = given.times
        batch.inputs = given.inputs
        batch.targets = given.targets
        batch.weights = given.weights
        batch.weightsPerStep = given.weights_per_step != 0
        batch.states = given.states
        batch.carriesState = given.carry_state != 0
        let total = switch call {
        case .update: try trainer.update(batch, losses: losses)
        case .evaluate: try trainer.evaluate(batch, losses: losses)
        case .differentiate: try trainer.differentiate(batch, losses: losses)
        }
        loss?.pointee = total
    }
}

@c @implementation
public func cadenza_trainer_update(_ trainer: OpaquePointer?, _ batch: UnsafePointer<cadenza_batch>?,
                                   _ loss: UnsafeMutablePointer<Double>?, _ losses: UnsafeMutablePointer<Double>?) -> cadenza_status {
    run(.update, trainer, batch, loss, losses)
}

@c @implementation
public func cadenza_trainer_evaluate(_ trainer: OpaquePointer?, _ batch: UnsafePointer<cadenza_batch>?,
                                     _ loss: UnsafeMutablePointer<Double>?, _ losses: UnsafeMutablePointer<Double>?) -> cadenza_status {
    run(.evaluate, trainer, batch, loss, losses)
}

@c @implementation
public func cadenza_trainer_differentiate(_ trainer: OpaquePointer?, _ batch: UnsafePointer<cadenza_batch>?,
                                          _ loss: UnsafeMutablePointer<Double>?, _ losses: UnsafeMutablePointer<Double>?) -> cadenza_status {
    run(.differentiate, trainer, batch, loss, losses)
}

@c @implementation
public func cadenza_trainer_apply(_ trainer: OpaquePointer?, _ gradients: UnsafePointer<UnsafePointer<Float>?>?) -> cadenza_status {
    attemptRounding { () throws(Failure) in try (try object(trainer, "trainer") as Trainer).apply(try given(gradients, "gradients")) }
}

@c @implementation
public func cadenza_trainer_apply_tape(_ trainer: OpaquePointer?, _ tape: OpaquePointer?) -> cadenza_status {
    attemptRounding { () throws(Failure) in
        try (try object(trainer, "trainer") as Trainer).apply((try object(tape, "tape") as Recorder).parameters)
    }
}

@c @implementation
public func cadenza_trainer_output(_ trainer: OpaquePointer?, _ index: Int, _ values: UnsafeMutablePointer<Float>?,
                                   _ count: Int) -> cadenza_status {
    attempt { () throws(Failure) in
        let trainer: Trainer = try object(trainer, "trainer")
        let tape = try trainer.tape()
        let output = try CadenzaABI.index(index, below: trainer.model.outputs.count, "index")
        try copy(tape.output(output), tape.batch * tape.outputCount(output), to: values, count)
    }
}

@c @implementation
public func cadenza_trainer_output_mask(_ trainer: OpaquePointer?, _ index: Int, _ mask: UnsafeMutablePointer<UInt8>?, _ count: Int,
                                        _ has_mask: UnsafeMutablePointer<Int32>?) -> cadenza_status {
    attempt { () throws(Failure) in
        try CadenzaABI.mask(try (try object(trainer, "trainer") as Trainer).tape(), index, mask, count, has_mask)
    }
}

@c @implementation
public func cadenza_trainer_state(_ trainer: OpaquePointer?, _ index: Int, _ values: UnsafeMutablePointer<Float>?,
                                  _ count: Int) -> cadenza_status {
    attempt { () throws(Failure) in
        let trainer: Trainer = try object(trainer, "trainer")
        let tape = try trainer.tape(), states = trainer.model.shownStates
        let state = try CadenzaABI.index(index, below: states.count, "index")
        try copy(tape.finalState(state), tape.batch * states[state].slot.units, to: values, count)
    }
}

@c @implementation
public func cadenza_trainer_gradient(_ trainer: OpaquePointer?, _ index: Int, _ values: UnsafeMutablePointer<Float>?,
                                     _ count: Int) -> cadenza_status {
    attempt { () throws(Failure) in
        let trainer: Trainer = try object(trainer, "trainer")
        _ = try trainer.tape()
        try gradient(trainer.parameters, index, values, count)
    }
}

@c @implementation
public func cadenza_trainer_reset_states(_ trainer: OpaquePointer?) -> cadenza_status {
    attempt { () throws(Failure) in (try object(trainer, "trainer") as Trainer).resetStates() }
}

@c @implementation
public func cadenza_trainer_learning_rate(_ trainer: OpaquePointer?) -> Double {
    (try? object(trainer, "trainer") as Trainer)?.learningRate ?? 0
}

@c @implementation
public func cadenza_trainer_set_learning_rate(_ trainer: OpaquePointer?, _ rate: Double) -> cadenza_status {
    attempt { () throws(Failure) in
        let trainer: Trainer = try object(trainer, "trainer")
        guard rate.isFinite else { throw Failure(.invalidArgument, "the rate is no number") }
        trainer.learningRate = rate
    }
}

@c @implementation
public func cadenza_trainer_updates(_ trainer: OpaquePointer?) -> UInt64 { (try? object(trainer, "trainer") as Trainer)?.updates ?? 0 }

@c @implementation
public func cadenza_trainer_finish_averages(_ trainer: OpaquePointer?) -> cadenza_status {
    attempt { () throws(Failure) in try (try object(trainer, "trainer") as Trainer).finishAverages() }
}

@c @implementation
public func cadenza_trainer_checkpoint(_ trainer: OpaquePointer?, _ buffer: UnsafeMutableRawPointer?, _ capacity: Int,
                                       _ size: UnsafeMutablePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in try deliver(try object(trainer, "trainer") as Trainer, to: buffer, capacity: capacity, size) }
}

@c @implementation
public func cadenza_trainer_checkpoint_file(_ trainer: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> cadenza_status {
    attempt { () throws(Failure) in try write(try object(trainer, "trainer") as Trainer, to: path) }
}

@c @implementation
public func cadenza_trainer_restore(_ trainer: OpaquePointer?, _ bytes: UnsafeRawPointer?, _ size: Int) -> cadenza_status {
    attempt { () throws(Failure) in try restore(try object(trainer, "trainer") as Trainer, bytes, size) }
}

@c @implementation
public func cadenza_trainer_restore_file(_ trainer: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> cadenza_status {
    attempt { () throws(Failure) in try restore(try object(trainer, "trainer") as Trainer, from: path) }
}

// MARK: Files for Keras

private func kerasFile(_ model: OpaquePointer?, _ format: Int32) throws(Failure) -> [UInt8] {
    let model: Model = try object(model, "model")
    guard let format = KerasFormat(rawValue: format) else { throw Failure(.invalidArgument, "format is \(Int(format)), which is none") }
    return try Files.kerasFile(model, format)
}

@c @implementation
public func cadenza_model_export_file(_ model: OpaquePointer?, _ format: Int32, _ path: UnsafePointer<CChar>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let path = try given(path, "path"), file = try kerasFile(model, format)
        try writeFile(path: path, size: file.count) { memory in file.withUnsafeBytes { memory.copyMemory(from: $0.baseAddress!, byteCount: file.count) } }
    }
}

@c @implementation
public func cadenza_model_export_memory(_ model: OpaquePointer?, _ format: Int32, _ buffer: UnsafeMutableRawPointer?,
                                        _ capacity: Int, _ size: UnsafeMutablePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let file = try kerasFile(model, format)
        try deliver(file.count, to: buffer, capacity: capacity, size) { memory in
            file.withUnsafeBytes { memory.copyMemory(from: $0.baseAddress!, byteCount: file.count) }
        }
    }
}
