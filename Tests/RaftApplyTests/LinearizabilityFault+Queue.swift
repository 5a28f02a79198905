import HoldfastTesting
import RegionFailover

extension LinearizabilityFault {
    /// What may be wrong with appends, and with what is read of them.
    static let writes: [LinearizabilityFault] = [
        Self(
            "a stale read after a completed write",
            [add([1], at: 1, 1...2)],
            bad: read(1, 1, 3...4),
            mended: read(1, 2, 3...4)
        ),
        Self(
            "a lost append",
            [add([1], at: 1, 1...2), add([2], at: 2, 3...4)],
            bad: read(1, 2, 5...6),
            mended: read(1, 3, 5...6)
        ),
        Self(
            "an append that is doubled under two positions",
            [add([1], at: 1, 1...2)],
            bad: drain(5, [1: 1, 2: 1], left: 0, 3...4),
            mended: drain(5, [1: 1], left: 0, 3...4)
        ),
        Self(
            "two appends with one position",
            [add([1], at: 1, 1...4)],
            bad: add([2], at: 1, 1...4),
            mended: add([2], at: 2, 1...4)
        ),
        Self(
            "positions against real time",
            [add([1], at: 2, 1...2)],
            bad: add([2], at: 1, 3...4),
            mended: add([2], at: 1, 2...4)
        ),
        Self(
            "a gap in the positions",
            [add([1], at: 1, 1...2)],
            bad: add([2], at: 3, 3...4),
            mended: add([2], at: 2, 3...4)
        ),
        Self(
            "a read that goes back",
            bad: [add([1], at: 1, 1...8), read(1, 2, 3...4), read(1, 1, 5...6)],
            mended: [add([1], at: 1, 1...8), read(1, 1, 3...4), read(1, 2, 5...6)]
        ),
        Self(
            "a read of what is not written yet",
            [add([1], at: 1, 3...4)],
            bad: read(1, 2, 1...2),
            mended: read(1, 2, 1...3)
        ),
        Self(
            "a half of an append that is seen",
            [add([1, 2], at: 1, 1...10)],
            bad: read(1, 2, 2...3),
            mended: read(1, 3, 2...3)
        ),
        Self(
            "a duplicate that was never appended",
            [],
            bad: add([1], at: 1, known: [0], 1...2),
            mended: add([1], at: 1, 1...2)
        ),
        Self(
            "a duplicate of what is appended later",
            [add([1], at: 2, known: [0], 1...2)],
            bad: add([1], at: 1, 3...4),
            mended: add([1], at: 1, 1...4)
        ),
        Self(
            "a write that is accepted twice",
            [add([1], at: 1, 1...2)],
            bad: add([1], at: 2, 3...4),
            mended: add([1], at: 2, known: [0], 3...4)
        ),
        Self(
            "a write that is accepted again when it has left",
            [add([1], at: 1, 1...2), acknowledge(1, 1, left: 0, 3...4)],
            bad: add([1], at: 2, 5...6),
            mended: add([1], at: 2, known: [0], 5...6)
        ),
        Self(
            "a write that is accepted twice in one call",
            [],
            bad: add([1, 1], at: 1, 1...2),
            mended: add([1, 1], at: 1, known: [1], 1...2)
        ),
        Self(
            "the wrong one of two called a duplicate",
            [add([1], at: 1, 1...2)],
            bad: add([1, 2], at: 2, known: [1], 3...4),
            mended: add([1, 2], at: 2, known: [0], 3...4)
        ),
        Self(
            "more accepted than were brought",
            [],
            bad: add([1, 2], at: 1, accepted: 3, 1...2),
            mended: add([1, 2], at: 1, 1...2)
        ),
        Self(
            "a retry that is accepted after the first call was seen",
            [silent(appending([1]), at: 1), read(1, 2, 2...3)],
            bad: add([1], at: 2, 4...5),
            mended: add([1], at: 2, known: [0], 4...5)
        ),
        Self(
            "an append of unknown outcome that is seen before it was made",
            [read(1, 2, 1...2)],
            bad: silent(appending([1]), at: 3),
            mended: silent(appending([1]), at: 2)
        ),
        Self(
            "an append of unknown outcome that is seen, and then is not",
            bad: [silent(appending([1]), at: 1), read(1, 2, 3...4), read(1, 1, 5...6)],
            mended: [silent(appending([1]), at: 1), read(1, 1, 3...4), read(1, 2, 5...6)]
        ),
        Self(
            "an append of unknown outcome that takes effect twice",
            [silent(appending([1]), at: 1), read(1, 2, 3...4)],
            bad: read(1, 3, 5...6),
            mended: read(1, 2, 5...6)
        ),
    ]

    /// What may be wrong with what leaves a queue.
    static let departures: [LinearizabilityFault] = [
        Self(
            "acknowledged entries that come back",
            [add([1, 2], at: 1, 1...2), acknowledge(1, 1, left: 1, 3...4)],
            bad: drain(5, [1: 1, 2: 2], left: 0, 5...6),
            mended: drain(5, [2: 2], left: 0, 5...6)
        ),
        Self(
            "acknowledged entries that are acknowledged again",
            [add([1, 2], at: 1, 1...2), acknowledge(2, 2, left: 0, 3...4)],
            bad: acknowledge(2, 2, left: 0, 5...6),
            mended: acknowledge(2, 0, left: 0, 5...6)
        ),
        Self(
            "a head that goes back",
            [add([1, 2], at: 1, 1...2), acknowledge(2, 2, left: 0, 3...4), acknowledge(1, 0, left: 0, 5...6)],
            bad: read(2, 3, 7...8),
            mended: read(3, 3, 7...8)
        ),
        Self(
            "a drain that hands out twice",
            [add([1], at: 1, 1...2), drain(1, [1: 1], left: 0, 3...4)],
            bad: drain(1, [1: 1], left: 0, 5...6),
            mended: drain(1, [:], left: 0, 5...6)
        ),
        Self(
            "two drains at once that hand out the same",
            [add([1, 2], at: 1, 1...2), drain(1, [1: 1], left: 1, 3...6)],
            bad: drain(1, [1: 1], left: 1, 3...6),
            mended: drain(1, [2: 2], left: 0, 3...6)
        ),
        Self(
            "a drain that skips",
            [add([1, 2], at: 1, 1...2)],
            bad: drain(1, [2: 2], left: 1, 3...4),
            mended: drain(1, [1: 1], left: 1, 3...4)
        ),
        Self(
            "a drain in another order",
            [add([1, 2], at: 1, 1...2)],
            bad: drain(2, [1: 2, 2: 1], left: 0, 3...4),
            mended: drain(2, [1: 1, 2: 2], left: 0, 3...4)
        ),
        Self(
            "a drain of more than was asked for",
            [add([1, 2], at: 1, 1...2)],
            bad: drain(1, [1: 1, 2: 2], left: 0, 3...4),
            mended: drain(2, [1: 1, 2: 2], left: 0, 3...4)
        ),
        Self(
            "a drain of less than there is",
            [add([1, 2], at: 1, 1...2)],
            bad: drain(2, [1: 1], left: 1, 3...4),
            mended: drain(1, [1: 1], left: 1, 3...4)
        ),
        Self(
            "a drain of a write that nobody appended",
            [add([1], at: 1, 1...2)],
            bad: drain(1, [1: 7], left: 0, 3...4),
            mended: drain(1, [1: 1], left: 0, 3...4)
        ),
        Self(
            "a wrong rest after a drain",
            [add([1, 2], at: 1, 1...2)],
            bad: drain(1, [1: 1], left: 2, 3...4),
            mended: drain(1, [1: 1], left: 1, 3...4)
        ),
        Self(
            "a wrong number of acknowledged entries",
            [add([1, 2, 3], at: 1, 1...2)],
            bad: acknowledge(2, 1, left: 1, 3...4),
            mended: acknowledge(2, 2, left: 1, 3...4)
        ),
        Self(
            "a wrong rest after an acknowledgement",
            [add([1, 2, 3], at: 1, 1...2)],
            bad: acknowledge(2, 2, left: 2, 3...4),
            mended: acknowledge(2, 2, left: 1, 3...4)
        ),
        Self(
            "a wrong number of entries in a read",
            [add([1, 2], at: 1, 1...2)],
            bad: read(1, 3, entries: 1, 3...4),
            mended: read(1, 3, 3...4)
        ),
        Self(
            "an acknowledgement beyond the last entry",
            [add([1], at: 1, 1...2)],
            bad: acknowledge(2, 1, left: 0, 3...4),
            mended: refuse(2, last: 1, 3...4)
        ),
        Self(
            "a refusal of an entry that is there",
            [add([1], at: 1, 1...2)],
            bad: refuse(1, last: 0, 3...4),
            mended: refuse(1, last: 0, 1...4)
        ),
        Self(
            "a refusal with a wrong last position",
            [add([1], at: 1, 1...2)],
            bad: refuse(5, last: 2, 3...4),
            mended: refuse(5, last: 1, 3...4)
        ),
        Self(
            "a lost acknowledgement",
            [add([1], at: 1, 1...2), acknowledge(1, 1, left: 0, 3...4)],
            bad: read(1, 2, 5...6),
            mended: read(2, 2, 5...6)
        ),
        Self(
            "a drain of unknown outcome that is seen, and then is not",
            bad: [
                add([1], at: 1, 1...2), silent(.drain("eu", max: 1), at: 3), read(2, 2, 4...5), read(1, 2, 6...7),
            ],
            mended: [
                add([1], at: 1, 1...2), silent(.drain("eu", max: 1), at: 3), read(1, 2, 4...5), read(2, 2, 6...7),
            ]
        ),
        Self(
            "an acknowledgement of unknown outcome that took effect too early",
            [add([1], at: 1, 1...2), read(2, 2, 3...4)],
            bad: silent(.acknowledge("eu", through: 1), at: 5),
            mended: silent(.acknowledge("eu", through: 1), at: 2)
        ),
    ]
}
