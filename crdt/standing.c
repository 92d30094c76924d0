/* The standing's memory: life, copy, record, look-ups. What its rules are is
 * told in standing.h; each of them is in one of standing_*.c:
 * _fence (what a fence says), _heard (orders outside of fences), _proposal,
 * _apply (events), _settle (seals, floor, joins), _duty (what to write),
 * _level (what each incarnation knows). */
#include "crdt/standing.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/standing_internal.h"

/* Of the record: array heads and numbers, or one row of the floor. */
#define PIECE_MAX 64

int standing_grow(void **items, size_t count, size_t *capacity, size_t size)
{
    size_t wanted = *capacity > 0 ? 2 * *capacity : 4;
    void *grown;

    CHECK(count <= *capacity && size > 0);
    if (count < *capacity)
        return 0;
    if (wanted > SIZE_MAX / size)
        return CM_ERR_NOMEM;
    grown = cm_realloc(*items, wanted * size);
    if (grown == NULL)
        return CM_ERR_NOMEM;
    *items = grown;
    *capacity = wanted;
    return 0;
}

void standing_fence_release(struct standing_fence *f)
{
    cm_free(f->names);
    *f = (struct standing_fence){0};
}

void standing_proposal_release(struct standing_proposal *p)
{
    cm_free(p->cut);
    cm_free(p->acks);
    *p = (struct standing_proposal){0};
}

void standing_order_release(struct standing_order *o)
{
    cm_free(o->bytes);
    eviction_release(&o->order);
    *o = (struct standing_order){0};
}

void standing_forget_fence(struct standing *s, size_t at)
{
    CHECK(at < s->fences.count);
    standing_fence_release(&s->fences.items[at]);
    s->fences.count--;
    memmove(s->fences.items + at, s->fences.items + at + 1,
            (s->fences.count - at) * sizeof *s->fences.items);
}

/* ---- life ---- */

/* Everybody in the generation starts from their state: it is below the floor.
 */
static int take_sealed(struct standing *s, const struct vv *sealed)
{
    int error = 0;

    for (size_t i = 0; sealed != NULL && i < sealed->count && error == 0; i++) {
        const struct vv_entry *e = &sealed->entries[i];

        error = floor_raise(&s->floor, &e->incarnation, e->seq);
        if (error == 0)
            error = floor_seal(&s->floor, &e->incarnation, e->seq);
    }
    return error;
}

int standing_create(struct standing **ret_standing,
                    const struct standing_options *options)
{
    struct standing *s = cm_calloc(1, sizeof *s);
    struct standing_member founder = {.incarnation = options->founder,
                                      .node =
                                          key_id_of(options->founder_sign_key)};
    int error;

    if (s == NULL)
        return CM_ERR_NOMEM;
    s->mesh = options->mesh;
    s->generation = options->generation;
    s->founder = options->founder;
    s->founder_level = options->founder_level > LEVEL_FIRST
                           ? options->founder_level
                           : LEVEL_FIRST;
    s->needs = LEVEL_FIRST;
    memcpy(s->authority, options->authority_public_key, 32);
    error = take_sealed(s, options->sealed);
    if (error == 0)
        error = standing_member_add(s, &founder);
    if (error < 0) {
        standing_free(s);
        return error;
    }
    *ret_standing = s;
    return 0;
}

void standing_free(struct standing *s)
{
    if (s == NULL)
        return;
    floor_release(&s->floor);
    cm_free(s->members.items);
    for (size_t i = 0; i < s->fences.count; i++)
        standing_fence_release(&s->fences.items[i]);
    cm_free(s->fences.items);
    for (size_t i = 0; i < s->proposals.count; i++)
        standing_proposal_release(&s->proposals.items[i]);
    cm_free(s->proposals.items);
    for (size_t i = 0; i < s->announced.count; i++)
        standing_fence_release(&s->announced.items[i]);
    cm_free(s->announced.items);
    for (size_t i = 0; i < s->orders.count; i++)
        standing_order_release(&s->orders.items[i]);
    cm_free(s->orders.items);
    for (size_t i = 0; i < s->retirements.count; i++)
        cm_free(s->retirements.items[i].bytes);
    cm_free(s->retirements.items);
    cm_free(s->levels.items);
    cm_free(s->sealed.items);
    cm_free(s);
}

/* ---- copy ---- */

/* A copy of count items; NULL with *ok when there are none. */
static void *copy_of(const void *items, size_t count, size_t size, bool *ok)
{
    void *ret;

    if (count == 0 || !*ok)
        return NULL;
    ret = cm_calloc(count, size);
    *ok = ret != NULL;
    if (ret != NULL)
        memcpy(ret, items, count * size);
    return ret;
}

/* Items in a fresh list, of which what they own is still the original's. */
#define COPY_LIST(to, from, ok)                                                \
    do {                                                                       \
        (to)->items =                                                          \
            copy_of((from)->items, (from)->count, sizeof *(from)->items, ok);  \
        (to)->capacity = (to)->items != NULL ? (from)->count : 0;              \
    } while (0)

static void copy_fences(struct standing_fence *to,
                        const struct standing_fence *from, size_t count,
                        size_t *ret_count, bool *ok)
{
    for (size_t i = 0; i < count && *ok; i++) {
        to[i].names =
            copy_of(from[i].names, from[i].count, sizeof *from[i].names, ok);
        *ret_count = i + 1;
    }
}

static void copy_proposals(struct standing *c, const struct standing *s,
                           bool *ok)
{
    for (size_t i = 0; i < s->proposals.count && *ok; i++) {
        const struct standing_proposal *from = &s->proposals.items[i];
        struct standing_proposal *to = &c->proposals.items[i];

        to->cut = copy_of(from->cut, from->cut_count, sizeof *from->cut, ok);
        to->acks =
            copy_of(from->acks, from->acks_count, sizeof *from->acks, ok);
        c->proposals.count = i + 1;
    }
}

static void copy_heard(struct standing *c, const struct standing *s, bool *ok)
{
    for (size_t i = 0; i < s->orders.count && *ok; i++) {
        const struct standing_order *from = &s->orders.items[i];
        struct standing_order *to = &c->orders.items[i];

        to->bytes = copy_of(from->bytes, from->size, 1, ok);
        to->order.incarnations =
            copy_of(from->order.incarnations, from->order.count,
                    sizeof *from->order.incarnations, ok);
        c->orders.count = i + 1;
    }
    for (size_t i = 0; i < s->retirements.count && *ok; i++) {
        c->retirements.items[i].bytes = copy_of(
            s->retirements.items[i].bytes, s->retirements.items[i].size, 1, ok);
        c->retirements.count = i + 1;
    }
}

int standing_copy(struct standing **ret_copy, const struct standing *s)
{
    struct standing *c = cm_calloc(1, sizeof *c);
    bool ok = c != NULL;

    if (!ok)
        return CM_ERR_NOMEM;
    c->mesh = s->mesh;
    c->generation = s->generation;
    memcpy(c->authority, s->authority, sizeof c->authority);
    c->founder = s->founder;
    c->founder_level = s->founder_level;
    c->needs = s->needs;
    c->floor_time = s->floor_time;
    c->epoch = s->epoch;
    memcpy(c->chain, s->chain, sizeof c->chain);
    ok = floor_copy(&c->floor, &s->floor) == 0;
    COPY_LIST(&c->members, &s->members, &ok);
    c->members.count = c->members.capacity;
    COPY_LIST(&c->fences, &s->fences, &ok);
    copy_fences(c->fences.items, s->fences.items, s->fences.count,
                &c->fences.count, &ok);
    COPY_LIST(&c->announced, &s->announced, &ok);
    copy_fences(c->announced.items, s->announced.items, s->announced.count,
                &c->announced.count, &ok);
    COPY_LIST(&c->proposals, &s->proposals, &ok);
    copy_proposals(c, s, &ok);
    COPY_LIST(&c->levels, &s->levels, &ok);
    c->levels.count = c->levels.capacity;
    COPY_LIST(&c->orders, &s->orders, &ok);
    COPY_LIST(&c->retirements, &s->retirements, &ok);
    copy_heard(c, s, &ok);
    if (!ok) {
        standing_free(c);
        return CM_ERR_NOMEM;
    }
    *ret_copy = c;
    return 0;
}

/* ---- members ---- */

/* Index of the first member not below i. */
size_t standing_member_at(const struct standing *s, const struct incarnation *i)
{
    size_t low = 0;
    size_t high = s->members.count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (incarnation_compare(&s->members.items[middle].incarnation, i) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    CHECK(low <= s->members.count);
    return low;
}

const struct standing_member *standing_member_find(const struct standing *s,
                                                   const struct incarnation *i)
{
    size_t at = standing_member_at(s, i);

    if (at == s->members.count ||
        !incarnation_equal(&s->members.items[at].incarnation, i))
        return NULL;
    return &s->members.items[at];
}

static bool is_older(const struct standing_member *a,
                     const struct standing_member *b)
{
    if (a->hlc != b->hlc)
        return a->hlc < b->hlc;
    return dot_compare(&a->dot, &b->dot) < 0;
}

int standing_member_add(struct standing *s, const struct standing_member *m)
{
    size_t at = standing_member_at(s, &m->incarnation);
    struct standing_member *place;
    int error;

    if (standing_member_find(s, &m->incarnation) != NULL) {
        if (is_older(m, &s->members.items[at]))
            s->members.items[at] = *m;
        return 0;
    }
    error = STANDING_GROW(&s->members);
    if (error < 0)
        return error;
    place = &s->members.items[at];
    memmove(place + 1, place, (s->members.count - at) * sizeof *place);
    *place = *m;
    s->members.count++;
    return 0;
}

void standing_member_remove(struct standing *s, const struct incarnation *i)
{
    size_t at = standing_member_at(s, i);
    struct standing_member *place = &s->members.items[at];

    standing_level_remove(s, i);
    if (standing_member_find(s, i) == NULL)
        return;
    s->members.count--;
    memmove(place, place + 1, (s->members.count - at) * sizeof *place);
}

/* ---- the chain of orders ---- */

const struct hash *standing_chain_at(const struct standing *s, uint64_t epoch)
{
    if (epoch == 0 || epoch > s->epoch ||
        s->epoch - epoch >= STANDING_CHAIN_MAX)
        return NULL;
    return &s->chain[(epoch - 1) % STANDING_CHAIN_MAX];
}

void standing_chain_extend(struct standing *s, const struct hash *hash)
{
    s->epoch++;
    s->chain[(s->epoch - 1) % STANDING_CHAIN_MAX] = *hash;
    CHECK(standing_chain_at(s, s->epoch) != NULL);
}

/* ---- the record ---- */

static void pack_chain(struct buffer *out, const struct standing *s)
{
    uint64_t count =
        s->epoch < STANDING_CHAIN_MAX ? s->epoch : STANDING_CHAIN_MAX;

    pack_uint(out, s->floor_time);
    pack_uint(out, s->epoch);
    pack_array(out, (size_t)count);
    for (uint64_t i = count; i > 0; i--)
        pack_bytes(out, standing_chain_at(s, s->epoch - i + 1)->bytes,
                   HASH_SIZE);
}

void standing_pack(struct buffer *out, const struct standing *s)
{
    bool levels = standing_level_any(s);

    pack_array(out, levels ? STANDING_FIELDS_MAX : STANDING_FIELDS);
    pack_chain(out, s);
    floor_pack(out, &s->floor);
    if (levels)
        standing_level_pack(out, s);
}

static void unpack_chain(struct standing *s, struct unpacker *u)
{
    uint64_t count;

    s->floor_time = unpack_uint(u, UINT64_MAX);
    s->epoch = unpack_uint(u, UINT64_MAX);
    count = s->epoch < STANDING_CHAIN_MAX ? s->epoch : STANDING_CHAIN_MAX;
    unpack_array_of(u, (size_t)count);
    for (uint64_t i = count; i > 0 && u->error == 0; i--)
        unpack_bytes(u, s->chain[(s->epoch - i) % STANDING_CHAIN_MAX].bytes,
                     HASH_SIZE);
}

/* The seals that the generation's order set are in every record of it. */
static bool has_seals(const struct floor *f, const struct floor *wanted)
{
    for (size_t i = 0; i < wanted->count; i++) {
        const struct floor_row *row = &wanted->rows[i];
        uint64_t last;

        if (!floor_is_sealed(f, &row->incarnation, &last) || last != row->last)
            return false;
    }
    return true;
}

int standing_unpack(struct standing *s, struct unpacker *u)
{
    struct floor floor;
    size_t fields;

    CHECK(s->fences.count == 0 && s->proposals.count == 0);
    CHECK(s->levels.count == 0);
    fields = unpack_array(u, STANDING_FIELDS_MAX);
    if (fields != STANDING_FIELDS && fields != STANDING_FIELDS_MAX)
        unpack_fail(u, CM_ERR_MALFORMED);
    unpack_chain(s, u);
    floor_unpack(u, &floor);
    if (fields == STANDING_FIELDS_MAX)
        standing_level_unpack(s, u);
    if (u->error == 0 && !has_seals(&floor, &s->floor))
        unpack_fail(u, CM_ERR_MALFORMED);
    if (u->error != 0) {
        floor_release(&floor);
        return u->error;
    }
    floor_release(&s->floor);
    s->floor = floor;
    if (floor_is_sealed(&s->floor, &s->founder, NULL))
        standing_member_remove(s, &s->founder);
    return 0;
}

static void hash_levels(crypto_generichash_state *state,
                        const struct standing *s)
{
    uint8_t bytes[PIECE_MAX] = "levels";

    put_be64(bytes + 8, s->needs);
    (void)crypto_generichash_update(state, bytes, 16);
    for (size_t i = 0; i < s->levels.count; i++) {
        const struct standing_level_row *row = &s->levels.items[i];

        memcpy(bytes, row->incarnation.bytes, INCARNATION_SIZE);
        put_be64(bytes + INCARNATION_SIZE, row->level);
        (void)crypto_generichash_update(state, bytes, INCARNATION_SIZE + 8);
    }
}

/* Piece by piece, because a hash must not fail for want of memory. */
struct hash standing_hash(const struct standing *s)
{
    static const char domain[] = "confmesh standing v1";
    uint8_t bytes[PIECE_MAX];
    crypto_generichash_state state;
    struct hash ret;

    (void)crypto_generichash_init(&state, NULL, 0, HASH_SIZE);
    (void)crypto_generichash_update(&state, (const uint8_t *)domain,
                                    sizeof domain);
    put_be64(bytes, s->floor_time);
    put_be64(bytes + 8, s->epoch);
    (void)crypto_generichash_update(&state, bytes, 16);
    if (s->epoch > 0)
        (void)crypto_generichash_update(
            &state, standing_chain_at(s, s->epoch)->bytes, HASH_SIZE);
    for (size_t i = 0; i < s->floor.count; i++) {
        const struct floor_row *row = &s->floor.rows[i];

        memcpy(bytes, row->incarnation.bytes, INCARNATION_SIZE);
        put_be64(bytes + INCARNATION_SIZE, row->up_to);
        put_be64(bytes + INCARNATION_SIZE + 8, row->last);
        (void)crypto_generichash_update(&state, bytes, INCARNATION_SIZE + 16);
    }
    if (standing_level_any(s))
        hash_levels(&state, s);
    (void)crypto_generichash_final(&state, ret.bytes, HASH_SIZE);
    return ret;
}

/* ---- looking ---- */

bool standing_is_member(const struct standing *s, const struct incarnation *i)
{
    return standing_member_find(s, i) != NULL;
}

bool standing_is_only_node(const struct standing *s, const struct key_id *node)
{
    for (size_t i = 0; i < s->members.count; i++) {
        if (!key_id_equal(&s->members.items[i].node, node))
            return false;
    }
    return s->members.count > 0;
}

size_t standing_members(const struct standing *s)
{
    return s->members.count;
}

const struct incarnation *standing_member(const struct standing *s, size_t i)
{
    CHECK(i < s->members.count);
    return &s->members.items[i].incarnation;
}

bool standing_is_sealed(const struct standing *s, const struct incarnation *i,
                        uint64_t *ret_last_seq)
{
    return floor_is_sealed(&s->floor, i, ret_last_seq);
}

const struct floor *standing_floor(const struct standing *s)
{
    return &s->floor;
}

hlc_t standing_floor_time(const struct standing *s)
{
    return s->floor_time;
}

bool standing_covers(const struct standing *s, const struct dot *d)
{
    return floor_covers(&s->floor, d);
}

uint64_t standing_epoch(const struct standing *s)
{
    return s->epoch;
}

struct hash standing_order(const struct standing *s)
{
    const struct hash *last = standing_chain_at(s, s->epoch);

    return last != NULL ? *last : (struct hash){{0}};
}
