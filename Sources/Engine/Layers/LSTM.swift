import CSystem

/// Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000), gates i f c o:
///
///     i, f, o = recurrent_activation(x·W + h·U + b)      c̃ = activation(x·W + h·U + b)
///     c' = f·c + i·c̃                                     h' = o·activation(c')
public final class LSTMCell: Cell {
    public let activation: Activation
    public let recurrentActivation: Activation
    public let useBias: Bool
    let unitForgetBias: Bool

    private var kernel: Weight?
    private var recurrentKernel: Weight?
    private var bias: Weight?
    private var packedKernel: PackedMatrix?
    private var packedRecurrent: PackedMatrix?

    @export(interface)
    public init(name: Name, units: Int, activation: Activation = .tanh, recurrentActivation: Activation = .sigmoid,
                useBias: Bool = true, unitForgetBias: Bool = true) {
        self.activation = activation
        self.recurrentActivation = recurrentActivation
        self.useBias = useBias
        self.unitForgetBias = unitForgetBias
        super.init(name: name, className: "LSTMCell", units: units)
    }

    public override var stateNames: [Name] { ["h", "c"] }
    public override var form: CellForm { .lstm(self) }
    override var parameters: [Float] { [4] + activation.parameters + recurrentActivation.parameters }

    override func build(features: Int, in owner: Layer, path: Name) throws(Failure) {
        kernel = try addWeight("kernel", [features, 4 * units], .glorotUniform, in: owner, path: path)
        recurrentKernel = try addWeight("recurrent_kernel", [units, 4 * units], .orthogonal(gain: 1), in: owner, path: path)
        if useBias {
            bias = try addWeight("bias", [4 * units], unitForgetBias ? .unitForgetBias : .zeros, in: owner, path: path)
        }
        packedKernel = owner.read(try PackedMatrix(inputs: features, units: units, gates: 0..<4))
        packedRecurrent = owner.read(try PackedMatrix(inputs: units, units: units, gates: 0..<4))
    }

    override func pack() throws(Failure) {
        guard let kernel, let recurrentKernel else { return }
        try packedKernel?.fill(kernel, bias: bias?.values)
        try packedRecurrent?.fill(recurrentKernel)
    }

    override func step(features: Int, rows: Int, kernels: UnsafePointer<cz_kernels>,
                       workspace: Workspace) throws(Failure) -> CellStep {
        guard let packedKernel, let packedRecurrent else { throw Failure(.invalidArgument, "cell '\(name)' is not built") }
        if let activation = activation.elementwise, let recurrent = recurrentActivation.elementwise {
            return LSTMStep(packedKernel, packedRecurrent, activation, recurrent, kernels)
        }
        return try RowwiseLSTMStep(self, packedKernel, packedRecurrent, rows, kernels, workspace)
    }
}

private final class LSTMStep: CellStep {
    private let width: Int
    private let kernels: UnsafePointer<cz_kernels>
    private var call: cz_lstm
    private let kernel: PackedMatrix

    init(_ kernel: PackedMatrix, _ recurrent: PackedMatrix, _ activation: cz_activation,
         _ recurrentActivation: cz_activation, _ kernels: UnsafePointer<cz_kernels>) {
        width = padded(kernel.units)
        self.kernel = kernel
        self.kernels = kernels
        call = cz_lstm()
        call.inputs = kernel.inputs
        call.units = kernel.units
        call.kernel = kernel.weights
        call.bias = kernel.bias
        call.recurrent = recurrent.weights
        call.activation = activation
        call.recurrent_activation = recurrentActivation
    }

    override var inputWeights: PackedMatrix? { kernel }

    override func writes(_ answer: UnsafePointer<cz_answer>) -> Bool {
        call.answer = answer
        return true
    }

    override func run(rows: Int, x: UnsafePointer<Float>, xStride: Int,
                      from: UnsafePointer<Float>, fromStride: Int, to: UnsafeMutablePointer<Float>, toStride: Int) {
        call.rows = rows
        if let sums = inputSums(x, xStride, rows: rows) {
            call.start = sums
            call.start_stride = givenStride
        } else {
            call.x = x
            call.x_stride = xStride
        }
        call.h = from
        call.c = from + width
        call.state_stride = fromStride
        call.h_out = to
        call.c_out = to + width
        call.state_out_stride = toStride
        kernels.pointee.lstm(&call)
    }
}

/// The same with an activation along the units.
private final class RowwiseLSTMStep: CellStep {
    private let cell: LSTMCell
    private let kernel: PackedMatrix
    private let recurrent: PackedMatrix
    private let sums: GateSums

    init(_ cell: LSTMCell, _ kernel: PackedMatrix, _ recurrent: PackedMatrix, _ rows: Int,
         _ kernels: UnsafePointer<cz_kernels>, _ workspace: Workspace) throws(Failure) {
        self.cell = cell
        self.kernel = kernel
        self.recurrent = recurrent
        sums = try GateSums(gates: 4, units: cell.units, rows: rows, kernels: kernels, workspace: workspace)
    }

    override func run(rows: Int, x: UnsafePointer<Float>, xStride: Int,
                      from: UnsafePointer<Float>, fromStride: Int, to: UnsafeMutablePointer<Float>, toStride: Int) {
        let units = cell.units
        sums.sum(x, xStride, rows, kernel, start: kernel.bias, startStride: 0)
        sums.sum(from, fromStride, rows, recurrent,
                 start: sums.panels, startStride: sums.panelWidth)
        for row in 0..<rows {
            sums.unpack(row: row)
            sums.activate(0, cell.recurrentActivation)
            sums.activate(1, cell.recurrentActivation)
            sums.activate(2, cell.activation)
            sums.activate(3, cell.recurrentActivation)
            let i = sums.gates, f = i + units, g = f + units, o = g + units
            let c = from + (row &* fromStride &+ padded(units))
            let hOut = to + row &* toStride, cOut = hOut + padded(units)
            for unit in 0..<units { cOut[unit] = f[unit] * c[unit] + i[unit] * g[unit] }
            cell.activation.apply(sums.kernels, cOut, hOut, rows: 1, count: units)
            for unit in 0..<units { hOut[unit] *= o[unit] }
        }
    }
}
