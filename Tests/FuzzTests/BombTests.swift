import Bytes
import Glibc
import HoldfastTesting
import RegionFailover
import ReplayFormat
import Testing
import Zstd

@testable import HoldfastTool
@testable import Lines
@testable import ReplayStore

/// A small zstd frame that stands for many bytes.
private struct Bomb {
    /// What the frame says that it holds; nil where it does not say.
    var declared: UInt64?
    /// How many runs of 128 KiB it holds.
    var runs: Int
    /// What the block's header says.
    var contentLength: UInt32

    /// RFC 8878: magic number, descriptor, content size, blocks of a repeated byte.
    private var frame: [UInt8] {
        var bytes: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD]
        if let declared {
            bytes.append(0xE0)
            for index in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: declared >> UInt64(8 * index))) }
        } else {
            // No size, and a window of 128 KiB.
            bytes += [0x00, 0x38]
        }
        for run in 0..<runs {
            let header = UInt32(128 << 10) << 3 | 1 << 1 | (run == runs - 1 ? 1 : 0)
            for index in 0..<3 { bytes.append(UInt8(truncatingIfNeeded: header >> UInt32(8 * index))) }
            bytes.append(0)
        }
        return bytes
    }

    /// The block that holds it.
    var block: [UInt8] {
        let frame = frame
        let header = BlockHeader(
            isCompressed: true,
            skipped: nil,
            frameEntries: 1,
            store: StoreID(high: 1, low: 2),
            queue: 1,
            firstPosition: 1,
            chainBefore: .zero,
            firstEnqueuedAt: Timestamp(milliseconds: 0),
            rawBytes: 0,
            contentLength: Int(contentLength),
            frameLength: frame.count
        )
        return header.block(with: frame)
    }

    /// The bytes that a refusal takes: nothing of what is claimed, unless the frame and the block agree on it.
    var bound: Int {
        let isBelievable = declared == UInt64(contentLength) && Int(contentLength) <= FrameContent.bytesMax
        return (isBelievable ? Int(contentLength) : 0) + 1 << 20
    }
}

@Suite("A compressed frame that stands for more than its bytes") struct BombTests {
    private static let most = UInt32(FrameContent.bytesMax)

    @Test("is refused, and takes no more memory than a block may hold") func refused() async {
        Heap.prepare()
        await #expect(processExitsWith: .success) {
            Heap.run {
                let most = BombTests.most
                let bombs = [
                    // More than any block may hold, in the frame, in the header, and in both.
                    Bomb(declared: 1 << 40, runs: 1, contentLength: most),
                    Bomb(declared: .max, runs: 1, contentLength: most),
                    Bomb(declared: UInt64(most) + 1, runs: 131, contentLength: most + 1),
                    Bomb(declared: UInt64(UInt32.max), runs: 1, contentLength: .max),
                    // More than it says; less than it says; and no word of it.
                    Bomb(declared: 1000, runs: 4096, contentLength: 1000),
                    Bomb(declared: UInt64(most), runs: 1, contentLength: most),
                    Bomb(declared: nil, runs: 4096, contentLength: most),
                    // As much as it says, and no entries.
                    Bomb(declared: 130 << 17, runs: 130, contentLength: 130 << 17),
                ]
                for (index, bomb) in bombs.enumerated() {
                    let (block, codec) = (bomb.block, FrameCodec())
                    let before = Heap.end
                    let entries = try? VerifiedBlock(
                        block.span,
                        store: StoreID(high: 1, low: 2),
                        queue: 1,
                        firstPosition: 1
                    ).entries(codec)
                    let grown = Heap.end - before
                    precondition(entries == nil, "bomb \(index) was taken")
                    precondition(grown <= bomb.bound, "bomb \(index) took \(grown) bytes, of \(bomb.bound)")
                    Heap.trim()
                }
                exit(0)
            }
        }
    }
}

@Suite("A line of many small values") struct ManyValuesTests {
    /// How a line begins, and what it repeats: two bytes a value, or a few, or names that are never the same.
    private static let shapes = [
        ("[", "0,"), (#"{"a":["#, #"{"":0},"#), ("[", "[0],"), ("{", #""a name of 27 bytes %":0,"#),
    ]

    private static func line(_ shape: Int, bytes: Int) -> [UInt8] {
        let (beginning, item) = shapes[shape]
        var line = Array(beginning.utf8)
        line.reserveCapacity(bytes + 64)
        let parts = item.utf8.split(separator: UInt8(ascii: "%")).map { Array($0) }
        var number = 10_000_000
        while line.count < bytes {
            line += parts[0]
            guard parts.count > 1 else { continue }
            number += 1
            line += String(number).utf8
            line += parts[1]
        }
        return line
    }

    /// What half a million values take: an array grows by doubling, and a name is kept to be compared with the others.
    private static let constant = 48 << 20

    @Test("is refused, and takes no more memory than it has bytes for", arguments: [0, 1, 2, 3])
    func refused(shape: Int) async {
        Heap.prepare()
        await #expect(processExitsWith: .success) { [shape = shape as Int] in
            Heap.run {
                let line = ManyValuesTests.line(shape, bytes: 4 << 20)
                let before = Heap.end
                precondition((try? JSON(parsing: line)) == nil)
                let grown = Heap.end - before
                precondition(
                    grown <= 2 * line.count + ManyValuesTests.constant,
                    "it took \(grown) bytes of \(line.count)"
                )
                exit(0)
            }
        }
    }
}
