import CSystem

// What training does between the products; the arguments are those in kernels.h.

@inline(never)
func lstmGates(_ rows: Int, _ units: Int, _ z: UnsafeMutablePointer<Float>, _ c: UnsafePointer<Float>, _ cOut: UnsafeMutablePointer<Float>,
               _ active: UnsafeMutablePointer<Float>, _ h: UnsafeMutablePointer<Float>) {
    eachBlock(rows, units) { place, places, lanes in
        let z = z + places
        var gate = 0
        while gate < 4 {
            let place = z + gate &* units, sum = load(place, lanes)
            store(gate == 2 ? tanh(sum) : sigmoid(sum), place, lanes)
            gate &+= 1
        }
        let i = load(z, lanes), f = load(z + units, lanes), g = load(z + 2 &* units, lanes), o = load(z + 3 &* units, lanes)
        let next = fused(f, load(c + place, lanes), i * g)
        let activeNext = tanh(next)
        store(next, cOut + place, lanes)
        store(activeNext, active + place, lanes)
        store(o * activeNext, h + place, lanes)
    }
}

@inline(never)
func lstmGatesBack(_ rows: Int, _ units: Int, _ z: UnsafePointer<Float>, _ c: UnsafePointer<Float>, _ active: UnsafePointer<Float>,
                   _ dh: UnsafePointer<Float>, _ dc: UnsafeMutablePointer<Float>, _ dz: UnsafeMutablePointer<Float>) {
    let one = Vector(1)
    eachBlock(rows, units) { place, places, lanes in
        let z = z + places, dz = dz + places
        // The next row's, which a run over a window has not near any more.
        for gate in 0..<4 { cz_prefetch(z + (4 &+ gate) &* units) }
        cz_prefetch(c + (place &+ units))
        cz_prefetch(active + (place &+ units))
        let i = load(z, lanes), f = load(z + units, lanes), g = load(z + 2 &* units, lanes), o = load(z + 3 &* units, lanes)
        let active = load(active + place, lanes), dh = load(dh + place, lanes)
        let total = load(dc + place, lanes) + dh * o * (one - active * active)
        store(total * g * (i * (one - i)), dz, lanes)
        store(total * load(c + place, lanes) * (f * (one - f)), dz + units, lanes)
        store(total * i * (one - g * g), dz + 2 &* units, lanes)
        store(dh * active * (o * (one - o)), dz + 3 &* units, lanes)
        store(total * f, dc + place, lanes)
    }
}

/// Calls `body` for each sixteen units of each row with their places in [rows][units] and [rows][4 · units], and how many are left.
@inline(always)
private func eachBlock(_ rows: Int, _ units: Int, _ body: (_ place: Int, _ places: Int, _ lanes: Int) -> Void) {
    var row = 0
    while row < rows {
        var unit = 0
        while unit < units {
            body(row &* units &+ unit, 4 &* row &* units &+ unit, units &- unit)
            unit &+= 16
        }
        row &+= 1
    }
}

// Blocks that are not whole are loaded and stored by calls: inlined everywhere they would be most of the code.

@inline(always)
private func load(_ pointer: UnsafePointer<Float>, _ lanes: Int) -> Vector { lanes >= 16 ? Vector(pointer) : loadPart(pointer, lanes) }

@inline(never)
private func loadPart(_ pointer: UnsafePointer<Float>, _ lanes: Int) -> Vector { Vector(pointer, count: lanes) }

@inline(always)
private func store(_ values: Vector, _ pointer: UnsafeMutablePointer<Float>, _ lanes: Int) {
    if lanes >= 16 { values.store(pointer) } else { storePart(values, pointer, lanes) }
}

@inline(never)
private func storePart(_ values: Vector, _ pointer: UnsafeMutablePointer<Float>, _ lanes: Int) { values.store(pointer, count: lanes) }

@inline(never)
func activateBack(_ activation: UnsafePointer<cz_activation>, _ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>,
                  _ dy: UnsafePointer<Float>, _ dx: UnsafeMutablePointer<Float>, _ count: Int) {
    let it = activation.pointee, one = Vector(1)
    var i = 0
    while i < count {
        let lanes = count &- i
        let y = load(y + i, lanes)
        var slope = y * (one - y)
        if it.isTanh {
            slope = one - y * y
        } else if !it.isSigmoid {
            // Linear between the threshold and the largest value.
            let x = load(x + i, lanes)
            slope = Vector(it.a).replaced(by: one, where: it.c == 0 ? Vector(0) .< x : Vector(it.c) .<= x)
            if it.b < .infinity { slope = slope.replaced(by: Vector(0), where: Vector(it.b) .<= x) }
        }
        store(load(dy + i, lanes) * slope, dx + i, lanes)
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
        // m, v and third of an optimizer that has not so many are the weights again.
        let mPlace = it.m + i, vPlace = it.v + i, thirdPlace = it.third + i
        let g = Vector(it.g + i), w = Vector(it.w + i)
        var m = Vector(mPlace), v = Vector(vPlace), third = Vector(thirdPlace)
        var change = g * rate
        switch cz_update_kind(UInt32(bitPattern: it.kind)) {
        case CZ_SGD:
            guard it.m != it.w else { break }
            m = m * momentum - change
            m.store(mPlace)
            change = it.nesterov != 0 ? change - m * momentum : -m
        case CZ_RMSPROP:
            m = keep2 * m + rest2 * (g * g)
            m.store(mPlace)
            var denominator = m + epsilon
            if it.centered != 0 {
                third = keep2 * third + rest2 * g
                third.store(thirdPlace)
                denominator = m - third * third + epsilon
            }
            change = change / denominator.squareRoot()
            if it.momentum > 0 {
                v = momentum * v + change
                v.store(vPlace)
                change = v
            }
        case CZ_ADAM, CZ_ADAMW:
            m = m + (g - m) * rest1
            v = v + (g * g - v) * rest2
            m.store(mPlace)
            v.store(vPlace)
            if it.third != it.v {
                third = third.atLeast(v)
                third.store(thirdPlace)
            } else {
                third = v
            }
            change = m * rate / (third.squareRoot() + epsilon)
        case CZ_NADAM:
            m = m + (g - m) * rest1
            v = v + (g * g - v) * rest2
            m.store(mPlace)
            v.store(vPlace)
            change = (keep1 * m + keep2 * g) * rate / ((v / correction2).squareRoot() + epsilon)
        case CZ_ADAGRAD:
            m = m + g * g
            m.store(mPlace)
            change = change / (m + epsilon).squareRoot()
        case CZ_ADAMAX:
            m = m + (g - m) * rest1
            v = (keep2 * v).atLeast(g.magnitude)
            m.store(mPlace)
            v.store(vPlace)
            change = rate * m / (correction1 * (v + epsilon))
        default: // Lion
            let direction = m * keep1 + g * rest1
            change = rate.signed(as: direction).replaced(by: Vector(0), where: direction .== Vector(0))
            (m * keep2 + g * rest2).store(mPlace)
        }
        (w - change).store(it.w + i)
        i &+= 16
    }
}
