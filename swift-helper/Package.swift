// swift-tools-version:5.9
import PackageDescription

// HelperCore and the executable need Apple's CryptoKit and Security; the protocol and its tests build everywhere.
#if os(macOS)
let appleTargets: [Target] = [
    .target(name: "HelperCore", dependencies: ["HelperProtocol"]),
    .executableTarget(name: "amesh-se-helper", dependencies: ["HelperCore", "HelperProtocol"]),
]
#else
let appleTargets: [Target] = []
#endif

let package = Package(
    name: "amesh-se-helper",
    platforms: [.macOS(.v12)],
    targets: [
        .target(name: "HelperProtocol"),
        .testTarget(name: "HelperProtocolTests", dependencies: ["HelperProtocol"]),
    ] + appleTargets
)
