public import Logging
import Synchronization

/// What a store has logged.
public final class LogLines: Sendable {
    /// One call of the logger.
    public struct Line: Sendable {
        /// How grave it is.
        public var level: Logger.Level
        /// What is said, the same each time.
        public var message: String
        /// What was said beside the message, as text.
        public var metadata: [String: String]
    }

    private let lines = Mutex<[Line]>([])

    /// Nothing was logged yet.
    public init() {}

    /// All of it, in order.
    public var all: [Line] { lines.withLock { $0 } }
    /// How many messages begin like that.
    public func count(_ beginning: String) -> Int { all.count { $0.message.hasPrefix(beginning) } }

    /// Writes here.
    public var logger: Logger { Logger(label: "test") { _ in Handler(lines: self) } }

    private struct Handler: LogHandler {
        let lines: LogLines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.info

        subscript(metadataKey key: String) -> Logger.MetadataValue? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let line = Line(
                level: event.level,
                message: "\(event.message)",
                metadata: (event.metadata ?? [:]).mapValues { "\($0)" }
            )
            lines.lines.withLock { $0.append(line) }
        }
    }
}
