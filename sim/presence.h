/* Presence: which hosts of a world should be up, and what an operator does so
 * that they are.
 *
 * A host that is a member and that no fault keeps away is started; one that
 * does not start, or ends by itself, is started again a second later, as a
 * service manager would. One that never joined gets a token first, from its
 * issuer, which the authority makes one if it is none; one whose joining has
 * failed for good, or that was wiped, joins anew through host 0 with an empty
 * disk. One that asks for a fresh token, because an order is newer than its
 * certificate, is given one of host 0 and started again. */
#ifndef SIM_PRESENCE_H
#define SIM_PRESENCE_H

#include "sim/sched.h"

#define SIM_PRESENCE_LOOK_US UINT64_C(1000000)
#define SIM_PRESENCE_GOODBYE_US UINT64_C(500000) /* from leave to the end */

struct sim_world;

/* Of one host; embedded in the world. */
struct sim_presence {
    struct sim_world *world;
    unsigned host;
    bool member;      /* shall be in the mesh */
    bool by_hand;     /* switched off until it is booted by hand */
    bool away;        /* a fault keeps it away */
    bool joined;      /* this life of its disk has been ready */
    bool joining;     /* its becoming ready counts as a join */
    bool troubled;    /* the check was told so */
    bool asked;       /* a token has been asked for */
    bool renewed;     /* a joiner was given a second one */
    bool wants_token; /* is stopped until it has another one */
    unsigned issuer;
    uint64_t asked_us;
    struct sim_event look;
    struct sim_event goodbye;
};

void sim_presence_init(struct sim_presence *p, struct sim_world *w,
                       unsigned host);
/* Looks after the host as soon as this event is over. */
void sim_presence_kick(struct sim_presence *p);
/* Before the host is switched off: remembers how far it has come. */
void sim_presence_note(struct sim_presence *p);
void sim_presence_set_away(struct sim_presence *p, bool away);

/* Faults; each does nothing to a host that is down. */
void sim_presence_crash(struct sim_presence *p);
void sim_presence_power_cut(struct sim_presence *p);
void sim_presence_leave(struct sim_presence *p);
/* Another program; also of a host that is down. */
void sim_presence_update(struct sim_presence *p);
/* Also of a host that is down. Not of host 0. */
void sim_presence_wipe(struct sim_presence *p);
/* Of every host that is a member, host 0 too, at once: power off and disks
 * empty. Host 0 needs a new founder's store before it can boot. */
void sim_presence_lose(struct sim_presence *p);

#endif
