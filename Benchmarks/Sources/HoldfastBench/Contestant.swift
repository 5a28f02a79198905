import Dispatch
import Holdfast
import Logging

/// What a piece of work took.
struct Cost: Sendable {
    var entries: Int
    var nanoseconds: UInt64
    /// Of every thread of this process.
    var cpuNanoseconds: UInt64

    /// A moment from which on costs are counted.
    struct Start: Sendable {
        private let cpu = System.cpuNanoseconds
        private let time = ContinuousClock.now

        /// What so many entries have taken since.
        func cost(of entries: Int) -> Cost {
            let passed = ContinuousClock.now - time
            return Cost(entries: entries, nanoseconds: passed.nanoseconds, cpuNanoseconds: System.cpuNanoseconds - cpu)
        }
    }

    /// Runs `body`, and says what it took.
    static func of<Failure: Error>(
        _ entries: Int,
        _ body: () async throws(Failure) -> Void
    ) async throws(Failure) -> Cost {
        let start = Start()
        try await body()
        return start.cost(of: entries)
    }
}

/// A store that does the work: Holdfast with one setting, or a peer.
///
/// It keeps count of its positions: what is appended stands behind what was appended before.
protocol Contestant: AnyObject {
    var name: String { get }

    /// Makes the store in a directory that is there and empty, or opens the one that was made there.
    func open(_ directory: String) async throws
    func close() async
    /// Appends `range` of the records, `batch` a call.
    func append(_ records: Records, _ range: Range<Int>, batch: Int) async throws -> Cost
    /// Appends `range` of the records, one a call, by as many callers at once.
    func append(_ records: Records, _ range: Range<Int>, callers: Int) async throws -> Cost
    /// Reads at most `max` entries from the first that is not acknowledged, which stay.
    func read(max: Int, into sum: inout RecordSum) async throws -> Cost
    /// Reads everything, `batch` entries at a time, and acknowledges each batch before the next.
    func replay(batch: Int, into sum: inout RecordSum) async throws -> Cost
    /// Acknowledges everything, `batch` entries at a time, without reading.
    func acknowledge(batch: Int) async throws -> Cost
}

/// Holdfast, by the interface that its users have.
final class HoldfastContestant: Contestant {
    let name: String
    private let level: Int
    private var controller: RegionFailoverController?
    /// The sequence that comes next, which is also the position.
    private var next: UInt64 = 1
    private var head: UInt64 = 1

    private static let region: RegionID = "eu-west-1"

    /// `level`: The zstd level, or 0 to store raw.
    init(level: Int) {
        self.level = level
        name = level == 0 ? "holdfast-raw" : "holdfast-zstd"
    }

    private func opened() throws -> RegionFailoverController {
        guard let controller else { throw BenchError("\(name) is not open") }
        return controller
    }

    func open(_ directory: String) async throws {
        var logger = Logger(label: "holdfast")
        logger.logLevel = .error
        let options = StoreOptions(compressionLevel: level, logger: logger)
        if next == 1 {
            controller = try await .create(
                at: directory,
                configuration: FailoverConfiguration(local: Records.origin, regions: [Records.origin, Self.region]),
                options: options
            )
        } else {
            controller = try await .open(at: directory, options: options)
        }
    }

    func close() async {
        await controller?.close()
        controller = nil
    }

    func append(_ records: Records, _ range: Range<Int>, batch: Int) async throws -> Cost {
        let controller = try opened()
        var calls: [[OutstandingWrite]] = []
        for part in range.parts(of: batch) {
            calls.append(records.writes(part, firstSequence: next))
            next += UInt64(part.count)
        }
        return try await Cost.of(range.count) { [calls] in
            for call in calls { try await controller.append(call, to: Self.region) }
        }
    }

    func append(_ records: Records, _ range: Range<Int>, callers: Int) async throws -> Cost {
        let controller = try opened()
        let writes = records.writes(range, firstSequence: next)
        next += UInt64(range.count)
        return try await Cost.of(range.count) {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for caller in 0..<callers {
                    group.addTask {
                        for index in stride(from: caller, to: writes.count, by: callers) {
                            try await controller.append([writes[index]], to: Self.region)
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    func read(max: Int, into sum: inout RecordSum) async throws -> Cost {
        let controller = try opened()
        var read = RecordSum()
        let cost = try await Cost.of(min(max, Int(next - head))) {
            // All in one batch: whoever iterates on without acknowledging gets the same entries again.
            var iterator = controller.batches(for: Self.region, entriesMax: max, bytesMax: .max).makeAsyncIterator()
            guard let batch = try await iterator.next() else { return }
            for entry in batch.entries { read.add(entry.position, key: entry.write.key, value: entry.write.value) }
        }
        sum = read
        return cost
    }

    func replay(batch: Int, into sum: inout RecordSum) async throws -> Cost {
        let controller = try opened()
        var read = sum
        let cost = try await Cost.of(Int(next - head)) {
            for try await batch in controller.batches(for: Self.region, entriesMax: batch, bytesMax: .max) {
                for entry in batch.entries { read.add(entry.position, key: entry.write.key, value: entry.write.value) }
                try await batch.acknowledge()
            }
        }
        sum = read
        head = next
        return cost
    }

    func acknowledge(batch: Int) async throws -> Cost {
        let controller = try opened()
        let (first, end) = (head, next)
        head = next
        return try await Cost.of(Int(end - first)) {
            for part in (Int(first)..<Int(end)).parts(of: batch) {
                try await controller.acknowledge(Self.region, through: UInt64(part.upperBound - 1))
            }
        }
    }
}

/// A peer, on a thread that its calls may block.
final class PeerContestant: Contestant {
    var name: String { kind.name }
    private let kind: PeerKind
    private var peer: Peer?
    private var next: UInt64 = 1
    private var head: UInt64 = 1
    private let queue = DispatchQueue(label: "holdfast.bench.peer")

    init(_ kind: PeerKind) { self.kind = kind }

    private func run<Value: Sendable>(_ body: @escaping @Sendable (Peer) throws -> Value) async throws -> Value {
        guard let peer else { throw BenchError("\(name) is not open") }
        return try await withCheckedThrowingContinuation { waiting in
            queue.async { waiting.resume(with: Result { try body(peer) }) }
        }
    }

    /// Runs `body` there, and says what it took without the way to the thread.
    private func measure(_ entries: Int, _ body: @escaping @Sendable (Peer) throws -> Void) async throws -> Cost {
        try await run { try Cost.ofBlocking(entries, $0, body) }
    }

    func open(_ directory: String) async throws {
        let (kind, queue) = (kind, queue)
        peer = try await withCheckedThrowingContinuation { waiting in
            queue.async { waiting.resume(with: Result { try Peer(kind, at: directory) }) }
        }
    }

    func close() async { peer = nil }

    func append(_ records: Records, _ range: Range<Int>, batch: Int) async throws -> Cost {
        let first = next
        next += UInt64(range.count)
        return try await measure(range.count) { peer in
            for part in range.parts(of: batch) {
                try peer.append(records, part, first: first + UInt64(part.lowerBound - range.lowerBound))
            }
        }
    }

    func append(_ records: Records, _ range: Range<Int>, callers: Int) async throws -> Cost {
        let first = next
        next += UInt64(range.count)
        return try await measure(range.count) { try $0.append(records, range, first: first, callers: callers) }
    }

    func read(max: Int, into sum: inout RecordSum) async throws -> Cost {
        let entries = min(max, Int(next - head))
        let (cost, read) = try await run { peer in
            var read = RecordSum()
            let cost = try Cost.ofBlocking(entries, peer) { try $0.read(max: max, into: &read) }
            return (cost, read)
        }
        sum = read
        return cost
    }

    func replay(batch: Int, into sum: inout RecordSum) async throws -> Cost {
        let (entries, before) = (Int(next - head), sum)
        let (cost, read) = try await run { peer in
            var read = before
            let cost = try Cost.ofBlocking(entries, peer) { peer in
                while true {
                    let count = read.count
                    try peer.read(max: batch, into: &read)
                    guard read.count > count else { break }
                    try peer.acknowledge(through: read.last)
                }
            }
            return (cost, read)
        }
        sum = read
        head = next
        return cost
    }

    func acknowledge(batch: Int) async throws -> Cost {
        let (first, end) = (head, next)
        head = next
        return try await measure(Int(end - first)) { peer in
            for part in (Int(first)..<Int(end)).parts(of: batch) {
                try peer.acknowledge(through: UInt64(part.upperBound - 1))
            }
        }
    }
}

extension Cost {
    /// The same for a body that only blocks.
    fileprivate static func ofBlocking(_ entries: Int, _ peer: Peer, _ body: (Peer) throws -> Void) throws -> Cost {
        let start = Start()
        try body(peer)
        return start.cost(of: entries)
    }
}

extension Duration {
    /// In whole nanoseconds.
    var nanoseconds: UInt64 {
        UInt64(components.seconds) * 1_000_000_000 + UInt64(components.attoseconds / 1_000_000_000)
    }
}

extension Range<Int> {
    /// Its parts of `size` each; the last one may be smaller.
    func parts(of size: Int) -> [Range<Int>] {
        stride(from: lowerBound, to: upperBound, by: size).map { $0..<Swift.min($0 + size, upperBound) }
    }
}
