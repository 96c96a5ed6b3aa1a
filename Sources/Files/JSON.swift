import Engine

/// A JSON value. Objects keep the order of their members.
public enum JSON: Sendable {
    case null
    case bool(Bool)
    /// Whole numbers are exact up to 2⁵³. NaN and the infinities are what Python's `json` writes.
    case number(Double)
    /// UTF-8.
    case string(Name)
    case array([JSON])
    /// Members in the file's order; of a key that comes twice the last counts.
    case object([(Name, JSON)])

    /// The member of an object; nil where the value is no object or has no such member.
    public subscript(key: Literal) -> JSON? {
        guard case .object(let members) = self else { return nil }
        return members.last { key ~= $0.0 }?.1
    }

    public var isNull: Bool { if case .null = self { true } else { false } }
    /// The value of true or false; nil where it is neither.
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    /// A number's value; nil where it is none.
    public var double: Double? { if case .number(let value) = self { value } else { nil } }
    /// A whole number's value, also where it is written "2.0"; nil where it is none or beyond 2⁵³.
    public var int: Int? {
        guard case .number(let value) = self, abs(value) <= 9_007_199_254_740_992, value == value.rounded(.towardZero) else { return nil }
        return Int(value)
    }
    /// A string's bytes; nil where it is none.
    public var name: Name? { if case .string(let value) = self { value } else { nil } }
    /// An array's values; nil where it is none.
    public var array: [JSON]? { if case .array(let values) = self { values } else { nil } }
    /// An object's members; nil where it is none.
    public var object: [(Name, JSON)]? { if case .object(let members) = self { members } else { nil } }
}

extension JSON: Equatable {
    /// Same kind and content; NaN equals NaN, and members are compared in order.
    public static func == (a: JSON, b: JSON) -> Bool {
        switch (a, b) {
        case (.null, .null): true
        case (.bool(let x), .bool(let y)): x == y
        case (.number(let x), .number(let y)): x == y || (x.isNaN && y.isNaN)
        case (.string(let x), .string(let y)): x == y
        case (.array(let x), .array(let y)): x == y
        case (.object(let x), .object(let y)): x.count == y.count && zip(x, y).allSatisfy { $0.0 == $1.0 && $0.1 == $1.1 }
        default: false
        }
    }
}
