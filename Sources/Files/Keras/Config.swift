import Engine

/// Which Keras wrote a file; several layers mean different things in Keras 2 and 3.
struct KerasVersion {
    let major: Int
    let minor: Int

    /// From "3.15.1"; anything unreadable counts as `fallback`.
    init(_ text: Name?, fallback: Int = 3) {
        var numbers: [Int] = []
        for part in (text?.bytes ?? []).parts(UInt8(ascii: ".")) {
            var number: Int? = 0
            for byte in part.prefix(6) {
                number = byte >= 48 && byte <= 57 ? number.map { $0 * 10 + Int(byte - 48) } : nil
            }
            guard let number else { break }
            numbers.append(number)
        }
        major = numbers.first ?? fallback
        minor = numbers.count > 1 ? numbers[1] : 0
    }

    var isKeras3: Bool { major >= 3 }
}

/// A layer's configuration, read key by key. What is left unread at the end and could change results is refused
/// by name: no option is skipped.
final class Config {
    /// The layer's own name.
    let name: Name
    let className: Name
    private let entries: [(Name, JSON)]
    private var wasRead: [Bool]

    init(className: Name, _ json: JSON) throws(Failure) {
        guard let entries = json.object else {
            throw Failure(.invalidFile, "the config of a layer of class \(className) is not an object")
        }
        self.className = className
        self.entries = entries
        wasRead = entries.map { _ in false }
        name = json["name"]?.name ?? Name("")
    }

    /// Options that change nothing at inference.
    private static let harmless: [Name] = [
        "name", "trainable", "dtype", "batch_input_shape", "batch_shape", "input_shape", "input_dtype", "autocast",
        "activity_regularizer", "kernel_regularizer", "recurrent_regularizer", "bias_regularizer",
        "embeddings_regularizer", "beta_regularizer", "gamma_regularizer", "alpha_regularizer",
        "kernel_constraint", "recurrent_constraint", "bias_constraint", "embeddings_constraint",
        "beta_constraint", "gamma_constraint", "alpha_constraint",
        "kernel_initializer", "recurrent_initializer", "bias_initializer", "embeddings_initializer",
        "beta_initializer", "gamma_initializer", "alpha_initializer", "moving_mean_initializer",
        "moving_variance_initializer",
        "dropout", "recurrent_dropout", "seed", "implementation", "unroll", "stateful", "use_cudnn", "input_dim",
    ]

    /// The value of a key, which counts as read; nil where it is absent or null.
    @inline(never)
    func value(_ key: Literal) -> JSON? { value(Name(literal: key)) }

    @_disfavoredOverload
    func value(_ key: Name) -> JSON? {
        for (index, entry) in entries.enumerated().reversed() where entry.0 == key {
            wasRead[index] = true
            return entry.1.isNull ? nil : entry.1
        }
        return nil
    }

    /// Whether a key is there and null.
    func isNull(_ key: Literal) -> Bool { entries.contains { key ~= $0.0 && $0.1.isNull } }

    func failure(_ code: Failure.Code, _ text: Text) -> Failure {
        Failure(code, "layer '\(name)' (\(className)): \(text)")
    }

    private func wrong(_ key: Literal, _ expected: Text) -> Failure {
        failure(.invalidFile, "\(key) is not \(expected)")
    }

    func bool(_ key: Literal, default fallback: Bool) throws(Failure) -> Bool {
        guard let json = value(key) else { return fallback }
        guard let bool = json.bool ?? json.int.map({ $0 != 0 }) else { throw wrong(key, "True or False") }
        return bool
    }

    func float(_ key: Literal, default fallback: Float) throws(Failure) -> Float {
        guard let json = value(key) else { return fallback }
        return try float(json, key)
    }

    /// A number; Keras writes some as arrays: {"class_name": "__numpy__"} and the like, or one-element lists.
    private func float(_ json: JSON, _ key: Literal) throws(Failure) -> Float {
        if let number = json.double { return Float(number) }
        if let list = json.array, list.count == 1, let number = list[0].double { return Float(number) }
        if let inner = json["value"] ?? json["config"]?["value"], let number = inner.double { return Float(number) }
        throw wrong(key, "a number")
    }

    /// A size of 1 or more.
    func size(_ key: Literal) throws(Failure) -> Int {
        guard let json = value(key) else { throw failure(.invalidFile, "\(key) is missing") }
        guard let size = json.int, size >= 1, size <= 1 << 31 else { throw wrong(key, "a whole number of 1 or more") }
        return size
    }

    /// One whole number, or a list of them.
    func ints(_ key: Literal) throws(Failure) -> [Int]? {
        guard let json = value(key) else { return nil }
        if let one = json.int { return [one] }
        var numbers: [Int] = []
        for item in json.array ?? json["items"]?.array ?? [.null] {
            guard let number = item.int, abs(number) <= 1 << 31 else { throw wrong(key, "a whole number or a list of them") }
            numbers.append(number)
        }
        return numbers
    }

    /// Refuses `key` where it has another value than what does nothing.
    func refuse(_ key: Literal, unless harmless: (JSON) -> Bool = { $0.bool == false }) throws(Failure) {
        if let json = value(key), !harmless(json) {
            throw failure(.unsupported, "the option \(key) is not one that Cadenza has")
        }
    }

    /// Refuses any option that was not read and could change results.
    func finish(alsoHarmless: [Name] = []) throws(Failure) {
        for (index, entry) in entries.enumerated() where !wasRead[index] && !entry.1.isNull {
            if Config.harmless.contains(entry.0) || alsoHarmless.contains(entry.0) { continue }
            throw failure(.unsupported, "the option \(entry.0) is not one that Cadenza has")
        }
    }

    /// Computation in float32 (float64 models are computed in float32 too); anything narrower is refused.
    func checkDType() throws(Failure) {
        guard let json = value("dtype") else { return }
        let policy = json.name ?? json["config"]?["name"]?.name
        switch policy {
        case nil, "float32", "float64", "int32", "int64", "uint8", "int8", "int16", "bool": return
        default: throw failure(.unsupported, "dtype \(policy!): Cadenza computes in float32")
        }
    }

    // MARK: Initializers

    /// The initializers that the config names for the layer's variables.
    func initializers() throws(Failure) -> [(variable: Name, initializer: Initializer)] {
        var result: [(variable: Name, initializer: Initializer)] = []
        let variables: [(key: Literal, variable: Name)] = [
            ("kernel_initializer", "kernel"), ("recurrent_initializer", "recurrent_kernel"), ("bias_initializer", "bias"),
            ("embeddings_initializer", "embeddings"), ("beta_initializer", "beta"), ("gamma_initializer", "gamma"),
            ("alpha_initializer", "alpha"), ("moving_mean_initializer", "moving_mean"),
            ("moving_variance_initializer", "moving_variance"),
        ]
        for (key, variable) in variables {
            guard let json = value(key) else { continue }
            // An LSTM's unit_forget_bias stands before its bias_initializer.
            if variable == "bias", value("unit_forget_bias")?.bool == true { continue }
            if let initializer = try initializer(json, key) { result.append((variable, initializer)) }
        }
        return result
    }

    /// nil: one that is not known; the layer's default stands, since weights from a file replace it anyway.
    private func initializer(_ json: JSON, _ key: Literal) throws(Failure) -> Initializer? {
        let options = json["config"]
        func number(_ key: Literal, _ fallback: Double) -> Float { Float(options?[key]?.double ?? fallback) }
        func scaled(_ scale: Float, _ fan: Initializer.Fan, uniform: Bool) -> Initializer {
            .varianceScaling(scale: scale, fan: fan, distribution: uniform ? .uniform : .truncatedNormal)
        }
        switch json.name ?? json["class_name"]?.name {
        case "Zeros", "zeros": return .zeros
        case "Ones", "ones": return .ones
        case "Constant", "constant": return .constant(number("value", 0))
        case "RandomUniform", "random_uniform", "uniform": return .uniform(number("minval", -0.05), number("maxval", 0.05))
        case "RandomNormal", "random_normal", "normal": return .normal(mean: number("mean", 0), deviation: number("stddev", 0.05))
        case "TruncatedNormal", "truncated_normal":
            return .truncatedNormal(mean: number("mean", 0), deviation: number("stddev", 0.05))
        case "GlorotUniform", "glorot_uniform": return scaled(1, .average, uniform: true)
        case "GlorotNormal", "glorot_normal": return scaled(1, .average, uniform: false)
        case "HeUniform", "he_uniform": return scaled(2, .input, uniform: true)
        case "HeNormal", "he_normal": return scaled(2, .input, uniform: false)
        case "LecunUniform", "lecun_uniform": return scaled(1, .input, uniform: true)
        case "LecunNormal", "lecun_normal": return scaled(1, .input, uniform: false)
        case "Orthogonal", "orthogonal", "OrthogonalInitializer": return .orthogonal(gain: number("gain", 1))
        case "Identity", "identity", "IdentityInitializer": return .identity(gain: number("gain", 1))
        case "VarianceScaling", "variance_scaling":
            let fan: Initializer.Fan = switch options?["mode"]?.name {
            case "fan_out": .output
            case "fan_avg": .average
            default: .input
            }
            let distribution: Initializer.Distribution = switch options?["distribution"]?.name {
            case "uniform": .uniform
            case "untruncated_normal": .normal
            default: .truncatedNormal
            }
            return .varianceScaling(scale: number("scale", 1), fan: fan, distribution: distribution)
        default: return nil
        }
    }
}
