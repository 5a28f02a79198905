/// What is measured.
enum Job: Sendable {
    /// Batches of so many, each durable before the next.
    case append(batch: Int)
    /// So many callers, each with one write under way.
    case callers(Int)
    /// Everything that is there, in order; it stays.
    case drain
    /// Everything, 256 at a time, each batch acknowledged durably before the next.
    case replay
    /// Everything, so many at a time, without reading.
    case acknowledge(batch: Int)
    /// What the store takes on the disk after a close.
    case disk
    /// Opening after a clean close, with so many pending, until the first 256 are there.
    case open(pending: Int)
}

/// One line of work that every contestant does on the same bytes.
struct Work: Sendable {
    var job: Job
    var kind: ValueKind
    var valueSize: Int
    /// How many entries one turn is about.
    var entries: Int

    /// Entries that are read and acknowledged at a time, and that stand in one block.
    static let group = 256

    /// Its name, for `--only`.
    var name: String {
        let suffix = "\(valueSize)-\(kind.rawValue)"
        return switch job {
        case .append(let batch): "append-\(batch)-\(suffix)"
        case .callers(let count): "callers-\(count)-\(suffix)"
        case .drain: "drain-\(suffix)"
        case .replay: "replay-\(suffix)"
        case .acknowledge(let batch): "acknowledge-\(batch)-\(suffix)"
        case .disk: "disk-\(suffix)"
        case .open(let pending): "open-\(pending)-pending-\(suffix)"
        }
    }

    /// What it is, for people.
    var title: String {
        let values = "values of \(valueSize) B, \(kind.rawValue)"
        return switch job {
        case .append(1): "one caller, one durable write at a time, \(values)"
        case .append(let batch): "append, \(batch) a durable batch, \(values)"
        case .callers(let count): "\(count) callers with one durable write each, peers as one C loop, \(values)"
        case .drain: "drain in order, every byte hashed, \(values)"
        case .replay: "drain and acknowledge \(Self.group) at a time, durable each, \(values)"
        case .acknowledge(let batch): "acknowledge \(batch) at a time, durable each, by processor time, \(values)"
        case .disk: "bytes on disk, groups of \(Self.group), \(values)"
        case .open(let pending): "open and first \(Self.group) with \(pending) pending, \(values)"
        }
    }

    /// The unit of its figures.
    var unit: String {
        switch job {
        case .append, .callers, .drain, .replay: "entries/s"
        case .acknowledge: "entries/CPU s"
        case .disk: "B/payload B"
        case .open: "opens/s"
        }
    }

    var higherIsBetter: Bool { if case .disk = job { false } else { true } }

    /// Whether a contestant takes part.
    func includes(_ name: String) -> Bool {
        switch job {
        case .callers: name.hasPrefix("holdfast") || name.hasPrefix("lmdb-blocks")
        // It holds zeros ahead, and finds its end by reading all of it.
        case .disk, .open: name != "raw-file"
        default: true
        }
    }

    // MARK: The lists

    /// A minute's worth.
    static let smoke: [Work] = [
        Work(job: .append(batch: 1), kind: .json, valueSize: 128, entries: 100),
        Work(job: .append(batch: 16), kind: .json, valueSize: 128, entries: 16 * 60),
        Work(job: .append(batch: 256), kind: .json, valueSize: 128, entries: 256 * 40),
        Work(job: .append(batch: 4096), kind: .json, valueSize: 128, entries: 4096 * 5),
        Work(job: .append(batch: 256), kind: .json, valueSize: 1024, entries: 256 * 20),
        Work(job: .callers(64), kind: .json, valueSize: 128, entries: 64 * 60),
        Work(job: .drain, kind: .json, valueSize: 128, entries: 20_480),
        Work(job: .replay, kind: .json, valueSize: 128, entries: 256 * 20),
        Work(job: .acknowledge(batch: 256), kind: .json, valueSize: 128, entries: 256 * 20),
        Work(job: .acknowledge(batch: 4096), kind: .json, valueSize: 128, entries: 4096 * 5),
        Work(job: .disk, kind: .json, valueSize: 128, entries: 256 * 400),
        Work(job: .open(pending: 100_000), kind: .json, valueSize: 128, entries: 100_000),
    ]

    /// All of it.
    static var full: [Work] {
        var works: [Work] = []
        for kind in ValueKind.allCases {
            for valueSize in [128, 1024, 16_384] {
                // About 64 MiB a turn at most, and some thousand commits.
                for (batch, commits) in [(1, 1000), (16, 500), (256, 200), (4096, 20)] {
                    let most = max(4, (64 << 20) / (batch * valueSize))
                    works.append(
                        Work(
                            job: .append(batch: batch),
                            kind: kind,
                            valueSize: valueSize,
                            entries: batch * min(commits, most)
                        )
                    )
                }
                let entries = min(102_400, (64 << 20) / valueSize / 256 * 256)
                works.append(Work(job: .drain, kind: kind, valueSize: valueSize, entries: entries))
                works.append(Work(job: .replay, kind: kind, valueSize: valueSize, entries: min(entries, 256 * 100)))
                works.append(Work(job: .disk, kind: kind, valueSize: valueSize, entries: entries))
            }
        }
        for callers in [1, 4, 16, 64, 256, 1024] {
            let calls = min(500, 102_400 / callers)
            works.append(Work(job: .callers(callers), kind: .json, valueSize: 128, entries: callers * calls))
        }
        for (batch, calls) in [(256, 100), (4096, 20)] {
            works.append(Work(job: .acknowledge(batch: batch), kind: .json, valueSize: 128, entries: batch * calls))
        }
        for pending in [1_000_000, 10_000_000] {
            works.append(Work(job: .open(pending: pending), kind: .json, valueSize: 128, entries: pending))
        }
        return works
    }
}
