#if Etcd
import EtcdSupport
import FlyingFox
import FlyingSocks
import FoundationEssentials
import Glibc
import HoldfastTesting
import Platform
import RegionFailover
import Synchronization
import Testing

@Suite("A replica as a process", .serialized, .timeLimit(.minutes(10))) struct NodeTests {
    private static let deployment = #"{"local":"us","regions":["us","eu"],"suspectAfterMs":3600000}"#

    private static func line(_ sequence: Int) -> String {
        #"{"origin":"us","incarnation":1,"sequence":\#(sequence),"key":"k","value":"v\#(sequence)"}"#
    }

    private static func lines(_ sequences: ClosedRange<Int>) -> String {
        sequences.map(line).joined(separator: "\n")
    }

    private func queue(_ cluster: NodeCluster, _ node: Int = 0) async throws -> StateReply.Queue {
        let state = try await cluster.ask(node, "GET", "/state").decode(StateReply.self)
        return try #require(state.regions.first { $0.region.region == "eu" })
    }

    @Test("ends on SIGTERM with all that it has applied, and goes on from there") func terminated() async throws {
        let cluster = try await NodeCluster(members: 1, replicas: 1)
        try await cluster.ask(0, "POST", "/configure", Self.deployment)
        try await cluster.ask(0, "POST", "/append?region=eu", Self.lines(1...50))
        #expect(cluster.nodes[0].end(by: SIGTERM) == .exited(0))
        try cluster.nodes[0].start()
        try await cluster.waitUntilReady()
        let queue = try await queue(cluster)
        #expect((queue.head, queue.next, queue.entries) == (1, 51, 50))
        let again = try await cluster.ask(0, "POST", "/append?region=eu", Self.lines(41...60))
        #expect(try again.decode([AppendReply].self).first?.accepted == 10)
    }

    @Test("answers in the names that the guide has") func names() async throws {
        let cluster = try await NodeCluster(members: 1, replicas: 1)
        func text(_ method: String, _ path: String, _ body: String = "") async throws -> String {
            String(decoding: try await cluster.ask(0, method, path, body).body, as: UTF8.self)
        }
        let configured = try await text("POST", "/configure", Self.deployment)
        #expect(configured == #"{"epoch":1,"actingPrimary":"us","events":[]}"# + "\n")
        let appended = try await text("POST", "/append?region=eu", Self.line(1))
        #expect(appended == #"[{"region":"eu","accepted":1,"first":1,"duplicates":[],"dropped":0}]"# + "\n")
        let state = try await text("GET", "/state").replacing(/"index":[0-9]+/, with: #""index":0"#)
        #expect(
            state
                == #"{"member":"r0","index":0,"epoch":1,"actingPrimary":"us","regions":[{"region":"eu","#
                + #""role":"secondary","state":"healthy","head":1,"next":2,"entries":1,"accepted":1,"acknowledged":0,"#
                + #""drained":0,"dropped":0,"dead":0,"lost":0,"isPaused":false},{"region":"us","role":"primary","#
                + #""state":"healthy","head":1,"next":1,"entries":0,"accepted":0,"acknowledged":0,"drained":0,"#
                + #""dropped":0,"dead":0,"lost":0,"isPaused":false}]}"# + "\n"
        )
        let entry = try await text("GET", "/batches?region=eu").replacing(/Ms":[0-9]+/, with: #"Ms":0"#)
        #expect(
            entry
                == #"{"region":"eu","position":1,"origin":"us","incarnation":1,"sequence":1,"kind":"put","key":"k","#
                + #""valueBase64":"djE=","enqueuedAtMs":0}"# + "\n"
        )
        let acknowledged = try await text("POST", "/acknowledge?region=eu&through=1")
        #expect(acknowledged == #"{"region":"eu","acknowledged":1,"remaining":0}"# + "\n")
        #expect(try await text("GET", "/metrics").contains("holdfast_acknowledged_writes_total{region=\"eu\"} 1\n"))
        let failed = try await text("POST", "/fail?region=us").replacing(/Ms":[0-9]+/, with: #"Ms":0"#)
        #expect(failed.hasPrefix(#"{"epoch":2,"actingPrimary":"eu","events":[{"event":"#))
    }

    @Test("refuses what is no request, and says what is wrong") func badRequests() async throws {
        let cluster = try await NodeCluster(members: 1, replicas: 1)
        let port = cluster.nodes[0].port
        #expect(await NodeClient.ask(port, "POST", "/append?region=eu", Self.line(1))?.code == "notConfigured")
        try await cluster.ask(0, "POST", "/configure", Self.deployment)
        for (method, path, body, status) in [
            ("GET", "/nothing", "", 400), ("POST", "/append", Self.line(1), 400),
            ("POST", "/append?region=eu", "{}", 400),
            ("POST", "/append?region=eu", #"{"origin":"us","incarnation":1,"sequence":1,"key":"k"}"#, 400),
            ("POST", "/append?region=xx", Self.line(1), 404), ("POST", "/acknowledge?region=eu", "", 400),
            ("POST", "/acknowledge?region=eu&through=9", "", 400), ("POST", "/fail?region=us&epoch=7", "", 409),
            ("GET", "/state?consistency=soon", "", 400), ("GET", "/snapshots/..", "", 400),
            ("GET", "/snapshots/%2e%2e%2freplica%2fCURRENT", "", 404), ("POST", "/configure", "{]", 400),
        ] {
            let answer = await NodeClient.ask(port, method, path, body)
            #expect(answer?.status == status, "\(method) \(path) \(body)")
        }
        #expect(try await queue(cluster).next == 1)
    }

    @Test("stops where etcd was restored from an older state, however long the log is now, and keeps what it has")
    func wentBack() async throws {
        let cluster = try await NodeCluster(members: 1, replicas: 2)
        try await cluster.ask(0, "POST", "/configure", Self.deployment)
        try await cluster.ask(0, "POST", "/append?region=eu", Self.lines(1...10))
        cluster.etcd.stop(0)
        try cluster.etcd.saveData()
        try cluster.etcd.start(0)
        try await cluster.etcd.waitUntilHealthy()
        try await cluster.waitUntilReady()
        try await cluster.ask(1, "POST", "/append?region=eu", Self.lines(11...20))
        for node in cluster.nodes.indices { _ = try await queue(cluster, node) }
        for node in cluster.nodes { node.end(by: SIGTERM) }
        cluster.etcd.stop(0)
        try cluster.etcd.restoreData()
        try cluster.etcd.start(0)
        try await cluster.etcd.waitUntilHealthy()
        let (lost, other) = (cluster.nodes[0], cluster.nodes[1])
        try lost.start()
        #expect(lost.ended() == .exited(65))
        #expect(lost.log.contains("logWentBack"))
        // One that begins anew goes on with what etcd has; the other still does not take that for its own.
        try other.wipe()
        try other.start()
        try await cluster.waitUntilReady([1])
        #expect(try await queue(cluster, 1).next == 11)
        for sequence in 101...140 { try await cluster.ask(1, "POST", "/append?region=eu", Self.line(sequence)) }
        try lost.start()
        #expect(lost.ended() == .exited(65))
        #expect(lost.log.contains("logConflict") || lost.log.contains("has none there"))
    }

    @Test("takes a snapshot of another one when its directory is gone, however short the log") func wiped() async throws
    {
        let cluster = try await NodeCluster(members: 1, ["--retain-entries", "8", "--retain-bytes", "4000"])
        try await cluster.ask(0, "POST", "/configure", Self.deployment)
        for batch in 0..<20 {
            try await cluster.ask(
                batch % 3,
                "POST",
                "/append?region=eu",
                Self.lines((batch * 20 + 1)...(batch * 20 + 20))
            )
        }
        cluster.nodes[2].end(by: SIGKILL)
        try cluster.nodes[2].wipe()
        try await cluster.ask(0, "POST", "/snapshot")
        for batch in 20..<40 {
            try await cluster.ask(
                batch % 2,
                "POST",
                "/append?region=eu",
                Self.lines((batch * 20 + 1)...(batch * 20 + 20))
            )
        }
        try await cluster.ask(1, "POST", "/snapshot")
        try cluster.nodes[2].start()
        try await cluster.waitUntilReady()
        #expect(try await queue(cluster, 2).next == 801)
        #expect(Set(try await cluster.digests()).count == 1)
    }

    @Test("sends the queues where a region takes them by HTTP, in order and from one member at a time")
    func sends() async throws {
        let received = Mutex<[UInt64]>([])
        let port = try LoopbackPort.free()
        let server = HTTPServer(
            address: try .inet(ip4: "127.0.0.1", port: port),
            handler: ClosureHTTPHandler { request in
                let positions = try await request.bodyData.split(separator: UInt8(ascii: "\n")).map {
                    try JSONDecoder().decode(EntryReply.self, from: $0).position
                }
                received.withLock { $0 += positions }
                return HTTPResponse(statusCode: .ok)
            }
        )
        let serving = Task { try await server.run() }
        defer { serving.cancel() }
        let cluster = try await NodeCluster(members: 1, ["--region", "eu=http://127.0.0.1:\(port)/writes"])
        try await cluster.ask(0, "POST", "/configure", Self.deployment)
        for batch in 0..<4 {
            try await cluster.ask(
                batch % 3,
                "POST",
                "/append?region=eu",
                Self.lines((batch * 50 + 1)...(batch * 50 + 50))
            )
            if batch < 2 {
                // Whoever leads: another one goes on.
                cluster.nodes[batch].end(by: SIGKILL)
                try cluster.nodes[batch].start()
                try await cluster.waitUntilReady()
            }
        }
        while try await queue(cluster).entries > 0 { await Task.yield() }
        var firsts: [UInt64] = []
        for position in received.withLock({ $0 }) where !firsts.contains(position) { firsts.append(position) }
        #expect(firsts == Array(1...200))
    }
}
#endif
