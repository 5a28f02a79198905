#if Etcd
import Foundation
import Holdfast
import Lines
import ReplayFormat
import ReplayStore

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// A region that takes batches by HTTP: each is posted as JSON lines, and taken once the answer is 2xx.
///
/// 429, 502, 503, 504 and no answer at all are nobody's fault, and any other answer is a refusal.
struct HTTPSink: Sendable {
    let url: URL
    let member: String

    func send(_ batch: ReplayBatch, epoch: UInt64) async throws {
        var request = URLRequest(url: url)
        request.httpMethod = "POST"
        request.setValue("application/jsonl", forHTTPHeaderField: "Content-Type")
        request.setValue("\(epoch)", forHTTPHeaderField: "Holdfast-Epoch")
        request.setValue("\(batch.attempt)", forHTTPHeaderField: "Holdfast-Attempt")
        request.setValue(member, forHTTPHeaderField: "Holdfast-Member")
        var body: [UInt8] = []
        for entry in batch.entries {
            entry.json(batch.region, .base64).write(into: &body)
            body.append(UInt8(ascii: "\n"))
        }
        request.httpBody = Data(body)
        let answer: (data: Data, response: URLResponse)
        do {
            answer = try await URLSession.shared.data(for: request)
        } catch {
            throw RegionUnavailable("\(url) does not answer: \(error.localizedDescription)")
        }
        let status = (answer.response as? HTTPURLResponse)?.statusCode ?? 0
        let said = String(decoding: answer.data.prefix(500), as: UTF8.self)
        switch status {
        case 200..<300: return
        case 429, 502, 503, 504: throw RegionUnavailable("\(url) answered \(status): \(said)")
        default: throw Refused(description: "\(url) answered \(status): \(said)")
        }
    }

    private struct Refused: Error, CustomStringConvertible {
        var description: String
    }
}
#endif
