package import Logging

extension Logger {
    /// A logger that logs nowhere.
    package static var silent: Logger { Logger(label: "holdfast") { _ in SwiftLogNoOpLogHandler() } }
}
