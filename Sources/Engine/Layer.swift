import CSystem

/// What the first axis of a value is to a stream.
public enum Timeline: Equatable, Sendable {
    /// Time: a stream has one step of it at a time.
    case flowing
    /// Not time: a stream has the whole of it, anew at each step.
    case still
}

/// Whether a layer answers step by step what it answers on the whole sequence.
public enum Streaming {
    case streams([Timeline])
    /// Why not, and what would mend it.
    case needsWhole(Text)
}

/// A layer: configuration and weights, without any buffer or state. `operation` binds it to buffers.
///
/// Shapes leave the batch axis out. A layer is built once, on the shapes of its first use; it may be used by
/// several nodes of a model.
public class Layer {
    /// The layer's name; within nested models the path "outer/inner".
    public let name: Name
    /// Keras's name of its class.
    public let className: Name
    public private(set) final var weights: [Weight] = []
    /// Keras's `trainable`: false makes all its weights non-trainable.
    public final var isTrainable = true
    /// Initializers by variable ("kernel", "bias" …) where they differ from the layer's defaults.
    public final var initializers: [(variable: Name, initializer: Initializer)] = []
    public final var trainingOptions = TrainingOptions()

    private(set) final var isBuilt = false
    /// Weights as steps read them.
    private(set) final var readBySteps: [Lockable] = []

    init(name: Name, className: Name) {
        self.name = name
        self.className = className
    }

    // MARK: What a layer kind tells of itself

    /// What it is.
    public var form: Form { .sameValues }

    /// The shapes that it gives for the shapes it gets. Fails, naming the layer, where they do not fit.
    public func outputShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] { [try single(inputs)] }

    /// Creates the weights.
    func build(_ inputs: [Shape]) throws(Failure) {}

    /// Packs the weights for the kernels; called anew when weights change.
    func pack() throws(Failure) {}

    /// What becomes of time.
    func streaming(_ inputs: [Timeline], _ shapes: [Shape]) -> Streaming { .streams([inputs[0]]) }

    /// Whether a mask that comes in goes out again with the output.
    var passesMask: Bool { false }

    /// Whether the output has a mask, told which inputs have one. Fails where a mask would change results in a
    /// way that is not provided for.
    func hasMask(_ inputs: [Bool]) throws(Failure) -> Bool { passesMask && inputs[0] }

    /// Whether a mask changes what it computes.
    var heedsMask: Bool { false }

    /// The same for one use, which the model gives an initial state or not.
    func heedsMask(withInitialState: Bool) -> Bool { heedsMask }

    /// The carried states of one use of it on a flowing value, that has a mask or not.
    func states(masked: Bool) -> [StateSlot] { [] }

    /// Whether output `index`, beside the first, goes with the mask too.
    func masksOutput(_ index: Int) -> Bool { index == 0 }

    /// Whether it reads its input along time with a state.
    public var isRecurrent: Bool { false }

    /// Whether it makes a mask that hides what equals `value`.
    public func hides(_ value: Float) -> Bool { false }

    /// Whether its output is its input's values, in their order.
    var keepsValues: Bool { false }

    /// The shapes of the initial states that a model may give it.
    var initialStateShapes: [Shape] { [] }

    /// The table that it looks ids up in.
    var embedding: Embedding? { nil }

    /// Options that change results, as numbers: what tells two layers of a class with the same weights apart.
    var parameters: [Float] { [] }

    /// Binds it to buffers; nil where the output is the input under another shape, and nothing is to be done.
    func operation(_ binding: inout Binding) throws(Failure) -> Operation? {
        binding.aliasOutputToInput()
        return nil
    }

    // MARK: Building

    /// Builds it on its first use, once.
    final func buildOnce(_ inputs: [Shape]) throws(Failure) {
        guard !isBuilt else { return }
        try build(inputs)
        isBuilt = true
    }

    /// Adds a variable, as Keras's `add_weight`.
    final func addWeight(_ variable: Name, _ shape: Shape, _ initializer: Initializer,
                   trainable: Bool = true, path: Name? = nil) throws(Failure) -> Weight {
        guard shape.isKnown else {
            throw Failure(.invalidArgument, "layer '\(name)': its input needs known sizes to build \(variable), not \(describe(shape))")
        }
        var chosen = initializer
        for (named, given) in initializers where named == variable || named == (path ?? variable) {
            chosen = given
        }
        let weight = try Weight(variable: variable, shape: shape, isTrainable: trainable && isTrainable, initializer: chosen)
        weight.path = name + "/" + (path ?? variable)
        weights.append(weight)
        return weight
    }

    /// Tells that steps read this memory.
    final func read<Memory: Lockable>(_ memory: Memory) -> Memory {
        readBySteps.append(memory)
        return memory
    }

    final func lock() throws(Failure) {
        for memory in readBySteps { try memory.lock() }
    }

    final func unlock() {
        for memory in readBySteps { memory.unlock() }
    }

    /// Takes over the weights of a layer inside it, under its own path.
    final func adoptWeights(of inner: Layer) {
        weights += inner.weights
        readBySteps += inner.readBySteps
    }

    // MARK: Checks

    /// The one input of a layer that takes just one.
    final func single(_ inputs: [Shape]) throws(Failure) -> Shape {
        guard inputs.count == 1 else {
            throw Failure(.invalidArgument, "layer '\(name)' (\(className)) takes one input, not \(inputs.count)")
        }
        return inputs[0]
    }

    /// A failure that names the layer.
    public final func failure(_ code: Failure.Code, _ text: Text) -> Failure {
        Failure(code, "layer '\(name)' (\(className)): \(text)")
    }

    public final func failure(_ text: Text) -> Failure { failure(.invalidArgument, text) }

    /// An axis as Keras numbers it (batch is 0, negative from the end), as an index into a shape without batch.
    public final func axisIndex(_ axis: Int, rank: Int) throws(Failure) -> Int {
        let index = axis < 0 ? axis + rank : axis - 1
        guard axis != 0, index >= 0, index < rank else {
            throw failure("axis \(axis) is not an axis of an input of rank \(rank + 1)")
        }
        return index
    }

    /// Several such axes, ascending.
    public final func axisIndices(_ axes: [Int], rank: Int) throws(Failure) -> [Int] {
        var indices: [Int] = []
        for axis in axes {
            let index = try axisIndex(axis, rank: rank)
            if indices.contains(index) { throw failure("names axis \(axis) twice") }
            indices.append(index)
        }
        return (0..<rank).filter { indices.contains($0) }
    }
}

/// One carried state: what a stream keeps of a layer from step to step.
public struct StateSlot {
    /// "h", "c", or for stacked cells "0/h" …
    public let name: Name
    public let units: Int
    /// Kept for the engine's own use (the previous output of a masked layer), not shown as a state.
    public let isHidden: Bool
}

/// A value of a program: where it lies, its shape, and its mask.
public struct Tensor {
    /// [rows][shape…], dense.
    public internal(set) var data: UnsafeMutablePointer<Float>
    public let shape: Shape
    /// Values of one row.
    public let count: Int
    /// [rows][shape[0]]: 1 = use, 0 = masked; nil: all used.
    var mask: UnsafeMutablePointer<UInt8>?
}

/// Everything that a layer is bound to when a program is made.
struct Binding {
    let kernels: UnsafePointer<cz_kernels>
    /// The most rows that the program will run with.
    let capacity: Int
    let inputs: [Tensor]
    /// The initial states that the model gives an RNN layer; empty: zeros.
    let initialStates: [Tensor]
    var outputs: [Tensor]
    /// Where in a row of the stream's state this use's states begin; nil: the layer starts from zero each time.
    let stateOffset: Int?
    let workspace: Workspace
    /// Where each output is wanted; empty: anywhere.
    var places: [UnsafeMutablePointer<Float>?] = []

    /// Memory for output `index`.
    mutating func allocateOutput(_ index: Int = 0) throws(Failure) {
        if index < places.count, let place = places[index] {
            outputs[index].data = place
            return
        }
        outputs[index].data = try workspace.floats(multiplied(capacity, outputs[index].count))
    }

    /// The output is the input's memory under another shape.
    mutating func aliasOutputToInput() { outputs[0].data = inputs[0].data }

    /// Memory for a mask of output `index`.
    mutating func allocateMask(_ index: Int = 0) throws(Failure) -> UnsafeMutablePointer<UInt8> {
        let mask = try workspace.bytes(multiplied(capacity, outputs[index].shape[0]))
        outputs[index].mask = mask
        return mask
    }
}

/// The buffers of a program, kept as long as it.
final class Workspace {
    private let isLocked: Bool
    private var buffers: [AlignedBuffer] = []

    init(isLocked: Bool) { self.isLocked = isLocked }

    func floats(_ count: Int) throws(Failure) -> UnsafeMutablePointer<Float> {
        let buffer = try AlignedBuffer(count: count, isLocked: isLocked)
        buffers.append(buffer)
        return buffer.floats
    }

    func bytes(_ count: Int) throws(Failure) -> UnsafeMutablePointer<UInt8> {
        UnsafeMutableRawPointer(try floats(count / 4 + 1)).assumingMemoryBound(to: UInt8.self)
    }
}

/// What a program's operations see of the moment they run in.
struct Moment {
    /// Rows that run, at most the program's capacity.
    let rows: Int
    /// The carried state before the step and after it: [rows][stride] floats, apart from one another.
    let state: UnsafePointer<Float>
    let next: UnsafeMutablePointer<Float>
    let stride: Int
    /// Per row: 1 while the row is at its beginning, so that initial states given by the model hold.
    let fresh: UnsafePointer<UInt8>
}

/// A layer bound to buffers: one call computes its outputs from its inputs. Allocates nothing.
class Operation {
    func run(_ moment: Moment) {}

    // MARK: By pieces

    /// How many weights a recurrent layer reads for a step, as a measure of how long it takes; 0: not worth a thread.
    var cost: Int { 0 }
    /// The length of its input's first axis, where what it gives at a step of it needs no more than the steps up to it; nil: it
    /// needs the whole.
    var pieces: Int? { nil }
    /// Whether its output has the same axis, so that a piece of it is done when it has run.
    var givesPieces: Bool { false }
    /// Some steps, after those before them.
    func run(_ moment: Moment, _ piece: Range<Int>) {}

    /// Keeps its input's products from step to step, where it can.
    func keepsProducts(rows: Int, _ kernels: UnsafePointer<cz_kernels>, _ workspace: Workspace) throws(Failure) -> KeptProducts? { nil }

    /// Applies an activation to its first output from now on; false where it cannot.
    func applies(_ activation: cz_activation) -> Bool { false }
}
