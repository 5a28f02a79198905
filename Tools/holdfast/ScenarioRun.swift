import FoundationEssentials
import Holdfast
import HoldfastTesting
import Lines

/// A scenario while it is played: a controller over a temporary store, and a clock that only the commands move.
///
/// One command at a time; call ``end()`` when there are no more.
final class ScenarioRun {
    private let time = ManualTime()
    private var directory: TemporaryDirectory?
    private var controller: RegionFailoverController?

    /// Carries out a line, and gives its answer; nil for a line with nothing in it.
    ///
    /// - Throws: What is no refusal but a failure of the machine that this runs on, such as a full disk.
    func answer(to line: LineReader.Line) async throws -> JSON? {
        do {
            guard case .text(let text) = line else {
                throw BadCommand("The line has more than \(LineReader.lengthMax) bytes.")
            }
            let space: [UInt8] = [0x20, 0x09, 0x0D]
            if text.allSatisfy(space.contains) { return nil }
            return .object([("ok", .object(try await carryOut(try ScenarioCommand(parsing: text))))])
        } catch let error as BadCommand {
            return error.json
        } catch let error as Refusal {
            return error.json
        }
    }

    /// Closes the store and removes it.
    func end() async {
        await controller?.close()
        controller = nil
        directory = nil
    }

    private func carryOut(_ command: ScenarioCommand) async throws -> [(String, JSON)] {
        guard controller != nil || command.word == .configure else {
            throw BadCommand(#"The first command is "configure": there is no deployment yet."#)
        }
        if let atMilliseconds = command.atMilliseconds, atMilliseconds > time.elapsedMilliseconds {
            time.advance(milliseconds: atMilliseconds - time.elapsedMilliseconds)
        }
        if let deployment = command.deployment {
            return [Self.events(try await configure(deployment, force: command.force, ifEpoch: command.ifEpoch))]
        }
        guard let controller else { preconditionFailure("'\(command.word.rawValue)' without a controller") }
        let region = NamedRegion(command.region, outside: controller.configuration.regions)
        do throws(HoldfastError) {
            return try await Self.carryOut(command, region.id, controller)
        } catch {
            throw try Refusal(error, stranger: region)
        }
    }

    // MARK: Configuring

    private func configure(
        _ deployment: ScenarioCommand.Deployment,
        force: Bool,
        ifEpoch: UInt64?
    ) async throws -> [FailoverEvent] {
        // A deployment that is not there yet begins with epoch 1.
        let epoch = controller?.epoch ?? 1
        if let ifEpoch, ifEpoch != epoch { throw Refusal(staleEpoch: ifEpoch, current: epoch) }
        let (configuration, stranger) = try configuration(deployment)
        do throws(HoldfastError) {
            if let controller {
                return try await controller.configure(
                    configuration,
                    limits: deployment.limits,
                    force: force,
                    ifEpoch: ifEpoch
                )
            }
            // Refused before anything is made.
            do throws(FailoverError) { try configuration.validate() } catch { throw HoldfastError(error) }
        } catch {
            throw try Refusal(error, stranger: stranger)
        }
        let directory = try TemporaryDirectory()
        controller = try await RegionFailoverController.create(
            at: directory.appending("store"),
            configuration: configuration,
            limits: deployment.limits,
            options: .tool,
            time: time
        )
        self.directory = directory
        return []
    }

    /// The configuration that the names stand for.
    ///
    /// A name outside `regions` that cannot be one becomes a stranger, which is refused in its turn.
    private func configuration(
        _ deployment: ScenarioCommand.Deployment
    ) throws -> (FailoverConfiguration, NamedRegion?) {
        var regions: [RegionID] = []
        for name in deployment.regions {
            do throws(FailoverError) {
                regions.append(try RegionID(name))
            } catch {
                throw Refusal(badName: name, field: "regions", error.message)
            }
        }
        var stranger: NamedRegion?
        func region(_ name: String) -> RegionID {
            let region = NamedRegion(name, outside: regions)
            if !region.isName { stranger = stranger ?? region }
            return region.id
        }
        var configuration = FailoverConfiguration(local: region(deployment.local), regions: regions)
        configuration.tiers = deployment.tiers.map { $0.map(region) }
        if let suspectAfter = deployment.suspectAfterMilliseconds {
            configuration.suspectAfterMilliseconds = suspectAfter
        }
        if let capacity = deployment.historyCapacity { configuration.historyCapacity = Int(capacity) }
        return (configuration, stranger)
    }

    // MARK: Everything else

    private static func carryOut(
        _ command: ScenarioCommand,
        _ region: RegionID,
        _ controller: RegionFailoverController
    ) async throws(HoldfastError) -> [(String, JSON)] {
        switch command.word {
        case .configure: preconditionFailure("configure has its own way")
        case .heartbeat: return [events(try await controller.heartbeat(region))]
        case .tick: return [events(try await controller.tick())]
        case .pause: return [events(try await controller.pause(region))]
        case .resume: return [events(try await controller.resume(region))]
        case .clearResync: return [events(try await controller.clearResync(region))]
        case .history: return [events(try await controller.history())]
        case .demoteAndPromote:
            return promotion(try await controller.demoteAndPromote(region, ifEpoch: command.ifEpoch))
        case .switchover:
            return promotion(try await controller.switchover(to: region, ifEpoch: command.ifEpoch))
        case .role: return [events([]), ("role", .string(try controller.role(of: region).rawValue))]
        case .state: return [events([]), ("state", .string(try controller.state(of: region).rawValue))]
        case .pending: return [events([]), ("pending", try await controller.pending(for: region).json)]
        case .epoch: return [events([]), ("epoch", .unsigned(controller.epoch))]
        case .readmit:
            let happened = try await controller.readmit(
                region,
                maximumPending: command.maximumPending,
                force: command.force,
                ifEpoch: command.ifEpoch
            )
            return [events(happened)]
        case .acknowledge:
            let receipt = try await controller.acknowledge(region, through: command.through, ifEpoch: command.ifEpoch)
            return [events(receipt.events)]
        case .append:
            let receipt = try await controller.append(command.writes, to: region, ifEpoch: command.ifEpoch)
            return [
                events(receipt.events), ("first", .unsigned(receipt.first)), ("through", .unsigned(receipt.through)),
                ("accepted", .integer(Int64(receipt.accepted))),
                ("duplicates", .integer(Int64(receipt.duplicates.count))),
            ]
        case .drain:
            let receipt = try await controller.drain(region)
            return [events(receipt.events), ("writes", .array(receipt.entries.map(json)))]
        }
    }

    private static func promotion(_ promotion: Promotion) -> [(String, JSON)] {
        [
            events(promotion.events), ("failed", .string(promotion.failed.rawValue)),
            ("promoted", .string(promotion.promoted.rawValue)), ("epoch", .unsigned(promotion.epoch)),
        ]
    }

    private static func events(_ events: [FailoverEvent]) -> (String, JSON) { ("events", .array(events.map(\.json))) }

    private static func json(_ entry: QueueEntry) -> JSON {
        .object([
            ("origin", .string(entry.write.origin.rawValue)), ("incarnation", .unsigned(entry.write.incarnation)),
            ("sequence", .unsigned(entry.write.sequence)), ("key", .string(entry.write.keyText)),
            ("value", .string(entry.write.valueText)),
        ])
    }
}

/// A text that stands where a region is named.
///
/// One that cannot be a name is in no deployment: the controller is asked about a stranger in its place, so that it is
/// refused in the same order as every other unknown region.
struct NamedRegion {
    let name: String
    let id: RegionID
    let isName: Bool

    init(_ name: String, outside regions: [RegionID]) {
        self.name = name
        if let id = RegionID(utf8: name.utf8) {
            self.id = id
            isName = true
            return
        }
        isName = false
        var stranger: RegionID = "stranger"
        var number = 0
        while regions.contains(stranger) {
            number += 1
            stranger = RegionID(utf8: "stranger-\(number)".utf8) ?? stranger
        }
        id = stranger
    }
}

/// A command that was understood and refused: part of the scenario, and not a failure of the tool.
struct Refusal: Error {
    let json: JSON

    private static let codes: Set<HoldfastError.Code> = [
        .unknownRegion, .noSecondaryAvailable, .illegalTransition, .replayPending, .needsResync, .staleEpoch,
        .invalidConfiguration, .full, .tooLarge, .identityBelowFloor, .identityConflict, .positionOutOfRange,
    ]

    /// The refusal that an error is; throws the error itself when it is a failure.
    ///
    /// - Parameters:
    ///   - error: What the controller said.
    ///   - stranger: The region that the command named, if it may be none.
    /// - Throws: The error itself.
    init(_ error: HoldfastError, stranger: NamedRegion?) throws(HoldfastError) {
        let isOfTheMachine = error.field == "disk" || error.field == "map"
        guard Self.codes.contains(error.code), !isOfTheMachine else { throw error }
        guard let stranger, !stranger.isName, error.region == stranger.id else {
            // Where the temporary store is says nothing about the scenario, and is another place each time.
            var refusal = error
            refusal.path = nil
            json = refusal.json
            return
        }
        var members: [(String, JSON)] = [
            ("code", .string(error.code.description)), ("region", .string(stranger.name)),
            ("message", .string(Self.noName)),
        ]
        if let field = error.field { members.append(("field", .string(field))) }
        json = .object([("error", .object(members))])
    }

    init(staleEpoch given: UInt64, current: UInt64) {
        var error = HoldfastError(
            code: .staleEpoch,
            message: "The caller acts on epoch \(given), but the epoch is \(current): the acting primary has changed. "
                + "Read who it is now before you decide again."
        )
        error.count = current
        json = error.json
    }

    init(badName name: String, field: String, _ message: String) {
        json = .object([
            (
                "error",
                .object([
                    ("code", .string(HoldfastError.Code.invalidConfiguration.description)), ("region", .string(name)),
                    ("message", .string(message)), ("field", .string(field)),
                ])
            )
        ])
    }

    private static let noName =
        "The text cannot be the name of a region, so it is in no deployment. A name is 1 to \(RegionID.lengthMax) of "
        + "A-Z a-z 0-9 . _ - and nothing else."
}
