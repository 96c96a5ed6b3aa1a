/// A zero-terminated text with an address that stays: what the C ABI hands out as `const char *`.
public final class CText {
    public let pointer: UnsafePointer<CChar>

    public init(_ text: Text) {
        let text = text.repaired
        let memory = UnsafeMutablePointer<CChar>.allocate(capacity: text.count + 1)
        for (i, byte) in text.bytes.enumerated() { memory[i] = CChar(bitPattern: byte) }
        memory[text.count] = 0
        pointer = UnsafePointer(memory)
    }

    deinit { UnsafeMutablePointer(mutating: pointer).deallocate() }
}
