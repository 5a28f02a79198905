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

    private struct Idle {
        var compressors: [UInt] = []
        var decompressors: [UInt] = []
    }

    package init() {}

    deinit {
        idle.withLock { idle in
            for address in idle.compressors { unsafe ZSTD_freeCCtx(OpaquePointer(bitPattern: address)) }
            for address in idle.decompressors { unsafe ZSTD_freeDCtx(OpaquePointer(bitPattern: address)) }
        }
    }

    /// The frame that holds `content`, or nil when no frame is shorter than the content itself.
    ///
    /// The frame carries the content's size and no checksum: the block around it has one.
    package func compress(_ content: Span<UInt8>, level: Int) -> [UInt8]? {
        guard content.count > 1 else { return nil }
        let taken = idle.withLock { $0.compressors.popLast() }
        guard let context = unsafe taken.flatMap({ unsafe OpaquePointer(bitPattern: $0) }) ?? ZSTD_createCCtx() else {
            return nil
        }
        defer { idle.withLock { $0.compressors.append(UInt(bitPattern: context)) } }
        // One byte less than the content: zstd then gives up by itself where compressing does not pay.
        let capacity = content.count - 1
        var failed = false
        let frame = unsafe [UInt8](unsafeUninitializedCapacity: capacity) { output, count in
            let result = unsafe content.withUnsafeBytes { input in
                unsafe ZSTD_compressCCtx(
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
        return failed ? nil : frame
    }

    /// The content of `frame`, which must be one frame that says and holds exactly `count` bytes.
    ///
    /// `count` must have been bounded by the caller: it is what this allocates.
    package func decompress(_ frame: Span<UInt8>, count: Int) throws(ZstdError) -> [UInt8] {
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
                unsafe ZSTD_decompressDCtx(context, output.baseAddress, count, input.baseAddress, input.count)
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
