import CSystem
import Engine

/// One forward run, as the layers see it.
struct Pass {
    /// Whether dropout drops and batches are normalized by their own statistics.
    let isTraining: Bool
    let seed: UInt64
    /// Tells the random numbers of one run from those of the next.
    let number: UInt64

    /// A series of random numbers of its own for each place that draws.
    func random(_ series: Int) -> Random { Random(seed: seed, series: number << 20 | UInt64(series)) }
}

/// A value of the tape: [rows][shape…], its mask [rows][shape[0]], its gradient.
struct TapeValue {
    var data: Floats
    let shape: Shape
    /// Values of one row.
    let count: Int
    var mask: UnsafeMutablePointer<UInt8>?
    /// nil: nobody asks for it.
    var gradient: Floats?
}

/// A layer on the tape.
class TapeOperation: SharedWork {
    /// Where other operations add to its weights' gradients too: those, and a place for what the others have added. Each adds up
    /// its part from zero: parts that are equal and opposite cancel to the bit, which they would not in one chain of sums.
    final var shared: [(gradient: Floats, others: Floats, count: Int)] = []

    /// The halves of its weights' gradients that are to be joined.
    final var halves: [(place: GradientPlace, count: Int)] = []

    /// The rows that it works on: all, or some of them.
    final private(set) var first = 0
    final private(set) var rows: Int
    private let all: Int

    init(rows: Int) {
        self.rows = rows
        all = rows
    }

    /// Chooses `count` of `whole` parts of its rows.
    final func select(_ first: Int, _ count: Int, of whole: Int) {
        let each = whole == 0 ? 0 : all / whole
        self.first = first &* each
        rows = count &* each
    }

    final func takeHalves(_ layer: Layer, _ parameters: Parameters) {
        for weight in layer.weights {
            if let place = parameters.halves(weight) { halves.append((place, weight.count)) }
        }
    }

    /// All of the way back, with parts of shared gradients.
    final func backward(_ product: GradientProduct) {
        for weight in shared {
            weight.others.copy(from: weight.gradient, count: weight.count)
            clear(weight.gradient, weight.count)
        }
        backward()
        addGradients(product)
        product.join(halves)
        for weight in shared { add(weight.others, to: weight.gradient, weight.count) }
    }

    func forward(_ pass: Pass) {}
    /// Adds to the gradients of its inputs and weights what its outputs' gradients give.
    func backward() {}
    /// Then adds to those of the weights what is made of many rows at once.
    func addGradients(_ product: GradientProduct) {}
    /// What goes into its activation, where that is sigmoid or softmax and the values are kept.
    func ownHead() -> ActivationHead? { nil }
    /// Takes the last run's statistics into the layer's own.
    func commit() {}

    // MARK: By row

    /// Whether a worker's part of its runs, phase 0 of `run` and `runBackward`, touches only values of its rows and leaves nothing
    /// to be done but `begin` and `endBack`: then a worker need not wait for the others before it goes on with the next operation.
    var isByRow: Bool { false }
    /// About how many products its rows take.
    var productCount: Int { 0 }
    /// What comes before all workers' parts forward, and after those backward.
    func begin(_ pass: Pass) {}
    func endBack() {}
    /// A worker's part backward; the weights' gradients by its rows go to `product`.
    func runBackward(_ worker: Int, of workers: Int, _ product: GradientProduct) {}
}

/// Operations that a tape runs one after another: where they are by row, each thread goes with its rows through all of them.
final class Stretch: SharedWork {
    private let parameters: Parameters
    private let operations: [TapeOperation]
    private var halves: [(place: GradientPlace, count: Int)] = []
    private var products = 0

    static func make(_ parameters: Parameters, _ operations: [TapeOperation], batch: Int) -> [Stretch] {
        var stretches: [Stretch] = [], pending: [TapeOperation] = []
        for operation in operations {
            if parameters.product.canPart(batch: batch) && operation.isByRow && operation.shared.isEmpty {
                pending.append(operation)
                continue
            }
            if !pending.isEmpty { stretches.append(Stretch(parameters, pending)) }
            pending = []
            stretches.append(Stretch(parameters, [operation]))
        }
        if !pending.isEmpty { stretches.append(Stretch(parameters, pending)) }
        return stretches
    }

    private init(_ parameters: Parameters, _ operations: [TapeOperation]) {
        self.parameters = parameters
        self.operations = operations
        for operation in operations {
            halves += operation.halves
            products = products &+ operation.productCount
        }
    }

    func forward(_ pass: Pass) {
        if operations.count == 1 { return operations[0].forward(pass) }
        for operation in operations { operation.begin(pass) }
        parameters.team.run(self, 0, products: products)
    }

    func backward() {
        let product = parameters.product
        if operations.count == 1 { return operations[0].backward(product) }
        parameters.team.run(self, 1, products: 2 &* products)
        for operation in operations { operation.endBack() }
        product.joinParts(halves)
    }

    override func run(_ phase: Int, _ worker: Int, of workers: Int) {
        if phase == 0 {
            for operation in operations { operation.run(0, worker, of: workers) }
            return
        }
        // One thread alone has both halves.
        let parts = parameters.product.parts
        for half in (worker &* 2 / workers)..<((worker &+ 1) &* 2 / workers) {
            for operation in operations.reversed() { operation.runBackward(half, of: 2, parts[half]) }
        }
    }
}

/// Where a recurrent layer's state comes from and goes to: [batch][units].
final class StateLink {
    let units: Int
    /// nil: zeros, or what the model gives.
    var initial: UnsafePointer<Float>?
    let final: Floats
    /// With respect to the initial state.
    let gradient: Floats
    /// With respect to the final state; nil: zeros.
    var finalGradient: UnsafePointer<Float>?

    init(units: Int, final: Floats, gradient: Floats) {
        self.units = units
        self.final = final
        self.gradient = gradient
    }
}

/// What an operation is made of.
struct TapeBinding {
    let parameters: Parameters
    let memory: Memory
    let rows: Int
    let inputs: [TapeValue]
    let initialStates: [TapeValue]
    var outputs: [TapeValue]
    /// Its states, in the order of the model's; empty where it has none that are carried.
    let links: [StateLink]
    let series: SeriesCounter
    /// Steps that an RNN keeps at once.
    let segment: Int

    var kernels: UnsafePointer<cz_kernels> { parameters.kernels }

    mutating func allocate(_ index: Int = 0) throws(Failure) {
        outputs[index].data = try memory.floats(rows, outputs[index].count)
        if outputs[index].gradient != nil { outputs[index].gradient = try memory.floats(rows, outputs[index].count) }
    }

    mutating func allocateMask() throws(Failure) -> UnsafeMutablePointer<UInt8> {
        let mask = try memory.bytes(multiplied(rows, outputs[0].shape[0]))
        outputs[0].mask = mask
        return mask
    }

    mutating func joinedMasks(_ rule: MaskRule, isNeeded: Bool) throws(Failure) -> JoinedMasks {
        JoinedMasks(inputs.map { $0.mask }, rule, out: isNeeded ? try allocateMask() : nil, outputs[0].shape)
    }

    /// A value of its own.
    func value(_ shape: Shape, rows: Int? = nil, needsGradient: Bool) throws(Failure) -> TapeValue {
        let count = try shape.elementCount()
        return TapeValue(data: try memory.floats(rows ?? self.rows, count), shape: shape, count: count, mask: nil,
                         gradient: needsGradient ? try memory.floats(rows ?? self.rows, count) : nil)
    }
}

/// Hands out series of random numbers.
final class SeriesCounter {
    private var next = 0

    func take(_ count: Int = 1) -> Int {
        defer { next += count }
        return next
    }
}

/// A model's run over whole sequences that can be run backward: for `batch` rows and given lengths of time.
public final class Tape {
    public let parameters: Parameters
    public let batch: Int
    /// For each input the length of its time axis.
    public let times: [Int]
    let inputs: [TapeValue]
    let outputs: [TapeValue]
    let links: [StateLink]
    private let operations: [TapeOperation]
    private let stretches: [Stretch]
    /// The operation that gave each output last, where it is an activation's.
    private let heads: [ActivationHead?]
    /// Clears the gradients, and takes in inputs.
    private let clearing: Sweep
    private let taking = Sweep()
    private let memory: Memory
    public private(set) var hasRun = false

    public var model: Model { parameters.model }
    /// Floats that its buffers take.
    public var size: Int { memory.size }

    /// - Parameter inputGradients: whether gradients with respect to inputs and initial states are wanted.
    @export(interface)
    public static func make(_ parameters: Parameters, batch: Int, times given: UnsafePointer<Int>?,
                            inputGradients: Bool) throws(Failure) -> Tape {
        let times = try parameters.model.lengths(given)
        guard parameters.memoryLimit < .max else { return try make(parameters, batch, times, inputGradients, segment: .max) }
        // Half the steps at a time until it fits.
        var segment = max(1, times.max() ?? 1)
        while segment > 1 {
            if let tape = try? make(parameters, batch, times, inputGradients, segment: segment) { return tape }
            segment = (segment + 1) / 2
        }
        return try make(parameters, batch, times, inputGradients, segment: 1)
    }

    private static func make(_ parameters: Parameters, _ batch: Int, _ times: [Int], _ inputGradients: Bool, segment: Int) throws(Failure) -> Tape {
        let model = parameters.model
        let memory = Memory(limit: parameters.memoryLimit / 4)
        let series = SeriesCounter()
        var values: [TapeValue?] = Array(repeating: nil, count: model.values.count)
        for (index, port) in model.inputs.enumerated() {
            var shape = port.shape
            if port.hasTime { shape[0] = times[index] }
            let count = try shape.elementCount()
            values[port.value] = TapeValue(data: try memory.floats(batch, count), shape: shape, count: count, mask: nil,
                                           gradient: inputGradients ? try memory.floats(batch, count) : nil)
        }
        var operations: [TapeOperation] = []
        var producers: [TapeOperation?] = Array(repeating: nil, count: model.values.count)
        var links: [StateLink] = []
        for node in model.nodes where !node.inputs.isEmpty {
            let inputs = node.inputs.map { values[$0]! }, states = node.initialStates.map { values[$0]! }
            var own: [StateLink] = []
            if node.stateOffset != nil, case .rnn(let rnn) = node.layer.form {
                for shape in rnn.stateShapes {
                    own.append(StateLink(units: shape[0], final: try memory.floats(batch, shape[0]), gradient: try memory.floats(batch, shape[0])))
                }
                links += own
            }
            let isTrained = node.layer.weights.contains { parameters.gradient($0) != nil }
            let isNeeded = isTrained || inputGradients && !own.isEmpty || (inputs + states).contains { $0.gradient != nil }
            var outputs: [TapeValue] = []
            for shape in try node.layer.outputShapes(inputs.map { $0.shape }) {
                // Where the gradient is nil it stays nil; where not, the operation allocates it.
                outputs.append(TapeValue(data: inputs[0].data, shape: shape, count: try shape.elementCount(), mask: nil,
                                         gradient: isNeeded ? inputs[0].data : nil))
            }
            var binding = TapeBinding(parameters: parameters, memory: memory, rows: batch, inputs: inputs, initialStates: states,
                                      outputs: outputs, links: own, series: series, segment: segment)
            let operation = try record(node.layer, &binding)
            if let operation {
                operations.append(operation)
                var uses = 0
                for other in model.nodes where other.layer === node.layer { uses += 1 }
                operation.takeHalves(node.layer, parameters)
                for weight in node.layer.weights where uses > 1 {
                    guard let gradient = parameters.gradient(weight) else { continue }
                    operation.shared.append((gradient, try memory.floats(weight.count), weight.count))
                }
            }
            for (i, output) in node.outputs.enumerated() {
                var value = binding.outputs[i]
                if model.values[output].hasMask && value.mask == nil { value.mask = inputs[0].mask }
                values[output] = value
                producers[output] = operation ?? producers[node.inputs[0]]
            }
        }
        var gradients: [(values: Floats, count: Int)] = []
        for case let value? in values {
            if let gradient = value.gradient, !gradients.contains(where: { $0.values == gradient }) {
                gradients.append((gradient, batch * value.count))
            }
        }
        let heads = model.outputs.map { port in
            // Only the head that gives the output's very values: not one that a reshaping layer passed on to others too.
            producers[port.value]?.ownHead()
        }
        return Tape(parameters, batch, times, memory, operations, heads, gradients, links,
                    inputs: model.inputs.map { values[$0.value]! }, outputs: model.outputs.map { values[$0.value]! })
    }

    private init(_ parameters: Parameters, _ batch: Int, _ times: [Int], _ memory: Memory, _ operations: [TapeOperation],
                 _ heads: [ActivationHead?], _ gradients: [(values: Floats, count: Int)], _ links: [StateLink],
                 inputs: [TapeValue], outputs: [TapeValue]) {
        self.parameters = parameters
        self.batch = batch
        self.times = times
        self.memory = memory
        self.operations = operations
        stretches = Stretch.make(parameters, operations, batch: batch)
        self.heads = heads
        clearing = Sweep()
        for gradient in gradients { clearing.places.append((gradient.values, nil, batch, gradient.count / max(1, batch))) }
        self.links = links
        self.inputs = inputs
        self.outputs = outputs
    }

    /// Runs the model. inputs: [batch][shape…] each; states: nil, or for each shown state nil (zeros, or what the model
    /// gives) or [batch][units].
    @export(interface)
    public func forward(inputs given: UnsafePointer<UnsafePointer<Float>?>, states: UnsafePointer<UnsafePointer<Float>?>? = nil,
                        isTraining: Bool, seed: UInt64, number: UInt64) throws(Failure) {
        for (index, value) in inputs.enumerated() {
            guard given[index] != nil else {
                throw Failure(.invalidArgument, "input \(index) ('\(model.inputs[index].name)') is NULL")
            }
            for check in model.idChecks where check.input == index {
                try model.reportBadID(check.embedding, given[index].unsafelyUnwrapped, count: batch * value.count, input: index)
            }
        }
        taking.places.removeAll(keepingCapacity: true)
        for (index, value) in inputs.enumerated() { taking.places.append((value.data, given[index].unsafelyUnwrapped, batch, value.count)) }
        taking.run(parameters.team)
        for (index, link) in links.enumerated() { link.initial = states?[index] }
        let pass = Pass(isTraining: isTraining, seed: seed, number: number)
        let callers = cz_float_mode_enter()
        defer { cz_float_mode_leave(callers) }
        for stretch in stretches { stretch.forward(pass) }
        hasRun = true
    }

    /// The gradients are then zero; add those of outputs, and call `backward`.
    @export(interface)
    public func beginBackward() {
        clearing.run(parameters.team)
        for head in heads { head?.forget() }
        for link in links {
            link.finalGradient = nil
            clear(link.gradient, batch * link.units)
        }
    }

    /// Adds to the weights' gradients, and sets those of inputs and initial states.
    @export(interface)
    public func backward() {
        let callers = cz_float_mode_enter()
        defer { cz_float_mode_leave(callers) }
        for stretch in stretches.reversed() { stretch.backward() }
    }

    @export(interface)
    public func output(_ index: Int) -> UnsafeMutablePointer<Float> { outputs[index].data }
    @export(interface)
    public func outputShape(_ index: Int) -> Shape { outputs[index].shape }
    @export(interface)
    public func outputCount(_ index: Int) -> Int { outputs[index].count }
    @export(interface)
    public func outputMask(_ index: Int) -> UnsafeMutablePointer<UInt8>? { outputs[index].mask }
    /// nil where no weight or input that is asked for has a part in it.
    @export(interface)
    public func outputGradient(_ index: Int) -> UnsafeMutablePointer<Float>? { outputs[index].gradient }
    @export(interface)
    public func inputGradient(_ index: Int) -> UnsafeMutablePointer<Float>? { inputs[index].gradient }
    @export(interface)
    public func inputCount(_ index: Int) -> Int { inputs[index].count }
    @export(interface)
    public func finalState(_ index: Int) -> UnsafeMutablePointer<Float> { links[index].final }
    @export(interface)
    public func stateGradient(_ index: Int) -> UnsafeMutablePointer<Float> { links[index].gradient }
    @export(interface)
    public func setFinalStateGradient(_ index: Int, _ gradient: UnsafePointer<Float>?) { links[index].finalGradient = gradient }

    /// The head of an output whose activation is sigmoid or softmax: losses are computed from what goes into it.
    func head(_ index: Int) -> ActivationHead? { heads[index] }

    /// Takes the last run's batch statistics into the moving ones.
    @export(interface)
    public func commitStatistics() {
        for operation in operations { operation.commit() }
    }

    // MARK: Layers

    /// The operation of a layer; nil where its output is its input under another shape.
    static func record(_ layer: Layer, _ binding: inout TapeBinding) throws(Failure) -> TapeOperation? {
        let weights = layer.weights
        switch layer.form {
        case .input, .sameValues:
            break
        case .noise(let layer):
            if case .none = layer.noise { break }
            try binding.allocate()
            return try NoiseTape.make(layer, binding)
        case .dense(let layer):
            try binding.allocate()
            return try DenseTape.make(layer, binding)
        case .embedding(let layer):
            try binding.allocate()
            return EmbeddingTape(layer, binding, layer.maskZero ? try binding.allocateMask() : nil)
        case .rnn(let layer):
            for index in binding.outputs.indices { try binding.allocate(index) }
            return try RecurrentTape.make(layer, binding)
        case .bidirectional(let layer):
            for index in binding.outputs.indices { try binding.allocate(index) }
            return try BidirectionalTape.make(layer, binding)
        case .timeDistributed(let layer):
            return try recordOverTime(layer, &binding)
        case .activation(let layer):
            try binding.allocate()
            return ActivationTape(layer.activation, binding)
        case .softmax(let layer):
            try binding.allocate()
            let axes = try layer.axisIndices(layer.axes, rank: binding.inputs[0].shape.count)
            let groups = AxisGroups(binding.inputs[0].shape, axes)
            return SoftmaxTape(binding, groups, try binding.memory.floats(2 * groups.places.count))
        case .prelu:
            try binding.allocate()
            return PReLUTape(weights[0], binding)
        case .masking(let layer):
            try binding.allocate()
            return MaskingTape(layer.maskValue, binding, try binding.allocateMask())
        case .batchNormalization(let layer):
            try binding.allocate()
            return try BatchNormalizationTape.make(layer, binding)
        case .layerNormalization(let layer):
            try binding.allocate()
            let axes = try layer.axisIndices(layer.axes, rank: binding.inputs[0].shape.count)
            return try LayerNormalizationTape.make(layer, binding, AxisGroups(binding.inputs[0].shape, axes))
        case .repeatVector(let layer):
            try binding.allocate()
            return RepeatTape(layer.times, binding)
        case .merge(let layer):
            try binding.allocate()
            return try MergeTape.make(layer, &binding)
        case .concatenate(let layer):
            try binding.allocate()
            return try ConcatenateTape.make(layer, &binding)
        }
        binding.outputs[0].data = binding.inputs[0].data
        binding.outputs[0].gradient = binding.inputs[0].gradient
        return nil
    }

    /// The steps are rows of their own.
    private static func recordOverTime(_ layer: TimeDistributed, _ binding: inout TapeBinding) throws(Failure) -> TapeOperation? {
        let time = binding.outputs[0].shape[0]
        if case .batchNormalization(let inner) = layer.inner.form, binding.parameters.isTrained(inner) {
            throw layer.failure(.unsupported, "trains a BatchNormalization for each step in turn; put it outside TimeDistributed, or freeze it")
        }
        func step(_ value: TapeValue) -> TapeValue {
            TapeValue(data: value.data, shape: Shape(value.shape.dropFirst()), count: value.count / max(1, time), mask: nil, gradient: value.gradient)
        }
        var within = TapeBinding(parameters: binding.parameters, memory: binding.memory, rows: try multiplied(binding.rows, time),
                                 inputs: binding.inputs.map(step), initialStates: [], outputs: [step(binding.outputs[0])],
                                 links: [], series: binding.series, segment: binding.segment)
        let operation = try record(layer.inner, &within)
        binding.outputs[0].data = within.outputs[0].data
        binding.outputs[0].gradient = within.outputs[0].gradient
        return operation
    }
}

/// An activation whose output is one of the model's, and what went into it: cross-entropies are computed from there, as
/// Keras does, for accuracy.
final class ActivationHead {
    /// What went in: [rows][count].
    let logits: Floats
    /// Added to the gradient of what went in.
    let gradient: Floats
    private(set) var isUsed = false
    private let count: Int

    init(logits: Floats, gradient: Floats, count: Int) {
        self.logits = logits
        self.gradient = gradient
        self.count = count
    }

    /// A zeroed place for the gradient.
    func use() -> Floats {
        if !isUsed { clear(gradient, count) }
        isUsed = true
        return gradient
    }

    func forget() { isUsed = false }
}
