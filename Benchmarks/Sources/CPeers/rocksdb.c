// RocksDB with a sync a batch; everything else as it comes. Its keys are the positions.
//
// It remembers where the queue begins, so that a read need not step over what was deleted.
#include "common.h"

#include <rocksdb/c.h>

typedef struct {
    peer base;
    rocksdb_options_t *options;
    rocksdb_writeoptions_t *synced;
    rocksdb_readoptions_t *reads;
    rocksdb_writebatch_t *batch;
    rocksdb_t *database;
    uint64_t head;
} rocks;

static int failed(rocks *store, const char *call, char *error) {
    int status = fail(&store->base, call, error);
    rocksdb_free(error);
    return status;
}

static int rocks_open(const char *directory, bool compresses, peer **opened) {
    rocks *store = calloc(1, sizeof *store);
    *opened = store ? &store->base : NULL;
    if (!store) return -1;
    char path[4096];
    snprintf(path, sizeof path, "%s/data", directory);
    store->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(store->options, 1);
    if (!compresses) rocksdb_options_set_compression(store->options, rocksdb_no_compression);
    store->synced = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(store->synced, 1);
    store->reads = rocksdb_readoptions_create();
    store->batch = rocksdb_writebatch_create();
    char *error = NULL;
    store->database = rocksdb_open(store->options, path, &error);
    return error ? failed(store, "open", error) : 0;
}

static int rocks_append(peer *base, const peer_batch *batch) {
    rocks *store = (rocks *)base;
    rocksdb_writebatch_clear(store->batch);
    uint8_t key[8];
    for (uint32_t i = 0; i < batch->count; i++) {
        put_big_endian(key, batch->first + i);
        rocksdb_writebatch_put(
            store->batch, (char *)key, sizeof key, (const char *)record_bytes(batch, i), record_size(batch, i));
    }
    char *error = NULL;
    rocksdb_write(store->database, store->synced, store->batch, &error);
    return error ? failed(store, "write", error) : 0;
}

static int rocks_read(peer *base, uint64_t max, peer_sum *sum) {
    rocks *store = (rocks *)base;
    rocksdb_iterator_t *iterator = rocksdb_create_iterator(store->database, store->reads);
    uint8_t key[8];
    put_big_endian(key, store->head);
    bool sound = true;
    for (rocksdb_iter_seek(iterator, (char *)key, sizeof key); sound && max > 0 && rocksdb_iter_valid(iterator); max--) {
        size_t key_size, size;
        const char *position = rocksdb_iter_key(iterator, &key_size);
        const char *bytes = rocksdb_iter_value(iterator, &size);
        sound = key_size == 8 && sum_record(sum, get_big_endian((uint8_t *)position), (uint8_t *)bytes, size);
        rocksdb_iter_next(iterator);
    }
    char *error = NULL;
    rocksdb_iter_get_error(iterator, &error);
    rocksdb_iter_destroy(iterator);
    if (error) return failed(store, "read", error);
    return sound ? 0 : fail(base, "read", "no record");
}

/// The first position that is there, or 0.
static uint64_t first_position(rocks *store) {
    rocksdb_iterator_t *iterator = rocksdb_create_iterator(store->database, store->reads);
    uint8_t key[8];
    put_big_endian(key, store->head);
    rocksdb_iter_seek(iterator, (char *)key, sizeof key);
    size_t size;
    uint64_t first = rocksdb_iter_valid(iterator) ? get_big_endian((uint8_t *)rocksdb_iter_key(iterator, &size)) : 0;
    rocksdb_iter_destroy(iterator);
    return first;
}

static int rocks_acknowledge(peer *base, uint64_t through) {
    rocks *store = (rocks *)base;
    uint64_t first = store->head > 0 ? store->head : first_position(store);
    if (first == 0) return fail(base, "acknowledge", "nothing is there");
    rocksdb_writebatch_clear(store->batch);
    uint8_t key[8];
    for (uint64_t position = first; position <= through; position++) {
        put_big_endian(key, position);
        rocksdb_writebatch_delete(store->batch, (char *)key, sizeof key);
    }
    char *error = NULL;
    rocksdb_write(store->database, store->synced, store->batch, &error);
    if (error) return failed(store, "write", error);
    store->head = through + 1;
    return 0;
}

static void rocks_close(peer *base) {
    rocks *store = (rocks *)base;
    if (store->database) rocksdb_close(store->database);
    rocksdb_writebatch_destroy(store->batch);
    rocksdb_readoptions_destroy(store->reads);
    rocksdb_writeoptions_destroy(store->synced);
    rocksdb_options_destroy(store->options);
    free(store);
}

const peer_kind peer_rocksdb = {
    "rocksdb", true, rocks_open, rocks_append, rocks_read, rocks_acknowledge, rocks_close,
};
const peer_kind peer_rocksdb_plain = {
    "rocksdb-plain", false, rocks_open, rocks_append, rocks_read, rocks_acknowledge, rocks_close,
};
