private import CZstd
private import Platform

/// Bytes that are no zstd frame, or not the one that was asked for.
package struct ZstdError: Error, Sendable, Hashable, CustomStringConvertible {
    /// What is wrong, in zstd's own words where it said so.
    package let description: String
}

/// Compresses and decompresses single zstd frames, from any thread.
///
/// It keeps the contexts that zstd works in and hands each to one call at a time: making one costs more than a small
/// frame. The pointers never leave this file.
@safe package final class FrameCodec: Sendable {
    /// The contexts that no call is using, as addresses: the standard library's pointers are not `Sendable`.
    private let idle = Lock<Idle>(Idle())

    /// The dictionaries that frames may name, by number.
    private let dictionaries = Lock<[UInt32: TrainedDictionary]>([:])

    private struct Idle {
        var compressors: [UInt] = []
        var decompressors: [UInt] = []
    }

    package init() {}

    /// Takes a dictionary, so that frames can be read and written that name it; false when zstd does not take it.
    ///
    /// A number that is known keeps its dictionary.
    @discardableResult package func add(dictionary bytes: [UInt8], number: UInt32) -> Bool {
        guard !knows(dictionary: number) else { return true }
        guard let dictionary = TrainedDictionary(bytes) else { return false }
        dictionaries.withLock { $0[number] = $0[number] ?? dictionary }
        return true
    }

    /// Whether the dictionary is there that has this number.
    package func knows(dictionary number: UInt32) -> Bool { dictionaries.withLock { $0[number] != nil } }

    /// The dictionary that was trained last, which is that of the greatest number.
    package var newestDictionary: UInt32? { dictionaries.withLock { $0.keys.max() } }

    deinit {
        idle.withLock { idle in
            for address in idle.compressors { unsafe ZSTD_freeCCtx(OpaquePointer(bitPattern: address)) }
            for address in idle.decompressors { unsafe ZSTD_freeDCtx(OpaquePointer(bitPattern: address)) }
        }
    }

    /// The frame that holds `content`, or nil when no frame is shorter than the content itself.
    ///
    /// The frame carries the content's size and no checksum: the block around it has one. It does not name the dictionary
    /// either, of which `dictionary` is the number.
    package func compress(_ content: Span<UInt8>, level: Int, dictionary: UInt32? = nil) -> [UInt8]? {
        guard content.count > 1 else { return nil }
        let taken = idle.withLock { $0.compressors.popLast() }
        guard let context = unsafe taken.flatMap({ unsafe OpaquePointer(bitPattern: $0) }) ?? ZSTD_createCCtx() else {
            return nil
        }
        defer { idle.withLock { $0.compressors.append(UInt(bitPattern: context)) } }
        // The dictionary's objects live as long as it does, so it is held to the end of the call.
        let known = dictionary.flatMap { number in dictionaries.withLock { $0[number] } }
        defer { withExtendedLifetime(known) {} }
        if dictionary != nil {
            guard unsafe prepare(context, known?.compressor(level: level)) else { return nil }
        }
        // One byte less than the content: zstd then gives up by itself where compressing does not pay.
        let capacity = content.count - 1
        var failed = false
        let frame = unsafe [UInt8](unsafeUninitializedCapacity: capacity) { output, count in
            let result = unsafe content.withUnsafeBytes { input in
                if known != nil {
                    return unsafe ZSTD_compress2(
                        context,
                        output.baseAddress,
                        capacity,
                        input.baseAddress,
                        input.count
                    )
                }
                return unsafe ZSTD_compressCCtx(
                    context,
                    output.baseAddress,
                    capacity,
                    input.baseAddress,
                    input.count,
                    CInt(level)
                )
            }
            failed = ZSTD_isError(result) != 0
            count = failed ? 0 : result
        }
        if known != nil { _ = unsafe ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters) }
        return failed ? nil : frame
    }

    /// Makes a context use a dictionary without naming it in the frame; false when it cannot.
    private func prepare(_ context: OpaquePointer, _ dictionary: OpaquePointer?) -> Bool {
        guard let dictionary = unsafe dictionary else { return false }
        let results = unsafe [
            ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters),
            ZSTD_CCtx_setParameter(context, ZSTD_c_dictIDFlag, 0), ZSTD_CCtx_refCDict(context, dictionary),
        ]
        return results.allSatisfy { ZSTD_isError($0) == 0 }
    }

    /// The content of `frame`, which must be one frame that says and holds exactly `count` bytes.
    ///
    /// `count` must have been bounded by the caller: it is what this allocates.
    /// `dictionary`: The number of the dictionary that the frame was made with; nil for none.
    package func decompress(
        _ frame: Span<UInt8>,
        count: Int,
        dictionary: UInt32? = nil
    ) throws(ZstdError) -> [UInt8] {
        let known = dictionary.flatMap { number in dictionaries.withLock { $0[number] } }
        defer { withExtendedLifetime(known) {} }
        if let dictionary, known == nil {
            throw ZstdError(description: "the block names dictionary \(dictionary), which the store does not have")
        }
        let declared = unsafe frame.withUnsafeBytes { unsafe ZSTD_getFrameContentSize($0.baseAddress, $0.count) }
        guard declared == UInt64(count) else {
            throw ZstdError(description: "the frame does not hold the \(count) bytes that its block says")
        }
        let taken = idle.withLock { $0.decompressors.popLast() }
        guard let context = unsafe taken.flatMap({ unsafe OpaquePointer(bitPattern: $0) }) ?? ZSTD_createDCtx() else {
            throw ZstdError(description: "no memory for a decompression context")
        }
        defer { idle.withLock { $0.decompressors.append(UInt(bitPattern: context)) } }
        var failure: String?
        let content = unsafe [UInt8](unsafeUninitializedCapacity: count) { output, filled in
            let result = unsafe frame.withUnsafeBytes { input in
                // Without a dictionary the last argument is null, which is the same as none.
                unsafe ZSTD_decompress_usingDDict(
                    context,
                    output.baseAddress,
                    count,
                    input.baseAddress,
                    input.count,
                    known?.decompressor
                )
            }
            if ZSTD_isError(result) != 0 {
                failure = unsafe String(cString: ZSTD_getErrorName(result))
                filled = 0
            } else {
                filled = result
            }
        }
        if let failure { throw ZstdError(description: failure) }
        guard content.count == count else {
            throw ZstdError(description: "the frame holds \(content.count) bytes, its block says \(count)")
        }
        return content
    }

    /// The version of the library that runs, such as `1.5.4`.
    package static var version: String { unsafe String(cString: ZSTD_versionString()) }
}
