// swift-tools-version: 6.2

import PackageDescription

let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("InferIsolatedConformances"),
    .enableExperimentalFeature("Lifetimes"),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
]

let log: Target.Dependency = .product(name: "Logging", package: "swift-log")
let metrics: Target.Dependency = .product(name: "Metrics", package: "swift-metrics")
let lifecycle: Target.Dependency = .product(
    name: "ServiceLifecycle",
    package: "swift-service-lifecycle",
    condition: .when(traits: ["ServiceLifecycleSupport"])
)

/// A product of a package that is there for the trait `Etcd` alone: without it that is not even fetched.
func withEtcd(_ name: String, _ package: String) -> Target.Dependency {
    .product(name: name, package: package, condition: .when(traits: ["Etcd"]))
}

let package = Package(
    name: "holdfast",
    products: [
        .library(name: "Holdfast", targets: ["Holdfast"]),
        .library(name: "RegionFailover", targets: ["RegionFailover"]),
        .library(name: "RaftApply", targets: ["RaftApply"]),
        .library(name: "EtcdLog", targets: ["EtcdLog"]),
        .library(name: "HoldfastTesting", targets: ["HoldfastTesting"]),
        .executable(name: "holdfast", targets: ["HoldfastTool"]),
        .executable(name: "holdfast-node", targets: ["HoldfastNode"]),
    ],
    traits: [
        .trait(
            name: "ServiceLifecycleSupport",
            description: "Conform the controller's ticking service to swift-service-lifecycle's Service."
        ),
        .trait(name: "Etcd", description: "A replicated log on an etcd cluster, over gRPC."),
        .default(enabledTraits: ["ServiceLifecycleSupport"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-http2", from: "1.46.0"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0", traits: []),
        .package(url: "https://github.com/grpc/grpc-swift-2", from: "2.4.3"),
        .package(url: "https://github.com/grpc/grpc-swift-nio-transport", from: "2.9.2"),
        .package(url: "https://github.com/grpc/grpc-swift-protobuf", from: "2.4.1"),
        .package(url: "https://github.com/swhitty/FlyingFox", from: "0.27.1"),
    ],
    targets: [
        .systemLibrary(name: "CLMDB", pkgConfig: "lmdb", providers: [.apt(["liblmdb-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(name: "CXXHash", pkgConfig: "libxxhash", providers: [.apt(["libxxhash-dev"])]),
        .systemLibrary(name: "CPlatform"),
        .target(name: "Platform", dependencies: ["CPlatform"], swiftSettings: strict),
        .target(name: "Bytes", dependencies: ["CXXHash"], swiftSettings: strict),
        .target(name: "Zstd", dependencies: ["CZstd", "Platform"], swiftSettings: strict),
        .target(name: "LMDB", dependencies: ["CLMDB"], swiftSettings: strict),
        .target(name: "Pages", dependencies: ["Platform"], swiftSettings: strict),
        .target(name: "RegionFailover", swiftSettings: strict),
        .target(name: "ReplayFormat", dependencies: ["RegionFailover", "Bytes"], swiftSettings: strict),
        .target(
            name: "ReplayStore",
            dependencies: ["RegionFailover", "ReplayFormat", "LMDB", "Pages", "Zstd", "Platform", log, metrics],
            swiftSettings: strict
        ),
        .target(
            name: "Holdfast",
            dependencies: [
                "RegionFailover", "ReplayStore", "ReplayFormat", "LMDB", "Bytes", "Platform", log, metrics, lifecycle,
            ],
            swiftSettings: strict
        ),
        .target(
            name: "RaftApply",
            dependencies: [
                "Holdfast", "ReplayStore", "ReplayFormat", "RegionFailover", "Bytes", "Platform", "Zstd", log,
            ],
            swiftSettings: strict
        ),
        .target(
            name: "EtcdProtocol",
            dependencies: [
                withEtcd("GRPCCore", "grpc-swift-2"),
                withEtcd("GRPCProtobuf", "grpc-swift-protobuf"),
                withEtcd("SwiftProtobuf", "swift-protobuf"),
            ],
            exclude: ["etcd.proto"]
        ),
        .target(
            name: "EtcdLog",
            dependencies: [
                "EtcdProtocol", "RaftApply", "ReplayStore", log,
                withEtcd("GRPCCore", "grpc-swift-2"),
                withEtcd("GRPCNIOTransportHTTP2Posix", "grpc-swift-nio-transport"),
                withEtcd("GRPCProtobuf", "grpc-swift-protobuf"),
                withEtcd("NIOCore", "swift-nio"),
                withEtcd("NIOHTTP2", "swift-nio-http2"),
                withEtcd("SwiftProtobuf", "swift-protobuf"),
            ],
            swiftSettings: strict
        ),
        .target(
            name: "HoldfastTesting",
            dependencies: ["Holdfast", "RaftApply", "ReplayStore", "ReplayFormat", "RegionFailover", "Platform", log],
            swiftSettings: strict
        ),
        .target(
            name: "Lines",
            dependencies: ["Bytes", "Holdfast", "RegionFailover", "ReplayFormat", "ReplayStore"],
            swiftSettings: strict
        ),
        .executableTarget(
            name: "HoldfastTool",
            dependencies: [
                "Holdfast", "HoldfastTesting", "Lines", "Platform", "Bytes", "ReplayStore", "ReplayFormat",
                "RegionFailover",
                "LMDB",
                "Zstd", log,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            path: "Tools/holdfast",
            swiftSettings: strict
        ),
        .executableTarget(
            name: "HoldfastNode",
            dependencies: [
                "EtcdLog", "Holdfast", "Lines", "RaftApply", "RegionFailover", "ReplayFormat", "ReplayStore", log,
                withEtcd("FlyingFox", "FlyingFox"),
                withEtcd("FlyingSocks", "FlyingFox"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            path: "Tools/holdfast-node",
            swiftSettings: strict
        ),
        .testTarget(
            name: "RegionFailoverTests",
            dependencies: ["RegionFailover"],
            exclude: ["mutants.py"],
            swiftSettings: strict
        ),
        .testTarget(
            name: "ReplayFormatTests",
            dependencies: ["ReplayFormat", "Bytes", "RegionFailover", "HoldfastTesting"],
            swiftSettings: strict
        ),
        .testTarget(
            name: "HoldfastTests",
            dependencies: [
                "Bytes", "Holdfast", "HoldfastTesting", "LMDB", "Pages", "Platform", "ReplayStore", "ReplayFormat",
                "TestSupport", "Zstd", log, metrics, .product(name: "MetricsTestKit", package: "swift-metrics"),
            ],
            swiftSettings: strict
        ),
        .executableTarget(
            name: "LogWorker",
            dependencies: [
                "HoldfastTesting", "Platform", "RaftApply", "RegionFailover", "ReplayFormat", "ReplayStore", log,
            ],
            path: "Tests/LogWorker",
            swiftSettings: strict
        ),
        .testTarget(
            name: "RaftApplyTests",
            dependencies: [
                "Bytes", "LogWorker", "Holdfast", "HoldfastTesting", "RaftApply", "RegionFailover", "ReplayFormat",
                "ReplayStore",
                "TestSupport", log,
            ],
            swiftSettings: strict
        ),
        .target(
            name: "TestSupport",
            dependencies: ["Holdfast", "HoldfastTesting", "Platform", "ReplayFormat", "ReplayStore", "Zstd", log],
            path: "Tests/TestSupport",
            swiftSettings: strict
        ),
        .target(
            name: "EtcdSupport",
            dependencies: ["HoldfastTesting", "TestSupport"],
            path: "Tests/EtcdSupport",
            swiftSettings: strict
        ),
        .testTarget(
            name: "EtcdLogTests",
            dependencies: [
                "EtcdLog", "EtcdProtocol", "EtcdSupport", "Holdfast", "HoldfastTesting", "RaftApply", "RegionFailover",
                "ReplayStore", "TestSupport", log,
                withEtcd("GRPCCore", "grpc-swift-2"),
                withEtcd("NIOCore", "swift-nio"),
                withEtcd("NIOEmbedded", "swift-nio"),
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "ClusterTests",
            dependencies: [
                "EtcdSupport", "HoldfastNode", "HoldfastTesting", "Platform", "RegionFailover", "ReplayFormat",
                "ReplayStore", "TestSupport",
                withEtcd("FlyingFox", "FlyingFox"),
                withEtcd("FlyingSocks", "FlyingFox"),
                withEtcd("NIOCore", "swift-nio"),
                withEtcd("NIOPosix", "swift-nio"),
            ],
            swiftSettings: strict
        ),
        .executableTarget(
            name: "LogBench",
            dependencies: [
                "EtcdLog", "EtcdProtocol", "EtcdSupport", "Holdfast", "HoldfastTesting", "Platform", "RaftApply",
                "RegionFailover", "ReplayFormat", "ReplayStore", "TestSupport", log,
                withEtcd("GRPCCore", "grpc-swift-2"),
                withEtcd("GRPCNIOTransportHTTP2Posix", "grpc-swift-nio-transport"),
                withEtcd("GRPCProtobuf", "grpc-swift-protobuf"),
                withEtcd("SwiftProtobuf", "swift-protobuf"),
            ],
            path: "Tests/LogBench",
            swiftSettings: strict
        ),
        .executableTarget(
            name: "CrashWorker",
            dependencies: ["Bytes", "Holdfast", "HoldfastTesting", "LMDB", "Platform", "ReplayStore", "TestSupport"],
            path: "Tests/CrashWorker",
            swiftSettings: strict
        ),
        .executableTarget(
            name: "ReceiverWorker",
            dependencies: ["Holdfast"],
            path: "Tests/ReceiverWorker",
            swiftSettings: strict
        ),
        .executableTarget(
            name: "KillWorker",
            dependencies: ["Holdfast", "HoldfastTesting", "Platform", "ReplayStore", "ReplayFormat"],
            path: "Tests/KillWorker",
            swiftSettings: strict
        ),
        .executableTarget(
            name: "DiskWorker",
            dependencies: ["Holdfast", "HoldfastTesting", "Platform", "ReplayStore", "TestSupport", log],
            path: "Tests/DiskWorker",
            swiftSettings: strict
        ),
        .testTarget(
            name: "CrashTests",
            dependencies: [
                "CrashWorker", "DiskWorker", "KillWorker", "LogWorker", "ReceiverWorker", "Holdfast", "HoldfastTool",
                "TestSupport", "HoldfastTesting", "LMDB", "Pages", "Platform", "RaftApply", "ReplayStore",
                "ReplayFormat", "RegionFailover", log,
            ],
            exclude: ["faults.c", "killer.c", "recorder.c", "statfs.c", "stopper.c"],
            swiftSettings: strict
        ),
        .testTarget(
            name: "FuzzTests",
            dependencies: [
                "Bytes", "Holdfast", "HoldfastTesting", "HoldfastTool", "Lines", "Pages", "Platform", "RaftApply",
                "RegionFailover",
                "ReplayFormat", "ReplayStore", "TestSupport", "Zstd",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            exclude: ["Corpus"],
            swiftSettings: strict
        ),
        .testTarget(
            name: "CompatibilityTests",
            dependencies: [
                "Bytes", "Holdfast", "HoldfastTesting", "HoldfastTool", "RegionFailover", "ReplayFormat", "ReplayStore",
                "TestSupport", "Zstd",
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "DocumentationTests",
            dependencies: ["Holdfast", "HoldfastTesting", "HoldfastTool", "RaftApply", "ReplayStore", "TestSupport"],
            swiftSettings: strict
        ),
        .testTarget(
            name: "CommandTests",
            dependencies: [
                "HoldfastTool", "Lines", "TestSupport", "HoldfastTesting", "Holdfast", "ReplayStore", "ReplayFormat",
                "Bytes",
                "LMDB",
            ],
            exclude: ["Golden", "read_metrics.py", "read_store.py", "watch_terminal.py"],
            swiftSettings: strict
        ),
    ],
    swiftLanguageModes: [.v6]
)

// Under a sanitizer Tools/test builds the suites alone that stay in one process, and no program.
if let suites = Context.environment["HOLDFAST_TESTS"]?.split(separator: " ").map(String.init) {
    package.targets.removeAll { [.test, .executable].contains($0.type) && !suites.contains($0.name) }
    package.products.removeAll { $0 is Product.Executable }
}
