/* Deeds about disks: an earlier image of a machine's disk is put back, as an
 * operator does who restores a virtual machine; bits rot. */
#ifndef SIM_DEED_DISK_H
#define SIM_DEED_DISK_H

#include "sim/host_image.h"

struct sim_world;

/* What is on the host's disk now; NULL unless it is up and has joined. */
struct sim_image *sim_deed_image(struct sim_world *w, unsigned host);
/* The machine loses its power and starts with that instead. Nothing if the disk
 * has been emptied meanwhile. */
void sim_deed_put_back(struct sim_world *w, unsigned host,
                       const struct sim_image *i);
/* The machine `to` starts with i, a copy of from's disk, instead of its own,
 * and to its node looks like from or (other) like another machine. Nothing
 * unless both have joined. */
void sim_deed_clone(struct sim_world *w, unsigned from, unsigned to,
                    const struct sim_image *i, bool other);
/* The copy is switched off for good; its machine joins anew. */
void sim_deed_end_clone(struct sim_world *w, unsigned from, unsigned to,
                        const struct sim_image *i);
/* count bits of what lies on the host's disk flip, each with ppm of a million
 * anywhere in the file, else in records. The host may be down. */
void sim_deed_rot(struct sim_world *w, unsigned host, uint64_t id,
                  unsigned count, uint32_t ppm);
/* Whoever's LMDB has died (doom.h) crashes: its code has returned. */
void sim_deed_bury(struct sim_world *w);

/* It loses its power, and has its disk in another machine when it is back: id
 * is that machine's. */
void sim_deed_move(struct sim_world *w, unsigned host, uint64_t id);
/* One of the entries that are written once, nothing where there is none; count
 * above 0: so many of all keys. */
void sim_deed_lapse(struct sim_world *w, unsigned host, uint64_t id,
                    size_t count);
/* Whatever the world's target holds. */
void sim_deed_merge(struct sim_world *w, unsigned host);
/* Of the first target, by the host's clock: of each signer the newest keep
 * stay, what an earlier prune marked grace_ms ago and more goes. */
void sim_deed_prune(struct sim_world *w, unsigned host, uint64_t keep,
                    uint64_t grace_ms);

#endif
