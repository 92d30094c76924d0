/* The inside of a simulated disk, shared by disk*.c. */
#ifndef SIM_DISK_INTERNAL_H
#define SIM_DISK_INTERNAL_H

#include "sim/disk.h"

#define SIM_DISK_PAGE_SIZE 4096 /* LMDB's */
#define SIM_DISK_PATH_MAX 512
#define SIM_DISK_MAP_SIZE                                                      \
    (UINT64_C(1) << 30) /* what lies beyond is read and written */

enum call_kind { CALL_WRITE = 1, CALL_TRUNCATE = 2, CALL_SYNC = 3 };

/* One system call on data.mdb, with all that undoes and repeats it. */
struct call {
    enum call_kind kind;
    bool dsync;    /* durable when it returns */
    bool doubtful; /* a sync of it has failed: no other covers it */
    bool promised; /* a sync that lied has covered it */
    uint64_t offset;
    uint64_t file_size; /* before */
    uint64_t file_size_after;
    size_t size;
    size_t old_size;    /* bytes that were there before */
    uint8_t *old_bytes; /* owned; new_bytes follow in the same block */
    uint8_t *new_bytes;
};

struct sim_disk {
    char directory[SIM_DISK_PATH_MAX];
    unsigned number;
    const struct sim_fate *fate;
    struct sim_sched *sched;
    int fd; /* its own, for LMDB's meta descriptor cannot read; -1: none */
    uint8_t *map;  /* of the file, shared: most writes need no system call */
    uint64_t size; /* of the file */
    struct call *calls; /* owned: those of the window or not yet durable */
    size_t count;
    size_t capacity;
    size_t bytes;        /* held by calls */
    size_t unsynced;     /* calls among them that no sync covers */
    struct call pending; /* between before_write and after_write */
    bool window;
    size_t window_start; /* calls before it */
    bool failed;
    bool doomed; /* see sim_disk_doom */
    bool faults[SIM_DISK_FAULTS];
    uint32_t tearing_ppm;
    bool has_lied; /* at the last power cut */
    bool torn;
    uint64_t attempts;          /* writes, for fates */
    struct sim_faults *counted; /* borrowed, may be NULL */
    struct sim_disk_counters counters;
};

/* Into the trace. */
void sim_disk_note(struct sim_disk *d, const char *kind, uint64_t number,
                   struct slice bytes);

#endif
