import Engine

/// A model made from a Keras architecture, and the places where Keras files have its weights.
struct KerasImport {
    let model: Model
    private let source: KerasModel
    let isKeras3: Bool
    /// Where files of Keras 3 have the weights.
    var weightTree: WeightGroup { source.weights }

    /// - Parameters:
    ///   - json: what model.to_json() gives, or a file's model_config or config.json.
    ///   - version: the Keras version that the file names elsewhere; nil: it stands in the JSON, or can be told from it.
    init(_ json: JSON, version: Name?) throws(Failure) {
        let named = json["keras_version"]?.name ?? version
        let keras = KerasVersion(named, fallback: KerasImport.looksLikeKeras2(json) ? 2 : 3)
        isKeras3 = keras.isKeras3
        let className = json["class_name"]?.name ?? ""
        guard className == "Sequential" || className == "Functional" || className == "Model" else {
            throw Failure(.unsupported, "the model is of class '\(className)'; Cadenza has Sequential and Functional models")
        }
        let timeMajor = TimeMajor()
        source = try KerasModel(json, version: keras, timeMajor: timeMajor, prefix: "")
        let builder = ModelBuilder()
        let outputs = try source.applyToInputs(builder)
        let kept: [(Name, JSON)] = [
            ("class_name", .string(className)),
            ("config", json["config"] ?? .null),
            ("keras_version", .string(named ?? (keras.isKeras3 ? "3.0.0" : "2.0.0"))),
        ]
        model = try builder.finish(outputs: outputs, layers: source.engineLayers,
                                   architecture: Text(JSON.object(kept).serialized))
        if timeMajor.isSet && (timeMajor.isUnset || !model.canStream) {
            throw Failure(.unsupported, "time_major=True: Cadenza has it where all recurrent layers have it and nothing else works "
                + "along the time axis\(model.canStream ? "" : " (\(model.obstacle))")")
        }
    }

    /// Keras 3 says batch_shape, Keras 2 batch_input_shape.
    private static func looksLikeKeras2(_ json: JSON) -> Bool {
        let layers = json["config"]?.array ?? json["config"]?["layers"]?.array ?? []
        return layers.contains { $0["config"]?["batch_input_shape"] != nil } || json["config"]?.array != nil
    }

    /// Reads the weights from a file's root group: of Keras 3's layout, or of Keras 2's.
    func assignWeights(_ root: HDF5Group) throws(Failure) {
        if let group = try root.group("model_weights") {
            try assignByLayer(group)
        } else if try root.attribute("layer_names") != nil {
            try assignByLayer(root)
        } else {
            try assign(WeightGroup(key: "", children: [source.weights]), from: root, path: "")
        }
        try model.pack()
    }

    // MARK: Keras 3: a group for each layer, "vars/0" …

    /// What Keras 2.12 calls the group "layers".
    private static let layersOfKeras212: Name = "_layer_checkpoint_dependencies"

    private func assign(_ group: WeightGroup, from place: HDF5Group, path: Text) throws(Failure) {
        for (index, weight) in group.own.enumerated() {
            guard let dataset = try place.group("vars")?.dataset(Name("\(index)")) else {
                throw Failure(.invalidFile, "the file has no weight \(path)/vars/\(index) ('\(weight.path)')")
            }
            try assign(weight, dataset, group: group)
        }
        for child in group.children where !child.all.isEmpty {
            let childPath = path.isEmpty ? child.key : path + "/" + child.key
            var inner = try place.group(child.key)
            if inner == nil && child.key == "layers" { inner = try place.group(KerasImport.layersOfKeras212) }
            guard let inner else { throw Failure(.invalidFile, "the file has no group \(childPath)") }
            if child.key == "layers" {
                try assignLayers(child, from: inner, path: childPath)
            } else {
                try assign(child, from: inner, path: childPath)
            }
        }
    }

    /// The layers of a model. Their groups bear the name of their class and a number: Keras counts 0, 1, 2 …, but 2.12
    /// counts layers with weights by twos. So the groups of a class are taken in the order of their numbers.
    private func assignLayers(_ group: WeightGroup, from place: HDF5Group, path: Text) throws(Failure) {
        var numbered = Table<Name, [Name]>()
        for name in try place.names().inOrder({ UniqueKeys.parts($0).number < UniqueKeys.parts($1).number }) {
            numbered[UniqueKeys.parts(name).key, default: []].append(name)
        }
        for child in group.children where !child.all.isEmpty {
            let (kind, number) = UniqueKeys.parts(child.key)
            guard let names = numbered[kind], number < names.count, let inner = try place.group(names[number]) else {
                throw Failure(.invalidFile, "the file has no group \(path)/\(child.key)")
            }
            try assign(child, from: inner, path: path + "/" + names[number])
        }
    }

    // MARK: Keras 2: for each top-level layer a list of datasets

    private func assignByLayer(_ root: HDF5Group) throws(Failure) {
        let names = try nameList(root, "layer_names")
        // Layers without weights may be listed or not; those with weights are matched by name, or else in order.
        let wanted = source.namedGroups.filter { !$0.group.all.isEmpty }
        var listed: [Name: Int] = [:]
        var present: [(name: Name, group: HDF5Group, datasets: [Name])] = []
        for name in names {
            listed[name] = 1
            guard let group = try root.group(name) else { throw Failure(.invalidFile, "the file has no group of layer '\(name)'") }
            let datasets = try nameList(group, "weight_names")
            if !datasets.isEmpty { present.append((name, group, datasets)) }
        }
        let byName = wanted.allSatisfy { listed[$0.name] != nil }
        if !byName && present.count != wanted.count {
            throw Failure(.invalidFile, "the file has weights of \(present.count) layers, the model has \(wanted.count) layers with weights")
        }
        var places: [Name: Int] = [:]
        for (index, entry) in present.enumerated() { places[entry.name] = index }
        for (index, (name, group)) in wanted.enumerated() {
            let all = group.all
            guard let place = byName ? places[name] : index else {
                throw Failure(.invalidFile, "layer '\(name)' has no weights in the file, the model has \(all.count)")
            }
            let entry = present[place]
            // Keras lists what is trained first.
            let weights = all.filter { $0.isTrainable } + all.filter { !$0.isTrainable }
            guard entry.datasets.count == weights.count else {
                throw Failure(.invalidFile, "layer '\(name)' has \(entry.datasets.count) weights in the file, the model \(weights.count)")
            }
            for (weight, path) in zip(weights, entry.datasets) {
                guard let dataset = try entry.group.dataset(path) else {
                    throw Failure(.invalidFile, "the file has no dataset '\(path)' of layer '\(name)'")
                }
                try assign(weight, dataset, group: group)
            }
        }
    }

    /// A list of names in an attribute, or where it is too long for one, in "name0", "name1" …
    private func nameList(_ group: HDF5Group, _ attribute: Name) throws(Failure) -> [Name] {
        if let whole = try group.attribute(attribute) { return whole.strings }
        var names: [Name] = []
        var part = 0
        while let piece = try group.attribute(attribute + Name("\(part)")) {
            names += piece.strings
            part += 1
        }
        return names
    }

    // MARK: One weight

    private func assign(_ weight: Weight, _ dataset: HDF5Dataset, group: WeightGroup) throws(Failure) {
        let values = try dataset.floats()
        let owner = group.owner(of: weight)
        let isCuDNN = owner?.isCuDNN ?? false
        if dataset.shape == weight.shape && !isCuDNN {
            weight.adopt(values)
            return
        }
        guard let cell = owner?.cell,
              let converted = try CuDNN.convert(values, dataset.shape, to: weight, of: cell, isCuDNN: isCuDNN) else {
            throw Failure(.invalidFile, "weight '\(weight.path)' has shape \(dataset.shape) in the file, the model needs \(weight.shape)")
        }
        weight.adopt(converted)
    }
}
