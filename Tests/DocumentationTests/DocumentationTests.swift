import Foundation
import Holdfast
import HoldfastTesting
import Synchronization
import TestSupport
import Testing

/// An example of the documentation.
struct Example: Sendable, CustomTestStringConvertible {
    var name: String
    var file: String
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
        let text = try String(contentsOf: Tool.source("Tests/DocumentationTests/Examples.swift"), encoding: .utf8)
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

@Suite("The examples of the documentation") struct DocumentationTests {
    @Test("are what is compiled here", arguments: examples) func text(example: Example) throws {
        #expect(try example.block() == example.body(), "copy the block of \(example.file) into Examples.swift")
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
        let source = try String(contentsOf: Tool.source("Sources/ReplayStore/StoreMetrics.swift"), encoding: .utf8)
        let table = try String(
            contentsOf: Tool.source("Sources/Holdfast/Holdfast.docc/Metrics.md"),
            encoding: .utf8
        )
        let names = { (text: String) in Set(text.matches(of: /holdfast_[a-z_]+/).map { String($0.output) }) }
        #expect(names(source) == names(table))
        #expect(!names(source).isEmpty)
    }
}
