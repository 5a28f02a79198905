// What the peers share: errors, numbers, records.
#ifndef HOLDFAST_PEERS_COMMON_H
#define HOLDFAST_PEERS_COMMON_H

#include "CPeers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const peer_kind peer_raw_file;
extern const peer_kind peer_lmdb_blocks;
extern const peer_kind peer_lmdb_blocks_zstd;
extern const peer_kind peer_lmdb_rows;
extern const peer_kind peer_sqlite;
extern const peer_kind peer_rocksdb;
extern const peer_kind peer_rocksdb_plain;
extern const peer_kind peer_leveldb;
extern const peer_kind peer_leveldb_plain;

/// Says what failed.
static inline int fail(peer *store, const char *call, const char *why) {
    snprintf(store->error, sizeof store->error, "%s: %s", call, why);
    return -1;
}

static inline void put_big_endian(uint8_t *bytes, uint64_t number) {
    number = __builtin_bswap64(number);
    memcpy(bytes, &number, sizeof number);
}

static inline uint64_t get_big_endian(const uint8_t *bytes) {
    uint64_t number;
    memcpy(&number, bytes, sizeof number);
    return __builtin_bswap64(number);
}

static inline const uint8_t *record_bytes(const peer_batch *batch, uint32_t index) {
    return batch->bytes + batch->offsets[index];
}

static inline size_t record_size(const peer_batch *batch, uint32_t index) {
    return batch->offsets[index + 1] - batch->offsets[index];
}

/// Adds a record as it is stored; false when its length makes no sense.
static inline bool sum_record(peer_sum *sum, uint64_t position, const uint8_t *bytes, size_t size) {
    if (size < 2) return false;
    size_t key_size = (size_t)bytes[0] | (size_t)bytes[1] << 8;
    if (size < 2 + key_size) return false;
    peer_sum_add(sum, position, bytes + 2, key_size, bytes + 2 + key_size, size - 2 - key_size);
    return true;
}

/// Makes a buffer as large as is asked for; false where there is no memory.
static inline bool grow(uint8_t **buffer, size_t *capacity, size_t wanted) {
    if (*capacity >= wanted) return true;
    size_t larger = wanted + wanted / 2;
    uint8_t *grown = realloc(*buffer, larger);
    if (!grown) return false;
    *buffer = grown;
    *capacity = larger;
    return true;
}

#endif
