/* Orders and retirements as they are heard, and fences that are announced.
 *
 * None of it is state: it decides what fence this replica has to write and
 * which events it lets in, never what an applied event means. Which of two
 * orders of one epoch this replica keeps to is decided here: the one that
 * counted; else the one that a later order follows; else the first. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/standing_internal.h"

/* ---- which orders stand ---- */

static bool is_followed(const struct standing *s,
                        const struct standing_order *o)
{
    for (size_t i = 0; i < s->orders.count; i++) {
        const struct eviction_order *next = &s->orders.items[i].order;

        if (next->epoch == o->order.epoch + 1 &&
            hash_equal(&next->previous, &o->hash))
            return true;
    }
    return false;
}

static bool has_epoch(const struct standing *s, uint64_t epoch)
{
    for (size_t i = 0; i < s->orders.count; i++) {
        if (s->orders.items[i].order.epoch == epoch)
            return true;
    }
    return false;
}

const struct standing_order *standing_chain_next(const struct standing *s,
                                                 uint64_t epoch,
                                                 const struct hash *previous)
{
    const struct standing_order *ret = NULL;

    for (size_t i = 0; i < s->orders.count; i++) {
        const struct standing_order *o = &s->orders.items[i];

        if (o->order.epoch != epoch ||
            !hash_equal(&o->order.previous, previous))
            continue;
        if (is_followed(s, o))
            return o;
        if (ret == NULL)
            ret = o;
    }
    /* The next order names one that has not been heard yet. */
    return has_epoch(s, epoch + 1) ? NULL : ret;
}

bool standing_order_stands(const struct standing *s,
                           const struct standing_order *o)
{
    const struct hash *counted = standing_chain_at(s, o->order.epoch);
    struct hash last = standing_order(s);

    if (o->order.epoch <= s->epoch)
        return counted != NULL && hash_equal(counted, &o->hash);
    for (uint64_t epoch = s->epoch + 1; epoch <= o->order.epoch; epoch++) {
        const struct standing_order *next =
            standing_chain_next(s, epoch, &last);

        if (next == NULL || next == o)
            return next == o;
        last = next->hash;
    }
    return false;
}

bool standing_is_dropped(const struct standing *s)
{
    struct hash last = standing_order(s);
    bool ret = false;

    for (size_t i = 0; i < s->orders.count && s->epoch > 0; i++) {
        const struct eviction_order *next = &s->orders.items[i].order;

        if (next->epoch != s->epoch + 1)
            continue;
        if (hash_equal(&next->previous, &last))
            return false;
        ret = true;
    }
    return ret;
}

/* ---- hearing orders ---- */

static bool order_is_open(const struct standing *s,
                          const struct eviction_order *o)
{
    for (size_t i = 0; i < o->count; i++) {
        if (!floor_is_sealed(&s->floor, &o->incarnations[i], NULL))
            return true;
    }
    return false;
}

static int judge_order(const struct standing *s, const struct eviction_order *o,
                       const struct hash *hash)
{
    const struct hash *counted = standing_chain_at(s, o->epoch);
    struct hash last = standing_order(s);

    if (o->epoch <= s->epoch) {
        if (counted != NULL && !hash_equal(counted, hash))
            return CM_ERR_EVICTION_CONFLICT;
        if (!order_is_open(s, o))
            return CM_ERR_DUPLICATE;
        return counted != NULL ? 0 : CM_ERR_EVICTION_CONFLICT;
    }
    if (o->epoch == s->epoch + 1 && !hash_equal(&o->previous, &last))
        return CM_ERR_EVICTION_CONFLICT;
    return has_epoch(s, o->epoch) ? CM_ERR_EVICTION_CONFLICT : 0;
}

/* Takes o over. */
static int keep_order(struct standing *s, struct slice bytes,
                      const struct hash *hash, struct eviction_order *o)
{
    uint8_t *copy;

    if (s->orders.count >= STANDING_ORDERS_MAX)
        return CM_ERR_LIMIT;
    copy = cm_alloc(bytes.size);
    if (copy == NULL || STANDING_GROW(&s->orders) < 0) {
        cm_free(copy);
        return CM_ERR_NOMEM;
    }
    memcpy(copy, bytes.data, bytes.size);
    s->orders.items[s->orders.count++] = (struct standing_order){
        .bytes = copy, .size = bytes.size, .hash = *hash, .order = *o};
    *o = (struct eviction_order){0};
    return 0;
}

int standing_hear_order(struct standing *s, struct slice bytes)
{
    struct eviction_order o;
    struct hash hash;
    int verdict;
    int error = eviction_decode(&o, bytes, s->authority);

    if (error < 0)
        return error;
    hash = eviction_hash(bytes);
    if (!generation_id_equal(&o.generation, &s->generation))
        error = CM_ERR_WRONG_GENERATION;
    for (size_t i = 0; i < s->orders.count && error == 0; i++) {
        if (hash_equal(&s->orders.items[i].hash, &hash))
            error = CM_ERR_DUPLICATE;
    }
    if (error == 0) {
        verdict = judge_order(s, &o, &hash);
        /* The other order of an epoch that counted is of no use any more; one
         * of an epoch to come may yet be the one that stands. */
        if (verdict == 0 ||
            (verdict == CM_ERR_EVICTION_CONFLICT && o.epoch > s->epoch))
            error = keep_order(s, bytes, &hash, &o);
        if (error == 0)
            error = verdict;
    }
    eviction_release(&o);
    return error;
}

/* ---- hearing retirements ---- */

bool standing_retirement_counts(const struct standing *s,
                                const struct standing_retirement *r)
{
    const struct standing_member *m = standing_member_find(s, &r->incarnation);

    return m == NULL || key_id_equal(&m->node, &r->node);
}

int standing_hear_retirement(struct standing *s, struct slice bytes)
{
    struct standing_retirement heard = {.size = bytes.size};
    struct retirement r;
    int error = retirement_decode(&r, bytes, s->authority);

    if (error < 0)
        return error;
    if (!generation_id_equal(&r.generation, &s->generation))
        return CM_ERR_WRONG_GENERATION;
    heard.incarnation = r.incarnation;
    heard.node = r.node;
    if (floor_is_sealed(&s->floor, &r.incarnation, NULL))
        return CM_ERR_DUPLICATE;
    for (size_t i = 0; i < s->retirements.count; i++) {
        const struct standing_retirement *x = &s->retirements.items[i];

        if (incarnation_equal(&x->incarnation, &r.incarnation) &&
            key_id_equal(&x->node, &r.node))
            return CM_ERR_DUPLICATE;
    }
    if (!standing_retirement_counts(s, &heard))
        return CM_ERR_AUTHORITY;
    if (s->retirements.count >= FENCE_RETIREMENTS_MAX)
        return CM_ERR_LIMIT;
    heard.bytes = cm_alloc(bytes.size);
    if (heard.bytes == NULL || STANDING_GROW(&s->retirements) < 0) {
        cm_free(heard.bytes);
        return CM_ERR_NOMEM;
    }
    memcpy(heard.bytes, bytes.data, bytes.size);
    s->retirements.items[s->retirements.count++] = heard;
    return 0;
}

size_t standing_heard(const struct standing *s, struct slice *ret_bytes,
                      size_t room)
{
    size_t count = 0;

    for (size_t i = 0; i < s->orders.count; i++, count++) {
        if (count < room)
            ret_bytes[count] =
                slice_of(s->orders.items[i].bytes, s->orders.items[i].size);
    }
    for (size_t i = 0; i < s->retirements.count; i++, count++) {
        if (count < room)
            ret_bytes[count] = slice_of(s->retirements.items[i].bytes,
                                        s->retirements.items[i].size);
    }
    return count;
}

/* ---- announced fences ---- */

int standing_hear_fence(struct standing *s, const struct fence *f)
{
    for (size_t i = 0; i < f->orders_count; i++) {
        if (standing_hear_order(s, f->orders[i]) == CM_ERR_NOMEM)
            return CM_ERR_NOMEM;
    }
    for (size_t i = 0; i < f->retirements_count; i++) {
        if (standing_hear_retirement(s, f->retirements[i]) == CM_ERR_NOMEM)
            return CM_ERR_NOMEM;
    }
    return 0;
}

/* The names of both, the greater seq of each. The writer's later fence names
 * only whom it does not know to be sealed; here they may be open still. */
static int merge_announced(struct standing_fence *into,
                           const struct standing_fence *added)
{
    struct standing_name *names =
        cm_calloc(into->count + added->count + 1, sizeof *names);
    size_t count = 0;
    size_t i = 0;
    size_t k = 0;

    if (names == NULL)
        return CM_ERR_NOMEM;
    while (i < into->count || k < added->count) {
        const struct standing_name *a = &into->names[i];
        const struct standing_name *b = &added->names[k];
        int order = i == into->count ? 1
                    : k == added->count
                        ? -1
                        : incarnation_compare(&a->incarnation, &b->incarnation);

        names[count] = order < 0 || (order == 0 && a->seq > b->seq) ? *a : *b;
        count++;
        i += order <= 0;
        k += order >= 0;
    }
    cm_free(into->names);
    into->names = names;
    into->count = count;
    return 0;
}

static int keep_announced(struct standing *s, const struct incarnation *writer,
                          struct fence_reading *r)
{
    struct standing_fence added = {
        .writer = *writer, .names = r->names, .count = r->fence.covered_count};
    int error;

    for (size_t i = 0; i < s->announced.count; i++) {
        if (incarnation_equal(&s->announced.items[i].writer, writer))
            return merge_announced(&s->announced.items[i], &added);
    }
    error = STANDING_GROW(&s->announced);
    if (error == 0) {
        s->announced.items[s->announced.count++] = added;
        r->names = NULL;
    }
    return error;
}

int standing_announce(struct standing *s, const struct incarnation *writer,
                      struct slice value)
{
    struct fence_reading r;
    int error;

    if (!standing_is_member(s, writer))
        return 0;
    error = standing_read_fence(s, value, &r);
    if (error < 0)
        return error == CM_ERR_NOMEM ? error : 0;
    error = standing_hear_fence(s, &r.fence);
    if (error == 0)
        error = standing_check_links(s, &r);
    if (error == 0 || error == CM_ERR_PENDING)
        error = keep_announced(s, writer, &r);
    standing_reading_release(&r);
    return error;
}

/* ---- who is an evictee ---- */

static bool is_ordered(const struct standing *s, const struct incarnation *i)
{
    for (size_t k = 0; k < s->orders.count; k++) {
        const struct standing_order *o = &s->orders.items[k];
        size_t low = 0;
        size_t high = o->order.count;

        while (low < high) {
            size_t middle = low + (high - low) / 2;
            int order = incarnation_compare(&o->order.incarnations[middle], i);

            if (order == 0)
                break;
            if (order < 0)
                low = middle + 1;
            else
                high = middle;
        }
        if (low < high && standing_order_stands(s, o))
            return true;
    }
    return false;
}

static bool is_retired(const struct standing *s, const struct incarnation *i)
{
    for (size_t k = 0; k < s->retirements.count; k++) {
        const struct standing_retirement *r = &s->retirements.items[k];

        if (incarnation_equal(&r->incarnation, i) &&
            standing_retirement_counts(s, r))
            return true;
    }
    return false;
}

static bool is_named(const struct standing *s, const struct incarnation *i)
{
    for (size_t k = 0; k < s->fences.count; k++) {
        const struct standing_name *n =
            standing_fence_name(&s->fences.items[k], i);

        if (n != NULL && standing_name_counts(s, n))
            return true;
    }
    return false;
}

bool standing_is_evictee(const struct standing *s, const struct incarnation *i)
{
    if (floor_is_sealed(&s->floor, i, NULL))
        return false;
    return is_named(s, i) || is_retired(s, i) || is_ordered(s, i);
}

bool standing_stays(const struct standing *s, const struct incarnation *i)
{
    return standing_is_member(s, i) && !standing_is_evictee(s, i);
}

/* ---- forgetting ---- */

static bool is_over(const struct standing *s, const struct standing_order *o)
{
    return o->order.epoch <= s->epoch &&
           (!standing_order_stands(s, o) || !order_is_open(s, &o->order));
}

static bool covers_open(const struct standing *s,
                        const struct standing_fence *f)
{
    for (size_t i = 0; i < f->count; i++) {
        if (!floor_is_sealed(&s->floor, &f->names[i].incarnation, NULL))
            return true;
    }
    return false;
}

/* Order of hearing is kept: the first one of an epoch stands. */
void standing_prune(struct standing *s)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->orders.count; i++) {
        if (is_over(s, &s->orders.items[i]))
            standing_order_release(&s->orders.items[i]);
        else
            s->orders.items[kept++] = s->orders.items[i];
    }
    s->orders.count = kept;
    kept = 0;
    for (size_t i = 0; i < s->retirements.count; i++) {
        struct standing_retirement *r = &s->retirements.items[i];

        if (floor_is_sealed(&s->floor, &r->incarnation, NULL) ||
            !standing_retirement_counts(s, r))
            cm_free(r->bytes);
        else
            s->retirements.items[kept++] = *r;
    }
    s->retirements.count = kept;
    for (size_t i = s->announced.count; i > 0; i--) {
        struct standing_fence *f = &s->announced.items[i - 1];

        if (covers_open(s, f) && standing_is_member(s, &f->writer))
            continue;
        standing_fence_release(f);
        *f = s->announced.items[--s->announced.count];
    }
}
