/* The figure of what incarnations cost that came, wrote and went: 10,000 of
 * them take at most 1 MiB, the version vector included. */
#include "support.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "crdt/standing.h"

static size_t memory_in_use(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

/* 10,000 incarnations that came, wrote and went. */
static void test_memory_of_the_sealed(void **state)
{
    size_t before = memory_in_use();
    struct standing_options o = {.generation = {.number = 2}};
    struct standing *s;
    struct vv vv;
    size_t used;

    (void)state;
    vv_init(&vv);
    for (uint64_t i = 0; i < 10000; i++) {
        struct hash head = {{1}};
        struct incarnation who = {{0}};

        put_be64(who.bytes, i * UINT64_C(0x9e3779b97f4a7c15));
        assert_int_equal(vv_set(&vv, &who, 1 + i, &head), 0);
    }
    o.sealed = &vv;
    o.founder.bytes[15] = 1;
    assert_int_equal(standing_create(&s, &o), 0);
    for (size_t i = 0; i < vv.count; i++)
        assert_true(standing_is_sealed(s, &vv.entries[i].incarnation, NULL));
    used = memory_in_use() - before;
    printf("10,000 sealed incarnations: %zu bytes with the vector\n", used);
    assert_true(used <= 1 << 20);
    standing_free(s);
    vv_release(&vv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_of_the_sealed),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
