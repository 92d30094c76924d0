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

static void choose(struct returning *r, const struct key_id *peer,
                   const struct address *address)
{
    r->sponsor = *peer;
    r->address = *address;
    r->sponsor_known = true;
}

/* Whether it can be asked at all, by what is known of it here. Of a newer
 * generation the roster knows nobody, and who comes over says so himself. */
static bool can_sponsor(const struct node *n, const struct member_view *m,
                        bool signer)
{
    if (m->state != MEMBER_ALIVE || m->address.family == 0 ||
        key_id_equal(&m->key_id, &n->key_id))
        return false;
    return n->returning.reason == RETURN_GENERATION ||
           (returning_is_rostered(n, &m->key_id) &&
            (signer || !sponsor_signed_own(n, &m->key_id)));
}

/* Living members first, in turn; then whoever was ever known, because an
 * evicted node is not talked to by gossip. Who has shown the branch that
 * stands, or a newer generation, is the first; but the former may have returned
 * itself just now, and give no cut before somebody else's state has confirmed
 * its own (of two others, this node may be the one), and either may be gone. */
static bool choose_of(struct node *n, bool signer)
{
    struct returning *r = &n->returning;
    size_t total = n->gossip != NULL ? gossip_member_total(n->gossip) : 0;
    size_t count = total + n->peers_count;
    bool shown = r->newer.known &&
                 (r->reason == RETURN_GENERATION || r->reason == RETURN_FORK);

    if (shown && !r->elsewhere) {
        choose(r, &r->newer.peer, &r->newer.address);
        return true;
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
        if (!can_sponsor(n, &view, signer))
            continue;
        r->turn = at;
        choose(r, &view.key_id, &view.address);
        return true;
    }
    if (shown)
        choose(r, &r->newer.peer, &r->newer.address);
    return shown;
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
