#if Etcd
import FlyingFox
import FlyingSocks
import Foundation
import Holdfast
import RaftApply
import RegionFailover
import ReplayStore

/// The control door: HTTP with JSON on one address, for those who may do everything.
struct Door: Sendable {
    let replica: Replica
    let controller: ReplicatedController
    let snapshots: HTTPSnapshots
    let address: DoorAddress

    /// A body of a request has at most so many bytes.
    private static let bodyMax = 96 << 20

    /// Answers until the task is cancelled.
    func run() async throws {
        let server = HTTPServer(
            address: try .inet(ip4: address.host, port: address.port),
            // A proposal says itself how long it takes.
            timeout: 120,
            logger: .disabled,
            handler: ClosureHTTPHandler { request in await answer(request) }
        )
        try await server.run()
    }

    private func answer(_ request: HTTPRequest) async -> HTTPResponse {
        do {
            return try await handle(request)
        } catch let error as BadRequest {
            return Self.refusal(.badRequest, "badRequest", error.message)
        } catch let error as DecodingError {
            return Self.refusal(.badRequest, "badRequest", "The body is not the JSON that is expected: \(error).")
        } catch let error as HoldfastError {
            return Self.refusal(error.httpStatus, "\(error.code)", error.message, error.region, error.count)
        } catch {
            return Self.refusal(.internalServerError, "other", "\(error)")
        }
    }

    private func handle(_ request: HTTPRequest) async throws -> HTTPResponse {
        let query = Query(request)
        switch (request.method, request.path) {
        case (.GET, "/state"): return try Self.json(try await state(try query.consistency()))
        case (.GET, "/health"): return try await health()
        case (.GET, "/metrics"):
            let text = try await replica.metricsText(controller)
            return HTTPResponse(
                statusCode: .ok,
                headers: [.contentType: "text/plain; version=0.0.4"],
                body: Data(text.utf8)
            )
        case (.GET, "/digest"): return try Self.json(try await digest(query))
        case (.GET, "/batches"):
            let entries = try await controller.head(
                of: try query.region(),
                entriesMax: Int(clamping: try query.number("max") ?? 256),
                try query.consistency()
            )
            return try Self.lines(entries.map(WriteBody.init))
        case (.GET, let path) where path.hasPrefix(HTTPSnapshots.path):
            return try snapshots.response(path)
        case (.POST, "/append"): return try await append(request, query)
        case (.POST, let path): return try await change(path, request, query)
        default:
            throw BadRequest("There is no \(request.method.rawValue) \(request.path). See the guide 'Run on etcd'.")
        }
    }

    // MARK: Changes

    private func append(_ request: HTTPRequest, _ query: Query) async throws -> HTTPResponse {
        let decoder = JSONDecoder()
        let writes = try await body(request).split(separator: UInt8(ascii: "\n")).map { line in
            try decoder.decode(WriteBody.self, from: line).write()
        }
        let receipts = try await controller.append(writes, to: try query.regions(), ifEpoch: try query.number("epoch"))
        return try Self.json(receipts.map(AppendBody.init))
    }

    private func change(_ path: String, _ request: HTTPRequest, _ query: Query) async throws -> HTTPResponse {
        let epoch = try query.number("epoch")
        switch path {
        case "/configure":
            let body = try JSONDecoder().decode(DeploymentBody.self, from: try await body(request))
            return try events(
                try await controller.configure(
                    try body.configuration(),
                    limits: body.limits,
                    force: body.force ?? false,
                    ifEpoch: epoch
                )
            )
        case "/acknowledge":
            guard let through = try query.number("through") else { throw BadRequest("Say 'through': a position.") }
            let receipt = try await controller.acknowledge(try query.region(), through: through, ifEpoch: epoch)
            return try Self.json(AcknowledgeBody(receipt))
        case "/drain":
            let region = try query.region()
            let receipt = try await controller.drain(region, max: Int(clamping: try query.number("max") ?? .max))
            return try Self.json(
                DrainBody(
                    region: region.rawValue,
                    entries: receipt.entries.map(WriteBody.init),
                    remaining: receipt.remaining
                )
            )
        case "/heartbeat": return try events(try await controller.heartbeat(try query.region()))
        case "/fail": return try promoted(try await controller.demoteAndPromote(try query.region(), ifEpoch: epoch))
        case "/switchover": return try promoted(try await controller.switchover(to: try query.region(), ifEpoch: epoch))
        case "/readmit":
            return try events(
                try await controller.readmit(
                    try query.region(),
                    maximumPending: try query.number("maximumPending") ?? 0,
                    force: query["force"] == "true",
                    ifEpoch: epoch
                )
            )
        case "/pause": return try events(try await controller.pause(try query.region(), reason: query["reason"] ?? ""))
        case "/resume": return try events(try await controller.resume(try query.region()))
        case "/clear-resync": return try events(try await controller.clearResync(try query.region()))
        case "/check-digest":
            let index = try await controller.checkDigest()
            return try Self.json(try await digest(at: index))
        case "/snapshot":
            try await replica.publishSnapshot(through: snapshots)
            return HTTPResponse(statusCode: .noContent)
        default: throw BadRequest("There is no POST \(path). See the guide 'Run on etcd'.")
        }
    }

    private func body(_ request: HTTPRequest) async throws -> Data {
        guard let count = request.bodySequence.count, count <= Self.bodyMax else {
            throw BadRequest("A body says its length, and has at most \(Self.bodyMax) bytes.")
        }
        return try await request.bodyData
    }

    private func events(_ events: [FailoverEvent]) throws -> HTTPResponse {
        let machine = replica.machine.machine
        return try Self.json(
            EventsBody(
                events: events.map { "\($0)" },
                epoch: machine?.epoch ?? 0,
                actingPrimary: machine?.actingPrimary.rawValue ?? ""
            )
        )
    }

    private func promoted(_ promotion: Promotion) throws -> HTTPResponse {
        try Self.json(
            EventsBody(events: [], epoch: promotion.epoch, actingPrimary: promotion.promoted.rawValue)
        )
    }

    // MARK: Reads

    private func state(_ consistency: ReadConsistency) async throws -> StateBody {
        let view = try await controller.view(consistency)
        guard let machine = view.machine else {
            throw HoldfastError(code: .notConfigured, message: "The log has no deployment yet: POST /configure.")
        }
        return StateBody(
            member: replica.options.name,
            index: view.index,
            epoch: machine.epoch,
            actingPrimary: machine.actingPrimary.rawValue,
            regions: try view.queues.map { queue in
                let status = try machine.status(of: queue.region)
                return StateBody.Region(
                    region: queue.region.rawValue,
                    role: status.role.rawValue,
                    state: status.state.rawValue,
                    head: queue.headPosition,
                    next: queue.nextPosition,
                    entries: queue.entries,
                    accepted: queue.accepted,
                    acknowledged: queue.acknowledged,
                    drained: queue.drained,
                    dropped: queue.dropped,
                    dead: queue.dead,
                    lost: queue.lost,
                    isPaused: queue.isPaused
                )
            }
        )
    }

    private func digest(_ query: Query) async throws -> DigestBody {
        if let index = try query.number("index") { return try await digest(at: index) }
        let (position, digest) = try await replica.machine.digest()
        return DigestBody(member: replica.options.name, index: position.index, digest: digest)
    }

    /// The digest that was stored at an index, once that is applied here.
    private func digest(at index: UInt64) async throws -> DigestBody {
        try await replica.wait(for: .index(index))
        guard let digest = try await replica.machine.storedDigests()[index] else {
            throw BadRequest("No digest is kept of index \(index): POST /check-digest stores one.")
        }
        return DigestBody(member: replica.options.name, index: index, digest: digest)
    }

    private func health() async throws -> HTTPResponse {
        let failure = replica.machine.failure
        let state = failure.map { "stopped: \($0)" } ?? "good"
        let text = "\(state), applied \(replica.machine.applied.index), member \(replica.options.name)\n"
        return HTTPResponse(
            statusCode: failure == nil ? .ok : .serviceUnavailable,
            headers: [.contentType: "text/plain"],
            body: Data(text.utf8)
        )
    }

    // MARK: Answers

    private static func json(_ body: some Encodable) throws -> HTTPResponse {
        HTTPResponse(
            statusCode: .ok,
            headers: [.contentType: "application/json"],
            body: try JSONEncoder.line.encode(body) + [UInt8(ascii: "\n")]
        )
    }

    private static func lines(_ bodies: [some Encodable]) throws -> HTTPResponse {
        let encoder = JSONEncoder.line
        var data = Data()
        for body in bodies { data += try encoder.encode(body) + [UInt8(ascii: "\n")] }
        return HTTPResponse(statusCode: .ok, headers: [.contentType: "application/jsonl"], body: data)
    }

    private static func refusal(
        _ status: HTTPStatusCode,
        _ code: String,
        _ message: String,
        _ region: RegionID? = nil,
        _ count: UInt64? = nil
    ) -> HTTPResponse {
        let body = ErrorBody(error: .init(code: code, message: message, region: region?.rawValue, count: count))
        let data = (try? JSONEncoder.line.encode(body)) ?? Data()
        return HTTPResponse(
            statusCode: status,
            headers: [.contentType: "application/json"],
            body: data + [UInt8(ascii: "\n")]
        )
    }
}

/// What stands behind the question mark.
private struct Query {
    private let items: [(name: String, value: String)]

    init(_ request: HTTPRequest) { items = request.query.map { ($0.name, $0.value) } }

    subscript(_ name: String) -> String? { items.first { $0.name == name }?.value }

    func number(_ name: String) throws -> UInt64? {
        guard let text = self[name] else { return nil }
        guard let number = UInt64(text) else { throw BadRequest("'\(name)' is no whole number.") }
        return number
    }

    func region() throws -> RegionID {
        guard let name = self["region"] else { throw BadRequest("Say 'region'.") }
        return try regionName(name)
    }

    func regions() throws -> [RegionID] {
        let names = items.filter { $0.name == "region" }.map(\.value)
        guard !names.isEmpty else { throw BadRequest("Say 'region', once for each.") }
        return try names.map(regionName)
    }

    func consistency() throws -> ReadConsistency {
        guard let text = self["consistency"], text != "linearizable" else { return .linearizable }
        if text == "local" { return .local }
        guard let index = UInt64(text) else {
            throw BadRequest("'consistency' is 'linearizable', 'local', or an index.")
        }
        return .index(index)
    }
}

extension HoldfastError {
    /// The status of HTTP for each code: the only such map.
    fileprivate var httpStatus: HTTPStatusCode {
        switch code {
        case .unknownRegion: .notFound
        case .invalidConfiguration, .positionOutOfRange, .identityConflict: .badRequest
        case .noSecondaryAvailable, .illegalTransition, .replayPending, .needsResync, .staleEpoch, .identityBelowFloor,
            .notConfigured, .sessionExpired:
            .conflict
        case .tooLarge: .payloadTooLarge
        case .full: HTTPStatusCode(507, phrase: "Insufficient Storage")
        case .outcomeUnknown: .gatewayTimeout
        case .overloaded, .logUnavailable, .notLeader, .cancelled: .serviceUnavailable
        default: .internalServerError
        }
    }
}
#endif
