#if Etcd
import FlyingFox
import Foundation
import Holdfast
import RaftApply
import ReplayStore

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// Brings snapshots from member to member over their doors.
struct HTTPSnapshots: SnapshotTransport {
    /// Where this member keeps what it offers.
    private let local: DirectoryTransport
    /// Where the others reach this member's door, such as `http://10.0.0.1:7001`.
    private let base: String

    /// The paths under which a door gives snapshots.
    static let path = "/snapshots/"

    init(directory: String, base: String) {
        local = DirectoryTransport(path: directory)
        self.base = base
    }

    func offer(_ path: String, _ manifest: SnapshotManifest) async throws(HoldfastError) -> SnapshotManifest {
        var offered = try await local.offer(path, manifest)
        offered.location = base + Self.path + offered.location
        return offered
    }

    func fetch(_ manifest: SnapshotManifest, to path: String) async throws(HoldfastError) {
        guard let url = URL(string: manifest.location), url.scheme == "http" || url.scheme == "https" else {
            throw Self.unavailable("The snapshot's manifest names no address: '\(manifest.location)'.")
        }
        if let reason = await Self.download(url, to: path) {
            throw Self.unavailable("The snapshot could not be fetched from '\(manifest.location)': \(reason).")
        }
    }

    /// Why a file could not be fetched; nil when it was.
    private static func download(_ url: URL, to path: String) async -> String? {
        do {
            let (file, response) = try await URLSession.shared.download(from: url)
            let status = (response as? HTTPURLResponse)?.statusCode ?? 0
            guard status == 200 else { return "the answer was \(status)" }
            try FileManager.default.moveItem(at: file, to: URL(fileURLWithPath: path))
            return nil
        } catch {
            return "\(error)"
        }
    }

    private static func unavailable(_ message: String) -> HoldfastError {
        HoldfastError(code: .logUnavailable, message: message + " It is tried again.")
    }

    /// The file that a path of the door names.
    func response(_ path: String) throws -> HTTPResponse {
        let name = path.dropFirst(Self.path.count)
        let file = URL(fileURLWithPath: local.path).appending(path: String(name))
        guard !name.isEmpty, !name.contains("/"), !name.hasPrefix("."),
            FileManager.default.fileExists(atPath: file.path)
        else { return HTTPResponse(statusCode: .notFound) }
        return HTTPResponse(statusCode: .ok, body: try HTTPBodySequence(file: file, suggestedBufferSize: 256 << 10))
    }
}
#endif
