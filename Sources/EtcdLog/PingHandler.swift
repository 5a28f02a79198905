#if Etcd
package import NIOCore
internal import NIOHTTP2

/// Answers HTTP/2 PINGs before NIO's HTTP/2 handler sees them.
///
/// etcd's gRPC library sends a PING with nearly every message that it reads, to measure how much data is on its way (its
/// "bandwidth-delay product estimator", which no setting of etcd switches off). NIO's handler takes more than 200 control
/// frames in 30 seconds for an attack: it answers GOAWAY with ENHANCE_YOUR_CALM, and every call and watch on the connection
/// fails, of which the transactions may have been executed. The limit is a setting of `NIOHTTP2Handler`, but the gRPC
/// transport makes that handler itself and hands no such setting on. Where it lets somebody else at the pipeline, in the
/// callback for a new connection, this handler goes in front of it.
///
/// Every other frame passes as it came, in the order in which it came. A member of etcd is trusted not to flood its clients.
package final class PingHandler: ChannelInboundHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = ByteBuffer
    package typealias OutboundOut = ByteBuffer

    private static let headerSize = 9
    private static let pingSize = headerSize + 8
    private static let pingType: UInt8 = 6
    private static let acknowledged: UInt8 = 1

    /// Bytes of a header that has not come whole yet, or of a PING.
    private var partial: ByteBuffer?
    /// How much of the frame under way has not passed yet.
    private var passing = 0
    private var hasAnswered = false

    /// Puts one in front of the HTTP/2 handler of a connection that gRPC has just set up.
    package static func install(in channel: any Channel) -> EventLoopFuture<Void> {
        channel.eventLoop.makeCompletedFuture {
            let pipeline = channel.pipeline.syncOperations
            let http = try pipeline.handler(type: NIOHTTP2Handler.self)
            try pipeline.addHandler(PingHandler(), position: .before(http))
        }
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        if var before = partial {
            before.writeBuffer(&bytes)
            bytes = before
            partial = nil
        }
        // Whole reads pass as one where they hold no PING, which is most of what is large.
        var passed = context.channel.allocator.buffer(capacity: 0)
        while bytes.readableBytes > 0 {
            if passing > 0 {
                let count = min(passing, bytes.readableBytes)
                passing -= count
                pass(count, of: &bytes, into: &passed)
                continue
            }
            guard bytes.readableBytes >= Self.headerSize else { break }
            let start = bytes.readerIndex
            guard let length = bytes.getInteger(at: start, as: UInt32.self).map({ Int($0 >> 8) }),
                let type = bytes.getInteger(at: start + 3, as: UInt8.self),
                let flags = bytes.getInteger(at: start + 4, as: UInt8.self)
            else { break }
            guard type == Self.pingType, flags & Self.acknowledged == 0, length == 8 else {
                passing = Self.headerSize + length
                continue
            }
            guard bytes.readableBytes >= Self.pingSize else { break }
            answer(&bytes, context)
        }
        if bytes.readableBytes > 0 { partial = bytes }
        if passed.readableBytes > 0 { context.fireChannelRead(wrapInboundOut(passed)) }
    }

    package func channelReadComplete(context: ChannelHandlerContext) {
        if hasAnswered {
            hasAnswered = false
            context.flush()
        }
        context.fireChannelReadComplete()
    }

    /// The same frame back, with the flag that says so.
    private func answer(_ bytes: inout ByteBuffer, _ context: ChannelHandlerContext) {
        guard var frame = bytes.readSlice(length: Self.pingSize) else { return }
        frame.setInteger(Self.acknowledged, at: frame.readerIndex + 4)
        context.write(wrapOutboundOut(frame), promise: nil)
        hasAnswered = true
    }

    private func pass(_ count: Int, of bytes: inout ByteBuffer, into passed: inout ByteBuffer) {
        guard var slice = bytes.readSlice(length: count) else { return }
        if passed.readableBytes == 0 {
            passed = slice
        } else {
            passed.writeBuffer(&slice)
        }
    }
}
#endif
