/* Plan: everything that is done to a mesh in one run, as text.
 *
 * A seed expands into a plan (expand.h) and a plan is all that a run needs.
 * The first line is a header with the shape of the mesh and of its network;
 * every other line is one operation of a client or one fault:
 *
 *     confmesh-plan 1 seed=7 nodes=5 joined=4 duration=600000 ...
 *     17 61250 put n3 key=4 size=120
 *     18 62000 partition n0,n2-n4 for=30000
 *     19 62500 oneway n1 to=n2 for=8000
 *
 * that is: id, virtual time in ms since the mesh stood, deed, hosts,
 * parameters. Lines are independent. A fault ends by itself after `for` ms;
 * what a line leaves open (a value's bytes, which packets are hit) is a keyed
 * hash of the line's own id, which is written in it. So a line can be removed,
 * and nothing else changes what it asks for. Lines may stand in any order;
 * blank ones and those that begin with '#' mean nothing. */
#ifndef SIM_PLAN_H
#define SIM_PLAN_H

#include <stdio.h>

#include "crdt/base/error.h"
#include "sim/net.h"

#define SIM_PLAN_FORMAT 1
#define SIM_PLAN_HOSTS_MAX 256
#define SIM_PLAN_LINES_MAX 100000
#define SIM_PLAN_TEXT_MAX (16u << 20) /* bytes of a whole plan */
#define SIM_PLAN_LINE_TEXT_MAX 4096
#define SIM_PLAN_MS_MAX (UINT64_C(1000) * 3600 * 24 * 365)

/* A set of hosts. */
struct sim_hosts {
    uint64_t bits[SIM_PLAN_HOSTS_MAX / 64];
};
bool sim_hosts_has(const struct sim_hosts *s, unsigned host);
void sim_hosts_add(struct sim_hosts *s, unsigned host);
void sim_hosts_remove(struct sim_hosts *s, unsigned host);
unsigned sim_hosts_count(const struct sim_hosts *s);
/* The least host in it; SIM_PLAN_HOSTS_MAX of an empty one. */
unsigned sim_hosts_first(const struct sim_hosts *s);

/* Parameters: name in the text, least and greatest value. */
#define SIM_PARAM_MAP(X)                                                       \
    X(SIM_PARAM_FOR, "for", 0, SIM_PLAN_MS_MAX) /* ms that it lasts */         \
    X(SIM_PARAM_KEY, "key", 0, 1000000)                                        \
    X(SIM_PARAM_ELEMENT, "element", 0, 1000000)                                \
    X(SIM_PARAM_SIZE, "size", 0, 1000000)  /* bytes of a value */              \
    X(SIM_PARAM_COUNT, "count", 1, 100000) /* of whatever the deed counts */   \
    X(SIM_PARAM_PPM, "ppm", -1000000, 1000000)                                 \
    X(SIM_PARAM_MS, "ms", -(int64_t)SIM_PLAN_MS_MAX, SIM_PLAN_MS_MAX)          \
    X(SIM_PARAM_RATE, "rate", 1, 1000000) /* bytes in a ms */

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
    /* key = KEY; the value is SIZE bytes made of the line's id */             \
    X(PUT, "put", WORK, ONE, SIM_P(KEY) | SIM_P(SIZE))                         \
    /* a key of its own, written once: must be there in the end */             \
    X(UNIQUE, "unique", WORK, ONE, SIM_P(SIZE))                                \
    X(DEL, "del", WORK, ONE, SIM_P(KEY))                                       \
    X(REVOKE, "revoke", WORK, ONE, SIM_P(KEY))                                 \
    /* a put that names the revoke it has read */                              \
    X(UNREVOKE, "unrevoke", WORK, ONE, SIM_P(KEY) | SIM_P(SIZE))               \
    X(ADD, "add", WORK, ONE, SIM_P(KEY) | SIM_P(ELEMENT))                      \
    X(REMOVE, "remove", WORK, ONE, SIM_P(KEY) | SIM_P(ELEMENT))                \
    X(SET_REVOKE, "set-revoke", WORK, ONE, SIM_P(KEY) | SIM_P(ELEMENT))        \
    /* COUNT keys of family KEY at once */                                     \
    X(TXN, "txn", WORK, ONE, SIM_P(KEY) | SIM_P(COUNT) | SIM_P(SIZE))          \
    /* put if the version is still the one just read */                        \
    X(CAS, "cas", WORK, ONE, SIM_P(KEY) | SIM_P(SIZE))                         \
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
                                                                               \
    X(CLOCK_STEP, "clock-step", CLOCK, ONE, SIM_P(MS) | SIM_P(FOR))            \
    X(CLOCK_DRIFT, "clock-drift", CLOCK, ONE, SIM_P(PPM) | SIM_P(FOR))         \
    X(CLOCK_FREEZE, "clock-freeze", CLOCK, ONE, SIM_P(FOR))                    \
                                                                               \
    /* PPM of its requests */                                                  \
    X(OBJECTS_ERROR, "objects-error", OBJECTS, ONE, SIM_P(PPM) | SIM_P(FOR))   \
    X(OBJECTS_SLOW, "objects-slow", OBJECTS, ONE, SIM_P(MS) | SIM_P(FOR))      \
    X(OBJECTS_STALE, "objects-stale", OBJECTS, ONE, SIM_P(PPM) | SIM_P(FOR))   \
    X(OBJECTS_OLD, "objects-old", OBJECTS, ONE, SIM_P(PPM) | SIM_P(FOR))       \
    X(OBJECTS_LOSE, "objects-lose", OBJECTS, ONE, SIM_P(PPM) | SIM_P(FOR))     \
    X(OBJECTS_FLIP, "objects-flip", OBJECTS, ONE, SIM_P(PPM) | SIM_P(FOR))     \
                                                                               \
    /* a host that was not there joins through the first of `to` */            \
    X(JOIN, "join", CHURN, PAIR, 0)                                            \
    /* says goodbye, comes back after `for` */                                 \
    X(LEAVE, "leave", CHURN, ONE, SIM_P(FOR))                                  \
                                                                               \
    /* a certified member sends to `to` what no honest one would; COUNT of     \
     * them, one every MS */                                                   \
    X(HOSTILE, "hostile", HOSTILE, PAIR, SIM_P(COUNT) | SIM_P(MS))

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
const char *sim_family_name(enum sim_family f);

struct sim_plan_line {
    uint64_t id; /* unique in its plan; keys whatever chance it needs */
    uint64_t at_ms;
    enum sim_deed deed;
    struct sim_hosts hosts;
    struct sim_hosts to;        /* SIM_TARGET_PAIR */
    int64_t params[SIM_PARAMS]; /* 0 where the deed takes none */
};

struct sim_plan {
    uint64_t seed; /* keys fates that belong to no line */
    unsigned nodes;
    unsigned joined;      /* hosts 0 … are in the mesh before time 0 */
    uint64_t duration_ms; /* operations and faults */
    uint64_t core_ms;     /* bound of the core's convergence */
    uint64_t heal_ms;     /* bound of everyone's, once all is healed */
    struct sim_hosts core;
    uint32_t sync_us_min; /* what a commit takes */
    uint32_t sync_us_max;
    struct sim_net_options net;  /* apart from faults */
    struct sim_plan_line *lines; /* owned */
    size_t count;
    size_t capacity;
};

void sim_plan_init(struct sim_plan *p);
void sim_plan_release(struct sim_plan *p);
/* Copies line to the end. CM_ERR_LIMIT beyond SIM_PLAN_LINES_MAX. */
int sim_plan_add(struct sim_plan *p, const struct sim_plan_line *line);
/* ret is initialised by this; release it. */
int sim_plan_copy(struct sim_plan *ret, const struct sim_plan *p);
/* Drops line number index; the others keep their order. */
void sim_plan_remove(struct sim_plan *p, size_t index);
/* By time, then id: the order in which lines are printed by expand. */
void sim_plan_sort(struct sim_plan *p);

/* CM_ERR_MALFORMED, CM_ERR_LIMIT, CM_ERR_FORMAT_VERSION, with the line's number
 * and the word in detail. ret is initialised by this, released on failure. */
int sim_plan_parse(struct sim_plan *ret, struct slice text,
                   struct cm_detail *detail);
int sim_plan_read(struct sim_plan *ret, const char *path,
                  struct cm_detail *detail);
/* The text that parse reads back as the same plan. */
void sim_plan_print(const struct sim_plan *p, struct buffer *out);
/* One line, without its newline. */
void sim_plan_print_line(const struct sim_plan_line *l, struct buffer *out);
/* What no single line can say: hosts that exist, unique ids, a core, times
 * within the duration. Parse calls it. */
int sim_plan_check(const struct sim_plan *p, struct cm_detail *detail);

/* Bits of deeds that are faults, among the lines. */
uint64_t sim_plan_fault_kinds(const struct sim_plan *p);
size_t sim_plan_faults(const struct sim_plan *p);

#endif
