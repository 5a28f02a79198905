import Glibc

/// `outbox-demo DIRECTORY [--writes N] [--rounds N] [--seed S]`: the story, or that many rounds of random kills.
///
/// DIRECTORY is empty and gets everything. PostgreSQL's programs are on the PATH; `outbox-shipper` and `holdfast` are
/// beside this program.
@main
struct OutboxDemo {
    private struct Options {
        var directory = ""
        var writes = 4000
        var rounds = 0
        var seed: UInt64 = 1

        init?(_ arguments: ArraySlice<String>) {
            guard let directory = arguments.first, !directory.hasPrefix("--") else { return nil }
            self.directory = directory
            var rest = arguments.dropFirst()
            while let name = rest.popFirst() {
                guard let number = rest.popFirst().flatMap({ UInt64($0) }), number < 1 << 31 else { return nil }
                switch name {
                case "--writes": writes = Int(number)
                case "--rounds": rounds = Int(number)
                case "--seed": seed = number
                default: return nil
                }
            }
        }
    }

    static func main() async throws {
        guard let options = Options(CommandLine.arguments.dropFirst()) else {
            say("usage: outbox-demo DIRECTORY [--writes N] [--rounds N] [--seed S]")
            exit(64)
        }
        let programs = CommandLine.arguments[0].split(separator: "/", omittingEmptySubsequences: false).dropLast()
        let deployment = Deployment(work: options.directory, programs: programs.joined(separator: "/"))
        let isExact: Bool
        if options.rounds > 0 {
            isExact = try await Rounds(deployment: deployment, count: options.rounds, seed: options.seed).run()
        } else {
            isExact = try await Story(deployment: deployment, writes: options.writes, seed: options.seed).run()
        }
        say(isExact ? "\nEvery write has arrived, once." : "\nFAILED: the regions differ.")
        exit(isExact ? 0 : 1)
    }
}
