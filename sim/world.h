/* World: a mesh of whole nodes in one process, on one virtual time line.
 *
 * Everything that happens is a function of the options: the seed, and what
 * the test asks for. Host 0 founds the mesh, as init does; the others join
 * through tokens, as any node does. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "crdt/authority.h"
#include "sim/check.h"
#include "sim/host.h"
#include "sim/objects.h"
#include "sim/presence.h"

#define SIM_WORLD_HOSTS_MAX 256
#define SIM_WORLD_TARGETS_MAX 2 /* of snapshots */
#define SIM_MS UINT64_C(1000)   /* microseconds */
#define SIM_SECOND (1000 * SIM_MS)

struct sim_world_options {
    uint64_t seed;
    unsigned hosts;
    uint64_t probe_interval_ms; /* 0: gossip's default */
    uint64_t floor_interval_ms; /* quiet time before a floor is proposed; 0:
                                   none is */
    unsigned uploaders;         /* so many hosts put snapshots and deltas… */
    uint64_t delta_ms;          /* …by themselves, so often… */
    unsigned targets;           /* …to so many places; 0: one */
    uint64_t drill_ms;          /* between their drills; 0: none */
    uint64_t scrub_interval_ms; /* disks rot: see host.h; 0: none does */
    uint32_t format_level;      /* of all programs at first; 0: LEVEL_LAST */
    uint32_t sync_us_min;
    uint32_t sync_us_max;
    bool unchecked; /* nobody looks on: see check.h */
    bool blind;     /* the check judges nothing: likewise */
    struct sim_net_options net;
    FILE *log;   /* lines of the nodes; borrowed; NULL: none */
    FILE *trace; /* every event as text, likewise */
};

struct sim_world_options sim_world_default_options(uint64_t seed,
                                                   unsigned hosts);

struct sim_fault;
struct sim_world_orders;

struct sim_world {
    struct sim_world_options options;
    struct sim_sched sched;
    struct sim_fate fate;
    struct sim_faults faults;   /* how often each kind happened */
    struct sim_fault *faulting; /* owned: in force; world_fault.h */
    size_t faulting_count;
    struct sim_net *net;
    struct sim_object_log *object_log; /* what hosts put to targets */
    struct sim_host *hosts[SIM_WORLD_HOSTS_MAX];
    struct sim_presence presences[SIM_WORLD_HOSTS_MAX];
    char *tokens[SIM_WORLD_HOSTS_MAX]; /* owned; NULL once joined */
    char directory[SIM_HOST_PATH_MAX]; /* its own, removed at the end */
    /* Where snapshots go, below it; the first is sim_world_target's. */
    char targets[SIM_WORLD_TARGETS_MAX][SIM_HOST_PATH_MAX];
    const char *target_names[SIM_WORLD_TARGETS_MAX]; /* of targets */
    unsigned places[SIM_WORLD_TARGETS_MAX];          /* sim/objects.h */
    unsigned targets_count;
    struct authority authority;
    struct sim_world_orders *orders; /* owned; world_order.c; NULL: none yet */
    bool renews; /* orders are dated: whom they name needs a fresh token */
    unsigned restores;       /* how often all was lost and restored */
    struct sim_check *check; /* NULL if unchecked */
};

/* Where the files of worlds lie that are made from now on; borrowed, NULL:
 * where the machine keeps such things in memory, or in /tmp. */
void sim_world_place(const char *directory);

/* Makes the hosts and founds the mesh; nothing is up yet. Files live in a
 * temporary directory, in memory where the machine has such a place. */
int sim_world_create(struct sim_world **ret_world,
                     const struct sim_world_options *options,
                     struct cm_detail *detail);
void sim_world_free(struct sim_world *w);
/* A target for snapshots (node_snapshot_now), removed with the world. */
void sim_world_target(const struct sim_world *w,
                      char ret_target[SIM_HOST_PATH_MAX]);

/* What the authority certifies of host 0, which lets the others in. */
void sim_world_founder_certificate(const struct sim_world *w,
                                   struct buffer *out);
/* What it certifies of a member that shall let others in as well. */
void sim_world_issuer_certificate(const struct sim_world *w, unsigned host,
                                  struct buffer *out);

/* Powers a host on; a joiner with the token it was given. From now on it is
 * started again whenever a fault has ended it (presence.h). */
int sim_world_boot(struct sim_world *w, unsigned host,
                   struct cm_detail *detail);
/* It stays off until it is booted. */
void sim_world_power_cut(struct sim_world *w, unsigned host);
/* Asks issuer, which is made one if it is none, for a token and starts host
 * with it when it is there; asks and starts again for as long as that does not
 * succeed. */
void sim_world_join(struct sim_world *w, unsigned host, unsigned issuer);

void sim_world_run_for(struct sim_world *w, uint64_t us);
/* Until holds answers true, looked at every 10 virtual ms; false if it does
 * not within limit_us. */
typedef bool (*sim_world_holds)(struct sim_world *w, void *ctx);
bool sim_world_run_until(struct sim_world *w, sim_world_holds holds, void *ctx,
                         uint64_t limit_us);

/* It is up and has joined. */
bool sim_world_is_ready(const struct sim_world *w, unsigned host);
/* Holds when every host that is up is ready. */
bool sim_world_all_ready(struct sim_world *w, void *ctx);
/* Holds when all hosts are up and show equal digests and vectors. */
bool sim_world_converged(struct sim_world *w, void *ctx);

/* What the host's store shows: digest_finish of its state and vector. */
int sim_world_digest(struct sim_world *w, unsigned host,
                     struct hash *ret_digest);
/* Every entry of every space in canonical form, then the version vector. */
int sim_world_canonical(struct sim_world *w, unsigned host, struct buffer *out);
/* Rebuilds the digest from the entries and compares it with the kept one. */
int sim_world_audit(struct sim_world *w, unsigned host);

#endif
