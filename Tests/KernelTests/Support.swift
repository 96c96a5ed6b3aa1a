import CSystem
import Testing

/// A table of kernels that this machine runs.
struct Level: Sendable, CustomTestStringConvertible {
    let number: Int
    nonisolated(unsafe) let kernels: cz_kernels

    /// Whether products are added with one rounding.
    var isFused: Bool { number >= 3 }
    var testDescription: String { String(cString: kernels.name) }

    static let all: [Level] = [
        Level(number: 2, kernels: cz_kernels_v2()), Level(number: 3, kernels: cz_kernels_v3()),
        Level(number: 4, kernels: cz_kernels_v4()),
    ].filter { $0.number <= cz_x86_level() }

    /// x·y + z as this level computes it.
    func multiplyAdd(_ x: Float, _ y: Float, _ z: Float) -> Float { isFused ? z.addingProduct(x, y) : x * y + z }

    /// The chain of one output: a start, then products in index order. `weights` are `stride` apart.
    func chain(_ start: Float, _ x: ArraySlice<Float>, _ weights: [Float], _ column: Int, _ stride: Int) -> Float {
        var sum = start
        for (k, value) in x.enumerated() { sum = multiplyAdd(value, weights[k * stride + column], sum) }
        return sum
    }
}

/// Numbers that are the same in each run.
struct Numbers {
    private var state: UInt64

    init(_ seed: Int) { state = UInt64(truncatingIfNeeded: seed) &* 0x9E37_79B9_7F4A_7C15 | 1 }

    mutating func next() -> Float {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return Float(Int32(truncatingIfNeeded: state >> 32)) * 0x1p-31
    }

    mutating func next(_ count: Int, scale: Float = 1) -> [Float] { (0..<count).map { _ in scale * next() } }
}

/// Floats between two walls: NaN that spoils what is computed if it is read, of a pattern that shows if it is written.
final class Guarded {
    private static let wall = Float(bitPattern: 0x7FC5_A5A5)
    private static let thickness = 32
    private let memory: UnsafeMutablePointer<Float>
    let count: Int

    /// - Parameter offset: floats past an address that is a multiple of 64 bytes.
    init(_ values: [Float], offset: Int = 0) {
        count = values.count
        let whole = 2 * Self.thickness + 16 + count
        memory = UnsafeMutableRawPointer.allocate(byteCount: whole * 4, alignment: 64).bindMemory(to: Float.self, capacity: whole)
        memory.initialize(repeating: Self.wall, count: whole)
        pointer = memory + Self.thickness + offset
        for (i, value) in values.enumerated() { pointer[i] = value }
    }

    convenience init(filled count: Int, offset: Int = 0) {
        self.init([Float](repeating: Self.wall, count: count), offset: offset)
    }

    deinit { memory.deallocate() }

    let pointer: UnsafeMutablePointer<Float>

    /// Whether this place has not been written to.
    func isUntouched(_ index: Int) -> Bool { pointer[index].bitPattern == Self.wall.bitPattern }

    /// Whether both walls stand.
    var isIntact: Bool {
        (1...Self.thickness).allSatisfy { isUntouched(-$0) } && (0..<(Self.thickness - 16)).allSatisfy { isUntouched(count + $0) }
    }
}

func padded(_ units: Int) -> Int { (units + 15) / 16 * 16 }

/// Packs [inputs][gates · units] as kernels.h says; `chosen` gates side by side.
func pack(_ matrix: [Float], inputs: Int, units: Int, gates: Int, chosen: [Int]) -> Guarded {
    let columns = gates * units
    var packed: [Float] = []
    for block in 0..<(padded(units) / 16) {
        for gate in chosen {
            for k in 0..<inputs {
                for lane in 0..<16 {
                    let unit = block * 16 + lane
                    packed.append(unit < units ? matrix[k * columns + gate * units + unit] : 0)
                }
            }
        }
    }
    return Guarded(packed)
}

/// Weights of a kind, packed: halves, which the values must be; or whole numbers of the columns' scales.
final class Packed {
    let weights: cz_weights
    private let owners: [Guarded]

    init(_ matrix: [Float], inputs: Int, units: Int, gates: Int, chosen: [Int], kind: cz_weight_kind = CZ_FLOAT32, scales: [Float] = []) {
        let floats = pack(matrix, inputs: inputs, units: units, gates: gates, chosen: chosen)
        guard kind != CZ_FLOAT32 else {
            owners = [floats]
            weights = cz_weights(panels: floats.pointer, scales: nil, kind: 0)
            return
        }
        var row: [Float] = []
        if kind == CZ_INT8 { for gate in chosen { row += scales[(gate * units)..<((gate + 1) * units)] } }
        let inOrder = Guarded(panels(row, units: units, gates: chosen.count))
        let sharing = kind == CZ_INT8 ? 4 : 2, size = (inputs + sharing - 1) / sharing * 64
        let count = inputs == 0 ? 0 : floats.count / (inputs * 16)
        let narrow = Guarded([Float](repeating: 0, count: count * size / 4 + (kind == CZ_INT8 ? 1 : 0)))
        let bytes = UnsafeMutableRawPointer(narrow.pointer)
        for i in 0..<floats.count {
            let value = floats.pointer[i], panel = i / (inputs * 16), k = i / 16 % inputs
            let word = panel * size + k / sharing * 64 + i % 16 * 4
            if kind == CZ_INT8 {
                let scale = inOrder.pointer[panel * 16 + i % 16]
                bytes.storeBytes(of: value == 0 ? 0 : Int8((value / scale).rounded()), toByteOffset: word + 3 + k % 4, as: Int8.self)
            } else {
                bytes.storeBytes(of: UInt16(value.bitPattern >> 16), toByteOffset: word + k % 2 * 2, as: UInt16.self)
            }
        }
        for i in 0..<inOrder.count { inOrder.pointer[i] *= 0x1p-24 }
        owners = [narrow, inOrder]
        weights = cz_weights(panels: narrow.pointer, scales: inOrder.pointer, kind: Int32(kind.rawValue))
    }
}

/// A row of one value a column in panel order.
func panels(_ row: [Float], units: Int, gates: Int) -> [Float] {
    var result = [Float](repeating: 0, count: padded(units) * gates)
    for (column, value) in row.enumerated() {
        let (gate, unit) = (column / units, column % units)
        result[((unit / 16) * gates + gate) * 16 + unit % 16] = value
    }
    return result
}

/// Rows set apart by `stride`, the gaps untouched.
func spread(_ values: [Float], rows: Int, stride: Int) -> [Float] {
    let count = rows == 0 ? 0 : values.count / rows
    var result: [Float] = []
    for row in 0..<rows {
        result += values[(row * count)..<((row + 1) * count)]
        if row + 1 < rows { result += [Float](repeating: .nan, count: stride - count) }
    }
    return result
}

func activation(_ kind: cz_activation_kind, _ a: Float = 0, _ b: Float = 0, _ c: Float = 0) -> cz_activation {
    cz_activation(kind: Int32(kind.rawValue), a: a, b: b, c: c)
}

func sameBits(_ a: Float, _ b: Float) -> Bool { a.bitPattern == b.bitPattern }
