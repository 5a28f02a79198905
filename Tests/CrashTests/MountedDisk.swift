import Foundation
import Glibc
import HoldfastTesting
import TestSupport

/// A small disk in a mount namespace of its own: it goes with the process that was started in it.
enum MountedDisk: String, Sendable, CaseIterable {
    /// 16 MiB of memory.
    case tmpfs
    /// A file of 24 MiB with ext4 on it, through a loop device.
    case ext4

    /// Runs a program with the disk mounted at `directory` + `/disk`.
    func run(in directory: String, _ program: String, _ arguments: [String]) throws -> Tool.Outcome {
        let mounting =
            switch self {
            case .tmpfs: "mount -t tmpfs -o size=16m none \"$1/disk\""
            case .ext4:
                "truncate -s 24M \"$1/image\" && mkfs.ext4 -q -F -m 0 \"$1/image\" && mount -o loop \"$1/image\" \"$1/disk\""
            }
        let script = "PATH=$PATH:/sbin:/usr/sbin; mkdir \"$1/disk\" && \(mounting) && shift && exec \"$@\""
        let isolated = ["--mount"] + (getuid() == 0 ? [] : ["--user", "--map-root-user"])
        return try Tool.run(
            isolated + ["sh", "-c", script, "sh", directory, program] + arguments,
            program: "/usr/bin/unshare"
        )
    }

    /// Why this system does not let the tests mount one; nil where it does.
    ///
    /// A user who is root in a namespace of its own may mount memory, and no loop device.
    var refusal: String? { self == .tmpfs ? Self.tmpfsRefusal : Self.ext4Refusal }

    private static let tmpfsRefusal = tmpfs.attempt()
    private static let ext4Refusal = ext4.attempt()

    private func attempt() -> String? {
        do {
            let directory = try TemporaryDirectory(in: Self.fastDirectory)
            let outcome = try run(in: directory.path, "true", [])
            return outcome.status == 0 ? nil : outcome.talk.trimmingCharacters(in: .whitespacesAndNewlines)
        } catch {
            return "\(error)"
        }
    }

    /// Where files are in memory, so that a sync costs nothing; nil where there is no such place.
    static let fastDirectory = unsafe access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : nil as String?
}
