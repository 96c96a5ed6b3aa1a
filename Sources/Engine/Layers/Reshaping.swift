/// A layer that does nothing at inference: the Dropout family, GaussianNoise, ActivityRegularization.
public final class Identity: Layer {
    /// What it does in training.
    public var noise: Noise = .none

    @export(interface)
    public override init(name: Name, className: Name) { super.init(name: name, className: className) }
    public override var form: Form { .noise(self) }
    override var passesMask: Bool { true }
    override var keepsValues: Bool { true }
}

/// All axes in one.
public final class Flatten: Layer {
    @export(interface)
    public init(name: Name) { super.init(name: name, className: "Flatten") }

    override var keepsValues: Bool { true }

    public override func outputShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] {
        let shape = try single(inputs)
        return [shape.isKnown ? [try shape.elementCount()] : [anyLength]]
    }

    override func streaming(_ inputs: [Timeline], _ shapes: [Shape]) -> Streaming {
        if inputs[0] == .still { return .streams([.still]) }
        return .needsWhole("Flatten turns time steps into features, so there is no answer before the last step; "
            + "leave Flatten out and give the last recurrent layer return_sequences=False")
    }
}

/// The same values under another shape.
public final class Reshape: Layer {
    /// Keras's target_shape, without batch; one axis may be −1.
    private var target: Shape

    @export(interface)
    public init(name: Name, target: Shape) {
        self.target = target
        super.init(name: name, className: "Reshape")
    }

    override var parameters: [Float] { target.map { Float($0) } }
    override var keepsValues: Bool { true }

    /// A first axis that is kept is kept at any length: a stream has one step of it at a time.
    override func build(_ inputs: [Shape]) throws(Failure) {
        if keepsTime(try single(inputs)) { target[0] = anyLength }
    }

    public override func outputShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] {
        let shape = try single(inputs)
        guard shape.isKnown else { return [target] }
        let count = try shape.elementCount()
        var known = 1
        for length in target where length >= 0 { known = try multiplied(known, length) }
        if let open = target.firstIndex(of: anyLength) {
            guard known > 0, count % known == 0 else {
                throw failure("\(count) values of \(describe(shape)) do not fit the target shape \(describe(target))")
            }
            var result = target
            result[open] = count / known
            return [result]
        }
        guard known == count else {
            throw failure("\(count) values of \(describe(shape)) do not fit the target shape \(describe(target))")
        }
        return [target]
    }

    /// Streams where the time axis stays what it was: the target begins with −1 or the window's own length, and
    /// the rest holds one step's values.
    override func streaming(_ inputs: [Timeline], _ shapes: [Shape]) -> Streaming {
        if inputs[0] == .still { return .streams([.still]) }
        if keepsTime(shapes[0]) { return .streams([.flowing]) }
        return .needsWhole("Reshape to \(describe(target)) moves values across time steps; "
            + "reshape within a step, with -1 as the first axis of target_shape")
    }

    private func keepsTime(_ shape: Shape) -> Bool {
        guard let first = target.first, let time = shape.first, first == anyLength || first == time else { return false }
        let step = Shape(shape.dropFirst()), rest = Shape(target.dropFirst())
        guard step.isKnown, rest.isKnown else { return false }
        return step.reduce(1, &*) == rest.reduce(1, &*)
    }
}

/// [features] to [n, features].
public final class RepeatVector: Layer {
    public let times: Int

    @export(interface)
    public init(name: Name, times: Int) {
        self.times = times
        super.init(name: name, className: "RepeatVector")
    }

    public override var form: Form { .repeatVector(self) }

    public override func outputShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] {
        let shape = try single(inputs)
        guard shape.count == 1 else { throw failure("takes [batch, features], not \(describe(shape))") }
        return [[times] + shape]
    }

    override func streaming(_ inputs: [Timeline], _ shapes: [Shape]) -> Streaming { .streams([.still]) }
    override var parameters: [Float] { [Float(times)] }

    override func operation(_ binding: inout Binding) throws(Failure) -> Operation? {
        try binding.allocateOutput()
        return RepeatOperation(binding, times: times)
    }
}

private final class RepeatOperation: Operation {
    private let x: UnsafeMutablePointer<Float>
    private let out: UnsafeMutablePointer<Float>
    private let count: Int
    private let times: Int

    init(_ binding: Binding, times: Int) {
        x = binding.inputs[0].data
        out = binding.outputs[0].data
        count = binding.inputs[0].count
        self.times = times
    }

    override func run(_ moment: Moment) {
        for row in 0..<moment.rows {
            for i in 0..<times {
                (out + (row &* times &+ i) &* count).copy(from: x + row &* count, count: count)
            }
        }
    }
}
