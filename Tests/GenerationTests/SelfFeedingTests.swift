import Testing
@testable import Engine
@testable import Generation

extension SelfFeeding {
    func prime(_ x: [Float], steps: Int, lengths: [Int]? = nil) throws {
        try x.withUnsafeBufferPointer {
            var input = $0.baseAddress
            if let lengths { try prime(steps: steps, inputs: &input, lengths: lengths) } else { try prime(steps: steps, inputs: &input) }
        }
    }

    func run(_ steps: Int, exogenous: [Float]? = nil) throws -> (values: [Float], drawn: [Float], logs: [Float], made: [Int]) {
        var values = [Float](repeating: .nan, count: rows * steps * width), drawn = [Float](repeating: .nan, count: rows * steps * drawnWidth)
        var logs = [Float](repeating: .nan, count: rows * steps), made = [Int](repeating: -1, count: rows)
        if let exogenous {
            try run(steps: steps, exogenous: exogenous, values: &values, drawn: &drawn, logs: &logs, made: &made)
        } else {
            try run(steps: steps, values: &values, drawn: &drawn, logs: &logs, made: &made)
        }
        return (values, drawn, logs, made)
    }

    var snapshotBytes: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: snapshotSize)
        bytes.withUnsafeMutableBytes { snapshot(into: $0.baseAddress!) }
        return bytes
    }
}

@Suite struct SelfFeedingTests {
    private func direct(rows: Int, limit: Int = 0) throws -> SelfFeeding {
        let model = try makeModel(features: 2, seed: 3, [rnn(.lstm, 6), Dense(name: "d", units: 2, activation: .tanh)])
        var options = LoopOptions()
        options.feedback.source = .output
        options.limit = limit
        return try SelfFeeding(model, rows: rows, options: options)
    }

    @Test func directFeedbackEqualsAPlainLoop() throws {
        let lengths = [4, 1, 7], x = randomValues(3 * 7 * 2, seed: 1)
        let generator = try direct(rows: 3)
        try generator.prime(x, steps: 7, lengths: lengths)
        let first = try generator.run(10).values, second = try generator.run(990).values
        for row in 0..<3 {
            let cells = try Cells(generator.model)
            var y: [Float] = []
            for t in 0..<lengths[row] { y = try cells.step(Array(x[((row * 7 + t) * 2)..<((row * 7 + t + 1) * 2)])) }
            var expected: [Float] = []
            for _ in 0..<1000 {
                expected += y
                y = try cells.step(y)
            }
            #expect(Array(first[(row * 20)..<((row + 1) * 20)] + second[(row * 1980)..<((row + 1) * 1980)]) == expected)
        }
        #expect(generator.steps == UInt64(12 + 3 * 999))
    }

    @Test func rowsStopOnTheirOwnAndCostNothingMore() throws {
        let generator = try direct(rows: 3, limit: 5)
        try generator.prime(randomValues(6, seed: 1), steps: 1)
        #expect(try generator.run(3).made == [3, 3, 3])
        #expect(try generator.run(100).made == [2, 2, 2])
        let steps = generator.steps, bytes = generator.snapshotBytes
        #expect(try generator.run(100).made == [0, 0, 0])
        #expect(generator.steps == steps && generator.snapshotBytes == bytes)
        #expect((0..<3).allSatisfy { generator.reason($0) == .limit && !generator.isRunning($0) })
    }

    private func tokens(rows: Int, seeds: [UInt64] = [], temperature: Float = 0.9, softmax: Bool = false) throws -> SelfFeeding {
        var options = LoopOptions()
        options.feedback.source = .sample
        options.sampler.kind = .categorical
        options.sampler.temperature = temperature
        options.sampler.fromProbabilities = softmax
        options.rules = [StopRule(.token)]
        options.rules[0].token = 3
        options.seeds = seeds
        return try SelfFeeding(try makeTokenModel(classes: 9, units: 12, seed: 8, softmax: softmax), rows: rows, options: options)
    }

    @Test func rowsAloneChunksAndSnapshotsGiveTheSameSeries() throws {
        let primer: [Float] = [1, 4, 0, 2, 5, 5, 7, 8]
        let whole = try tokens(rows: 4, seeds: [5, 6, 7, 8])
        try whole.prime(primer, steps: 2)
        let all = try whole.run(40)
        var pieces = [[Float]](repeating: [], count: 4)
        var generator = try tokens(rows: 4, seeds: [5, 6, 7, 8])
        try generator.prime(primer, steps: 2)
        for _ in 0..<8 {
            let bytes = generator.snapshotBytes
            let other = try generator.fork()
            generator = try tokens(rows: 4, seeds: [5, 6, 7, 8])
            try bytes.withUnsafeBytes { try generator.restore($0) }
            let piece = try generator.run(5)
            #expect(try other.run(5).drawn == piece.drawn)
            for row in 0..<4 { pieces[row] += piece.drawn[(row * 5)..<((row + 1) * 5)] }
        }
        for row in 0..<4 {
            let alone = try tokens(rows: 1, seeds: [UInt64(5 + row)])
            try alone.prime(Array(primer[(row * 2)..<(row * 2 + 2)]), steps: 2)
            let expected = Array(all.drawn[(row * 40)..<((row + 1) * 40)])
            #expect(try alone.run(40).drawn == expected)
            #expect(pieces[row] == expected)
            if all.made[row] < 40 {
                #expect(expected[all.made[row] - 1] == 3)
                #expect(whole.reason(row) == .rule && whole.firedRule(row) == 0)
            }
        }
    }

    @Test(arguments: [false, true]) func theScoreOfARunIsItsLogProbabilities(softmax: Bool) throws {
        let primer: [Float] = [1, 4, 0, 2, 5, 5]
        let generator = try tokens(rows: 3, softmax: softmax)
        try generator.prime(primer, steps: 2)
        let result = try generator.run(12)
        let scorer = try tokens(rows: 3, softmax: softmax)
        try scorer.prime(primer, steps: 2)
        var logs = [Float](repeating: .nan, count: 36)
        try scorer.score(steps: 12, values: result.drawn, lengths: result.made, logs: &logs)
        #expect(logs == result.logs)
        #expect(logs.allSatisfy { $0 <= 0 })
        let bytes = scorer.snapshotBytes
        #expect(throws: Failure.self) { try scorer.score(steps: 1, values: [0, 9, 0], logs: &logs) }
        #expect(scorer.snapshotBytes == bytes)
    }

    @Test func temperatureZeroTakesTheLargest() throws {
        let generator = try tokens(rows: 2, temperature: 0)
        try generator.prime([1, 6], steps: 1)
        let result = try generator.run(20)
        for row in 0..<2 {
            for step in 0..<result.made[row] {
                let values = result.values[((row * 20 + step) * 9)..<((row * 20 + step + 1) * 9)]
                #expect(Float(values.firstIndex(of: values.max()!)! - values.startIndex) == result.drawn[row * 20 + step])
            }
        }
    }

    /// One-hot vector, projection and outside values, against a plain loop.
    @Test func chainsOfFeedbackEqualAPlainLoop() throws {
        let model = try makeModel(features: 2 + 3, seed: 3, [rnn(.gru, 6), Dense(name: "d", units: 4)])
        let projection = try makeModel(features: 4, seed: 4, [rnn(.simple, 3)])
        var options = LoopOptions()
        options.feedback.source = .sample
        options.feedback.oneHot = 4
        options.feedback.model = projection
        options.sampler.kind = .categorical
        options.sampler.temperature = 0
        let generator = try SelfFeeding(model, rows: 2, options: options, exogenousSize: 2)
        let exogenous = randomValues(2 * 9 * 2, seed: 5)
        let result = try generator.run(9, exogenous: exogenous)
        for row in 0..<2 {
            let cells = try Cells(model), middle = try Cells(projection)
            var hot: [Float] = [0, 0, 0, 0]
            for t in 0..<9 {
                let y = try cells.step(Array(exogenous[((row * 9 + t) * 2)..<((row * 9 + t + 1) * 2)]) + middle.step(hot))
                #expect(y == Array(result.values[((row * 9 + t) * 4)..<((row * 9 + t + 1) * 4)]))
                hot = [0, 0, 0, 0]
                hot[y.firstIndex(of: y.max()!)!] = 1
            }
        }
    }

    @Test func whatIsNoNumberStopsTheRunAndTheStateStands() throws {
        let generator = try tokens(rows: 2)
        try generator.prime([1, 6], steps: 1)
        _ = try generator.run(1)
        let model = generator.model
        let kept = (0..<model.weights[5].count).map { model.weights[5].values[$0] }
        let twin = try generator.fork()
        try model.setWeight(5, [Float](repeating: .nan, count: kept.count))
        var values = [Float](repeating: 0, count: 2 * 4 * 9)
        #expect(throws: Failure.self) { try generator.run(steps: 4, values: &values) }
        try model.setWeight(5, kept)
        #expect(try generator.run(6).drawn == twin.run(6).drawn)
    }

    @Test func whatCannotBeIsRefused() throws {
        #expect(throws: Failure.self) { try self.tokens(rows: 0) }
        #expect(throws: Failure.self) { try self.tokens(rows: 2, seeds: [1]) }
        #expect(throws: Failure.self) { try self.tokens(rows: 2, temperature: -1) }
        #expect(throws: Failure.self) { try self.tokens(rows: 2, temperature: .nan) }
        let generator = try tokens(rows: 2)
        let bytes = generator.snapshotBytes
        #expect(throws: Failure.self) { try generator.prime([0, 1, 2, 9], steps: 2) }
        #expect(throws: Failure.self) { try generator.prime([0, 1, 2, .nan], steps: 2) }
        #expect(throws: Failure.self) { try generator.prime([0, 1, 2, 3], steps: 2, lengths: [1, 3]) }
        #expect(throws: Failure.self) { try generator.run(steps: -1) }
        #expect(generator.snapshotBytes == bytes)
    }
}
