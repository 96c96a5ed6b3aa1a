import CCadenza
import CSystem
import Engine

// Version, status and message, processor.

private let version: StaticString = "0.1.0"

private func pointer(_ text: StaticString) -> UnsafePointer<CChar> {
    UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}

@c @implementation
public func cadenza_version() -> UnsafePointer<CChar>? { pointer(version) }

@c @implementation
public func cadenza_status_name(_ status: cadenza_status) -> UnsafePointer<CChar>? {
    switch status {
    case CADENZA_OK: pointer("CADENZA_OK")
    case CADENZA_INVALID_ARGUMENT: pointer("CADENZA_INVALID_ARGUMENT")
    case CADENZA_INVALID_FILE: pointer("CADENZA_INVALID_FILE")
    case CADENZA_UNSUPPORTED: pointer("CADENZA_UNSUPPORTED")
    case CADENZA_NOT_FOUND: pointer("CADENZA_NOT_FOUND")
    case CADENZA_SYSTEM: pointer("CADENZA_SYSTEM")
    case CADENZA_OUT_OF_MEMORY: pointer("CADENZA_OUT_OF_MEMORY")
    case CADENZA_CANNOT_STREAM: pointer("CADENZA_CANNOT_STREAM")
    case CADENZA_MISMATCH: pointer("CADENZA_MISMATCH")
    default: pointer("unknown status")
    }
}

@c @implementation
public func cadenza_last_message() -> UnsafePointer<CChar>? {
    var capacity = 0
    return UnsafePointer(cz_message(&capacity))
}

@c @implementation
public func cadenza_kernels_name() -> UnsafePointer<CChar>? { KernelTable.current.pointee.name }

@c @implementation
public func cadenza_kernels_available(_ index: Int) -> UnsafePointer<CChar>? {
    let tables = KernelTable.available
    return index >= 0 && index < tables.count ? tables[index].pointee.name : nil
}

@c @implementation
public func cadenza_kernels_force(_ name: UnsafePointer<CChar>?) -> cadenza_status {
    attempt { () throws(Failure) in try KernelTable.force(try given(name, "name")) }
}
