/* Goal: the disk model drops and tears what was not synced and nothing else,
 * LMDB survives every such power cut, and the same seed leaves the same bytes.
 * Method: a bare LMDB environment, commits of a counter with its check value
 * in many keys, a cut in the middle of a commit, again and again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crdt/base/hash.h"
#include "sim/disk.h"

#define KEYS 40
#define CUTS 200
#define VALUE_SIZE 300

static char directory[256];

static int make_directory(void **state)
{
    const char *root = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    (void)state;
    (void)snprintf(directory, sizeof directory, "%s/confmesh-disk-XXXXXX",
                   root);
    return mkdtemp(directory) == NULL ? -1 : 0;
}

static int remove_directory(void **state)
{
    char path[300];

    (void)state;
    (void)snprintf(path, sizeof path, "%s/data.mdb", directory);
    (void)unlink(path);
    (void)snprintf(path, sizeof path, "%s/lock.mdb", directory);
    (void)unlink(path);
    return rmdir(directory);
}

static MDB_env *open_env(MDB_dbi *ret_dbi)
{
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;

    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_mapsize(env, 16u << 20), 0);
    assert_int_equal(mdb_env_open(env, directory, MDB_NOTLS, 0600), 0);
    /* A new environment's first pages are written without a sync: until the
     * first one, a power cut leaves a file that LMDB refuses. */
    assert_int_equal(mdb_env_sync(env, 1), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, NULL, 0, ret_dbi), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    return env;
}

/* Every key gets a value made of round; one transaction. LMDB's error. */
static int try_round(MDB_env *env, MDB_dbi dbi, uint32_t round)
{
    MDB_txn *txn = NULL;
    uint8_t value[VALUE_SIZE];

    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    for (uint32_t i = 0; i < KEYS; i++) {
        uint8_t key[8];
        put_be64(key, (uint64_t)i * 7919);
        memset(value, (int)(round & 255), sizeof value);
        put_be32(value, round);
        MDB_val k = {sizeof key, key};
        MDB_val v = {VALUE_SIZE - (round + i) % 200, value};
        assert_int_equal(mdb_put(txn, dbi, &k, &v, 0), 0);
    }
    return mdb_txn_commit(txn);
}

static void commit_round(MDB_env *env, MDB_dbi dbi, uint32_t round)
{
    assert_int_equal(try_round(env, dbi, round), 0);
}

/* Whether all keys show the same round, and which one; 0: there are no keys. */
static bool look_at_round(MDB_env *env, MDB_dbi dbi, uint32_t *ret_round)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val k;
    MDB_val v;
    uint32_t seen = 0;
    bool whole = true;

    *ret_round = 0;
    if (mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0 ||
        mdb_cursor_open(txn, dbi, &cursor) != 0)
        return false;
    while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
        if (v.mv_size < 4)
            return false;
        if (seen == 0)
            *ret_round = get_be32(v.mv_data);
        whole = whole && get_be32(v.mv_data) == *ret_round;
        for (size_t i = 4; i < v.mv_size; i++)
            whole = whole && ((uint8_t *)v.mv_data)[i] == (*ret_round & 255);
        seen++;
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return whole && (seen == 0 || seen == KEYS);
}

static uint32_t read_round(MDB_env *env, MDB_dbi dbi)
{
    uint32_t round = 0;

    assert_true(look_at_round(env, dbi, &round));
    return round;
}

/* The whole file's hash, for comparing images. */
static struct hash image_hash(void)
{
    char path[300];
    struct stat st;

    (void)snprintf(path, sizeof path, "%s/data.mdb", directory);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    size_t size = (size_t)st.st_size;
    uint8_t *bytes = malloc(size + 1);
    assert_non_null(bytes);
    assert_int_equal(read(fd, bytes, size), (ssize_t)size);
    struct hash h = hash_of("image", slice_of(bytes, size));
    free(bytes);
    assert_int_equal(close(fd), 0);
    return h;
}

static struct hash run_cuts(uint64_t seed, struct sim_disk_counters *ret)
{
    struct sim_fate fate;
    struct sim_disk *disk = NULL;
    MDB_dbi dbi = 0;
    uint32_t acknowledged = 0;
    uint32_t next = 1;
    uint8_t hashes[2 * HASH_SIZE] = {0};

    assert_int_equal(make_directory(NULL), 0);
    sim_fate_init(&fate, seed);
    assert_int_equal(sim_disk_create(&disk, directory, 1, &fate, NULL), 0);
    for (unsigned cut = 0; cut < CUTS; cut++) {
        MDB_env *env = open_env(&dbi);
        uint32_t shown = read_round(env, dbi);
        /* Acknowledged rounds are there; the one under way may be. */
        assert_true(shown == acknowledged || shown + 1 == next);
        acknowledged = shown;
        next = shown + 1;
        if (cut % 5 == 4) { /* what a failed sync left stays doubtful */
            sim_disk_set_fault(disk, SIM_DISK_SYNC, true);
            assert_int_not_equal(try_round(env, dbi, next), 0);
            sim_disk_set_fault(disk, SIM_DISK_SYNC, false);
        }
        for (unsigned i = 0; i < cut % 3; i++) {
            commit_round(env, dbi, next);
            acknowledged = next++;
        }
        if (cut % 4 != 3) { /* else: the power goes while nothing happens */
            sim_disk_open_window(disk);
            commit_round(env, dbi, next++);
        }
        sim_disk_fail(disk);
        mdb_env_close(env);
        sim_disk_power_cut(disk);
        struct hash image = image_hash();
        memcpy(hashes + HASH_SIZE, image.bytes, HASH_SIZE);
        struct hash sum = hash_of("sum", slice_of(hashes, sizeof hashes));
        memcpy(hashes, sum.bytes, HASH_SIZE);
    }
    sim_disk_read_counters(disk, ret);
    sim_disk_free(disk);
    assert_int_equal(remove_directory(NULL), 0);
    return hash_of("sum", slice_of(hashes, sizeof hashes));
}

static void test_power_cuts(void **state)
{
    struct sim_disk_counters counters;

    (void)state;
    struct hash first = run_cuts(1, &counters);
    assert_int_equal(counters.power_cuts, CUTS);
    /* The faults did happen. */
    assert_true(counters.calls_undone > 0);
    assert_true(counters.sectors_kept > 0);
    assert_true(counters.sectors_dropped > 0);
    struct hash again = run_cuts(1, &counters);
    assert_true(hash_equal(&first, &again));
    struct hash other = run_cuts(2, &counters);
    assert_false(hash_equal(&first, &other));
}

/* A failed disk refuses, keeps what it had, and works after the cut. */
static void test_failed_disk_refuses(void **state)
{
    struct sim_fate fate;
    struct sim_disk *disk = NULL;
    MDB_dbi dbi = 0;
    MDB_txn *txn = NULL;
    uint8_t key = 1;

    (void)state;
    sim_fate_init(&fate, 3);
    assert_int_equal(make_directory(NULL), 0);
    assert_int_equal(sim_disk_create(&disk, directory, 1, &fate, NULL), 0);
    MDB_env *env = open_env(&dbi);
    commit_round(env, dbi, 5);
    sim_disk_fail(disk);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    MDB_val v = {1, &key};
    assert_int_equal(mdb_put(txn, dbi, &v, &v, 0), 0);
    assert_int_not_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    sim_disk_power_cut(disk);
    env = open_env(&dbi);
    assert_int_equal(read_round(env, dbi), 5);
    commit_round(env, dbi, 6);
    assert_int_equal(read_round(env, dbi), 6);
    mdb_env_close(env);
    sim_disk_free(disk);
    assert_int_equal(remove_directory(NULL), 0);
}

/* What was written without a sync may be lost; after the sync it may not. */
static void test_unsynced_writes_tear(void **state)
{
    struct sim_fate fate;
    struct sim_disk *disk = NULL;
    struct sim_disk_counters counters;
    char path[300];
    uint8_t bytes[64 * SIM_SECTOR_SIZE];

    (void)state;
    sim_fate_init(&fate, 4);
    assert_int_equal(make_directory(NULL), 0);
    assert_int_equal(sim_disk_create(&disk, directory, 1, &fate, NULL), 0);
    (void)snprintf(path, sizeof path, "%s/data.mdb", directory);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    memset(bytes, 'a', sizeof bytes);
    assert_int_equal(pwrite(fd, bytes, sizeof bytes, 0), sizeof bytes);
    assert_int_equal(fdatasync(fd), 0);
    memset(bytes, 'b', sizeof bytes);
    assert_int_equal(write(fd, bytes, sizeof bytes), sizeof bytes);
    assert_int_equal(close(fd), 0);
    sim_disk_power_cut(disk);
    sim_disk_read_counters(disk, &counters);
    assert_int_equal(counters.sectors_kept + counters.sectors_dropped, 64);
    fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, bytes, sizeof bytes), sizeof bytes);
    size_t kept = 0;
    for (size_t i = 0; i < 64; i++) {
        uint8_t *sector = bytes + i * SIM_SECTOR_SIZE;
        assert_true(sector[0] == 'a' || sector[0] == 'b');
        assert_int_equal(sector[0], sector[SIM_SECTOR_SIZE - 1]);
        kept += sector[0] == 'b';
    }
    assert_int_equal(kept, counters.sectors_kept);
    assert_true(kept > 0 && kept < 64);
    assert_int_equal(close(fd), 0);
    sim_disk_free(disk);
    assert_int_equal(remove_directory(NULL), 0);
}

/* ---- syncs that lie ---- */

#define LIES 60

/* After some rounds whose syncs lied the power goes; the round that is shown
 * then. Aborts or fails where the store cannot be read. */
static uint32_t lie_once(struct sim_disk *disk, uint32_t before,
                         uint32_t rounds)
{
    MDB_dbi dbi = 0;
    MDB_env *env = open_env(&dbi);

    assert_int_equal(read_round(env, dbi), before);
    sim_disk_set_fault(disk, SIM_DISK_LIE, true);
    for (uint32_t i = 1; i <= rounds; i++)
        commit_round(env, dbi, before + i);
    assert_int_equal(read_round(env, dbi), before + rounds);
    sim_disk_set_fault(disk, SIM_DISK_LIE, false);
    sim_disk_fail(disk);
    mdb_env_close(env);
    sim_disk_power_cut(disk);
    env = open_env(&dbi);
    uint32_t shown = read_round(env, dbi);
    mdb_env_close(env);
    return shown;
}

/* A disk that keeps the order of its cache is as it was earlier, and whole. */
static void test_lies_roll_back(void **state)
{
    struct sim_fate fate;
    struct sim_disk *disk = NULL;
    struct sim_disk_counters counters;
    MDB_dbi dbi = 0;
    uint32_t shown = 1;
    uint32_t lost = 0;

    (void)state;
    sim_fate_init(&fate, 5);
    assert_int_equal(make_directory(NULL), 0);
    assert_int_equal(sim_disk_create(&disk, directory, 1, &fate, NULL), 0);
    MDB_env *env = open_env(&dbi);
    commit_round(env, dbi, shown);
    mdb_env_close(env);
    for (uint32_t i = 0; i < LIES; i++) {
        uint32_t now = lie_once(disk, shown, 1 + i % 4);

        assert_true(now >= shown && now <= shown + 1 + i % 4);
        assert_true(sim_disk_has_lied(disk) && !sim_disk_is_torn(disk));
        lost += shown + 1 + i % 4 - now;
        shown = now;
    }
    sim_disk_read_counters(disk, &counters);
    assert_int_equal(counters.lies, LIES);
    assert_true(lost >= LIES / 2);
    /* An honest sync covers what the others promised. */
    env = open_env(&dbi);
    sim_disk_set_fault(disk, SIM_DISK_LIE, true);
    commit_round(env, dbi, shown + 1);
    sim_disk_set_fault(disk, SIM_DISK_LIE, false);
    commit_round(env, dbi, shown + 2);
    sim_disk_fail(disk);
    mdb_env_close(env);
    sim_disk_power_cut(disk);
    assert_false(sim_disk_has_lied(disk));
    env = open_env(&dbi);
    assert_int_equal(read_round(env, dbi), shown + 2);
    mdb_env_close(env);
    sim_disk_free(disk);
    assert_int_equal(remove_directory(NULL), 0);
}

/* One that does not leaves what fits nothing: LMDB shows an earlier round, half
 * of one, an error, or dies. In a process of its own, for that reason. */
static int torn_once(uint64_t seed)
{
    pid_t pid = fork();
    int status = 0;

    assert_true(pid >= 0);
    if (pid == 0) {
        struct sim_fate fate;
        struct sim_disk *disk = NULL;
        MDB_dbi dbi = 0;

        (void)freopen("/dev/null", "w", stderr);
        sim_fate_init(&fate, seed);
        if (sim_disk_create(&disk, directory, 1, &fate, NULL) != 0)
            _exit(2);
        sim_disk_set_tearing(disk, 1000000);
        MDB_env *env = open_env(&dbi);
        commit_round(env, dbi, 1);
        sim_disk_set_fault(disk, SIM_DISK_LIE, true);
        commit_round(env, dbi, 2);
        commit_round(env, dbi, 3);
        sim_disk_fail(disk);
        mdb_env_close(env);
        sim_disk_power_cut(disk);
        if (!sim_disk_is_torn(disk))
            _exit(2);
        uint32_t shown = 0;
        _exit(mdb_env_create(&env) == 0 &&
                      mdb_env_open(env, directory, MDB_NOTLS, 0600) == 0 &&
                      look_at_round(env, dbi, &shown) && shown > 0
                  ? 0
                  : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void test_lies_tear(void **state)
{
    unsigned broken = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        assert_int_equal(make_directory(NULL), 0);
        int result = torn_once(seed);

        assert_int_not_equal(result, 2);
        broken += result != 0;
        assert_int_equal(remove_directory(NULL), 0);
    }
    assert_true(broken > 5);
}

/* ---- rot ---- */

#define ROTS 50

/* Bits of all values that differ from round's. */
static unsigned count_bits(MDB_env *env, MDB_dbi dbi, uint32_t round)
{
    uint8_t expected[VALUE_SIZE];
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val k, v;
    uint32_t seen = 0;
    unsigned bits = 0;

    memset(expected, (int)(round & 255), sizeof expected);
    put_be32(expected, round);
    assert_int_equal(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), 0);
    assert_int_equal(mdb_cursor_open(txn, dbi, &cursor), 0);
    while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
        assert_int_equal(get_be64(k.mv_data), (uint64_t)seen * 7919);
        for (size_t i = 0; i < v.mv_size; i++) {
            uint8_t other = ((uint8_t *)v.mv_data)[i] ^ expected[i];

            bits += (unsigned)__builtin_popcount(other);
        }
        seen++;
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    assert_int_equal(seen, KEYS);
    return bits;
}

/* Each flips one bit of a record that is in use, before an open environment's
 * eyes, and nothing else. */
static void test_rot_hits_records(void **state)
{
    struct sim_fate fate;
    struct sim_disk *disk = NULL;
    MDB_dbi dbi = 0;
    unsigned before = 0;

    (void)state;
    sim_fate_init(&fate, 6);
    assert_int_equal(make_directory(NULL), 0);
    assert_int_equal(sim_disk_create(&disk, directory, 1, &fate, NULL), 0);
    assert_false(sim_disk_rot(disk, 1, false)); /* no file yet */
    MDB_env *env = open_env(&dbi);
    assert_false(sim_disk_rot(disk, 1, false)); /* no record yet */
    for (uint32_t round = 1; round < 5; round++)
        commit_round(env, dbi, round);
    for (uint64_t n = 0; n < ROTS; n++) {
        assert_true(sim_disk_rot(disk, n, false));
        unsigned bits = count_bits(env, dbi, 4);
        assert_true(bits == before + 1 || bits + 1 == before);
        before = bits;
    }
    assert_true(before > ROTS / 2);
    mdb_env_close(env);
    sim_disk_free(disk);
    assert_int_equal(remove_directory(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_cuts),
        cmocka_unit_test(test_failed_disk_refuses),
        cmocka_unit_test(test_unsynced_writes_tear),
        cmocka_unit_test(test_lies_roll_back),
        cmocka_unit_test(test_lies_tear),
        cmocka_unit_test(test_rot_hits_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
