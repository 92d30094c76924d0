/* Members, floor and seals: what a host's writer keeps of them against the
 * model's own account (model_state.h), and who may be let in behind a fence. */
#include <inttypes.h>
#include <stdio.h>

#include "crdt/base/check.h"
#include "node/writer_internal.h"
#include "sim/check_internal.h"

static const struct standing *standing_of(const struct sim_check *c,
                                          const struct check_host *h)
{
    const struct writer *w = NULL;

    if (c->options.hosts != NULL)
        w = sim_host_writer(c->options.hosts[h->number]);
    return w != NULL ? w->standing : NULL;
}

uint64_t check_generation(const struct sim_check *c, const struct check_host *h)
{
    const struct writer *w = NULL;
    struct generation_id id;

    if (c->options.hosts != NULL)
        w = sim_host_writer(c->options.hosts[h->number]);
    if (w == NULL)
        return sim_model_generations(c->model);
    id = writer_generation(w);
    return sim_model_generation_of(c->model, &id);
}

struct hash check_standing_hash(const struct sim_check *c,
                                const struct check_host *h)
{
    const struct standing *s = standing_of(c, h);
    struct hash none = {{0}};

    return s != NULL ? standing_hash(s) : none;
}

void check_standing_anew(struct check_host *h)
{
    floor_release(&h->floor);
    floor_init(&h->floor);
    h->floor_time = 0;
    h->control = true;
}

/* ---- against the model ---- */

static bool compare_members(struct sim_check *c, const struct check_host *h,
                            const struct standing *s)
{
    size_t count = standing_members(s);

    for (size_t i = 0; i < count; i++) {
        const struct incarnation *who = standing_member(s, i);
        uint32_t actor = sim_model_actor(c->model, who);
        char text[DOT_TEXT_SIZE];

        if (sim_model_state_is_member(h->state, actor))
            continue;
        check_dot_text(text, c->model, actor, 0);
        sim_check_report(c, SIM_CHECK_FLOOR, h->number,
                         "it takes %s for a member", text);
        return false;
    }
    if (count == sim_model_state_members(h->state))
        return true;
    sim_check_report(c, SIM_CHECK_FLOOR, h->number,
                     "it has %zu members, the model %zu", count,
                     sim_model_state_members(h->state));
    return false;
}

static void compare_rows(struct sim_check *c, const struct check_host *h,
                         const struct standing *s)
{
    const struct floor *f = standing_floor(s);
    size_t expected = 0;
    size_t found = 0;

    for (uint32_t a = 0; a < sim_model_actors(c->model); a++) {
        const struct floor_row *row =
            floor_find(f, sim_model_incarnation(c->model, a));
        uint64_t last = FLOOR_UNSEALED;
        uint64_t up_to = sim_model_state_floor(h->state, a);
        char text[DOT_TEXT_SIZE];

        (void)sim_model_state_is_sealed(h->state, a, &last);
        expected += up_to > 0 || last != FLOOR_UNSEALED;
        found += row != NULL;
        if ((row == NULL ? 0 : row->up_to) == up_to &&
            (row == NULL ? FLOOR_UNSEALED : row->last) == last)
            continue;
        check_dot_text(text, c->model, a, up_to);
        sim_check_report(c, SIM_CHECK_FLOOR, h->number,
                         "the floor is at %s (sealed at %" PRId64
                         "); it has %" PRIu64 " (%" PRId64 ")",
                         text, (int64_t)last, row == NULL ? 0 : row->up_to,
                         row == NULL ? -1 : (int64_t)row->last);
        return;
    }
    if (found != f->count || found != expected)
        sim_check_report(c, SIM_CHECK_FLOOR, h->number,
                         "its floor has %zu rows, the model %zu", f->count,
                         expected);
    if (standing_floor_time(s) != sim_model_state_floor_time(h->state))
        sim_check_report(c, SIM_CHECK_FLOOR, h->number,
                         "its floor time is %" PRIu64 " ms, not %" PRIu64,
                         hlc_wall_ms(standing_floor_time(s)),
                         hlc_wall_ms(sim_model_state_floor_time(h->state)));
}

static void compare_before(struct sim_check *c, struct check_host *h,
                           const struct standing *s)
{
    const struct floor *now = standing_floor(s);

    check_evaluated(c, SIM_CHECK_FLOOR_BACK);
    for (size_t i = 0; i < h->floor.count; i++) {
        const struct floor_row *old = &h->floor.rows[i];
        const struct floor_row *row = floor_find(now, &old->incarnation);

        if (row != NULL && row->up_to >= old->up_to &&
            (old->last == FLOOR_UNSEALED || old->last == row->last))
            continue;
        sim_check_report(c, SIM_CHECK_FLOOR_BACK, h->number,
                         "a floor was at %" PRIu64 " and is at %" PRIu64,
                         old->up_to, row == NULL ? 0 : row->up_to);
        break;
    }
    if (standing_floor_time(s) < h->floor_time)
        sim_check_report(c, SIM_CHECK_FLOOR_BACK, h->number,
                         "the floor time went back");
    h->floor_time = standing_floor_time(s);
    floor_release(&h->floor);
    CHECK(floor_copy(&h->floor, now) == 0);
}

/* "No stayer ever undoes anything": none has anything to undo. Whoever was
 * added by what lies beyond a seal never was a member. */
static void compare_seals(struct sim_check *c, const struct check_host *h)
{
    if (h->actor == SIM_MODEL_NO_ACTOR ||
        !sim_model_state_is_member(h->state, h->actor) ||
        sim_model_state_is_evictee(h->state, h->actor))
        return;
    check_evaluated(c, SIM_CHECK_SEALED);
    for (uint32_t a = 0; a < h->seqs_count; a++) {
        uint64_t last;
        char text[DOT_TEXT_SIZE];

        if (!sim_model_state_is_sealed(h->state, a, &last) ||
            h->seqs[a] <= last)
            continue;
        check_dot_text(text, c->model, a, h->seqs[a]);
        sim_check_report(c, SIM_CHECK_SEALED, h->number,
                         "holds %s of an incarnation sealed at %" PRIu64, text,
                         last);
        return;
    }
}

void check_standing(struct sim_check *c, struct check_host *h)
{
    const struct standing *s = standing_of(c, h);

    if (!h->control || s == NULL || h->unsure)
        return;
    h->control = false;
    check_evaluated(c, SIM_CHECK_FLOOR);
    if (compare_members(c, h, s))
        compare_rows(c, h, s);
    check_levels(c, h, s);
    compare_before(c, h, s);
    compare_seals(c, h);
}

/* ---- fences ---- */

/* Whether a fence of somebody else, who may well stay, covers it. */
static bool is_let_in(const struct sim_check *c, const struct check_host *h,
                      const struct sim_model_event *e)
{
    return sim_model_fence_covers(c->model, h->actor, &e->decoded.dot);
}

void check_seals(struct sim_check *c, const struct check_host *h,
                 const struct sim_model_event *e)
{
    uint64_t seq;
    char text[DOT_TEXT_SIZE];

    dot_format(text, &e->decoded.dot);
    if (sim_model_state_is_sealed(h->state, e->actor, &seq)) {
        check_evaluated(c, SIM_CHECK_SEALED);
        /* One that is evicted itself writes on for itself alone. */
        if (e->decoded.dot.seq > seq && e->actor != h->actor)
            sim_check_report(c, SIM_CHECK_SEALED, h->number,
                             "applies %s, which lies beyond the seal at "
                             "%" PRIu64,
                             text, seq);
        return;
    }
    if (e->actor == h->actor || h->actor == SIM_MODEL_NO_ACTOR ||
        !sim_model_state_is_fenced(h->state, h->actor, e->actor, &seq))
        return;
    check_evaluated(c, SIM_CHECK_SEALED);
    if (e->decoded.dot.seq > seq && !is_let_in(c, h, e))
        sim_check_report(c, SIM_CHECK_SEALED, h->number,
                         "applies %s, which it has fenced at %" PRIu64
                         " and nobody else covers",
                         text, seq);
}

/* ---- the roster ---- */

void check_founder(struct sim_check *c, const struct roster *roster)
{
    for (size_t i = 0; i < roster->count; i++) {
        const struct roster_member *m = &roster->members[i];
        uint64_t number = sim_model_generations(c->model);
        const struct sim_model_generation *g =
            sim_model_generation(c->model, number);

        sim_model_certify(c->model, &m->incarnation, roster_certificate(m));
        if (m->hlc == 0 && g == NULL)
            sim_model_found(c->model,
                            sim_model_actor(c->model, &m->incarnation), NULL);
    }
}

/* The writer's copy for the loop: the members, and oneself until one is
 * another. */
void check_roster(struct sim_check *c, const struct check_host *h,
                  const struct roster *roster)
{
    size_t members = 0;

    for (size_t i = 0; i < roster->count && !h->unsure; i++) {
        const struct roster_member *m = &roster->members[i];
        uint32_t actor = sim_model_actor(c->model, &m->incarnation);

        if (m->hlc == 0)
            sim_model_certify(c->model, &m->incarnation, roster_certificate(m));
        if (sim_model_state_is_member(h->state, actor))
            members++;
        else if (actor != h->actor)
            sim_check_report(c, SIM_CHECK_EQUAL_VECTORS, h->number,
                             "its roster has a member that no event added");
    }
    if (members != sim_model_state_members(h->state) && !h->unsure)
        sim_check_report(c, SIM_CHECK_EQUAL_VECTORS, h->number,
                         "its roster has %zu members, the model %zu", members,
                         sim_model_state_members(h->state));
}

void check_seals_of_cut(struct sim_check *c, const struct check_host *h,
                        const struct vv *vv)
{
    if (h->actor == SIM_MODEL_NO_ACTOR || h->unsure)
        return;
    for (size_t i = 0; i < vv->count; i++) {
        const struct vv_entry *e = &vv->entries[i];
        uint32_t actor = sim_model_actor(c->model, &e->incarnation);
        struct dot dot = {e->incarnation, e->seq};
        char text[DOT_TEXT_SIZE];
        uint64_t fenced;

        if (e->seq <= (actor < h->seqs_count ? h->seqs[actor] : 0) ||
            !sim_model_state_is_fenced(h->state, h->actor, actor, &fenced))
            continue;
        check_evaluated(c, SIM_CHECK_SEALED);
        if (e->seq <= fenced ||
            sim_model_fence_covers(c->model, h->actor, &dot))
            continue;
        dot_format(text, &dot);
        sim_check_report(c, SIM_CHECK_SEALED, h->number,
                         "joins a state with %s of an evictee, behind its own "
                         "fence at %" PRIu64 "; no other one covers it",
                         text, fenced);
        return;
    }
}
