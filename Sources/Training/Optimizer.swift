import CSystem
import Engine

/// How weights change by their gradients: Keras's optimizers, update by update.
public struct OptimizerOptions {
    public enum Kind: Int32 {
        case sgd = 0, rmsprop, adam, adamw, nadam, adagrad, adamax, lion
    }

    public var kind = Kind.adam
    public var learningRate = 0.001
    public var beta1 = 0.9
    public var beta2 = 0.999
    public var epsilon = 1e-7
    public var momentum = 0.0
    public var rho = 0.9
    public var initialAccumulator = 0.1
    /// Of Keras 2's legacy optimizers: the rate is divided by 1 + decay · updates.
    public var decay = 0.0
    /// Negative: none.
    public var weightDecay = -1.0
    /// 0: none. Keras heeds the first of them that is given.
    public var clipNorm = 0.0
    public var globalClipNorm = 0.0
    public var clipValue = 0.0
    public var nesterov = false
    public var amsgrad = false
    public var centered = false
    public var usesEMA = false
    public var emaMomentum = 0.99
    /// 0: never.
    public var emaOverwriteFrequency = 0
    /// Calls whose gradients make one update.
    public var accumulationSteps = 1

    @export(interface)
    public init() {}

    @export(interface)
    public static func defaults(_ kind: Kind) -> OptimizerOptions {
        var options = OptimizerOptions()
        options.kind = kind
        switch kind {
        case .sgd: options.learningRate = 0.01
        case .adamw: options.weightDecay = 0.004
        case .lion: options.beta2 = 0.99
        default: break
        }
        return options
    }

    func check() throws(Failure) {
        let numbers: [Double] = [learningRate, beta1, beta2, epsilon, momentum, rho, initialAccumulator, decay, weightDecay, clipNorm,
                                 globalClipNorm, clipValue, emaMomentum]
        for number in numbers where !number.isFinite { throw Failure(.invalidArgument, "an option of the optimizer is NaN or infinite") }
        guard beta1 >= 0, beta1 < 1, beta2 >= 0, beta2 < 1 else { throw Failure(.invalidArgument, "beta_1 and beta_2 are from 0 up to, not including, 1") }
        guard accumulationSteps >= 1, emaOverwriteFrequency >= 0 else {
            throw Failure(.invalidArgument, "gradient_accumulation_steps is 1 or more, ema_overwrite_frequency 0 or more")
        }
    }
}

/// A weight in training.
final class TrainedWeight {
    let weight: Weight
    let gradient: AlignedBuffer
    /// The values that the model's weight has.
    let values: AlignedBuffer
    /// What the optimizer keeps of it.
    let slots: [AlignedBuffer]
    let average: AlignedBuffer?
    let accumulated: AlignedBuffer?

    init(_ weight: Weight, _ gradient: AlignedBuffer, values: AlignedBuffer, slots: [AlignedBuffer], average: AlignedBuffer?,
         accumulated: AlignedBuffer?) {
        self.weight = weight
        self.gradient = gradient
        self.values = values
        self.slots = slots
        self.average = average
        self.accumulated = accumulated
    }

    var count: Int { weight.count }
    /// Everything that a checkpoint holds beside the values.
    var memory: [AlignedBuffer] {
        var result = slots
        if let average { result.append(average) }
        if let accumulated { result.append(accumulated) }
        return result
    }

    /// The model's weight gets our buffer; values that were set from outside are taken over.
    func adopt() {
        guard weight.values != UnsafePointer(values.floats) else { return }
        values.floats.copy(from: weight.values, count: count)
        weight.adopt(values)
    }
}

final class Optimizer: SharedWork {
    private let kernels: UnsafePointer<cz_kernels>
    private let team: Team
    private var call = cz_update()
    var options: OptimizerOptions
    let weights: [TrainedWeight]
    /// Calls so far; updates are these divided by the accumulation steps.
    var calls: UInt64 = 0
    /// Nadam's product of momenta.
    var product: Float = 1

    var updates: UInt64 { calls / UInt64(options.accumulationSteps) }

    static func make(_ options: OptimizerOptions, _ parameters: Parameters) throws(Failure) -> Optimizer {
        try options.check()
        let slots = switch options.kind {
        case .sgd: options.momentum != 0 ? 1 : 0
        case .rmsprop: 1 + (options.momentum > 0 ? 1 : 0) + (options.centered ? 1 : 0)
        case .adam, .adamw: options.amsgrad ? 3 : 2
        case .nadam, .adamax: 2
        case .adagrad, .lion: 1
        }
        var weights: [TrainedWeight] = []
        for (index, gradient) in parameters.gradients.enumerated() {
            guard let gradient else { continue }
            let weight = parameters.model.weights[index]
            var buffers: [AlignedBuffer] = []
            for _ in 0..<slots { buffers.append(try AlignedBuffer(count: weight.count)) }
            if options.kind == .adagrad { buffers[0].floats.update(repeating: Float(options.initialAccumulator), count: weight.count) }
            weights.append(TrainedWeight(weight, gradient, values: try AlignedBuffer(count: weight.count), slots: buffers,
                                         average: options.usesEMA ? try AlignedBuffer(count: weight.count) : nil,
                                         accumulated: options.accumulationSteps > 1 ? try AlignedBuffer(count: weight.count) : nil))
        }
        guard !weights.isEmpty else { throw Failure(.invalidArgument, "the model has no weight that is trained") }
        return Optimizer(options, weights, parameters)
    }

    private init(_ options: OptimizerOptions, _ weights: [TrainedWeight], _ parameters: Parameters) {
        kernels = parameters.kernels
        team = parameters.team
        self.options = options
        self.weights = weights
    }

    /// Whether all gradients are numbers.
    var isFinite: Bool { weights.allSatisfy { Optimizer.isFinite($0.gradient.floats, $0.count) } }

    static func isFinite(_ values: Given, _ count: Int) -> Bool {
        // Zero times a number is zero.
        var sum = SIMD16<Float>()
        let blocks = count / 16
        for block in 0..<blocks { sum += 0 * UnsafeRawPointer(values + block &* 16).loadUnaligned(as: SIMD16<Float>.self) }
        for i in (16 &* blocks)..<count { sum[0] += 0 * values[i] }
        return sum == SIMD16()
    }

    /// One call of Keras's `apply`, from the weights' gradients.
    func apply() {
        let callers = cz_float_mode_enter()
        defer { cz_float_mode_leave(callers) }
        let steps = UInt64(options.accumulationSteps)
        if steps > 1 && (calls &+ 1) % steps != 0 {
            for weight in weights {
                if let accumulated = weight.accumulated { add(weight.gradient.floats, to: accumulated.floats, weight.count) }
            }
        } else {
            for weight in weights {
                guard let accumulated = weight.accumulated else { continue }
                for i in 0..<weight.count {
                    weight.gradient.floats[i] = (weight.gradient.floats[i] + accumulated.floats[i]) / Float(steps)
                    accumulated.floats[i] = 0
                }
            }
            clip()
            var rate = options.learningRate
            if options.decay > 0 { rate /= 1 + options.decay * Double(updates) }
            if options.weightDecay >= 0 {
                let decay = Float(options.weightDecay), rate = Float(rate)
                for weight in weights {
                    for i in 0..<weight.count { weight.values.floats[i] -= weight.values.floats[i] * decay * rate }
                }
            }
            update(Float(rate))
        }
        if options.usesEMA { average() }
        calls &+= 1
    }

    private func average() {
        let momentum = updates == 0 ? 0 : Float(options.emaMomentum)
        let frequency = UInt64(options.emaOverwriteFrequency)
        let overwrites = frequency > 0 && (updates &+ 1) % frequency == 0
        for weight in weights {
            guard let average = weight.average?.floats else { continue }
            let values = weight.values.floats
            for i in 0..<weight.count {
                average[i] = momentum * average[i] + (1 - momentum) * values[i]
                if overwrites { values[i] = average[i] }
            }
        }
    }

    /// The weights become their averages, as Keras does at the end of training.
    func finishAverages() {
        for weight in weights {
            if let average = weight.average, calls > 0 { weight.values.floats.copy(from: average.floats, count: weight.count) }
        }
    }

    private func squares(_ weight: TrainedWeight) -> Double {
        var sum = 0.0
        for i in 0..<weight.count { sum += Double(weight.gradient.floats[i]) * Double(weight.gradient.floats[i]) }
        return sum
    }

    private func clip() {
        if options.clipNorm > 0 {
            for weight in weights { scale(weight, Float(options.clipNorm), squares(weight).squareRoot()) }
        } else if options.globalClipNorm > 0 {
            var sum = 0.0
            for weight in weights { sum += squares(weight) }
            for weight in weights { scale(weight, Float(options.globalClipNorm), sum.squareRoot()) }
        } else if options.clipValue > 0 {
            let limit = Float(options.clipValue)
            for weight in weights {
                for i in 0..<weight.count { weight.gradient.floats[i] = min(limit, max(-limit, weight.gradient.floats[i])) }
            }
        }
    }

    private func scale(_ weight: TrainedWeight, _ limit: Float, _ norm: Double) {
        guard norm > Double(limit) else { return }
        let factor = Float(Double(limit) / norm)
        for i in 0..<weight.count { weight.gradient.floats[i] *= factor }
    }

    private func power(_ base: Double, _ exponent: UInt64) -> Float {
        var result = 1.0, square = Double(Float(base)), rest = exponent
        while rest > 0 {
            if rest & 1 == 1 { result *= square }
            square *= square
            rest >>= 1
        }
        return Float(result)
    }

    private func update(_ rate: Float) {
        let step = updates &+ 1
        let power1 = power(options.beta1, step), power2 = power(options.beta2, step)
        let u = Float(options.beta1) * (1 - 0.5 * power(0.96, step)), uNext = Float(options.beta1) * (1 - 0.5 * power(0.96, step &+ 1))
        call.kind = options.kind.rawValue
        call.nesterov = options.nesterov ? 1 : 0
        call.centered = options.centered ? 1 : 0
        call.rate = rate
        call.epsilon = Float(options.epsilon)
        call.momentum = Float(options.momentum)
        call.keep1 = Float(options.beta1)
        call.rest1 = Float(1 - options.beta1)
        call.keep2 = Float(options.beta2)
        call.rest2 = Float(1 - options.beta2)
        call.correction1 = 1 - power1
        call.correction2 = 1 - power2
        switch options.kind {
        case .adam, .adamw: call.rate = rate * (1 - power2).squareRoot() / (1 - power1)
        case .rmsprop:
            call.keep2 = Float(options.rho)
            call.rest2 = Float(1 - options.rho)
        case .nadam:
            // The mean of m and g, each corrected.
            product *= u
            call.keep1 = uNext / (1 - product * uNext)
            call.keep2 = (1 - u) / (1 - product)
        default: break
        }
        team.run(self, 0)
    }

    override func run(_ phase: Int, _ worker: Int, of workers: Int) {
        var call = call
        for weight in weights {
            let own = share(weight.count, worker, of: workers, block: 16)
            let slots = weight.slots
            func slot(_ index: Int, or other: Floats) -> Floats { index < slots.count ? slots[index].floats + own.first : other }
            let w = weight.values.floats + own.first
            call.count = own.count
            call.w = w
            call.g = UnsafePointer(weight.gradient.floats + own.first)
            let m = slot(0, or: w), v = slot(1, or: m)
            call.m = m
            call.v = v
            // RMSprop's mean comes behind its momentum, where there is one.
            call.third = slot(2, or: v)
            kernels.pointee.update(&call)
        }
    }
}
