/* Hostile: a certified member that sends what no honest one would.
 *
 * It has the host's keys, so what it sends is authentic; it does not have the
 * honest node's state. Which of the wrongs comes, and its bytes, are drawn for
 * (seed, line of the plan, number). The honest node of the host goes on beside
 * it, as if its machine had been broken into. */
#ifndef SIM_HOSTILE_H
#define SIM_HOSTILE_H

#include "sim/world.h"

enum sim_hostile_kind {
    SIM_HOSTILE_COUNTERS = 0, /* its own alive counter, far beyond the wall
                                 clock; an event with a huge seq */
    SIM_HOSTILE_FUTURE,       /* an event dated years ahead */
    SIM_HOSTILE_FLOOD,        /* many pings at once */
    SIM_HOSTILE_PENDING,      /* events that wait for ever, hundreds */
    SIM_HOSTILE_LIES,         /* others are dead, or live elsewhere */
    SIM_HOSTILE_SIGNATURES,   /* events and records with wrong signatures */
    SIM_HOSTILE_REUSE,        /* another event under a dot that is taken */
    SIM_HOSTILE_GARBAGE,      /* authentic packets full of anything */
    SIM_HOSTILE_KINDS,
};

/* One wrong from host to the host to. Neither needs to be up. */
void sim_hostile_send(struct sim_world *w, unsigned host, unsigned to,
                      uint64_t line, uint64_t number);
/* The same of a chosen kind. */
void sim_hostile_send_kind(struct sim_world *w, unsigned host, unsigned to,
                           uint64_t line, uint64_t number,
                           enum sim_hostile_kind kind);

#endif
