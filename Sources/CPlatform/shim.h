// What Swift's Glibc module leaves out: calls that the headers show only to _GNU_SOURCE, <sys/vfs.h>, calls that a C
// library older than the kernel has no name for, and macros.
#include <sys/types.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

extern int fallocate(int descriptor, int mode, off_t offset, off_t length);
extern int pthread_setname_np(pthread_t thread, const char *name);
extern int memfd_create(const char *name, unsigned int flags);
extern int signalfd(int descriptor, const sigset_t *mask, int flags);
extern int pipe2(int descriptors[2], int flags);
extern int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int from);

// A descriptor that becomes readable when the process ends (Linux 5.3).
static inline int holdfast_pidfd_open(pid_t process) { return (int)syscall(SYS_pidfd_open, process, 0); }

static inline int holdfast_exit_status(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : -1; }
static inline int holdfast_signal(int status) { return WIFSIGNALED(status) ? WTERMSIG(status) : 0; }
