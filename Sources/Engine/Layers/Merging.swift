/// Which steps of joined values are used.
public enum MaskRule: Sendable {
    /// Keras 3: those that any of the values uses; none is masked where one of them has no mask.
    case anyUses
    /// Keras 2: those that all values with a mask use.
    case allUse
}

/// Joins several values of one shape, value by value. Axes of length 1 are repeated, and a value of lower rank has
/// such axes put in behind its batch axis.
public final class Merge: Layer {
    public enum Kind: Sendable {
        case add, multiply, subtract, average, maximum, minimum
    }

    public let kind: Kind
    public let masks: MaskRule

    @export(interface)
    public init(name: Name, className: Name, kind: Kind, masks: MaskRule) {
        self.kind = kind
        self.masks = masks
        super.init(name: name, className: className)
    }

    public override var form: Form { .merge(self) }

    public override func outputShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] {
        guard inputs.count >= 2, kind != .subtract || inputs.count == 2 else {
            throw failure("takes \(kind == .subtract ? "just two" : "two or more") inputs, not \(inputs.count)")
        }
        let rank = inputs.reduce(0) { max($0, $1.count) }
        var result = widened(inputs[0], rank)
        for given in inputs.dropFirst() {
            let shape = widened(given, rank)
            for axis in shape.indices where shape[axis] != result[axis] {
                if result[axis] == 1 || result[axis] == anyLength && shape[axis] != 1 {
                    result[axis] = shape[axis]
                } else if shape[axis] != 1 && shape[axis] != anyLength {
                    throw failure("cannot join \(describe(result)) with \(describe(shape))")
                }
            }
        }
        return [result]
    }

    override func streaming(_ inputs: [Timeline], _ shapes: [Shape]) -> Streaming { joined(inputs) }

    override func hasMask(_ inputs: [Bool]) throws(Failure) -> Bool {
        switch masks {
        case .anyUses: inputs.allSatisfy { $0 }
        case .allUse: inputs.contains(true)
        }
    }

    override var parameters: [Float] { [masks == .anyUses ? 1 : 0] }

    override func operation(_ binding: inout Binding) throws(Failure) -> Operation? {
        try binding.allocateOutput()
        let hasMask = try hasMask(binding.inputs.map { $0.mask != nil })
        let joined = try JoinedMasks(&binding, masks, isNeeded: hasMask)
        let heedsMask = masks == .anyUses && (kind == .multiply || kind == .maximum || kind == .minimum)
        if heedsMask && binding.inputs.contains(where: { $0.mask != nil }) {
            return try MaskedMergeOperation(kind, binding, joined)
        }
        return try MergeOperation(kind, binding, joined)
    }
}

extension Layer {
    /// Values join where all have one step of a stream, or none has.
    fileprivate func joined(_ inputs: [Timeline]) -> Streaming {
        if inputs.allSatisfy({ $0 == inputs[0] }) { return .streams([inputs[0]]) }
        return .needsWhole("\(className) joins a value that comes step by step with one that stands for the whole "
            + "sequence; give the recurrent layers before it the same return_sequences")
    }
}

/// A shape with axes of length 1 in front, up to a rank.
public func widened(_ shape: Shape, _ rank: Int) -> Shape { Shape(repeating: 1, count: rank - shape.count) + shape }

/// The mask of joined values; a value without one counts as used throughout.
public struct JoinedMasks {
    private let masks: [UnsafeMutablePointer<UInt8>]
    /// Whether one of the values has no mask.
    private let isOpen: Bool
    private let rule: MaskRule
    private let out: UnsafeMutablePointer<UInt8>?
    private let time: Int

    /// - Parameters:
    ///   - masks: of each value its own.
    ///   - out: where the joint one goes, that of a value of this shape; nil: nowhere.
    public init(_ masks: [UnsafeMutablePointer<UInt8>?], _ rule: MaskRule, out: UnsafeMutablePointer<UInt8>?, _ shape: Shape) {
        self.masks = masks.compactMap { $0 }
        isOpen = self.masks.count < masks.count
        self.rule = rule
        self.out = out
        time = out == nil ? 0 : shape[0]
    }

    fileprivate init(_ binding: inout Binding, _ rule: MaskRule, isNeeded: Bool) throws(Failure) {
        self.init(binding.inputs.map { $0.mask }, rule, out: isNeeded ? try binding.allocateMask() : nil, binding.outputs[0].shape)
    }

    public func run(_ first: Int = 0, rows: Int) {
        guard let out else { return }
        for i in (first &* time)..<((first &+ rows) &* time) {
            var used = rule == .anyUses && isOpen ? 1 : masks[0][i]
            for mask in masks { used = rule == .anyUses ? used | mask[i] : used & mask[i] }
            out[i] = used
        }
    }
}

private class MergeOperation: Operation {
    let kind: Merge.Kind
    let inputs: [Tensor]
    let output: Tensor
    /// Per input, for each value of a row the index of its value; nil where they are one to one.
    private let places: [[Int]?]
    private let masks: JoinedMasks

    init(_ kind: Merge.Kind, _ binding: Binding, _ masks: JoinedMasks) throws(Failure) {
        self.kind = kind
        self.masks = masks
        inputs = binding.inputs
        output = binding.outputs[0]
        let shape = output.shape
        places = binding.inputs.map { $0.shape == shape ? nil : broadcastPlaces(widened($0.shape, shape.count), over: shape) }
    }

    override func run(_ moment: Moment) {
        for row in 0..<moment.rows {
            for (index, input) in inputs.enumerated() {
                add(index, row, input.data + row &* input.count, places[index], to: output.data + row &* output.count)
            }
            if kind == .average {
                let out = output.data + row &* output.count, size = Float(inputs.count)
                for i in 0..<output.count { out[i] = out[i] / size }
            }
        }
        masks.run(rows: moment.rows)
    }

    /// Joins one row of input `index` to what the inputs before it gave.
    func add(_ index: Int, _ row: Int, _ x: UnsafePointer<Float>, _ places: [Int]?, to out: UnsafeMutablePointer<Float>) {
        for i in 0..<output.count {
            let value = x[places?[i] ?? i]
            out[i] = index == 0 ? value : join(out[i], value)
        }
    }

    @inline(__always)
    final func join(_ a: Float, _ b: Float) -> Float {
        switch kind {
        case .add, .average: a + b
        case .multiply: a * b
        case .subtract: a - b
        case .maximum: a.isNaN || a > b ? a : b
        case .minimum: a.isNaN || a < b ? a : b
        }
    }
}

/// Keras 3's Multiply, Maximum and Minimum of values with masks: a masked step does not take part. Where all are masked,
/// Multiply gives zeros, if every value has a mask.
private final class MaskedMergeOperation: MergeOperation {
    /// Per row and step: whether any of the inputs so far is used.
    private let taken: UnsafeMutablePointer<UInt8>
    private let time: Int
    private let width: Int

    override init(_ kind: Merge.Kind, _ binding: Binding, _ masks: JoinedMasks) throws(Failure) {
        time = binding.outputs[0].shape[0]
        width = binding.outputs[0].count / max(1, time)
        taken = try binding.workspace.bytes(time)
        try super.init(kind, binding, masks)
    }

    override func add(_ index: Int, _ row: Int, _ x: UnsafePointer<Float>, _ places: [Int]?, to out: UnsafeMutablePointer<Float>) {
        let mask = inputs[index].mask
        let isLast = index == inputs.count - 1
        for t in 0..<time {
            let isUsed = mask == nil || mask![row &* time &+ t] != 0
            let before = index > 0 && taken[t] != 0
            for i in (t &* width)..<((t &+ 1) &* width) {
                let value = x[places?[i] ?? i]
                if index == 0 || !before && isUsed {
                    out[i] = kind == .multiply && !isUsed ? 1 : value
                } else if isUsed {
                    out[i] = join(out[i], value)
                }
            }
            taken[t] = before || isUsed ? 1 : 0
            if isLast && taken[t] == 0 && kind == .multiply && inputs.allSatisfy({ $0.mask != nil }) {
                (out + t &* width).update(repeating: 0, count: width)
            }
        }
    }
}

/// Values side by side along one axis.
public final class Concatenate: Layer {
    /// As Keras numbers them: batch is 0.
    public let axis: Int
    public let masks: MaskRule

    @export(interface)
    public init(name: Name, axis: Int, masks: MaskRule) {
        self.axis = axis
        self.masks = masks
        super.init(name: name, className: "Concatenate")
    }

    public override var form: Form { .concatenate(self) }

    public override func outputShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] {
        guard var result = inputs.first, inputs.count >= 2 else { throw failure("takes two or more inputs, not \(inputs.count)") }
        let along = try axisIndex(axis, rank: result.count)
        for shape in inputs.dropFirst() {
            guard shape.count == result.count else { throw failure("cannot join \(describe(result)) with \(describe(shape))") }
            for i in shape.indices {
                if i == along {
                    result[i] = result[i] < 0 || shape[i] < 0 ? anyLength : result[i] + shape[i]
                } else if result[i] < 0 {
                    result[i] = shape[i]
                } else if shape[i] >= 0 && shape[i] != result[i] {
                    throw failure("cannot join \(describe(result)) with \(describe(shape)) along axis \(axis)")
                }
            }
        }
        return [result]
    }

    override func streaming(_ inputs: [Timeline], _ shapes: [Shape]) -> Streaming {
        if inputs.contains(.flowing), let along = try? axisIndex(axis, rank: shapes[0].count), along == 0 {
            return .needsWhole("Concatenate along the time axis puts sequences one after another; join them along features (axis=-1)")
        }
        return joined(inputs)
    }

    override func hasMask(_ inputs: [Bool]) throws(Failure) -> Bool {
        if inputs.contains(true) && axis == 1 { throw failure(.unsupported, "masked sequences one after another along time") }
        return inputs.contains(true)
    }

    override var parameters: [Float] { [Float(axis), masks == .anyUses ? 1 : 0] }

    override func operation(_ binding: inout Binding) throws(Failure) -> Operation? {
        try binding.allocateOutput()
        let along = try axisIndex(axis, rank: binding.inputs[0].shape.count)
        let hasMask = binding.inputs.contains { $0.mask != nil }
        if along == 0 && hasMask { throw failure(.unsupported, "masked sequences one after another along time") }
        return ConcatenateOperation(binding, axis: along, try JoinedMasks(&binding, masks, isNeeded: hasMask))
    }
}

private final class ConcatenateOperation: Operation {
    private let inputs: [Tensor]
    private let output: Tensor
    /// How often, in a row, one piece of each input follows another.
    private let outer: Int
    private let masks: JoinedMasks

    init(_ binding: Binding, axis: Int, _ masks: JoinedMasks) {
        inputs = binding.inputs
        output = binding.outputs[0]
        outer = output.shape[..<axis].reduce(1, *)
        self.masks = masks
    }

    override func run(_ moment: Moment) {
        var out = output.data
        for turn in 0..<(moment.rows &* outer) {
            for input in inputs {
                let piece = input.count / outer
                out.copy(from: input.data + turn &* piece, count: piece)
                out += piece
            }
        }
        masks.run(rows: moment.rows)
    }
}
