import CCadenza
import Engine
import Generation

// Generators: options, self-feeding, beam search, nested. `Ragged.swift` has what they give.

@c @implementation
public func cadenza_sampler_init(_ sampler: UnsafeMutablePointer<cadenza_sampler>?) {
    guard let sampler else { return }
    var defaults = cadenza_sampler()
    defaults.struct_size = MemoryLayout<cadenza_sampler>.size
    defaults.variance_output = -1
    defaults.temperature = 1
    defaults.top_p = 1
    defaults.repetition_penalty = 1
    defaults.sigma = -1
    defaults.width = 1
    sampler.pointee = defaults
}

@c @implementation
public func cadenza_stop_init(_ stop: UnsafeMutablePointer<cadenza_stop>?) {
    guard let stop else { return }
    var defaults = cadenza_stop()
    defaults.struct_size = MemoryLayout<cadenza_stop>.size
    stop.pointee = defaults
}

@c @implementation
public func cadenza_generator_options_init(_ options: UnsafeMutablePointer<cadenza_generator_options>?) {
    guard let options else { return }
    var defaults = cadenza_generator_options()
    defaults.struct_size = MemoryLayout<cadenza_generator_options>.size
    options.pointee = defaults
}

@c @implementation
public func cadenza_beam_options_init(_ options: UnsafeMutablePointer<cadenza_beam_options>?) {
    guard let options else { return }
    var defaults = cadenza_beam_options()
    defaults.struct_size = MemoryLayout<cadenza_beam_options>.size
    defaults.width = 4
    defaults.end_token = -1
    options.pointee = defaults
}

@c @implementation
public func cadenza_level_init(_ level: UnsafeMutablePointer<cadenza_level>?) {
    guard let level else { return }
    var defaults = cadenza_level()
    defaults.struct_size = MemoryLayout<cadenza_level>.size
    level.pointee = defaults
}

// MARK: Options as the engine has them

/// Element `index` of an array of structs that begin with their size, which is the distance between them.
private func element<T>(_ array: UnsafePointer<T>, _ index: Int, _ what: Literal) throws(Failure) -> T {
    let size = UnsafeRawPointer(array).load(as: Int.self)
    guard size >= MemoryLayout<T>.size, size <= 1 << 16, size % MemoryLayout<Int>.alignment == 0 else {
        throw Failure(.invalidArgument, "\(what)->struct_size is \(size < 0 ? 0 : size): use its _init function")
    }
    return (UnsafeRawPointer(array) + index * size).load(as: T.self)
}

private func options<T>(_ options: UnsafePointer<T>?, _ what: Literal) throws(Failure) -> T {
    try element(try given(options, what), 0, what)
}

/// A given kind, or a failure that names the number.
private func kind<T: RawRepresentable>(_ value: Int32, _ what: Literal) throws(Failure) -> T where T.RawValue == Int32 {
    guard let kind = T(rawValue: value) else { throw Failure(.invalidArgument, "\(what) is \(value), which is none") }
    return kind
}

private func array<T>(_ values: UnsafePointer<T>?, _ size: Int, _ what: Literal) throws(Failure) -> [T] {
    let size = try count(size, what)
    guard size > 0 else { return [] }
    guard let values else { throw missing(what) }
    return Array(UnsafeBufferPointer(start: values, count: size))
}

private func sizes(_ values: UnsafePointer<Int>?, _ size: Int, _ what: Literal) throws(Failure) -> [Int] {
    let result = try array(values, size, what)
    for value in result { _ = try count(value, what) }
    return result
}

private func callback(_ function: cadenza_callback?, _ context: UnsafeMutableRawPointer?) -> Callback? {
    guard let function else { return nil }
    return { row, step, values, count, result in function(context, row, step, values, count, result) }
}

private func model(_ handle: OpaquePointer?) throws(Failure) -> Model? {
    handle == nil ? nil : try object(handle, "model")
}

private func samplerOptions(_ sampler: UnsafePointer<cadenza_sampler>) throws(Failure) -> SamplerOptions {
    let given = try options(sampler, "sampler")
    var result = SamplerOptions()
    result.kind = try kind(given.kind, "sampler->kind")
    result.output = try count(given.output, "sampler->output")
    guard given.variance_output >= -1 else { throw Failure(.invalidArgument, "sampler->variance_output is \(given.variance_output), expected -1 or more") }
    result.varianceOutput = given.variance_output < 0 ? nil : Int(given.variance_output)
    result.fromProbabilities = given.from_probabilities != 0
    result.temperature = given.temperature
    result.topK = try count(given.top_k, "sampler->top_k")
    result.topP = given.top_p
    result.minP = given.min_p
    result.repetitionPenalty = given.repetition_penalty
    result.bias = given.logit_bias == nil ? [] : try array(given.logit_bias, given.logit_bias_count, "sampler->logit_bias")
    result.forbidden = given.forbidden == nil ? [] : try sizes(given.forbidden, given.forbidden_count, "sampler->forbidden")
    result.sigma = given.sigma < 0 ? nil : given.sigma
    result.components = try count(given.components, "sampler->components")
    result.width = try count(given.width, "sampler->width")
    result.callback = callback(given.callback, given.context)
    return result
}

private func rule(_ given: cadenza_stop) throws(Failure) -> StopRule {
    var rule = StopRule(try kind(given.kind, "stop->kind"))
    rule.quantity.isState = given.of_state != 0
    rule.quantity.index = try count(given.index, "stop->index")
    rule.quantity.element = try count(given.element, "stop->element")
    rule.token = try count(given.token, "stop->token")
    rule.threshold = given.threshold
    rule.fromProbabilities = given.from_probabilities != 0
    rule.through = try model(given.through)
    rule.callback = callback(given.callback, given.context)
    return rule
}

private func loopOptions(_ given: cadenza_generator_options) throws(Failure) -> LoopOptions {
    var result = LoopOptions()
    result.output = try count(given.output, "options->output")
    result.stoppingStep = try kind(given.stopping_step, "options->stopping_step")
    result.feedback.source = try kind(given.feedback, "options->feedback")
    result.feedback.output = try count(given.feedback_output, "options->feedback_output")
    result.feedback.first = try count(given.feedback_first, "options->feedback_first")
    result.feedback.count = try count(given.feedback_count, "options->feedback_count")
    result.feedback.oneHot = try count(given.one_hot, "options->one_hot")
    result.feedback.model = try model(given.feedback_model)
    result.feedback.callback = callback(given.feedback_callback, given.feedback_context)
    result.feedback.callbackWidth = try count(given.feedback_callback_width, "options->feedback_callback_width")
    result.feedback.input = try count(given.feedback_input, "options->feedback_input")
    result.feedback.start = given.start == nil ? [] : try array(given.start, given.start_count, "options->start")
    if let sampler = given.sampler { result.sampler = try samplerOptions(sampler) }
    for i in 0..<(try count(given.stop_count, "options->stop_count")) {
        result.rules.append(try rule(try element(try CadenzaABI.given(given.stops, "options->stops"), i, "stop")))
    }
    result.limit = try count(given.limit, "options->limit")
    result.minimum = try count(given.minimum, "options->minimum")
    result.seeds = given.seeds == nil ? [] : try array(given.seeds, given.seed_count, "options->seeds")
    return result
}

private func level(_ given: cadenza_level) throws(Failure) -> (model: Model, options: LevelOptions) {
    var result = LevelOptions()
    if let options = given.options {
        let all = try CadenzaABI.options(options, "level->options")
        guard all.exogenous_size == 0 else { throw Failure(.unsupported, "level->options->exogenous_size: what is nested has no values from outside") }
        result.loop = try loopOptions(all)
    }
    result.driverOutput = try count(given.driver_output, "level->driver_output")
    result.driverInput = try count(given.driver_input, "level->driver_input")
    result.drive = try kind(given.drive, "level->drive")
    result.policy = try kind(given.policy, "level->policy")
    result.initialState = try model(given.initial_state)
    result.isCounted = given.is_counted != 0
    result.counts = given.counts == nil ? [] : try sizes(given.counts, given.count_count, "level->counts")
    result.upward = try kind(given.upward, "level->upward")
    result.upwardIndex = try count(given.upward_index, "level->upward_index")
    result.upwardInput = try count(given.upward_input, "level->upward_input")
    return (try object(given.model, "level->model"), result)
}

// MARK: Self-feeding

@c @implementation
public func cadenza_selffeeding_create(_ model: OpaquePointer?, _ batch: Int, _ options: UnsafePointer<cadenza_generator_options>?,
                                       _ generator: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let generator = try given(generator, "generator")
        let all = try CadenzaABI.options(options, "options")
        generator.pointee = handle(try SelfFeeding(model, rows: try count(batch, "batch"), options: try loopOptions(all),
                                                   exogenousSize: try count(all.exogenous_size, "options->exogenous_size"),
                                                   exogenousInput: try count(all.exogenous_input, "options->exogenous_input")))
    }
}

@c @implementation
public func cadenza_selffeeding_release(_ generator: OpaquePointer?) { release(generator, SelfFeeding.self) }

@c @implementation
public func cadenza_selffeeding_fork(_ generator: OpaquePointer?, _ fork: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let generator: SelfFeeding = try object(generator, "generator")
        let fork = try given(fork, "fork")
        fork.pointee = handle(try generator.fork())
    }
}

@c @implementation
public func cadenza_selffeeding_describe(_ generator: OpaquePointer?, _ info: UnsafeMutablePointer<cadenza_selffeeding_info>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let generator: SelfFeeding = try object(generator, "generator")
        try fill(info, "info", cadenza_selffeeding_info(struct_size: 0, batch: generator.rows, width: generator.width,
                                                        drawn_width: generator.drawnWidth, exogenous_size: generator.exogenousSize,
                                                        steps: generator.steps))
    }
}

@c @implementation
public func cadenza_selffeeding_row(_ generator: OpaquePointer?, _ row: Int, _ info: UnsafeMutablePointer<cadenza_run_info>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let generator: SelfFeeding = try object(generator, "generator")
        let row = try index(row, below: generator.rows, "row")
        try fill(info, "info", cadenza_run_info(struct_size: 0, running: generator.isRunning(row) ? 1 : 0,
                                                reason: generator.reason(row).rawValue, rule: generator.firedRule(row),
                                                length: generator.length(row), cut: 0))
    }
}

@c @implementation
public func cadenza_selffeeding_reset(_ generator: OpaquePointer?) -> cadenza_status {
    attempt { () throws(Failure) in (try object(generator, "generator") as SelfFeeding).reset() }
}

@c @implementation
public func cadenza_selffeeding_reset_row(_ generator: OpaquePointer?, _ row: Int) -> cadenza_status {
    attempt { () throws(Failure) in
        let generator: SelfFeeding = try object(generator, "generator")
        generator.reset(row: try index(row, below: generator.rows, "row"))
    }
}

@c @implementation
public func cadenza_selffeeding_prime(_ generator: OpaquePointer?, _ steps: Int, _ inputs: UnsafePointer<UnsafePointer<Float>?>?,
                                      _ lengths: UnsafePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let generator: SelfFeeding = try object(generator, "generator")
        try generator.prime(steps: try count(steps, "steps"), inputs: try given(inputs, "inputs"), lengths: lengths)
    }
}

@c @implementation
public func cadenza_selffeeding_run(_ generator: OpaquePointer?, _ steps: Int, _ exogenous: UnsafePointer<Float>?,
                                    _ values: UnsafeMutablePointer<Float>?, _ drawn: UnsafeMutablePointer<Float>?,
                                    _ log_probabilities: UnsafeMutablePointer<Float>?, _ made: UnsafeMutablePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let generator: SelfFeeding = try object(generator, "generator")
        try generator.run(steps: try count(steps, "steps"), exogenous: exogenous, values: values, drawn: drawn,
                          logs: log_probabilities, made: made)
    }
}

@c @implementation
public func cadenza_selffeeding_score(_ generator: OpaquePointer?, _ steps: Int, _ continuation: UnsafePointer<Float>?,
                                      _ lengths: UnsafePointer<Int>?, _ exogenous: UnsafePointer<Float>?,
                                      _ log_probabilities: UnsafeMutablePointer<Float>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let generator: SelfFeeding = try object(generator, "generator")
        try generator.score(steps: try count(steps, "steps"), values: try given(continuation, "continuation"), lengths: lengths,
                            exogenous: exogenous, logs: try given(log_probabilities, "log_probabilities"))
    }
}

@c @implementation
public func cadenza_selffeeding_snapshot(_ generator: OpaquePointer?, _ buffer: UnsafeMutableRawPointer?, _ capacity: Int,
                                         _ size: UnsafeMutablePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in try deliver(try object(generator, "generator") as SelfFeeding, to: buffer, capacity: capacity, size) }
}

@c @implementation
public func cadenza_selffeeding_restore(_ generator: OpaquePointer?, _ bytes: UnsafeRawPointer?, _ size: Int) -> cadenza_status {
    attempt { () throws(Failure) in try restore(try object(generator, "generator") as SelfFeeding, bytes, size) }
}

@c @implementation
public func cadenza_beam_search(_ model: OpaquePointer?, _ batch: Int, _ options: UnsafePointer<cadenza_generator_options>?,
                                _ beam: UnsafePointer<cadenza_beam_options>?, _ steps: Int, _ inputs: UnsafePointer<UnsafePointer<Float>?>?,
                                _ lengths: UnsafePointer<Int>?, _ classes: UnsafeMutablePointer<Int>?,
                                _ class_counts: UnsafeMutablePointer<Int>?, _ scores: UnsafeMutablePointer<Float>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let classes = try given(classes, "classes"), counts = try given(class_counts, "class_counts"), scores = try given(scores, "scores")
        let given = try CadenzaABI.options(beam, "beam"), all = try CadenzaABI.options(options, "options")
        var beam = BeamOptions()
        beam.width = try count(given.width, "beam->width")
        beam.maximumLength = try count(given.maximum_length, "beam->maximum_length")
        guard given.end_token >= -1 else { throw Failure(.invalidArgument, "beam->end_token is \(given.end_token), expected -1 or more") }
        beam.endToken = given.end_token < 0 ? nil : Int(given.end_token)
        beam.lengthPenalty = given.length_penalty
        let batch = try count(batch, "batch")
        let search = try BeamSearch(model, rows: batch, loop: try loopOptions(all), beam: beam)
        let found = try search.search(steps: try count(steps, "steps"), inputs: try CadenzaABI.given(inputs, "inputs"), lengths: lengths)
        for row in 0..<batch {
            for rank in 0..<beam.width {
                let place = row * beam.width + rank
                let hypothesis = rank < found[row].count ? found[row][rank] : nil
                counts[place] = hypothesis?.classes.count ?? 0
                scores[place] = hypothesis?.score ?? -.infinity
                for i in 0..<beam.maximumLength {
                    classes[place * beam.maximumLength + i] = i < counts[place] ? hypothesis?.classes[i] ?? 0 : 0
                }
            }
        }
    }
}

// MARK: Nested

@c @implementation
public func cadenza_nested_create(_ first: OpaquePointer?, _ levels: UnsafePointer<cadenza_level>?, _ level_count: Int, _ batch: Int,
                                  _ nested: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let first: Model = try object(first, "first")
        let nested = try given(nested, "nested"), levels = try given(levels, "levels")
        guard level_count >= 1, level_count <= 16 else { throw Failure(.invalidArgument, "level_count is not from 1 to 16") }
        var below: [(model: Model, options: LevelOptions)] = []
        for i in 0..<level_count { below.append(try level(try element(levels, i, "level"))) }
        nested.pointee = handle(try Nested(first, below: below, rows: try count(batch, "batch")))
    }
}

@c @implementation
public func cadenza_nested_release(_ nested: OpaquePointer?) { release(nested, Nested.self) }

@c @implementation
public func cadenza_nested_fork(_ nested: OpaquePointer?, _ fork: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let nested: Nested = try object(nested, "nested")
        let fork = try given(fork, "fork")
        fork.pointee = handle(try nested.fork())
    }
}

@c @implementation
public func cadenza_nested_describe(_ nested: OpaquePointer?, _ info: UnsafeMutablePointer<cadenza_nested_info>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let nested: Nested = try object(nested, "nested")
        try fill(info, "info", cadenza_nested_info(struct_size: 0, batch: nested.rows, levels: nested.levels, sample_size: nested.sampleSize,
                                                   width: nested.width, drawn_width: nested.drawnWidth, pending: nested.pending))
    }
}

@c @implementation
public func cadenza_nested_steps(_ nested: OpaquePointer?, _ level: Int, _ steps: UnsafeMutablePointer<UInt64>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let nested: Nested = try object(nested, "nested")
        let level = try index(level, below: nested.levels, "level")
        try given(steps, "steps").pointee = nested.steps(level: level)
    }
}

@c @implementation
public func cadenza_nested_row(_ nested: OpaquePointer?, _ row: Int, _ level: Int, _ info: UnsafeMutablePointer<cadenza_run_info>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let nested: Nested = try object(nested, "nested")
        let row = try index(row, below: nested.rows, "row"), level = try runLevel(level, nested)
        try fill(info, "info", cadenza_run_info(struct_size: 0, running: nested.isRunning(row: row, level: level) ? 1 : 0,
                                                reason: nested.reason(row: row, level: level).rawValue,
                                                rule: nested.firedRule(row: row, level: level),
                                                length: nested.length(row: row, level: level), cut: nested.cuts(row: row)))
    }
}

private func runLevel(_ level: Int, _ nested: Nested) throws(Failure) -> Int {
    let level = try index(level, below: nested.levels, "level")
    guard level > 0 else { throw Failure(.invalidArgument, "level is 0: runs are of the levels from 1") }
    return level
}

@c @implementation
public func cadenza_nested_reset(_ nested: OpaquePointer?) -> cadenza_status {
    attempt { () throws(Failure) in (try object(nested, "nested") as Nested).reset() }
}

@c @implementation
public func cadenza_nested_push(_ nested: OpaquePointer?, _ steps: Int, _ samples: UnsafePointer<Float>?, _ lengths: UnsafePointer<Int>?,
                                _ counts: UnsafePointer<Int>?, _ counts_per_row: Int32) -> cadenza_status {
    attempt { () throws(Failure) in
        let nested: Nested = try object(nested, "nested")
        try nested.push(steps: try count(steps, "steps"), try given(samples, "samples"), lengths: lengths, counts: counts,
                        perRow: counts_per_row != 0)
    }
}

@c @implementation
public func cadenza_nested_pull(_ nested: OpaquePointer?, _ capacity: Int, _ values: UnsafeMutablePointer<Float>?,
                                _ drawn: UnsafeMutablePointer<Float>?, _ items: UnsafeMutablePointer<cadenza_nested_item>?,
                                _ count: UnsafeMutablePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let nested: Nested = try object(nested, "nested")
        let capacity = try CadenzaABI.count(capacity, "capacity"), count = try given(count, "count")
        count.pointee = try nested.pull(capacity: capacity, values: values, drawn: drawn) { place, item in
            items?[place] = cadenza_nested_item(row: item.row, outer: item.outer, middle: item.middle, inner: item.inner,
                                                log_probability: item.logProbability, reserved: 0)
        }
    }
}

@c @implementation
public func cadenza_nested_run(_ nested: OpaquePointer?, _ outputs: UnsafeMutablePointer<OpaquePointer?>?,
                               _ drawn: UnsafeMutablePointer<OpaquePointer?>?,
                               _ log_probabilities: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let nested: Nested = try object(nested, "nested")
        try checkGathered(nested, outputs, drawn, log_probabilities)
        try nested.run()
        try gather(nested, outputs, drawn, log_probabilities)
    }
}

@c @implementation
public func cadenza_nested_gathered(_ nested: OpaquePointer?, _ outputs: UnsafeMutablePointer<OpaquePointer?>?,
                                    _ drawn: UnsafeMutablePointer<OpaquePointer?>?,
                                    _ log_probabilities: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let nested: Nested = try object(nested, "nested")
        try checkGathered(nested, outputs, drawn, log_probabilities)
        try gather(nested, outputs, drawn, log_probabilities)
    }
}

/// Before anything runs: are the places there, and is there what they ask for?
private func checkGathered(_ nested: Nested, _ outputs: UnsafeMutablePointer<OpaquePointer?>?, _ drawn: UnsafeMutablePointer<OpaquePointer?>?,
                           _ logs: UnsafeMutablePointer<OpaquePointer?>?) throws(Failure) {
    _ = try given(outputs, "outputs")
    guard drawn == nil && logs == nil || nested.drawnWidth > 0 else {
        throw Failure(.invalidArgument, "drawn values are asked of a generator without a sampler")
    }
}

private func gather(_ nested: Nested, _ outputs: UnsafeMutablePointer<OpaquePointer?>?, _ drawn: UnsafeMutablePointer<OpaquePointer?>?,
                    _ logs: UnsafeMutablePointer<OpaquePointer?>?) throws(Failure) {
    let result = try nested.gathered()
    outputs?.pointee = handle(result.outputs)
    if let drawn, let values = result.drawn { drawn.pointee = handle(values) }
    if let logs, let values = result.logProbabilities { logs.pointee = handle(values) }
}

@c @implementation
public func cadenza_nested_reasons(_ nested: OpaquePointer?, _ level: Int, _ reasons: UnsafeMutablePointer<Int32>?,
                                   _ rules: UnsafeMutablePointer<Int>?, _ capacity: Int, _ count: UnsafeMutablePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let nested: Nested = try object(nested, "nested")
        let level = try runLevel(level, nested), count = try given(count, "count")
        let result = try nested.gathered()
        let all = result.reasons[level - 1], numbers = result.rules[level - 1]
        if reasons != nil || rules != nil {
            guard capacity < 0 || capacity >= all.count else {
                throw Failure(.invalidArgument, "capacity is \(capacity), expected \(all.count) or more")
            }
            for i in 0..<all.count {
                reasons?[i] = all[i].rawValue
                rules?[i] = numbers[i]
            }
        }
        count.pointee = all.count
    }
}

@c @implementation
public func cadenza_nested_snapshot(_ nested: OpaquePointer?, _ buffer: UnsafeMutableRawPointer?, _ capacity: Int,
                                    _ size: UnsafeMutablePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in try deliver(try object(nested, "nested") as Nested, to: buffer, capacity: capacity, size) }
}

@c @implementation
public func cadenza_nested_restore(_ nested: OpaquePointer?, _ bytes: UnsafeRawPointer?, _ size: Int) -> cadenza_status {
    attempt { () throws(Failure) in try restore(try object(nested, "nested") as Nested, bytes, size) }
}
