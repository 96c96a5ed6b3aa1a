/// How a fresh weight is drawn: keras.initializers, the same distributions (not the same numbers).
public enum Initializer: Sendable {
    case zeros, ones
    case constant(Float)
    case uniform(Float, Float)
    case normal(mean: Float, deviation: Float)
    /// Normal, redrawn beyond two deviations.
    case truncatedNormal(mean: Float, deviation: Float)
    /// Deviation by the layer's fan: scale / fan, drawn as `distribution` says.
    case varianceScaling(scale: Float, fan: Fan, distribution: Distribution)
    /// A random matrix with orthonormal rows or columns (Saxe et al. 2013), times gain.
    case orthogonal(gain: Float)
    case identity(gain: Float)
    /// An LSTM's bias: ones for the forget gate, zeros else (Jozefowicz et al. 2015).
    case unitForgetBias

    public enum Fan: Sendable { case input, output, average }
    public enum Distribution: Sendable { case uniform, normal, truncatedNormal }

    public static var glorotUniform: Initializer { .varianceScaling(scale: 1, fan: .average, distribution: .uniform) }

    /// Fills `values`, a weight of this shape.
    public func fill(_ values: UnsafeMutablePointer<Float>, shape: Shape, random: inout Random) throws(Failure) {
        let count = try shape.elementCount()
        switch self {
        case .zeros:
            values.update(repeating: 0, count: count)
        case .ones:
            values.update(repeating: 1, count: count)
        case .constant(let value):
            values.update(repeating: value, count: count)
        case .uniform(let low, let high):
            for i in 0..<count { values[i] = low + (high - low) * random.uniform() }
        case .normal(let mean, let deviation):
            for i in 0..<count { values[i] = mean + deviation * random.normal() }
        case .truncatedNormal(let mean, let deviation):
            for i in 0..<count {
                var drawn = random.normal()
                while abs(drawn) > 2 { drawn = random.normal() }
                values[i] = mean + deviation * drawn
            }
        case .varianceScaling(let scale, let fan, let distribution):
            try Initializer.scaled(scale, fan, distribution, shape).fill(values, shape: shape, random: &random)
        case .orthogonal(let gain):
            try Initializer.fillOrthogonal(values, shape, gain, &random)
        case .identity(let gain):
            guard shape.count == 2 else { throw Failure(.invalidArgument, "the identity initializer takes a matrix, not \(describe(shape))") }
            for i in 0..<count { values[i] = i / shape[1] == i % shape[1] ? gain : 0 }
        case .unitForgetBias:
            let units = count / 4
            for i in 0..<count { values[i] = i >= units && i < 2 * units ? 1 : 0 }
        }
    }

    /// Variance scaling (Glorot & Bengio 2010, He et al. 2015) as a plain distribution. A truncated normal is widened so
    /// that what is left has the deviation asked for, as in Keras.
    private static func scaled(_ scale: Float, _ fan: Fan, _ distribution: Distribution, _ shape: Shape) -> Initializer {
        let fanIn = Float(max(1, shape.count > 1 ? shape[shape.count - 2] : shape.first ?? 1))
        let fanOut = Float(max(1, shape.last ?? 1))
        let divisor: Float = switch fan {
        case .input: fanIn
        case .output: fanOut
        case .average: (fanIn + fanOut) / 2
        }
        let variance = scale / max(1, divisor)
        switch distribution {
        case .uniform:
            let limit = (3 * variance).squareRoot()
            return .uniform(-limit, limit)
        case .normal:
            return .normal(mean: 0, deviation: variance.squareRoot())
        case .truncatedNormal:
            return .truncatedNormal(mean: 0, deviation: variance.squareRoot() / 0.879_625_66)
        }
    }

    /// Gram–Schmidt, twice over, on normal vectors, along the shorter side.
    private static func fillOrthogonal(_ values: UnsafeMutablePointer<Float>, _ shape: Shape, _ gain: Float,
                                       _ random: inout Random) throws(Failure) {
        guard shape.count >= 2 else { throw Failure(.invalidArgument, "the orthogonal initializer takes a matrix, not \(describe(shape))") }
        let columns = shape[shape.count - 1]
        let rows = columns == 0 ? 0 : try shape.elementCount() / columns
        let vectors = min(rows, columns), length = max(rows, columns)
        let buffer = try AlignedBuffer(count: multiplied(vectors, length))
        for v in 0..<vectors {
            let vector = buffer.floats + v * length
            for i in 0..<length { vector[i] = random.normal() }
            for _ in 0..<2 {
                for other in 0..<v {
                    let direction = buffer.floats + other * length
                    var dot: Float = 0
                    for i in 0..<length { dot += vector[i] * direction[i] }
                    for i in 0..<length { vector[i] -= dot * direction[i] }
                }
            }
            var squares: Float = 0
            for i in 0..<length { squares += vector[i] * vector[i] }
            let factor = 1 / squares.squareRoot()
            for i in 0..<length { vector[i] *= factor }
        }
        for row in 0..<rows {
            for column in 0..<columns {
                let (v, i) = rows <= columns ? (row, column) : (column, row)
                values[row * columns + column] = gain * buffer.floats[v * length + i]
            }
        }
    }
}
