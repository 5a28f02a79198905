// Preloaded into a process: writes down what it does to the files below the directory RECORD_ROOT, bytes and all, in one
// order, to the file RECORD. From that the tests rebuild what a loss of power could have left.
//
// Every event is a head of 32 bytes, little-endian (kind, length, inode, offset, extra), and `length` bytes behind it:
//
//   write     inode, offset; the bytes
//   durable   a synchronous write has returned; extra = the number of its write event, from 0
//   truncate  inode; offset = the size
//   allocate  inode, offset; extra = the end; only where it makes the file longer
//   sync      inode; extra = how many events there were when it began: those it covers
//   create    inode; the path
//   rename    the old path, 0, the new one
//   unlink    the path
//   mkdir     inode; the path
//   rmdir     the path
//   link      inode; the new path
//   map       inode: mapped for writing, so what is written there is not on record
//   hint      sync_file_range, msync, or a call that promises nothing
//   mark      what the program itself says: what it writes to the file RECORD
//
// Each call and its event happen under one lock, so that the order on record is the order in which they happened. A sync
// is the exception: it begins, others go on, and it ends.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { WRITE = 1, DURABLE, TRUNCATE, ALLOCATE, SYNC, CREATE, RENAME, UNLINK, MKDIR, RMDIR, LINK, MAP, HINT, MARK };
enum use { FOREIGN = 0, RECORDED = 1, MARKS = 2 };

struct event {
    uint32_t kind, length;
    uint64_t inode;
    int64_t offset;
    uint64_t extra;
};

#define DESCRIPTORS 4096
static unsigned char uses[DESCRIPTORS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int record = -1;
static const char *record_path, *root;
static uint64_t events;


__attribute__((constructor)) static void begin(void) {
    record_path = getenv("RECORD");
    root = getenv("RECORD_ROOT");
    if (!record_path || !root) return;
    record = syscall(SYS_openat, AT_FDCWD, record_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (record < 0) abort();
}

static int use_of(int descriptor) {
    return record >= 0 && descriptor >= 0 && descriptor < DESCRIPTORS ? uses[descriptor] : FOREIGN;
}

static uint64_t inode_of(int descriptor) {
    struct stat status;
    return fstat(descriptor, &status) == 0 ? status.st_ino : 0;
}

// Under the lock.
static void note(enum kind kind, uint64_t inode, int64_t offset, uint64_t extra, const void *bytes, size_t length) {
    struct event event = {kind, length, inode, offset, extra};
    struct iovec parts[2] = {{&event, sizeof event}, {(void *)bytes, length}};
    if (syscall(SYS_writev, record, parts, length ? 2 : 1) != (long)(sizeof event + length)) abort();
    events++;
}

// The path with its directory made canonical, when it is below the root; 0 otherwise.
static int place(int directory, const char *path, char *out) {
    char buffer[PATH_MAX], parent[PATH_MAX], *slash;
    if (record < 0 || (directory != AT_FDCWD && path[0] != '/')) return 0;
    snprintf(buffer, sizeof buffer, "%s", path);
    slash = strrchr(buffer, '/');
    if (!slash || slash == buffer) return 0;
    const char *name = slash + 1;
    *slash = 0;
    if (!strcmp(name, "..") || !strcmp(name, ".")) {
        if (!realpath(path, out)) return 0;
    } else {
        if (!realpath(buffer, parent)) return 0;
        if (snprintf(out, PATH_MAX, "%s/%s", parent, name) >= PATH_MAX) abort();
    }
    size_t length = strlen(root);
    return !strncmp(out, root, length) && (out[length] == '/' || out[length] == 0);
}

// MARK: names

static int opened(int directory, const char *path, int flags, mode_t mode) {
    char where[PATH_MAX];
    if (record < 0) return syscall(SYS_openat, directory, path, flags, mode);
    int is_marks = !strcmp(path, record_path);
    int is_ours = !is_marks && place(directory, path, where);
    pthread_mutex_lock(&lock);
    struct stat before;
    int was_there = is_ours && lstat(where, &before) == 0;
    int descriptor = syscall(SYS_openat, directory, path, flags, mode);
    int error = errno;
    if (descriptor >= DESCRIPTORS && (is_marks || is_ours)) abort();
    if (descriptor >= 0 && descriptor < DESCRIPTORS) {
        uses[descriptor] = is_marks ? MARKS : is_ours ? RECORDED : FOREIGN;
        if (is_ours && (flags & O_CREAT) && !was_there) {
            note(CREATE, inode_of(descriptor), 0, 0, where, strlen(where));
        } else if (is_ours && (flags & O_TRUNC) && was_there) {
            note(TRUNCATE, inode_of(descriptor), 0, 0, 0, 0);
        }
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return descriptor;
}

static mode_t mode_of(int flags, va_list arguments) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

// `first` is the parameter that only openat has, with its comma.
#define OPEN(name, directory, first...) \
    int name(first const char *path, int flags, ...) { \
        va_list arguments; \
        va_start(arguments, flags); \
        mode_t mode = mode_of(flags, arguments); \
        va_end(arguments); \
        return opened(directory, path, flags, mode); \
    }
OPEN(open, AT_FDCWD, )
OPEN(open64, AT_FDCWD, )
OPEN(openat, directory, int directory, )
OPEN(openat64, directory, int directory, )

int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int descriptor) {
    if (use_of(descriptor)) uses[descriptor] = FOREIGN;
    return syscall(SYS_close, descriptor);
}

static int name_changed(enum kind kind, long result, const char *path, const char *second, uint64_t inode) {
    int error = errno;
    if (result == 0) {
        char both[2 * PATH_MAX];
        size_t length = strlen(path);
        memcpy(both, path, length);
        if (second) {
            both[length++] = 0;
            memcpy(both + length, second, strlen(second));
            length += strlen(second);
        }
        note(kind, inode, 0, 0, both, length);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int rename(const char *old, const char *new) {
    char from[PATH_MAX], to[PATH_MAX];
    int ours = place(AT_FDCWD, old, from), theirs = place(AT_FDCWD, new, to);
    if (ours != theirs) abort();
    if (!ours) return syscall(SYS_rename, old, new);
    pthread_mutex_lock(&lock);
    return name_changed(RENAME, syscall(SYS_rename, old, new), from, to, 0);
}

int link(const char *old, const char *new) {
    char to[PATH_MAX];
    if (!place(AT_FDCWD, new, to)) return syscall(SYS_link, old, new);
    struct stat status;
    pthread_mutex_lock(&lock);
    long result = syscall(SYS_link, old, new);
    if (result == 0 && lstat(to, &status) != 0) abort();
    return name_changed(LINK, result, to, 0, result == 0 ? status.st_ino : 0);
}

int unlinkat(int directory, const char *path, int flags) {
    char where[PATH_MAX];
    if (!place(directory, path, where)) return syscall(SYS_unlinkat, directory, path, flags);
    pthread_mutex_lock(&lock);
    long result = syscall(SYS_unlinkat, directory, path, flags);
    return name_changed(flags & AT_REMOVEDIR ? RMDIR : UNLINK, result, where, 0, 0);
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdir(const char *path, mode_t mode) {
    char where[PATH_MAX];
    if (!place(AT_FDCWD, path, where)) return syscall(SYS_mkdir, path, mode);
    struct stat status;
    pthread_mutex_lock(&lock);
    long result = syscall(SYS_mkdir, path, mode);
    if (result == 0 && lstat(where, &status) != 0) abort();
    return name_changed(MKDIR, result, where, 0, result == 0 ? status.st_ino : 0);
}

// MARK: bytes

static ssize_t written(int descriptor, const struct iovec *parts, int count, off_t offset, int is_at) {
    int use = use_of(descriptor);
    if (!use) {
        return is_at ? syscall(SYS_pwritev, descriptor, parts, count, offset, 0)
                     : syscall(SYS_writev, descriptor, parts, count);
    }
    size_t length = 0;
    for (int part = 0; part < count; part++) length += parts[part].iov_len;
    char *bytes = malloc(length ? length : 1), *end = bytes;
    if (!bytes) abort();
    for (int part = 0; part < count; part++) {
        memcpy(end, parts[part].iov_base, parts[part].iov_len);
        end += parts[part].iov_len;
    }
    pthread_mutex_lock(&lock);
    ssize_t result = length;
    int error = errno;
    if (use == MARKS) {
        note(MARK, 0, 0, 0, bytes, length);
    } else {
        int flags = syscall(SYS_fcntl, descriptor, F_GETFL);
        if (!is_at) offset = lseek(descriptor, 0, flags & O_APPEND ? SEEK_END : SEEK_CUR);
        result = is_at ? syscall(SYS_pwritev, descriptor, parts, count, offset, 0)
                       : syscall(SYS_writev, descriptor, parts, count);
        error = errno;
        if (result > 0) {
            note(WRITE, inode_of(descriptor), offset, 0, bytes, result);
            if (flags & O_DSYNC) note(DURABLE, inode_of(descriptor), 0, events - 1, 0, 0);
        }
    }
    pthread_mutex_unlock(&lock);
    free(bytes);
    errno = error;
    return result;
}

static ssize_t written_one(int descriptor, const void *bytes, size_t count, off_t offset, int is_at) {
    struct iovec part = {(void *)bytes, count};
    return written(descriptor, &part, 1, offset, is_at);
}

ssize_t write(int descriptor, const void *bytes, size_t count) {
    return use_of(descriptor) ? written_one(descriptor, bytes, count, 0, 0) : syscall(SYS_write, descriptor, bytes, count);
}
ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
    return written_one(descriptor, bytes, count, offset, 1);
}
ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset) {
    return written_one(descriptor, bytes, count, offset, 1);
}
ssize_t writev(int descriptor, const struct iovec *parts, int count) { return written(descriptor, parts, count, 0, 0); }
ssize_t pwritev(int descriptor, const struct iovec *parts, int count, off_t offset) {
    return written(descriptor, parts, count, offset, 1);
}
ssize_t pwritev64(int descriptor, const struct iovec *parts, int count, off64_t offset) {
    return written(descriptor, parts, count, offset, 1);
}

int ftruncate(int descriptor, off_t size) {
    if (use_of(descriptor) != RECORDED) return syscall(SYS_ftruncate, descriptor, size);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_ftruncate, descriptor, size), error = errno;
    if (result == 0) note(TRUNCATE, inode_of(descriptor), size, 0, 0, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
int ftruncate64(int descriptor, off64_t size) { return ftruncate(descriptor, size); }

int fallocate(int descriptor, int mode, off_t offset, off_t length) {
    if (use_of(descriptor) != RECORDED) return syscall(SYS_fallocate, descriptor, mode, offset, length);
    // Punching holes and the like would have to be on record.
    if (mode & ~FALLOC_FL_KEEP_SIZE) abort();
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_fallocate, descriptor, mode, offset, length), error = errno;
    if (result == 0 && mode == 0) note(ALLOCATE, inode_of(descriptor), offset, offset + length, 0, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
int fallocate64(int descriptor, int mode, off64_t offset, off64_t length) {
    return fallocate(descriptor, mode, offset, length);
}
int posix_fallocate(int descriptor, off_t offset, off_t length) {
    return fallocate(descriptor, 0, offset, length) == 0 ? 0 : errno;
}

void *mmap(void *address, size_t length, int protection, int flags, int descriptor, off_t offset) {
    if (use_of(descriptor) == RECORDED && (flags & MAP_SHARED) && (protection & PROT_WRITE)) {
        pthread_mutex_lock(&lock);
        note(MAP, inode_of(descriptor), offset, length, 0, 0);
        pthread_mutex_unlock(&lock);
    }
    return (void *)syscall(SYS_mmap, address, length, protection, flags, descriptor, offset);
}
void *mmap64(void *address, size_t length, int protection, int flags, int descriptor, off64_t offset) {
    return mmap(address, length, protection, flags, descriptor, offset);
}

// MARK: syncs

static int synced(int descriptor, long call) {
    if (use_of(descriptor) != RECORDED) return syscall(call, descriptor);
    pthread_mutex_lock(&lock);
    uint64_t covered = events;
    pthread_mutex_unlock(&lock);
    int result = syscall(call, descriptor), error = errno;
    pthread_mutex_lock(&lock);
    if (result == 0) note(SYNC, inode_of(descriptor), 0, covered, 0, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int fdatasync(int descriptor) { return synced(descriptor, SYS_fdatasync); }
int fsync(int descriptor) { return synced(descriptor, SYS_fsync); }

static void hinted(uint64_t inode) {
    pthread_mutex_lock(&lock);
    note(HINT, inode, 0, 0, 0, 0);
    pthread_mutex_unlock(&lock);
}

int sync_file_range(int descriptor, off64_t offset, off64_t length, unsigned flags) {
    if (use_of(descriptor) == RECORDED) hinted(inode_of(descriptor));
    return syscall(SYS_sync_file_range, descriptor, offset, length, flags);
}

int msync(void *address, size_t length, int flags) {
    if (record >= 0) hinted(0);
    return syscall(SYS_msync, address, length, flags);
}
