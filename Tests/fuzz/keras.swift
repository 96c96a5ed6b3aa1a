import Engine
import Files

/// Whole models, of any format that is loaded.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    do throws(Failure) {
        _ = try loadModel(UnsafeRawBufferPointer(start: bytes, count: count), owner: nil, architecture: nil)
    } catch {}
    return 0
}
