/* The data directory: created once, locked, its key kept, its host told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

#include "node/datadir.h"

struct place {
    char root[32];
    char dir[64];
    char key[80];
    char lock[80];
};

static void place_make(struct place *p)
{
    assert_true(sodium_init() >= 0);
    (void)snprintf(p->root, sizeof p->root, "/tmp/confmesh-test-XXXXXX");
    assert_non_null(mkdtemp(p->root));
    (void)snprintf(p->dir, sizeof p->dir, "%s/data", p->root);
    (void)snprintf(p->key, sizeof p->key, "%s/node.key", p->dir);
    (void)snprintf(p->lock, sizeof p->lock, "%s/lock", p->dir);
}

static void place_remove(const struct place *p)
{
    (void)unlink(p->key);
    (void)unlink(p->lock);
    (void)rmdir(p->dir);
    (void)rmdir(p->root);
}

/* Goal: the key survives, nobody else can read it, and it is the same pair. */
static void test_create_and_reopen(void **state)
{
    struct place p;
    struct datadir *d;
    struct cm_detail detail;
    uint8_t key[32], host[DATADIR_HOST_SIZE], again[DATADIR_HOST_SIZE];
    struct stat st;

    (void)state;
    place_make(&p);
    assert_int_equal(datadir_open(&d, p.dir, false, &detail), CM_ERR_NOT_FOUND);
    assert_int_equal(datadir_open(&d, p.dir, true, &detail), 0);
    memcpy(key, datadir_sign_public_key(d), 32);
    assert_memory_equal(datadir_sign_secret_key(d) + 32, key, 32);
    assert_int_equal(datadir_host(d, host, &detail), 0);
    datadir_close(d);
    assert_int_equal(stat(p.key, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(p.dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(datadir_open(&d, p.dir, false, &detail), 0);
    assert_memory_equal(datadir_sign_public_key(d), key, 32);
    assert_int_equal(datadir_host(d, again, &detail), 0);
    assert_memory_equal(host, again, sizeof host);
    datadir_close(d);
    place_remove(&p);
}

/* Goal: one process at a time, and the second is told. */
static void test_lock(void **state)
{
    struct place p;
    struct datadir *first, *second;
    struct cm_detail detail;

    (void)state;
    place_make(&p);
    assert_int_equal(datadir_open(&first, p.dir, true, &detail), 0);
    assert_int_equal(datadir_open(&second, p.dir, false, &detail),
                     CM_ERR_LOCKED);
    assert_non_null(strstr(detail.text, p.dir));
    datadir_close(first);
    assert_int_equal(datadir_open(&second, p.dir, false, &detail), 0);
    datadir_close(second);
    place_remove(&p);
}

/* Goal: a key file that is none is damage, never a new key. */
static void test_damaged_key(void **state)
{
    struct place p;
    struct datadir *d;
    struct cm_detail detail;

    (void)state;
    place_make(&p);
    assert_int_equal(datadir_open(&d, p.dir, true, &detail), 0);
    datadir_close(d);
    assert_int_equal(
        datadir_write_file(p.key, slice_of("zz", 2), 0600, true, &detail),
        CM_ERR_EXISTS);
    assert_int_equal(
        datadir_write_file(p.key, slice_of("zz", 2), 0600, false, &detail), 0);
    assert_int_equal(datadir_open(&d, p.dir, true, &detail), CM_ERR_DAMAGED);
    assert_non_null(strstr(detail.text, "node.key"));
    place_remove(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_and_reopen),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_damaged_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
