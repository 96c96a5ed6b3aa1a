import CSystem

/// The kernels for arm64.
@c @implementation
public func cz_kernels_neon() -> cz_kernels { makeTable(name: "neon") }
