import Engine

/// What a path of an HDF5 file leads to.
public enum HDF5Object {
    case group(HDF5Group)
    case dataset(HDF5Dataset)
    /// A named datatype.
    case datatype

    init(_ node: HDF5Node, _ storage: HDF5Storage) throws(Failure) {
        let header = node.header
        if header.has(.layout) {
            self = .dataset(try HDF5Dataset(node, storage))
        } else if header.has(.symbolTable) || header.has(.linkInfo) || header.has(.groupInfo) || header.has(.link) {
            self = .group(HDF5Group(node, storage))
        } else if header.has(.datatype) {
            self = .datatype
        } else {
            throw Failure(.invalidFile, "HDF5 object: it is neither group, dataset nor datatype")
        }
    }
}

/// A group of an HDF5 file. A path is names with '/' between them; one that begins with '/' begins at the root.
public final class HDF5Group {
    private let storage: HDF5Storage
    private let node: HDF5Node

    init(_ node: HDF5Node, _ storage: HDF5Storage) {
        self.node = node
        self.storage = storage
    }

    /// The names in the group: in order of creation where the file keeps it, else by name.
    public func names() throws(Failure) -> [Name] { try node.links(storage).names }

    /// The names of the group's attributes, in the file's order.
    public func attributeNames() throws(Failure) -> [Name] { try node.attributes(storage).names }

    /// An attribute of the group; nil where it has none of that name. Fails where its type is not one that Cadenza reads.
    public func attribute(_ name: Name) throws(Failure) -> HDF5Attribute? {
        try node.attributes(storage).attribute(name, storage)
    }

    /// The group at a path; nil where there is nothing. Fails where there is something else.
    public func group(_ path: Name) throws(Failure) -> HDF5Group? {
        guard let object = try object(path) else { return nil }
        guard case .group(let group) = object else { throw Failure(.invalidFile, "HDF5 file: '\(path)' is no group") }
        return group
    }

    /// The dataset at a path; nil where there is nothing. Fails where there is something else.
    public func dataset(_ path: Name) throws(Failure) -> HDF5Dataset? {
        guard let object = try object(path) else { return nil }
        guard case .dataset(let dataset) = object else { throw Failure(.invalidFile, "HDF5 file: '\(path)' is no dataset") }
        return dataset
    }

    /// What is at a path; nil where there is nothing. Fails for links into other files, and soft links that lead to one
    /// another too often.
    public func object(_ path: Name) throws(Failure) -> HDF5Object? {
        guard let found = try resolve(path, from: node, depth: 0) else { return nil }
        return try HDF5Object(found, storage)
    }

    private func resolve(_ path: Name, from start: HDF5Node, depth: Int) throws(Failure) -> HDF5Node? {
        let slash = UInt8(ascii: "/")
        var node = path.bytes.first == slash ? try storage.node(at: storage.root) : start
        for part in path.bytes.parts(slash) where part != [UInt8(ascii: ".")] {
            guard let next = try child(of: node, Name(part), depth: depth) else { return nil }
            node = next
        }
        return node
    }

    private func child(of node: HDF5Node, _ name: Name, depth: Int) throws(Failure) -> HDF5Node? {
        switch try node.links(storage)[name] {
        case nil: return nil
        case .hard(let address): return try storage.node(at: address)
        case .soft(let path):
            guard depth < Limits.linkDepth else {
                throw Failure(.invalidFile, "HDF5 file: soft links lead to one another, at '\(name)'")
            }
            // A few short links could make very long paths.
            try storage.look(at: path.bytes.count)
            return try resolve(path, from: node, depth: depth + 1)
        case .external: throw Failure(.unsupported, "HDF5 file: '\(name)' is a link into another file")
        case .custom(let type): throw Failure(.unsupported, "HDF5 file: '\(name)' is a link of type \(type)")
        }
    }
}
