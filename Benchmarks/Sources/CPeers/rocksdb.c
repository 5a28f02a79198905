// RocksDB, whose C functions are named as LevelDB's are.
#include <rocksdb/c.h>

#define API(name) rocksdb_##name
#include "leveldb_api.h"

const peer_kind peer_rocksdb = {
    "rocksdb", true, store_open, store_append, store_read, store_acknowledge, store_close,
};
const peer_kind peer_rocksdb_plain = {
    "rocksdb-plain", false, store_open, store_append, store_read, store_acknowledge, store_close,
};
