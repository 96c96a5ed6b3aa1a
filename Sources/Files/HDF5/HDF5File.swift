import Engine

/// An HDF5 file, read-only. Only what is asked for is decoded.
///
/// Read are superblocks 0–3, groups of both kinds, hard and soft links, attributes, and arrays of numbers and strings in
/// every layout, with the filters deflate, shuffle and fletcher32. Anything else is refused by name when it is asked for.
/// What a file may demand is bounded by `Limits`, over all reads of one object of this class together.
public final class HDF5File {
    /// The group that all paths begin at. It, and what is reached from it, may outlive this object, but not the bytes.
    public let root: HDF5Group

    /// Whether the bytes have HDF5's signature where it may stand.
    public static func isHDF5(_ bytes: UnsafeRawBufferPointer) -> Bool { HDF5Superblock.find(bytes) != nil }

    /// Opens a file in memory. `owner` is kept as long as anything of the file is; without one the caller keeps the bytes alive.
    public init(_ bytes: UnsafeRawBufferPointer, owner: AnyObject? = nil) throws(Failure) {
        let superblock = try HDF5Superblock(bytes)
        let storage = HDF5Storage(superblock, owner: owner)
        root = HDF5Group(try storage.node(at: storage.root), storage)
    }
}
