/* Named facts of this node that have rotted (`m` records: who it is, whom it
 * trusts and knows, what it was at). No peer has them. The writer makes those
 * again that it lives by; here is what the loop remembers of the others. What
 * neither knows is given up, and said: see heal_writer.c. */
#include <string.h>

#include "crdt/base/check.h"
#include "node/node_internal.h"

static bool is_named(const struct schema_key *key, const char *name)
{
    struct schema_key other;

    schema_key_meta(&other, name);
    return slice_equal(schema_key_slice(key), schema_key_slice(&other));
}

/* They go with the change, and are stored again behind it. */
static const char *const stored[] = {META_PEERS, META_BIND, META_TOKENS,
                                     META_ORDER_SEEN};

/* By the roster: those that were given up before anybody rostered them are not
 * in it, and hold nothing back. */
static void list_given_up(const struct node *n, struct buffer *out)
{
    for (size_t i = 0; n->roster != NULL && i < n->roster->count; i++) {
        const struct roster_member *m = &n->roster->members[i];

        if (key_id_equal(&m->certificate.key_id, &n->key_id) &&
            !incarnation_equal(&m->incarnation, &n->incarnation) &&
            (n->returning.phase == RETURNING_NONE ||
             !incarnation_equal(&m->incarnation, &n->returning.next)))
            buffer_append(out, m->incarnation.bytes, INCARNATION_SIZE);
    }
}

static void give(struct node *n, struct heal_change *c,
                 const struct schema_key *key)
{
    const struct slice nothing = slice_of(NULL, 0);
    struct buffer made;
    int error = 0;

    buffer_init(&made, INTENT_MEMORY_MAX);
    if (is_named(key, META_CERTIFICATE)) {
        error = heal_change_name(c, META_CERTIFICATE,
                                 buffer_slice(&n->certificate));
    } else if (is_named(key, META_HOST)) {
        error =
            heal_change_name(c, META_HOST, slice_of(n->host, sizeof n->host));
    } else if (is_named(key, META_ISSUER)) {
        error = heal_change_name(c, META_ISSUER, buffer_slice(&n->issuer));
    } else if (is_named(key, META_BARRED)) {
        error = heal_change_name(
            c, META_BARRED,
            slice_of(n->barred, n->barred_count * sizeof n->barred[0]));
    } else if (is_named(key, META_UNCONFIRMED)) {
        error = heal_change_name(
            c, META_UNCONFIRMED,
            n->cuts.unconfirmed
                ? slice_of(n->cuts.unconfirmed_source.bytes, KEY_ID_SIZE)
                : nothing);
    } else if (is_named(key, META_RETURNING)) {
        if (n->returning.phase != RETURNING_NONE)
            returning_pack_fact(&made, &n->returning);
        error = heal_change_name(c, META_RETURNING, buffer_slice(&made));
    } else if (is_named(key, META_GIVEN_UP)) {
        list_given_up(n, &made);
        error = heal_change_name(c, META_GIVEN_UP, buffer_slice(&made));
    } else {
        for (size_t i = 0; i < sizeof stored / sizeof stored[0]; i++)
            if (is_named(key, stored[i]))
                error = heal_change_name(c, stored[i], nothing);
    }
    if (error != 0)
        node_log(n, 'W', "heal: a fact of this node cannot be made again: %s",
                 cm_strerror(error));
    buffer_release(&made);
}

void heal_named_give(struct node *n, struct heal_change *c)
{
    for (size_t i = 0; i < c->drop_count; i++)
        if (c->drop[i].bytes[0] == SCHEMA_PREFIX_META)
            give(n, c, &c->drop[i]);
}

void heal_named_store(struct node *n, const struct heal_change *c)
{
    for (size_t i = 0; i < c->drop_count; i++) {
        const struct schema_key *key = &c->drop[i];

        if (is_named(key, META_PEERS) || is_named(key, META_BIND))
            n->peers_save_ms = node_now(n);
        else if (is_named(key, META_TOKENS))
            sponsor_store_tokens(n);
        else if (is_named(key, META_ORDER_SEEN))
            sponsor_store_order(n);
    }
}
