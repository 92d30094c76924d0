/* Format levels in the writer: what this program knows is announced once, and
 * nothing above what everybody knows is written or applied.
 *
 * "A new operation type may be written only when every rostered incarnation has
 * announced that it knows it." The origin refuses it before that, with the
 * names of who does not know it yet. One that comes all the same waits here,
 * at who knows it as at who does not, and with it what its writer wrote since:
 * nobody else builds on it, so nobody who could not read it has to wait for
 * anything but that one writer. It applies in the transaction in which the last
 * announcement does, or in which the last one that lacks it is known to go.
 * Making it void instead would need everybody to agree upon what its writer
 * knew of the roster; that it waits is no part of the state. */
#include <stdio.h>
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/writer_internal.h"

#define NAMES_SIZE 120 /* of a refusal: as many as fit, the rest is counted */

/* ---- what this program knows ---- */

static int too_new(struct cm_detail *detail, uint32_t has, uint32_t knows)
{
    return cm_fail(detail, CM_ERR_FORMAT_VERSION,
                   "it has format level %u, this program knows %u: a newer "
                   "program has written it, and only one that knows that "
                   "level reads it; install that one",
                   has, knows);
}

int writer_limit_level(struct writer *w, uint32_t level,
                       struct cm_detail *detail)
{
    uint32_t announced = standing_level_of(w->standing, &w->self);
    uint32_t needs = standing_needs(w->standing);

    CHECK(level >= LEVEL_FIRST && level <= LEVEL_LAST);
    if (announced > level || needs > level)
        return too_new(detail, announced > needs ? announced : needs, level);
    w->level = level;
    return 0;
}

int level_check_cut(const struct writer *w, const struct replacement *r,
                    uint32_t founder_level, struct cm_detail *detail)
{
    uint32_t needs = founder_level;
    uint32_t record = LEVEL_FIRST;
    int error = standing_peek_needs(r->standing, &record);

    if (error != 0)
        return cm_fail(detail, error, "standing of the state to adopt: %s",
                       cm_strerror(error));
    if (record > needs)
        needs = record;
    if (needs <= w->level)
        return 0;
    return too_new(detail, needs, w->level);
}

/* ---- what others know ---- */

/* Who does not know level: as many names as there is room for. */
static void name_ignorant(const struct writer *w, uint32_t level,
                          char ret_names[NAMES_SIZE])
{
    size_t size = 0;
    size_t left = 0;

    ret_names[0] = '\0';
    for (size_t i = 0; i < standing_members(w->standing); i++) {
        const struct incarnation *who = standing_member(w->standing, i);
        const struct roster_member *m = roster_find(w->roster, who);
        const char *name = m != NULL ? m->certificate.name : "?";
        size_t room = strlen(name) + sizeof ", and 65535 more";

        if (standing_level_of(w->standing, who) >= level ||
            !standing_stays(w->standing, who))
            continue;
        if (left > 0 || size + room > NAMES_SIZE) {
            left++;
            continue;
        }
        size += (size_t)snprintf(ret_names + size, NAMES_SIZE - size, "%s%s",
                                 size > 0 ? ", " : "", name);
    }
    if (left > 0)
        (void)snprintf(ret_names + size, NAMES_SIZE - size, " and %zu more",
                       left);
}

bool level_is_known(const struct writer *w, uint32_t level)
{
    return level <= LEVEL_FIRST ||
           (level <= w->level && level <= standing_level(w->standing, NULL));
}

int level_check_local(const struct writer *w, const struct op *op,
                      struct cm_detail *detail)
{
    uint32_t level = op_level(op);
    char names[NAMES_SIZE];

    if (level_is_known(w, level))
        return 0;
    CM_MARK("write: refused, not everybody knows it yet");
    if (level > w->level)
        return cm_fail(detail, CM_ERR_LEVEL,
                       "this program does not know a %s with a reason (format "
                       "level %u): bring it up to date",
                       op_kind_name(op->kind), level);
    name_ignorant(w, level, names);
    return cm_fail(detail, CM_ERR_LEVEL,
                   "not known yet by %s: a %s with a reason (format level %u); "
                   "update them, or evict who is gone; without it: at once",
                   names, op_kind_name(op->kind), level);
}

int level_check_add(const struct writer *w, uint32_t level,
                    struct cm_detail *detail)
{
    uint32_t own = standing_level_of(w->standing, &w->self);

    if (level >= own)
        return 0;
    return cm_fail(detail, CM_ERR_LEVEL,
                   "its program knows format level %u, members of this mesh "
                   "have announced %u: install a newer one on it",
                   level, own);
}

bool level_judge(const struct writer *w, const struct event *e)
{
    return e->level <= LEVEL_FIRST ||
           e->level <= standing_level(w->standing, &e->dot.incarnation);
}

/* ---- keeping track ---- */

void level_note(struct batch *b, uint32_t level)
{
    if (level <= LEVEL_FIRST || !standing_note_level(b->w->standing, level))
        return;
    b->standing_changed = true;
    b->ahead = true;
}

int level_announce(struct batch *b, bool *ret_wrote)
{
    struct writer *w = b->w;
    int error;

    if (!standing_due_level(w->standing, &w->self, w->level) ||
        !standing_stays(w->standing, &w->self))
        return 0;
    CM_MARK("level: announced");
    error =
        local_control(b, OP_KNOWS, slice_of(w->self.bytes, INCARNATION_SIZE),
                      slice_of(NULL, 0));
    *ret_wrote = error == 0;
    return error == CM_ERR_TOO_LARGE ? 0 : error;
}
