private import Glibc
internal import Pages
internal import Platform
internal import RegionFailover

/// What a walk over the pages of a data file finds, as a check tells it.
enum PageFindings {
    /// Walks over every page of the file at `path`, as of the newest meta page that can be read.
    ///
    /// `queues`: Whose queues are known, by their numbers.
    static func of(_ path: String, _ queues: [UInt32: RegionID] = [:]) throws(HoldfastError) -> [StoreCheck.Finding] {
        let data = try system { () throws(SystemError) in try File(regular: path, O_RDONLY) }
        let file: PageFile
        do throws(PageError) {
            file = try PageFile(data)
        } catch {
            guard error.system == nil else { throw HoldfastError(error) }
            return [finding("meta", error.what, page: error.page)]
        }
        var findings: [StoreCheck.Finding] = []
        var metas: [Meta] = []
        for slot in 0...1 {
            do throws(PageError) {
                metas.append(try file.meta(slot))
            } catch {
                guard error.system == nil else { throw HoldfastError(error) }
                findings.append(finding("meta", error.what, page: UInt64(slot)))
            }
        }
        guard let newest = metas.max(by: { $0.transaction < $1.transaction }) else { return findings }
        do throws(PageError) {
            try newest.checkRoots()
        } catch {
            return findings + [finding("meta", error.what, page: error.page)]
        }
        let walk = try pages { () throws(PageError) in try PageWalk(file, newest, .values) }
        return findings
            + walk.findings.map { found in
                finding(
                    found.code,
                    found.what,
                    region: found.table.split(separator: "/").last.flatMap { UInt32($0) }.flatMap { queues[$0] },
                    table: found.table,
                    page: found.page,
                    severity: found.isWarning ? .warning : .error
                )
            }
    }

    private static func finding(
        _ code: String,
        _ what: String,
        region: RegionID? = nil,
        table: String = "",
        page: UInt64?,
        severity: StoreCheck.Severity = .error
    ) -> StoreCheck.Finding {
        StoreCheck.Finding(
            code: "page." + code,
            severity: severity,
            region: region,
            table: table,
            page: page,
            message: (page.map { "Page \($0): " } ?? "") + what + ".",
            action: severity == .warning
                ? "Nothing is damaged. 'holdfast compact' writes the store anew."
                : "Open the store no more: keep a copy, and run 'holdfast recover STORE --to NEW', or restore a backup."
        )
    }
}
