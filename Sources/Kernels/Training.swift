import CSystem

// What training does between the products; the arguments are those in kernels.h.

@inline(never)
func lstmGates(_ rows: Int, _ units: Int, _ z: UnsafeMutablePointer<Float>, _ c: UnsafePointer<Float>, _ cOut: UnsafeMutablePointer<Float>,
               _ active: UnsafeMutablePointer<Float>, _ h: UnsafeMutablePointer<Float>) {
    eachBlock(rows, units) { place, gates, lanes in
        let z = z + gates
        let i = sigmoid(Vector(z, count: lanes)), f = sigmoid(Vector(z + units, count: lanes))
        let g = tanh(Vector(z + 2 &* units, count: lanes)), o = sigmoid(Vector(z + 3 &* units, count: lanes))
        let next = fused(f, Vector(c + place, count: lanes), i * g)
        let activeNext = tanh(next)
        i.store(z, count: lanes)
        f.store(z + units, count: lanes)
        g.store(z + 2 &* units, count: lanes)
        o.store(z + 3 &* units, count: lanes)
        next.store(cOut + place, count: lanes)
        activeNext.store(active + place, count: lanes)
        (o * activeNext).store(h + place, count: lanes)
    }
}

@inline(never)
func lstmGatesBack(_ rows: Int, _ units: Int, _ z: UnsafePointer<Float>, _ c: UnsafePointer<Float>, _ active: UnsafePointer<Float>,
                   _ dh: UnsafePointer<Float>, _ dc: UnsafeMutablePointer<Float>, _ dz: UnsafeMutablePointer<Float>) {
    let one = Vector(1)
    eachBlock(rows, units) { place, gates, lanes in
        let z = z + gates, dz = dz + gates
        let i = Vector(z, count: lanes), f = Vector(z + units, count: lanes)
        let g = Vector(z + 2 &* units, count: lanes), o = Vector(z + 3 &* units, count: lanes)
        let active = Vector(active + place, count: lanes), dh = Vector(dh + place, count: lanes)
        let total = Vector(dc + place, count: lanes) + dh * o * (one - active * active)
        (total * g * (i * (one - i))).store(dz, count: lanes)
        (total * Vector(c + place, count: lanes) * (f * (one - f))).store(dz + units, count: lanes)
        (total * i * (one - g * g)).store(dz + 2 &* units, count: lanes)
        (dh * active * (o * (one - o))).store(dz + 3 &* units, count: lanes)
        (total * f).store(dc + place, count: lanes)
    }
}

/// Calls `body` for each sixteen units of each row: with their place in [rows][units] and in [rows][4 · units], and how many are left.
@inline(always)
private func eachBlock(_ rows: Int, _ units: Int, _ body: (_ place: Int, _ gates: Int, _ lanes: Int) -> Void) {
    for row in 0..<rows {
        var unit = 0
        while unit < units {
            body(row &* units &+ unit, 4 &* row &* units &+ unit, units &- unit)
            unit &+= 16
        }
    }
}

@inline(never)
func activateBack(_ kind: Int32, _ y: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, _ dx: UnsafeMutablePointer<Float>, _ count: Int) {
    let isTanh = kind == Int32(bitPattern: CZ_TANH.rawValue)
    var i = 0
    while i < count {
        let lanes = count &- i
        let y = Vector(y + i, count: lanes)
        let slope = isTanh ? Vector(1) - y * y : y * (Vector(1) - y)
        (Vector(dy + i, count: lanes) * slope).store(dx + i, count: lanes)
        i &+= 16
    }
}

/// An optimizer's update, in Keras's order of operations.
@inline(never)
func update(_ call: UnsafePointer<cz_update>) {
    let it = call.pointee
    let rate = Vector(it.rate), epsilon = Vector(it.epsilon), momentum = Vector(it.momentum)
    let keep1 = Vector(it.keep1), rest1 = Vector(it.rest1), keep2 = Vector(it.keep2), rest2 = Vector(it.rest2)
    let correction1 = Vector(it.correction1), correction2 = Vector(it.correction2)
    var i = 0
    while i < it.count {
        let lanes = it.count &- i
        // m, v and third of an optimizer that has not so many are the weights again.
        let mPlace = it.m + i, vPlace = it.v + i, thirdPlace = it.third + i
        let g = Vector(it.g + i, count: lanes), w = Vector(it.w + i, count: lanes)
        var m = Vector(mPlace, count: lanes), v = Vector(vPlace, count: lanes), third = Vector(thirdPlace, count: lanes)
        var change = g * rate
        switch cz_update_kind(UInt32(bitPattern: it.kind)) {
        case CZ_SGD:
            guard it.m != it.w else { break }
            m = m * momentum - change
            m.store(mPlace, count: lanes)
            change = it.nesterov != 0 ? change - m * momentum : -m
        case CZ_RMSPROP:
            m = keep2 * m + rest2 * (g * g)
            m.store(mPlace, count: lanes)
            var denominator = m + epsilon
            if it.centered != 0 {
                third = keep2 * third + rest2 * g
                third.store(thirdPlace, count: lanes)
                denominator = m - third * third + epsilon
            }
            change = change / denominator.squareRoot()
            if it.momentum > 0 {
                v = momentum * v + change
                v.store(vPlace, count: lanes)
                change = v
            }
        case CZ_ADAM, CZ_ADAMW:
            m = m + (g - m) * rest1
            v = v + (g * g - v) * rest2
            m.store(mPlace, count: lanes)
            v.store(vPlace, count: lanes)
            if it.third != it.v {
                third = third.atLeast(v)
                third.store(thirdPlace, count: lanes)
            } else {
                third = v
            }
            change = m * rate / (third.squareRoot() + epsilon)
        case CZ_NADAM:
            m = m + (g - m) * rest1
            v = v + (g * g - v) * rest2
            m.store(mPlace, count: lanes)
            v.store(vPlace, count: lanes)
            change = (keep1 * m + keep2 * g) * rate / ((v / correction2).squareRoot() + epsilon)
        case CZ_ADAGRAD:
            m = m + g * g
            m.store(mPlace, count: lanes)
            change = change / (m + epsilon).squareRoot()
        case CZ_ADAMAX:
            m = m + (g - m) * rest1
            v = (keep2 * v).atLeast(g.magnitude)
            m.store(mPlace, count: lanes)
            v.store(vPlace, count: lanes)
            change = rate * m / (correction1 * (v + epsilon))
        default: // Lion
            let direction = m * keep1 + g * rest1
            change = rate.signed(as: direction).replaced(by: Vector(0), where: direction .== Vector(0))
            (m * keep2 + g * rest2).store(mPlace, count: lanes)
        }
        (w - change).store(it.w + i, count: lanes)
        i &+= 16
    }
}
