import Foundation
@testable import Engine

// A plain twin of the layers in double precision: the formulas as they stand in the papers, loops and nothing else.

func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }

/// A row-major matrix.
struct Matrix {
    let rows: Int, columns: Int
    var values: [Double]

    init(_ weight: Weight) {
        columns = weight.shape.last ?? 1
        rows = weight.count / max(1, columns)
        values = (0..<weight.count).map { Double(weight.values[$0]) }
    }

    /// x · self
    func applied(to x: [Double]) -> [Double] {
        (0..<columns).map { column in (0..<rows).reduce(0) { $0 + x[$1] * values[$1 * columns + column] } }
    }
}

/// LSTM over a sequence; returns h of every step.
func lstmOracle(_ x: [[Double]], _ weights: [Weight], units: Int) -> [[Double]] {
    let kernel = Matrix(weights[0]), recurrent = Matrix(weights[1]), bias = Matrix(weights[2]).values
    var h = [Double](repeating: 0, count: units), c = h
    return x.map { sample in
        let a = kernel.applied(to: sample), b = recurrent.applied(to: h)
        let z = (0..<4 * units).map { a[$0] + b[$0] + bias[$0] }
        for u in 0..<units {
            c[u] = sigmoid(z[units + u]) * c[u] + sigmoid(z[u]) * tanh(z[2 * units + u])
            h[u] = sigmoid(z[3 * units + u]) * tanh(c[u])
        }
        return h
    }
}

func gruOracle(_ x: [[Double]], _ weights: [Weight], units: Int, resetAfter: Bool) -> [[Double]] {
    let kernel = Matrix(weights[0]), recurrent = Matrix(weights[1]), bias = Matrix(weights[2]).values
    var h = [Double](repeating: 0, count: units)
    return x.map { sample in
        let a = kernel.applied(to: sample), b = recurrent.applied(to: h)
        let late = resetAfter ? Array(bias[(3 * units)...]) : [Double](repeating: 0, count: 3 * units)
        let z = (0..<units).map { sigmoid(a[$0] + bias[$0] + b[$0] + late[$0]) }
        let r = (units..<2 * units).map { sigmoid(a[$0] + bias[$0] + b[$0] + late[$0]) }
        let inner = resetAfter ? b : recurrent.applied(to: (0..<units).map { r[$0] * h[$0] })
        h = (0..<units).map { u in
            let g = 2 * units + u
            let candidate = resetAfter
                ? tanh(a[g] + bias[g] + r[u] * (inner[g] + late[g]))
                : tanh(a[g] + bias[g] + inner[g])
            return z[u] * h[u] + (1 - z[u]) * candidate
        }
        return h
    }
}

func simpleOracle(_ x: [[Double]], _ weights: [Weight], units: Int) -> [[Double]] {
    let kernel = Matrix(weights[0]), recurrent = Matrix(weights[1]), bias = Matrix(weights[2]).values
    var h = [Double](repeating: 0, count: units)
    return x.map { sample in
        let a = kernel.applied(to: sample), b = recurrent.applied(to: h)
        h = (0..<units).map { tanh(a[$0] + b[$0] + bias[$0]) }
        return h
    }
}

/// A model of one input [time, features] and the layers on it, every weight random, biases too.
func makeModel(features: Int, seed: UInt64, _ layers: [Layer]) throws -> Model {
    let builder = ModelBuilder()
    var value = try builder.input(name: "input", shape: [anyLength, features])
    for layer in layers { value = try builder.apply(layer, to: [value])[0] }
    let model = try builder.finish(outputs: [value], layers: layers, architecture: "{}")
    var random = Random(seed: seed)
    for weight in model.weights {
        let buffer = try AlignedBuffer(count: weight.count)
        // Of a size that keeps the recurrence from being chaotic, which would blow up the last bits.
        let rows = weight.count / max(1, weight.shape.last ?? 1)
        for i in 0..<weight.count { buffer.floats[i] = random.normal() * 0.8 / Float(rows).squareRoot() }
        weight.adopt(buffer)
    }
    try model.pack()
    return model
}

func randomValues(_ count: Int, seed: UInt64) -> [Float] {
    var random = Random(seed: seed, series: 7)
    return (0..<count).map { _ in random.normal() }
}

/// `Model.run` on one input and output.
func runWhole(_ model: Model, _ x: [Float], batch: Int, time: Int) throws -> [Float] {
    var length = time
    let shape = try model.outputShape(0, times: &length)
    var out = [Float](repeating: .nan, count: batch * shape.reduce(1, *))
    try x.withUnsafeBufferPointer { x in
        try out.withUnsafeMutableBufferPointer { out in
            var input = x.baseAddress, output = out.baseAddress
            try model.run(batch: batch, times: &length, inputs: &input, outputs: &output)
        }
    }
    return out
}

/// `Stream.run` on one input and output.
func run(_ stream: Engine.Stream, _ x: [Float], steps: Int, advance: Bool = true) throws -> [Float] {
    var out = [Float](repeating: .nan, count: stream.batch * steps * stream.model.outputs[0].stepSize)
    try x.withUnsafeBufferPointer { x in
        try out.withUnsafeMutableBufferPointer { out in
            var input = x.baseAddress, output = out.baseAddress
            try stream.run(steps: steps, inputs: &input, outputs: &output, advance: advance)
        }
    }
    return out
}

/// `count` steps from step `from` on, of every row of [rows][time][width].
func steps(of x: [Float], from: Int, count: Int, time: Int, width: Int) -> [Float] {
    var result: [Float] = []
    for row in 0..<(x.count / (time * width)) {
        let start = (row * time + from) * width
        result += x[start..<(start + count * width)]
    }
    return result
}
