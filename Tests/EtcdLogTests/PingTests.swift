#if Etcd
@testable import EtcdLog
import EtcdProtocol
import EtcdSupport
import HoldfastTesting
import NIOCore
import NIOEmbedded
import ReplayStore
import Testing

@Suite("PINGs of HTTP/2", .timeLimit(.minutes(5)))
struct PingTests {
    private static func frame(type: UInt8, flags: UInt8, _ payload: [UInt8]) -> [UInt8] {
        [0, UInt8(payload.count >> 8), UInt8(payload.count & 255), type, flags, 0, 0, 0, 1] + payload
    }

    @Test("are answered and taken out, wherever the bytes are cut; the rest passes as it came", arguments: 1...200)
    func anyCut(seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        var (sent, passed, answers): ([UInt8], [UInt8], [UInt8]) = ([], [], [])
        for _ in 0..<Int.random(in: 1...20, using: &generator) {
            let payload = (0..<Int.random(in: 0...600, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            switch Int.random(in: 0...3, using: &generator) {
            case 0:
                let ping = (0..<8).map { _ in UInt8.random(in: 0...255, using: &generator) }
                sent += Self.frame(type: 6, flags: 0, ping)
                answers += Self.frame(type: 6, flags: 1, ping)
            case 1:
                // The answer to one of ours.
                let frame = Self.frame(type: 6, flags: 1, [1, 2, 3, 4, 5, 6, 7, 8])
                sent += frame
                passed += frame
            case 2:
                // What is no PING though it says so is for the HTTP/2 handler to refuse.
                let frame = Self.frame(type: 6, flags: 0, Array(payload.prefix(7)))
                sent += frame
                passed += frame
            default:
                let frame = Self.frame(type: UInt8.random(in: 0...5, using: &generator), flags: 0, payload)
                sent += frame
                passed += frame
            }
        }
        let channel = EmbeddedChannel(handler: PingHandler())
        var rest = sent[...]
        while !rest.isEmpty {
            let count = Int.random(in: 1...min(rest.count, 40), using: &generator)
            try channel.writeInbound(ByteBuffer(bytes: rest.prefix(count)))
            rest = rest.dropFirst(count)
        }
        var (read, written): ([UInt8], [UInt8]) = ([], [])
        while let buffer = try channel.readInbound(as: ByteBuffer.self) { read += Array(buffer.readableBytesView) }
        while let buffer = try channel.readOutbound(as: ByteBuffer.self) { written += Array(buffer.readableBytesView) }
        #expect(read == passed, "seed \(seed)")
        #expect(written == answers, "seed \(seed)")
        _ = try channel.finish()
    }

    /// One after the other, since etcd has one PING under way at a time: each call brings one then.
    @Test("of a real etcd end no connection: not one of 1,500 calls fails, of which none is tried again")
    func manyCalls() async throws {
        let cluster = try await EtcdCluster()
        let log = try cluster.log()
        var request = WireRangeRequest()
        request.key = .init(log.keys.head.bytes)
        for _ in 0..<1500 {
            let _: WireRangeResponse = try await log.cluster.current.call(
                WireKV.Method.Range.descriptor,
                request,
                Call(timeout: .seconds(60))
            )
        }
        await log.close()
    }
}
#endif
