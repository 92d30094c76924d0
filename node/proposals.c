/* When a floor is proposed.
 *
 * "Any rostered node may propose a cut T when there is something to collect
 * (normally the one that rendezvous hashing picks)." Something is an entry that
 * a floor would make smaller by now, or many event bytes above the floor. The
 * members that stay and live are put in an order by a hash of mesh, standing
 * and member, so that every floor has another one's turn; the first proposes
 * after a quiet interval, the next one after two, and so on: views may differ
 * and the first may be busy, and a proposal too many does no harm. While one is
 * open nobody proposes another: it passes when the missing ones are back.
 *
 * An idle mesh ends up without a candidate and below the thresholds, which grow
 * with the number of members, because each floor leaves one acknowledgement of
 * each above it. */
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

#include <string.h>

#define FLOOR_EVENTS_MIN 4096      /* above the floor, … */
#define FLOOR_EVENTS_MEMBER 8      /* …and for each member */
#define FLOOR_BYTES_MIN (4u << 20) /* of events since the last floor */
#define FLOOR_RANK_MAX 16          /* intervals waited at most */
#define FLOOR_RETRY_MS 1000        /* after a refusal: queue or disk full */
#define FLOOR_LOOK_MS 60000        /* the wall clock may jump */

/* ---- whether ---- */

static uint64_t events_wanted(const struct node *n)
{
    return FLOOR_EVENTS_MIN +
           FLOOR_EVENTS_MEMBER * (uint64_t)n->standing->members_count;
}

static bool may_propose(const struct node *n)
{
    return n->ready && n->floor.interval_ms > 0 && n->standing != NULL &&
           !n->floor.asked && !n->standing->proposal_open &&
           n->standing->self_member && !n->standing->self_evictee;
}

static bool has_something(const struct node *n)
{
    return n->floor.collect_wall_ms <= node_wall(n) ||
           n->floor.above > events_wanted(n) ||
           (n->floor.bytes >= FLOOR_BYTES_MIN &&
            n->floor.above > FLOOR_EVENTS_MEMBER * n->standing->members_count);
}

/* ---- whose turn ---- */

static struct hash turn_of(const struct node *n, const struct incarnation *i)
{
    uint8_t bytes[MESH_ID_SIZE + HASH_SIZE + INCARNATION_SIZE];

    memcpy(bytes, n->mesh.bytes, MESH_ID_SIZE);
    memcpy(bytes + MESH_ID_SIZE, n->standing->hash.bytes, HASH_SIZE);
    memcpy(bytes + MESH_ID_SIZE + HASH_SIZE, i->bytes, INCARNATION_SIZE);
    return hash_of("confmesh proposer v1", slice_of(bytes, sizeof bytes));
}

static bool lives(const struct node *n, const struct incarnation *i)
{
    const struct roster_member *m =
        n->roster != NULL ? roster_find(n->roster, i) : NULL;
    struct member_view view;

    return m != NULL && n->gossip != NULL &&
           gossip_member_find(n->gossip, &m->certificate.key_id, &view) &&
           view.state == MEMBER_ALIVE;
}

/* How many come before this node. */
static uint64_t rank(const struct node *n)
{
    struct hash own = turn_of(n, &n->incarnation);
    uint64_t ret = 0;

    for (size_t i = 0; i < n->standing->members_count && ret < FLOOR_RANK_MAX;
         i++) {
        const struct standing_view_member *m = &n->standing->members[i];
        struct hash other;

        if (!m->stays || !lives(n, &m->incarnation))
            continue;
        other = turn_of(n, &m->incarnation);
        ret += hash_compare(&other, &own) > 0;
    }
    return ret;
}

/* ---- proposing ---- */

static void proposed(void *context, struct intent *i)
{
    struct node *n = context;

    n->floor.asked = false;
    n->floor.since_ms = 0;
    if (i->result != 0)
        n->floor.retry_ms = node_now(n) + FLOOR_RETRY_MS;
    if (i->wrote)
        node_log(n, 'D', "floor: proposed");
    intent_free(i);
}

static void pruned(void *context, struct intent *i)
{
    struct node *n = context;

    n->floor.pruning = false;
    n->floor.prune_ms = 0; /* the next floor waits its time again */
    if (i->result != 0)
        n->floor.prune_ms = node_now(n) + FLOOR_RETRY_MS;
    else if (i->more)
        n->floor.prune_ms = node_now(n);
    intent_free(i);
}

static bool submit(struct node *n, enum intent_kind kind, intent_done done)
{
    struct intent *i = intent_new(kind);

    if (i == NULL)
        return false;
    i->done = done;
    i->context = n;
    if (n->ports.writer->submit(n->ports.ctx, i) == 0)
        return true;
    intent_free(i);
    return false;
}

static uint64_t due_ms(const struct node *n)
{
    uint64_t due =
        n->floor.since_ms + n->floor.interval_ms * (1 + n->floor.rank);

    CHECK(n->floor.since_ms != 0);
    return due > n->floor.retry_ms ? due : n->floor.retry_ms;
}

static void tick_proposal(struct node *n, uint64_t now)
{
    if (!may_propose(n) || !has_something(n)) {
        n->floor.since_ms = 0;
        return;
    }
    if (n->floor.since_ms == 0) {
        n->floor.since_ms = now > 0 ? now : 1;
        n->floor.rank = rank(n);
    }
    if (now < due_ms(n))
        return;
    n->floor.asked = submit(n, INTENT_PROPOSE, proposed);
    if (!n->floor.asked)
        n->floor.retry_ms = now + FLOOR_RETRY_MS;
}

static void tick_prune(struct node *n, uint64_t now)
{
    if (!n->ready || !n->floor.prune_due || n->floor.pruning)
        return;
    if (n->floor.prune_ms == 0)
        n->floor.prune_ms = now + n->floor.keep_ms;
    if (now < n->floor.prune_ms)
        return;
    n->floor.pruning = submit(n, INTENT_PRUNE, pruned);
    if (!n->floor.pruning)
        n->floor.prune_ms = now + FLOOR_RETRY_MS;
}

void proposals_tick(struct node *n, uint64_t now)
{
    tick_proposal(n, now);
    tick_prune(n, now);
}

static uint64_t proposal_deadline(const struct node *n)
{
    uint64_t now = node_now(n);
    uint64_t wall = node_wall(n);
    uint64_t wait;

    if (!may_propose(n))
        return UINT64_MAX;
    if (has_something(n))
        return n->floor.since_ms != 0 ? due_ms(n) : now;
    if (n->floor.collect_wall_ms == UINT64_MAX)
        return UINT64_MAX;
    wait = n->floor.collect_wall_ms - wall;
    return now + (wait < FLOOR_LOOK_MS ? wait : FLOOR_LOOK_MS);
}

uint64_t proposals_deadline(const struct node *n)
{
    uint64_t due = proposal_deadline(n);
    uint64_t prune = UINT64_MAX;

    if (n->ready && n->floor.prune_due && !n->floor.pruning)
        prune = n->floor.prune_ms != 0 ? n->floor.prune_ms : node_now(n);
    return due < prune ? due : prune;
}

void proposals_take(struct node *n, struct commit_result *r)
{
    for (size_t i = 0; i < r->events_count; i++)
        n->floor.bytes += r->events[i].bytes.size;
    if (r->floor_moved) {
        CM_MARK("floor: the loop heard of it");
        n->floor.bytes = 0;
        n->floor.moved_wall_ms = node_wall(n);
        n->status.floors++;
    }
    n->floor.above = r->above_floor;
    n->floor.collect_wall_ms = r->collect_wall_ms;
    n->floor.prune_due = r->prune_due;
}
