import ArgumentParser
import Holdfast
import Lines
import ReplayStore

/// `holdfast digest`: one number for what a store means.
struct Digest: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print a digest of what a store means, whatever its file looks like.",
        discussion: """
            Every entry ever queued, positions, counters, limits, what was seen, the ledger, the controller and its \
            history go in; the store's identity, its blocks and its free space do not. So a copy, a compacted store and \
            one restored from a backup have the same digest, and so have two stores with the same history. Everything is \
            checked first. The store must be closed: exit code 75 otherwise.

            Examples:
              holdfast digest ./store
              holdfast digest ./store --region eu-west-1 --format json
            """
    )

    @OptionGroup var argument: StoreArgument
    @Option(help: "Only this region's part.", transform: regionArgument)
    var region: RegionID?
    @OptionGroup var format: FormatOption

    func run() throws {
        let store = try ClosedStore(argument.store, otherwise: ", or compare 'holdfast queues' meanwhile.")
        try store.checkIsWhole()
        let digest = try store.reader.look { (view) throws(HoldfastError) in try StoreDigest(view) }
        guard let region else {
            return try printObject(
                format.forObject,
                .object([("digest", .string(digest.whole.text)), ("regions", .array(digest.regions.map(\.json)))]),
                [("digest", digest.whole.text)] + digest.regions.map { ($0.region.rawValue, $0.digest.text) }
            )
        }
        guard let part = digest.regions.first(where: { $0.region == region }) else {
            throw HoldfastError.unknownRegion(region).at(argument.store)
        }
        try printObject(
            format.forObject,
            part.json,
            [
                ("region", region.rawValue), ("digest", part.digest.text), ("chain", part.row.chain.text),
                ("head position", "\(part.row.headPosition)"), ("next position", "\(part.row.nextPosition)"),
            ]
        )
    }
}

extension StoreDigest.Region {
    fileprivate var json: JSON {
        .object([
            ("region", .string(region.rawValue)), ("digest", .string(digest.text)), ("chain", .string(row.chain.text)),
            ("headPosition", .unsigned(row.headPosition)), ("nextPosition", .unsigned(row.nextPosition)),
        ])
    }
}
