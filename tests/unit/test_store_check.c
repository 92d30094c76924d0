/* Goal: the look through the pages of data.mdb calls every file sound that LMDB
 * wrote, and none on which LMDB would kill its process.
 * Method: a file with both kinds of tree pages, long values and free pages;
 * bits of it flipped one at a time. What is called sound has to be read and
 * rewritten whole by LMDB, in a process of its own; of what is called damaged
 * some has to kill it, or there were no use for all of this. */
#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/store_check.h"
#include "tests/unit/support.h"

#define MAP_SIZE (64u << 20)
#define KEYS 400
#define ROUNDS 30
#define FLIPS 250
#define KILLS_TRIED 40
#define KILL_SECONDS 20
#define PAGE 4096
#define META_ROOT_AT 128
#define META_TXN_AT 144

static char directory[64];
static char path[128];
static uint8_t *image; /* of the file as LMDB left it */
static size_t image_size;
static uint64_t chance;

static uint64_t draw(uint64_t below)
{
    chance =
        chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (chance >> 33) % below;
}

static MDB_env *open_env(int *ret_error)
{
    MDB_env *env = NULL;

    *ret_error = mdb_env_create(&env);
    if (*ret_error == 0)
        *ret_error = mdb_env_set_mapsize(env, MAP_SIZE);
    if (*ret_error == 0)
        *ret_error = mdb_env_open(env, directory, MDB_NOTLS | MDB_NOSYNC, 0600);
    return env;
}

static size_t make_key(char ret[64], uint64_t i)
{
    return (size_t)snprintf(ret, 64, "%0*llu/key/%llu", (int)(i % 40 + 4),
                            (unsigned long long)(i * 7919 % KEYS),
                            (unsigned long long)i);
}

/* Some keys are written, some deleted. */
static int commit_some(MDB_env *env, unsigned count)
{
    static uint8_t value[20000];
    MDB_txn *txn = NULL;
    MDB_dbi dbi = 0;
    int error = mdb_txn_begin(env, NULL, 0, &txn);

    if (error == 0)
        error = mdb_dbi_open(txn, NULL, 0, &dbi);
    for (unsigned i = 0; i < count && error == 0; i++) {
        char text[64];
        MDB_val k = {make_key(text, draw(KEYS)), text};
        MDB_val v = {draw(20) == 0 ? 2000 + draw(18000) : draw(600), value};

        memset(value, (int)draw(256), v.mv_size);
        error = draw(4) == 0 ? mdb_del(txn, dbi, &k, NULL)
                             : mdb_put(txn, dbi, &k, &v, 0);
        if (error == MDB_NOTFOUND)
            error = 0;
    }
    if (error == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return error;
}

static int setup(void **state)
{
    struct stat st;
    int error;
    int fd;

    (void)state;
    chance = 1;
    (void)snprintf(directory, sizeof directory, "%s/confmesh-check-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(directory) == NULL)
        return -1;
    (void)snprintf(path, sizeof path, "%s/data.mdb", directory);
    assert_int_equal(store_check_dir(directory, MAP_SIZE, NULL), 0);
    MDB_env *env = open_env(&error);
    for (unsigned i = 0; i < ROUNDS && error == 0; i++) {
        error = commit_some(env, 1 + (unsigned)draw(60));
        struct cm_detail detail = {""};
        if (store_check_dir(directory, MAP_SIZE, &detail) != 0)
            fail_msg("after commit %u: %s", i, detail.text);
    }
    assert_int_equal(error, 0);
    mdb_env_close(env);
    fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    image_size = (size_t)st.st_size;
    image = malloc(image_size);
    assert_non_null(image);
    assert_int_equal(read(fd, image, image_size), (ssize_t)image_size);
    return close(fd);
}

static void restore_image(void)
{
    int fd = open(path, O_WRONLY | O_TRUNC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, image, image_size), (ssize_t)image_size);
    assert_int_equal(close(fd), 0);
}

static int teardown(void **state)
{
    char lock[128];

    (void)state;
    (void)snprintf(lock, sizeof lock, "%s/lock.mdb", directory);
    (void)unlink(lock);
    (void)unlink(path);
    free(image);
    return rmdir(directory);
}

static void change(size_t at, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, (off_t)at), (ssize_t)size);
    assert_int_equal(close(fd), 0);
}

/* All that a process does with it: reads every byte, changes everything. */
static int use_all(void)
{
    int error;
    MDB_env *env = open_env(&error);
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_dbi dbi = 0;
    MDB_val k, v;
    unsigned sum = 0;

    if (error == 0)
        error = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
    if (error == 0)
        error = mdb_dbi_open(txn, NULL, 0, &dbi);
    if (error == 0)
        error = mdb_cursor_open(txn, dbi, &cursor);
    while (error == 0 &&
           (error = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0)
        for (size_t i = 0; i < v.mv_size; i++)
            sum += ((const uint8_t *)v.mv_data)[i];
    if (error != MDB_NOTFOUND)
        return 2;
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    error = sum == 1;
    for (unsigned i = 0; i < 8 && error == 0; i++)
        error = commit_some(env, 200);
    mdb_env_close(env);
    return error == 0 ? 0 : 3;
}

/* Exit status, or a signal's number + 1000. */
static int use_in_child(void)
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        static const int deadly[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};

        for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++)
            (void)signal(deadly[i], SIG_DFL); /* cmocka has its own */
        (void)freopen("/dev/null", "w", stderr);
        (void)alarm(KILL_SECONDS);
        _exit(use_all());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Where a bit hurts: mostly in what LMDB goes by. */
static size_t draw_place(void)
{
    size_t page = draw(4) == 0 ? draw(2) : draw(image_size / PAGE);
    size_t within = draw(3) == 0   ? draw(PAGE)
                    : draw(2) == 0 ? draw(16)
                                   : draw(160);

    return page * PAGE + within;
}

static void test_bits(void **state)
{
    unsigned damaged = 0, sound = 0, killed = 0, tried = 0, refused = 0;

    (void)state;
    for (unsigned i = 0; i < FLIPS; i++) {
        size_t at = draw_place();
        uint8_t byte = (uint8_t)(image[at] ^ 1u << draw(8));
        struct cm_detail detail = {""};
        uint64_t before = chance;
        int result = 0;

        restore_image();
        change(at, &byte, 1);
        int error = store_check_dir(directory, MAP_SIZE, &detail);
        assert_true(error == 0 || error == CM_ERR_DAMAGED);
        if (error == 0 || tried < KILLS_TRIED)
            result = use_in_child();
        if (error == 0 && result != 0)
            fail_msg("bit of byte %zu of page %zu: called sound, and LMDB "
                     "ends with %d",
                     at % PAGE, at / PAGE, result);
        sound += error == 0;
        damaged += error != 0;
        tried += error != 0;
        killed += result >= 1000;
        refused += result == 2 || result == 3;
        chance = before;
    }
    print_message("%u flips: %u damaged, %u sound; of %u damaged ones LMDB "
                  "died of %u and refused %u\n",
                  FLIPS, damaged, sound, KILLS_TRIED, killed, refused);
    assert_true(damaged > FLIPS / 10 && sound > FLIPS / 10);
    assert_true(killed > 0 && refused > 0);
}

static void expect(const char *words)
{
    struct cm_detail detail = {""};

    assert_int_equal(store_check_dir(directory, MAP_SIZE, &detail),
                     CM_ERR_DAMAGED);
    if (strstr(detail.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", detail.text, words);
    assert_non_null(strstr(detail.text, "page "));
    restore_image();
    assert_int_equal(store_check_dir(directory, MAP_SIZE, NULL), 0);
}

/* Where the root of the records' tree lies. */
static size_t find_root(void)
{
    uint64_t first, second, root;

    memcpy(&first, image + META_TXN_AT, sizeof first);
    memcpy(&second, image + PAGE + META_TXN_AT, sizeof second);
    memcpy(&root, image + (first < second ? PAGE : 0) + META_ROOT_AT,
           sizeof root);
    assert_true(root > 1 && root < image_size / PAGE);
    return (size_t)root * PAGE;
}

static void test_coarse(void **state)
{
    static const uint8_t nothing[PAGE];
    size_t root = find_root();

    (void)state;
    restore_image();
    change(root, nothing, PAGE);
    expect("damaged");
    change(root + 512, nothing, PAGE - 512);
    expect("damaged");
    change(0, nothing, PAGE);
    expect("it does not say what the file is");
    assert_int_equal(truncate(path, (off_t)(image_size / 2 / PAGE * PAGE)), 0);
    expect("page ");
    assert_int_equal(truncate(path, 100), 0);
    expect("the file ends before it");
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(store_check_dir(directory, MAP_SIZE, NULL), 0);
    restore_image();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_coarse),
    };

    support_init();
    return cmocka_run_group_tests(tests, setup, teardown);
}
