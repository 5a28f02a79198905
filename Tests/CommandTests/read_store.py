#!/usr/bin/env python3
"""Prints every entry that is queued in a Holdfast store, one JSON object a line.

    python3 -m pip install lmdb zstandard xxhash
    python3 read_store.py STORE                 the entries
    python3 read_store.py --check-only STORE    verifies the store, prints nothing

An independent reader of version 1: written from the article "On-disk format" (Format.md) alone, without Holdfast's
source, and a model for readers in other languages. The output is that of `holdfast dump STORE --entries-only`, byte for
byte. Everything that the article tells a reader to verify is verified. On the first mismatch the reader says what is wrong
and exits with 1; what was printed before that came from blocks that were whole.

The environment is opened without its lock file: no process may have the store open for writing meanwhile.
"""
import argparse
import base64
import re
import signal
import struct
import sys
from collections import defaultdict, namedtuple

import lmdb
import xxhash
import zstandard

VERSION = 1
MASK = 2**64 - 1
ZERO_CHAIN = bytes(16)
HEADER_SIZE = 68
MAX_BLOCK_ENTRIES = 256
MAX_CONTENT = 17_039_360
FIXED_TABLES = {"superblock", "regions", "lost", "controller", "history", "dictionaries", "raft"}

Entry = namedtuple("Entry", "origin incarnation sequence enqueued_at kind timestamp clock key value")
Region = namedtuple("Region", "queue next head entries raw_bytes stored_bytes oldest chain dropped lost")


class Damage(Exception):
    """The store is not what the article says."""


def require(condition, message):
    if not condition:
        raise Damage(message)


class Fields:
    """Takes one field after the other from some bytes. `what` is what the bytes are, for the messages."""

    def __init__(self, data, what):
        self.data, self.offset, self.what = data, 0, what

    def require(self, condition, message):
        require(condition, f"{self.what}: {message}")

    def bytes(self, count):
        self.require(count <= len(self.data) - self.offset, "it ends too early")
        self.offset += count
        return self.data[self.offset - count:self.offset]

    def rest(self):
        return self.bytes(len(self.data) - self.offset)

    def unsigned(self, size):
        return int.from_bytes(self.bytes(size), "big")

    def u8(self): return self.unsigned(1)
    def u16(self): return self.unsigned(2)
    def u32(self): return self.unsigned(4)
    def u64(self): return self.unsigned(8)
    def i64(self): return signed(self.unsigned(8))

    def code(self, highest, lowest=0):
        """A `u8` that has a meaning from `lowest` to `highest`."""
        value = self.u8()
        self.require(lowest <= value <= highest, f"the code {value} is not known")
        return value

    def name(self):
        text = self.bytes(self.u8())
        self.require(is_name(text), f"{text!r} is not the name of a region")
        return text

    def names(self):
        return [self.name() for _ in range(self.u16())]

    def varint(self):
        value = 0
        for shift in range(0, 70, 7):
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        self.require(byte < 0x80 and value <= MASK, "a varint has more than 64 bits")
        return value

    def zigzag(self):
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def bits(self, count):
        """A bitmap: a list of `count` booleans."""
        number = int.from_bytes(self.bytes((count + 7) // 8), "little")
        self.require(number >> count == 0, "a bitmap has bits beyond its end")
        return [bool(number >> index & 1) for index in range(count)]

    # The columns of a block's content

    def number_column(self, count):
        """Numbers modulo 2^64, read as unsigned. A column of no numbers has no bytes."""
        if count == 0:
            return []
        mode, first = self.code(2), self.varint()
        if mode == 0:
            return [first] * count
        if mode == 1:
            step = self.zigzag()
            return [(first + index * step) & MASK for index in range(count)]
        numbers = [first]
        while len(numbers) < count:
            numbers.append((numbers[-1] + self.zigzag()) & MASK)
        return numbers

    def time_column(self, count):
        return [signed(number) for number in self.number_column(count)]

    def flag_column(self, count):
        mode = self.code(2)
        return self.bits(count) if mode == 2 else [mode == 1] * count

    def string_column(self, count):
        return [self.bytes(length) for length in self.number_column(count)]

    def end(self):
        self.require(self.offset == len(self.data), "bytes are left over")


def signed(number):
    return number - 2**64 if number >= 2**63 else number


def is_name(text):
    return re.fullmatch(rb"[A-Za-z0-9._-]{1,63}", text) is not None


def rows_of(transaction, table):
    """The rows of a table as pairs of the key and the fields, with the checksum proven."""
    database = transaction.env.open_db(table.encode(), txn=transaction, create=False)
    for key, value in transaction.cursor(db=database):
        what = f"row {key!r} of {table}"
        require(len(value) >= 8, f"{what}: it has no checksum")
        hashed = table.encode() + b"\0" + struct.pack(">H", len(key)) + key + value[:-8]
        require(xxhash.xxh3_64_digest(hashed) == value[-8:], f"{what}: its checksum is wrong")
        yield key, Fields(value[:-8], what)


# The rows

def read_superblock(transaction):
    """Returns the store's UUID and the number that the next new queue gets."""
    rows = dict(rows_of(transaction, "superblock"))
    require(b"format" in rows, "the superblock has no row 'format'")
    row = rows.pop(b"format")
    version, incompatible = row.u32(), row.u64()
    require(version <= VERSION, f"the store has format version {version}, this reader knows {VERSION}")
    require(version == VERSION, "the format version is 0")
    require(incompatible == 0, f"this reader does not know the incompatible features {incompatible:#x}")
    row.u64()  # Whatever the read-compatible features are: they may be read.
    row.end()
    require(b"incomplete" not in rows, "the store is incomplete: writing it from a dump or another store did not end")
    require(rows.keys() == {b"store", b"mode", b"queues"}, f"the superblock has the rows {sorted(rows)} after 'format'")

    uuid = rows[b"store"].bytes(16)
    rows[b"store"].i64()  # When it was created
    rows[b"store"].require(uuid[6] >> 4 == 4 and uuid[8] >> 6 == 2, "the UUID is not of version 4")
    if rows[b"mode"].code(1) == 1:
        rows[b"mode"].rest()  # The id of the log's cluster
    next_queue = rows[b"queues"].u32()
    for row in rows.values():
        row.end()
    return uuid, next_queue


def read_region(key, row):
    row.require(is_name(key), "the key is not the name of a region")
    row.code(1, lowest=1)  # The row's version
    flags = row.u8()
    row.require(flags & ~0x1F == 0, f"the flags {flags:#x} are not of version 1")
    queue, next_position, head, entries, raw_bytes, stored_bytes = struct.unpack(">I5Q", row.bytes(44))
    oldest, chain = row.i64(), row.bytes(16)
    accepted, acknowledged, drained, dropped, dead, lost, since_empty = struct.unpack(">7Q", row.bytes(56))
    attempts = row.u32()
    for flag in (0x04, 0x08, 0x10, 0x20):  # pausedUntil, entriesMax, bytesMax, ageMax
        value = row.u64()
        row.require(flags & flag or value == 0, f"the field of flag {flag:#x} is {value} without it")
    row.code(1)  # The overflow
    reason_length = row.u16()
    row.require(reason_length <= 1024, "the reason is too long")
    row.bytes(reason_length)
    row.end()
    row.require(queue >= 1, "the number of the queue is 0")
    row.require(1 <= head <= next_position, f"the cursor {head} is not between 1 and the next position {next_position}")
    row.require(entries == next_position - head, f"{entries} entries, but the positions are {head} ..< {next_position}")
    row.require(accepted == next_position - 1, f"{accepted} were accepted, but the next position is {next_position}")
    row.require(accepted == entries + acknowledged + drained + dropped + dead + lost, "the ledger does not balance")
    row.require(dead == 0 and attempts == 0, "dead letters or attempts, which version 1 does not have")
    row.require(since_empty <= acknowledged, "more was acknowledged since the queue was empty than ever")
    return Region(queue, next_position, head, entries, raw_bytes, stored_bytes, oldest, chain, dropped, lost)


def check_seen(rows):
    """Ranges of identities: no two of one origin and incarnation overlap or touch."""
    last_of = {}
    incarnations, ranges = defaultdict(set), defaultdict(int)
    for key, row in rows:
        if key[:1] == b"f":
            row.require(is_name(key[1:]), "the origin is not a name")
            row.bytes(16)  # The floor: incarnation and sequence
        else:
            origin = key[1:-17]
            row.require(key[:1] == b"r" and is_name(origin) and key[-17] == 0, "the key is neither a range nor a floor")
            incarnation, first = struct.unpack(">QQ", key[-16:])
            last = row.u64()
            row.require(first <= last, "the range ends before it begins")
            before = last_of.get((origin, incarnation))
            row.require(before is None or first > before + 1, "the range overlaps or touches the one before")
            last_of[origin, incarnation] = last
            incarnations[origin].add(incarnation)
            ranges[origin] += 1
            row.require(len(incarnations[origin]) <= 16 and ranges[origin] <= 65536, "more than a queue remembers")
        row.end()


def check_lost(rows):
    """Returns how many entries left each queue, by (region, queue, the counter that they are in)."""
    counted = defaultdict(int)
    for key, row in rows:
        name = key[:-21]
        row.require(is_name(name) and key[-21] == 0, "the key is not a region, a queue and a range")
        queue, first, last = struct.unpack(">IQQ", key[-20:])
        reason = row.code(5, lowest=1)
        row.i64()  # When it was noted
        entries = row.u64()
        row.u64()  # Bytes of their keys, values and clocks
        anchor = row.bytes(16)
        if reason == 4:
            row.rest()  # The damaged block
        row.end()
        row.require(1 <= first <= last and entries == last - first + 1, "the range does not have so many entries")
        row.require(reason >= 3 or anchor == ZERO_CHAIN, "an anchor for a reason that has none")
        counted[name, queue, {1: "dropped", 2: "dropped", 3: "removed", 4: "lost", 5: "lost"}[reason]] += entries
    return counted


def check_controller(rows, regions):
    """Returns the number that the next event gets."""
    rows = dict(rows)
    roles = {key[1:]: rows.pop(key) for key in list(rows) if key[:1] == b"r"}
    require(roles.keys() == regions, "the regions of 'controller' and of 'regions' are not the same")
    acting = 0
    for row in roles.values():
        acting += row.code(3) in (0, 2)  # The role
        row.code(3)  # The state
        row.i64()  # Last seen
        row.end()
    require(acting == 1, f"{acting} regions are primary")
    next_event = 1
    if b"mevents" in rows:
        row = rows.pop(b"mevents")
        next_event = row.u64()
        row.end()
    require(rows.keys() == {b"mepoch", b"mtime", b"mconfiguration"}, f"'controller' has the rows {sorted(rows)}")

    row = rows[b"mepoch"]
    row.require(row.u64() >= 1, "the epoch is 0")
    row = rows[b"mtime"]
    row.i64(), row.code(1), row.i64()
    row = rows[b"mconfiguration"]
    local, declared = row.name(), row.names()
    row.require(len(declared) == len(regions) and set(declared) == regions, "its regions are not those of 'regions'")
    row.require(local in regions, "the local region is none of the regions")
    for _ in range(row.u16()):
        row.require(set(row.names()) <= regions, "a tier has a region that is not there")
    row.i64(), row.u32(), row.code(1), row.i64(), row.code(1)
    for row in rows.values():
        row.end()
    return next_event


def check_history(rows, next_event):
    number = None
    for key, row in rows:
        row.require(len(key) == 8, "the key is not a number")
        expected = number + 1 if number else max(1, int.from_bytes(key, "big"))
        number = int.from_bytes(key, "big")
        row.require(number == expected, f"event {expected} is missing")
        row.code(15, lowest=1)
        row.i64(), row.names(), row.names(), row.names(), row.bytes(40)
        row.require(row.u8() & ~0x07 == 0, "a flag is not known")
        row.end()
    require(number is None or number == next_event - 1, f"history ends at event {number}, the next one is {next_event}")


# The blocks

def read_content(content, count, what):
    """The entries of a content, those that are skipped too."""
    fields = Fields(content, f"{what}: content")
    fields.require(fields.varint() == count, "the count is not that of the header")
    origin_count = fields.varint()
    fields.require(1 <= origin_count <= count, f"{origin_count} origins")
    origins = [fields.name() for _ in range(origin_count)]
    if origin_count > 1:
        origins = [origins[fields.code(origin_count - 1)] for _ in range(count)]
    else:
        origins *= count
    incarnations, sequences = fields.number_column(count), fields.number_column(count)
    enqueued_at, kinds, has_timestamp = fields.time_column(count), fields.flag_column(count), fields.flag_column(count)
    timestamps = iter(fields.time_column(sum(has_timestamp)))
    timestamps = [next(timestamps) if has else None for has in has_timestamp]
    clocks, keys, values = (fields.string_column(count) for _ in range(3))
    fields.end()
    return list(map(Entry, origins, incarnations, sequences, enqueued_at, kinds, timestamps, clocks, keys, values))


def read_frame(frame, is_zstd, content_length, what):
    """The content that a frame holds. Its size is known before anything is decompressed."""
    if not is_zstd:
        require(len(frame) == content_length, f"{what}: the frame does not have the content's length")
        return frame
    try:
        size = zstandard.frame_content_size(frame)
        require(size == content_length, f"{what}: the frame says {size} bytes, the block {content_length}")
        parameters = zstandard.get_frame_parameters(frame)
        require(not parameters.has_checksum and parameters.dict_id == 0, f"{what}: a checksum or a dictionary")
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Damage(f"{what}: {error}") from error


def read_block(key, value, uuid, queue, what):
    """Returns the block's first position, its `chainBefore` and its entries without those that are skipped."""
    require(len(value) >= HEADER_SIZE + 8, f"{what}: it has only {len(value)} bytes")
    require(xxhash.xxh3_64_digest(value[:-8]) == value[-8:], f"{what}: its checksum is wrong")
    header = Fields(value[:-8], what)
    header.code(1, lowest=1)  # The format
    flags, count = header.u8(), header.u16()
    header.require(flags & ~0x03 == 0, f"the flags {flags:#x} are not of version 1")
    header.require(1 <= count <= MAX_BLOCK_ENTRIES, f"{count} entries in the frame")
    header.require(header.bytes(16) == uuid, "it is of another store")
    header.require(header.u32() == queue, "it is of another queue")
    first, chain_before, first_enqueued_at = header.u64(), header.bytes(16), header.i64()
    header.require(first >= 1 and struct.pack(">Q", first) == key, "it stands under another position")
    raw_bytes, content_length, frame_length = header.u32(), header.u32(), header.u32()
    header.require(1 <= content_length <= MAX_CONTENT, f"a content of {content_length} bytes")
    skipped = header.bits(count) if flags & 0x02 else [False] * count
    header.require(not all(skipped), "every entry is skipped")
    frame = header.bytes(frame_length)
    header.end()

    entries = read_content(read_frame(frame, flags & 0x01, content_length, what), count, what)
    entries = [entry for entry, skip in zip(entries, skipped) if not skip]
    require(raw_bytes == sum(map(raw_size, entries)), f"{what}: the bytes are not those of its entries")
    require(first_enqueued_at == entries[0].enqueued_at, f"{what}: its time is not that of its first entry")
    return first, chain_before, entries


def raw_size(entry):
    return len(entry.clock) + len(entry.key) + len(entry.value)


def next_digest(digest, entry):
    """The digest chain, one entry on."""
    return xxhash.xxh3_128_digest(b"".join((
        digest, struct.pack(">B", len(entry.origin)), entry.origin,
        struct.pack(">QQqBBq", entry.incarnation, entry.sequence, entry.enqueued_at, entry.kind,
                    entry.timestamp is not None, entry.timestamp or 0),
        struct.pack(">I", len(entry.clock)), entry.clock,
        struct.pack(">I", len(entry.key)), entry.key,
        struct.pack(">I", len(entry.value)), entry.value)))


def read_queue(transaction, name, region, uuid):
    """Gives each queued entry of a region with its position, and verifies the queue on the way."""
    table = f"queue/{region.queue}"
    database = transaction.env.open_db(table.encode(), txn=transaction, create=False)
    position = digest = oldest = None
    entries_read = raw_bytes = stored_bytes = 0
    for key, value in transaction.cursor(db=database):
        require(len(key) == 8, f"{table}: the key {key!r} is not a position")
        what = f"region {name}, block {int.from_bytes(key, 'big')} of {table}"
        first, chain_before, entries = read_block(key, value, uuid, region.queue, what)
        if position is None:
            require(first <= region.head < first + len(entries), f"{what}: the cursor {region.head} is not in it")
            require(first > 1 or chain_before == ZERO_CHAIN, f"{what}: the chain does not begin with zero")
        else:
            require(first == position, f"{what}: the block before ends at {position - 1}")
            require(chain_before == digest, f"{what}: the chain does not go on")
        position, digest = first, chain_before
        for entry in entries:
            digest = next_digest(digest, entry)
            if position >= region.head:
                oldest = entry.enqueued_at if entries_read == 0 else oldest
                entries_read += 1
                raw_bytes += raw_size(entry)
                yield position, entry
            position += 1
        stored_bytes += len(key) + len(value)

    what = f"region {name}, {table}"
    if position is not None:
        require(position == region.next, f"{what}: it ends at {position - 1}, the row says {region.next - 1}")
        require(digest == region.chain, f"{what}: the chain does not end as the row says")
        require(oldest == region.oldest, f"{what}: the oldest entry is not as the row says")
    for counted, row, of in ((entries_read, region.entries, "entries"), (raw_bytes, region.raw_bytes, "bytes"),
                             (stored_bytes, region.stored_bytes, "stored bytes")):
        require(counted == row, f"{what}: {counted} {of}, the row says {row}")


# The output

ESCAPES = {code: f"\\u{code:04x}" for code in (*range(0x20), 0x7F)} | {
    ord('"'): '\\"', ord("\\"): "\\\\", ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


def quoted(text):
    return '"' + text.translate(ESCAPES) + '"'


def base64_text(data):
    return quoted(base64.b64encode(data).decode())


def json_line(region, position, entry):
    members = [("region", quoted(region)), ("position", position), ("origin", quoted(entry.origin.decode())),
               ("incarnation", entry.incarnation), ("sequence", entry.sequence),
               ("kind", '"delete"' if entry.kind else '"put"')]
    try:
        members.append(("key", quoted(entry.key.decode("utf-8"))))
    except UnicodeDecodeError:
        members.append(("keyBase64", base64_text(entry.key)))
    members.append(("valueBase64", base64_text(entry.value)))
    if entry.clock:
        members.append(("clockBase64", base64_text(entry.clock)))
    if entry.timestamp is not None:
        members.append(("timestampMs", entry.timestamp))
    members.append(("enqueuedAtMs", entry.enqueued_at))
    return "{" + ",".join(f'"{name}":{value}' for name, value in members) + "}\n"


# The store

def read_store(transaction):
    """Gives (region, position, entry) for all that is queued, after every row has been verified."""
    uuid, next_queue = read_superblock(transaction)
    tables = {key.decode("ascii", "backslashreplace") for key, _ in transaction.cursor()}
    regions = {key.decode(): read_region(key, row) for key, row in rows_of(transaction, "regions")}
    queues = {region.queue for region in regions.values()}
    require(len(queues) == len(regions), "two regions have one queue")
    require(all(queue < next_queue for queue in queues), f"a queue's number is beyond the next new one, {next_queue}")
    missing = (FIXED_TABLES | {f"{kind}/{queue}" for queue in queues for kind in ("queue", "seen")}) - tables
    require(not missing, f"tables are missing: {sorted(missing)}")

    for table in sorted(tables - FIXED_TABLES):
        match = re.fullmatch("(queue|seen|dead)/([1-9][0-9]{0,9})", table)
        require(match, f"a table of the name {table!r} does not belong to version {VERSION}")
        if int(match[2]) not in queues:
            database = transaction.env.open_db(table.encode(), txn=transaction, create=False)
            require(transaction.stat(database)["entries"] == 0, f"{table} is of no region and not empty")
        elif match[1] == "seen":
            check_seen(rows_of(transaction, table))
        elif match[1] == "dead":
            list(rows_of(transaction, table))  # Only the checksums
    list(rows_of(transaction, "dictionaries")), list(rows_of(transaction, "raft"))

    next_event = check_controller(rows_of(transaction, "controller"), {name.encode() for name in regions})
    check_history(rows_of(transaction, "history"), next_event)
    left = check_lost(rows_of(transaction, "lost"))
    for name, region in regions.items():
        for counter, counted in (("dropped", region.dropped), ("lost", region.lost)):
            noted = left[name.encode(), region.queue, counter]
            require(noted == counted, f"region {name}: {counted} {counter}, but 'lost' has {noted}")
    for name, region in regions.items():  # In the order of the keys, which is that of their bytes
        for position, entry in read_queue(transaction, name, region, uuid):
            yield name, position, entry


def main():
    parser = argparse.ArgumentParser(description="Prints every queued entry of a Holdfast store as JSON lines.")
    parser.add_argument("store", metavar="STORE", help="the store's directory")
    parser.add_argument("--check-only", action="store_true", help="verify the store and print nothing")
    options = parser.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends the program quietly
    try:
        with lmdb.open(options.store, readonly=True, lock=False, create=False, max_dbs=2048, map_size=1 << 42) as store:
            with store.begin() as transaction:
                for entry in read_store(transaction):
                    if not options.check_only:
                        sys.stdout.buffer.write(json_line(*entry).encode())
        sys.stdout.flush()
    except (Damage, lmdb.Error, OSError) as error:
        sys.stdout.flush()
        sys.exit(f"read_store: {options.store}: {error}")


if __name__ == "__main__":
    main()
