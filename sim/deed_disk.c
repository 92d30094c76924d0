/* Disks that go back, and rot: see deed_disk.h. */
#include "sim/deed_disk.h"

#include "crdt/base/check.h"
#include "node/heal_change.h"
#include "node/merge.h"
#include "node/snapshot_prune.h"
#include "sim/check.h"
#include "sim/memory.h"
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

#define LAPSE_AMONG 16     /* of the first entries, one is gone */
#define OTHER_MACHINE 1000 /* so many more than the host's number */

static void empty(struct sim_world *w, unsigned host)
{
    struct sim_presence *p = &w->presences[host];

    if (sim_host_is_up(w->hosts[host])) {
        sim_presence_note(p);
        sim_host_power_cut(w->hosts[host]);
    }
    sim_host_wipe(w->hosts[host]);
    sim_free(w->tokens[host]);
    w->tokens[host] = NULL;
}

void sim_deed_clone(struct sim_world *w, unsigned from, unsigned to,
                    const struct sim_image *i, bool other)
{
    struct sim_presence *p = &w->presences[to];

    CHECK(from != to && to != 0);
    if (!p->member || p->by_hand || !p->joined ||
        !sim_image_is_of(i, w->hosts[from]))
        return;
    empty(w, to);
    sim_image_put(i, w->hosts[to]);
    if (sim_host_level(w->hosts[to]) < sim_host_level(w->hosts[from]))
        sim_host_set_level(w->hosts[to], sim_host_level(w->hosts[from]));
    sim_host_copy_machine(w->hosts[to], w->hosts[from]);
    if (other)
        sim_host_set_machine(w->hosts[to], OTHER_MACHINE + to);
    sim_check_on_clone(w->check, from, to);
    sim_fault_happened(&w->faults, SIM_DEED_CLONE);
    sim_presence_kick(p);
}

void sim_deed_end_clone(struct sim_world *w, unsigned from, unsigned to,
                        const struct sim_image *i)
{
    struct sim_presence *p = &w->presences[to];

    if (!sim_image_is_of(i, w->hosts[to]))
        return; /* something else has emptied it meanwhile */
    empty(w, to);
    sim_check_on_clone_over(w->check, from, to);
    p->joined = false;
    sim_presence_kick(p);
}

void sim_deed_rot(struct sim_world *w, unsigned host, uint64_t id,
                  unsigned count, uint32_t ppm)
{
    struct sim_disk *d = sim_host_disk(w->hosts[host]);

    CHECK(count > 0);
    if (!w->presences[host].joined)
        return;
    for (uint64_t n = 0; n < count; n++) {
        bool anywhere = sim_fate_chance(&w->fate, SIM_FATE_ROT, id, 2 * n, ppm);

        if (!sim_disk_rot(d, id << 16 | n, anywhere))
            continue;
        sim_check_on_rot(w->check, host, anywhere);
        sim_fault_happened(&w->faults, SIM_DEED_BIT_ROT);
    }
    sim_check_on_rotted(w->check, host);
}

void sim_deed_bury(struct sim_world *w)
{
    for (unsigned i = 0; i < w->options.hosts; i++) {
        if (!sim_host_is_up(w->hosts[i]) ||
            !sim_disk_is_doomed(sim_host_disk(w->hosts[i])))
            continue;
        sim_presence_note(&w->presences[i]);
        sim_host_crash(w->hosts[i]);
        sim_presence_kick(&w->presences[i]);
    }
}

void sim_deed_move(struct sim_world *w, unsigned host, uint64_t id)
{
    struct sim_presence *p = &w->presences[host];

    if (!p->member || p->by_hand || !p->joined)
        return;
    sim_presence_power_cut(p);
    sim_host_set_machine(w->hosts[host],
                         (unsigned)(2 * OTHER_MACHINE + id % OTHER_MACHINE));
    sim_fault_happened(&w->faults, SIM_DEED_MOVE);
}

/* ---- entries that are gone ---- */

/* Among the first keys that are written once: nobody writes to an entry that is
 * not there. */
static size_t pick_entry(struct store_reader *r, uint64_t pick,
                         struct schema_key *ret_key)
{
    const struct store_item *item = NULL;
    struct store_cursor *cursor = NULL;
    uint64_t left = pick % LAPSE_AMONG + 1;
    size_t any = 0;

    if (store_cursor_open(r, SPACE_REGISTER, slice_of_string("unique/"), false,
                          NULL, &cursor) != 0)
        return 0;
    while (left-- > 0 && store_cursor_next(cursor, &item) == 0) {
        schema_key_entry(ret_key, &item->id);
        any = 1;
    }
    store_cursor_close(cursor);
    return any;
}

/* The first keys that there are; how many. */
static size_t pick_entries(struct store_reader *r, struct schema_key *ret_keys,
                           size_t max)
{
    const struct store_item *item = NULL;
    struct store_cursor *cursor = NULL;
    size_t count = 0;

    if (store_cursor_open(r, SPACE_REGISTER, slice_of(NULL, 0), false, NULL,
                          &cursor) != 0)
        return 0;
    while (count < max && store_cursor_next(cursor, &item) == 0)
        schema_key_entry(&ret_keys[count++], &item->id);
    store_cursor_close(cursor);
    return count;
}

static void lapsed(void *ctx, const struct intent *i, bool answered)
{
    struct heal_change *c = ctx;

    (void)i, (void)answered;
    heal_change_free(c);
}

/* As many as one change of the mending takes; how many those were. */
static size_t lapse_some(struct sim_world *w, unsigned host,
                         const struct vv *vv, const struct schema_key *keys,
                         size_t count)
{
    struct heal_change *c = heal_change_new();
    struct intent *i = intent_new(INTENT_HEAL);
    size_t done = 0;

    CHECK(c != NULL && i != NULL);
    c->vv = vv_hash(vv);
    while (done < count && done < HEAL_ENTRIES_MAX) {
        CHECK(heal_change_add(c, &keys[done], slice_of(NULL, 0)) == 0);
        done++;
    }
    i->replacement = c;
    sim_check_on_lapse(w->check, host);
    sim_fault_happened(&w->faults, SIM_DEED_LAPSE);
    if (sim_host_write(w->hosts[host], i, lapsed, c) != 0)
        heal_change_free(c);
    return done;
}

void sim_deed_lapse(struct sim_world *w, unsigned host, uint64_t id,
                    size_t count)
{
    uint64_t pick = sim_fate_draw(&w->fate, SIM_FATE_ROT, id, 0);
    struct store_reader *r = NULL;
    struct schema_key *keys;
    size_t found = 0;
    struct vv vv;

    if (!sim_world_is_ready(w, host) ||
        store_reader_begin(sim_host_store(w->hosts[host]), &r) != 0)
        return;
    vv_init(&vv);
    keys = sim_calloc(count > 0 ? count : 1, sizeof *keys);
    if (store_vv(r, &vv) == 0)
        found = count > 0 ? pick_entries(r, keys, count)
                          : pick_entry(r, pick, keys);
    store_reader_release(r);
    for (size_t done = 0; done < found;)
        done += lapse_some(w, host, &vv, &keys[done], found - done);
    sim_free(keys);
    vv_release(&vv);
}

/* ---- merging ---- */

static void merged(void *ctx, const struct merge_report *report)
{
    struct sim_world *w = ctx;

    if (report->joined + report->retained > 0)
        sim_fault_happened(&w->faults, SIM_DEED_MERGE);
}

void sim_deed_merge(struct sim_world *w, unsigned host)
{
    struct merge_request request = {
        .targets = {{.url = w->targets[0]}}, .targets_count = 1, .yes = true};
    struct cm_detail detail = {""};

    if (!sim_world_is_ready(w, host))
        return;
    sim_check_on_merge(w->check, host);
    sim_host_enter(w->hosts[host]);
    (void)node_merge(sim_host_node(w->hosts[host]), &request, merged, w,
                     &detail);
    sim_host_settle(w->hosts[host]);
}

/* ---- pruning ---- */

static void pruned(void *ctx, enum prune_verdict verdict, const char *name)
{
    struct sim_world *w = ctx;

    if (verdict == PRUNE_DELETED)
        sim_check_on_prune(w->check, name);
    if (verdict != PRUNE_KEPT)
        sim_fault_happened(&w->faults, SIM_DEED_PRUNE);
}

void sim_deed_prune(struct sim_world *w, unsigned host, uint64_t keep,
                    uint64_t grace_ms)
{
    struct prune_policy policy = {.keep_last = keep, .grace_ms = grace_ms};
    uint64_t wall_ms = sim_host_wall_ms(w->hosts[host]);
    struct prune_counts counts;
    struct cm_detail detail = {""};

    /* Nothing is there yet, or nothing whole: then nothing goes. */
    sim_objects_enter(NULL);
    (void)snapshot_prune(w->targets[0], &policy, w->authority.public_key,
                         wall_ms, pruned, w, &counts, &detail);
}
