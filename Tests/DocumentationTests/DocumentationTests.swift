import Foundation
import Holdfast
import HoldfastTesting
import ReplayStore
import Synchronization
import TestSupport
import Testing

@testable import HoldfastTool
@testable import Lines

/// An example of the documentation.
struct Example: Sendable, CustomTestStringConvertible {
    var name: String
    var file: String
    /// Where it is compiled.
    var source = "Examples.swift"
    var run: @Sendable (String) async throws -> Void

    var testDescription: String { name }

    /// The block in the documentation, line by line.
    func block() throws -> [String] {
        let text = try String(contentsOf: Tool.source(file), encoding: .utf8)
        let blocks = text.components(separatedBy: "```swift\n").dropFirst().compactMap {
            $0.components(separatedBy: "```").first
        }
        .filter { !$0.hasPrefix(".package") }
        let number = try #require(Int(name.drop { !$0.isNumber }))
        let lines = blocks[number - 1].components(separatedBy: "\n").dropLast()
        return Array(lines.first == "import Holdfast" ? lines.dropFirst(2) : lines)
    }

    /// The body of the function that was compiled, line by line.
    func body() throws -> [String] {
        let text = try String(contentsOf: Tool.source("Tests/DocumentationTests/\(source)"), encoding: .utf8)
        let start = try #require(text.range(of: "func \(name)(_ directory: String) async throws {\n"))
        let rest = text[start.upperBound...]
        let end = try #require(rest.range(of: "\n}\n"))
        return rest[..<end.lowerBound].components(separatedBy: "\n").map {
            $0.hasPrefix("    ") ? String($0.dropFirst(4)) : $0
        }
    }
}

/// What an example prints, in place of standard output.
final class Printed: Sendable {
    @TaskLocal static var current: Printed?
    let lines = Mutex<[String]>([])
}

/// The examples' `print`: it keeps the line.
///
/// One for each number of items, so that the library's is never preferred.
func print(_ item: some Any) { keep(["\(item)"]) }
func print(_ first: some Any, _ second: some Any) { keep(["\(first)", "\(second)"]) }
func print(_ first: some Any, _ second: some Any, _ third: some Any) { keep(["\(first)", "\(second)", "\(third)"]) }

private func keep(_ items: [String]) {
    Printed.current?.lines.withLock { $0.append(items.joined(separator: " ")) }
}

@Suite("What the README says is shown by a test") struct CitationTests {
    @Test("names suites that are there, in every row") func suites() throws {
        let readme = try String(contentsOf: Tool.source("README.md"), encoding: .utf8)
        let table = try #require(readme.range(of: "| when this happens | you have | shown by |\n|---|---|---|\n"))
        let rows = readme[table.upperBound...].split(separator: "\n", omittingEmptySubsequences: false)
            .prefix { $0.hasPrefix("|") }
        #expect(rows.count >= 11)
        let files = try FileManager.default.subpathsOfDirectory(atPath: Tool.source("Tests").path)
        let sources = try files.filter { $0.hasSuffix(".swift") }.map {
            try String(contentsOf: Tool.source("Tests/\($0)"), encoding: .utf8)
        }
        for row in rows {
            let cell = try #require(row.split(separator: "|").last)
            let names = cell.matches(of: /`(\w+)`/).map(\.output.1)
            #expect(!names.isEmpty, "\(row)")
            for name in names {
                #expect(sources.contains { $0.contains("struct \(name) {") }, "there is no suite \(name)")
            }
        }
    }
}

@Suite("The examples of the documentation") struct DocumentationTests {
    @Test("are what is compiled here", arguments: examples) func text(example: Example) throws {
        #expect(try example.block() == example.body(), "copy the block of \(example.file) into \(example.source)")
    }

    @Test("run, and print what their comments say", arguments: examples) func run(example: Example) async throws {
        let directory = try TemporaryDirectory()
        let printed = Printed()
        try await Printed.$current.withValue(printed) { try await example.run(directory.path) }
        var lines = printed.lines.withLock { $0 }
        #expect(!lines.isEmpty)
        let promises = try example.block().filter { $0.contains("print(") }
            .compactMap { $0.components(separatedBy: ")  // ").dropFirst().first }
        for promise in promises {
            let index = try #require(lines.firstIndex(of: promise), "'\(promise)' was not printed, but \(lines)")
            lines.removeFirst(index + 1)
        }
    }

    @Test("Every metric is in the table, and nothing else is") func metrics() throws {
        let named = MetricName.allCases.map(\.rawValue) + ToolMetricName.allCases.map(\.rawValue)
        #expect(Set(named).count == named.count)
        #expect(try Set(named) == Set(Self.table().keys))
        // Nothing is reported beside what is listed.
        let files = ["Sources/ReplayStore/StoreMetrics.swift", "Tools/holdfast/Prometheus.swift"]
        let source = try files.map { try String(contentsOf: Tool.source($0), encoding: .utf8) }.joined()
        #expect(Self.names(source) == Set(named))
    }

    /// The metrics of the article, with their type.
    private static func table() throws -> [String: String] {
        let article = try String(contentsOf: Tool.source("Sources/Holdfast/Holdfast.docc/Metrics.md"), encoding: .utf8)
        var types: [String: String] = [:]
        for row in article.split(separator: "\n") where row.hasPrefix("| `holdfast_") {
            let cells = row.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            types[cells[0].trimmingCharacters(in: ["`"])] = cells[1]
        }
        return types
    }

    private static func names(_ text: String) -> Set<String> {
        Set(text.matches(of: /holdfast_[a-z_]+/).map { String($0.output) })
    }

    @Test("The dashboard is JSON, and names only metrics of the table") func dashboard() throws {
        let url = Tool.source("Sources/Holdfast/Holdfast.docc/Resources/grafana-dashboard.json")
        let parsed = try JSONSerialization.jsonObject(with: try Data(contentsOf: url)) as? [String: Any]
        let panels = try #require(parsed?["panels"] as? [[String: Any]])
        let table = try Self.table()
        var shown: Set<String> = []
        for panel in panels {
            let title = try #require(panel["title"] as? String)
            let targets = try #require(panel["targets"] as? [[String: Any]])
            let expressions = try targets.map { try #require($0["expr"] as? String) }
            #expect(!expressions.isEmpty, "\(title)")
            for name in Self.names(expressions.joined(separator: " ")) {
                // A histogram's parts have names of their own.
                let plain = ["_bucket", "_sum", "_count"].first { name.hasSuffix($0) }.map {
                    String(name.dropLast($0.count))
                }
                if let plain {
                    #expect(["timer", "recorder"].contains(table[plain]), "\(title): \(name)")
                } else {
                    #expect(["counter", "gauge"].contains(table[name]), "\(title): \(name)")
                    if table[name] == "counter" {
                        #expect(expressions.contains { $0.contains("rate(\(name)") }, "\(title): \(name)")
                    }
                }
                shown.insert(plain ?? name)
            }
        }
        let wanted: Set<String> = [
            "holdfast_queue_entries", "holdfast_queue_oldest_seconds", "holdfast_accepted_writes_total",
            "holdfast_acknowledged_writes_total", "holdfast_replay_failed_sends_total",
            "holdfast_replay_redelivered_writes_total", "holdfast_dead_letters", "holdfast_needs_resync",
            "holdfast_queue_limit_ratio", "holdfast_transaction_seconds", "holdfast_sync_seconds",
            "holdfast_queue_compression_ratio",
        ]
        #expect(wanted.isSubset(of: shown))
        // Panels do not lie over each other.
        let cells = panels.flatMap { panel -> [String] in
            guard let place = panel["gridPos"] as? [String: Int], let x = place["x"], let y = place["y"],
                let width = place["w"], let height = place["h"]
            else { return [] }
            return (x..<(x + width)).flatMap { column in (y..<(y + height)).map { "\(column),\($0)" } }
        }
        #expect(Set(cells).count == cells.count && !cells.isEmpty)
    }
}
