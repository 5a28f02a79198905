// How the peers over LMDB open it.
#include "common.h"

#include <lmdb.h>

/// Makes or opens an environment with `count` tables; the status of LMDB's. The environment is the caller's to close even then.
static inline int lmdb_open(
    const char *directory, MDB_env **environment, const char *const *names, MDB_dbi *tables, size_t count) {
    MDB_txn *transaction = NULL;
    int result = mdb_env_create(environment);
    if (!result) result = mdb_env_set_mapsize(*environment, (size_t)1 << 40);
    if (!result) result = mdb_env_set_maxdbs(*environment, (MDB_dbi)count);
    if (!result) result = mdb_env_open(*environment, directory, MDB_NOTLS, 0600);
    if (!result) result = mdb_txn_begin(*environment, NULL, 0, &transaction);
    for (size_t i = 0; !result && i < count; i++) result = mdb_dbi_open(transaction, names[i], MDB_CREATE, &tables[i]);
    if (!result) return mdb_txn_commit(transaction);
    if (transaction) mdb_txn_abort(transaction);
    return result;
}
