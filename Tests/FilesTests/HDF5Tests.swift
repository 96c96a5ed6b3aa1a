import Foundation
import Testing
@testable import Engine
@testable import Files

/// Golden files against what h5py read from them.
@Suite struct HDF5Tests {
    private static let expected = try! Golden.json("hdf5/expected.json")

    @Test(arguments: Golden.names("hdf5", ".h5"))
    func golden(name: String) throws {
        let expected = try #require(HDF5Tests.expected.object?.last { $0.0 == Name(name) }?.1)
        try Golden.bytes("hdf5/" + name).reading { bytes in
            #expect(HDF5File.isHDF5(bytes))
            let root = try HDF5File(bytes).root
            for (path, names) in expected["groups"]?.object ?? [] {
                let found = try root.group(path)?.names().sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }
                #expect(found == names.array?.map { $0.name }, "\(path.string)")
            }
            for (path, description) in expected["datasets"]?.object ?? [] { try check(root, path, description) }
            for (path, attributes) in expected["attributes"]?.object ?? [] {
                for (name, description) in attributes.object ?? [] { try check(root, path, name, description) }
            }
            for path in expected["dangling"]?.array ?? [] {
                switch Result(catching: { try root.object(path.name!) }) {
                case .success(let object): #expect(object == nil)
                case .failure(let error): #expect((error as? Failure)?.message.contains("soft links") == true)
                }
            }
        }
    }

    private func check(_ root: HDF5Group, _ path: Name, _ description: JSON) throws {
        if description["unsupported"]?.bool == true {
            switch Result(catching: { try root.dataset(path)?.floats().array }) {
            case .success(let floats):
                // Whole numbers under an enumeration can be read after all.
                #expect(path == "/boolean" && floats == [1, 0], "\(path.string)")
            case .failure(let error):
                #expect((error as? Failure)?.code == .unsupported, "\(path.string): \(error)")
            }
            return
        }
        guard let dataset = try root.dataset(path) else {
            Issue.record("\(path.string) is missing")
            return
        }
        #expect(dataset.shape == description["shape"]?.array?.map { $0.int } ?? [], "\(path.string)")
        let values = description["values"]!.array!, stride = description["stride"]!.int!
        if description["type"]?.name == "string" {
            let strings = try dataset.strings()
            #expect(strings.strided(stride).map { $0.string } == values.map { $0.name!.string }, "\(path.string)")
        } else {
            let floats = try dataset.floats().array
            #expect(floats.count == dataset.count)
            #expect(equal(floats.strided(stride), values.map { Float(number($0)) }), "\(path.string): \(floats)")
            if description["type"]!.name!.string.contains("int") {
                let integers = try dataset.integers()
                #expect(integers.strided(stride) == values.map { $0.int! }, "\(path.string)")
            }
        }
    }

    private func check(_ root: HDF5Group, _ path: Name, _ name: Name, _ description: JSON) throws {
        let values = description["values"]!.array!, stride = description["stride"]!.int!
        guard let attribute = try attribute(root.object(path), name) else {
            Issue.record("\(path.string) has no attribute \(name.string)")
            return
        }
        #expect(attribute.shape == description["shape"]?.array?.map { $0.int } ?? [])
        if description["type"]?.name == "string" {
            #expect(attribute.strings.strided(stride).map { $0.string } == values.map { $0.name!.string })
        } else {
            #expect(attribute.strings.isEmpty)
            #expect(attribute.floats.strided(stride) == values.map { number($0) })
        }
    }

    private func attribute(_ object: HDF5Object?, _ name: Name) throws -> HDF5Attribute? {
        if case .group(let group) = object { return try group.attribute(name) }
        if case .dataset(let dataset) = object { return try dataset.attribute(name) }
        return nil
    }

    /// Of what JSON has no number for, the description has a text.
    private func number(_ json: JSON) -> Double { json.double ?? Double(json.name!.string)! }

    private func equal(_ a: [Float], _ b: [Float]) -> Bool {
        a.count == b.count && zip(a, b).allSatisfy { $0.bitPattern == $1.bitPattern || ($0.isNaN && $1.isNaN) }
    }

    @Test func orderOfCreationIsKept() throws {
        for version in ["earliest", "v108", "v110", "latest"] {
            try Golden.bytes("hdf5/groups_\(version).h5").reading { bytes in
                let names = try HDF5File(bytes).root.group("ordered")?.names()
                #expect(names == ["zebra", "ant", "mouse"])
            }
        }
    }

    @Test func pathsMayBeWrittenInManyWays() throws {
        try Golden.bytes("hdf5/groups_latest.h5").reading { bytes in
            let root = try HDF5File(bytes).root
            for path in ["/model/layers/dense/vars/0", "model//layers/./dense/vars/0/", "soft/vars/0", "model/relative", "model/layers/up/layers/dense/vars/0"] {
                #expect(try root.dataset(Name(path))?.shape == [3, 2], "\(path)")
            }
            let inner = try root.group("model/layers")
            #expect(try inner?.dataset("/hard")?.shape == [3, 2])
            #expect(try root.object("model/none") == nil && root.object("hard/below") == nil)
            #expect(try root.group("")?.names() == root.names())
            #expect(failure { _ = try root.group("hard") }?.message.contains("no group") == true)
            #expect(failure { _ = try root.dataset("model") }?.message.contains("no dataset") == true)
            #expect(failure { _ = try root.object("elsewhere") }?.code == .unsupported)
        }
    }

    @Test func halfPrecision() {
        for bits in UInt16.min...UInt16.max {
            let exact = Float(Float16(bitPattern: bits)), ours = Float(float16: bits)
            #expect(exact == ours && exact.sign == ours.sign || exact.isNaN && ours.isNaN)
        }
    }
}

extension Array {
    /// Every `step`-th element.
    fileprivate func strided(_ step: Int) -> [Element] { stride(from: 0, to: count, by: step).map { self[$0] } }
}
