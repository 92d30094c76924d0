/* A batch of a host's clients, asked once more of the model: which of their
 * writes must be refused, which have nothing to write, and that the events
 * which came of the others hold just their operations, each transaction
 * whole. */
#include <inttypes.h>
#include <stdio.h>

#include "crdt/base/check.h"
#include "sim/check_internal.h"

/* The own event that is being matched with intents. */
struct walk {
    struct sim_check *c;
    struct check_host *h;
    const struct commit_result *result;
    size_t next; /* of its events */
    uint64_t wall_ms;
    struct sim_model_event *event; /* NULL: none */
    unsigned used;                 /* operations that intents explained */
    bool succeeds;                 /* the batch gave the node its next name */
};

static struct sim_model_view view_now(const struct walk *w)
{
    struct sim_model_view v = check_view_of(w->h);

    if (w->event != NULL) {
        v.actor = w->event->actor;
        v.seq = w->event->decoded.dot.seq;
        v.ops_count = w->used;
    }
    return v;
}

static void end_event(struct walk *w)
{
    struct sim_model_event *e = w->event;

    if (e == NULL)
        return;
    w->event = NULL;
    if (e->decoded.ops_count == 1 && e->decoded.ops[0].kind > OP_ROSTER_ADD)
        w->used = 1; /* a duty: no client asks for it */
    /* So is a lone node's add of its own next name. */
    if (e->decoded.ops_count == 1 && e->decoded.ops[0].kind == OP_ROSTER_ADD &&
        w->succeeds)
        w->used = 1;
    if (w->used == 0 && w->h->returned) { /* asked for long ago */
        w->used = (unsigned)e->decoded.ops_count;
        check_reissue(w->c, w->h, e);
    }
    if (w->used > 1)
        check_evaluated(w->c, SIM_CHECK_TRANSACTION);
    if (w->used != e->decoded.ops_count)
        sim_check_report(w->c, SIM_CHECK_TRANSACTION, w->h->number,
                         "its event %" PRIu64 " holds %zu operations, of which "
                         "clients asked for %u",
                         e->decoded.dot.seq, e->decoded.ops_count, w->used);
    check_apply(w->c, w->h, e, w->wall_ms);
}

static void next_event(struct walk *w)
{
    const struct commit_result *r = w->result;

    end_event(w);
    w->used = 0;
    while (w->event == NULL && w->next < r->events_count) {
        const struct commit_event *e = &r->events[w->next++];

        if (e->own) {
            w->event = check_own_event(w->c, w->h, e->bytes);
        } else { /* after own ones: none of the writer's ways */
            struct sim_model_event *foreign =
                check_foreign_event(w->c, w->h, &e->dot, e->bytes);
            if (foreign != NULL)
                check_apply(w->c, w->h, foreign, w->wall_ms);
        }
    }
}

/* ---- what must come of an operation ---- */

static struct entry_id id_of(const struct local_op *op)
{
    return (struct entry_id){op_space(op->kind), op->key, op->element};
}

static bool names_winner(const struct local_op *op,
                         const struct sim_model_answer *a)
{
    return op->condition == CONDITION_VERSION && a->winner != NULL &&
           dot_equal(&op->version, &a->winner->event->decoded.dot);
}

/* Which revision changed an entry is the replica's own business: whatever it
 * answers to that. */
static bool is_untold(const struct local_op *op)
{
    return op->condition == CONDITION_REVISION && op->revision != 0;
}

static int expected_of(const struct local_op *op,
                       const struct sim_model_answer *a)
{
    bool revives = op->kind == OP_PUT || op->kind == OP_SET_ADD;
    bool revoked =
        a->revoked && revives && !op->unrevoke && !names_winner(op, a);
    bool holds = true;

    if (op->condition == CONDITION_ABSENT ||
        op->condition == CONDITION_REVISION)
        holds = !a->present;
    else if (op->condition == CONDITION_VERSION)
        holds = names_winner(op, a);
    if (revoked && (holds || op->condition == CONDITION_VERSION))
        return CM_ERR_REVOKED;
    return holds ? 0 : CM_ERR_CONDITION;
}

/* It is so already. */
static bool has_nothing(const struct local_op *op,
                        const struct sim_model_answer *a)
{
    switch (op->kind) {
    case OP_DEL:
    case OP_SET_REMOVE:
        return !a->present;
    case OP_SET_ADD:
        return a->present && a->winner->op->expires == op->expires;
    case OP_REVOKE:
    case OP_SET_REVOKE:
        return a->revoked && a->standing == 1;
    case OP_PUT:
    case OP_ROSTER_ADD:
    case OP_FENCE:
    case OP_ACK:
    case OP_KNOWS:
        break;
    }
    return false;
}

static struct sim_model_answer ask(struct walk *w, const struct local_op *op)
{
    struct sim_model_view v = view_now(w);
    struct entry_id id = id_of(op);

    return sim_model_resolve(w->c->model, &v, sim_model_entry(w->c->model, &id),
                             hlc_make(w->wall_ms, 0));
}

/* ---- what came of it ---- */

static bool is_op_of(const struct op *op, const struct local_op *local,
                     struct slice author)
{
    bool expires = op->kind == OP_PUT || op->kind == OP_SET_ADD;
    bool value = op->kind == OP_PUT || op->kind == OP_ROSTER_ADD ||
                 op->kind == OP_REVOKE || op->kind == OP_SET_REVOKE;

    return op->kind == local->kind && slice_equal(op->key, local->key) &&
           slice_equal(op->element, local->element) &&
           (!value || slice_equal(op->value, local->value)) &&
           (op->kind != OP_PUT || op->flags == local->flags) &&
           (!expires || op->expires == local->expires) &&
           slice_equal(op->author, author);
}

static void report_answer(struct walk *w, const struct local_op *op,
                          int expected, int result)
{
    struct entry_id id = id_of(op);
    char key[CHECK_KEY_TEXT_SIZE];

    check_key_text(key, &id);
    sim_check_report(w->c,
                     expected == CM_ERR_REVOKED && result == 0
                         ? SIM_CHECK_REVOKED
                         : SIM_CHECK_CONDITION,
                     w->h->number, "%s %s is answered \"%s\", not \"%s\"",
                     op_kind_name(op->kind), key, cm_strerror(result),
                     cm_strerror(expected));
}

/* The verdict of the first operation that is refused; 0: none is. ret_told is
 * false when that cannot be said. */
static int judge(struct walk *w, const struct intent *i, size_t *ret_op,
                 bool *ret_told)
{
    *ret_told = true;
    for (size_t j = 0; j < i->ops_count; j++) {
        const struct local_op *op = &i->ops[j];
        struct sim_model_answer a = ask(w, op);

        *ret_op = j;
        if (is_untold(op)) {
            *ret_told = false;
            return 0;
        }
        int error = op->kind == OP_ROSTER_ADD ? 0 : expected_of(op, &a);
        if (error != 0)
            return error;
    }
    *ret_op = 0;
    return 0;
}

/* The operations that have something to write follow one another in one
 * event. */
static void match(struct walk *w, const struct intent *i)
{
    unsigned used = w->used;

    for (size_t j = 0; j < i->ops_count; j++) {
        const struct local_op *op = &i->ops[j];
        struct sim_model_answer a = ask(w, op);
        struct entry_id id = id_of(op);
        char key[CHECK_KEY_TEXT_SIZE];

        if (has_nothing(op, &a))
            continue;
        if (used < w->event->decoded.ops_count &&
            is_op_of(&w->event->decoded.ops[used], op, i->author)) {
            used++;
            continue;
        }
        check_key_text(key, &id);
        sim_check_report(
            w->c, SIM_CHECK_TRANSACTION, w->h->number,
            "%s %s, operation %zu of %zu, is not in its event %" PRIu64,
            op_kind_name(op->kind), key, j + 1, i->ops_count,
            w->event->decoded.dot.seq);
        used = (unsigned)w->event->decoded.ops_count;
        break;
    }
    w->used = used;
}

/* Answers of the writer that the model has no opinion of. */
static bool is_other(int result)
{
    return result != 0 && result != CM_ERR_CONDITION &&
           result != CM_ERR_REVOKED;
}

static void check_intent(struct walk *w, const struct intent *i)
{
    size_t failed = 0;
    bool told = true;
    int expected;

    if (i->wrote) {
        while (w->event == NULL || w->event->decoded.dot.seq != i->dot.seq) {
            next_event(w);
            if (w->event == NULL) {
                sim_check_report(w->c, SIM_CHECK_TRANSACTION, w->h->number,
                                 "an intent was written, and its event %" PRIu64
                                 " is not in the commit",
                                 i->dot.seq);
                return;
            }
        }
    }
    if (is_other(i->result)) {
        if (i->wrote)
            sim_check_report(w->c, SIM_CHECK_CONDITION, w->h->number,
                             "an intent is answered \"%s\", and written",
                             cm_strerror(i->result));
        return;
    }
    expected = judge(w, i, &failed, &told);
    if (told)
        check_evaluated(w->c, expected == CM_ERR_REVOKED ? SIM_CHECK_REVOKED
                                                         : SIM_CHECK_CONDITION);
    if (told && expected != i->result)
        report_answer(w, &i->ops[expected != 0 ? failed : i->failed_op],
                      expected, i->result);
    if (i->result != 0)
        return;
    if (i->wrote) {
        match(w, i);
        return;
    }
    for (size_t j = 0; j < i->ops_count; j++) {
        struct sim_model_answer a = ask(w, &i->ops[j]);
        if (has_nothing(&i->ops[j], &a))
            continue;
        report_answer(w, &i->ops[j], CM_ERR_CONDITION, 0);
        return;
    }
}

void check_intents(struct sim_check *c, struct check_host *h,
                   const struct commit_result *r, size_t first_own,
                   uint64_t wall_ms)
{
    struct walk w = {
        .c = c,
        .h = h,
        .result = r,
        .next = first_own,
        .wall_ms = wall_ms,
    };

    for (const struct intent *i = r->intents; i != NULL; i = i->next) {
        w.succeeds = w.succeeds || i->kind == INTENT_SUCCEED;
        if (i->kind == INTENT_LOCAL && !h->unsure)
            check_intent(&w, i);
    }
    do {
        if (h->unsure && w.event != NULL)
            w.used = (unsigned)w.event->decoded.ops_count;
        next_event(&w);
        if (h->unsure && w.event != NULL)
            w.used = (unsigned)w.event->decoded.ops_count;
    } while (w.event != NULL);
}
