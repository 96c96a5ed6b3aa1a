import Foundation
import Testing
@testable import Engine
@testable import Files

/// What zlib 1.3 made of texts, by strategy.
private enum Deflated {
    static let text = (0..<30).map { "\($0 % 7) bottles of beer on the wall, " }.joined()
    static let dynamic = "M1BIyi8pyUktVshPU0hKTS1SyM9TKMlIVShPzMnRUTDEL22EX9oYv7QJfmlT/NJm+KUNRj026rHh4DEA"
    static let zlib = "eJwzUEjKLynJSS1WyE9TSEpNLVLIz1MoyUhVKE/MydFRMMQvbYRf2hi/tAl+aVP80mb4pQ1GPTbqseHgMQCN9zqx"
    /// Byte i as often as the i-th Fibonacci number says, by Huffman codes alone, which get up to 14 bits long.
    static let longCodes = """
        BcGBgcMwDMSwb5vY0h25/7oP/H2+39/v9zzP87zv+77v+55zzjnnnHPOuffee++9995777333jszMzMzMzMzMzMzMzMzMzMzs7u7u7u7u7u7u7u7u7u7u7u7
        u7u7u7u7u7u7u0mSJEmSJEmSJEmSJEmSJEmSJEmSJEmSJEmSJEmSJEmSJGnbtm3btm3btm3btm3btm3btm3btm3btm3btm3btm3btm3btm3btm3btm3btm3b
        tm3btm3btgUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABAVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVV
        VVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVV1X8=
        """
}

private func bytes(_ base64: String) -> [UInt8] { [UInt8](Data(base64Encoded: base64, options: .ignoreUnknownCharacters)!) }

private func inflated(_ input: [UInt8], _ size: Int, isZlib: Bool = false) throws -> [UInt8] {
    var output = [UInt8](repeating: 0, count: size)
    try input.reading { input in
        try output.withUnsafeMutableBytes { output in
            if isZlib { try Inflate.zlib(input, into: output) } else { try Inflate.raw(input, into: output) }
        }
    }
    return output
}

@Suite struct InflateTests {
    @Test func blocksWithCodesOfTheirOwn() throws {
        let text = Array(Deflated.text.utf8)
        #expect(try inflated(bytes(Deflated.dynamic), text.count) == text)
        #expect(try inflated(bytes(Deflated.zlib), text.count, isZlib: true) == text)
    }

    @Test func longCodes() throws {
        var counts = [1, 1]
        while counts.count < 14 { counts.append(counts[counts.count - 1] + counts[counts.count - 2]) }
        let expected = counts.enumerated().flatMap { [UInt8](repeating: UInt8($0), count: $1) }
        #expect(try inflated(bytes(Deflated.longCodes), expected.count) == expected)
    }

    @Test func storedBlocks() throws {
        #expect(try inflated([0, 2, 0, 0xFD, 0xFF, 7, 8, 1, 1, 0, 0xFE, 0xFF, 9], 3) == [7, 8, 9])
        #expect(try inflated([1, 0, 0, 0xFF, 0xFF], 0) == [])
    }

    @Test func theSizeMustBeExact() {
        let size = Deflated.text.utf8.count
        for wrong in [0, 1, size - 1] {
            #expect(failure { _ = try inflated(bytes(Deflated.dynamic), wrong) }?.message.contains("more than the \(wrong) bytes") == true)
        }
        #expect(failure { _ = try inflated(bytes(Deflated.dynamic), size + 1) }?.message.contains("expands to \(size) bytes") == true)
        #expect(failure { _ = try inflated(bytes(Deflated.dynamic) + [0], size) }?.message.contains("the stream ends after") == true)
    }

    @Test func everyTruncationIsRefused() {
        let size = Deflated.text.utf8.count
        for (input, isZlib) in [(bytes(Deflated.dynamic), false), (bytes(Deflated.zlib), true)] {
            for count in 0..<input.count {
                #expect(failure { _ = try inflated(Array(input[..<count]), size, isZlib: isZlib) }?.code == .invalidFile)
            }
        }
    }

    @Test func wrongStreams() {
        // No such block; a stored block with a wrong length; codes that are too many; a distance before the beginning.
        for stream in [[7], [1, 1, 0, 0, 0, 0], [0xFD, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], [0x03, 0x02, 0, 0], [0x63, 0, 0x42, 0, 0]] as [[UInt8]] {
            #expect(failure { _ = try inflated(stream, 8) }?.code == .invalidFile)
        }
        var damaged = bytes(Deflated.zlib)
        damaged[damaged.count - 1] ^= 1
        #expect(failure { _ = try inflated(damaged, Deflated.text.utf8.count, isZlib: true) }?.message.contains("checksum") == true)
        #expect(failure { _ = try inflated([0x78, 0x9D, 3, 0], 0, isZlib: true) }?.message.contains("header") == true)
        #expect(failure { _ = try inflated([0x78, 0xBB, 3, 0], 0, isZlib: true) }?.code == .unsupported)
    }
}
