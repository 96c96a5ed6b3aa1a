import CSystem
import Glibc
import Testing

/// An activation and its formula in double precision.
struct Formula: Sendable, CustomTestStringConvertible {
    let name: String
    let kind: cz_activation
    /// An absolute error that is allowed where the formula itself cancels or magnifies the argument's rounding.
    let slack: Double
    let exact: @Sendable (Double) -> Double
    var testDescription: String { name }

    init(_ name: String, _ kind: cz_activation, slack: Double = 0, _ exact: @escaping @Sendable (Double) -> Double) {
        (self.name, self.kind, self.slack, self.exact) = (name, kind, slack, exact)
    }

    private static func clip(_ x: Double, _ low: Double, _ high: Double) -> Double { min(max(x, low), high) }
    private static func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }
    private static func softplus(_ x: Double) -> Double { max(x, 0) + log1p(exp(-abs(x))) }
    private static let alpha = 1.6732632423543772, scale = 1.0507009873554805

    static let all: [Formula] = [
        Formula("linear", activation(CZ_LINEAR)) { $0 },
        Formula("sigmoid", activation(CZ_SIGMOID), sigmoid),
        Formula("tanh", activation(CZ_TANH)) { tanh($0) },
        Formula("relu", activation(CZ_RELU, 0, .infinity, 0)) { max($0, 0) },
        Formula("relu of three parameters", activation(CZ_RELU, 0.25, 6, 1)) { $0 >= 6 ? 6 : $0 >= 1 ? $0 : 0.25 * ($0 - 1) },
        Formula("hard sigmoid, Keras 2", activation(CZ_HARD_SIGMOID, 0.2, 0.5), slack: 1e-7) { clip(Double(Float(0.2)) * $0 + 0.5, 0, 1) },
        Formula("hard sigmoid, Keras 3", activation(CZ_HARD_SIGMOID, 1 / 6, 0.5), slack: 1e-7) { clip($0 + 3, 0, 6) / 6 },
        Formula("elu", activation(CZ_ELU, 0.75)) { $0 > 0 ? $0 : 0.75 * expm1($0) },
        Formula("selu", activation(CZ_SELU, Float(alpha), Float(scale))) { scale * ($0 > 0 ? $0 : alpha * expm1($0)) },
        Formula("celu", activation(CZ_CELU, 2)) { max(0, $0) + min(0, 2 * expm1($0 / 2)) },
        Formula("gelu", activation(CZ_GELU), slack: 1e-12) { $0 * erfc(-$0 / 2.0.squareRoot()) / 2 },
        Formula("gelu, tanh form", activation(CZ_GELU_TANH), slack: 1e-9) {
            $0 * sigmoid(2 * (2 / Double.pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0))
        },
        Formula("silu", activation(CZ_SILU)) { $0 * sigmoid($0) },
        Formula("mish", activation(CZ_MISH)) { $0 * tanh(softplus($0)) },
        Formula("softplus", activation(CZ_SOFTPLUS), softplus),
        Formula("softsign", activation(CZ_SOFTSIGN)) { $0 / (1 + abs($0)) },
        Formula("exponential", activation(CZ_EXPONENTIAL)) { exp($0) },
        Formula("log sigmoid", activation(CZ_LOG_SIGMOID)) { -softplus(-$0) },
        Formula("hard silu", activation(CZ_HARD_SILU), slack: 5e-7) { $0 * clip($0 + 3, 0, 6) / 6 },
        Formula("hard tanh", activation(CZ_HARD_TANH)) { clip($0, -1, 1) },
        Formula("hard shrink", activation(CZ_HARD_SHRINK, 0.5)) { abs($0) > 0.5 ? $0 : 0 },
        Formula("soft shrink", activation(CZ_SOFT_SHRINK, 0.5)) { abs($0) > 0.5 ? $0 - ($0 > 0 ? 0.5 : -0.5) : 0 },
        Formula("tanh shrink", activation(CZ_TANH_SHRINK), slack: 2e-8) {
            abs($0) < 1e-3 ? $0 * $0 * $0 / 3 * (1 - 0.4 * $0 * $0) : $0 - tanh($0)
        },
        Formula("squareplus", activation(CZ_SQUAREPLUS, 4)) {
            $0 < 0 ? 2 / (($0 * $0 + 4).squareRoot() - $0) : ($0 + ($0 * $0 + 4).squareRoot()) / 2
        },
        Formula("sparse plus", activation(CZ_SPARSE_PLUS)) { $0 <= -1 ? 0 : $0 >= 1 ? $0 : 0.25 * ($0 + 1) * ($0 + 1) },
        Formula("sparse sigmoid", activation(CZ_SPARSE_SIGMOID)) { clip(0.5 * ($0 + 1), 0, 1) },
        Formula("threshold", activation(CZ_THRESHOLD, 0.3, -2)) { $0 > Double(Float(0.3)) ? $0 : -2 },
        Formula("exp", activation(CZ_EXP)) { exp($0) },
        Formula("log", activation(CZ_LOG)) { $0 < 0 ? .nan : log($0) },
    ]
}

struct ActivationTests {
    private func apply(_ level: Level, _ kind: cz_activation, _ x: [Float]) -> [Float] {
        var kind = kind, result = x
        level.kernels.activate(&kind, x, &result, x.count)
        return result
    }

    @Test("formulas: within 1e-6 of the value",
          arguments: Level.all, Formula.all)
    func formula(level: Level, formula: Formula) {
        // Every 4099th float up to 80 in size, both signs, and round numbers.
        var x: [Float] = stride(from: -8, through: 8, by: 0.125).map { $0 }
        for bits in stride(from: UInt32(0), to: Float(80).bitPattern, by: 4099) {
            x += [Float(bitPattern: bits), -Float(bitPattern: bits)]
        }
        let y = apply(level, formula.kind, x)
        var worst = 0.0, worstAt: Float = 0
        for (x, y) in zip(x, y) {
            let wanted = formula.exact(Double(x))
            if wanted.isNaN && y.isNaN { continue }
            let error = (abs(Double(y) - wanted) - formula.slack) / max(abs(wanted), 1e-37)
            if !(error <= worst) { (worst, worstAt) = (error, x) }
        }
        #expect(worst <= 1e-6, "at \(worstAt)")
    }

    @Test("NaN comes out as NaN, whatever its bits; infinities do as the formula says", arguments: Level.all, Formula.all)
    func specials(level: Level, formula: Formula) {
        let nans = [0x7FC0_0000, 0x7F80_0001, 0xFFFF_FFFF, 0x7FC0_0101, 0xFF80_4321].map { Float(bitPattern: UInt32($0)) }
        for y in apply(level, formula.kind, nans) { #expect(y.isNaN) }
        for (x, y) in zip([Float.infinity, -.infinity], apply(level, formula.kind, [.infinity, -.infinity])) {
            let wanted = Float(formula.exact(Double(x)))
            if wanted.isNaN { continue }
            #expect(y == wanted, "at \(x)")
        }
    }

    @Test("tails: every count, in place and out of place, and nothing beyond", arguments: Level.all)
    func counts(level: Level) {
        for count in 0...50 {
            var numbers = Numbers(count)
            let x = numbers.next(count, scale: 5)
            let wanted = apply(level, activation(CZ_TANH), x + [Float](repeating: 0, count: 64)).prefix(count)
            var kind = activation(CZ_TANH)
            let from = Guarded(x, offset: 1), to = Guarded(filled: count, offset: 3)
            level.kernels.activate(&kind, from.pointer, to.pointer, count)
            level.kernels.activate(&kind, from.pointer, from.pointer, count)
            for i in 0..<count {
                #expect(sameBits(to.pointer[i], wanted[i]))
                #expect(sameBits(from.pointer[i], wanted[i]))
            }
            #expect(from.isIntact && to.isIntact)
        }
    }

    @Test("exp, log, tanh, sigmoid: at most 2 floats from the correctly rounded one, every 997th float",
          arguments: Level.all, Formula.all.filter { ["exp", "log", "tanh", "sigmoid"].contains($0.name) })
    func accuracy(level: Level, formula: Formula) {
        /// Where a float stands among all floats.
        func place(_ x: Float) -> Int { x.sign == .minus ? -Int(x.magnitude.bitPattern) : Int(x.bitPattern) }
        let edges: [UInt32] = [0, 1, 0x7FFFFF, 0x800000, 0x3F800000, 0x7F7FFFFF, 0x7F800000].flatMap { [$0, $0 | 0x8000_0000] }
        let all = stride(from: UInt64(0), to: 1 << 32, by: 997).map { UInt32($0) } + edges
        let x = all.map { Float(bitPattern: $0) }
        let y = apply(level, formula.kind, x)
        var worst = 0, worstAt: Float = 0
        for (x, y) in zip(x, y) {
            let wanted = Float(formula.exact(Double(x)))
            if wanted.isNaN && y.isNaN { continue }
            let distance = wanted.isNaN || y.isNaN || (wanted == 0 && !sameBits(wanted, y)) ? Int.max : abs(place(wanted) - place(y))
            if distance > worst { (worst, worstAt) = (distance, x) }
        }
        #expect(worst <= 2, "at \(worstAt)")
    }
}
