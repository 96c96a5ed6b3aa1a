import CSystem
import Engine

/// A model over a window of steps, which may run some at a time: what it gives after each of them, as a stream would, and
/// what it needs to run backward. For loops in which steps depend on those before.
final class WindowTape {
    let parameters: Parameters
    let window: Window
    private let input: TapeValue
    private let output: TapeValue
    private let operations: [TapeOperation]
    private let recurrents: [WindowRecurrentTape]
    /// Its states in the model's order.
    private let states: [(cell: CellTape, index: Int)]
    private let gradients: [(values: Floats, count: Int)]
    /// Of all operations.
    private let halves: [(place: GradientPlace, count: Int)]
    private let memory: Memory
    private var pass = Pass(isTraining: false, seed: 0, number: 0)
    /// Steps from here on are in the gradients of all weights.
    private var pending = 0

    var size: Int { memory.size }

    /// - Parameters:
    ///   - sources: where the input is rows that serve several places each; nil: it has a row for each place.
    ///   - inputGradient: whether the input's gradient is wanted.
    ///   - keepsStateGradients: whether those of the states after each step are.
    ///   - limit: floats that it may take.
    ///   - old: one that is not used any more, whose memory is taken where it fits.
    static func make(_ parameters: Parameters, _ window: Window, _ sources: Sources?, inputGradient: Bool, keepsStateGradients: Bool,
                     limit: Int, old: WindowTape? = nil) throws(Failure) -> WindowTape {
        let model = parameters.model, memory = Memory(limit: limit, reusing: old?.memory), series = SeriesCounter(), places = window.count
        var values: [TapeValue?] = Array(repeating: nil, count: model.values.count)
        let port = model.inputs[0]
        var shape = port.shape
        if port.hasTime { shape[0] = 1 }
        let count = try shape.elementCount()
        let given = TapeValue(data: try memory.floats(sources?.count ?? places, count), shape: shape, count: count, mask: nil,
                              gradient: inputGradient ? try memory.floats(sources?.count ?? places, count) : nil)
        values[port.value] = given
        var operations: [TapeOperation] = [], recurrents: [WindowRecurrentTape] = [], gradients: [(values: Floats, count: Int)] = []
        if let gradient = given.gradient { gradients.append((gradient, (sources?.count ?? places) * count)) }
        // An RNN that alone reads the input makes its products of the rows themselves; for others they are repeated.
        var direct: Sources?
        if let sources {
            if readsAlone(model, port.value) {
                direct = sources
            } else {
                let repeated = TapeValue(data: try memory.floats(places, count), shape: shape, count: count, mask: nil,
                                         gradient: inputGradient ? try memory.floats(places, count) : nil)
                operations.append(GatherTape(given, repeated, sources, places: places))
                if let gradient = repeated.gradient { gradients.append((gradient, places * count)) }
                values[port.value] = repeated
            }
        }
        for node in model.nodes where !node.inputs.isEmpty {
            let inputs = node.inputs.map { values[$0]! }
            let isTrained = node.layer.weights.contains { parameters.gradient($0) != nil }
            let isNeeded = isTrained || node.stateOffset != nil || inputs.contains { $0.gradient != nil }
            var outputs: [TapeValue] = []
            for shape in try node.layer.outputShapes(inputs.map { $0.shape }) {
                outputs.append(TapeValue(data: inputs[0].data, shape: shape, count: try shape.elementCount(), mask: nil,
                                         gradient: isNeeded ? inputs[0].data : nil))
            }
            var binding = TapeBinding(parameters: parameters, memory: memory, rows: places, inputs: inputs, initialStates: [],
                                      outputs: outputs, links: [], series: series, segment: .max)
            var operation: TapeOperation?
            if case .rnn(let layer) = node.layer.form {
                let made = try WindowRecurrentTape.make(layer, &binding, window, node.inputs[0] == port.value ? direct : nil, keepsGradients: keepsStateGradients)
                recurrents.append(made)
                operation = made
            } else {
                operation = try Tape.record(node.layer, &binding)
            }
            if let operation {
                operations.append(operation)
                operation.takeHalves(node.layer, parameters)
            }
            for (i, index) in node.outputs.enumerated() {
                var value = binding.outputs[i]
                if model.values[index].hasMask && value.mask == nil { value.mask = inputs[0].mask }
                values[index] = value
                // A layer that only renames its input hands its gradient on.
                if let gradient = value.gradient, operation != nil { gradients.append((gradient, places * value.count)) }
            }
        }
        memory.dropSpare()
        return WindowTape(parameters, window, given, values[model.outputs[0].value]!, operations, recurrents, gradients, memory)
    }

    /// Refuses by name what does not run step by step, or has another meaning there.
    static func check(_ model: Model, what: Literal) throws(Failure) {
        guard model.canStream else { throw Failure(.cannotStream, "\(what) cannot stream: \(model.obstacle)") }
        guard model.inputs.count == 1, model.outputs.count == 1 else {
            throw Failure(.unsupported, "\(what) has \(model.inputs.count) inputs and \(model.outputs.count) outputs, expected one of each")
        }
        guard model.inputs[0].stepSize > 0, model.outputs[0].stepSize > 0 else {
            throw Failure(.unsupported, "\(what) has steps without values")
        }
        for node in model.nodes where !node.inputs.isEmpty {
            guard node.initialStates.isEmpty else { throw node.layer.failure(.unsupported, "begins in states that the model gives; unroll it step by step") }
            guard node.stateOffset != nil || !loops(node.layer) else {
                throw node.layer.failure(.unsupported, "runs over a whole sequence in each step; unroll it step by step")
            }
        }
    }

    private static func loops(_ layer: Layer) -> Bool {
        switch layer.form {
        case .rnn, .bidirectional: true
        case .timeDistributed(let wrapper): loops(wrapper.inner)
        default: false
        }
    }

    /// Refuses by name a layer whose training computes over the whole batch of all steps.
    static func checkTraining(_ parameters: Parameters) throws(Failure) {
        for node in parameters.model.nodes {
            if case .batchNormalization(let layer) = node.layer.form, parameters.isTrained(layer) {
                throw layer.failure(.unsupported, "takes its statistics from a whole batch, which a run step by step never has at once; freeze it")
            }
        }
    }

    private static func readsAlone(_ model: Model, _ value: Int) -> Bool {
        var readers = 0, isRecurrent = false
        for node in model.nodes where node.inputs.contains(value) {
            readers += 1
            if case .rnn(let layer) = node.layer.form, layer.cells[0].trainingOptions.dropout == 0 { isRecurrent = true }
        }
        return readers == 1 && isRecurrent && model.outputs[0].value != value
    }

    private init(_ parameters: Parameters, _ window: Window, _ input: TapeValue, _ output: TapeValue, _ operations: [TapeOperation],
                 _ recurrents: [WindowRecurrentTape], _ gradients: [(values: Floats, count: Int)], _ memory: Memory) {
        self.parameters = parameters
        self.window = window
        self.input = input
        self.output = output
        self.operations = operations
        self.recurrents = recurrents
        self.gradients = gradients
        self.memory = memory
        states = recurrents.flatMap { $0.states }
        halves = operations.flatMap { $0.halves }
    }

    // MARK: Values

    var x: Floats { input.data }
    var xGradient: Floats? { input.gradient }
    var features: Int { input.count }
    var y: Floats { output.data }
    /// nil where nothing has a part in it that is asked for.
    var yGradient: Floats? { output.gradient }
    var width: Int { output.count }

    /// State `index` before the first step [rows][units], and then after each of them, by place.
    func state(_ index: Int) -> Floats { states[index].cell.states(states[index].index) }
    func units(_ index: Int) -> Int { states[index].cell.units }
    /// Its gradient [rows][units]: before a backward run after the last step of each row, then before the first.
    func stateGradient(_ index: Int) -> Floats { states[index].cell.stateGradient(states[index].index) }
    /// A zeroed place for what is added to its gradients after each step, by place; forgotten by the next backward run.
    func makeGivenGradient(_ index: Int) throws(Failure) {
        states[index].cell.givenGradients[states[index].index] = try AlignedBuffer(count: multiplied(window.count, units(index)))
    }
    func givenGradient(_ index: Int) -> Floats? { states[index].cell.givenGradients[states[index].index]?.floats }
    /// What its gradients then were, where that is kept.
    func keptGradient(_ index: Int) -> Floats? { states[index].cell.keptGradients[states[index].index] }

    // MARK: Runs

    func begin(_ pass: Pass) {
        self.pass = pass
        parameters.refresh()
    }

    /// Runs steps first ..< end, whose inputs stand in `x`.
    func forward(_ first: Int, _ end: Int) {
        let callers = cz_float_mode_enter()
        defer { cz_float_mode_leave(callers) }
        for operation in operations {
            // Each step draws its own numbers, however many run at once.
            let piece = operation is NoiseTape && pass.isTraining ? 1 : end &- first
            var step = first
            while step < end {
                select(operation, step, step &+ piece)
                operation.forward(Pass(isTraining: pass.isTraining, seed: pass.seed, number: pass.number &+ UInt64(piece == 1 ? step : 0)))
                step = step &+ piece
            }
        }
    }

    /// All gradients are then zero but the weights'; add those of the output and of states, and call `backward`.
    func beginBackward() {
        let callers = cz_float_mode_enter()
        defer { cz_float_mode_leave(callers) }
        for gradient in gradients { clear(gradient.values, gradient.count) }
        for recurrent in recurrents { recurrent.beginBackward() }
        pending = window.steps
    }

    /// Runs backward through steps first ..< end: from the last steps to the first.
    func backward(_ first: Int, _ end: Int) {
        let callers = cz_float_mode_enter()
        defer { cz_float_mode_leave(callers) }
        for operation in operations.reversed() {
            select(operation, first, end)
            operation.backward()
        }
        guard first == 0 || window.place(pending) &- window.place(first) >= GradientProduct.chunk else { return }
        for operation in operations.reversed() {
            select(operation, first, pending)
            operation.addGradients(parameters.product)
        }
        pending = first
        if first == 0 { parameters.product.join(halves) }
    }

    private func select(_ operation: TapeOperation, _ first: Int, _ end: Int) {
        operation.select(window.place(first), window.place(end) &- window.place(first), of: window.count)
    }
}
