import ArgumentParser
import Lines
import Platform

/// `holdfast simulate`: plays a scenario over a temporary store.
struct Simulate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Play a scenario of failover commands over a temporary store.",
        discussion: """
            Each line is a command in JSON; each gets one line as an answer, as soon as it has been carried out. The first \
            one configures the deployment. Time stands still unless a command says atMs. A refused command is an answer, \
            not a failure; one that is no command changes nothing at all. The store is removed at the end; TMPDIR says \
            where it is meanwhile, /tmp otherwise.

            Commands: configure heartbeat tick demoteAndPromote readmit switchover append acknowledge drain pause resume \
            clearResync role state pending history epoch.

            Example:
              holdfast simulate scenario.jsonl

            where scenario.jsonl may hold:
              {"do":"configure","local":"us","regions":["us","eu"]}
              {"do":"demoteAndPromote","region":"us","atMs":40}
              {"do":"history"}
            """
    )

    @Argument(help: "JSON lines; standard input when left out or '-'.", completion: .file())
    var file: String?

    func run() async throws {
        var source = try open()
        let output = Output()
        let run = ScenarioRun()
        do {
            while let line = try readLine(&source) {
                guard let answer = try await run.answer(to: line) else { continue }
                try output.line(answer)
                // Whoever feeds the lines may wait for this answer before it sends the next one.
                try output.flush()
            }
        } catch {
            await run.end()
            throw error
        }
        await run.end()
    }

    private func open() throws -> LineReader {
        do throws(SystemError) {
            return try LineReader(file)
        } catch {
            throw unreadable(error)
        }
    }

    private func readLine(_ source: inout LineReader) throws -> LineReader.Line? {
        do throws(SystemError) {
            return try source.next()
        } catch {
            throw unreadable(error)
        }
    }

    private func unreadable(_ error: SystemError) -> Failure {
        let (status, code): (ExitStatus, String) =
            switch error.number {
            case 2, 20: (.notFound, "notFound")
            case 1, 13: (.notPermitted, "notPermitted")
            default: (.inputOutput, "ioFailed")
            }
        return Failure(status, code: code, "The scenario '\(file ?? "-")' cannot be read: \(error.description).")
    }
}
