import ArgumentParser

/// A number of bytes on the command line, such as `64MiB`, `10GB` or `4096`.
struct ByteCount: ExpressibleByArgument, Sendable {
    var bytes: UInt64

    init?(argument: String) {
        let units: [(String, UInt64)] = [
            ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("kB", 1000), ("KB", 1000),
            ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000), ("B", 1), ("", 1),
        ]
        guard let bytes = quantity(argument, units) else { return nil }
        self.bytes = bytes
    }
}

/// A length of time on the command line, such as `250ms`, `30s`, `5min`, `2h` or `7d`, of at most 36,500 days.
struct LengthOfTime: ExpressibleByArgument, Sendable {
    var milliseconds: UInt64

    init?(argument: String) {
        let units: [(String, UInt64)] = [
            ("ms", 1), ("s", 1000), ("min", 60_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
        ]
        let most: UInt64 = 36_500 * 86_400_000
        guard let milliseconds = quantity(argument, units), milliseconds <= most else { return nil }
        self.milliseconds = milliseconds
    }
}

/// A number from 0 on, on the command line.
struct Count: ExpressibleByArgument, Sendable {
    var value: UInt64

    init?(argument: String) {
        guard let value = quantity(argument, [("", 1)]) else { return nil }
        self.value = value
    }
}

/// A limit on the command line: what it is, or `none`.
enum Limit<Value: ExpressibleByArgument & Sendable>: ExpressibleByArgument, Sendable {
    case none
    case most(Value)

    init?(argument: String) {
        if argument == "none" {
            self = .none
        } else {
            guard let value = Value(argument: argument) else { return nil }
            self = .most(value)
        }
    }

    /// The limit; nil where there is none.
    var most: Value? { if case .most(let value) = self { value } else { nil } }
}

/// A whole number and its unit; nil when it is none, or too large.
///
/// A unit that is empty stands for a number without one.
private func quantity(_ text: String, _ units: [(name: String, factor: UInt64)]) -> UInt64? {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    let name = text.dropFirst(digits.count)
    guard let number = UInt64(digits), let unit = units.first(where: { $0.name == name }) else { return nil }
    let (product, overflow) = number.multipliedReportingOverflow(by: unit.factor)
    return overflow ? nil : product
}
