internal import RaftApply

/// A command without its envelope, for a conformance suite.
public struct ConformanceCommand: Sendable, Hashable {
    /// The kind, at least ``CommandEnvelope/firstKind``.
    public var kind: UInt8
    /// What it says.
    public var payload: [UInt8]

    /// Creates a command.
    public init(kind: UInt8, payload: [UInt8]) {
        self.kind = kind
        self.payload = payload
    }
}

/// The commands of a state machine, as a conformance suite needs them.
///
/// The machine is seen as something that has a value: a step changes it by exactly one each time that it is executed, so that
/// what is executed twice, or never, shows.
public protocol ConformanceCommands: Sendable {
    /// What comes before everything else.
    var setUp: [ConformanceCommand] { get }
    /// Changes the value by one, each time that it is executed; 2,000 of them are possible after the set-up.
    var step: ConformanceCommand { get }
    /// Changes nothing; its outcome tells the value.
    var look: ConformanceCommand { get }
    /// A command that is refused, with an outcome, in every state after the set-up; its outcome differs from that of a step.
    var refused: ConformanceCommand { get }
    /// Any command, also one that will be refused.
    func any(_ random: inout SplitMix64) -> ConformanceCommand
    /// A step whose payload has at least so many bytes; nil where the machine has none.
    func large(_ bytes: Int) -> ConformanceCommand?
    /// The value that the outcome of ``look`` tells; nil for another outcome.
    func value(_ outcome: [UInt8]) -> Int?
}

/// What is wrong with an implementation: what was expected, and what was found.
public struct ConformanceFailure: Error, Sendable, Hashable, CustomStringConvertible {
    /// For people.
    public var description: String

    /// Creates a failure.
    public init(_ description: String) { self.description = description }
}

/// One case of a conformance suite.
public struct ConformanceCase: Sendable, CustomStringConvertible {
    /// Which line of the contract it is about: see the article "Plug into your Raft".
    public var line: Int
    /// What holds.
    public var name: String
    private let body: @Sendable () async throws -> Void

    /// Creates a case; `body` throws a ``ConformanceFailure`` where it does not hold.
    public init(_ line: Int, _ name: String, _ body: @escaping @Sendable () async throws -> Void) {
        self.line = line
        self.name = name
        self.body = body
    }

    /// The line and what holds.
    public var description: String { "\(line): \(name)" }

    /// Runs the case.
    ///
    /// - Throws: ``ConformanceFailure`` where it does not hold, or what the implementation has thrown.
    public func run() async throws { try await body() }
}

/// Throws where something does not hold.
func demand(_ holds: Bool, _ what: @autoclosure () -> String) throws {
    guard holds else { throw ConformanceFailure(what()) }
}

/// Throws where two values differ.
func demand<Value: Equatable>(_ found: Value, is expected: Value, _ what: @autoclosure () -> String) throws {
    guard found == expected else { throw ConformanceFailure("\(what()): \(found), expected \(expected)") }
}
