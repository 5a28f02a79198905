// Preloaded into a process: a call that changes a file fails, when the process asks for it.
//
// fault_arm() says which calls count, which of them is the first to fail, with which error, whether all later ones fail too,
// and how: it is not done; it is done, and reported as failed; half of it is done. A sync that fails forgets: the pages that
// were written to the data file since the last sync get their old bytes back in fault_settle(), unless they are written and synced
// again before, as Linux drops pages from its memory which it could not write. A synchronous write that is done and reported
// as failed is on the disk, and what is written over it is not until it is synced. Without fault_arm() nothing happens.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, DURABLE = 4, SPACE = 8, NAME = 16 };
enum { NOT_DONE, DONE, HALF };
enum { PAGE = 4096, PAGES = 1 << 15 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int armed, calls, error, how, lasts;
static long first, seen, failed;

// The bytes on the disk of pages that were written since; those that are not just to be written come back.
enum { WRITTEN, FORGOTTEN, KEPT, KEPT_WRITTEN };
static struct { unsigned char *old; int state; } pages[PAGES];
static int data = -1;

#define REAL(name, type) \
    static __typeof__(type) real; \
    if (!real) real = (__typeof__(type))dlsym(RTLD_NEXT, name)

// Whether this call, of that kind, fails.
static int fails(int kind) {
    if (!armed || !(calls & kind)) return 0;
    seen++;
    if (seen != first && !(lasts && seen > first)) return 0;
    failed++;
    return 1;
}

static int is_file(int descriptor) {
    struct stat status;
    return fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
}

static int is_data(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    int is_store = length >= 9 && !memcmp(path + length - 9, "/data.mdb", 9);
    int is_ledger = length >= 11 && !memcmp(path + length - 11, "/ledger.mdb", 11);
    if (!is_store && !is_ledger) return 0;
    if (data < 0) data = open(link, O_RDWR | O_CLOEXEC);
    return 1;
}

static void keep(int descriptor, off_t offset, size_t count) {
    if (!is_data(descriptor)) return;
    for (off_t page = offset / PAGE; page * PAGE < offset + (off_t)count && page < PAGES; page++) {
        pages[page].state = pages[page].state >= KEPT ? KEPT_WRITTEN : WRITTEN;
        if (pages[page].old) continue;
        pages[page].old = calloc(1, PAGE);
        if (pread(data, pages[page].old, PAGE, page * PAGE) < 0) abort();
    }
}

static void let_go(off_t page) {
    free(pages[page].old);
    pages[page].old = NULL;
    pages[page].state = WRITTEN;
}

// All that was written is on the disk, or will never be.
static void settle_sync(int descriptor, int has_failed) {
    if (!is_data(descriptor)) return;
    for (off_t page = 0; page < PAGES; page++) {
        if (!pages[page].old || pages[page].state == FORGOTTEN || pages[page].state == KEPT) continue;
        if (!has_failed) let_go(page);
        else pages[page].state = pages[page].state == WRITTEN ? FORGOTTEN : KEPT;
    }
}

void fault_arm(int kinds, long at, int number, int manner, int stays) {
    pthread_mutex_lock(&lock);
    calls = kinds, first = at, error = number, how = manner, lasts = stays;
    seen = failed = 0;
    armed = 1;
    pthread_mutex_unlock(&lock);
}

// No call fails any more; gives how many have failed.
long fault_disarm(void) {
    pthread_mutex_lock(&lock);
    calls = 0;
    long result = failed;
    pthread_mutex_unlock(&lock);
    return result;
}

// Forgets what failed syncs forget. The file is open nowhere. Gives how many pages that were.
long fault_settle(void) {
    pthread_mutex_lock(&lock);
    armed = 0;
    struct stat status;
    long result = 0;
    off_t end = data >= 0 && fstat(data, &status) == 0 ? status.st_size : 0;
    for (off_t page = 0; page < PAGES; page++) {
        if (pages[page].state != WRITTEN && (page + 1) * PAGE <= end) {
            if (syscall(SYS_pwrite64, data, pages[page].old, PAGE, page * PAGE) != PAGE) abort();
            result++;
        }
        let_go(page);
    }
    if (data >= 0) close(data);
    data = -1;
    pthread_mutex_unlock(&lock);
    return result;
}

static size_t length_of(const struct iovec *parts, int count) {
    size_t length = 0;
    for (int part = 0; part < count; part++) length += parts[part].iov_len;
    return length;
}

// Every write: at a place, or at the file's position, which is -1. The real call is a system call.
static ssize_t written(int descriptor, const struct iovec *parts, int count, off_t offset) {
#define REALLY(n) (offset < 0 ? syscall(SYS_writev, descriptor, parts, n) : syscall(SYS_pwritev, descriptor, parts, n, offset, 0))
    if (!armed || !is_file(descriptor)) return REALLY(count);
    pthread_mutex_lock(&lock);
    int is_durable = (fcntl(descriptor, F_GETFL) & O_DSYNC) != 0;
    int fault = fails(is_durable ? DURABLE : WRITE);
    off_t start = offset < 0 ? lseek(descriptor, 0, SEEK_CUR) : offset;
    size_t length = length_of(parts, count);
    ssize_t result = -1;
    if (!fault || how == DONE) {
        keep(descriptor, start, length);
        result = REALLY(count);
        if (is_durable && is_data(descriptor) && start / PAGE < PAGES) {
            if (!fault) let_go(start / PAGE);
            else if (pread(data, pages[start / PAGE].old, PAGE, start / PAGE * PAGE) < 0) abort();
            else pages[start / PAGE].state = KEPT;
        }
        if (fault) result = -1;
    } else if (how == HALF) {
        keep(descriptor, start, length);
        struct iovec half = {parts[0].iov_base, parts[0].iov_len / 2 + 1};
        result = offset < 0 ? syscall(SYS_writev, descriptor, &half, 1)
                            : syscall(SYS_pwritev, descriptor, &half, 1, offset, 0);
    }
    if (fault && result < 0) errno = error;
    pthread_mutex_unlock(&lock);
    return result;
}

static struct iovec whole(const void *bytes, size_t count) { return (struct iovec){(void *)bytes, count}; }

ssize_t write(int descriptor, const void *bytes, size_t count) {
    if (!armed || descriptor <= 2) return syscall(SYS_write, descriptor, bytes, count);
    struct iovec part = whole(bytes, count);
    return written(descriptor, &part, 1, -1);
}
ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
    struct iovec part = whole(bytes, count);
    return written(descriptor, &part, 1, offset);
}
ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset) {
    struct iovec part = whole(bytes, count);
    return written(descriptor, &part, 1, offset);
}
ssize_t writev(int descriptor, const struct iovec *parts, int count) { return written(descriptor, parts, count, -1); }
ssize_t pwritev(int descriptor, const struct iovec *parts, int count, off_t offset) {
    return written(descriptor, parts, count, offset);
}
ssize_t pwritev64(int descriptor, const struct iovec *parts, int count, off64_t offset) {
    return written(descriptor, parts, count, offset);
}

static int synced(int descriptor, long number) {
    if (!armed) return (int)syscall(number, descriptor);
    pthread_mutex_lock(&lock);
    int fault = fails(SYNC);
    int result = fault ? -1 : (int)syscall(number, descriptor);
    settle_sync(descriptor, result != 0);
    if (fault) errno = error;
    pthread_mutex_unlock(&lock);
    return result;
}
int fdatasync(int descriptor) { return synced(descriptor, SYS_fdatasync); }
int fsync(int descriptor) { return synced(descriptor, SYS_fsync); }

#define CALL(kind, name, parameters, types, arguments) \
    int name parameters { \
        REAL(#name, int(*) types); \
        pthread_mutex_lock(&lock); \
        int fault = fails(kind); \
        int result = fault ? -1 : real arguments; \
        if (fault) errno = error; \
        pthread_mutex_unlock(&lock); \
        return result; \
    }
CALL(SPACE, ftruncate, (int descriptor, off_t size), (int, off_t), (descriptor, size))
CALL(SPACE, ftruncate64, (int descriptor, off64_t size), (int, off64_t), (descriptor, size))
CALL(SPACE, fallocate, (int descriptor, int mode, off_t start, off_t size), (int, int, off_t, off_t),
     (descriptor, mode, start, size))
CALL(SPACE, fallocate64, (int descriptor, int mode, off64_t start, off64_t size), (int, int, off64_t, off64_t),
     (descriptor, mode, start, size))
CALL(NAME, rename, (const char *from, const char *to), (const char *, const char *), (from, to))
CALL(NAME, mkdir, (const char *path, mode_t mode), (const char *, mode_t), (path, mode))

// A file that may be made by it.
#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(#name, int (*)(const char *, int, ...)); \
        if (!(flags & O_CREAT)) return real(path, flags); \
        va_list list; \
        va_start(list, flags); \
        mode_t mode = va_arg(list, mode_t); \
        va_end(list); \
        pthread_mutex_lock(&lock); \
        int fault = fails(NAME); \
        pthread_mutex_unlock(&lock); \
        if (!fault) return real(path, flags, mode); \
        errno = error; \
        return -1; \
    }
OPEN(open)
OPEN(open64)
