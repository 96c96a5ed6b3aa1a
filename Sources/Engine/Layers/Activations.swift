import CSystem

/// An activation as a layer: Activation, ReLU, LeakyReLU, ELU, Softmax over the last axis …
public final class ActivationLayer: Layer {
    public let activation: Activation

    @export(interface)
    public init(name: Name, className: Name, activation: Activation) {
        self.activation = activation
        super.init(name: name, className: className)
    }

    public override var form: Form { .activation(self) }

    public override func outputShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] {
        var shape = try single(inputs)
        guard let width = shape.last else { throw failure("needs an input with a feature axis") }
        shape[shape.count - 1] = try activation.width(width, layer: name)
        return [shape]
    }

    override var passesMask: Bool { true }
    override var parameters: [Float] { activation.parameters }

    /// Keras's Softmax layer leaves masked places out of the sum.
    override func hasMask(_ inputs: [Bool]) throws(Failure) -> Bool {
        if inputs[0], className == "Softmax" { throw failure(.unsupported, "a mask on its input") }
        return inputs[0]
    }

    override var heedsMask: Bool { className == "Softmax" }

    override func operation(_ binding: inout Binding) throws(Failure) -> Operation? {
        try binding.allocateOutput()
        return ActivationOperation(activation, binding)
    }
}

private final class ActivationOperation: Operation {
    private let activation: Activation
    private let kernels: UnsafePointer<cz_kernels>
    private let x: UnsafeMutablePointer<Float>
    private let out: UnsafeMutablePointer<Float>
    private let width: Int
    private let vectors: Int

    init(_ activation: Activation, _ binding: Binding) {
        self.activation = activation
        kernels = binding.kernels
        x = binding.inputs[0].data
        out = binding.outputs[0].data
        width = binding.inputs[0].shape[binding.inputs[0].shape.count - 1]
        vectors = width == 0 ? 0 : binding.inputs[0].count / width
    }

    override func run(_ moment: Moment) {
        activation.apply(kernels, x, out, rows: moment.rows &* vectors, count: width)
    }
}

/// Softmax over one axis that is not the last, or over several together.
public final class SoftmaxOverAxes: Layer {
    /// As Keras numbers them: batch is 0.
    public let axes: [Int]

    @export(interface)
    public init(name: Name, axes: [Int]) {
        self.axes = axes
        super.init(name: name, className: "Softmax")
    }

    public override var form: Form { .softmax(self) }

    override func build(_ inputs: [Shape]) throws(Failure) {
        _ = try axisIndices(axes, rank: try single(inputs).count)
    }

    override func hasMask(_ inputs: [Bool]) throws(Failure) -> Bool {
        if inputs[0] { throw failure(.unsupported, "a mask on its input") }
        return false
    }

    override var heedsMask: Bool { true }
    override var parameters: [Float] { axes.map { Float($0) } }

    override func streaming(_ inputs: [Timeline], _ shapes: [Shape]) -> Streaming {
        if inputs[0] == .still { return .streams([.still]) }
        if let indices = try? axisIndices(axes, rank: shapes[0].count), !indices.contains(0) { return .streams([.flowing]) }
        return .needsWhole("Softmax over the time axis weighs all steps against each other; take it over features")
    }

    override func operation(_ binding: inout Binding) throws(Failure) -> Operation? {
        try binding.allocateOutput()
        let input = binding.inputs[0]
        return try SoftmaxOverAxesOperation(binding, axisIndices(axes, rank: input.shape.count))
    }
}

private final class SoftmaxOverAxesOperation: Operation {
    private let kernels: UnsafePointer<cz_kernels>
    private let input: Tensor
    private let out: UnsafeMutablePointer<Float>
    private let groups: AxisGroups
    private let scratch: UnsafeMutablePointer<Float>

    init(_ binding: Binding, _ axes: [Int]) throws(Failure) {
        kernels = binding.kernels
        input = binding.inputs[0]
        out = binding.outputs[0].data
        groups = AxisGroups(input.shape, axes)
        scratch = try binding.workspace.floats(groups.places.count)
    }

    override func run(_ moment: Moment) {
        let count = groups.places.count
        for row in 0..<moment.rows {
            for group in groups.starts {
                let start = row &* input.count &+ group
                for (i, place) in groups.places.enumerated() { scratch[i] = input.data[start &+ place] }
                kernels.pointee.softmax(scratch, count, scratch, count, 1, count)
                for (i, place) in groups.places.enumerated() { out[start &+ place] = scratch[i] }
            }
        }
    }
}

/// max(0, x) + alpha · min(0, x), alpha learned for each value, or shared along axes.
public final class PReLU: Layer {
    /// As Keras numbers them: batch is 0.
    private let sharedAxes: [Int]
    private var alpha: Weight?

    @export(interface)
    public init(name: Name, sharedAxes: [Int]) {
        self.sharedAxes = sharedAxes
        super.init(name: name, className: "PReLU")
    }

    public override var form: Form { .prelu(self) }

    public override func outputShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] {
        let shape = try single(inputs)
        if let alpha { try check(shape, against: alpha) }
        return [shape]
    }

    private func check(_ shape: Shape, against alpha: Weight) throws(Failure) {
        guard shape.count == alpha.shape.count else { throw failure("expects rank \(alpha.shape.count + 1), not \(describe(shape))") }
        for axis in shape.indices where alpha.shape[axis] != 1 && shape[axis] >= 0 && shape[axis] != alpha.shape[axis] {
            throw failure("expects \(alpha.shape[axis]) values along axis \(axis + 1), not \(shape[axis]); alpha is learned for each")
        }
    }

    override func build(_ inputs: [Shape]) throws(Failure) {
        var shape = try single(inputs)
        for axis in sharedAxes { shape[try axisIndex(axis, rank: shape.count)] = 1 }
        alpha = read(try addWeight("alpha", shape, .zeros))
    }

    override var passesMask: Bool { true }

    override func streaming(_ inputs: [Timeline], _ shapes: [Shape]) -> Streaming {
        if inputs[0] == .still { return .streams([.still]) }
        if let alpha, alpha.shape[0] == 1, shapes[0].count > 1, shapes[0][0] != 1 || sharesTime { return .streams([.flowing]) }
        return .needsWhole("PReLU learned an alpha for each time step of its window; use shared_axes=[1]")
    }

    private var sharesTime: Bool {
        guard let rank = alpha?.shape.count else { return false }
        return sharedAxes.contains { (try? axisIndex($0, rank: rank)) == 0 }
    }

    override func operation(_ binding: inout Binding) throws(Failure) -> Operation? {
        try binding.allocateOutput()
        guard let alpha else { throw failure("is not built") }
        return PReLUOperation(alpha, binding)
    }
}

private final class PReLUOperation: Operation {
    private let alpha: Weight
    private let input: Tensor
    private let out: UnsafeMutablePointer<Float>
    /// For each value of a row, its alpha's index.
    private let places: [Int]

    init(_ alpha: Weight, _ binding: Binding) {
        self.alpha = alpha
        input = binding.inputs[0]
        out = binding.outputs[0].data
        places = broadcastPlaces(alpha.shape, over: input.shape)
    }

    override func run(_ moment: Moment) {
        let alpha = alpha.values
        for row in 0..<moment.rows {
            let x = input.data + row &* input.count, y = out + row &* input.count
            for i in 0..<input.count { y[i] = x[i] < 0 ? alpha[places[i]] * x[i] : x[i] }
        }
    }
}

/// For each value of a tensor of shape `target`, the index of the value of a tensor of `shape` (same rank, axes of
/// length 1 repeated) that stands beside it.
public func broadcastPlaces(_ shape: Shape, over target: Shape) -> [Int] {
    var places = [0]
    var stride = 1
    for axis in shape.indices.reversed() {
        let step = shape[axis] == 1 ? 0 : stride
        places = (0..<target[axis]).flatMap { i in places.map { $0 + i * step } }
        stride *= shape[axis]
    }
    return places
}

/// Hides the time steps whose features all equal `maskValue`; hidden steps become zeros.
public final class Masking: Layer {
    public let maskValue: Float

    @export(interface)
    public init(name: Name, maskValue: Float) {
        self.maskValue = maskValue
        super.init(name: name, className: "Masking")
    }

    public override var form: Form { .masking(self) }

    public override func outputShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] {
        let shape = try single(inputs)
        guard shape.count == 2 else { throw failure(.unsupported, "takes [batch, time, features], not \(describe(shape))") }
        return [shape]
    }

    override func hasMask(_ inputs: [Bool]) throws(Failure) -> Bool { true }
    public override func hides(_ value: Float) -> Bool { value == maskValue }
    override var parameters: [Float] { [maskValue] }

    override func operation(_ binding: inout Binding) throws(Failure) -> Operation? {
        try binding.allocateOutput()
        return MaskingOperation(maskValue, binding, try binding.allocateMask())
    }
}

private final class MaskingOperation: Operation {
    private let maskValue: Float
    private let input: Tensor
    private let out: UnsafeMutablePointer<Float>
    private let mask: UnsafeMutablePointer<UInt8>
    private let features: Int
    private let vectors: Int

    init(_ maskValue: Float, _ binding: Binding, _ mask: UnsafeMutablePointer<UInt8>) {
        self.maskValue = maskValue
        self.mask = mask
        input = binding.inputs[0]
        out = binding.outputs[0].data
        features = input.shape[1]
        vectors = input.shape[0]
    }

    override func run(_ moment: Moment) {
        for vector in 0..<(moment.rows &* vectors) {
            let x = input.data + vector &* features, y = out + vector &* features
            var used = false
            for i in 0..<features where x[i] != maskValue { used = true }
            mask[vector] = used ? 1 : 0
            for i in 0..<features { y[i] = x[i] * (used ? 1 : 0) }
        }
    }
}
