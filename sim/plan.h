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
#include "sim/deed.h"
#include "sim/net.h"

#define SIM_PLAN_FORMAT 1
#define SIM_PLAN_HOSTS_MAX 256
#define SIM_PLAN_LINES_MAX 100000
#define SIM_PLAN_TEXT_MAX (16u << 20) /* bytes of a whole plan */
#define SIM_PLAN_LINE_TEXT_MAX 4096
#define SIM_PLAN_MS_MAX SIM_DEED_MS_MAX
#define SIM_PLAN_TARGETS_MAX 2 /* of snapshots */

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

struct sim_plan_line {
    uint64_t id; /* unique in its plan; keys whatever chance it needs */
    uint64_t at_ms;
    enum sim_deed deed;
    struct sim_hosts hosts;
    struct sim_hosts to;        /* SIM_TARGET_PAIR */
    int64_t params[SIM_PARAMS]; /* 0 where the deed takes none */
    unsigned text_line;         /* that it was read from; 0: from none */
};

struct sim_plan {
    uint64_t seed; /* keys fates that belong to no line */
    unsigned nodes;
    unsigned joined;       /* hosts 0 … are in the mesh before time 0 */
    uint64_t duration_ms;  /* operations and faults */
    uint64_t core_ms;      /* bound of the core's convergence */
    uint64_t heal_ms;      /* bound of everyone's, once all is healed */
    uint64_t floor_ms;     /* quiet time before a floor is proposed; 0: never */
    uint32_t format_level; /* of all programs at first; 0: the newest */
    unsigned uploaders;    /* so many hosts put snapshots and deltas… */
    uint64_t delta_ms;     /* …by themselves, so often; 0: none does */
    unsigned targets;      /* …to so many places, 1 or 2 */
    uint64_t drill_ms;     /* between their drills; 0: none */
    struct sim_hosts core;
    uint32_t sync_us_min; /* what a commit takes */
    uint32_t sync_us_max;
    struct sim_net_options net;  /* apart from faults */
    struct sim_plan_line *lines; /* owned */
    size_t count;
    size_t capacity;
    unsigned text_line; /* that the header was read from; 0: from none */
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
 * within the duration. Parse calls it. detail begins with the line's number,
 * if there is a text, else with its id. */
int sim_plan_check(const struct sim_plan *p, struct cm_detail *detail);

/* Bits of deeds that are faults, among the lines. */
uint64_t sim_plan_fault_kinds(const struct sim_plan *p);
size_t sim_plan_faults(const struct sim_plan *p);

#endif
