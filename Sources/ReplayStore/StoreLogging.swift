internal import Logging
private import ReplayFormat

extension Logger {
    /// Says which positions were found damaged or missing, each range on a line of its own.
    ///
    /// Once they are in the ledger on the disk: a transaction that fails has lost nothing, and the next one finds them again.
    func lost(_ tally: StoreMetrics.Tally) {
        for (region, change) in tally.regions.sorted(by: { $0.key < $1.key }) {
            for lost in change.lost {
                error(
                    "Entries of a queue are damaged or missing, and are passed over",
                    metadata: [
                        "holdfast.region": "\(region)", "holdfast.first": "\(lost.first)",
                        "holdfast.last": "\(lost.last)", "holdfast.entries": "\(lost.entries)",
                        "holdfast.reason": "\(lost.reason.name)",
                    ]
                )
            }
        }
    }
}
