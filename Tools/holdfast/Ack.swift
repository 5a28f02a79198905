import ArgumentParser
import Holdfast
import Lines

/// `holdfast ack`: says that a region has received everything up to a position.
struct Ack: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say that a region has received everything up to a position: these entries leave the queue.",
        discussion: """
            It is durable when the command ends. A position that was acknowledged before changes nothing.

            Example:
              holdfast ack ./store --region eu-west-1 --through 256
            """
    )

    @OptionGroup var argument: StoreArgument
    @Option(help: "The region that has received the entries.", transform: regionArgument)
    var region: RegionID
    @Option(help: "The last position that it has received.")
    var through: UInt64
    @OptionGroup var epoch: EpochOption
    @OptionGroup var format: FormatOption

    func run() async throws {
        let receipt = try await argument.withController { controller in
            try await controller.acknowledge(region, through: through, ifEpoch: epoch.ifEpoch)
        }
        var members: [(String, JSON)] = [
            ("region", .string(region.rawValue)), ("through", .unsigned(through)),
            ("acknowledged", .unsigned(receipt.acknowledged)),
        ]
        if receipt.goneBefore > 0 { members.append(("goneBefore", .unsigned(receipt.goneBefore))) }
        members.append(("remaining", .unsigned(receipt.remaining)))
        var facts = [("region", region.rawValue), ("acknowledged", "\(receipt.acknowledged)")]
        if receipt.goneBefore > 0 { facts.append(("gone before, not received", "\(receipt.goneBefore)")) }
        try printObject(format.forObject, .object(members), facts + [("remaining", "\(receipt.remaining)")])
    }
}
