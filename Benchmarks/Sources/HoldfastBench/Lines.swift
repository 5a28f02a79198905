import Foundation

/// The lines of JSON, each written when it is known.
final class Lines {
    private let file: FileHandle
    private let encoder = JSONEncoder()

    /// Makes the file, or empties the one that is there.
    ///
    /// - Throws: ``BenchError`` when the system does not let it.
    init(_ path: String) throws(BenchError) {
        guard FileManager.default.createFile(atPath: path, contents: nil), let file = FileHandle(forWritingAtPath: path)
        else { throw BenchError("cannot write '\(path)'") }
        self.file = file
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    }

    /// Writes a line.
    func add(_ value: some Encodable) throws {
        try file.write(contentsOf: encoder.encode(value) + Data([UInt8(ascii: "\n")]))
    }

    /// Writes a line for each contestant of a work, and one for each comparison.
    func add(_ result: WorkResult) throws {
        let work = result.work
        for figures in result.figures {
            try add(
                FiguresLine(
                    work: work.name,
                    title: work.title,
                    peer: figures.name,
                    unit: work.unit,
                    entries: figures.entries,
                    median: figures.median,
                    values: figures.values,
                    seconds: figures.seconds,
                    cpuSeconds: figures.cpuSeconds
                )
            )
        }
        for comparison in result.comparisons {
            try add(
                ComparisonLine(
                    work: work.name,
                    ours: comparison.ours,
                    peer: comparison.peer,
                    ratio: comparison.ratio,
                    ratios: comparison.ratios,
                    higherIsBetter: comparison.higherIsBetter,
                    goal: comparison.goal,
                    met: comparison.isMet
                )
            )
        }
    }

    private struct FiguresLine: Encodable {
        var type = "figures"
        var work: String
        var title: String
        var peer: String
        var unit: String
        var entries: Int
        var median: Double
        var values: [Double]
        var seconds: [Double]
        var cpuSeconds: [Double]
    }

    private struct ComparisonLine: Encodable {
        var type = "comparison"
        var work: String
        var ours: String
        var peer: String
        var ratio: Double
        var ratios: [Double]
        var higherIsBetter: Bool
        var goal: Double?
        var met: Bool?
    }
}
