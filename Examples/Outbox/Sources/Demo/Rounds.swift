import HoldfastTesting

/// Rounds of writes in which the shipper and both servers are killed at random moments, and a comparison after each.
struct Rounds {
    let deployment: Deployment
    let count: Int
    let seed: UInt64

    private enum Victim: String, CaseIterable {
        case shipper, target, source
    }

    /// Runs the rounds.
    ///
    /// - Returns: Whether after each every write had arrived, once.
    func run() async throws -> Bool {
        try await deployment.create()
        try await deployment.shipper.start()
        say("seed \(seed)")
        say("round  killed                         written  applied  queued again  received again  missing  doubled")
        var random = SplitMix64(seed: seed)
        var isExact = true
        for round in 1...count {
            let writesSeed = random.next()
            async let writing: Void = deployment.application.write(400, seed: writesSeed)
            var killed: [String] = []
            // The first in each round is the shipper; the others are drawn.
            for index in 0..<3 {
                let victim = index == 0 ? .shipper : Victim.allCases.randomElement(using: &random) ?? .shipper
                try await Task.sleep(for: .milliseconds(Int.random(in: 0...250, using: &random)))
                try await kill(victim, downMilliseconds: Int.random(in: 0...150, using: &random))
                killed.append(victim.rawValue)
            }
            try await writing
            try await deployment.waitUntilArrived()
            let comparison = try await deployment.compare()
            let repeats = try deployment.shipper.repeats()
            let cells = [
                pad("\(round)", 7), pad(killed.joined(separator: ", "), 31), pad("\(comparison.written)", 9),
                pad("\(comparison.distinct)", 9), pad("\(repeats.queued)", 14), pad("\(repeats.received)", 16),
                pad("\(comparison.missing)", 9), "\(comparison.duplicates)",
            ]
            say(cells.joined())
            for row in comparison.differences { say("only on one side: \(row)") }
            if !comparison.isExact { isExact = false }
        }
        try await deployment.end()
        return isExact
    }

    /// Kills one, and starts it again.
    private func kill(_ victim: Victim, downMilliseconds: Int) async throws {
        switch victim {
        case .shipper: try await deployment.shipper.kill()
        case .target: try await deployment.target.crash()
        case .source: try await deployment.source.crash()
        }
        try await Task.sleep(for: .milliseconds(downMilliseconds))
        switch victim {
        case .shipper: try await deployment.shipper.start()
        case .target: try await deployment.target.start()
        case .source: try await deployment.source.start()
        }
    }

    private func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}
