import Testing
@testable import Engine

/// The recurrent layers against the plain twin, and the streams against the whole.
@Suite struct RecurrentTests {
    enum Kind: CaseIterable { case lstm, gru, gruBefore, simple }

    private func cell(_ kind: Kind, _ units: Int) -> Cell {
        switch kind {
        case .lstm: LSTMCell(name: "cell", units: units)
        case .gru: GRUCell(name: "cell", units: units)
        case .gruBefore: GRUCell(name: "cell", units: units, resetAfter: false)
        case .simple: SimpleRNNCell(name: "cell", units: units)
        }
    }

    private func oracle(_ kind: Kind, _ x: [[Double]], _ weights: [Weight], _ units: Int) -> [[Double]] {
        switch kind {
        case .lstm: lstmOracle(x, weights, units: units)
        case .gru: gruOracle(x, weights, units: units, resetAfter: true)
        case .gruBefore: gruOracle(x, weights, units: units, resetAfter: false)
        case .simple: simpleOracle(x, weights, units: units)
        }
    }

    private func layer(_ kind: Kind, _ units: Int, sequences: Bool = true, name: Name = "rnn") -> RNN {
        var options = RNN.Options()
        options.returnSequences = sequences
        return RNN(name: name, className: "RNN", cells: [cell(kind, units)], namesCells: false, options: options)
    }

    @Test(arguments: Kind.allCases, [(1, 1), (3, 5), (7, 16), (2, 17), (19, 33), (16, 48)])
    func equalsThePlainTwin(kind: Kind, sizes: (features: Int, units: Int)) throws {
        let (features, units) = sizes
        let model = try makeModel(features: features, seed: 11, [layer(kind, units)])
        let time = 9, batch = 3
        let x = randomValues(batch * time * features, seed: 3)
        let answers = try runWhole(model, x, batch: batch, time: time)
        for row in 0..<batch {
            let sequence = (0..<time).map { t in (0..<features).map { Double(x[(row * time + t) * features + $0]) } }
            for (t, expected) in oracle(kind, sequence, model.weights, units).enumerated() {
                for u in 0..<units {
                    #expect(abs(Double(answers[(row * time + t) * units + u]) - expected[u]) < 2e-6)
                }
            }
        }
    }

    @Test(arguments: Kind.allCases, [1, 2, 5, 7, 16])
    func streamsInAnyChunksGiveTheBitsOfTheWhole(kind: Kind, batch: Int) throws {
        let model = try makeModel(features: 3, seed: 5, [layer(kind, 21, name: "a"), layer(kind, 9, name: "b"),
                                                         Dense(name: "d", units: 4, activation: .softmax)])
        let time = 12
        let x = randomValues(batch * time * 3, seed: 4)
        let whole = try runWhole(model, x, batch: batch, time: time)
        let stream = try Engine.Stream(model, batch: batch)
        var t = 0
        for chunk in [1, 3, 0, 2, 5, 1] {
            let piece = steps(of: x, from: t, count: chunk, time: time, width: 3)
            let answers = try run(stream, piece, steps: chunk)
            #expect(answers == steps(of: whole, from: t, count: chunk, time: time, width: 4))
            t += chunk
        }
    }

    @Test(arguments: Kind.allCases)
    func aRowHasTheSameBitsAloneAsInABatch(kind: Kind) throws {
        let model = try makeModel(features: 4, seed: 6, [layer(kind, 37, sequences: false)])
        let batch = 23, time = 6
        let x = randomValues(batch * time * 4, seed: 8)
        let together = try runWhole(model, x, batch: batch, time: time)
        for row in 0..<batch {
            let alone = try runWhole(model, Array(x[(row * time * 4)..<((row + 1) * time * 4)]), batch: 1, time: time)
            #expect(alone == Array(together[(row * 37)..<((row + 1) * 37)]))
        }
    }

    @Test func peekForkSnapshotAndResetKeepTheirWord() throws {
        let model = try makeModel(features: 2, seed: 9, [layer(.lstm, 10, sequences: false), Dense(name: "d", units: 3)])
        let stream = try Engine.Stream(model, batch: 2)
        let x = randomValues(2 * 8 * 2, seed: 1)
        func sample(_ t: Int) -> [Float] { steps(of: x, from: t, count: 1, time: 8, width: 2) }
        let first = try (0..<4).map { try run(stream, sample($0), steps: 1) }
        let fork = try stream.fork()
        let other = try Engine.Stream(model, batch: 2)
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: stream.snapshotSize, alignment: 8)
        defer { bytes.deallocate() }
        stream.snapshot(into: bytes.baseAddress!)
        try other.restore(UnsafeRawBufferPointer(bytes))
        let peeked = try run(stream, sample(4), steps: 1, advance: false)
        let rest = try (4..<8).map { try run(stream, sample($0), steps: 1) }
        #expect(peeked == rest[0])
        #expect(try (4..<8).map { try run(fork, sample($0), steps: 1) } == rest)
        #expect(try (4..<8).map { try run(other, sample($0), steps: 1) } == rest)
        #expect(stream.position(row: 0) == 8)
        stream.reset()
        #expect(try (0..<4).map { try run(stream, sample($0), steps: 1) } == first)
    }

    @Test func aMaskedStepLeavesTheState() throws {
        let model = try makeModel(features: 2, seed: 12, [Masking(name: "mask", maskValue: 0), layer(.gru, 5)])
        let real = randomValues(3 * 2, seed: 2)
        let gapped: [Float] = [0, 0] + real[0..<2] + [0, 0, 0, 0] + real[2..<6] + [0, 0]
        let plain = try runWhole(model, real, batch: 1, time: 3)
        let masked = try runWhole(model, gapped, batch: 1, time: 7)
        let zeros = [Float](repeating: 0, count: 5)
        let step = (0..<3).map { Array(plain[($0 * 5)..<(($0 + 1) * 5)]) }
        #expect(masked == zeros + step[0] + step[0] + step[0] + step[1] + step[2] + step[2])
        let stream = try Engine.Stream(model, batch: 1)
        #expect(try run(stream, gapped, steps: 7) == masked)
    }
}
