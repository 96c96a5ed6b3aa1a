import Engine

/// HDF5 files: all that is in one is read.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    do throws(Failure) { try walkHDF5(UnsafeRawBufferPointer(start: bytes, count: count)) } catch {}
    return 0
}
