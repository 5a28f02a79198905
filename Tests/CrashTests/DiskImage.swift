import Foundation
import HoldfastTesting

/// Which of the changes that no sync covers a loss of power leaves.
enum Remainder: String, CaseIterable {
    /// None.
    case none
    /// All.
    case all
    /// Each write as a whole, or not.
    case writes
    /// Each sector, or not.
    case sectors
    /// All but one.
    case allButOne
    /// One alone.
    case one
    /// Those before some moment, with the write of that moment torn between sectors.
    case before
}

/// What is found when the power is back.
struct DiskImage {
    /// Paths below the root, with what they hold.
    var files: [String: [UInt8]] = [:]
    var directories: [String] = []

    /// Writes the image to a directory, which is made.
    func write(to path: String) throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        for directory in directories.sorted() {
            try FileManager.default.createDirectory(atPath: path + directory, withIntermediateDirectories: true)
        }
        for (name, bytes) in files { try Data(bytes).write(to: URL(fileURLWithPath: path + name)) }
    }
}

extension Disk {
    /// One of the images that a loss of power at this point can leave.
    ///
    /// `torn`: A write of which any words of 8 bytes may be there and any not: more than a disk does with a sector.
    func image(_ remainder: Remainder, torn: Int? = nil, _ random: inout SplitMix64) -> DiskImage {
        let moments = files.flatMap { $0.pending.map(\.event) } + directories.values.flatMap { $0.pending.map(\.event) }
        let moment = moments.sorted().randomElement(using: &random) ?? 0
        var image = DiskImage()
        add(root, remainder, moment, torn, to: &image, &random)
        return image
    }

    private func add(
        _ path: String,
        _ remainder: Remainder,
        _ moment: Int,
        _ torn: Int?,
        to image: inout DiskImage,
        _ random: inout SplitMix64
    ) {
        guard let directory = directories[path] else { return }
        var names = directory.names
        for pending in Self.prefix(directory.pending, by: \.event, remainder, moment, &random) {
            Self.apply(pending.change, &names)
        }
        for (name, node) in names.sorted(by: { $0.key < $1.key }) {
            let child = "\(path)/\(name)"
            switch node {
            case .directory:
                image.directories.append(String(child.dropFirst(root.count)))
                add(child, remainder, moment, torn, to: &image, &random)
            case .file(let number):
                image.files[String(child.dropFirst(root.count))] = bytes(
                    files[number],
                    remainder,
                    moment,
                    torn,
                    &random
                )
            }
        }
    }

    /// As many changes of what comes in order as `remainder` leaves.
    private static func prefix<Element>(
        _ all: [Element],
        by event: (Element) -> Int,
        _ remainder: Remainder,
        _ moment: Int,
        _ random: inout SplitMix64
    ) -> ArraySlice<Element> {
        switch remainder {
        case .none: []
        case .all, .allButOne: all[...]
        case .before: all.prefix { event($0) <= moment }
        case .writes, .sectors, .one: all.prefix(Int.random(in: 0...all.count, using: &random))
        }
    }

    private func bytes(
        _ file: File,
        _ remainder: Remainder,
        _ moment: Int,
        _ torn: Int?,
        _ random: inout SplitMix64
    ) -> [UInt8] {
        var bytes = file.bytes
        // The sizes that the file had, in order, and the one that it has.
        var size = bytes.count
        var sizes: [(event: Int, size: Int, isCut: Bool)] = []
        for pending in file.pending {
            switch pending.change {
            case .write(let offset, let written):
                if offset + written.count > size { sizes.append((pending.event, offset + written.count, false)) }
                size = max(size, offset + written.count)
            case .truncate(let to):
                sizes.append((pending.event, to, true))
                size = to
            case .allocate(let end):
                if end > size { sizes.append((pending.event, end, false)) }
                size = max(size, end)
            }
        }
        let happened = Self.prefix(sizes, by: \.event, remainder, moment, &random)
        var final = happened.last?.size ?? bytes.count
        let cuts = Set(happened.filter(\.isCut).map(\.event))
        for pending in file.pending {
            switch pending.change {
            case .truncate(let to): if cuts.contains(pending.event) { Self.resize(&bytes, to) }
            case .allocate: break
            case .write(let offset, let written):
                if pending.isCertain { final = max(final, offset + written.count) }
                if pending.event == torn {
                    Self.tear(offset, written, into: &bytes, 8, &random) { Bool.random(using: &$0) }
                } else if pending.isCertain {
                    Self.apply(pending.change, &bytes)
                } else {
                    add(pending.event, offset, written, remainder, moment, to: &bytes, &random)
                }
            }
        }
        Self.resize(&bytes, final)
        return bytes
    }

    private func add(
        _ event: Int,
        _ offset: Int,
        _ written: ArraySlice<UInt8>,
        _ remainder: Remainder,
        _ moment: Int,
        to bytes: inout [UInt8],
        _ random: inout SplitMix64
    ) {
        let isWhole: Bool
        switch remainder {
        case .none: return
        case .all: isWhole = true
        case .writes: isWhole = Bool.random(using: &random)
        case .sectors:
            return Self.tear(offset, written, into: &bytes, Self.sector, &random) { Bool.random(using: &$0) }
        case .allButOne: isWhole = event != moment
        case .one: isWhole = event == moment
        case .before:
            guard event == moment else {
                isWhole = event < moment
                break
            }
            return Self.tear(offset, written, into: &bytes, Self.sector, &random) { Bool.random(using: &$0) }
        }
        if isWhole { Self.apply(.write(offset: offset, written), &bytes) }
    }

    /// Writes some of the pieces that boundaries of `unit` bytes cut a write into.
    private static func tear(
        _ offset: Int,
        _ written: ArraySlice<UInt8>,
        into bytes: inout [UInt8],
        _ unit: Int,
        _ random: inout SplitMix64,
        _ keeps: (inout SplitMix64) -> Bool
    ) {
        var start = offset
        while start < offset + written.count {
            let end = min(start / unit * unit + unit, offset + written.count)
            if keeps(&random) {
                let from = written.startIndex + start - offset
                apply(.write(offset: start, written[from..<(from + end - start)]), &bytes)
            }
            start = end
        }
    }
}
