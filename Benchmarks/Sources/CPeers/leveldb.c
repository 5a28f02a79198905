// LevelDB with a sync a batch; everything else as it comes. Its keys are the positions.
//
// It remembers where the queue begins, so that a read need not step over what was deleted.
#include "common.h"

#include <leveldb/c.h>

typedef struct {
    peer base;
    leveldb_options_t *options;
    leveldb_writeoptions_t *synced;
    leveldb_readoptions_t *reads;
    leveldb_writebatch_t *batch;
    leveldb_t *database;
    uint64_t head;
} level;

static int failed(level *store, const char *call, char *error) {
    int status = fail(&store->base, call, error);
    leveldb_free(error);
    return status;
}

static int level_open(const char *directory, bool compresses, peer **opened) {
    level *store = calloc(1, sizeof *store);
    *opened = store ? &store->base : NULL;
    if (!store) return -1;
    char path[4096];
    snprintf(path, sizeof path, "%s/data", directory);
    store->options = leveldb_options_create();
    leveldb_options_set_create_if_missing(store->options, 1);
    if (!compresses) leveldb_options_set_compression(store->options, leveldb_no_compression);
    store->synced = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(store->synced, 1);
    store->reads = leveldb_readoptions_create();
    store->batch = leveldb_writebatch_create();
    char *error = NULL;
    store->database = leveldb_open(store->options, path, &error);
    return error ? failed(store, "open", error) : 0;
}

static int level_append(peer *base, const peer_batch *batch) {
    level *store = (level *)base;
    leveldb_writebatch_clear(store->batch);
    uint8_t key[8];
    for (uint32_t i = 0; i < batch->count; i++) {
        put_big_endian(key, batch->first + i);
        leveldb_writebatch_put(
            store->batch, (char *)key, sizeof key, (const char *)record_bytes(batch, i), record_size(batch, i));
    }
    char *error = NULL;
    leveldb_write(store->database, store->synced, store->batch, &error);
    return error ? failed(store, "write", error) : 0;
}

static int level_read(peer *base, uint64_t max, peer_sum *sum) {
    level *store = (level *)base;
    leveldb_iterator_t *iterator = leveldb_create_iterator(store->database, store->reads);
    uint8_t key[8];
    put_big_endian(key, store->head);
    bool sound = true;
    for (leveldb_iter_seek(iterator, (char *)key, sizeof key); sound && max > 0 && leveldb_iter_valid(iterator); max--) {
        size_t key_size, size;
        const char *position = leveldb_iter_key(iterator, &key_size);
        const char *bytes = leveldb_iter_value(iterator, &size);
        sound = key_size == 8 && sum_record(sum, get_big_endian((uint8_t *)position), (uint8_t *)bytes, size);
        leveldb_iter_next(iterator);
    }
    char *error = NULL;
    leveldb_iter_get_error(iterator, &error);
    leveldb_iter_destroy(iterator);
    if (error) return failed(store, "read", error);
    return sound ? 0 : fail(base, "read", "no record");
}

/// The first position that is there, or 0.
static uint64_t first_position(level *store) {
    leveldb_iterator_t *iterator = leveldb_create_iterator(store->database, store->reads);
    uint8_t key[8];
    put_big_endian(key, store->head);
    leveldb_iter_seek(iterator, (char *)key, sizeof key);
    size_t size;
    uint64_t first = leveldb_iter_valid(iterator) ? get_big_endian((uint8_t *)leveldb_iter_key(iterator, &size)) : 0;
    leveldb_iter_destroy(iterator);
    return first;
}

static int level_acknowledge(peer *base, uint64_t through) {
    level *store = (level *)base;
    uint64_t first = store->head > 0 ? store->head : first_position(store);
    if (first == 0) return fail(base, "acknowledge", "nothing is there");
    leveldb_writebatch_clear(store->batch);
    uint8_t key[8];
    for (uint64_t position = first; position <= through; position++) {
        put_big_endian(key, position);
        leveldb_writebatch_delete(store->batch, (char *)key, sizeof key);
    }
    char *error = NULL;
    leveldb_write(store->database, store->synced, store->batch, &error);
    if (error) return failed(store, "write", error);
    store->head = through + 1;
    return 0;
}

static void level_close(peer *base) {
    level *store = (level *)base;
    if (store->database) leveldb_close(store->database);
    leveldb_writebatch_destroy(store->batch);
    leveldb_readoptions_destroy(store->reads);
    leveldb_writeoptions_destroy(store->synced);
    leveldb_options_destroy(store->options);
    free(store);
}

const peer_kind peer_leveldb = {
    "leveldb", true, level_open, level_append, level_read, level_acknowledge, level_close,
};
const peer_kind peer_leveldb_plain = {
    "leveldb-plain", false, level_open, level_append, level_read, level_acknowledge, level_close,
};
