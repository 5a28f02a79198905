#if Etcd
/// Which etcd cluster a log is on, and how to talk to it.
public struct EtcdConfiguration: Sendable {
    /// Files that prove the cluster to this process, and this process to the cluster.
    public struct TLS: Sendable, Hashable {
        /// The authority that signed the members' certificates, as PEM; the system's own where it is nil.
        public var authorityPath: String?
        /// This process's certificate and those that signed it, as PEM; nil where the cluster asks for none.
        public var certificatePath: String?
        /// The private key of that certificate, as PEM.
        public var privateKeyPath: String?
        /// The name that the members' certificates must have; nil for the host of each endpoint.
        ///
        /// One that has the address at which the member was reached will do as well.
        public var serverName: String?

        /// Creates a configuration; files are read when the log is made.
        public init(
            authorityPath: String? = nil,
            certificatePath: String? = nil,
            privateKeyPath: String? = nil,
            serverName: String? = nil
        ) {
            self.authorityPath = authorityPath
            self.certificatePath = certificatePath
            self.privateKeyPath = privateKeyPath
            self.serverName = serverName
        }
    }

    /// A user of etcd's, who may read and write what begins with the prefix.
    public struct Credentials: Sendable, Hashable {
        /// The user's name.
        public var user: String
        /// The password.
        public var password: String

        /// Creates credentials.
        public init(user: String, password: String) {
            self.user = user
            self.password = password
        }
    }

    /// The members' client addresses, such as `10.0.0.1:2379`, `https://etcd-1.example.com:2379` or `[::1]:2379`.
    ///
    /// One is used at a time, the first one first; the next one when it does not answer. At most 64.
    public var endpoints: [String]
    /// What the log's keys begin with: 1 to 255 bytes.
    ///
    /// Two logs on one cluster have prefixes of which neither begins the other.
    public var prefix = "holdfast/"
    /// How to encrypt; nil for plain text, for a network that is trusted.
    public var tls: TLS?
    /// Who to be; nil where the cluster has no authentication.
    public var credentials: Credentials?
    /// How long one member may take to answer before the next one is asked: 10 ms to 1 minute.
    public var attemptTimeout: Duration = .seconds(3)
    /// How long a call goes on asking member after member: 10 ms to 10 minutes.
    public var callTimeout: Duration = .seconds(15)
    /// How long a leadership outlives a leader that has died, in seconds: 2 to 600.
    public var leaseSeconds = 10
    /// The most requests that wait for an answer at a time; more wait for their turn: 1 to 65,536.
    public var requestsMax = 1024

    /// Creates a configuration for a cluster without encryption and authentication.
    public init(endpoints: [String]) { self.endpoints = endpoints }
}
#endif
