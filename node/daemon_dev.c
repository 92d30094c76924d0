#include "node/daemon_dev.h"

#include <errno.h>
#include <ftw.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "crdt/certificate.h"
#include "node/found.h"

#define DEPTH_MAX 8

struct daemon_dev {
    char root[128]; /* made by mkdtemp */
    char data[160];
};

int daemon_dev_begin(struct daemon_dev **ret_dev,
                     struct daemon_options *options, struct cm_detail *detail)
{
    struct daemon_dev *dev = cm_calloc(1, sizeof *dev);
    const char *tmp = getenv("TMPDIR");
    struct authority authority;
    struct timespec now;
    uint8_t seed[32];
    int error;

    if (dev == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    if (tmp == NULL || strlen(tmp) > 64)
        tmp = "/tmp";
    (void)snprintf(dev->root, sizeof dev->root, "%s/confmesh-dev-XXXXXX", tmp);
    if (mkdtemp(dev->root) == NULL) {
        error = cm_fail(detail, CM_ERR_IO, "%s: cannot create it: %s",
                        dev->root, strerror(errno));
        cm_free(dev);
        return error;
    }
    (void)snprintf(dev->data, sizeof dev->data, "%s/node", dev->root);
    randombytes_buf(seed, sizeof seed);
    authority_make(&authority, seed);
    sodium_memzero(seed, sizeof seed);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    error =
        found_mesh(dev->data, options->name != NULL ? options->name : "dev",
                   &authority, LEVEL_LAST, (uint64_t)now.tv_sec * 1000, detail);
    authority_clear(&authority);
    if (error != 0) {
        daemon_dev_end(dev);
        return error;
    }
    options->data = dev->data;
    *ret_dev = dev;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind,
                      struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

void daemon_dev_end(struct daemon_dev *dev)
{
    if (dev == NULL)
        return;
    if (nftw(dev->root, remove_one, DEPTH_MAX, FTW_DEPTH | FTW_PHYS) != 0)
        fprintf(stderr, "confmesh: %s could not be deleted\n", dev->root);
    cm_free(dev);
}
