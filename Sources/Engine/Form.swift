/// What a layer is, for those who compute with it in their own way: training goes through it forwards and backwards.
public enum Form {
    case input
    /// The output is the input's values under another shape.
    case sameValues
    case noise(Identity)
    case dense(Dense)
    case embedding(Embedding)
    case rnn(RNN)
    case bidirectional(Bidirectional)
    case timeDistributed(TimeDistributed)
    case activation(ActivationLayer)
    case softmax(SoftmaxOverAxes)
    case prelu(PReLU)
    case masking(Masking)
    case batchNormalization(BatchNormalization)
    case layerNormalization(LayerNormalization)
    case repeatVector(RepeatVector)
    case merge(Merge)
    case concatenate(Concatenate)
}

/// What a cell is.
public enum CellForm {
    case unknown
    case lstm(LSTMCell)
    case gru(GRUCell)
    case simple(SimpleRNNCell)
}

/// What a layer of the Dropout family does in training.
public enum Noise: Sendable {
    case none
    /// Drops values; axes of a shape of their own (batch first; 1: shared, −1: as the input) where it is not empty.
    case dropout(rate: Float, shape: [Int])
    case gaussian(deviation: Float)
    case gaussianDropout(rate: Float)
    case alphaDropout(rate: Float, shape: [Int])
}

/// What a layer's configuration says of training alone.
public struct TrainingOptions {
    /// A variable's penalty: l1·Σ|w| + l2·Σw².
    public struct Regularizer {
        public let variable: Name
        public let l1: Float
        public let l2: Float

        public init(variable: Name, l1: Float, l2: Float) {
            self.variable = variable
            self.l1 = l1
            self.l2 = l2
        }
    }

    public var regularizers: [Regularizer] = []
    /// The share of inputs, and of a recurrent layer's h, that a step drops.
    public var dropout: Float = 0
    public var recurrentDropout: Float = 0
    /// Whether each gate drops its own.
    public var dropsByGate = false
    /// What of it training cannot honour; "" where there is nothing.
    public var obstacle: Text = ""

    public init() {}
}
