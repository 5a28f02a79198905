import HoldfastTesting
import RegionFailover
import ReplayStore

extension LinearizabilityFault {
    /// What may be wrong with the lead.
    static let leads: [LinearizabilityFault] = [
        Self(
            "an epoch that goes back",
            bad: [promote("us", 2, "eu", 1...8), leads(2, "eu", 2...3), leads(1, "us", 4...5)],
            mended: [promote("us", 2, "eu", 1...8), leads(1, "us", 2...3), leads(2, "eu", 4...5)]
        ),
        Self("an epoch that is skipped", [], bad: promote("us", 3, "eu", 1...2), mended: promote("us", 2, "eu", 1...2)),
        Self(
            "an epoch that is given twice",
            [promote("us", 2, "eu", 1...2)],
            bad: hand(to: "ap", 2, "ap", 3...4),
            mended: hand(to: "ap", 3, "ap", 3...4)
        ),
        Self(
            "two primaries in one epoch",
            [promote("us", 2, "eu", 1...4)],
            bad: promote("us", 2, "ap", 1...4),
            mended: lead(.promote(awayFrom: "us", ifEpoch: nil), .refused(.illegalTransition), 1...4)
        ),
        Self(
            "two primaries that are read in one epoch",
            [silent(.promote(awayFrom: "us", ifEpoch: nil), at: 1), leads(2, "eu", 2...3)],
            bad: leads(2, "ap", 4...5),
            mended: leads(2, "eu", 4...5)
        ),
        Self(
            "a switchover that is lost",
            [hand(to: "eu", 2, "eu", 1...2)],
            bad: leads(1, "us", 3...4),
            mended: leads(2, "eu", 3...4)
        ),
        Self(
            "a switchover to another region",
            [],
            bad: hand(to: "eu", 2, "ap", 1...2),
            mended: hand(to: "eu", 2, "eu", 1...2)
        ),
        Self(
            "a switchover to the acting primary",
            [],
            bad: hand(to: "us", 2, "us", 1...2),
            mended: hand(to: "eu", 2, "eu", 1...2)
        ),
        Self(
            "a promotion of the region that failed",
            [],
            bad: promote("us", 2, "us", 1...2),
            mended: promote("us", 2, "ap", 1...2)
        ),
        Self(
            "a promotion out of the deployment",
            [],
            bad: promote("us", 2, "mars", 1...2),
            mended: promote("us", 2, "ap", 1...2)
        ),
        Self(
            "a promotion away from one that does not lead",
            [],
            bad: promote("eu", 2, "ap", 1...2),
            mended: promote("us", 2, "ap", 1...2)
        ),
        Self(
            "a refusal with a wrong epoch",
            [promote("us", 2, "eu", 1...2)],
            bad: lead(.switchover(to: "ap", ifEpoch: 1), .staleEpoch(3), 3...4),
            mended: lead(.switchover(to: "ap", ifEpoch: 1), .staleEpoch(2), 3...4)
        ),
        Self(
            "a refusal as stale of what is not",
            [promote("us", 2, "eu", 1...2)],
            bad: lead(.switchover(to: "ap", ifEpoch: 2), .staleEpoch(2), 3...4),
            mended: lead(.switchover(to: "ap", ifEpoch: 3), .staleEpoch(2), 3...4)
        ),
        Self(
            "a refusal as stale without an epoch",
            [],
            bad: lead(.promote(awayFrom: "us", ifEpoch: nil), .staleEpoch(1), 1...2),
            mended: lead(.promote(awayFrom: "us", ifEpoch: 0), .staleEpoch(1), 1...2)
        ),
        Self(
            "a stale call that is let pass",
            [promote("us", 2, "eu", 1...2)],
            bad: promote("eu", if: 1, 3, "ap", 3...4),
            mended: promote("eu", if: 2, 3, "ap", 3...4)
        ),
        Self(
            "a refusal to demote the acting primary",
            [],
            bad: lead(.promote(awayFrom: "us", ifEpoch: nil), .refused(.illegalTransition), 1...2),
            mended: lead(.promote(awayFrom: "us", ifEpoch: nil), .refused(.noSecondaryAvailable), 1...2)
        ),
        Self(
            "a known region that is called unknown",
            [],
            bad: lead(.switchover(to: "eu", ifEpoch: nil), .refused(.unknownRegion), 1...2),
            mended: lead(.switchover(to: "mars", ifEpoch: nil), .refused(.unknownRegion), 1...2)
        ),
        Self(
            "outstanding writes of the acting primary",
            [],
            bad: lead(.switchover(to: "us", ifEpoch: nil), .refused(.replayPending), 1...2),
            mended: lead(.switchover(to: "eu", ifEpoch: nil), .refused(.replayPending), 1...2)
        ),
        Self(
            "a promotion of unknown outcome that is seen before it was asked for",
            [leads(2, "eu", 1...2)],
            bad: silent(.promote(awayFrom: "us", ifEpoch: nil), at: 3),
            mended: silent(.promote(awayFrom: "us", ifEpoch: nil), at: 2)
        ),
        Self(
            "a switchover of unknown outcome that is seen, and then is not",
            bad: [silent(.switchover(to: "eu", ifEpoch: nil), at: 1), leads(2, "eu", 2...3), leads(1, "us", 4...5)],
            mended: [silent(.switchover(to: "eu", ifEpoch: nil), at: 1), leads(1, "us", 2...3), leads(2, "eu", 4...5)]
        ),
        Self(
            "a promotion of unknown outcome that leaves the failed region in the lead",
            [silent(.promote(awayFrom: "us", ifEpoch: 1), at: 1)],
            bad: leads(2, "us", 2...3),
            mended: leads(2, "ap", 2...3)
        ),
        Self(
            "a promotion of unknown outcome on an epoch that had passed",
            [hand(to: "eu", 2, "eu", 1...2), silent(.promote(awayFrom: "eu", ifEpoch: 1), at: 3)],
            bad: leads(3, "ap", 4...5),
            mended: leads(2, "eu", 4...5)
        ),
    ]
}
