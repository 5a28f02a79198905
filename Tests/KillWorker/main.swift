import Glibc
import Holdfast
import HoldfastTesting
import Platform

// A process that does one thing to a store, and is the only one that lets the environment kill it at a step: see FaultPoint.
guard FaultPoint.arm() else {
    print("HOLDFAST_FAULT is 'name:count', with the name of a FaultPoint.")
    exit(64)
}
do {
    try await KillTask.run(Array(CommandLine.arguments.dropFirst()))
} catch {
    print(error)
    exit(1)
}
