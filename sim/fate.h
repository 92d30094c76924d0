/* Fate: every choice of chance in the simulator, as a keyed hash.
 *
 * What happens to the n-th packet of a link, or to a sector of the n-th write
 * of a disk, depends on (seed, purpose, place, number) alone and never on how
 * many choices were made before. So that removing one fault, packet or node
 * from a run leaves the fate of everything else as it was, which is what makes
 * a failing run possible to shrink. */
#ifndef SIM_FATE_H
#define SIM_FATE_H

#include <stdbool.h>
#include <stdint.h>

enum sim_purpose {
    SIM_FATE_LATENCY = 1,
    SIM_FATE_LOSS,
    SIM_FATE_DUPLICATE,
    SIM_FATE_REORDER,
    SIM_FATE_STREAM,    /* names a stream for the fates of its chunks */
    SIM_FATE_SLICE,     /* where a stream's bytes are cut */
    SIM_FATE_CUT,       /* which system call a power cut hits */
    SIM_FATE_SECTOR,    /* whether an unsynced sector reached the disk */
    SIM_FATE_SYNC_TIME, /* how long a commit takes */
    SIM_FATE_WORK_TIME,
    SIM_FATE_WORKLOAD, /* what clients do */
    SIM_FATE_CLOCK,
    SIM_FATE_BIAS, /* what a link adds always */
    SIM_FATE_TAIL,
    SIM_FATE_FLAP, /* which periods a link is down in */
    SIM_FATE_SWIZZLE,
    SIM_FATE_CORRUPT,
    SIM_FATE_TRUNCATE,
    SIM_FATE_FORGE,
    SIM_FATE_REPLAY,
    SIM_FATE_STREAM_CORRUPT,
    SIM_FATE_KILL,        /* which system call a crash comes after */
    SIM_FATE_WRITE_ERROR, /* which writes and syncs fail */
    SIM_FATE_OBJECT,      /* what the object store does wrong */
    SIM_FATE_HOSTILE,
    SIM_FATE_LIE, /* what a disk that lied has left */
    SIM_FATE_ROT, /* which bits rot */
};

struct sim_fate {
    uint8_t key[16]; /* from the seed */
};

void sim_fate_init(struct sim_fate *f, uint64_t seed);
/* 64 uniform bits: the same arguments always give the same answer. */
uint64_t sim_fate_draw(const struct sim_fate *f, enum sim_purpose purpose,
                       uint64_t place, uint64_t number);
/* True in ppm of a million. */
bool sim_fate_chance(const struct sim_fate *f, enum sim_purpose purpose,
                     uint64_t place, uint64_t number, uint32_t ppm);
/* low .. high, both included. */
uint64_t sim_fate_range(const struct sim_fate *f, enum sim_purpose purpose,
                        uint64_t place, uint64_t number, uint64_t low,
                        uint64_t high);

#endif
