import Foundation
import Glibc
import HoldfastTesting
import TestSupport
import Testing

/// A call that fails: which, how, and whether all later ones of its kind do too.
struct FileFault: Sendable, CustomTestStringConvertible {
    var calls: String
    var number: Int32
    var manner: String
    var lasts: Bool

    static let all: [Self] =
        [
            Self(calls: "write", number: EIO, manner: "notDone", lasts: false),
            Self(calls: "write", number: EIO, manner: "half", lasts: false),
            Self(calls: "write", number: EIO, manner: "notDone", lasts: true),
            Self(calls: "sync", number: EIO, manner: "notDone", lasts: false),
            Self(calls: "sync", number: EIO, manner: "notDone", lasts: true),
            Self(calls: "durable", number: EIO, manner: "notDone", lasts: false),
            Self(calls: "durable", number: EIO, manner: "done", lasts: false),
            Self(calls: "durable", number: EIO, manner: "done", lasts: true),
            Self(calls: "other", number: EIO, manner: "notDone", lasts: false),
            Self(calls: "other", number: EIO, manner: "notDone", lasts: true),
        ]
        + [ENOSPC, EDQUOT].flatMap { number in
            [false, true].map { Self(calls: "other", number: number, manner: "notDone", lasts: $0) }
                + [Self(calls: "durable", number: number, manner: "done", lasts: false)]
        }

    var name: String {
        switch number {
        case EIO: "EIO"
        case ENOSPC: "ENOSPC"
        default: "EDQUOT"
        }
    }

    /// Whether some handles must be poisoned by it; otherwise none may be.
    var poisons: Bool { number == EIO || calls == "durable" }

    var testDescription: String { "\(name), \(calls), \(manner), \(lasts ? "from there on" : "once")" }
}

@Suite("A disk that fails") struct FileFaultTests {
    private static let seeds = ProcessInfo.processInfo.environment["HOLDFAST_DISK_FAULT_SEEDS"].flatMap { UInt64($0) }

    private static let library: Result<(TemporaryDirectory, String), any Error> = Result {
        let directory = try TemporaryDirectory()
        return (directory, try Tool.library("faults", in: directory.path))
    }

    /// Runs the worker, and gives what it has counted.
    @discardableResult
    private func run(_ arguments: [String], _ environment: [String: String] = [:]) throws -> [String: Int] {
        let outcome = try Tool.run(arguments, program: Tool.path("DiskWorker"), environment: environment)
        print("\(outcome.lines.first ?? "") [\(arguments.joined(separator: " "))]")
        #expect(outcome.status == 0, "\(arguments): \(outcome.status), \(outcome.output)\(outcome.talk)")
        #expect(outcome.lines.last == "wrong: 0", "\(arguments): \(outcome.output)")
        let counts = outcome.lines.suffix(4).compactMap { line -> (String, Int)? in
            let parts = line.components(separatedBy: ": ")
            return parts.count == 2 ? Int(parts[1]).map { (parts[0], $0) } : nil
        }
        return Dictionary(counts) { first, _ in first }
    }

    @Test(
        "at any of its calls is told as what it is, and nothing is lost or doubled by it",
        arguments: FileFault.all
    )
    func calls(fault: FileFault) throws { try sweep(fault, "calls") }

    @Test(
        "under a receiver's ledger is told as what it is, and nothing that was applied is forgotten or comes twice",
        arguments: FileFault.all
    )
    func ledger(fault: FileFault) throws { try sweep(fault, "ledger") }

    private func sweep(_ fault: FileFault, _ workload: String) throws {
        let (tools, library) = try Self.library.get()
        // All calls of a short workload; every seventh of a longer one, unless all are asked for.
        for seed in 1...(Self.seeds ?? 1) {
            let directory = try TemporaryDirectory(in: MountedDisk.fastDirectory)
            let shares = Self.seeds == nil ? [("6", "1", "1"), ("40", "\(1 + seed % 7)", "13")] : [("40", "1", "1")]
            for (operations, first, step) in shares {
                let counts = try run(
                    [
                        workload, directory.path, fault.calls, "\(fault.number)", fault.manner,
                        fault.lasts ? "lasts" : "once", "\(seed)", operations, first, step,
                    ],
                    ["LD_PRELOAD": library]
                )
                // The fault was met, and where nobody can know what is on the disk, the handle says so.
                #expect(counts["failed calls", default: 0] > 0, "\(workload), \(fault)")
                #expect(
                    (counts["poisoned handles", default: 0] > 0) == fault.poisons,
                    "\(workload), \(fault): \(counts)"
                )
            }
        }
        _ = tools
    }

    @Test("that is a limit on the size of files is a full disk", arguments: [1] as [UInt64])
    func fileSize(seed: UInt64) throws {
        for seed in seed...(Self.seeds ?? seed) {
            let directory = try TemporaryDirectory(in: MountedDisk.fastDirectory)
            // From nothing up to more than the workload needs.
            let (step, count) = Self.seeds == nil ? (50_000, 40) : (4_096, 500)
            let counts = try run(["fileSize", directory.path, "\(seed)", "40", "0", "\(step)", "\(count)"])
            #expect(counts["full", default: 0] > 0 && counts["poisoned handles"] == 0, "\(counts)")
        }
    }
}
