#!/usr/bin/env python3
"""Takes one promise of the store or of a replica away at a time, and expects the suites to notice.

    Tests/mutants.py [--only WORD] [--keep DIRECTORY]

Clones the repository as it is committed, builds it with the trait Etcd, and for each line below changes one place, builds
again, and runs the suites that should fail. Takes about two minutes a mutant, and needs what Tools/test installs. Exit status: 0 when every mutant is caught, 1 when one survives, 2
when the list no longer fits the source.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORE = "Sources/ReplayStore/"
REPLICA = "Sources/RaftApply/"
ETCD = "Sources/EtcdLog/"
BUILD = ".build-etcd"

# (name, file, what stands there, what stands there instead, the suites of which one must fail)
MUTANTS = [
    (
        "commits are not synced",
        "Sources/LMDB/Environment.swift",
        "case .readWrite: break",
        "case .readWrite: flags |= UInt32(MDB_NOSYNC)",
        "SyncTests|PowerLossTests",
    ),
    (
        "the meta page is not synced",
        "Sources/LMDB/Environment.swift",
        "case .readWrite: break",
        "case .readWrite: flags |= UInt32(MDB_NOMETASYNC)",
        "SyncTests|PowerLossTests",
    ),
    (
        "a block's checksum is not compared",
        "Sources/ReplayFormat/Block.swift",
        "guard XXH3.hash64(body) == block.bigEndian(at: body.count) else",
        "guard XXH3.hash64(body) != 0 || body.isEmpty else",
        "BitRotTests|ContainedDamageTests",
    ),
    (
        "a row's checksum is not compared",
        "Sources/ReplayFormat/Table.swift",
        "guard checksum(table, key, fields) == value.bigEndian(at: fields.count) else",
        "guard checksum(table, key, fields) != 0 || key.isEmpty else",
        "BitRotTests|HiddenRowsTests",
    ),
    (
        "a region's row is not stored: its cursor and its counters",
        STORE + "StoreTransaction.swift",
        "guard let row = core.rows[region] else { continue }",
        "guard let row = core.rows[region], row.counters.acknowledged == 0 else { continue }",
        "KillTests|FaultPointTests",
    ),
    (
        "the identities of what was appended are not stored",
        STORE + "StoreTransaction.swift",
        "try storeSeen()\n",
        "",
        "KillTests|FaultPointTests",
    ),
    (
        "what was lost has no row in the ledger",
        STORE + "StoreTransaction+Head.swift",
        "try put(lost.encoded(), key: Key.lost(region, queue: row.number, first: first, last: last), in: .lost)\n",
        "_ = lost\n",
        "ContainedDamageTests",
    ),
    (
        "a region that lost entries is not marked",
        STORE + "StoreTransaction+Queue.swift",
        "row.needsResync = true\n",
        "",
        "ContainedDamageTests",
    ),
    (
        "a copy is not synced before it takes the store's place",
        STORE + "StoreBuilder.swift",
        "        try engine { () throws(LMDBError) in try environment.sync() }\n"
        "        FaultPoint.reach(.buildSync)\n",
        "        FaultPoint.reach(.buildSync)\n",
        "PowerVerbTests",
    ),
    (
        "a copy's commits and its file are not synced before it takes the store's place",
        STORE + "StoreBuilder.swift",
        "    private func syncAll() throws(HoldfastError) {\n",
        "    private func syncAll() throws(HoldfastError) {\n        guard path.isEmpty else { return }\n",
        "PowerVerbTests",
    ),
    (
        "the new name is not synced after the swap",
        STORE + "StoreCompact.swift",
        "try system { () throws(SystemError) in try FileSystem.syncDirectory(path) }",
        "_ = path",
        "PowerVerbTests",
    ),
    (
        "a copy is not compared before it takes the store's place",
        STORE + "StoreCompact.swift",
        "        try prove(destination, file, superblock, carried)\n",
        "",
        "MistakeTests|CarriedTests",
    ),
    (
        "a store goes on after a commit of which nobody knows",
        STORE + "StoreWriter.swift",
        "if failure.isOutcomeUnknown { poison(failure.error, core) } else { recover(core, hooks) }",
        "recover(core, hooks)",
        "FileFaultTests|VanishedTests|DiskFaultTests",
    ),
    (
        "the name of a replica's new state is not synced before it counts",
        "Sources/RaftApply/ReplicaDirectory.swift",
        "            try file.sync()\n            try FileSystem.rename(next",
        "            try FileSystem.rename(next",
        "SnapshotInstallTests",
    ),
    (
        "nothing is kept for acknowledgements on a full disk",
        STORE + "StoreWriter.swift",
        "if appends.isEmpty, controls.allSatisfy(\\.puts.isEmpty) { core.space.makeRoomToRemove() }",
        "",
        "FullAcknowledgeTests|FullDiskTests",
    ),
    (
        "a page is believed whose rows do not fill it",
        "Sources/Pages/Page.swift",
        "return left == 0 && node == span.count",
        "return true",
        "StructureTests|HiddenRowsTests",
    ),
    (
        "what a reader read is of its commit, whatever was written meanwhile",
        "Sources/Pages/PageFile.swift",
        "return newest <= meta.transaction || newest - meta.transaction == 1",
        "return newest >= 0",
        "LookTests|LiveDumpTests|StaleReaderTests",
    ),
    (
        "a replica applies a log that has another command where its last one was",
        REPLICA + "Replica.swift",
        "guard index > 0 else { return }\n        for try await delivery",
        "guard index == .max else { return }\n        for try await delivery",
        "ReplicaTests/wentBackAndOn|NodeTests/wentBack",
    ),
    (
        "a read of what was acknowledged asks nobody",
        REPLICA + "Replica+Propose.swift",
        "case .linearizable: index = try await log.barrier()",
        "case .linearizable: index = machine.applied.index",
        "NemesisTests",
    ),
    (
        "a command that comes again is executed again",
        REPLICA + "SessionTable.swift",
        "if session.outcomes.contains(id.sequence) {",
        "if session.outcomes.contains(id.sequence), id.sequence == .max {",
        "FailoverConformanceTests",
    ),
    (
        "the log is trimmed beyond the newest snapshot",
        REPLICA + "Replica+Maintain.swift",
        "through = min(max(slowest, cut ?? 0), try await log.newestSnapshot()?.index ?? 0)",
        "through = max(slowest, cut ?? 0)",
        "ReplicaTests/quiet",
    ),
    (
        "no snapshot is made for a member that cannot get the newest one",
        REPLICA + "Replica+Maintain.swift",
        "return wanted.isMissed(missing)",
        "return wanted.isMissed(missing) && false",
        "ReplicaTests/snapshotGone",
    ),
    (
        "nobody is told which snapshot a member misses",
        REPLICA + "Replica+Maintain.swift",
        "missingSnapshot: missingSnapshot\n",
        "missingSnapshot: nil\n",
        "ReplicaTests/snapshotGone",
    ),
    (
        "what a member reports is put without what it misses",
        ETCD + "EtcdLog+Members.swift",
        "let value = try Self.encode(member, \"report\")",
        "var member = member\n        member.missingSnapshot = nil\n        let value = try Self.encode(member, \"report\")",
        "EtcdConformanceTests",
    ),
    (
        "an entry is put whether it is there or not",
        ETCD + "EtcdLog+Propose.swift",
        "$0.compare = [.created(key, at: 0)]\n            $0.success = [.put(key, command)",
        "$0.success = [.put(key, command)",
        "ProposeTests|EtcdConformanceTests",
    ),
    (
        "a trim deletes before it has noted what may be gone",
        ETCD + "EtcdLog+Trim.swift",
        "return noted < limit ? note : nil",
        "return noted == .max ? note : nil",
        "TrimTests/compacted",
    ),
    (
        "a member leads on whose election's key has gone",
        ETCD + "EtcdLog+Lead.swift",
        "guard look.kvs.first?.createRevision == election.revision else { return }",
        "guard look.kvs.count < 2 else { return }",
        "LeadTests/revoked",
    ),
]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", default="", help="only mutants whose name, or file, has this word")
    options.add_argument("--keep", help="a directory for the clone, which is kept and used again")
    options = options.parse_args()
    clone = pathlib.Path(options.keep or tempfile.mkdtemp(prefix="holdfast-mutants-"))
    try:
        return run(clone, options.only)
    finally:
        if not options.keep:
            shutil.rmtree(clone, ignore_errors=True)


def build(clone):
    return subprocess.run(
        ["swift", "build", "--build-tests", "--traits", "Etcd,ServiceLifecycleSupport", "--scratch-path", BUILD],
        cwd=clone,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(clone, only):
    mutants = [mutant for mutant in MUTANTS if only in mutant[0] or only in mutant[1]]
    for name, file, old, _, _ in mutants:
        count = (ROOT / file).read_text().count(old)
        if count != 1:
            print(f"'{name}': the place is found {count} times in {file}", file=sys.stderr)
            return 2
    if not (clone / ".git").exists():
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    first = build(clone)
    if first.returncode:
        print(first.stdout, file=sys.stderr)
        return 2
    survivors = 0
    for name, file, old, new, suites in mutants:
        path = clone / file
        text = path.read_text()
        path.write_text(text.replace(old, new))
        began = time.monotonic()
        built = build(clone)
        if built.returncode:
            print(f"'{name}' does not compile:\n{built.stdout[-2000:]}", file=sys.stderr)
            path.write_text(text)
            return 2
        program = f"{BUILD}/debug/holdfastPackageTests.xctest"
        command = ["timeout", "900", program, "--testing-library", "swift-testing", "--no-parallel", "--filter", suites]
        tested = subprocess.run(command, cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        path.write_text(text)
        lines = re.sub(r"\x1b\[[0-9;]*m", "", tested.stdout).splitlines()
        red = [line for line in lines if line.startswith("✘ Test \"")]
        verdict = "caught" if red else "hung or died" if tested.returncode else "SURVIVED"
        survivors += tested.returncode == 0
        print(f"{verdict:12} {time.monotonic() - began:5.0f} s  {name}", flush=True)
        for line in red[:2]:
            print(f"                      {line[2:130]}", flush=True)
    print(f"{len(mutants) - survivors} of {len(mutants)} mutants are caught.")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
