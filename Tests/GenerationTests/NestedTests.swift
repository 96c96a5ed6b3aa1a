import Testing
@testable import Engine
@testable import Generation

@Suite struct NestedTests {
    // MARK: The worked example

    @Test(arguments: ["source", "reset", "zero", "ones", "allzero_first"])
    func givesTheGolden(name: String) throws {
        let golden = try Golden()
        func model(_ prefix: String) throws -> Model {
            let model = try makeModel(features: 4, seed: 1, [rnn(.simple, 4)])
            for (index, part) in ["kernel", "recurrent_kernel", "bias"].enumerated() {
                try model.setWeight(index, golden.values("\(prefix)_\(part)"))
            }
            return model
        }
        var level = LevelOptions()
        level.isCounted = true
        level.policy = golden.values("\(name)/carry")[0] != 0 ? .carry : .reset
        let nested = try Nested(try model("a"), below: [(try model("b"), level)], rows: 2)
        let counts = golden.values("\(name)/steps").map { Int($0) }
        let result = try nested.runAll(golden.values("x"), steps: 3, counts: counts)
        let expected = golden.values("\(name)/out"), shape = golden.shape("\(name)/out")
        var padded = [Float](repeating: .nan, count: expected.count)
        try result.outputs.pad(batch: 2, longest: shape[1], layout: .timeMajor, into: &padded, mask: nil)
        for (a, b) in zip(padded, expected) { #expect(abs(a - b) < 1e-5) }
        for row in 0..<2 {
            for unit in 0..<4 {
                #expect(abs(nested.state(0, row: row, level: 1)[unit] - golden.values("\(name)/b_state_last")[row * 4 + unit]) < 1e-5)
            }
        }
        #expect(nested.steps(level: 1) == UInt64(2 * counts.reduce(0, +)))
    }

    // MARK: A plain loop over cells

    /// Sizes, counts, policies, feedback, stops and limits crossed at random, against a loop over one-row streams.
    @Test(arguments: 0..<200) func equalsAPlainLoop(number: Int) throws {
        var random = Random(seed: UInt64(number), series: 99)
        func pick(_ count: Int) -> Int { Int(random.next() % UInt32(count)) }
        let rows = 1 + pick(5), outer = 1 + pick(5), features = 1 + pick(4), ir = 1 + pick(6), units = ir
        let fedBack = pick(2) == 1, upward = pick(2) == 1, counted = pick(2) == 1, ruled = pick(3) > 0
        let policy = [LevelOptions.StatePolicy.carry, .reset, .given][pick(3)], kindB: Kind = policy == .given ? .gru : Kind.allCases[pick(3)]
        let stopping = [StoppingStep.keep, .drop, .undo][pick(3)]
        let a = try makeModel(features: features + (upward ? units : 0), seed: UInt64(number) + 1, [rnn(Kind.allCases[pick(3)], ir)])
        let b = try makeModel(features: ir + (fedBack ? units : 0), seed: UInt64(number) + 2, scale: 1.5, [rnn(kindB, units)])
        var level = LevelOptions()
        level.isCounted = counted
        level.policy = policy
        level.loop.limit = 1 + pick(9)
        level.loop.minimum = min(pick(3), level.loop.limit)
        level.loop.stoppingStep = stopping
        if fedBack { level.loop.feedback.source = .output }
        if upward { level.upward = .output }
        if ruled {
            var rule = StopRule(.normAbove)
            rule.threshold = 0.35 * Float(units).squareRoot()
            if pick(2) == 1 { rule.quantity.isState = true }
            level.loop.rules = [rule]
        }
        let x = randomValues(rows * outer * features, seed: UInt64(number))
        let counts = (0..<(rows * outer)).map { _ in pick(7) }
        let nested = try Nested(a, below: [(b, level)], rows: rows)
        let result = try nested.runAll(x, steps: outer, counts: counted ? counts : nil, perRow: true)

        var made = 0
        var expected: [[Float]] = []
        var reasons: [StopReason] = []
        for row in 0..<rows {
            let above = try Cells(a)
            var below = try Cells(b)
            var last = [Float](repeating: 0, count: units), up = last
            for t in 0..<outer {
                let sample = Array(x[((row * outer + t) * features)..<((row * outer + t + 1) * features)])
                let drive = try above.step(sample + (upward ? up : []))
                var series: [Float] = [], reason = StopReason.none, n = 0
                let count = counted ? counts[row * outer + t] : -1
                var stands = 0
                if count != 0 && policy != .carry {
                    below = try Cells(b)
                    last = [Float](repeating: 0, count: units)
                    if policy == .given { below.stream.setState(b.shownStates[0], drive) }
                }
                if count == 0 { reason = .count }
                while reason == .none {
                    let before = try below.stream.fork()
                    let y = try below.step(drive + (fedBack ? last : []))
                    n += 1
                    made += 1
                    // A recurrent layer's output is its state h, so both kinds of quantity are the same.
                    let fires = ruled && n >= level.loop.minimum
                        && y.reduce(Float(0)) { $0 + $1 * $1 }.squareRoot() > level.loop.rules[0].threshold
                    if fires { reason = .rule } else if count >= 0 && n >= count { reason = .count } else if n >= level.loop.limit { reason = .limit }
                    if fires && stopping == .undo {
                        below.stream.copyState(of: before)
                        made -= 1
                    } else {
                        last = y
                        stands += 1
                    }
                    if !(fires && stopping != .keep) { series += y }
                }
                if stands > 0 { up = last }
                expected.append(series)
                reasons.append(reason)
            }
        }
        #expect(result.outputs.series == expected)
        #expect(result.reasons[0] == reasons)
        #expect(nested.steps(level: 1) == UInt64(made))
        if stopping == .keep || !ruled { #expect(made == result.outputs.values.count / units) }
    }

    // MARK: Properties

    private func options(_ number: Int) -> LevelOptions {
        var level = LevelOptions()
        level.loop.limit = 9
        level.loop.sampler.kind = .categorical
        level.loop.feedback.source = .sample
        level.loop.feedback.oneHot = 6
        level.loop.rules = [StopRule(.token)]
        level.loop.rules[0].token = 2
        var gate = StopRule(.gate)
        gate.quantity.element = number % 6
        level.loop.rules.append(gate)
        level.loop.seeds = [11, 12, 13, 14]
        return level
    }

    private func make(_ number: Int, rows: Int = 4) throws -> Nested {
        let a = try makeModel(features: 3, seed: 4, [rnn(.lstm, 7)])
        let b = try makeModel(features: 13, seed: 5, scale: 2, [rnn(.gru, 9), Dense(name: "d", units: 6)])
        var level = options(number)
        level.loop.seeds = Array(level.loop.seeds.prefix(rows))
        return try Nested(a, below: [(b, level)], rows: rows)
    }

    @Test func rowsAloneHaveTheBitsOfTheBatch() throws {
        let x = randomValues(4 * 20 * 3, seed: 2)
        let together = try make(1).runAll(x, steps: 20)
        for row in 0..<4 {
            let a = try makeModel(features: 3, seed: 4, [rnn(.lstm, 7)])
            let b = try makeModel(features: 13, seed: 5, scale: 2, [rnn(.gru, 9), Dense(name: "d", units: 6)])
            var level = options(1)
            level.loop.seeds = [level.loop.seeds[row]]
            let alone = try Nested(a, below: [(b, level)], rows: 1).runAll(Array(x[(row * 60)..<((row + 1) * 60)]), steps: 20)
            #expect(alone.outputs.series == Array(together.outputs.series[(row * 20)..<((row + 1) * 20)]))
        }
    }

    @Test(arguments: [1, 2, 3, 5, 64]) func pullingInPiecesEqualsRunning(capacity: Int) throws {
        let x = randomValues(4 * 12 * 3, seed: 3)
        let whole = try make(2).runAll(x, steps: 12)
        let nested = try make(2)
        var values = [[Float]](repeating: [], count: 4)
        for (from, count) in [(0, 1), (1, 4), (5, 0), (5, 7)] {
            var piece: [Float] = []
            for row in 0..<4 { piece += x[((row * 12 + from) * 3)..<((row * 12 + from + count) * 3)] }
            try nested.push(piece, steps: count)
            for (row, items) in try nested.pullAll(capacity: capacity).enumerated() { values[row] += items.flatMap { $0.value } }
        }
        #expect(values.flatMap { $0 } == whole.outputs.values)
    }

    @Test(arguments: [1, 2, 3]) func goesOnFromASnapshotAnywhere(capacity: Int) throws {
        let x = randomValues(4 * 6 * 3, seed: 3)
        let whole = try make(2).runAll(x, steps: 6)
        var nested = try make(2)
        try nested.push(x, steps: 6)
        var values = [[Float]](repeating: [], count: 4)
        while true {
            var piece = [Float](repeating: 0, count: capacity * 6)
            var items = [NestedItem](repeating: NestedItem(), count: capacity)
            let count = try nested.pull(capacity: capacity, values: &piece, items: { items[$0] = $1 })
            for i in 0..<count { values[items[i].row] += piece[(i * 6)..<((i + 1) * 6)] }
            if count < capacity { break }
            let bytes = nested.snapshotBytes
            nested = try make(2)
            try bytes.withUnsafeBytes { try nested.restore($0) }
            #expect(nested.snapshotBytes == bytes)
        }
        #expect(values.flatMap { $0 } == whole.outputs.values)
    }

    @Test func damagedAndForeignSnapshotsAreRefused() throws {
        let nested = try make(2)
        try nested.push(randomValues(4 * 6 * 3, seed: 3), steps: 6)
        var values = [Float](repeating: 0, count: 5 * 6)
        _ = try nested.pull(capacity: 5, values: &values)
        let bytes = nested.snapshotBytes
        for place in stride(from: 0, to: bytes.count, by: 37) {
            var damaged = bytes
            damaged[place] ^= 4
            #expect(throws: Failure.self) { try damaged.withUnsafeBytes { try nested.restore($0) } }
            #expect(throws: Failure.self) { try bytes[..<place].withUnsafeBytes { try nested.restore($0) } }
        }
        #expect(throws: Failure.self) { try bytes.withUnsafeBytes { try make(3).restore($0) } }
        #expect(nested.snapshotBytes == bytes)
        #expect(try nested.fork().snapshotBytes == bytes)
    }

    /// A → B → C by hand, with lengths by counts and limit.
    @Test func threeLevelsAreThreeLoops() throws {
        let a = try makeModel(features: 2, seed: 1, [rnn(.lstm, 3)]), b = try makeModel(features: 3, seed: 2, [rnn(.gru, 4)])
        let c = try makeModel(features: 4 + 5, seed: 3, [rnn(.simple, 5)])
        var middle = LevelOptions(), last = LevelOptions()
        middle.isCounted = true
        middle.policy = .reset
        middle.loop.limit = 4
        last.isCounted = true
        last.counts = [2, 0, 3, 1]
        last.loop.feedback.source = .output
        let counts = [3, 0, 4, 5, 1, 2], x = randomValues(2 * 3 * 2, seed: 9)
        let nested = try Nested(a, below: [(b, middle), (c, last)], rows: 2)
        let result = try nested.runAll(x, steps: 3, counts: counts, perRow: true)
        var expected: [[Float]] = [], middles: [Int] = []
        for row in 0..<2 {
            let first = try Cells(a), third = try Cells(c)
            var fed = [Float](repeating: 0, count: 5)
            for t in 0..<3 {
                let ir = try first.step(Array(x[((row * 3 + t) * 2)..<((row * 3 + t + 1) * 2)]))
                let second = try Cells(b)
                middles.append(min(4, counts[row * 3 + t]))
                for i in 0..<middles[middles.count - 1] {
                    let drive = try second.step(ir)
                    var series: [Float] = []
                    for _ in 0..<last.counts[i] {
                        fed = try third.step(drive + fed)
                        series += fed
                    }
                    expected.append(series)
                }
            }
        }
        #expect(result.outputs.series == expected)
        #expect((0..<6).map { result.outputs.length($0) } == middles)
        #expect(result.reasons[0][3] == .limit)
        #expect(nested.cuts(row: 1) == 1 && nested.cuts(row: 0) == 0)
    }

    // MARK: Bad input and failures

    @Test func whatCannotBeIsRefused() throws {
        let a = try makeModel(features: 3, seed: 4, [rnn(.lstm, 7)]), b = try makeModel(features: 7, seed: 5, [rnn(.gru, 9)])
        func create(_ change: (inout LevelOptions) -> Void) throws {
            var level = LevelOptions()
            change(&level)
            _ = try Nested(a, below: [(b, level)], rows: 2)
        }
        try create { $0.loop.limit = 3 }
        #expect(throws: Failure.self) { try create { _ in } }
        #expect(throws: Failure.self) { try create { $0.loop.limit = -1 } }
        #expect(throws: Failure.self) { try create { $0.loop.rules = [StopRule(.token)]; $0.loop.rules[0].token = 9 } }
        #expect(throws: Failure.self) { try create { $0.loop.limit = 3; $0.driverOutput = 1 } }
        #expect(throws: Failure.self) { try create { $0.loop.limit = 3; $0.drive = .state } }
        #expect(throws: Failure.self) { try create { $0.loop.limit = 3; $0.loop.feedback.source = .output } }
        #expect(throws: Failure.self) { try create { $0.loop.limit = 3; $0.policy = .given } }
        var level = LevelOptions()
        level.isCounted = true
        let nested = try Nested(a, below: [(b, level)], rows: 2)
        let x = randomValues(6, seed: 1)
        #expect(throws: Failure.self) { try nested.push(x, steps: 1) }
        #expect(throws: Failure.self) { try nested.push(x, steps: 1, counts: [-1]) }
    }

    @Test func aFailingCallbackLeavesTheStateBeforeItsStep() throws {
        let a = try makeModel(features: 3, seed: 4, [rnn(.lstm, 7)]), b = try makeModel(features: 7, seed: 5, [rnn(.gru, 9)])
        final class Switch { var fails = false; var calls = 0 }
        let control = Switch()
        var level = LevelOptions()
        level.loop.limit = 6
        var rule = StopRule(.callback)
        rule.callback = { row, step, _, _, answer in
            answer[0] = step >= 1 + row ? 1 : 0
            return control.fails && row == 1 && step == 1 ? 7 : 0
        }
        level.loop.rules = [rule]
        let x = randomValues(2 * 4 * 3, seed: 1)
        let expected = try Nested(a, below: [(b, level)], rows: 2).runAll(x, steps: 4).outputs.values
        let nested = try Nested(a, below: [(b, level)], rows: 2)
        try nested.push(x, steps: 4)
        control.fails = true
        var values = [Float](repeating: 0, count: 9 * 100), items = [NestedItem](repeating: NestedItem(), count: 100)
        var rowsOut = [[Float]](repeating: [], count: 2)
        func take(_ count: Int) { for i in 0..<count { rowsOut[items[i].row] += values[(i * 9)..<((i + 1) * 9)] } }
        take(try nested.pull(capacity: 100, values: &values, items: { items[$0] = $1 }))
        let bytes = nested.snapshotBytes
        for _ in 0..<3 { #expect(throws: Failure.self) { try nested.pull(capacity: 100, values: &values, items: { items[$0] = $1 }) } }
        #expect(nested.snapshotBytes == bytes)
        control.fails = false
        take(try nested.pull(capacity: 100, values: &values, items: { items[$0] = $1 }))
        #expect(rowsOut.flatMap { $0 } == expected)
    }

    // MARK: Ragged

    @Test func paddingAndBack() throws {
        let ragged = try Ragged(width: 2, splits: [[0, 2, 2, 5, 6, 6, 6]], values: (0..<12).map { Float($0) })
        for layout in [Ragged.Layout.batchMajor, .timeMajor] {
            var padded = [Float](repeating: .nan, count: 2 * 3 * 4 * 2), mask = [UInt8](repeating: 9, count: 24)
            try ragged.pad(batch: 2, longest: 4, layout: layout, into: &padded, mask: &mask)
            #expect(mask.reduce(0) { $0 + Int($1) } == 6)
            let back = try Ragged.from(padded: padded, lengths: [2, 0, 3, 1, 0, 0], batch: 2, outer: 3, longest: 4, width: 2, layout: layout)
            #expect(back.values == ragged.values && back.splits == ragged.splits)
        }
        var padded = [Float](repeating: 0, count: 24)
        #expect(throws: Failure.self) { try ragged.pad(batch: 2, longest: 2, layout: .batchMajor, into: &padded, mask: nil) }
        #expect(throws: Failure.self) { try ragged.pad(batch: 4, longest: 3, layout: .batchMajor, into: &padded, mask: nil) }
        #expect(throws: Failure.self) { try Ragged(width: 2, splits: [[0, 3, 2]], values: [1, 2, 3, 4]) }
        #expect(throws: Failure.self) { try Ragged(width: 2, splits: [[0, 3]], values: [1, 2, 3, 4]) }
    }
}
