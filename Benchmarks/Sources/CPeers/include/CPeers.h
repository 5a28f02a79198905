// The stores that Holdfast is measured against, behind one struct of functions: the same work on the same bytes.
//
// Every function that can fail returns 0, or -1 with a sentence in the peer's `error`. One thread at a time uses a peer.
#ifndef HOLDFAST_PEERS_H
#define HOLDFAST_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEER_ERROR_SIZE 256

// What may be NULL says so, for Swift.
#ifdef __clang__
#pragma clang assume_nonnull begin
#else
#define _Nullable
#define _Nonnull
#endif

/// Records that lie one behind the other. Record i is bytes[offsets[i]] up to bytes[offsets[i + 1]]:
/// the length of its key in two bytes, little-endian, then the key, then the value.
typedef struct {
    const uint8_t *bytes;
    const uint64_t *offsets;
    uint32_t count;
    /// The position of the first record; positions rise by one, from 1.
    uint64_t first;
} peer_batch;

/// What was read: how many records, the last position, and a hash over all of them in order.
typedef struct {
    uint64_t count;
    uint64_t last;
    uint64_t hash;
    /// The same in any order, without positions.
    uint64_t set;
} peer_sum;

/// What every peer begins with.
typedef struct {
    char error[PEER_ERROR_SIZE];
} peer;

/// One store, seen as a queue.
typedef struct {
    /// Its name in tables and on the command line.
    const char *name;
    /// Its own compression: none, or what it has by default; for blocks a zstd frame of level 1.
    bool compresses;
    /// Makes or opens the store in a directory that is there. `store` gets a peer even when it fails, for its error;
    /// NULL where there is no memory.
    int (*open)(const char *directory, bool compresses, peer *_Nullable *_Nonnull store);
    /// Puts records behind those that are there: on the disk when it returns.
    int (*append)(peer *store, const peer_batch *batch);
    /// Reads from the first record that is not acknowledged, in order, `max` records at most, and adds them to `sum`.
    int (*read)(peer *store, uint64_t max, peer_sum *sum);
    /// Removes every record up to a position: on the disk when it returns.
    int (*acknowledge)(peer *store, uint64_t through);
    /// Gives the directory free, and the peer with it.
    void (*close)(peer *store);
} peer_kind;

/// The peers, by index; NULL behind the last one.
const peer_kind *_Nullable peer_kind_at(size_t index);

/// Adds one record to a sum. Holdfast's entries go through it too.
void peer_sum_add(
    peer_sum *sum, uint64_t position, const uint8_t *_Nullable key, size_t key_size,
    const uint8_t *_Nullable value, size_t value_size);

/// Adds the records of a batch to a sum.
void peer_sum_batch(peer_sum *sum, const peer_batch *batch);

/// What a loop of one thread does for `callers` of which each has one write under way: it copies what each has left into
/// one batch, appends that, and tells them; then each leaves its next. Every record of `all` is one write.
int peer_loop(
    const peer_kind *kind, peer *store, const peer_batch *all, uint32_t callers);

/// The versions of the libraries that run, as "lmdb 0.9.24, zstd ...".
void peer_versions(char *text, size_t size);

/// The processor time that this process has had, all threads.
uint64_t peer_cpu_nanoseconds(void);

/// Writes what is in memory of the file system that holds a directory.
void peer_sync(const char *directory);

/// The bytes that the files below a directory take on the disk; UINT64_MAX when they cannot be told.
uint64_t peer_disk_bytes(const char *directory);

#ifdef __clang__
#pragma clang assume_nonnull end
#endif

#endif
