#if Etcd
import FlyingFox
import Holdfast
import Lines
import RaftApply
import RegionFailover
import ReplayStore

/// What was sent is no request that the door knows.
struct BadRequest: Error {
    var message: String

    init(_ message: String) { self.message = message }
}

/// Reads a region's name.
func regionName(_ name: String) throws -> RegionID {
    guard let region = RegionID(utf8: name.utf8) else {
        throw BadRequest("'\(name)' is no name of a region: 1 to 63 of A-Z a-z 0-9 . _ -")
    }
    return region
}

/// What stands behind the question mark.
struct Query {
    private let items: [(name: String, value: String)]

    init(_ request: HTTPRequest) { items = request.query.map { ($0.name, $0.value) } }

    subscript(_ name: String) -> String? { items.first { $0.name == name }?.value }

    func number(_ name: String) throws -> UInt64? {
        guard let text = self[name] else { return nil }
        guard let number = UInt64(text) else { throw BadRequest("'\(name)' is no whole number.") }
        return number
    }

    func region() throws -> RegionID {
        guard let name = self["region"] else { throw BadRequest("Say 'region'.") }
        return try regionName(name)
    }

    func regions() throws -> [RegionID] {
        let names = items.filter { $0.name == "region" }.map(\.value)
        guard !names.isEmpty else { throw BadRequest("Say 'region', once for each.") }
        return try names.map(regionName)
    }

    func consistency() throws -> ReadConsistency {
        guard let text = self["consistency"], text != "linearizable" else { return .linearizable }
        if text == "local" { return .local }
        guard let index = UInt64(text) else {
            throw BadRequest("'consistency' is 'linearizable', 'local', or an index.")
        }
        return .index(index)
    }
}

/// The deployment that a request asks for.
struct DeploymentRequest {
    var configuration: FailoverConfiguration
    var limits: QueueLimits?
    var force: Bool

    /// Reads the object; throws what is wrong with it.
    init(_ body: [UInt8]) throws {
        let json: JSON
        do throws(JSONError) { json = try JSON(parsing: body) } catch { throw BadRequest(error.description) }
        guard let members = json.members else { throw BadRequest("The body is no JSON object.") }
        let known = [
            "local", "regions", "suspectAfterMs", "automaticFailover", "entriesMax", "bytesMax", "force",
        ]
        if let name = members.keys.sorted().first(where: { !known.contains($0) }) {
            throw BadRequest("'\(name)' is unknown; known are \(known.joined(separator: ", ")).")
        }
        func read<Value>(_ name: String, _ value: (JSON) -> Value?, _ what: String) throws -> Value? {
            guard let member = members[name] else { return nil }
            guard let value = value(member) else { throw BadRequest("\"\(name)\" is no \(what).") }
            return value
        }
        guard let local = try read("local", \.stringValue, "text") else { throw BadRequest("\"local\" is missing.") }
        guard case .array(let names)? = members["regions"] else { throw BadRequest("\"regions\" is no list of names.") }
        configuration = FailoverConfiguration(
            local: try regionName(local),
            regions: try names.map { try regionName($0.stringValue ?? "") }
        )
        if let after = try read("suspectAfterMs", \.signedValue, "whole number") {
            configuration.suspectAfterMilliseconds = after
        }
        if let automatic = try read("automaticFailover", \.boolValue, "true or false") {
            configuration.automaticFailover = automatic
        }
        let entries = try read("entriesMax", \.unsignedValue, "whole number")
        let bytes = try read("bytesMax", \.unsignedValue, "whole number")
        if entries != nil || bytes != nil {
            var limits = QueueLimits()
            (limits.entriesMax, limits.bytesMax) = (entries, bytes)
            self.limits = limits
        }
        force = try read("force", \.boolValue, "true or false") ?? false
    }
}
#endif
