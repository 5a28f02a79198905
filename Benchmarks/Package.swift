// swift-tools-version: 6.2

import PackageDescription

let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("InferIsolatedConformances"),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
]

let package = Package(
    name: "holdfast-benchmarks",
    dependencies: [
        // Without the default trait: nothing here is a service of swift-service-lifecycle.
        .package(name: "holdfast", path: "..", traits: []),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    ],
    targets: [
        // From Debian: liblmdb-dev, libzstd-dev, libxxhash-dev, libsqlite3-dev, librocksdb-dev, libleveldb-dev.
        .target(
            name: "CPeers",
            cSettings: [.treatAllWarnings(as: .error)],
            linkerSettings: ["lmdb", "zstd", "sqlite3", "rocksdb", "leveldb"].map { .linkedLibrary($0) }
        ),
        .executableTarget(
            name: "HoldfastBench",
            dependencies: [
                "CPeers",
                .product(name: "Holdfast", package: "holdfast"),
                .product(name: "HoldfastTesting", package: "holdfast"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict
        ),
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .gnu11
)
