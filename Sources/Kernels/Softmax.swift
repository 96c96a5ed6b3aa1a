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

/// Σ e^(x − shift): sixteen sums, one a lane, then the lanes'. Where `out` is given, the exponentials go there.
@inline(always)
private func exponentials(_ x: UnsafePointer<Float>, _ count: Int, shift: Float, out: UnsafeMutablePointer<Float>?) -> Float {
    var sum = Vector(0)
    var i = 0
    while i < count {
        let lanes = count &- i
        let e = exponential(Vector(x + i, count: lanes) - Vector(shift))
        if let out { e.store(out + i, count: lanes) }
        sum = sum + (lanes < 16 ? e.keeping(lanes) : e)
        i &+= 16
    }
    return sum.sum()
}

/// Softmax of one row; `out` may be `x`.
@inline(always)
func softmaxRow(_ x: UnsafePointer<Float>, _ out: UnsafeMutablePointer<Float>, _ count: Int) {
    let sum = Vector(exponentials(x, count, shift: largest(x, count), out: out))
    var i = 0
    while i < count {
        let lanes = count &- i
        (Vector(out + i, count: lanes) / sum).store(out + i, count: lanes)
        i &+= 16
    }
}

/// Log-softmax of one row; `out` may be `x`.
@inline(always)
func logSoftmaxRow(_ x: UnsafePointer<Float>, _ out: UnsafeMutablePointer<Float>, _ count: Int) {
    let shift = largest(x, count)
    let sum = exponentials(x, count, shift: shift, out: nil)
    let logarithmOfSum = logarithm(Vector(sum))
    var i = 0
    while i < count {
        let lanes = count &- i
        (Vector(x + i, count: lanes) - Vector(shift) - logarithmOfSum).store(out + i, count: lanes)
        i &+= 16
    }
}
