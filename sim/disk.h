/* Disk: what a power cut leaves of a simulated node's files.
 *
 * Production code writes real files, for LMDB reads them through its map; the
 * wrapped system calls (lmdb_wrap.c) tell this module about every write and
 * sync of data.mdb below a registered directory. It keeps old and new bytes of
 * whatever is not certain to be on the platter, and on a power cut puts the
 * file back to what survived: synced writes whole, unsynced ones sector by
 * sector (512 bytes) by keyed hash.
 *
 * Model: a write through a descriptor opened with O_DSYNC is durable when it
 * returns; other writes are when a later fsync or fdatasync of the file has
 * returned. Until then any subset of their sectors may be there. While a
 * window is open, the cut falls upon one of the calls made in it: calls after
 * it never happened, that one had not returned.
 *
 * A disk that lies about a sync keeps the order of its cache or does not: at a
 * power cut either all that was written since some moment is gone, promised or
 * not, and what is left is whole (an earlier state); or each sector is there or
 * not, and what is left may fit nothing. */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include <sys/types.h>

#include "sim/fate.h"
#include "sim/faults.h"
#include "sim/sched.h"

#define SIM_SECTOR_SIZE 512
#define SIM_DISKS_MAX 1024                    /* at once in a process */
#define SIM_DISK_FD_MAX 65536                 /* file descriptors looked at */
#define SIM_DISK_JOURNAL_BYTES_MAX (8u << 20) /* then the kernel wrote back */

struct sim_disk;

struct sim_disk_counters {
    uint64_t writes, bytes, syncs;
    uint64_t power_cuts, kills;
    uint64_t calls_undone;    /* never happened, the cut came before */
    uint64_t sectors_kept;    /* unsynced, yet on the platter */
    uint64_t sectors_dropped; /* unsynced and lost */
    uint64_t lies;            /* power cuts that took what a sync promised */
};

/* Watches directory (which exists; copied). fate and sched are borrowed; sched
 * may be NULL: writes are not traced then. number names it in fates. */
int sim_disk_create(struct sim_disk **ret_disk, const char *directory,
                    unsigned number, const struct sim_fate *fate,
                    struct sim_sched *sched);
/* Its files stay; descriptors on them must be closed. */
void sim_disk_free(struct sim_disk *d);

/* Opens the window in which a power cut will have fallen; closed by the cut. */
void sim_disk_open_window(struct sim_disk *d);
/* From now on every write fails with EIO and leaves no trace. */
void sim_disk_fail(struct sim_disk *d);
/* After the last descriptor was closed: the process died, the machine did not.
 * If a window is open, one of the calls made in it was the last; whatever was
 * written until then is there, durable or not. The disk works again. */
void sim_disk_kill(struct sim_disk *d);
/* After the last descriptor was closed: the durable image is written back,
 * LMDB's lock file is deleted, the disk works again. */
void sim_disk_power_cut(struct sim_disk *d);
/* Every file in it is deleted; no descriptor is open. */
void sim_disk_wipe(struct sim_disk *d);
/* Faults that stay until switched off. Counted where they hit. */
enum sim_disk_fault {
    SIM_DISK_FULL = 1, /* writes fail with ENOSPC */
    SIM_DISK_ERROR,    /* every other write, by fate, fails with EIO */
    SIM_DISK_SYNC,     /* syncs fail with EIO, and what they should have made
                          durable never will be: no later sync covers it */
    SIM_DISK_MAP,      /* LMDB's map is full for puts of the entered disk */
    SIM_DISK_LIE,      /* syncs, O_DSYNC's among them, say yes and do nothing;
                          the next honest one covers what they promised */
    SIM_DISK_FAULTS,
};
void sim_disk_set_fault(struct sim_disk *d, enum sim_disk_fault fault, bool on);
/* In so many of a million power cuts that find a lie, sectors tear: see above.
 */
void sim_disk_set_tearing(struct sim_disk *d, uint32_t ppm);
/* Whether the last power cut took what a sync had promised. */
bool sim_disk_has_lied(const struct sim_disk *d);
/* Whether sectors tore then. */
bool sim_disk_is_torn(const struct sim_disk *d);
/* Flips a bit within what data.mdb holds; readers that have it mapped see it at
 * once, no writer is told. fate number names which one of this disk's; in
 * records alone (values of tree pages and what lies on overflow pages), or
 * anywhere, by preference in what LMDB itself goes by: meta pages, the heads of
 * pages in use and of what is in them. false: there is nothing to be flipped.
 */
bool sim_disk_rot(struct sim_disk *d, uint64_t number, bool anywhere);
/* LMDB died of the file (doom.h): until the process that had it open is gone
 * (kill, power cut, wipe, revive), nothing can be done with it. */
void sim_disk_doom(struct sim_disk *d);
bool sim_disk_is_doomed(const struct sim_disk *d);
void sim_disk_revive(struct sim_disk *d);
/* The disk that is watched there; NULL: none. */
struct sim_disk *sim_disk_at(const char *directory);
/* faults (borrowed, NULL: nobody) counts from now on. */
void sim_disk_count(struct sim_disk *d, struct sim_faults *faults);
/* The disk of the host whose code runs from now on (borrowed, may be NULL). */
void sim_disk_enter(struct sim_disk *d);
void sim_disk_read_counters(const struct sim_disk *d,
                            struct sim_disk_counters *ret_counters);

/* For lmdb_wrap.c: system calls on the real files. */
void sim_disk_opened(int fd, const char *path, int flags);
void sim_disk_closed(int fd);
bool sim_disk_watches(int fd);
/* A write begins: 0, or the errno that it shall fail with. *ret_room is where
 * its bytes have to be put before it is finished; borrowed. */
int sim_disk_begin_write(int fd, uint64_t offset, size_t size,
                         uint8_t **ret_room);
void sim_disk_finish_write(int fd);
/* Before an ftruncate and instead of an fsync: 0 or an errno. */
int sim_disk_before_truncate(int fd, uint64_t size);
int sim_disk_sync(int fd);
/* Whether a put fails now for want of room in the map. */
bool sim_disk_map_is_full(void);

/* The calls themselves, unwatched; defined in lmdb_wrap.c. */
ssize_t sim_real_pread(int fd, void *ret_bytes, size_t size, uint64_t offset);
ssize_t sim_real_pwrite(int fd, const void *bytes, size_t size,
                        uint64_t offset);
int sim_real_open(const char *path, int flags);
int sim_real_close(int fd);
int sim_real_truncate(int fd, uint64_t size);

#endif
