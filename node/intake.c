/* Intake: an event from a peer on its way to the writer.
 *
 * Known ones are dropped by name; the signature of the others is checked on the
 * verify lane, in order; what passes is relayed once if it was pushed, and
 * goes to the writer. Only a commit makes it count in digests. Events of
 * incarnations that are not in the roster yet go to the writer unverified: it
 * keeps them pending, bounded, and checks them when the roster knows them. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/event_peek.h"
#include "node/node_internal.h"

#define SLOTS (2 * INFLIGHT_MAX)
#define RELAYED_SLOTS (2 * RELAYED_MAX)

_Static_assert((SLOTS & (SLOTS - 1)) == 0, "a power of two");
_Static_assert((RELAYED_SLOTS & (RELAYED_SLOTS - 1)) == 0, "a power of two");

struct verification {
    struct work work;
    struct node *node;
    struct intent *intent;
    uint8_t public_key[32];
    struct dot dot;
    struct key_id from;
    bool relay;
    int error;
};

int intake_init(struct node *n)
{
    n->inflight = cm_calloc(SLOTS, sizeof *n->inflight);
    n->relayed = cm_calloc(RELAYED_MAX, sizeof *n->relayed);
    n->relayed_set = cm_calloc(RELAYED_SLOTS, sizeof *n->relayed_set);
    if (n->inflight == NULL || n->relayed == NULL || n->relayed_set == NULL)
        return CM_ERR_NOMEM;
    return 0;
}

void intake_release(struct node *n)
{
    cm_free(n->inflight);
    cm_free(n->relayed);
    cm_free(n->relayed_set);
}

/* Incarnations are random, so their bytes are the hash. */
static size_t slot_of(const struct dot *d, size_t slots)
{
    uint64_t mixed = get_be64(d->incarnation.bytes) ^
                     (d->seq * UINT64_C(0x9e3779b97f4a7c15));

    return (size_t)(mixed >> 20) & (slots - 1);
}

static size_t inflight_slot(const struct node *n, const struct dot *dot)
{
    size_t i = slot_of(dot, SLOTS);

    while (n->inflight[i].dot.seq != 0 && !dot_equal(&n->inflight[i].dot, dot))
        i = (i + 1) & (SLOTS - 1);
    return i;
}

static bool inflight_has(const struct node *n, const struct dot *dot)
{
    return n->inflight[inflight_slot(n, dot)].dot.seq != 0;
}

static void inflight_add(struct node *n, const struct dot *dot, size_t size)
{
    CHECK(n->inflight_count < INFLIGHT_MAX);
    n->inflight[inflight_slot(n, dot)].dot = *dot;
    n->inflight_count++;
    n->inflight_bytes += size;
}

void intake_forget(struct node *n, const struct dot *dot, size_t size)
{
    size_t hole = inflight_slot(n, dot);
    size_t i = hole;

    if (n->inflight[hole].dot.seq == 0)
        return;
    CHECK(n->inflight_count > 0 && n->inflight_bytes >= size);
    n->inflight_count--;
    n->inflight_bytes -= size;
    n->inflight[hole].dot.seq = 0;
    /* Close the gap of linear probing. */
    for (;;) {
        size_t home;

        i = (i + 1) & (SLOTS - 1);
        if (n->inflight[i].dot.seq == 0)
            break;
        home = slot_of(&n->inflight[i].dot, SLOTS);
        if (((i - home) & (SLOTS - 1)) < ((i - hole) & (SLOTS - 1)))
            continue;
        n->inflight[hole] = n->inflight[i];
        n->inflight[i].dot.seq = 0;
        hole = i;
    }
    if (n->inflight_bytes < INFLIGHT_PAUSE_BYTES / 2 &&
        n->inflight_count < INFLIGHT_MAX / 4)
        link_resume_reading(n);
}

bool intake_is_full(const struct node *n)
{
    return n->inflight_bytes >= INFLIGHT_PAUSE_BYTES ||
           n->inflight_count >= INFLIGHT_MAX / 2;
}

/* ---- relayed once ---- */

static size_t relayed_slot(const struct node *n, const struct dot *dot)
{
    size_t i = slot_of(dot, RELAYED_SLOTS);

    while (n->relayed_set[i] != 0 &&
           !dot_equal(&n->relayed[n->relayed_set[i] - 1], dot))
        i = (i + 1) & (RELAYED_SLOTS - 1);
    return i;
}

static void relayed_remove(struct node *n, const struct dot *dot)
{
    size_t hole = relayed_slot(n, dot);
    size_t i = hole;

    n->relayed_set[hole] = 0;
    for (;;) {
        size_t home;

        i = (i + 1) & (RELAYED_SLOTS - 1);
        if (n->relayed_set[i] == 0)
            return;
        home = slot_of(&n->relayed[n->relayed_set[i] - 1], RELAYED_SLOTS);
        if (((i - home) & (RELAYED_SLOTS - 1)) <
            ((i - hole) & (RELAYED_SLOTS - 1)))
            continue;
        n->relayed_set[hole] = n->relayed_set[i];
        n->relayed_set[i] = 0;
        hole = i;
    }
}

/* True the first time. */
static bool relayed_first(struct node *n, const struct dot *dot)
{
    struct dot *place = &n->relayed[n->relayed_next];

    if (n->relayed_set[relayed_slot(n, dot)] != 0)
        return false;
    if (place->seq != 0)
        relayed_remove(n, place);
    *place = *dot;
    n->relayed_set[relayed_slot(n, dot)] = (uint32_t)n->relayed_next + 1;
    n->relayed_next = (n->relayed_next + 1) % RELAYED_MAX;
    return true;
}

/* ---- verify, relay, submit ---- */

/* What does not even get to the writer. */
static void refuse(struct node *n, int error, const struct key_id *from)
{
    refusals_count(&n->status.refused,
                   error == CM_ERR_LIMIT ? REFUSAL_EVENT_TOO_LONG
                                         : refusal_of_event(error),
                   from->bytes, node_wall(n));
}

static void foreign_done(void *context, struct intent *i)
{
    struct node *n = context;
    struct event_peek peek;

    /* By its own name: a batch that failed leaves none in the intent. */
    CHECK(event_peek(&peek, i->event) == 0); /* it passed on its way in */
    intake_forget(n, &peek.dot, i->event.size);
    if (i->result == CM_ERR_SIGNATURE || i->result == CM_ERR_AUTHORITY ||
        i->result == CM_ERR_WRONG_MESH ||
        i->result == CM_ERR_WRONG_GENERATION || i->result == CM_ERR_MALFORMED ||
        i->result == CM_ERR_NONCANONICAL)
        node_log(n, 'W', "an event was refused: %s %s", cm_strerror(i->result),
                 i->detail.text);
    intent_free(i);
}

static void submit_foreign(struct node *n, struct intent *i,
                           const struct dot *dot)
{
    i->done = foreign_done;
    i->context = n;
    if (n->ports.writer->submit(n->ports.ctx, i) != 0) {
        /* Dropped, not lost: digests differ, repair fetches it again. */
        intake_forget(n, dot, i->event.size);
        intent_free(i);
    }
}

static bool verification_step(struct work *w)
{
    struct verification *v = (struct verification *)w;
    struct event e;

    v->error = event_decode(&e, v->intent->event);
    if (v->error == 0) {
        v->error = event_verify(&e, v->public_key);
        event_release(&e);
    }
    return false;
}

static void verification_done(struct work *w)
{
    struct verification *v = (struct verification *)w;
    struct node *n = v->node;

    if (v->error != 0) {
        refuse(n, v->error, &v->from);
        node_log(n, 'W', "an event was refused: %s", cm_strerror(v->error));
        intake_forget(n, &v->dot, v->intent->event.size);
        intent_free(v->intent);
    } else {
        v->intent->verified = true;
        if (v->relay && n->gossip != NULL && relayed_first(n, &v->dot))
            (void)gossip_push(n->gossip, node_now(n), v->intent->event,
                              &v->from);
        submit_foreign(n, v->intent, &v->dot);
    }
    cm_free(v);
}

static void verify(struct node *n, struct intent *i, const struct dot *dot,
                   const struct roster_member *origin,
                   const struct key_id *from, bool relay)
{
    struct verification *v = cm_calloc(1, sizeof *v);

    if (v == NULL) {
        intake_forget(n, dot, i->event.size);
        intent_free(i);
        return;
    }
    v->work.step = verification_step;
    v->work.done = verification_done;
    v->work.lane = WORK_LANE_VERIFY;
    v->node = n;
    v->intent = i;
    v->dot = *dot;
    v->from = *from;
    v->relay = relay;
    memcpy(v->public_key, origin->certificate.sign_key, 32);
    n->ports.work->submit(n->ports.ctx, &v->work);
}

/* Another event under the name of an incarnation's newest: the writer is to see
 * whether it is signed, and raises the alarm. Below the newest, vectors with
 * heads have told already. */
static bool is_reused(const struct node *n, const struct event_peek *peek)
{
    const struct vv_entry *head = vv_find(&n->vv, &peek->dot.incarnation);
    struct hash hash;

    if (head == NULL || head->seq != peek->dot.seq)
        return false;
    hash = event_hash_of_header(peek->header);
    return !hash_equal(&hash, &head->head);
}

static bool is_wanted(struct node *n, const struct event_peek *peek,
                      size_t size, const struct key_id *from, bool pushed)
{
    bool own = incarnation_equal(&peek->dot.incarnation, &n->incarnation);

    if (!mesh_id_equal(&peek->mesh, &n->mesh)) {
        refuse(n, CM_ERR_WRONG_MESH, from);
        return false;
    }
    if (!generation_id_equal(&peek->generation, &n->generation)) {
        refuse(n, CM_ERR_WRONG_GENERATION, from);
        return false;
    }
    /* Names of one's own that are pushed come back only as duplicates; what
     * lies beyond, or comes as the proof of a fork, is for the writer, which
     * raises the alarm. */
    return (!vv_covers(&n->vv, &peek->dot) || (own && !pushed) ||
            is_reused(n, peek)) &&
           !inflight_has(n, &peek->dot) && n->inflight_count < INFLIGHT_MAX &&
           n->inflight_bytes + size <= INFLIGHT_BYTES_MAX;
}

void intake_event(struct node *n, struct slice bytes, const struct key_id *from,
                  bool relay)
{
    const struct roster_member *origin;
    struct event_peek peek;
    struct intent *i;
    int error;

    if (!n->ready)
        return;
    error = event_peek(&peek, bytes);
    if (error != 0) {
        refuse(n, error, from);
        return;
    }
    if (!is_wanted(n, &peek, bytes.size, from, relay))
        return;
    i = intent_new(INTENT_FOREIGN);
    if (i == NULL || intent_set_event(i, bytes) != 0) {
        intent_free(i);
        return;
    }
    memcpy(i->from, from->bytes, sizeof i->from);
    inflight_add(n, &peek.dot, bytes.size);
    origin = n->roster != NULL ? roster_find(n->roster, &peek.dot.incarnation)
                               : NULL;
    if (origin != NULL)
        verify(n, i, &peek.dot, origin, from, relay);
    else
        submit_foreign(n, i, &peek.dot);
}
