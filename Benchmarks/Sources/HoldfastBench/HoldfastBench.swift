import Dispatch
import Foundation
import Glibc
import Synchronization

/// Measures Holdfast beside other stores; see ``Options/usage``.
@main
struct HoldfastBench {
    static func main() async {
        let options: Options
        let works: [Work]
        do throws(BenchError) {
            options = try Options(CommandLine.arguments.dropFirst())
            works = try options.works()
        } catch {
            say(error: "\(error)\n\n\(Options.usage)")
            exit(64)
        }
        if options.wantsHelp {
            print(Options.usage)
            return
        }
        if options.wantsList {
            for work in works { print("\(work.name): \(work.title)") }
            return
        }
        do {
            try await measure(options, works)
        } catch {
            // Then the stores are being taken away, and what fails for that is no news.
            while isEnding.withLock({ $0 }) { try? await Task.sleep(for: .seconds(1)) }
            say(error: "\(error)")
            exit(1)
        }
    }

    /// Whether the program was told to end.
    private static let isEnding = Mutex(false)

    private static func measure(_ options: Options, _ works: [Work]) async throws {
        let directory: String
        let lines: Lines?
        do throws(BenchError) {
            directory = try makeDirectory(options.directory)
            lines = try options.json.map { (path) throws(BenchError) in try Lines(path) }
        } catch {
            say(error: "\(error)")
            exit(73)
        }
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let signals = removeWhenEnded(directory)
        defer { for signal in signals { signal.cancel() } }

        let machine = Machine(options, directory: directory)
        print(machine.text)
        if Mount(of: directory).isMemory {
            print("These stores are in memory: a sync costs nothing, and no figure says anything about a disk.")
        }
        if options.roundsWanted < 5 {
            print("Only \(options.roundsWanted) rounds each: a look, no measurement. --full has 7.")
        }
        // At once, also where the output is no terminal.
        fflush(nil)
        try lines?.add(machine)
        let isTerminal = isatty(STDERR_FILENO) == 1
        let runner = Runner(
            directory: directory,
            rounds: options.roundsWanted,
            seed: options.seed,
            peers: options.peers,
            settles: options.isFull,
            tell: { if isTerminal { say(error: "\u{1B}[2K\($0)\r", terminator: "") } }
        )
        var results: [WorkResult] = []
        for work in works {
            let result = try await runner.run(work)
            if isTerminal { say(error: "\u{1B}[2K", terminator: "") }
            print(Table.text(result))
            fflush(nil)
            try lines?.add(result)
            results.append(result)
        }
        print(Table.summary(results))
    }

    /// Makes the directory of this run, below the one that was asked for or the first that is on a disk.
    private static func makeDirectory(_ wanted: String?) throws(BenchError) -> String {
        let parent: String
        if let wanted {
            parent = wanted
        } else {
            let places = [ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp", "/var/tmp"]
            guard let place = places.first(where: { !Mount(of: $0).isMemory }) else {
                throw BenchError("\(places.joined(separator: " and ")) are in memory: name a --directory on a disk")
            }
            parent = place
        }
        let path = "\(parent)/bench-\(String(UInt64.random(in: 0...(.max)), radix: 36))"
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        } catch {
            throw BenchError("cannot make a directory in '\(parent)': is it there, and may you write in it?")
        }
        return path
    }

    /// Takes the stores away also when the program is told to end.
    private static func removeWhenEnded(_ directory: String) -> [any DispatchSourceSignal] {
        [SIGINT, SIGTERM].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number)
            source.setEventHandler {
                isEnding.withLock { $0 = true }
                try? FileManager.default.removeItem(atPath: directory)
                exit(128 + number)
            }
            source.resume()
            return source
        }
    }

    private static func say(error text: String, terminator: String = "\n") {
        FileHandle.standardError.write(Data((text + terminator).utf8))
    }
}
