import CSystem

extension UnsafeMutablePointer {
    /// Copies plain values, by one call for all of them: `update(from:count:)` would be one for each in code that is compiled
    /// for size.
    @inline(always)
    public func copy(from source: UnsafePointer<Pointee>, count: Int) {
        cz_copy(self, source, count &* MemoryLayout<Pointee>.stride)
    }

    @inline(always)
    public func copy(from source: UnsafeMutablePointer<Pointee>, count: Int) { copy(from: UnsafePointer(source), count: count) }
}

/// Objects in a row that can be gone through without counting references to each.
final class ObjectList<Object: AnyObject> {
    let count: Int
    private let first: UnsafeMutablePointer<Unmanaged<Object>>

    init(_ objects: [Object]) {
        count = objects.count
        first = .allocate(capacity: max(1, objects.count))
        for (i, object) in objects.enumerated() { (first + i).initialize(to: .passRetained(object)) }
    }

    deinit {
        for i in 0..<count { first[i].release() }
        first.deallocate()
    }

    @inline(always)
    func with(_ index: Int, _ body: (Object) -> Void) { first[index]._withUnsafeGuaranteedRef { body($0) } }
}
