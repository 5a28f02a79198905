import ArgumentParser
import Bytes
import Holdfast
import Lines
import Platform
import ReplayFormat
import ReplayStore

/// `holdfast load`: a store from a dump.
struct Load: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a new store from what 'dump' printed.",
        discussion: """
            The new store has an identity of its own; everything else is as it was dumped. Until the trailer has been \
            read and everything fits, it is marked incomplete, and nothing opens it; when that fails, it is removed. Behind the \
            trailer nothing may follow but blank lines.

            Examples:
              holdfast load ./new-store store.jsonl
              holdfast dump ./store | holdfast load ./new-store
            """
    )

    @Argument(help: "The new store's directory: empty, or not there.", completion: .directory)
    var store: String
    @Argument(help: "The dump; standard input when it is absent or '-'.", completion: .file())
    var file: String?
    @OptionGroup var format: FormatOption

    func validate() throws { try checkPath(store) }

    func run() throws {
        var lines = try open()
        var loading: Loading?
        var digest = LineDigest()
        while let line = try lines.next() {
            guard case .text(let bytes) = line else { throw malformed(lines.number, "it is too long") }
            guard let members = try? JSON(parsing: bytes).members else {
                // The last line there is: what should follow it was cut off with its end.
                let number = lines.number
                if loading != nil, try lines.next() == nil { throw cut(number) }
                throw malformed(number, "it is no JSON object")
            }
            if members["trailer"] != nil {
                guard let loading else { break }
                let number = lines.number
                try checkEnd(&lines)
                return try finish(loading, members, digest.text, number)
            }
            digest.take(bytes)
            do throws(LineError) {
                if let loading {
                    try loading.take(members, bytes)
                } else {
                    loading = try Loading(store, members)
                }
            } catch {
                switch error {
                case .malformed(let reason): throw malformed(lines.number, reason)
                case .store(let error): throw error
                }
            }
        }
        guard loading != nil else {
            throw Failure(.damaged, code: "damaged", "The dump is empty, or has no header. Nothing was made.")
        }
        throw cut(lines.number)
    }

    private func open() throws -> LineReader {
        do throws(SystemError) {
            return try LineReader(file)
        } catch {
            throw Failure(reading: file, error)
        }
    }

    /// Refuses what stands behind the trailer: another dump, or what was never part of one.
    private func checkEnd(_ lines: inout LineReader) throws {
        let blank: Set<UInt8> = [0x20, 0x09, 0x0D]
        while let line = try lines.next() {
            if case .text(let bytes) = line, bytes.allSatisfy(blank.contains) { continue }
            throw malformed(lines.number, "it stands behind the trailer, where a dump ends; load one dump at a time")
        }
    }

    private func finish(_ loading: Loading, _ members: [String: JSON], _ digest: String, _ line: UInt64) throws {
        guard members["digest"]?.stringValue == digest, members["entries"]?.unsignedValue == loading.loader.entries
        else {
            throw malformed(line, "its count or digest is not that of the lines before it")
        }
        guard members["trailer"]?.stringValue == "holdfast", case .array(let ranges)? = members["acknowledgedMeanwhile"]
        else { throw malformed(line, "it is not the trailer of a dump") }
        var left: [(region: RegionID, last: UInt64)] = []
        for range in ranges {
            guard let region = range.members?["region"]?.region, let last = range.members?["last"]?.unsignedValue
            else { throw malformed(line, "a range that was acknowledged meanwhile is not one") }
            left.append((region, last))
        }
        let identity = try loading.loader.finish(store, leftMeanwhile: left)
        let output = Output()
        if format.forObject == .table {
            try output.line("Loaded \(loading.loader.entries) entries into \(store), which is store \(identity).")
        } else {
            try output.line(
                JSON.object([
                    ("store", .string(store)), ("storeUUID", .string(identity.description)),
                    ("entries", .unsigned(loading.loader.entries)),
                ])
            )
        }
        try output.flush()
    }

    private func malformed(_ line: UInt64, _ reason: String) -> Failure {
        Failure(
            .damaged,
            code: "damaged",
            "Line \(line) of the dump: \(reason). What was loaded before it, if anything, has been removed.",
            [("line", .unsigned(line))]
        )
    }

    /// The dump ends too early.
    private func cut(_ line: UInt64) -> Failure {
        Failure(
            .damaged,
            code: "damaged",
            "The dump was cut off at line \(line): it ends without its trailer. What was loaded has been removed; "
                + "load a whole dump.",
            [("line", .unsigned(line))]
        )
    }
}

/// Why a line of a dump cannot be taken.
enum LineError: Error {
    case malformed(String)
    case store(HoldfastError)
}

/// A load that has begun.
private struct Loading {
    let loader: StoreLoader

    /// Begins with the header.
    init(_ path: String, _ members: [String: JSON]) throws(LineError) {
        guard members["dump"]?.stringValue == "holdfast", case .array(let values)? = members["regions"] else {
            throw .malformed("it is not the header of a dump")
        }
        guard members["version"]?.unsignedValue == 1 else {
            throw .malformed("the dump's version is not 1, the one that this program reads")
        }
        var regions: [DumpHeader.Region] = []
        for value in values {
            guard let fields = value.members, let region = fields["region"]?.region,
                let queue = fields["queue"]?.unsignedValue.flatMap({ UInt32(exactly: $0) }),
                let head = fields["head"]?.unsignedValue, let through = fields["through"]?.unsignedValue,
                case .array(let anchors)? = fields["anchors"]
            else { throw .malformed("a region of the header is not one") }
            var digests: [UInt64: Hash128] = [:]
            for anchor in anchors {
                guard let before = anchor.members?["before"]?.unsignedValue,
                    let chain = anchor.members?["chain"]?.stringValue.flatMap({ Hash128(text: $0) })
                else { throw .malformed("an anchor of region '\(region)' is not one") }
                digests[before] = chain
            }
            regions.append(
                DumpHeader.Region(region: region, queue: queue, head: head, through: through, anchors: digests)
            )
        }
        do throws(HoldfastError) {
            loader = try StoreLoader(path, regions: regions)
        } catch {
            throw .store(error)
        }
    }

    /// Takes an entry or a row.
    func take(_ members: [String: JSON], _ line: [UInt8]) throws(LineError) {
        if let name = members["table"]?.stringValue {
            guard let table = Table(name: name), let key = members["keyBase64"]?.base64,
                let value = members["valueBase64"]?.base64
            else { throw .malformed("it is no row of a table") }
            return try store { () throws(HoldfastError) in try loader.add(table: table, key: key, value: value) }
        }
        guard let region = members["region"]?.region, let position = members["position"]?.unsignedValue,
            let time = members["enqueuedAtMs"]?.signedValue
        else { throw .malformed("it is neither an entry nor a row") }
        let write: OutstandingWrite
        do throws(MalformedLine) {
            write = try OutstandingWrite(line: line, incarnation: nil)
        } catch {
            throw .malformed(error.reason)
        }
        let entry = QueueEntry(position: position, enqueuedAt: Timestamp(milliseconds: time), write: write)
        try store { () throws(HoldfastError) in try loader.add(entry, to: region) }
    }

    private func store(_ body: () throws(HoldfastError) -> Void) throws(LineError) {
        do throws(HoldfastError) {
            try body()
        } catch {
            throw .store(error)
        }
    }
}

extension JSON {
    fileprivate var region: RegionID? { stringValue.flatMap { RegionID(utf8: $0.utf8) } }
    fileprivate var base64: [UInt8]? { stringValue.flatMap { base64Bytes($0) } }
}
