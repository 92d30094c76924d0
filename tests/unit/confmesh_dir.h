/* A directory with one founded node in it, for the tests of node/confmesh.h.
 * Included by one file per program. */
#ifndef TESTS_UNIT_CONFMESH_DIR_H
#define TESTS_UNIT_CONFMESH_DIR_H

#include "tests/unit/support.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/found.h"

static char directory[64];

static int remove_one(const char *path, const struct stat *st, int kind,
                      struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

/* Founds a mesh; its node, not open, is in "a" below directory. */
static int setup(void **state)
{
    struct authority authority;
    struct cm_detail detail;
    uint8_t seed[32] = {7};
    char data[96];

    (void)state;
    (void)snprintf(directory, sizeof directory, "/tmp/cm-lib-XXXXXX");
    assert_non_null(mkdtemp(directory));
    authority_make(&authority, seed);
    (void)snprintf(data, sizeof data, "%s/a", directory);
    assert_int_equal(found_mesh(data, "alpha", &authority, LEVEL_LAST,
                                UINT64_C(1700000000000), &detail),
                     0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
