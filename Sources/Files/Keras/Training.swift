import Engine

extension Config {
    /// What the configuration says of training alone.
    func trainingOptions() throws(Failure) -> TrainingOptions {
        var options = TrainingOptions()
        let variables: [Name] = ["kernel", "recurrent", "bias", "embeddings", "beta", "gamma", "alpha", "activity"]
        for variable in variables {
            if let json = value(variable + "_regularizer") {
                let name = json["class_name"]?.name ?? json.name ?? ""
                let given = json["config"]
                let weight = variable == "recurrent" ? "recurrent_kernel" : variable
                func number(_ key: Literal) -> Float { Float(given?[key]?.double ?? given?["value"]?.double ?? 0.01) }
                switch variable == "activity" ? "" : name {
                case "L1", "l1": options.regularizers.append(.init(variable: weight, l1: number("l1"), l2: 0))
                case "L2", "l2": options.regularizers.append(.init(variable: weight, l1: 0, l2: number("l2")))
                case "L1L2", "l1_l2":
                    options.regularizers.append(.init(variable: weight, l1: Float(given?["l1"]?.double ?? 0), l2: Float(given?["l2"]?.double ?? 0)))
                default: options.obstacle = "\(variable)_regularizer"
                }
            }
            if value(variable + "_constraint") != nil { options.obstacle = "\(variable)_constraint" }
        }
        if className == "ActivityRegularization" { options.obstacle = "ActivityRegularization" }
        options.dropout = try rate("dropout")
        options.recurrentDropout = try rate("recurrent_dropout")
        options.dropsByGate = options.recurrentDropout > 0 || value("implementation")?.int == 1
        return options
    }

    private func rate(_ key: Literal) throws(Failure) -> Float { min(1, max(0, try float(key, default: 0))) }

    /// The noise_shape that drops whole channels. Not literals: Swift 6.3.1's Embedded optimizer mixed them up here.
    @inline(never)
    private func channels(_ axes: Int) -> [Int] {
        var shape = [-1]
        for _ in 0..<axes { shape.append(1) }
        return shape + [-1]
    }

    /// What a layer of the Dropout family does in training.
    func noise() throws(Failure) -> Noise {
        var shape: [Int] = []
        for axis in value("noise_shape")?.array ?? value("noise_shape")?["items"]?.array ?? [] { shape.append(axis.int ?? -1) }
        switch className {
        case "Dropout": return .dropout(rate: try rate("rate"), shape: shape)
        case "SpatialDropout1D": return .dropout(rate: try rate("rate"), shape: channels(1))
        case "SpatialDropout2D": return .dropout(rate: try rate("rate"), shape: channels(2))
        case "SpatialDropout3D": return .dropout(rate: try rate("rate"), shape: channels(3))
        case "GaussianNoise": return .gaussian(deviation: try float("stddev", default: 0))
        case "GaussianDropout": return .gaussianDropout(rate: try rate("rate"))
        case "AlphaDropout": return .alphaDropout(rate: try rate("rate"), shape: shape)
        default: return .none
        }
    }
}
