import CSystem
import Engine

/// What is common to operations with one input and one output.
class UnaryTape: TapeOperation {
    let parameters: Parameters
    let input: TapeValue
    let output: TapeValue

    init(_ binding: TapeBinding) {
        parameters = binding.parameters
        input = binding.inputs[0]
        output = binding.outputs[0]
        super.init(rows: binding.rows)
    }

    /// The length of the last axis, how many such vectors there are in its rows, and how many before them.
    final var width: Int { input.shape[input.shape.count &- 1] }
    final var vectors: Int { width == 0 ? 0 : rows &* (input.count / width) }
    final var firstVector: Int { width == 0 ? 0 : first &* (input.count / width) }

    /// Of its first row.
    final var x: Floats { input.data + first &* input.count }
    final var dx: Floats? { input.gradient.map { $0 + first &* input.count } }
    final var y: Floats { output.data + first &* output.count }
    final var dy: Floats? { output.gradient.map { $0 + first &* output.count } }

    // Of those that are by row; others have their own.

    override func forward(_ pass: Pass) { parameters.team.run(self, 0, products: productCount) }

    override func backward() {
        if output.gradient != nil { parameters.team.run(self, 1, products: productCount) }
    }

    override func runBackward(_ worker: Int, of workers: Int, _ product: GradientProduct) {
        if output.gradient != nil { run(1, worker, of: workers) }
        addGradients(product)
    }
}

extension Activation {
    /// Whether Keras computes cross-entropies from what goes into it.
    var isHead: Bool {
        if case .softmax = self { return true }
        return elementwise?.kind == Int32(CZ_SIGMOID.rawValue)
    }
}

/// y = activation(x·W + b)
final class DenseTape: UnaryTape {
    private let layer: Dense
    private let matrix: Matrix
    private let bias: Weight?
    private let biasGradient: GradientPlace?
    /// What goes into the activation; the output itself where it need not be kept.
    private let sums: Floats
    private let dSums: Floats
    private let head: ActivationHead?

    static func make(_ layer: Dense, _ binding: TapeBinding) throws(Failure) -> DenseTape {
        let output = binding.outputs[0]
        let width = binding.inputs[0].shape[binding.inputs[0].shape.count - 1]
        let count = try multiplied(multiplied(binding.rows, width == 0 ? 0 : binding.inputs[0].count / width), layer.units)
        let keeps = layer.activation.needsInput || layer.activation.isHead
        let sums = keeps ? try binding.memory.floats(count) : output.data
        let dSums = try binding.memory.floats(count)
        let matrix = try binding.parameters.matrix(layer.weights[0], first: 0, columns: layer.units)
        let head = layer.activation.isHead
            ? ActivationHead(logits: sums, gradient: try binding.memory.floats(count), count: count)
            : nil
        return DenseTape(layer, matrix, sums, dSums, head, layer.useBias ? try binding.parameters.place(layer.weights[1]) : nil, binding)
    }

    private init(_ layer: Dense, _ matrix: Matrix, _ sums: Floats, _ dSums: Floats, _ head: ActivationHead?,
                 _ biasGradient: GradientPlace?, _ binding: TapeBinding) {
        self.layer = layer
        self.matrix = matrix
        self.sums = sums
        self.dSums = dSums
        self.head = head
        bias = layer.useBias ? layer.weights[1] : nil
        self.biasGradient = biasGradient
        super.init(binding)
    }

    override func ownHead() -> ActivationHead? { head }

    override var isByRow: Bool { true }
    override var productCount: Int { vectors &* width &* layer.units }

    override func addGradients(_ product: GradientProduct) {
        guard output.gradient != nil else { return }
        product.add(dSums + firstVector &* layer.units, layer.units, columns: layer.units, .init(steps: 1, rows: vectors, batch: rows),
                    matrix.factor(x, width), bias: biasGradient)
    }

    override func run(_ phase: Int, _ worker: Int, of workers: Int) {
        let own = share(vectors, worker, of: workers), units = layer.units
        let vector = firstVector &+ own.first, place = vector &* units, count = own.count &* units
        let sums = sums + place, y = output.data + place
        if phase == 0 {
            matrix.multiply(input.data + vector &* width, width, rows: own.count, start: bias?.values, 0, sums, units)
            if !layer.activation.isLinear {
                layer.activation.apply(parameters.kernels, sums, y, rows: own.count, count: units)
            } else if sums != y {
                y.copy(from: sums, count: count)
            }
        } else if let dy = output.gradient {
            let d = dSums + place
            if let head, head.isUsed, isZero(dy + place, count) {
                // All of the loss is computed from the sums.
                d.copy(from: head.gradient + place, count: count)
            } else {
                layer.activation.backpropagate(parameters, x: sums, y: y, dy: dy + place, dx: d, rows: own.count, count: units)
                if let head, head.isUsed { add(head.gradient + place, to: d, count) }
            }
            if let dx = input.gradient.map({ $0 + vector &* width }) {
                matrix.multiplyTransposed(d, units, rows: own.count, start: dx, dx, width)
            }
        }
    }
}

final class EmbeddingTape: UnaryTape {
    private let table: Weight
    private let gradient: Floats?
    private let mask: UnsafeMutablePointer<UInt8>?
    private let size: Int

    init(_ layer: Embedding, _ binding: TapeBinding, _ mask: UnsafeMutablePointer<UInt8>?) {
        table = layer.weights[0]
        gradient = binding.parameters.gradient(layer.weights[0])
        size = layer.outputDim
        self.mask = mask
        super.init(binding)
    }

    override func forward(_ pass: Pass) {
        for i in (first &* input.count)..<((first &+ rows) &* input.count) {
            let id = Int(input.data[i])
            (output.data + i &* size).copy(from: table.values + id &* size, count: size)
            if let mask { mask[i] = id == 0 ? 0 : 1 }
        }
    }

    override func backward() {
        guard let dy = output.gradient, let gradient else { return }
        for i in (first &* input.count)..<((first &+ rows) &* input.count) { add(dy + i &* size, to: gradient + Int(input.data[i]) &* size, size) }
    }
}

final class ActivationTape: UnaryTape {
    private let activation: Activation
    private let scratch: Floats?
    private let head: ActivationHead?

    init(_ activation: Activation, _ binding: TapeBinding) {
        self.activation = activation
        scratch = try? binding.memory.floats(binding.rows, binding.inputs[0].count)
        let gradient = activation.isHead ? try? binding.memory.floats(binding.rows, binding.inputs[0].count) : nil
        head = gradient.map { ActivationHead(logits: binding.inputs[0].data, gradient: $0,
                                             count: binding.rows &* binding.inputs[0].count) }
        super.init(binding)
    }

    override func ownHead() -> ActivationHead? { head }

    override var isByRow: Bool { true }
    override var productCount: Int { 16 &* vectors &* width }

    override func run(_ phase: Int, _ worker: Int, of workers: Int) {
        let own = share(vectors, worker, of: workers), place = own.first &* width, count = own.count &* width
        if phase == 0 { return activation.apply(parameters.kernels, x + place, y + place, rows: own.count, count: width) }
        guard let dy, let dx, let scratch else { return }
        let d = scratch + place
        activation.backpropagate(parameters, x: x + place, y: y + place, dy: dy + place, dx: d, rows: own.count, count: width)
        add(d, to: dx + place, count)
        if let head, head.isUsed { add(head.gradient + (first &* input.count &+ place), to: dx + place, count) }
    }
}

final class SoftmaxTape: UnaryTape {
    private let groups: AxisGroups
    private let scratch: Floats

    init(_ binding: TapeBinding, _ groups: AxisGroups, _ scratch: Floats) {
        self.groups = groups
        self.scratch = scratch
        super.init(binding)
    }

    override func forward(_ pass: Pass) {
        let count = groups.places.count
        for row in first..<(first &+ rows) {
            for group in groups.starts {
                let start = row &* input.count &+ group
                for (i, place) in groups.places.enumerated() { scratch[i] = input.data[start &+ place] }
                parameters.kernels.pointee.softmax(scratch, count, scratch, count, 1, count)
                for (i, place) in groups.places.enumerated() { output.data[start &+ place] = scratch[i] }
            }
        }
    }

    override func backward() {
        guard let dy = output.gradient, let dx = input.gradient else { return }
        for row in first..<(first &+ rows) {
            for group in groups.starts {
                let start = row &* input.count &+ group
                var sum: Float = 0
                for place in groups.places { sum += dy[start &+ place] * output.data[start &+ place] }
                for place in groups.places { dx[start &+ place] += output.data[start &+ place] * (dy[start &+ place] - sum) }
            }
        }
    }
}

final class PReLUTape: UnaryTape {
    private let alpha: Weight
    private let gradient: Floats?
    private let places: [Int]

    init(_ alpha: Weight, _ binding: TapeBinding) {
        self.alpha = alpha
        gradient = binding.parameters.gradient(alpha)
        places = broadcastPlaces(alpha.shape, over: binding.inputs[0].shape)
        super.init(binding)
    }

    override func forward(_ pass: Pass) {
        let alpha = alpha.values
        for row in first..<(first &+ rows) {
            let x = input.data + row &* input.count, y = output.data + row &* input.count
            for i in 0..<input.count { y[i] = x[i] < 0 ? alpha[places[i]] * x[i] : x[i] }
        }
    }

    override func backward() {
        guard let dy = output.gradient else { return }
        let alpha = alpha.values
        for row in first..<(first &+ rows) {
            for i in 0..<input.count {
                let at = row &* input.count &+ i
                let x = input.data[at]
                if x < 0, let gradient { gradient[places[i]] += dy[at] * x }
                input.gradient?[at] += x > 0 ? dy[at] : x < 0 ? dy[at] * alpha[places[i]] : 0
            }
        }
    }
}

final class MaskingTape: UnaryTape {
    private let maskValue: Float
    private let mask: UnsafeMutablePointer<UInt8>

    init(_ maskValue: Float, _ binding: TapeBinding, _ mask: UnsafeMutablePointer<UInt8>) {
        self.maskValue = maskValue
        self.mask = mask
        super.init(binding)
    }

    override func forward(_ pass: Pass) {
        let width = width
        for vector in firstVector..<(firstVector &+ vectors) {
            let x = input.data + vector &* width, y = output.data + vector &* width
            var used = false
            for i in 0..<width where x[i] != maskValue { used = true }
            mask[vector] = used ? 1 : 0
            for i in 0..<width { y[i] = x[i] * (used ? 1 : 0) }
        }
    }

    override func backward() {
        guard let dy = output.gradient, let dx = input.gradient else { return }
        let width = width
        for vector in firstVector..<(firstVector &+ vectors) where mask[vector] != 0 { add(dy + vector &* width, to: dx + vector &* width, width) }
    }
}

final class RepeatTape: UnaryTape {
    private let times: Int

    init(_ times: Int, _ binding: TapeBinding) {
        self.times = times
        super.init(binding)
    }

    override func forward(_ pass: Pass) {
        for i in (first &* times)..<((first &+ rows) &* times) {
            (output.data + i &* input.count).copy(from: input.data + (i / times) &* input.count, count: input.count)
        }
    }

    override func backward() {
        guard let dy = output.gradient, let dx = input.gradient else { return }
        for i in (first &* times)..<((first &+ rows) &* times) { add(dy + i &* input.count, to: dx + (i / times) &* input.count, input.count) }
    }
}

/// Dropout and its kin. Every value is x · factor + shift; random number n of the layer's series decides value n.
final class NoiseTape: UnaryTape {
    private let noise: Noise
    private let factors: Floats
    private let series: Int
    /// For each value of a row the place of its random number, and how many a row has; nil: one each.
    private let places: [Int]?
    private let drawn: Int
    /// Whether all rows share one row's numbers.
    private let sharesRows: Bool
    private var isActive = false

    static func make(_ layer: Identity, _ binding: TapeBinding) throws(Failure) -> NoiseTape {
        let input = binding.inputs[0]
        var places: [Int]?, drawn = input.count, sharesRows = false
        var given: [Int] = []
        switch layer.noise {
        case .dropout(_, let shape), .alphaDropout(_, let shape): given = shape
        default: break
        }
        if !given.isEmpty {
            guard given.count == input.shape.count + 1 else { throw layer.failure("noise_shape has \(given.count) axes, its input \(input.shape.count + 1)") }
            var shape: Shape = []
            for (axis, length) in input.shape.enumerated() {
                guard given[axis + 1] == -1 || given[axis + 1] == 1 || given[axis + 1] == length else {
                    throw layer.failure("noise_shape has \(given[axis + 1]) where its input has \(length)")
                }
                shape.append(given[axis + 1] == -1 ? length : given[axis + 1])
            }
            sharesRows = given[0] == 1
            places = broadcastPlaces(shape, over: input.shape)
            drawn = try shape.elementCount()
        }
        return NoiseTape(layer.noise, try binding.memory.floats(binding.rows, input.count), binding.series.take(), places, drawn, sharesRows, binding)
    }

    private init(_ noise: Noise, _ factors: Floats, _ series: Int, _ places: [Int]?, _ drawn: Int, _ sharesRows: Bool, _ binding: TapeBinding) {
        self.noise = noise
        self.factors = factors
        self.series = series
        self.places = places
        self.drawn = drawn
        self.sharesRows = sharesRows
        super.init(binding)
    }

    override func forward(_ pass: Pass) {
        let count = rows &* input.count
        var scale: Float = 1, shift: Float = 0
        switch noise {
        case .none: isActive = false
        case .dropout(let rate, _), .gaussianDropout(let rate), .alphaDropout(let rate, _): isActive = pass.isTraining && rate > 0
        case .gaussian(let deviation): isActive = pass.isTraining && deviation > 0
        }
        guard isActive else { return y.copy(from: x, count: count) }
        let x = x, y = y, factors = factors + first &* input.count
        var random = pass.random(series)
        switch noise {
        case .none: break
        case .dropout(let rate, _):
            keep(factors, rate, pass, 1 / (1 - rate))
        case .alphaDropout(let rate, _):
            let low: Float = -1.758_099_340_847_376_6
            let a = 1 / ((1 - rate) * (1 + rate * low * low)).squareRoot()
            keep(factors, rate, pass, a)
            scale = a
            shift = -a * low * rate
            for i in 0..<count { y[i] = x[i] * factors[i] + (factors[i] == 0 ? scale * low : 0) + shift }
            return
        case .gaussian(let deviation):
            for i in 0..<count {
                factors[i] = 1
                y[i] = x[i] + deviation * random.normal()
            }
            return
        case .gaussianDropout(let rate):
            let deviation = (rate / (1 - rate)).squareRoot()
            for i in 0..<count { factors[i] = 1 + deviation * random.normal() }
        }
        for i in 0..<count { y[i] = x[i] * factors[i] }
    }

    private func keep(_ all: Floats, _ rate: Float, _ pass: Pass, _ scale: Float) {
        if places == nil && !sharesRows {
            drawMask(all, rows &* input.count, rate: rate, scale: scale, pass.random(series))
            return
        }
        var random = pass.random(series)
        // Drawn densely at the front of a row's place, then spread from the last value down.
        for row in 0..<rows {
            let factors = all + row &* input.count
            if sharesRows && row > 0 {
                factors.copy(from: all, count: input.count)
                continue
            }
            for i in 0..<drawn { factors[i] = rate < 1 && random.uniform() >= rate ? scale : 0 }
            guard let places else { continue }
            spread(factors, places)
        }
    }

    /// factors[i] = factors[places[i]], where no place is beyond its value.
    private func spread(_ factors: Floats, _ places: [Int]) {
        for i in (0..<input.count).reversed() { factors[i] = factors[places[i]] }
    }

    override func backward() {
        guard let dy, let dx else { return }
        let count = rows &* input.count, factors = factors + first &* input.count
        if !isActive { return add(dy, to: dx, count) }
        for i in 0..<count { dx[i] += dy[i] * factors[i] }
    }
}

/// `scale` where random number n is `rate` or more, else 0.
@inline(never)
func drawMask(_ out: Floats, _ count: Int, rate: Float, scale: Float, _ random: Random) {
    var i = 0
    func kept(_ word: UInt32) -> Float { rate < 1 && Float(word >> 8) * 0x1p-24 >= rate ? scale : 0 }
    while i < count {
        let words = random.words(block: UInt64(i / 4))
        out[i] = kept(words.0)
        if i &+ 1 < count { out[i &+ 1] = kept(words.1) }
        if i &+ 2 < count { out[i &+ 2] = kept(words.2) }
        if i &+ 3 < count { out[i &+ 3] = kept(words.3) }
        i = i &+ 4
    }
}
