// swift-tools-version: 6.2
import PackageDescription

/// Release builds are Embedded Swift: one small library without a runtime.
/// Debug builds are ordinary Swift, so that `swift test` works as everywhere.
let engine: [SwiftSetting] = [
    .enableExperimentalFeature("Embedded", .when(configuration: .release)),
    // A section for each function, so that the linker drops what is not called.
    .unsafeFlags(["-wmo", "-Xfrontend", "-function-sections"], .when(configuration: .release)),
]

/// All but the kernels is compiled for size: what a step costs is spent in the kernels. Functions that take closures are
/// not compiled anew for each closure.
///
/// No outlined objects: a module that uses another's function may bring a copy of it, and with it copies of the constant
/// arrays in it, as weak symbols "outlined object #0, #1 … of the function". Modules number them differently (Swift 6.3),
/// and the linker takes the function from one object file and the arrays from another: [.still] becomes [.flowing].
///
/// For the same reason a module compiles anew whatever it uses of another, all the way down. `@export(interface)` on a
/// function at a module's border ends that: what CadenzaABI calls, and the layers that Files makes, is compiled once.
let small = engine + [.unsafeFlags(["-Osize", "-Xllvm", "-enable-machine-outliner=always",
                                    "-Xllvm", "-sil-disable-pass=object-outliner,closure-specialize,capture-prop",
                                    "-enforce-exclusivity=unchecked"], .when(configuration: .release))]

/// A kernel target is compiled for one instruction set, always optimised: SIMD code without
/// optimisation is a hundred times slower, in tests too. What they have on the stack are arrays with constant places: no guard.
let kernel = engine + [.unsafeFlags(["-O", "-wmo", "-Xfrontend", "-disable-stack-protector"])]

/// One target for each set of instructions that this processor's kind may have.
#if arch(arm64)
let kernels: [Target] = [.target(name: "KernelsNEON", dependencies: ["CSystem"], swiftSettings: kernel)]
#else
let kernels: [Target] = [2, 3, 4].map { level in
    .target(name: "KernelsV\(level)", dependencies: ["CSystem"], swiftSettings: kernel + [.unsafeFlags(["-Xcc", "-march=x86-64-v\(level)"])])
}
#endif
let kernelNames: [Target.Dependency] = kernels.map { .init(stringLiteral: $0.name) }

let package = Package(
    name: "Cadenza",
    products: [
        .library(name: "cadenza", type: .static, targets: ["CadenzaABI"]),
    ],
    targets: [
        // Public: the C ABI. Everything a user can call is declared in include/cadenza.h.
        .target(name: "CCadenza"),
        .target(name: "CadenzaABI", dependencies: ["CCadenza", "Engine", "Files", "Generation", "Training", "CSystem"],
                exclude: ["cadenza.map", "unused.ld"], swiftSettings: small),

        // Detail
        .target(name: "CSystem"),
        .target(name: "Engine", dependencies: ["CSystem"] + kernelNames, swiftSettings: small),
        .target(name: "Files", dependencies: ["Engine", "CSystem"], swiftSettings: small),
        .target(name: "Generation", dependencies: ["Engine", "CSystem"], swiftSettings: small),
        .target(name: "Training", dependencies: ["Engine", "Generation", "CSystem"], swiftSettings: small),

        // Tests
        .testTarget(name: "EngineTests", dependencies: ["Engine"]),
        .testTarget(name: "FilesTests", dependencies: ["Files"]),
        .testTarget(name: "GenerationTests", dependencies: ["Engine", "Generation"]),
        .testTarget(name: "KernelTests", dependencies: ["CSystem", "Engine"] + kernelNames,
                    swiftSettings: [.unsafeFlags(["-O"])]),
    ] + kernels
)
