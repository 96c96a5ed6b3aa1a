/// One variable of a layer, in Keras's shape and order of values.
public final class Weight {
    /// The variable's own name, such as "kernel" or "moving_mean".
    public let variable: Name
    /// The path that Keras gives it: layer path and variable, such as "lstm/kernel".
    public internal(set) var path: Name
    public let shape: Shape
    public let count: Int
    public let isTrainable: Bool
    /// How a fresh model draws it.
    public let initializer: Initializer

    /// Whoever owns the values: a buffer of ours, or the mapped file they lie in.
    private var owner: AnyObject
    public private(set) var values: UnsafePointer<Float>
    /// Its zero-terminated path, for C.
    public internal(set) var cPath = CText("")

    init(variable: Name, shape: Shape, isTrainable: Bool, initializer: Initializer) throws(Failure) {
        self.variable = variable
        self.path = variable
        self.shape = shape
        self.count = try shape.elementCount()
        self.isTrainable = isTrainable
        self.initializer = initializer
        let buffer = try AlignedBuffer(count: 0)
        owner = buffer
        values = UnsafePointer(buffer.floats)
    }

    /// Takes the values from `source`, which `owner` keeps alive; nothing is copied.
    public func adopt(_ source: UnsafePointer<Float>, owner: AnyObject) {
        self.owner = owner
        values = source
    }

    /// Takes a buffer of `count` floats for its own.
    public func adopt(_ buffer: AlignedBuffer) {
        adopt(UnsafePointer(buffer.floats), owner: buffer)
    }

    /// Copies `count` values in.
    public func assign(_ source: UnsafePointer<Float>) throws(Failure) {
        let buffer = try AlignedBuffer(count: count)
        buffer.floats.copy(from: source, count: count)
        adopt(buffer)
    }
}
