internal import LMDB
internal import Pages
internal import Platform

/// Runs calls to the system, and maps their error.
func system<Result>(_ body: () throws(SystemError) -> Result) throws(HoldfastError) -> Result {
    do throws(SystemError) {
        return try body()
    } catch {
        throw HoldfastError(error)
    }
}

/// Reads pages, and maps their error.
func pages<Result>(_ body: () throws(PageError) -> Result) throws(HoldfastError) -> Result {
    do throws(PageError) {
        return try body()
    } catch {
        throw HoldfastError(error)
    }
}

/// Runs calls to LMDB, and maps their error.
func engine<Result: ~Copyable>(_ body: () throws(LMDBError) -> Result) throws(HoldfastError) -> Result {
    do throws(LMDBError) {
        return try body()
    } catch {
        throw HoldfastError(error)
    }
}
