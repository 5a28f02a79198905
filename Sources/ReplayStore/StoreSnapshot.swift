package import Bytes
private import Glibc
internal import Platform

/// A store's file as of one commit, made while the store goes on, to be another replica's.
package enum StoreSnapshot {
    /// What was written.
    package struct Written: Sendable, Hashable {
        package var bytes: UInt64
        package var checksum: Hash128
    }

    /// The checksum of a file: XXH3-128 over the XXH3-128 of each mebibyte, so that it can be made piece by piece.
    package static func checksum(_ path: String) throws(HoldfastError) -> Written {
        try system { () throws(SystemError) in
            let file = try File(path, O_RDONLY)
            var (offset, sums) = (Int64(0), [UInt8]())
            while true {
                let piece = try file.read(atMost: 1 << 20, at: offset)
                guard !piece.isEmpty else { break }
                let sum = XXH3.hash128(piece.span)
                sums.append(bigEndian: sum.high)
                sums.append(bigEndian: sum.low)
                offset += Int64(piece.count)
            }
            return Written(bytes: UInt64(offset), checksum: XXH3.hash128(sums.span))
        }
    }

    /// Copies a file, and syncs the copy; `to` is not there before.
    package static func copy(_ from: String, to: String) throws(HoldfastError) {
        try system { () throws(SystemError) in
            let source = try File(from, O_RDONLY)
            let copy = try File(to, O_RDWR | O_CREAT | O_EXCL)
            var offset = Int64(0)
            while true {
                let piece = try source.read(atMost: 1 << 20, at: offset)
                guard !piece.isEmpty else { break }
                try copy.write(piece)
                offset += Int64(piece.count)
            }
            try copy.sync()
        }
    }
}

extension ReplayStore {
    /// Writes the store as of one commit into a new directory, proved and synced, while it goes on.
    ///
    /// One read transaction: meanwhile the store's file can grow.
    package func writeSnapshot(to directory: String) async throws(HoldfastError) {
        let codec = codec
        try await read { (view) throws(HoldfastError) in
            let builder = try StoreBuilder(directory, file: DataFile.name)
            var rewrite = StoreRewrite(Rewriting(), codec: codec)
            try rewrite.copy(view, to: builder) { _, _ in }
            let superblock = rewrite.superblock(of: view)
            try builder.finish(superblock)
            try StoreCompact.prove(directory, DataFile.name, superblock, try CarriedRows(view))
            try builder.complete()
        }
    }
}
