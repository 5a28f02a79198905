public import RegionFailover
internal import ReplayFormat
public import ReplayStore

/// The whole state of a replica, as of one index.
public struct ReplicaView: Sendable, Hashable {
    /// The last entry whose effects are in it.
    public var index: UInt64
    /// Roles, states and epoch; nil before the deployment is configured.
    public var machine: FailoverMachine?
    /// The numbers of every queue, in the order of the regions' bytes.
    public var queues: [QueueStatistics]
}

extension ReplicatedController {
    /// Roles, states, epoch and the numbers of every queue, all as of one index.
    ///
    /// - Throws: ``HoldfastError``: why the read cannot be that fresh, `needsSnapshot`, `closed`, `damaged` or `ioFailed`.
    public func view(_ consistency: ReadConsistency = .linearizable) async throws(HoldfastError) -> ReplicaView {
        try await replica.wait(for: consistency)
        return try await replica.machine.store.read { (view) throws(HoldfastError) in
            var index: UInt64 = 0
            if let fields = try view.row(RaftRows.appliedKey, in: .raft) {
                index = try format("The applied index") { () throws(FormatError) in
                    try RaftRows.Applied(decoding: fields.span).index
                }
            }
            let queues = try view.regionRows().map { QueueStatistics($0.0, $0.1) }
            guard !queues.isEmpty else { return ReplicaView(index: index, machine: nil, queues: []) }
            let snapshot = try MachineRows.load(queues.map(\.region), rows: try view.machineRows())
            do throws(FailoverError) {
                return ReplicaView(index: index, machine: try FailoverMachine(restoring: snapshot), queues: queues)
            } catch {
                throw HoldfastError(error)
            }
        }
    }
}
