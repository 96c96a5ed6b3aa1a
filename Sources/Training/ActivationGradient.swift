import CSystem
import Engine

/// Derivatives that are computed at once.
private let smallCount = 64

extension Activation {
    /// Whether its derivative needs its input: that of the others can be told from the output.
    var needsInput: Bool {
        guard let it = elementwise else {
            if case .softmax = self { return false }
            if case .logSoftmax = self { return false }
            return true
        }
        switch cz_activation_kind(UInt32(it.kind)) {
        case CZ_LINEAR, CZ_SIGMOID, CZ_TANH, CZ_EXPONENTIAL: return false
        case CZ_RELU: return !(it.a == 0 && it.c == 0)
        default: return true
        }
    }

    /// dx = dy · f′ for `rows` rows of `count` inputs; x: the inputs, y: what they gave. dx may be dy, save for glu.
    @inline(never)
    func backpropagate(_ parameters: Parameters, x: Given, y: Given, dy: Given, dx: Floats, rows: Int, count: Int) {
        switch self {
        case .elementwise(let it):
            let total = rows &* count
            switch cz_activation_kind(UInt32(it.kind)) {
            case CZ_LINEAR: if dx != dy { dx.copy(from: dy, count: total) }
            case CZ_SIGMOID, CZ_TANH, CZ_RELU:
                var it = it
                parameters.kernels.pointee.activate_back(&it, x, y, dy, dx, total)
            case CZ_EXPONENTIAL: for i in 0..<total { dx[i] = dy[i] * y[i] }
            default:
                var small = InlineArray<192, Float>(repeating: 0)
                withUnsafeMutableBytes(of: &small) { small in
                    let d = small.baseAddress!.assumingMemoryBound(to: Float.self)
                    var start = 0
                    while start < total {
                        let part = min(smallCount, total &- start)
                        derivative(it, parameters, x + start, y + start, part, d)
                        for i in 0..<part { dx[start &+ i] = dy[start &+ i] * d[i] }
                        start = start &+ part
                    }
                }
            }
        case .softmax:
            for row in 0..<rows {
                let y = y + row &* count, dy = dy + row &* count, dx = dx + row &* count
                var sum: Float = 0
                for i in 0..<count { sum += dy[i] * y[i] }
                for i in 0..<count { dx[i] = y[i] * (dy[i] - sum) }
            }
        case .logSoftmax:
            var exp = cz_activation(kind: Int32(CZ_EXP.rawValue), a: 0, b: 0, c: 0)
            for row in 0..<rows {
                let y = y + row &* count, dy = dy + row &* count, dx = dx + row &* count
                var sum: Float = 0
                for i in 0..<count { sum += dy[i] }
                for i in 0..<count {
                    var p: Float = 0
                    parameters.kernels.pointee.activate(&exp, y + i, &p, 1)
                    dx[i] = dy[i] - p * sum
                }
            }
        case .sparsemax:
            for row in 0..<rows { sparsemax(x + row &* count, y + row &* count, dy + row &* count, dx + row &* count, count) }
        case .glu:
            var sigmoid = cz_activation(kind: Int32(CZ_SIGMOID.rawValue), a: 0, b: 0, c: 0)
            let half = count / 2
            for row in 0..<rows {
                let x = x + row &* count, dy = dy + row &* half, dx = dx + row &* count
                parameters.kernels.pointee.activate(&sigmoid, x + half, dx + half, half)
                for i in 0..<half {
                    let gate = dx[half &+ i]
                    dx[i] = dy[i] * gate
                    dx[half &+ i] = dy[i] * x[i] * (gate * (1 - gate))
                }
            }
        }
    }

    /// The derivatives d at up to `smallCount` inputs; d: room for three times as many.
    private func derivative(_ it: cz_activation, _ parameters: Parameters, _ x: Given, _ y: Given, _ count: Int, _ d: Floats) {
        let s = d + smallCount, t = s + smallCount
        let a = it.a, b = it.b
        func apply(_ kind: cz_activation_kind, _ x: Given, _ out: Floats) {
            var other = cz_activation(kind: Int32(kind.rawValue), a: 0, b: 0, c: 0)
            parameters.kernels.pointee.activate(&other, x, out, count)
        }
        let kind = cz_activation_kind(UInt32(it.kind))
        switch kind {
        case CZ_SILU, CZ_LOG_SIGMOID, CZ_SOFTPLUS, CZ_MISH: apply(CZ_SIGMOID, x, s)
        default: break
        }
        switch kind {
        case CZ_HARD_SIGMOID:
            for i in 0..<count {
                let z = a * x[i] + b
                d[i] = z > 0 && z < 1 ? a : 0
            }
        case CZ_ELU:
            for i in 0..<count { d[i] = x[i] > 0 ? 1 : y[i] + a }
        case CZ_SELU:
            for i in 0..<count { d[i] = x[i] > 0 ? b : y[i] + a * b }
        case CZ_CELU:
            for i in 0..<count { d[i] = x[i] > 0 ? 1 : y[i] / a + 1 }
        case CZ_GELU:
            for i in 0..<count { t[i] = -0.5 * x[i] * x[i] }
            apply(CZ_EXP, t, t)
            for i in 0..<count { d[i] = (abs(x[i]) < 1e-30 ? 0.5 : y[i] / x[i]) + 0.398_942_28 * x[i] * t[i] }
        case CZ_GELU_TANH:
            let k: Float = 0.797_884_56
            for i in 0..<count { t[i] = k * (x[i] + 0.044715 * x[i] * x[i] * x[i]) }
            apply(CZ_TANH, t, t)
            for i in 0..<count {
                d[i] = 0.5 * (1 + t[i]) + 0.5 * x[i] * (1 - t[i] * t[i]) * k * (1 + 0.134145 * x[i] * x[i])
            }
        case CZ_SILU:
            for i in 0..<count { d[i] = s[i] + y[i] * (1 - s[i]) }
        case CZ_MISH:
            apply(CZ_SOFTPLUS, x, t)
            apply(CZ_TANH, t, t)
            for i in 0..<count { d[i] = t[i] + x[i] * s[i] * (1 - t[i] * t[i]) }
        case CZ_SOFTPLUS:
            for i in 0..<count { d[i] = s[i] }
        case CZ_SOFTSIGN:
            for i in 0..<count { d[i] = 1 / ((1 + abs(x[i])) * (1 + abs(x[i]))) }
        case CZ_LOG_SIGMOID:
            for i in 0..<count { d[i] = 1 - s[i] }
        case CZ_HARD_SILU:
            for i in 0..<count { d[i] = x[i] <= -3 ? 0 : x[i] >= 3 ? 1 : (2 * x[i] + 3) / 6 }
        case CZ_HARD_TANH:
            for i in 0..<count { d[i] = x[i] > -1 && x[i] < 1 ? 1 : 0 }
        case CZ_HARD_SHRINK, CZ_SOFT_SHRINK:
            for i in 0..<count { d[i] = abs(x[i]) > a ? 1 : 0 }
        case CZ_TANH_SHRINK:
            for i in 0..<count { d[i] = (x[i] - y[i]) * (x[i] - y[i]) }
        case CZ_SQUAREPLUS:
            for i in 0..<count { d[i] = 0.5 * (1 + x[i] / (x[i] * x[i] + a).squareRoot()) }
        case CZ_SPARSE_PLUS:
            for i in 0..<count { d[i] = x[i] <= -1 ? 0 : x[i] >= 1 ? 1 : 0.5 * (x[i] + 1) }
        case CZ_SPARSE_SIGMOID:
            for i in 0..<count { d[i] = x[i] > -1 && x[i] < 1 ? 0.5 : 0 }
        case CZ_THRESHOLD:
            for i in 0..<count { d[i] = x[i] > a ? 1 : 0 }
        default:
            for i in 0..<count { d[i] = 1 }
        }
    }

    /// The derivative of what Keras computes (see Engine): the threshold depends on the k-th largest of the support's
    /// `size` values by (size − k) / size.
    private func sparsemax(_ x: Given, _ y: Given, _ dy: Given, _ dx: Floats, _ count: Int) {
        func isBefore(_ j: Int, _ i: Int) -> Bool { x[j] > x[i] || x[j] == x[i] && j < i }
        func rank(_ i: Int) -> Int {
            var rank = 0
            for j in 0..<count where isBefore(j, i) { rank = rank &+ 1 }
            return rank
        }
        var size = 0
        var sum: Float = 0
        var last = -1
        for _ in 0..<count {
            var next = -1
            for i in 0..<count where last < 0 || isBefore(last, i) {
                if next < 0 || isBefore(i, next) { next = i }
            }
            if next < 0 { break }
            sum += x[next]
            guard x[next] - (sum - 1) / Float(size &+ 1) > 0 else { break }
            size = size &+ 1
            last = next
        }
        var total: Float = 0
        for i in 0..<count where y[i] > 0 { total += dy[i] }
        for i in 0..<count {
            let place = rank(i)
            let share = place < size ? Float(size &- place) / Float(size) : 0
            dx[i] = (y[i] > 0 ? dy[i] : 0) - share * total
        }
    }
}
