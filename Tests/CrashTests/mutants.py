#!/usr/bin/env python3
"""Takes one promise of the store away at a time, and expects the crash suites to notice.

    Tests/CrashTests/mutants.py [--only WORD] [--keep DIRECTORY]

Clones the repository as it is committed, builds it, and for each line below changes one place, builds again, and runs the
suites that should fail. Takes about two minutes a mutant. Exit status: 0 when every mutant is caught, 1 when one survives, 2
when the list no longer fits the source.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
STORE = "Sources/ReplayStore/"

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
]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", default="", help="only mutants whose name has this word")
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
        ["swift", "build", "--build-tests"], cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run(clone, only):
    mutants = [mutant for mutant in MUTANTS if only in mutant[0]]
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
        command = ["timeout", "900", "swift", "test", "--skip-build", "--filter", suites]
        tested = subprocess.run(command, cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        path.write_text(text)
        red = [line for line in tested.stdout.splitlines() if line.startswith("✘ Test \"")]
        verdict = "caught" if red else "hung or died" if tested.returncode else "SURVIVED"
        survivors += tested.returncode == 0
        print(f"{verdict:12} {time.monotonic() - began:5.0f} s  {name}", flush=True)
        for line in red[:2]:
            print(f"                      {line[2:130]}", flush=True)
    print(f"{len(mutants) - survivors} of {len(mutants)} mutants are caught.")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
