import CSystem

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
    /// Where it is kept narrow: what the narrow values are as floats.
    public private(set) var values: UnsafePointer<Float>
    /// How the kernels have it.
    public private(set) var precision = Precision.float32
    /// Of whole numbers.
    public private(set) var scales: AlignedBuffer?
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

    /// The same, narrow: values that the precision has, or whole numbers that get their scales. Fails where a scale is not a
    /// finite number, or negative.
    @export(interface)
    public func adopt(_ buffer: AlignedBuffer, _ precision: Precision, scales: AlignedBuffer?) throws(Failure) {
        let mode = cz_float_mode_enter()
        defer { cz_float_mode_leave(mode) }
        if let scales {
            for i in 0..<scales.count where !(scales.floats[i] >= 0 && scales.floats[i] * 128 < .infinity) {
                throw Failure(.invalidFile, "weight '\(path)' has a scale of \(scales.floats[i])")
            }
            for i in 0..<count { buffer.floats[i] *= scales.floats[scaleIndex(i)] }
        }
        adopt(buffer)
        self.precision = precision
        self.scales = scales
    }

    /// Copies `count` values in; where it is kept narrow, they are made so.
    public func assign(_ source: UnsafePointer<Float>) throws(Failure) {
        if precision != .float32 { return try narrow(source, to: precision) }
        let buffer = try AlignedBuffer(count: count)
        buffer.floats.copy(from: source, count: count)
        adopt(buffer)
    }
}
