import Foundation
import Holdfast
import HoldfastTesting
import ReplayFormat
import ReplayStore
import Testing

@testable import HoldfastTool

/// What the live view was given, and what it drew.
struct Drawing: CustomTestStringConvertible, Sendable {
    enum Numbers: String, CaseIterable, Sendable {
        case ordinary, huge, empty
    }

    var regions: Int
    var columns: Int
    var rows: Int
    var numbers: Numbers
    var isUnicode: Bool

    var testDescription: String {
        "\(regions) regions, \(numbers) numbers, \(columns)x\(rows)\(isUnicode ? "" : ", ASCII")"
    }

    static let all: [Self] = [1, 5, 60].flatMap { regions in
        [(80, 24), (200, 50)].flatMap { columns, rows in
            Numbers.allCases.flatMap { numbers in
                [true, false].map {
                    Self(regions: regions, columns: columns, rows: rows, numbers: numbers, isUnicode: $0)
                }
            }
        }
    }

    static func name(_ index: Int, _ numbers: Numbers) -> RegionID {
        let names = ["ap-northeast-1", "eu-west-1", "us-east-1", "sa-east-1", "af-south-1"]
        let name = index < names.count ? names[index] : "region-\(index)"
        let longest = 63
        return RegionID(
            stringLiteral: numbers == .huge && index % 7 == 1
                ? name + String(repeating: "x", count: longest - name.utf8.count) : name
        )
    }

    /// A row whose numbers depend on its place alone.
    private func row(_ index: Int, _ now: Timestamp) -> RegionRow {
        var row = RegionRow(number: UInt32(index + 1))
        guard numbers != .empty else { return row }
        let isHuge = numbers == .huge
        row.entries = isHuge ? UInt64.max / 2 - UInt64(index) : UInt64(index * index * 131)
        row.storedBytes = isHuge ? .max : row.entries * 11
        row.counters.accepted = isHuge ? .max : row.entries + 1000
        let ages: [Int64] = [1, 999, 59_999, 3_599_999, 86_399_999, 7 * 86_400_000, 40_000 * 86_400_000]
        row.oldestEnqueuedAt = Timestamp(milliseconds: now.milliseconds - ages[(index + (isHuge ? 6 : 0)) % ages.count])
        row.needsResync = index % 5 == 3
        row.isPaused = index % 4 == 2
        row.counters.dead = index % 6 == 4 || isHuge ? UInt64(index) * (isHuge ? 1_000_000_000_007 : 1) : 0
        if index % 3 == 0 { row.limits.entriesMax = isHuge ? 10 : 5000 }
        return row
    }

    func look(nanoseconds: UInt64 = 1_000_000_000, acceptedMore: UInt64 = 0) -> QueueLook {
        let now = Timestamp(milliseconds: 1_800_000_000_000)
        return QueueLook(
            store: StoreID(high: 1, low: 2),
            epoch: numbers == .huge ? .max : 3,
            actingPrimary: Self.name(0, numbers),
            time: now,
            nanoseconds: nanoseconds,
            limits: .unlimited,
            queues: (0..<regions).map { index in
                var queue = QueueStatistics(Self.name(index, numbers), row(index, now))
                queue.acknowledged += acceptedMore * UInt64(index % 3)
                if numbers != .huge { queue.accepted += acceptedMore }
                return queue
            }
            .sorted { $0.region < $1.region }
        )
    }

    var sight: QueueSight {
        QueueSight(look(nanoseconds: 2_000_000_000, acceptedMore: numbers == .huge ? 1 << 60 : 250), after: look())
    }

    func lines(colours: Bool = false, note: String? = nil) -> [String] {
        let screen = Screen(rows: rows, columns: columns, isUnicode: isUnicode, style: Style(isOn: colours))
        return QueueFrame(sight, store: "/srv/holdfast/store", note: note, hint: "A look every 1 s. q or Ctrl-C ends.")
            .lines(on: screen)
    }
}

@Suite("The live view") struct QueueFrameTests {
    @Test("draws no line wider than the terminal, and not more of them", arguments: Drawing.all)
    func fits(drawing: Drawing) {
        for colours in [false, true] {
            for note in [nil, "Not as of now: " + String(repeating: "why ", count: 60)] {
                let lines = drawing.lines(colours: colours, note: note)
                #expect(lines.count <= drawing.rows)
                for line in lines { #expect(visibleColumnCount(line) <= drawing.columns, "\(line)") }
            }
        }
    }

    @Test("fits into a terminal of any size", arguments: [1, 5, 60])
    func anySize(regions: Int) {
        for columns in 1...120 {
            for rows in [1, 2, 5, 24] {
                let drawing = Drawing(regions: regions, columns: columns, rows: rows, numbers: .huge, isUnicode: true)
                let lines = drawing.lines(note: "A note")
                #expect(lines.count <= rows)
                #expect(lines.allSatisfy { columnCount($0) <= columns }, "\(columns)x\(rows)")
            }
        }
    }

    @Test("aligns its columns", arguments: Drawing.all)
    func aligned(drawing: Drawing) throws {
        let lines = drawing.lines().map { Array($0) }
        let heading = lines[1]
        let names = drawing.sight.look.queues.map(\.region.rawValue)
        // Where each column of numbers ends: after the name of the region, up to the bar.
        let titles = ["entries", "stored", "in/s", "out/s", "oldest", "left"]
        let ends = titles.compactMap { title -> Int? in
            guard let range = String(heading).range(of: title) else { return nil }
            return String(heading).distance(from: String(heading).startIndex, to: range.upperBound)
        }
        #expect(ends.count == titles.count)
        let isRow = { (line: [Character]) in
            let text = String(line)
            return text.hasPrefix("total ")
                || names.contains { name in text.hasPrefix(name + " ") || text.hasPrefix(name.prefix(6)) }
        }
        let rows = lines.dropFirst(2).filter(isRow)
        #expect(rows.count >= min(drawing.regions, 9) + 1)
        for row in rows {
            for end in ends {
                let text = String(row)
                try #require(row.count >= end, "\(text)")
                #expect(row[end - 1] != " ", "\(text)")
                #expect(row.count == end || row[end] == " ", "\(text)")
            }
        }
    }

    @Test("aligns what is left where it is narrow", arguments: 24...60)
    func narrow(columns: Int) throws {
        var look = Drawing(regions: 3, columns: 80, rows: 24, numbers: .ordinary, isUnicode: true).look()
        for index in look.queues.indices { look.queues[index].region = RegionID(stringLiteral: "r\(index)") }
        let screen = Screen(rows: 24, columns: columns, isUnicode: true, style: Style(isOn: false))
        let lines = QueueFrame(QueueSight(look), store: "s").lines(on: screen).map { Array($0) }
        let end = try #require(String(lines[1]).range(of: "entries")).upperBound
        let column = String(lines[1]).distance(from: String(lines[1]).startIndex, to: end)
        let rows = lines.dropFirst(2).filter { $0.starts(with: "r") || $0.starts(with: "total") }
        #expect(rows.count == 4)
        for row in rows {
            #expect(row[column - 1] != " " && (row.count == column || row[column] == " "), "\(String(row))")
        }
    }

    @Test("shows every region, or counts it", arguments: Drawing.all)
    func complete(drawing: Drawing) throws {
        let lines = drawing.lines()
        let names = drawing.sight.look.queues.map { String($0.region.rawValue.prefix(9)) }
        // Names that were cut keep their beginning.
        let shown = lines.dropFirst(2).filter { line in names.contains { line.hasPrefix($0) } }.count
        let more = try lines.compactMap { try /(?:…|\.\.\.) and (\d+) more/.firstMatch(in: $0)?.1 }.compactMap {
            Int($0)
        }
        #expect(shown + (more.first ?? 0) == drawing.regions)
        #expect(more.count == (drawing.regions > shown ? 1 : 0))
        #expect(lines.contains { $0.hasPrefix("total ") })
        #expect(lines.last == "A look every 1 s. q or Ctrl-C ends.")
    }

    @Test(
        "sends no escape codes without colours, and no other characters than the terminal has",
        arguments: Drawing.all
    )
    func plain(drawing: Drawing) {
        for line in drawing.lines() {
            #expect(!line.contains("\u{1B}"))
            if !drawing.isUnicode { #expect(line.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F }, "\(line)") }
        }
    }

    @Test("says with colours nothing that it does not say in words", arguments: Drawing.all)
    func colours(drawing: Drawing) throws {
        let coloured = drawing.lines(colours: true)
        let escape = try Regex("\u{1B}\\[([0-9;]*)m")
        #expect(coloured.map { $0.replacing(escape, with: "") } == drawing.lines())
        let codes = Set(
            coloured.flatMap { line in line.matches(of: escape).compactMap { $0[1].substring.map(String.init) } }
        )
        // Bold, red and magenta can be read on light and dark; nothing sets a background.
        #expect(codes.isSubset(of: ["0", "1", "31", "35"]))
    }

    @Test("names those first that need attention, then the deepest, where not all can be shown") func urgent() throws {
        let drawing = Drawing(regions: 60, columns: 80, rows: 24, numbers: .ordinary, isUnicode: true)
        let lines = drawing.lines()
        // Every fifth needs a resynchronisation: these come first, the deepest of them at the top.
        let rows = lines.dropFirst(2).filter { !$0.hasPrefix(" ") }
        #expect(rows.prefix(2).map { $0.split(separator: " ").first } == ["region-58", "region-53"])
        #expect(lines[3].contains("resync"))
        #expect(lines.contains { $0.hasPrefix("… and ") && $0.contains("marked") })
        var look = drawing.look()
        for index in look.queues.indices {
            look.queues[index].needsResync = false
            look.queues[index].dead = 0
            look.queues[index].isPaused = look.queues[index].entries == 0
            look.queues[index].limits = .unlimited
        }
        look.states = [Drawing.name(7, .ordinary): .failed]
        let screen = Screen(rows: 24, columns: 80, isUnicode: true, style: Style(isOn: false))
        let shown = QueueFrame(QueueSight(look), store: "s").lines(on: screen)
        #expect(shown[2].hasPrefix("region-7 ") && shown[2].contains("failed"))
        #expect(shown[3].hasPrefix("ap-northeast-1 ") && shown[3].hasSuffix("paused"))
        #expect(shown[4].hasPrefix("region-59 "))
    }

    @Test("shows the others when it is scrolled, each once, and stays full at the end") func scrolled() throws {
        let drawing = Drawing(regions: 60, columns: 80, rows: 24, numbers: .ordinary, isUnicode: true)
        let screen = Screen(rows: 24, columns: 80, isUnicode: true, style: Style(isOn: false))
        let most = QueueFrame(drawing.sight, store: "s").offsetMax(on: screen)
        var seen: Set<String> = []
        for offset in 0...(most + 5) {
            let lines = QueueFrame(drawing.sight, store: "s", hint: "ends.", offset: offset).lines(on: screen)
            // A region with a mark takes two lines here.
            #expect((23...24).contains(lines.count))
            let names = lines.compactMap { $0.split(separator: " ").first.map(String.init) }
            seen.formUnion(names.filter { name in drawing.sight.look.queues.contains { $0.region.rawValue == name } })
            if offset > 0 { #expect(lines.contains { $0.contains(" \(min(offset, most)) of them above") }) }
        }
        #expect(seen.count == 60)
        #expect(QueueWatch.Scroll(Array("\u{1B}[6~".utf8)) == .pageDown)
        #expect(QueueWatch.Scroll(Array("x".utf8)) == nil)
    }

    @Test("draws no bar for a queue without a limit under the heading of limits", arguments: [true, false])
    func unlimited(hasLimit: Bool) throws {
        var look = Drawing(regions: 2, columns: 80, rows: 24, numbers: .ordinary, isUnicode: true).look()
        for index in look.queues.indices {
            look.queues[index].entries = 100
            look.queues[index].limits = .unlimited
            look.queues[index].dead = 0
        }
        if hasLimit { look.queues[0].limits.entriesMax = 200 }
        let screen = Screen(rows: 24, columns: 100, isUnicode: true, style: Style(isOn: false))
        let lines = QueueFrame(QueueSight(look), store: "s").lines(on: screen)
        #expect(lines[1].hasSuffix(hasLimit ? "of limit" : "of deepest"))
        #expect(lines[2].contains("█"))
        #expect(lines[3].contains("█") == !hasLimit)
    }

    @Test("fills a bar with what there is", arguments: [true, false])
    func bars(isUnicode: Bool) {
        let bar = { (share: Double) in QueueRows.bar(share, width: 8, isUnicode: isUnicode, hasTrack: true) }
        let track: Character = isUnicode ? "·" : "."
        #expect(bar(0) == String(repeating: track, count: 8))
        #expect(bar(1) == String(repeating: isUnicode ? "█" : "#", count: 8))
        #expect(bar(7) == bar(1))
        #expect(bar(0.5).prefix(5) == (isUnicode ? "████·" : "####."))
        #expect(bar(1e-9).first == (isUnicode ? "▏" : "-"))
        #expect(bar(0.999).last != bar(1).last)
    }
}

@Suite("The texts of the live view") struct ShortTextTests {
    @Test("stay within their columns") func widths() {
        var random = SplitMix64(seed: 7)
        var values: [UInt64] = [0, 1, 999, 1000, 1023, 1024, 9_999_999, 10_000_000, 999_499_999, 999_500_000, .max]
        values += (0..<10_000).map { _ in
            UInt64.random(in: 0...(.max), using: &random) >> UInt64.random(in: 0...63, using: &random)
        }
        for value in values {
            #expect(shortCount(value).utf8.count <= 7, "\(value)")
            #expect(shortBytes(value).utf8.count <= 7, "\(value)")
            #expect(shortRate(Double(value) / 16).utf8.count <= 6, "\(value)")
            #expect(shortDuration(Double(value)).utf8.count <= 6, "\(value)")
        }
    }

    @Test("round to what is shown") func texts() {
        #expect(shortCount(9_999_999) == "9999999")
        #expect(shortCount(12_345_678) == "12M")
        #expect(shortCount(.max) == "18E")
        #expect(shortBytes(380_731) == "372 KiB")
        #expect(shortBytes(1023) == "1.0 KiB")
        #expect(
            [0.01, 9.5, 120, 34_924.4, 1e6, 1e30].map(shortRate) == ["<0.1", "9.5", "120", "34924", "1.0M", "huge"]
        )
        let lengths: [Double] = [0, 999, 1000, 9949, 9999, 59_999, 61_000, 3_599_999, 90_061_000, 9e9, 1e300]
        #expect(
            lengths.map(shortDuration)
                == ["0ms", "999ms", "1.0s", "9.9s", "9s", "59s", "1m01s", "59m59s", "1d01h", "104d", ">9999d"]
        )
        #expect(
            [0, 0.001, 0.456, 0.9999, 1, 3.5, 1e9].map(percentText) == [
                "0%", "<1%", "45%", "99%", "100%", "350%", ">9999%",
            ]
        )
        #expect(shortened("abcdefghij", to: 5, "…") == "ab…ij")
        #expect(shortened("目録/店/北", to: 7, "…") == "目…/北")
    }

    @Test("count wide characters twice and marks not at all") func columns() {
        #expect(columnCount("目録") == 4)
        #expect(columnCount("e\u{301}") == 1)
        #expect(visibleColumnCount("\u{1B}[31m12\u{1B}[0m") == 2)
    }
}

@Suite("The rates of the live view") struct QueueRateTests {
    private func statistics(_ accepted: UInt64, _ acknowledged: UInt64, number: UInt32 = 1) -> QueueStatistics {
        var row = RegionRow(number: number)
        row.counters.accepted = accepted
        row.counters.acknowledged = acknowledged
        return QueueStatistics("eu", row)
    }

    @Test("are what came and went, by the time between two looks") func rates() throws {
        let rate = try #require(QueueRate(statistics(100, 20), statistics(400, 620), nanoseconds: 2_000_000_000))
        #expect(rate == QueueRate(incoming: 150, outgoing: 300))
        #expect(rate.outlook(300) == .drained(seconds: 2))
        #expect(rate.outlook(0) == .empty)
        #expect(QueueRate(incoming: 2, outgoing: 1).outlook(5) == .grows)
        #expect(QueueRate(incoming: 0, outgoing: 0).outlook(5) == .stands)
    }

    @Test("are none between looks at two queues, or backwards in time") func none() {
        #expect(QueueRate(statistics(1, 0), statistics(2, 0, number: 2), nanoseconds: 1) == nil)
        #expect(QueueRate(statistics(2, 0), statistics(1, 0), nanoseconds: 1) == nil)
        #expect(QueueRate(statistics(1, 0), statistics(1, 0), nanoseconds: 0) == nil)
    }
}
