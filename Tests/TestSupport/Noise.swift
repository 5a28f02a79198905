public import Holdfast
import HoldfastTesting

/// Bytes that cannot be compressed, cheaply: pieces of 2 MiB that are made once.
public enum Noise {
    /// The most bytes in a piece.
    public static let countMax = 1 << 20

    private static let bytes: [UInt8] = {
        var random = SplitMix64(seed: 0)
        return (0..<(2 << 20)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }()

    /// A write whose value of `size` bytes is a function of its sequence.
    public static func write(_ sequence: UInt64, _ size: Int) -> OutstandingWrite {
        let start = Int((sequence &* 0x9E37_79B9_7F4A_7C15) >> 44)
        return OutstandingWrite(
            origin: "us",
            incarnation: 1,
            sequence: sequence,
            key: Array("k\(sequence % 50)".utf8),
            value: Array(bytes[start..<(start + min(size, countMax))])
        )
    }
}
