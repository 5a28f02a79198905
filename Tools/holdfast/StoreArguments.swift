import ArgumentParser
import FoundationEssentials
import Holdfast
import HoldfastTesting
import Platform
import ReplayStore

/// The first argument of every verb that works on a store.
struct StoreArgument: ParsableArguments {
    @Argument(help: "The store's directory.", completion: .directory)
    var store: String

    func validate() throws { try checkPath(store) }

    /// Opens the store for reading, beside a process that may be writing.
    func reader() throws(HoldfastError) -> StoreReader { try StoreReader.open(store) }

    /// Opens the store for writing, does `body`, and closes it whatever comes of that.
    func withController<Result>(_ body: (RegionFailoverController) async throws -> Result) async throws -> Result {
        let controller = try await RegionFailoverController.open(at: store, options: .tool)
        do {
            let result = try await body(controller)
            await controller.close()
            return result
        } catch {
            await controller.close()
            // Errors of the machine do not know where the store is; the advice for them names it.
            throw (error as? HoldfastError)?.at(store) ?? error
        }
    }
}

extension StoreOptions {
    /// For the tool, which talks itself: what the library would log is told by `doctor`.
    static var tool: Self { Self(logger: .silent) }
}

/// The epoch that a caller acts on.
struct EpochOption: ParsableArguments {
    @Option(help: "Refuse unless this is the epoch now.")
    var ifEpoch: UInt64?
}

/// Reads the name of a region from the command line.
@Sendable func regionArgument(_ text: String) throws -> RegionID {
    do throws(FailoverError) {
        return try RegionID(text)
    } catch {
        throw ValidationError(error.message)
    }
}

/// Reads names of regions with commas between them.
@Sendable func regionsArgument(_ text: String) throws -> [RegionID] {
    try text.split(separator: ",", omittingEmptySubsequences: false).map { try regionArgument(String($0)) }
}

/// A time, for people: UTC, to the second.
func timeText(_ time: Timestamp) -> String {
    // Years of four digits; beyond them the bare number says more.
    let range: ClosedRange<Int64> = -62_135_596_800_000...253_402_300_799_999
    guard range.contains(time.milliseconds) else { return "\(time.milliseconds) ms" }
    return Date(timeIntervalSince1970: Double(time.milliseconds) / 1000).formatted(.iso8601)
}

/// What the present is for somebody who only reads: the wall clock, or the store's own time where that is ahead.
func readingTime(_ stored: Timestamp) -> Timestamp { max(stored, Timestamp(milliseconds: System.wallMilliseconds)) }

/// Refuses a path without a name: an empty variable of a shell, as a rule.
func checkPath(_ path: String, _ what: String = "The store's directory") throws {
    guard path.isEmpty else { return }
    throw ValidationError("\(what) has no name: give a path, such as ./store.")
}

/// Refuses a place where no directory can be made, in better words than the system's.
func checkNewDirectory(_ store: String) throws {
    if FileSystem.exists(store) {
        guard !FileSystem.isDirectory(store) else { return }
        throw Failure(.cannotCreate, code: "alreadyExists", "'\(store)' is there already, and is no directory.")
    }
    try checkPath(store)
    let parent = Advice.parent(of: store)
    guard FileSystem.isDirectory(parent) else {
        throw Failure(
            .cannotCreate,
            code: "notFound",
            "The directory '\(parent)', in which the store would be made, is not there.",
            next: "mkdir -p \(shellQuoted(parent))"
        )
    }
}
