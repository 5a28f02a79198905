import Foundation

/// Where and of what a run was made.
struct Machine: Sendable, Encodable {
    var type = "run"
    var host: String
    var cpu: String
    var cores: Int
    var kernel: String
    var directory: String
    var fileSystem: String
    var device: String
    var mountOptions: String
    var versions: String
    var commit: String
    var date: String
    var seed: UInt64
    var rounds: Int
    var list: String

    init(_ options: Options, directory: String) {
        let mount = Mount(of: directory)
        self.directory = directory
        host = Self.line("/proc/sys/kernel/hostname")
        kernel = Self.line("/proc/sys/kernel/osrelease")
        let model = Self.text("/proc/cpuinfo").split(separator: "\n").first { $0.hasPrefix("model name") }
        cpu = model.flatMap { $0.split(separator: ":").last }?.trimmingCharacters(in: .whitespaces) ?? "unknown"
        cores = ProcessInfo.processInfo.activeProcessorCount
        fileSystem = mount.fileSystem + (mount.lacksJournal ? " without a journal" : "")
        device = mount.device
        mountOptions = mount.options
        versions = PeerKind.versions
        commit = ProcessInfo.processInfo.environment["HOLDFAST_COMMIT"] ?? "unknown"
        date = Date.now.formatted(.iso8601)
        seed = options.seed
        rounds = options.roundsWanted
        list = options.isFull ? "full" : "smoke"
    }

    /// A few lines for people.
    var text: String {
        """
        \(host), \(cpu), \(cores) cores, Linux \(kernel), \(date)
        stores in \(directory): \(fileSystem) on \(device) (\(mountOptions))
        holdfast \(commit.prefix(20)), \(versions); seed \(seed)
        """
    }

    private static func text(_ path: String) -> String {
        (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
    }

    private static func line(_ path: String) -> String {
        let line = text(path).trimmingCharacters(in: .whitespacesAndNewlines)
        return line.isEmpty ? "unknown" : line
    }
}

/// The file system that holds a directory.
struct Mount: Sendable {
    var point = ""
    var fileSystem = "unknown"
    var device = "unknown"
    var options = ""

    /// Whether it loses everything with the machine, so that a sync costs nothing.
    var isMemory: Bool { fileSystem == "tmpfs" || fileSystem == "ramfs" }

    /// Whether it is an ext4 that was made without a journal: a sync of a file that grew costs less there than elsewhere.
    var lacksJournal: Bool {
        guard fileSystem == "ext4", let name = device.split(separator: "/").last else { return false }
        let journals = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/fs/jbd2")) ?? []
        return !journals.contains { $0.hasPrefix(name) }
    }

    init(of directory: String) {
        let path = URL(fileURLWithPath: directory).resolvingSymlinksInPath().path
        let table = (try? String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8)) ?? ""
        for line in table.split(separator: "\n") {
            // 36 35 98:0 / /mnt rw,noatime shared:1 - ext4 /dev/vda rw
            let fields = line.split(separator: " ").map(String.init)
            guard fields.count > 6, let dash = fields.firstIndex(of: "-"), dash + 2 < fields.count else { continue }
            let point = fields[4]
            guard path == point || path.hasPrefix(point == "/" ? "/" : point + "/") else { continue }
            // The last line of a point hides those before it.
            guard point.count >= self.point.count else { continue }
            (self.point, options, fileSystem, device) = (point, fields[5], fields[dash + 1], fields[dash + 2])
        }
    }
}
