/// The figures of one contestant, a value a round.
struct Figures: Sendable {
    var name: String
    /// In the unit of the work.
    var values: [Double] = []
    var seconds: [Double] = []
    var cpuSeconds: [Double] = []
    var entries = 0

    var median: Double { values.median }
    /// Of every thread of this process, the kernel's part with it; nil where none was measured.
    var cpuNanosecondsPerEntry: Double? {
        cpuSeconds.isEmpty || entries == 0 ? nil : cpuSeconds.median * 1e9 / Double(entries)
    }
}

/// What one kind of work came to.
struct WorkResult: Sendable {
    var work: Work
    var rounds: Int
    var figures: [Figures]

    /// Holdfast with one setting against one peer.
    struct Comparison: Sendable {
        var ours: String
        var peer: String
        /// Ours by the peer's, a value a round.
        var ratios: [Double]
        var goal: Double?
        var higherIsBetter: Bool

        var ratio: Double { ratios.median }
        var isMet: Bool? { goal.map { higherIsBetter ? ratio >= $0 : ratio <= $0 } }
        var isLost: Bool { higherIsBetter ? ratio < 1 : ratio > 1 }
    }

    static let ours = ["holdfast-raw", "holdfast-zstd"]

    func comparison(_ ours: String, _ peer: Figures) -> Comparison? {
        guard let mine = figures.first(where: { $0.name == ours }), ours != peer.name else { return nil }
        guard peer.name == Goal.payload || !peer.name.hasPrefix("holdfast") else { return nil }
        // Another setting's figure with nothing pending says nothing about this one.
        if peer.name.hasPrefix(Goal.ownEmpty), !peer.name.hasSuffix(ours) { return nil }
        let against = peer.name.hasPrefix(Goal.ownEmpty) ? Goal.ownEmpty : peer.name
        let goal = Goal.of(work, against: against)
        return Comparison(
            ours: ours,
            peer: peer.name,
            ratios: zip(mine.values, peer.values).map { $0 / $1 },
            goal: ours == Self.ours[0] ? goal?.raw : goal?.zstd,
            higherIsBetter: work.higherIsBetter
        )
    }

    /// Every comparison, peer by peer.
    var comparisons: [Comparison] {
        figures.flatMap { peer in Self.ours.compactMap { comparison($0, peer) } }
    }
}

extension [Double] {
    /// The middle one, or the mean of the two in the middle; NaN of none.
    var median: Double {
        guard !isEmpty else { return .nan }
        let sorted = sorted()
        return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2
    }
}
