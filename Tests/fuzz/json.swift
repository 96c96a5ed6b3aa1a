import Engine
import Files

/// JSON texts: what is read must be read the same again after it was written.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    do throws(Failure) {
        let json = try JSON(UnsafeRawBufferPointer(start: bytes, count: count))
        let written = json.serialized
        let again = try written.withUnsafeBufferPointer { text throws(Failure) in try JSON(UnsafeRawBufferPointer(text)) }
        precondition(again == json, "what is written is not read the same")
    } catch {}
    return 0
}
