#if Etcd
import FlyingFox
import FlyingSocks
import Foundation
import Holdfast
import Lines
import RaftApply
import RegionFailover
import ReplayFormat
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
            return .refusal(.badRequest, "badRequest", error.message)
        } catch let error as HoldfastError {
            return .json(error.json, error.httpStatus)
        } catch {
            return .refusal(.internalServerError, "other", "\(error)")
        }
    }

    private func handle(_ request: HTTPRequest) async throws -> HTTPResponse {
        let query = Query(request)
        switch (request.method, request.path) {
        case (.GET, "/state"): return .json(try await state(try query.consistency()))
        case (.GET, "/health"): return health()
        case (.GET, "/metrics"):
            let view = try await controller.view(.local)
            let now = replica.machine.time
            return .text(view.metrics(isStopped: replica.machine.failure != nil, now: now))
        case (.GET, "/digest"): return .json(try await digest(query))
        case (.GET, "/batches"):
            let region = try query.region()
            let entries = try await controller.head(
                of: region,
                entriesMax: Int(clamping: try query.number("max") ?? 256),
                try query.consistency()
            )
            return .lines(entries.map { $0.json(region, .base64) })
        case (.GET, let path) where path.hasPrefix(HTTPSnapshots.path):
            return try snapshots.response(path)
        case (.POST, "/append"): return .json(try await append(request, query))
        case (.POST, let path): return try await change(path, request, query)
        default:
            throw BadRequest("There is no \(request.method.rawValue) \(request.path). See the guide 'Run on etcd'.")
        }
    }

    // MARK: Changes

    private func append(_ request: HTTPRequest, _ query: Query) async throws -> JSON {
        var writes: [OutstandingWrite] = []
        for (index, line) in try await body(request).split(separator: UInt8(ascii: "\n")).enumerated() {
            do throws(MalformedLine) {
                writes.append(try OutstandingWrite(line: Array(line), incarnation: nil))
            } catch {
                throw BadRequest("Line \(index + 1): \(error.reason).")
            }
        }
        let receipts = try await controller.append(writes, to: try query.regions(), ifEpoch: try query.number("epoch"))
        return .array(receipts.map(\.json))
    }

    private func change(_ path: String, _ request: HTTPRequest, _ query: Query) async throws -> HTTPResponse {
        let epoch = try query.number("epoch")
        switch path {
        case "/configure":
            let deployment = try DeploymentRequest(Array(try await body(request)))
            return lead(
                try await controller.configure(
                    deployment.configuration,
                    limits: deployment.limits,
                    force: deployment.force,
                    ifEpoch: epoch
                )
            )
        case "/acknowledge":
            guard let through = try query.number("through") else { throw BadRequest("Say 'through': a position.") }
            return .json(
                try await controller.acknowledge(try query.region(), through: through, ifEpoch: epoch).json
            )
        case "/drain":
            let region = try query.region()
            let most = Int(clamping: try query.number("max") ?? .max)
            return .json(try await controller.drain(region, max: most).json(region))
        case "/heartbeat": return lead(try await controller.heartbeat(try query.region()))
        case "/fail": return lead(try await controller.demoteAndPromote(try query.region(), ifEpoch: epoch))
        case "/switchover": return lead(try await controller.switchover(to: try query.region(), ifEpoch: epoch))
        case "/readmit":
            return lead(
                try await controller.readmit(
                    try query.region(),
                    maximumPending: try query.number("maximumPending") ?? 0,
                    force: query["force"] == "true",
                    ifEpoch: epoch
                )
            )
        case "/pause": return lead(try await controller.pause(try query.region(), reason: query["reason"] ?? ""))
        case "/resume": return lead(try await controller.resume(try query.region()))
        case "/clear-resync": return lead(try await controller.clearResync(try query.region()))
        case "/check-digest": return .json(try await digest(at: try await controller.checkDigest()))
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

    /// What happened, and who leads as far as this replica has applied.
    private func lead(_ events: [FailoverEvent]) -> HTTPResponse {
        replica.machine.machine.map { .json($0.json(events)) }
            ?? .json(.object([("events", .array(events.map(\.json)))]))
    }

    private func lead(_ promotion: Promotion) -> HTTPResponse {
        .json(
            .object([
                ("epoch", .unsigned(promotion.epoch)), ("actingPrimary", .string(promotion.promoted.rawValue)),
                ("events", .array(promotion.events.map(\.json))),
            ])
        )
    }

    // MARK: Reads

    private func state(_ consistency: ReadConsistency) async throws -> JSON {
        let view = try await controller.view(consistency)
        guard let machine = view.machine else {
            throw HoldfastError(code: .notConfigured, message: "The log has no deployment yet: POST /configure.")
        }
        return try machine.json(view, member: replica.options.name)
    }

    private func digest(_ query: Query) async throws -> JSON {
        if let index = try query.number("index") { return try await digest(at: index) }
        let (position, digest) = try await replica.machine.digest()
        return json(digest, at: position.index)
    }

    /// The digest that was stored at an index, once that is applied here.
    private func digest(at index: UInt64) async throws -> JSON {
        try await replica.wait(for: .index(index))
        guard let digest = try await replica.machine.storedDigests()[index] else {
            throw BadRequest("No digest is kept of index \(index): POST /check-digest stores one.")
        }
        return json(digest, at: index)
    }

    private func json(_ digest: String, at index: UInt64) -> JSON {
        .object([
            ("member", .string(replica.options.name)), ("index", .unsigned(index)), ("digest", .string(digest)),
        ])
    }

    private func health() -> HTTPResponse {
        let failure = replica.machine.failure
        let missing = replica.missingSnapshot.map { "waits for a snapshot beyond index \($0)" }
        let trouble = failure.map { "stopped: \($0)" } ?? missing
        return .text(
            "\(trouble ?? "good"), applied \(replica.machine.applied.index), member \(replica.options.name)\n",
            trouble == nil ? .ok : .serviceUnavailable
        )
    }
}
#endif
