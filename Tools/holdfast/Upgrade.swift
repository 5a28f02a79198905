import ArgumentParser
import Holdfast
import Lines
import ReplayStore

/// `holdfast upgrade`: brings a store to the format of this program.
struct Upgrade: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Bring a store of an older format to the format of this program.",
        discussion: """
            Each step from one version to the next is one transaction: interrupted, it goes on where it was when it is run \
            again. A newer format is refused with both versions named (exit code 78). The store must be closed; make a \
            backup first. Without --yes it only tells its plan. Version 1 is the first, so there is nothing to do yet.

            Example:
              holdfast upgrade ./store --yes
            """
    )

    @OptionGroup var argument: StoreArgument
    @Flag(help: "Do it: without this, it only tells its plan.")
    var yes = false
    @OptionGroup var format: FormatOption

    func run() throws {
        let report = try StoreUpgrade.run(argument.store, isDry: !yes)
        let steps = report.steps.joined(separator: ", then ")
        try printObject(
            format.forObject,
            .object([
                ("store", .string(argument.store)), ("format", .unsigned(UInt64(report.from))),
                ("newest", .unsigned(UInt64(report.to))), ("steps", .array(report.steps.map { .string($0) })),
                ("done", .bool(report.isDone)),
            ]),
            [
                ("store", argument.store), ("format", "\(report.from); this program's is \(report.to)"),
                (report.isDone ? "done" : "to do", steps.isEmpty ? "nothing to do" : steps),
            ]
        )
    }
}
