/// A text that stands in the code: its address alone, as literals end with a zero. (A StaticString is three words, which at three
/// thousand places make thirty kilobytes of code.)
public struct Literal: ExpressibleByStringLiteral, @unchecked Sendable {
    public let start: UnsafePointer<UInt8>

    @inline(__always)
    public init(stringLiteral text: StaticString) { start = text.utf8Start }

    public var bytes: UnsafeBufferPointer<UInt8> {
        var count = 0
        while start[count] != 0 { count += 1 }
        return UnsafeBufferPointer(start: start, count: count)
    }
}

/// Bytes of UTF-8: names in files, and messages. Not a `String`, whose code for Unicode would be a tenth of the library; two are
/// equal if their bytes are.
public struct Text: Hashable, Sendable, ExpressibleByStringInterpolation {
    public private(set) var bytes: [UInt8]

    public init(_ bytes: [UInt8]) { self.bytes = bytes }
    public init(_ bytes: some Sequence<UInt8>) { self.bytes = Array(bytes) }
    public init(_ text: Text) { self = text }
    @inline(__always)
    public init(stringLiteral text: StaticString) { self.init(literal: Literal(stringLiteral: text)) }
    @inline(never)
    public init(literal: Literal) { bytes = Array(literal.bytes) }
    public init(stringInterpolation text: Interpolation) { bytes = text.bytes }

    /// `count` times the same character.
    public init(repeating character: Text, count: Int) {
        bytes = []
        for _ in 0..<count { bytes += character.bytes }
    }

    public init(cString text: UnsafePointer<CChar>) {
        var count = 0
        while text[count] != 0 { count += 1 }
        bytes = Array(UnsafeRawBufferPointer(start: text, count: count))
    }

    @inline(never)
    public static func joined(_ parts: [Text], _ separator: Text) -> Text {
        var text = Text([])
        for (i, part) in parts.enumerated() {
            if i > 0 { text += separator }
            text += part
        }
        return text
    }

    /// In a switch.
    @inline(never)
    public static func ~= (literal: Literal, text: Text) -> Bool {
        var i = 0
        for byte in text.bytes {
            guard byte != 0, literal.start[i] == byte else { return false }
            i += 1
        }
        return literal.start[i] == 0
    }

    public var count: Int { bytes.count }
    public var isEmpty: Bool { bytes.isEmpty }

    public func hasPrefix(_ prefix: Text) -> Bool { bytes.starts(with: prefix.bytes) }
    public func hasSuffix(_ suffix: Text) -> Bool {
        count >= suffix.count && bytes[(count - suffix.count)...].elementsEqual(suffix.bytes)
    }

    /// The same with a question mark for each byte that is no UTF-8: names come from files.
    public var repaired: Text {
        var bytes = self.bytes
        var i = 0
        while i < bytes.count {
            let length = sequenceLength(at: i)
            if length == 0 { bytes[i] = UInt8(ascii: "?") }
            i += max(1, length)
        }
        return Text(bytes)
    }

    /// Bytes of the character that begins at `i`; 0 where none does (The Unicode Standard, table 3-7).
    private func sequenceLength(at i: Int) -> Int {
        let first = bytes[i]
        if first < 0x80 { return 1 }
        let length = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0
        guard length > 0, i + length <= bytes.count else { return 0 }
        let lowest: UInt8 = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80
        let highest: UInt8 = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF
        guard bytes[i + 1] >= lowest, bytes[i + 1] <= highest else { return 0 }
        for k in 2..<max(2, length) where bytes[i + k] & 0xC0 != 0x80 { return 0 }
        return length
    }

    @inline(never)
    public static func + (a: Text, b: Text) -> Text { Text(a.bytes + b.bytes) }
    @inline(never)
    public static func += (a: inout Text, b: Text) { a.bytes += b.bytes }

    /// What "… \(value) …" is made of. Calls, so that each message is little code.
    public struct Interpolation: StringInterpolationProtocol {
        fileprivate var bytes: [UInt8] = []

        public init(literalCapacity: Int, interpolationCount: Int) {}

        @inline(__always)
        public mutating func appendLiteral(_ literal: StaticString) { append(Literal(stringLiteral: literal)) }

        @inline(never)
        fileprivate mutating func append(_ literal: Literal) { bytes.append(contentsOf: literal.bytes) }

        @inline(never)
        public mutating func appendInterpolation(_ text: Text) { bytes += text.bytes }

        @_disfavoredOverload
        public mutating func appendInterpolation(_ text: Literal) { append(text) }

        @inline(never)
        public mutating func appendInterpolation(_ number: UInt64) {
            var digits: [UInt8] = [], rest = number
            repeat {
                digits.append(UInt8(ascii: "0") + UInt8(rest % 10))
                rest /= 10
            } while rest > 0
            bytes += digits.reversed()
        }

        @inline(always)
        public mutating func appendInterpolation(_ number: some FixedWidthInteger & UnsignedInteger) {
            appendInterpolation(UInt64(truncatingIfNeeded: number))
        }

        @inline(always)
        public mutating func appendInterpolation(_ number: some FixedWidthInteger & SignedInteger) {
            appendInterpolation(Int(truncatingIfNeeded: number))
        }

        @inline(never)
        public mutating func appendInterpolation(_ number: Int) {
            if number < 0 { bytes.append(UInt8(ascii: "-")) }
            appendInterpolation(UInt64(number.magnitude))
        }

        /// With up to six decimals.
        @inline(never)
        public mutating func appendInterpolation(_ number: Float) {
            guard number.isFinite else { return appendLiteral(number.isNaN ? "NaN" : number < 0 ? "-inf" : "inf") }
            guard number.magnitude < 1e12 else { return appendLiteral(number < 0 ? "a number below -10^12" : "a number above 10^12") }
            let millionths = Int((Double(number).magnitude * 1e6).rounded())
            if number < 0 { appendLiteral("-") }
            appendInterpolation(millionths / 1_000_000)
            var rest = millionths % 1_000_000
            if rest > 0 { appendLiteral(".") }
            var unit = 100_000
            while rest > 0 {
                appendInterpolation(rest / unit)
                rest %= unit
                unit /= 10
            }
        }

        /// [2, 3]; a size that is free is None, as in Keras.
        @inline(never)
        public mutating func appendInterpolation(_ shape: [Int?]) {
            appendLiteral("[")
            for (i, size) in shape.enumerated() {
                if i > 0 { appendLiteral(", ") }
                if let size { appendInterpolation(size) } else { appendLiteral("None") }
            }
            appendLiteral("]")
        }

        @inline(never)
        public mutating func appendInterpolation(_ shape: [Int]) { appendInterpolation(shape.map { Optional($0) }) }
    }
}

#if !hasFeature(Embedded)
/// Swift's own strings, for tests.
extension Text: CustomStringConvertible {
    public init(_ string: String) { bytes = Array(string.utf8) }
    public var string: String { String(decoding: bytes, as: UTF8.self) }
    public var description: String { string }
    public func contains(_ other: String) -> Bool { string.contains(other) }
}
#endif

/// A text that stands for a thing: a layer's, a weight's, a key's.
public typealias Name = Text
