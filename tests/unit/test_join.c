/* The join of two replicas' entries and vectors: what each side has seen and
 * lacks stays away, and order and repetition do not matter. */
#include "support.h"

#include "crdt/base/random.h"
#include "crdt/join.h"

#define WRITERS 3

struct side {
    struct entry entry;
    struct vv vv;
};

static void side_init(struct side *s)
{
    entry_init(&s->entry);
    vv_init(&s->vv);
}

static void side_release(struct side *s)
{
    entry_release(&s->entry);
    vv_release(&s->vv);
}

static void see(struct side *s, struct dot dot)
{
    struct hash head = {{0}};

    head.bytes[0] = dot.incarnation.bytes[0];
    head.bytes[1] = (uint8_t)dot.seq;
    assert_int_equal(vv_set(&s->vv, &dot.incarnation, dot.seq, &head), 0);
}

static void apply(struct side *s, const struct op *op, struct dot dot)
{
    assert_int_equal(entry_apply(&s->entry, op, &dot, 1 + dot.seq, NULL), 0);
    see(s, dot);
}

static struct side joined(const struct side *a, const struct side *b)
{
    struct side ret;

    assert_int_equal(
        entry_join(&ret.entry, &a->entry, &a->vv, &b->entry, &b->vv), 0);
    assert_int_equal(vv_join(&ret.vv, &a->vv, &b->vv), 0);
    return ret;
}

static bool same(const struct side *a, const struct side *b)
{
    struct entry_id id = {.space = SPACE_REGISTER, .key = slice_of_string("k")};
    struct buffer x, y;
    bool ret;

    buffer_init(&x, 1 << 16);
    buffer_init(&y, 1 << 16);
    entry_pack(&x, &id, &a->entry);
    entry_pack(&y, &id, &b->entry);
    ret = vv_equal(&a->vv, &b->vv) &&
          slice_equal(buffer_slice(&x), buffer_slice(&y));
    buffer_release(&x);
    buffer_release(&y);
    return ret;
}

static void test_seen_and_lacking_stays_away(void **state)
{
    struct op put = support_put("k", "v");
    struct op del = support_op(OP_DEL, "k", NULL);
    struct dot first = support_dot(1, 1);
    struct side a, b, c;

    (void)state;
    side_init(&a);
    side_init(&b);
    apply(&a, &put, first);
    /* b has the put, a delete of it, and has collected both. */
    see(&b, first);
    see(&b, support_dot(2, 1));
    c = joined(&a, &b);
    assert_int_equal(c.entry.count, 0);
    side_release(&c);
    /* A put that b has not seen stays beside its tombstone. */
    del.supersedes = &first;
    del.supersedes_count = 1;
    apply(&b, &del, support_dot(2, 2));
    apply(&a, &put, support_dot(3, 1));
    c = joined(&a, &b);
    assert_int_equal(c.entry.count, 2);
    assert_int_equal(c.entry.siblings[0].kind, SIBLING_TOMBSTONE);
    assert_int_equal(c.entry.siblings[1].kind, SIBLING_PUT);
    side_release(&c);
    side_release(&a);
    side_release(&b);
}

static void test_forks(void **state)
{
    struct op put = support_put("k", "v");
    struct op other = support_put("k", "w");
    struct side a, b, ret;

    (void)state;
    side_init(&a);
    side_init(&b);
    apply(&a, &put, support_dot(1, 1));
    apply(&b, &other, support_dot(1, 1));
    assert_int_equal(entry_join(&ret.entry, &a.entry, &a.vv, &b.entry, &b.vv),
                     CM_ERR_FORK);
    assert_int_equal(vv_join(&ret.vv, &a.vv, &b.vv), 0);
    vv_release(&ret.vv);
    b.vv.entries[0].head.bytes[5] = 1;
    assert_int_equal(vv_join(&ret.vv, &a.vv, &b.vv), CM_ERR_FORK);
    side_release(&a);
    side_release(&b);
}

/* Random histories of one key at three writers, who exchange whole states:
 * joins commute, associate, repeat, and equal what the events give. */
static void test_laws(void **state)
{
    uint8_t seed[32] = {7};
    struct random_stream random;

    (void)state;
    random_init(&random, seed);
    for (int run = 0; run < 400; run++) {
        struct side s[WRITERS];
        uint64_t seq[WRITERS] = {0};

        for (int i = 0; i < WRITERS; i++)
            side_init(&s[i]);
        for (int step = 0; step < 14; step++) {
            uint64_t w = random_below(&random, WRITERS);

            if (random_below(&random, 3) == 0) {
                struct side j =
                    joined(&s[w], &s[random_below(&random, WRITERS)]);

                side_release(&s[w]);
                s[w] = j;
            } else {
                struct dot dots[64];
                struct op op = random_below(&random, 3) == 0
                                   ? support_op(OP_DEL, "k", NULL)
                                   : support_put("k", "v");

                for (size_t i = 0; i < s[w].entry.count; i++)
                    dots[i] = s[w].entry.siblings[i].dot;
                op.supersedes = dots;
                op.supersedes_count = s[w].entry.count;
                apply(&s[w], &op, support_dot((uint8_t)(w + 1), ++seq[w]));
            }
        }
        struct side ab = joined(&s[0], &s[1]);
        struct side ba = joined(&s[1], &s[0]);
        struct side bc = joined(&s[1], &s[2]);
        struct side ab_c = joined(&ab, &s[2]);
        struct side a_bc = joined(&s[0], &bc);
        struct side twice = joined(&ab_c, &s[1]);

        assert_true(same(&ab, &ba));
        assert_true(same(&ab_c, &a_bc));
        assert_true(same(&ab_c, &twice));
        for (int i = 0; i < WRITERS; i++)
            side_release(&s[i]);
        side_release(&ab);
        side_release(&ba);
        side_release(&bc);
        side_release(&ab_c);
        side_release(&a_bc);
        side_release(&twice);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seen_and_lacking_stays_away),
        cmocka_unit_test(test_forks),
        cmocka_unit_test(test_laws),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
