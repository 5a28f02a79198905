import Foundation
import TestSupport
import Testing

@Suite("Settings of a region") struct RegionSettingsTests {
    private func limits(_ store: ToolStore, _ region: String) throws -> [String: Any] {
        let rows = try store.run("region limits", region, "--format", "jsonl").lines.compactMap { try object($0) }
        return try #require(rows.first { $0["region"] as? String == region })
    }

    @Test("shows limits and use, sets what is named, and keeps the rest") func limits() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...50))
        let set = try store.run("region limits", "eu", "--entries", "100", "--bytes", "64MiB", "--share", "40")
        #expect(set.status == 0, "\(set.talk)")
        try store.run("region limits", "eu", "--age", "2h")
        var row = try limits(store, "eu")
        #expect(row["limitEntries"] as? Int == 100)
        #expect(row["limitBytes"] as? Int == 64 << 20)
        #expect(row["limitAgeMs"] as? Int == 7_200_000)
        #expect(row["sharePercent"] as? Int == 40)
        #expect(row["overflow"] as? String == "reject")
        #expect(row["use"] as? Double == 0.5)
        #expect(try store.run("append", "--region", "eu", input: ToolStore.lines(51...101)).status == 1)
        try store.run("region limits", "eu", "--entries", "none", "--share", "none")
        row = try limits(store, "eu")
        #expect(row["limitEntries"] is NSNull)
        #expect(row["sharePercent"] is NSNull)
        #expect(row["limitBytes"] as? Int == 64 << 20)
        try store.run("region limits", "eu", "--none", "--entries", "7")
        row = try limits(store, "eu")
        #expect(row["limitBytes"] is NSNull)
        #expect(row["limitEntries"] as? Int == 7)
        let table = try store.run("region limits", "--format", "table").lines
        #expect(table.count == 5)
        #expect(table[4].hasPrefix("(all)"))
    }

    @Test("tells what the next append drops before it sets a limit") func plan() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...50))
        let options = ["region", "limits", store.path, "eu", "--entries", "20", "--overflow", "dropOldest"]
        let plan = try Tool.run(options)
        #expect(plan.status == 0)
        let members = try #require(try object(plan.output)?["plan"] as? [String: Any])
        let drops = try #require(members["drops"] as? [[String: Any]])
        #expect(drops.map { $0["region"] as? String } == ["eu"])
        #expect(drops.map { $0["entries"] as? Int } == [30])
        #expect(drops.map { $0["first"] as? Int } == [1])
        #expect(drops.map { $0["last"] as? Int } == [30])
        #expect(members["next"] as? String == "holdfast " + options.joined(separator: " ") + " --yes")
        #expect(try limits(store, "eu")["limitEntries"] is NSNull)
        #expect(try Tool.run(options + ["--yes"]).status == 0)
        #expect(try limits(store, "eu")["use"] as? Double == 2.5)
        // One more entry takes one more.
        try store.run("append", "--region", "eu", input: ToolStore.lines(51...51))
        #expect(try store.statistics("eu")["dropped"] as? Int == 31)
        // Nothing would be dropped: no plan.
        #expect(try store.run("region limits", "eu", "--entries", "20").output.contains(#""limitEntries":20"#))
    }

    @Test("sets what all queues may hold together, with a plan where some drop their oldest") func total() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", "--region", "ap", input: ToolStore.lines(1...50))
        #expect(try store.run("region limits", "--total-entries", "90").output.contains(#""limitEntries":90"#))
        #expect(try store.run("append", "--region", "eu", input: ToolStore.lines(51...51)).status == 1)
        try store.run("region limits", "eu", "--overflow", "dropOldest", "--yes")
        #expect(try plannedDrops(try store.run("region limits", "--total-entries", "80")) == ["eu": 33])
        #expect(try store.run("region limits").output.contains(#""limitEntries":90"#))
        #expect(try store.run("region limits", "--total-entries", "80", "--yes").status == 0)
        #expect(try store.run("region limits").output.contains(#""limitEntries":80"#))
        #expect(try store.run("region limits", "--total-entries", "none").output.contains(#""region":null"#))
        #expect(try store.run("append", "--region", "ap", input: ToolStore.lines(51...99)).status == 0)
    }

    @Test("plans where another region's share makes appends drop") func share() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...60))
        try store.run("region limits", "--total-entries", "90")
        try store.run("region limits", "eu", "--overflow", "dropOldest")
        // 63 for ap and 6 for us leave 21.
        #expect(try plannedDrops(try store.run("region limits", "ap", "--share", "70")) == ["eu": 39])
        #expect(try limits(store, "ap")["sharePercent"] is NSNull)
        #expect(try store.run("region limits", "ap", "--share", "70", "--yes").status == 0)
        let table = try store.run("region limits", "--format", "table").lines
        #expect(table.count(where: { $0.contains("(7.5 %)") }) == 2)
        // What the present limits take already is not because of other ones.
        #expect(try store.run("region limits", "eu", "--entries", "80").output.contains(#""limitEntries":80"#))
        try store.run("append", "--region", "eu", input: ToolStore.lines(61...61))
        #expect(try store.statistics("eu")["dropped"] as? Int == 40)
    }

    /// What a plan says that each region's next append drops.
    private func plannedDrops(_ outcome: Tool.Outcome) throws -> [String: Int] {
        let plan = try object(outcome.output)?["plan"] as? [String: Any]
        let drops = try #require(plan?["drops"] as? [[String: Any]], "\(outcome.output)\(outcome.talk)")
        var entries: [String: Int] = [:]
        for row in drops { entries[try #require(row["region"] as? String)] = row["entries"] as? Int }
        return entries
    }

    @Test("reads sizes and lengths of time, and nothing that only looks like them") func quantities() throws {
        let store = try ToolStore()
        let sizes: [(String, Int?)] = [
            ("4096", 4096), ("1B", 1), ("3KiB", 3072), ("64MiB", 64 << 20), ("10GB", 10_000_000_000), ("1TiB", 1 << 40),
            ("0", 0), ("1.5GiB", nil), ("-1", nil), ("", nil), ("GiB", nil), ("1 GiB", nil), ("1Gb", nil),
            ("17000000TiB", nil), ("99999999999999999999", nil),
        ]
        for (text, bytes) in sizes {
            let outcome = try store.run("region limits", "eu", "--bytes=\(text)")
            #expect(outcome.status == (bytes == nil ? 64 : 0), "\(text): \(outcome.talk)")
            if let bytes { #expect(try limits(store, "eu")["limitBytes"] as? Int == bytes, "\(text)") }
        }
        let lengths: [(String, Int?)] = [
            ("250ms", 250), ("30s", 30_000), ("5min", 300_000), ("5m", 300_000), ("2h", 7_200_000), ("7d", 604_800_000),
            ("30", nil), ("s", nil), ("1w", nil), ("1.5h", nil),
        ]
        for (text, milliseconds) in lengths {
            let outcome = try store.run("region limits", "eu", "--age=\(text)")
            #expect(outcome.status == (milliseconds == nil ? 64 : 0), "\(text): \(outcome.talk)")
            if let milliseconds { #expect(try limits(store, "eu")["limitAgeMs"] as? Int == milliseconds, "\(text)") }
        }
    }

    @Test("sets how a queue is sent, and keeps it") func replay() throws {
        let store = try ToolStore()
        let standard = try #require(try object(try store.run("region replay", "eu").output))
        #expect(standard["batchEntries"] as? Int == 256)
        #expect(standard["attemptsMax"] is NSNull)
        try store.run(
            "region replay",
            "eu",
            "--batch-entries",
            "10",
            "--batch-bytes",
            "1MiB",
            "--rate",
            "500",
            "--bytes-rate",
            "10MB",
            "--timeout",
            "10s",
            "--attempts-max",
            "5",
            "--exhausted",
            "parkKey",
            "--backoff-base",
            "50ms",
            "--backoff-max",
            "1min"
        )
        try store.run("region replay", "eu", "--rate", "none")
        #expect(
            try store.run("region replay", "eu").output
                == #"{"region":"eu","batchEntries":10,"batchBytes":1048576,"rate":null,"bytesRate":10000000,"#
                + #""timeoutMs":10000,"attemptsMax":5,"exhausted":"parkKey","backoffBaseMs":50,"backoffMaxMs":60000}"#
                + "\n"
        )
        #expect(try store.run("region replay", "eu", "--attempts-max", "none").output.contains(#""attemptsMax":null"#))
        #expect(try store.run("region replay", "eu", "--format", "table").output.contains("as often as it takes"))
        #expect(try object(try store.run("region replay", "ap").output)?["batchEntries"] as? Int == 256)
    }

    @Test("refuses what makes no sense, and changes nothing") func usage() throws {
        let store = try ToolStore()
        for (verb, arguments) in [
            ("limits", ["--entries", "5"]), ("limits", ["eu", "--share", "101"]), ("limits", ["mars"]),
            ("limits", ["mars", "--entries", "5"]), ("limits", ["eu", "--overflow", "drop"]),
            ("replay", []), ("replay", ["mars"]), ("replay", ["mars", "--rate", "1"]),
            ("replay", ["eu", "--attempts-max", "0"]), ("replay", ["eu", "--timeout", "0s"]),
            ("replay", ["eu", "--timeout", "60d"]), ("replay", ["eu", "--rate", "5000000000"]),
            ("replay", ["eu", "--exhausted", "skip"]), ("replay", ["eu", "--batch-bytes", "none"]),
        ] {
            let outcome = try Tool.run(["region", verb, store.path] + arguments)
            #expect(outcome.status == 64, "\(verb) \(arguments): \(outcome.talk)")
        }
        try store.run("region limits", "eu", "--share", "70")
        let share = try store.run("region limits", "ap", "--share", "40")
        #expect(share.status == 64)
        #expect(share.talk.contains("10 % more than there is"))
        #expect(try limits(store, "ap")["sharePercent"] is NSNull)
    }
}
