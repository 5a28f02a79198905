// The list of peers, the sum of what is read, and the loop for many callers.
#define _GNU_SOURCE
#include "common.h"

#include <fcntl.h>
#include <ftw.h>
#include <leveldb/c.h>
#include <lmdb.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

const peer_kind *peer_kind_at(size_t index) {
    static const peer_kind *const kinds[] = {
        &peer_raw_file, &peer_lmdb_blocks,   &peer_lmdb_blocks_zstd, &peer_lmdb_rows,     &peer_sqlite,
        &peer_rocksdb,  &peer_rocksdb_plain, &peer_leveldb,          &peer_leveldb_plain,
    };
    return index < sizeof kinds / sizeof kinds[0] ? kinds[index] : NULL;
}

void peer_sum_add(
    peer_sum *sum, uint64_t position, const uint8_t *key, size_t key_size, const uint8_t *value, size_t value_size) {
    uint64_t hash = XXH3_64bits(value, value_size) ^ XXH3_64bits(key, key_size) * 31;
    sum->hash = (sum->hash << 5 | sum->hash >> 59) * 0x9E3779B185EBCA87u + (hash ^ position);
    sum->set += hash;
    sum->last = position;
    sum->count++;
}

void peer_sum_batch(peer_sum *sum, const peer_batch *batch) {
    for (uint32_t i = 0; i < batch->count; i++) {
        sum_record(sum, batch->first + i, record_bytes(batch, i), record_size(batch, i));
    }
}

int peer_loop(const peer_kind *kind, peer *store, const peer_batch *all, uint32_t callers) {
    uint32_t *queue = malloc(callers * sizeof *queue);
    uint64_t *offsets = malloc((callers + 1) * sizeof *offsets);
    uint8_t *bytes = NULL;
    size_t capacity = 0;
    int status = 0;
    if (!queue || !offsets) status = fail(store, "loop", "no memory");
    // Caller c leaves the records c, c + callers, c + 2 * callers and so on.
    uint32_t queued = 0;
    for (; status == 0 && queued < callers && queued < all->count; queued++) queue[queued] = queued;
    uint64_t first = all->first;
    while (status == 0 && queued > 0) {
        size_t size = 0;
        for (uint32_t i = 0; i < queued; i++) size += record_size(all, queue[i]);
        if (!grow(&bytes, &capacity, size)) {
            status = fail(store, "loop", "no memory");
            break;
        }
        size = 0;
        for (uint32_t i = 0; i < queued; i++) {
            offsets[i] = size;
            memcpy(bytes + size, record_bytes(all, queue[i]), record_size(all, queue[i]));
            size += record_size(all, queue[i]);
        }
        offsets[queued] = size;
        status = kind->append(store, &(peer_batch){bytes, offsets, queued, first});
        first += queued;
        uint32_t next = 0;
        for (uint32_t i = 0; i < queued; i++) {
            if ((uint64_t)queue[i] + callers < all->count) queue[next++] = queue[i] + callers;
        }
        queued = next;
    }
    free(queue);
    free(offsets);
    free(bytes);
    return status;
}

/// RocksDB's C functions do not tell its version; the name of the library that runs does.
static void rocksdb_version(char *text, size_t size) {
    snprintf(text, size, "unknown");
    FILE *maps = fopen("/proc/self/maps", "r");
    if (!maps) return;
    char line[512];
    while (fgets(line, sizeof line, maps)) {
        const char *found = strstr(line, "librocksdb.so.");
        if (!found) continue;
        snprintf(text, size, "%.*s", (int)strcspn(found + 14, "\n"), found + 14);
        break;
    }
    fclose(maps);
}

void peer_versions(char *text, size_t size) {
    int major, minor, patch;
    mdb_version(&major, &minor, &patch);
    char rocksdb[64];
    rocksdb_version(rocksdb, sizeof rocksdb);
    snprintf(
        text, size, "lmdb %d.%d.%d, zstd %s, sqlite %s, rocksdb %s, leveldb %d.%d", major, minor, patch,
        ZSTD_versionString(), sqlite3_libversion(), rocksdb, leveldb_major_version(), leveldb_minor_version());
}

uint64_t peer_cpu_nanoseconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void peer_sync(const char *directory) {
    int file = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0) return;
    syncfs(file);
    close(file);
}

static uint64_t disk_bytes;

static int add_disk_bytes(const char *path, const struct stat *info, int type, struct FTW *place) {
    (void)path;
    (void)place;
    if (type == FTW_F) disk_bytes += (uint64_t)info->st_blocks * 512;
    return 0;
}

uint64_t peer_disk_bytes(const char *directory) {
    disk_bytes = 0;
    return nftw(directory, add_disk_bytes, 16, FTW_PHYS) == 0 ? disk_bytes : UINT64_MAX;
}
