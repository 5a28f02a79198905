import ArgumentParser
import Platform

@main struct HoldfastTool: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "holdfast",
        abstract: "Look into a store of outstanding writes, change it, check it and shrink it.",
        discussion: """
            A store is a directory. Make one, queue writes for a region that cannot be reached, and look at the queue:

              holdfast init ./store --local us-east-1 --regions us-east-1,eu-west-1
              holdfast append ./store --region eu-west-1 --incarnation 0 writes.jsonl
              holdfast queues ./store

            Results go to standard output, everything else to standard error. Exit codes: 0 fine, 1 refused or other, \
            64 usage, 65 damaged or malformed, 66 not found, 73 cannot create, 74 input or output, 75 in use or not \
            reached (try later), 77 permission, 78 format too new, 130 ended by Ctrl-C.
            """,
        version: toolVersion,
        groupedSubcommands: [
            CommandGroup(name: "Make and fill", subcommands: [Init.self, Append.self, Load.self]),
            CommandGroup(
                name: "Look",
                subcommands: [
                    Info.self, Queues.self, Records.self, Get.self, Lost.self, Dump.self, History.self, Snapshot.self,
                    Digest.self, Diff.self,
                ]
            ),
            CommandGroup(name: "Deliver", subcommands: [Replay.self, Ack.self, Drain.self, DeadLetterQueue.self]),
            CommandGroup(name: "Fail over", subcommands: [Region.self]),
            CommandGroup(
                name: "Care",
                subcommands: [
                    Check.self, Compact.self, Backup.self, Restore.self, Recover.self, Upgrade.self, Doctor.self,
                    Simulate.self, CrashTest.self, Version.self,
                ]
            ),
        ]
    )

    static func main() async {
        System.ignoreSignals()
        occupyStandardDescriptors()
        let arguments = Array(CommandLine.arguments.dropFirst())
        do {
            try Advice.checkVerb(arguments)
            var command = try parseAsRoot(arguments)
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch {
            end(with: error, asJSON: wantsJSON(arguments))
        }
    }
}

/// Fills the places of standard descriptors that the caller has closed.
///
/// Otherwise the data file could become descriptor 1, and the result be written into it. What stands there now refuses
/// both reading and writing, so the failure is told.
private func occupyStandardDescriptors() {
    let pathOnly: CInt = 0x20_0000
    // A file does not close a standard descriptor when it goes.
    while let file = try? File("/dev/null", pathOnly), file.descriptor <= 2 {}
}

/// The version of the tool and the package.
let toolVersion = "0.1.0"
