import CSystem

/// The plain recurrent cell (Elman 1990): h' = activation(x·W + h·U + b).
public final class SimpleRNNCell: Cell {
    public let activation: Activation
    public let useBias: Bool

    private var kernel: Weight?
    private var recurrentKernel: Weight?
    private var bias: Weight?
    private var packedKernel: PackedMatrix?
    private var packedRecurrent: PackedMatrix?

    @export(interface)
    public init(name: Name, units: Int, activation: Activation = .tanh, useBias: Bool = true) {
        self.activation = activation
        self.useBias = useBias
        super.init(name: name, className: "SimpleRNNCell", units: units)
    }

    public override var form: CellForm { .simple(self) }
    override var parameters: [Float] { [1] + activation.parameters }

    override func build(features: Int, in owner: Layer, path: Name) throws(Failure) {
        kernel = try addWeight("kernel", [features, units], .glorotUniform, in: owner, path: path)
        recurrentKernel = try addWeight("recurrent_kernel", [units, units], .orthogonal(gain: 1), in: owner, path: path)
        if useBias { bias = try addWeight("bias", [units], .zeros, in: owner, path: path) }
        packedKernel = owner.read(try PackedMatrix(inputs: features, units: units, gates: 0..<1))
        packedRecurrent = owner.read(try PackedMatrix(inputs: units, units: units, gates: 0..<1))
    }

    override func pack() throws(Failure) {
        guard let kernel, let recurrentKernel else { return }
        try packedKernel?.fill(kernel, bias: bias?.values)
        try packedRecurrent?.fill(recurrentKernel)
    }

    override func step(features: Int, rows: Int, kernels: UnsafePointer<cz_kernels>,
                       workspace: Workspace) throws(Failure) -> CellStep {
        guard let packedKernel, let packedRecurrent else { throw Failure(.invalidArgument, "cell '\(name)' is not built") }
        return SimpleRNNStep(self, packedKernel, packedRecurrent, kernels)
    }
}

/// An activation along the units is applied afterwards, to the sums.
private final class SimpleRNNStep: CellStep {
    private let units: Int
    private let rowwise: Activation?
    private let kernels: UnsafePointer<cz_kernels>
    private var call: cz_simple_rnn

    init(_ cell: SimpleRNNCell, _ kernel: PackedMatrix, _ recurrent: PackedMatrix, _ kernels: UnsafePointer<cz_kernels>) {
        units = cell.units
        rowwise = cell.activation.elementwise == nil ? cell.activation : nil
        self.kernels = kernels
        call = cz_simple_rnn()
        call.inputs = kernel.inputs
        call.units = cell.units
        call.kernel = kernel.weights
        call.bias = kernel.bias
        call.recurrent = recurrent.weights
        call.activation = cell.activation.elementwise ?? Activation.linear.elementwise.unsafelyUnwrapped
    }

    override func writes(_ answer: UnsafePointer<cz_answer>) -> Bool {
        guard rowwise == nil else { return false }
        call.answer = answer
        return true
    }

    override func run(rows: Int, x: UnsafePointer<Float>, xStride: Int,
                      from: UnsafePointer<Float>, fromStride: Int, to: UnsafeMutablePointer<Float>, toStride: Int) {
        call.rows = rows
        call.x = x
        call.x_stride = xStride
        call.h = from
        call.state_stride = fromStride
        call.h_out = to
        call.state_out_stride = toStride
        kernels.pointee.simple_rnn(&call)
        if let rowwise {
            for row in 0..<rows {
                let h = to + row &* toStride
                rowwise.apply(kernels, h, h, rows: 1, count: units)
            }
        }
    }
}
