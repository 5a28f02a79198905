public import ReplayStore

/// The highest epoch that a receiver has seen, durably: it refuses a sender whose epoch is over.
///
/// Each promotion of a deployment has an epoch, greater than all before. A receiver that admits every call through one guard
/// hears no more of a primary that was demoted, from the first call of the new one on.
///
/// A guard keeps the number, not the effect: a call that was admitted can still have its effect after a higher epoch was
/// admitted by another task. Let one task at a time admit and have the effect; or put both into one transaction, with
/// ``AppliedLedger/apply(_:epoch:_:)`` or, in a database of your own, ``FencingEpoch``.
///
/// It has a directory of its own, which one process has open at a time. A receiver with an ``AppliedLedger`` needs no
/// guard: ``AppliedLedger/admit(_:)`` is the same.
public final class FencingGuard: Sendable {
    /// A guard is a ledger in which no write is marked.
    private let ledger: AppliedLedger
    /// Far more than two rows need.
    private static let mapSizeBytes = 16 << 20

    private init(_ ledger: AppliedLedger) { self.ledger = ledger }

    /// Makes a guard at `path` that has seen no epoch, and opens it.
    ///
    /// On return it is durable.
    ///
    /// - Parameter path: A directory that is empty or not there; its parent must be there. It is made with mode 0700.
    /// - Returns: The guard, open.
    /// - Throws: ``HoldfastError``, as ``AppliedLedger/create(at:mapSizeBytes:)`` does.
    public static func create(at path: String) async throws(HoldfastError) -> FencingGuard {
        FencingGuard(try await AppliedLedger.create(at: path, mapSizeBytes: mapSizeBytes))
    }

    /// Opens the guard at `path`.
    ///
    /// - Parameter path: The guard's directory.
    /// - Returns: The guard, open.
    /// - Throws: ``HoldfastError``, as ``AppliedLedger/open(at:mapSizeBytes:)`` does.
    public static func open(at path: String) async throws(HoldfastError) -> FencingGuard {
        FencingGuard(try await AppliedLedger.open(at: path, mapSizeBytes: mapSizeBytes))
    }

    /// The highest epoch that was admitted, durably; 0 before the first.
    public var highest: UInt64 { ledger.highestEpoch }

    /// Admits a sender whose epoch is not below the highest, and keeps it.
    ///
    /// On return the highest epoch is durable: no crash brings an older sender back.
    ///
    /// - Parameter epoch: The sender's epoch, from 1.
    /// - Returns: Whether it is higher than all before.
    /// - Throws: ``HoldfastError``, as ``AppliedLedger/admit(_:)`` does: `staleEpoch`, whose `count` is the highest, for a
    ///   lower one.
    /// - Complexity: Two syncs for a higher epoch, none for the highest.
    @discardableResult
    public func admit(_ epoch: UInt64) async throws(HoldfastError) -> Bool { try await ledger.admit(epoch) }

    /// Gives the directory free, after the calls that are under way.
    ///
    /// Calling it again does nothing.
    public func close() async { await ledger.close() }
}
