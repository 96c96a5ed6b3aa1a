import Foundation
import Testing
@testable import Engine
@testable import Generation

@Suite struct BeamSearchTests {
    private func options() -> LoopOptions {
        var options = LoopOptions()
        options.feedback.source = .sample
        options.sampler.kind = .categorical
        return options
    }

    private func search(_ model: Model, _ primer: [Float], rows: Int, _ beam: BeamOptions) throws -> [[Hypothesis]] {
        let search = try BeamSearch(model, rows: rows, loop: options(), beam: beam)
        return try primer.withUnsafeBufferPointer {
            var input = $0.baseAddress
            return try search.search(steps: primer.count / rows, inputs: &input)
        }
    }

    /// All sequences of up to `length` classes that end, or have that length, with their log-probabilities.
    private func all(_ model: Model, _ primer: [Float], length: Int, end: Int) throws -> [(classes: [Int], log: Double)] {
        var result: [(classes: [Int], log: Double)] = []
        func go(_ classes: [Int], _ sum: Double) throws {
            if classes.count == length || classes.last == end {
                result.append((classes, sum))
                return
            }
            let cells = try Cells(model)
            var y: [Float] = []
            for id in primer + classes.map({ Float($0) }) { y = try cells.step([id]) }
            let top = Double(y.max()!), all = y.reduce(0.0) { $0 + exp(Double($1) - top) }
            for (class_, value) in y.enumerated() { try go(classes + [class_], sum + Double(value) - top - log(all)) }
        }
        try go([], 0)
        return result
    }

    @Test func aBeamThatHoldsAllFindsTheBest() throws {
        let model = try makeTokenModel(classes: 4, units: 7, seed: 2)
        var beam = BeamOptions()
        beam.width = 200
        beam.maximumLength = 4
        beam.endToken = 1
        let primers: [Float] = [0, 2, 3, 3]
        let found = try search(model, primers, rows: 2, beam)
        for row in 0..<2 {
            let expected = try all(model, Array(primers[(row * 2)..<(row * 2 + 2)]), length: 4, end: 1).sorted { $0.log > $1.log }
            for (a, b) in zip(found[row].prefix(10), expected) {
                #expect(a.classes == b.classes)
                #expect(abs(Double(a.logProbability) - b.log) < 1e-4)
            }
        }
    }

    @Test func rowsAloneFindTheSameAndWidthOneIsGreedy() throws {
        let model = try makeTokenModel(classes: 9, units: 12, seed: 3)
        var beam = BeamOptions()
        beam.maximumLength = 8
        beam.endToken = 3
        beam.lengthPenalty = 0.7
        let primers: [Float] = [0, 2, 5, 3, 8, 8]
        let together = try search(model, primers, rows: 3, beam)
        for row in 0..<3 {
            let alone = try search(model, Array(primers[(row * 2)..<(row * 2 + 2)]), rows: 1, beam)[0]
            #expect(alone.map { $0.classes } == together[row].map { $0.classes })
            #expect(alone.map { $0.score } == together[row].map { $0.score })
        }
        beam.width = 1
        beam.endToken = nil
        let greedy = try search(model, primers, rows: 3, beam)
        var sampling = options()
        sampling.sampler.temperature = 0
        let generator = try SelfFeeding(model, rows: 3, options: sampling)
        try generator.prime(primers, steps: 2)
        #expect(greedy.flatMap { $0[0].classes.map { Float($0) } } == (try generator.run(8).drawn))
    }
}
