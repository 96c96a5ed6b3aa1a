/// A zero-terminated text with an address that stays: what the C ABI hands out as `const char *`.
public final class CText {
    public let pointer: UnsafePointer<CChar>

    public init(_ text: String) {
        let utf8 = Array(text.utf8)
        let memory = UnsafeMutablePointer<CChar>.allocate(capacity: utf8.count + 1)
        for (i, byte) in utf8.enumerated() {
            memory[i] = CChar(bitPattern: byte)
        }
        memory[utf8.count] = 0
        pointer = UnsafePointer(memory)
    }

    public convenience init(_ name: Name) { self.init(name.string) }

    deinit { UnsafeMutablePointer(mutating: pointer).deallocate() }
}
