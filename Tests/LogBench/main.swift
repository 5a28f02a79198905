import Foundation

// LogBench rates ROUNDS SECONDS
// LogBench snapshot ENTRIES ROUNDS
//
// What a replicated controller costs on three members of etcd that it starts on loopback, as ratios within one run. Only a
// build with `-c release` tells anything.

#if Etcd
let arguments = Array(CommandLine.arguments.dropFirst())
switch arguments.first {
case "rates": try await measureRates(Array(arguments.dropFirst()))
case "snapshot": try await measureSnapshot(Array(arguments.dropFirst()))
case "replica": try await runReplica(Array(arguments.dropFirst()))
default:
    print("usage: LogBench rates ROUNDS SECONDS")
    print("       LogBench snapshot ENTRIES ROUNDS")
    exit(64)
}
#else
print("This was built without etcd. Build it with: swift build -c release --traits Etcd --product LogBench")
exit(64)
#endif
