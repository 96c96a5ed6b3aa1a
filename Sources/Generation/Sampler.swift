import CSystem
import Engine

/// How a value is drawn from a model's outputs.
public struct SamplerOptions {
    public enum Kind: Int32, Sendable {
        case none = 0
        /// A class, from logits or probabilities.
        case categorical = 1
        /// Each value normal about its mean.
        case gaussian = 2
        /// A vector from a mixture of normal distributions with diagonal covariance.
        case mixture = 3
        /// Each value 0 or 1.
        case bernoulli = 4
        case callback = 5
    }

    public var kind = Kind.none
    /// The output that is read: logits, probabilities or means.
    public var output = 0
    /// Gaussian: the output with log variances; nil: the second half of `output`.
    public var varianceOutput: Int?
    /// Categorical, Bernoulli: the output holds probabilities, not logits.
    public var fromProbabilities = false
    /// 0 takes the likeliest. Gaussian, mixture: a factor on sigma.
    public var temperature: Float = 1
    /// Only the k likeliest; 0: all.
    public var topK = 0
    /// Only the likeliest that together reach this probability; 1: all.
    public var topP: Float = 1
    /// Only what has at least this share of the likeliest one's probability; 0: all.
    public var minP: Float = 0
    /// The log-probabilities of classes that the row has drawn before are multiplied by it; 1: none.
    public var repetitionPenalty: Float = 1
    /// Added to the logits; empty: nothing.
    public var bias: [Float] = []
    /// Classes never drawn.
    public var forbidden: [Int] = []
    /// Gaussian: a given sigma instead of log variances.
    public var sigma: Float?
    /// Mixture: how many distributions. The output holds their logits, then all means, then all log variances.
    public var components = 0
    /// Callback: how many values it gives.
    public var width = 1
    public var callback: Callback?

    public init() {}
}

/// A sampler bound to a model's outputs. Keeps nothing of a draw but which classes a row has had.
final class Sampler {
    let options: SamplerOptions
    /// Values of one draw.
    let width: Int
    /// Values of the output that is read.
    let count: Int
    private let kernels: UnsafePointer<cz_kernels>
    /// By class.
    private let isForbidden: UnsafeMutablePointer<Bool>
    /// [rows][classes]: whether the row has had it; nil where nobody asks.
    private let seen: UnsafeMutablePointer<Bool>?
    private let rows: Int
    private let logs: AlignedBuffer
    private let work: AlignedBuffer
    private let heap: UnsafeMutablePointer<Int32>
    /// Of the classes, and of rows and classes.
    private let columns: (Columns, Columns)

    init(_ options: SamplerOptions, _ slots: Slots) throws(Failure) {
        self.options = options
        rows = slots.rows
        kernels = slots.kernels
        count = try outputSize(slots, options.output, "the sampler")
        width = try Sampler.width(options, slots, count)
        try Sampler.check(options, count)
        logs = try AlignedBuffer(count: max(count, 16), isLocked: slots.model.isLocked)
        work = try AlignedBuffer(count: max(count, 16), isLocked: slots.model.isLocked)
        let keepsSeen = options.kind == .categorical && options.repetitionPenalty != 1
        columns = (try Columns(rows: count, width: 5, isLocked: slots.model.isLocked),
                   try Columns(rows: keepsSeen ? multiplied(rows, count) : 0, width: 1, isLocked: slots.model.isLocked))
        heap = columns.0.next(0)
        isForbidden = columns.0.next(false)
        seen = keepsSeen ? columns.1.next(false) : nil
        var allowed = count
        for class_ in options.forbidden where !isForbidden[class_] {
            isForbidden[class_] = true
            allowed -= 1
        }
        guard allowed > 0 else { throw Failure(.invalidArgument, "every class is forbidden") }
    }

    private static func width(_ options: SamplerOptions, _ slots: Slots, _ count: Int) throws(Failure) -> Int {
        switch options.kind {
        case .none, .categorical: return 1
        case .bernoulli: return count
        case .callback: return options.width
        case .gaussian:
            if options.sigma != nil { return count }
            if let other = options.varianceOutput {
                let size = try outputSize(slots, other, "the sampler's log variances")
                guard size == count else {
                    throw Failure(.invalidArgument, "the sampler's means are \(count) values, its log variances \(size)")
                }
                return count
            }
            guard count % 2 == 0 else {
                throw Failure(.invalidArgument, "the sampler's output of \(count) values does not halve into means and log variances")
            }
            return count / 2
        case .mixture:
            let k = options.components
            guard k >= 1, k <= count, count % k == 0, (count / k - 1) % 2 == 0, count / k >= 3 else {
                throw Failure(.invalidArgument, "the sampler's output of \(count) values does not hold \(k) logits, means and log variances")
            }
            return (count / k - 1) / 2
        }
    }

    private static func check(_ options: SamplerOptions, _ count: Int) throws(Failure) {
        guard options.temperature >= 0, options.temperature.isFinite else {
            throw Failure(.invalidArgument, "temperature is not a number from 0 up")
        }
        if let sigma = options.sigma, !(sigma >= 0 && sigma.isFinite) {
            throw Failure(.invalidArgument, "sigma is not a number from 0 up")
        }
        if options.kind == .callback {
            guard options.callback != nil, options.width >= 1, options.width <= 1 << 20 else {
                throw Failure(.invalidArgument, "a sampler that calls back needs a callback and a width of 1 or more")
            }
        }
        guard options.kind == .categorical else {
            guard options.bias.isEmpty, options.forbidden.isEmpty else {
                throw Failure(.invalidArgument, "logit_bias and forbidden classes are for a categorical sampler")
            }
            return
        }
        guard count <= 1 << 24 else { throw Failure(.unsupported, "the sampler has \(count) classes, more than a float can number") }
        guard options.topK >= 0 else { throw Failure(.invalidArgument, "top_k is \(options.topK), expected 0 or more") }
        guard options.topP > 0, options.topP <= 1 else { throw Failure(.invalidArgument, "top_p is not above 0 and at most 1") }
        guard options.minP >= 0, options.minP <= 1 else { throw Failure(.invalidArgument, "min_p is not from 0 to 1") }
        guard options.repetitionPenalty > 0, options.repetitionPenalty.isFinite else {
            throw Failure(.invalidArgument, "repetition_penalty is not a number above 0")
        }
        guard options.bias.isEmpty || options.bias.count == count else {
            throw Failure(.invalidArgument, "logit_bias has \(options.bias.count) values, the model \(count) classes")
        }
        for value in options.bias where !value.isFinite {
            throw Failure(.invalidArgument, "logit_bias holds a value that is not finite; forbid the class instead")
        }
        for class_ in options.forbidden {
            guard class_ >= 0, class_ < count else {
                throw Failure(.invalidArgument, "the forbidden class \(class_) is none of the \(count)")
            }
        }
    }

    /// Whether a class can ever be drawn.
    func canDraw(_ class_: Int) -> Bool { class_ >= 0 && class_ < count && !isForbidden[class_] }

    // MARK: One row

    /// Draws from one row's outputs. Returns the logarithm of the probability (or density) that the model itself gives
    /// the value, before temperature and filters; 0 for a callback.
    func draw(_ outputs: (Int) -> UnsafePointer<Float>, row: Int, step: Int, random: inout Random,
              into result: UnsafeMutablePointer<Float>) throws(Failure) -> Float {
        let callers = cz_float_mode_enter()
        defer { cz_float_mode_leave(callers) }
        let x = outputs(options.output)
        switch options.kind {
        case .none: return 0
        case .categorical:
            try takeLogarithms(x, row: row, step: step)
            let choice = try choose(row: row, step: step, &random)
            result[0] = Float(choice)
            return logs.floats[choice]
        case .gaussian:
            let variances = logVariances(outputs)
            for i in 0..<width {
                try require(x[i].isFinite, row, step, "a mean that is not finite")
                let sigma = sigma(variances, i) * options.temperature
                try require(sigma.isFinite, row, step, "a log variance that is not finite")
                result[i] = options.temperature == 0 ? x[i] : x[i] + sigma * random.normal()
            }
        case .mixture:
            try drawMixture(x, row, step, &random, result)
        case .bernoulli:
            for i in 0..<width {
                let p = options.fromProbabilities ? x[i] : apply(CZ_SIGMOID, x[i])
                try require(p >= 0 && p <= 1, row, step, "\(p) as a probability")
                result[i] = options.temperature == 0 ? (p >= 0.5 ? 1 : 0) : (random.uniform() < p ? 1 : 0)
            }
        case .callback:
            if let callback = options.callback {
                cz_float_mode_leave(callers)
                let status = callback(row, step, x, count, result)
                _ = cz_float_mode_enter()
                if status != 0 { throw failed("sampler callback", status, row, step) }
            }
            for i in 0..<width { try require(!result[i].isNaN, row, step, "NaN from the sampler callback") }
            return 0
        }
        return try logProbability(outputs, of: UnsafePointer(result), row: row, step: step)
    }

    /// The logarithm of the probability (or density) that the model gives a value.
    func logProbability(_ outputs: (Int) -> UnsafePointer<Float>, of value: UnsafePointer<Float>, row: Int, step: Int) throws(Failure) -> Float {
        let callers = cz_float_mode_enter()
        defer { cz_float_mode_leave(callers) }
        let x = outputs(options.output)
        switch options.kind {
        case .none, .callback: return 0
        case .categorical:
            guard value[0] >= 0, value[0] < Float(count) else {
                throw Failure(.invalidArgument, "row \(row), step \(step): the class is none of the \(count)")
            }
            try takeLogarithms(x, row: row, step: step)
            return logs.floats[Int(value[0])]
        case .gaussian:
            let variances = logVariances(outputs)
            var sum: Float = 0
            for i in 0..<width { sum += normalLog(value[i], x[i], sigma(variances, i)) }
            return sum
        case .mixture:
            return mixtureLog(x, value)
        case .bernoulli:
            var sum: Float = 0
            for i in 0..<width {
                let p = options.fromProbabilities ? x[i] : apply(CZ_SIGMOID, x[i])
                sum += apply(CZ_LOG, value[i] >= 0.5 ? p : 1 - p)
            }
            return sum
        }
    }

    /// Log-probabilities of all classes, for beam search.
    func logProbabilities(_ x: UnsafePointer<Float>, row: Int, step: Int) throws(Failure) -> UnsafePointer<Float> {
        try takeLogarithms(x, row: row, step: step)
        return UnsafePointer(logs.floats)
    }

    /// Remembers a drawn class for the repetition penalty.
    func remember(_ value: Float, row: Int) {
        guard let seen, value >= 0, value < Float(count) else { return }
        seen[row &* count &+ Int(value)] = true
    }

    func forget(row: Int) {
        guard let seen else { return }
        for class_ in 0..<count { seen[row &* count &+ class_] = false }
    }

    func write(to archive: Archive) {
        guard let seen else { return }
        for i in 0..<(rows * count) { archive.put(seen[i] ? 1 : 0) }
    }

    func read(from archive: ArchiveReader) throws(Failure) {
        guard let seen else { return }
        for i in 0..<(rows * count) { seen[i] = try archive.next(below: 2) == 1 }
    }

    // MARK: Categorical

    /// The model's own log-probabilities, into `logs`.
    private func takeLogarithms(_ x: UnsafePointer<Float>, row: Int, step: Int) throws(Failure) {
        var largest = -Float.infinity
        for i in 0..<count {
            try require(!x[i].isNaN, row, step, "NaN among the \(options.fromProbabilities ? "probabilities" : "logits")")
            if x[i] > largest { largest = x[i] }
        }
        if options.fromProbabilities {
            for i in 0..<count { try require(x[i] >= 0, row, step, "a negative probability") }
            try require(largest > 0 && largest.isFinite, row, step, "no probability above 0, or an infinite one")
            var activation = cz_activation(kind: Int32(CZ_LOG.rawValue), a: 0, b: 0, c: 0)
            kernels.pointee.activate(&activation, x, logs.floats, count)
        } else {
            try require(largest.isFinite, row, step, "logits without a finite largest one")
            kernels.pointee.log_softmax(x, count, logs.floats, count, 1, count)
        }
    }

    private func choose(row: Int, step: Int, _ random: inout Random) throws(Failure) -> Int {
        let y = work.floats
        var best = -1
        for i in 0..<count {
            var value = logs.floats[i]
            if let seen, seen[row &* count &+ i] { value *= options.repetitionPenalty }
            if !options.bias.isEmpty { value += options.bias[i] }
            if isForbidden[i] { value = -.infinity }
            y[i] = value
            if value > -.infinity && (best < 0 || value > y[best]) { best = i }
        }
        try require(best >= 0, row, step, "no class left to draw")
        if options.temperature == 0 { return best }
        let top = y[best]
        for i in 0..<count { y[i] = (y[i] - top) / options.temperature }
        var activation = cz_activation(kind: Int32(CZ_EXP.rawValue), a: 0, b: 0, c: 0)
        kernels.pointee.activate(&activation, y, y, count)
        filter(y)
        var total = 0.0
        for i in 0..<count { total += Double(y[i]) }
        let goal = Double(random.next()) * 0x1p-32 * total
        var sum = 0.0
        var last = best
        for i in 0..<count where y[i] > 0 {
            sum += Double(y[i])
            last = i
            if goal < sum { return i }
        }
        return last
    }

    /// Zeroes the weights that top-k, top-p and min-p, one after another, leave out. The largest weight is 1.
    private func filter(_ y: UnsafeMutablePointer<Float>) {
        let k = options.topK
        if (k > 0 && k < count) || options.topP < 1 {
            var total = 0.0
            for i in 0..<count { heap[i] = Int32(i) }
            for i in stride(from: count / 2 - 1, through: 0, by: -1) { sift(y, i, count) }
            var size = count
            let most = k > 0 ? min(k, count) : count
            // What is taken moves behind the heap.
            while size > count - most {
                total += Double(y[Int(heap[0])])
                size -= 1
                heap.swap(0, size)
                sift(y, 0, size)
            }
            var kept = most
            if options.topP < 1 {
                var sum = 0.0
                kept = 0
                while kept < most && sum < Double(options.topP) * total {
                    kept += 1
                    sum += Double(y[Int(heap[count - kept])])
                }
            }
            for i in 0..<(count - kept) { y[Int(heap[i])] = 0 }
        }
        if options.minP > 0 {
            for i in 0..<count where y[i] < options.minP { y[i] = 0 }
        }
    }

    /// Of equal weights the lower class comes first.
    private func comesBefore(_ y: UnsafeMutablePointer<Float>, _ a: Int32, _ b: Int32) -> Bool {
        y[Int(a)] != y[Int(b)] ? y[Int(a)] > y[Int(b)] : a < b
    }

    private func sift(_ y: UnsafeMutablePointer<Float>, _ start: Int, _ size: Int) {
        var parent = start
        while true {
            var first = parent
            let left = 2 &* parent &+ 1, right = left &+ 1
            if left < size && comesBefore(y, heap[left], heap[first]) { first = left }
            if right < size && comesBefore(y, heap[right], heap[first]) { first = right }
            if first == parent { return }
            heap.swap(parent, first)
            parent = first
        }
    }

    // MARK: Normal distributions

    private func logVariances(_ outputs: (Int) -> UnsafePointer<Float>) -> UnsafePointer<Float>? {
        if options.sigma != nil { return nil }
        if let other = options.varianceOutput { return outputs(other) }
        return outputs(options.output) + width
    }

    private func sigma(_ logVariances: UnsafePointer<Float>?, _ i: Int) -> Float {
        if let logVariances { return apply(CZ_EXP, 0.5 * logVariances[i]) }
        return options.sigma ?? 1
    }

    private func normalLog(_ x: Float, _ mean: Float, _ sigma: Float) -> Float {
        let z = x == mean ? 0 : (x - mean) / sigma // where sigma is 0 as well
        return -0.5 * z * z - apply(CZ_LOG, sigma) - 0.918_938_5
    }

    private func drawMixture(_ x: UnsafePointer<Float>, _ row: Int, _ step: Int, _ random: inout Random,
                             _ result: UnsafeMutablePointer<Float>) throws(Failure) {
        let k = options.components
        for i in 0..<count { try require(x[i].isFinite, row, step, "a mixture's value that is not finite") }
        kernels.pointee.softmax(x, k, work.floats, k, 1, k)
        var chosen = 0
        if options.temperature == 0 {
            for i in 1..<max(k, 1) where work.floats[i] > work.floats[chosen] { chosen = i }
        } else {
            var total = 0.0
            for i in 0..<k { total += Double(work.floats[i]) }
            let goal = Double(random.next()) * 0x1p-32 * total
            var sum = 0.0
            for i in 0..<k {
                sum += Double(work.floats[i])
                chosen = i
                if goal < sum { break }
            }
        }
        let means = x + k + chosen * width, variances = x + k + (k + chosen) * width
        for i in 0..<width {
            let sigma = sigma(variances, i) * options.temperature
            try require(sigma.isFinite, row, step, "a log variance beyond all bounds")
            result[i] = options.temperature == 0 ? means[i] : means[i] + sigma * random.normal()
        }
    }

    private func mixtureLog(_ x: UnsafePointer<Float>, _ value: UnsafePointer<Float>) -> Float {
        let k = options.components
        kernels.pointee.log_softmax(x, k, work.floats, k, 1, k)
        var largest = -Float.infinity
        for i in 0..<k {
            let means = x + k + i * width, variances = x + k + (k + i) * width
            for j in 0..<width { work.floats[i] += normalLog(value[j], means[j], sigma(variances, j)) }
            if work.floats[i] > largest { largest = work.floats[i] }
        }
        guard largest.isFinite else { return largest }
        var sum: Float = 0
        for i in 0..<k { sum += apply(CZ_EXP, work.floats[i] - largest) }
        return largest + apply(CZ_LOG, sum)
    }

    private func apply(_ kind: cz_activation_kind, _ x: Float) -> Float { kernels.value(kind, x) }
}

extension UnsafePointer where Pointee == cz_kernels {
    /// One of the plain functions, of one value.
    func value(_ kind: cz_activation_kind, _ x: Float) -> Float {
        var activation = cz_activation(kind: Int32(kind.rawValue), a: 0, b: 0, c: 0)
        var x = x
        var y: Float = 0
        pointee.activate(&activation, &x, &y, 1)
        return y
    }
}

extension UnsafeMutablePointer {
    fileprivate func swap(_ a: Int, _ b: Int) {
        let kept = self[a]
        self[a] = self[b]
        self[b] = kept
    }
}

/// The values of a model's output in one step.
func outputSize(_ slots: Slots, _ index: Int, _ who: Literal) throws(Failure) -> Int {
    guard index >= 0, index < slots.model.outputs.count else {
        throw Failure(.invalidArgument, "\(who) reads output \(index) of a model that has \(slots.model.outputs.count)")
    }
    let size = slots.outputSize(index)
    guard size >= 1 else { throw Failure(.invalidArgument, "\(who) reads an output without values") }
    return size
}

@inline(__always)
func require(_ condition: Bool, _ row: Int, _ step: Int, _ found: @autoclosure () -> Text) throws(Failure) {
    if !condition { throw Failure(.invalidArgument, "row \(row), step \(step): \(found())") }
}

func failed(_ who: Literal, _ status: Int32, _ row: Int, _ step: Int) -> Failure {
    Failure(.invalidArgument, "row \(row), step \(step): the \(who) returned \(status)")
}
