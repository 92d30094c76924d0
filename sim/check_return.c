/* Disks that go back, and nodes that return: what may be lost, and what has to
 * be kept.
 *
 * An operator who puts an old disk back takes away what that disk alone held;
 * everything else stays: own events that others have end the name, and those
 * that a returning node has and the mesh lacks are among its unsent writes.
 * Until it has heard of others it may give a name twice. Then the model, which
 * knows one event for each name, can say nothing of states any more: from that
 * moment on (`forked`) hosts only have to get alike again. */
#include <inttypes.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/store_txn.h"
#include "sim/check_internal.h"

void sim_check_on_old_disk(struct sim_check *c, unsigned host)
{
    if (c == NULL)
        return;
    CHECK(host < c->options.hosts_count && !c->hosts[host].up);
    QUIETLY(check_unique_rob(c, &c->hosts[host]));
    c->hosts[host].put_back = true;
    c->hosts[host].rolled_back = true;
    c->any_rolled_back = true;
    c->hosts[host].fresh = true;
}

/* ---- what was on the disk that is gone ---- */

static bool is_in_snapshot(const struct sim_check *c,
                           const struct incarnation *i, uint64_t seq)
{
    for (size_t k = 0; k < c->snapshots_count; k++)
        if (vv_seq(&c->snapshots[k].vv, i) >= seq)
            return true;
    return false;
}

static bool is_elsewhere(const struct sim_check *c, const struct check_host *h,
                         uint32_t actor, uint64_t seq)
{
    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        const struct check_host *other = &c->hosts[i];

        if (other != h && actor < other->seqs_count &&
            other->seqs[actor] >= seq)
            return true;
    }
    return false;
}

void check_put_back(struct sim_check *c, struct check_host *h,
                    const struct vv *vv)
{
    const struct incarnation self = *sim_model_incarnation(c->model, h->actor);
    uint64_t kept = vv_seq(vv, &self);
    uint64_t seq = sim_model_seq(c->model, h->actor);

    h->put_back = false;
    check_suspect(c, &self, kept);
    for (uint64_t s = kept + 1; s <= seq; s++) {
        struct sim_model_event *e = sim_model_find(c->model, h->actor, s);

        if (e != NULL)
            e->acknowledged = false; /* to be had from others, or from nobody */
    }
    /* What nobody has never was, unless it is still under way. */
    for (; seq > kept; seq--) {
        struct sim_model_event *e = sim_model_find(c->model, h->actor, seq);

        if (e == NULL || is_elsewhere(c, h, h->actor, seq) ||
            is_in_snapshot(c, &self, seq))
            break;
        c->names_free = true;
        h->adoptions++; /* nothing that was applied here is pointed to */
        h->joined_cut = false;
        h->applied_count = 0;
        h->log_count = 0;
        if (h->actor < h->seqs_count)
            h->seqs[h->actor] = seq - 1;
        sim_model_remove(c->model, e);
    }
    seq = sim_model_seq(c->model, h->actor);
    check_forget_known(c, h->actor, kept < seq ? kept : seq);
}

/* ---- names that are given twice ---- */

static bool is_other(const struct sim_check *c, const struct commit_event *e)
{
    uint32_t actor = sim_model_actor(c->model, &e->dot.incarnation);
    const struct sim_model_event *known =
        sim_model_find(c->model, actor, e->dot.seq);

    if (known != NULL)
        return !slice_equal(e->bytes, slice_of(known->bytes, known->size));
    return !e->own && c->names_free;
}

bool check_forks(struct sim_check *c, const struct check_host *h,
                 const struct commit_result *r)
{
    bool may = c->any_rolled_back;

    for (size_t i = 0; i < r->events_count && may && !c->forked; i++) {
        const struct commit_event *e = &r->events[i];

        /* Only a disk that went back excuses it. */
        c->forked = is_other(c, e) && check_is_suspect(c, &e->dot) &&
                    (!e->own || h->rolled_back);
        for (unsigned k = 0; k < c->options.hosts_count && c->forked; k++)
            c->hosts[k].unsure = true;
    }
    return c->forked;
}

void check_weakly(struct check_host *h, const struct vv *vv,
                  const struct hash *digest, uint64_t revision)
{
    vv_release(&h->vv);
    CHECK(vv_copy(&h->vv, vv) == 0);
    h->digest = *digest;
    h->revision = revision;
    h->unsure = true;
    h->fresh = false;
    h->doubtful = false;
}

/* Who ran short of memory or disk behind the commit has the state all the
 * same. */
static bool is_there_yet(const struct check_host *h,
                         const struct commit_result *r, const struct intent *i)
{
    const struct replacement *state = i->replacement;

    return state != NULL && !vv_equal(&h->vv, &r->vv) &&
           vv_dominates(&r->vv, state->vv) && !vv_dominates(&h->vv, state->vv);
}

const struct intent *check_adoption(const struct check_host *h,
                                    const struct commit_result *r)
{
    for (const struct intent *i = r->intents; i != NULL; i = i->next)
        if (i->kind == INTENT_REPLACE &&
            (i->result == 0 || is_there_yet(h, r, i)))
            return i;
    return NULL;
}

/* ---- what a returning node keeps ---- */

static bool has_client_op(const struct sim_model_event *e)
{
    for (size_t i = 0; i < e->decoded.ops_count; i++)
        if (unsent_is_client_op(&e->decoded.ops[i]))
            return true;
    return false;
}

static bool is_unsent(const struct sim_check *c, const struct check_host *h,
                      const struct dot *dot)
{
    struct store_reader *r = NULL;
    struct unsent u = {.id = 0};
    bool ret = false;

    if (c->options.hosts == NULL ||
        store_reader_begin(sim_host_store(c->options.hosts[h->number]), &r) !=
            0)
        return true;
    while (!ret && unsent_read(r, u.id, &u) == 0)
        ret = u.state != UNSENT_SHARED && dot_equal(&u.dot, dot);
    store_reader_release(r);
    return ret;
}

/* Whether the store shows already what the operation is for: then there is
 * nothing to be written again. */
static bool is_there(const struct sim_check *c, const struct check_host *h,
                     const struct op *op)
{
    struct entry_id id = op_entry_id(op);
    struct store_reader *r = NULL;
    struct resolution found;
    struct entry e;
    bool ret = false;

    if (c->options.hosts == NULL ||
        store_reader_begin(sim_host_store(c->options.hosts[h->number]), &r) !=
            0)
        return true;
    entry_init(&e);
    if (store_txn_entry(&r->txn, &id, &e, NULL) == 0) {
        found = entry_resolve(&e, 0);
        ret = op->kind == OP_SET_ADD ? found.present : found.revoke != NULL;
    }
    entry_release(&e);
    store_reader_release(r);
    return ret;
}

/* A delete or remove that finds nothing any more is not written again, nor is
 * an add or a revoke of what is there or revoked. */
static bool is_idle(const struct sim_check *c, const struct check_host *h,
                    const struct op *op)
{
    switch (op->kind) {
    case OP_PUT:
        return false;
    case OP_SET_ADD:
    case OP_REVOKE:
    case OP_SET_REVOKE:
        return is_there(c, h, op);
    default:
        return true;
    }
}

static bool op_is_in(const struct op *was, const struct event *now)
{
    for (size_t i = 0; i < now->ops_count; i++) {
        const struct op *op = &now->ops[i];

        if (op->kind == was->kind && slice_equal(op->key, was->key) &&
            slice_equal(op->element, was->element) &&
            slice_equal(op->value, was->value))
            return true;
    }
    return false;
}

/* now NULL: nothing was written. */
static bool ops_are_again(const struct sim_check *c, const struct check_host *h,
                          const struct sim_model_event *e,
                          const struct event *now)
{
    for (size_t k = 0; k < e->decoded.ops_count; k++) {
        const struct op *was = &e->decoded.ops[k];

        if (!is_idle(c, h, was) && (now == NULL || !op_is_in(was, now)))
            return false;
    }
    return true;
}

/* Where its former name is sealed already, a node writes what it kept again
 * in the commit that gives it the new one. */
static bool is_written_again(const struct sim_check *c,
                             const struct check_host *h,
                             const struct sim_model_event *e,
                             const struct commit_result *r)
{
    bool again = ops_are_again(c, h, e, NULL);

    for (size_t i = 0; i < r->events_count && !again; i++) {
        struct event now;

        if (!r->events[i].own)
            continue;
        CHECK(event_decode(&now, r->events[i].bytes) == 0);
        again = ops_are_again(c, h, e, &now);
        event_release(&now);
    }
    return again;
}

/* Of an event whose bytes had rotted there is nothing but what it left in the
 * state, and nothing of that once later events have superseded it. */
static bool is_rotten(const struct sim_check *c, const struct check_host *h,
                      const struct sim_model_event *e, uint64_t last)
{
    bool superseded = false;

    for (uint64_t seq = e->decoded.dot.seq + 1; seq <= last && e->bare; seq++) {
        const struct sim_model_event *l =
            sim_model_find(c->model, h->former, seq);

        for (size_t k = 0; l != NULL && k < l->decoded.ops_count; k++) {
            const struct op *op = &l->decoded.ops[k];

            for (size_t d = 0; d < op->supersedes_count; d++)
                superseded = superseded ||
                             dot_equal(&op->supersedes[d], &e->decoded.dot);
        }
    }
    return e->rotted || superseded;
}

void check_return(struct sim_check *c, struct check_host *h,
                  const struct vv *adopted, const struct commit_result *r)
{
    const struct incarnation *former;
    uint64_t last;

    if (h->former == SIM_MODEL_NO_ACTOR || h->unsure)
        return;
    former = sim_model_incarnation(c->model, h->former);
    last = vv_seq(&h->vv, former);
    check_evaluated(c, SIM_CHECK_ACKNOWLEDGED);
    for (uint64_t seq = vv_seq(adopted, former) + 1; seq <= last; seq++) {
        const struct sim_model_event *e =
            sim_model_find(c->model, h->former, seq);
        struct dot dot = {*former, seq};
        char text[DOT_TEXT_SIZE];

        if (e == NULL || !e->acknowledged || e->is_void || !has_client_op(e) ||
            is_rotten(c, h, e, last) || is_unsent(c, h, &dot) ||
            is_written_again(c, h, e, r))
            continue;
        dot_format(text, &dot);
        sim_check_report(c, SIM_CHECK_ACKNOWLEDGED, h->number,
                         "event %s was acknowledged; it is neither in what the "
                         "node returned to nor among its unsent ones, and was "
                         "not written again",
                         text);
    }
}
