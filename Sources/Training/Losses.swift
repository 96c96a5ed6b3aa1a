import CSystem
import Engine

/// What is minimized for one output, as Keras defines it.
public struct Loss {
    public enum Kind: Int32 {
        case meanSquaredError = 0, meanAbsoluteError, huber, logCosh
        case binaryCrossentropy, categoricalCrossentropy, sparseCategoricalCrossentropy
        case poisson
        /// The output is means, then log variances; or means beside a given deviation.
        case gaussian
        /// The output is logits, then means, then log variances of all components.
        case mixture
    }

    public enum Reduction: Int32 {
        case sumOverBatchSize = 0, sum, meanWithSampleWeight
    }

    public var kind = Kind.meanSquaredError
    public var reduction = Reduction.sumOverBatchSize
    public var fromLogits = false
    public var labelSmoothing: Float = 0
    public var delta: Float = 1
    /// Its part in the sum of all.
    public var weight: Float = 1
    /// Gaussian: the deviation; negative: the output says it.
    public var sigma: Float = -1
    public var components = 1

    public init() {}

    /// Values of one target beside `width` values of the output.
    public func targetWidth(_ width: Int) throws(Failure) -> Int {
        switch kind {
        case .sparseCategoricalCrossentropy: return 1
        case .gaussian where sigma < 0:
            guard width % 2 == 0 else { throw Failure(.invalidArgument, "the Gaussian loss takes means and log variances: an even number of outputs, not \(width)") }
            return width / 2
        case .mixture:
            let each = components < 1 ? 0 : width / components - 1
            guard components >= 1, each >= 2, each % 2 == 0, width % components == 0 else {
                throw Failure(.invalidArgument, "a mixture of \(components) components has components · (1 + 2 · width) outputs, not \(width)")
            }
            return each / 2
        default: return width
        }
    }
}

private let epsilon: Float = 1e-7

/// One output's loss over a batch, and its gradient.
final class LossRun: SharedWork {
    let loss: Loss
    let tape: Tape
    let output: Int
    /// By worker a scratch of 4 · width floats, in whole blocks of 16; behind them the vectors' losses.
    private let scratch: Floats
    private let width: Int
    private let targetWidth: Int
    private let vectors: Int
    private let vectorsPerRow: Int
    private let vectorsPerStep: Int
    private let steps: Int
    /// Where cross-entropies are computed from what goes into the activation.
    private let head: ActivationHead?
    private let kernels: UnsafePointer<cz_kernels>

    private let mask: UnsafeMutablePointer<UInt8>?
    /// What makes up for masked steps, and what the sum is divided by.
    private var scale = 1.0
    private var divisor = 1.0
    private var targets: Given?
    private var weights: Given?
    private var perStep = false
    private var gradient: Floats?
    /// By worker what its first vector that has no loss is refused for.
    private var failures: [Failure?]

    private static func width(_ tape: Tape, _ output: Int) -> Int { tape.outputShape(output).last ?? 1 }

    /// Floats of the scratch.
    static func scratch(_ tape: Tape, _ output: Int) throws(Failure) -> Int {
        let width = width(tape, output)
        return try multiplied(tape.parameters.team.count, whole(multiplied(4, width))) + tape.batch * tape.outputCount(output) / max(1, width)
    }

    init(_ loss: Loss, _ tape: Tape, _ output: Int, scratch: Floats) throws(Failure) {
        self.loss = loss
        self.tape = tape
        self.output = output
        self.scratch = scratch
        let shape = tape.outputShape(output)
        width = shape.last ?? 1
        targetWidth = try loss.targetWidth(width)
        vectorsPerRow = width == 0 ? 0 : tape.outputCount(output) / width
        vectors = tape.batch * vectorsPerRow
        steps = shape.count > 1 ? shape[0] : 1
        vectorsPerStep = steps == 0 ? 1 : max(1, vectorsPerRow / steps)
        kernels = tape.parameters.kernels
        var head: ActivationHead?
        switch loss.kind {
        case .binaryCrossentropy, .categoricalCrossentropy, .sparseCategoricalCrossentropy:
            // Keras asks not whether the activation suits the loss.
            if !loss.fromLogits { head = tape.head(output) }
        default: break
        }
        self.head = head
        mask = shape.count > 1 ? tape.outputMask(output) : nil
        failures = Array(repeating: nil, count: tape.parameters.team.count)
    }

    private func step(_ vector: Int) -> Int { vector / vectorsPerRow &* steps &+ vector % vectorsPerRow / vectorsPerStep }

    private func weight(_ vector: Int) -> Double {
        var weight = 1.0
        if let weights { weight = Double(weights[perStep ? step(vector) : vector / vectorsPerRow]) }
        if let mask { weight = mask[step(vector)] != 0 ? weight * scale : 0 }
        return weight
    }

    /// The loss; with `gradient` its gradient is added to the output's. weights: nil, [batch], or with `perStep` [batch][steps].
    func run(_ target: UnsafePointer<Float>, weights: UnsafePointer<Float>?, perStep: Bool, gradient: Bool) throws(Failure) -> Double {
        let callers = cz_float_mode_enter()
        defer { cz_float_mode_leave(callers) }
        self.weights = weights
        self.perStep = perStep
        targets = target
        if let mask, loss.reduction == .sumOverBatchSize {
            var valid = 0
            for i in 0..<(tape.batch &* steps) where mask[i] != 0 { valid = valid &+ 1 }
            scale = valid == 0 ? 0 : Double(tape.batch &* steps) / Double(valid)
        }
        switch loss.reduction {
        case .sumOverBatchSize: divisor = Double(max(1, vectors))
        case .sum: break
        case .meanWithSampleWeight:
            var sum = 0.0
            for vector in 0..<vectors { sum += weight(vector) }
            divisor = sum == 0 ? .infinity : sum
        }
        self.gradient = gradient ? head != nil ? head?.use() : tape.outputGradient(output) : nil
        let team = tape.parameters.team
        team.run(self, 0, products: 32 &* vectors &* width)
        for case let failure? in failures { throw failure }
        let values = scratch + team.count &* whole(4 &* width)
        var total = 0.0
        for vector in 0..<vectors {
            let factor = weight(vector) / divisor
            if factor == 0 && mask != nil { continue }
            total += factor * Double(values[vector])
        }
        return total * Double(loss.weight)
    }

    override func run(_ phase: Int, _ worker: Int, of workers: Int) {
        guard let targets else { return }
        let own = share(vectors, worker, of: workers), size = whole(4 &* width)
        let scratch = scratch + worker &* size, values = self.scratch + tape.parameters.team.count &* size
        for vector in own.first..<(own.first &+ own.count) {
            let factor = weight(vector) / divisor
            // A masked step's target may be anything.
            if factor == 0 && mask != nil { continue }
            do throws(Failure) {
                values[vector] = try evaluate(vector, targets + vector &* targetWidth, scratch)
            } catch {
                failures[worker] = error
                return
            }
            if let gradient {
                let own = Float(factor * Double(loss.weight)), d = gradient + vector &* width
                for i in 0..<width { d[i] += own * scratch[i] }
            }
        }
    }

    private func activate(_ kind: cz_activation_kind, _ x: Given, _ out: Floats, _ count: Int) {
        var it = cz_activation(kind: Int32(kind.rawValue), a: 0, b: 0, c: 0)
        kernels.pointee.activate(&it, x, out, count)
    }

    /// The loss of one vector, its gradient in the first `width` floats of the scratch: of the head's inputs where there
    /// is a head.
    private func evaluate(_ vector: Int, _ y: UnsafePointer<Float>, _ scratch: Floats) throws(Failure) -> Float {
        let p = UnsafePointer((head?.logits ?? tape.output(output)) + vector &* width)
        let d = scratch, a = d + width, b = a + width, size = Float(width)
        let smoothing = loss.labelSmoothing
        var sum: Float = 0
        switch loss.kind {
        case .meanSquaredError:
            for i in 0..<width {
                let error = p[i] - y[i]
                sum += error * error
                d[i] = 2 * error / size
            }
            return sum / size
        case .meanAbsoluteError:
            for i in 0..<width {
                let error = p[i] - y[i]
                sum += abs(error)
                d[i] = error > 0 ? 1 / size : error < 0 ? -1 / size : error
            }
            return sum / size
        case .huber:
            for i in 0..<width {
                let error = p[i] - y[i], size_ = abs(error), isNear = size_ <= loss.delta
                sum += isNear ? 0.5 * error * error : loss.delta * size_ - 0.5 * loss.delta * loss.delta
                d[i] = (isNear ? error : error > 0 ? loss.delta : -loss.delta) / size
            }
            return sum / size
        case .logCosh:
            for i in 0..<width { a[i] = -2 * (p[i] - y[i]) }
            activate(CZ_SOFTPLUS, a, b, width)
            for i in 0..<width { sum += -0.5 * a[i] + b[i] - 0.693_147_18 }
            for i in 0..<width { a[i] *= -0.5 }
            activate(CZ_TANH, a, d, width)
            for i in 0..<width { d[i] /= size }
            return sum / size
        case .binaryCrossentropy:
            func smooth(_ y: Float) -> Float { smoothing == 0 ? y : y * (1 - smoothing) + 0.5 * smoothing }
            if head != nil || loss.fromLogits {
                activate(CZ_SOFTPLUS, p, a, width)
                activate(CZ_SIGMOID, p, b, width)
                for i in 0..<width {
                    sum += a[i] - p[i] * smooth(y[i])
                    d[i] = (b[i] - smooth(y[i])) / size
                }
                return sum / size
            }
            for i in 0..<width { d[i] = clip(p[i]) }
            for i in 0..<width { b[i] = 1 - d[i] }
            activate(CZ_LOG, d, a, width)
            activate(CZ_LOG, b, b, width)
            for i in 0..<width {
                let z = smooth(y[i])
                sum -= z * a[i] + (1 - z) * b[i]
                d[i] = isInside(p[i]) ? ((1 - z) / (1 - d[i]) - z / d[i]) / size : 0
            }
            return sum / size
        case .categoricalCrossentropy:
            func smooth(_ y: Float) -> Float { smoothing == 0 ? y : y * (1 - smoothing) + smoothing / size }
            var weight: Float = 0
            if head != nil || loss.fromLogits {
                kernels.pointee.log_softmax(p, width, a, width, 1, width)
                activate(CZ_EXP, a, b, width)
                for i in 0..<width {
                    weight += smooth(y[i])
                    sum -= smooth(y[i]) * a[i]
                }
                for i in 0..<width { d[i] = b[i] * weight - smooth(y[i]) }
                return sum
            }
            var whole: Float = 0
            for i in 0..<width { whole += p[i] }
            for i in 0..<width { a[i] = clip(p[i] / whole) }
            activate(CZ_LOG, a, b, width)
            var inner: Float = 0
            for i in 0..<width {
                sum -= smooth(y[i]) * b[i]
                d[i] = isInside(p[i] / whole) ? -smooth(y[i]) / a[i] : 0
                inner += d[i] * p[i] / whole
            }
            for i in 0..<width { d[i] = (d[i] - inner) / whole }
            return sum
        case .sparseCategoricalCrossentropy:
            let given = y[0]
            guard given > -1, given < size else {
                throw Failure(.invalidArgument, given.isFinite && abs(given) < 1e15
                    ? "target \(Int(given)) is no class: the output has \(width)" : "a target is no class but NaN or beyond all numbers")
            }
            let label = Int(given)
            if head != nil || loss.fromLogits {
                kernels.pointee.log_softmax(p, width, a, width, 1, width)
            } else {
                for i in 0..<width { b[i] = clip(p[i]) }
                activate(CZ_LOG, b, a, width)
                kernels.pointee.log_softmax(a, width, a, width, 1, width)
            }
            activate(CZ_EXP, a, d, width)
            d[label] -= 1
            if head == nil && !loss.fromLogits {
                for i in 0..<width { d[i] = isInside(p[i]) ? d[i] / b[i] : 0 }
            }
            return -a[label]
        case .poisson:
            for i in 0..<width { b[i] = p[i] + epsilon }
            activate(CZ_LOG, b, a, width)
            for i in 0..<width {
                sum += p[i] - y[i] * a[i]
                d[i] = (1 - y[i] / b[i]) / size
            }
            return sum / size
        case .gaussian:
            return gaussian(p, y, scratch)
        case .mixture:
            return mixture(p, y, scratch)
        }
    }

    private func clip(_ p: Float) -> Float { p < epsilon ? epsilon : p > 1 - epsilon ? 1 - epsilon : p }
    private func isInside(_ p: Float) -> Bool { p >= epsilon && p <= 1 - epsilon }

    /// ½ Σ (log 2π + log σ² + (y − μ)² / σ²)
    private func gaussian(_ p: UnsafePointer<Float>, _ y: UnsafePointer<Float>, _ d: Floats) -> Float {
        let inverse = d + width
        var sum: Float = 0
        if loss.sigma < 0 {
            for i in 0..<targetWidth { inverse[i] = -p[targetWidth &+ i] }
        } else {
            var sigma = loss.sigma, logarithm: Float = 0
            activate(CZ_LOG, &sigma, &logarithm, 1)
            for i in 0..<targetWidth { inverse[i] = -2 * logarithm }
        }
        for i in 0..<targetWidth { sum += 0.5 * (1.837_877_07 - inverse[i]) }
        activate(CZ_EXP, inverse, inverse, targetWidth)
        for i in 0..<targetWidth {
            let error = p[i] - y[i]
            sum += 0.5 * error * error * inverse[i]
            d[i] = error * inverse[i]
            if loss.sigma < 0 { d[targetWidth &+ i] = 0.5 - 0.5 * error * error * inverse[i] }
        }
        return sum
    }

    /// −log Σ_k softmax(logits)_k · Π N(y; μ_k, σ_k²)
    private func mixture(_ p: UnsafePointer<Float>, _ y: UnsafePointer<Float>, _ d: Floats) -> Float {
        let count = loss.components, a = d + width, inverse = a + width, share = inverse + width
        let means = p + count, variances = means + count &* targetWidth
        kernels.pointee.log_softmax(p, count, a, count, 1, count)
        activate(CZ_EXP, a, share, count)
        let total = count &* targetWidth
        for i in 0..<total { inverse[i] = -variances[i] }
        activate(CZ_EXP, inverse, inverse, total)
        for k in 0..<count {
            for i in 0..<targetWidth {
                let at = k &* targetWidth &+ i, error = means[at] - y[i]
                a[k] -= 0.5 * (1.837_877_07 + variances[at] + error * error * inverse[at])
            }
        }
        // log Σ exp a, and each component's part in it, in place of a.
        var largest = a[0]
        for k in 1..<max(1, count) where a[k] > largest { largest = a[k] }
        for k in 0..<count { a[k] -= largest }
        activate(CZ_EXP, a, a, count)
        var sum: Float = 0
        for k in 0..<count { sum += a[k] }
        var logarithm: Float = 0
        activate(CZ_LOG, &sum, &logarithm, 1)
        for k in 0..<count {
            let part = a[k] / sum
            d[k] = share[k] - part
            for i in 0..<targetWidth {
                let at = k &* targetWidth &+ i, error = means[at] - y[i]
                d[count &+ at] = part * error * inverse[at]
                d[count &+ total &+ at] = part * (0.5 - 0.5 * error * error * inverse[at])
            }
        }
        return -(largest + logarithm)
    }
}
