// A peer over LevelDB's C functions, or over RocksDB's, which have the same ones under another name: a sync a batch, and
// everything else as it comes. Its keys are the positions.
//
// It remembers where the queue begins, so that a read need not step over what was deleted. Who includes this defines
// API(name), the function or type of that name.
#include "common.h"

typedef struct {
    peer base;
    API(options_t) *options;
    API(writeoptions_t) *synced;
    API(readoptions_t) *reads;
    API(writebatch_t) *batch;
    API(t) *database;
    uint64_t head;
} tree_store;

static int failed(tree_store *store, const char *call, char *error) {
    int status = fail(&store->base, call, error);
    API(free)(error);
    return status;
}

static int store_open(const char *directory, bool compresses, peer **opened) {
    tree_store *store = calloc(1, sizeof *store);
    *opened = store ? &store->base : NULL;
    if (!store) return -1;
    char path[4096];
    snprintf(path, sizeof path, "%s/data", directory);
    store->options = API(options_create)();
    API(options_set_create_if_missing)(store->options, 1);
    if (!compresses) API(options_set_compression)(store->options, API(no_compression));
    store->synced = API(writeoptions_create)();
    API(writeoptions_set_sync)(store->synced, 1);
    store->reads = API(readoptions_create)();
    store->batch = API(writebatch_create)();
    char *error = NULL;
    store->database = API(open)(store->options, path, &error);
    return error ? failed(store, "open", error) : 0;
}

static int store_append(peer *base, const peer_batch *batch) {
    tree_store *store = (tree_store *)base;
    API(writebatch_clear)(store->batch);
    uint8_t key[8];
    for (uint32_t i = 0; i < batch->count; i++) {
        put_big_endian(key, batch->first + i);
        API(writebatch_put)(
            store->batch, (char *)key, sizeof key, (const char *)record_bytes(batch, i), record_size(batch, i));
    }
    char *error = NULL;
    API(write)(store->database, store->synced, store->batch, &error);
    return error ? failed(store, "write", error) : 0;
}

static int store_read(peer *base, uint64_t max, peer_sum *sum) {
    tree_store *store = (tree_store *)base;
    API(iterator_t) *iterator = API(create_iterator)(store->database, store->reads);
    uint8_t key[8];
    put_big_endian(key, store->head);
    bool sound = true;
    for (API(iter_seek)(iterator, (char *)key, sizeof key); sound && max > 0 && API(iter_valid)(iterator); max--) {
        size_t key_size, size;
        const char *position = API(iter_key)(iterator, &key_size);
        const char *bytes = API(iter_value)(iterator, &size);
        sound = key_size == 8 && sum_record(sum, get_big_endian((uint8_t *)position), (uint8_t *)bytes, size);
        API(iter_next)(iterator);
    }
    char *error = NULL;
    API(iter_get_error)(iterator, &error);
    API(iter_destroy)(iterator);
    if (error) return failed(store, "read", error);
    return sound ? 0 : fail(base, "read", "no record");
}

/// The first position that is there, or 0.
static uint64_t first_position(tree_store *store) {
    API(iterator_t) *iterator = API(create_iterator)(store->database, store->reads);
    uint8_t key[8];
    put_big_endian(key, store->head);
    API(iter_seek)(iterator, (char *)key, sizeof key);
    size_t size;
    uint64_t first = API(iter_valid)(iterator) ? get_big_endian((uint8_t *)API(iter_key)(iterator, &size)) : 0;
    API(iter_destroy)(iterator);
    return first;
}

static int store_acknowledge(peer *base, uint64_t through) {
    tree_store *store = (tree_store *)base;
    uint64_t first = store->head > 0 ? store->head : first_position(store);
    if (first == 0) return fail(base, "acknowledge", "nothing is there");
    API(writebatch_clear)(store->batch);
    uint8_t key[8];
    for (uint64_t position = first; position <= through; position++) {
        put_big_endian(key, position);
        API(writebatch_delete)(store->batch, (char *)key, sizeof key);
    }
    char *error = NULL;
    API(write)(store->database, store->synced, store->batch, &error);
    if (error) return failed(store, "write", error);
    store->head = through + 1;
    return 0;
}

static void store_close(peer *base) {
    tree_store *store = (tree_store *)base;
    if (store->database) API(close)(store->database);
    API(writebatch_destroy)(store->batch);
    API(readoptions_destroy)(store->reads);
    API(writeoptions_destroy)(store->synced);
    API(options_destroy)(store->options);
    free(store);
}
