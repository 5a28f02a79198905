#!/usr/bin/env python3
"""Removes one guard of the machine at a time, and expects the tests to notice.

    Tests/RegionFailoverTests/mutants.py [--sequences 1000] [--only WORD]

Copies the module and its tests into a throw-away package in which every guard below has a switch, builds that once,
and runs the model test with one switch thrown at a time. The assertions inside the module are off, so that the tests
alone must notice. Guards of the plain value types are left to all tests of the target. Exit status: 0 when every
mutant is caught, 1 when one survives, 2 when the list no longer fits the source.
"""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TESTS = pathlib.Path(__file__).resolve().parent
MODULE = TESTS.parent.parent / "Sources" / "RegionFailover"

MODEL, ALL = "model", "all"
MACHINE = "FailoverMachine.swift"
DETECTION = "FailoverMachine+Detection.swift"
PROMOTION = "FailoverMachine+Promotion.swift"
MEMBERSHIP = "FailoverMachine+Membership.swift"
REPLAY = "FailoverMachine+Replay.swift"
SNAPSHOT = "FailoverMachine+Snapshot.swift"
INVARIANTS = "FailoverMachine+Invariants.swift"
CONFIGURATION = "FailoverConfiguration.swift"
REGION = "RegionID.swift"
TIMESTAMP = "Timestamp.swift"

# (name, file, source with the mutated part between << and >>, what stands in its place). None removes a statement.
MUTANTS = [
    # Time
    ("time may go back", MACHINE, "time = <<max(time, now)>>", "now"),
    ("resume: silence is forgotten", MACHINE, "regions[index].lastSeen = <<regions[index].lastSeen.moved(from: before, to: time)>>", "time"),
    ("resume: downtime counts as silence", MACHINE, "regions[index].lastSeen = <<regions[index].lastSeen.moved(from: before, to: time)>>", "regions[index].lastSeen"),
    ("resume: the last tick stays behind", MACHINE, "<<lastTick = lastTick?.moved(from: before, to: time)>>", None),
    # Fencing and search
    ("checkEpoch: any epoch will do", MACHINE, "guard <<expected == epoch>> else", "true"),
    ("checkEpoch: an older epoch will do", MACHINE, "guard <<expected == epoch>> else", "expected <= epoch"),
    ("checkEpoch: a newer epoch will do", MACHINE, "guard <<expected == epoch>> else", "expected >= epoch"),
    ("init: any configuration will do", MACHINE, "<<try configuration.validate()>>", None),
    ("init: nobody is primary but the first", MACHINE, "<<region == configuration.local>> ? .primary", "region == configuration.regions[0]"),
    # Heartbeat
    ("heartbeat: an unknown region will do", DETECTION, "let index = <<try find(region)>>", "index(of: region) ?? 0"),
    ("heartbeat: last-seen stays", DETECTION, "advance(to: now)\n        <<regions[index].lastSeen = time>>\n        let events", None),
    ("heartbeat: a demoted primary becomes healthy (D5)", DETECTION, "case .recovering: <<role == .demotedPrimary ? .recovering : .healthy>>", ".healthy"),
    ("heartbeat: a recovering region never becomes healthy", DETECTION, "case .recovering: <<role == .demotedPrimary ? .recovering : .healthy>>", ".recovering"),
    ("heartbeat: a suspect region is healthy at once", DETECTION, "case .suspect, .failed: <<.recovering>>", ".healthy"),
    ("heartbeat: a failed region stays failed", DETECTION, "case .suspect, .failed: <<.recovering>>", "state == .failed ? .failed : .recovering"),
    ("an event without a change", DETECTION, "guard <<regions[index].state != state>> else", "true"),
    # Tick
    ("tick: suspects the living", DETECTION, "where <<isSilent(regions[index])>> {", "true"),
    ("tick: suspects a millisecond late", DETECTION, "<<time.milliseconds(since: status.lastSeen) >= configuration.suspectAfterMilliseconds>>", "time.milliseconds(since: status.lastSeen) > configuration.suspectAfterMilliseconds"),
    ("tick: a recovering region is never suspected (D6)", DETECTION, "case .healthy, .recovering: <<role == .demotedPrimary ? .failed : .suspect>>", "state == .recovering ? .recovering : .suspect"),
    ("tick: a demoted primary becomes suspect (D6)", DETECTION, "case .healthy, .recovering: <<role == .demotedPrimary ? .failed : .suspect>>", ".suspect"),
    ("tick: every quiet region fails", DETECTION, "case .healthy, .recovering: <<role == .demotedPrimary ? .failed : .suspect>>", ".failed"),
    ("tick: a failed region becomes suspect", DETECTION, "case .suspect, .failed: <<state>>", ".suspect"),
    ("tick: a detector pause goes unnoticed", DETECTION, "if <<detectorHasSlept>> {", "false"),
    ("tick: a detector pause a millisecond late", DETECTION, "return <<time.milliseconds(since: lastTick) >= limit>>", "time.milliseconds(since: lastTick) > limit"),
    ("tick: no grace after a detector pause", DETECTION, "for index in regions.indices { <<regions[index].lastSeen = time>> }", None),
    ("tick: leaves no trace for the next", DETECTION, "<<lastTick = time>>", None),
    # Demote and promote
    ("demoteAndPromote: not fenced", PROMOTION, "<<try checkEpoch(ifEpoch)>>\n        let old = try find(failed)", None),
    ("demoteAndPromote: an unknown region will do", PROMOTION, "let old = <<try find(failed)>>", "index(of: failed) ?? actingPrimaryIndex"),
    ("demoteAndPromote: anybody can be demoted", PROMOTION, "guard <<regions[old].role.isActingPrimary>> else", "true"),
    ("demoteAndPromote: takes anybody when there is nobody", PROMOTION, "guard let new = <<bestCandidate(pending: pending)>> else", "bestCandidate(pending: pending) ?? (regions.count - 1)"),
    ("demoteAndPromote: the old primary keeps its role", PROMOTION, "<<regions[old].role = .demotedPrimary>>", None),
    ("demoteAndPromote: the old primary is a secondary", PROMOTION, "<<regions[old].role = .demotedPrimary>>", "regions[old].role = .secondary"),
    ("demoteAndPromote: the old primary does not fail", PROMOTION, "<<regions[old].state = .failed>>", None),
    ("demoteAndPromote: does not tell what waits (D12)", PROMOTION, "let summary = <<pending[promoted] ?? .empty>>", "QueueSummary.empty"),
    ("epochs wrap around", PROMOTION, "guard <<!overflow>> else { throw .invariantViolated", "true"),
    ("promotion: no new epoch (D8)", PROMOTION, "<<epoch = next>>", None),
    ("promotion: last-seen stays (D14)", PROMOTION, "<<regions[index].lastSeen = time>>", None),
    ("promotion: a recovering region stays recovering", PROMOTION, "<<regions[index].state = .healthy>>", None),
    ("promotion: the role stays", PROMOTION, "<<regions[index].role = .promotedSecondary>>", None),
    ("candidate: a demoted primary will do", PROMOTION, "guard <<status.role == .secondary>>, status.state.isLive", "!status.role.isActingPrimary"),
    ("candidate: the acting primary itself will do", PROMOTION, "guard <<status.role == .secondary>>, status.state.isLive", "status.role != .demotedPrimary"),
    ("candidate: a suspect region will do", PROMOTION, "status.role == .secondary, <<status.state.isLive>> else", "status.state != .failed"),
    ("candidate: a failed region will do", PROMOTION, "status.role == .secondary, <<status.state.isLive>> else", "status.state != .suspect"),
    ("candidate: recovering as good as healthy (D7)", PROMOTION, "<<(status.state == .healthy ? 0 : 2)>>", "0"),
    ("candidate: completeness before health (D7)", PROMOTION, "<<(status.state == .healthy ? 0 : 2)>>", "(status.state == .healthy ? 0 : 1) + (queue?.needsResync == true ? 1 : 0)"),
    ("candidate: one that needs a resync as good as another (D7)", PROMOTION, "<<(queue?.needsResync == true ? 1 : 0)>>", "0"),
    ("candidate: the last declared wins (D7)", PROMOTION, "<<known.rank <= rank>>", "known.rank < rank"),
    ("candidate: one in no tier will do (D7)", PROMOTION, "let tiers = <<configuration.tiers.isEmpty ? [configuration.regions] : configuration.tiers>>", "[configuration.regions]"),
    ("candidate: tiers count for nothing (D7)", PROMOTION, "let tiers = <<configuration.tiers.isEmpty ? [configuration.regions] : configuration.tiers>>", "configuration.tiers.isEmpty ? [configuration.regions] : [configuration.tiers.flatMap { $0 }]"),
    ("candidate: no tiers mean nobody (D7)", PROMOTION, "let tiers = <<configuration.tiers.isEmpty ? [configuration.regions] : configuration.tiers>>", "configuration.tiers"),
    # Switchover
    ("switchover: not fenced", PROMOTION, "<<try checkEpoch(ifEpoch)>>\n        let new = try find(target)", None),
    ("switchover: an unknown region will do", PROMOTION, "let new = <<try find(target)>>", "index(of: target) ?? 0"),
    ("switchover: to a demoted primary", PROMOTION, "guard <<new.role == .secondary>> else", "!new.role.isActingPrimary"),
    ("switchover: to the acting primary itself", PROMOTION, "guard <<new.role == .secondary>> else", "new.role != .demotedPrimary"),
    ("switchover: to a suspect region", PROMOTION, "guard <<new.state.isLive>> else", "new.state != .failed"),
    ("switchover: to a failed region", PROMOTION, "guard <<new.state.isLive>> else", "new.state != .suspect"),
    ("switchover: to a region in no tier", PROMOTION, "guard <<configuration.mayBePromoted(new.region)>> else", "true"),
    ("switchover: no tiers mean nobody", PROMOTION, "<<tiers.isEmpty>> || tiers.contains", "false"),
    ("switchover: from a suspect primary", PROMOTION, "guard <<old.state.isLive>> else", "old.state != .failed"),
    ("switchover: from a failed primary", PROMOTION, "guard <<old.state.isLive>> else", "old.state != .suspect"),
    ("switchover: with writes outstanding", PROMOTION, "guard <<summary.entries == 0>> else", "true"),
    ("switchover: to one that needs a resync", PROMOTION, "guard <<!summary.needsResync>> else", "true"),
    ("switchover: the old primary keeps its role", PROMOTION, "<<regions[old].role = .secondary>>", None),
    ("switchover: a recovering old primary stays recovering", PROMOTION, "<<regions[old].state = .healthy>>", None),
    # Readmit
    ("readmit: not fenced", MEMBERSHIP, "<<try checkEpoch(ifEpoch)>>\n        let index = try find(region)", None),
    ("readmit: an unknown region will do", MEMBERSHIP, "let index = <<try find(region)>>", "index(of: region) ?? 0"),
    ("readmit: the acting primary will do (D4)", MEMBERSHIP, "guard <<!status.role.isActingPrimary>> else", "true"),
    ("readmit: force overrides the acting primary (D4)", MEMBERSHIP, "guard <<!status.role.isActingPrimary>> else", "!status.role.isActingPrimary || force"),
    ("readmit: a healthy secondary is judged (D4)", MEMBERSHIP, "let isMember = <<status.role == .secondary && status.state == .healthy>>", "false"),
    ("readmit: every healthy or recovering secondary is in already", MEMBERSHIP, "let isMember = <<status.role == .secondary && status.state == .healthy>>", "status.role == .secondary && status.state.isLive"),
    ("readmit: nothing is in the way", MEMBERSHIP, "if let obstacle, <<!force>> { throw obstacle }", "false"),
    ("readmit: force does not help", MEMBERSHIP, "if let obstacle, <<!force>> { throw obstacle }", "true"),
    ("readmit: a suspect region will do (D4)", MEMBERSHIP, "guard <<status.state.isLive>> else", "status.state != .failed"),
    ("readmit: a failed region will do (D4)", MEMBERSHIP, "guard <<status.state.isLive>> else", "status.state != .suspect"),
    ("readmit: with any number outstanding (D10)", MEMBERSHIP, "guard <<queue.entries <= maximumPending>> else", "true"),
    ("readmit: one too few outstanding (D10)", MEMBERSHIP, "guard <<queue.entries <= maximumPending>> else", "queue.entries == 0 || queue.entries < maximumPending"),
    ("readmit: one that needs a resync (D10)", MEMBERSHIP, "guard <<!queue.needsResync>> else", "true"),
    ("readmit: `forced` tells what was asked, not what was needed", MEMBERSHIP, ".readmitted(forced: <<obstacle != nil>>)", "force"),
    ("readmit: last-seen stays", MEMBERSHIP, "state: .healthy, lastSeen: <<time>>)\n        assertInvariants()", "status.lastSeen"),
    # Configure
    ("configure: not fenced", MEMBERSHIP, "<<try checkEpoch(ifEpoch)>>\n        try new.validate()", None),
    ("configure: any configuration will do", MEMBERSHIP, "<<try new.validate()>>", None),
    ("configure: the acting primary can go", MEMBERSHIP, "where <<status.role.isActingPrimary>> {", "false"),
    ("configure: force removes the acting primary", MEMBERSHIP, "where <<status.role.isActingPrimary>> {", "status.role.isActingPrimary && !force"),
    ("configure: force does not help", MEMBERSHIP, "guard <<!force>> else { return }", "true"),
    ("configure: force is not needed", MEMBERSHIP, "guard <<!force>> else { return }", "false"),
    ("configure: outstanding writes do not count", MEMBERSHIP, "<<queue.entries.addingReportingOverflow(queue.dead)>>", "(queue.dead, false)"),
    ("configure: parked writes do not count", MEMBERSHIP, "<<queue.entries.addingReportingOverflow(queue.dead)>>", "(queue.entries, false)"),
    ("configure: the count wraps around", MEMBERSHIP, "let count = <<overflow ? UInt64.max : sum>>", "sum"),
    ("configure: tells what is no change", MEMBERSHIP, "guard <<new != configuration>> else", "true"),
    ("configure: added regions are told in declared order", MEMBERSHIP, "let added = <<new.regions.filter { index(of: $0) == nil }.sorted()>>", "new.regions.filter { index(of: $0) == nil }"),
    ("configure: regions lose their order", MEMBERSHIP, "regions = <<(kept + fresh).sorted { $0.region < $1.region }>>", "kept + fresh"),
    ("configure: removed regions stay", MEMBERSHIP, "let kept = <<regions.filter { wanted.contains($0.region) }>>", "regions"),
    ("configure: the configuration stays", MEMBERSHIP, "<<configuration = new>>", None),
    # Pause, resume, clearResync
    ("marks: an unknown region will do", REPLAY, "<<_ = try find(region)>>", None),
    ("pauseReplay: tells what is no change", REPLAY, ".paused, isChange: <<pending[region]?.isPaused != true>>", "true"),
    ("resumeReplay: tells what is no change", REPLAY, ".resumed, isChange: <<pending[region]?.isPaused == true>>", "true"),
    ("clearResync: tells what is no change", REPLAY, ".resyncCleared, isChange: <<pending[region]?.needsResync == true>>", "true"),
    # Restoring
    ("restore: any configuration will do", SNAPSHOT, "<<try snapshot.configuration.validate()>>", None),
    ("restore: invariants are not checked", SNAPSHOT, "<<try checkInvariants()>>", None),
    ("restore: the order is taken as it comes", SNAPSHOT, "self.regions = <<snapshot.regions.sorted { $0.region < $1.region }>>", "snapshot.regions"),
    ("invariants: epoch 0", INVARIANTS, "guard <<epoch >= 1>> else", "true"),
    ("invariants: members", INVARIANTS, "<<try checkMembers()>>", None),
    ("invariants: a configured region without state", INVARIANTS, "where <<index(of: region) == nil>> {", "false"),
    ("invariants: a state without a configured region", INVARIANTS, "guard <<regions.count == configuration.regions.count>> else", "true"),
    ("invariants: no acting primary", INVARIANTS, "guard <<leaders == 1>> else", "leaders <= 1"),
    ("invariants: two acting primaries", INVARIANTS, "guard <<leaders == 1>> else", "leaders >= 1"),
    ("invariants: a healthy demoted primary", INVARIANTS, "status.role != .demotedPrimary || <<status.state == .failed || status.state == .recovering>> else", "status.state != .suspect"),
    ("invariants: a suspect demoted primary", INVARIANTS, "status.role != .demotedPrimary || <<status.state == .failed || status.state == .recovering>> else", "status.state != .healthy"),
    ("invariants: seen in the future", INVARIANTS, "guard <<status.lastSeen <= time>> else", "true"),
    ("invariants: ticked in the future", INVARIANTS, "guard <<(lastTick ?? time) <= time>> else", "true"),
    # Configuration (D1, D2)
    ("configuration: no regions", CONFIGURATION, "guard <<!regions.isEmpty>> else", "true"),
    ("configuration: too many regions", CONFIGURATION, "guard <<regions.count <= Self.regionsMax>> else", "true"),
    ("configuration: a region twice", CONFIGURATION, "guard <<known.insert(region).inserted>> else", "known.insert(region).inserted || true"),
    ("configuration: local elsewhere", CONFIGURATION, "guard <<known.contains(local)>> else", "true"),
    ("configuration: an empty tier", CONFIGURATION, "guard <<!tier.isEmpty>> else", "true"),
    ("configuration: a tier with a stranger", CONFIGURATION, "guard <<known.contains(region)>> else", "true"),
    ("configuration: a region in two tiers", CONFIGURATION, "guard <<tiered.insert(region).inserted>> else", "true"),
    ("configuration: suspectAfter too short", CONFIGURATION, "guard <<suspectAfterMilliseconds >= 1>>,", "true"),
    ("configuration: suspectAfter too long", CONFIGURATION, ", <<suspectAfterMilliseconds <= Self.silenceMillisecondsMax>> else", "true"),
    ("configuration: historyCapacity negative", CONFIGURATION, "guard <<historyCapacity >= 0>>,", "true"),
    ("configuration: historyCapacity too large", CONFIGURATION, ", <<historyCapacity <= Self.historyCapacityMax>> else", "true"),
    ("configuration: detectorPauseAfter too short", CONFIGURATION, "guard <<pause >= 1>>,", "true"),
    ("configuration: detectorPauseAfter too long", CONFIGURATION, ", <<pause <= Self.silenceMillisecondsMax>> else", "true"),
    # Plain values
    ("name: an empty one", REGION, "return <<length > 0>>", "true"),
    ("name: a long one", REGION, "guard <<length <= lengthMax>>,", "true"),
    ("name: any bytes", REGION, ", <<isNameByte(byte)>> else", "true"),
    ("name: any text from outside", REGION, "guard <<Self.isName(name.utf8)>> else", "true"),
    ("name: any bytes from outside", REGION, "guard <<Self.isName(utf8)>> else", "true"),
    ("name: any literal", REGION, "precondition(<<Self.isName(value.utf8)>>,", "true"),
    ("time: a sum that wraps around", TIMESTAMP, "guard <<overflow>> else { return Self(milliseconds: sum) }", "false"),
    ("time: a sum that stops at the wrong end", TIMESTAMP, "<<milliseconds < 0 ? .min : .max>>", ".max"),
    ("time: a distance that wraps around", TIMESTAMP, "guard <<overflow>> else { return difference }", "false"),
    ("time: a distance that stops at the wrong end", TIMESTAMP, "return <<self < earlier ? .min : .max>>", ".max"),
]

SWITCH = """
import Glibc

/// Which guard is off; 0 is none.
let mutant: Int = getenv("HOLDFAST_MUTANT").flatMap { Int(String(cString: $0)) } ?? 0
"""

MANIFEST = """// swift-tools-version: 6.2
import PackageDescription
let package = Package(
    name: "mutants",
    targets: [
        .target(name: "RegionFailover"),
        .testTarget(name: "RegionFailoverTests", dependencies: ["RegionFailover"]),
    ],
    swiftLanguageModes: [.v6]
)
"""


def fail(message):
    print(f"mutants.py: {message}", file=sys.stderr)
    sys.exit(2)


def spans():
    """Where each mutant lies: {file: {(start, end): [(number, replacement), ...]}}."""
    found = {}
    for number, (name, file, marked, replacement) in enumerate(MUTANTS, start=1):
        source = (MODULE / file).read_text()
        if marked.count("<<") != 1 or marked.count(">>") != 1:
            fail(f"'{name}': the part to mutate must stand between << and >>, once")
        before, rest = marked.split("<<")
        part, after = rest.split(">>")
        snippet = before + part + after
        if source.count(snippet) != 1:
            fail(f"'{name}': found {source.count(snippet)} times in {file}, not once:\n{snippet}")
        start = source.index(snippet) + len(before)
        found.setdefault(file, {}).setdefault((start, start + len(part)), []).append((number, replacement))
    return found


def mutated(file, places):
    """The source of a file with a switch at each place."""
    source = (MODULE / file).read_text()
    previous = len(source)
    for (start, end), variants in sorted(places.items(), reverse=True):
        if end > previous:
            fail(f"{file}: two mutants overlap: {source[start:end]}")
        previous = start
        part = source[start:end]
        statement = any(replacement is None for _, replacement in variants)
        for number, replacement in variants:
            if statement:
                other = f" else {{ {replacement} }}" if replacement else ""
                part = f"if mutant != {number} {{ {part} }}{other}"
            else:
                part = f"(mutant == {number} ? ({replacement}) : ({part}))"
        source = source[:start] + part + source[end:]
    return source


def make_package(root):
    sources = root / "Sources" / "RegionFailover"
    shutil.copytree(MODULE, sources)
    shutil.copytree(TESTS, root / "Tests" / "RegionFailoverTests", ignore=shutil.ignore_patterns("*.py"))
    for file, places in spans().items():
        (sources / file).write_text(mutated(file, places))
    invariants = sources / INVARIANTS
    text = invariants.read_text()
    if text.count("        assert(\n") != 1:
        fail(f"{INVARIANTS} has not exactly one assertion to switch off")
    invariants.write_text(text.replace("        assert(\n", "        if mutant >= 0 { return }\n        assert(\n"))
    (sources / "Mutant.swift").write_text(SWITCH)
    (root / "Package.swift").write_text(MANIFEST)


def run_tests(root, number, tests, sequences):
    """Why the tests failed with this mutant, or None when they passed."""
    command = ["swift", "test", "--skip-build", "--package-path", str(root)]
    if tests == MODEL:
        command += ["--filter", "RegionFailoverTests.ModelTests"]
    environment = dict(os.environ, HOLDFAST_MUTANT=str(number), HOLDFAST_MODEL_SEQUENCES=str(sequences))
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "hung"
    if process.returncode == 0:
        if "Test run with 0 tests" in output or "passed after" not in output:
            fail(f"no test ran:\n{output[-2000:]}")
        return None
    if "failed after" in output:
        return "failed"
    return "trapped" if "signal" in output else f"status {process.returncode}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=1000, help="sequences of the model test (default 1000)")
    parser.add_argument("--only", default="", help="run only the mutants whose name has this in it")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="holdfast-mutants-") as directory:
        root = pathlib.Path(directory)
        make_package(root)
        build = subprocess.run(
            ["swift", "build", "--build-tests", "--package-path", directory], capture_output=True, text=True
        )
        if build.returncode != 0:
            fail(f"the mutants do not build:\n{build.stdout[-6000:]}{build.stderr[-2000:]}")
        if run_tests(root, 0, ALL, arguments.sequences):
            fail("the tests fail without any mutant")

        survivors = []
        began = time.monotonic()
        chosen = [(n, m) for n, m in enumerate(MUTANTS, start=1) if arguments.only in m[0]]
        for number, (name, file, _, _) in chosen:
            tests = ALL if file in (REGION, TIMESTAMP) else MODEL
            reason = run_tests(root, number, tests, arguments.sequences)
            print(f"{'caught  ' if reason else 'SURVIVED'}  {reason or '':8}  {tests:5}  {name}", flush=True)
            if not reason:
                survivors.append(name)
        caught = len(chosen) - len(survivors)
        print(f"{caught} of {len(chosen)} mutants caught in {time.monotonic() - began:.0f} s")
        sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
