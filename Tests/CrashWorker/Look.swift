import Bytes
import Foundation
import Holdfast
import ReplayStore
import TestSupport

/// Prints a line for each store: what it holds, or the code that it was refused with.
///
/// A process of its own, since LMDB may end it on an image that nothing was promised of.
func lookAtStores(_ paths: [String]) {
    for path in paths {
        do throws(HoldfastError) {
            let reader = try StoreReader.open(path)
            let digest = try reader.look { (view) throws(HoldfastError) in try StoreDigest(view) }
            let report = try StoreCheck.run(reader, .full)
            let sum = String(digest.whole.high, radix: 16) + "-" + String(digest.whole.low, radix: 16)
            say("digest \(sum) \(report.isClean ? "clean" : "errors: \(report.findings)")")
        } catch {
            say("refused \(error.code) \(error.message)")
        }
    }
}

/// Opens each store as its service would, and prints a line of JSON that says what it tells of itself; or the code that it
/// was refused with.
func openStores(_ paths: [String]) async throws {
    for path in paths {
        let controller: RegionFailoverController
        do throws(HoldfastError) {
            controller = try await RegionFailoverController.open(at: path, options: PowerWorkload.options)
        } catch {
            say("refused \(error.code) \(error.message)")
            continue
        }
        let state = try JSONEncoder().encode(try await PowerState(controller))
        await controller.close()
        let report = try StoreCheck.run(path, level: .deep)
        say(report.isClean ? String(decoding: state, as: UTF8.self) : "errors: \(report.findings)")
    }
}

/// Each line is there even if the next store ends the process.
private func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }
