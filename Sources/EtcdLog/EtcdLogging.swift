#if Etcd
internal import Logging

/// What a log tells its logger.
struct EtcdLogging: Sendable {
    let logger: Logger

    func memberChanged(from old: Endpoint, to new: Endpoint, _ reason: String) {
        logger.info(
            "Another member of etcd is used",
            metadata: ["etcd.from": "\(old)", "etcd.to": "\(new)", "holdfast.error": "\(reason)"]
        )
    }

    func watchEnded(_ member: Endpoint, _ reason: String) {
        logger.debug("A watch of etcd ended", metadata: ["etcd.member": "\(member)", "holdfast.error": "\(reason)"])
    }
}
#endif
