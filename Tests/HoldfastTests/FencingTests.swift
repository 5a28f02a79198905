import Holdfast
import HoldfastTesting
import Testing

@Suite("A guard of epochs") struct FencingTests {
    @Test("keeps the highest epoch and refuses a lower one, as a value") func value() throws {
        var epoch = FencingEpoch()
        #expect(epoch.highest == 0)
        #expect(try epoch.admit(3))
        #expect(try epoch.admit(3) == false)
        let stale = #expect(throws: HoldfastError.self) { try epoch.admit(2) }
        #expect(stale?.code == .staleEpoch && stale?.count == 3)
        let none = #expect(throws: HoldfastError.self) { try epoch.admit(0) }
        #expect(none?.code == .invalidConfiguration && none?.field == "epoch")
        #expect(epoch.highest == 3)
        #expect(try epoch.admit(.max))
        #expect(FencingEpoch(highest: .max) == epoch)
    }

    @Test("keeps it on the disk") func durable() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("guard")
        var highest: UInt64 = 0
        let fencing = try await FencingGuard.create(at: path)
        #expect(fencing.highest == 0)
        await fencing.close()
        for epoch in [1, 1, 5, 4, 2, 5, 9, 8] as [UInt64] {
            let fencing = try await FencingGuard.open(at: path)
            #expect(fencing.highest == highest)
            if epoch < highest {
                let error = await #expect(throws: HoldfastError.self) { try await fencing.admit(epoch) }
                #expect(error?.code == .staleEpoch && error?.count == highest)
            } else {
                #expect(try await fencing.admit(epoch) == (epoch > highest))
                highest = epoch
            }
            #expect(fencing.highest == highest)
            await fencing.close()
        }
        let closed = try await FencingGuard.open(at: path)
        await closed.close()
        #expect(await code { try await closed.admit(10) } == .closed)
    }

    @Test("never goes back, with many tasks at once") func concurrent() async throws {
        let directory = try TemporaryDirectory()
        let fencing = try await FencingGuard.create(at: directory.appending("guard"))
        let admitted = try await withThrowingTaskGroup(of: UInt64?.self) { group in
            for epoch in (1...64 as ClosedRange<UInt64>).shuffled() {
                group.addTask {
                    do throws(HoldfastError) {
                        try await fencing.admit(epoch)
                        #expect(fencing.highest >= epoch)
                        return epoch
                    } catch {
                        #expect(error.code == .staleEpoch && error.count.map { $0 > epoch } == true)
                        return nil
                    }
                }
            }
            return try await group.reduce(into: []) { $0 += [$1].compactMap(\.self) }
        }
        #expect(admitted.contains(64) && fencing.highest == 64)
        await fencing.close()
    }
}
