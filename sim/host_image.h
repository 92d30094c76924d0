/* Image: all that a machine's disk holds at one moment, to be put back later,
 * or on another machine.
 *
 * It is whole: between two commits a store's file is what a file system's
 * snapshot would hold. Key and name belong to it, because they lie in the same
 * directory. */
#ifndef SIM_HOST_IMAGE_H
#define SIM_HOST_IMAGE_H

#include "sim/host.h"

struct sim_image;

/* NULL: there is no store yet. The host may be up. */
struct sim_image *sim_image_take(const struct sim_host *h);
void sim_image_free(struct sim_image *i); /* NULL is fine */
/* Of this host's disk, and nobody has emptied it since. */
bool sim_image_is_of(const struct sim_image *i, const struct sim_host *h);
/* Instead of whatever is on the disk of h, which is down. The check is told
 * nothing. */
void sim_image_put(const struct sim_image *i, struct sim_host *h);

/* From now on its node finds that it runs on such a machine; 0: it does not
 * look. */
void sim_host_set_machine(struct sim_host *h, unsigned machine);
/* That it runs on the machine that from runs on. */
void sim_host_copy_machine(struct sim_host *h, const struct sim_host *from);

#endif
