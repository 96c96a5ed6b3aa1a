import Foundation
import Testing
@testable import Engine
@testable import Files

@Suite struct SafeTensorsTests {
    /// Written by the reference implementation.
    private static let reference = [UInt8](Data(base64Encoded: """
        MAEAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJrIjoidiJ9LCJpIjp7ImR0eXBlIjoiSTY0Iiwic2hhcGUiOlszXSwiZGF0YV9vZmZzZXRzIjpbMCwyNF19LCJk
        Ijp7ImR0eXBlIjoiRjY0Iiwic2hhcGUiOltdLCJkYXRhX29mZnNldHMiOlsyNCwzMl19LCJhIjp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRh
        X29mZnNldHMiOlszMiw0OF19LCJuIjp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlswLDJdLCJkYXRhX29mZnNldHMiOls0OCw0OF19LCJiIjp7ImR0eXBlIjoi
        RjE2Iiwic2hhcGUiOlszXSwiZGF0YV9vZmZzZXRzIjpbNDgsNTRdfX0gAAAAAAAAAAABAAAAAAAAAAIAAAAAAAAAmpmZmZmZuT8AAMA/AAAAwAAAQEAAAIBA
        AAAANAA4
        """, options: .ignoreUnknownCharacters)!)

    @Test func aReferenceFileIsRead() throws {
        try SafeTensorsTests.reference.reading { bytes in
            #expect(SafeTensors.isSafeTensors(bytes))
            let file = try SafeTensors(bytes)
            #expect(file.metadata("k") == "v" && file.metadata("none") == nil && file.tensor("none") == nil)
            #expect(Set(file.tensors.map { $0.name }) == ["a", "b", "d", "i", "n"])
            #expect(file.tensor("a")?.shape == [2, 2])
            #expect(try file.tensor("a")?.floats().array == [1.5, -2, 3, 4])
            #expect(try file.tensor("b")?.floats().array == [0, 0.25, 0.5])
            #expect(try file.tensor("d")?.floats().array == [0.1])
            #expect(file.tensor("d")?.shape == [] && file.tensor("n")?.count == 0)
            #expect(failure { _ = try file.tensor("i")?.floats() }?.message.contains("I64") == true)
        }
    }

    private func written() throws -> [UInt8] {
        var writer = SafeTensorsWriter(metadata: [("key", "value \"with\" quotes"), ("format", "cadenza")])
        let values: [Float] = (0..<100).map { Float($0) / 3 }
        return try values.withUnsafeBufferPointer { values in
            for (index, shape) in [[3], [4, 4], [], [0, 7], [5, 5], [16]].enumerated() {
                try writer.add(Name("tensor/\(index)"), shape: shape, values: values.baseAddress! + index)
            }
            #expect(failure { try writer.add("tensor/0", shape: [1], values: values.baseAddress!) } != nil)
            #expect(failure { try writer.add("__metadata__", shape: [1], values: values.baseAddress!) } != nil)
            #expect(failure { try writer.add("__pad_7", shape: [1], values: values.baseAddress!) } != nil)
            #expect(failure { try writer.add(Name([0xFF]), shape: [1], values: values.baseAddress!) } != nil)
            #expect(failure { try writer.add("huge", shape: [1 << 40, 1 << 40], values: values.baseAddress!) } != nil)
            var bytes = [UInt8](repeating: 0xAA, count: writer.size)
            bytes.withUnsafeMutableBytes { writer.write(to: $0.baseAddress!) }
            return bytes
        }
    }

    @Test func whatIsWrittenIsReadAgainAndAligned() throws {
        try written().reading { bytes in
            let file = try SafeTensors(bytes)
            #expect(file.metadata("key") == "value \"with\" quotes")
            #expect(file.tensors.map { $0.name.string } == (0..<6).map { "tensor/\($0)" })
            #expect(file.tensors.map { $0.shape } == [[3], [4, 4], [], [0, 7], [5, 5], [16]])
            for (index, tensor) in file.tensors.enumerated() {
                let expected = (0..<tensor.count).map { Float($0 + index) / 3 }
                #expect(try tensor.floats().array == expected)
                let inPlace = try #require(tensor.floatsInPlace)
                #expect((UnsafeRawPointer(inPlace) - bytes.baseAddress!) % 64 == 0)
                #expect(Array(UnsafeBufferPointer(start: inPlace, count: tensor.count)) == expected)
            }
        }
    }

    private func check(_ header: String, data: Int, _ expected: String) {
        let file = little(UInt64(header.utf8.count)) + Array(header.utf8) + [UInt8](repeating: 0, count: data)
        let failure = failure { try file.reading { _ = try SafeTensors($0) } }
        #expect(failure?.message.contains(expected) == true, "\(failure?.message ?? "")")
    }

    private func tensor(_ name: String, _ type: String, _ shape: String, _ start: String, _ end: String) -> String {
        "\"\(name)\":{\"dtype\":\"\(type)\",\"shape\":[\(shape)],\"data_offsets\":[\(start),\(end)]}"
    }

    @Test func liesAreCaught() {
        check("{\(tensor("a", "F32", "2", "0", "8"))}", data: 9, "9 bytes of values are there, the tensors have 8")
        check("{\(tensor("a", "F32", "2", "0", "8"))}", data: 7, "not within the 7 bytes")
        check("{\(tensor("a", "F32", "1", "0", "8"))}", data: 8, "1 values of 4 bytes do not fill the 8")
        check("{\(tensor("a", "F32", "1", "4", "8"))}", data: 8, "its values begin at 4, expected 0")
        check("{\(tensor("a", "F32", "1", "0", "4")),\(tensor("b", "F32", "1", "0", "4"))}", data: 4, "its values begin at 0, expected 4")
        check("{\(tensor("a", "F32", "1", "0", "4")),\(tensor("a", "F32", "1", "4", "8"))}", data: 8, "'a': it is there twice")
        check("{\(tensor("a", "F32", "1", "8", "4"))}", data: 8, "not within")
        check("{\(tensor("a", "F32", "1", "-4", "0"))}", data: 8, "not within")
        check("{\(tensor("a", "F32", "1", "0.5", "4.5"))}", data: 8, "not within")
        check("{\(tensor("a", "F32", "9007199254740992,9007199254740992", "0", "4"))}", data: 4, "beyond any file's size")
        check("{\(tensor("a", "F32", "4611686018427387904", "0", "0"))}", data: 0, "not of whole numbers")
        check("{\(tensor("a", "F32", "-1", "0", "4"))}", data: 4, "not of whole numbers")
        check("{\(tensor("a", "F4", "1", "0", "1"))}", data: 1, "F4")
        check("{\"a\":{}}", data: 0, "is missing")
        check("{\"a\":1}", data: 0, "is missing")
        check("{\"__metadata__\":{\"k\":1}}", data: 0, "no string")
        check("{\"__metadata__\":[]}", data: 0, "no JSON object")
        check("[]", data: 0, "no JSON object")
        check("", data: 0, "no JSON object")
        for length in [UInt64.max, UInt64(Int.max), 1 << 40, 100_000_001, 10] {
            #expect(failure { try (little(length) + [0x7B, 0x7D]).reading { _ = try SafeTensors($0) } } != nil)
        }
    }
}
