/// A name as bytes. Comparing or hashing a `String` needs Unicode tables that an Embedded library does
/// without; names of layers, weights and JSON keys are compared as the bytes that files hold.
public struct Name: Hashable, Sendable, ExpressibleByStringLiteral {
    public let bytes: [UInt8]

    public init(_ bytes: [UInt8]) { self.bytes = bytes }
    public init(_ bytes: some Sequence<UInt8>) { self.bytes = Array(bytes) }
    public init(_ text: String) { bytes = Array(text.utf8) }
    public init(stringLiteral text: StaticString) {
        bytes = text.withUTF8Buffer { Array($0) }
    }

    /// For messages. Bytes that are not UTF-8 are shown as replacement characters.
    public var string: String { String(decoding: bytes, as: UTF8.self) }
    public var isEmpty: Bool { bytes.isEmpty }

    public func hasPrefix(_ prefix: Name) -> Bool { bytes.starts(with: prefix.bytes) }
    public func hasSuffix(_ suffix: Name) -> Bool {
        bytes.count >= suffix.bytes.count && bytes[(bytes.count - suffix.bytes.count)...].elementsEqual(suffix.bytes)
    }
    public static func + (a: Name, b: Name) -> Name { Name(a.bytes + b.bytes) }
}
