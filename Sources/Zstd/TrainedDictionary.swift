private import CZstd
private import Platform

/// A trained dictionary, ready to compress and decompress with.
///
/// zstd's own objects are made here and freed here, and used by any number of calls at once: zstd only reads them.
@safe final class TrainedDictionary: Sendable {
    private let bytes: [UInt8]
    /// The decompressor's object, as an address.
    private let reading: UInt
    /// The compressor's objects by level, made when they are first asked for.
    private let writing = Lock<[Int: UInt]>([:])

    /// Takes what ``train(_:capacity:)`` gave; nil when zstd does not take it.
    init?(_ bytes: [UInt8]) {
        let made = unsafe bytes.withUnsafeBytes { unsafe ZSTD_createDDict($0.baseAddress, $0.count) }
        guard let made = unsafe made else { return nil }
        self.bytes = bytes
        reading = UInt(bitPattern: made)
    }

    deinit {
        unsafe ZSTD_freeDDict(OpaquePointer(bitPattern: reading))
        writing.withLock { for address in $0.values { unsafe ZSTD_freeCDict(OpaquePointer(bitPattern: address)) } }
    }

    var decompressor: OpaquePointer? { unsafe OpaquePointer(bitPattern: reading) }

    /// The compressor's object for a level; nil when there is no memory for it.
    func compressor(level: Int) -> OpaquePointer? {
        let address = writing.withLock { known -> UInt? in
            if let address = known[level] { return address }
            let made = unsafe bytes.withUnsafeBytes { unsafe ZSTD_createCDict($0.baseAddress, $0.count, CInt(level)) }
            guard let made = unsafe made else { return nil }
            known[level] = UInt(bitPattern: made)
            return known[level]
        }
        return unsafe address.flatMap { unsafe OpaquePointer(bitPattern: $0) }
    }
}

extension FrameCodec {
    /// A dictionary of at most `capacity` bytes for contents like `samples`; nil when zstd makes none of them.
    ///
    /// It wants some hundred samples, and a hundred times the dictionary's bytes in all.
    package static func train(_ samples: [[UInt8]], capacity: Int) -> [UInt8]? {
        let contents = Array(samples.joined())
        let sizes = samples.map(\.count)
        var failed = false
        let dictionary = unsafe [UInt8](unsafeUninitializedCapacity: capacity) { output, count in
            let result = unsafe contents.withUnsafeBytes { contents in
                unsafe sizes.withUnsafeBufferPointer { sizes in
                    unsafe ZDICT_trainFromBuffer(
                        output.baseAddress,
                        capacity,
                        contents.baseAddress,
                        sizes.baseAddress,
                        UInt32(sizes.count)
                    )
                }
            }
            failed = ZDICT_isError(result) != 0
            count = failed ? 0 : result
        }
        return failed ? nil : dictionary
    }
}
