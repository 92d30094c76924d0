/* The inside of a host, shared by host*.c. */
#ifndef SIM_HOST_INTERNAL_H
#define SIM_HOST_INTERNAL_H

#include <sodium.h>

#include "node/store.h"
#include "node/writer.h"
#include "sim/entropy.h"
#include "sim/host.h"
#include "sim/objects.h"

/* From a commit to the node's hearing of it. */
#define SIM_HOST_DELIVER_US 30

/* A worker: its works in turn, one step at an instant. */
struct lane {
    struct work *first;
    struct work **last;
    bool finished; /* the first has made its last step */
    uint64_t steps;
    uint64_t waits_us; /* the object store took so long over the last step */
    struct sim_event event;
    struct sim_host *host;
    unsigned number;
};

struct sim_host {
    struct sim_place place;
    unsigned number;
    uint32_t level; /* of its program */
    char name[NAME_SIZE_MAX + 1];
    char directory[SIM_HOST_PATH_MAX];
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
    struct random_stream entropy; /* libsodium's */
    struct random_stream random;  /* the port's */
    struct sim_clock clock;
    struct sim_disk *disk;
    struct store *store;
    struct writer *writer; /* NULL in a joiner without identity */
    struct node *node;
    bool dying;    /* the power is gone; nobody hears it any more */
    bool broken;   /* cannot go on: to be started anew */
    unsigned life; /* of its disk, from 1 */
    /* What the machine under it looks like to its node; zeroes: it does not
     * look. */
    uint8_t fingerprint[32];
    uint64_t up_since_us;
    uint64_t up_us;         /* of the lives before */
    uint64_t hold_until_us; /* stopped until then */
    uint64_t slow_us;       /* added to works and commits */
    uint64_t disk_slow_us;  /* added to commits */
    uint64_t fail_after;    /* so many allocations succeed; 0: all */
    struct sim_objects *objects;

    struct sim_event timer;
    uint64_t deadline_ms; /* of the timer, by its clock */
    struct intent *queue; /* waiting for the writer */
    struct intent **queue_last;
    size_t queue_count;
    size_t queue_bytes;
    struct intent *batch; /* taken, not committed yet */
    uint64_t batches;
    struct sim_event gather;
    struct sim_event commit;
    /* Committed, not delivered, while the next batch is under way. */
    struct commit_result *result;
    struct sim_event deliver;
    struct lane lanes[WORK_LANES];
};

/* What runs from now on is not the host's: the end of sim_host_enter. */
void sim_host_done(struct sim_host *h);

/* ---- host_ports.c ---- */

struct node_ports sim_host_ports(struct sim_host *h);
void sim_host_arm(void *ctx, uint64_t deadline_ms);
void sim_host_log(void *ctx, char level, const char *text);

/* ---- host_threads.c ---- */

void sim_host_threads_init(struct sim_host *h);
void sim_host_threads_cancel(struct sim_host *h);
/* What waits is taken a little later, unless a batch is under way. */
void sim_host_set_gathering(struct sim_host *h);
void sim_host_set_stepping(struct lane *l);
/* The queue's first intents, at most a batch. */
struct intent *sim_host_take_batch(struct sim_host *h);
/* NULL when memory is short; then nothing has happened. */
struct commit_result *sim_host_commit_batch(struct sim_host *h);
/* The node hears of the last commit. */
void sim_host_deliver_result(struct sim_host *h);
struct work *sim_host_pop_work(struct lane *l);

#endif
