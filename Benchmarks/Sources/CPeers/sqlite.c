// SQLite with a write-ahead log and synchronous=FULL; everything else as it comes. A row a write, its key the position.
#include "common.h"

#include <sqlite3.h>

typedef struct {
    peer base;
    sqlite3 *database;
    sqlite3_stmt *begin, *commit, *insert, *select, *delete;
} sqlite;

static int failed(sqlite *store, const char *call) {
    int status = fail(&store->base, call, store->database ? sqlite3_errmsg(store->database) : "no memory");
    if (store->database && !sqlite3_get_autocommit(store->database)) {
        sqlite3_exec(store->database, "ROLLBACK", NULL, NULL, NULL);
    }
    return status;
}

static bool prepare(sqlite *store, const char *text, sqlite3_stmt **statement) {
    return sqlite3_prepare_v3(store->database, text, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL) == SQLITE_OK;
}

/// Runs a statement without rows, and makes it ready for the next time.
static bool run(sqlite3_stmt *statement) {
    bool done = sqlite3_step(statement) == SQLITE_DONE;
    return sqlite3_reset(statement) == SQLITE_OK && done;
}

/// Whether a pragma has taken the value.
static bool has(sqlite *store, const char *pragma, const char *value) {
    sqlite3_stmt *statement = NULL;
    bool same = prepare(store, pragma, &statement) && sqlite3_step(statement) == SQLITE_ROW
        && strcmp((const char *)sqlite3_column_text(statement, 0), value) == 0;
    sqlite3_finalize(statement);
    return same;
}

static int sqlite_open(const char *directory, bool compresses, peer **opened) {
    (void)compresses;
    sqlite *store = calloc(1, sizeof *store);
    *opened = store ? &store->base : NULL;
    if (!store) return -1;
    char path[4096];
    snprintf(path, sizeof path, "%s/data.sqlite", directory);
    const char *schema =
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        "CREATE TABLE IF NOT EXISTS queue(position INTEGER PRIMARY KEY, record BLOB NOT NULL)";
    bool ready = sqlite3_open(path, &store->database) == SQLITE_OK
        && sqlite3_exec(store->database, schema, NULL, NULL, NULL) == SQLITE_OK
        && has(store, "PRAGMA journal_mode", "wal") && has(store, "PRAGMA synchronous", "2")
        && prepare(store, "BEGIN IMMEDIATE", &store->begin) && prepare(store, "COMMIT", &store->commit)
        && prepare(store, "INSERT INTO queue VALUES(?1, ?2)", &store->insert)
        && prepare(store, "SELECT position, record FROM queue ORDER BY position LIMIT ?1", &store->select)
        && prepare(store, "DELETE FROM queue WHERE position <= ?1", &store->delete);
    return ready ? 0 : failed(store, "open");
}

static int sqlite_append(peer *base, const peer_batch *batch) {
    sqlite *store = (sqlite *)base;
    if (!run(store->begin)) return failed(store, "BEGIN");
    for (uint32_t i = 0; i < batch->count; i++) {
        sqlite3_bind_int64(store->insert, 1, (sqlite3_int64)(batch->first + i));
        sqlite3_bind_blob64(store->insert, 2, record_bytes(batch, i), record_size(batch, i), SQLITE_STATIC);
        if (!run(store->insert)) return failed(store, "INSERT");
    }
    return run(store->commit) ? 0 : failed(store, "COMMIT");
}

static int sqlite_read(peer *base, uint64_t max, peer_sum *sum) {
    sqlite *store = (sqlite *)base;
    sqlite3_bind_int64(store->select, 1, max > INT64_MAX ? -1 : (sqlite3_int64)max);
    int result;
    while ((result = sqlite3_step(store->select)) == SQLITE_ROW) {
        uint64_t position = (uint64_t)sqlite3_column_int64(store->select, 0);
        const uint8_t *bytes = sqlite3_column_blob(store->select, 1);
        if (!sum_record(sum, position, bytes, (size_t)sqlite3_column_bytes(store->select, 1))) {
            sqlite3_reset(store->select);
            return fail(base, "read", "no record");
        }
    }
    sqlite3_reset(store->select);
    return result == SQLITE_DONE ? 0 : failed(store, "SELECT");
}

static int sqlite_acknowledge(peer *base, uint64_t through) {
    sqlite *store = (sqlite *)base;
    sqlite3_bind_int64(store->delete, 1, (sqlite3_int64)through);
    return run(store->delete) ? 0 : failed(store, "DELETE");
}

static void sqlite_close(peer *base) {
    sqlite *store = (sqlite *)base;
    sqlite3_finalize(store->begin);
    sqlite3_finalize(store->commit);
    sqlite3_finalize(store->insert);
    sqlite3_finalize(store->select);
    sqlite3_finalize(store->delete);
    sqlite3_close(store->database);
    free(store);
}

const peer_kind peer_sqlite = {
    "sqlite", false, sqlite_open, sqlite_append, sqlite_read, sqlite_acknowledge, sqlite_close,
};
