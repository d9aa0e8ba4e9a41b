/* Preloaded into a test: makes the disk fail or be slow below one folder. Built by the test with cc.
 *
 * FAULTS_DIR names the folder; FAULTS_CONTROL a file of 16 bytes, mapped: what (0 nothing, 1 syncs fail, 2 writes fail,
 * 3 syncs are slow), with which errno, after how many milliseconds, and a count of the calls that were hit. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { NOTHING, SYNCS_FAIL, WRITES_FAIL, SYNCS_ARE_SLOW };

static volatile int32_t *control;
static const char *dir;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTS_CONTROL");
    dir = getenv("FAULTS_DIR");
    if (!path || !dir) return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *mapped = mmap(NULL, 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED) control = mapped;
}

static int is_below(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, dir, strlen(dir)) == 0;
}

/* Whether this call fails; a slow one has waited by then. */
static int hit(int fd, int is_sync) {
    if (!control) return 0;
    int what = control[0];
    if (what == NOTHING || is_sync != (what != WRITES_FAIL) || !is_below(fd)) return 0;
    __sync_fetch_and_add(&control[3], 1);
    if (what == SYNCS_ARE_SLOW) {
        struct timespec pause = {control[2] / 1000, (control[2] % 1000) * 1000000L};
        nanosleep(&pause, NULL);
        return 0;
    }
    errno = control[1];
    return 1;
}

#define NEXT(name, ...) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))(__VA_ARGS__)

int fsync(int fd) { return hit(fd, 1) ? -1 : NEXT(fsync, fd); }
int fdatasync(int fd) { return hit(fd, 1) ? -1 : NEXT(fdatasync, fd); }
int sync_file_range(int fd, off64_t from, off64_t count, unsigned flags) {
    return hit(fd, 1) ? -1 : NEXT(sync_file_range, fd, from, count, flags);
}
ssize_t write(int fd, const void *from, size_t count) { return hit(fd, 0) ? -1 : NEXT(write, fd, from, count); }
ssize_t pwrite(int fd, const void *from, size_t count, off_t at) { return hit(fd, 0) ? -1 : NEXT(pwrite, fd, from, count, at); }
ssize_t pwrite64(int fd, const void *from, size_t count, off64_t at) {
    return hit(fd, 0) ? -1 : NEXT(pwrite64, fd, from, count, at);
}
ssize_t writev(int fd, const struct iovec *from, int count) { return hit(fd, 0) ? -1 : NEXT(writev, fd, from, count); }
