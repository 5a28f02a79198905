// Preloaded into a process: it stops itself with SIGSTOP once it has read the names in the directory STOP_AT for the
// STOP_COUNTth time.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static DIR *watched;
static int visits;

DIR *opendir(const char *path) {
    DIR *(*real)(const char *) = dlsym(RTLD_NEXT, "opendir");
    DIR *stream = real(path);
    const char *place = getenv("STOP_AT");
    if (stream && place && !strcmp(place, path)) watched = stream;
    return stream;
}

int closedir(DIR *stream) {
    int (*real)(DIR *) = dlsym(RTLD_NEXT, "closedir");
    int is_watched = stream == watched;
    int status = real(stream);
    const char *count = getenv("STOP_COUNT");
    if (is_watched) {
        watched = NULL;
        if (++visits == (count ? atoi(count) : 1)) raise(SIGSTOP);
    }
    return status;
}
