private import Foundation
public import RaftApply
internal import ReplayStore

/// What an ``OnDiskStateMachine`` must hold, as cases that any implementation can be run through.
///
/// Run each with a test of your own:
///
/// ```swift
/// @Test(arguments: conformance.cases) func conforms(case: ConformanceCase) async throws { try await `case`.run() }
/// ```
public struct StateMachineConformance<Machine: OnDiskStateMachine, Commands: ConformanceCommands>: Sendable {
    let commands: Commands
    let opening: @Sendable (_ path: String) async throws -> Machine

    /// Creates the suite.
    ///
    /// - Parameters:
    ///   - commands: The machine's commands.
    ///   - open: Opens the machine in the directory at a path, or makes one there that has applied nothing; every machine of
    ///     one suite is of the same log.
    public init(_ commands: Commands, open: @escaping @Sendable (_ path: String) async throws -> Machine) {
        self.commands = commands
        opening = open
    }

    /// Every case.
    public var cases: [ConformanceCase] {
        order + redelivery + sessions + sessionBounds + determinism + outcomes + snapshots + wrongSnapshots + parts
            + digests
    }

    // MARK: Machines

    /// Runs `body` with a new machine, and closes it.
    func withMachine(_ body: (_ machine: Machine, _ path: String) async throws -> Void) async throws {
        let directory = try TemporaryDirectory()
        let machine = try await opening(directory.appending("machine"))
        do {
            try await body(machine, directory.appending("machine"))
        } catch {
            await machine.close()
            throw error
        }
        await machine.close()
    }

    /// A new machine that has applied entries, closed: its digest.
    func digest(of entries: [LogEntry], in batches: [Int] = []) async throws -> String {
        var digest = ""
        try await withMachine { (machine, _) in
            try await apply(entries, to: machine, in: batches)
            digest = try await machine.digest().digest
        }
        return digest
    }

    /// Applies entries in batches of the sizes given, then the rest at once.
    @discardableResult
    func apply(_ entries: [LogEntry], to machine: Machine, in batches: [Int] = []) async throws -> [AppliedEntry] {
        var results: [AppliedEntry] = []
        var start = 0
        for size in batches + [entries.count] where start < entries.count {
            let end = min(entries.count, start + size)
            results += try await machine.apply(Array(entries[start..<end]))
            start = end
        }
        return results
    }

    /// The value that a machine has, by a look that is the next entry of the log.
    func value(of machine: Machine, _ log: inout ConformanceLog) async throws -> Int {
        let result = try await machine.apply([log.add(commands.look)])
        guard case .executed(let outcome)? = result.first?.outcome, let value = commands.value(outcome) else {
            throw ConformanceFailure("a look does not tell the value: \(result)")
        }
        return value
    }

    func outcome(_ results: [AppliedEntry]) throws -> ProposalOutcome {
        guard results.count == 1, let result = results.first else {
            throw ConformanceFailure("one entry gave \(results.count) results")
        }
        return result.outcome
    }

    func executed(_ results: [AppliedEntry]) throws -> [UInt8] {
        guard case .executed(let bytes) = try outcome(results) else {
            throw ConformanceFailure("a command was not executed: \(results)")
        }
        return bytes
    }

    /// The code of what `body` throws; nil where it throws nothing.
    func code(_ body: () async throws -> Void) async throws -> HoldfastError.Code? {
        do {
            try await body()
            return nil
        } catch let error as HoldfastError {
            return error.code
        }
    }
}
