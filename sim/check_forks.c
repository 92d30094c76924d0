/* Names that are given twice: by whom they may be, and how soon it has to be
 * found.
 *
 * A disk that went back, and a copy that runs beside its original, go on with
 * the names that came next when it was taken: of that one incarnation, beyond
 * that one sequence number (`suspect`). Only such a name may come to bear two
 * events, each of them made by a host that has the name; any other one is a
 * violation as ever. The model has one event for a name and is silent from then
 * on; which events there are is kept here, and of the names that may be given
 * twice who holds which (`branches`). Two hosts that hold different events
 * under one name, and that nothing troubles, have to know it within
 * CHECK_FORK_US: one of them raises the alarm or returns. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "sim/check_internal.h"

#define NAMES_MIN 256u

void check_suspect(struct sim_check *c, const struct incarnation *i,
                   uint64_t seq)
{
    for (size_t k = 0; k < c->suspects_count; k++) {
        struct check_suspect *s = &c->suspects[k];

        if (!incarnation_equal(&s->incarnation, i))
            continue;
        s->seq = seq < s->seq ? seq : s->seq;
        return;
    }
    c->suspects =
        cm_realloc(c->suspects, (c->suspects_count + 1) * sizeof *c->suspects);
    CHECK(c->suspects != NULL);
    c->suspects[c->suspects_count++] = (struct check_suspect){*i, seq};
}

bool check_is_suspect(const struct sim_check *c, const struct dot *dot)
{
    for (size_t k = 0; k < c->suspects_count; k++)
        if (incarnation_equal(&c->suspects[k].incarnation, &dot->incarnation))
            return dot->seq > c->suspects[k].seq;
    return false;
}

/* ---- which events there are ---- */

static struct check_name *slot_of(struct sim_check *c, const struct dot *dot,
                                  const struct hash *hash, bool *ret_other)
{
    size_t mask = c->names_size - 1;
    size_t at = ((size_t)get_be64(dot->incarnation.bytes) ^
                 (size_t)(dot->seq * UINT64_C(0x9e3779b97f4a7c15))) &
                mask;

    while (c->names[at].dot.seq != 0) {
        if (dot_equal(&c->names[at].dot, dot)) {
            if (hash_equal(&c->names[at].hash, hash))
                return &c->names[at];
            *ret_other = *ret_other || !c->names[at].tentative;
        }
        at = (at + 1) & mask;
    }
    return &c->names[at];
}

static void grow(struct sim_check *c)
{
    struct check_name *old = c->names;
    size_t size = c->names_size;

    if (2 * c->names_count < size)
        return;
    c->names_size = size == 0 ? NAMES_MIN : 2 * size;
    c->names = cm_calloc(c->names_size, sizeof *c->names);
    CHECK(c->names != NULL);
    for (size_t i = 0; i < size; i++) {
        bool other = false;

        if (old[i].dot.seq != 0)
            *slot_of(c, &old[i].dot, &old[i].hash, &other) = old[i];
    }
    cm_free(old);
}

/* ---- who holds which ---- */

static struct check_branch *
branch_of(struct sim_check *c, const struct dot *dot, const struct hash *hash)
{
    struct check_branch *b;

    for (size_t i = 0; i < c->branches_count; i++)
        if (dot_equal(&c->branches[i].dot, dot) &&
            hash_equal(&c->branches[i].hash, hash))
            return &c->branches[i];
    c->branches =
        cm_realloc(c->branches, (c->branches_count + 1) * sizeof *c->branches);
    CHECK(c->branches != NULL);
    b = &c->branches[c->branches_count++];
    *b = (struct check_branch){.dot = *dot, .hash = *hash};
    return b;
}

/* h has committed it; and whoever has what the model knows by that name has
 * applied it while the model could still tell. */
static void hold(struct sim_check *c, const struct check_host *h,
                 const struct dot *dot, const struct hash *hash,
                 const struct sim_model_event *known)
{
    if (known != NULL && !hash_equal(&known->hash, hash)) {
        size_t before = c->branches_count;
        struct check_branch *b = branch_of(c, dot, &known->hash);

        for (unsigned i = 0; i < c->options.hosts_count; i++)
            if (c->branches_count > before &&
                known->actor < c->hosts[i].seqs_count &&
                c->hosts[i].seqs[known->actor] >= dot->seq)
                b->holders[i / 64] |= UINT64_C(1) << i % 64;
    }
    branch_of(c, dot, hash)->holders[h->number / 64] |= UINT64_C(1)
                                                        << h->number % 64;
}

void check_branches_forget(struct sim_check *c, const struct check_host *h)
{
    for (size_t i = 0; i < c->branches_count; i++)
        c->branches[i].holders[h->number / 64] &=
            ~(UINT64_C(1) << h->number % 64);
}

static bool holds(const struct check_branch *b, const struct check_host *h)
{
    return (b->holders[h->number / 64] >> h->number % 64 & 1) != 0 &&
           vv_seq(&h->vv, &b->dot.incarnation) >= b->dot.seq;
}

/* ---- what is committed ---- */

static void take_name(struct sim_check *c, const struct check_host *h,
                      const struct commit_event *e)
{
    uint32_t actor = sim_model_actor(c->model, &e->dot.incarnation);
    const struct sim_model_event *known =
        sim_model_find(c->model, actor, e->dot.seq);
    bool other = known != NULL && !known->tentative;
    struct check_name *n;
    char text[DOT_TEXT_SIZE];
    struct hash hash;
    struct event decoded;

    bool suspect = check_is_suspect(c, &e->dot);
    bool same = known != NULL &&
                slice_equal(e->bytes, slice_of(known->bytes, known->size));

    check_evaluated(c, SIM_CHECK_ONE_EVENT);
    if (same && !suspect)
        return;
    if (event_decode(&decoded, e->bytes) != 0)
        return;
    hash = event_hash(&decoded);
    event_release(&decoded);
    if (suspect && !h->dying)
        hold(c, h, &e->dot, &hash, known);
    if (same)
        return;
    grow(c);
    n = slot_of(c, &e->dot, &hash, &other);
    if (n->dot.seq != 0) {
        n->tentative = n->tentative && h->dying;
        return;
    }
    /* A power cut hits it: the platter may not have it, and its name is given
     * again then. */
    *n = (struct check_name){e->dot, hash, h->dying};
    c->names_count++;
    dot_format(text, &e->dot);
    if (other && !h->dying && !suspect)
        sim_check_report(c, SIM_CHECK_ONE_EVENT, h->number,
                         "has another event under %s than others, and no "
                         "fault gave that name to two of them",
                         text);
}

void check_names(struct sim_check *c, const struct check_host *h,
                 const struct commit_result *r)
{
    for (size_t i = 0; i < r->events_count && !c->any_hostile; i++)
        take_name(c, h, &r->events[i]);
}

/* ---- how soon it is found ---- */

static bool knows(const struct sim_check *c, const struct check_host *h)
{
    struct node_status s;

    node_status_read(check_node(c, h), &s);
    return s.alarm_fork || s.alarm_hazard || s.return_reason[0] != 0;
}

static bool are_apart(const struct sim_check *c, const struct check_host *a,
                      const struct check_host *b)
{
    for (size_t i = 0; i < c->branches_count; i++) {
        const struct check_branch *x = &c->branches[i];

        for (size_t k = 0; k < c->branches_count && holds(x, a); k++) {
            const struct check_branch *y = &c->branches[k];

            if (dot_equal(&x->dot, &y->dot) &&
                !hash_equal(&x->hash, &y->hash) && holds(y, b))
                return true;
        }
    }
    return false;
}

static bool may_be_asked(const struct sim_check *c, const struct check_host *h)
{
    return check_node(c, h) != NULL && h->has_identity && !h->hostile &&
           check_is_calm(c, h, 0);
}

/* Somebody that nothing troubles, has another event than h, and does not know
 * it; NULL: nobody. */
static const struct check_host *find_apart(struct sim_check *c,
                                           const struct check_host *h)
{
    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        const struct check_host *other = &c->hosts[i];

        if (i == h->number || !may_be_asked(c, other) ||
            !are_apart(c, h, other))
            continue;
        check_evaluated(c, SIM_CHECK_FORK);
        if (!knows(c, other))
            return other;
    }
    return NULL;
}

static void look(struct sim_check *c, struct check_host *h)
{
    const struct check_host *other = find_apart(c, h);

    if (other == NULL || knows(c, h)) {
        h->apart_since_us = 0;
        return;
    }
    if (h->apart_since_us == 0)
        h->apart_since_us = check_now(c);
    if (check_now(c) - h->apart_since_us >= CHECK_FORK_US &&
        check_is_calm(c, h, CHECK_FORK_US) &&
        check_is_calm(c, other, CHECK_FORK_US))
        sim_check_report(c, SIM_CHECK_FORK, h->number,
                         "n%u and it hold two events under one name, and "
                         "neither has found it",
                         other->number);
}

void check_forks_tick(struct sim_check *c)
{
    for (unsigned i = 0; i < c->options.hosts_count && c->forked; i++) {
        if (may_be_asked(c, &c->hosts[i]))
            look(c, &c->hosts[i]);
        else
            c->hosts[i].apart_since_us = 0;
    }
}

/* ---- copies ---- */

void sim_check_on_clone(struct sim_check *c, unsigned from, unsigned to)
{
    if (c == NULL)
        return;
    struct check_host *original = &c->hosts[from];
    struct check_host *copy = &c->hosts[to];

    CHECK(from != to && !copy->up);
    original->rolled_back = copy->rolled_back = c->any_rolled_back = true;
    original->calm_since_us = copy->calm_since_us = check_now(c);
    original->twin = to + 1;
    copy->twin = from + 1;
    copy->cloned = true;
    copy->fresh = true;
}

void sim_check_on_clone_over(struct sim_check *c, unsigned from, unsigned to)
{
    if (c == NULL)
        return;
    c->hosts[from].twin = c->hosts[to].twin = 0;
    c->hosts[from].calm_since_us = check_now(c);
    c->hosts[to].calm_since_us = check_now(c);
    c->hosts[to].cloned = false;
}

void check_cloned(struct sim_check *c, struct check_host *h,
                  const struct vv *vv)
{
    const struct incarnation *self = sim_model_incarnation(c->model, h->actor);

    h->cloned = false;
    check_suspect(c, self, vv_seq(vv, self));
}
