/* Events of other nodes: admitted, applied, or kept pending.
 *
 * "Applicable when seq = VV+1, the previous hash matches and every dep <= VV;
 * until then pending, bounded." The dots that an operation supersedes count as
 * dependencies too: an honest origin has seen them, and an operation applied
 * before what it names would leave a sibling standing here that it removes
 * elsewhere.
 *
 * "A well-formed, signed event without authority applies as void: the VV
 * advances." Whether it is void depends on nothing but the event, the
 * certificate of its incarnation, the generation and, for the mesh's own
 * operations, what crdt/standing.h makes of the events before it, so that
 * replicas with equal vectors agree. In particular a roster-add of an
 * incarnation that was added already is no void: two concurrent adds reach
 * replicas in either order. Both stay as siblings, the older one counts
 * (roster.h). */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/writer_internal.h"

/* An event on its way in; everything borrowed. */
struct arrival {
    const struct event *event;
    struct slice bytes;
    struct hash hash;
    bool verified;
    bool announced;   /* a fence: what it covers is known */
    enum refusal why; /* it waits, or counts for nothing; REFUSAL_NONE: what
                         its code says */
    const uint8_t *from;
    struct cm_detail *detail;
};

/* Verified with the key that its incarnation was certified for. */
static int verify(const struct writer *w, struct arrival *a)
{
    const struct incarnation *i = &a->event->dot.incarnation;
    const struct roster_member *member = roster_find(w->roster, i);
    const uint8_t *key = NULL;

    if (a->verified)
        return 0;
    if (member != NULL)
        key = member->certificate.sign_key;
    else if (incarnation_equal(i, &w->self))
        key = w->secret_key + 32; /* libsodium keeps the public key there */
    if (key == NULL)
        return CM_ERR_PENDING;
    if (event_verify(a->event, key) != 0)
        return cm_fail(a->detail, CM_ERR_SIGNATURE,
                       "event is not signed by the key of its incarnation");
    a->verified = true;
    return 0;
}

static int alarm_fork(struct writer *w, struct arrival *a)
{
    char text[DOT_TEXT_SIZE];
    int error = verify(w, a);

    if (error != 0)
        return error == CM_ERR_PENDING ? CM_ERR_SIGNATURE : error;
    w->fork = true;
    dot_format(text, &a->event->dot);
    return cm_fail(a->detail, CM_ERR_FORK,
                   "two signed events bear the name %s: its node was cloned "
                   "or rolled back; evict that incarnation",
                   text);
}

/* "Any peer's event of mine above my own seq re-mints": the new incarnation
 * comes with returning; until then local writes stop, because a dot used twice
 * cannot be taken back. */
static int alarm_hazard(struct batch *b, struct arrival *a)
{
    int error = verify(b->w, a);

    if (error != 0)
        return error;
    b->hazard_found = true;
    b->w->hazard = true;
    return cm_fail(a->detail, CM_ERR_FORK,
                   "a peer holds event %llu of this node, which has only %llu: "
                   "its directory was rolled back or cloned",
                   (unsigned long long)a->event->dot.seq,
                   (unsigned long long)vv_seq(&b->w->vv, &b->w->self));
}

/* The event that is stored under the arrival's name. CM_ERR_NOT_FOUND when its
 * bytes are not held. */
static int stored_hash(struct batch *b, const struct dot *dot,
                       struct hash *ret_hash)
{
    const struct vv_entry *head = vv_find(&b->w->vv, &dot->incarnation);
    struct event e;
    struct slice bytes;
    int error;

    CHECK(head != NULL && dot->seq <= head->seq);
    if (dot->seq == head->seq) {
        *ret_hash = head->head;
        return 0;
    }
    error = store_txn_event(&b->txn, dot, &bytes);
    if (error == 0)
        error = event_decode(&e, bytes);
    if (error != 0)
        return error;
    *ret_hash = event_hash(&e);
    event_release(&e);
    return 0;
}

static int judge_covered(struct batch *b, struct arrival *a)
{
    struct hash stored;
    int error = stored_hash(b, &a->event->dot, &stored);

    if (error == CM_ERR_NOT_FOUND)
        return CM_ERR_DUPLICATE;
    if (error != 0)
        return error;
    CM_MARK("event: came twice");
    if (hash_equal(&stored, &a->hash))
        return CM_ERR_DUPLICATE;
    if (incarnation_equal(&a->event->dot.incarnation, &b->w->self)) {
        error = alarm_hazard(b, a);
        if (error != CM_ERR_FORK)
            return error;
    }
    return alarm_fork(b->w, a);
}

static int check_origin(const struct writer *w, const struct arrival *a)
{
    const struct event *e = a->event;
    const struct vv_entry *seal =
        vv_find(&w->order.sealed, &e->dot.incarnation);

    if (!mesh_id_equal(&e->mesh, &w->mesh))
        return cm_fail(a->detail, CM_ERR_WRONG_MESH,
                       "event belongs to another mesh");
    if (!generation_id_equal(&e->generation, &w->generation))
        return cm_fail(a->detail, CM_ERR_WRONG_GENERATION,
                       "event belongs to generation %llu, this node to %llu",
                       (unsigned long long)e->generation.number,
                       (unsigned long long)w->generation.number);
    if (seal != NULL && e->dot.seq > seal->seq)
        return cm_fail(a->detail, CM_ERR_WRONG_GENERATION,
                       "event lies beyond its incarnation's seal at %llu",
                       (unsigned long long)seal->seq);
    return 0;
}

static bool dependencies_held(const struct writer *w, const struct event *e)
{
    for (size_t i = 0; i < e->deps_count; i++) {
        if (!vv_covers(&w->vv, &e->deps[i]))
            return false;
    }
    for (size_t i = 0; i < e->ops_count; i++) {
        for (size_t j = 0; j < e->ops[i].supersedes_count; j++) {
            if (!vv_covers(&w->vv, &e->ops[i].supersedes[j]))
                return false;
        }
    }
    return true;
}

/* Ahead of the local clock and of the median of all: such a stamp must not
 * enter this node's clock. One that no clock can mean never does. */
static bool is_held(const struct batch *b, hlc_t hlc)
{
    const struct writer *w = b->w;
    uint64_t wall_ms = hlc_wall_ms(hlc);
    uint64_t bound = b->wall_ms + CLOCK_DRIFT_MAX_MS;

    if (wall_ms > WRITER_WALL_MS_MAX)
        return true;
    if (w->clock_offset_ms > 0)
        bound += (uint64_t)w->clock_offset_ms;
    return wall_ms > bound;
}

/* "From its first fence on, its writer applies an evictee's event only if a
 * fence by another incarnation that stays covers it": one that is here, but
 * cannot have been applied. */
static int judge_standing(struct batch *b, struct arrival *a)
{
    struct writer *w = b->w;
    const struct event *e = a->event;

    switch (standing_judge(w->standing, &w->self, &e->dot, &a->hash)) {
    case STANDING_APPLY:
        return 0;
    case STANDING_UNKNOWN:
        CM_MARK("event: of an incarnation not rostered here yet");
        a->verified = false; /* no key to have verified it with */
        a->why = REFUSAL_EVENT_STRANGER;
        return CM_ERR_PENDING;
    case STANDING_BEYOND:
        CM_MARK("event: beyond its incarnation's seal");
        return cm_fail(a->detail, CM_ERR_SEALED,
                       "event lies beyond the seal of its incarnation, which "
                       "was evicted");
    case STANDING_WAIT:
        break;
    }
    CM_MARK("event: of an evictee, waits for a fence that covers it");
    a->why = REFUSAL_EVENT_EVICTEE;
    return cm_fail(a->detail, CM_ERR_PENDING,
                   "its incarnation is being evicted: it applies if a member "
                   "that stays has it");
}

static int wait_for(struct arrival *a, enum refusal why)
{
    a->why = why;
    return CM_ERR_PENDING;
}

/* Whether its turn has come. "A new operation type may be written only when
 * every rostered incarnation has announced that it knows it": so one that is
 * unknown here is one that is not allowed yet. Passing over it would give this
 * replica another state than those that know it have at the same vector; it
 * waits, here as there (writer_level.c), and with it what its writer wrote
 * since, until every program knows it or the writer is evicted. */
static int judge_turn(struct batch *b, struct arrival *a)
{
    const struct event *e = a->event;

    if (e->has_unknown_op || e->level > b->w->level) {
        CM_MARK("event: of a later format, waits");
        (void)wait_for(a, REFUSAL_EVENT_OPERATION);
        return cm_fail(a->detail, CM_ERR_PENDING,
                       "it holds an operation that this program does not know");
    }
    if (!level_judge(b->w, e)) {
        (void)wait_for(a, REFUSAL_EVENT_EARLY);
        return cm_fail(a->detail, CM_ERR_PENDING,
                       "it holds an operation that not every member knows yet");
    }
    return dependencies_held(b->w, e) && control_ready(b->w, e)
               ? 0
               : wait_for(a, REFUSAL_EVENT_DEPENDENCY);
}

/* 0: to be applied now. */
static int judge(struct batch *b, struct arrival *a)
{
    struct writer *w = b->w;
    const struct event *e = a->event;
    const struct vv_entry *head;
    int error = check_origin(w, a);

    if (error != 0)
        return error;
    head = vv_find(&w->vv, &e->dot.incarnation);
    if (head != NULL && e->dot.seq <= head->seq)
        return judge_covered(b, a);
    if (incarnation_equal(&e->dot.incarnation, &w->self))
        return alarm_hazard(b, a);
    error = judge_standing(b, a);
    if (error == CM_ERR_SEALED ||
        roster_find(w->roster, &e->dot.incarnation) == NULL)
        return error != 0 ? error : wait_for(a, REFUSAL_EVENT_STRANGER);
    int standing = error;

    error = verify(w, a);
    if (error != 0)
        return error;
    if (control_is_fence(e) && !a->announced) {
        error = control_announce(b, e);
        a->announced = error == 0;
        if (error != 0)
            return cm_fail(a->detail, error,
                           "the fence carries another order than the one that "
                           "this node keeps to");
    }
    if (standing != 0)
        return standing;
    /* A replica that has no state yet adopts one whole, by a cut; what a cut
     * brings that is being compared with the state waits for it. */
    if (!b->ready || vv_covers(&w->adopting, &e->dot))
        return wait_for(a, REFUSAL_EVENT_CUT);
    if (e->dot.seq > (head != NULL ? head->seq : 0) + 1)
        return wait_for(a, REFUSAL_EVENT_GAP);
    if (head != NULL && !hash_equal(&e->previous, &head->head))
        return alarm_fork(w, a);
    if (is_held(b, e->hlc))
        return cm_fail(a->detail, CM_ERR_HELD,
                       "event is dated %lld ms ahead of this node's clock: it "
                       "waits; set the clock of its origin, or this one",
                       (long long)(hlc_wall_ms(e->hlc) - b->wall_ms));
    return judge_turn(b, a);
}

/* ---- authority ---- */

/* Why the event is void, NULL if it counts. An error: it has to wait. */
static int find_void(struct batch *b, const struct event *e,
                     const char **ret_reason, enum refusal *ret_why)
{
    const struct roster_member *member =
        roster_find(b->w->roster, &e->dot.incarnation);
    bool alone = e->ops_count == 1;
    int error = 0;

    CHECK(member != NULL);
    CHECK(!e->has_unknown_op);
    *ret_reason = NULL;
    *ret_why = REFUSAL_EVENT_AUTHORITY;
    for (size_t i = 0; i < e->ops_count && *ret_reason == NULL && error == 0;
         i++) {
        const struct op *op = &e->ops[i];
        struct entry_id id = op_entry_id(op);

        if (op->kind >= OP_ROSTER_ADD) {
            *ret_why = REFUSAL_EVENT_RULE;
            error = control_counts(b, &member->certificate, op, &e->dot, alone,
                                   ret_reason);
        } else if (!certificate_may_write(&member->certificate, &id)) {
            *ret_why = REFUSAL_EVENT_AUTHORITY;
            *ret_reason = "its writer's certificate does not permit it";
        }
    }
    return error;
}

/* ---- applying ---- */

/* A damaged record is found before anything of the event is applied, so that
 * the event alone waits and not the whole batch fails. */
static int check_entries(struct batch *b, const struct event *e)
{
    for (size_t i = 0; i < e->ops_count; i++) {
        struct entry_id id = op_entry_id(&e->ops[i]);
        int error = store_txn_entry(&b->txn, &id, &b->w->entry, NULL);

        if (error != 0 && error != CM_ERR_NOT_FOUND)
            return error;
    }
    return 0;
}

static int apply_ops(struct batch *b, const struct event *e)
{
    int error = state_event_begin(b, &e->dot);

    for (size_t i = 0; i < e->ops_count && error == 0; i++) {
        struct entry_id id = op_entry_id(&e->ops[i]);
        struct entry_local local = {0};

        error = store_txn_entry(&b->txn, &id, &b->w->entry, &local);
        if (error == 0 || error == CM_ERR_NOT_FOUND)
            error = state_apply(b, &e->ops[i], &e->dot, e->hlc, &b->w->entry,
                                &local);
    }
    return error;
}

/* ret_fatal: the batch cannot go on. */
static int apply(struct batch *b, struct arrival *a, bool *ret_fatal)
{
    const struct event *e = a->event;
    const char *void_reason = NULL;
    enum refusal why = REFUSAL_NONE;
    int error = find_void(b, e, &void_reason, &why);

    *ret_fatal = false;
    if (error != 0)
        return cm_fail(a->detail, error, "the fence has to wait: %s",
                       cm_strerror(error));
    if (void_reason == NULL)
        error = check_entries(b, e);
    if (error != 0)
        return cm_fail(a->detail, error,
                       "a stored record that the event changes: %s",
                       cm_strerror(error));
    *ret_fatal = true;
    b->changed = true;
    if (void_reason != NULL) {
        (void)cm_fail(a->detail, 0, "applied as void: %s", void_reason);
        a->why = why;
    } else {
        error = apply_ops(b, e);
    }
    if (error == 0)
        error = state_event_end(b, &e->dot, e->hlc, &a->hash, a->bytes, false,
                                a->from);
    if (error == 0)
        *ret_fatal = false;
    return error;
}

static enum refusal why_of(const struct arrival *a, int error)
{
    return a->why != REFUSAL_NONE ? a->why : refusal_of_event(error);
}

static void count(struct batch *b, const struct arrival *a, enum refusal why)
{
    refusals_count(&b->result->refused, why, a->from, b->wall_ms);
}

/* Returns why it waits, or why it cannot. */
static int keep_pending(struct batch *b, const struct arrival *a, int why)
{
    hlc_t held = why == CM_ERR_HELD ? a->event->hlc : 0;
    int error = pending_add(&b->w->pending, &a->event->dot, &a->hash, a->bytes,
                            a->verified, held, a->from);

    if (error == 0) {
        struct pending_event *kept =
            pending_find(&b->w->pending, &a->event->dot, &a->hash);

        CM_MARK("event: kept pending");
        CHECK(kept != NULL);
        if (control_is_fence(a->event))
            pending_mark_fence(&b->w->pending, kept);
        kept->announced = a->announced;
        kept->why = (uint8_t)why_of(a, why);
        CM_MARK_IF(held != 0, "event: held, dated ahead of the clocks");
    }
    if (error == 0)
        count(b, a, why_of(a, why));
    if (error == CM_ERR_LIMIT) {
        count(b, a, REFUSAL_EVENT_CROWDED);
        return cm_fail(a->detail, CM_ERR_LIMIT,
                       "too many events wait for others; it will be fetched "
                       "again");
    }
    return error == CM_ERR_NOMEM ? error : why;
}

static bool must_wait(int error)
{
    return error == CM_ERR_PENDING || error == CM_ERR_HELD ||
           error == CM_ERR_EVICTION_CONFLICT;
}

int foreign_intent(struct batch *b, struct intent *intent)
{
    struct event e;
    struct arrival a = {
        .event = &e,
        .bytes = intent->event,
        .verified = intent->verified,
        .why = REFUSAL_NONE,
        .from = intent->from,
        .detail = &intent->detail,
    };
    bool fatal = false;
    int error = event_decode(&e, intent->event);

    if (error != 0) {
        count(b, &a,
              error == CM_ERR_LIMIT ? REFUSAL_EVENT_TOO_LONG
                                    : refusal_of_event(error));
        intent->result =
            cm_fail(&intent->detail, error, "event: %s", cm_strerror(error));
        return 0;
    }
    a.hash = event_hash(&e);
    error = judge(b, &a);
    if (error == 0) {
        error = apply(b, &a, &fatal);
        if (error == CM_ERR_DAMAGED && !fatal)
            (void)keep_pending(b, &a, error);
    }
    if (!fatal && must_wait(error))
        error = keep_pending(b, &a, error);
    else if (!fatal && error != CM_ERR_DAMAGED)
        count(b, &a, why_of(&a, error)); /* refused, or void */
    intent->result = error;
    intent->dot = e.dot;
    intent->wrote = error == 0;
    intent->revision = b->revision;
    event_release(&e);
    return fatal ? error : 0;
}

/* ---- draining ---- */

static int drain_one(struct batch *b, struct pending_event *p)
{
    struct slice bytes = slice_of(p->bytes, p->size);
    struct event e;
    struct arrival a = {
        .event = &e,
        .bytes = bytes,
        .hash = p->hash,
        .verified = p->verified,
        .announced = p->announced,
        .why = REFUSAL_NONE,
        .from = p->from,
    };
    bool fatal = false;
    int error = event_decode(&e, bytes);

    if (error == CM_ERR_NOMEM)
        return 0;      /* another time */
    CHECK(error == 0); /* it decoded when it came */
    error = judge(b, &a);
    if (a.verified)
        pending_mark_verified(&b->w->pending, p);
    p->held = error == CM_ERR_HELD ? e.hlc : 0;
    p->announced = a.announced;
    if (error == 0)
        error = apply(b, &a, &fatal);
    event_release(&e);
    if (fatal)
        return error;
    if (!must_wait(error) && error != CM_ERR_DAMAGED && error != CM_ERR_NOMEM)
        pending_mark_done(&b->w->pending, p); /* or refused for good */
    if (p->done)
        count(b, &a, why_of(&a, error));
    else
        p->why = (uint8_t)why_of(&a, error);
    p->applied = error == 0 || error == CM_ERR_DUPLICATE;
    CM_MARK_IF(error == 0, "pending: drained");
    return 0;
}

/* Every event that can be applied in one walk over the origins: of each the
 * ones up to seq = VV+1, again and again. */
static int drain_pass(struct batch *b)
{
    struct pending *p = &b->w->pending;
    int error = 0;

    for (size_t i = 0; i < p->count && error == 0;) {
        struct pending_event *e = p->events[i];

        if (e->dot.seq > vv_seq(&b->w->vv, &e->dot.incarnation) + 1) {
            i = pending_next_origin(p, i);
            continue;
        }
        if (!e->done)
            error = drain_one(b, e);
        i++;
    }
    return error;
}

static int announce_one(struct batch *b, struct pending_event *p)
{
    struct event e;
    struct arrival a = {.event = &e, .verified = p->verified};
    int error = event_decode(&e, slice_of(p->bytes, p->size));

    if (error != 0)
        return 0; /* short of memory: another time */
    error = verify(b->w, &a);
    if (error == 0) {
        pending_mark_verified(&b->w->pending, p);
        p->announced = control_announce(b, &e) == 0;
    } else if (error == CM_ERR_SIGNATURE) {
        pending_mark_done(&b->w->pending, p);
        a.from = p->from;
        count(b, &a, REFUSAL_EVENT_SIGNATURE);
        error = 0;
    }
    event_release(&e);
    return error == CM_ERR_NOMEM ? error : 0;
}

/* A fence is known as soon as it is verified, however long its turn may be
 * away: what it covers may be just what its turn waits for. */
static int announce_pending(struct batch *b)
{
    struct pending *p = &b->w->pending;
    int error = 0;

    for (size_t i = 0; i < p->count && p->fences > 0 && error == 0; i++) {
        struct pending_event *kept = p->events[i];

        if (!kept->fence || kept->announced || kept->done ||
            roster_find(b->w->roster, &kept->dot.incarnation) == NULL)
            continue;
        error = announce_one(b, kept);
    }
    return error;
}

int foreign_drain(struct batch *b)
{
    int error = announce_pending(b);

    /* A pass asks for another only if it applied an event: this ends. */
    while (b->drain && error == 0) {
        b->drain = false;
        error = drain_pass(b);
    }
    return error;
}
