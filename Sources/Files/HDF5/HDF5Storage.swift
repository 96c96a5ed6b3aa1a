import Engine

/// The bytes of an open HDF5 file, and how much more of it may be read.
final class HDF5Storage {
    private let bytes: UnsafeRawBufferPointer
    private let owner: AnyObject?
    /// Bytes of an address.
    let offsetSize: Int
    /// Bytes of a size.
    let lengthSize: Int
    /// Address of the root group.
    let root: Int
    private var structureLeft: Int
    private var expansionLeft: Int
    private var heaps = Table<Int, HDF5GlobalHeap>()
    private var nodes = Table<Int, HDF5Node>()

    init(_ superblock: HDF5Superblock, owner: AnyObject?) {
        bytes = superblock.bytes
        self.owner = owner
        offsetSize = superblock.offsetSize
        lengthSize = superblock.lengthSize
        root = superblock.root
        structureLeft = Limits.structure(from: bytes.count)
        expansionLeft = Limits.expandedTotal(from: bytes.count)
    }

    /// `count` bytes of array data at `address`.
    func data(at address: Int, count: Int, of subject: Text) throws(Failure) -> UnsafeRawBufferPointer {
        guard address >= 0, count >= 0, address <= bytes.count, count <= bytes.count - address else {
            throw Failure(.invalidFile, "\(subject): \(count) bytes at offset \(address) go beyond the file's \(bytes.count)")
        }
        return UnsafeRawBufferPointer(rebasing: bytes[address..<address + count])
    }

    /// `count` bytes of structure at `address`, which count against what may be looked at.
    func reader(at address: Int, count: Int, of subject: Text) throws(Failure) -> ByteReader {
        let part = try data(at: address, count: count, of: subject)
        try look(at: count)
        return ByteReader(part, of: subject, origin: address)
    }

    /// The same, for a structure that ends with a checksum over all that precedes it; the checksum is left out.
    func checkedReader(at address: Int, count: Int, of subject: Text) throws(Failure) -> ByteReader {
        var whole = try reader(at: address, count: count, of: subject)
        let part = try whole.part(count - 4, "the structure")
        guard Checksum.agree(try whole.u32("the checksum"), Checksum.lookup3(part.bytes)) else {
            throw Failure(.invalidFile, "\(subject) at offset \(address): its checksum is wrong")
        }
        return part
    }

    /// Counts `count` bytes of structure; fails where that is more than files have that are meant well.
    func look(at count: Int) throws(Failure) {
        // Each look costs something even where it is empty.
        guard count < structureLeft - 16 else {
            throw Failure(.invalidFile, "HDF5 file: its structure refers to the same bytes over and over")
        }
        structureLeft -= count + 16
    }

    /// Counts `count` bytes that array data decodes to; fails where that is more than files have that are meant well.
    func expand(to count: Int) throws(Failure) {
        guard count <= expansionLeft else {
            throw Failure(.invalidFile, "HDF5 file: its \(bytes.count) bytes expand to more than \(Limits.expandedTotal(from: bytes.count))")
        }
        expansionLeft -= count
    }

    /// The object whose header is at `address`.
    func node(at address: Int) throws(Failure) -> HDF5Node {
        if let node = nodes[address] { return node }
        let node = HDF5Node(try HDF5Header(self, at: address))
        nodes[address, default: node] = node
        return node
    }

    /// The global heap collection at `address`.
    func heap(at address: Int) throws(Failure) -> HDF5GlobalHeap {
        if let heap = heaps[address] { return heap }
        let heap = try HDF5GlobalHeap(self, at: address)
        heaps[address, default: heap] = heap
        return heap
    }
}

/// What is known of an object of the file. Each is read once, however many paths lead to it.
final class HDF5Node {
    let header: HDF5Header
    private var knownLinks: HDF5Links?
    private var knownAttributes: HDF5Attributes?

    init(_ header: HDF5Header) { self.header = header }

    /// The links of a group.
    func links(_ storage: HDF5Storage) throws(Failure) -> HDF5Links {
        if let knownLinks { return knownLinks }
        let links = try HDF5Links(header, storage)
        knownLinks = links
        return links
    }

    func attributes(_ storage: HDF5Storage) throws(Failure) -> HDF5Attributes {
        if let knownAttributes { return knownAttributes }
        let attributes = try HDF5Attributes(header, storage)
        knownAttributes = attributes
        return attributes
    }
}

extension ByteReader {
    /// An address; nil where it is the undefined one, all ones.
    mutating func address(_ storage: HDF5Storage, _ what: Literal) throws(Failure) -> Int? {
        let value = try number(storage.offsetSize, what)
        if value == UInt64.max >> UInt64(64 - storage.offsetSize * 8) { return nil }
        guard let address = Int(exactly: value) else { throw failure("\(what) is \(value), beyond any file's size") }
        return address
    }

    /// An address that must be defined.
    mutating func definedAddress(_ storage: HDF5Storage, _ what: Literal) throws(Failure) -> Int {
        guard let address = try address(storage, what) else { throw failure("\(what) is undefined") }
        return address
    }

    /// A size in bytes.
    mutating func length(_ storage: HDF5Storage, _ what: Literal) throws(Failure) -> Int {
        try size(storage.lengthSize, what)
    }
}

/// A product of two sizes of a file, neither negative. Fails where no Int holds it.
func product(_ a: Int, _ b: Int, _ what: Literal) throws(Failure) -> Int {
    let (result, overflow) = a.multipliedReportingOverflow(by: b)
    guard !overflow else { throw Failure(.invalidFile, "\(what): \(a) × \(b) is beyond any file's size") }
    return result
}
