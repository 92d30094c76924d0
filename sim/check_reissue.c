/* What a node writes again after it returned: nothing that was acknowledged is
 * undone by it, neither its own nor what others have written meanwhile.
 *
 * Judged by the history that the model has: the event that is written again is
 * one of an earlier incarnation of the same node, beyond the host's vector.
 * Said once more, and nothing of node/writer_reissue.c is used:
 *
 * - its incarnation is sealed below it, or its own events may still arrive;
 * - it wins against all that stands in a mesh that never forgets anything: what
 *   is gone below a floor may have been a later delete;
 * - a remove takes adds away that its writer had seen, none below the floor,
 *   where two may have become one, and none below a cut that the node's new
 *   incarnation has acknowledged: there they may, once the others have;
 * - nothing that its writer did later to the same key is given up for it.
 *
 * Where names may have been given twice the model cannot tell which event it
 * was, and this is silent. */
#include <string.h>

#include "crdt/base/check.h"
#include "node/unsent.h"
#include "sim/check_internal.h"

#define CHAIN_MAX 32 /* own adds, each of which names the one before */

static bool is_silent(const struct sim_check *c, const struct check_host *h)
{
    return h->unsure || c->forked || c->any_rolled_back || c->any_hostile ||
           c->suspects_count > 0;
}

/* ---- which event it was ---- */

static bool same_key(const struct sim_check *c, uint32_t a, uint32_t b)
{
    const struct certificate *x = sim_model_certificate(c->model, a);
    const struct certificate *y = sim_model_certificate(c->model, b);

    return a != b && x != NULL && y != NULL &&
           key_id_equal(&x->key_id, &y->key_id);
}

/* Of an earlier incarnation of h's node, and not in its state. */
static bool is_unsent(const struct sim_check *c, const struct check_host *h,
                      const struct sim_model_event *e)
{
    uint64_t has = e->actor < h->seqs_count ? h->seqs[e->actor] : 0;

    return e->decoded.dot.seq > has && same_key(c, e->actor, h->actor);
}

static bool is_again(const struct op *was, const struct op *now)
{
    return was->kind == now->kind && was->expires == now->expires &&
           slice_equal(was->value, now->value) &&
           slice_equal(was->author, now->author);
}

struct search {
    struct sim_check *c;
    const struct check_host *h;
    const struct sim_model_event *event;
    const struct sim_model_op *op; /* of it */
};

/* The next operation, from o on, that op may be again; newest first. */
static const struct sim_model_op *next_origin(const struct search *s,
                                              const struct sim_model_op *o)
{
    for (; o != NULL; o = o->older)
        if (is_unsent(s->c, s->h, o->event) && !o->event->is_void &&
            generation_id_equal(&o->event->decoded.generation,
                                &s->event->decoded.generation) &&
            is_again(o->op, s->op->op))
            return o;
    return NULL;
}

static void report(const struct search *s, const char *what)
{
    struct entry_id id = sim_model_entry_id(s->op->entry);
    char key[CHECK_KEY_TEXT_SIZE];
    char text[DOT_TEXT_SIZE];

    check_key_text(key, &id);
    dot_format(text, &s->event->decoded.dot);
    sim_check_report(s->c, SIM_CHECK_ACKNOWLEDGED, s->h->number,
                     "event %s writes %s %s again, but %s", text,
                     op_kind_name(s->op->op->kind), key, what);
}

/* ---- what must hold ---- */

static bool is_beyond_seal(const struct search *s, const struct sim_model_op *o)
{
    uint64_t last;

    return sim_model_state_is_sealed(s->h->state, o->event->actor, &last) &&
           last < o->event->decoded.dot.seq;
}

static bool is_register_write(const struct op *op)
{
    return op->kind == OP_PUT || op->kind == OP_DEL;
}

static bool is_later(const struct sim_model_op *a, const struct sim_model_op *b)
{
    const struct event *x = &a->event->decoded;
    const struct event *y = &b->event->decoded;

    return x->hlc != y->hlc ? x->hlc > y->hlc
                            : dot_compare(&x->dot, &y->dot) > 0;
}

/* Something newer stands, or would, had nobody forgotten it. */
static bool has_lost(const struct search *s, const struct sim_model_op *o)
{
    struct sim_model_view never = check_view_of(s->h);
    const struct sim_model_op *const *standing = NULL;
    bool ret = false;
    size_t count;

    never.taken = NULL;
    never.taken_size = 0;
    count = sim_model_standing(s->c->model, &never, s->op->entry, &standing);
    for (size_t i = 0; i < count && !ret; i++)
        ret = standing[i]->event->actor != s->h->actor &&
              is_register_write(standing[i]->op) && is_later(standing[i], o);
    return ret;
}

static const struct sim_model_op *op_at(const struct search *s,
                                        const struct dot *dot)
{
    uint32_t actor = sim_model_actor(s->c->model, &dot->incarnation);
    const struct sim_model_event *e =
        sim_model_find(s->c->model, actor, dot->seq);

    for (size_t i = 0; e != NULL && i < e->decoded.ops_count; i++)
        if (e->ops[i].entry == s->op->entry)
            return &e->ops[i];
    return NULL;
}

/* Whether o's writer had seen dot when it wrote o: it is named there, or by one
 * of its own unsent adds that are. */
static bool had_seen(const struct search *s, const struct sim_model_op *o,
                     const struct dot *dot, unsigned depth)
{
    bool ret = false;

    for (size_t i = 0; i < o->op->supersedes_count && !ret; i++) {
        const struct dot *named = &o->op->supersedes[i];
        const struct sim_model_op *own = op_at(s, named);

        ret = dot_equal(named, dot) || (depth < CHAIN_MAX && own != NULL &&
                                        is_unsent(s->c, s->h, own->event) &&
                                        had_seen(s, own, dot, depth + 1));
    }
    return ret;
}

static bool anybody_had_seen(const struct search *s, const struct dot *dot)
{
    const struct sim_model_op *o = next_origin(s, s->op->older);
    bool ret = false;

    for (; o != NULL && !ret; o = next_origin(s, o->older))
        ret = had_seen(s, o, dot, 0);
    return ret;
}

/* ---- what was acknowledged ---- */

/* A proposal says [[incarnation, seq], ...]: its proposer's cut. */
static bool cut_covers(struct slice value, const struct dot *dot)
{
    struct unpacker u;
    bool ret = false;
    size_t count;

    unpack_init(&u, value);
    count = unpack_array(&u, FLOOR_ROWS_MAX);
    for (size_t i = 0; i < count && u.error == 0; i++) {
        struct incarnation who;
        uint64_t seq;

        unpack_array_of(&u, 2);
        unpack_bytes(&u, who.bytes, INCARNATION_SIZE);
        seq = unpack_uint(&u, UINT64_MAX);
        ret = ret || (u.error == 0 && seq >= dot->seq &&
                      incarnation_equal(&who, &dot->incarnation));
    }
    return ret;
}

/* e acknowledges, or proposes, a cut that covers dot. */
static bool acknowledges(const struct sim_check *c,
                         const struct sim_model_event *e, const struct dot *dot)
{
    const struct op *op = e->decoded.ops_count == 1 ? e->ops[0].op : NULL;
    const struct sim_model_event *proposal;
    struct incarnation who;
    uint32_t actor;

    if (op == NULL || op->kind != OP_ACK || e->is_void ||
        op->key.size != PROPOSAL_KEY_SIZE)
        return false;
    memcpy(who.bytes, op->key.data, INCARNATION_SIZE);
    actor = sim_model_actor(c->model, &who);
    proposal = sim_model_find(c->model, actor,
                              get_be64(op->key.data + INCARNATION_SIZE));
    return proposal != NULL && proposal->decoded.ops_count == 1 &&
           proposal->ops[0].op->kind == OP_ACK &&
           cut_covers(proposal->ops[0].op->value, dot);
}

/* The event that added actor; NULL: a founder. */
static const struct sim_model_event *add_of(const struct sim_check *c,
                                            uint32_t actor)
{
    const struct incarnation *i = sim_model_incarnation(c->model, actor);
    struct entry_id id = {.space = SPACE_ROSTER,
                          .key = slice_of(i->bytes, INCARNATION_SIZE)};
    const struct sim_model_op *o =
        sim_model_newest(sim_model_entry(c->model, &id));

    return o != NULL ? o->event : NULL;
}

/* In its first events up to last; or its sponsor had before it was added. */
static bool has_acknowledged(const struct search *s, uint32_t actor,
                             uint64_t last, const struct dot *dot,
                             unsigned depth)
{
    const struct sim_model_event *add = add_of(s->c, actor);

    for (uint64_t seq = 1; seq <= last; seq++) {
        const struct sim_model_event *e =
            sim_model_find(s->c->model, actor, seq);

        if (e != NULL &&
            generation_id_equal(&e->decoded.generation,
                                &s->event->decoded.generation) &&
            acknowledges(s->c, e, dot))
            return true;
    }
    return add != NULL && depth < CHAIN_MAX &&
           has_acknowledged(s, add->actor, add->decoded.dot.seq - 1, dot,
                            depth + 1);
}

static void check_remove(const struct search *s)
{
    for (size_t i = 0; i < s->op->op->supersedes_count; i++) {
        const struct dot *dot = &s->op->op->supersedes[i];
        uint32_t actor = sim_model_actor(s->c->model, &dot->incarnation);

        if (actor == s->h->actor)
            continue; /* an add that was written again, too */
        if (dot->seq <= sim_model_state_floor(s->h->state, actor))
            report(s, "an add that it takes away lies below the floor, and may "
                      "stand for others");
        else if (has_acknowledged(s, s->h->actor, s->event->decoded.dot.seq - 1,
                                  dot, 0))
            report(s, "an add that it takes away lies below a cut which its "
                      "incarnation has acknowledged, and may stand for others "
                      "by the time that this arrives");
        else if (!anybody_had_seen(s, dot))
            report(s, "its writer had not seen an add that it takes away");
    }
}

static void remember(const struct search *s, const struct sim_model_op *origin)
{
    struct check_again *a = &s->c->again[s->c->again_count++ % CHECK_AGAIN_MAX];

    *a = (struct check_again){.host = s->h->number, .origin = origin};
}

void check_reissue(struct sim_check *c, const struct check_host *h,
                   const struct sim_model_event *e)
{
    for (size_t i = 0; i < e->decoded.ops_count && !is_silent(c, h); i++) {
        struct search s = {.c = c, .h = h, .event = e, .op = &e->ops[i]};
        const struct sim_model_op *o = next_origin(&s, s.op->older);
        bool sealed = false;
        bool wins = false;

        if (o == NULL)
            continue; /* of another generation */
        check_evaluated(c, SIM_CHECK_ACKNOWLEDGED);
        remember(&s, o);
        for (; o != NULL; o = next_origin(&s, o->older)) {
            sealed = sealed || is_beyond_seal(&s, o);
            wins = wins || !is_register_write(o->op) || !has_lost(&s, o);
        }
        if (!sealed)
            report(&s, "what its writer did may still arrive: the earlier "
                       "incarnation is not sealed below it");
        else if (!wins)
            report(&s, "what was written later has been forgotten, or stands");
        else if (s.op->op->kind == OP_SET_REMOVE)
            check_remove(&s);
    }
}

/* ---- the own chain ---- */

/* Whether something that u's operation had followed upon was written again. */
static bool is_given_up(const struct sim_check *c, const struct check_host *h,
                        const struct unsent *u, const struct op *op)
{
    struct entry_id id = op_entry_id(op);
    size_t count =
        c->again_count < CHECK_AGAIN_MAX ? c->again_count : CHECK_AGAIN_MAX;

    for (size_t i = 0; i < count; i++) {
        const struct sim_model_op *o = c->again[i].origin;
        struct entry_id other = sim_model_entry_id(o->entry);

        if (c->again[i].host == h->number &&
            entry_id_compare(&id, &other) == 0 &&
            incarnation_equal(&o->event->decoded.dot.incarnation,
                              &u->dot.incarnation) &&
            o->event->decoded.dot.seq < u->dot.seq)
            return true;
    }
    return false;
}

static void check_parked(struct sim_check *c, const struct check_host *h,
                         const struct unsent *u)
{
    struct unsent_ops ops;
    char text[DOT_TEXT_SIZE];

    if (u->state != UNSENT_LOST || u->sibling || unsent_open(&ops, u) != 0)
        return;
    if (u->op < ops.count && is_register_write(&ops.ops[u->op]) &&
        is_given_up(c, h, u, &ops.ops[u->op])) {
        dot_format(text, &u->dot);
        sim_check_report(c, SIM_CHECK_ACKNOWLEDGED, h->number,
                         "event %s is parked as lost, though what its writer "
                         "had done to the same key before was written again",
                         text);
    }
    unsent_close(&ops);
}

void check_reissue_end(struct sim_check *c, struct check_host *h,
                       const struct commit_result *r)
{
    struct store_reader *reader = NULL;
    struct unsent u = {.id = 0};
    bool more = r->unsent.parked > h->parked;
    struct store *s = c->options.hosts != NULL
                          ? sim_host_store(c->options.hosts[h->number])
                          : NULL;

    h->parked = r->unsent.parked;
    if (!more || s == NULL || is_silent(c, h) ||
        store_reader_begin(s, &reader) != 0)
        return;
    while (unsent_read(reader, u.id, &u) == 0)
        check_parked(c, h, &u);
    store_reader_release(reader);
}
