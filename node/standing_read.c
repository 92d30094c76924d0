/* Entries first say who is a member, then what was heard is heard again: an
 * order or a retirement counts by whom it names. */
#include "node/standing_read.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

#define HEARD_MAX 8192 /* records of META_HEARD */

static int identity(struct store_reader *r, uint8_t ret_authority[32],
                    struct generation_order *ret_order,
                    struct generation_id *ret_generation)
{
    struct slice bytes;
    int error = store_meta(r, META_AUTHORITY, &bytes);

    if (error == CM_ERR_NOT_FOUND)
        return CM_ERR_NOT_READY;
    if (error == 0 && bytes.size != 32)
        error = CM_ERR_DAMAGED;
    if (error != 0)
        return error;
    memcpy(ret_authority, bytes.data, 32);
    error = store_meta(r, META_GENERATION, &bytes);
    if (error == 0)
        error = generation_order_decode(ret_order, bytes, ret_authority);
    if (error == 0)
        *ret_generation = generation_id_of(ret_order->number, bytes);
    return error;
}

int standing_fresh(struct standing **ret_standing, struct store_reader *r)
{
    struct standing_options o;
    struct generation_order order;
    struct certificate founder;
    int error;

    memset(&o, 0, sizeof o);
    error = identity(r, o.authority_public_key, &order, &o.generation);
    if (error != 0)
        return error;
    o.mesh = mesh_id_of(o.authority_public_key);
    o.founder = order.founder;
    o.founder_level = order.founder_level;
    o.sealed = &order.sealed;
    error = certificate_decode(&founder, order.founder_certificate,
                               o.authority_public_key);
    if (error == 0) {
        memcpy(o.founder_sign_key, founder.sign_key, 32);
        error = standing_create(ret_standing, &o);
    }
    generation_order_release(&order);
    return error;
}

int standing_read_record(struct standing *s, struct slice bytes)
{
    struct unpacker u;
    int error;

    if (bytes.size == 0)
        return 0; /* nothing has ever been added to it */
    unpack_init(&u, bytes);
    error = standing_unpack(s, &u);
    if (error == 0 && unpack_finish(&u) != 0)
        error = CM_ERR_DAMAGED;
    return error == 0 || error == CM_ERR_NOMEM ? error : CM_ERR_DAMAGED;
}

struct hash standing_proof(const struct hash *digest,
                           const struct hash *standing)
{
    uint8_t bytes[2 * HASH_SIZE];

    memcpy(bytes, digest->bytes, HASH_SIZE);
    memcpy(bytes + HASH_SIZE, standing->bytes, HASH_SIZE);
    return hash_of("confmesh probe v1", slice_of(bytes, sizeof bytes));
}

int standing_proof_of_cut(struct hash *ret_proof, struct store_reader *r,
                          const struct hash *digest, struct slice record)
{
    struct standing *s = NULL;
    struct hash standing;
    int error = standing_fresh(&s, r);

    if (error != 0)
        return error;
    error = standing_read_record(s, record);
    if (error == 0) {
        standing = standing_hash(s);
        *ret_proof = standing_proof(digest, &standing);
    }
    standing_free(s);
    return error;
}

/* A restored state brings what the generation before left: inert, equal
 * everywhere, and nobody's duty. It lies within what the generation's order
 * sealed, or bears the name of somebody sealed, which is the first thing in
 * each key. (Whoever never wrote is in no seal: its add tells.) */
static bool is_left(const struct vv *sealed, const struct store_item *item)
{
    struct slice key = item->id.key;
    struct incarnation i;
    size_t within = 0;

    if (key.size < INCARNATION_SIZE)
        return false;
    memcpy(i.bytes, key.data, INCARNATION_SIZE);
    if (vv_find(sealed, &i) != NULL)
        return true;
    for (size_t n = 0; n < item->entry.count; n++) {
        const struct dot *dot = &item->entry.siblings[n].dot;

        within += dot->seq <= vv_seq(sealed, &dot->incarnation);
    }
    return within > 0 && within == item->entry.count;
}

static int read_space(struct standing *s, struct store_reader *r,
                      enum space space, const struct vv *sealed)
{
    struct store_cursor *cursor = NULL;
    const struct store_item *item;
    int error =
        store_cursor_open(r, space, slice_of(NULL, 0), false, NULL, &cursor);

    while (error == 0) {
        error = store_cursor_next(cursor, &item);
        if (error == 0 && !is_left(sealed, item))
            error = standing_load(s, &item->id, &item->entry);
    }
    store_cursor_close(cursor);
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

int standing_read_entries(struct standing *s, struct store_reader *r)
{
    static const enum space spaces[] = {SPACE_ROSTER, SPACE_FENCE,
                                        SPACE_PROPOSAL};
    uint8_t authority[32];
    struct generation_order order;
    struct generation_id generation;
    int error = identity(r, authority, &order, &generation);

    if (error != 0)
        return error;
    for (size_t i = 0; i < sizeof spaces / sizeof spaces[0] && error == 0; i++)
        error = read_space(s, r, spaces[i], &order.sealed);
    generation_order_release(&order);
    return error;
}

int standing_hear(struct standing *s, struct slice bytes)
{
    int error = standing_hear_order(s, bytes);
    int other;

    if (error == 0 || error == CM_ERR_DUPLICATE ||
        error == CM_ERR_EVICTION_CONFLICT || error == CM_ERR_NOMEM ||
        error == CM_ERR_LIMIT)
        return error;
    other = standing_hear_retirement(s, bytes);
    if (other == 0 || other == CM_ERR_DUPLICATE || other == CM_ERR_NOMEM ||
        other == CM_ERR_LIMIT || other == CM_ERR_AUTHORITY)
        return other;
    return error;
}

int standing_read_heard(struct standing *s, struct store_reader *r,
                        bool *ret_conflict)
{
    struct unpacker u;
    struct slice bytes;
    int error = store_meta(r, META_HEARD, &bytes);

    *ret_conflict = false;
    if (error == CM_ERR_NOT_FOUND || error == CM_ERR_DAMAGED)
        return 0; /* members will tell them again */
    if (error != 0)
        return error;
    unpack_init(&u, bytes);
    for (size_t left = unpack_array(&u, HEARD_MAX); left > 0; left--) {
        struct slice one = unpack_bin(&u, HEARD_SIZE_MAX);

        if (u.error != 0)
            break;
        error = standing_hear(s, one);
        if (error == CM_ERR_NOMEM)
            return error;
        *ret_conflict = *ret_conflict || error == CM_ERR_EVICTION_CONFLICT;
    }
    return 0;
}

int standing_pack_heard(struct buffer *out, const struct standing *s)
{
    size_t count = standing_heard(s, NULL, 0);
    struct slice *bytes = cm_calloc(count + 1, sizeof *bytes);

    if (bytes == NULL)
        return CM_ERR_NOMEM;
    CHECK(standing_heard(s, bytes, count) == count);
    if (count > HEARD_MAX)
        count = HEARD_MAX;
    if (count > 0)
        pack_array(out, count);
    for (size_t i = 0; i < count; i++)
        pack_bin(out, bytes[i]);
    cm_free(bytes);
    return out->error;
}

int standing_read(struct standing **ret_standing, struct store_reader *r,
                  bool *ret_conflict, struct cm_detail *detail)
{
    struct standing *s = NULL;
    struct slice record = {0};
    bool conflict = false;
    int error = standing_fresh(&s, r);

    if (error == 0)
        error = store_meta(r, META_STANDING, &record);
    if (error == CM_ERR_NOT_FOUND)
        error = 0;
    if (error == 0)
        error = standing_read_record(s, record);
    if (error == 0)
        error = standing_read_entries(s, r);
    if (error == 0)
        error = standing_read_heard(s, r, &conflict);
    if (error != 0) {
        standing_free(s);
        return cm_fail(detail, error,
                       "roster and floor in the store: %s; restore this node "
                       "from a peer or a snapshot",
                       cm_strerror(error));
    }
    if (ret_conflict != NULL)
        *ret_conflict = conflict;
    *ret_standing = s;
    return 0;
}
