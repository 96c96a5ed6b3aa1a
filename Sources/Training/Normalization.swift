import Engine

/// In training by the statistics of the batch, over the used steps; else by the moving ones.
final class BatchNormalizationTape: UnaryTape {
    private let layer: BatchNormalization
    private let gamma: Weight?
    private let beta: Weight?
    private let movingMean: Weight
    private let movingVariance: Weight
    private let gammaGradient: Floats?
    private let betaGradient: Floats?
    private let mayTrain: Bool
    /// Values that share a statistic lie `inner` together, `length` statistics in turn, repeated from `outer`'s first to its last.
    private let length: Int
    private let inner: Int
    private var outer: Range<Int> {
        let turns = length == 0 || inner == 0 ? 0 : input.count / (length &* inner)
        return (first &* turns)..<((first &+ rows) &* turns)
    }
    /// Values of a step: those that share a mask.
    private let step: Int
    private let mean: Floats
    private let variance: Floats
    private let normalized: Floats
    /// Σ dy and Σ dy · normalized, of one statistic after another.
    private let sums: Floats
    private var isTraining = false
    private var hasStatistics = false
    private var used = 0

    static func make(_ layer: BatchNormalization, _ binding: TapeBinding) throws(Failure) -> BatchNormalizationTape {
        let input = binding.inputs[0]
        let axis = try layer.axisIndex(layer.axis, rank: input.shape.count)
        let length = input.shape[axis]
        if input.mask != nil && axis == 0 { throw layer.failure(.unsupported, "statistics along time of a masked sequence") }
        let statistics = try binding.memory.floats(4, length)
        return BatchNormalizationTape(layer, axis, statistics, try binding.memory.floats(binding.rows, input.count), binding)
    }

    private init(_ layer: BatchNormalization, _ axis: Int, _ statistics: Floats, _ normalized: Floats, _ binding: TapeBinding) {
        let input = binding.inputs[0], parameters = binding.parameters
        self.layer = layer
        self.normalized = normalized
        length = input.shape[axis]
        inner = input.shape[(axis + 1)...].reduce(1, *)
        step = input.shape.dropFirst().reduce(1, *)
        mean = statistics
        variance = mean + length
        sums = variance + length
        let weights = layer.weights
        gamma = layer.scale ? weights[0] : nil
        beta = layer.center ? weights[layer.scale ? 1 : 0] : nil
        movingMean = weights[weights.count - 2]
        movingVariance = weights[weights.count - 1]
        gammaGradient = gamma.flatMap { parameters.gradient($0) }
        betaGradient = beta.flatMap { parameters.gradient($0) }
        mayTrain = parameters.isTrained(layer)
        super.init(binding)
    }

    @inline(__always)
    private func isUsed(_ place: Int) -> Bool { input.mask == nil || input.mask![place / step] != 0 }

    override func forward(_ pass: Pass) {
        isTraining = pass.isTraining && mayTrain
        hasStatistics = isTraining
        if isTraining {
            measure()
        } else {
            mean.copy(from: movingMean.values, count: length)
            variance.copy(from: movingVariance.values, count: length)
        }
        for o in outer {
            for i in 0..<length {
                let factor = 1 / (variance[i] + layer.epsilon).squareRoot()
                let scale = gamma?.values[i] ?? 1, shift = beta?.values[i] ?? 0
                let start = (o &* length &+ i) &* inner
                for j in start..<(start &+ inner) {
                    let value = (input.data[j] - mean[i]) * factor
                    normalized[j] = value
                    output.data[j] = value * scale + shift
                }
            }
        }
    }

    private func measure() {
        used = outer.count &* inner
        var extra = 0.0
        if let mask = input.mask {
            used = 0
            for i in (first &* input.shape[0])..<((first &+ rows) &* input.shape[0]) where mask[i] != 0 { used = used &+ step / length }
            extra = 1e-7
        }
        let size = Double(used) + extra
        for i in 0..<length {
            var sum = 0.0
            for o in outer {
                let start = (o &* length &+ i) &* inner
                for j in start..<(start &+ inner) where isUsed(j) { sum += Double(input.data[j]) }
            }
            mean[i] = Float(sum / size)
            var squares = 0.0
            for o in outer {
                let start = (o &* length &+ i) &* inner
                for j in start..<(start &+ inner) where isUsed(j) {
                    let difference = Double(input.data[j] - mean[i])
                    squares += difference * difference
                }
            }
            variance[i] = Float(squares / size)
        }
    }

    override func backward() {
        guard let dy = output.gradient else { return }
        for i in 0..<length {
            var sum = 0.0, product = 0.0
            for o in outer {
                let start = (o &* length &+ i) &* inner
                for j in start..<(start &+ inner) {
                    sum += Double(dy[j])
                    product += Double(dy[j] * normalized[j])
                }
            }
            gammaGradient?[i] += Float(product)
            betaGradient?[i] += Float(sum)
            guard let dx = input.gradient else { continue }
            let factor = (gamma?.values[i] ?? 1) / (variance[i] + layer.epsilon).squareRoot()
            let size = Float(max(1, used))
            let a = Float(sum) / size, b = Float(product) / size
            for o in outer {
                let start = (o &* length &+ i) &* inner
                for j in start..<(start &+ inner) {
                    let own = isTraining && isUsed(j) ? a + normalized[j] * b : 0
                    dx[j] += factor * (dy[j] - own)
                }
            }
        }
    }

    override func commit() {
        guard hasStatistics else { return }
        hasStatistics = false
        let momentum = layer.momentum
        for (weight, values) in [(movingMean, mean), (movingVariance, variance)] {
            guard let buffer = try? AlignedBuffer(count: length) else { continue }
            for i in 0..<length { buffer.floats[i] = weight.values[i] * momentum + values[i] * (1 - momentum) }
            weight.adopt(buffer)
        }
    }
}

final class LayerNormalizationTape: UnaryTape {
    private let layer: LayerNormalization
    private let gamma: Weight?
    private let beta: Weight?
    private let gammaGradient: Floats?
    private let betaGradient: Floats?
    private let groups: AxisGroups
    /// Mean and factor of each group.
    private let statistics: Floats

    static func make(_ layer: LayerNormalization, _ binding: TapeBinding, _ groups: AxisGroups) throws(Failure) -> LayerNormalizationTape {
        LayerNormalizationTape(layer, binding, groups, try binding.memory.floats(binding.rows, 2 * groups.starts.count))
    }

    private init(_ layer: LayerNormalization, _ binding: TapeBinding, _ groups: AxisGroups, _ statistics: Floats) {
        self.layer = layer
        self.groups = groups
        self.statistics = statistics
        let weights = layer.weights
        gamma = layer.scale ? weights[0] : nil
        beta = layer.center && !layer.rmsScaling ? weights[layer.scale ? 1 : 0] : nil
        gammaGradient = gamma.flatMap { binding.parameters.gradient($0) }
        betaGradient = beta.flatMap { binding.parameters.gradient($0) }
        super.init(binding)
    }

    override func forward(_ pass: Pass) {
        let size = Float(groups.places.count)
        var statistic = statistics + 2 &* first &* groups.starts.count
        for row in first..<(first &+ rows) {
            for group in groups.starts {
                let start = row &* input.count &+ group
                let x = input.data + start, y = output.data + start
                var sum: Float = 0
                for place in groups.places { sum += x[place] }
                let mean = sum / size
                var squares: Float = 0
                for place in groups.places { squares += (x[place] - mean) * (x[place] - mean) }
                let factor = 1 / (squares / size + layer.epsilon).squareRoot()
                let center = layer.rmsScaling ? 0 : mean
                for (i, place) in groups.places.enumerated() {
                    y[place] = (x[place] - center) * factor * (gamma?.values[i] ?? 1) + (beta?.values[i] ?? 0)
                }
                statistic[0] = mean
                statistic[1] = factor
                statistic += 2
            }
        }
    }

    override func backward() {
        guard let dy = output.gradient else { return }
        let size = Float(groups.places.count)
        var statistic = statistics + 2 &* first &* groups.starts.count
        for row in first..<(first &+ rows) {
            for group in groups.starts {
                let start = row &* input.count &+ group
                let x = input.data + start, dy = dy + start
                let mean = statistic[0], factor = statistic[1], center = layer.rmsScaling ? 0 : mean
                statistic += 2
                var sum: Float = 0, product: Float = 0
                for (i, place) in groups.places.enumerated() {
                    let d = dy[place] * (gamma?.values[i] ?? 1)
                    sum += d
                    product += d * (x[place] - center)
                    gammaGradient?[i] += dy[place] * (x[place] - center) * factor
                    betaGradient?[i] += dy[place]
                }
                guard let dx = input.gradient.map({ $0 + start }) else { continue }
                let a = layer.rmsScaling ? 0 : factor * sum / size
                let b = factor * factor * factor * product / size
                for (i, place) in groups.places.enumerated() {
                    dx[place] += dy[place] * (gamma?.values[i] ?? 1) * factor - a - b * (x[place] - mean)
                }
            }
        }
    }
}
