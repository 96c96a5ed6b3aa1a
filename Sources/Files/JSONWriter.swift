import CSystem
import Engine

extension JSON {
    /// The value as JSON text without spaces; parsing it gives the same value again, provided that its strings are UTF-8.
    ///
    /// Whole numbers up to 2⁵³ are written without a point, others with the fewest digits that tell them apart; NaN
    /// and the infinities as Python writes them.
    public var serialized: [UInt8] {
        var text: [UInt8] = []
        write(to: &text)
        return text
    }

    private func write(to text: inout [UInt8]) {
        switch self {
        case .null: text += Name("null").bytes
        case .bool(let value): text += Name(value ? "true" : "false").bytes
        case .number(let value): JSON.write(value, to: &text)
        case .string(let value): JSON.write(value, to: &text)
        case .array(let values):
            text.append(UInt8(ascii: "["))
            for (index, value) in values.enumerated() {
                if index > 0 { text.append(UInt8(ascii: ",")) }
                value.write(to: &text)
            }
            text.append(UInt8(ascii: "]"))
        case .object(let members):
            text.append(UInt8(ascii: "{"))
            for (index, member) in members.enumerated() {
                if index > 0 { text.append(UInt8(ascii: ",")) }
                JSON.write(member.0, to: &text)
                text.append(UInt8(ascii: ":"))
                member.1.write(to: &text)
            }
            text.append(UInt8(ascii: "}"))
        }
    }

    private static func write(_ value: Double, to text: inout [UInt8]) {
        if value.isNaN {
            text += Name("NaN").bytes
        } else if value.isInfinite {
            text += Name(value < 0 ? "-Infinity" : "Infinity").bytes
        } else if value == 0, value.sign == .minus {
            text += Name("-0.0").bytes
        } else if let whole = JSON.number(value).int {
            text += Text("\(whole)").bytes
        } else {
            let digits = UnsafeMutablePointer<CChar>.allocate(capacity: Int(CZ_DECIMAL_SIZE))
            defer { digits.deallocate() }
            for i in 0..<cz_write_decimal(value, digits) { text.append(UInt8(bitPattern: digits[i])) }
        }
    }

    private static func write(_ string: Name, to text: inout [UInt8]) {
        let hexadecimal: StaticString = "0123456789abcdef"
        text.append(UInt8(ascii: "\""))
        for byte in string.bytes {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                text += [UInt8(ascii: "\\"), byte]
            case 0..<0x20, 0x7F:
                text += Name("\\u00").bytes
                text += [hexadecimal.utf8Start[Int(byte >> 4)], hexadecimal.utf8Start[Int(byte & 15)]]
            default:
                text.append(byte)
            }
        }
        text.append(UInt8(ascii: "\""))
    }
}
