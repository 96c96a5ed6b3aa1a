import CSystem

/// A weight matrix in the kernels' panels (see kernels.h), and its bias in the same order. Its memory stays
/// where it is when it is filled anew with weights of the same precision, so that running streams see changed weights.
public final class PackedMatrix: Lockable {
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

    /// As kernels.h says; scales [blocks][gates][16].
    var weights: cz_weights { cz_weights(panels: panelBuffer.floats, scales: scaleBuffer.floats, kind: (precision ?? .float32).rawValue) }
    /// The floats of a matrix of one column without the panel's zeros, of which each line of the cache would hold fifteen; else nil.
    var column: UnsafePointer<Float>? { precision == .float32 ? columnBuffer.map { UnsafePointer($0.floats) } : nil }
    /// Floats of a row of sums in panel order.
    var width: Int { biasBuffer.count }
    /// [blocks][gates][16]
    public var bias: UnsafePointer<Float> { UnsafePointer(biasBuffer.floats) }

    /// Packs a matrix [inputs][columns]; bias: [columns], or nil for zeros.
    func fill(_ weight: Weight, bias: UnsafePointer<Float>? = nil) throws(Failure) {
        let size = weight.precision.size, sharing = 4 / size
        // Bytes of a panel: so many inputs share its words.
        let panelSize = (inputs + sharing - 1) / sharing * 64
        if weight.precision != precision {
            let panels = try AlignedBuffer(count: biasBuffer.count / 16 * (panelSize / 4) + (weight.scales == nil ? 0 : 1))
            scaleBuffer = try AlignedBuffer(count: weight.scales == nil ? 0 : biasBuffer.count)
            panelBuffer = panels
            precision = weight.precision
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
                    let values = matrix + (k * columns + column) * size, words = panel + k / sharing * 64
                    switch weight.precision {
                    case .float32 where lanes == 16: // without a call
                        words.storeBytes(of: values.loadUnaligned(as: SIMD16<Float>.self), as: SIMD16<Float>.self)
                    case .float32: words.copyMemory(from: values, byteCount: lanes * 4)
                    case .bfloat16:
                        for lane in 0..<lanes {
                            words.storeBytes(of: values.loadUnaligned(fromByteOffset: lane * 2, as: UInt16.self),
                                             toByteOffset: lane * 4 + k % 2 * 2, as: UInt16.self)
                        }
                    case .int8:
                        for lane in 0..<lanes {
                            words.storeBytes(of: values.load(fromByteOffset: lane, as: UInt8.self),
                                             toByteOffset: lane * 4 + 3 + k % 4, as: UInt8.self)
                        }
                    }
                }
                if let bias { (biasBuffer.floats + place).copy(from: bias + column, count: lanes) }
                if let scales = weight.scales {
                    for lane in 0..<lanes { scaleBuffer.floats[place + lane] = scales.floats[column + lane] * 0x1p-24 }
                }
                panel += panelSize
                place += 16
            }
        }
    }

    /// start + x · W of some rows, in panel order: [rows][width]. start: nil for zeros, its stride 0 for one row that serves all.
    @inline(never)
    func multiply(_ x: UnsafePointer<Float>, _ xStride: Int, rows: Int, _ start: UnsafePointer<Float>?, _ startStride: Int,
                  _ out: UnsafeMutablePointer<Float>, _ kernels: UnsafePointer<cz_kernels>) {
        var panels = weights
        kernels.pointee.affine_packed(x, xStride, rows, inputs, &panels, width, start, startStride, out, width)
    }

    // MARK: Locking

    override func lock() throws(Failure) {
        try panelBuffer.lock()
        try scaleBuffer.lock()
        try biasBuffer.lock()
        try columnBuffer?.lock()
    }

    override func unlock() {
        panelBuffer.unlock()
        scaleBuffer.unlock()
        biasBuffer.unlock()
        columnBuffer?.unlock()
    }
}
