/* Deed: everything that can be done to a simulated mesh, by name.
 *
 * What a client asks for, and every kind of fault: one line each, which the
 * text of plans (plan.h), the world that does it (faults.h), and whoever counts
 * what came of it share. */
#ifndef SIM_DEED_H
#define SIM_DEED_H

#include <stdbool.h>
#include <stdint.h>

#define SIM_DEED_MS_MAX (UINT64_C(1000) * 3600 * 24 * 365)
#define SIM_DEED_WAIT_ALL 256 /* not so many members, but all of them */

/* Parameters: name in the text, least and greatest value. */
#define SIM_PARAM_MAP(X)                                                       \
    X(SIM_PARAM_FOR, "for", 0, SIM_DEED_MS_MAX) /* ms that it lasts */         \
    X(SIM_PARAM_KEY, "key", 0, 1000000)                                        \
    X(SIM_PARAM_ELEMENT, "element", 0, 1000000)                                \
    X(SIM_PARAM_SIZE, "size", 0, 1000000)  /* bytes of a value */              \
    X(SIM_PARAM_COUNT, "count", 1, 100000) /* of whatever the deed counts */   \
    X(SIM_PARAM_PPM, "ppm", -1000000, 1000000)                                 \
    X(SIM_PARAM_MS, "ms", -(int64_t)SIM_DEED_MS_MAX, SIM_DEED_MS_MAX)          \
    X(SIM_PARAM_RATE, "rate", 1, 1000000)       /* bytes in a ms */            \
    X(SIM_PARAM_TTL, "ttl", 0, SIM_DEED_MS_MAX) /* ms that a value lives */    \
    X(SIM_PARAM_WAIT, "wait", 0, SIM_DEED_WAIT_ALL)

enum sim_param {
#define SIM_PARAM_ENUM(name, text, low, high) name,
    SIM_PARAM_MAP(SIM_PARAM_ENUM)
#undef SIM_PARAM_ENUM
        SIM_PARAMS
};

/* What families a deed belongs to; profiles choose among them. */
enum sim_family {
    SIM_FAMILY_WORK = 0, /* no fault: what clients do */
    SIM_FAMILY_NETWORK,
    SIM_FAMILY_PROCESS,
    SIM_FAMILY_STORAGE,
    SIM_FAMILY_CLOCK,
    SIM_FAMILY_OBJECTS, /* the store that snapshots go to */
    SIM_FAMILY_CHURN,
    SIM_FAMILY_HOSTILE,
};

/* Which hosts a line names. `to` is a second set. */
enum sim_targets {
    SIM_TARGET_ONE,  /* exactly one host */
    SIM_TARGET_SET,  /* one or more */
    SIM_TARGET_PAIR, /* one or more, and one or more in to= */
};

#define SIM_P(param) (1u << SIM_PARAM_##param)

/* Name, text, family, targets, parameters. Links of a set of hosts are those
 * that begin or end at one of them. */
#define SIM_DEED_MAP(X)                                                        \
    /* key = KEY; the value is SIZE bytes made of the line's id. The client    \
     * waits until WAIT members have it (optional) */                          \
    X(PUT, "put", WORK, ONE,                                                   \
      SIM_P(KEY) | SIM_P(SIZE) | SIM_P(TTL) | SIM_P(WAIT))                     \
    /* a key of its own, written once: must be there in the end */             \
    X(UNIQUE, "unique", WORK, ONE, SIM_P(SIZE) | SIM_P(WAIT))                  \
    X(DEL, "del", WORK, ONE, SIM_P(KEY))                                       \
    X(REVOKE, "revoke", WORK, ONE, SIM_P(KEY))                                 \
    /* a put that names the revoke it has read */                              \
    X(UNREVOKE, "unrevoke", WORK, ONE, SIM_P(KEY) | SIM_P(SIZE))               \
    X(ADD, "add", WORK, ONE, SIM_P(KEY) | SIM_P(ELEMENT) | SIM_P(TTL))         \
    X(REMOVE, "remove", WORK, ONE, SIM_P(KEY) | SIM_P(ELEMENT))                \
    X(SET_REVOKE, "set-revoke", WORK, ONE, SIM_P(KEY) | SIM_P(ELEMENT))        \
    /* COUNT keys of family KEY at once */                                     \
    X(TXN, "txn", WORK, ONE,                                                   \
      SIM_P(KEY) | SIM_P(COUNT) | SIM_P(SIZE) | SIM_P(TTL) | SIM_P(WAIT))      \
    /* put if the version is still the one just read */                        \
    X(CAS, "cas", WORK, ONE, SIM_P(KEY) | SIM_P(SIZE) | SIM_P(TTL))            \
    /* follows all changes, looking every MS, until `for` is over; resumes     \
     * after the host was down */                                              \
    X(WATCH, "watch", WORK, ONE, SIM_P(MS) | SIM_P(FOR))                       \
    X(SNAPSHOT, "snapshot", WORK, ONE, 0)                                      \
                                                                               \
    X(LOSS, "loss", NETWORK, SET, SIM_P(PPM) | SIM_P(FOR))                     \
    X(DUPLICATE, "duplicate", NETWORK, SET, SIM_P(PPM) | SIM_P(FOR))           \
    X(REORDER, "reorder", NETWORK, SET, SIM_P(PPM) | SIM_P(FOR))               \
    /* PPM of the datagrams take MS longer */                                  \
    X(TAIL, "tail", NETWORK, SET, SIM_P(PPM) | SIM_P(MS) | SIM_P(FOR))         \
    /* everything from these to those takes MS longer */                       \
    X(BIAS, "bias", NETWORK, PAIR, SIM_P(MS) | SIM_P(FOR))                     \
    /* nothing arrives until it is over, then all at once */                   \
    X(CLOG, "clog", NETWORK, PAIR, SIM_P(FOR))                                 \
    X(CAPACITY, "capacity", NETWORK, SET, SIM_P(RATE) | SIM_P(FOR))            \
    X(PARTITION, "partition", NETWORK, SET, SIM_P(FOR)) /* these | the rest */ \
    X(ISOLATE, "isolate", NETWORK, ONE, SIM_P(FOR))                            \
    X(ONEWAY, "oneway", NETWORK, PAIR, SIM_P(FOR)) /* these -/> those */       \
    /* these | the rest, but `to` hear and are heard by both */                \
    X(BRIDGE, "bridge", NETWORK, PAIR, SIM_P(FOR))                             \
    /* these | the rest, MS long on, MS long off */                            \
    X(FLAP, "flap", NETWORK, SET, SIM_P(MS) | SIM_P(FOR))                      \
    X(CORRUPT, "corrupt", NETWORK, SET, SIM_P(PPM) | SIM_P(FOR))               \
    X(TRUNCATE, "truncate", NETWORK, SET, SIM_P(PPM) | SIM_P(FOR))             \
    X(FORGE, "forge", NETWORK, SET, SIM_P(PPM) | SIM_P(FOR))                   \
    X(REPLAY, "replay", NETWORK, SET, SIM_P(PPM) | SIM_P(FOR))                 \
                                                                               \
    /* the process ends; what it had written stays */                          \
    X(CRASH, "crash", PROCESS, ONE, SIM_P(FOR))                                \
    X(POWER_CUT, "power-cut", PROCESS, SET, SIM_P(FOR))                        \
    X(PAUSE, "pause", PROCESS, ONE, SIM_P(FOR))                                \
    /* its works and commits take MS longer */                                 \
    X(SLOW, "slow", PROCESS, ONE, SIM_P(MS) | SIM_P(FOR))                      \
    /* the COUNT-th allocation from now on fails */                            \
    X(MALLOC, "malloc", PROCESS, ONE, SIM_P(COUNT))                            \
                                                                               \
    X(DISK_FULL, "disk-full", STORAGE, ONE, SIM_P(FOR))                        \
    X(MAP_FULL, "map-full", STORAGE, ONE, SIM_P(FOR))                          \
    X(SYNC_FAIL, "sync-fail", STORAGE, ONE, SIM_P(FOR))                        \
    X(DISK_ERROR, "disk-error", STORAGE, ONE, SIM_P(FOR))                      \
    X(DISK_SLOW, "disk-slow", STORAGE, ONE, SIM_P(MS) | SIM_P(FOR))            \
    /* comes back empty, with another key, and joins anew */                   \
    X(WIPE, "wipe", STORAGE, ONE, SIM_P(FOR))                                  \
    /* when it is over, the disk is what it was when it began */               \
    X(OLD_DISK, "old-disk", STORAGE, ONE, SIM_P(FOR))                          \
                                                                               \
    X(CLOCK_STEP, "clock-step", CLOCK, ONE, SIM_P(MS) | SIM_P(FOR))            \
    X(CLOCK_DRIFT, "clock-drift", CLOCK, ONE, SIM_P(PPM) | SIM_P(FOR))         \
    X(CLOCK_FREEZE, "clock-freeze", CLOCK, ONE, SIM_P(FOR))                    \
    /* its wall clock shows COUNT years more */                                \
    X(CLOCK_YEARS, "clock-years", CLOCK, ONE, SIM_P(COUNT) | SIM_P(FOR))       \
                                                                               \
    /* PPM of its requests */                                                  \
    X(OBJECTS_ERROR, "objects-error", OBJECTS, ONE, SIM_P(PPM) | SIM_P(FOR))   \
    X(OBJECTS_SLOW, "objects-slow", OBJECTS, ONE, SIM_P(MS) | SIM_P(FOR))      \
    X(OBJECTS_STALE, "objects-stale", OBJECTS, ONE, SIM_P(PPM) | SIM_P(FOR))   \
    X(OBJECTS_OLD, "objects-old", OBJECTS, ONE, SIM_P(PPM) | SIM_P(FOR))       \
    X(OBJECTS_LOSE, "objects-lose", OBJECTS, ONE, SIM_P(PPM) | SIM_P(FOR))     \
    X(OBJECTS_FLIP, "objects-flip", OBJECTS, ONE, SIM_P(PPM) | SIM_P(FOR))     \
                                                                               \
    /* a host that was not there joins through the first of `to`, which the    \
     * authority makes an issuer before, unless it founded the mesh */         \
    X(JOIN, "join", CHURN, PAIR, 0)                                            \
    /* says goodbye, comes back after `for` */                                 \
    X(LEAVE, "leave", CHURN, ONE, SIM_P(FOR))                                  \
    /* all machines are gone for good; host 0 is restored from the newest      \
     * whole snapshot and what else the target holds, FOR ms later, the others \
     * join it with empty disks. Nothing happens while there is no such        \
     * snapshot. The operator's copy of the target lacks what is younger than  \
     * MS (optional) */                                                        \
    X(LOSE_ALL, "lose-all", CHURN, ONE, SIM_P(FOR) | SIM_P(MS))                \
    /* the host hears an order of the authority that evicts `to`, and whoever  \
     * is rostered and runs nowhere any more; COUNT 2 (optional): of a second  \
     * copy of the authority's file, which does not know the last order, so    \
     * that both are of one epoch. MS (optional): dated so long ago, so that   \
     * certificates from before let nobody in again, else before all of them   \
     */                                                                        \
    X(EVICT, "evict", CHURN, PAIR, SIM_P(COUNT) | SIM_P(MS))                   \
    /* gives up for good what earlier incarnations of it there are */          \
    X(RETIRE, "retire", CHURN, ONE, 0)                                         \
                                                                               \
    /* a certified member sends to `to` what no honest one would; COUNT of     \
     * them, one every MS */                                                   \
    X(HOSTILE, "hostile", HOSTILE, PAIR, SIM_P(COUNT) | SIM_P(MS))             \
                                                                               \
    /* the machine `to` gets a copy of this one's disk instead of its own,     \
     * with key and incarnation, and runs beside it; what it runs on looks     \
     * COUNT minus 1 machines different. When it is over it is emptied and     \
     * joins anew                                                              \
     */                                                                        \
    X(CLONE, "clone", STORAGE, PAIR, SIM_P(COUNT) | SIM_P(FOR))                \
    /* COUNT bits of its records flip on its disk, and PPM of them anywhere in \
     * the file */                                                             \
    X(BIT_ROT, "bit-rot", STORAGE, ONE, SIM_P(COUNT) | SIM_P(PPM))             \
    /* syncs say yes and do nothing; in PPM of the power cuts sectors tear,    \
     * else the disk is as it was earlier */                                   \
    X(SYNC_LIE, "sync-lie", STORAGE, ONE, SIM_P(PPM) | SIM_P(FOR))             \
                                                                               \
    /* where programs are of an earlier format (format=): theirs is brought up \
     * to date, by a restart */                                                \
    X(UPDATE, "update", CHURN, SET, 0)                                         \
    /* it loses its power; its disk is in another machine when it is back */   \
    X(MOVE, "move", STORAGE, ONE, SIM_P(FOR))                                  \
    /* an entry of its store is not there any more, or COUNT (optional) of     \
     * them, and nothing says so: what a write that went astray would do, or a \
     * bug */                                                                  \
    X(LAPSE, "lapse", STORAGE, ONE, SIM_P(COUNT))                              \
    /* the operator brings into its node whatever the target of snapshots      \
     * holds, of earlier generations too */                                    \
    X(MERGE, "merge", CHURN, ONE, 0)                                           \
    /* the operator prunes the target of snapshots, by the clock of this host: \
     * the newest COUNT of each signer stay, what is marked goes after MS */   \
    X(PRUNE, "prune", OBJECTS, ONE, SIM_P(COUNT) | SIM_P(MS))

enum sim_deed {
#define SIM_DEED_ENUM(name, text, family, targets, params) SIM_DEED_##name,
    SIM_DEED_MAP(SIM_DEED_ENUM)
#undef SIM_DEED_ENUM
        SIM_DEEDS
};
_Static_assert(SIM_DEEDS <= 64, "sets of deeds are 64 bits");

const char *sim_deed_name(enum sim_deed d);
enum sim_family sim_deed_family(enum sim_deed d);
enum sim_targets sim_deed_targets(enum sim_deed d);
bool sim_deed_takes(enum sim_deed d, enum sim_param p);
/* It takes it, and a line may lack it: then it is 0. */
bool sim_deed_spares(enum sim_deed d, enum sim_param p);

#endif
