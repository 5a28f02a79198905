import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import TestSupport

/// Ends the process by SIGKILL, with a store open, while a child of it sleeps whose number it has said.
func forkAndDie(_ arguments: [String]) async throws {
    guard arguments.count == 1 else { exit(64) }
    let controller = try await RegionFailoverController.create(
        at: arguments[0],
        configuration: FailoverConfiguration(local: "us", regions: ["us", "eu"]),
        options: PowerWorkload.options
    )
    try await controller.append([.numbered("us", 1, 1)], to: "eu")
    var begun: [CInt] = [-1, -1]
    guard unsafe pipe(&begun) == 0 else { exit(71) }
    // Swift hides fork, since a child of a process with threads may do almost nothing.
    typealias Fork = @convention(c) () -> pid_t
    let fork = unsafe unsafeBitCast(dlsym(nil, "fork"), to: Fork.self)
    let child = fork()
    if child == 0 {
        _ = unsafe write(begun[1], "f", 1)
        sleep(600)
        _exit(1)
    }
    var byte: UInt8 = 0
    guard unsafe read(begun[0], &byte, 1) == 1 else { exit(71) }
    FileHandle.standardOutput.write(Data("\(child)\n".utf8))
    kill(getpid(), SIGKILL)
}
