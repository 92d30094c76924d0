#include "node/daemon_dev.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/certificate.h"
#include "node/found.h"

#define DEPTH_MAX 8
#define PREFIX "confmesh-dev-"
#define PATTERN "XXXXXX" /* mkdtemp's */
#define TMP_LENGTH_MAX 64
#define SWEPT_MAX 64 /* at one start; the next one goes on */
#define TRIES_MAX 16 /* each lost to a sweep at that very moment */

struct daemon_dev {
    char root[128]; /* made by mkdtemp */
    char data[160];
    int lock; /* of root itself */
};

static const char *tmp_path(void)
{
    const char *tmp = getenv("TMPDIR");

    return tmp != NULL && tmp[0] != '\0' && strlen(tmp) <= TMP_LENGTH_MAX
               ? tmp
               : "/tmp";
}

static int remove_one(const char *path, const struct stat *st, int kind,
                      struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static int remove_tree(const char *path)
{
    return nftw(path, remove_one, DEPTH_MAX, FTW_DEPTH | FTW_PHYS);
}

/* ---- what killed ones left ---- */

static bool is_ours(const char *name)
{
    const char *rest = name + strlen(PREFIX);

    return strncmp(name, PREFIX, strlen(PREFIX)) == 0 &&
           strlen(rest) == strlen(PATTERN) &&
           strspn(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789") == strlen(rest);
}

/* Its node holds this one too, and one of an earlier program only this one. */
static bool node_lives(int root)
{
    int fd = openat(root, "node/lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    bool ret = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0;

    if (fd >= 0)
        (void)close(fd);
    return ret;
}

/* The lock is kept until it is gone, so that nobody begins in it meanwhile. */
static bool sweep_one(int tmp_fd, const char *tmp, const char *name)
{
    char path[128];
    struct stat st;
    bool ret = false;
    int fd =
        openat(tmp_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return false;
    (void)snprintf(path, sizeof path, "%s/%s", tmp, name);
    if (fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
        (st.st_mode & 07777) == 0700 && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
        !node_lives(fd))
        ret = remove_tree(path) == 0;
    (void)close(fd);
    return ret;
}

static void sweep(const char *tmp)
{
    DIR *dir = opendir(tmp);
    const struct dirent *entry;
    unsigned swept = 0;

    if (dir == NULL)
        return;
    while (swept < SWEPT_MAX && (entry = readdir(dir)) != NULL)
        if (is_ours(entry->d_name) && sweep_one(dirfd(dir), tmp, entry->d_name))
            swept++;
    (void)closedir(dir);
    if (swept > 0)
        fprintf(stderr,
                "confmesh: deleted what %u killed throwaway node%s had left\n",
                swept, swept == 1 ? "" : "s");
}

/* ---- beginning and ending ---- */

/* Another's sweep may come between making it and locking it: then it is that
 * one's, or gone. */
static bool lock_root(struct daemon_dev *dev)
{
    struct stat mine, there;

    dev->lock =
        open(dev->root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dev->lock >= 0 && flock(dev->lock, LOCK_EX | LOCK_NB) == 0 &&
        fstat(dev->lock, &mine) == 0 && lstat(dev->root, &there) == 0 &&
        mine.st_ino == there.st_ino && mine.st_dev == there.st_dev)
        return true;
    if (dev->lock >= 0)
        (void)close(dev->lock);
    dev->lock = -1;
    return false;
}

static int make_root(struct daemon_dev *dev, const char *tmp,
                     struct cm_detail *detail)
{
    for (unsigned i = 0; i < TRIES_MAX; i++) {
        (void)snprintf(dev->root, sizeof dev->root, "%s/" PREFIX PATTERN, tmp);
        if (mkdtemp(dev->root) == NULL)
            break;
        if (lock_root(dev))
            return 0;
    }
    return cm_fail(detail, CM_ERR_IO, "%s: cannot create it: %s", dev->root,
                   strerror(errno));
}

static int found_one(struct daemon_dev *dev, struct daemon_options *options,
                     struct cm_detail *detail)
{
    struct authority authority;
    struct timespec now;
    uint8_t seed[32];
    int error;

    CHECK(dev->lock >= 0);
    (void)snprintf(dev->data, sizeof dev->data, "%s/node", dev->root);
    randombytes_buf(seed, sizeof seed);
    authority_make(&authority, seed);
    sodium_memzero(seed, sizeof seed);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    error =
        found_mesh(dev->data, options->name != NULL ? options->name : "dev",
                   &authority, LEVEL_LAST, (uint64_t)now.tv_sec * 1000, detail);
    authority_clear(&authority);
    return error;
}

int daemon_dev_begin(struct daemon_dev **ret_dev,
                     struct daemon_options *options, struct cm_detail *detail)
{
    struct daemon_dev *dev = cm_calloc(1, sizeof *dev);
    const char *tmp = tmp_path();
    int error;

    CHECK(options->dev && options->data == NULL);
    if (dev == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    sweep(tmp);
    error = make_root(dev, tmp, detail);
    if (error != 0) {
        cm_free(dev);
        return error;
    }
    error = found_one(dev, options, detail);
    if (error != 0) {
        daemon_dev_end(dev);
        return error;
    }
    options->data = dev->data;
    *ret_dev = dev;
    return 0;
}

void daemon_dev_end(struct daemon_dev *dev)
{
    if (dev == NULL)
        return;
    CHECK(dev->lock >= 0);
    if (remove_tree(dev->root) != 0)
        fprintf(stderr, "confmesh: %s could not be deleted\n", dev->root);
    (void)close(dev->lock);
    cm_free(dev);
}
