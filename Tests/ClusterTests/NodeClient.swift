#if Etcd
import Foundation
import Glibc

/// What a door answered.
struct Answer: Sendable {
    var status: Int
    var body: Data

    /// The body as an object.
    func decode<Body: Decodable>(_ type: Body.Type) throws -> Body { try JSONDecoder().decode(type, from: body) }

    /// The error's code; nil for an answer that is none.
    var code: String? { (try? decode(Refusal.self))?.error.code }

    struct Refusal: Decodable {
        struct Content: Decodable {
            var code: String
            /// The epoch now, for `staleEpoch`.
            var current: UInt64?
        }

        var error: Content
    }
}

/// A request by a connection of its own: nothing sends it twice, as a pool of connections would.
enum NodeClient {
    /// Asks, and waits for at most so many seconds; nil when no whole answer came.
    static func ask(
        _ port: UInt16,
        _ method: String,
        _ path: String,
        _ body: String = "",
        seconds: Int = 8
    ) async -> Answer? {
        await withCheckedContinuation { continuation in
            Thread.detachNewThread { continuation.resume(returning: exchange(port, method, path, body, seconds)) }
        }
    }

    private static func exchange(
        _ port: UInt16,
        _ method: String,
        _ path: String,
        _ body: String,
        _ seconds: Int
    ) -> Answer? {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard socket >= 0 else { return nil }
        defer { close(socket) }
        var wait = timeval(tv_sec: seconds, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            unsafe setsockopt(socket, SOL_SOCKET, option, &wait, socklen_t(MemoryLayout<timeval>.size))
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let status = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                unsafe connect(socket, address, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else { return nil }
        let head =
            "\(method) \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: \(body.utf8.count)\r\n\r\n"
        guard send(Array((head + body).utf8), to: socket) else { return nil }
        return answer(receive(from: socket))
    }

    private static func send(_ bytes: [UInt8], to socket: Int32) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let sent = unsafe rest.withUnsafeBytes {
                unsafe Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard sent > 0 else { return false }
            rest = rest.dropFirst(sent)
        }
        return true
    }

    private static func receive(from socket: Int32) -> Data {
        var all = Data()
        var piece = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let got = unsafe piece.withUnsafeMutableBytes { unsafe recv(socket, $0.baseAddress, $0.count, 0) }
            guard got > 0 else { return all }
            all += piece[..<got]
        }
    }

    /// An answer that has come whole.
    private static func answer(_ bytes: Data) -> Answer? {
        guard let end = bytes.range(of: Data("\r\n\r\n".utf8)) else { return nil }
        let lines = String(decoding: bytes[..<end.lowerBound], as: UTF8.self).split(separator: "\r\n")
        let words = lines.first?.split(separator: " ") ?? []
        guard words.count > 1, let status = Int(words[1]) else { return nil }
        let length = lines.first { $0.lowercased().hasPrefix("content-length:") }
            .flatMap { Int($0.split(separator: ":")[1].trimmingCharacters(in: .whitespaces)) }
        let body = Data(bytes[end.upperBound...])
        guard length == nil || length == body.count else { return nil }
        return Answer(status: status, body: body)
    }
}
#endif
