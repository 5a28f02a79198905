// What Swift's Glibc module leaves out: calls that the headers show only to _GNU_SOURCE, and <sys/vfs.h>.
#include <sys/types.h>
#include <sys/vfs.h>
#include <pthread.h>

extern int fallocate(int descriptor, int mode, off_t offset, off_t length);
extern int pthread_setname_np(pthread_t thread, const char *name);
