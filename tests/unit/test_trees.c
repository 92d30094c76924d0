/* Directory trees to keys and back, with what a hostile tree or key tries. */
#include <fcntl.h>
#include <ftw.h>
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

#include "crdt/limits.h"
#include "node/export_tree.h"
#include "node/import_tree.h"

struct fixture {
    char root[64];
    int fd;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    (void)snprintf(f->root, sizeof(f->root), "/tmp/confmesh-tree-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    f->fd = open(f->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->fd >= 0);
    *state = f;
    return 0;
}

static int remove_one(const char *path, const struct stat *s, int kind,
                      struct FTW *at)
{
    (void)s;
    (void)kind;
    (void)at;
    return remove(path);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    (void)close(f->fd);
    (void)nftw(f->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

static int put(const struct fixture *f, const char *path, const char *content,
               bool force)
{
    return export_tree_write(f->fd, slice_of_string(path),
                             slice_of_string(content), force, NULL);
}

static int on_file(void *ctx, struct slice path, struct slice content)
{
    struct buffer *log = ctx;
    buffer_append_slice(log, path);
    buffer_append_byte(log, '=');
    buffer_append_slice(log, content);
    buffer_append_byte(log, ';');
    return log->size > 4000 ? CM_ERR_LIMIT : 0;
}

static void on_skipped(void *ctx, struct slice path, const char *reason)
{
    struct buffer *log = ctx;
    buffer_printf(log, "(%.*s: %s)", (int)path.size, (const char *)path.data,
                  reason);
}

static void assert_walk(const char *directory, size_t path_size_max,
                        const char *expected)
{
    struct buffer log;
    struct cm_detail detail = {""};
    buffer_init(&log, 10000);
    struct import_tree_visitor visitor = {&log, on_file, on_skipped};
    assert_int_equal(
        import_tree_walk(directory, path_size_max, &visitor, &detail), 0);
    buffer_append_byte(&log, 0);
    assert_string_equal((const char *)log.data, expected);
    buffer_release(&log);
}

static void test_round_trip(void **state)
{
    const struct fixture *f = *state;
    assert_int_equal(put(f, "b", "1", false), 0);
    assert_int_equal(put(f, "a/x", "2", false), 0);
    assert_int_equal(put(f, "a/y/z", "", false), 0);
    assert_int_equal(put(f, "a-b", "3", false), 0);
    assert_int_equal(export_tree_sync(f->fd, NULL), 0);
    assert_walk(f->root, KEY_SIZE_MAX, "a/x=2;a/y/z=;a-b=3;b=1;");
}

static void test_skipped(void **state)
{
    const struct fixture *f = *state;
    char outside[] = "/tmp/confmesh-out-XXXXXX";
    int fd = mkstemp(outside);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "secret", 6), 6);
    (void)close(fd);
    assert_int_equal(put(f, "ok", "1", false), 0);
    assert_int_equal(put(f, "long-name", "1", false), 0);
    assert_int_equal(symlinkat(outside, f->fd, "link"), 0);
    assert_int_equal(symlinkat("/", f->fd, "root"), 0);
    assert_int_equal(mkfifoat(f->fd, "pipe", 0600), 0);
    assert_int_equal(mkdirat(f->fd, "bad\xff", 0700), 0);
    fd = openat(f->fd, "huge", O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, VALUE_SIZE_MAX + 1), 0);
    (void)close(fd);
    assert_walk(f->root, 5,
                "(bad\xff: the name is not valid UTF-8)"
                "(huge: larger than 1000000 bytes, the limit of a value)"
                "(link: a symlink)"
                "(long-name: the path is too long for a key)ok=1;"
                "(pipe: no regular file)(root: a symlink)");
    (void)unlink(outside);
}

static int stop(void *ctx, struct slice path, struct slice content)
{
    (void)ctx;
    (void)path;
    (void)content;
    return CM_ERR_CLOSED;
}

static void test_walk_ends(void **state)
{
    const struct fixture *f = *state;
    struct cm_detail detail = {""};
    struct import_tree_visitor visitor = {NULL, stop, on_skipped};
    assert_int_equal(put(f, "a/b/c", "1", false), 0);
    assert_int_equal(import_tree_walk(f->root, KEY_SIZE_MAX, &visitor, &detail),
                     CM_ERR_CLOSED);
    assert_int_equal(
        import_tree_walk("/nonexistent/x", KEY_SIZE_MAX, &visitor, &detail),
        CM_ERR_NOT_FOUND);
    assert_non_null(strstr(detail.text, "/nonexistent/x"));
}

static void test_bad_keys(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "./a",
        "../a",
        "a/../b",
        "a/.",
        "a/..",
        ".confmesh-export.tmp",
        "a/.confmesh-export.tmp",
    };
    static const char *const good[] = {"a", "a/b", "...", ".a", "a/..b"};
    char part[300];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(export_tree_check(slice_of_string(bad[i]), NULL),
                         CM_ERR_INVALID);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(export_tree_check(slice_of_string(good[i]), NULL), 0);
    assert_int_equal(export_tree_check(slice_of("a\0b", 3), NULL),
                     CM_ERR_INVALID);
    memset(part, 'x', sizeof(part));
    assert_int_equal(export_tree_check(slice_of(part, 255), NULL), 0);
    assert_int_equal(export_tree_check(slice_of(part, 256), NULL),
                     CM_ERR_INVALID);
}

static void test_no_overwriting(void **state)
{
    const struct fixture *f = *state;
    struct cm_detail detail = {""};
    assert_int_equal(
        export_tree_check_absent(f->fd, slice_of_string("d/a"), &detail), 0);
    assert_int_equal(put(f, "d/a", "mine", false), 0);
    assert_int_equal(
        export_tree_check_absent(f->fd, slice_of_string("d/a"), &detail),
        CM_ERR_EXISTS);
    assert_non_null(strstr(detail.text, "--force"));
    assert_int_equal(put(f, "d/a", "other", false), CM_ERR_EXISTS);
    assert_walk(f->root, KEY_SIZE_MAX, "d/a=mine;");
    assert_int_equal(put(f, "d/a", "other", true), 0);
    assert_walk(f->root, KEY_SIZE_MAX, "d/a=other;");
    /* A file where a directory has to be, and the other way round. */
    assert_int_equal(put(f, "d/a/b", "x", true), CM_ERR_IO);
    assert_int_equal(put(f, "d", "x", true), CM_ERR_IO);
    assert_walk(f->root, KEY_SIZE_MAX, "d/a=other;");
}

/* Goal: no key writes outside, not even through a symlink that is there. */
static void test_symlinks(void **state)
{
    const struct fixture *f = *state;
    char outside[] = "/tmp/confmesh-out-XXXXXX";
    char path[96];
    struct stat s;
    assert_non_null(mkdtemp(outside));
    assert_int_equal(symlinkat(outside, f->fd, "out"), 0);
    assert_int_equal(put(f, "out/x", "1", true), CM_ERR_IO);
    (void)snprintf(path, sizeof(path), "%s/x", outside);
    assert_int_equal(stat(path, &s), -1);
    /* A last part that is a symlink is replaced, not followed. */
    assert_int_equal(symlinkat(path, f->fd, "leaf"), 0);
    assert_int_equal(put(f, "leaf", "1", false), CM_ERR_EXISTS);
    assert_int_equal(put(f, "leaf", "1", true), 0);
    assert_int_equal(stat(path, &s), -1);
    assert_int_equal(rmdir(outside), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_skipped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_walk_ends, setup, teardown),
        cmocka_unit_test(test_bad_keys),
        cmocka_unit_test_setup_teardown(test_no_overwriting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_symlinks, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
