/* Goal: chunks of the promised sizes whose boundaries stay where they are.
 * Method: chunk long sequences of ids, change one, compare boundaries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "backup/chunker.h"
#include "backup/snapshot_object.h"

#define ENTRIES 20000

/* Marks the entries after which a chunk ends; returns the number of them.
 * skip = an entry that is left out, ENTRIES for none. */
static size_t boundaries(uint8_t *ret_ends, size_t entry_size, size_t skip,
                         uint8_t tag, size_t *ret_longest)
{
    uint8_t key[32] = {tag};
    struct chunker c;
    size_t count = 0;
    size_t i;

    chunker_init(&c, key);
    *ret_longest = 0;
    memset(ret_ends, 0, ENTRIES);
    for (i = 0; i < ENTRIES; i++) {
        char name[32];
        struct entry_id id = {.space = SPACE_REGISTER};
        bool ends;

        if (i == skip)
            continue;
        (void)snprintf(name, sizeof name, "key/%06zu", i);
        id.key = slice_of_string(name);
        if (chunker_ends_before(&c, entry_size)) {
            ret_ends[i] |= 2;
            count++;
            chunker_reset(&c);
        }
        ends = chunker_add(&c, &id, entry_size);
        assert_true(c.filled <= CHUNKER_MAX);
        if (c.filled > *ret_longest)
            *ret_longest = c.filled;
        if (ends) {
            assert_true(c.filled >= CHUNKER_MIN);
            ret_ends[i] |= 1;
            count++;
            chunker_reset(&c);
        }
    }
    return count;
}

static uint8_t ends[2][ENTRIES];

static void chunks_are_about_the_target(void **state)
{
    static const size_t sizes[] = {60, 300, 1000, 5000};
    size_t longest;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t count = boundaries(ends[0], sizes[i], ENTRIES, 1, &longest);
        size_t mean = ENTRIES * sizes[i] / count;

        assert_in_range(mean, SNAPSHOT_CHUNK_TARGET * 3 / 4,
                        SNAPSHOT_CHUNK_TARGET * 3 / 2);
        assert_true(longest <= CHUNKER_MAX);
    }
}

static void a_removed_entry_moves_only_its_neighbourhood(void **state)
{
    size_t different = 0;
    size_t longest;
    size_t i;

    (void)state;
    (void)boundaries(ends[0], 300, ENTRIES, 1, &longest);
    (void)boundaries(ends[1], 300, ENTRIES / 2, 1, &longest);
    for (i = 0; i < ENTRIES; i++) {
        if (ends[0][i] == ends[1][i])
            continue;
        different++;
        assert_true(i >= ENTRIES / 2 && i < ENTRIES / 2 + 2000);
    }
    assert_true(different <= 12);
}

static void another_mesh_has_other_boundaries(void **state)
{
    size_t longest;

    (void)state;
    (void)boundaries(ends[0], 300, ENTRIES, 1, &longest);
    (void)boundaries(ends[1], 300, ENTRIES, 2, &longest);
    assert_memory_not_equal(ends[0], ends[1], ENTRIES);
}

static void a_large_entry_has_a_chunk_of_its_own(void **state)
{
    uint8_t key[32] = {1};
    struct entry_id id = {.space = SPACE_REGISTER, .key = slice_of_string("k")};
    struct chunker c;

    (void)state;
    chunker_init(&c, key);
    assert_false(chunker_ends_before(&c, 1000000));
    assert_false(chunker_add(&c, &id, 100));
    assert_true(chunker_ends_before(&c, 1000000));
    chunker_reset(&c);
    assert_true(chunker_add(&c, &id, 1000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_are_about_the_target),
        cmocka_unit_test(a_removed_entry_moves_only_its_neighbourhood),
        cmocka_unit_test(another_mesh_has_other_boundaries),
        cmocka_unit_test(a_large_entry_has_a_chunk_of_its_own),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
