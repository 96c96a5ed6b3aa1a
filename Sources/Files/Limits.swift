/// How much a file may ask for. What goes beyond is refused, so that a small crafted file cannot keep the
/// process busy or eat its memory: all work is linear in the file's size.
public enum Limits {
    /// Arrays and objects of a JSON text within one another.
    public static let jsonDepth = 128

    /// Bytes that a deflated zip entry may expand to: 64 MiB or 100 times what is stored, and never beyond 4 GiB.
    public static func expanded(from stored: Int) -> Int { min(expandedTotal(from: stored), 4 << 30) }

    /// Bytes that all reads of an HDF5 file may decode to, together: 64 MiB or 100 times the file's size.
    public static func expandedTotal(from stored: Int) -> Int {
        let (product, overflow) = stored.multipliedReportingOverflow(by: 100)
        return max(64 << 20, overflow ? Int.max : product)
    }

    /// Bytes of headers, trees and heaps that may be looked at in an HDF5 file: 1 MiB or 8 times its size. Each is looked
    /// at once or twice, unless a file makes them overlap.
    public static func structure(from stored: Int) -> Int {
        let (product, overflow) = stored.multipliedReportingOverflow(by: 8)
        return max(1 << 20, overflow ? Int.max : product)
    }

    /// Soft links of an HDF5 file that may lead to one another.
    public static let linkDepth = 16

    /// Levels of an HDF5 tree.
    public static let treeDepth = 32

    /// Messages of one HDF5 object's header.
    public static let headerMessages = 65_536

    /// Axes of an array: what HDF5 allows.
    public static let rank = 32

    /// Bytes of a safetensors header: what the reference implementation allows.
    public static let safetensorsHeader = 100_000_000
}
