import CSystem

extension cz_activation {
    /// Whether it changes nothing.
    @inline(always)
    var isLinear: Bool { kind == Int32(bitPattern: CZ_LINEAR.rawValue) }

    /// The two that LSTM and GRU have unless told otherwise.
    @inline(always)
    var isTanh: Bool { kind == Int32(bitPattern: CZ_TANH.rawValue) }
    @inline(always)
    var isSigmoid: Bool { kind == Int32(bitPattern: CZ_SIGMOID.rawValue) }

    /// out[i] = activation(x[i]) for `count` values.
    @inline(never)
    func apply(_ x: UnsafePointer<Float>, _ out: UnsafeMutablePointer<Float>, count: Int) {
        var i = 0
        while i < count {
            let lanes = count &- i
            let values = Vector(x + i, count: lanes)
            let result = isSigmoid ? sigmoid(values) : isTanh ? tanh(values) : applied(to: values)
            result.store(out + i, count: lanes)
            i &+= 16
        }
    }

    /// x below the threshold c: a·(x − c); else min(x, b).
    @inline(always)
    fileprivate func rectified(_ x: Vector) -> Vector {
        let c = Vector(self.c), below = self.a == 0 ? Vector(0) : Vector(self.a) * (x - c)
        return x.atMost(Vector(b)).replaced(by: below, where: x .< c)
    }

    /// The activation of sixteen values; kernels.h says what each computes, Keras 3's
    /// `keras.activations` where it says no more than a name. A call: for
    /// the paths that speed does not hang on.
    @inline(never)
    func applied(to x: Vector) -> Vector {
        let a = Vector(self.a), b = Vector(self.b)
        let zero = Vector(0), one = Vector(1)
        switch cz_activation_kind(UInt32(bitPattern: kind)) {
        case CZ_SIGMOID, CZ_SILU, CZ_GELU_TANH:
            // (1 + tanh u) / 2 = sigmoid(2u), u = √(2/π)·(x + 0.044715·x³)
            let isGELU = kind == Int32(bitPattern: CZ_GELU_TANH.rawValue)
            let s = sigmoid(isGELU ? x * fused(x * x, Vector(2 * 0.7978846 * 0.044715), Vector(2 * 0.7978846)) : x)
            return isSigmoid ? s : x * s
        case CZ_TANH:
            return tanh(x)
        case CZ_RELU:
            return rectified(x)
        case CZ_HARD_SIGMOID:
            return fused(a, x, b).atMost(one).atLeast(zero)
        case CZ_ELU:
            return x.replaced(by: a * exponentialMinusOne(x.atMost(zero)), where: x .< zero)
        case CZ_SELU:
            return b * x.replaced(by: a * exponentialMinusOne(x.atMost(zero)), where: x .< zero)
        case CZ_CELU:
            return x.replaced(by: a * exponentialMinusOne((x / a).atMost(zero)), where: x .< zero)
        case CZ_GELU:
            return x * normalDistribution(x)
        case CZ_MISH:
            // tanh(log(1 + e)) = n / (n + 2), n = e·(e + 2), e = e^x
            let e = exponential(x.atMost(Vector(20)))
            let n = e * (e + Vector(2))
            return x * (n / (n + Vector(2)))
        case CZ_SOFTPLUS:
            return softplus(x)
        case CZ_SOFTSIGN:
            return x / (one + x.magnitude)
        case CZ_EXPONENTIAL, CZ_EXP:
            return exponential(x)
        case CZ_LOG:
            return logarithm(x)
        case CZ_LOG_SIGMOID:
            return -softplus(-x)
        case CZ_HARD_SILU:
            return x * fused(x, Vector(1 / 6), Vector(0.5)).atMost(one).atLeast(zero)
        case CZ_HARD_TANH:
            return x.atMost(one).atLeast(-one)
        case CZ_HARD_SHRINK:
            return x.replaced(by: zero, where: x.magnitude .<= a)
        case CZ_SOFT_SHRINK:
            return (x.magnitude - a).signed(as: x).replaced(by: zero, where: x.magnitude .<= a)
        case CZ_TANH_SHRINK:
            return tanhShrink(x)
        case CZ_SQUAREPLUS:
            // The right side's formula would cancel on the left: there it is taken times its conjugate.
            let root = fused(x, x, a).squareRoot()
            return (Vector(0.5) * (x + root)).replaced(by: Vector(0.5) * a / (root - x), where: x .< zero)
        case CZ_SPARSE_PLUS:
            let y = x + one
            return x.replaced(by: Vector(0.25) * y * y, where: x .< one).replaced(by: zero, where: x .<= -one)
        case CZ_SPARSE_SIGMOID:
            return (Vector(0.5) * (x + one)).atMost(one).atLeast(zero)
        case CZ_THRESHOLD:
            return x.replaced(by: b, where: x .<= a)
        default:
            return x
        }
    }
}

extension cz_answer {
    /// Writes the first `lanes` of a block's answers, where they are wanted.
    @inline(always)
    func give(_ h: Vector, row: Int, block: Int, lanes: Int) {
        guard let out else { return }
        let answers = activation.isLinear ? h
            : activation.kind == Int32(bitPattern: CZ_RELU.rawValue) ? activation.rectified(h) : activation.applied(to: h)
        answers.store(out + (row &* stride &+ block &* 16), count: lanes)
    }
}
