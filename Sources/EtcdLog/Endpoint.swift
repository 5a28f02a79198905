#if Etcd
internal import ReplayStore

/// A member's address.
struct Endpoint: Sendable, Hashable, CustomStringConvertible {
    /// How a host is written, which says how it is looked up.
    enum Kind: Sendable, Hashable {
        case ipv4
        case ipv6
        case name
    }

    let host: String
    let port: Int
    let kind: Kind

    var description: String { kind == .ipv6 ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// Reads `host:port`, with `http://` or `https://` before it where somebody likes that.
    init(_ text: String, isEncrypted: Bool) throws(HoldfastError) {
        var rest = text[...]
        for scheme in ["http://", "https://"] where rest.hasPrefix(scheme) {
            guard (scheme == "https://") == isEncrypted else {
                throw .configuration(
                    "endpoints",
                    "Endpoint '\(text)' is \(isEncrypted ? "not " : "")encrypted, but the configuration has "
                        + "\(isEncrypted ? "" : "no ")TLS. Make both say the same."
                )
            }
            rest = rest.dropFirst(scheme.utf8.count)
        }
        while rest.last == "/" { rest = rest.dropLast() }
        guard let colon = rest.lastIndex(of: ":"), let port = UInt16(rest[rest.index(after: colon)...]), port > 0 else {
            throw .configuration("endpoints", "Endpoint '\(text)' has no port. Write it as HOST:PORT.")
        }
        var host = rest[..<colon]
        if host.first == "[", host.last == "]" {
            host = host.dropFirst().dropLast()
            kind = .ipv6
        } else {
            kind = Self.isIPv4(host) ? .ipv4 : .name
        }
        let isPlain = kind == .ipv6 || host.utf8.allSatisfy(Self.isOfName)
        guard !host.isEmpty, host.utf8.count <= 255, isPlain else {
            throw .configuration("endpoints", "Endpoint '\(text)' has no host that can be one. Write it as HOST:PORT.")
        }
        self.host = String(host)
        self.port = Int(port)
    }

    private static func isIPv4(_ host: Substring) -> Bool {
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts.allSatisfy { UInt8($0) != nil }
    }

    private static func isOfName(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}

extension HoldfastError {
    /// A part of the configuration that cannot be.
    static func configuration(_ field: String, _ message: String) -> Self {
        var error = Self(code: .invalidConfiguration, message: message)
        error.field = field
        return error
    }
}
#endif
