import CSystem

/// A Keras activation: on each value alone, or along the last axis.
public enum Activation {
    case elementwise(cz_activation)
    case softmax
    case logSoftmax
    /// Martins & Astudillo 2016, "From Softmax to Sparsemax", in the form that Keras gives it.
    case sparsemax
    /// Gated linear unit: halves of the last axis, a · sigmoid(b).
    case glu

    /// An elementwise activation by its kind and parameters.
    public static func kind(_ kind: cz_activation_kind, _ a: Float = 0, _ b: Float = 0, _ c: Float = 0) -> Activation {
        .elementwise(cz_activation(kind: Int32(kind.rawValue), a: a, b: b, c: c))
    }

    public static var linear: Activation { .kind(CZ_LINEAR) }
    public static var tanh: Activation { .kind(CZ_TANH) }
    public static var sigmoid: Activation { .kind(CZ_SIGMOID) }

    public var isLinear: Bool {
        if case .elementwise(let it) = self { return it.kind == Int32(CZ_LINEAR.rawValue) }
        return false
    }

    /// Kind and parameters as numbers.
    var parameters: [Float] {
        switch self {
        case .elementwise(let it): [Float(it.kind), it.a, it.b, it.c]
        case .softmax: [-1]
        case .logSoftmax: [-2]
        case .sparsemax: [-3]
        case .glu: [-4]
        }
    }

    /// The kernel's description, where each value stands alone.
    var elementwise: cz_activation? {
        if case .elementwise(let it) = self { return it }
        return nil
    }

    /// The last axis's length after it.
    func width(_ width: Int, layer: Name) throws(Failure) -> Int {
        guard case .glu = self, width >= 0 else { return width }
        guard width % 2 == 0 else {
            throw Failure(.invalidArgument, "layer '\(layer)': glu halves the last axis, which has \(width) values")
        }
        return width / 2
    }

    /// Applies it to `rows` rows of `count` values, densely packed; `out` may be `x`, save for glu.
    func apply(_ kernels: UnsafePointer<cz_kernels>, _ x: UnsafePointer<Float>, _ out: UnsafeMutablePointer<Float>,
               rows: Int, count: Int) {
        switch self {
        case .elementwise(var it):
            kernels.pointee.activate(&it, x, out, rows &* count)
        case .softmax:
            kernels.pointee.softmax(x, count, out, count, rows, count)
        case .logSoftmax:
            kernels.pointee.log_softmax(x, count, out, count, rows, count)
        case .sparsemax:
            for row in 0..<rows {
                sparsemaxRow(x + row * count, out + row * count, count)
            }
        case .glu:
            var sigmoid = cz_activation(kind: Int32(CZ_SIGMOID.rawValue), a: 0, b: 0, c: 0)
            let half = count / 2
            for row in 0..<rows {
                let a = x + row * count, result = out + row * half
                kernels.pointee.activate(&sigmoid, a + half, result, half)
                for i in 0..<half { result[i] *= a[i] }
            }
        }
    }
}

/// Sparsemax as Keras computes it (3.15, every backend): with the row sorted in descending order and its running sums,
/// the support are the places r whose value is above (sum_r − 1) / r, and the threshold is (Σ sum_r over the support − 1)
/// / size of the support. The paper has the last running sum there instead; Keras's numbers are what counts.
private func sparsemaxRow(_ x: UnsafePointer<Float>, _ out: UnsafeMutablePointer<Float>, _ count: Int) {
    var last = -1
    var sum: Float = 0, sums: Float = 0, size: Float = 0
    while let next = nextLargest(x, count, after: last) {
        sum += x[next]
        guard x[next] - (sum - 1) / (size + 1) > 0 else { break }
        sums += sum
        size += 1
        last = next
    }
    let threshold = (sums - 1) / size
    for i in 0..<count {
        let over = x[i] - threshold
        out[i] = over > 0 || over.isNaN ? over : 0
    }
}

/// The place of the value that follows place `last` in descending order; of the largest, where `last` is −1.
private func nextLargest(_ x: UnsafePointer<Float>, _ count: Int, after last: Int) -> Int? {
    var best: Int?
    for i in 0..<count where last < 0 || x[i] < x[last] || x[i] == x[last] && i > last {
        if best == nil || x[i] > x[best.unsafelyUnwrapped] { best = i }
    }
    return best
}
