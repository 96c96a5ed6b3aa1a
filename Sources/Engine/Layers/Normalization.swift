/// (x − moving_mean) / sqrt(moving_variance + epsilon) · gamma + beta along one axis (Ioffe & Szegedy 2015), with
/// the statistics that training left.
public final class BatchNormalization: Layer {
    /// As Keras numbers them: batch is 0.
    public let axis: Int
    public let epsilon: Float
    public let center: Bool
    public let scale: Bool
    /// How much of the moving statistics an update keeps.
    public var momentum: Float = 0.99

    private var gamma: Weight?
    private var beta: Weight?
    private var mean: Weight?
    private var variance: Weight?
    /// x · factor + shift
    fileprivate var factor: AlignedBuffer?
    fileprivate var shift: AlignedBuffer?

    @export(interface)
    public init(name: Name, axis: Int = -1, epsilon: Float = 1e-3, center: Bool = true, scale: Bool = true) {
        self.axis = axis
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        super.init(name: name, className: "BatchNormalization")
    }

    public override var form: Form { .batchNormalization(self) }

    public override func outputShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] {
        let shape = try single(inputs)
        let length = shape[try axisIndex(axis, rank: shape.count)]
        if let mean, length >= 0, length != mean.count { throw failure("expects \(mean.count) values along axis \(axis), not \(length)") }
        return [shape]
    }

    override func build(_ inputs: [Shape]) throws(Failure) {
        let shape = try single(inputs)
        let length = shape[try axisIndex(axis, rank: shape.count)]
        if scale { gamma = try addWeight("gamma", [length], .ones) }
        if center { beta = try addWeight("beta", [length], .zeros) }
        mean = try addWeight("moving_mean", [length], .zeros, trainable: false)
        variance = try addWeight("moving_variance", [length], .ones, trainable: false)
        factor = read(try AlignedBuffer(count: length))
        shift = read(try AlignedBuffer(count: length))
    }

    override func pack() throws(Failure) {
        guard let mean, let variance, let factor, let shift else { return }
        for i in 0..<mean.count {
            let f = (gamma?.values[i] ?? 1) / (variance.values[i] + epsilon).squareRoot()
            factor.floats[i] = f
            shift.floats[i] = (beta?.values[i] ?? 0) - mean.values[i] * f
        }
    }

    override var passesMask: Bool { true }
    override var parameters: [Float] { [Float(axis), epsilon, center ? 1 : 0, scale ? 1 : 0] }

    override func streaming(_ inputs: [Timeline], _ shapes: [Shape]) -> Streaming {
        if inputs[0] == .still { return .streams([.still]) }
        if let index = try? axisIndex(axis, rank: shapes[0].count), index > 0 { return .streams([.flowing]) }
        return .needsWhole("BatchNormalization with axis=\(axis) has statistics for each time step of its window; use axis=-1")
    }

    override func operation(_ binding: inout Binding) throws(Failure) -> Operation? {
        try binding.allocateOutput()
        guard let factor, let shift else { throw failure("is not built") }
        let index = try axisIndex(axis, rank: binding.inputs[0].shape.count)
        return ScaleOperation(binding, axis: index, factor: factor, shift: shift)
    }
}

private final class ScaleOperation: Operation {
    private let input: Tensor
    private let out: UnsafeMutablePointer<Float>
    private let factor: AlignedBuffer
    private let shift: AlignedBuffer
    /// Values that share a statistic lie `inner` together, `length` statistics in turn, repeated.
    private let length: Int
    private let inner: Int

    init(_ binding: Binding, axis: Int, factor: AlignedBuffer, shift: AlignedBuffer) {
        input = binding.inputs[0]
        out = binding.outputs[0].data
        self.factor = factor
        self.shift = shift
        length = input.shape[axis]
        inner = input.shape[(axis + 1)...].reduce(1, *)
    }

    override func run(_ moment: Moment) {
        let count = moment.rows &* input.count
        var place = 0
        while place < count {
            for i in 0..<length {
                let f = factor.floats[i], s = shift.floats[i]
                for j in place..<(place &+ inner) { out[j] = input.data[j] * f + s }
                place = place &+ inner
            }
        }
    }
}

/// (x − mean) / sqrt(variance + epsilon) · gamma + beta over the values of one sample along some axes (Ba et al. 2016);
/// with rms_scaling, x / sqrt(variance + epsilon) · gamma.
public final class LayerNormalization: Layer {
    /// As Keras numbers them: batch is 0.
    public let axes: [Int]
    public let epsilon: Float
    public let center: Bool
    public let scale: Bool
    public let rmsScaling: Bool

    fileprivate var gamma: Weight?
    fileprivate var beta: Weight?

    @export(interface)
    public init(name: Name, axes: [Int] = [-1], epsilon: Float = 1e-3, center: Bool = true, scale: Bool = true,
                rmsScaling: Bool = false) {
        self.axes = axes
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.rmsScaling = rmsScaling
        super.init(name: name, className: "LayerNormalization")
    }

    private func normalizedShape(_ shape: Shape) throws(Failure) -> Shape {
        let indices = try axisIndices(axes, rank: shape.count)
        guard !indices.isEmpty else { throw failure("axis is empty") }
        return indices.map { shape[$0] }
    }

    public override var form: Form { .layerNormalization(self) }

    public override func outputShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] {
        let shape = try single(inputs)
        let normalized = try normalizedShape(shape)
        if let built = gamma?.shape ?? beta?.shape, normalized.isKnown, normalized != built {
            throw failure("expects lengths \(built) along its axes, not \(normalized)")
        }
        return [shape]
    }

    override func build(_ inputs: [Shape]) throws(Failure) {
        let shape = try single(inputs)
        let normalized = try normalizedShape(shape)
        if scale { gamma = read(try addWeight("gamma", normalized, .ones)) }
        if center && !rmsScaling { beta = read(try addWeight("beta", normalized, .zeros)) }
    }

    override var passesMask: Bool { true }
    override var parameters: [Float] {
        [epsilon, center ? 1 : 0, scale ? 1 : 0, rmsScaling ? 1 : 0] + axes.map { Float($0) }
    }

    override func streaming(_ inputs: [Timeline], _ shapes: [Shape]) -> Streaming {
        if inputs[0] == .still { return .streams([.still]) }
        if let indices = try? axisIndices(axes, rank: shapes[0].count), !indices.contains(0) { return .streams([.flowing]) }
        return .needsWhole("LayerNormalization over the time axis takes its mean over all steps; use axis=-1")
    }

    override func operation(_ binding: inout Binding) throws(Failure) -> Operation? {
        try binding.allocateOutput()
        return LayerNormalizationOperation(self, binding, try axisIndices(axes, rank: binding.inputs[0].shape.count))
    }
}

private final class LayerNormalizationOperation: Operation {
    private let layer: LayerNormalization
    private let input: Tensor
    private let out: UnsafeMutablePointer<Float>
    private let groups: AxisGroups

    init(_ layer: LayerNormalization, _ binding: Binding, _ axes: [Int]) {
        self.layer = layer
        input = binding.inputs[0]
        out = binding.outputs[0].data
        groups = AxisGroups(input.shape, axes)
    }

    override func run(_ moment: Moment) {
        for row in 0..<moment.rows {
            for start in groups.starts { normalize(row &* input.count &+ start) }
        }
    }

    /// Normalizes the group of values that begins at `start`.
    private func normalize(_ start: Int) {
        let x = input.data + start, out = out + start
        let gamma = layer.gamma?.values, beta = layer.beta?.values
        let size = Float(groups.places.count)
        var sum: Float = 0
        for place in groups.places { sum += x[place] }
        let mean = sum / size
        var squares: Float = 0
        for place in groups.places { squares += (x[place] - mean) * (x[place] - mean) }
        let factor = 1 / (squares / size + layer.epsilon).squareRoot()
        let center = layer.rmsScaling ? 0 : mean
        for (i, place) in groups.places.enumerated() {
            out[place] = (x[place] - center) * factor * (gamma?[i] ?? 1) + (beta?[i] ?? 0)
        }
    }
}
