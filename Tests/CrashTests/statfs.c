// Preloaded into a process: every file is on the file system whose magic number STATFS says, in hexadecimal.
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

int statfs(const char *path, struct statfs *status) {
    (void)path;
    memset(status, 0, sizeof *status);
    status->f_type = strtol(getenv("STATFS"), NULL, 16);
    return 0;
}
