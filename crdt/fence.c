/* The shape of a fence, and nothing of its meaning. */
#include "crdt/fence.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

#define COVER_PACKED_MIN (1 + 18 + 1)

static bool is_told(const struct hash *head)
{
    static const struct hash none;

    return !hash_equal(head, &none);
}

bool fence_cover_agrees(uint64_t seq, const struct hash *head,
                        uint64_t other_seq, const struct hash *other_head)
{
    return seq != other_seq || !is_told(head) || !is_told(other_head) ||
           hash_equal(head, other_head);
}

void fence_pack(struct buffer *out, const struct fence *f)
{
    pack_array(out, 3);
    pack_array(out, f->orders_count);
    for (size_t i = 0; i < f->orders_count; i++)
        pack_bin(out, f->orders[i]);
    pack_array(out, f->retirements_count);
    for (size_t i = 0; i < f->retirements_count; i++)
        pack_bin(out, f->retirements[i]);
    pack_array(out, f->covered_count);
    for (size_t i = 0; i < f->covered_count; i++) {
        CHECK(i == 0 || incarnation_compare(&f->covered[i - 1].incarnation,
                                            &f->covered[i].incarnation) < 0);
        pack_array(out, is_told(&f->covered[i].head) ? 3 : 2);
        pack_bytes(out, f->covered[i].incarnation.bytes, INCARNATION_SIZE);
        pack_uint(out, f->covered[i].seq);
        if (is_told(&f->covered[i].head))
            pack_bytes(out, f->covered[i].head.bytes, HASH_SIZE);
    }
}

/* Room for count elements of which each takes at least packed_min bytes. */
static void *room_for(struct unpacker *u, size_t count, size_t packed_min,
                      size_t size)
{
    void *ret;

    if (count > (u->in.size - u->position) / packed_min)
        unpack_fail(u, CM_ERR_MALFORMED);
    if (u->error != 0 || count == 0)
        return NULL;
    ret = cm_calloc(count, size);
    if (ret == NULL)
        unpack_fail(u, CM_ERR_NOMEM);
    return ret;
}

static void unpack_slices(struct unpacker *u, size_t count_max, size_t max,
                          struct slice **ret_slices, size_t *ret_count)
{
    size_t count = unpack_array(u, count_max);

    *ret_slices = room_for(u, count, 1, sizeof **ret_slices);
    if (*ret_slices == NULL)
        return;
    for (*ret_count = 0; *ret_count < count && u->error == 0; (*ret_count)++) {
        struct slice s = unpack_bin(u, max);

        if (s.size == 0)
            unpack_fail(u, CM_ERR_MALFORMED);
        (*ret_slices)[*ret_count] = s;
    }
}

static void unpack_covered(struct unpacker *u, struct fence *f)
{
    size_t count = unpack_array(u, FENCE_COVERED_MAX);

    f->covered = room_for(u, count, COVER_PACKED_MIN, sizeof *f->covered);
    if (f->covered == NULL)
        return;
    for (; f->covered_count < count && u->error == 0; f->covered_count++) {
        struct fence_cover *c = &f->covered[f->covered_count];

        size_t fields = unpack_array(u, 3);

        unpack_bytes(u, c->incarnation.bytes, INCARNATION_SIZE);
        c->seq = unpack_uint(u, UINT64_MAX - 1);
        if (fields == 3)
            unpack_bytes(u, c->head.bytes, HASH_SIZE);
        if (u->error == 0 && (fields < 2 || (fields == 3 && c->seq == 0) ||
                              (fields == 3) != is_told(&c->head)))
            unpack_fail(u, CM_ERR_NONCANONICAL);
        if (u->error == 0 && f->covered_count > 0 &&
            incarnation_compare(&c[-1].incarnation, &c->incarnation) >= 0)
            unpack_fail(u, CM_ERR_NONCANONICAL);
    }
}

int fence_decode(struct fence *ret_fence, struct slice bytes)
{
    struct fence f = {0};
    struct unpacker u;

    unpack_init(&u, bytes);
    unpack_array_of(&u, 3);
    unpack_slices(&u, FENCE_ORDERS_MAX, EVICTION_SIZE_MAX, &f.orders,
                  &f.orders_count);
    unpack_slices(&u, FENCE_RETIREMENTS_MAX, RETIREMENT_SIZE_MAX,
                  &f.retirements, &f.retirements_count);
    unpack_covered(&u, &f);
    if (unpack_finish(&u) < 0) {
        fence_release(&f);
        return u.error;
    }
    *ret_fence = f;
    return 0;
}

void fence_release(struct fence *f)
{
    cm_free(f->orders);
    cm_free(f->retirements);
    cm_free(f->covered);
    *f = (struct fence){0};
}

const struct fence_cover *fence_find(const struct fence *f,
                                     const struct incarnation *i)
{
    size_t low = 0;
    size_t high = f->covered_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = incarnation_compare(&f->covered[middle].incarnation, i);

        if (order == 0)
            return &f->covered[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
