import Engine

/// Where a Keras file has weights: a tree that mirrors the groups of Keras 3's HDF5 files, "layers/lstm/cell/vars/0".
/// Keras 2's files list the weights of a whole top-level layer in one row, which is the same tree read in order.
final class WeightGroup {
    /// The group's name in its parent.
    let key: Name
    private let layer: Layer?
    let cell: Cell?
    /// Whether the cell is of a CuDNNLSTM or CuDNNGRU, whose weights are laid out in cuDNN's way.
    let isCuDNN: Bool
    private(set) var children: [WeightGroup]

    init(key: Name, layer: Layer? = nil, cell: Cell? = nil, children: [WeightGroup] = [], isCuDNN: Bool = false) {
        self.key = key
        self.isCuDNN = isCuDNN
        self.layer = layer
        self.cell = cell
        self.children = children
    }

    /// The weights of this very group, in Keras's order.
    var own: [Weight] { layer?.weights ?? cell?.weights ?? [] }

    /// All weights of the tree, in Keras's order.
    var all: [Weight] { own + children.flatMap { $0.all } }

    /// The very group that a weight belongs to.
    func owner(of weight: Weight) -> WeightGroup? {
        if own.contains(where: { $0 === weight }) { return self }
        for child in children {
            if let found = child.owner(of: weight) { return found }
        }
        return nil
    }

    func renamed(_ key: Name) -> WeightGroup { WeightGroup(key: key, layer: layer, cell: cell, children: children, isCuDNN: isCuDNN) }
}
