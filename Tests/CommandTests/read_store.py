#!/usr/bin/env python3
"""Prints every entry that is queued in a Holdfast store, one JSON object a line.

    python3 read_store.py STORE                 prints the entries
    python3 read_store.py --check-only STORE    verifies the store and prints nothing
    python3 read_store.py --digest STORE        verifies the store and prints what `holdfast digest` prints of it

An independent reader of version 1, written from the article "On-disk format" (Format.md) alone. It prints what `holdfast
dump STORE --entries-only` prints, byte for byte, and verifies all that the article tells a reader to verify. At the first
mismatch it says what is wrong and exits with 1; what it printed before that came from blocks that were whole. It needs the
packages lmdb, zstandard and xxhash, and leaves lock.mdb alone: no process may have the store open for writing meanwhile.
"""
import argparse
import re
import signal
import struct
import sys
from base64 import b64encode
from collections import Counter, namedtuple

import lmdb
import xxhash
import zstandard

NAME = rb"[A-Za-z0-9._-]{1,63}"

# The rows: table, pattern of the key, fields. `3-5` is a `u8` with a code from 3 to 5, `rest` is whatever is left.
ROWS = (
    ("superblock", rb"format", "u32 u64 u64"),
    ("superblock", rb"store", "hash i64"),
    ("superblock", rb"mode", "0-1 rest"),
    ("superblock", rb"queues", "u32"),
    ("superblock", rb"backup", "i64"),
    ("superblock", rb".*", "rest"),  # A row that is not listed is passed over
    ("regions", NAME, "1-1 0-127 u32 u64 u64 u64 u64 u64 i64 hash u64 u64 u64 u64 u64 u64 u64 u64 u32 i64 u64 u64 u64 "
     "0-100 0-1 reason"),
    ("seen", rb"r" + NAME + rb"\0.{16}", "u64"),
    ("seen", rb"f" + NAME, "u64 u64"),
    ("dead", rb".{8}", "1-2 u32 i64 reason rest"),
    ("lost", NAME + rb"\0.{20}", "1-6 i64 u64 u64 hash rest"),
    ("controller", rb"mepoch|mevents", "u64"),
    ("controller", rb"mtime", "i64 0-1 i64"),
    ("controller", rb"mconfiguration", "name names tiers i64 u32 0-1 i64 0-1"),
    ("controller", rb"mlimits", "0-3 u64 u64"),
    ("controller", rb"r" + NAME, "0-3 0-3 i64"),
    ("controller", rb"p" + NAME, "0-7 u32 u32 u32 u64 u32 u32 u32 u32 0-2"),
    ("history", rb".{8}", "1-15 i64 names names names u64 u64 u64 i64 u64 0-7"),
    ("dictionaries", rb"(?!\0{4}).{4}[\0\1]", "rest"),
    ("raft", rb".*", "rest"))
Region = namedtuple("Region", "version flags queue next head entries raw_bytes stored_bytes oldest chain accepted acknowledged "
                    "drained dropped dead lost retried since_empty attempts paused_until entries_max bytes_max age_max "
                    "share overflow reason")
Entry = namedtuple("Entry", "origin incarnation sequence enqueued_at is_delete timestamp clock key value")


class Damage(Exception):
    """The store is not what the article says."""


def require(condition, message):
    if not condition:
        raise Damage(message)


class Fields:
    """Takes one field after the other from some bytes. `what` says in messages what the bytes are."""

    def __init__(self, data, what):
        self.data, self.offset, self.what = data, 0, what

    def require(self, condition, message):
        require(condition, f"{self.what}: {message}")

    def bytes(self, count):
        self.require(count <= len(self.data) - self.offset, "it ends too early")
        self.offset += count
        return self.data[self.offset - count:self.offset]

    def number(self, form):
        return struct.unpack(form, self.bytes(struct.calcsize(form)))[0]

    def u8(self): return self.number(">B")
    def u16(self): return self.number(">H")
    def u32(self): return self.number(">I")
    def u64(self): return self.number(">Q")
    def i64(self): return self.number(">q")
    def hash(self): return self.bytes(16)
    def names(self): return [self.name() for _ in range(self.u16())]
    def tiers(self): return [self.names() for _ in range(self.u16())]
    def reason(self): return self.bytes(self.u16())
    def rest(self): return self.bytes(len(self.data) - self.offset)
    def end(self): self.require(self.offset == len(self.data), "bytes are left over")

    def name(self):
        text = self.bytes(self.u8())
        self.require(re.fullmatch(NAME, text), f"{text!r} is not the name of a region")
        return text

    def code(self, lowest, highest):
        value = self.u8()
        self.require(lowest <= value <= highest, f"the code {value} is not known")
        return value

    def all(self, fields):
        """The values of all fields, after which nothing follows."""
        values = [self.code(*map(int, of.split("-"))) if "-" in of else getattr(self, of)() for of in fields.split()]
        self.end()
        return values

    # From here on: what the content of a block is made of
    def varint(self):
        byte, value, shift = 0x80, 0, 0
        while byte & 0x80:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            shift += 7
            self.require(value < 2**64 and shift <= 70, "a varint has more than 64 bits")
        return value

    def zigzag(self):
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def bitmap(self, count):
        bits = int.from_bytes(self.bytes((count + 7) // 8), "little")
        self.require(bits >> count == 0, "a bitmap has bits beyond its end")
        return [bool(bits >> index & 1) for index in range(count)]

    def numbers(self, count):
        """A column of numbers modulo 2^64, read as unsigned. One of no numbers has no bytes."""
        if count == 0:
            return []
        mode, column = self.code(0, 2), [self.varint()]
        step = self.zigzag() if mode == 1 else 0
        while len(column) < count:
            column.append((column[-1] + (self.zigzag() if mode == 2 else step)) % 2**64)
        return column

    def times(self, count): return [number - 2**64 if number >= 2**63 else number for number in self.numbers(count)]
    def strings(self, count): return [self.bytes(length) for length in self.numbers(count)]

    def flags(self, count):
        mode = self.code(0, 2)
        return self.bitmap(count) if mode == 2 else [mode == 1] * count

    def origins(self, count):
        different = self.varint()
        self.require(1 <= different <= count, f"{different} origins for {count} entries")
        names = [self.name() for _ in range(different)]
        return [names[self.code(0, different - 1)] for _ in range(count)] if different > 1 else names * count


class Store(namedtuple("Store", "environment transaction")):
    """A store in one read transaction. Its rows are verified as they are read."""

    def pairs(self, table):
        return self.transaction.cursor(self.environment.open_db(table.encode(), self.transaction, create=False))

    def row(self, table, key, value):
        """The fields of a row, with the checksum proven."""
        hashed = b"%b\0%b%b%b" % (table.encode(), struct.pack(">H", len(key)), key, value[:-8])
        row = Fields(value[:-8], f"row {key!r} of {table}")
        row.require(len(value) >= 8 and xxhash.xxh3_64_digest(hashed) == value[-8:], "its checksum is wrong")
        return row

    def rows(self, table):
        """Every row of a table: its key, and the values of its fields."""
        for key, value in self.pairs(table):
            row = self.row(table, key, value)
            layouts = [fields for of, pattern, fields in ROWS
                       if of == table.split("/")[0] and re.fullmatch(pattern, key, re.DOTALL)]
            row.require(layouts, "no row has such a key")
            yield key, row.all(layouts[0])


def check_superblock(store):
    """Proves that this reader knows the store. Returns its UUID and the number that the next new queue gets."""
    pairs = dict(store.pairs("superblock"))
    incomplete = "the store is incomplete: the writing of it has not come to its end"
    require(b"format" in pairs, incomplete if b"incomplete" in pairs else "the superblock has no row 'format'")
    row = store.row("superblock", b"format", pairs[b"format"])
    version, incompatible = row.u32(), row.u64()  # What follows them may be another thing in another version
    require((version, incompatible) == (1, 0), f"it has version {version} and features {incompatible:#x}, known are 1 and 0")
    require(b"incomplete" not in pairs, incomplete)
    rows = dict(store.rows("superblock"))
    require(rows.keys() >= {b"format", b"store", b"mode", b"queues"}, "rows of the superblock are missing")
    require(rows[b"mode"][0] == 1 or rows[b"mode"][1] == b"", "row b'mode' of superblock: bytes are left over")
    return rows[b"store"][0], rows[b"queues"][0]


def check_region(name, region, next_queue):
    """Verifies what can be verified of a region's row alone."""
    gone = region.acknowledged + region.drained + region.dropped + region.dead + region.lost
    optional = zip((0x04, 0x08, 0x10, 0x20, 0x40),
                   (region.paused_until, region.entries_max, region.bytes_max, region.age_max, region.share))
    for holds, message in (
            (1 <= region.queue < next_queue, f"the number of its queue, {region.queue}, was never given"),
            (1 <= region.head <= region.next, f"the cursor {region.head} is not from 1 to {region.next}"),
            (region.entries == region.next - region.head, "the entries are not as many as their positions"),
            (region.accepted == region.next - 1 - region.retried == region.entries + gone, "the ledger does not balance"),
            (all(region.flags & flag or value == 0 for flag, value in optional), "a limit or a pause's end without its flag"),
            (len(region.reason) <= 1024, "the reason is too long")):
        require(holds, f"region {name}: {message}")


def check_other_tables(store, regions):
    """Verifies which tables there are, the rows of all but `superblock` and `regions`, and the ledger."""
    tables = {key.decode("ascii", "backslashreplace") for key, _ in store.transaction.cursor()}
    queues = {region.queue for region in regions.values()}
    require(len(queues) == len(regions), "two regions have the same queue")
    expected = {table for table, _, _ in ROWS} - {"seen", "dead"}
    expected |= {f"{kind}/{queue}" for kind in ("queue", "seen") for queue in queues}
    require(expected <= tables, f"tables are missing: {sorted(expected - tables)}")
    for table in tables - expected:
        number = re.fullmatch("(?:queue|seen|dead)/([1-9][0-9]{0,9})", table)
        require(number and int(number[1]) < 2**32, f"a table of the name {table!r} does not belong to version 1")
        require(int(number[1]) in queues or not any(store.pairs(table)), f"{table} is of no region and not empty")
    rows = {table: dict(store.rows(table)) for table in sorted(tables) if not table.startswith("queue/")}

    left = Counter()
    for key, (reason, _, entries, _, anchor, block) in rows["lost"].items():
        queue, first, last = struct.unpack(">IQQ", key[-20:])
        require(entries == last - first + 1, f"row {key!r} of lost: {entries} entries from {first} through {last}")
        require((reason >= 3 or anchor == bytes(16)) and (reason == 4 or not block), f"row {key!r} of lost: not of its reason")
        left[key[:-21].decode(), queue, "dropped" if reason in (1, 2, 6) else "removed" if reason == 3 else "lost"] += entries
    for name, region in regions.items():
        for counter in "dropped", "lost":
            require(getattr(region, counter) == left[name, region.queue, counter], f"region {name}: 'lost' has other {counter}")
        dead = rows.get(f"dead/{region.queue}", {})
        require(len(dead) == region.dead, f"region {name}: {len(dead)} dead letters are there, {region.dead} counted")
        for key, (_, _, _, _, content) in dead.items():
            position = int.from_bytes(key, "big")
            require(1 <= position < region.head, f"region {name}: the dead letter at {position} is queued as well")
            read_content(content, 1, f"the dead letter at {position} for {name}")


def read_content(content, count, what):
    """The entries of a frame's content."""
    content = Fields(content, f"{what}: content")
    content.require(content.varint() == count, "it does not have as many entries as the header says")
    origins, incarnations, sequences = content.origins(count), content.numbers(count), content.numbers(count)
    enqueued_at, deletes, has_timestamp = content.times(count), content.flags(count), content.flags(count)
    timestamps = iter(content.times(sum(has_timestamp)))
    timestamps = [next(timestamps) if has else None for has in has_timestamp]
    clocks, keys, values = content.strings(count), content.strings(count), content.strings(count)
    content.end()
    return map(Entry, origins, incarnations, sequences, enqueued_at, deletes, timestamps, clocks, keys, values)


def read_dictionaries(store):
    """The dictionaries by number, each from two copies that are the same."""
    copies = {}
    for key, (content,) in store.rows("dictionaries"):
        number = int.from_bytes(key[:4], "big")
        require(8 <= len(content) <= 65_536, f"dictionary {number} has {len(content)} bytes")
        copies.setdefault(number, []).append(content)
    for number, contents in copies.items():
        require(len(contents) == 2 and contents[0] == contents[1], f"dictionary {number} does not have two equal copies")
    return {number: zstandard.ZstdCompressionDict(contents[0]) for number, contents in copies.items()}


def read_block(key, value, uuid, queue, dictionaries, what):
    """The first position of a block, its `chainBefore`, and its entries without those that are skipped."""
    block = Fields(value[:-8], what)
    block.require(len(value) >= 76, "it has less than 76 bytes")
    block.require(xxhash.xxh3_64_digest(value[:-8]) == value[-8:], "its checksum is wrong")
    _, flags, count = block.code(1, 1), block.code(0, 7), block.u16()
    block.require(1 <= count <= 256, f"a frame of {count} entries")
    block.require((block.hash(), block.u32()) == (uuid, queue), "it belongs to another store or queue")
    first, chain_before, first_enqueued_at = block.u64(), block.hash(), block.i64()
    block.require(first >= 1 and first == int.from_bytes(key, "big"), f"it belongs to position {first}")
    raw_bytes, content_length, frame_length = block.u32(), block.u32(), block.u32()
    block.require(1 <= content_length <= 17_039_360, f"a content of {content_length} bytes")
    block.require(flags & 0x05 != 0x04, "a dictionary without a zstd frame")
    number = block.u32() if flags & 0x04 else None
    block.require(number is None or number in dictionaries, f"the dictionary {number} is not there")
    skipped = block.bitmap(count) if flags & 0x02 else [False] * count
    block.require(not all(skipped), "all of its entries are skipped")
    content = block.bytes(frame_length)
    block.end()
    if flags & 0x01:
        try:  # Its size is compared before anything is decompressed
            frame = zstandard.get_frame_parameters(content)
            block.require(frame.content_size == content_length, f"the frame says {frame.content_size} bytes of content")
            block.require(not frame.has_checksum and frame.dict_id == 0, "the frame has a checksum or names a dictionary")
            decompressor = zstandard.ZstdDecompressor(dict_data=dictionaries.get(number))
            content = decompressor.decompress(content, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise Damage(f"{what}: {error}") from error
    block.require(len(content) == content_length, "the content has another length")

    entries = read_content(content, count, what)
    entries = [entry for entry, skip in zip(entries, skipped) if not skip]
    block.require(raw_bytes == sum(len(entry.clock + entry.key + entry.value) for entry in entries), "rawBytes is wrong")
    block.require(first_enqueued_at == entries[0].enqueued_at, "firstEnqueuedAt is wrong")
    return first, chain_before, entries


def digest_after(digest, entry):
    """The digest chain, one entry on."""
    numbers = struct.pack(">QQqBBq", *entry[1:5], entry.timestamp is not None, entry.timestamp or 0)
    strings = (struct.pack(">I", len(text)) + text for text in (entry.clock, entry.key, entry.value))
    return xxhash.xxh3_128_digest(b"".join((digest, bytes([len(entry.origin)]), entry.origin, numbers, *strings)))


def read_queue(store, name, region, uuid, dictionaries):
    """Gives the region, position and entry of all that is queued for a region."""
    table, last, digest, entries_read, raw_bytes, stored_bytes = f"queue/{region.queue}", None, None, 0, 0, 0
    for key, value in store.pairs(table):
        require(len(key) == 8, f"region {name}, {table}: the key {key!r} is not a position")
        what = f"region {name}, {table}, block {int.from_bytes(key, 'big')}"
        first, chain_before, entries = read_block(key, value, uuid, region.queue, dictionaries, what)
        if last is None:
            require(first <= region.head < first + len(entries), f"{what}: the cursor {region.head} is not in the first block")
            require(first > 1 or chain_before == bytes(16), f"{what}: the digest before position 1 is not zero")
            oldest = entries[region.head - first].enqueued_at
            require(oldest == region.oldest, f"{what}: its oldest entry was queued at {oldest}, the row says {region.oldest}")
        else:
            require(first == last + 1, f"{what}: the block before it ends at {last}")
            require(chain_before == digest, f"{what}: the digest before it is not that after the block before")
        digest = chain_before
        for last, entry in enumerate(entries, first):
            digest = digest_after(digest, entry)
            if last >= region.head:  # An entry below the cursor has left the queue
                entries_read += 1
                raw_bytes += len(entry.clock + entry.key + entry.value)
                yield name, last, entry
        stored_bytes += len(key) + len(value)

    require(last in (None, region.next - 1), f"region {name}: the queue ends at {last}, the row says {region.next - 1}")
    require(digest in (None, region.chain), f"region {name}: the digest at the end of the queue is not that of the row")
    counted, said = (entries_read, raw_bytes, stored_bytes), (region.entries, region.raw_bytes, region.stored_bytes)
    require(counted == said, f"region {name}: entries, bytes and stored bytes are {counted}, the row says {said}")


def read_store(store):
    """Gives the region, position and entry of all that is queued, once every row is verified."""
    uuid, next_queue = check_superblock(store)
    regions = {key.decode(): Region(*fields) for key, fields in store.rows("regions")}
    for name, region in regions.items():
        check_region(name, region, next_queue)
    check_other_tables(store, regions)
    dictionaries = read_dictionaries(store)
    for name, region in regions.items():
        yield from read_queue(store, name, region, uuid, dictionaries)


def digest_with(digest, kind, key, fields):
    """The digest of a store or a region, one item on."""
    return xxhash.xxh3_128_digest(digest + struct.pack(">BH", kind, len(key)) + key + fields)


def store_digest(store):
    """The digest that `holdfast digest` prints, of a store that was verified."""
    def bodies(table): return [(key, value[:-8]) for key, value in store.pairs(table)]

    regions = bodies("regions")
    numbers = {(key, row[2:6]) for key, row in regions}
    lost = {}
    for key, row in bodies("lost"):
        name, queue = key[:-21], key[-20:-16]
        lost.setdefault((name, queue), []).append(row[:1] + key[-16:] + row[1:25])
    digest = bytes(16)
    for kind, table in (1, "controller"), (2, "history"):
        for key, body in bodies(table):
            # The controller's clock is time, and not state.
            if kind == 1 and key == b"mtime":
                continue
            digest = digest_with(digest, kind, key, body[:2] if kind == 1 and key[:1] == b"r" else body)
    tables = {key.decode() for key, _ in store.transaction.cursor()}
    for name, row in regions:
        queue = struct.unpack(">I", row[2:6])[0]
        oldest = row[46:54] if row[22:30] != bytes(8) else bytes(8)
        part = digest_with(bytes(16), 3, name, row[:2] + bytes(4) + row[6:38] + bytes(8) + oldest + row[54:])
        for kind, table in (4, f"seen/{queue}"), (5, f"dead/{queue}"):
            for key, body in bodies(table) if table in tables else []:
                part = digest_with(part, kind, key, body)
        for fields in lost.get((name, row[2:6]), []):
            part = digest_with(part, 6, name, fields)
        digest = digest_with(digest, 3, name, part)
    for name, queue in sorted(lost.keys() - numbers):
        for fields in lost[name, queue]:
            digest = digest_with(digest, 6, name, fields)
    return digest.hex()


ESCAPES = {code: f"\\u{code:04x}" for code in [*range(0x20), *range(0x7F, 0xA0)]}
ESCAPES.update({ord('"'): '\\"', ord("\\"): "\\\\", ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"})


def json_line(region, position, entry):
    """An entry as `holdfast dump` prints it: it has its own escapes, which are not those of `json.dumps`."""
    try:
        key = {"key": entry.key.decode("utf-8")}
    except UnicodeDecodeError:
        key = {"keyBase64": b64encode(entry.key).decode()}
    members = {"region": region, "position": position, "origin": entry.origin.decode(), "incarnation": entry.incarnation,
               "sequence": entry.sequence, "kind": "delete" if entry.is_delete else "put", **key,
               "valueBase64": b64encode(entry.value).decode(), "clockBase64": b64encode(entry.clock).decode() or None,
               "timestampMs": entry.timestamp, "enqueuedAtMs": entry.enqueued_at}
    return "{%s}\n" % ",".join(f'"{name}":"{value.translate(ESCAPES)}"' if isinstance(value, str) else f'"{name}":{value}'
                               for name, value in members.items() if value is not None)


def main():
    parser = argparse.ArgumentParser(description="Prints every queued entry of a Holdfast store as JSON lines.")
    parser.add_argument("store", metavar="STORE", help="the store's directory")
    parser.add_argument("--check-only", action="store_true", help="verify the store and print nothing")
    parser.add_argument("--digest", action="store_true", help="verify the store and print its digest alone")
    options = parser.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `read_store.py STORE | head` ends quietly
    try:
        with lmdb.open(options.store, readonly=True, lock=False, max_dbs=2048, map_size=1 << 42) as environment, \
                environment.begin() as transaction:
            for entry in read_store(Store(environment, transaction)):
                if not options.check_only and not options.digest:
                    sys.stdout.buffer.write(json_line(*entry).encode())
            if options.digest:
                print(store_digest(Store(environment, transaction)))
    except (Damage, lmdb.Error, OSError) as error:
        sys.exit(f"read_store.py: {options.store}: {error}")


if __name__ == "__main__":
    main()
