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
    /// Writes from now on what `answer` says at each step, too; false where it cannot.
    func writes(_ answer: UnsafePointer<cz_answer>) -> Bool { false }

    /// One step of `rows` rows: x [rows][features] with `xStride` floats between rows; the cell's states before
    /// (`from`) and after (`to`), with their strides between rows, apart from one another. Allocates nothing.
    func run(rows: Int, x: UnsafePointer<Float>, xStride: Int,
             from: UnsafePointer<Float>, fromStride: Int, to: UnsafeMutablePointer<Float>, toStride: Int) {}
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
    func sum(_ x: UnsafePointer<Float>, _ xStride: Int, _ rows: Int, _ inputs: Int,
             _ packed: PackedMatrix, start: UnsafePointer<Float>?, startStride: Int) {
        var weights = packed.weights
        kernels.pointee.affine_packed(x, xStride, rows, inputs, &weights, panelWidth, start, startStride, panels, panelWidth)
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
