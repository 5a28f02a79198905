import Foundation
import Holdfast
import HoldfastTesting
import ReplayFormat
import ReplayStore
import TestSupport
import Testing

@testable import HoldfastTool
@testable import Lines

/// What `info --format prometheus` prints, as the parser of the Python client understands it.
@Suite("The metrics of a store") struct PrometheusTests {
    struct Sample: Decodable, Hashable {
        var name: String
        var type: String
        var help: String
        var labels: [String: String]
        var value: Double
    }

    private func parse(_ text: String) throws -> [Sample] {
        let python = ProcessInfo.processInfo.environment["HOLDFAST_PYTHON"] ?? "python3"
        let script = Tool.source("Tests/CommandTests/read_metrics.py").path
        let read = try Tool.run([python, script], input: text, program: "/usr/bin/env")
        try #require(read.status == 0, "\(read.talk)")
        return try read.lines.map { try JSONDecoder().decode(Sample.self, from: Data($0.utf8)) }
    }

    /// A store with something in every counter that a verb can raise.
    private func filled() throws -> ToolStore {
        let store = try ToolStore("--limit-entries", "50", "--overflow", "dropOldest")
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...40))
        try store.run("append", "--region", "eu", input: ToolStore.lines(41...60))
        try store.run("append", "--region", "ap", input: ToolStore.lines(1...30))
        try store.run("ack", "--region", "eu", "--through", "35")
        try store.run("drain", "--region", "ap", "--max", "4")
        return store
    }

    @Test("say what queues says") func agrees() throws {
        let store = try filled()
        let text = try store.run("info", "--format", "prometheus").output
        let samples = try parse(text)
        let pairs: [(MetricName, String)] = [
            (.acceptedWrites, "accepted"), (.acknowledgedWrites, "acknowledged"), (.drainedWrites, "drained"),
            (.droppedWrites, "dropped"), (.retriedWrites, "retried"),
            (.queueEntries, "entries"), (.queueRawBytes, "rawBytes"), (.queueStoredBytes, "storedBytes"),
            (.queueLimitRatio, "limitUse"), (.deadLetters, "dead"), (.needsResync, "needsResync"),
            (.paused, "paused"),
        ]
        for region in ["us", "eu", "ap"] {
            let queue = try store.statistics(region)
            for (name, field) in pairs {
                let found = samples.filter { $0.name == name.rawValue && $0.labels == ["region": region] }
                #expect(
                    found.map(\.value) == [try #require(queue[field] as? NSNumber).doubleValue],
                    "\(name) of \(region)"
                )
            }
            let lost = samples.filter { $0.name == MetricName.lostWrites.rawValue && $0.labels["region"] == region }
            #expect(lost.map { $0.labels["reason"] } == ["damaged", "missing"], "\(region)")
            let told = try #require(queue["lost"] as? NSNumber).doubleValue
            #expect(lost.reduce(0) { $0 + $1.value } == told, "\(region)")
        }
        #expect(samples.first { $0.name == "holdfast_dropped_writes_total" && $0.value > 0 } != nil)
        #expect(samples.first { $0.name == "holdfast_drained_writes_total" && $0.value > 0 } != nil)
        let info = try #require(samples.first { $0.name == "holdfast_store_info" })
        #expect(info.labels["store"] == store.path)
        #expect(info.value == 1)
        #expect(
            samples.filter { $0.name == "holdfast_acting_primary" && $0.value == 1 }.map(\.labels) == [["region": "us"]]
        )
        let size = try FileManager.default.attributesOfItem(atPath: store.path + "/data.mdb")[.size] as? NSNumber
        #expect(samples.first { $0.name == "holdfast_data_file_bytes" }?.value == size?.doubleValue)
    }

    @Test("are the same for the same store, each named once") func deterministic() throws {
        let store = try filled()
        let texts = try (0..<2).map { _ in
            try store.run("info", "--format", "prometheus").lines.filter {
                !$0.hasPrefix("holdfast_queue_oldest_seconds")
            }
        }
        #expect(texts[0] == texts[1])
        let types = texts[0].filter { $0.hasPrefix("# TYPE") }
        #expect(Set(types).count == types.count)
        #expect(texts[0].filter { $0.hasPrefix("# HELP") }.count == types.count)
    }

    @Test("escape what a label may not hold") func escapes() throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("a\"b\\c\nd é")
        #expect(try Tool.run(["init", path, "--local", "us", "--regions", "us"]).status == 0)
        let samples = try parse(try Tool.run(["info", path, "--format", "prometheus"]).output)
        #expect(samples.first { $0.name == "holdfast_store_info" }?.labels["store"] == path)
        #expect(Exposition.escaped("a\\b\"c\nd", quotes: false) == #"a\\b"c\nd"#)
    }

    @Test("tell who has the store open") func open() throws {
        let store = try ToolStore()
        let holder = Tool.process(["append", store.path, "--region", "eu", "--print-acks", "--batch", "1"])
        let (input, acks) = (Pipe(), Pipe())
        holder.standardInput = input
        holder.standardOutput = acks
        try holder.run()
        try input.fileHandleForWriting.write(contentsOf: Data(ToolStore.lines(1...1).utf8))
        _ = acks.fileHandleForReading.availableData
        let value = { (text: String) in text.contains("\nholdfast_store_open 1\n") }
        #expect(value(try store.run("info", "--format", "prometheus").output))
        try input.fileHandleForWriting.close()
        holder.waitUntilExit()
        #expect(!value(try store.run("info", "--format", "prometheus").output))
    }

    @Test("are all that a store can know, each with the article's words") func complete() throws {
        let samples = try parse(try filled().run("info", "--format", "prometheus").output)
        // What only the process knows that has the store open.
        let process: Set<String> = [
            "holdfast_accepted_bytes_total", "holdfast_duplicate_writes_total", "holdfast_refused_calls_total",
            "holdfast_commits_total", "holdfast_replay_sent_writes_total",
            "holdfast_replay_redelivered_writes_total", "holdfast_replay_failed_sends_total",
            "holdfast_replay_batch_entries", "holdfast_replay_rate_limit", "holdfast_replay_seconds_to_drained",
        ]
        let article = try String(
            contentsOf: Tool.source("Sources/Holdfast/Holdfast.docc/Metrics.md"),
            encoding: .utf8
        )
        var expected: [String: (type: String, help: String)] = [:]
        for line in article.split(separator: "\n") where line.hasPrefix("| `holdfast_") {
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            let name = cells[0].trimmingCharacters(in: ["`"])
            guard cells[1] == "gauge" || cells[1] == "counter", !process.contains(name) else { continue }
            expected[name] = (cells[1], cells[3])
        }
        #expect(Set(samples.map(\.name)) == Set(expected.keys))
        for sample in samples {
            let row = try #require(expected[sample.name])
            #expect(sample.type == row.type, "\(sample.name)")
            #expect(sample.help == row.help, "\(sample.name)")
        }
    }
}

@Suite("Dead letters among the metrics") struct DeadLetterMetricsTests {
    @Test("are parked once, and dropped only where a limit gave them up") func counters() {
        var row = RegionRow(number: 4)
        (row.counters.dead, row.counters.retried, row.counters.dropped) = (5, 2, 7)
        let queue = QueueStatistics("eu", row)
        let now = Timestamp(milliseconds: 0)
        func value(_ name: MetricName) -> String? { name.value(queue, discarded: 3, now: now)?.text }
        #expect(value(.parkedWrites) == "10")
        #expect(value(.discardedWrites) == "3")
        #expect(value(.droppedWrites) == "4")
        #expect(value(.retriedWrites) == "2")
        #expect(value(.deadLetters) == "5")
        #expect(value(.commits) == nil)
    }
}
