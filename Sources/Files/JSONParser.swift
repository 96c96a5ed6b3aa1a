import Engine

extension JSON {
    /// The value of a whole JSON text, in time linear in its length.
    ///
    /// The syntax is RFC 8259's, and Python's NaN, Infinity and -Infinity. Refused: invalid UTF-8, escapes of lone
    /// surrogates, more than `Limits.jsonDepth` levels. `subject` says in messages what the text is.
    public init(_ text: UnsafeRawBufferPointer, subject: Text = "JSON") throws(Failure) {
        var parser = JSONParser(text: text, subject: subject)
        self = try parser.document()
    }
}

private struct JSONParser {
    let text: UnsafeRawBufferPointer
    let subject: Text
    private var offset = 0

    init(text: UnsafeRawBufferPointer, subject: Text) {
        self.text = text
        self.subject = subject
    }

    private func failure(_ message: Text) -> Failure { Failure(.invalidFile, "\(subject) at offset \(offset): \(message)") }

    /// The next byte; nil at the end.
    private var next: UInt8? { offset < text.count ? text[offset] : nil }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { offset += 1 }
    }

    /// Goes past `byte` where it is the next one.
    private mutating func accept(_ byte: Unicode.Scalar) -> Bool {
        guard next == UInt8(ascii: byte) else { return false }
        offset += 1
        return true
    }

    mutating func document() throws(Failure) -> JSON {
        let json = try value(depth: 0)
        skipSpace()
        guard next == nil else { throw failure("expected the end of the text") }
        return json
    }

    private mutating func value(depth: Int) throws(Failure) -> JSON {
        skipSpace()
        guard let first = next else { throw failure("expected a value, but the text ends") }
        switch first {
        case UInt8(ascii: "{"): return try object(depth: depth + 1)
        case UInt8(ascii: "["): return try array(depth: depth + 1)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "N"): return try word("NaN", .number(.nan))
        case UInt8(ascii: "I"): return try word("Infinity", .number(.infinity))
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        default: throw failure("expected a value")
        }
    }

    private mutating func word(_ word: Literal, _ json: JSON) throws(Failure) -> JSON {
        let end = offset + word.bytes.count
        guard end <= text.count, word.bytes.elementsEqual(text[offset..<end]) else {
            throw failure("expected \(word)")
        }
        offset = end
        return json
    }

    private func checkDepth(_ depth: Int) throws(Failure) {
        guard depth <= Limits.jsonDepth else { throw failure("arrays and objects are nested more than \(Limits.jsonDepth) deep") }
    }

    private mutating func array(depth: Int) throws(Failure) -> JSON {
        try checkDepth(depth)
        offset += 1
        var values: [JSON] = []
        skipSpace()
        if accept("]") { return .array(values) }
        while true {
            values.append(try value(depth: depth))
            skipSpace()
            if accept("]") { return .array(values) }
            guard accept(",") else { throw failure("expected ',' or ']'") }
        }
    }

    private mutating func object(depth: Int) throws(Failure) -> JSON {
        try checkDepth(depth)
        offset += 1
        var members: [(Name, JSON)] = []
        skipSpace()
        if accept("}") { return .object(members) }
        while true {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw failure("expected a key in quotes") }
            let key = try string()
            skipSpace()
            guard accept(":") else { throw failure("expected ':'") }
            members.append((key, try value(depth: depth)))
            skipSpace()
            if accept("}") { return .object(members) }
            guard accept(",") else { throw failure("expected ',' or '}'") }
        }
    }

    // MARK: Numbers

    private mutating func digits() throws(Failure) -> Range<Int> {
        let start = offset
        while let byte = next, byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") { offset += 1 }
        guard offset > start else { throw failure("expected a digit") }
        return start..<offset
    }

    private mutating func number() throws(Failure) -> JSON {
        let isNegative = accept("-")
        if isNegative, next == UInt8(ascii: "I") { return try word("Infinity", .number(-.infinity)) }
        let whole = try digits()
        guard whole.count == 1 || text[whole.lowerBound] != UInt8(ascii: "0") else { throw failure("a number begins with 0") }
        var fraction = offset..<offset
        if accept(".") { fraction = try digits() }
        let exponent = try exponent()
        let value = Decimal.double(digits: [text[whole], text[fraction]].joined(), exponent: exponent - fraction.count)
        return .number(isNegative ? -value : value)
    }

    /// What stands after "e"; 0 where nothing does. Beyond a million it is held there: all such numbers are 0 or infinite
    /// unless they have as many digits.
    private mutating func exponent() throws(Failure) -> Int {
        guard accept("e") || accept("E") else { return 0 }
        let isNegative = accept("-")
        if !isNegative { _ = accept("+") }
        var value = 0
        for index in try digits() { value = min(value * 10 + Int(text[index] - UInt8(ascii: "0")), 1 << 40) }
        return isNegative ? -value : value
    }

    // MARK: Strings

    private mutating func string() throws(Failure) -> Name {
        offset += 1
        var bytes: [UInt8] = []
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                offset += 1
                return Name(bytes)
            case UInt8(ascii: "\\"):
                offset += 1
                try escape(into: &bytes)
            case 0..<0x20:
                throw failure("a string has a control character, which must be escaped")
            case 0x20..<0x80:
                bytes.append(byte)
                offset += 1
            default:
                let count = UTF8Sequence.length(in: text, at: offset)
                guard count > 0 else { throw failure("a string is not UTF-8") }
                bytes.append(contentsOf: text[offset..<offset + count])
                offset += count
            }
        }
        throw failure("a string has no end")
    }

    private mutating func escape(into bytes: inout [UInt8]) throws(Failure) {
        guard let kind = next else { throw failure("a string has no end") }
        offset += 1
        switch kind {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): bytes.append(kind)
        case UInt8(ascii: "b"): bytes.append(0x08)
        case UInt8(ascii: "f"): bytes.append(0x0C)
        case UInt8(ascii: "n"): bytes.append(0x0A)
        case UInt8(ascii: "r"): bytes.append(0x0D)
        case UInt8(ascii: "t"): bytes.append(0x09)
        case UInt8(ascii: "u"): UTF8Sequence.append(try scalar(), to: &bytes)
        default: throw failure("an escape that JSON does not have")
        }
    }

    /// The code point after "\u", of one unit or a surrogate pair.
    private mutating func scalar() throws(Failure) -> UInt32 {
        let unit = try hexadecimal()
        guard unit & 0xF800 == 0xD800 else { return unit }
        guard unit < 0xDC00, accept("\\"), accept("u") else { throw failure("a surrogate without its partner") }
        let low = try hexadecimal()
        guard low & 0xFC00 == 0xDC00 else { throw failure("a surrogate without its partner") }
        return 0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00)
    }

    private mutating func hexadecimal() throws(Failure) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = next else { throw failure("a string has no end") }
            let digit: UInt8
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
            default: throw failure("expected a hexadecimal digit")
            }
            value = value << 4 | UInt32(digit)
            offset += 1
        }
        return value
    }
}
