/* Doom: LMDB that dies of a file, in the middle of a run.
 *
 * What rots in LMDB's own pages, and sectors that a lying sync tore, may make
 * LMDB read or write anywhere: it ends its process by a signal or an assertion.
 * In production that is the death of one node; here all nodes share a process.
 * So a plan that has such faults runs in a child of its own (run_child.c), in
 * which every call into LMDB is counted. When the child dies within one, the
 * plan is run again from its beginning, and that call, which its number names,
 * is not made any more: it fails, as does every later one of that host, whose
 * node says nothing to anybody, and whose process has crashed as soon as its
 * code returns. Again, until nobody dies: then the run is one like any other,
 * and the same each time.
 *
 * For that, LMDB has to die at the same call wherever it runs. What it reads by
 * a wild offset lies in the file, or behind its end (a signal); pages that it
 * changes lie each in an arena of their own between pages that nobody may
 * touch, wider than any offset; and what a write leaves undefined is cleared
 * (disk.c). A process that dies later, in node/, of what LMDB
 * pointed it to (the file's map, such a page) counts likewise. */
#ifndef SIM_DOOM_H
#define SIM_DOOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_DOOMS_MAX 64 /* deaths of a run */

/* Shared between a child and whoever runs it again. */
struct sim_dooms {
    uint64_t calls; /* into LMDB, so far */
    bool inside;    /* of one, now */
    bool by_file;   /* it died of an address that the last one gave */
    size_t count;
    uint64_t at[SIM_DOOMS_MAX]; /* calls that are not made, in order */
};

/* From now on calls of this process are counted (borrowed; NULL: not). */
void sim_doom_watch(struct sim_dooms *d);
/* A signal came because of that address: for a signal's handler. */
void sim_doom_on_fault(const void *address);
/* So many disks have killed their host's process since this was asked last. */
unsigned sim_doom_take(void);

#endif
