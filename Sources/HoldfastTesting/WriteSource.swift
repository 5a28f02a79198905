package import Holdfast

/// Writes that are a function of a seed and their sequence: they need not be kept to be compared.
package struct WriteSource: Sendable, Hashable {
    package var seed: UInt64
    package var origin: RegionID
    package var incarnation: UInt64

    package init(seed: UInt64, origin: RegionID, incarnation: UInt64) {
        self.seed = seed
        self.origin = origin
        self.incarnation = incarnation
    }

    /// The write of a sequence: of few keys, mostly small, sometimes empty, large, or a removal.
    package func write(_ sequence: UInt64) -> OutstandingWrite {
        var random = SplitMix64(seed: seed &+ sequence &* 0xD134_2543_DE82_EF95)
        let bits = random.next()
        let repeats: Int =
            switch bits % 64 {
            case 0..<8: 0
            case 8..<60: Int(bits >> 8 % 8)
            case 60..<63: Int(bits >> 8 % 150)
            default: Int(bits >> 8 % 5_000)
            }
        let word = String(random.next(), radix: 36)
        let isDelete = bits >> 32 % 11 == 0
        return OutstandingWrite(
            origin: origin,
            incarnation: incarnation,
            sequence: sequence,
            key: Array("key \(bits >> 40 % 97)".utf8),
            value: isDelete ? [] : Array(String(repeating: word, count: repeats).utf8),
            kind: isDelete ? .delete : .put,
            timestamp: bits >> 48 % 3 == 0 ? Timestamp(milliseconds: Int64(sequence)) : nil,
            clock: bits >> 52 % 5 == 0 ? Array(word.utf8) : []
        )
    }
}
