import CCadenza
import CSystem
import Engine
import Files

// The boundary: every exported function checks its arguments, calls the engine, and maps a failure to a status and the
// thread's message. There is no logic here.

/// Runs the body of an exported function; a failure becomes its status and message.
func attempt(_ body: () throws(Failure) -> Void) -> cadenza_status {
    do throws(Failure) {
        try body()
        return CADENZA_OK
    } catch {
        report(error.message)
        return cadenza_status(rawValue: cadenza_status.RawValue(error.code.rawValue))
    }
}

/// The same for what reads or draws numbers, or trains: they are rounded to nearest, whatever the caller has set.
func attemptRounding(_ body: () throws(Failure) -> Void) -> cadenza_status {
    let callers = cz_float_mode_enter_default()
    defer { cz_float_mode_leave(callers) }
    return attempt(body)
}

/// Leaves a message for cadenza_last_message, cut to what its buffer holds.
private func report(_ message: Text) {
    var capacity = 0
    guard let buffer = cz_message(&capacity) else { return }
    var length = 0
    for byte in message.repaired.bytes where length < capacity - 1 {
        buffer[length] = CChar(bitPattern: byte == 10 || byte == 13 ? 32 : byte)
        length += 1
    }
    buffer[length] = 0
}

/// The failure of an argument that must not be NULL.
func missing(_ argument: Literal) -> Failure {
    Failure(.invalidArgument, "\(argument) is NULL")
}

/// A pointer argument that must be there.
func given<T>(_ pointer: UnsafePointer<T>?, _ argument: Literal) throws(Failure) -> UnsafePointer<T> {
    guard let pointer else { throw missing(argument) }
    return pointer
}

func given<T>(_ pointer: UnsafeMutablePointer<T>?, _ argument: Literal) throws(Failure) -> UnsafeMutablePointer<T> {
    guard let pointer else { throw missing(argument) }
    return pointer
}

/// A C string argument.
func text(_ pointer: UnsafePointer<CChar>?, _ argument: Literal) throws(Failure) -> Text {
    Text(try bytes(pointer, argument))
}

/// A C string argument as bytes.
func bytes(_ pointer: UnsafePointer<CChar>?, _ argument: Literal) throws(Failure) -> [UInt8] {
    var next = try given(pointer, argument)
    var bytes: [UInt8] = []
    while next.pointee != 0 {
        bytes.append(UInt8(bitPattern: next.pointee))
        next += 1
    }
    return bytes
}

/// A size argument as the engine's Int.
func count(_ size: Int, _ argument: Literal) throws(Failure) -> Int {
    guard size >= 0, size <= 1 << 40 else {
        throw Failure(.invalidArgument, "\(argument) is beyond 2^40")
    }
    return size
}

/// An index argument within `0 ..< limit`.
func index(_ index: Int, below limit: Int, _ argument: Literal) throws(Failure) -> Int {
    guard index >= 0, index < limit else {
        throw Failure(.invalidArgument, "\(argument) is \(index < 0 ? "beyond all" : "\(index)"), expected less than \(limit)")
    }
    return index
}

/// Fills a caller's buffer, or tells how large it must be: the way of all calls that give bytes.
func deliver(_ size: Int, to buffer: UnsafeMutableRawPointer?, capacity: Int, _ needed: UnsafeMutablePointer<Int>?,
             _ fill: (UnsafeMutableRawPointer) -> Void) throws(Failure) {
    let needed = try given(needed, "size")
    if let buffer {
        guard capacity < 0 || capacity >= size else {
            throw Failure(.invalidArgument, "capacity is \(capacity) bytes, expected \(size) or more")
        }
        fill(buffer)
    }
    needed.pointee = size
}

func deliver(_ object: any Snapshotting, to buffer: UnsafeMutableRawPointer?, capacity: Int, _ size: UnsafeMutablePointer<Int>?) throws(Failure) {
    try deliver(object.snapshotSize, to: buffer, capacity: capacity, size) { object.snapshot(into: $0) }
}

/// Writes a snapshot to a file, whole or not at all.
func write(_ object: any Snapshotting, to path: UnsafePointer<CChar>?) throws(Failure) {
    try writeFile(path: try given(path, "path"), size: object.snapshotSize) { object.snapshot(into: $0) }
}

func restore(_ object: any Snapshotting, _ bytes: UnsafeRawPointer?, _ size: Int) throws(Failure) {
    guard let bytes else { throw missing("bytes") }
    try object.restore(UnsafeRawBufferPointer(start: bytes, count: try count(size, "size")))
}

func restore(_ object: any Snapshotting, from path: UnsafePointer<CChar>?) throws(Failure) {
    let file = try MappedFile(path: try given(path, "path"))
    defer { withExtendedLifetime(file) {} }
    try object.restore(file.bytes)
}

/// A text with its terminating zero, delivered like bytes.
func deliver(_ text: Text, to buffer: UnsafeMutablePointer<CChar>?, capacity: Int,
             _ needed: UnsafeMutablePointer<Int>?) throws(Failure) {
    let utf8 = text.repaired.bytes
    try deliver(utf8.count + 1, to: buffer, capacity: capacity, needed) { memory in
        for (i, byte) in utf8.enumerated() { memory.storeBytes(of: byte, toByteOffset: i, as: UInt8.self) }
        memory.storeBytes(of: 0, toByteOffset: utf8.count, as: UInt8.self)
    }
}

/// Fills a struct that begins with struct_size: only as far as the caller's version of it goes.
func fill<T>(_ target: UnsafeMutablePointer<T>?, _ argument: Literal, _ value: T) throws(Failure) {
    let target = try given(target, argument)
    let size = UnsafeRawPointer(target).load(as: Int.self)
    guard size >= MemoryLayout<T>.size else {
        throw Failure(.invalidArgument, "\(argument)->struct_size is \(size < 0 ? 0 : size), "
            + "expected sizeof the struct (\(MemoryLayout<T>.size))")
    }
    var value = value
    withUnsafeMutableBytes(of: &value) { source in
        source.storeBytes(of: size, as: Int.self)
        UnsafeMutableRawPointer(target).copyMemory(from: source.baseAddress!, byteCount: MemoryLayout<T>.size)
    }
}

/// The engine's object behind a handle.
func object<T: AnyObject>(_ handle: OpaquePointer?, _ argument: Literal) throws(Failure) -> T {
    guard let handle else { throw missing(argument) }
    return Unmanaged<T>.fromOpaque(UnsafeRawPointer(handle)).takeUnretainedValue()
}

/// Calls `body` with the engine's object behind a handle. Where `object` would count a reference, which costs as much as a
/// small layer, this relies on the caller's.
@inline(__always)
func borrowed<T: AnyObject>(_ handle: OpaquePointer?, _ argument: Literal, _ body: (T) throws(Failure) -> Void) throws(Failure) {
    guard let handle else { throw missing(argument) }
    var failure: Failure?
    Unmanaged<T>.fromOpaque(UnsafeRawPointer(handle))._withUnsafeGuaranteedRef { object in
        do throws(Failure) { try body(object) } catch { failure = error }
    }
    if let failure { throw failure }
}

/// A new handle to an object, which release takes back.
func handle<T: AnyObject>(_ object: T) -> OpaquePointer {
    OpaquePointer(Unmanaged.passRetained(object).toOpaque())
}

func retain<T: AnyObject>(_ handle: OpaquePointer, _ type: T.Type) {
    _ = Unmanaged<T>.fromOpaque(UnsafeRawPointer(handle)).retain()
}

func release<T: AnyObject>(_ handle: OpaquePointer?, _ type: T.Type) {
    if let handle { Unmanaged<T>.fromOpaque(UnsafeRawPointer(handle)).release() }
}
