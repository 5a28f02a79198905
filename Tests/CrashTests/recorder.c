// Preloaded into a process: writes a line for each sync to the file that RECORD names, in the order they end.
//
//   F          fdatasync or fsync has returned
//   M <txnid>  a synchronous write of a meta page has returned; its last 8 bytes are LMDB's transaction number
//
// The traced program adds its own lines to the same file (O_APPEND), so that the order of both is on record.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int record = -1;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("RECORD");
    if (path) record = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static void note(const char *line, int length) {
    if (record >= 0 && write(record, line, length) != length) abort();
}

int fdatasync(int descriptor) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int result = real(descriptor);
    note("F\n", 2);
    return result;
}

int fsync(int descriptor) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    int result = real(descriptor);
    note("F\n", 2);
    return result;
}

static ssize_t recorded(ssize_t result, int descriptor, const void *bytes, size_t count) {
    if ((fcntl(descriptor, F_GETFL) & O_DSYNC) && result == (ssize_t)count && count >= 8) {
        uint64_t transaction;
        char line[40];
        memcpy(&transaction, (const char *)bytes + count - 8, 8);
        note(line, snprintf(line, sizeof line, "M %llu\n", (unsigned long long)transaction));
    }
    return result;
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real) real = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
    return recorded(real(descriptor, bytes, count, offset), descriptor, bytes, count);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) real = (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    return recorded(real(descriptor, bytes, count, offset), descriptor, bytes, count);
}
