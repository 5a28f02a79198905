import Foundation
import HoldfastTesting
import TestSupport
import Testing

@Suite("On a full disk", .serialized) struct FullAcknowledgeTests {
    private static let count =
        ProcessInfo.processInfo.environment["HOLDFAST_FULL_ACKNOWLEDGEMENTS"].flatMap { Int($0) }

    /// Acknowledges on a full disk; the worker says what has failed.
    private func acknowledge(_ disk: MountedDisk, _ count: Int, isFilledByOthers: Bool, seed: UInt64) throws {
        let directory = try TemporaryDirectory(in: MountedDisk.fastDirectory)
        let place = directory.appending("disk")
        let outcome = try disk.run(
            in: directory.path,
            Tool.path("DiskWorker"),
            ["full", place + "/store", "\(seed)", "\(count)", isFilledByOthers ? place + "/filler" : "none"]
        )
        let comment: Comment = "\(disk), seed \(seed): \(outcome.output)\(outcome.talk)"
        print("\(disk), filled by \(isFilledByOthers ? "others too" : "the store"): \(outcome.lines.first ?? "")")
        #expect(outcome.status == 0, comment)
        #expect(outcome.lines.count == 1, comment)
        let isWhole =
            outcome.output.contains("full disk: \(count) of \(count) succeeded") && outcome.output.contains("20 of 20")
        #expect(isWhole, comment)
    }

    @Test(
        "every acknowledgement succeeds, and then appends do again, without a restart: tmpfs",
        .enabled(if: MountedDisk.tmpfs.refusal == nil, "no mount here: \(MountedDisk.tmpfs.refusal ?? "")"),
        arguments: [(false, 1), (true, 2)] as [(Bool, UInt64)]
    )
    func tmpfs(isFilledByOthers: Bool, seed: UInt64) throws {
        try acknowledge(.tmpfs, Self.count ?? 1_000, isFilledByOthers: isFilledByOthers, seed: seed)
    }

    @Test(
        "every acknowledgement succeeds, and then appends do again, without a restart: ext4",
        .enabled(
            if: MountedDisk.ext4.refusal == nil,
            "no ext4 on a loop device here: \(MountedDisk.ext4.refusal ?? "")"
        ),
        arguments: [(false, 3), (true, 4)] as [(Bool, UInt64)]
    )
    func ext4(isFilledByOthers: Bool, seed: UInt64) throws {
        try acknowledge(.ext4, Self.count ?? 200, isFilledByOthers: isFilledByOthers, seed: seed)
    }
}
