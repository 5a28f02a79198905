// Unsafe: the peers are C. Records go to them as the bytes of an array for the length of one call; a peer's pointer is made
// in `init`, freed in `deinit`, and never leaves this file.

private import CPeers

/// What a peer said when it failed.
struct PeerError: Error, CustomStringConvertible {
    let description: String
}

/// A store that Holdfast is measured against.
struct PeerKind: Sendable {
    /// Its name, as in `sqlite`.
    let name: String
    fileprivate let index: Int

    /// Every peer that was built in.
    static var all: [PeerKind] {
        var kinds: [PeerKind] = []
        while let kind = unsafe peer_kind_at(kinds.count) {
            kinds.append(PeerKind(name: unsafe String(cString: kind.pointee.name), index: kinds.count))
        }
        return kinds
    }

    /// The versions of the libraries that run.
    static var versions: String {
        unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 512) { text in
            guard let start = text.baseAddress else { return "" }
            unsafe peer_versions(start, 512)
            return unsafe String(cString: start)
        }
    }

    fileprivate var pointer: UnsafePointer<peer_kind> {
        guard let kind = unsafe peer_kind_at(index) else { preconditionFailure("there is no peer \(index)") }
        return unsafe kind
    }
}

/// What was read: how many records, and hashes over all of them.
struct RecordSum: Sendable, Equatable {
    fileprivate var value = peer_sum()

    /// How many.
    var count: Int { Int(value.count) }
    /// The last position.
    var last: UInt64 { value.last }
    /// The same for the same records in any order.
    var set: UInt64 { value.set }

    static func == (a: Self, b: Self) -> Bool {
        a.value.count == b.value.count && a.value.last == b.value.last && a.value.hash == b.value.hash
    }

    /// Adds one record.
    mutating func add(_ position: UInt64, key: [UInt8], value bytes: [UInt8]) {
        unsafe key.withUnsafeBufferPointer { key in
            unsafe bytes.withUnsafeBufferPointer { bytes in
                unsafe peer_sum_add(&value, position, key.baseAddress, key.count, bytes.baseAddress, bytes.count)
            }
        }
    }

    /// Adds some of `records`, the first of them at a position.
    mutating func add(_ records: Records, _ range: Range<Int>, first: UInt64) {
        unsafe withBatch(records, range, first: first) { unsafe peer_sum_batch(&value, $0) }
    }
}

/// One peer, open.
@safe final class Peer: Sendable {
    private let kind: PeerKind
    /// The peer's address; the standard library's pointers are not `Sendable`.
    private let address: UInt

    private var pointer: UnsafeMutablePointer<peer> {
        guard let pointer = unsafe UnsafeMutablePointer<peer>(bitPattern: address) else {
            preconditionFailure("a peer has an address")
        }
        return unsafe pointer
    }

    /// Makes or opens a store in a directory that is there.
    ///
    /// - Throws: ``PeerError``.
    init(_ kind: PeerKind, at directory: String) throws(PeerError) {
        var made: UnsafeMutablePointer<peer>?
        let status = unsafe kind.pointer.pointee.open(directory, kind.pointer.pointee.compresses, &made)
        guard let pointer = unsafe made else { throw PeerError(description: "\(kind.name): no memory") }
        self.kind = kind
        self.address = UInt(bitPattern: pointer)
        // From here on `deinit` closes it.
        try check(status)
    }

    deinit { unsafe kind.pointer.pointee.close(pointer) }

    private func check(_ status: CInt) throws(PeerError) {
        guard status != 0 else { return }
        let text = unsafe withUnsafeBytes(of: pointer.pointee.error) { bytes in
            unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        throw PeerError(description: "\(kind.name): \(text)")
    }

    /// Puts records behind those that are there, durably.
    func append(_ records: Records, _ range: Range<Int>, first: UInt64) throws(PeerError) {
        try check(unsafe withBatch(records, range, first: first) { unsafe kind.pointer.pointee.append(pointer, $0) })
    }

    /// The same for as many callers, of which each has one write under way.
    func append(_ records: Records, _ range: Range<Int>, first: UInt64, callers: Int) throws(PeerError) {
        let status = unsafe withBatch(records, range, first: first) { batch in
            unsafe peer_loop(kind.pointer, pointer, batch, UInt32(callers))
        }
        try check(status)
    }

    /// Reads from the first record that is not acknowledged.
    func read(max: Int, into sum: inout RecordSum) throws(PeerError) {
        try check(unsafe kind.pointer.pointee.read(pointer, UInt64(max), &sum.value))
    }

    /// Removes every record up to a position, durably.
    func acknowledge(through position: UInt64) throws(PeerError) {
        try check(unsafe kind.pointer.pointee.acknowledge(pointer, position))
    }
}

/// What the system knows of this process and its files.
enum System {
    /// The processor time that this process has had, all threads.
    static var cpuNanoseconds: UInt64 { peer_cpu_nanoseconds() }

    /// Writes what is in memory of the file system that holds a directory; where it fails, nothing is worse than before.
    static func sync(_ directory: String) { unsafe peer_sync(directory) }

    /// The bytes that the files below a directory take on the disk; nil when they cannot be told.
    static func diskBytes(below directory: String) -> UInt64? {
        let bytes = unsafe peer_disk_bytes(directory)
        return bytes == .max ? nil : bytes
    }
}

/// Calls `body` with some of the records as C sees them.
private func withBatch<Result>(
    _ records: Records,
    _ range: Range<Int>,
    first: UInt64,
    _ body: (UnsafePointer<peer_batch>) -> Result
) -> Result {
    precondition(range.upperBound < records.offsets.count, "there are no records \(range)")
    return unsafe records.bytes.withUnsafeBufferPointer { bytes in
        unsafe records.offsets.withUnsafeBufferPointer { offsets in
            guard let bytes = bytes.baseAddress, let offsets = offsets.baseAddress else {
                preconditionFailure("records have bytes")
            }
            let batch = unsafe peer_batch(
                bytes: bytes,
                offsets: offsets + range.lowerBound,
                count: UInt32(range.count),
                first: first
            )
            return unsafe withUnsafePointer(to: batch) { unsafe body($0) }
        }
    }
}
