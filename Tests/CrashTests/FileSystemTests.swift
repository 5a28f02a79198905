import Foundation
import HoldfastTesting
import TestSupport
import Testing

@Suite("The file system of a store") struct FileSystemTests {
    private let directory: TemporaryDirectory
    private var store: String { directory.appending("store") }

    init() throws { directory = try TemporaryDirectory() }

    /// Such a file system cannot be had in a test: what the system says of one is put in its place.
    @Test(
        "is refused where it is a network's, and nothing is made or read there",
        arguments: [
            ("6969", "NFS"), ("FF534D42", "SMB"), ("FE534D42", "SMB"), ("01021997", "9P"), ("00C36400", "Ceph"),
            ("5346414F", "AFS"), ("01161970", "GFS2"), ("7461636F", "OCFS2"),
        ]
    )
    func network(magic: String, name: String) throws {
        let library = try Tool.library("statfs", in: directory.path)
        let initialize = ["init", store, "--local", "us", "--regions", "us,eu"]
        let told = ["LD_PRELOAD": library, "STATFS": magic]
        let refused = try Tool.run(initialize, environment: told)
        #expect(refused.status != 0 && !refused.isSignalled)
        #expect(refused.talk.contains("network file system (\(name))"), "\(refused.talk)")
        #expect(!FileManager.default.fileExists(atPath: store + "/data.mdb"))
        try #require(try Tool.run(initialize).status == 0)
        let line = #"{"origin":"us","incarnation":1,"sequence":1,"key":"k","value":"v"}"#
        let append = ["append", store, "--region", "eu"]
        #expect(try Tool.run(append, input: line, environment: told).talk.contains("network file system (\(name))"))
        #expect(try Tool.run(append, input: line).status == 0)
    }

    @Test("is doubted where it is an overlay", .enabled(if: overlayRefusal == nil, "\(overlayRefusal ?? "")"))
    func overlay() throws {
        let verbs = """
            "$2" init "$1/whole/store" --local us --regions us,eu && echo '{"origin":"us","sequence":1,"key":"k","value":"v"}' \
            | "$2" append "$1/whole/store" --region eu --incarnation 1 && "$2" check "$1/whole/store" --level deep
            """
        let outcome = try Self.onOverlay(directory, verbs)
        #expect(outcome.status == 0, "\(outcome.talk)")
        #expect(outcome.talk.contains("is on overlayfs: keep it on a volume of its own"))
    }

    @Test(
        "is doubted where it is an overlay, also for a ledger",
        .enabled(if: overlayRefusal == nil, "\(overlayRefusal ?? "")")
    )
    func ledgerOnOverlay() throws {
        let receive = #"printf 'us 1 1\n.\n' | "$3" "$1/whole/ledger""#
        let outcome = try Self.onOverlay(directory, receive)
        #expect(outcome.status == 0 && outcome.lines == ["R", "A 1"], "\(outcome.output)\(outcome.talk)")
        #expect(outcome.talk.contains("/whole/ledger' is on overlayfs: keep it on a volume of its own"))
    }

    /// Runs a script with an overlay at `$1/whole`, in a mount namespace of its own; `$2` is the tool, `$3` a receiver.
    private static func onOverlay(_ directory: TemporaryDirectory, _ script: String) throws -> Tool.Outcome {
        let mounting = """
            PATH=$PATH:/sbin:/usr/sbin; mkdir "$1/memory" "$1/whole" && mount -t tmpfs none "$1/memory" \
            && cd "$1/memory" && mkdir lower upper work \
            && mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay "$1/whole" && cd /
            """
        let isolated = ["--mount"] + (getuid() == 0 ? [] : ["--user", "--map-root-user"])
        return try Tool.run(
            isolated + [
                "sh", "-c", mounting + " && " + script, "sh", directory.path, Tool.path(), Tool.path("ReceiverWorker"),
            ],
            program: "/usr/bin/unshare"
        )
    }

    /// Why this system does not let the tests mount one; nil where it does.
    private static let overlayRefusal: String? = {
        do {
            let outcome = try onOverlay(TemporaryDirectory(), "true")
            return outcome.status == 0 ? nil : outcome.talk.trimmingCharacters(in: .whitespacesAndNewlines)
        } catch {
            return "\(error)"
        }
    }()
}
