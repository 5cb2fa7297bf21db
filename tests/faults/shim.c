/* Faults below a program: put in front of libc by LD_PRELOAD, told what to do through a file that both sides map.
 *
 * Only calls that concern files below FAULTS_DIRECTORY count. The layout of the control file is that of `struct control`;
 * tests/faults/shim.rs writes it with plain writes. Everything is switched while the program runs. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, CREATE = 4, RENAME = 8, UNLINK = 16, TRUNCATE = 32, OPEN = 64 };
enum { NOTHING, FAIL, KILL, KILL_AFTER, TEAR, POWER_CUT, HANG };
enum { ANY, LOGS, OTHERS };

struct control {
    uint64_t calls;   /* which calls count: a set of WRITE, SYNC, ... */
    uint64_t files;   /* of which files: ANY, LOGS (*.jnl) or OTHERS */
    uint64_t action;  /* what happens at the call */
    uint64_t error;   /* errno of FAIL */
    int64_t skip;     /* so many matching calls pass first */
    int64_t times;    /* then so many are acted on */
    int64_t room;     /* bytes that may still be written; negative is no bound */
    uint64_t seed;    /* which pages a power cut keeps */
    uint64_t seen;    /* matching calls so far */
    uint64_t acted;   /* calls acted on so far */
};

static struct control *control;
static char directory[PATH_MAX];
static size_t directory_len;
static int undo_kept;
static uint64_t rate;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_open)(const char *, int, ...);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);
static int (*real_rename)(const char *, const char *);
static int (*real_unlink)(const char *);

__attribute__((constructor)) static void begin(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_open = dlsym(RTLD_NEXT, "open64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_rename = dlsym(RTLD_NEXT, "rename");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    const char *path = getenv("FAULTS_DIRECTORY"), *file = getenv("FAULTS_CONTROL");
    if (!path || !file) return;
    undo_kept = getenv("FAULTS_UNDO") != NULL;
    rate = getenv("FAULTS_RATE") ? strtoull(getenv("FAULTS_RATE"), NULL, 10) : 0;
    snprintf(directory, sizeof directory, "%s", path);
    int fd = real_open(file, O_RDWR);
    void *mapped = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) {
        fprintf(stderr, "faults: %s cannot be mapped\n", file);
        abort();
    }
    close(fd);
    control = mapped;
    directory_len = strlen(directory);
}

static int is_below(const char *path) {
    return directory_len && !strncmp(path, directory, directory_len) && (path[directory_len] == '/' || !path[directory_len]);
}

/* The path of an open file, if it is one of ours. */
static int path_of(int fd, char *path) {
    if (!control) return 0;
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, PATH_MAX - 1);
    if (len <= 0) return 0;
    path[len] = 0;
    return is_below(path);
}

static int is_log(const char *path) {
    size_t len = strlen(path);
    return len > 4 && !strcmp(path + len - 4, ".jnl");
}

#define PAGE 4096

/* What was written and not synced yet, so that a power cut can take it away. */

struct undo {
    struct undo *before;
    char *path;
    off_t offset;   /* of `len` old bytes; past the old end they are zeros */
    size_t len;
    off_t old_size; /* size before */
    int doomed;     /* a sync has failed: the pages count as clean, and no later sync brings them to the disk */
    unsigned char *old;
};

struct made {
    struct made *before;
    char *path;
};

static struct undo *undone;
static struct made *made;

static struct undo *part(const struct undo *of, off_t from, off_t to) {
    struct undo *undo = malloc(sizeof *undo);
    *undo = *of;
    undo->path = strdup(of->path);
    undo->offset = from;
    undo->len = to - from;
    undo->old = malloc(undo->len);
    memcpy(undo->old, of->old + (from - of->offset), undo->len);
    return undo;
}

/* Whole pages are written again, and are as good as new. */
static void redeem(const char *path, off_t from, off_t to) {
    from = from / PAGE * PAGE;
    to = (to + PAGE - 1) / PAGE * PAGE;
    for (struct undo *undo = undone; undo; undo = undo->before) {
        off_t end = undo->offset + undo->len;
        if (!undo->doomed || strcmp(undo->path, path) || from >= end || to <= undo->offset) continue;
        if (to < end) {
            struct undo *rest = part(undo, to, end);
            rest->before = undo->before;
            undo->before = rest;
        }
        undo->len = from > undo->offset ? from - undo->offset : 0;
    }
}

static void doom(const char *path) {
    for (struct undo *undo = undone; undo; undo = undo->before)
        if (!strcmp(undo->path, path)) undo->doomed = 1;
}

static void remember(int fd, const char *path, off_t offset, size_t len) {
    redeem(path, offset, offset + len);
    struct stat stat;
    if (fstat(fd, &stat) || !S_ISREG(stat.st_mode)) return;
    struct undo *undo = calloc(1, sizeof *undo);
    undo->path = strdup(path);
    undo->offset = offset;
    undo->len = len;
    undo->old_size = stat.st_size;
    undo->old = calloc(1, len ? len : 1);
    int from = real_open(path, O_RDONLY | O_CLOEXEC);
    if (from >= 0) {
        if (len && pread(from, undo->old, len, offset) < 0) perror("faults: pread");
        close(from);
    }
    undo->before = undone;
    undone = undo;
}

static void synced(const char *path) {
    for (struct undo **at = &undone; *at;) {
        struct undo *undo = *at;
        if (undo->doomed || strcmp(undo->path, path)) {
            at = &undo->before;
            continue;
        }
        *at = undo->before;
        free(undo->path);
        free(undo->old);
        free(undo);
    }
    /* Syncing a directory keeps the names in it. So does syncing a new file, on ext4, XFS and Btrfs. */
    size_t len = strlen(path);
    for (struct made **at = &made; *at;) {
        struct made *one = *at;
        int is_within = !strncmp(one->path, path, len) && one->path[len] == '/' && !strchr(one->path + len + 1, '/');
        if (!is_within && strcmp(one->path, path)) {
            at = &one->before;
            continue;
        }
        *at = one->before;
        free(one->path);
        free(one);
    }
}

static void renamed(const char *from, const char *to) {
    for (struct undo *undo = undone; undo; undo = undo->before)
        if (!strcmp(undo->path, from)) {
            free(undo->path);
            undo->path = strdup(to);
        }
    for (struct made *one = made; one; one = one->before)
        if (!strcmp(one->path, from)) one->path[0] = 0;
}

static uint64_t chance(const char *path, uint64_t page) {
    uint64_t hash = control->seed * 0x9e3779b97f4a7c15ull ^ page;
    for (; *path; path++) hash = (hash ^ (unsigned char)*path) * 0x100000001b3ull;
    hash ^= hash >> 29;
    hash *= 0xbf58476d1ce4e5b9ull;
    return hash ^ hash >> 32;
}

/* An even seed loses everything that was not synced, an odd one some pages of it, some lengths and some new files. */
static int is_lost(const char *path, uint64_t page) {
    return control->seed % 2 == 0 || chance(path, page) % 2;
}

static void lose_power(void) {
    for (struct undo *undo = undone; undo; undo = undo->before) {
        int fd = real_open(undo->path, O_WRONLY | O_CLOEXEC);
        if (fd < 0) continue;
        for (size_t at = 0; at < undo->len;) {
            size_t page = (undo->offset + at) / PAGE;
            size_t end = (page + 1) * PAGE - undo->offset;
            if (end > undo->len) end = undo->len;
            if (is_lost(undo->path, page) && real_pwrite(fd, undo->old + at, end - at, undo->offset + at) < 0)
                perror("faults: pwrite");
            at = end;
        }
        struct stat stat;
        if (!undo->doomed && is_lost(undo->path, UINT64_MAX) && !fstat(fd, &stat) && stat.st_size != undo->old_size &&
            real_ftruncate(fd, undo->old_size))
            perror("faults: ftruncate");
        close(fd);
    }
    for (struct made *one = made; one; one = one->before)
        if (one->path[0] && is_lost(one->path, 0)) real_unlink(one->path);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* What to do at this call. Returns -1 to go on, 0 to fail with errno set, TEAR and KILL_AFTER for those. */
static int at(uint64_t call, const char *path) {
    if (!(control->calls & call)) return -1;
    if (control->files == LOGS && !is_log(path)) return -1;
    if (control->files == OTHERS && is_log(path)) return -1;
    __atomic_fetch_add(&control->seen, 1, __ATOMIC_SEQ_CST);
    if (control->action == NOTHING) return -1;
    if (__atomic_fetch_sub(&control->skip, 1, __ATOMIC_SEQ_CST) > 0) return -1;
    if (__atomic_fetch_sub(&control->times, 1, __ATOMIC_SEQ_CST) <= 0) return -1;
    __atomic_fetch_add(&control->acted, 1, __ATOMIC_SEQ_CST);
    switch (control->action) {
    case KILL: die(); break;
    case POWER_CUT: lose_power(); die(); break;
    case FAIL: errno = (int)control->error; return 0;
    case HANG:
        while (__atomic_load_n(&control->action, __ATOMIC_SEQ_CST) == HANG) usleep(1000);
        return -1;
    }
    return (int)control->action;
}

static void enter(void) {
    if (undo_kept) pthread_mutex_lock(&lock);
}

static void leave(void) {
    if (undo_kept) pthread_mutex_unlock(&lock);
}

/* How much of a write there is room for. */
static size_t room_for(size_t len) {
    int64_t room = control->room;
    if (room < 0) return len;
    size_t fits = (int64_t)len <= room ? len : (size_t)room;
    __atomic_fetch_sub(&control->room, (int64_t)fits, __ATOMIC_SEQ_CST);
    return fits;
}

typedef ssize_t (*put)(int, const void *, size_t, off_t);

static ssize_t put_here(int fd, const void *bytes, size_t len, off_t offset) {
    (void)offset;
    return real_write(fd, bytes, len);
}

static ssize_t put_there(int fd, const void *bytes, size_t len, off_t offset) {
    return real_pwrite(fd, bytes, len, offset);
}

/* All writes share one disk, which takes FAULTS_RATE bytes a second. */
static void wait_for(ssize_t bytes) {
    static pthread_mutex_t disk = PTHREAD_MUTEX_INITIALIZER;
    static struct timespec free_at;
    struct timespec now, until;
    clock_gettime(CLOCK_MONOTONIC, &now);
    pthread_mutex_lock(&disk);
    if (free_at.tv_sec < now.tv_sec || (free_at.tv_sec == now.tv_sec && free_at.tv_nsec < now.tv_nsec)) free_at = now;
    uint64_t nanos = (uint64_t)free_at.tv_nsec + (uint64_t)bytes * 1000000000 / rate;
    free_at.tv_sec += nanos / 1000000000;
    free_at.tv_nsec = nanos % 1000000000;
    until = free_at;
    pthread_mutex_unlock(&disk);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {}
}

static ssize_t guarded_write(int fd, const void *bytes, size_t len, off_t offset, put put) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return put(fd, bytes, len, offset);
    enter();
    ssize_t done = -1;
    int what = at(WRITE, path);
    if (what == 0) goto out;
    size_t fits = room_for(len);
    if (fits == 0 && len > 0) {
        errno = ENOSPC;
        goto out;
    }
    if (undo_kept) {
        struct stat stat;
        off_t from = offset;
        if (put == put_here) from = fcntl(fd, F_GETFL) & O_APPEND && !fstat(fd, &stat) ? stat.st_size : lseek(fd, 0, SEEK_CUR);
        remember(fd, path, from, fits);
    }
    if (what == TEAR) {
        put(fd, bytes, len / 2, offset);
        die();
    }
    done = put(fd, bytes, fits, offset);
    if (what == KILL_AFTER) die();
out:;
    int error = errno;
    leave();
    if (rate && done > 0) wait_for(done);
    errno = error;
    return done;
}

ssize_t write(int fd, const void *bytes, size_t len) {
    return guarded_write(fd, bytes, len, 0, put_here);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t offset) {
    return guarded_write(fd, bytes, len, offset, put_there);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset) {
    return guarded_write(fd, bytes, len, offset, put_there);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    char path[PATH_MAX];
    if (count < 1 || !path_of(fd, path)) return real_writev(fd, parts, count);
    /* A short write is allowed: the caller writes the rest. */
    for (int i = 0; i < count; i++)
        if (parts[i].iov_len) return write(fd, parts[i].iov_base, parts[i].iov_len);
    return 0;
}

static int guarded_sync(int fd, int (*sync)(int)) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return sync(fd);
    enter();
    int done = -1;
    int what = at(SYNC, path);
    if (what != 0) {
        done = sync(fd);
        if (!done && undo_kept) synced(path);
        if (what == KILL_AFTER || what == TEAR) die();
    } else if (undo_kept) {
        doom(path);
    }
    int error = errno;
    leave();
    errno = error;
    return done;
}

int fsync(int fd) { return guarded_sync(fd, real_fsync); }

int fdatasync(int fd) { return guarded_sync(fd, real_fdatasync); }

int ftruncate64(int fd, off_t size) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return real_ftruncate(fd, size);
    enter();
    int done = -1;
    int what = at(TRUNCATE, path);
    if (what != 0) {
        if (undo_kept) {
            struct stat stat;
            size_t lost = !fstat(fd, &stat) && stat.st_size > size ? stat.st_size - size : 0;
            remember(fd, path, size, lost);
        }
        done = real_ftruncate(fd, size);
        if (what == KILL_AFTER || what == TEAR) die();
    }
    int error = errno;
    leave();
    errno = error;
    return done;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int guarded_open(const char *path, int flags, mode_t mode) {
    if (!control || !is_below(path)) return real_open(path, flags, mode);
    enter();
    int done = -1;
    struct stat stat;
    int is_new = flags & O_CREAT && lstat(path, &stat);
    int what = at(is_new ? CREATE : OPEN, path);
    if (what != 0) {
        done = real_open(path, flags, mode);
        if (done >= 0 && is_new && undo_kept) {
            struct made *one = calloc(1, sizeof *one);
            one->path = strdup(path);
            one->before = made;
            made = one;
        }
        if (what == KILL_AFTER || what == TEAR) die();
    }
    int error = errno;
    leave();
    errno = error;
    return done;
}

static mode_t mode_of(int flags, va_list rest) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return guarded_open(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return guarded_open(path, flags, mode);
}

int rename(const char *from, const char *to) {
    if (!control || !is_below(to)) return real_rename(from, to);
    enter();
    int done = -1;
    int what = at(RENAME, to);
    if (what != 0) {
        done = real_rename(from, to);
        if (!done && undo_kept) renamed(from, to);
        if (what == KILL_AFTER || what == TEAR) die();
    }
    int error = errno;
    leave();
    errno = error;
    return done;
}

int unlink(const char *path) {
    if (!control || !is_below(path)) return real_unlink(path);
    enter();
    int done = -1;
    int what = at(UNLINK, path);
    if (what != 0) {
        done = real_unlink(path);
        if (what == KILL_AFTER || what == TEAR) die();
    }
    int error = errno;
    leave();
    errno = error;
    return done;
}
