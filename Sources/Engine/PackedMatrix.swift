/// A weight matrix in the kernels' panels (see kernels.h), and its bias in the same order. Its memory stays
/// where it is when it is filled anew, so that running streams see changed weights.
public final class PackedMatrix {
    /// Rows of the matrix.
    public let inputs: Int
    /// Columns of one gate.
    public let units: Int
    private let gates: Range<Int>
    private let columns: Int
    private let panelBuffer: AlignedBuffer
    private let biasBuffer: AlignedBuffer

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
        panelBuffer = try AlignedBuffer(count: multiplied(inputs, width))
        biasBuffer = try AlignedBuffer(count: width)
    }

    /// [blocks][gates][inputs][16]
    public var panels: UnsafePointer<Float> { UnsafePointer(panelBuffer.floats) }
    /// [blocks][gates][16]
    public var bias: UnsafePointer<Float> { UnsafePointer(biasBuffer.floats) }

    /// Packs a row-major matrix [inputs][columns]; bias: [columns], or nil for zeros.
    func fill(_ matrix: UnsafePointer<Float>, bias: UnsafePointer<Float>? = nil) {
        var panel = panelBuffer.floats
        var biasPanel = biasBuffer.floats
        for block in 0..<(padded(units) / 16) {
            let lanes = min(16, units - block * 16)
            for gate in gates {
                let column = gate * units + block * 16
                for k in 0..<inputs {
                    (panel + k * 16).copy(from: matrix + k * columns + column, count: lanes)
                }
                if let bias { biasPanel.copy(from: bias + column, count: lanes) }
                panel += inputs * 16
                biasPanel += 16
            }
        }
    }
}
