import ArgumentParser
import Holdfast
import Lines
import ReplayFormat

extension ValueForm: ExpressibleByArgument {}

extension QueueEntry {
    /// The entry's cells in a table, in the order of ``columns(_:)``.
    func cells(_ region: RegionID, _ form: ValueForm) -> [String] {
        let cells = [
            region.rawValue, "\(position)", write.origin.rawValue, "\(write.incarnation)", "\(write.sequence)",
            write.kind.name, timeText(enqueuedAt), write.keyText(form),
        ]
        return form == .none ? cells : cells + [write.valueText(form)]
    }

    /// The columns of a table of entries.
    static func columns(_ form: ValueForm) -> [Column] {
        let columns: [Column] = [
            .text("region"), .number("position"), .text("origin"), .number("incarnation"), .number("sequence"),
            .text("kind"), .text("enqueued"), .text("key"),
        ]
        return form == .none ? columns : columns + [.text("value")]
    }
}

extension OutstandingWrite {
    /// The key in a cell of a table.
    func keyText(_ form: ValueForm) -> String {
        String(validating: key, as: UTF8.self) ?? (form.carriesBytes ? form : .lengthAndHash).text(key)
    }

    /// The value in a cell of a table.
    func valueText(_ form: ValueForm) -> String { form.text(value) }
}
