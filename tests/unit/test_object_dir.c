/* Goal: a directory target keeps whole objects under safe names and refuses
 * everything else with a reason. Method: a scratch directory. */
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
#include <sodium.h>

#include "crdt/base/alloc.h"
#include "node/object_dir.h"

static char scratch[] = "/tmp/confmesh-object-dir-XXXXXX";

static struct object_dir open_scratch(void)
{
    struct object_dir d;

    assert_int_equal(object_dir_open(&d, scratch, false, NULL), 0);
    return d;
}

static void what_was_put_is_read_back(void **state)
{
    struct object_dir d = open_scratch();
    struct slice bytes = slice_of("hello", 5);
    struct buffer back;

    (void)state;
    buffer_init(&back, 10);
    assert_int_equal(object_dir_get(&d, "v1/c/x", &back, NULL),
                     CM_ERR_NOT_FOUND);
    assert_int_equal(object_dir_put(&d, "v1/c/x", bytes, NULL), 0);
    assert_int_equal(object_dir_put(&d, "v1/c/x", bytes, NULL), 0);
    assert_int_equal(object_dir_get(&d, "v1/c/x", &back, NULL), 0);
    assert_true(slice_equal(buffer_slice(&back), bytes));
    /* Other bytes replace it; an empty object is one. */
    assert_int_equal(object_dir_put(&d, "v1/c/x", slice_of("other", 5), NULL),
                     0);
    assert_int_equal(object_dir_get(&d, "v1/c/x", &back, NULL), 0);
    assert_memory_equal(back.data, "other", 5);
    assert_int_equal(object_dir_put(&d, "v1/c/e", slice_of(NULL, 0), NULL), 0);
    assert_int_equal(object_dir_get(&d, "v1/c/e", &back, NULL), 0);
    assert_int_equal(back.size, 0);
    assert_int_equal(
        object_dir_put_later(&d, "v1/c/l", slice_of("later", 5), NULL), 0);
    assert_int_equal(object_dir_flush(&d, NULL), 0);
    assert_int_equal(object_dir_get(&d, "v1/c/l", &back, NULL), 0);
    assert_memory_equal(back.data, "later", 5);
    /* What is there already, and in another directory, is waited for as well;
     * what somebody has deleted since is told. */
    assert_int_equal(
        object_dir_put_later(&d, "v1/c/l", slice_of("later", 5), NULL), 0);
    assert_int_equal(
        object_dir_put_later(&d, "v1/p/l", slice_of("later", 5), NULL), 0);
    assert_int_equal(object_dir_flush(&d, NULL), 0);
    assert_int_equal(d.later.count, 0);
    assert_int_equal(
        object_dir_put_later(&d, "v1/c/l", slice_of("later", 5), NULL), 0);
    assert_int_equal(object_dir_delete(&d, "v1/c/l", NULL), 0);
    assert_int_equal(object_dir_flush(&d, NULL), CM_ERR_NOT_FOUND);
    buffer_release(&back);
    object_dir_close(&d);
}

static void reading_is_bounded(void **state)
{
    struct object_dir d = open_scratch();
    struct cm_detail detail;
    struct buffer back;

    (void)state;
    buffer_init(&back, 4);
    assert_int_equal(object_dir_put(&d, "v1/large", slice_of("12345", 5), NULL),
                     0);
    assert_int_equal(object_dir_get(&d, "v1/large", &back, &detail),
                     CM_ERR_TOO_LARGE);
    assert_non_null(strstr(detail.text, "limit is 4"));
    buffer_release(&back);
    object_dir_close(&d);
}

static void only_regular_files_are_objects(void **state)
{
    struct object_dir d = open_scratch();
    char path[128];
    struct buffer back;

    (void)state;
    buffer_init(&back, 100);
    (void)snprintf(path, sizeof path, "%s/fifo", scratch);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(object_dir_get(&d, "fifo", &back, NULL), CM_ERR_IO);
    (void)snprintf(path, sizeof path, "%s/link", scratch);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(object_dir_get(&d, "link", &back, NULL), CM_ERR_IO);
    (void)snprintf(path, sizeof path, "%s/out", scratch);
    assert_int_equal(symlink("/etc", path), 0);
    assert_int_not_equal(object_dir_get(&d, "out/passwd", &back, NULL), 0);
    assert_int_not_equal(object_dir_put(&d, "out/x", slice_of("x", 1), NULL),
                         0);
    buffer_release(&back);
    object_dir_close(&d);
}

static void unsafe_names_are_refused(void **state)
{
    static const char *const names[] = {
        "",     "/",     "/a", "a/",  "a//b", "..",   "../a", "a/../b",   ".",
        "a/.b", ".tmp-", "A",  "a b", "a\n",  "a\\b", "a:b",  "\xc3\xa4",
    };
    struct object_dir d = open_scratch();
    char longest[OBJECT_NAME_MAX + 2];
    struct cm_detail detail;
    struct object_list list;
    struct buffer back;
    size_t i;

    (void)state;
    buffer_init(&back, 100);
    for (i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(
            object_dir_put(&d, names[i], slice_of("x", 1), &detail),
            CM_ERR_INVALID);
        assert_non_null(strstr(detail.text, "name"));
        assert_int_equal(object_dir_get(&d, names[i], &back, NULL),
                         CM_ERR_INVALID);
    }
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(object_dir_put(&d, longest, slice_of("x", 1), NULL),
                     CM_ERR_INVALID);
    assert_int_equal(object_dir_list(&d, "a", &list, NULL), CM_ERR_INVALID);
    assert_int_equal(object_dir_list(&d, "../", &list, NULL), CM_ERR_INVALID);
    buffer_release(&back);
    object_dir_close(&d);
}

static void listing_is_sorted_and_skips_temporary_files(void **state)
{
    struct object_dir d = open_scratch();
    struct object_list list;
    char path[128];
    int fd;

    (void)state;
    assert_int_equal(object_dir_put(&d, "l/b", slice_of("1", 1), NULL), 0);
    assert_int_equal(object_dir_put(&d, "l/a", slice_of("1", 1), NULL), 0);
    assert_int_equal(object_dir_put(&d, "l/c/d", slice_of("1", 1), NULL), 0);
    (void)snprintf(path, sizeof path, "%s/l/.tmp-0123", scratch);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(object_dir_list(&d, "l/", &list, NULL), 0);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.names[0], "a");
    assert_string_equal(list.names[1], "b");
    assert_string_equal(list.names[2], "c/");
    object_list_release(&list);
    assert_int_equal(object_dir_list(&d, "absent/", &list, NULL), 0);
    assert_int_equal(list.count, 0);
    object_list_release(&list);
    object_dir_close(&d);
}

static void targets_are_parsed(void **state)
{
    static const char *const refused[] = {
        "s3://bucket/x", "https://h/x",   "exec:cat",
        "file:",         "file://host/x", "",
        "S3:x",          "c:x",
    };
    struct cm_detail detail;
    struct object_dir d;
    char target[160];
    size_t i;

    (void)state;
    for (i = 0; i < sizeof refused / sizeof refused[0]; i++)
        assert_int_equal(object_dir_target_check(refused[i], &detail),
                         CM_ERR_INVALID);
    assert_int_equal(object_dir_target_check("s3://bucket", &detail),
                     CM_ERR_INVALID);
    assert_non_null(strstr(detail.text, "supported are file:DIR"));
    assert_int_equal(object_dir_target_check("./a:b", NULL), 0);
    (void)snprintf(target, sizeof target, "file:%s", scratch);
    assert_int_equal(object_dir_open(&d, target, false, NULL), 0);
    assert_string_equal(d.path, scratch);
    object_dir_close(&d);
    (void)snprintf(target, sizeof target, "file://%s/deep/er/", scratch);
    assert_int_equal(object_dir_open(&d, target, false, NULL),
                     CM_ERR_NOT_FOUND);
    assert_int_equal(object_dir_open(&d, target, true, NULL), 0);
    object_dir_close(&d);
    assert_int_equal(object_dir_open(&d, target, false, NULL), 0);
    object_dir_close(&d);
}

static void failed_allocations_are_told(void **state)
{
    struct object_dir d = open_scratch();
    struct object_list list;
    struct buffer back;
    int error = -1;
    uint64_t n;

    (void)state;
    assert_int_equal(object_dir_put(&d, "n/a", slice_of("1", 1), NULL), 0);
    for (n = 1; error != 0; n++) {
        assert_true(n < 50);
        cm_alloc_fail_after(n);
        error = object_dir_list(&d, "n/", &list, NULL);
        cm_alloc_fail_after(0);
        assert_true(error == 0 || error == CM_ERR_NOMEM);
    }
    object_list_release(&list);
    error = -1;
    for (n = 1; error != 0; n++) {
        assert_true(n < 50);
        buffer_init(&back, 100);
        cm_alloc_fail_after(n);
        error = object_dir_get(&d, "n/a", &back, NULL);
        cm_alloc_fail_after(0);
        assert_true(error == 0 || error == CM_ERR_NOMEM);
        buffer_release(&back);
    }
    object_dir_close(&d);
}

static int set_up(void **state)
{
    (void)state;
    return sodium_init() < 0 || mkdtemp(scratch) == NULL ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_read_back),
        cmocka_unit_test(reading_is_bounded),
        cmocka_unit_test(only_regular_files_are_objects),
        cmocka_unit_test(unsafe_names_are_refused),
        cmocka_unit_test(listing_is_sorted_and_skips_temporary_files),
        cmocka_unit_test(targets_are_parsed),
        cmocka_unit_test(failed_allocations_are_told),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
