/* Who may come back without being asked: "a stolen node must not".
 *
 * An eviction order names incarnations, and a thief can mint others; what he
 * cannot have is a certificate that is newer than the order. So whoever has no
 * incarnation in the roster that stays is sponsored only if his certificate was
 * made after the last order that counts here: a fresh token was redeemed for
 * it. Who merely goes on under another name (a moved directory, a lost disk)
 * has one that stays, and needs nobody.
 *
 * With an evicted issuer's key a thief dates certificates as he likes. So one
 * counts only while whoever signed it stays: "was it signed before the
 * eviction" cannot be known, and is asked only of members, whose add is part of
 * the state. An honest newcomer whom an evicted issuer let in, not knowing of
 * it, looks exactly like the thief's; he is told to redeem a token of another
 * issuer. (A key of which no incarnation is rostered any more does not stay
 * either.)
 *
 * When the order was made is in the order; where its bytes are gone already,
 * the time at which this node saw the epoch for the first time stands for it.
 */
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/eviction.h"
#include "node/node_internal.h"

#define ORDER_FACT_MAX 32

static void stored(void *context, struct intent *i)
{
    (void)context; /* else the epoch is seen for the first time again */
    intent_free(i);
}

void sponsor_store_order(struct node *n)
{
    struct intent *i = intent_new(INTENT_META);
    struct buffer out;

    if (i == NULL)
        return;
    buffer_init(&out, ORDER_FACT_MAX);
    pack_array(&out, 2);
    pack_uint(&out, n->order_epoch);
    pack_uint(&out, n->order_ms);
    i->done = stored;
    if (out.error != 0 ||
        intent_add_fact(i, META_ORDER_SEEN, buffer_slice(&out)) != 0 ||
        n->ports.writer->submit(n->ports.ctx, i) != 0)
        intent_free(i);
    buffer_release(&out);
}

void sponsor_order_load(struct node *n)
{
    struct unpacker u;
    struct slice bytes;

    if (store_reader_renew(n->reader) != 0)
        return;
    if (store_meta(n->reader, META_ORDER_SEEN, &bytes) == 0) {
        unpack_init(&u, bytes);
        unpack_array_of(&u, 2);
        n->order_epoch = unpack_uint(&u, UINT64_MAX);
        n->order_ms = unpack_uint(&u, UINT64_MAX);
        if (unpack_finish(&u) != 0)
            n->order_epoch = 0;
    }
    store_reader_reset(n->reader);
    orders_load_barred(n);
}

/* Among those that are open: the one of that epoch. */
static uint64_t made_ms(const struct node *n, uint64_t epoch, uint64_t other)
{
    struct unpacker u;
    size_t count;
    uint64_t ret = other;

    unpack_init(&u, slice_of(n->standing->heard, n->standing->heard_size));
    count = n->standing->heard_size > 0 ? unpack_array(&u, SIZE_MAX) : 0;
    for (size_t i = 0; i < count && u.error == 0; i++) {
        struct slice bytes = unpack_bin(&u, EVICTION_SIZE_MAX);
        struct eviction_order order;

        if (u.error != 0 ||
            eviction_decode(&order, bytes, n->authority_public_key) != 0)
            continue; /* a retirement */
        if (order.epoch == epoch)
            ret = order.created_ms;
        eviction_release(&order);
    }
    return ret;
}

void sponsor_note_order(struct node *n)
{
    CHECK(n->standing != NULL);
    if (n->standing->epoch <= n->order_epoch || !n->has_identity)
        return;
    n->order_ms = made_ms(n, n->standing->epoch, node_wall(n));
    n->order_epoch = n->standing->epoch;
    sponsor_store_order(n);
    orders_forget_distrusted(n);
}

static bool has_order(const struct node *n)
{
    return n->standing != NULL && n->standing->epoch > 0;
}

/* The authority's own word, or that of an issuer who was not evicted, or whom
 * the authority certified again since. */
static bool is_issued(const struct node *n, const struct certificate *c)
{
    struct certificate issuer;

    if (c->issuer.size == 0)
        return true;
    if (certificate_decode(&issuer, c->issuer, n->authority_public_key) != 0)
        return false;
    return issuer.not_before_ms > n->order_ms ||
           orders_key_stays(n, &issuer.key_id);
}

bool sponsor_signed_own(const struct node *n, const struct key_id *peer)
{
    struct certificate issuer;

    return n->own.issuer.size > 0 &&
           certificate_decode(&issuer, n->own.issuer,
                              n->authority_public_key) == 0 &&
           key_id_equal(&issuer.key_id, peer);
}

bool sponsor_trusts(const struct node *n, const struct certificate *c)
{
    return !has_order(n) || orders_key_stays(n, &c->key_id) || is_issued(n, c);
}

/* The chain of orders begins anew with a generation that a restore has begun;
 * whose keys had been evicted before is known still. */
static bool is_of_generation(const struct node *n, const struct certificate *c)
{
    struct generation_order order;
    bool ret;

    if (n->generation.number == 1)
        return true;
    if (generation_order_decode(&order, buffer_slice(&n->generation_order),
                                n->authority_public_key) != 0)
        return false;
    ret = c->not_before_ms >= order.created_ms;
    generation_order_release(&order);
    return ret;
}

bool sponsor_refuses(const struct node *n, const struct certificate *c,
                     enum refusal *ret_why)
{
    if (orders_key_stays(n, &c->key_id))
        return false;
    if (orders_refuse(n, &c->key_id) && !is_of_generation(n, c)) {
        *ret_why = REFUSAL_ENTRY_ORDER;
        return true;
    }
    if (!has_order(n))
        return false;
    if (!is_issued(n, c))
        *ret_why = REFUSAL_ENTRY_ISSUER;
    else if (c->not_before_ms <= n->order_ms)
        *ret_why = REFUSAL_ENTRY_ORDER;
    else
        return false;
    return true;
}
