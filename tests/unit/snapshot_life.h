/* Whole nodes without a network, in a scratch directory: founded, written to,
 * snapshotted. For the tests of snapshots and of the restore tool. */
#ifndef TESTS_UNIT_SNAPSHOT_LIFE_H
#define TESTS_UNIT_SNAPSHOT_LIFE_H

#include "tests/unit/snapshot_fixture.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/datadir.h"
#include "node/found.h"
#include "node/snapshot_job.h"
#include "node/snapshot_sink.h"
#include "node/snapshot_source.h"
#include "node/store.h"
#include "node/writer.h"

#define WALL UINT64_C(1800000000000)

static char scratch[] = "/tmp/confmesh-snapshot-life-XXXXXX";

/* A founded node without any network. */
struct life {
    char dir[128];
    struct authority authority;
    struct datadir *datadir;
    struct store *store;
    struct writer *writer;
    uint64_t now;
};

static inline void path_of(char ret[128], const char *name)
{
    (void)snprintf(ret, 128, "%s/%s", scratch, name);
}

static inline void life_open(struct life *l)
{
    struct cm_detail detail = {""};

    assert_int_equal(datadir_open(&l->datadir, l->dir, false, &detail), 0);
    assert_int_equal(store_open(&l->store, l->dir, 64u << 20, &detail), 0);
    assert_int_equal(writer_open(&l->writer, l->store,
                                 datadir_sign_secret_key(l->datadir), &detail),
                     0);
}

static inline void life_begin(struct life *l, const char *name)
{
    uint8_t seed[32] = {9};

    memset(l, 0, sizeof *l);
    l->now = WALL;
    path_of(l->dir, name);
    authority_make(&l->authority, seed);
    assert_int_equal(
        found_mesh(l->dir, "founder", &l->authority, LEVEL_LAST, WALL, NULL),
        0);
    life_open(l);
}

static inline void life_end(struct life *l)
{
    writer_close(l->writer);
    store_close(l->store);
    datadir_close(l->datadir);
}

static inline void write_op(struct life *l, enum op_kind kind, const char *key,
                            const char *element, const void *value, size_t size)
{
    struct intent *i = intent_new(INTENT_LOCAL);
    struct local_op op = {
        .kind = kind,
        .key = slice_of_string(key),
        .element = slice_of_string(element),
        .value = slice_of(value, size),
    };
    struct commit_result *result;

    assert_non_null(i);
    assert_int_equal(intent_add_op(i, &op), 0);
    result = writer_commit(l->writer, i, l->now++);
    assert_non_null(result);
    assert_int_equal(i->result, 0);
    commit_result_free(result);
    intent_free(i);
}

static inline void fill(struct life *l, size_t count)
{
    struct fixture_entry *entries = fixture_entries(count);
    size_t i;

    for (i = 0; i < count; i++)
        write_op(l, OP_PUT, entries[i].key, "", entries[i].value,
                 entries[i].value_size);
    write_op(l, OP_SET_ADD, "users", "alice", "", 0);
    write_op(l, OP_SET_ADD, "users", "bob", "", 0);
    write_op(l, OP_SET_REVOKE, "users", "bob", "", 0);
    write_op(l, OP_REVOKE, entries[0].key, "", "", 0);
    write_op(l, OP_DEL, entries[1].key, "", "", 0);
    free(entries);
}

static inline struct hash digest_of(struct store *s)
{
    struct store_reader *r;
    struct digest d;
    struct hash ret;
    struct vv vv;

    vv_init(&vv);
    assert_int_equal(store_reader_begin(s, &r), 0);
    assert_int_equal(store_vv(r, &vv), 0);
    assert_int_equal(store_digest(r, &d), 0);
    ret = digest_finish(&d, &vv);
    vv_release(&vv);
    store_reader_release(r);
    return ret;
}

static inline int take(struct life *l, const char *target,
                       const struct snapshot_memory *previous,
                       struct snapshot_outcome *ret, struct cm_detail *detail)
{
    struct snapshot_job_config c = {
        .store = l->store,
        .target = target,
        .spool_dir = l->dir,
        .wall_ms = l->now,
    };
    struct snapshot_job *j;
    int error;

    if (previous != NULL)
        c.previous = *previous;
    memcpy(c.sign_secret_key, datadir_sign_secret_key(l->datadir), 64);
    error = snapshot_job_create(&j, &c, detail);
    if (error != 0)
        return error;
    do
        error = snapshot_job_step(j, detail);
    while (error == SNAPSHOT_MORE);
    if (error == SNAPSHOT_DONE)
        *ret = *snapshot_job_outcome(j);
    snapshot_job_free(j);
    return error;
}

/* Flips one byte in the middle of a file of the target. */
static inline void damage(const char *target, const char *name)
{
    char path[512];
    struct stat st;
    uint8_t byte;
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", target, name);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(pread(fd, &byte, 1, st.st_size / 2), 1);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, st.st_size / 2), 1);
    (void)close(fd);
}

static inline int scratch_make(void **state)
{
    (void)state;
    return sodium_init() < 0 || mkdtemp(scratch) == NULL ? -1 : 0;
}

static inline int remove_one(const char *path, const struct stat *st, int type,
                             struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static inline int scratch_remove(void **state)
{
    (void)state;
    return nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
