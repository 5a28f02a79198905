import Foundation
import Glibc
import HoldfastTesting

/// A property that an input breaks.
struct Broken: Error {
    var what: String
    init(_ what: String) { self.what = what }
}

/// One decoder, what it is fed with, and what must hold.
struct FuzzTarget: Sendable {
    /// Its name, and that of its file in `Corpus`.
    var name: String
    /// The bytes that it may take beyond twice the input.
    var allowance: Int
    /// The first inputs, which all decode.
    var seeds: @Sendable () throws -> [[UInt8]]
    /// Makes an input of the corpus.
    var mutate: @Sendable (inout Mutator, [[UInt8]]) -> [UInt8] = { mutator, corpus in mutator.mutate(corpus) }
    /// The bytes that an input stands for.
    var size: @Sendable ([UInt8]) -> Int = { $0.count }
    /// How much of a long run's time it gets.
    var share = 1.0
    /// Decodes an input; false when it was refused.
    ///
    /// Throws ``Broken``.
    var decode: @Sendable ([UInt8]) throws -> Bool
}

/// What a child process is doing, in a file that outlives it.
struct FuzzNote: Sendable {
    let path: String
    /// The longest input.
    static let bytesMax = 4 << 20

    /// The input that was at work when the process ended.
    var input: [UInt8]? {
        guard let bytes = try? Data(contentsOf: URL(fileURLWithPath: path)), bytes.count >= 8 else { return nil }
        let count = (0..<8).reduce(0) { $0 | Int(bytes[$1]) << (8 * $1) }
        guard count >= 0, count <= bytes.count - 8 else { return nil }
        return Array(bytes[8..<(8 + count)])
    }

    /// What it said at its end.
    var report: String? {
        (try? Data(contentsOf: URL(fileURLWithPath: path + ".report"))).map { String(decoding: $0, as: UTF8.self) }
    }

    /// What the process printed when it trapped.
    var talk: String {
        let talk = (try? Data(contentsOf: URL(fileURLWithPath: path + ".talk"))) ?? Data()
        return String(decoding: talk.prefix(6000), as: UTF8.self)
    }

    func tell(_ report: String) { try? Data(report.utf8).write(to: URL(fileURLWithPath: path + ".report")) }
}

/// A run of one decoder in this process, which may end in the middle.
struct FuzzRun {
    let target: FuzzTarget
    let seed: UInt64
    /// How many new inputs there are, and for how long there are more.
    let inputs: Int
    let seconds: Double
    let note: FuzzNote

    private var total = 0
    private var taken = 0
    private var peak = 0

    init(target: FuzzTarget, seed: UInt64, inputs: Int, seconds: Double, note: FuzzNote) {
        self.target = target
        self.seed = seed
        self.inputs = inputs
        self.seconds = seconds
        self.note = note
    }

    /// The members of a decoder's file in `Corpus`: a line each, base64, behind a name.
    static func kept(_ name: String) -> [[UInt8]] {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "Corpus/\(name).txt")
        guard let text = try? String(contentsOf: file, encoding: .utf8) else { return [] }
        return text.split(separator: "\n").compactMap { line in
            line.split(separator: " ", omittingEmptySubsequences: false).last.flatMap {
                Data(base64Encoded: String($0))
            }
        }.map { Array($0) }
    }

    /// Feeds the decoder; the process ends where a property breaks.
    mutating func run() throws {
        let map = try unsafe Self.map(note.path)
        let seeds = try target.seeds()
        guard !seeds.isEmpty else { throw Broken("there is no seed") }
        for seed in seeds {
            guard try unsafe decode(seed, map) else { throw Broken("a seed does not decode") }
        }
        let kept = Self.kept(target.name)
        for input in kept { _ = try unsafe decode(input, map) }
        let corpus = seeds + kept
        Heap.trim()
        var mutator = Mutator(seed: seed)
        let end = Date(timeIntervalSinceNow: seconds)
        var made = 0
        while made < inputs || seconds > 0 && Date() < end {
            _ = try unsafe decode(target.mutate(&mutator, corpus), map)
            made += 1
        }
        note.tell("\(target.name): \(total) inputs, \(taken) decoded, at most \(peak) bytes, seed \(seed)")
    }

    private mutating func decode(_ input: [UInt8], _ map: UnsafeMutableRawBufferPointer) throws -> Bool {
        precondition(input.count <= FuzzNote.bytesMax, "an input of \(input.count) bytes")
        unsafe map.storeBytes(of: UInt64(input.count), as: UInt64.self)
        unsafe input.withUnsafeBytes { unsafe UnsafeMutableRawBufferPointer(rebasing: map[8...]).copyMemory(from: $0) }
        // An input that takes minutes is a fault too.
        alarm(300)
        let before = Heap.end
        let isDecoded = try target.decode(input)
        let grown = Heap.end - before
        total += 1
        if isDecoded { taken += 1 }
        peak = max(peak, grown)
        let bound = 2 * target.size(input) + target.allowance
        if grown > bound { throw Broken("it took \(grown) bytes, and \(bound) is the bound") }
        if grown > 0 { Heap.trim() }
        return isDecoded
    }

    private static func map(_ path: String) throws -> UnsafeMutableRawBufferPointer {
        let file = unsafe open(path, O_RDWR | O_CREAT, 0o600)
        guard file >= 0, ftruncate(file, off_t(8 + FuzzNote.bytesMax)) == 0 else { throw Broken("no note") }
        let count = 8 + FuzzNote.bytesMax
        let base = unsafe mmap(nil, count, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
        guard let base = unsafe base, unsafe base != MAP_FAILED else { throw Broken("no map") }
        return unsafe UnsafeMutableRawBufferPointer(start: base, count: count)
    }

    /// The whole of a child process: it ends with 0 when every property held.
    static func main(_ target: FuzzTarget, seed: UInt64, inputs: Int, seconds: Double, _ path: String) -> Never {
        let note = FuzzNote(path: path)
        // Files of a moment, which nobody waits for a disk to take; and verbs that print.
        if unsafe access("/dev/shm", W_OK) == 0 { unsafe setenv("TMPDIR", "/dev/shm", 1) }
        dup2(unsafe open("/dev/null", O_WRONLY), 1)
        dup2(unsafe open(path + ".talk", O_WRONLY | O_CREAT, 0o600), 2)
        // What is too large for the heap's end would be mapped, and not be seen.
        var most = rlimit(rlim_cur: 2 << 30, rlim_max: 2 << 30)
        unsafe setrlimit(__rlimit_resource_t(UInt32(RLIMIT_DATA.rawValue)), &most)
        Heap.run {
            do {
                var run = FuzzRun(target: target, seed: seed, inputs: inputs, seconds: seconds, note: note)
                try run.run()
                exit(0)
            } catch {
                note.tell("broken: \((error as? Broken)?.what ?? "\(error)")")
                exit(3)
            }
        }
    }
}
