import RegionFailover
import Testing

@Suite("A region name") struct RegionIDTests {
    @Test("is 1 to 63 letters, digits, dots, underscores and hyphens")
    func syntax() throws {
        let every = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
        for name in [String(every.prefix(63)), String(every.suffix(63)), "a", "-", ".", "eu-west-1"] {
            #expect(try RegionID(name).rawValue == name)
            #expect(RegionID(utf8: name.utf8)?.rawValue == name)
        }
    }

    @Test("is nothing else: every byte by itself", arguments: 0...255 as ClosedRange<UInt8>)
    func everyByte(byte: UInt8) {
        let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-".utf8
        #expect((RegionID(utf8: [byte]) != nil) == letters.contains(byte))
        #expect((RegionID(utf8: [0x61, byte, 0x7A]) != nil) == letters.contains(byte))
    }

    @Test(
        "from outside that is none is refused",
        arguments: ["", "e u", "caf\u{e9}", "a/b", "a\0", "\u{1F30D}", String(repeating: "x", count: 64), "a\n"]
    )
    func badNames(name: String) throws {
        let error = try #require(throws: FailoverError.self) { try RegionID(name) }
        #expect(error.code == .invalidConfiguration)
        #expect(error.field == "region")
        #expect(RegionID(utf8: name.utf8) == nil)
    }

    @Test("is ordered by its bytes") func order() {
        let names: [RegionID] = ["-", ".", "0", "9", "A", "AB", "Z", "_", "a", "a-", "a.", "aa", "z"]
        #expect(names.reversed().sorted() == names)
        for (one, other) in zip(names, names.dropFirst()) {
            #expect(one.rawValue.utf8.lexicographicallyPrecedes(other.rawValue.utf8))
        }
    }

    @Test("prints as itself") func prints() {
        let name: RegionID = "eu-west-1"
        #expect("\(name)" == "eu-west-1")
    }

    @Test("that is a bad literal stops the program") func badLiteral() async {
        await #expect(processExitsWith: .failure) {
            let name: RegionID = "not a name"
            print(name)
        }
    }
}

@Suite("A timestamp") struct TimestampTests {
    @Test("stops at the ends of its range") func saturates() {
        let first = Timestamp(milliseconds: .min)
        let last = Timestamp(milliseconds: .max)
        let start = Timestamp(milliseconds: 0)
        #expect(last.advanced(by: 1) == last)
        #expect(last.advanced(by: .max) == last)
        #expect(first.advanced(by: -1) == first)
        #expect(first.advanced(by: .min) == first)
        #expect(start.advanced(by: .min) == first)
        #expect(start.advanced(by: 5).advanced(by: -7) == Timestamp(milliseconds: -2))
        #expect(last.milliseconds(since: first) == .max)
        #expect(first.milliseconds(since: last) == .min)
        #expect(start.milliseconds(since: first) == .max)
        #expect(first.milliseconds(since: start) == .min)
        #expect(last.milliseconds(since: last) == 0)
        #expect(Timestamp(milliseconds: 7).milliseconds(since: Timestamp(milliseconds: 10)) == -3)
        #expect(first < start && start < last)
    }
}
