// LMDB with one row a write: a sub-database, its keys the positions, put at the end.
#include "lmdb_open.h"

typedef struct {
    peer base;
    MDB_env *environment;
    MDB_dbi queue;
} rows;

static int failed(rows *store, const char *call, int status) { return fail(&store->base, call, mdb_strerror(status)); }

static int rows_open(const char *directory, bool compresses, peer **opened) {
    (void)compresses;
    rows *store = calloc(1, sizeof *store);
    *opened = store ? &store->base : NULL;
    if (!store) return -1;
    const char *name = "queue";
    int result = lmdb_open(directory, &store->environment, &name, &store->queue, 1);
    return result ? failed(store, "open", result) : 0;
}

static int rows_append(peer *base, const peer_batch *batch) {
    rows *store = (rows *)base;
    MDB_txn *transaction;
    int result = mdb_txn_begin(store->environment, NULL, 0, &transaction);
    if (result) return failed(store, "mdb_txn_begin", result);
    uint8_t key_bytes[8];
    MDB_val key = {8, key_bytes};
    for (uint32_t i = 0; !result && i < batch->count; i++) {
        put_big_endian(key_bytes, batch->first + i);
        MDB_val value = {record_size(batch, i), (void *)record_bytes(batch, i)};
        result = mdb_put(transaction, store->queue, &key, &value, MDB_APPEND);
    }
    if (result) {
        mdb_txn_abort(transaction);
        return failed(store, "mdb_put", result);
    }
    result = mdb_txn_commit(transaction);
    return result ? failed(store, "mdb_txn_commit", result) : 0;
}

static int rows_read(peer *base, uint64_t max, peer_sum *sum) {
    rows *store = (rows *)base;
    MDB_txn *transaction;
    MDB_cursor *cursor = NULL;
    int result = mdb_txn_begin(store->environment, NULL, MDB_RDONLY, &transaction);
    if (result) return failed(store, "mdb_txn_begin", result);
    result = mdb_cursor_open(transaction, store->queue, &cursor);
    MDB_val key, value;
    bool sound = true;
    if (!result) result = max > 0 ? mdb_cursor_get(cursor, &key, &value, MDB_FIRST) : MDB_NOTFOUND;
    while (!result && sound) {
        sound = sum_record(sum, get_big_endian(key.mv_data), value.mv_data, value.mv_size);
        result = --max > 0 ? mdb_cursor_get(cursor, &key, &value, MDB_NEXT) : MDB_NOTFOUND;
    }
    if (cursor) mdb_cursor_close(cursor);
    mdb_txn_abort(transaction);
    if (!sound) return fail(base, "read", "no record");
    return result == MDB_NOTFOUND ? 0 : failed(store, "mdb_cursor_get", result);
}

static int rows_acknowledge(peer *base, uint64_t through) {
    rows *store = (rows *)base;
    MDB_txn *transaction;
    MDB_cursor *cursor = NULL;
    int result = mdb_txn_begin(store->environment, NULL, 0, &transaction);
    if (result) return failed(store, "mdb_txn_begin", result);
    result = mdb_cursor_open(transaction, store->queue, &cursor);
    MDB_val key, value;
    if (!result) result = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    uint64_t position = result ? through + 1 : get_big_endian(key.mv_data);
    if (cursor) mdb_cursor_close(cursor);
    uint8_t key_bytes[8];
    key = (MDB_val){8, key_bytes};
    for (; !result && position <= through; position++) {
        put_big_endian(key_bytes, position);
        result = mdb_del(transaction, store->queue, &key, NULL);
    }
    if (result) {
        mdb_txn_abort(transaction);
        return failed(store, "mdb_del", result);
    }
    result = mdb_txn_commit(transaction);
    return result ? failed(store, "mdb_txn_commit", result) : 0;
}

static void rows_close(peer *base) {
    rows *store = (rows *)base;
    if (store->environment) mdb_env_close(store->environment);
    free(store);
}

const peer_kind peer_lmdb_rows = {"lmdb-rows", false, rows_open, rows_append, rows_read, rows_acknowledge, rows_close};
