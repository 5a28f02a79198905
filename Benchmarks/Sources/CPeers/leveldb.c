// LevelDB.
#include <leveldb/c.h>

#define API(name) leveldb_##name
#include "leveldb_api.h"

const peer_kind peer_leveldb = {
    "leveldb", true, store_open, store_append, store_read, store_acknowledge, store_close,
};
const peer_kind peer_leveldb_plain = {
    "leveldb-plain", false, store_open, store_append, store_read, store_acknowledge, store_close,
};
