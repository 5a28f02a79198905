public import RegionFailover
public import ReplayStore

/// The acting primary and the epoch of one deployment, for a ``LinearizabilityChecker``.
///
/// The epoch rises by exactly one with each change of the acting primary, and each epoch has one. Whether a region is
/// healthy, has received everything or is in a tier is not known here, so of the refusals for such reasons only what
/// they say of the lead is checked; and which region a promotion chooses is told by its outcome. Where nobody heard
/// that outcome the state is all regions that it may have been, until somebody hears of one.
///
/// A promotion that the controller decides by itself is a change too: give it as an operation of unknown outcome, or
/// switch automatic failover off.
public struct LeadModel: SequentialModel {
    /// What can be asked for.
    public enum Call: Hashable, Sendable {
        /// The failover away from a region, on an epoch unless that is nil: `demoteAndPromote`.
        case promote(awayFrom: RegionID, ifEpoch: UInt64?)
        /// The handing over to a region, on an epoch unless that is nil.
        case switchover(to: RegionID, ifEpoch: UInt64?)
        /// A look at who leads.
        case read
    }

    /// What can be answered.
    public enum Outcome: Hashable, Sendable {
        /// The lead changed: the epoch that begins, and who leads in it.
        case changed(epoch: UInt64, primary: RegionID)
        /// The epoch, and who leads.
        case lead(epoch: UInt64, primary: RegionID)
        /// Nothing changed, since the epoch is another one: this one.
        case staleEpoch(UInt64)
        /// Nothing changed, for another reason.
        case refused(HoldfastError.Code)
    }

    /// The epoch, and who may lead in it.
    public struct State: Hashable, Sendable {
        /// The epoch.
        public internal(set) var epoch: UInt64
        /// A bit for each region that may lead: one bit alone unless an outcome is unknown.
        var candidates: UInt64
    }

    /// The regions of the deployment.
    public let regions: [RegionID]
    /// The lead before the first call.
    public let initial: State

    /// Creates a model.
    ///
    /// It traps for more than 64 regions, and for a `primary` that is none of them.
    ///
    /// - Parameters:
    ///   - regions: The regions of the deployment, at most 64.
    ///   - primary: Who leads before the first call.
    ///   - epoch: The epoch before the first call.
    public init(regions: [RegionID], primary: RegionID, epoch: UInt64 = 1) {
        precondition(regions.count <= 64, "\(regions.count) regions, of at most 64")
        precondition(regions.contains(primary), "'\(primary)' is no region of the deployment")
        self.regions = regions
        initial = State(epoch: epoch, candidates: Self.bit(of: primary, in: regions))
    }

    /// All calls are about one lead.
    public func partition(of call: Call) -> String { "lead" }

    /// The lead after a call; nil when the controller does not answer so.
    public func step(_ state: State, _ call: Call, _ outcome: Outcome?) -> State? {
        switch call {
        case .promote(let failed, let expected): promote(failed, expected, state, outcome)
        case .switchover(let target, let expected): switchover(target, expected, state, outcome)
        case .read: read(state, outcome)
        }
    }

    private func promote(_ failed: RegionID, _ expected: UInt64?, _ state: State, _ outcome: Outcome?) -> State? {
        let old = bit(of: failed)
        if case .refused(let after) = fence(expected, state, outcome) { return after }
        switch outcome {
        case nil:
            // Had it been refused, nothing would have changed.
            guard state.candidates & old != 0 else { return state }
            return lead(state.epoch + 1, all & ~old)
        case .changed(state.epoch + 1, let promoted):
            guard state.candidates & old != 0 else { return nil }
            return lead(state.epoch + 1, bit(of: promoted) & ~old)
        case .refused(.unknownRegion): return old == 0 ? state : nil
        case .refused(.illegalTransition): return old == 0 ? nil : lead(state.epoch, state.candidates & ~old)
        case .refused(.noSecondaryAvailable): return lead(state.epoch, state.candidates & old)
        default: return nil
        }
    }

    private func switchover(_ target: RegionID, _ expected: UInt64?, _ state: State, _ outcome: Outcome?) -> State? {
        let new = bit(of: target)
        if case .refused(let after) = fence(expected, state, outcome) { return after }
        switch outcome {
        case nil:
            guard state.candidates & ~new != 0, new != 0 else { return state }
            return lead(state.epoch + 1, new)
        case .changed(state.epoch + 1, target):
            guard state.candidates & ~new != 0 else { return nil }
            return lead(state.epoch + 1, new)
        case .refused(.unknownRegion): return new == 0 ? state : nil
        case .refused(.illegalTransition): return new == 0 ? nil : state
        case .refused(.replayPending), .refused(.needsResync):
            return new == 0 ? nil : lead(state.epoch, state.candidates & ~new)
        default: return nil
        }
    }

    private func read(_ state: State, _ outcome: Outcome?) -> State? {
        switch outcome {
        case nil: state
        case .lead(state.epoch, let primary): lead(state.epoch, state.candidates & bit(of: primary))
        default: nil
        }
    }

    private enum Fencing {
        case passed
        /// The state after it; nil when the controller does not answer so.
        case refused(State?)
    }

    private func fence(_ expected: UInt64?, _ state: State, _ outcome: Outcome?) -> Fencing {
        if let expected, expected != state.epoch {
            return .refused(outcome == nil || outcome == .staleEpoch(state.epoch) ? state : nil)
        }
        // Nobody is refused as stale who is not.
        if case .staleEpoch = outcome { return .refused(nil) }
        return .passed
    }

    /// A lead that somebody may have.
    private func lead(_ epoch: UInt64, _ candidates: UInt64) -> State? {
        candidates == 0 ? nil : State(epoch: epoch, candidates: candidates)
    }

    private var all: UInt64 { regions.isEmpty ? 0 : .max >> UInt64(64 - regions.count) }

    private func bit(of region: RegionID) -> UInt64 { Self.bit(of: region, in: regions) }

    /// The bit of a region; 0 for one that is not in the deployment.
    private static func bit(of region: RegionID, in regions: [RegionID]) -> UInt64 {
        regions.firstIndex(of: region).map { 1 << UInt64($0) } ?? 0
    }

    /// The epoch, and who may lead, in words.
    public func describe(_ state: State) -> String {
        let names = regions.filter { state.candidates & bit(of: $0) != 0 }.map(\.rawValue)
        return "epoch \(state.epoch), led by \(names.joined(separator: " or "))"
    }
}

extension LeadModel.Outcome {
    /// What a change came to.
    public init(_ promotion: Promotion) { self = .changed(epoch: promotion.epoch, primary: promotion.promoted) }

    /// What a controller's machine says.
    public init(_ machine: FailoverMachine) { self = .lead(epoch: machine.epoch, primary: machine.actingPrimary) }

    /// What a refusal said; nil for one that tells nothing of the lead, and is left out of the history.
    public init?(_ error: HoldfastError) {
        switch error.code {
        case .staleEpoch:
            guard let epoch = error.count else { return nil }
            self = .staleEpoch(epoch)
        case .unknownRegion, .illegalTransition, .noSecondaryAvailable, .replayPending, .needsResync:
            self = .refused(error.code)
        default: return nil
        }
    }
}

extension LeadModel.Call: CustomStringConvertible {
    /// The call in words.
    public var description: String {
        switch self {
        case .promote(let failed, let epoch): "promote away from \(failed), \(Self.words(epoch))"
        case .switchover(let target, let epoch): "switch over to \(target), \(Self.words(epoch))"
        case .read: "read the lead"
        }
    }

    private static func words(_ epoch: UInt64?) -> String { epoch.map { "if epoch \($0)" } ?? "in any epoch" }
}

extension LeadModel.Outcome: CustomStringConvertible {
    /// The outcome in words.
    public var description: String {
        switch self {
        case .changed(let epoch, let primary): "epoch \(epoch) begins, led by \(primary)"
        case .lead(let epoch, let primary): "epoch \(epoch), led by \(primary)"
        case .staleEpoch(let epoch): "staleEpoch, it is \(epoch)"
        case .refused(let code): "refused, \(code)"
        }
    }
}
