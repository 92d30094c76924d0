/* A mesh of replicas whose standings are told to one another until nothing
 * happens any more. */
#ifndef TESTS_UNIT_STANDING_SETTLE_H
#define TESTS_UNIT_STANDING_SETTLE_H

#include "standing_mesh.h"

/* nodes that are all rostered and equal. */
static struct mesh *mesh_of(size_t nodes)
{
    struct mesh *m = mesh_new(nodes);

    mesh_roster_all(m);
    mesh_ok(m);
    return m;
}

/* Everybody alive but those of the mask hears all and does its duties, with
 * that stamp. */
static void settle_at(struct mesh *m, unsigned without, hlc_t hlc)
{
    size_t before;

    do {
        before = m->events_count;
        for (int i = 0; i < (int)m->nodes_count; i++) {
            if (!m->nodes[i].alive || (without >> i & 1) != 0)
                continue;
            (void)mesh_pull_all(m, i);
            (void)mesh_fence(m, i, hlc);
            while (mesh_ack(m, i, hlc) != NULL)
                ;
        }
    } while (m->events_count > before);
    for (int i = 0; i < (int)m->nodes_count; i++) {
        if (m->nodes[i].alive && (without >> i & 1) == 0)
            (void)mesh_pull_all(m, i);
    }
}

#endif
