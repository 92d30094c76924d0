/* What waits here and would change an entry, and what it waits for: asked of
 * the writer, because pending events are its own. */
#include <stdio.h>

#include "crdt/base/check.h"
#include "node/writer_internal.h"

static const char *name_of(const struct writer *w, const struct incarnation *i)
{
    const struct roster_member *m = roster_find(w->roster, i);

    return m != NULL ? m->certificate.name : "a node that is not known here";
}

static void say_missing(const struct writer *w, const struct dot *dot,
                        struct intent_waiting *ret)
{
    char text[DOT_TEXT_SIZE];

    dot_format(text, dot);
    (void)snprintf(ret->why, sizeof ret->why, "waits for event %s of %s", text,
                   name_of(w, &dot->incarnation));
}

/* The first dependency that is not here. */
static bool find_missing(const struct writer *w, const struct event *e,
                         struct dot *ret_dot)
{
    for (size_t i = 0; i < e->deps_count; i++) {
        if (!vv_covers(&w->vv, &e->deps[i])) {
            *ret_dot = e->deps[i];
            return true;
        }
    }
    for (size_t i = 0; i < e->ops_count; i++) {
        for (size_t j = 0; j < e->ops[i].supersedes_count; j++) {
            if (!vv_covers(&w->vv, &e->ops[i].supersedes[j])) {
                *ret_dot = e->ops[i].supersedes[j];
                return true;
            }
        }
    }
    return false;
}

static void say_why(const struct batch *b, const struct event *e, bool held,
                    struct intent_waiting *ret)
{
    const struct writer *w = b->w;
    uint64_t dated_ms = hlc_wall_ms(e->hlc);
    uint64_t have = vv_seq(&w->vv, &e->dot.incarnation);
    struct dot missing = e->dot;

    if (roster_find(w->roster, &e->dot.incarnation) == NULL) {
        (void)snprintf(ret->why, sizeof ret->why,
                       "its incarnation is not in the roster here (yet)");
    } else if (e->dot.seq > have + 1) {
        missing.seq = have + 1;
        say_missing(w, &missing, ret);
    } else if (held) {
        ret->held = true;
        (void)snprintf(ret->why, sizeof ret->why,
                       "it is dated %llu ms ahead of this node's clock and "
                       "waits for that; set the clock of its origin, or this "
                       "one",
                       (unsigned long long)(dated_ms > b->wall_ms
                                                ? dated_ms - b->wall_ms
                                                : 0));
    } else if (find_missing(w, e, &missing)) {
        say_missing(w, &missing, ret);
    } else {
        (void)snprintf(ret->why, sizeof ret->why,
                       "it waits for a record that cannot be read here");
    }
}

static int explain_event(struct batch *b, struct intent *intent,
                         const struct event *e, bool held,
                         const struct entry_id *wanted)
{
    for (size_t i = 0; i < e->ops_count; i++) {
        struct entry_id id = op_entry_id(&e->ops[i]);
        struct intent_waiting waiting = {
            .dot = e->dot,
            .hlc = e->hlc,
            .kind = e->ops[i].kind,
            .author = e->ops[i].author,
        };

        if (entry_id_compare(&id, wanted) != 0)
            continue;
        say_why(b, e, held, &waiting);
        intent_add_waiting(intent, &waiting);
    }
    return intent->results.error;
}

int explain_intent(struct batch *b, struct intent *intent)
{
    const struct pending *p = &b->w->pending;
    struct entry_id wanted;
    int error = 0;

    CHECK(intent->kind == INTENT_EXPLAIN && intent->ops_count == 1);
    wanted = local_id_of(&intent->ops[0]);
    intent->revision = b->w->head.revision;
    for (size_t i = 0; i < p->count && error == 0; i++) {
        const struct pending_event *kept = p->events[i];
        struct event e;

        if (kept->done)
            continue; /* applied in this very batch */
        error = event_decode(&e, slice_of(kept->bytes, kept->size));
        if (error != 0)
            break;
        error = explain_event(b, intent, &e, kept->held != 0, &wanted);
        event_release(&e);
    }
    intent->result = error;
    return 0; /* nothing of it can end the batch */
}
