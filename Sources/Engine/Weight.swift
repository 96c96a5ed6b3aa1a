import CSystem

/// One variable of a layer, in Keras's shape and order of values.
public final class Weight: Lockable {
    /// The variable's own name, such as "kernel" or "moving_mean".
    public let variable: Name
    /// The path that Keras gives it: layer path and variable, such as "lstm/kernel".
    public internal(set) var path: Name
    public let shape: Shape
    public let count: Int
    /// Whether it is a table of vectors.
    let isTable: Bool
    public let isTrainable: Bool
    /// How a fresh model draws it.
    public let initializer: Initializer

    /// Whoever owns the memory: a buffer of ours, or the mapped file it lies in.
    private var owner: AnyObject
    /// The values, as they are kept; halves and whole numbers at any address.
    public private(set) var memory: UnsafeRawPointer
    public private(set) var precision = Precision.float32
    /// Of whole numbers.
    public private(set) var scales: AlignedBuffer?
    /// How much of the memory is locked: all or nothing.
    private var lockedBytes = 0
    /// Its zero-terminated path, for C.
    public internal(set) var cPath = CText("")

    init(variable: Name, shape: Shape, isTrainable: Bool, initializer: Initializer) throws(Failure) {
        self.variable = variable
        self.path = variable
        self.shape = shape
        self.count = try shape.elementCount()
        isTable = variable == "embeddings"
        self.isTrainable = isTrainable
        self.initializer = initializer
        let buffer = try AlignedBuffer(count: 0)
        owner = buffer
        memory = UnsafeRawPointer(buffer.floats)
    }

    /// The values of one that is not kept narrow.
    public var values: UnsafePointer<Float> {
        assert(precision == .float32)
        return memory.assumingMemoryBound(to: Float.self)
    }

    /// Takes the values from `source`, which `owner` keeps alive; nothing is copied. They are locked no more, unless they are the same.
    public func adopt(_ source: UnsafePointer<Float>, owner: AnyObject) {
        if UnsafeRawPointer(source) != memory { unlock() }
        take(UnsafeRawPointer(source), .float32, scales: nil, owner: owner)
    }

    /// Takes a buffer of `count` floats for its own.
    public func adopt(_ buffer: AlignedBuffer) {
        adopt(UnsafePointer(buffer.floats), owner: buffer)
    }

    /// Takes narrow values from `source`, which `owner` keeps alive; whole numbers with their scales. Fails where a scale is
    /// not a finite number, or negative.
    @export(interface)
    public func adopt(_ source: UnsafeRawPointer, _ precision: Precision, scales: AlignedBuffer?, owner: AnyObject) throws(Failure) {
        if let scales {
            for i in 0..<scales.count where !(scales.floats[i] >= 0 && scales.floats[i] * 128 < .infinity) {
                throw Failure(.invalidFile, "weight '\(path)' has a scale of \(scales.floats[i])")
            }
        }
        try replace(by: source, precision, scales: scales, owner: owner)
    }

    /// Copies `count` values in; where it is kept narrow, they are made so.
    public func assign(_ source: UnsafePointer<Float>) throws(Failure) {
        if precision != .float32 { return try narrow(source, to: precision) }
        let buffer = try AlignedBuffer(count: count)
        buffer.floats.copy(from: source, count: count)
        try replace(by: buffer.floats, .float32, scales: nil, owner: buffer)
    }

    private func take(_ source: UnsafeRawPointer, _ precision: Precision, scales: AlignedBuffer?, owner: AnyObject) {
        self.owner = owner
        memory = source
        self.precision = precision
        self.scales = scales
    }

    /// The same, locked where the values were.
    private func replace(by source: UnsafeRawPointer, _ precision: Precision, scales: AlignedBuffer?, owner: AnyObject) throws(Failure) {
        let wasLocked = lockedBytes > 0
        if wasLocked { try Lockable.lock(source, bytes: count * precision.size) }
        unlock()
        take(source, precision, scales: scales, owner: owner)
        if wasLocked { lockedBytes = count * precision.size }
    }

    // MARK: Locking

    override func lock() throws(Failure) {
        guard lockedBytes == 0 else { return }
        try Lockable.lock(memory, bytes: count * precision.size)
        lockedBytes = count * precision.size
    }

    override func unlock() {
        if lockedBytes > 0 { Lockable.unlock(memory, bytes: lockedBytes) }
        lockedBytes = 0
    }

    deinit { unlock() }
}
