private import CLMDB

/// A status that LMDB or the system returned, with the call that returned it.
package struct LMDBError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The C function, such as `mdb_txn_commit`.
    package let call: String
    /// The status: negative for LMDB's own, positive for an `errno`.
    package let status: CInt

    /// The call, and LMDB's words for the status.
    package var description: String { "\(call): \(unsafe String(cString: mdb_strerror(status)))" }

    /// Whether LMDB has no page left in its map.
    package var isMapFull: Bool { status == MDB_MAP_FULL }
    /// Whether the file is not what LMDB wrote.
    ///
    /// `MDB_BAD_TXN` is that, too: every other failure of a transaction is told by the call that met it, and ends the
    /// transaction. Only `mdb_cursor_open` keeps to itself that the root of a database cannot be used.
    package var isDamage: Bool {
        [MDB_CORRUPTED, MDB_PAGE_NOTFOUND, MDB_INVALID, MDB_VERSION_MISMATCH, MDB_BAD_TXN].contains(status)
    }
    /// Whether LMDB does nothing any more, after an earlier failure.
    package var isPanic: Bool { status == MDB_PANIC }
    /// Whether no further named database can be opened.
    package var isDatabasesFull: Bool { status == MDB_DBS_FULL }
    /// Whether a key that was to be appended is not above the last one.
    package var isKeyExists: Bool { status == MDB_KEYEXIST }
    /// Whether every reader slot is taken.
    package var isReadersFull: Bool { status == MDB_READERS_FULL }
}

/// Turns a C status into a thrown error.
///
/// The only place where a status is compared with `MDB_SUCCESS`.
@inline(__always) func check(_ call: StaticString, _ status: CInt) throws(LMDBError) {
    guard status == MDB_SUCCESS else { throw LMDBError(call: "\(call)", status: status) }
}
