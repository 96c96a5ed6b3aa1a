import CSystem
import Engine

extension Config {
    /// The activation under `key`: a name, a function's description, or a layer's.
    func activation(_ key: Literal, default fallback: Activation = .linear, _ version: KerasVersion) throws(Failure) -> Activation {
        guard let json = value(key) else { return fallback }
        if let name = json.name { return try activation(named: name, key, version) }
        guard let className = json["class_name"]?.name else {
            throw failure(.invalidFile, "\(key) is neither a name nor a description of an activation")
        }
        if className == "function", let name = json["config"]?.name ?? json["name"]?.name {
            return try activation(named: name, key, version)
        }
        let inner = try Config(className: className, json["config"] ?? .object([]))
        guard let activation = try inner.layerActivation(version) else {
            throw failure(.unsupported, "\(key) is \(className), an activation that Cadenza does not have")
        }
        try inner.finish()
        return activation
    }

    /// keras.activations, with the parameters that they have by default.
    private func activation(named name: Name, _ key: Literal, _ version: KerasVersion) throws(Failure) -> Activation {
        switch name {
        case "linear": .linear
        case "tanh": .tanh
        case "sigmoid": .sigmoid
        case "hard_sigmoid": version.isKeras3 ? .kind(CZ_HARD_SIGMOID, 1 / 6, 0.5) : .kind(CZ_HARD_SIGMOID, 0.2, 0.5)
        case "relu": .relu()
        case "relu6": .relu(max: 6)
        case "leaky_relu": .relu(slope: 0.2)
        case "elu": .kind(CZ_ELU, 1)
        case "selu": .kind(CZ_SELU, 1.673_263_2, 1.050_701)
        case "celu": .kind(CZ_CELU, 1)
        case "gelu": .kind(CZ_GELU)
        case "silu", "swish": .kind(CZ_SILU)
        case "hard_silu", "hard_swish": .kind(CZ_HARD_SILU)
        case "mish": .kind(CZ_MISH)
        case "softplus": .kind(CZ_SOFTPLUS)
        case "softsign": .kind(CZ_SOFTSIGN)
        case "exponential": .kind(CZ_EXPONENTIAL)
        case "log_sigmoid": .kind(CZ_LOG_SIGMOID)
        case "hard_tanh": .kind(CZ_HARD_TANH)
        case "hard_shrink": .kind(CZ_HARD_SHRINK, 0.5)
        case "soft_shrink": .kind(CZ_SOFT_SHRINK, 0.5)
        case "tanh_shrink": .kind(CZ_TANH_SHRINK)
        case "squareplus": .kind(CZ_SQUAREPLUS, 4)
        case "sparse_plus": .kind(CZ_SPARSE_PLUS)
        case "sparse_sigmoid": .kind(CZ_SPARSE_SIGMOID)
        case "softmax": .softmax
        case "log_softmax": .logSoftmax
        case "sparsemax": .sparsemax
        case "glu": .glu
        default: throw failure(.unsupported, "\(key) is '\(name)', an activation that Cadenza does not have")
        }
    }

    /// The activation that a layer of this class is, where it is one on each value; nil for other classes.
    func layerActivation(_ version: KerasVersion) throws(Failure) -> Activation? {
        switch className {
        case "Activation":
            return try activation("activation", version)
        case "ReLU":
            let limit = try float("max_value", default: .infinity)
            return .relu(slope: try float("negative_slope", default: 0), max: limit,
                         threshold: try float("threshold", default: 0))
        case "LeakyReLU":
            let alpha = try float("alpha", default: 0.3)
            return .relu(slope: try float("negative_slope", default: alpha))
        case "ELU":
            return .kind(CZ_ELU, try float("alpha", default: 1))
        case "ThresholdedReLU":
            return .kind(CZ_THRESHOLD, try float("theta", default: 1), 0)
        default:
            return nil
        }
    }
}

extension Activation {
    static func relu(slope: Float = 0, max: Float = .infinity, threshold: Float = 0) -> Activation {
        .kind(CZ_RELU, slope, max, threshold)
    }
}
