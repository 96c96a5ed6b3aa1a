import CSystem

/// A weight matrix in the kernels' panels (see kernels.h), and its bias in the same order. Its memory stays
/// where it is when it is filled anew with weights of the same precision, so that running streams see changed weights.
public final class PackedMatrix {
    /// Rows of the matrix.
    public let inputs: Int
    /// Columns of one gate.
    public let units: Int
    private let gates: Range<Int>
    private let columns: Int
    /// Of the panels; nil before they are filled.
    private var precision: Precision?
    private var panelBuffer: AlignedBuffer
    /// Of whole numbers.
    private var scaleBuffer: AlignedBuffer
    private let biasBuffer: AlignedBuffer
    /// Of one unit alone.
    private let columnBuffer: AlignedBuffer?

    /// - Parameters:
    ///   - gates: which gates of the matrix stand side by side in each block of 16 units; gate g are the columns
    ///     from g·units on. A range, not an array: Swift 6.3.1's Embedded optimizer mixed up array literals here.
    ///   - columns: columns of the matrix in Keras's order; gates.count · units where all are packed.
    public init(inputs: Int, units: Int, gates: Range<Int>, columns: Int? = nil) throws(Failure) {
        self.inputs = inputs
        self.units = units
        self.gates = gates
        self.columns = columns ?? gates.count * units
        let width = padded(units) * gates.count
        _ = try multiplied(inputs, width)
        panelBuffer = try AlignedBuffer(count: 0)
        scaleBuffer = try AlignedBuffer(count: 0)
        biasBuffer = try AlignedBuffer(count: width)
        columnBuffer = width == 16 && units == 1 ? try AlignedBuffer(count: inputs) : nil
    }

    /// [blocks][gates][inputs][16], and scales [blocks][gates][16]
    var weights: cz_weights { cz_weights(panels: panelBuffer.floats, scales: scaleBuffer.floats, kind: (precision ?? .float32).rawValue) }
    /// The floats of a matrix of one column without the panel's zeros, of which each line of the cache would hold fifteen; else nil.
    var column: UnsafePointer<Float>? { precision == .float32 ? columnBuffer.map { UnsafePointer($0.floats) } : nil }
    /// Floats of a row of sums in panel order.
    var width: Int { biasBuffer.count }
    /// [blocks][gates][16]
    public var bias: UnsafePointer<Float> { UnsafePointer(biasBuffer.floats) }

    /// The inputs that a panel has room for: halves come in pairs.
    private var pairedInputs: Int { precision == .bfloat16 ? (inputs + 1) / 2 * 2 : inputs }

    /// Packs a matrix [inputs][columns]; bias: [columns], or nil for zeros.
    func fill(_ weight: Weight, bias: UnsafePointer<Float>? = nil) throws(Failure) {
        let size = weight.precision.size
        if weight.precision != precision {
            precision = weight.precision
            panelBuffer = try AlignedBuffer(count: biasBuffer.count / 4 * size * pairedInputs)
            scaleBuffer = try AlignedBuffer(count: weight.scales == nil ? 0 : biasBuffer.count)
        }
        if let columnBuffer, precision == .float32 {
            for k in 0..<inputs { columnBuffer.floats[k] = weight.values[k * columns + gates.lowerBound] }
        }
        let matrix = weight.memory
        var panel = UnsafeMutableRawPointer(panelBuffer.floats)
        var place = 0
        for block in 0..<(padded(units) / 16) {
            let lanes = min(16, units - block * 16)
            for gate in gates {
                let column = gate * units + block * 16
                for k in 0..<inputs {
                    let values = matrix + (k * columns + column) * size
                    if precision == .bfloat16 {
                        for lane in 0..<lanes {
                            panel.storeBytes(of: values.loadUnaligned(fromByteOffset: lane * 2, as: UInt16.self),
                                             toByteOffset: k / 2 * 64 + lane * 4 + k % 2 * 2, as: UInt16.self)
                        }
                    } else {
                        (panel + k * 16 * size).copyMemory(from: values, byteCount: lanes * size)
                    }
                }
                if let bias { (biasBuffer.floats + place).copy(from: bias + column, count: lanes) }
                if precision == .int8, let scales = weight.scales {
                    (scaleBuffer.floats + place).copy(from: scales.floats + column, count: lanes)
                }
                panel += pairedInputs * 16 * size
                place += 16
            }
        }
    }
}
