/* Check: the observer that knows what must hold.
 *
 * It is told of everything that decides (each result of a commit before the
 * node hears of it, each answer to a client, each boot, power cut and wipe)
 * and compares with the reference model (model.h), which knows every event
 * that any node ever committed. It changes nothing in the run: no chance, no
 * event, nothing in the trace.
 *
 * What is cheap is done at once, for each commit: version vectors only grow,
 * an event comes after what it depends on, one dot names one event, equal
 * version vectors show equal digests and those of the model's fold. What costs
 * more is done once per version vector and host (the store entry by entry,
 * when the run is quiet), or for one host every SIM_CHECK_LOOK_US.
 *
 * The first violation is kept; after it the checks go on, and later ones are
 * counted only. Memory that is short ends the process: a run without its
 * checks would prove nothing. */
#ifndef SIM_CHECK_H
#define SIM_CHECK_H

#include "node/writer.h"
#include "sim/sched.h"

#define SIM_CHECK_TEXT_MAX 512
#define SIM_CHECK_ALL_HOSTS UINT32_MAX
#define SIM_CHECK_LOOK_US UINT64_C(5000000) /* between looks at one host */

enum sim_check_kind {
    SIM_CHECK_SAFETY = 1,   /* something wrong happened */
    SIM_CHECK_LIVENESS = 2, /* something right did not happen in time */
};

/* One line each: name (the violation's fingerprint; for shrinking and the
 * zoo), kind, what holds. */
#define SIM_CHECK_MAP(X)                                                       \
    X(EQUAL_VECTORS, "equal-vectors", SAFETY,                                  \
      "equal version vectors show byte-identical state, digest, floor and "    \
      "roster")                                                                \
    X(FOLD, "fold", SAFETY,                                                    \
      "state is the model's fold of the events in the version vector")         \
    X(ONE_EVENT, "one-event-per-dot", SAFETY,                                  \
      "a dot names one event, but where a fault made two of its disk")         \
    X(FORK, "fork-found", LIVENESS,                                            \
      "a name that two events bear is found soon after their holders meet")    \
    X(ORIGIN, "event-from-nowhere", SAFETY,                                    \
      "an event was durable at its origin before anyone else had it")          \
    X(VECTOR_BACK, "vector-back", SAFETY,                                      \
      "a version vector never goes back in one life of a disk")                \
    X(REVISION_BACK, "revision-back", SAFETY,                                  \
      "a revision never goes back in one life of a disk")                      \
    X(CAUSAL_ORDER, "causal-order", SAFETY,                                    \
      "an event is applied after all that it depends on")                      \
    X(DEPS, "deps-complete", SAFETY,                                           \
      "an event's dependencies are all that its origin had applied")           \
    X(SUPERSEDES, "supersedes-complete", SAFETY,                               \
      "an operation names every sibling at its origin, and no other")          \
    X(CONDITION, "condition", SAFETY,                                          \
      "a write is answered as its origin's replica demands")                   \
    X(TRANSACTION, "transaction-whole", SAFETY,                                \
      "a transaction is seen whole or not at all")                             \
    X(ACKNOWLEDGED, "acknowledged", SAFETY,                                    \
      "an acknowledged write is durable, reaches all, and is not undone")      \
    X(CONFIRMED, "confirmed", SAFETY,                                          \
      "whom a wait names has committed what was waited for")                   \
    X(REVOKED, "revoke-stays", SAFETY,                                         \
      "what is revoked stays so until a write names the revoke")               \
    X(WATCH, "watch", SAFETY,                                                  \
      "a watcher misses nothing, repeats nothing, sees whole commits in "      \
      "order")                                                                 \
    X(HLC, "hlc-order", SAFETY,                                                \
      "stamps of one incarnation ascend, and are above those seen before")     \
    X(DRIFT, "hlc-drift", SAFETY,                                              \
      "what is dated far ahead of the clocks waits, and enters no clock")      \
    X(FLOOR, "floor", SAFETY,                                                  \
      "floor, floor time, roster and seals are what the events in the vector " \
      "say")                                                                   \
    X(LEVEL, "format-level", SAFETY,                                           \
      "nobody writes, and nobody applies, what a program does not know that "  \
      "has a say")                                                             \
    X(FLOOR_BACK, "floor-back", SAFETY, "a floor never goes back")             \
    X(SEALED, "beyond-seal", SAFETY,                                           \
      "nobody applies anything beyond a seal, or behind its own fence what "   \
      "no other one covers")                                                   \
    X(COMPACTION, "compaction-unseen", SAFETY,                                 \
      "what a reader sees does not depend on who has compacted what")          \
    X(COUNTER, "alive-counter", SAFETY,                                        \
      "an alive counter never goes back and only its owner raises it")         \
    X(BOUNDS, "bounds", SAFETY, "queues, packets and traffic are bounded")     \
    X(SNAPSHOT, "snapshot", SAFETY,                                            \
      "a listed snapshot verifies and restores to the model's state")          \
    X(RESTORE, "restore", SAFETY,                                              \
      "a restored mesh holds all that its newest snapshot held, and reuses "   \
      "no dot")                                                                \
    X(STORE, "store-readable", SAFETY, "a healthy disk's store can be read")   \
    X(FALSE_DEATH, "false-death", LIVENESS,                                    \
      "members that nothing troubles are hardly ever declared dead")           \
    X(COMPLETENESS, "swim-complete", LIVENESS,                                 \
      "a member that stays away is declared dead by all")                      \
    X(REFUTATION, "swim-refuted", LIVENESS,                                    \
      "a member that is back is alive to all")                                 \
    X(CONVERGENCE, "convergence", LIVENESS,                                    \
      "after healing all of the core show one state in time")                  \
    X(WAITING, "waiting", LIVENESS, "nothing waits for ever")

enum sim_check_invariant {
#define SIM_CHECK_ENUM(id, name, kind, text) SIM_CHECK_##id,
    SIM_CHECK_MAP(SIM_CHECK_ENUM)
#undef SIM_CHECK_ENUM
        SIM_CHECK_INVARIANTS
};

struct sim_check_violation {
    enum sim_check_kind kind;
    enum sim_check_invariant invariant;
    const char *fingerprint;       /* the invariant's name; static */
    uint64_t at_us;                /* virtual time */
    unsigned host;                 /* SIM_CHECK_ALL_HOSTS: none in particular */
    char text[SIM_CHECK_TEXT_MAX]; /* for a person: what, where, against what */
};

struct sim_check;
struct sim_host;

struct sim_check_options {
    const struct sim_sched *sched; /* borrowed, as is hosts */
    unsigned hosts_count;
    /* So many, filled in before the first boot. NULL: nothing to look at (tests
     * of the checks themselves). */
    struct sim_host *const *hosts;
    uint8_t authority_public_key[32];
    uint64_t bytes_per_second_max; /* sent by a host, over 10 s; 0: default */
    uint64_t dead_within_us; /* a member away is dead to all; 0: default */
    uint32_t false_deaths_per_hour_ppm; /* of a watched pair; 0: default */
    unsigned uploaders; /* so many hosts, from 0, put deltas by themselves */
    /* It is told everything and judges nothing: what it does to the world is
     * the same, so is the trace, and it costs next to nothing. */
    bool blind;
};

/* CM_ERR_NOMEM. */
int sim_check_create(struct sim_check **ret_check,
                     const struct sim_check_options *options);
void sim_check_free(struct sim_check *c); /* NULL is fine */

/* NULL while all holds. */
const struct sim_check_violation *
sim_check_violation(const struct sim_check *c);
const char *sim_check_name(enum sim_check_invariant i);
/* A check outside of this module has failed (the runner's own). */
void sim_check_report(struct sim_check *c, enum sim_check_invariant i,
                      unsigned host, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- told by host.c ---- */

/* The writer was opened: after a boot, and when a joiner got its identity.
 * incarnation and first are NULL for a joiner that has none yet. */
void sim_check_on_boot(struct sim_check *c, unsigned host,
                       const struct incarnation *incarnation,
                       const struct commit_result *first);
/* Who the writer is after a commit: nearly always who it was before. */
void sim_check_on_identity(struct sim_check *c, unsigned host,
                           const struct incarnation *incarnation);
/* Each result, before the node gets it. Between on_power_cut and the next boot
 * it is one that the platter may hold or not. wall_ms: the host's clock. */
void sim_check_on_commit(struct sim_check *c, unsigned host,
                         const struct commit_result *r, uint64_t wall_ms);
/* Before the commit that the cut falls into. */
void sim_check_on_power_cut(struct sim_check *c, unsigned host);
/* A client asks; and is answered, or its host died (answered false). */
void sim_check_on_ask(struct sim_check *c, unsigned host);
void sim_check_on_write(struct sim_check *c, unsigned host,
                        const struct intent *i, bool answered);
/* A client waits until members have what was just written, and is told; the
 * second frees what the first gives, which is NULL where nobody judges. report
 * NULL: it could not wait. */
struct sim_check_wait;
struct node_await_report;
struct sim_check_wait *sim_check_wait_begin(struct sim_check *c,
                                            const struct dot *dot);
void sim_check_wait_end(struct sim_check *c, struct sim_check_wait *w,
                        unsigned host, const struct node_await_report *report);
/* A snapshot of this name was acknowledged: it is listed on target, and will
 * be. */
void sim_check_on_snapshot(struct sim_check *c, unsigned host,
                           const char *target, const char *name);
/* The object of that name was pruned away: nobody will find it. */
void sim_check_on_prune(struct sim_check *c, const char *name);
/* What it sends: a datagram, or bytes into a stream. */
void sim_check_on_send(struct sim_check *c, unsigned host, size_t size,
                       bool datagram);

/* ---- told by whoever makes faults ---- */

/* The disk is empty from now on (the host is down): what only it held may be
 * lost. */
void sim_check_on_wipe(struct sim_check *c, unsigned host);
/* Every machine is about to be lost: what its hosts say of their targets is
 * looked at for the last time. */
void sim_check_on_loss(struct sim_check *c);
/* Whether a name was given twice, which puts the model to silence. */
bool sim_check_is_forked(const struct sim_check *c);
/* After total loss (every host was wiped) host begins again as incarnation,
 * from snapshots and deltas with the vector vv (borrowed). Unless damaged, that
 * is no less than each snapshot of this generation that was acknowledged, and
 * than what any host had when, by its own word, the target covered it. Whatever
 * else was acknowledged is lost, and no one may ever hold it again. */
void sim_check_on_restore(struct sim_check *c, unsigned host,
                          const struct incarnation *incarnation,
                          const struct vv *vv, bool damaged);
/* A bit of it has flipped: until the run is judged some of it may not be
 * readable; what can be read is right. In LMDB's own pages: until then, or
 * until the store is set aside, nothing is reported of this host. */
void sim_check_on_rot(struct sim_check *c, unsigned host, bool pages);
/* That was all for now: what it alone held may have been among it. */
void sim_check_on_rotted(struct sim_check *c, unsigned host);
bool sim_check_is_rotten(const struct sim_check *c, unsigned host);
/* A power cut took what a sync had promised: the disk is as it was earlier
 * (what it held since is where others have it, or lost), or torn: whatever it
 * holds, it may be unreadable. */
void sim_check_on_lie(struct sim_check *c, unsigned host, bool torn);
/* Its store was unreadable and is set aside; the node joins anew, with its key.
 * What that disk alone held is lost. Only rot and torn sectors excuse it. */
void sim_check_on_rebuild(struct sim_check *c, unsigned host);
/* An entry that is written once is about to go from its store, and nothing says
 * so: until the mesh has mended it, its digest may be any. */
void sim_check_on_lapse(struct sim_check *c, unsigned host);
/* The operator brings snapshots into it: it may write again what others wrote
 * in earlier generations. */
void sim_check_on_merge(struct sim_check *c, unsigned host);
/* An earlier image of it is put back (the host is down): what it wrote since is
 * where others have it, or lost, and names may be given twice; where that
 * happens, nothing can be said of states any more but that they get alike. */
void sim_check_on_old_disk(struct sim_check *c, unsigned host);
/* The machine `to`, which is down and empty, gets a copy of from's disk: from
 * now on both may give the names that come next of the incarnation that it
 * holds, but a name that both gave has to be found soon, and mended. */
void sim_check_on_clone(struct sim_check *c, unsigned from, unsigned to);
/* The copy was emptied. */
void sim_check_on_clone_over(struct sim_check *c, unsigned from, unsigned to);
/* The network, the clock or the processor of this host (SIM_CHECK_ALL_HOSTS:
 * of every one) is, or is not, in such trouble that peers may take it for
 * dead. Calls nest. Loss below a tenth and ordinary latency are no trouble. */
void sim_check_set_trouble(struct sim_check *c, unsigned host, bool on);
/* A hostile member: its events need no honest origin, one dot of it may name
 * several, and what waits for events that only it could bring may wait. */
void sim_check_set_hostile(struct sim_check *c, unsigned host);

/* ---- looking ---- */

/* After every event; nearly always costs nothing. */
void sim_check_step(struct sim_check *c);
/* Reads one host's store and node now, as sim_check_step does by turns. */
void sim_check_look(struct sim_check *c, unsigned host);
/* Nothing is asked of anybody from now on: what is sent is idle traffic. */
void sim_check_rest(struct sim_check *c);
/* Once the run is quiet: no client active, faults healed within the core, and
 * the time that convergence may take has passed. core[h] tells whether host h
 * belongs to it (NULL: every host); others may be down or broken. */
void sim_check_quiescent(struct sim_check *c, const bool *core);
/* Whether the last results of the core's hosts are up and equal; cheap, for
 * waiting. */
bool sim_check_converged(const struct sim_check *c, const bool *core);

/* ---- watching ---- */

struct sim_check_watch;

/* Follows host's changes from the beginning of its log: takes what there is at
 * each poll, survives restarts of the host, starts over where the host says
 * CM_ERR_NEEDS_CUT (a replica that was adopted). prefix is copied. Freed with
 * c. */
int sim_check_watch_create(struct sim_check_watch **ret_watch,
                           struct sim_check *c, unsigned host,
                           const char *prefix);
/* Takes up to limit commits (0: all that are there); nothing while the host is
 * down. sim_check_quiescent polls every watch. */
void sim_check_watch_poll(struct sim_check_watch *w, unsigned limit);

/* ---- snapshots ---- */

/* Every snapshot listed on target (a directory): its signatures, its objects,
 * its entries against the model at its version vector, and that the vector is
 * causally closed. Returns how many were good. damaged: the object store's
 * faults may have broken some; those must only be told as such. */
unsigned sim_check_snapshot(struct sim_check *c, const char *target,
                            bool damaged);

struct sim_check_counters {
    uint64_t commits;
    uint64_t events;       /* different ones */
    uint64_t applications; /* of events, at all hosts */
    uint64_t vectors;      /* different version vectors seen */
    uint64_t digests_compared;
    uint64_t folds; /* digests of the model computed */
    uint64_t looks;
    uint64_t dumps;   /* stores compared entry by entry */
    uint64_t watched; /* commits that watchers took */
    uint64_t acknowledged;
    uint64_t false_deaths;
    uint64_t snapshots;
    uint64_t restores;
    uint64_t lost; /* acknowledged events that no snapshot held */
    /* How often each invariant was looked at. */
    uint64_t evaluated[SIM_CHECK_INVARIANTS];
};
void sim_check_read_counters(const struct sim_check *c,
                             struct sim_check_counters *ret_counters);

#endif
