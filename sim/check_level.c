/* Format levels: programs of different ages in one mesh.
 *
 * What a host's program knows is told by the host; what it has announced is
 * told by the events (model_state.h). An operation is written only where
 * everybody whom the mesh may let vote knows it, and nobody applies, by an
 * event or with a state, what his program does not know. In the end everybody
 * has announced what his program knows. */
#include <inttypes.h>

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

static uint32_t program_of(const struct sim_check *c, unsigned host)
{
    return c->options.hosts != NULL ? sim_host_level(c->options.hosts[host])
                                    : LEVEL_LAST;
}

/* Whether g is a member in somebody's eyes, and none that is on its way out in
 * the writer's: who writes may not know of it yet. */
static bool votes(const struct sim_check *c, const struct check_host *g,
                  const struct standing *writer)
{
    bool member = false;

    if (g->hostile || !g->has_identity || g->actor == SIM_MODEL_NO_ACTOR)
        return false;
    for (unsigned i = 0; i < c->options.hosts_count && !member; i++) {
        const struct check_host *x = &c->hosts[i];

        member = x->state != NULL && !x->unsure &&
                 sim_model_state_is_member(x->state, g->actor);
    }
    return member &&
           !standing_is_sealed(
               writer, sim_model_incarnation(c->model, g->actor), NULL) &&
           !standing_is_evictee(writer,
                                sim_model_incarnation(c->model, g->actor));
}

/* A copy of a disk runs on a machine with an older program, and what its name
 * has announced was said by the other one. */
static bool is_older_copy(const struct sim_check *c, const struct check_host *g,
                          uint32_t level)
{
    const struct check_host *twin = g->twin > 0 ? &c->hosts[g->twin - 1] : NULL;

    return twin != NULL && twin->actor == g->actor &&
           program_of(c, twin->number) >= level;
}

static void check_origin_level(struct sim_check *c, const struct check_host *h,
                               const struct sim_model_event *e)
{
    const struct standing *s = standing_of(c, h);

    if (s == NULL || h->unsure || c->forked ||
        !sim_model_state_is_member(h->state, h->actor))
        return;
    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        if (program_of(c, i) >= e->decoded.level ||
            is_older_copy(c, &c->hosts[i], e->decoded.level) ||
            !votes(c, &c->hosts[i], s))
            continue;
        sim_check_report(c, SIM_CHECK_LEVEL, h->number,
                         "writes event %" PRIu64 " of format level %" PRIu32
                         ", which the program of n%u does not know",
                         e->decoded.dot.seq, e->decoded.level, i);
        return;
    }
}

void check_level(struct sim_check *c, const struct check_host *h,
                 const struct sim_model_event *e)
{
    char text[DOT_TEXT_SIZE];

    if (e->decoded.level <= LEVEL_FIRST)
        return;
    check_evaluated(c, SIM_CHECK_LEVEL);
    dot_format(text, &e->decoded.dot);
    if (e->decoded.level > program_of(c, h->number))
        sim_check_report(c, SIM_CHECK_LEVEL, h->number,
                         "applies %s of format level %" PRIu32
                         ", its program knows %" PRIu32,
                         text, e->decoded.level, program_of(c, h->number));
    if (e->actor == h->actor)
        check_origin_level(c, h, e);
}

void check_levels(struct sim_check *c, const struct check_host *h,
                  const struct standing *s)
{
    for (size_t i = 0; i < standing_members(s); i++) {
        const struct incarnation *who = standing_member(s, i);
        uint32_t actor = sim_model_actor(c->model, who);
        uint32_t level = sim_model_state_level(h->state, actor);
        char text[DOT_TEXT_SIZE];

        /* 0: a founder that its order alone tells of. */
        if (level == 0 || standing_level_of(s, who) == level)
            continue;
        check_dot_text(text, c->model, actor, 0);
        sim_check_report(c, SIM_CHECK_FLOOR, h->number,
                         "%s has announced level %" PRIu32 ", not %" PRIu32,
                         text, level, standing_level_of(s, who));
        return;
    }
    if (standing_needs(s) > program_of(c, h->number))
        sim_check_report(c, SIM_CHECK_LEVEL, h->number,
                         "holds a state of format level %" PRIu32
                         ", its program knows %" PRIu32,
                         standing_needs(s), program_of(c, h->number));
}

void check_levels_quiescent(struct sim_check *c, const bool *core)
{
    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        struct check_host *h = &c->hosts[i];
        const struct standing *s = standing_of(c, h);
        const struct incarnation *who;

        if (!check_in_core(core, i) || s == NULL || h->hostile || h->unsure ||
            !h->has_identity || h->actor == SIM_MODEL_NO_ACTOR)
            continue;
        who = sim_model_incarnation(c->model, h->actor);
        if (!standing_stays(s, who) ||
            standing_level_of(s, who) == program_of(c, i))
            continue;
        sim_check_report(c, SIM_CHECK_WAITING, i,
                         "has announced format level %" PRIu32
                         ", its program knows %" PRIu32,
                         standing_level_of(s, who), program_of(c, i));
    }
}
