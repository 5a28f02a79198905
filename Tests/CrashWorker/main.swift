import Glibc

/// What a test runs in a process of its own: a mode, and what that takes.
let arguments = CommandLine.arguments
switch arguments.dropFirst().first {
case "appenders": try await runAppenders(Array(arguments.dropFirst(2)))
case "workload": try await PowerWorkload.run(Array(arguments.dropFirst(2)))
case "ledger": try await runLedger(Array(arguments.dropFirst(2)))
case "hold": holdReaders(Array(arguments.dropFirst(2)))
case "look": lookAtStores(Array(arguments.dropFirst(2)))
case "open": try await openStores(Array(arguments.dropFirst(2)))
case "fork": try await forkAndDie(Array(arguments.dropFirst(2)))
case "reads": try await measureReads(Array(arguments.dropFirst(2)))
case "replay": try await replayStores(Array(arguments.dropFirst(2)))
case "structure": try await Structure.run(Array(arguments.dropFirst(2)))
default:
    print("usage: CrashWorker appenders STORE RECORD APPENDERS APPENDS | workload STORE RECORD SEED STEPS")
    print("       CrashWorker ledger LEDGER RECORD SEED STEPS | hold STORE READERS")
    print("       CrashWorker look STORE... | open STORE... | replay STORE... | fork STORE")
    print("       CrashWorker reads DIRECTORY ROUNDS")
    print("       CrashWorker structure make long|short STORE | structure sweep STORE SCRATCH")
    exit(64)
}
