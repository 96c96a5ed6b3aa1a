import Foundation
import Testing
@testable import Engine
@testable import Generation

@Suite struct SamplerTests {
    private func sampler(_ count: Int, _ change: (inout SamplerOptions) -> Void) throws -> Sampler {
        let model = try makeModel(features: 1, seed: 1, [Dense(name: "d", units: count)])
        var options = SamplerOptions()
        change(&options)
        return try Sampler(options, Slots(model, rows: 2))
    }

    private func draws(_ sampler: Sampler, _ x: [Float], _ count: Int, seed: UInt64 = 1) throws -> [Float] {
        var random = Random(seed: seed), result: [Float] = [], one = [Float](repeating: .nan, count: sampler.width)
        try x.withUnsafeBufferPointer { x in
            for _ in 0..<count {
                _ = try sampler.draw({ _ in x.baseAddress! }, row: 0, step: 0, random: &random, into: &one)
                result += one
            }
        }
        return result
    }

    /// Chi-square over the classes that have a chance, as a multiple of its deviation beyond its mean.
    private func surprise(_ drawn: [Float], _ p: [Double]) -> Double {
        var counts = [Double](repeating: 0, count: p.count)
        for value in drawn { counts[Int(value)] += 1 }
        var sum = 0.0, classes = 0.0
        for i in p.indices {
            let expected = p[i] * Double(drawn.count)
            if expected == 0 {
                #expect(counts[i] == 0)
            } else {
                sum += (counts[i] - expected) * (counts[i] - expected) / expected
                classes += 1
            }
        }
        return (sum - (classes - 1)) / (2 * max(1, classes - 1)).squareRoot()
    }

    private func softmax(_ x: [Double]) -> [Double] {
        let e = x.map { exp($0 - x.max()!) }, sum = e.reduce(0, +)
        return e.map { $0 / sum }
    }

    private let logits: [Float] = [0.3, -1.2, 2.0, 0.9, -0.4, 1.1, -3, 0.31]

    @Test func aMillionDrawsFollowTheSoftmax() throws {
        let sampler = try sampler(8) { $0.kind = .categorical }
        #expect(abs(surprise(try draws(sampler, logits, 1_000_000), softmax(logits.map(Double.init)))) < 5)
    }

    @Test func temperatureBiasAndForbiddenClasses() throws {
        let sampler = try sampler(8) {
            $0.kind = .categorical
            $0.temperature = 0.6
            $0.bias = [0, 1, 0, -1, 0, 0, 2, 0]
            $0.forbidden = [2, 4]
        }
        var x = logits.map(Double.init)
        for (i, bias) in [0, 1, 0, -1, 0, 0, 2, 0.0].enumerated() { x[i] += bias }
        x[2] = -.infinity
        x[4] = -.infinity
        #expect(abs(surprise(try draws(sampler, logits, 100_000), softmax(x.map { $0 / 0.6 }))) < 5)
    }

    @Test(arguments: [(3, Float(1), Float(0)), (0, 0.7, 0), (0, 1, 0.2), (4, 0.9, 0.15), (8, 1, 0), (1, 1, 0)])
    func filters(k: Int, p: Float, least: Float) throws {
        let sampler = try sampler(8) {
            $0.kind = .categorical
            $0.topK = k
            $0.topP = p
            $0.minP = least
        }
        var weights = softmax(logits.map(Double.init))
        let order = weights.indices.sorted { weights[$0] > weights[$1] }
        var kept = Array(order.prefix(k == 0 ? 8 : k))
        let total = kept.reduce(0) { $0 + weights[$1] }
        var sum = 0.0, nucleus: [Int] = []
        for i in kept where sum < Double(p) * total {
            nucleus.append(i)
            sum += weights[i]
        }
        kept = nucleus.filter { weights[$0] >= Double(least) * weights[order[0]] }
        for i in weights.indices where !kept.contains(i) { weights[i] = 0 }
        let all = weights.reduce(0, +)
        #expect(abs(surprise(try draws(sampler, logits, 50_000), weights.map { $0 / all })) < 5)
    }

    @Test func probabilitiesAndLogitsDrawTheSame() throws {
        let p = softmax(logits.map(Double.init)).map { Float($0) }
        let a = try sampler(8) { $0.kind = .categorical }
        let b = try sampler(8) { $0.kind = .categorical; $0.fromProbabilities = true }
        let x = try draws(a, logits, 10_000), y = try draws(b, p, 10_000)
        #expect(zip(x, y).filter { $0 != $1 }.count <= 1)
    }

    @Test func whatWasDrawnIsPenalized() throws {
        let sampler = try sampler(8) {
            $0.kind = .categorical
            $0.temperature = 0
            $0.repetitionPenalty = 3
        }
        #expect(try draws(sampler, logits, 1) == [2])
        sampler.remember(2, row: 0)
        #expect(try draws(sampler, logits, 1) == [5])
        sampler.forget(row: 0)
        #expect(try draws(sampler, logits, 1) == [2])
    }

    private func momentsAreRight(_ values: [Float], mean: Double, deviation: Double) {
        let n = Double(values.count), average = values.reduce(0) { $0 + Double($1) } / n
        let variance = values.reduce(0) { $0 + (Double($1) - average) * (Double($1) - average) } / n
        #expect(abs(average - mean) < 5 * deviation / n.squareRoot())
        #expect(abs(variance / (deviation * deviation) - 1) < 5 * (2 / n).squareRoot())
    }

    @Test func gaussianHeads() throws {
        let x: [Float] = [1, -2, Float(2 * log(0.5)), Float(2 * log(3.0))]
        let drawn = try draws(sampler(4) { $0.kind = .gaussian }, x, 100_000)
        momentsAreRight(stride(from: 0, to: drawn.count, by: 2).map { drawn[$0] }, mean: 1, deviation: 0.5)
        momentsAreRight(stride(from: 1, to: drawn.count, by: 2).map { drawn[$0] }, mean: -2, deviation: 3)
        let fixed = try draws(sampler(1) { $0.kind = .gaussian; $0.sigma = 2; $0.temperature = 0.5 }, [4], 100_000)
        momentsAreRight(fixed, mean: 4, deviation: 1)
        #expect(try draws(sampler(1) { $0.kind = .gaussian; $0.sigma = 2; $0.temperature = 0 }, [4], 3) == [4, 4, 4])
        let sampler = try sampler(4) { $0.kind = .gaussian }
        let density = try x.withUnsafeBufferPointer { x in
            try sampler.logProbability({ _ in x.baseAddress! }, of: [1.3, -1], row: 0, step: 0)
        }
        let expected = -0.5 * (0.36 + 1 / 9.0) - log(0.5) - log(3.0) - log(2 * Double.pi)
        #expect(abs(Double(density) - expected) < 1e-5)
    }

    @Test func mixtures() throws {
        // Two distributions of two values: logits, means, log variances.
        let x: [Float] = [0, Float(log(3.0)), -5, 5, 5, 10, 0, 0, 0, 0]
        let sampler = try sampler(10) { $0.kind = .mixture; $0.components = 2 }
        let drawn = try draws(sampler, x, 40_000)
        let right = stride(from: 0, to: drawn.count, by: 2).filter { drawn[$0] > 0 }
        #expect(abs(Double(right.count) / 40_000 - 0.75) < 0.012)
        momentsAreRight(right.map { drawn[$0 + 1] }, mean: 10, deviation: 1)
        let density = try x.withUnsafeBufferPointer { x in
            try sampler.logProbability({ _ in x.baseAddress! }, of: [5, 10], row: 0, step: 0)
        }
        #expect(abs(Double(density) - (log(0.75) - log(2 * Double.pi))) < 1e-5)
    }

    @Test func bernoulli() throws {
        let drawn = try draws(sampler(2) { $0.kind = .bernoulli; $0.fromProbabilities = true }, [0.2, 0.9], 50_000)
        momentsAreRight(stride(from: 0, to: drawn.count, by: 2).map { drawn[$0] }, mean: 0.2, deviation: 0.4)
        momentsAreRight(stride(from: 1, to: drawn.count, by: 2).map { drawn[$0] }, mean: 0.9, deviation: 0.3)
        #expect(try draws(sampler(2) { $0.kind = .bernoulli; $0.temperature = 0 }, [-0.1, 0.1], 1) == [0, 1])
    }

    @Test func badNumbersAreErrors() throws {
        for x in [[Float.nan, 0, 0], [.infinity, 0, 0], [-.infinity, -.infinity, -.infinity]] {
            #expect(throws: Failure.self) { try draws(sampler(3) { $0.kind = .categorical }, x, 1) }
        }
        #expect(try Set(draws(sampler(3) { $0.kind = .categorical }, [-.infinity, 0, 0], 1000)) == [1, 2])
        #expect(throws: Failure.self) { try draws(sampler(3) { $0.kind = .categorical; $0.fromProbabilities = true }, [-0.1, 1, 0], 1) }
        #expect(throws: Failure.self) { try sampler(3) { $0.kind = .categorical; $0.forbidden = [0, 1, 2] } }
        #expect(throws: Failure.self) { try sampler(3) { $0.kind = .categorical; $0.forbidden = [3] } }
        #expect(throws: Failure.self) { try sampler(3) { $0.kind = .categorical; $0.bias = [1] } }
        #expect(throws: Failure.self) { try sampler(3) { $0.kind = .gaussian } }
        #expect(throws: Failure.self) { try sampler(4) { $0.kind = .mixture; $0.components = 3 } }
    }
}
