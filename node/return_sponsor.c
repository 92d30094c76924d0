/* Whom a returning node asks for its cut and for the next incarnation's place
 * in the roster. */
#include "node/node_internal.h"

bool returning_is_rostered(const struct node *n, const struct key_id *peer)
{
    for (size_t i = 0; n->roster != NULL && i < n->roster->count; i++)
        if (key_id_equal(&n->roster->members[i].certificate.key_id, peer))
            return true;
    return false;
}

/* Living members first, in turn; then whoever was ever known, because an
 * evicted node is not talked to by gossip. Who has shown the branch that stands
 * may have returned itself just now, and give no cut before somebody else's
 * state has confirmed its own: of two others, this node may be the one. */
static bool choose_of(struct node *n, bool signer)
{
    struct returning *r = &n->returning;
    size_t total = n->gossip != NULL ? gossip_member_total(n->gossip) : 0;
    size_t count = total + n->peers_count;

    if (r->reason == RETURN_GENERATION ||
        (r->reason == RETURN_FORK && r->newer.known && !r->elsewhere)) {
        r->sponsor = r->newer.peer;
        r->address = r->newer.address;
        r->sponsor_known = r->newer.known;
        return r->newer.known;
    }
    for (size_t i = 0; i < count; i++) {
        size_t at = (r->turn + i) % count;
        struct member_view view = {.state = MEMBER_ALIVE};

        if (at < total) {
            gossip_member_at(n->gossip, at, &view);
        } else {
            view.key_id = n->peers[at - total].peer;
            view.address = n->peers[at - total].address;
        }
        if (view.state != MEMBER_ALIVE || view.address.family == 0 ||
            key_id_equal(&view.key_id, &n->key_id) ||
            !returning_is_rostered(n, &view.key_id) ||
            (!signer && sponsor_signed_own(n, &view.key_id)))
            continue;
        r->turn = at;
        r->sponsor = view.key_id;
        r->address = view.address;
        r->sponsor_known = true;
        return true;
    }
    return false;
}

/* Who does not know of his own eviction would let in one of his for ever; but
 * where the only other one has an unconfirmed state, that may wait for this
 * node's. */
bool returning_choose(struct node *n)
{
    enum return_reason why = n->returning.reason;
    bool signer = n->returning.signer_too || why < RETURN_OVERRUN ||
                  why == RETURN_OWN_EVENTS;

    return choose_of(n, signer) || (why != RETURN_ISSUER && choose_of(n, true));
}

void returning_note_lost(struct node *n, const struct standing_lost *lost)
{
    const struct roster_member *m =
        n->roster != NULL ? roster_find(n->roster, &lost->to) : NULL;
    struct member_view view;

    node_note_fork(n, &lost->fork);
    if (m != NULL && n->gossip != NULL &&
        gossip_member_find(n->gossip, &m->certificate.key_id, &view))
        returning_note_branch(n, &m->certificate.key_id, &view.address);
}
