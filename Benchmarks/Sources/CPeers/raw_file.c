// The physical limit: one file that was written full of zeros, one write and one fdatasync a batch, no index and no check.
//
// Zeros written ahead spare the file system its journal, so a sync is one flush. Acknowledging writes a position into a
// second file and syncs that.
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ahead = 32 << 20, step = 1 << 20, piece = 64 << 10 };

typedef struct {
    peer base;
    int file, mark;
    uint64_t end, zeroed;
    /// Where the first record stands that is not acknowledged.
    uint64_t head, head_position;
    /// Where the read that came last has ended, so that acknowledging need not look for it.
    uint64_t read_end, read_position;
    uint8_t *buffer;
    size_t capacity;
} raw_file;

static int put(raw_file *raw, int file, const void *bytes, size_t size, uint64_t offset) {
    for (size_t done = 0; done < size;) {
        ssize_t count = pwrite(file, (const uint8_t *)bytes + done, size - done, (off_t)(offset + done));
        if (count < 0) return fail(&raw->base, "pwrite", strerror(errno));
        done += (size_t)count;
    }
    return 0;
}

static int write_ahead(raw_file *raw, uint64_t end) {
    if (end <= raw->zeroed) return 0;
    static const uint8_t zeros[step];
    uint64_t wanted = (end / ahead + 1) * ahead;
    for (; raw->zeroed < wanted; raw->zeroed += step) {
        if (put(raw, raw->file, zeros, step, raw->zeroed)) return -1;
    }
    return fsync(raw->file) ? fail(&raw->base, "fsync", strerror(errno)) : 0;
}

/// One record: its size in four bytes, then itself. A size of 0 is the end.
static int read_records(raw_file *raw, uint64_t max, uint64_t through, peer_sum *sum) {
    uint64_t offset = raw->head, position = raw->head_position;
    size_t held = 0, used = 0;
    while (max > 0 && position <= through) {
        uint32_t size = 0;
        if (held - used >= 4) memcpy(&size, raw->buffer + used, 4);
        if (held - used < 4 || held - used - 4 < size) {
            size_t wanted = size + 4 > piece ? size + 4 : piece;
            if (!grow(&raw->buffer, &raw->capacity, wanted)) return fail(&raw->base, "read", "no memory");
            ssize_t count = pread(raw->file, raw->buffer, wanted, (off_t)offset);
            if (count < 0) return fail(&raw->base, "pread", strerror(errno));
            if (count < 4) break;
            held = (size_t)count;
            used = 0;
            memcpy(&size, raw->buffer, 4);
            if (size > 0 && held - 4 < size && held == wanted) continue;
            if (held - 4 < size) return fail(&raw->base, "read", "a record is cut off");
        }
        if (size == 0) break;
        if (sum && !sum_record(sum, position, raw->buffer + used + 4, size)) {
            return fail(&raw->base, "read", "no record");
        }
        used += 4 + size;
        offset += 4 + size;
        position++;
        max--;
    }
    raw->read_end = offset;
    raw->read_position = position;
    return 0;
}

static int raw_open(const char *directory, bool compresses, peer **opened) {
    (void)compresses;
    raw_file *raw = calloc(1, sizeof *raw);
    *opened = raw ? &raw->base : NULL;
    if (!raw) return -1;
    char path[4096];
    snprintf(path, sizeof path, "%s/data", directory);
    raw->file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    snprintf(path, sizeof path, "%s/mark", directory);
    raw->mark = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct stat info;
    if (raw->file < 0 || raw->mark < 0 || fstat(raw->file, &info)) {
        fail(&raw->base, "open", strerror(errno));
        return -1;
    }
    uint64_t mark[2] = {0, 1};
    ssize_t count = pread(raw->mark, mark, sizeof mark, 0);
    if (count == 0 && (put(raw, raw->mark, mark, sizeof mark, 0) || fsync(raw->mark))) return -1;
    raw->head = mark[0];
    raw->head_position = mark[1];
    raw->zeroed = (uint64_t)info.st_size;
    // The end is behind the last record.
    if (read_records(raw, UINT64_MAX, UINT64_MAX, NULL)) return -1;
    raw->end = raw->read_end;
    return write_ahead(raw, raw->end + 1);
}

static int raw_append(peer *store, const peer_batch *batch) {
    raw_file *raw = (raw_file *)store;
    size_t size = 0;
    for (uint32_t i = 0; i < batch->count; i++) size += 4 + record_size(batch, i);
    if (!grow(&raw->buffer, &raw->capacity, size)) return fail(store, "append", "no memory");
    size = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        uint32_t length = (uint32_t)record_size(batch, i);
        memcpy(raw->buffer + size, &length, 4);
        memcpy(raw->buffer + size + 4, record_bytes(batch, i), length);
        size += 4 + length;
    }
    if (write_ahead(raw, raw->end + size + 4) || put(raw, raw->file, raw->buffer, size, raw->end)) return -1;
    if (fdatasync(raw->file)) return fail(store, "fdatasync", strerror(errno));
    raw->end += size;
    return 0;
}

static int raw_read(peer *store, uint64_t max, peer_sum *sum) {
    return read_records((raw_file *)store, max, UINT64_MAX, sum);
}

static int raw_acknowledge(peer *store, uint64_t through) {
    raw_file *raw = (raw_file *)store;
    if (raw->read_position != through + 1 && read_records(raw, UINT64_MAX, through, NULL)) return -1;
    if (raw->read_position != through + 1) return fail(store, "acknowledge", "no such position");
    uint64_t mark[2] = {raw->read_end, raw->read_position};
    if (put(raw, raw->mark, mark, sizeof mark, 0)) return -1;
    if (fdatasync(raw->mark)) return fail(store, "fdatasync", strerror(errno));
    raw->head = mark[0];
    raw->head_position = mark[1];
    return 0;
}

static void raw_close(peer *store) {
    raw_file *raw = (raw_file *)store;
    if (raw->file >= 0) close(raw->file);
    if (raw->mark >= 0) close(raw->mark);
    free(raw->buffer);
    free(raw);
}

const peer_kind peer_raw_file = {"raw-file", false, raw_open, raw_append, raw_read, raw_acknowledge, raw_close};
