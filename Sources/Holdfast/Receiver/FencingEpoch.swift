public import ReplayStore

/// The highest epoch that a receiver has seen, for a receiver that keeps it in its own database.
///
/// A value: store ``highest`` in the database transaction that holds the effect of what was admitted. Then a sender
/// whose epoch is over cannot slip in between. ``FencingGuard`` and ``AppliedLedger`` keep it themselves.
public struct FencingEpoch: Sendable, Hashable {
    /// The highest epoch that was admitted; 0 before the first.
    public private(set) var highest: UInt64

    /// Creates the value that was stored; 0 where none was.
    public init(highest: UInt64 = 0) { self.highest = highest }

    /// Admits an epoch that is not below the highest, and keeps it.
    ///
    /// - Parameter epoch: The sender's epoch, from 1.
    /// - Returns: Whether it is higher than all before: store it then.
    /// - Throws: ``HoldfastError`` with `staleEpoch`, whose `count` is the highest, when it is lower; with
    ///   `invalidConfiguration` when it is 0, which is no epoch. Nothing has changed then.
    @discardableResult
    public mutating func admit(_ epoch: UInt64) throws(HoldfastError) -> Bool {
        guard epoch > 0 else {
            var error = HoldfastError(
                code: .invalidConfiguration,
                message: "Epochs begin with 1; 0 is none. Nothing was changed. Send the epoch of the promotion."
            )
            error.field = "epoch"
            throw error
        }
        guard epoch >= highest else {
            var error = HoldfastError(
                code: .staleEpoch,
                message: "Epoch \(epoch) is over: epoch \(highest) was seen. Nothing was changed. The sender is not "
                    + "the acting primary any more."
            )
            error.count = highest
            throw error
        }
        defer { highest = epoch }
        return epoch > highest
    }
}
