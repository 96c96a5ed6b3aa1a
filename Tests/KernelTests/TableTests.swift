import CSystem
import Testing
@testable import Engine

struct TableTests {
    @Test("the tables are named, best first, and the forced one is the one in use")
    func choice() throws {
        let names = KernelTable.available.map { String(cString: $0.pointee.name) }
        #expect(names == Level.all.reversed().map { String(cString: $0.kernels.name) })
        let before = KernelTable.current
        for table in KernelTable.available {
            try KernelTable.force(table.pointee.name)
            #expect(KernelTable.current == table)
        }
        try KernelTable.force(before.pointee.name)
        #expect(throws: Failure.self) { try KernelTable.force("x86-64-v9") }
        #expect(KernelTable.current == before)
    }

    @Test("an aligned buffer is aligned, zeroed, and refused where it is beyond memory")
    func buffer() throws {
        for count in [0, 1, 17, 100_000] {
            let buffer = try AlignedBuffer(count: count)
            #expect(UInt(bitPattern: buffer.floats) % 64 == 0 && buffer.count == count)
            #expect((0..<count).allSatisfy { buffer.floats[$0] == 0 })
        }
        #expect(throws: Failure.self) { try AlignedBuffer(count: .max) }
        #expect(throws: Failure.self) { try AlignedBuffer(count: -1) }
    }
}
