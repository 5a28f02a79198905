// LMDB with blocks: what Holdfast does, as plain C would. A row holds up to 256 records or 64 KiB, raw or as a zstd frame
// of level 1, behind a header with a checksum; a second row holds where the queue begins and ends.
//
// Left out of what Holdfast does: identities, the chain of digests, space kept ahead, limits.
#include "lmdb_open.h"

#include <errno.h>
#include <zstd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { block_records = 256, block_bytes = 64 << 10, header_size = 24 };

/// Stands before a block's content, which is its lengths (four bytes each) and its records.
typedef struct {
    uint32_t count;
    uint32_t content_size;
    uint32_t frame_size;
    uint32_t compressed;
    uint64_t checksum;
} header;

/// The row of the queue: the first position that is not acknowledged, and the one that comes next.
typedef struct {
    uint64_t head, next;
} queue_row;

typedef struct {
    peer base;
    MDB_env *environment;
    MDB_dbi blocks, queues;
    bool compresses;
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
    uint8_t *content, *frame;
    size_t content_capacity, frame_capacity;
} blocks;

static int failed(blocks *store, const char *call, int status) { return fail(&store->base, call, mdb_strerror(status)); }

static int blocks_open(const char *directory, bool compresses, peer **opened) {
    blocks *store = calloc(1, sizeof *store);
    *opened = store ? &store->base : NULL;
    if (!store) return -1;
    store->compresses = compresses;
    store->compressor = ZSTD_createCCtx();
    store->decompressor = ZSTD_createDCtx();
    if (!store->compressor || !store->decompressor) {
        fail(&store->base, "open", "no memory");
        return -1;
    }
    const char *const names[] = {"blocks", "queues"};
    MDB_dbi tables[2];
    int result = lmdb_open(directory, &store->environment, names, tables, 2);
    if (result) return failed(store, "open", result);
    store->blocks = tables[0];
    store->queues = tables[1];
    return 0;
}

static int get_queue(blocks *store, MDB_txn *transaction, queue_row *row) {
    MDB_val key = {5, "queue"}, value;
    int result = mdb_get(transaction, store->queues, &key, &value);
    if (result == MDB_NOTFOUND) {
        *row = (queue_row){1, 1};
        return 0;
    }
    if (!result) memcpy(row, value.mv_data, sizeof *row);
    return result;
}

static int put_queue(blocks *store, MDB_txn *transaction, queue_row *row) {
    MDB_val key = {5, "queue"}, value = {sizeof *row, row};
    return mdb_put(transaction, store->queues, &key, &value, 0);
}

/// Puts records `from` up to `to` of a batch as one block.
static int put_block(blocks *store, MDB_txn *transaction, const peer_batch *batch, uint32_t from, uint32_t to) {
    uint32_t count = to - from;
    size_t records = batch->offsets[to] - batch->offsets[from];
    size_t size = count * 4 + records;
    if (!grow(&store->content, &store->content_capacity, size)) return ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t length = (uint32_t)record_size(batch, from + i);
        memcpy(store->content + i * 4, &length, 4);
    }
    memcpy(store->content + count * 4, record_bytes(batch, from), records);
    const uint8_t *frame = store->content;
    header head = {count, (uint32_t)size, (uint32_t)size, 0, 0};
    if (store->compresses) {
        if (!grow(&store->frame, &store->frame_capacity, size)) return ENOMEM;
        // One byte less: zstd gives up by itself where it does not pay.
        size_t result = ZSTD_compressCCtx(store->compressor, store->frame, size - 1, store->content, size, 1);
        if (!ZSTD_isError(result)) {
            frame = store->frame;
            head.frame_size = (uint32_t)result;
            head.compressed = 1;
        }
    }
    head.checksum = XXH3_64bits(frame, head.frame_size);
    uint8_t key_bytes[8];
    put_big_endian(key_bytes, batch->first + from);
    MDB_val key = {8, key_bytes}, value = {header_size + head.frame_size, NULL};
    int result = mdb_put(transaction, store->blocks, &key, &value, MDB_APPEND | MDB_RESERVE);
    if (result) return result;
    memcpy(value.mv_data, &head, header_size);
    memcpy((uint8_t *)value.mv_data + header_size, frame, head.frame_size);
    return 0;
}

static int blocks_append(peer *base, const peer_batch *batch) {
    blocks *store = (blocks *)base;
    MDB_txn *transaction;
    int result = mdb_txn_begin(store->environment, NULL, 0, &transaction);
    if (result) return failed(store, "mdb_txn_begin", result);
    queue_row row;
    result = get_queue(store, transaction, &row);
    if (!result && row.next != batch->first) {
        mdb_txn_abort(transaction);
        return fail(base, "append", "another position comes next");
    }
    for (uint32_t from = 0; !result && from < batch->count;) {
        uint32_t to = from + 1;
        while (to < batch->count && to - from < block_records
               && batch->offsets[to + 1] - batch->offsets[from] <= block_bytes) to++;
        result = put_block(store, transaction, batch, from, to);
        from = to;
    }
    row.next += batch->count;
    if (!result) result = put_queue(store, transaction, &row);
    if (result) {
        mdb_txn_abort(transaction);
        return failed(store, "mdb_put", result);
    }
    result = mdb_txn_commit(transaction);
    return result ? failed(store, "mdb_txn_commit", result) : 0;
}

/// Adds the records of a block from `head` on, `max` at most; gives how many.
static int sum_block(
    blocks *store, uint64_t first, MDB_val value, uint64_t head_position, uint64_t max, peer_sum *sum, uint64_t *taken) {
    header head;
    if (value.mv_size < header_size) return fail(&store->base, "read", "a block is cut off");
    memcpy(&head, value.mv_data, header_size);
    const uint8_t *content = (const uint8_t *)value.mv_data + header_size;
    if (value.mv_size != header_size + head.frame_size || XXH3_64bits(content, head.frame_size) != head.checksum) {
        return fail(&store->base, "read", "a block is damaged");
    }
    if (head.compressed) {
        if (!grow(&store->content, &store->content_capacity, head.content_size)) {
            return fail(&store->base, "read", "no memory");
        }
        size_t result = ZSTD_decompressDCtx(
            store->decompressor, store->content, head.content_size, content, head.frame_size);
        if (result != head.content_size) return fail(&store->base, "read", "a frame is damaged");
        content = store->content;
    }
    size_t offset = (size_t)head.count * 4;
    *taken = 0;
    for (uint32_t i = 0; i < head.count && *taken < max; i++) {
        uint32_t length;
        memcpy(&length, content + (size_t)i * 4, 4);
        if (offset + length > head.content_size) return fail(&store->base, "read", "a record is cut off");
        if (first + i >= head_position) {
            if (!sum_record(sum, first + i, content + offset, length)) return fail(&store->base, "read", "no record");
            ++*taken;
        }
        offset += length;
    }
    return 0;
}

static int blocks_read(peer *base, uint64_t max, peer_sum *sum) {
    blocks *store = (blocks *)base;
    MDB_txn *transaction;
    MDB_cursor *cursor = NULL;
    queue_row row;
    int result = mdb_txn_begin(store->environment, NULL, MDB_RDONLY, &transaction);
    if (result) return failed(store, "mdb_txn_begin", result);
    result = get_queue(store, transaction, &row);
    if (!result) result = mdb_cursor_open(transaction, store->blocks, &cursor);
    MDB_val key, value;
    bool sound = true;
    if (!result) result = max > 0 ? mdb_cursor_get(cursor, &key, &value, MDB_FIRST) : MDB_NOTFOUND;
    while (!result && sound) {
        uint64_t taken;
        sound = sum_block(store, get_big_endian(key.mv_data), value, row.head, max, sum, &taken) == 0;
        if (sound) max -= taken;
        result = max > 0 ? mdb_cursor_get(cursor, &key, &value, MDB_NEXT) : MDB_NOTFOUND;
    }
    if (cursor) mdb_cursor_close(cursor);
    mdb_txn_abort(transaction);
    if (!sound) return -1;
    return result == MDB_NOTFOUND ? 0 : failed(store, "mdb_cursor_get", result);
}

/// The first key of the blocks; MDB_NOTFOUND when there is none.
static int first_block(blocks *store, MDB_txn *transaction, uint64_t *first, uint32_t *count) {
    MDB_cursor *cursor;
    int result = mdb_cursor_open(transaction, store->blocks, &cursor);
    if (result) return result;
    MDB_val key, value;
    result = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    if (!result) {
        *first = get_big_endian(key.mv_data);
        memcpy(count, value.mv_data, sizeof *count);
    }
    mdb_cursor_close(cursor);
    return result;
}

static int blocks_acknowledge(peer *base, uint64_t through) {
    blocks *store = (blocks *)base;
    MDB_txn *transaction;
    queue_row row;
    int result = mdb_txn_begin(store->environment, NULL, 0, &transaction);
    if (result) return failed(store, "mdb_txn_begin", result);
    result = get_queue(store, transaction, &row);
    while (!result) {
        uint64_t first;
        uint32_t count;
        result = first_block(store, transaction, &first, &count);
        if (result || first + count - 1 > through) break;
        uint8_t key_bytes[8];
        put_big_endian(key_bytes, first);
        MDB_val key = {8, key_bytes};
        result = mdb_del(transaction, store->blocks, &key, NULL);
    }
    if (result == MDB_NOTFOUND) result = 0;
    row.head = through + 1;
    if (!result) result = put_queue(store, transaction, &row);
    if (result) {
        mdb_txn_abort(transaction);
        return failed(store, "mdb_del", result);
    }
    result = mdb_txn_commit(transaction);
    return result ? failed(store, "mdb_txn_commit", result) : 0;
}

static void blocks_close(peer *base) {
    blocks *store = (blocks *)base;
    if (store->environment) mdb_env_close(store->environment);
    ZSTD_freeCCtx(store->compressor);
    ZSTD_freeDCtx(store->decompressor);
    free(store->content);
    free(store->frame);
    free(store);
}

const peer_kind peer_lmdb_blocks = {
    "lmdb-blocks", false, blocks_open, blocks_append, blocks_read, blocks_acknowledge, blocks_close,
};
const peer_kind peer_lmdb_blocks_zstd = {
    "lmdb-blocks-zstd", true, blocks_open, blocks_append, blocks_read, blocks_acknowledge, blocks_close,
};
