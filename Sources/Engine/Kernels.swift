import CSystem

/// The tables of SIMD kernels that this processor can run, and the one that is in use.
///
/// The choice is made once, on first use: the best level, or the one that the environment variable
/// `CADENZA_KERNELS` names, where the processor has it. Whoever keeps a table's pointer keeps that table: forcing
/// another one holds for what is created from then on. Each table's name is zero-terminated and stays.
public enum KernelTable {
    /// The tables that this processor can run, best first. They live as long as the process.
    nonisolated(unsafe) public static let available: [UnsafePointer<cz_kernels>] = {
        #if arch(x86_64)
        // x86-64-v2 is the least that Cadenza asks of a processor.
        var tables = [immortal(cz_kernels_v2())]
        let level = cz_x86_level()
        if level >= 3 { tables.insert(immortal(cz_kernels_v3()), at: 0) }
        if level >= 4 { tables.insert(immortal(cz_kernels_v4()), at: 0) }
        return tables
        #elseif arch(arm64)
        return [immortal(cz_kernels_neon())]
        #endif
    }()

    /// The table in use.
    nonisolated(unsafe) public private(set) static var current: UnsafePointer<cz_kernels> = {
        if let wanted = cz_wanted_kernels(), let table = find(wanted) { return table }
        return available[0]
    }()

    /// Uses the named table for everything created from now on. Fails where this processor cannot run it.
    public static func force(_ name: UnsafePointer<CChar>) throws(Failure) {
        guard let table = find(name) else {
            let names = Text.joined(available.map { Text(cString: $0.pointee.name) }, ", ")
            throw Failure(.notFound, "no kernels '\(Text(cString: name))' on this processor; it runs \(names)")
        }
        current = table
    }

    private static func find(_ name: UnsafePointer<CChar>) -> UnsafePointer<cz_kernels>? {
        available.first { areEqual($0.pointee.name, name) }
    }

    private static func areEqual(_ a: UnsafePointer<CChar>, _ b: UnsafePointer<CChar>) -> Bool {
        var i = 0
        while a[i] == b[i] {
            if a[i] == 0 { return true }
            i += 1
        }
        return false
    }

    /// A copy that is never freed.
    private static func immortal(_ table: cz_kernels) -> UnsafePointer<cz_kernels> {
        let memory = UnsafeMutablePointer<cz_kernels>.allocate(capacity: 1)
        memory.initialize(to: table)
        return UnsafePointer(memory)
    }
}
