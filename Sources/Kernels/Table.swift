import CSystem

/// The table of this level's kernels.
@inline(always)
func makeTable(name: StaticString) -> cz_kernels {
    cz_kernels(
        name: UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self),
        affine: { x, xStride, rows, inputs, packed, outputs, start, startStride, out, outStride in
            affine(x.unsafelyUnwrapped, xStride, rows, inputs, cz_weights(panels: packed, scales: nil, kind: 0), outputs, start,
                   startStride, out.unsafelyUnwrapped, outStride)
        },
        affine_packed: { x, xStride, rows, inputs, packed, outputs, start, startStride, out, outStride in
            affine(x.unsafelyUnwrapped, xStride, rows, inputs, packed.unsafelyUnwrapped.pointee, outputs, start, startStride,
                   out.unsafelyUnwrapped, outStride)
        },
        dense: { dense($0.unsafelyUnwrapped) },
        lstm: { lstm($0.unsafelyUnwrapped) },
        gru: { gru($0.unsafelyUnwrapped) },
        simple_rnn: { simpleRNN($0.unsafelyUnwrapped) },
        activate: { activate($0.unsafelyUnwrapped, $1.unsafelyUnwrapped, $2.unsafelyUnwrapped, $3) },
        softmax: { softmax($0.unsafelyUnwrapped, $1, $2.unsafelyUnwrapped, $3, $4, $5) },
        log_softmax: { logSoftmax($0.unsafelyUnwrapped, $1, $2.unsafelyUnwrapped, $3, $4, $5) },
        lstm_gates: {
            lstmGates($0, $1, $2.unsafelyUnwrapped, $3.unsafelyUnwrapped, $4.unsafelyUnwrapped, $5.unsafelyUnwrapped, $6.unsafelyUnwrapped)
        },
        lstm_gates_back: {
            lstmGatesBack($0, $1, $2.unsafelyUnwrapped, $3.unsafelyUnwrapped, $4.unsafelyUnwrapped, $5.unsafelyUnwrapped,
                          $6.unsafelyUnwrapped, $7.unsafelyUnwrapped)
        },
        activate_back: {
            activateBack($0.unsafelyUnwrapped, $1.unsafelyUnwrapped, $2.unsafelyUnwrapped, $3.unsafelyUnwrapped, $4.unsafelyUnwrapped, $5)
        },
        update: { update($0.unsafelyUnwrapped) })
}

// What the table's functions call. They are calls, not inlined: in a closure with C's calling convention the compiler
// would leave each vector operation a call.

@inline(never)
private func affine(_ x: UnsafePointer<Float>, _ xStride: Int, _ rows: Int, _ inputs: Int, _ packed: cz_weights,
                    _ outputs: Int, _ start: UnsafePointer<Float>?, _ startStride: Int, _ out: UnsafeMutablePointer<Float>,
                    _ outStride: Int) {
    Affine(x: x, xStride: xStride, inputs: inputs, packed: Weights(packed), outputs: outputs, start: start, startStride: startStride,
           out: out, outStride: outStride).run(rows: rows)
}

@inline(never)
private func dense(_ call: UnsafePointer<cz_dense>) { Dense(call: call).run() }

@inline(never)
private func lstm(_ call: UnsafePointer<cz_lstm>) { LSTM(call: call).run() }

@inline(never)
private func gru(_ call: UnsafePointer<cz_gru>) { GRU(call: call).run() }

@inline(never)
private func simpleRNN(_ call: UnsafePointer<cz_simple_rnn>) { SimpleRNN(call: call).run() }

@inline(never)
private func activate(_ activation: UnsafePointer<cz_activation>, _ x: UnsafePointer<Float>,
                      _ out: UnsafeMutablePointer<Float>, _ count: Int) {
    activation.pointee.apply(x, out, count: count)
}

@inline(never)
private func softmax(_ x: UnsafePointer<Float>, _ xStride: Int, _ out: UnsafeMutablePointer<Float>, _ outStride: Int,
                     _ rows: Int, _ count: Int) {
    for row in 0..<rows { softmaxRow(x + row &* xStride, out + row &* outStride, count) }
}

@inline(never)
private func logSoftmax(_ x: UnsafePointer<Float>, _ xStride: Int, _ out: UnsafeMutablePointer<Float>, _ outStride: Int,
                        _ rows: Int, _ count: Int) {
    for row in 0..<rows { logSoftmaxRow(x + row &* xStride, out + row &* outStride, count) }
}
