/* Deeds about whole disks: an earlier image of a machine's disk is put back, as
 * an operator does who restores a virtual machine. */
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

#endif
