/* Host: one simulated machine with a whole node on it.
 *
 * The same store, writer, gossip and node as in production, composed over the
 * simulator's ports as the daemon composes them over libuv's. What takes time
 * in the world takes virtual time here: a batch of intents is taken at one
 * instant, committed at a later one, and its result reaches the node later
 * still, with reads and packets in between; so do the steps of works.
 *
 * A power cut ends all of it at once. If a batch was under way its commit is
 * made to fall in the middle of LMDB's system calls. Then the node is given
 * the rest of its results with no one listening, so that it frees what it
 * holds; the disk keeps what had reached the platter. */
#ifndef SIM_HOST_H
#define SIM_HOST_H

#include "node/node.h"
#include "sim/clock.h"
#include "sim/disk.h"
#include "sim/net.h"

#define SIM_HOST_MAP_SIZE (UINT64_C(256) << 20)
#define SIM_HOST_PATH_MAX 256

struct sim_check;

/* What every host of a run shares; all borrowed. */
struct sim_place {
    struct sim_sched *sched;
    const struct sim_fate *fate;
    struct sim_net *net;
    struct sim_faults *faults; /* counted; NULL: not */
    struct sim_object_log *object_log;
    uint64_t seed;
    uint64_t probe_interval_ms; /* 0: gossip's default */
    uint64_t floor_interval_ms; /* 0: hosts propose no floors */
    unsigned uploaders; /* the first hosts put snapshots and deltas… */
    const char *const *targets; /* …here (borrowed)… */
    unsigned targets_count;
    uint64_t delta_ms; /* …so often */
    uint64_t drill_ms; /* between drills; 0: none */
    /* Between walks over all records; 0: production's day, and no copy of the
     * facts is kept, from which a node whose store is damaged joins anew. */
    uint64_t scrub_interval_ms;
    uint32_t format_level; /* of programs at first; 0: LEVEL_LAST */
    uint32_t sync_us_min;  /* what a commit takes */
    uint32_t sync_us_max;
    FILE *log;               /* lines of the nodes; NULL: none */
    struct sim_check *check; /* told of everything; NULL: nobody is */
};

struct sim_host;
struct sim_check;
struct sim_objects;
struct sim_object_log;

/* directory (copied) exists and belongs to this host. */
int sim_host_create(struct sim_host **ret_host, const struct sim_place *place,
                    unsigned number, const char *directory);
/* From now on; before the first boot. */
void sim_host_set_check(struct sim_host *h, struct sim_check *check);
/* Shuts the node down first, if it is up. */
void sim_host_free(struct sim_host *h);

/* Powers on: opens the store and what follows. token (copied) is needed until
 * the node has joined; NULL afterwards and for the founder, whose store must
 * have been initialised. */
int sim_host_boot(struct sim_host *h, const char *token,
                  struct cm_detail *detail);
void sim_host_power_cut(struct sim_host *h);
/* The process dies; what it had written stays, durable or not. */
void sim_host_crash(struct sim_host *h);
/* Says goodbye to its peers; a little later, the process ends in order. */
void sim_host_leave(struct sim_host *h);
void sim_host_stop(struct sim_host *h);
/* While it is down: an empty disk, another key, another name. */
void sim_host_wipe(struct sim_host *h);
/* It is up, but its process would have ended by itself with an error. */
bool sim_host_is_broken(const struct sim_host *h);
bool sim_host_is_up(const struct sim_host *h);
/* Virtual time that it has been up, all its lives together. */
uint64_t sim_host_up_us(const struct sim_host *h);
/* Writes a founder's first facts, and what a snapshot held (NULL: nothing);
 * while it is down, on an empty disk. */
int sim_host_initialise(struct sim_host *h,
                        const struct store_identity *identity,
                        const struct replacement *state,
                        struct cm_detail *detail);

/* The format level of its program (op.h); from the next boot on. */
uint32_t sim_host_level(const struct sim_host *h);
void sim_host_set_level(struct sim_host *h, uint32_t level);

/* ---- faults that stay until set otherwise ---- */

/* The process stands still until then (0: it goes on). */
void sim_host_pause(struct sim_host *h, uint64_t until_us);
/* Added to each work's step and each commit; to each commit. */
void sim_host_set_slow(struct sim_host *h, uint64_t all_us, uint64_t disk_us);
/* The n-th allocation of its process from now on fails; 0: none. */
void sim_host_fail_allocation(struct sim_host *h, uint64_t n);
struct sim_disk *sim_host_disk(struct sim_host *h);
struct sim_objects *sim_host_objects(struct sim_host *h);
struct sim_clock *sim_host_clock(struct sim_host *h);
/* To be called when its clock was made to run otherwise. */
void sim_host_clock_changed(struct sim_host *h);

/* A client's request on this host. answered: the node lived to tell; only
 * then does result 0 mean acknowledged. i is freed afterwards. */
typedef void (*sim_write_done)(void *ctx, const struct intent *i,
                               bool answered);
/* Takes i. CM_ERR_CLOSED when it is down, else what node_submit says; then
 * done is not called and i has been freed. */
int sim_host_write(struct sim_host *h, struct intent *i, sim_write_done done,
                   void *ctx);

/* NULL while it is down. */
struct node *sim_host_node(struct sim_host *h);
struct store *sim_host_store(struct sim_host *h);               /* likewise */
const struct writer *sim_host_writer(const struct sim_host *h); /* likewise */
const uint8_t *sim_host_public_key(const struct sim_host *h);   /* Ed25519 */
const uint8_t *sim_host_secret_key(const struct sim_host *h);
const char *sim_host_name(const struct sim_host *h);
void sim_host_read_disk(const struct sim_host *h,
                        struct sim_disk_counters *ret_counters);
/* Around every call into the node from outside of this module (the token,
 * status and snapshot functions of node.h): between the two libsodium draws
 * from this host's stream, and its faults hit. What the node calls back
 * meanwhile allocates by sim/memory.h, since allocations may fail. */
void sim_host_enter(struct sim_host *h);
void sim_host_settle(struct sim_host *h);
/* Virtual time as this host's wall clock tells it. */
uint64_t sim_host_wall_ms(const struct sim_host *h);

/* What the network delivers. */
void sim_host_on_datagram(struct sim_host *h, const struct address *from,
                          struct slice packet);
void sim_host_on_accepted(struct sim_host *h, uint64_t stream,
                          const struct address *from);
void sim_host_on_connected(struct sim_host *h, uint64_t stream);
void sim_host_on_bytes(struct sim_host *h, uint64_t stream, struct slice bytes);
void sim_host_on_drained(struct sim_host *h, uint64_t stream);
void sim_host_on_closed(struct sim_host *h, uint64_t stream, int error);

#endif
