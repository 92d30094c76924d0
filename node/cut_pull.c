/* Catch-up by a cut: when a peer covers events whose bytes nobody who was asked
 * holds any more ("peer lacks anything whose bytes I do not hold, for whatever
 * reason: a whole cut").
 *
 *   ASK      a link to the peer is being made, or made again
 *   RECEIVE  messages come; a broken link goes back to ASK and resumes
 *   WAIT     it is here and verified, but may not be adopted yet: its clock is
 *            ahead, or it would delete much and nobody has confirmed it
 *   ANNOUNCE the writer is told which events to leave to the cut
 *   COMPARE  a worker spools the difference to the local state
 *   STAGE    it is large: the state as it will be is written beside this one
 *   APPLY    the writer joins it, in one transaction
 *
 * One at a time. Whatever fails for good lets everything go: the next probe
 * that differs begins again. */
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"
#include "node/standing_read.h"

#define RETRY_MS 500
#define ATTEMPTS_MAX 6 /* of links, without a message between them */
/* With a part of it here: the source keeps its spool for minutes. */
#define RESUMES_MAX 10
#define RESUME_SHIFT_MAX 5 /* 500 ms, doubled so often: 16 s */
#define WAIT_EVERY_MS 500  /* looks at what a cut waits for */
#define WAIT_MS_MAX 600000 /* for a confirmation; then another is asked */
#define OTHER_MS 10000     /* then another member's cut is looked at */
#define OTHER_MS_MAX 300000
#define MISSING_FORGET_MS 60000
#define CALM_MS 5000 /* after one that failed */

static const char *const phase_names[] = {
    "",        "asking",    "receiving", "waiting",
    "waiting", "comparing", "applying",  "staging",
};

const char *cut_pull_phase_name(const struct cut_pull *p)
{
    return phase_names[p->phase];
}

static void forget_cut(struct cut_pull *p)
{
    cut_receiver_free(p->receiver);
    p->receiver = NULL;
    if (p->comparing)
        return; /* the worker's still: freed when it is done */
    cut_diff_free(p->diff);
    p->diff = NULL;
    snapshot_sink_free(p->sink);
    p->sink = NULL;
}

void cut_pull_forget(struct node *n)
{
    forget_cut(&n->cuts.pull);
}

static void forget_vouched(struct cut_pull *p)
{
    p->vouched_by = (struct key_id){{0}};
    p->other_backoff_ms = 0;
}

static struct link *link_of(struct node *n)
{
    struct link *l;

    for (l = n->links; l != NULL; l = l->next)
        if (l->pulls)
            return l;
    return NULL;
}

static void withdraw_done(void *context, struct intent *i)
{
    (void)context;
    intent_free(i);
}

/* What waited in the writer for this cut, waits no longer. */
static void withdraw(struct node *n)
{
    struct intent *i;

    if (!n->cuts.pull.announced)
        return;
    i = intent_new(INTENT_ADOPTING);
    if (i == NULL)
        return; /* tried again at the next tick */
    i->done = withdraw_done;
    if (n->ports.writer->submit(n->ports.ctx, i) == 0)
        n->cuts.pull.announced = false;
    else
        intent_free(i);
}

static void end(struct node *n)
{
    struct cut_pull *p = &n->cuts.pull;
    struct link *l = link_of(n);

    if (l != NULL)
        l->pulls = false;
    withdraw(n);
    forget_cut(p);
    p->phase = PULL_NONE;
    p->replaces = false;
    p->waits[0] = '\0';
    p->missing_count = 0;
    p->calm_ms = node_now(n) + CALM_MS;
}

static void count_refusal(struct node *n, int error)
{
    struct cut_counters *c = &n->cuts.counters;

    switch (error) {
    case CM_ERR_WRONG_GENERATION:
    case CM_ERR_WRONG_MESH:
    case CM_ERR_AUTHORITY:
        c->refused_generation++;
        break;
    case CM_ERR_SEALED:
        c->refused_sealed++;
        break;
    case CM_ERR_FORK:
        c->refused_fork++;
        break;
    case CM_ERR_EVICTION_CONFLICT:
        c->refused_order++;
        break;
    case CM_ERR_PENDING:
        c->refused_fence++;
        break;
    case CM_ERR_DAMAGED:
    case CM_ERR_MALFORMED:
    case CM_ERR_NONCANONICAL:
    case CM_ERR_SIGNATURE:
    case CM_ERR_TOO_LARGE:
    case CM_ERR_FORMAT_VERSION:
        c->refused_damaged++;
        break;
    default:
        c->failed++;
    }
}

void cut_refused(struct node *n, int error, const char *text)
{
    count_refusal(n, error);
    (void)snprintf(n->cuts.last_refusal, sizeof n->cuts.last_refusal, "%s: %s",
                   cm_strerror(error), text);
    n->cuts.last_refused_ms = node_wall(n);
    node_log(n, 'W', "cut: refused: %s", n->cuts.last_refusal);
}

static void fail(struct node *n, int error, const char *text)
{
    cut_refused(n, error, text);
    if (error == CM_ERR_FORK)
        node_alarm_fork(n);
    end(n);
}

bool cut_pull_busy(const struct node *n)
{
    return n->cuts.pull.phase != PULL_NONE || n->cuts.pull.comparing;
}

/* ---- getting it ---- */

void cut_pull_begin(struct node *n, const struct key_id *peer,
                    const struct address *address)
{
    struct cut_pull *p = &n->cuts.pull;

    if (p->phase != PULL_NONE || p->comparing || !n->ready || n->merging)
        return;
    p->peer = *peer;
    p->address = *address;
    p->phase = PULL_ASK;
    p->operator_agrees = false;
    p->unstaged = false;
    p->attempts = 0;
    p->messages_before = 0;
    p->retry_ms = node_now(n);
    CM_MARK("cut: asked for");
    node_log(n, 'I',
             "cut: bytes of events are gone; asking a peer for its whole "
             "state");
}

void cut_pull_replace(struct node *n, const struct key_id *peer,
                      const struct address *address)
{
    struct cut_pull *p = &n->cuts.pull;

    if (p->phase != PULL_NONE || p->comparing)
        return; /* asked for again, if it is wanted still */
    cut_pull_begin(n, peer, address);
    p->replaces = p->phase != PULL_NONE;
}

static void received(struct node *n, int error, const struct cm_detail *detail)
{
    struct cut_pull *p = &n->cuts.pull;
    struct link *l = link_of(n);

    if (l != NULL)
        l->pulls = false;
    if (error != 0) {
        fail(n, error, detail->text);
        return;
    }
    p->sink = cut_receiver_sink(p->receiver);
    cut_receiver_free(p->receiver);
    p->receiver = NULL;
    p->phase = PULL_WAIT;
    p->wait_since_ms = node_now(n);
    p->retry_ms = node_now(n);
    p->checked = false;
    node_log(n, 'I', "cut: received whole and verified");
}

/* Later and later, when there is something to go on with. */
static uint64_t retry_after_ms(const struct cut_pull *p)
{
    unsigned shift =
        p->attempts < RESUME_SHIFT_MAX ? p->attempts : RESUME_SHIFT_MAX;

    return p->messages_before > 0 ? (uint64_t)RETRY_MS << shift : RETRY_MS;
}

static void ask(struct node *n)
{
    struct cut_pull *p = &n->cuts.pull;
    struct cm_detail detail = {""};
    struct buffer frame;
    uint64_t cut, messages;
    unsigned attempts_max;
    struct link *l;
    int error = 0;

    if (p->receiver == NULL)
        error = cut_receiver_create(&p->receiver, n, received, &detail);
    if (error != 0) {
        fail(n, error, detail.text);
        return;
    }
    cut_receiver_wants(p->receiver, &cut, &messages);
    if (messages > p->messages_before)
        p->attempts = 0;
    p->messages_before = messages;
    attempts_max = messages > 0 ? RESUMES_MAX : ATTEMPTS_MAX;
    l = p->attempts++ < attempts_max ? link_to(n, &p->peer, &p->address) : NULL;
    if (l == NULL) {
        fail(n, CM_ERR_TIMEOUT, "its source cannot be reached any more");
        return;
    }
    buffer_init(&frame, 256);
    frame_cut_ask(&frame, CUT_CATCH_UP, cut, messages);
    error = link_send(n, l, &frame);
    buffer_release(&frame);
    l->pulls = error == 0;
    p->phase = error == 0 ? PULL_RECEIVE : PULL_ASK;
    p->retry_ms = node_now(n) + RETRY_MS;
}

bool cut_pull_on_frame(struct node *n, struct link *l, const struct frame *f)
{
    struct cut_pull *p = &n->cuts.pull;
    int error;

    if (!l->pulls || p->phase != PULL_RECEIVE)
        return f->kind == FRAME_CUT || f->kind == FRAME_SNAPSHOT ||
               f->kind == FRAME_REFUSED; /* of one given up */
    if (f->kind == FRAME_REFUSED) {
        fail(n, f->code, f->text);
        return true;
    }
    if (f->kind != FRAME_CUT && f->kind != FRAME_SNAPSHOT)
        return false;
    error = cut_receiver_take(p->receiver, l, f);
    if (error == CM_ERR_MALFORMED || error == CM_ERR_TOO_LARGE)
        fail(n, error, "its messages do not follow on one another");
    else if (error != 0)
        l->closing = true; /* asked again */
    return true;
}

void cut_pull_link_gone(struct node *n, struct link *l)
{
    struct cut_pull *p = &n->cuts.pull;

    if (!l->pulls || p->phase != PULL_RECEIVE)
        return;
    CM_MARK("cut: the link broke");
    cut_receiver_link_gone(p->receiver);
    p->phase = PULL_ASK;
    p->retry_ms = node_now(n) + retry_after_ms(p);
}

/* ---- adopting it ---- */

static void applied(void *context, struct intent *i)
{
    struct node *n = context;
    struct cut_pull *p = &n->cuts.pull;

    if (i->result == 0) {
        p->announced = false;
        n->cuts.counters.adopted++;
        forget_vouched(p);
        CM_MARK("cut: joined");
        node_log(n, 'I', "cut: joined, %llu entries differed",
                 (unsigned long long)p->counts.entries);
        cut_note_adopted(n, &p->peer);
        end(n);
    } else if (i->result == CM_ERR_BUSY && p->counts.staged) {
        cut_stage_settle(n);
    } else if (i->result == CM_ERR_HELD) {
        withdraw(n); /* a clock was set back meanwhile */
        p->phase = PULL_WAIT;
        p->retry_ms = node_now(n) + WAIT_EVERY_MS;
    } else {
        fail(n, i->result, i->detail.text);
    }
    cm_free(i->replacement);
    intent_free(i);
}

/* Replacement and what it borrows beyond the difference. */
struct application {
    struct replacement replacement; /* first: what the intent points to */
    struct meta_fact facts[1];
    struct key_id source;
};

static void apply(struct node *n)
{
    struct cut_pull *p = &n->cuts.pull;
    struct application *a = cm_calloc(1, sizeof *a);
    struct intent *i = intent_new(INTENT_REPLACE);
    int error = a == NULL || i == NULL ? CM_ERR_NOMEM : 0;

    if (error == 0) {
        cut_diff_replacement(p->diff, &a->replacement);
        a->source = p->peer;
        a->replacement.facts = a->facts;
        a->replacement.facts_count =
            cut_unconfirmed_fact(n, &a->source, &a->facts[0]);
        i->replacement = a;
        i->done = applied;
        i->context = n;
        error = n->ports.writer->submit(n->ports.ctx, i);
    }
    if (error != 0) {
        cm_free(a);
        intent_free(i);
        fail(n, error, "the writer has too much to do");
        return;
    }
    p->phase = PULL_APPLY;
}

static bool compare_step(struct work *w)
{
    struct cut_pull *p = (struct cut_pull *)w;

    if (p->diff == NULL) {
        p->compare_error =
            cut_diff_create(&p->diff, p->store, p->sink, p->spool_dir,
                            p->compare_wall_ms, &p->compare_detail);
        if (p->compare_error >= 0 && p->compare_entries < UINT64_MAX)
            cut_diff_limit(p->diff, p->compare_entries, CUT_DIFF_BYTES_MAX);
    }
    if (p->compare_error >= 0)
        p->compare_error = cut_diff_step(p->diff, &p->compare_detail);
    return p->compare_error == SNAPSHOT_MORE;
}

static void note_proof(struct node *n)
{
    struct cut_pull *p = &n->cuts.pull;
    const struct manifest *m = snapshot_sink_manifest(p->sink);

    p->proof = (struct hash){{0}}; /* short of memory: nobody's */
    if (store_reader_renew(n->reader) != 0)
        return;
    (void)standing_proof_of_cut(&p->proof, n->reader, &m->state_digest,
                                m->standing);
    store_reader_reset(n->reader);
}

/* Mass deletion: until a second member's digest is the cut's, another member's
 * own cut would delete the very same, or the operator says so. The first is
 * rare where much is written, for no two members need ever have had the same
 * vector. */
static bool is_confirmed(struct node *n)
{
    const struct cut_pull *p = &n->cuts.pull;
    static const struct key_id nobody;

    if (p->operator_agrees ||
        gossip_digest_heard(n->gossip, &p->proof, &p->peer) > 0)
        return true;
    return !key_id_equal(&p->vouched_by, &nobody) &&
           !key_id_equal(&p->vouched_by, &p->peer) &&
           hash_equal(&p->vouched, &p->counts.which);
}

/* Kept while another member is asked. */
static void vouch(struct node *n)
{
    struct cut_pull *p = &n->cuts.pull;
    uint64_t backoff_ms = p->other_backoff_ms;

    p->vouched_by = p->peer;
    p->vouched = p->counts.which;
    if (backoff_ms == 0)
        backoff_ms = OTHER_MS;
    p->other_ms = node_now(n) + backoff_ms;
    p->other_backoff_ms =
        2 * backoff_ms < OTHER_MS_MAX ? 2 * backoff_ms : OTHER_MS_MAX;
}

/* Its difference is known. Whether it may be adopted. */
static bool judge(struct node *n)
{
    struct cut_pull *p = &n->cuts.pull;

    p->counts = cut_diff_counts(p->diff);
    p->checked = true;
    note_proof(n);
    if (!cut_diff_is_mass_deletion(&p->counts) || is_confirmed(n))
        return true;
    n->cuts.counters.held_deletion++;
    vouch(n);
    (void)snprintf(p->waits, sizeof p->waits,
                   "it would delete %llu of %llu keys; waits until a second "
                   "member has the same, or for \"confmesh adopt --yes\"",
                   (unsigned long long)p->counts.removed,
                   (unsigned long long)p->counts.present);
    node_log(n, 'E', "cut: %s", p->waits);
    withdraw(n);
    cut_diff_free(p->diff); /* compared anew when it may be adopted */
    p->diff = NULL;
    p->phase = PULL_WAIT;
    p->retry_ms = node_now(n) + WAIT_EVERY_MS;
    return false;
}

static void compare_done(struct work *w)
{
    struct cut_pull *p = (struct cut_pull *)w;
    struct node *n = p->node;

    p->comparing = false;
    if (p->phase != PULL_COMPARE) { /* given up meanwhile */
        forget_cut(p);
    } else if (p->compare_error < 0) {
        fail(n, p->compare_error, p->compare_detail.text);
    } else if (p->compare_error == CUT_DIFF_LARGE) {
        cut_diff_free(p->diff);
        p->diff = NULL;
        cut_stage_begin(n);
    } else if (judge(n)) {
        apply(n);
    }
}

void cut_pull_staged(struct node *n)
{
    if (judge(n))
        cut_stage_settle(n);
}

void cut_pull_settled(struct node *n)
{
    apply(n);
}

void cut_pull_stage_failed(struct node *n, int error, const char *text)
{
    struct cut_pull *p = &n->cuts.pull;

    if (error != CM_ERR_FULL || p->comparing) {
        fail(n, error, text);
        return;
    }
    CM_MARK("cut: no room for two banks");
    node_log(n, 'W', "cut: no room to stage it; adopted in one transaction");
    withdraw(n);
    cut_diff_free(p->diff);
    p->diff = NULL;
    p->unstaged = true;
    p->phase = PULL_WAIT;
    p->retry_ms = node_now(n) + WAIT_EVERY_MS;
}

static void compare(struct node *n)
{
    struct cut_pull *p = &n->cuts.pull;

    CHECK(!p->comparing && p->sink != NULL);
    cut_diff_free(p->diff);
    p->diff = NULL;
    p->compare_error = 0;
    p->compare_detail.text[0] = '\0';
    p->compare_wall_ms = node_wall(n);
    p->compare_entries = p->unstaged ? UINT64_MAX : n->cuts.stage_entries;
    p->store = n->store;
    p->spool_dir = n->spool_dir;
    p->node = n;
    p->work = (struct work){
        .step = compare_step, .done = compare_done, .lane = WORK_LANE_CUT};
    p->comparing = true;
    p->phase = PULL_COMPARE;
    n->ports.work->submit(n->ports.ctx, &p->work);
}

static void announced(void *context, struct intent *i)
{
    struct node *n = context;
    struct cut_pull *p = &n->cuts.pull;

    if (p->phase == PULL_ANNOUNCE && i->result == 0)
        compare(n);
    else if (p->phase == PULL_ANNOUNCE)
        fail(n, i->result, cm_strerror(i->result));
    intent_free(i);
}

static void announce(struct node *n)
{
    struct cut_pull *p = &n->cuts.pull;
    struct intent *i = intent_new(INTENT_ADOPTING);

    if (i == NULL)
        return; /* tried again */
    i->adopting = &snapshot_sink_manifest(p->sink)->vv;
    i->done = announced;
    i->context = n;
    if (n->ports.writer->submit(n->ports.ctx, i) != 0) {
        intent_free(i);
        return;
    }
    p->announced = true;
    p->phase = PULL_ANNOUNCE;
}

/* "A cut whose greatest stamp would be held is held." */
static bool clock_holds(struct node *n)
{
    struct cut_pull *p = &n->cuts.pull;
    uint64_t at = hlc_wall_ms(snapshot_sink_manifest(p->sink)->hlc_max);
    uint64_t now = node_wall(n);
    uint64_t bound = now + CLOCK_DRIFT_MAX_MS;

    if (n->clocks.offset_ms > 0)
        bound += (uint64_t)n->clocks.offset_ms;
    if (at <= bound)
        return false;
    at -= now;
    if (p->waits[0] == '\0')
        n->cuts.counters.held_clock++;
    (void)snprintf(p->waits, sizeof p->waits,
                   "it is dated %llu ms ahead of this node's clock",
                   (unsigned long long)at);
    return true;
}

/* In place of this state, under the same incarnation, which needs everything
 * that it ever wrote to be in the cut. */
static void replaced(void *context, struct intent *i)
{
    struct node *n = context;
    struct cut_pull *p = &n->cuts.pull;

    if (i->result == 0) {
        n->cuts.counters.adopted++;
        CM_MARK("cut: in place of a damaged state");
        node_log(n, 'W', "cut: adopted in place of a state that was wrong");
        cut_note_adopted(n, &p->peer);
        heal_replaced(n);
        end(n);
    } else {
        fail(n, i->result, i->detail.text);
    }
    cm_free(i->replacement);
    intent_free(i);
}

static void replace(struct node *n)
{
    struct cut_pull *p = &n->cuts.pull;
    struct application *a = cm_calloc(1, sizeof *a);
    struct intent *i = intent_new(INTENT_REPLACE);
    struct cm_detail detail = {""};
    int error = a == NULL || i == NULL ? CM_ERR_NOMEM : 0;

    if (error == 0)
        error = snapshot_sink_replacement(p->sink, &a->replacement, &detail);
    if (error == 0) {
        a->replacement.mode = ADOPT_RETURN;
        a->source = p->peer;
        a->replacement.facts = a->facts;
        a->replacement.facts_count =
            cut_unconfirmed_fact(n, &a->source, &a->facts[0]);
        i->replacement = a;
        i->done = replaced;
        i->context = n;
        error = n->ports.writer->submit(n->ports.ctx, i);
    }
    if (error == 0) {
        p->phase = PULL_APPLY;
        return;
    }
    cm_free(a);
    intent_free(i);
    fail(n, error, "the state could not be replaced");
}

static void look_to_replace(struct node *n)
{
    struct cut_pull *p = &n->cuts.pull;

    p->retry_ms = node_now(n) + WAIT_EVERY_MS;
    if (clock_holds(n))
        return;
    if (vv_dominates(&snapshot_sink_manifest(p->sink)->vv, &n->vv))
        replace(n);
    else /* events came meanwhile: another one is asked for */
        fail(n, CM_ERR_CONDITION,
             "it lacks events that are here by now; asked again");
}

/* Lets this cut go for another member's, which may delete the same. */
static void ask_other(struct node *n)
{
    struct cut_pull *p = &n->cuts.pull;
    struct member_view m;

    p->other_ms = node_now(n) + p->other_backoff_ms;
    for (size_t i = 0; i < gossip_member_total(n->gossip); i++) {
        gossip_member_at(n->gossip, i, &m);
        if (m.state != MEMBER_ALIVE || !m.has_certificate ||
            key_id_equal(&m.key_id, &p->peer))
            continue;
        CM_MARK("cut: another member is asked whether it deletes as much");
        end(n);
        cut_pull_begin(n, &m.key_id, &m.address);
        return;
    }
}

static void look(struct node *n)
{
    struct cut_pull *p = &n->cuts.pull;
    const struct manifest *m = snapshot_sink_manifest(p->sink);

    p->retry_ms = node_now(n) + WAIT_EVERY_MS;
    if (vv_dominates(&n->vv, &m->vv)) {
        CM_MARK("cut: events came before it");
        node_log(n, 'I', "cut: not needed any more, everything came as events");
        forget_vouched(p);
        end(n);
        return;
    }
    if (node_now(n) >= p->wait_since_ms + WAIT_MS_MAX) {
        fail(n, CM_ERR_TIMEOUT, p->waits);
        return;
    }
    if (clock_holds(n))
        return;
    if (p->checked && cut_diff_is_mass_deletion(&p->counts) &&
        !is_confirmed(n)) {
        if (node_now(n) >= p->other_ms)
            ask_other(n);
        return;
    }
    p->waits[0] = '\0';
    announce(n);
}

static uint64_t pull_deadline(const struct node *n)
{
    const struct cut_pull *p = &n->cuts.pull;

    return p->phase == PULL_ASK || p->phase == PULL_WAIT ||
                   (p->phase == PULL_NONE && p->announced)
               ? p->retry_ms
               : UINT64_MAX;
}

void cut_pull_tick(struct node *n, uint64_t now)
{
    struct cut_pull *p = &n->cuts.pull;

    cut_stage_tick(n, now);
    if (now < pull_deadline(n))
        return;
    if (p->phase == PULL_ASK)
        ask(n);
    else if (p->phase == PULL_WAIT && p->replaces)
        look_to_replace(n);
    else if (p->phase == PULL_WAIT)
        look(n);
    else if (p->phase == PULL_NONE) /* could not be said before */
        withdraw(n);
    if (p->phase == PULL_NONE && p->announced)
        p->retry_ms = now + RETRY_MS;
}

uint64_t cut_pull_deadline(const struct node *n)
{
    uint64_t pull = pull_deadline(n);
    uint64_t stage = cut_stage_deadline(n);

    return pull < stage ? pull : stage;
}

void cut_pull_release(struct node *n)
{
    n->cuts.pull.comparing = false; /* the lanes have ended */
    stage_free(n->cuts.pull.stage.block);
    n->cuts.pull.stage.block = NULL;
    forget_cut(&n->cuts.pull);
}

/* ---- when one is wanted ---- */

static bool was_asked(const struct cut_pull *p, const struct key_id *peer)
{
    for (size_t i = 0; i < p->missing_count; i++)
        if (key_id_equal(&p->missing[i], peer))
            return true;
    return false;
}

/* A living member that was not asked yet. */
static bool find_other(struct node *n, struct member_view *ret)
{
    for (size_t i = 0; i < gossip_member_total(n->gossip); i++) {
        gossip_member_at(n->gossip, i, ret);
        if (ret->state == MEMBER_ALIVE && ret->has_certificate &&
            !ret->digest_equal && !was_asked(&n->cuts.pull, &ret->key_id))
            return true;
    }
    return false;
}

void cut_pull_missing(struct node *n, const struct link *l)
{
    struct cut_pull *p = &n->cuts.pull;
    struct member_view other;
    uint64_t now = node_now(n);

    if (p->phase != PULL_NONE || now < p->calm_ms)
        return;
    if (now >= p->missing_since_ms + MISSING_FORGET_MS)
        p->missing_count = 0;
    if (p->missing_count == 0)
        p->missing_since_ms = now;
    if (p->missing_count < PULL_MISSING_MAX && !was_asked(p, &l->peer))
        p->missing[p->missing_count++] = l->peer;
    if (p->missing_count < PULL_MISSING_MAX && find_other(n, &other)) {
        CM_MARK("repair: bytes are gone, asked another member");
        repair_ask(n, &other.key_id, &other.address);
        /* It may be the only one that is never reached. */
        if (now < p->missing_since_ms + 10 * RETRY_MS)
            return;
    }
    cut_pull_begin(n, &l->peer, &l->address);
}
