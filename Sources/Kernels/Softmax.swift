/// The largest value of a row; values that are not numbers are passed over.
@inline(always)
private func largest(_ x: UnsafePointer<Float>, _ count: Int) -> Float {
    var best = Vector(-.infinity)
    var i = 0
    while i &+ 16 <= count {
        let values = Vector(x + i)
        best = best.replaced(by: values, where: best .< values)
        i &+= 16
    }
    var result = best.largest()
    while i < count {
        if x[i] > result { result = x[i] }
        i &+= 1
    }
    return result
}

/// Σ e^(x − shift) and what the sum is rounded off by: sixteen sums, one a lane, then the lanes'. Where `out` is given, the
/// exponentials go there.
@inline(never)
private func exponentials(_ x: UnsafePointer<Float>, _ count: Int, shift: Float, out: UnsafeMutablePointer<Float>?) -> (sum: Float, lost: Float) {
    var sum = Vector(0), lost = Vector(0)
    var i = 0
    while i < count {
        let lanes = count &- i
        let e = exponential(Vector(x + i, count: lanes), minus: Vector(shift))
        if let out { e.store(out + i, count: lanes) }
        let term = lanes < 16 ? e.keeping(lanes) : e
        // Knuth's two-sum.
        let larger = sum + term, back = larger - sum
        lost = lost + ((sum - (larger - back)) + (term - back))
        sum = larger
        i &+= 16
    }
    var total: Double = 0
    withUnsafePointer(to: &sum) { place in
        let lanes = UnsafeRawPointer(place).assumingMemoryBound(to: Float.self)
        for lane in 0..<16 { total += Double(lanes[lane]) }
    }
    total += Double(lost.sum())
    let rounded = Float(total)
    return (rounded, Float(total - Double(rounded)))
}

/// Softmax of one row; `out` may be `x`.
@inline(always)
func softmaxRow(_ x: UnsafePointer<Float>, _ out: UnsafeMutablePointer<Float>, _ count: Int) {
    let (total, lost) = exponentials(x, count, shift: largest(x, count), out: out)
    let sum = Vector(total), share = Vector(-lost / total)
    var i = 0
    while i < count {
        let lanes = count &- i
        let quotient = Vector(out + i, count: lanes) / sum
        fused(quotient, share, quotient).store(out + i, count: lanes)
        i &+= 16
    }
}

/// Log-softmax of one row; `out` may be `x`.
@inline(always)
func logSoftmaxRow(_ x: UnsafePointer<Float>, _ out: UnsafeMutablePointer<Float>, _ count: Int) {
    let shift = largest(x, count)
    let sum = exponentials(x, count, shift: shift, out: nil).sum
    let logarithmOfSum = logarithm(Vector(sum))
    var i = 0
    while i < count {
        let lanes = count &- i
        (Vector(x + i, count: lanes) - Vector(shift) - logarithmOfSum).store(out + i, count: lanes)
        i &+= 16
    }
}
