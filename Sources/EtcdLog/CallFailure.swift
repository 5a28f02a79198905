#if Etcd
internal import GRPCCore
internal import ReplayStore

/// Why a request got no answer, and whether it may have been executed.
struct CallFailure: Error {
    /// What is known of the request.
    enum Effect: Sendable {
        /// It never left this process.
        case unsent
        /// A member says that it was refused before it had any effect.
        case refused
        /// It may have been executed, or may be yet.
        case unknown
    }

    /// What a member said, as far as something follows from it.
    enum Reason: Sendable {
        case compacted
        case futureRevision
        case noSpace
        case badToken
        case noAuthentication
        case leaseExists
        case leaseGone
        case deadline
        case cancelled
        case closed
        case other
    }

    let effect: Effect
    let reason: Reason
    /// Whether another member, or the same one later, may answer better.
    let isRetryable: Bool
    let message: String

    init(effect: Effect, reason: Reason, isRetryable: Bool, message: String) {
        self.effect = effect
        self.reason = reason
        self.isRetryable = isRetryable
        self.message = message
    }

    /// The log was closed before the request was sent.
    static var closed: Self {
        Self(effect: .unsent, reason: .closed, isRetryable: false, message: "The log has been closed.")
    }

    /// Reads an error of the gRPC library.
    ///
    /// - Parameters:
    ///   - error: What the library threw.
    ///   - wasSent: Whether the request had been handed to a connection.
    init(_ error: any Error, wasSent: Bool) {
        let sent: Effect = wasSent ? .unknown : .unsent
        guard let error = error as? RPCError else {
            let isCancelled = error is CancellationError
            self.init(
                effect: sent,
                reason: isCancelled ? .cancelled : .other,
                isRetryable: !isCancelled,
                message: "\(error)"
            )
            return
        }
        let text = Self.describe(error)
        guard error.message.hasPrefix("etcdserver: ") else {
            let reason: Reason = error.code == .deadlineExceeded ? .deadline : .other
            self.init(effect: sent, reason: reason, isRetryable: true, message: text)
            return
        }
        let reason = Self.reason(error.message)
        // Only what a member says by itself is believed to have had no effect, and of that only what it says before it
        // proposes, or when its state machine refuses the whole. 'database space exceeded' is neither: a transaction
        // that takes the quota's last bytes is executed and refused.
        let isRefused =
            switch error.code {
            case .invalidArgument, .outOfRange, .notFound, .failedPrecondition, .permissionDenied, .unauthenticated,
                .unimplemented:
                true
            case .resourceExhausted: error.message.hasSuffix("too many requests")
            default: false
            }
        let isTemporary =
            switch error.code {
            case .invalidArgument: error.message.hasSuffix("revision of auth store is old")
            case .outOfRange, .notFound, .permissionDenied, .unimplemented, .dataLoss: false
            case .failedPrecondition: error.message.hasSuffix("not leader")
            default: true
            }
        self.init(
            effect: isRefused ? .refused : .unknown,
            reason: reason,
            isRetryable: (isTemporary || reason == .badToken) && reason != .noSpace,
            message: text
        )
    }

    /// The same, known to be in vain.
    var final: Self { Self(effect: effect, reason: reason, isRetryable: false, message: message) }

    private static func reason(_ message: String) -> Reason {
        let reasons: [(String, Reason)] = [
            ("required revision has been compacted", .compacted),
            ("required revision is a future revision", .futureRevision),
            ("database space exceeded", .noSpace),
            ("invalid auth token", .badToken),
            ("revision of auth store is old", .badToken),
            ("user name is empty", .badToken),
            ("authentication is not enabled", .noAuthentication),
            ("lease already exists", .leaseExists),
            ("requested lease not found", .leaseGone),
        ]
        return reasons.first { message.hasSuffix($0.0) }?.1 ?? .other
    }

    /// The error and what caused it, which is where a refused connection or a certificate is named.
    private static func describe(_ error: RPCError) -> String {
        let causes = sequence(first: error.cause) { ($0 as? RPCError)?.cause }.prefix(4).compactMap { cause in
            cause.map { ($0 as? RPCError)?.message ?? "\($0)" }
        }
        return ([error.message.isEmpty ? "\(error.code)" : error.message] + causes).joined(separator: ": ")
    }

    /// What to tell of the log's being out of reach.
    var advice: String {
        switch reason {
        case .noSpace:
            "The etcd cluster's space is used up (NOSPACE): \(message). Trim the log; then compact and defragment etcd, or raise "
                + "its --quota-backend-bytes, and end the alarm with 'etcdctl alarm disarm'."
        case .badToken, .noAuthentication:
            "etcd does not take the user: \(message). Check the user and the password."
        case .closed: message
        case .cancelled: "The task was cancelled."
        default:
            isRetryable
                ? "etcd does not answer: \(message). Look at the members and at the endpoints; then try again."
                : "etcd refuses: \(message)."
        }
    }

    /// The error of a call that changes nothing, or of one that was surely not executed.
    var unavailable: HoldfastError { HoldfastError(code: .logUnavailable, message: advice) }
}
#endif
