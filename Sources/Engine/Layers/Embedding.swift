import CSystem

/// A table of vectors, looked up by id. Its input is ids of the model's own inputs, checked before a step begins.
public final class Embedding: Layer {
    public let inputDim: Int
    public let outputDim: Int
    public let maskZero: Bool
    private(set) var embeddings: Weight?

    @export(interface)
    public init(name: Name, inputDim: Int, outputDim: Int, maskZero: Bool = false) {
        self.inputDim = inputDim
        self.outputDim = outputDim
        self.maskZero = maskZero
        super.init(name: name, className: "Embedding")
    }

    public override var form: Form { .embedding(self) }

    public override func outputShapes(_ inputs: [Shape]) throws(Failure) -> [Shape] {
        let shape = try single(inputs)
        if maskZero && shape.count != 1 {
            throw failure(.unsupported, "mask_zero=True takes ids of shape [batch, time], not \(describe(shape))")
        }
        return [shape + [outputDim]]
    }

    override func build(_ inputs: [Shape]) throws(Failure) {
        embeddings = read(try addWeight("embeddings", [inputDim, outputDim], .uniform(-0.05, 0.05)))
    }

    override func hasMask(_ inputs: [Bool]) throws(Failure) -> Bool { maskZero }
    public override func hides(_ value: Float) -> Bool { maskZero && value == 0 }
    override var embedding: Embedding? { self }
    override var parameters: [Float] { [maskZero ? 1 : 0] }

    override func operation(_ binding: inout Binding) throws(Failure) -> Operation? {
        try binding.allocateOutput()
        let mask = maskZero ? try binding.allocateMask() : nil
        return EmbeddingOperation(self, binding, mask)
    }
}

private final class EmbeddingOperation: Operation {
    private let layer: Embedding
    private let ids: UnsafeMutablePointer<Float>
    private let out: UnsafeMutablePointer<Float>
    private let mask: UnsafeMutablePointer<UInt8>?
    private let idsPerRow: Int

    init(_ layer: Embedding, _ binding: Binding, _ mask: UnsafeMutablePointer<UInt8>?) {
        self.layer = layer
        self.mask = mask
        ids = binding.inputs[0].data
        out = binding.outputs[0].data
        idsPerRow = binding.inputs[0].count
    }

    override func run(_ moment: Moment) {
        let width = layer.outputDim
        let table = layer.embeddings.unsafelyUnwrapped
        for i in 0..<(moment.rows &* idsPerRow) {
            let id = Int(ids[i])
            table.copyRow(id, to: out + i &* width)
            if let mask { mask[i] = id == 0 ? 0 : 1 }
        }
    }
}

extension Embedding {
    /// Whether every value is an id of the table; the first that is not, otherwise. Ids are cut to integers, as
    /// Keras casts them.
    func firstBadID(_ ids: UnsafePointer<Float>, count: Int) -> Float? {
        let limit = Float(inputDim)
        for i in 0..<count {
            let id = ids[i]
            if !(id > -1 && id < limit) { return id }
        }
        return nil
    }
}
