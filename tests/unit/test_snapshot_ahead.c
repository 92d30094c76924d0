/* Goal: a thread that reads ahead changes nothing of what a snapshot says, and
 * no damage passes it. Method: the same snapshot with and without it, each
 * object damaged in turn, a walk that is given up in the middle. Built with
 * SANITIZE=thread it shows that the two share what they share by the lock. */
#include "node/snapshot_pull.h"
#include "tests/unit/snapshot_fixture.h"

#define COUNT 3000 /* entries: more chunks than the ring holds */

static struct fixture_mesh mesh;

static int get(void *ctx, const char *name, struct buffer *ret_bytes,
               struct cm_detail *detail)
{
    const struct fixture_snapshot *s = ctx;
    size_t size = 0;
    const void *data = fixture_find(s, name, &size);

    if (data == NULL)
        return cm_fail(detail, CM_ERR_NOT_FOUND, "it is gone");
    buffer_clear(ret_bytes);
    buffer_append(ret_bytes, data, size);
    return ret_bytes->error;
}

struct outcome {
    size_t entries;
    struct digest sum;
    struct cm_detail detail;
    int error;
};

struct how {
    bool hurries;
    bool trusts;
    bool skips;
    size_t stop_after; /* entries; 0: not at all */
};

static void read_it(struct fixture_snapshot *s, struct how how,
                    struct outcome *ret)
{
    struct cm_detail detail;
    struct snapshot_pull pull;
    struct manifest m;

    memset(ret, 0, sizeof *ret);
    assert_int_equal(manifest_decode(&m, buffer_slice(&s->manifest),
                                     mesh.authority.public_key, &detail),
                     0);
    assert_int_equal(snapshot_pull_begin(&pull, &m, NULL, get, s), 0);
    manifest_release(&m);
    if (how.hurries)
        snapshot_pull_hurry(&pull);
    if (how.trusts)
        snapshot_reader_trust(pull.reader);
    while (ret->error == 0 &&
           (how.stop_after == 0 || ret->entries < how.stop_after)) {
        const struct entry *entry;
        struct entry_id id;

        if (how.skips) {
            ret->error = snapshot_pull_skip(&pull);
            continue;
        }
        ret->error = snapshot_pull_next(&pull, &id, &entry);
        ret->entries += ret->error == 0;
    }
    ret->detail = pull.detail;
    if (ret->error == CM_ERR_NOT_FOUND && !how.trusts) {
        ret->sum = *snapshot_reader_digest(pull.reader);
        ret->entries = (size_t)snapshot_reader_keys(pull.reader);
    }
    snapshot_pull_release(&pull);
}

static struct fixture_snapshot *take(void)
{
    struct fixture_entry *entries = fixture_entries(COUNT);
    struct fixture_snapshot *s = calloc(1, sizeof *s);

    assert_non_null(s);
    assert_int_equal(fixture_take(s, &mesh, entries, COUNT), 0);
    assert_true(s->count > 50);
    free(entries);
    return s;
}

static void it_reads_the_same(void **state)
{
    struct fixture_snapshot *s = take();
    struct outcome plain, ahead;

    (void)state;
    read_it(s, (struct how){.hurries = false}, &plain);
    assert_int_equal(plain.error, CM_ERR_NOT_FOUND);
    assert_int_equal(plain.entries, COUNT);
    for (int i = 0; i < 20; i++) {
        read_it(s, (struct how){.hurries = true, .skips = i % 2 == 1}, &ahead);
        assert_int_equal(ahead.error, CM_ERR_NOT_FOUND);
        assert_int_equal(ahead.entries, COUNT);
        assert_true(digest_equal(&plain.sum, &ahead.sum));
    }
    read_it(s, (struct how){.hurries = true, .trusts = true}, &ahead);
    assert_int_equal(ahead.error, CM_ERR_NOT_FOUND);
    assert_int_equal(ahead.entries, COUNT);
    read_it(s, (struct how){.hurries = true, .stop_after = 100}, &ahead);
    assert_int_equal(ahead.error, 0);
    fixture_snapshot_release(s);
    free(s);
}

static void damage_is_told_alike(void **state)
{
    struct fixture_snapshot *s = take();

    (void)state;
    for (size_t i = 0; i < s->count; i += 5) {
        struct outcome plain, ahead;
        size_t at = s->objects[i].size / 2;

        s->objects[i].data[at] ^= 1;
        for (int trusts = 0; trusts < 2; trusts++) {
            read_it(s, (struct how){.trusts = trusts == 1}, &plain);
            read_it(s, (struct how){.hurries = true, .trusts = trusts == 1},
                    &ahead);
            assert_int_equal(plain.error, CM_ERR_DAMAGED);
            assert_int_equal(ahead.error, plain.error);
            assert_int_equal(ahead.entries, plain.entries);
            assert_string_equal(ahead.detail.text, plain.detail.text);
        }
        s->objects[i].data[at] ^= 1;
        s->objects[i].name[0] = '-';
        read_it(s, (struct how){.hurries = true}, &ahead);
        assert_string_equal(ahead.detail.text, "it is gone");
        s->objects[i].name[0] = 'v';
    }
    fixture_snapshot_release(s);
    free(s);
}

/* A second pass leaves order and digest to the first, but not the numbers. */
static void who_trusts_counts(void **state)
{
    struct fixture_snapshot *s = take();
    struct outcome o;
    struct manifest m;

    (void)state;
    for (int field = 0; field < 2; field++) {
        struct buffer forged;

        assert_int_equal(
            manifest_decode(&m, buffer_slice(&s->manifest), NULL, NULL), 0);
        if (field == 0)
            m.sibling_count++; /* fewer siblings than entries is no manifest */
        else
            m.entry_count++;
        buffer_init(&forged, SNAPSHOT_MANIFEST_MAX);
        assert_int_equal(manifest_encode(&forged, &m, mesh.sign_secret_key), 0);
        manifest_release(&m);
        buffer_release(&s->manifest);
        s->manifest = forged;
        read_it(s, (struct how){.trusts = true}, &o);
        assert_int_equal(o.error, CM_ERR_DAMAGED);
        assert_int_equal(o.entries, COUNT);
    }
    fixture_snapshot_release(s);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_reads_the_same),
        cmocka_unit_test(damage_is_told_alike),
        cmocka_unit_test(who_trusts_counts),
    };
    int result;

    if (sodium_init() < 0)
        return 1;
    fixture_mesh_make(&mesh, 3);
    result = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_mesh_release(&mesh);
    return result;
}
