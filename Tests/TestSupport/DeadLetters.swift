package import Holdfast
package import ReplayStore

extension ReplayStore {
    /// Appends a write to an empty queue, and parks it.
    package func appendParked(_ write: OutstandingWrite, to region: RegionID) async throws {
        let time = Timestamp(milliseconds: 0)
        _ = try await append([write], to: [region], ifEpoch: nil, at: time)
        try await transact { (transaction) throws(HoldfastError) in
            let row = try transaction.regionRow(region)
            _ = try transaction.park(
                region,
                queue: row.number,
                row.headPosition...row.headPosition,
                cause: .attempts,
                attempts: 1,
                reason: "",
                now: time
            )
        }
    }
}
