/* Peers: addresses of certified nodes, kept in the store so that a joined node
 * restarts without any flag and reaches a known peer at once. Written only
 * when they change, a moment later, so that churn makes one commit. */
#include <string.h>

#include "crdt/base/check.h"
#include "node/node_internal.h"

void peers_remember(struct node *n, const struct key_id *peer,
                    const struct address *address)
{
    size_t i;

    for (i = 0; i < n->peers_count; i++) {
        if (!key_id_equal(&n->peers[i].peer, peer))
            continue;
        if (address_equal(&n->peers[i].address, address))
            return;
        break;
    }
    if (i == PEERS_MAX)
        return; /* enough to find the mesh again */
    if (i == n->peers_count)
        n->peers_count++;
    n->peers[i].peer = *peer;
    n->peers[i].address = *address;
    if (n->peers_save_ms == 0)
        n->peers_save_ms = node_now(n) + PEERS_SAVE_MS;
}

static void save_done(void *context, struct intent *i)
{
    struct node *n = context;

    if (i->result != 0)
        node_log(n, 'W', "addresses of peers were not stored: %s",
                 cm_strerror(i->result));
    intent_free(i);
}

static void save(struct node *n)
{
    struct intent *i = intent_new(INTENT_META);
    char bind[ADDRESS_TEXT_SIZE];
    struct buffer out;
    size_t k;

    if (i == NULL)
        return;
    address_format(bind, &n->address);
    buffer_init(&out, 64u << 10);
    pack_array(&out, 2 * n->peers_count);
    for (k = 0; k < n->peers_count; k++) {
        pack_bytes(&out, n->peers[k].peer.bytes, KEY_ID_SIZE);
        address_pack(&out, &n->peers[k].address);
    }
    i->done = save_done;
    i->context = n;
    if (out.error != 0 ||
        intent_add_fact(i, META_PEERS, buffer_slice(&out)) != 0 ||
        intent_add_fact(i, META_BIND, slice_of_string(bind)) != 0 ||
        n->ports.writer->submit(n->ports.ctx, i) != 0)
        intent_free(i);
    buffer_release(&out);
}

void peers_hurry(struct node *n)
{
    if (n->peers_save_ms != 0)
        n->peers_save_ms = node_now(n);
}

void peers_flush(struct node *n)
{
    peers_hurry(n);
    peers_tick(n, node_now(n));
}

void peers_tick(struct node *n, uint64_t now)
{
    if (n->peers_save_ms == 0 || now < n->peers_save_ms || !n->has_identity)
        return;
    n->peers_save_ms = 0;
    save(n);
    heal_facts_changed(n);
}

void peers_load(struct node *n)
{
    char bind[ADDRESS_TEXT_SIZE];
    struct unpacker u;
    struct slice bytes;
    size_t pairs;
    size_t i;

    CHECK(n->peers_count == 0);
    if (store_reader_renew(n->reader) != 0)
        return;
    /* Where it can be reached is kept too: it restarts there. */
    address_format(bind, &n->address);
    if (store_meta(n->reader, META_BIND, &bytes) != 0 ||
        !slice_equal(bytes, slice_of_string(bind)))
        n->peers_save_ms = node_now(n);
    if (store_meta(n->reader, META_PEERS, &bytes) == 0) {
        unpack_init(&u, bytes);
        pairs = unpack_array(&u, 2 * PEERS_MAX) / 2;
        for (i = 0; i < pairs && u.error == 0; i++) {
            unpack_bytes(&u, n->peers[i].peer.bytes, KEY_ID_SIZE);
            address_unpack(&u, &n->peers[i].address);
        }
        if (unpack_finish(&u) == 0)
            n->peers_count = pairs;
    }
    store_reader_reset(n->reader);
}

void peers_contact(struct node *n)
{
    size_t i;

    CHECK(n->gossip != NULL);
    for (i = 0; i < n->peers_count; i++)
        if (!key_id_equal(&n->peers[i].peer, &n->key_id))
            (void)gossip_add_contact(n->gossip, node_now(n), &n->peers[i].peer,
                                     &n->peers[i].address);
}
