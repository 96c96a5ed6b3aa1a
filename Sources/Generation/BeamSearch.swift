import CSystem
import Engine

/// How the likeliest continuations are looked for.
public struct BeamOptions {
    /// Continuations that are followed at once, per row.
    public var width = 4
    public var maximumLength = 0
    /// The class that ends a continuation; nil: all have the maximum length.
    public var endToken: Int?
    /// Scores are divided by length to this power; 0 takes the sums as they are.
    public var lengthPenalty: Float = 0

    @export(interface)
    public init() {}
}

/// A continuation that was found.
public struct Hypothesis: Sendable {
    /// With the end token, where it has one.
    public let classes: [Int]
    /// The sum of its classes' log-probabilities.
    public let logProbability: Float
    /// That sum under the length penalty: what they are ordered by.
    public let score: Float
}

/// Beam search over a model that is fed with the classes it gives: of all rows and beams at once, each beam with its
/// own state.
public final class BeamSearch {
    public let rows: Int
    private let width: Int
    private let classes: Int
    private let loop: Loop
    private let options: BeamOptions
    private let output: Int

    /// - Parameter loop: what is fed back (sampled classes), which output is read, bias and forbidden classes are not heeded.
    @export(interface)
    public init(_ model: Model, rows: Int, loop options: LoopOptions, beam: BeamOptions) throws(Failure) {
        guard rows >= 1 else { throw Failure(.invalidArgument, "the batch is \(rows), expected 1 or more") }
        guard beam.width >= 1, beam.width <= 1 << 16 else { throw Failure(.invalidArgument, "the beam width is \(beam.width), expected 1 to 65536") }
        guard beam.maximumLength >= 1, beam.maximumLength <= 1 << 24 else {
            throw Failure(.invalidArgument, "maximum_length is \(beam.maximumLength), expected 1 or more")
        }
        guard beam.lengthPenalty.isFinite else { throw Failure(.invalidArgument, "length_penalty is not finite") }
        guard options.sampler.kind == .categorical, options.feedback.source == .sample else {
            throw Failure(.invalidArgument, "beam search needs a categorical sampler whose classes are fed back")
        }
        self.rows = rows
        self.options = beam
        width = beam.width
        output = options.sampler.output
        var options = options
        options.rules = []
        options.limit = 0
        options.minimum = 0
        options.seeds = []
        loop = try Loop(model, rows: try multiplied(rows, beam.width), options: options, driverWidth: 0)
        classes = loop.sampler?.count ?? 0
        if let end = beam.endToken, end < 0 || end >= classes {
            throw Failure(.invalidArgument, "the end token \(end) is none of the \(classes) classes")
        }
    }

    /// The best continuations of each row's prefix, best first, at most `width` of them.
    ///
    /// - Parameters:
    ///   - inputs: for each input of the model [rows][steps][size].
    ///   - lengths: nil, or for each row how many of its steps count.
    @export(interface)
    public func search(steps: Int, inputs: UnsafePointer<UnsafePointer<Float>?>, lengths: UnsafePointer<Int>? = nil) throws(Failure) -> [[Hypothesis]] {
        try prime(steps, inputs, lengths)
        var beams: [[Beam]] = [], found = [[Hypothesis]](repeating: [], count: rows)
        for _ in 0..<rows {
            // All beams of a row are alike at first: one stands for them.
            beams.append((0..<width).map { Beam(score: $0 == 0 ? 0 : -.infinity, classes: []) })
        }
        var sources = [Int](repeating: 0, count: rows * width)
        for length in 1...options.maximumLength {
            var isDone = true
            for row in 0..<rows {
                let grown = found[row].count < width ? try grow(row, beams[row], length, &found[row]) : []
                for beam in 0..<width {
                    sources[row * width + beam] = row * width + (beam < grown.count ? grown[beam].source : 0)
                    if beam < grown.count {
                        beams[row][beam] = grown[beam].beam
                        isDone = false
                    } else {
                        beams[row][beam].score = -.infinity
                    }
                }
            }
            if isDone || length == options.maximumLength { break }
            for row in 0..<rows { loop.permute(first: row * width, count: width, sources: sources) }
            for row in 0..<rows {
                for beam in 0..<width {
                    var last = Float(beams[row][beam].classes.last ?? 0)
                    loop.adopt(&last, row: row * width + beam)
                }
            }
            try loop.feedAndPrime()
        }
        for row in 0..<rows {
            for beam in beams[row] where beam.score > -.infinity && found[row].count < width { found[row].append(hypothesis(beam)) }
            found[row] = found[row].inOrder { $0.score > $1.score }
        }
        return found
    }

    private struct Beam {
        var score: Float
        var classes: [Int]
    }

    private func prime(_ steps: Int, _ inputs: UnsafePointer<UnsafePointer<Float>?>, _ lengths: UnsafePointer<Int>?) throws(Failure) {
        guard steps >= 0 else { throw Failure(.invalidArgument, "steps is \(steps), expected 0 or more") }
        let slots = loop.slots, model = slots.model
        try checkLengths(lengths, rows: rows, steps: steps)
        for index in model.inputs.indices where inputs[index] == nil && steps > 0 {
            throw Failure(.invalidArgument, "input \(index) ('\(model.inputs[index].name)') is NULL")
        }
        for row in 0..<(rows * width) { loop.reset(row) }
        for step in 0..<steps {
            for row in 0..<rows {
                for beam in (row * width)..<((row + 1) * width) {
                    if step < lengths?[row] ?? steps { loop.activate(beam) } else { loop.park(beam) }
                }
            }
            for slot in 0..<slots.active {
                let row = slots.row(inSlot: slot) / width
                for index in model.inputs.indices {
                    let size = slots.inputSize(index)
                    if let values = inputs[index] { slots.input(index, slot: slot).copy(from: values + (row * steps + step) * size, count: size) }
                }
            }
            if slots.active > 0 { try loop.prime() }
        }
        // Rows without a prefix begin from the start value.
        for beam in 0..<(rows * width) {
            if loop.isWaiting(beam) { loop.park(beam) } else { loop.activate(beam) }
        }
        if slots.active > 0 { try loop.feedAndPrime() }
        for beam in 0..<(rows * width) { loop.park(beam) }
        for beam in 0..<(rows * width) { loop.activate(beam) }
    }

    /// The likeliest beams that are one class longer; those that end go to `found`.
    private func grow(_ row: Int, _ beams: [Beam], _ length: Int, _ found: inout [Hypothesis]) throws(Failure) -> [(source: Int, beam: Beam)] {
        let callers = cz_float_mode_enter()
        defer { cz_float_mode_leave(callers) }
        // The best 2·width candidates: of those at most width end.
        var best: [(score: Float, source: Int, class_: Int)] = []
        for (source, beam) in beams.enumerated() where beam.score > -.infinity {
            guard let sampler = loop.sampler else { break }
            let logs = try sampler.logProbabilities(loop.lastOutput(output, row: row * width + source), row: row, step: length - 1)
            for class_ in 0..<classes where sampler.canDraw(class_) && logs[class_] > -.infinity {
                let score = beam.score + logs[class_]
                if best.count == 2 * width {
                    if score <= best[best.count - 1].score { continue }
                    best.removeLast()
                }
                var place = best.count
                while place > 0 && best[place - 1].score < score { place -= 1 }
                best.insert((score, source, class_), at: place)
            }
        }
        var grown: [(source: Int, beam: Beam)] = []
        for (rank, candidate) in best.enumerated() where grown.count < width {
            let beam = Beam(score: candidate.score, classes: beams[candidate.source].classes + [candidate.class_])
            if let end = options.endToken, candidate.class_ == end {
                if rank < width && found.count < width { found.append(hypothesis(beam)) }
            } else {
                grown.append((candidate.source, beam))
            }
        }
        return grown
    }

    private func hypothesis(_ beam: Beam) -> Hypothesis {
        let callers = cz_float_mode_enter()
        defer { cz_float_mode_leave(callers) }
        return Hypothesis(classes: beam.classes, logProbability: beam.score, score: penalized(beam.score, beam.classes.count))
    }

    /// A call: the compiler may move a division behind what sets the way to compute.
    @inline(never)
    private func penalized(_ score: Float, _ length: Int) -> Float {
        let kernels = loop.slots.kernels
        // lengthᵖ = exp(p · log length)
        let divisor = options.lengthPenalty == 0 ? 1
            : kernels.value(CZ_EXP, options.lengthPenalty * kernels.value(CZ_LOG, Float(max(1, length))))
        return score / divisor
    }
}
