/* Stands between a program and the C library (LD_PRELOAD): files of one folder refuse writes or syncs, a sync is slow and tells how
 * far it came, the time of day is another. What is in force is read from a page that the test has mapped, too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct page {
    int64_t write_errno;   /* what a write is refused with; 0: it is not */
    int64_t sync_errno;    /* the same of a sync */
    int64_t clock_nanos;   /* added to the time of day */
    int64_t sync_micros;   /* how long a sync takes besides */
    int64_t struck;        /* refusals so far */
    int64_t synced_number; /* of the journal that was last synced */
    int64_t synced_bytes;  /* how far */
};

static volatile struct page *page;
static const char *folder;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SHIM_PAGE");
    folder = getenv("SHIM_FOLDER");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) page = mapped;
    close(file);
}

/* Whether the file lies in the folder; its path. */
static int inside(int file, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, size - 1);
    if (length <= 0 || !folder) return 0;
    path[length] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

static int refused(int file, int64_t number) {
    char path[4096];
    int saved = errno;
    if (!number || !inside(file, path, sizeof path)) {
        errno = saved;
        return 0;
    }
    __sync_fetch_and_add(&page->struck, 1);
    errno = (int)number;
    return 1;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int file, const void *bytes, size_t count) {
    REAL(write);
    return page && refused(file, page->write_errno) ? -1 : real(file, bytes, count);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(writev);
    return page && refused(file, page->write_errno) ? -1 : real(file, parts, count);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    REAL(pwrite64);
    return page && refused(file, page->write_errno) ? -1 : real(file, bytes, count, at);
}

/* Tells how far a journal is on the disk: it is synced by who writes it, and by nobody else meanwhile. */
static void tell(int file) {
    char path[4096];
    int saved = errno;
    if (inside(file, path, sizeof path)) {
        const char *name = strrchr(path, '/');
        char *end = NULL;
        long number = name ? strtol(name + 1, &end, 10) : 0;
        off_t at = lseek(file, 0, SEEK_CUR);
        if (end && strcmp(end, ".jnl") == 0 && at > 0) {
            page->synced_bytes = at;
            page->synced_number = number;
        }
    }
    errno = saved;
}

static void wait_a_little(void) {
    struct timespec time = {page->sync_micros / 1000000, page->sync_micros % 1000000 * 1000};
    if (page->sync_micros) nanosleep(&time, NULL);
}

int fsync(int file) {
    REAL(fsync);
    if (!page) return real(file);
    if (refused(file, page->sync_errno)) return -1;
    int result = real(file);
    if (result == 0) tell(file);
    return result;
}

int fdatasync(int file) {
    REAL(fdatasync);
    if (!page) return real(file);
    if (refused(file, page->sync_errno)) return -1;
    wait_a_little();
    int result = real(file);
    if (result == 0) tell(file);
    return result;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    REAL(clock_gettime);
    int result = real(clock, time);
    if (page && result == 0 && clock == CLOCK_REALTIME && page->clock_nanos) {
        int64_t nanos = time->tv_sec * 1000000000LL + time->tv_nsec + page->clock_nanos;
        time->tv_sec = nanos / 1000000000LL;
        time->tv_nsec = nanos % 1000000000LL;
    }
    return result;
}
