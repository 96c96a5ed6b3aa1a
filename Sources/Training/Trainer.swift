import Engine

/// What an update or an evaluation works on. Pointers are borrowed.
public struct TrainingBatch {
    public var batch = 0
    public var times: UnsafePointer<Int>?
    public var inputs: UnsafePointer<UnsafePointer<Float>?>?
    /// For each output its target; nil where it has no loss.
    public var targets: UnsafePointer<UnsafePointer<Float>?>?
    /// nil, or for each output nil, [batch], or where `weightsPerStep` [batch][steps].
    public var weights: UnsafePointer<UnsafePointer<Float>?>?
    public var weightsPerStep = false
    /// Initial states as for a tape.
    public var states: UnsafePointer<UnsafePointer<Float>?>?
    /// Begin where the batch before ended; the first begins from `states`.
    public var carriesState = false

    @export(interface)
    public init() {}
}

/// Trains a model: losses of its outputs, gradients, an optimizer.
public final class Trainer: Archiving {
    public let model: Model
    public let parameters: Parameters
    private let recorder: Recorder
    /// By output; nil: it is not trained on.
    private let losses: [Loss?]
    private let optimizer: Optimizer
    private let seed: UInt64
    private let penalties: [(weight: TrainedWeight, l1: Float, l2: Float)]
    /// Runs of training so far: random numbers differ from one to the next.
    private var runs: UInt64 = 0
    /// The carried states of `carriedBatch` rows, one after another.
    private var carried: AlignedBuffer?
    private var carriedBatch = 0
    private var scratch: AlignedBuffer

    @export(interface)
    public static func make(_ model: Model, losses: [Loss?], options: OptimizerOptions, frozen: [Int], seed: UInt64, threads: Int,
                            memoryLimit: Int) throws(Failure) -> Trainer {
        for case let loss? in losses {
            for number in [loss.delta, loss.labelSmoothing, loss.sigma, loss.weight] where !number.isFinite {
                throw Failure(.invalidArgument, "an option of a loss is NaN or infinite")
            }
            guard loss.kind != .gaussian || loss.sigma != 0 else { throw Failure(.invalidArgument, "the Gaussian loss has sigma 0") }
        }
        let parameters = try Parameters.make(model, frozen: frozen, threads: threads, memoryLimit: memoryLimit)
        let optimizer = try Optimizer.make(options, parameters)
        var penalties: [(weight: TrainedWeight, l1: Float, l2: Float)] = []
        for entry in model.entries { addPenalties(entry.layer, optimizer, &penalties) }
        return Trainer(model, parameters, losses, optimizer, seed, penalties, try AlignedBuffer(count: 0))
    }

    private init(_ model: Model, _ parameters: Parameters, _ losses: [Loss?], _ optimizer: Optimizer, _ seed: UInt64,
                 _ penalties: [(weight: TrainedWeight, l1: Float, l2: Float)], _ scratch: AlignedBuffer) {
        self.model = model
        self.parameters = parameters
        recorder = Recorder(parameters, inputGradients: false)
        self.losses = losses
        self.optimizer = optimizer
        self.seed = seed
        self.penalties = penalties
        self.scratch = scratch
    }

    private static func addPenalties(_ layer: Layer, _ optimizer: Optimizer, _ penalties: inout [(weight: TrainedWeight, l1: Float, l2: Float)]) {
        func add(_ options: TrainingOptions, _ weights: [Weight]) {
            for regularizer in options.regularizers {
                for weight in weights where weight.variable == regularizer.variable {
                    for trained in optimizer.weights where trained.weight === weight {
                        penalties.append((trained, regularizer.l1, regularizer.l2))
                    }
                }
            }
        }
        switch layer.form {
        case .rnn(let rnn): for cell in rnn.cells { add(cell.trainingOptions, cell.weights) }
        case .bidirectional(let both):
            addPenalties(both.forward, optimizer, &penalties)
            addPenalties(both.backward, optimizer, &penalties)
        case .timeDistributed(let wrapper): addPenalties(wrapper.inner, optimizer, &penalties)
        default: add(layer.trainingOptions, layer.weights)
        }
    }

    public var learningRate: Double {
        get { optimizer.options.learningRate }
        set { optimizer.options.learningRate = newValue }
    }

    /// Calls of `update` and `apply` so far.
    public var updates: UInt64 { optimizer.calls }

    // MARK: Running

    /// The loss of a batch, with the gradients in the parameters where wanted. Without training the model computes as it
    /// does at inference.
    private func run(_ batch: TrainingBatch, isTraining: Bool, losses result: UnsafeMutablePointer<Double>?) throws(Failure) -> Double {
        guard losses.contains(where: { $0 != nil }) else { throw Failure(.invalidArgument, "no output has a loss") }
        guard let inputs = batch.inputs, let targets = batch.targets else { throw Failure(.invalidArgument, "inputs or targets are NULL") }
        let tape = try recorder.tape(batch: batch.batch, times: batch.times)
        let states = model.shownStates
        var places: [UnsafePointer<Float>?] = states.indices.map { batch.states?[$0] }
        if batch.carriesState {
            guard model.states.count > 0 else { throw Failure(.cannotStream, "the model carries no state: \(model.obstacle)") }
            if let carried, carriedBatch > 0 {
                guard carriedBatch == batch.batch else {
                    throw Failure(.mismatch, "the carried states have \(carriedBatch) rows, the batch \(batch.batch); reset them first")
                }
                var offset = 0
                for (index, state) in states.enumerated() {
                    places[index] = UnsafePointer(carried.floats + offset)
                    offset += carriedBatch * state.slot.units
                }
            }
        }
        parameters.refresh()
        try places.withUnsafeBufferPointer { places throws(Failure) in
            try tape.forward(inputs: inputs, states: places.baseAddress, isTraining: isTraining, seed: seed, number: runs)
        }
        if isTraining {
            tape.beginBackward()
            parameters.zeroGradients()
        }
        var total = 0.0
        for (index, loss) in losses.enumerated() {
            guard let loss else { continue }
            guard let target = targets[index] else { throw Failure(.invalidArgument, "targets[\(index)] is NULL, and output \(index) has a loss") }
            let size = try LossRun.scratch(tape, index)
            if scratch.count < size { scratch = try AlignedBuffer(count: size) }
            let run = try LossRun(loss, tape, index, scratch: scratch.floats)
            let value = try run.run(target, weights: batch.weights?[index], perStep: batch.weightsPerStep, gradient: isTraining)
            result?[index] = value
            total += value
        }
        for penalty in penalties { total += addPenalty(penalty.weight, penalty.l1, penalty.l2, gradient: isTraining) }
        guard total.isFinite else { throw Failure(.invalidArgument, "the loss is \(total.isNaN ? "NaN" as Text : "infinite")\(isTraining ? "; the weights are as before" as Text : "")") }
        return total
    }

    private func addPenalty(_ trained: TrainedWeight, _ l1: Float, _ l2: Float, gradient: Bool) -> Double {
        var sum = 0.0
        let values = trained.weight.values, gradients = trained.gradient.floats
        for i in 0..<trained.count {
            let w = values[i]
            sum += Double(l1 * abs(w) + l2 * w * w)
            if gradient { gradients[i] += 2 * l2 * w + (w > 0 ? l1 : w < 0 ? -l1 : 0) }
        }
        return sum
    }

    /// One update. Fails with everything as it was where the loss or a gradient is no number.
    /// - Parameter losses: nil, or a place for each output's loss.
    @export(interface)
    public func update(_ batch: TrainingBatch, losses: UnsafeMutablePointer<Double>?) throws(Failure) -> Double {
        for weight in optimizer.weights { weight.adopt() }
        let loss = try run(batch, isTraining: true, losses: losses)
        let tape = try recorder.current()
        tape.backward()
        try Trainer.check(optimizer.isFinite)
        if batch.carriesState { try carry(tape) }
        optimizer.apply()
        tape.commitStatistics()
        try model.pack()
        runs &+= 1
        return loss
    }

    /// One update by gradients from outside: for each weight of the model, nil where it is not trained. Fails with everything as
    /// it was where one is missing or no number.
    @export(interface)
    public func apply(_ gradients: UnsafePointer<UnsafePointer<Float>?>) throws(Failure) {
        try apply(missing: "is NULL") { gradients[$0] }
    }

    /// The same by those that a tape's runs have left.
    @export(interface)
    public func apply(_ other: Parameters) throws(Failure) {
        guard other.model === model else { throw Failure(.invalidArgument, "the tape is of another model") }
        guard other.hasGradients else { throw Failure(.invalidArgument, "the tape has not run backward yet") }
        try apply(missing: "is none: the tape does not train it") { index in other.gradients[index].map { UnsafePointer($0.floats) } }
    }

    private func apply(missing: Literal, _ gradient: (Int) -> UnsafePointer<Float>?) throws(Failure) {
        for (index, own) in parameters.gradients.enumerated() where own != nil {
            guard let given = gradient(index) else {
                throw Failure(.invalidArgument, "gradients[\(index)], of '\(model.weights[index].path)', \(missing)")
            }
            try Trainer.check(Optimizer.isFinite(given, model.weights[index].count))
        }
        for (index, own) in parameters.gradients.enumerated() {
            guard let own, let given = gradient(index) else { continue }
            own.floats.copy(from: given, count: own.count)
        }
        for weight in optimizer.weights { weight.adopt() }
        optimizer.apply()
        try model.pack()
        runs &+= 1
    }

    private static func check(_ areNumbers: Bool) throws(Failure) {
        guard areNumbers else { throw Failure(.invalidArgument, "a gradient is NaN or infinite; the weights are as before") }
    }

    /// The gradients of a batch, without an update; for `gradient`.
    @export(interface)
    public func differentiate(_ batch: TrainingBatch, losses: UnsafeMutablePointer<Double>?) throws(Failure) -> Double {
        let loss = try run(batch, isTraining: true, losses: losses)
        try recorder.current().backward()
        return loss
    }

    /// The loss of a batch as the model computes without training.
    @export(interface)
    public func evaluate(_ batch: TrainingBatch, losses: UnsafeMutablePointer<Double>?) throws(Failure) -> Double {
        let loss = try run(batch, isTraining: false, losses: losses)
        if batch.carriesState { try carry(try recorder.current()) }
        return loss
    }

    private func carry(_ tape: Tape) throws(Failure) {
        let states = model.shownStates
        let size = states.reduce(0) { $0 + $1.slot.units } * tape.batch
        if carried?.count != size { carried = try AlignedBuffer(count: size) }
        guard let carried else { return }
        var offset = 0
        for (index, state) in states.enumerated() {
            (carried.floats + offset).copy(from: tape.finalState(index), count: tape.batch * state.slot.units)
            offset += tape.batch * state.slot.units
        }
        carriedBatch = tape.batch
    }

    /// The next batch that carries states begins from zero.
    @export(interface)
    public func resetStates() { carriedBatch = 0 }

    /// The last run.
    @export(interface)
    public func tape() throws(Failure) -> Tape { try recorder.current() }

    /// The weights become their moving averages.
    @export(interface)
    public func finishAverages() throws(Failure) {
        for weight in optimizer.weights { weight.adopt() }
        optimizer.finishAverages()
        try model.pack()
    }

    // MARK: Checkpoints

    /// Magic, what it belongs to, counters, rate, all weights, what the optimizer keeps, carried states, a hash.
    private static let magic: UInt64 = 0x0001_5450_4B43_5A43 // "CZCKPT", version 1

    /// A hash of what must be equal where a checkpoint is taken up: shapes, and what the optimizer keeps.
    private var kindHash: UInt64 {
        var hash = Hash64()
        for weight in model.weights {
            for length in weight.shape { hash.combine(length) }
            hash.combine(-1)
        }
        hash.combine(Int(optimizer.options.kind.rawValue))
        hash.combine(optimizer.options.accumulationSteps)
        for weight in optimizer.weights { hash.combine(weight.memory.count) }
        return hash.value
    }

    public func write(to archive: Archive) {
        archive.put(Trainer.magic)
        archive.put(kindHash)
        archive.put(optimizer.calls)
        archive.put(runs)
        archive.put(optimizer.options.learningRate.bitPattern)
        archive.put(&optimizer.product, count: 1)
        for weight in model.weights { archive.put(weight.values, count: weight.count) }
        for weight in optimizer.weights {
            for buffer in weight.memory { archive.put(buffer.floats, count: weight.count) }
        }
        archive.put(UInt64(carriedBatch))
        if let carried, carriedBatch > 0 { archive.put(carried.floats, count: carried.count) }
        archive.seal()
    }

    /// Goes on from a checkpoint. Changes nothing where it fails.
    @export(interface)
    public func restore(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
        let reader = try ArchiveReader(bytes, magic: Trainer.magic, what: "a trainer")
        guard try reader.next() == kindHash else {
            throw Failure(.mismatch, "the checkpoint is of another model, or of a trainer with another optimizer")
        }
        let calls = try reader.next(), runs = try reader.next(), rate = Double(bitPattern: try reader.next())
        var product: Float = 1
        try reader.next(&product, count: 1)
        var values: [AlignedBuffer] = [], memories: [AlignedBuffer] = []
        for weight in model.weights {
            let buffer = try AlignedBuffer(count: weight.count)
            try reader.next(buffer.floats, count: weight.count)
            values.append(buffer)
        }
        for weight in optimizer.weights {
            for _ in weight.memory {
                let buffer = try AlignedBuffer(count: weight.count)
                try reader.next(buffer.floats, count: weight.count)
                memories.append(buffer)
            }
        }
        let batch = try reader.next(below: 1 << 40)
        let units = model.shownStates.reduce(0) { $0 + $1.slot.units }
        var states: AlignedBuffer?
        if batch > 0 {
            guard reader.left / 4 / max(1, units) >= batch else { throw Failure(.invalidFile, "the checkpoint is cut short") }
            let buffer = try AlignedBuffer(count: batch * units)
            try reader.next(buffer.floats, count: buffer.count)
            states = buffer
        }
        try reader.expectEnd()
        for (weight, buffer) in zip(model.weights, values) { weight.adopt(buffer) }
        var place = 0
        for weight in optimizer.weights {
            weight.adopt()
            for own in weight.memory {
                own.floats.copy(from: memories[place].floats, count: weight.count)
                place += 1
            }
        }
        optimizer.calls = calls
        optimizer.product = product
        optimizer.options.learningRate = rate
        self.runs = runs
        carried = states
        carriedBatch = batch
        try model.pack()
    }
}
