private import Foundation

/// Certificates for a cluster on loopback, made by `openssl`: an authority, a server's and a client's.
public struct EtcdCertificates: Sendable {
    private let directory: String

    /// The authority's certificate.
    public var authority: String { "\(directory)/authority.pem" }
    /// A client's certificate.
    public var certificate: String { "\(directory)/client.pem" }
    /// Its key.
    public var key: String { "\(directory)/client.key" }
    /// What the members are called, beside `localhost`.
    public var name: String { "etcd.test" }
    /// The authority of nobody: it signed nothing here.
    public var stranger: String { "\(directory)/stranger.pem" }
    var serverCertificate: String { "\(directory)/server.pem" }
    var serverKey: String { "\(directory)/server.key" }

    /// Makes them in a new directory.
    ///
    /// - Throws: When `openssl` does not.
    public init(in directory: String) throws {
        self.directory = directory
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        for name in ["authority", "stranger"] {
            try openssl(
                ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
                    + ["-days", "2", "-subj", "/CN=\(name)", "-keyout", "\(name).key", "-out", "\(name).pem"]
            )
        }
        // Names without an address, so that a name that is not there is noticed.
        try Data("subjectAltName=DNS:localhost,DNS:\(name)\n".utf8).write(
            to: URL(fileURLWithPath: "\(directory)/names")
        )
        for name in ["server", "client"] {
            try openssl(
                ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
                    + ["-subj", "/CN=\(name)", "-keyout", "\(name).key", "-out", "\(name).csr"]
            )
            try openssl(
                ["x509", "-req", "-in", "\(name).csr", "-CA", "authority.pem", "-CAkey", "authority.key"]
                    + ["-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "\(name).pem"]
            )
        }
    }

    private func openssl(_ arguments: [String]) throws {
        let outcome = try Command.runBlocking("/usr/bin/openssl", arguments, directory: directory)
        guard outcome.status == 0 else {
            throw EtcdCluster.Failure(description: "openssl \(arguments.joined(separator: " ")): \(outcome.output)")
        }
    }
}
