import Glibc

// A process that uses stores on a disk that fails it: it prints what came of that.
let arguments = Array(CommandLine.arguments.dropFirst())
do {
    switch arguments.first {
    case "calls": try await FaultTask.runCalls(Array(arguments.dropFirst()))
    case "ledger": try await FaultTask.runCalls(Array(arguments.dropFirst()), isLedger: true)
    case "fileSize": try await FaultTask.runFileSize(Array(arguments.dropFirst()))
    case "full": try await FullTask.run(Array(arguments.dropFirst()))
    default: usage()
    }
} catch {
    print("WRONG \(error)")
    exit(1)
}

func usage() {
    print(
        "usage: DiskWorker calls|ledger DIRECTORY write|sync|durable|other ERRNO notDone|done|half once|lasts SEED OPERATIONS FIRST STEP"
    )
    print("       DiskWorker fileSize DIRECTORY SEED OPERATIONS FIRST STEP WORKLOADS")
    print("       DiskWorker full STORE SEED ACKNOWLEDGEMENTS none|FILLER")
    exit(64)
}
