/* Proposals of a floor: a cut, and who has acknowledged it. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/standing_internal.h"

#define COVER_PACKED_MIN (1 + 18 + 1)

struct standing_proposal *standing_proposal_find(const struct standing *s,
                                                 struct slice key)
{
    CHECK(key.size == PROPOSAL_KEY_SIZE);
    for (size_t i = 0; i < s->proposals.count; i++) {
        if (memcmp(s->proposals.items[i].key, key.data, key.size) == 0)
            return &s->proposals.items[i];
    }
    return NULL;
}

const struct standing_ack *standing_ack_find(const struct standing_proposal *p,
                                             const struct incarnation *acker)
{
    for (size_t i = 0; i < p->acks_count; i++) {
        if (incarnation_equal(&p->acks[i].acker, acker))
            return &p->acks[i];
    }
    return NULL;
}

int standing_ack_add(struct standing_proposal *p,
                     const struct standing_ack *ack)
{
    struct standing_ack *grown =
        cm_realloc(p->acks, (p->acks_count + 1) * sizeof *grown);

    if (grown == NULL)
        return CM_ERR_NOMEM;
    p->acks = grown;
    p->acks[p->acks_count++] = *ack;
    return 0;
}

struct dot standing_proposal_dot(const uint8_t key[PROPOSAL_KEY_SIZE])
{
    struct dot ret;

    memcpy(ret.incarnation.bytes, key, INCARNATION_SIZE);
    ret.seq = get_be64(key + INCARNATION_SIZE);
    return ret;
}

void standing_cut_pack(struct buffer *out, const struct fence_cover *cut,
                       size_t count)
{
    pack_array(out, count);
    for (size_t i = 0; i < count; i++) {
        CHECK(cut[i].seq >= 1);
        pack_array(out, 2);
        pack_bytes(out, cut[i].incarnation.bytes, INCARNATION_SIZE);
        pack_uint(out, cut[i].seq);
    }
}

int standing_cut_unpack(struct unpacker *u, struct fence_cover **ret_cut,
                        size_t *ret_count)
{
    size_t count = unpack_array(u, VV_ENTRIES_MAX);
    struct fence_cover *cut;

    if (count > (u->in.size - u->position) / COVER_PACKED_MIN)
        unpack_fail(u, CM_ERR_MALFORMED);
    *ret_cut = NULL;
    *ret_count = 0;
    if (u->error != 0 || count == 0)
        return u->error;
    cut = cm_calloc(count, sizeof *cut);
    if (cut == NULL)
        return CM_ERR_NOMEM;
    for (size_t i = 0; i < count && u->error == 0; i++) {
        unpack_array_of(u, 2);
        unpack_bytes(u, cut[i].incarnation.bytes, INCARNATION_SIZE);
        cut[i].seq = unpack_uint(u, UINT64_MAX - 1);
        if (u->error == 0 && cut[i].seq == 0)
            unpack_fail(u, CM_ERR_MALFORMED);
        if (u->error == 0 && i > 0 &&
            incarnation_compare(&cut[i - 1].incarnation, &cut[i].incarnation) >=
                0)
            unpack_fail(u, CM_ERR_NONCANONICAL);
    }
    if (u->error != 0) {
        cm_free(cut);
        return u->error;
    }
    *ret_cut = cut;
    *ret_count = count;
    return 0;
}
