/* Disks that go back: see deed_disk.h. */
#include "sim/deed_disk.h"

#include "crdt/base/check.h"
#include "sim/check.h"
#include "sim/world.h"

struct sim_image *sim_deed_image(struct sim_world *w, unsigned host)
{
    CHECK(host < w->options.hosts);
    if (!sim_world_is_ready(w, host))
        return NULL;
    return sim_image_take(w->hosts[host]);
}

void sim_deed_put_back(struct sim_world *w, unsigned host,
                       const struct sim_image *i)
{
    struct sim_presence *p = &w->presences[host];
    struct sim_host *h = w->hosts[host];

    if (!p->member || p->by_hand || !p->joined || !sim_image_is_of(i, h))
        return;
    if (sim_host_is_up(h)) {
        sim_presence_note(p);
        sim_host_power_cut(h);
    }
    sim_check_on_old_disk(w->check, host);
    sim_image_put(i, h);
    sim_fault_happened(&w->faults, SIM_DEED_OLD_DISK);
    sim_presence_kick(p);
}
