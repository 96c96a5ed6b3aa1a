import Engine

/// A sequential model put together by calls: it writes the architecture that Keras would have written.
public final class SequentialBuilder {
    private var layers: [JSON]
    private var keys = UniqueKeys()

    /// - Parameters:
    ///   - steps: time steps of the window; 0: any.
    ///   - features: values of one step; nil: the input is ids.
    @export(interface)
    public init(steps: Int, features: Int?) {
        let time: JSON = steps == 0 ? .null : .number(Double(steps))
        let shape: [JSON] = [.null, time] + (features.map { [.number(Double($0))] } ?? [])
        layers = [.object([("class_name", .string("InputLayer")),
                           ("config", .object([("name", .string("input")), ("batch_shape", .array(shape))]))])]
    }

    /// Adds a layer. options: "units=32, return_sequences=True".
    @export(interface)
    public func add(className: Name, options: [UInt8]) throws(Failure) {
        var parser = OptionParser(options, className)
        var config = try parser.parse()
        if !config.contains(where: { $0.0 == "name" }) {
            config.insert(("name", .string(keys.next(snakeCase(className)))), at: 0)
        }
        layers.append(.object([("class_name", .string(className)), ("config", .object(config))]))
    }

    @export(interface)
    public func build(seed: UInt64) throws(Failure) -> Model {
        let json = JSON.object([
            ("class_name", .string("Sequential")),
            ("config", .object([("name", .string("sequential")), ("layers", .array(layers))])),
            ("keras_version", .string("3.0.0")),
        ])
        let model = try KerasImport(json, version: nil).model
        try model.initialize(seed: seed)
        return model
    }
}

/// Reads `name=value, name=value`: values are JSON, Python's True, False, None, quoted text, or bare words.
private struct OptionParser {
    private let bytes: [UInt8]
    private let owner: Name
    private var place = 0

    init(_ bytes: [UInt8], _ owner: Name) {
        self.bytes = bytes
        self.owner = owner
    }

    mutating func parse() throws(Failure) -> [(Name, JSON)] {
        var options: [(Name, JSON)] = []
        skipSpace()
        while place < bytes.count {
            let key = word()
            skipSpace()
            guard !key.isEmpty, place < bytes.count, bytes[place] == UInt8(ascii: "=") else { throw failure("name=value") }
            place += 1
            skipSpace()
            if options.contains(where: { $0.0 == key }) { throw Failure(.invalidArgument, "options of \(owner): \(key) is given twice") }
            options.append((key, try value()))
            skipSpace()
            if place == bytes.count { break }
            guard bytes[place] == UInt8(ascii: ",") else { throw failure("a comma") }
            place += 1
            skipSpace()
        }
        return options
    }

    private func failure(_ expected: Text) -> Failure {
        Failure(.invalidArgument, "options of \(owner): expected \(expected) at byte \(place)")
    }

    private mutating func skipSpace() {
        while place < bytes.count, bytes[place] == 32 || bytes[place] >= 9 && bytes[place] <= 13 { place += 1 }
    }

    /// Letters, digits, and what numbers have beside them.
    private mutating func word() -> Name {
        let start = place
        while place < bytes.count {
            let c = bytes[place] | 32
            let isWord = c >= 97 && c <= 122 || bytes[place] >= 48 && bytes[place] <= 57
                || bytes[place] == UInt8(ascii: "_") || bytes[place] == UInt8(ascii: ".")
                || bytes[place] == UInt8(ascii: "-") || bytes[place] == UInt8(ascii: "+")
            if !isWord { break }
            place += 1
        }
        return Name(bytes[start..<place])
    }

    private mutating func value() throws(Failure) -> JSON {
        guard place < bytes.count else { throw failure("a value") }
        switch bytes[place] {
        case UInt8(ascii: "'"), UInt8(ascii: "\""):
            let quote = bytes[place]
            guard let end = bytes[(place + 1)...].firstIndex(of: quote) else { throw failure("a closing quote") }
            defer { place = end + 1 }
            return .string(Name(bytes[(place + 1)..<end]))
        case UInt8(ascii: "["), UInt8(ascii: "{"), UInt8(ascii: "("):
            return try bracketed()
        default:
            let text = word()
            switch text {
            case "": throw failure("a value")
            case "True", "true": return .bool(true)
            case "False", "false": return .bool(false)
            case "None", "null": return .null
            default:
                let number = text.bytes.withUnsafeBytes { try? JSON($0) }
                if let number, number.double != nil { return number }
                return .string(text)
            }
        }
    }

    /// A JSON array or object, or a tuple of numbers, up to its closing bracket.
    private mutating func bracketed() throws(Failure) -> JSON {
        let start = place
        var depth = 0
        var inText = false
        while place < bytes.count {
            let c = bytes[place]
            place += 1
            if inText {
                if c == UInt8(ascii: "\\") { place += 1 }
                if c == UInt8(ascii: "\"") { inText = false }
            } else if c == UInt8(ascii: "\"") {
                inText = true
            } else if c == UInt8(ascii: "[") || c == UInt8(ascii: "{") || c == UInt8(ascii: "(") {
                depth += 1
            } else if c == UInt8(ascii: "]") || c == UInt8(ascii: "}") || c == UInt8(ascii: ")") {
                depth -= 1
                if depth == 0 { break }
            }
        }
        guard depth == 0, place <= bytes.count else {
            place = start
            throw failure("a closing bracket")
        }
        let json = bytes[start..<place].map { (c: UInt8) -> UInt8 in
            c == UInt8(ascii: "(") ? UInt8(ascii: "[") : c == UInt8(ascii: ")") ? UInt8(ascii: "]") : c
        }
        return try json.withThrowing { text throws(Failure) in try JSON(text) }
    }
}
