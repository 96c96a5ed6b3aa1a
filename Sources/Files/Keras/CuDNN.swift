import Engine

/// Weights as Keras 2's CuDNNLSTM and CuDNNGRU layers keep them, turned into those of LSTM and GRU.
///
/// Each gate's kernel is kept transposed: the input kernel (features, units) as the column-major reading of the same
/// values, the recurrent one (units, units) simply transposed. Input and recurrent biases stand one after the other:
/// (8u) for an LSTM, whose sum is the bias; (6u) for a GRU, which keeps both as (2, 3u).
enum CuDNN {
    /// - Parameter isCuDNN: whether the layer is of one of those classes; a plain layer's file may have such a bias.
    /// - Returns: the converted values; nil where they do not fit the weight.
    static func convert(_ values: AlignedBuffer, _ shape: [Int], to weight: Weight, of cell: Cell,
                        isCuDNN: Bool) throws(Failure) -> AlignedBuffer? {
        if weight.variable == "bias" { return try bias(values, shape, weight, cell) }
        guard isCuDNN, shape == weight.shape, shape.count == 2 else { return nil }
        let rows = shape[0], columns = shape[1], units = cell.units
        let result = try AlignedBuffer(count: weight.count)
        for gate in 0..<(columns / units) {
            for row in 0..<rows {
                for unit in 0..<units {
                    // The value's place in the gate's block as it was read out, row by row.
                    let place = row + unit * rows
                    let source = (place / units) * columns + gate * units + place % units
                    result.floats[row * columns + gate * units + unit] = values.floats[source]
                }
            }
        }
        return result
    }

    private static func bias(_ values: AlignedBuffer, _ shape: [Int], _ weight: Weight, _ cell: Cell) throws(Failure) -> AlignedBuffer? {
        guard shape.count == 1 else { return nil }
        if cell.className == "GRUCell" { return weight.count == values.count ? values : nil }
        guard cell.className == "LSTMCell", values.count == 2 * weight.count else { return nil }
        let result = try AlignedBuffer(count: weight.count)
        for i in 0..<weight.count { result.floats[i] = values.floats[i] + values.floats[weight.count + i] }
        return result
    }
}
