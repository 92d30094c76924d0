/* Reading in the process, through the public header, beside a bare mdb_get of
 * the same keys and values in an environment of its own: what versions,
 * conflict resolution and checksums cost.
 *
 *   embedded DATA SCRATCH     DATA: made by init; SCRATCH: an empty directory
 *
 * The two take turns in one run. One line of JSON. */
#include <inttypes.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/confmesh.h"
#include "tests/bench/support.h"

#define KEYS 100000
#define VALUE_SIZE 100
#define TXN_OPS 1000
#define ROUNDS 6
#define READS 200000 /* in a round */

static void key_text(char ret_text[32], uint64_t key)
{
    (void)snprintf(ret_text, 32, "bench/key%06" PRIu64, key);
}

static void must(int error, const char *what)
{
    if (error != 0)
        bench_fail("%s: %s", what, confmesh_error());
}

static void must_mdb(int error, const char *what)
{
    if (error != 0)
        bench_fail("%s: %s", what, mdb_strerror(error));
}

static void fill(struct confmesh *mesh, const char *value)
{
    char key[32];

    for (uint64_t i = 0; i < KEYS; i += TXN_OPS) {
        struct confmesh_txn *txn;

        must(confmesh_txn_begin(mesh, &txn), "txn");
        for (uint64_t j = i; j < i + TXN_OPS; j++) {
            key_text(key, j);
            confmesh_txn_put(txn, key, value, VALUE_SIZE, 0);
        }
        must(confmesh_txn_commit(txn, NULL), "commit");
    }
}

static MDB_env *fill_raw(const char *dir, const char *value, MDB_dbi *ret_dbi)
{
    MDB_env *env;
    MDB_txn *txn;
    char key[32];

    must_mdb(mdb_env_create(&env), "mdb_env_create");
    must_mdb(mdb_env_set_mapsize(env, (size_t)1 << 30), "mapsize");
    must_mdb(mdb_env_open(env, dir, MDB_NOTLS, 0600), "mdb_env_open");
    must_mdb(mdb_txn_begin(env, NULL, 0, &txn), "mdb_txn_begin");
    must_mdb(mdb_dbi_open(txn, NULL, 0, ret_dbi), "mdb_dbi_open");
    for (uint64_t i = 0; i < KEYS; i++) {
        MDB_val k = {.mv_data = key};
        MDB_val v = {VALUE_SIZE, (void *)(uintptr_t)value};

        key_text(key, i);
        k.mv_size = strlen(key);
        must_mdb(mdb_put(txn, *ret_dbi, &k, &v, 0), "mdb_put");
    }
    must_mdb(mdb_txn_commit(txn), "mdb_txn_commit");
    return env;
}

static uint64_t read_mesh(struct confmesh *mesh, uint64_t *seed)
{
    struct confmesh_read *view;
    uint64_t begun;
    uint64_t took;
    char key[32];

    must(confmesh_read_begin(mesh, &view), "read");
    begun = bench_now_ns();
    for (uint64_t i = 0; i < READS; i++) {
        const void *value;
        size_t size;

        key_text(key, bench_random(seed) % KEYS);
        must(confmesh_get(view, key, &value, &size, NULL), key);
        if (size != VALUE_SIZE)
            bench_fail("%s has %zu bytes", key, size);
    }
    took = bench_now_ns() - begun;
    confmesh_read_end(view);
    return took;
}

static uint64_t read_raw(MDB_env *env, MDB_dbi dbi, uint64_t *seed)
{
    MDB_txn *txn;
    uint64_t begun;
    uint64_t took;
    char key[32];

    must_mdb(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), "mdb_txn_begin");
    begun = bench_now_ns();
    for (uint64_t i = 0; i < READS; i++) {
        MDB_val k = {.mv_data = key};
        MDB_val v;

        key_text(key, bench_random(seed) % KEYS);
        k.mv_size = strlen(key);
        must_mdb(mdb_get(txn, dbi, &k, &v), key);
        if (v.mv_size != VALUE_SIZE)
            bench_fail("%s has %zu bytes", key, v.mv_size);
    }
    took = bench_now_ns() - begun;
    mdb_txn_abort(txn);
    return took;
}

/* What the loop costs besides reading, taken off both. */
static uint64_t read_nothing(uint64_t *seed)
{
    uint64_t begun = bench_now_ns();
    uint64_t sum = 0;
    char key[32];

    for (uint64_t i = 0; i < READS; i++) {
        key_text(key, bench_random(seed) % KEYS);
        sum += strlen(key);
    }
    if (sum == 0)
        bench_fail("no keys");
    return bench_now_ns() - begun;
}

int main(int argc, char **argv)
{
    struct confmesh_options options = {0};
    struct bench_samples mesh_ns = {0};
    struct bench_samples raw_ns = {0};
    struct bench_samples percent = {0};
    struct confmesh *mesh;
    char value[VALUE_SIZE];
    char why[256];
    uint64_t seed = 362436069;
    MDB_env *env;
    MDB_dbi dbi;

    if (argc != 3)
        bench_fail("usage: embedded DATA SCRATCH");
    memset(value, 'v', sizeof value);
    options.data = argv[1];
    if (confmesh_open(&mesh, &options, why, sizeof why) != 0)
        bench_fail("open: %s", why);
    must(confmesh_wait_ready(mesh, 10000), "ready");
    fill(mesh, value);
    env = fill_raw(argv[2], value, &dbi);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t loop = read_nothing(&seed);
        uint64_t ours = read_mesh(mesh, &seed);
        uint64_t raw = read_raw(env, dbi, &seed);

        if (ours <= loop || raw <= loop)
            bench_fail("the clock makes no sense");
        if (i == 0)
            continue; /* the map is touched for the first time */
        bench_samples_add(&mesh_ns, (ours - loop) / READS);
        bench_samples_add(&raw_ns, (raw - loop) / READS);
        bench_samples_add(&percent, (raw - loop) * 100 / (ours - loop));
    }
    (void)printf("{\"read_ns\":%" PRIu64 ",\"mdb_get_ns\":%" PRIu64
                 ",\"percent\":%" PRIu64 "}\n",
                 bench_samples_at(&mesh_ns, 500),
                 bench_samples_at(&raw_ns, 500),
                 bench_samples_at(&percent, 500));
    mdb_env_close(env);
    confmesh_close(mesh);
    bench_samples_release(&mesh_ns);
    bench_samples_release(&raw_ns);
    bench_samples_release(&percent);
    return 0;
}
