import Foundation
import Testing
@testable import Engine
@testable import Files

private func parsed(_ text: String) throws -> JSON {
    try Array(text.utf8).reading { try JSON($0) }
}

@Suite struct JSONTests {
    @Test func valuesOfAllKinds() throws {
        let json = try parsed(#" { "a" : [ 1 , -2.5e1, true,false , null ], "b\u00e9\ud83d\ude00\n\/": "\"\\\b\f\r\t", "" : {} } "#)
        #expect(json["a"]?.array == [.number(1), .number(-25), .bool(true), .bool(false), .null])
        #expect(json["bé😀\n/"]?.name == "\"\\\u{08}\u{0C}\r\t")
        #expect(json[""]?.object?.isEmpty == true)
        #expect(json.object?.map { $0.0.string } == ["a", "bé😀\n/", ""])
        #expect(json["a"]?.array?[1].int == -25 && json["a"]?.array?[4].isNull == true && json["none"] == nil)
    }

    @Test func pythonsNumbers() throws {
        let json = try parsed("[NaN, Infinity, -Infinity, 9007199254740993, 1e400, -0.0, 2.0, 2.5]").array!
        #expect(json[0].double!.isNaN && json[1].double == .infinity && json[2].double == -.infinity)
        #expect(json[3].double == 9_007_199_254_740_992 && json[4].double == .infinity && json[5].double!.sign == .minus)
        #expect(json[6].int == 2 && json[7].int == nil && json[1].int == nil && json[0].int == nil)
    }

    @Test func ofADoubleKeyTheLastCounts() throws {
        #expect(try parsed(#"{"a":1,"b":2,"a":3}"#)["a"]?.int == 3)
    }

    @Test(arguments: [
        "", " ", "{", "[", "[1", "[1,", "[1,]", "[,1]", "{,}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{1:1}", "01", "-", "+1", ".5", "1.",
        "1e", "1e+", "0x1", "--1", "- 1", "tru", "True", "nul", "nan", "-NaN", "Infinit", "\"", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"",
        "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\\ud800\\", "\"\u{01}\"", "\"\n\"", "1 2", "[1]]", "{}x", "'a'", "[1;2]", "\u{FEFF}1",
    ])
    func wrongSyntaxIsRefused(text: String) {
        #expect(failure { _ = try parsed(text) }?.code == .invalidFile)
    }

    @Test(arguments: [[0x80], [0xC0, 0x80], [0xC3], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80], [0xF0, 0x80, 0x80, 0x80], [0xF4, 0x90, 0x80, 0x80],
                      [0xF5, 0x80, 0x80, 0x80], [0xE2, 0x82], [0xFF]] as [[UInt8]])
    func whatIsNotUTF8IsRefused(bytes: [UInt8]) {
        #expect(failure {
            _ = try ([0x22] + bytes + [0x22]).reading { try JSON($0) }
        }?.message.contains("UTF-8") == true)
    }

    @Test func depthIsLimited() throws {
        func nested(_ depth: Int) -> String { String(repeating: "[", count: depth) + String(repeating: "]", count: depth) }
        _ = try parsed(nested(Limits.jsonDepth))
        #expect(failure { _ = try parsed(nested(Limits.jsonDepth + 1)) }?.message.contains("128") == true)
        #expect(failure { _ = try parsed(String(repeating: "{\"a\":", count: 1_000_000)) } != nil)
        #expect(failure { _ = try parsed(String(repeating: "[", count: 5_000_000)) } != nil)
    }

    /// 200 000 equal keys take a moment, not minutes.
    @Test func workIsLinear() throws {
        let text = "{" + (0..<200_000).map { _ in "\"k\":1" }.joined(separator: ",") + "}"
        let start = ContinuousClock.now
        #expect(try parsed(text).object?.count == 200_000)
        #expect(ContinuousClock.now - start < .seconds(20))
    }

    @Test func whatIsWrittenIsReadAgain() throws {
        let json = JSON.object([
            ("", .array([.null, .bool(true), .bool(false), .object([]), .array([])])),
            ("quote\"\\\u{00}\u{1F}\u{7F}é😀", .string("\n/")),
            ("numbers", .array([0, -0.0, 1, -1, 0.1, 1e300, -5e-324, .pi, 9_007_199_254_740_992, 1e17, .infinity, -.infinity, .nan].map { .number($0) })),
        ])
        let text = json.serialized
        #expect(try text.reading { try JSON($0) } == json)
        #expect(JSON.array([.number(3), .number(-2), .number(0.5), .number(-0.0)]).serialized == Array("[3,-2,0.5,-0.0]".utf8))
    }

    @Test func goldenConfigurationsSurvive() throws {
        for name in Golden.names("keras", ".json") {
            let json = try Golden.json("keras/" + name)
            #expect(try json.serialized.reading { try JSON($0) } == json)
        }
    }
}

@Suite struct DecimalTests {
    private func check(_ text: String) {
        #expect(try! parsed(text).double == Double(text), "\(text)")
    }

    /// Numerals on which sloppy conversions round wrongly, and the borders of the range.
    @Test func hardNumerals() {
        for text in [
            "2.2250738585072011e-308", "2.2250738585072014e-308", "4.9406564584124654e-324", "2.4703282292062327e-324",
            "2.4703282292062328e-324", "2.47032822920623272088284396434110686182e-324", "1.7976931348623157e308", "1.7976931348623158e308",
            "1.797693134862315807e308", "1.797693134862315808e308", "9007199254740993", "9007199254740993.0000000000000001", "9007199254740991.5",
            "0.1", "0.30000000000000004", "123456789012345678901234567890", "1e23", "8.5e22", "1e-7", "1e22", "1e21", "6.02214076e23",
            "0.000000000000000000000000000000000000000000000000000001", "179769313486231580793728971405301e276", "1e-400", "0e999999999999", "0.0e-99",
            "5e-324", "3e-324", "2e-324", "1.00000005960464477539062500000000000000000000001", "100000000000000000000000e-23",
        ] { check(text) }
        // Halfway between two doubles, with and without something behind.
        let half = "1.00000000000000011102230246251565404236316680908203125"
        check(half)
        check(half + String(repeating: "0", count: 800))
        check(half + String(repeating: "0", count: 800) + "1")
        check("0." + String(repeating: "0", count: 400) + "1e400")
        check("1" + String(repeating: "0", count: 400) + "e-400")
    }

    @Test func randomNumerals() {
        var random = SplitMix(seed: 7)
        for _ in 0..<4000 {
            let bits = random.next()
            let value = Double(bitPattern: bits)
            if value.isFinite { check("\(value)") }
            let digits = (0..<random.below(40) + 1).map { _ in "\(random.below(10))" }.joined().drop { $0 == "0" }
            check((digits.isEmpty ? "0" : String(digits)) + "e\(random.below(700) - 360)")
        }
    }
}
