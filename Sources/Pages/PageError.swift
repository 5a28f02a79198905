package import Platform

/// A data file that cannot be read as LMDB wrote it.
package struct PageError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The page where it shows; nil where that is none.
    package var page: UInt64?
    /// What is wrong, for people.
    package var what: String
    /// The call of the system that failed; nil when the bytes were read and are wrong.
    package var system: SystemError?

    package init(_ what: String, page: UInt64? = nil) {
        self.page = page
        self.what = what
    }

    init(_ system: SystemError) {
        what = system.description
        self.system = system
    }

    package var description: String { page.map { "page \($0): \(what)" } ?? what }
}
