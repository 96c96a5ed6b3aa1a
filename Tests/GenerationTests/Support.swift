import Foundation
@testable import Engine
@testable import Generation

/// A model of one input [time, features] and the layers on it, every weight random, biases too.
func makeModel(features: Int, seed: UInt64, scale: Float = 0.8, _ layers: [Layer]) throws -> Model {
    let builder = ModelBuilder()
    var value = try builder.input(name: "input", shape: [anyLength, features])
    for layer in layers { value = try builder.apply(layer, to: [value])[0] }
    let model = try builder.finish(outputs: [value], layers: layers, architecture: "{}")
    try fillRandomly(model, seed: seed, scale: scale)
    return model
}

/// A model of ids [time].
func makeTokenModel(classes: Int, units: Int, seed: UInt64, softmax: Bool = false) throws -> Model {
    let layers = [Embedding(name: "e", inputDim: classes, outputDim: 5), rnn(.lstm, units),
                  Dense(name: "d", units: classes, activation: softmax ? .softmax : .linear)]
    let builder = ModelBuilder()
    var value = try builder.input(name: "ids", shape: [anyLength])
    for layer in layers { value = try builder.apply(layer, to: [value])[0] }
    let model = try builder.finish(outputs: [value], layers: layers, architecture: "{}")
    try fillRandomly(model, seed: seed, scale: 2)
    return model
}

func fillRandomly(_ model: Model, seed: UInt64, scale: Float) throws {
    var random = Random(seed: seed)
    for weight in model.weights {
        let buffer = try AlignedBuffer(count: weight.count)
        let rows = weight.count / max(1, weight.shape.last ?? 1)
        for i in 0..<weight.count { buffer.floats[i] = random.normal() * scale / Float(rows).squareRoot() }
        weight.adopt(buffer)
    }
    try model.pack()
}

enum Kind: CaseIterable { case lstm, gru, simple }

func rnn(_ kind: Kind, _ units: Int, name: Name = "rnn") -> RNN {
    let cell: Cell = switch kind {
    case .lstm: LSTMCell(name: "cell", units: units)
    case .gru: GRUCell(name: "cell", units: units)
    case .simple: SimpleRNNCell(name: "cell", units: units)
    }
    var options = RNN.Options()
    options.returnSequences = true
    return RNN(name: name, className: "RNN", cells: [cell], namesCells: false, options: options)
}

func randomValues(_ count: Int, seed: UInt64) -> [Float] {
    var random = Random(seed: seed, series: 7)
    return (0..<count).map { _ in random.normal() }
}

/// One row of a model by a plain stream: the oracle of the generators.
final class Cells {
    let stream: Engine.Stream
    init(_ model: Model) throws { stream = try Engine.Stream(model, batch: 1) }
    func step(_ x: [Float], output: Int = 0) throws -> [Float] {
        var out = [Float](repeating: .nan, count: stream.model.outputs[output].stepSize)
        try x.withUnsafeBufferPointer { x in
            try out.withUnsafeMutableBufferPointer { out in
                var input = x.baseAddress, result = out.baseAddress
                try stream.run(steps: 1, inputs: &input, outputs: &result)
            }
        }
        return out
    }
}

extension Nested {
    func push(_ x: [Float], steps: Int, counts: [Int]? = nil, perRow: Bool = false) throws {
        if let counts { try push(steps: steps, x, counts: counts, perRow: perRow) } else { try push(steps: steps, x) }
    }

    func runAll(_ x: [Float], steps: Int, counts: [Int]? = nil, perRow: Bool = false) throws -> NestedResult {
        try push(x, steps: steps, counts: counts, perRow: perRow)
        try run()
        return try gathered()
    }

    /// Everything that is left, in pieces of `capacity`, sorted by row: values and places.
    func pullAll(capacity: Int, between: () throws -> Void = {}) throws -> [[(outer: Int, inner: Int, value: [Float])]] {
        var result = [[(outer: Int, inner: Int, value: [Float])]](repeating: [], count: rows)
        while true {
            var values = [Float](repeating: .nan, count: capacity * width)
            var items = [NestedItem](repeating: NestedItem(), count: capacity)
            let count = try pull(capacity: capacity, values: &values, items: { items[$0] = $1 })
            for i in 0..<count {
                result[items[i].row].append((items[i].outer, items[i].inner, Array(values[(i * width)..<((i + 1) * width)])))
            }
            if count < capacity { return result }
            try between()
        }
    }

    var snapshotBytes: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: snapshotSize)
        bytes.withUnsafeMutableBytes { snapshot(into: $0.baseAddress!) }
        return bytes
    }
}

extension Ragged {
    /// The values of each series of the last level.
    var series: [[Float]] {
        let offsets = splits[splits.count - 1]
        return (1..<offsets.count).map { Array(values[(offsets[$0 - 1] * width)..<(offsets[$0] * width)]) }
    }
}

/// The golden file's arrays.
struct Golden {
    private let arrays: [String: [String: [Double]]]

    init() throws {
        let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("golden/nested/nested_simple_rnn.json")
        arrays = try JSONDecoder().decode([String: [String: [Double]]].self, from: Data(contentsOf: url))
    }

    func values(_ name: String) -> [Float] { arrays[name]!["values"]!.map { Float($0) } }
    func shape(_ name: String) -> [Int] { arrays[name]!["shape"]!.map { Int($0) } }
}
