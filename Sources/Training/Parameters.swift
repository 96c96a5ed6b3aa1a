import CSystem
import Engine

typealias Floats = UnsafeMutablePointer<Float>
typealias Given = UnsafePointer<Float>

/// Buffers that live as long as it.
final class Memory {
    private var buffers: [AlignedBuffer] = []
    /// Those of another one that is not needed any more; nil: all are made anew, and none is larger than asked.
    private var spare: [AlignedBuffer]?
    /// Floats that it holds, and may.
    private(set) var size = 0
    private let limit: Int

    init(limit: Int = .max) { self.limit = limit }

    /// Takes the buffers of another one, which is not used any more, where they fit.
    init(limit: Int, reusing other: Memory?) {
        self.limit = limit
        spare = other?.buffers ?? []
    }

    func floats(_ count: Int) throws(Failure) -> Floats {
        guard count <= limit - size else { throw Failure(.outOfMemory, "memory_limit is too small for this batch") }
        let buffer = if let found = takeSpare(count) { found } else { try AlignedBuffer(count: spare == nil ? count : count + count / 8) }
        buffers.append(buffer)
        size += count
        return buffer.floats
    }

    private func takeSpare(_ count: Int) -> AlignedBuffer? {
        guard let index = spare?.firstIndex(where: { $0.count >= count && $0.count / 2 <= count }) else { return nil }
        return spare?.remove(at: index)
    }

    /// Lets go of what did not fit.
    func dropSpare() { spare = [] }

    func floats(_ a: Int, _ b: Int, _ c: Int = 1) throws(Failure) -> Floats { try floats(multiplied(multiplied(a, b), c)) }

    func bytes(_ count: Int) throws(Failure) -> UnsafeMutablePointer<UInt8> {
        UnsafeMutableRawPointer(try floats(count / 4 + 1)).assumingMemoryBound(to: UInt8.self)
    }
}

/// A model's weights in training: which are trained, their gradients, and their packed forms for products.
public final class Parameters {
    public let model: Model
    let kernels: UnsafePointer<cz_kernels>
    /// For each weight of the model its gradient; nil where it is not trained.
    public let gradients: [AlignedBuffer?]
    /// For each layer of the model (`entries`), whether it is frozen beyond what the model says.
    private let frozen: [Bool]
    private let packing = Packing()
    /// For each weight of the model where the second half of a batch's rows is summed up, as far as products do so.
    private var seconds: [Floats?]
    private let memory = Memory()
    /// The model's when the matrices were packed.
    private var version = -1
    let team: Team
    let product: GradientProduct
    /// Bytes that a tape may take.
    let memoryLimit: Int
    /// Whether they are a run's, or were set to zero.
    public internal(set) var hasGradients = false

    /// - Parameters:
    ///   - frozen: layers that are not trained, by index in the model's entries.
    ///   - memoryLimit: bytes that a tape may take; 0: as many as it needs.
    @export(interface)
    public static func make(_ model: Model, frozen: [Int], threads: Int, memoryLimit: Int) throws(Failure) -> Parameters {
        guard model.precision == .float32 else {
            throw Failure(.unsupported, "a model with \(model.precision.name) weights cannot be trained: train the float32 model, then quantize it")
        }
        var isFrozen = [Bool](repeating: false, count: model.entries.count)
        for index in frozen { isFrozen[index] = true }
        for (index, entry) in model.entries.enumerated() {
            if !isFrozen[index] { try refuseObstacles(entry.layer) }
        }
        var gradients: [AlignedBuffer?] = []
        for (index, weight) in model.weights.enumerated() {
            gradients.append(weight.isTrainable && !isFrozen[model.weightLayers[index]] ? try AlignedBuffer(count: weight.count) : nil)
        }
        let team = try Team(max(1, threads))
        return Parameters(model, gradients, isFrozen, team, try GradientProduct(model.kernels, team), memoryLimit == 0 ? .max : memoryLimit)
    }

    /// Refuses by name what would be trained in another way than Keras does.
    private static func refuseObstacles(_ layer: Layer) throws(Failure) {
        var all = [layer.trainingOptions]
        switch layer.form {
        case .rnn(let rnn): all += rnn.cells.map { $0.trainingOptions }
        case .bidirectional(let both):
            try refuseObstacles(both.forward)
            try refuseObstacles(both.backward)
        case .timeDistributed(let wrapper): try refuseObstacles(wrapper.inner)
        default: break
        }
        for options in all where !options.obstacle.isEmpty {
            throw layer.failure(.unsupported, "cannot be trained: Cadenza does not have its \(options.obstacle)")
        }
    }

    private init(_ model: Model, _ gradients: [AlignedBuffer?], _ frozen: [Bool], _ team: Team, _ product: GradientProduct, _ memoryLimit: Int) {
        self.model = model
        self.gradients = gradients
        self.frozen = frozen
        seconds = Array(repeating: nil, count: gradients.count)
        self.team = team
        self.product = product
        self.memoryLimit = memoryLimit
        kernels = model.kernels
    }

    /// Where a weight's gradient is summed up; nil where it is not trained.
    func gradient(_ weight: Weight) -> Floats? {
        for (index, candidate) in model.weights.enumerated() where candidate === weight { return gradients[index]?.floats }
        return nil
    }

    /// The same for products.
    func place(_ weight: Weight) throws(Failure) -> GradientPlace? {
        for (index, candidate) in model.weights.enumerated() where candidate === weight {
            guard let gradient = gradients[index] else { return nil }
            if seconds[index] == nil { seconds[index] = try memory.floats(weight.count) }
            return seconds[index].map { GradientPlace(first: gradient.floats, second: $0) }
        }
        return nil
    }

    /// Where products sum up halves of a weight's gradient; nil: they do not.
    func halves(_ weight: Weight) -> GradientPlace? {
        for (index, candidate) in model.weights.enumerated() where candidate === weight {
            guard let gradient = gradients[index], let second = seconds[index] else { return nil }
            return GradientPlace(first: gradient.floats, second: second)
        }
        return nil
    }

    /// Whether a layer's weights change: a frozen BatchNormalization uses its moving statistics.
    func isTrained(_ layer: Layer) -> Bool {
        for (index, entry) in model.entries.enumerated() where entry.layer === layer && frozen[index] { return false }
        return layer.isTrainable
    }

    /// Columns `first ..< first + columns` of a weight, for products; the same object for the same columns.
    func matrix(_ weight: Weight, first: Int, columns: Int) throws(Failure) -> Matrix {
        for matrix in packing.matrices where matrix.weight === weight && matrix.first == first && matrix.columns == columns { return matrix }
        let inputs = weight.shape[0]
        let matrix = Matrix(kernels, weight, first: first, columns: columns, gradient: try place(weight),
                            panels: try memory.floats(inputs, whole(columns)), transposed: try memory.floats(columns, whole(inputs)))
        try product.reserve(inputs: inputs, columns: columns)
        matrix.refresh(0, inputs)
        packing.matrices.append(matrix)
        return matrix
    }

    /// Takes in changed weights.
    @export(interface)
    public func refresh() {
        guard version != model.version else { return }
        version = model.version
        var count = 0
        for matrix in packing.matrices { count = count &+ matrix.inputs &* matrix.columns }
        team.run(packing, 0, products: 16 &* count)
    }

    @export(interface)
    public func zeroGradients() {
        hasGradients = true
        for case let gradient? in gradients { clear(gradient.floats, gradient.count) }
    }
}

/// Rounded up to whole panels.
@inline(__always)
func whole(_ count: Int) -> Int { (count &+ 15) / 16 &* 16 }

/// Weights, packed by all threads.
final class Packing: SharedWork {
    var matrices: [Matrix] = []

    override func run(_ phase: Int, _ worker: Int, of workers: Int) {
        for matrix in matrices {
            let own = share(matrix.inputs, worker, of: workers, block: 16)
            matrix.refresh(own.first, own.count)
        }
    }
}

/// Some columns of a weight, packed for products with it and with its transpose.
final class Matrix {
    let weight: Weight
    let first: Int
    let columns: Int
    let inputs: Int
    let stride: Int
    let gradient: GradientPlace?
    private let panels: Floats
    private let transposed: Floats
    private let kernels: UnsafePointer<cz_kernels>

    init(_ kernels: UnsafePointer<cz_kernels>, _ weight: Weight, first: Int, columns: Int, gradient: GradientPlace?, panels: Floats, transposed: Floats) {
        self.kernels = kernels
        self.weight = weight
        self.first = first
        self.columns = columns
        inputs = weight.shape[0]
        stride = weight.shape[1]
        self.gradient = gradient
        self.panels = panels
        self.transposed = transposed
    }

    /// Packs the weights of some inputs, from a multiple of 16 on.
    func refresh(_ input: Int, _ count: Int) {
        let source = weight.values + (first &+ input &* stride)
        packPanels(source, stride, inputs: count, outputs: columns, panels + input &* 16, inputs)
        packTransposed(source, stride, rows: count, columns: columns, transposed + input &* columns)
    }

    /// out = start + x·W
    func multiply(_ x: Given, _ xStride: Int, rows: Int, start: Given?, _ startStride: Int, _ out: Floats, _ outStride: Int) {
        kernels.pointee.affine(x, xStride, rows, inputs, panels, columns, start, startStride, out, outStride)
    }

    /// out = start + dy·Wᵀ
    func multiplyTransposed(_ dy: Given, _ dyStride: Int, rows: Int, start: Given?, _ out: Floats, _ outStride: Int) {
        kernels.pointee.affine(dy, dyStride, rows, columns, transposed, inputs, start, outStride, out, outStride)
    }

    /// x as a factor of its gradient; nil where it is not trained.
    func factor(_ x: Given, _ xStride: Int) -> GradientProduct.Factor? {
        gradient.map { GradientProduct.Factor(x: x, stride: xStride, inputs: inputs, gradient: $0 + first, gradientStride: stride) }
    }
}

/// A matrix [inputs][outputs] in the kernels' panels, of `panelInputs` inputs.
@inline(never)
func packPanels(_ matrix: Given, _ stride: Int, inputs: Int, outputs: Int, _ panels: Floats, _ panelInputs: Int) {
    let wholes = outputs / 16, rest = outputs &- 16 &* wholes
    for k in 0..<inputs {
        var source = UnsafeRawPointer(matrix + k &* stride), panel = UnsafeMutableRawPointer(panels + k &* 16)
        for _ in 0..<wholes {
            panel.storeBytes(of: source.loadUnaligned(as: SIMD16<Float>.self), as: SIMD16<Float>.self)
            source += 64
            panel += 64 &* panelInputs
        }
        if rest == 0 { continue }
        let lanes = source.assumingMemoryBound(to: Float.self), last = panel.assumingMemoryBound(to: Float.self)
        for lane in 0..<16 { last[lane] = lane < rest ? lanes[lane] : 0 }
    }
}

/// The transpose of a matrix [rows][columns] in the kernels' panels.
@inline(never)
func packTransposed(_ matrix: Given, _ stride: Int, rows: Int, columns: Int, _ panels: Floats) {
    var row = 0
    while row < rows {
        transpose(matrix + row &* stride, stride, rows: min(16, rows &- row), columns: columns, panels + row &* columns, 16)
        row = row &+ 16
    }
}

/// out [columns][rows] of x [rows][columns], with `outStride` floats between its own.
@inline(never)
func transpose(_ x: Given, _ stride: Int, rows: Int, columns: Int, _ out: Floats, _ outStride: Int) {
    var column = 0
    while column &+ 4 <= columns {
        var row = 0
        while row &+ 4 <= rows {
            let source = x + (row &* stride &+ column), target = out + (column &* outStride &+ row)
            func four(_ row: Int) -> SIMD4<Float> { UnsafeRawPointer(source + row &* stride).loadUnaligned(as: SIMD4<Float>.self) }
            func put(_ column: Int, _ values: SIMD4<Float>) { UnsafeMutableRawPointer(target + column &* outStride).storeBytes(of: values, as: SIMD4<Float>.self) }
            let above = SIMD8(lowHalf: four(0), highHalf: four(1)), below = SIMD8(lowHalf: four(2), highHalf: four(3))
            let even = SIMD8(lowHalf: above.evenHalf, highHalf: below.evenHalf), odd = SIMD8(lowHalf: above.oddHalf, highHalf: below.oddHalf)
            put(0, even.evenHalf)
            put(1, odd.evenHalf)
            put(2, even.oddHalf)
            put(3, odd.oddHalf)
            row = row &+ 4
        }
        while row < rows {
            for i in column..<(column &+ 4) { out[i &* outStride &+ row] = x[row &* stride &+ i] }
            row = row &+ 1
        }
        column = column &+ 4
    }
    while column < columns {
        for row in 0..<rows { out[column &* outStride &+ row] = x[row &* stride &+ column] }
        column = column &+ 1
    }
}

/// sums += x
@inline(never)
func add(_ x: Given, to sums: Floats, _ count: Int) {
    var i = 0
    while i &+ 16 <= count {
        let target = UnsafeMutableRawPointer(sums + i)
        let sum = target.loadUnaligned(as: SIMD16<Float>.self) + UnsafeRawPointer(x + i).loadUnaligned(as: SIMD16<Float>.self)
        target.storeBytes(of: sum, as: SIMD16<Float>.self)
        i = i &+ 16
    }
    while i < count {
        sums[i] += x[i]
        i = i &+ 1
    }
}

/// Whether all are zero.
@inline(never)
func isZero(_ values: Given, _ count: Int) -> Bool {
    var i = 0
    while i < count && values[i] == 0 { i = i &+ 1 }
    return i == count
}

/// Zeros.
@inline(never)
func clear(_ values: Floats, _ count: Int) {
    var i = 0
    while i &+ 16 <= count {
        UnsafeMutableRawPointer(values + i).storeBytes(of: SIMD16<Float>(repeating: 0), as: SIMD16<Float>.self)
        i = i &+ 16
    }
    while i < count {
        values[i] = 0
        i = i &+ 1
    }
}
