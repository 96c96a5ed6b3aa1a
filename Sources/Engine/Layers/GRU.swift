import CSystem

/// Gated recurrent unit (Cho et al. 2014), gates z r h:
///
///     z, r = recurrent_activation(x·W + h·U + b)          h' = z·h + (1 − z)·h̃
///     h̃ = activation(x·W + (r·h)·U + b)                   reset_after=False, bias (3u)
///     h̃ = activation(x·W + b₀ + r·(h·U + b₁))             reset_after=True (cuDNN's form), bias (2, 3u)
public final class GRUCell: Cell {
    public let activation: Activation
    public let recurrentActivation: Activation
    public let useBias: Bool
    public let resetAfter: Bool

    private var kernel: Weight?
    private var recurrentKernel: Weight?
    private var bias: Weight?
    private var packedKernel: PackedMatrix?
    /// Gates z r h, or z r alone where the reset comes before the product.
    private var packedRecurrent: PackedMatrix?
    /// The h gate alone: its panels where the reset comes before the product, else only its recurrent bias.
    private var packedRecurrentH: PackedMatrix?

    @export(interface)
    public init(name: Name, units: Int, activation: Activation = .tanh, recurrentActivation: Activation = .sigmoid,
                useBias: Bool = true, resetAfter: Bool = true) {
        self.activation = activation
        self.recurrentActivation = recurrentActivation
        self.useBias = useBias
        self.resetAfter = resetAfter
        super.init(name: name, className: "GRUCell", units: units)
    }

    public override var form: CellForm { .gru(self) }
    override var parameters: [Float] { [resetAfter ? 3 : 2] + activation.parameters + recurrentActivation.parameters }

    override func build(features: Int, in owner: Layer, path: Name) throws(Failure) {
        kernel = try addWeight("kernel", [features, 3 * units], .glorotUniform, in: owner, path: path)
        recurrentKernel = try addWeight("recurrent_kernel", [units, 3 * units], .orthogonal(gain: 1), in: owner, path: path)
        if useBias {
            bias = try addWeight("bias", resetAfter ? [2, 3 * units] : [3 * units], .zeros, in: owner, path: path)
        }
        packedKernel = owner.read(try PackedMatrix(inputs: features, units: units, gates: 0..<3))
        packedRecurrent = owner.read(try PackedMatrix(inputs: units, units: units, gates: resetAfter ? 0..<3 : 0..<2, columns: 3 * units))
        packedRecurrentH = owner.read(try PackedMatrix(inputs: resetAfter ? 0 : units, units: units, gates: 2..<3, columns: 3 * units))
    }

    override func pack() throws(Failure) {
        guard let kernel, let recurrentKernel else { return }
        guard resetAfter, let bias = bias?.values else {
            try packedKernel?.fill(kernel, bias: bias?.values)
            try packedRecurrent?.fill(recurrentKernel)
            try packedRecurrentH?.fill(recurrentKernel)
            return
        }
        // The gates z and r add both biases before anything else; h keeps its recurrent one inside the reset.
        let merged = try AlignedBuffer(count: 3 * units)
        for i in 0..<(3 * units) {
            merged.floats[i] = i < 2 * units ? bias[i] + bias[3 * units + i] : bias[i]
        }
        defer { withExtendedLifetime(merged) {} }
        try packedKernel?.fill(kernel, bias: UnsafePointer(merged.floats))
        try packedRecurrent?.fill(recurrentKernel)
        try packedRecurrentH?.fill(recurrentKernel, bias: bias + 3 * units)
    }

    override func step(features: Int, rows: Int, kernels: UnsafePointer<cz_kernels>,
                       workspace: Workspace) throws(Failure) -> CellStep {
        guard let packedKernel, let packedRecurrent, let packedRecurrentH else {
            throw Failure(.invalidArgument, "cell '\(name)' is not built")
        }
        let matrices = GRUMatrices(kernel: packedKernel, recurrent: packedRecurrent, recurrentH: packedRecurrentH)
        if let activation = activation.elementwise, let recurrent = recurrentActivation.elementwise {
            return try GRUStep(self, matrices, rows, activation, recurrent, kernels, workspace)
        }
        return try RowwiseGRUStep(self, matrices, rows, kernels, workspace)
    }
}

/// A GRU's packed weights.
private struct GRUMatrices {
    let kernel: PackedMatrix
    let recurrent: PackedMatrix
    let recurrentH: PackedMatrix
}

private final class GRUStep: CellStep {
    private let kernels: UnsafePointer<cz_kernels>
    private var call: cz_gru
    private let kernel: PackedMatrix

    init(_ cell: GRUCell, _ matrices: GRUMatrices, _ rows: Int, _ activation: cz_activation,
         _ recurrent: cz_activation, _ kernels: UnsafePointer<cz_kernels>, _ workspace: Workspace) throws(Failure) {
        self.kernels = kernels
        kernel = matrices.kernel
        call = cz_gru()
        call.inputs = matrices.kernel.inputs
        call.units = cell.units
        call.kernel = matrices.kernel.weights
        call.bias = matrices.kernel.bias
        call.recurrent = matrices.recurrent.weights
        if cell.resetAfter {
            call.recurrent_bias_h = matrices.recurrentH.bias
        } else {
            call.recurrent_h = matrices.recurrentH.weights
        }
        call.activation = activation
        call.recurrent_activation = recurrent
        if !cell.resetAfter {
            call.scratch = try workspace.floats(multiplied(rows, padded(cell.units) * 2))
        }
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
        call.state_stride = fromStride
        call.h_out = to
        call.state_out_stride = toStride
        kernels.pointee.gru(&call)
    }
}

/// The same with an activation along the units.
private final class RowwiseGRUStep: CellStep {
    private let cell: GRUCell
    private let matrices: GRUMatrices
    /// x·W + b for gates z r h (with h·U added for z r, where the gates allow it).
    private let input: GateSums
    /// h·U: gates z r h, or z r.
    private let recurrent: GateSums
    /// The h gate's part, where the reset comes before the product.
    private let reset: GateSums

    init(_ cell: GRUCell, _ matrices: GRUMatrices, _ rows: Int, _ kernels: UnsafePointer<cz_kernels>,
         _ workspace: Workspace) throws(Failure) {
        self.cell = cell
        self.matrices = matrices
        input = try GateSums(gates: 3, units: cell.units, rows: rows, kernels: kernels, workspace: workspace)
        recurrent = try GateSums(gates: cell.resetAfter ? 3 : 2, units: cell.units, rows: rows, kernels: kernels,
                                 workspace: workspace)
        reset = try GateSums(gates: 1, units: cell.units, rows: 1, kernels: kernels, workspace: workspace)
    }

    override func run(rows: Int, x: UnsafePointer<Float>, xStride: Int,
                      from: UnsafePointer<Float>, fromStride: Int, to: UnsafeMutablePointer<Float>, toStride: Int) {
        let kernel = matrices.kernel, recurrentH = matrices.recurrentH
        let units = cell.units
        input.sum(x, xStride, rows, kernel, start: kernel.bias, startStride: 0)
        recurrent.sum(from, fromStride, rows, matrices.recurrent, start: nil, startStride: 0)
        for row in 0..<rows {
            input.unpack(row: row)
            recurrent.unpack(row: row)
            let z = input.gates, r = z + units, candidate = r + units
            let h = from + row &* fromStride, hOut = to + row &* toStride
            for i in 0..<(2 &* units) { z[i] += recurrent.gates[i] }
            input.activate(0, cell.recurrentActivation)
            input.activate(1, cell.recurrentActivation)
            if cell.resetAfter {
                let product = recurrent.gates + 2 &* units
                for unit in 0..<units { candidate[unit] += r[unit] * (product[unit] + recurrentH.bias[unit]) }
            } else {
                for unit in 0..<units { hOut[unit] = r[unit] * h[unit] }
                reset.sum(hOut, toStride, 1, recurrentH, start: nil, startStride: 0)
                reset.unpack(row: 0)
                for unit in 0..<units { candidate[unit] += reset.gates[unit] }
            }
            input.activate(2, cell.activation)
            for unit in 0..<units { hOut[unit] = z[unit] * h[unit] + (1 - z[unit]) * candidate[unit] }
        }
    }
}
