/* Faults in force, and what holds because of them: see world_fault.h. */
#include "sim/world_fault.h"

#include "crdt/base/check.h"
#include "sim/check.h"
#include "sim/deed_disk.h"
#include "sim/hostile.h"
#include "sim/memory.h"
#include "sim/restore.h"
#include "sim/world_order.h"

#define YEAR_MS (INT64_C(365) * 24 * 3600 * 1000)

/* One line in force. */
struct sim_fault {
    struct sim_fault *next;
    struct sim_world *world;
    struct sim_plan_line line; /* hosts are taken out of it by healing */
    uint64_t until_us;
    unsigned partition; /* its number in the network */
    struct sim_event end;
    struct sim_event tick; /* of a hostile member: its next wrong */
    uint64_t ticks;
    struct sim_image *image; /* owned; NULL: none */
    unsigned original, copy; /* hosts of a clone */
};

static bool has(const struct sim_hosts *s, unsigned host)
{
    return (s->bits[host / 64] >> host % 64 & 1) != 0;
}

static bool hits_host(const struct sim_fault *f, enum sim_deed d, unsigned h)
{
    return f->line.deed == d && has(&f->line.hosts, h);
}

static bool hits_link(const struct sim_fault *f, enum sim_deed d, unsigned from,
                      unsigned to)
{
    return hits_host(f, d, from) && has(&f->line.to, to);
}

static uint64_t times_ms(const struct sim_fault *f)
{
    int64_t ms = f->line.params[SIM_PARAM_MS];

    return ms > 0 ? (uint64_t)ms * SIM_MS : 0;
}

/* ---- what holds, made from all that are in force ---- */

static bool any(const struct sim_world *w, enum sim_deed d, unsigned host)
{
    for (const struct sim_fault *f = w->faulting; f != NULL; f = f->next)
        if (hits_host(f, d, host))
            return true;
    return false;
}

static uint64_t most(const struct sim_world *w, enum sim_deed d, unsigned host,
                     enum sim_param p)
{
    int64_t most = 0;

    for (const struct sim_fault *f = w->faulting; f != NULL; f = f->next)
        if (hits_host(f, d, host) && f->line.params[p] > most)
            most = f->line.params[p];
    return (uint64_t)most;
}

static int64_t sum(const struct sim_world *w, enum sim_deed d, unsigned host,
                   enum sim_param p)
{
    int64_t sum = 0;

    for (const struct sim_fault *f = w->faulting; f != NULL; f = f->next)
        if (hits_host(f, d, host))
            sum += f->line.params[p];
    return sum;
}

static uint64_t latest_us(const struct sim_world *w, enum sim_deed d,
                          unsigned host)
{
    uint64_t latest = 0;

    for (const struct sim_fault *f = w->faulting; f != NULL; f = f->next)
        if (hits_host(f, d, host) && f->until_us > latest)
            latest = f->until_us;
    return latest;
}

static void hold_rate(struct sim_world *w, enum sim_deed d, unsigned host)
{
    static const struct {
        enum sim_deed deed;
        enum sim_net_rate rate;
    } rates[] = {
        {SIM_DEED_LOSS, SIM_NET_LOSS},
        {SIM_DEED_DUPLICATE, SIM_NET_DUPLICATE},
        {SIM_DEED_REORDER, SIM_NET_REORDER},
        {SIM_DEED_TAIL, SIM_NET_TAIL},
        {SIM_DEED_CORRUPT, SIM_NET_CORRUPT},
        {SIM_DEED_TRUNCATE, SIM_NET_TRUNCATE},
        {SIM_DEED_FORGE, SIM_NET_FORGE},
        {SIM_DEED_REPLAY, SIM_NET_REPLAY},
    };
    size_t i = 0;

    while (rates[i].deed != d) {
        i++;
        CHECK(i < sizeof rates / sizeof *rates);
    }
    sim_net_set_rate(w->net, host, rates[i].rate,
                     (uint32_t)most(w, d, host, SIM_PARAM_PPM));
    if (d == SIM_DEED_TAIL)
        sim_net_set_tail(w->net, host, most(w, d, host, SIM_PARAM_MS) * SIM_MS);
}

static void hold_capacity(struct sim_world *w, enum sim_deed d, unsigned host)
{
    int64_t least = 0;

    for (const struct sim_fault *f = w->faulting; f != NULL; f = f->next) {
        int64_t rate = f->line.params[SIM_PARAM_RATE];
        if (hits_host(f, d, host) && (least == 0 || rate < least))
            least = rate;
    }
    sim_net_set_capacity(w->net, host, (uint32_t)least);
}

static void hold_isolation(struct sim_world *w, enum sim_deed d, unsigned host)
{
    sim_net_isolate(w->net, host, any(w, d, host));
}

static void hold_link(struct sim_world *w, enum sim_deed d, unsigned from,
                      unsigned to)
{
    uint64_t until = 0;
    uint64_t bias = 0;
    bool cut = false;

    for (const struct sim_fault *f = w->faulting; f != NULL; f = f->next) {
        if (!hits_link(f, d, from, to))
            continue;
        cut = true;
        bias += times_ms(f);
        if (f->until_us > until)
            until = f->until_us;
    }
    if (d == SIM_DEED_BIAS)
        sim_net_set_bias(w->net, from, to, bias);
    else if (d == SIM_DEED_CLOG)
        sim_net_clog(w->net, from, to, until);
    else
        sim_net_cut(w->net, from, to, cut);
}

/* ---- partitions ---- */

static void set_sides(struct sim_fault *f)
{
    struct sim_world *w = f->world;

    for (unsigned h = 0; h < w->options.hosts; h++)
        sim_net_set_side(w->net, f->partition, h, has(&f->line.hosts, h),
                         f->line.deed == SIM_DEED_BRIDGE &&
                             has(&f->line.to, h));
}

/* SIM_NET_PARTITIONS_MAX if there is none. */
static unsigned free_partition(const struct sim_world *w)
{
    uint64_t used = 0;
    unsigned p = 0;

    for (const struct sim_fault *f = w->faulting; f != NULL; f = f->next)
        if (f->partition < SIM_NET_PARTITIONS_MAX)
            used |= UINT64_C(1) << f->partition;
    while (p < SIM_NET_PARTITIONS_MAX && (used >> p & 1) != 0)
        p++;
    return p;
}

/* ---- hosts ---- */

static void hold_presence(struct sim_world *w, enum sim_deed d, unsigned host)
{
    (void)d;
    sim_presence_set_away(
        &w->presences[host],
        any(w, SIM_DEED_CRASH, host) || any(w, SIM_DEED_POWER_CUT, host) ||
            any(w, SIM_DEED_WIPE, host) || any(w, SIM_DEED_LEAVE, host) ||
            any(w, SIM_DEED_LOSE_ALL, host) || any(w, SIM_DEED_MOVE, host));
}

static void hold_pause(struct sim_world *w, enum sim_deed d, unsigned host)
{
    if (sim_host_is_up(w->hosts[host]))
        sim_host_pause(w->hosts[host], latest_us(w, d, host));
}

static void hold_slow(struct sim_world *w, enum sim_deed d, unsigned host)
{
    (void)d;
    uint64_t all = (uint64_t)sum(w, SIM_DEED_SLOW, host, SIM_PARAM_MS);
    uint64_t disk = (uint64_t)sum(w, SIM_DEED_DISK_SLOW, host, SIM_PARAM_MS);

    sim_host_set_slow(w->hosts[host], all * SIM_MS, disk * SIM_MS);
}

static void hold_disk(struct sim_world *w, enum sim_deed d, unsigned host)
{
    enum sim_disk_fault fault = d == SIM_DEED_DISK_FULL    ? SIM_DISK_FULL
                                : d == SIM_DEED_DISK_ERROR ? SIM_DISK_ERROR
                                : d == SIM_DEED_SYNC_FAIL  ? SIM_DISK_SYNC
                                : d == SIM_DEED_SYNC_LIE   ? SIM_DISK_LIE
                                                           : SIM_DISK_MAP;
    struct sim_disk *disk = sim_host_disk(w->hosts[host]);

    sim_disk_set_fault(disk, fault, any(w, d, host));
    if (d == SIM_DEED_SYNC_LIE)
        sim_disk_set_tearing(disk, (uint32_t)most(w, d, host, SIM_PARAM_PPM));
}

static void hold_clock(struct sim_world *w, enum sim_deed d, unsigned host)
{
    struct sim_clock *c = sim_host_clock(w->hosts[host]);
    int64_t drift = sum(w, SIM_DEED_CLOCK_DRIFT, host, SIM_PARAM_PPM);

    if (drift > SIM_CLOCK_DRIFT_PPM_MAX)
        drift = SIM_CLOCK_DRIFT_PPM_MAX;
    if (drift < -SIM_CLOCK_DRIFT_PPM_MAX)
        drift = -SIM_CLOCK_DRIFT_PPM_MAX;
    if (d == SIM_DEED_CLOCK_STEP || d == SIM_DEED_CLOCK_YEARS)
        sim_clock_set_step(c, sum(w, SIM_DEED_CLOCK_STEP, host, SIM_PARAM_MS) +
                                  YEAR_MS * sum(w, SIM_DEED_CLOCK_YEARS, host,
                                                SIM_PARAM_COUNT));
    else if (d == SIM_DEED_CLOCK_FREEZE)
        sim_clock_set_frozen(c, any(w, d, host));
    else
        sim_clock_set_drift(c, (int32_t)drift);
    sim_host_clock_changed(w->hosts[host]);
}

static void hold_objects(struct sim_world *w, enum sim_deed d, unsigned host)
{
    struct sim_objects *o = sim_host_objects(w->hosts[host]);
    uint32_t ppm = (uint32_t)most(w, d, host, SIM_PARAM_PPM);

    if (d == SIM_DEED_OBJECTS_SLOW)
        sim_objects_set_slow(o, most(w, d, host, SIM_PARAM_MS) * SIM_MS);
    else
        sim_objects_set_rate(o,
                             d == SIM_DEED_OBJECTS_ERROR   ? SIM_OBJECTS_ERROR
                             : d == SIM_DEED_OBJECTS_STALE ? SIM_OBJECTS_STALE
                             : d == SIM_DEED_OBJECTS_OLD   ? SIM_OBJECTS_OLD
                             : d == SIM_DEED_OBJECTS_LOSE  ? SIM_OBJECTS_LOSE
                                                           : SIM_OBJECTS_FLIP,
                             ppm);
}

static void begin_death(struct sim_fault *f, unsigned host)
{
    struct sim_presence *p = &f->world->presences[host];

    if (f->line.deed == SIM_DEED_CRASH)
        sim_presence_crash(p);
    else if (f->line.deed == SIM_DEED_POWER_CUT)
        sim_presence_power_cut(p);
    else if (f->line.deed == SIM_DEED_LEAVE)
        sim_presence_leave(p);
    else
        sim_presence_wipe(p);
}

static void begin_malloc(struct sim_fault *f, unsigned host)
{
    struct sim_host *h = f->world->hosts[host];

    if (sim_host_is_up(h))
        sim_host_fail_allocation(h, (uint64_t)f->line.params[SIM_PARAM_COUNT]);
}

static void begin_join(struct sim_fault *f, unsigned host)
{
    struct sim_world *w = f->world;
    struct sim_presence *p = &w->presences[host];

    if (p->member)
        return;
    unsigned issuer = 0;

    while (issuer < w->options.hosts && !has(&f->line.to, issuer))
        issuer++;
    p->joining = true;
    sim_world_join(w, host, issuer < w->options.hosts ? issuer : 0);
}

/* The disks of the machines that come in their place are sound. */
static void hold_disks(struct sim_world *w, unsigned host, bool hold)
{
    static const enum sim_deed deeds[] = {
        SIM_DEED_DISK_FULL, SIM_DEED_DISK_ERROR, SIM_DEED_SYNC_FAIL,
        SIM_DEED_MAP_FULL, SIM_DEED_SYNC_LIE};

    for (unsigned f = SIM_DISK_FULL; !hold && f < SIM_DISK_FAULTS; f++)
        sim_disk_set_fault(sim_host_disk(w->hosts[host]),
                           (enum sim_disk_fault)f, false);
    for (size_t i = 0; hold && i < sizeof deeds / sizeof *deeds; i++)
        hold_disk(w, deeds[i], host);
}

/* Nobody is left, and what was not in a snapshot is gone. */
static void begin_loss(struct sim_fault *f, unsigned host)
{
    struct sim_world *w = f->world;
    struct cm_detail detail = {""};
    struct sim_restore *r = NULL;

    (void)host;
    f->line.hosts = (struct sim_hosts){{0}};
    int error = sim_restore_gather(&r, w, times_ms(f) / SIM_MS, &detail);
    /* What was altered or bears two names the operator has to put away. */
    if (error != 0 && error != CM_ERR_NOT_FOUND && !sim_restore_is_damaged(w) &&
        !sim_check_is_forked(w->check))
        sim_check_report(w->check, SIM_CHECK_RESTORE, 0, "%s", detail.text);
    if (error != 0)
        return;
    sim_check_on_loss(w->check);
    for (unsigned h = 0; h < w->options.hosts; h++) {
        if (!w->presences[h].member)
            continue;
        sim_hosts_add(&f->line.hosts, h);
        if (sim_host_is_up(w->hosts[h]))
            sim_host_power_cut(w->hosts[h]);
    }
    for (unsigned h = 0; h < w->options.hosts; h++)
        if (w->presences[h].member)
            sim_presence_lose(&w->presences[h]);
    hold_disks(w, 0, false);
    error = sim_restore_found(w, r, &detail);
    hold_disks(w, 0, true);
    if (error != 0)
        sim_check_report(w->check, SIM_CHECK_RESTORE, 0, "%s: %s",
                         cm_strerror(error), detail.text);
    sim_fault_happened(&w->faults, SIM_DEED_LOSE_ALL);
    sim_restore_free(r);
}

/* One wrong to each of the line's `to` in turn. */
static void on_tick(void *context)
{
    struct sim_fault *f = context;
    struct sim_world *w = f->world;
    uint64_t gap_us = times_ms(f) > 0 ? times_ms(f) : SIM_MS;
    unsigned hosts = w->options.hosts;
    unsigned from = 0;

    if (++f->ticks < (uint64_t)f->line.params[SIM_PARAM_COUNT])
        sim_sched_after(&w->sched, &f->tick, gap_us);
    while (from < hosts && !has(&f->line.hosts, from))
        from++;
    for (unsigned i = 0; i < hosts && from < hosts; i++) {
        unsigned to = (unsigned)((f->ticks + i) % hosts);
        if (to == from || !has(&f->line.to, to))
            continue;
        sim_hostile_send(w, from, to, f->line.id, f->ticks);
        return;
    }
}

static void begin_hostile(struct sim_fault *f, unsigned host)
{
    struct sim_world *w = f->world;
    uint64_t gap_us = times_ms(f) > 0 ? times_ms(f) : SIM_MS;

    sim_check_set_hostile(w->check, host);
    f->until_us = w->sched.now_us +
                  gap_us * (uint64_t)f->line.params[SIM_PARAM_COUNT] + SIM_MS;
    sim_sched_at(&w->sched, &f->end, f->until_us);
    sim_sched_after(&w->sched, &f->tick, 0);
}

static void begin_evict(struct sim_fault *f, unsigned host)
{
    if (f->line.params[SIM_PARAM_COUNT] > 1)
        sim_world_evict_twice(f->world, host, &f->line.to);
    else
        sim_world_evict(f->world, host, &f->line.to, times_ms(f) / SIM_MS);
}

static void begin_retire(struct sim_fault *f, unsigned host)
{
    sim_world_retire(f->world, host);
}

static void begin_update(struct sim_fault *f, unsigned host)
{
    sim_presence_update(&f->world->presences[host]);
}

/* It has had its effect when it has begun. */
static void begin_counted(struct sim_fault *f, unsigned host)
{
    if (sim_host_is_up(f->world->hosts[host]))
        sim_fault_happened(&f->world->faults, f->line.deed);
}

static void begin_old_disk(struct sim_fault *f, unsigned host)
{
    f->image = sim_deed_image(f->world, host);
}

static void end_old_disk(struct sim_fault *f, unsigned host)
{
    if (f->image != NULL)
        sim_deed_put_back(f->world, host, f->image);
}

/* Who runs the copy; SIM_PLAN_HOSTS_MAX: nobody any more. */
static unsigned copy_of(const struct sim_fault *f)
{
    unsigned h = 0;

    while (h < f->world->options.hosts && !has(&f->line.to, h))
        h++;
    return h < f->world->options.hosts ? h : SIM_PLAN_HOSTS_MAX;
}

static void begin_clone(struct sim_fault *f, unsigned host)
{
    unsigned to = copy_of(f);

    f->image = sim_deed_image(f->world, host);
    f->original = host;
    f->copy = to;
    if (f->image != NULL && to < SIM_PLAN_HOSTS_MAX)
        sim_deed_clone(f->world, host, to, f->image,
                       f->line.params[SIM_PARAM_COUNT] > 1);
}

static void over_clone(struct sim_fault *f)
{
    if (f->image != NULL && f->copy < SIM_PLAN_HOSTS_MAX)
        sim_deed_end_clone(f->world, f->original, f->copy, f->image);
}

static void begin_rot(struct sim_fault *f, unsigned host)
{
    sim_deed_rot(f->world, host, f->line.id,
                 (unsigned)f->line.params[SIM_PARAM_COUNT],
                 (uint32_t)f->line.params[SIM_PARAM_PPM]);
}

static void begin_move(struct sim_fault *f, unsigned host)
{
    sim_deed_move(f->world, host, f->line.id);
}

static void begin_lapse(struct sim_fault *f, unsigned host)
{
    sim_deed_lapse(f->world, host, f->line.id,
                   (size_t)f->line.params[SIM_PARAM_COUNT]);
}

static void begin_merge(struct sim_fault *f, unsigned host)
{
    sim_deed_merge(f->world, host);
}

static void begin_prune(struct sim_fault *f, unsigned host)
{
    sim_deed_prune(f->world, host, (uint64_t)f->line.params[SIM_PARAM_COUNT],
                   times_ms(f) / SIM_MS);
}

/* ---- kinds ---- */

/* What a kind does when it begins, and what it makes of a host, or of a link,
 * whenever one begins or ends. */
struct kind {
    void (*begin)(struct sim_fault *f, unsigned host);
    /* When its time is over; not when it is healed before. */
    void (*end)(struct sim_fault *f, unsigned host);
    void (*over)(struct sim_fault *f); /* in any case */
    void (*hold)(struct sim_world *w, enum sim_deed d, unsigned host);
    void (*hold_link)(struct sim_world *w, enum sim_deed d, unsigned from,
                      unsigned to);
    bool parts; /* a partition of the network */
};

static const struct kind kinds[SIM_DEEDS] = {
    [SIM_DEED_LOSS] = {.hold = hold_rate},
    [SIM_DEED_DUPLICATE] = {.hold = hold_rate},
    [SIM_DEED_REORDER] = {.hold = hold_rate},
    [SIM_DEED_TAIL] = {.hold = hold_rate},
    [SIM_DEED_CORRUPT] = {.hold = hold_rate},
    [SIM_DEED_TRUNCATE] = {.hold = hold_rate},
    [SIM_DEED_FORGE] = {.hold = hold_rate},
    [SIM_DEED_REPLAY] = {.hold = hold_rate},
    [SIM_DEED_CAPACITY] = {.hold = hold_capacity},
    [SIM_DEED_ISOLATE] = {.hold = hold_isolation},
    [SIM_DEED_BIAS] = {.hold_link = hold_link},
    [SIM_DEED_CLOG] = {.hold_link = hold_link},
    [SIM_DEED_ONEWAY] = {.hold_link = hold_link},
    [SIM_DEED_PARTITION] = {.parts = true},
    [SIM_DEED_BRIDGE] = {.parts = true},
    [SIM_DEED_FLAP] = {.parts = true},
    [SIM_DEED_CRASH] = {.begin = begin_death, .hold = hold_presence},
    [SIM_DEED_POWER_CUT] = {.begin = begin_death, .hold = hold_presence},
    [SIM_DEED_OLD_DISK] = {.begin = begin_old_disk, .end = end_old_disk},
    [SIM_DEED_WIPE] = {.begin = begin_death, .hold = hold_presence},
    [SIM_DEED_LEAVE] = {.begin = begin_death, .hold = hold_presence},
    [SIM_DEED_LOSE_ALL] = {.begin = begin_loss, .hold = hold_presence},
    [SIM_DEED_MOVE] = {.begin = begin_move, .hold = hold_presence},
    [SIM_DEED_LAPSE] = {.begin = begin_lapse},
    [SIM_DEED_MERGE] = {.begin = begin_merge},
    [SIM_DEED_PRUNE] = {.begin = begin_prune},
    [SIM_DEED_PAUSE] = {.begin = begin_counted, .hold = hold_pause},
    [SIM_DEED_SLOW] = {.hold = hold_slow},
    [SIM_DEED_DISK_SLOW] = {.hold = hold_slow},
    [SIM_DEED_MALLOC] = {.begin = begin_malloc},
    [SIM_DEED_DISK_FULL] = {.hold = hold_disk},
    [SIM_DEED_MAP_FULL] = {.hold = hold_disk},
    [SIM_DEED_SYNC_FAIL] = {.hold = hold_disk},
    [SIM_DEED_DISK_ERROR] = {.hold = hold_disk},
    [SIM_DEED_SYNC_LIE] = {.hold = hold_disk},
    [SIM_DEED_BIT_ROT] = {.begin = begin_rot},
    [SIM_DEED_CLONE] = {.begin = begin_clone, .over = over_clone},
    [SIM_DEED_CLOCK_STEP] = {.begin = begin_counted, .hold = hold_clock},
    [SIM_DEED_CLOCK_DRIFT] = {.begin = begin_counted, .hold = hold_clock},
    [SIM_DEED_CLOCK_YEARS] = {.begin = begin_counted, .hold = hold_clock},
    [SIM_DEED_CLOCK_FREEZE] = {.begin = begin_counted, .hold = hold_clock},
    [SIM_DEED_OBJECTS_ERROR] = {.hold = hold_objects},
    [SIM_DEED_OBJECTS_SLOW] = {.hold = hold_objects},
    [SIM_DEED_OBJECTS_STALE] = {.hold = hold_objects},
    [SIM_DEED_OBJECTS_OLD] = {.hold = hold_objects},
    [SIM_DEED_OBJECTS_LOSE] = {.hold = hold_objects},
    [SIM_DEED_OBJECTS_FLIP] = {.hold = hold_objects},
    [SIM_DEED_JOIN] = {.begin = begin_join},
    [SIM_DEED_EVICT] = {.begin = begin_evict},
    [SIM_DEED_RETIRE] = {.begin = begin_retire},
    [SIM_DEED_UPDATE] = {.begin = begin_update},
    [SIM_DEED_HOSTILE] = {.begin = begin_hostile},
};

/* Whether peers may take the host for dead because of this fault: then the
 * check does not count it. */
static bool troubles(const struct sim_fault *f, unsigned host)
{
    switch (sim_deed_family(f->line.deed)) {
    case SIM_FAMILY_NETWORK: /* a cut troubles both sides */
        return kinds[f->line.deed].parts || has(&f->line.hosts, host) ||
               has(&f->line.to, host);
    case SIM_FAMILY_HOSTILE:
        return true;
    case SIM_FAMILY_OBJECTS:
        return false;
    case SIM_FAMILY_STORAGE:
        /* Two that run under one key have to find it: check_forks.c. */
        return f->line.deed != SIM_DEED_CLONE && has(&f->line.hosts, host);
    default:
        return has(&f->line.hosts, host);
    }
}

static void tell_troubles(struct sim_world *w)
{
    for (unsigned h = 0; h < w->options.hosts; h++) {
        bool troubled = false;
        for (const struct sim_fault *f = w->faulting; f != NULL && !troubled;
             f = f->next)
            troubled = troubles(f, h);
        if (troubled != w->presences[h].troubled)
            sim_check_set_trouble(w->check, h, troubled);
        w->presences[h].troubled = troubled;
    }
}

/* What holds for all that line names. */
static void hold(struct sim_world *w, const struct sim_plan_line *line)
{
    const struct kind *k = &kinds[line->deed];
    unsigned hosts = w->options.hosts;

    for (unsigned h = 0; h < hosts; h++) {
        if (!has(&line->hosts, h))
            continue;
        if (k->hold != NULL)
            k->hold(w, line->deed, h);
        for (unsigned to = 0; k->hold_link != NULL && to < hosts; to++)
            if (has(&line->to, to))
                k->hold_link(w, line->deed, h, to);
    }
}

static void fault_end(struct sim_fault *f)
{
    struct sim_world *w = f->world;
    struct sim_fault **at = &w->faulting;

    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    w->faulting_count--;
    sim_sched_cancel(&w->sched, &f->end);
    sim_sched_cancel(&w->sched, &f->tick);
    if (kinds[f->line.deed].parts)
        sim_net_rejoin(w->net, f->partition);
    if (kinds[f->line.deed].over != NULL)
        kinds[f->line.deed].over(f);
    hold(w, &f->line);
    tell_troubles(w);
    sim_image_free(f->image);
    sim_free(f);
}

static void on_end(void *context)
{
    struct sim_fault *f = context;
    const struct kind *k = &kinds[f->line.deed];

    for (unsigned h = 0; k->end != NULL && h < f->world->options.hosts; h++)
        if (has(&f->line.hosts, h))
            k->end(f, h);
    fault_end(f);
}

int sim_world_fault(struct sim_world *w, const struct sim_plan_line *line,
                    struct cm_detail *detail)
{
    const struct kind *k = &kinds[line->deed];
    unsigned partition = SIM_NET_PARTITIONS_MAX;

    CHECK(line->deed < SIM_DEEDS && line->params[SIM_PARAM_FOR] >= 0);
    if (w->faulting_count >= SIM_WORLD_FAULTS_MAX)
        return cm_fail(detail, CM_ERR_LIMIT, "%u faults are in force",
                       SIM_WORLD_FAULTS_MAX);
    if (line->deed == SIM_DEED_WIPE && has(&line->hosts, 0))
        return cm_fail(detail, CM_ERR_AUTHORITY,
                       "host 0 alone can let others in: it cannot be wiped");
    if (k->parts)
        partition = free_partition(w);
    if (k->parts && partition == SIM_NET_PARTITIONS_MAX)
        return cm_fail(detail, CM_ERR_LIMIT, "%u partitions are in force",
                       SIM_NET_PARTITIONS_MAX);
    struct sim_fault *f = sim_calloc(1, sizeof *f);
    f->world = w;
    f->line = *line;
    f->partition = partition;
    f->until_us =
        w->sched.now_us + (uint64_t)line->params[SIM_PARAM_FOR] * SIM_MS;
    f->next = w->faulting;
    w->faulting = f;
    w->faulting_count++;
    sim_event_init(&f->end, "healed", 0, on_end, f);
    sim_event_init(&f->tick, "hostile", 0, on_tick, f);
    sim_sched_at(&w->sched, &f->end, f->until_us);
    sim_sched_note(&w->sched, "fault", (unsigned)line->deed, line->id,
                   slice_of(NULL, 0));
    if (k->parts) {
        sim_net_partition(w->net, partition, line->deed, times_ms(f));
        set_sides(f);
    }
    for (unsigned h = 0; k->begin != NULL && h < w->options.hosts; h++)
        if (has(&line->hosts, h))
            k->begin(f, h);
    hold(w, &f->line);
    tell_troubles(w);
    return 0;
}

static bool remove_hosts(struct sim_hosts *s, const struct sim_hosts *hosts)
{
    bool changed = false;

    for (size_t i = 0; i < sizeof s->bits / sizeof *s->bits; i++) {
        uint64_t left = s->bits[i] & ~hosts->bits[i];
        changed |= left != s->bits[i];
        s->bits[i] = left;
    }
    return changed;
}

static bool is_empty(const struct sim_hosts *s)
{
    uint64_t bits = 0;

    for (size_t i = 0; i < sizeof s->bits / sizeof *s->bits; i++)
        bits |= s->bits[i];
    return bits == 0;
}

void sim_world_heal(struct sim_world *w, const struct sim_hosts *hosts)
{
    struct sim_fault *f = w->faulting;

    while (f != NULL) {
        struct sim_fault *next = f->next;
        struct sim_plan_line before = f->line;
        bool changed = false;
        if (hosts != NULL) {
            changed |= remove_hosts(&f->line.hosts, hosts);
            if (f->line.deed != SIM_DEED_BRIDGE)
                changed |= remove_hosts(&f->line.to, hosts);
        }
        if (hosts == NULL || is_empty(&f->line.hosts) ||
            (f->line.deed == SIM_DEED_CLONE && is_empty(&f->line.to))) {
            f->line = before;
            fault_end(f);
        } else if (changed) {
            hold(w, &before);
            if (kinds[f->line.deed].parts)
                set_sides(f);
        }
        f = next;
    }
    for (unsigned h = 0; h < w->options.hosts; h++) {
        if (hosts != NULL && !has(hosts, h))
            continue;
        sim_clock_set_right(sim_host_clock(w->hosts[h]));
        sim_host_clock_changed(w->hosts[h]);
    }
    tell_troubles(w);
}

size_t sim_world_faults(const struct sim_world *w)
{
    return w->faulting_count;
}

void sim_world_faults_release(struct sim_world *w)
{
    while (w->faulting != NULL) {
        struct sim_fault *f = w->faulting;
        w->faulting = f->next;
        sim_sched_cancel(&w->sched, &f->end);
        sim_sched_cancel(&w->sched, &f->tick);
        sim_image_free(f->image);
        sim_free(f);
    }
    w->faulting_count = 0;
}
