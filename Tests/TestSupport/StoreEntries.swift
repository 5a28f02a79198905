package import Holdfast
import ReplayFormat
package import ReplayStore

extension StoreReader {
    /// Every entry that is queued for `region`.
    package func entries(of region: RegionID) throws(HoldfastError) -> [(position: UInt64, write: OutstandingWrite)] {
        try look { (view) throws(HoldfastError) in
            guard let row = try view.regionRow(region) else {
                throw HoldfastError(code: .damaged, message: "no region")
            }
            var entries: [(position: UInt64, write: OutstandingWrite)] = []
            let (codec, store) = (codec, view.superblock.store)
            try view.scan(.queue(row.number)) { (key, value) throws(HoldfastError) in
                let block = try format("A block") { () throws(FormatError) in
                    try VerifiedBlock(
                        value,
                        store: store,
                        queue: row.number,
                        firstPosition: try Key.number(from: key.span)
                    )
                    .entries(codec)
                }
                for entry in block where entry.position >= row.headPosition {
                    entries.append((entry.position, entry.write))
                }
                return true
            }
            return entries
        }
    }
}
