// Unsafe: the C hash takes a pointer and a length, those of a span, and keeps neither.

private import CXXHash

/// XXH3, the hash of every checksum and of the digest chain.
///
/// The specification is https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md; seed 0, default secret. It
/// finds damage by accident, not an attacker's.
package enum XXH3 {
    /// The 64-bit hash of `bytes`.
    package static func hash64(_ bytes: Span<UInt8>) -> UInt64 {
        unsafe bytes.withUnsafeBytes { unsafe holdfast_xxh3_64($0.baseAddress, $0.count) }
    }

    /// The 128-bit hash of `bytes`.
    package static func hash128(_ bytes: Span<UInt8>) -> Hash128 {
        let hash = unsafe bytes.withUnsafeBytes { unsafe holdfast_xxh3_128($0.baseAddress, $0.count) }
        return Hash128(high: hash.high64, low: hash.low64)
    }
}

/// A 128-bit hash; its bytes are the high half, then the low half, each big-endian (XXH's canonical form).
package struct Hash128: Sendable, Hashable {
    package var high: UInt64
    package var low: UInt64

    /// All zero: the chain's start.
    package static var zero: Self { Self(high: 0, low: 0) }

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}
