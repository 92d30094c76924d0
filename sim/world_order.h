/* The operator with the authority's key: orders evictions, one after another.
 *
 * Like the tool, it keeps the last order that it has signed and makes each one
 * follow upon the one before, wherever that has been heard by now. An order
 * names every rostered incarnation of its victims, and whatever else is
 * rostered where it is given and runs nowhere any more: what wiped disks and
 * lost joins have left. It never leaves fewer than two members. */
#ifndef SIM_WORLD_ORDER_H
#define SIM_WORLD_ORDER_H

#include "sim/plan.h"
#include "sim/world.h"

/* Given to one host, which tells the others, and again until it has been taken;
 * meanwhile no other is signed. Nothing happens while that host is not ready,
 * or when nobody is to be named. Victims come back by themselves,
 * under another incarnation: the order is older than their certificates. With
 * age_ms above 0 it was made so long ago by that host's clock, and they need a
 * fresh token, which the operator gives them (presence.h). */
void sim_world_evict(struct sim_world *w, unsigned host,
                     const struct sim_hosts *victims, uint64_t age_ms);
/* As if a second copy of the authority's file had not heard of the last order:
 * both are of one epoch. The next one names the other. Nothing where none was
 * given yet. */
void sim_world_evict_twice(struct sim_world *w, unsigned host,
                           const struct sim_hosts *victims);
/* Where there are two of the last epoch: an order that names nobody, but which
 * of them stands, given to that host first. */
void sim_world_decide_orders(struct sim_world *w, unsigned host);
/* Gives host 0 all orders once more: who had heard one may have lost it. */
void sim_world_orders_again(struct sim_world *w);
void sim_world_orders_release(struct sim_world *w);
/* The host orders the retirement of every earlier incarnation of its own. */
void sim_world_retire(struct sim_world *w, unsigned host);

/* An order for every incarnation that is rostered and that no host has any
 * more. How many there are. */
size_t sim_world_evict_gone(struct sim_world *w);

#endif
