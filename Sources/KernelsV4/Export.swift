import CSystem

/// The kernels for processors of level x86-64-v4.
@c @implementation
public func cz_kernels_v4() -> cz_kernels { makeTable(name: "x86-64-v4") }
