/// What the command line asks for.
struct Options: Sendable {
    /// Whether it is the long list.
    var isFull = false
    /// Parts of the names of work; empty for all.
    var only: [String] = []
    /// Parts of the names of contestants; empty for all.
    var peers: [String] = []
    var rounds: Int?
    var seed: UInt64 = 1
    /// Where the stores are; nil for a temporary directory.
    var directory: String?
    var json: String?
    var wantsHelp = false
    var wantsList = false

    static let usage = """
        usage: Tools/bench [--smoke | --full] [--only NAME]... [--peer NAME]... [--rounds N] [--seed N]
                           [--directory DIR] [--json FILE] [--plot FILE]
               Tools/bench --list [--full]

          --smoke          a short list with few rounds, about a minute of measuring; what is done without --full
          --full           every work, 7 rounds
          --only NAME      only work whose name holds NAME, as --list prints them; may be given again
          --peer NAME      only contestants whose name holds NAME, Holdfast too; may be given again
          --rounds N       rounds that count, 1 to 1000; one more comes first and does not
          --seed N         decides the bytes and the order of the turns; 1
          --directory DIR  where the stores are, for as long as they are measured; otherwise a directory of its own below
                           TMPDIR, /tmp or /var/tmp, whichever is on a disk first
          --json FILE      a line of JSON for the machine, for each contestant of each work, and for each comparison
          --plot FILE      a picture of the figures, .png or .svg
        """

    /// Reads arguments.
    ///
    /// - Throws: ``BenchError`` with what is wrong.
    init(_ arguments: some Sequence<String>) throws(BenchError) {
        var rest = Array(arguments)[...]
        var isSmoke = false
        while let name = rest.popFirst() {
            func value() throws(BenchError) -> String {
                guard let value = rest.popFirst(), !value.isEmpty else { throw BenchError("\(name) needs a value") }
                return value
            }
            switch name {
            case "--smoke": isSmoke = true
            case "--full": isFull = true
            case "--only": only.append(try value())
            case "--peer":
                let part = try value()
                let names = WorkResult.ours + PeerKind.all.map(\.name)
                guard names.contains(where: { $0.contains(part) }) else {
                    throw BenchError("no contestant is named '\(part)': there are \(names.joined(separator: ", "))")
                }
                peers.append(part)
            case "--rounds":
                let text = try value()
                guard let number = Int(text), (1...1000).contains(number) else {
                    throw BenchError("--rounds takes a number from 1 to 1000, not '\(text)'")
                }
                rounds = number
            case "--seed":
                let text = try value()
                guard let number = UInt64(text) else { throw BenchError("--seed takes a number, not '\(text)'") }
                seed = number
            case "--directory": directory = try value()
            case "--json": json = try value()
            case "--list": wantsList = true
            case "--help", "-h": wantsHelp = true
            default: throw BenchError("there is no argument '\(name)'")
            }
        }
        guard !(isSmoke && isFull) else { throw BenchError("--smoke and --full exclude each other") }
    }

    /// The rounds of each work that count.
    var roundsWanted: Int { rounds ?? (isFull ? 7 : 3) }

    /// The work that was asked for.
    ///
    /// - Throws: ``BenchError`` when a name fits nothing.
    func works() throws(BenchError) -> [Work] {
        let all = isFull ? Work.full : Work.smoke
        guard !only.isEmpty else { return all }
        for part in only where !all.contains(where: { $0.name.contains(part) }) {
            let other = isFull ? Work.smoke : Work.full
            let isThere = other.contains { $0.name.contains(part) }
            let hint = isThere ? " in this list, but some has in the \(isFull ? "short" : "full") one" : ""
            throw BenchError("no work has '\(part)' in its name\(hint): --list prints the names")
        }
        return all.filter { work in only.contains { work.name.contains($0) } }
    }
}
