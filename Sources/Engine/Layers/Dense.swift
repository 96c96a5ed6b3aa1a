import CSystem

/// y = activation(x · kernel + bias) on the last axis.
public final class Dense: Layer {
    public let units: Int
    public let activation: Activation
    public let useBias: Bool

    private var kernel: Weight?
    private var bias: Weight?
    private(set) var packed: PackedMatrix?

    @export(interface)
    public init(name: Name, units: Int, activation: Activation = .linear, useBias: Bool = true) {
        self.units = units
        self.activation = activation
        self.useBias = useBias
        super.init(name: name, className: "Dense")
    }

    public override var form: Form { .dense(self) }

    public override func outputShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] {
        var shape = try single(inputs)
        guard let features = shape.last else { throw failure("needs an input with a feature axis") }
        if let kernel, features >= 0, features != kernel.shape[0] {
            throw failure("expects \(kernel.shape[0]) features, not \(features) (its input is \(describe(shape)))")
        }
        shape[shape.count - 1] = try activation.width(units, layer: name)
        return [shape]
    }

    override func build(_ inputs: [Shape]) throws(Failure) {
        let features = try single(inputs).last ?? anyLength
        kernel = try addWeight("kernel", [features, units], .glorotUniform)
        if useBias { bias = try addWeight("bias", [units], .zeros) }
        packed = try PackedMatrix(inputs: features, units: units, gates: 0..<1)
    }

    override func pack() throws(Failure) {
        if let kernel { try packed?.fill(kernel, bias: bias?.values) }
    }

    override var passesMask: Bool { true }
    override var parameters: [Float] { activation.parameters }

    override func operation(_ binding: inout Binding) throws(Failure) -> Operation? {
        try binding.allocateOutput()
        return try DenseOperation(self, binding)
    }
}

private final class DenseOperation: Operation {
    private let activation: Activation
    private var weights: cz_weights
    private let bias: UnsafePointer<Float>
    private let kernels: UnsafePointer<cz_kernels>
    private let x: UnsafeMutablePointer<Float>
    private let out: UnsafeMutablePointer<Float>
    /// Where the products go: the output itself, or a wider scratch that glu halves.
    private let sums: UnsafeMutablePointer<Float>
    /// Vectors of `inputs` features in one row of the batch.
    private let vectors: Int
    private let inputs: Int
    private let units: Int

    init(_ layer: Dense, _ binding: Binding) throws(Failure) {
        guard let packed = layer.packed else { throw layer.failure("is not built") }
        activation = layer.activation
        weights = packed.weights
        bias = packed.bias
        kernels = binding.kernels
        x = binding.inputs[0].data
        out = binding.outputs[0].data
        inputs = binding.inputs[0].shape[binding.inputs[0].shape.count - 1]
        units = layer.units
        vectors = inputs == 0 ? 0 : binding.inputs[0].count / inputs
        if case .glu = layer.activation {
            sums = try binding.workspace.floats(multiplied(multiplied(binding.capacity, vectors), units))
        } else {
            sums = out
        }
    }

    override func run(_ moment: Moment) {
        let rows = moment.rows &* vectors
        kernels.pointee.affine_packed(x, inputs, rows, inputs, &weights, units, bias, 0, sums, units)
        if !activation.isLinear {
            activation.apply(kernels, sums, out, rows: rows, count: units)
        }
    }
}
