import ArgumentParser
import Bytes
import Dispatch
import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import Platform
import ReplayFormat
import ReplayStore
import TestSupport

@testable import HoldfastTool
@testable import Lines

/// The decoders of text: JSON, the lines of `append`, scenarios, and dumps.
enum TextTargets {
    static let all: [FuzzTarget] = [json, line, scenario, load]

    /// The lines of a text of the tests.
    private static func lines(_ path: String) throws -> [[UInt8]] {
        try String(contentsOf: Tool.source(path), encoding: .utf8).split(separator: "\n").map { Array($0.utf8) }
    }

    private static let json = FuzzTarget(
        name: "json",
        allowance: 1 << 20,
        seeds: {
            let words =
                #"{"a":[1,-2,3.5e7,true,false,null,"\u0041\ud83d\ude00\n"],"b":{},"c":[],"d":18446744073709551615}"#
            return try lines("Tests/CommandTests/Golden/scenario.in.jsonl").filter {
                $0.count < 4000 && (try? JSON(parsing: $0)) != nil
            } + [Array(words.utf8)]
        },
        mutate: { mutator, corpus in mutator.isOne(of: 2) ? mutator.mutateText(corpus) : mutator.mutate(corpus) },
        decode: { input in
            guard let value = try? JSON(parsing: input) else { return false }
            let line = value.line
            guard let again = try? JSON(parsing: Array(line.utf8)), again.line == line else {
                throw Broken("it prints to something else")
            }
            _ = (value.members, value.unsignedValue, value.signedValue)
            return true
        }
    )

    private static let line = FuzzTarget(
        name: "line",
        allowance: 1 << 20,
        seeds: {
            let plain =
                #"{"origin":"us","incarnation":0,"sequence":1,"key":"k","value":"v","timestampMs":-5,"clock":"c"}"#
            let coded =
                #"{"origin":"eu-west-1","sequence":"7","keyBase64":"AAECAw==","valueHex":"00ff10","kind":"delete"}"#
            return [Array(plain.utf8), Array(coded.utf8)]
        },
        mutate: { mutator, corpus in mutator.isOne(of: 2) ? mutator.mutateText(corpus) : mutator.mutate(corpus) },
        decode: { input in
            let write: OutstandingWrite
            do throws(MalformedLine) {
                write = try OutstandingWrite(line: input, incarnation: 3)
            } catch {
                return false
            }
            for form in [ValueForm.base64, .hex, .utf8] {
                let again = Array(JSON.object(write.members(form)).line.utf8)
                guard let read = try? OutstandingWrite(line: again, incarnation: nil), read == write else {
                    throw Broken("it prints to something else")
                }
            }
            return true
        }
    )

    /// Waits for a task, on a thread of its own.
    static func wait<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) throws -> Value {
        let outcome = Lock<Result<Value, any Error>?>(nil)
        let done = DispatchSemaphore(value: 0)
        Task {
            let result: Result<Value, any Error>
            do { result = .success(try await body()) } catch { result = .failure(error) }
            outcome.withLock { $0 = result }
            done.signal()
        }
        done.wait()
        guard let result = outcome.withLock({ $0 }) else { throw Broken("no outcome") }
        return try result.get()
    }

    /// Whole scenarios, played over a store.
    private static let scenario = FuzzTarget(
        name: "scenario",
        allowance: 8 << 20,
        seeds: {
            let golden = try lines("Tests/CommandTests/Golden/scenario.in.jsonl").filter { $0.count < 2000 }
            let configure = #"{"do":"configure","local":"us","regions":["us","eu","ap"],"suspectAfterMs":15000}"#
            return stride(from: 4, to: golden.count, by: 12).map { start in
                Array(([Array(configure.utf8)] + golden[start..<min(golden.count, start + 12)]).joined(separator: [10]))
            }
        },
        mutate: { mutator, corpus in mutator.mutateText(corpus) },
        share: 6,
        decode: { input in
            try wait {
                var answered = 0
                let run = ScenarioRun()
                for line in input.split(separator: 10) {
                    guard let answer = try await run.answer(to: .text(Array(line))) else { continue }
                    guard let members = answer.members, members.count == 1 else { throw Broken("no answer") }
                    if members["ok"] != nil { answered += 1 }
                }
                await run.end()
                return answered > 0
            }
        }
    )

    // MARK: Dumps

    /// The lines of a dump, with a trailer that fits.
    private static func sealed(_ lines: [[UInt8]]) -> [UInt8] {
        var digest = LineDigest()
        var entries: UInt64 = 0
        for line in lines {
            digest.take(line)
            if let members = try? JSON(parsing: line).members, members["position"] != nil { entries += 1 }
        }
        let trailer = JSON.object([
            ("trailer", .string("holdfast")), ("entries", .unsigned(entries)), ("digest", .string(digest.text)),
            ("acknowledgedMeanwhile", .array([])),
        ])
        return Array((lines + [Array(trailer.line.utf8)]).joined(separator: [10]))
    }

    /// Changes a row behind its checksum.
    private static func changeRow(_ line: inout [UInt8], _ mutator: inout Mutator) {
        guard let members = try? JSON(parsing: line).members, let name = members["table"]?.stringValue,
            let table = Table(name: name),
            var key = members["keyBase64"]?.stringValue.flatMap({ Data(base64Encoded: $0) }),
            let value = members["valueBase64"]?.stringValue.flatMap({ Data(base64Encoded: $0) }), value.count >= 8
        else { return mutator.changeNumber(&line) }
        var fields = Array(value.dropLast(8))
        if mutator.isOne(of: 4) {
            var changed = Array(key)
            mutator.change(&changed)
            key = Data(changed)
        }
        mutator.change(&fields)
        let sealed = Row.seal(fields, key: Array(key.prefix(1 << 16 - 1)), in: table)
        line = Array(
            JSON.object([
                ("table", .string(name)), ("keyBase64", .string(key.base64EncodedString())),
                ("valueBase64", .string(Data(sealed).base64EncodedString())),
            ]).line.utf8
        )
    }

    private static let load = FuzzTarget(
        name: "load",
        allowance: 8 << 20,
        seeds: {
            let directory = try TemporaryDirectory()
            return try ["empty", "left", "failover", "history"].map { name in
                let path = directory.appending(name)
                try Fixture(name: name).copy(to: path)
                return Array(try Tool.run(["dump", path]).output.utf8)
            }
        },
        mutate: { mutator, corpus in
            var lines = mutator.pick(corpus).split(separator: 10).map { Array($0) }
            if mutator.isOne(of: 4) { return mutator.mutateText(corpus) }
            lines.removeLast()
            for _ in 0...mutator.number(below: 3) {
                let place = mutator.number(below: lines.count)
                if mutator.isOne(of: 3) {
                    lines = mutator.mutateText([Array(lines.joined(separator: [10]))]).split(separator: 10).map {
                        Array($0)
                    }
                    if lines.isEmpty { return [] }
                } else {
                    changeRow(&lines[place], &mutator)
                }
            }
            return sealed(lines)
        },
        share: 10,
        decode: { input in
            let directory = try TemporaryDirectory()
            let (dump, store) = (directory.appending("dump"), directory.appending("store"))
            try Data(input).write(to: URL(fileURLWithPath: dump))
            do {
                guard let load = try Load.parseAsRoot([store, dump]) as? Load else { throw Broken("no verb") }
                try load.run()
            } catch let error as Broken {
                throw error
            } catch {
                return false
            }
            guard try StoreCheck.run(store, level: .deep).isClean else { throw Broken("what was loaded is not whole") }
            return true
        }
    )
}
