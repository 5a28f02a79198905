// Preloaded into a process: ends it with SIGKILL at its KILL_AT-th call, from 1, that changes a file.
//
// The call is not done, unless KILL_TORN is set: then a write of more than one page is done up to a page in its middle,
// which is what a kernel may leave that notices the signal between two pages. COUNT names a file that gets the number of
// calls when the process ends by itself. Without these variables nothing happens.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;
static long wanted;
static int torn;

__attribute__((constructor)) static void begin(void) {
    const char *at = getenv("KILL_AT");
    if (at) wanted = atol(at);
    torn = getenv("KILL_TORN") != NULL;
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%ld\n", atomic_load(&calls));
    fclose(file);
}

// Whether this is the call at which the process ends.
static int is_last(void) { return atomic_fetch_add(&calls, 1) + 1 == wanted; }

static void die(void) {
    for (;;) kill(getpid(), SIGKILL);
}

#define REAL(name, type) \
    static __typeof__(type) real; \
    if (!real) real = (__typeof__(type))dlsym(RTLD_NEXT, name)

// The bytes of a write that are done when it is torn: whole pages, not all of them.
static size_t half(size_t count) { return count / 4096 / 2 * 4096; }

#define PWRITE(name, offset_type) \
    ssize_t name(int descriptor, const void *bytes, size_t count, offset_type offset) { \
        REAL(#name, ssize_t(*)(int, const void *, size_t, offset_type)); \
        if (is_last()) { \
            if (torn && half(count)) real(descriptor, bytes, half(count), offset); \
            die(); \
        } \
        return real(descriptor, bytes, count, offset); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define PWRITEV(name, offset_type) \
    ssize_t name(int descriptor, const struct iovec *parts, int count, offset_type offset) { \
        REAL(#name, ssize_t(*)(int, const struct iovec *, int, offset_type)); \
        if (is_last()) { \
            if (torn && count > 1) real(descriptor, parts, count / 2, offset); \
            die(); \
        } \
        return real(descriptor, parts, count, offset); \
    }
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    REAL("writev", ssize_t(*)(int, const struct iovec *, int));
    if (is_last()) {
        if (torn && count > 1) real(descriptor, parts, count / 2);
        die();
    }
    return real(descriptor, parts, count);
}

#define CALL(name, parameters, types, arguments) \
    int name parameters { \
        REAL(#name, int(*) types); \
        if (is_last()) die(); \
        return real arguments; \
    }
CALL(fdatasync, (int descriptor), (int), (descriptor))
CALL(fsync, (int descriptor), (int), (descriptor))
CALL(ftruncate, (int descriptor, off_t size), (int, off_t), (descriptor, size))
CALL(ftruncate64, (int descriptor, off64_t size), (int, off64_t), (descriptor, size))
CALL(fallocate, (int descriptor, int mode, off_t start, off_t size), (int, int, off_t, off_t),
     (descriptor, mode, start, size))
CALL(fallocate64, (int descriptor, int mode, off64_t start, off64_t size), (int, int, off64_t, off64_t),
     (descriptor, mode, start, size))
CALL(rename, (const char *from, const char *to), (const char *, const char *), (from, to))
CALL(unlink, (const char *path), (const char *), (path))
