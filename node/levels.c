/* The format level of this program, told to the mesh: once after an update.
 *
 * The writer announces by itself at the end of any batch (writer_level.c); a
 * node that has nothing to write gets a batch for it here, a moment after it
 * has become ready: by then peers have told whether its disk went back, and an
 * event under an old name would be a fork. Nothing is asked for once the
 * standing shows the level, so an idle mesh stays silent. */
#include "crdt/base/check.h"
#include "node/node_internal.h"

#define LEVEL_ANNOUNCE_MS 3000 /* after the node is ready; between tries */

static bool has_to_announce(const struct node *n)
{
    return n->ready && n->standing != NULL && n->standing->self_member &&
           !n->standing->self_evictee && n->standing->self_level < n->level;
}

static void announced(void *context, struct intent *i)
{
    (void)context;
    intent_free(i);
}

void levels_tick(struct node *n, uint64_t now)
{
    struct intent *i;

    if (!has_to_announce(n)) {
        n->level_due_ms = 0;
        return;
    }
    if (n->level_due_ms == 0)
        n->level_due_ms = now + LEVEL_ANNOUNCE_MS;
    if (now < n->level_due_ms)
        return;
    n->level_due_ms = now + LEVEL_ANNOUNCE_MS;
    i = intent_new(INTENT_EXPIRE); /* a batch, with nothing of its own */
    if (i == NULL)
        return;
    i->done = announced;
    if (n->ports.writer->submit(n->ports.ctx, i) != 0)
        intent_free(i);
}

uint64_t levels_deadline(const struct node *n)
{
    if (!has_to_announce(n))
        return UINT64_MAX;
    return n->level_due_ms != 0 ? n->level_due_ms : node_now(n);
}

uint32_t node_level_of(const struct node *n, const struct key_id *key)
{
    uint32_t ret = 0;

    CHECK(key != NULL);
    for (size_t i = 0; n->standing != NULL && i < n->standing->members_count;
         i++) {
        const struct standing_view_member *m = &n->standing->members[i];
        const struct roster_member *r =
            n->roster != NULL ? roster_find(n->roster, &m->incarnation) : NULL;

        if (r != NULL && key_id_equal(&r->certificate.key_id, key) &&
            m->level > ret)
            ret = m->level;
    }
    return ret;
}
