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

let holdfast: Target.Dependency = .product(name: "Holdfast", package: "holdfast")

let package = Package(
    name: "outbox-example",
    dependencies: [
        // Without the default trait: nothing here is a service of swift-service-lifecycle.
        .package(name: "holdfast", path: "../..", traits: [])
    ],
    targets: [
        .systemLibrary(name: "CPostgres", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .target(name: "Postgres", dependencies: ["CPostgres"], swiftSettings: strict),
        .target(name: "Outbox", dependencies: ["Postgres", holdfast], swiftSettings: strict),
        .executableTarget(
            name: "outbox-shipper",
            dependencies: ["Outbox", "Postgres", holdfast],
            path: "Sources/Shipper",
            swiftSettings: strict
        ),
        .executableTarget(
            name: "outbox-demo",
            dependencies: [
                "Outbox", "Postgres", .product(name: "HoldfastTesting", package: "holdfast"),
            ],
            path: "Sources/Demo",
            swiftSettings: strict
        ),
    ],
    swiftLanguageModes: [.v6]
)
