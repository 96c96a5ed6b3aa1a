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
        packed = read(try PackedMatrix(inputs: features, units: units, gates: 0..<1))
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
    private let kernels: UnsafePointer<cz_kernels>
    private var call: cz_dense
    /// Vectors of features in one row of the batch.
    private let vectors: Int
    /// An activation along the units, which follows on the sums.
    private let last: Activation?
    private let out: UnsafeMutablePointer<Float>

    init(_ layer: Dense, _ binding: Binding) throws(Failure) {
        guard let packed = layer.packed else { throw layer.failure("is not built") }
        kernels = binding.kernels
        out = binding.outputs[0].data
        call = cz_dense()
        call.inputs = packed.inputs
        call.units = layer.units
        call.x = UnsafePointer(binding.inputs[0].data)
        call.kernel = packed.weights
        call.column = packed.column
        call.bias = packed.bias
        call.out = out
        vectors = packed.inputs == 0 ? 0 : binding.inputs[0].count / packed.inputs
        if let activation = layer.activation.elementwise {
            call.activation = activation
            last = nil
        } else {
            last = layer.activation
            if case .glu = layer.activation {
                call.out = try binding.workspace.floats(multiplied(multiplied(binding.capacity, vectors), layer.units))
            }
        }
    }

    override func applies(_ activation: cz_activation) -> Bool {
        guard last == nil, call.activation.kind == Int32(CZ_LINEAR.rawValue) else { return false }
        call.activation = activation
        return true
    }

    override func run(_ moment: Moment) {
        call.rows = moment.rows &* vectors
        kernels.pointee.dense(&call)
        last?.apply(kernels, call.out, out, rows: call.rows, count: call.units)
    }
}
