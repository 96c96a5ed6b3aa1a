import Engine

/// Value by value. Under Keras 3's masks the masked values of Multiply, Maximum and Minimum do not take part.
final class MergeTape: TapeOperation {
    private let kind: Merge.Kind
    private let inputs: [TapeValue]
    private let output: TapeValue
    private let places: [[Int]?]
    private let masks: JoinedMasks
    /// Whether masks keep values out.
    private let heedsMasks: Bool
    /// Whether what no input uses is zero.
    private let zeroesUnused: Bool
    private let step: Int

    static func make(_ layer: Merge, _ binding: inout TapeBinding) throws(Failure) -> MergeTape {
        let masked = binding.inputs.filter { $0.mask != nil }.count
        let isNeeded = layer.masks == .anyUses ? masked == binding.inputs.count : masked > 0
        let joined = try binding.joinedMasks(layer.masks, isNeeded: isNeeded)
        let selects = layer.kind == .multiply || layer.kind == .maximum || layer.kind == .minimum
        return MergeTape(layer.kind, binding, joined, heedsMasks: layer.masks == .anyUses && selects && masked > 0,
                         zeroesUnused: masked == binding.inputs.count)
    }

    private init(_ kind: Merge.Kind, _ binding: TapeBinding, _ masks: JoinedMasks, heedsMasks: Bool, zeroesUnused: Bool) {
        self.kind = kind
        self.masks = masks
        self.heedsMasks = heedsMasks
        self.zeroesUnused = zeroesUnused
        inputs = binding.inputs
        output = binding.outputs[0]
        let shape = output.shape
        step = max(1, shape.dropFirst().reduce(1, *))
        places = binding.inputs.map { $0.shape == shape ? nil : broadcastPlaces(widened($0.shape, shape.count), over: shape) }
        super.init(rows: binding.rows)
    }

    @inline(__always)
    private func value(_ index: Int, _ row: Int, _ i: Int) -> Float { inputs[index].data[place(index, row, i)] }

    @inline(__always)
    private func place(_ index: Int, _ row: Int, _ i: Int) -> Int { row &* inputs[index].count &+ (places[index]?[i] ?? i) }

    /// Whether an input takes part in value `i`.
    private func isUsed(_ index: Int, _ row: Int, _ i: Int) -> Bool {
        guard heedsMasks, let mask = inputs[index].mask else { return true }
        return mask[row &* output.shape[0] &+ i / step] != 0
    }

    override func forward(_ pass: Pass) {
        for row in first..<(first &+ rows) {
            for i in 0..<output.count {
                var result: Float = 0
                var taken = false
                for index in 0..<inputs.count {
                    let x = value(index, row, i), isUsed = isUsed(index, row, i)
                    if !taken && (index == 0 || isUsed) {
                        result = kind == .multiply && !isUsed ? 1 : x
                    } else if isUsed {
                        result = join(result, x)
                    }
                    taken = taken || isUsed
                }
                if !taken && kind == .multiply && zeroesUnused { result = 0 }
                output.data[row &* output.count &+ i] = kind == .average ? result / Float(inputs.count) : result
            }
        }
        masks.run(first, rows: rows)
    }

    private func join(_ a: Float, _ b: Float) -> Float {
        switch kind {
        case .add, .average: a + b
        case .multiply: a * b
        case .subtract: a - b
        case .maximum: a.isNaN || a > b ? a : b
        case .minimum: a.isNaN || a < b ? a : b
        }
    }

    override func backward() {
        guard let dy = output.gradient else { return }
        for row in first..<(first &+ rows) {
            for i in 0..<output.count {
                let at = row &* output.count &+ i
                let d = dy[at]
                switch kind {
                case .add, .average, .subtract:
                    for index in 0..<inputs.count {
                        let own = kind == .average ? d / Float(inputs.count) : kind == .subtract && index == 1 ? -d : d
                        inputs[index].gradient?[place(index, row, i)] += own
                    }
                case .multiply:
                    for index in 0..<inputs.count where isUsed(index, row, i) {
                        var product = d
                        for other in 0..<inputs.count where other != index && isUsed(other, row, i) { product *= value(other, row, i) }
                        inputs[index].gradient?[place(index, row, i)] += product
                    }
                case .maximum, .minimum:
                    // The first that gives the value; where none takes part, the first of all.
                    var winner = 0
                    for index in (0..<inputs.count).reversed() where isUsed(index, row, i) && value(index, row, i) == output.data[at] {
                        winner = index
                    }
                    inputs[winner].gradient?[place(winner, row, i)] += d
                }
            }
        }
    }
}

/// Side by side along one axis.
final class ConcatenateTape: TapeOperation {
    private let inputs: [TapeValue]
    private let output: TapeValue
    private let outer: Int
    private let masks: JoinedMasks

    static func make(_ layer: Concatenate, _ binding: inout TapeBinding) throws(Failure) -> ConcatenateTape {
        let axis = try layer.axisIndex(layer.axis, rank: binding.inputs[0].shape.count)
        let hasMask = binding.inputs.contains { $0.mask != nil }
        if axis == 0 && hasMask { throw layer.failure(.unsupported, "masked sequences one after another along time") }
        let joined = try binding.joinedMasks(layer.masks, isNeeded: hasMask)
        return ConcatenateTape(binding, axis, joined)
    }

    private init(_ binding: TapeBinding, _ axis: Int, _ masks: JoinedMasks) {
        inputs = binding.inputs
        output = binding.outputs[0]
        outer = max(1, output.shape[..<axis].reduce(1, *))
        self.masks = masks
        super.init(rows: binding.rows)
    }

    override func forward(_ pass: Pass) {
        var out = output.data + first &* output.count
        for turn in (first &* outer)..<((first &+ rows) &* outer) {
            for input in inputs {
                let piece = input.count / outer
                out.copy(from: input.data + turn &* piece, count: piece)
                out += piece
            }
        }
        masks.run(first, rows: rows)
    }

    override func backward() {
        guard var dy = output.gradient else { return }
        dy += first &* output.count
        for turn in (first &* outer)..<((first &+ rows) &* outer) {
            for input in inputs {
                let piece = input.count / outer
                if let dx = input.gradient { add(dy, to: dx + turn &* piece, piece) }
                dy += piece
            }
        }
    }
}
