/* Objects: a store of snapshots that cannot be relied upon.
 *
 * Production code keeps objects in a directory (node/object_dir.h). Its calls
 * come here on their way (link options in wrap.flags) and are done in truth;
 * then, for the host whose code is running and at the rates set for it, the
 * answer or the store is made wrong: what a remote object store does. Calls of
 * the simulator's own code are never harmed.
 *
 * A call's fate is a keyed hash of (seed, host, number of its calls, kind). */
#ifndef SIM_OBJECTS_H
#define SIM_OBJECTS_H

#include "sim/fate.h"
#include "sim/faults.h"
#include "sim/sched.h"

#define SIM_OBJECTS_KNOWN_MAX 65536    /* put in a run and remembered */
#define SIM_OBJECTS_STALE_US 60000000u /* how old a stale listing may be */

/* What every host's view shares: what was put, when, over what. */
struct sim_object_log;

void sim_object_log_create(struct sim_object_log **ret_log,
                           struct sim_sched *sched, const struct sim_fate *fate,
                           struct sim_faults *faults);
void sim_object_log_free(struct sim_object_log *l);

enum sim_object_fault {
    SIM_OBJECTS_ERROR = 0, /* done, and yet an error is answered */
    SIM_OBJECTS_STALE,     /* a listing lacks what was put lately */
    SIM_OBJECTS_OLD,       /* a read gives what was there before the last put:
                              older bytes, or nothing */
    SIM_OBJECTS_LOSE,      /* some object is gone for good */
    SIM_OBJECTS_FLIP,      /* some object has one bit flipped for good */
    SIM_OBJECT_FAULTS,
};

struct sim_objects; /* one host's view */

/* log is borrowed. */
void sim_objects_create(struct sim_objects **ret_objects,
                        struct sim_object_log *log, unsigned host);
void sim_objects_free(struct sim_objects *o);
/* ppm of the host's calls. */
void sim_objects_set_rate(struct sim_objects *o, enum sim_object_fault fault,
                          uint32_t ppm);
/* A target is known to hosts by a name which is the same in every process: the
 * place, counted from 0, among the targets that there are at the time. real
 * (copied) is where it lies. Returns the number of the place. */
#define SIM_OBJECTS_TARGETS_MAX 8
#define SIM_OBJECTS_TARGET "/simulated/%u/objects"
unsigned sim_objects_mount(const char *real);
void sim_objects_unmount(unsigned place);
/* Every call takes so much longer. */
void sim_objects_set_slow(struct sim_objects *o, uint64_t us);
/* Its process is dying: no call is done any more. */
void sim_objects_set_dead(struct sim_objects *o, bool dead);
/* What the calls since the last asking have taken beyond the usual. */
uint64_t sim_objects_take_wait_us(struct sim_objects *o);
/* The host whose calls follow (borrowed); NULL: the simulator's own. */
void sim_objects_enter(struct sim_objects *o);

#endif
