import CSystem

/// One step of a recurrent layer: configuration and weights. Its states lie side by side in a row, each in
/// whole blocks of 16 floats: h, and for an LSTM c behind it.
public class Cell {
    public let name: Name
    public let className: Name
    public let units: Int
    /// In Keras's order: kernel, recurrent kernel, bias.
    public private(set) final var weights: [Weight] = []
    /// Initializers by variable, as in `Layer`.
    public final var initializers: [(variable: Name, initializer: Initializer)] = []
    public final var trainingOptions = TrainingOptions()

    init(name: Name, className: Name, units: Int) {
        self.name = name
        self.className = className
        self.units = units
    }

    /// What it is.
    public var form: CellForm { .unknown }

    /// The states' names, "h" first.
    public var stateNames: [Name] { ["h"] }

    /// Floats that its states take in a row.
    final var stateWidth: Int { padded(units) &* stateNames.count }

    /// Creates the weights in the layer that owns the cell, under `path`.
    func build(features: Int, in owner: Layer, path: Name) throws(Failure) {}

    func pack() throws(Failure) {}

    /// Options that change results, as numbers.
    var parameters: [Float] { [] }

    /// The cell bound to buffers for at most `rows` rows.
    func step(features: Int, rows: Int, kernels: UnsafePointer<cz_kernels>,
              workspace: Workspace) throws(Failure) -> CellStep {
        CellStep()
    }

    /// `owner.addWeight` with the cell's own initializers.
    final func addWeight(_ variable: Name, _ shape: Shape, _ initializer: Initializer, in owner: Layer,
                   path: Name) throws(Failure) -> Weight {
        var chosen = initializer
        for (named, given) in initializers where named == variable { chosen = given }
        let weight = try owner.addWeight(variable, shape, chosen, path: path.isEmpty ? variable : path + "/" + variable)
        weights.append(weight)
        return weight
    }
}

/// A cell bound to buffers.
class CellStep {
    /// The input's products of the step before, where they are kept.
    final var kept: KeptProducts?
    /// The input's products, where they are made before: [rows][gates], with `givenStride` floats between rows.
    final var givenSums: UnsafePointer<Float>?
    final var givenStride = 0
    /// What the input is multiplied with; nil where its products cannot be kept.
    var inputWeights: PackedMatrix? { nil }

    /// bias + x·W of each row, where the step need not make them.
    final func inputSums(_ x: UnsafePointer<Float>, _ xStride: Int, rows: Int) -> UnsafePointer<Float>? {
        if let givenSums { return givenSums }
        guard let kept else { return nil }
        givenStride = kept.width
        return kept.of(x, xStride, rows: rows)
    }

    /// Writes from now on what `answer` says at each step, too; false where it cannot.
    func writes(_ answer: UnsafePointer<cz_answer>) -> Bool { false }

    /// One step of `rows` rows: x [rows][features] with `xStride` floats between rows; the cell's states before
    /// (`from`) and after (`to`), with their strides between rows, apart from one another. Allocates nothing.
    func run(rows: Int, x: UnsafePointer<Float>, xStride: Int,
             from: UnsafePointer<Float>, fromStride: Int, to: UnsafeMutablePointer<Float>, toStride: Int) {}
}

/// The products of an input that stays the same over several steps: bias + x·W of each row, made anew where x has changed.
/// The chain goes on from them with the state's products, so the bits are those of a step that makes both.
final class KeptProducts {
    /// Floats of a row of sums.
    let width: Int
    private let weights: PackedMatrix
    private let kernels: UnsafePointer<cz_kernels>
    private let rows: Int
    /// [rows][inputs], [rows][width], [rows]: 1 where there are any.
    private let inputs: UnsafeMutablePointer<Float>
    private let sums: UnsafeMutablePointer<Float>
    private let isThere: UnsafeMutablePointer<UInt8>

    init(_ weights: PackedMatrix, rows: Int, _ kernels: UnsafePointer<cz_kernels>, _ workspace: Workspace) throws(Failure) {
        self.weights = weights
        self.rows = rows
        self.kernels = kernels
        width = weights.width
        inputs = try workspace.floats(multiplied(rows, weights.inputs))
        sums = try workspace.floats(multiplied(rows, width))
        isThere = try workspace.bytes(rows)
    }

    /// Those of the rows of x, [rows][width].
    func of(_ x: UnsafePointer<Float>, _ xStride: Int, rows: Int) -> UnsafePointer<Float> {
        var row = 0
        while row < rows {
            let first = row
            while row < rows, !isSame(row, x + row &* xStride) { row &+= 1 }
            if row > first { make(first..<row, x, xStride) }
            row &+= 1
        }
        return UnsafePointer(sums)
    }

    private func isSame(_ row: Int, _ x: UnsafePointer<Float>) -> Bool {
        isThere[row] != 0 && cz_same(x, inputs + row &* weights.inputs, weights.inputs &* 4) != 0
    }

    private func make(_ range: Range<Int>, _ x: UnsafePointer<Float>, _ xStride: Int) {
        weights.multiply(x + range.lowerBound &* xStride, xStride, rows: range.count, weights.bias, 0, sums + range.lowerBound &* width, kernels)
        for row in range {
            (inputs + row &* weights.inputs).copy(from: x + row &* xStride, count: weights.inputs)
            isThere[row] = 1
        }
    }

    /// A row takes another's place.
    func move(_ from: Int, to: Int) {
        (inputs + to &* weights.inputs).copy(from: inputs + from &* weights.inputs, count: weights.inputs)
        (sums + to &* width).copy(from: sums + from &* width, count: width)
        isThere[to] = isThere[from]
    }

    /// The weights have changed.
    func forget() { isThere.update(repeating: 0, count: rows) }
}

/// The products of a whole sequence's input, some steps at a time: few rows alone would read all weights for each step. The
/// chain goes on from them as from those that are kept.
final class InputProducts {
    /// From more rows on a step that makes both products is as fast.
    static let rows = 4
    /// Fewer weights are read from the nearest cache as fast.
    static let weights = 8192
    /// Steps that are made at once.
    private static let most = 24

    private let weights: PackedMatrix
    private let kernels: UnsafePointer<cz_kernels>
    /// [rows][steps][width]
    private let sums: UnsafeMutablePointer<Float>
    private let capacity: Int
    /// The steps that are there.
    private var made = 0..<0

    init(_ weights: PackedMatrix, rows: Int, time: Int, _ kernels: UnsafePointer<cz_kernels>, _ workspace: Workspace) throws(Failure) {
        self.weights = weights
        self.kernels = kernels
        capacity = min(InputProducts.most, time)
        sums = try workspace.floats(multiplied(multiplied(rows, capacity), weights.width))
    }

    /// Sees to it that a step is among those that are made, and gives them to the cell. x: [rows][steps][inputs].
    func prepare(_ step: Int, before end: Int, rows: Int, _ x: UnsafePointer<Float>, _ rowStride: Int, for cell: CellStep) {
        if !made.contains(step) || step == 0 {
            made = step..<min(end, step &+ capacity)
            for row in 0..<rows {
                weights.multiply(x + (row &* rowStride &+ step &* weights.inputs), weights.inputs, rows: made.count, weights.bias, 0,
                                 sums + row &* capacity &* weights.width, kernels)
            }
        }
        cell.givenSums = UnsafePointer(sums) + (step &- made.lowerBound) &* weights.width
        cell.givenStride = capacity &* weights.width
    }
}

/// The sums of a gated layer in plain order, for activations that look at a whole row (softmax …) and so
/// cannot be fused onto blocks of 16 units: [rows][gates][units].
struct GateSums {
    let kernels: UnsafePointer<cz_kernels>
    /// [rows][blocks · gates · 16], panel order.
    let panels: UnsafeMutablePointer<Float>
    /// [gates][units] of one row.
    let gates: UnsafeMutablePointer<Float>
    let gateCount: Int
    let units: Int

    init(gates gateCount: Int, units: Int, rows: Int, kernels: UnsafePointer<cz_kernels>,
         workspace: Workspace) throws(Failure) {
        self.kernels = kernels
        self.gateCount = gateCount
        self.units = units
        panels = try workspace.floats(multiplied(rows, padded(units) * gateCount))
        gates = try workspace.floats(multiplied(gateCount, units))
    }

    var panelWidth: Int { padded(units) &* gateCount }

    /// start + x · packed, for all rows.
    func sum(_ x: UnsafePointer<Float>, _ xStride: Int, _ rows: Int,
             _ packed: PackedMatrix, start: UnsafePointer<Float>?, startStride: Int) {
        packed.multiply(x, xStride, rows: rows, start, startStride, panels, kernels)
    }

    /// Spreads one row's sums into `gates`.
    func unpack(row: Int) {
        let from = panels + row &* panelWidth
        for gate in 0..<gateCount {
            for unit in 0..<units {
                gates[gate &* units &+ unit] = from[((unit / 16) &* gateCount &+ gate) &* 16 &+ unit % 16]
            }
        }
    }

    /// Applies an activation to one gate of the unpacked row.
    func activate(_ gate: Int, _ activation: Activation) {
        let row = gates + gate &* units
        activation.apply(kernels, row, row, rows: 1, count: units)
    }
}
