import CSystem
import Testing

/// What a recurrent layer's step answers beside its states, with an activation on it.
struct AnswerTests {
    /// All lengths of a block's tail, blocks of their own kernels and several rows of tiles.
    private static let shapes: [(rows: Int, units: Int)] =
        (1...16).map { (1, $0) } + (17...40).map { (1 + $0 * 3 % 7, $0) } + [(1, 70), (13, 70), (24, 16), (25, 33)]

    @Test("an answer is the activation of the state, to the bit, for the units only; the states are as without one",
          arguments: Level.all, Formula.all)
    func answers(level: Level, formula: Formula) {
        for (rows, units) in Self.shapes {
            for layer in Layer.allCases {
                let it = Step(level, layer, rows: rows, units: units)
                let plain = it.run(answer: nil), out = Guarded(filled: (rows - 1) * (units + 3) + units, offset: rows % 5)
                let states = it.run(answer: cz_answer(out: out.pointer, stride: units + 3, activation: formula.kind))
                var isSame = true, isRight = true, gapsHold = true
                for i in 0..<plain.count { isSame = isSame && sameBits(plain.pointer[i], states.pointer[i]) }
                for row in 0..<rows {
                    var kind = formula.kind, wanted = [Float](repeating: 0, count: units)
                    level.kernels.activate(&kind, plain.pointer + row * it.width, &wanted, units)
                    for unit in 0..<units { isRight = isRight && sameBits(out.pointer[row * (units + 3) + unit], wanted[unit]) }
                    guard row + 1 < rows else { continue }
                    for gap in 0..<3 { gapsHold = gapsHold && out.isUntouched(row * (units + 3) + units + gap) }
                }
                let text = "\(layer), rows \(rows), units \(units)"
                #expect(isRight, "\(text)")
                #expect(isSame, "the states of \(text)")
                #expect(gapsHold && out.isIntact && states.isIntact, "memory beyond the answers of \(text)")
            }
        }
    }

    @Test("an answer without a place is none", arguments: Level.all, Layer.allCases)
    func nowhere(level: Level, layer: Layer) {
        let it = Step(level, layer, rows: 3, units: 20)
        let plain = it.run(answer: nil), states = it.run(answer: cz_answer(out: nil, stride: 20, activation: activation(CZ_SIGMOID)))
        #expect((0..<plain.count).allSatisfy { sameBits(plain.pointer[$0], states.pointer[$0]) })
    }

    @Test("all fused levels answer with the same bits", arguments: Formula.all, Layer.allCases)
    func levelsAgree(formula: Formula, layer: Layer) {
        for (rows, units) in Self.shapes {
            let results = Level.all.filter(\.isFused).map { level in
                let out = Guarded(filled: rows * units)
                let it = Step(level, layer, rows: rows, units: units)
                _ = it.run(answer: cz_answer(out: out.pointer, stride: units, activation: formula.kind))
                return (0..<out.count).map { out.pointer[$0].bitPattern }
            }
            for result in results { #expect(result == results[0], "rows \(rows), units \(units)") }
        }
    }
}

/// The layers that answer.
enum Layer: CaseIterable, Sendable {
    case lstm, gru, gruResetBefore, simpleRNN

    var gates: Int {
        switch self {
        case .lstm: 4
        case .gru, .gruResetBefore: 3
        case .simpleRNN: 1
        }
    }
}

/// A layer's step with tanh and sigmoid from random states by random weights, without an input part of its own.
private struct Step {
    let level: Level, layer: Layer
    let rows: Int, units: Int
    private let starts: Guarded, states: Guarded, weights: Packed, candidateWeights: Packed, bias: Guarded

    init(_ level: Level, _ layer: Layer, rows: Int, units: Int) {
        (self.level, self.layer, self.rows, self.units) = (level, layer, rows, units)
        var numbers = Numbers(rows * 1009 + units)
        let width = padded(units), gates = layer.gates
        func rowsOfBlocks(_ next: () -> [Float]) -> Guarded {
            Guarded((0..<rows).flatMap { _ in next() }, offset: 1)
        }
        starts = rowsOfBlocks { panels(numbers.next(gates * units, scale: 2), units: units, gates: gates) }
        states = rowsOfBlocks { numbers.next(units, scale: 2) + [Float](repeating: 0, count: width - units) }
        let matrix = numbers.next(units * gates * units, scale: 0.5)
        let chosen = layer == .gruResetBefore ? [0, 1] : Array(0..<gates)
        weights = Packed(matrix, inputs: units, units: units, gates: gates, chosen: chosen)
        candidateWeights = Packed(matrix, inputs: units, units: units, gates: gates, chosen: [gates - 1])
        bias = Guarded(panels(numbers.next(units), units: units, gates: 1))
    }

    var width: Int { padded(units) }

    /// The new h, [rows][width].
    func run(answer: cz_answer?) -> Guarded {
        let h = Guarded(filled: rows * width, offset: 3), c = Guarded(filled: rows * width), scratch = Guarded(filled: rows * width * 2)
        let start = UnsafePointer(starts.pointer), before = UnsafePointer(states.pointer)
        let isWanted = answer != nil
        withUnsafePointer(to: answer ?? cz_answer()) { place in
            let place = isWanted ? place : nil
            switch layer {
            case .lstm:
                var call = cz_lstm()
                (call.rows, call.units, call.start, call.start_stride) = (rows, units, start, 4 * width)
                (call.kernel, call.recurrent) = (weights.weights, weights.weights)
                (call.h, call.c, call.state_stride) = (before, before, width)
                (call.h_out, call.c_out, call.state_out_stride) = (h.pointer, c.pointer, width)
                (call.activation, call.recurrent_activation, call.answer) = (activation(CZ_TANH), activation(CZ_SIGMOID), place)
                level.kernels.lstm(&call)
            case .gru, .gruResetBefore:
                var call = cz_gru()
                (call.rows, call.units, call.start, call.start_stride) = (rows, units, start, 3 * width)
                (call.kernel, call.recurrent) = (weights.weights, weights.weights)
                if layer == .gru {
                    call.recurrent_bias_h = UnsafePointer(bias.pointer)
                } else {
                    (call.recurrent_h, call.scratch) = (candidateWeights.weights, scratch.pointer)
                }
                (call.h, call.state_stride, call.h_out, call.state_out_stride) = (before, width, h.pointer, width)
                (call.activation, call.recurrent_activation, call.answer) = (activation(CZ_TANH), activation(CZ_SIGMOID), place)
                level.kernels.gru(&call)
            case .simpleRNN:
                var call = cz_simple_rnn()
                (call.rows, call.units, call.start, call.start_stride) = (rows, units, start, width)
                (call.kernel, call.recurrent) = (weights.weights, weights.weights)
                (call.h, call.state_stride, call.h_out, call.state_out_stride) = (before, width, h.pointer, width)
                (call.activation, call.answer) = (activation(CZ_TANH), place)
                level.kernels.simple_rnn(&call)
            }
        }
        return h
    }
}
