import CSystem
import Glibc
import Testing

struct TrainingTests {
    @Test("an LSTM's gates forward and backward, of every number of units", arguments: Level.all)
    func gates(level: Level) {
        for units in 1...40 {
            let rows = 1 + units % 3, count = rows * units
            var numbers = Numbers(units)
            let sums = numbers.next(4 * count, scale: 3), before = numbers.next(count), dh = numbers.next(count), dc = numbers.next(count)
            let z = Guarded(sums, offset: 1), c = Guarded(before, offset: 2), d = Guarded(dc, offset: 3)
            let next = Guarded(filled: count), active = Guarded(filled: count, offset: 1), h = Guarded(filled: count, offset: 2)
            let dz = Guarded(filled: 4 * count, offset: 3)
            level.kernels.lstm_gates(rows, units, z.pointer, c.pointer, next.pointer, active.pointer, h.pointer)
            level.kernels.lstm_gates_back(rows, units, z.pointer, c.pointer, active.pointer, dh, d.pointer, dz.pointer)
            var worst = 0.0
            func compare(_ value: Float, _ expected: Double) { worst = max(worst, abs(Double(value) - expected)) }
            for row in 0..<rows {
                for unit in 0..<units {
                    let at = row * units + unit, gate = { 4 * row * units + $0 * units + unit }
                    let sigmoid = { (gate: Int) in 1 / (1 + exp(-Double(sums[gate]))) }
                    let i = sigmoid(gate(0)), f = sigmoid(gate(1)), g = tanh(Double(sums[gate(2)])), o = sigmoid(gate(3))
                    let after = f * Double(before[at]) + i * g, a = tanh(after), dh = Double(dh[at])
                    let total = Double(dc[at]) + dh * o * (1 - a * a)
                    compare(next.pointer[at], after)
                    compare(active.pointer[at], a)
                    compare(h.pointer[at], o * a)
                    compare(dz.pointer[gate(0)], total * g * i * (1 - i))
                    compare(dz.pointer[gate(1)], total * Double(before[at]) * f * (1 - f))
                    compare(dz.pointer[gate(2)], total * i * (1 - g * g))
                    compare(dz.pointer[gate(3)], dh * a * o * (1 - o))
                    compare(d.pointer[at], total * f)
                }
            }
            #expect(worst < 1e-6, "\(units) units")
            #expect([z, c, d, next, active, h, dz].allSatisfy { $0.isIntact }, "\(units) units")
        }
    }

    @Test("derivatives of activations, of every count", arguments: Level.all)
    func derivatives(level: Level) {
        for count in 1...40 {
            var numbers = Numbers(count)
            let x = numbers.next(count, scale: 3), dy = numbers.next(count)
            for (index, each) in [activation(CZ_SIGMOID), activation(CZ_TANH), activation(CZ_RELU, 0.3, 2, 0.5)].enumerated() {
                var it = each, isRight = true
                let y = Guarded(filled: count), dx = Guarded(dy, offset: 1)
                level.kernels.activate(&it, x, y.pointer, count)
                level.kernels.activate_back(&it, x, y.pointer, dx.pointer, dx.pointer, count)
                for i in 0..<count {
                    let value = y.pointer[i]
                    let slope = index == 0 ? value * (1 - value) : index == 1 ? 1 - value * value : x[i] >= 2 ? 0 : x[i] >= 0.5 ? 1 : 0.3
                    isRight = isRight && sameBits(dx.pointer[i], dy[i] * slope)
                }
                #expect(isRight && dx.isIntact, "\(count) values")
            }
        }
    }
}
