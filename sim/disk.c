/* The journal of what is not durable yet, and what a power cut makes of it:
 * see disk.h. */
#include "sim/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "crdt/base/error.h"
#include "crdt/base/mark.h"
#include "sim/disk_internal.h"
#include "sim/memory.h"

/* Of LMDB's pages (mdb.c, struct MDB_page). */
#define PAGE_SIZE SIM_DISK_PAGE_SIZE
#define PAGE_FLAGS_AT 10
#define PAGE_LOWER_AT 12
#define PAGE_UPPER_AT 14
#define PAGE_IS_TREE 3 /* branch or leaf */
#define PAGE_IS_OVERFLOW 4

#define DATA_NAME "/data.mdb"
#define LOCK_NAME "/lock.mdb"
static struct sim_disk *disks[SIM_DISKS_MAX];
static struct sim_disk *entered; /* borrowed: whose host is running */

/* What a descriptor of a watched file is. */
static struct {
    struct sim_disk *disk;
    bool dsync;
} descriptors[SIM_DISK_FD_MAX];

int sim_disk_create(struct sim_disk **ret_disk, const char *directory,
                    unsigned number, const struct sim_fate *fate,
                    struct sim_sched *sched)
{
    size_t slot = 0;

    CHECK(directory != NULL && fate != NULL);
    if (strlen(directory) + sizeof DATA_NAME > SIM_DISK_PATH_MAX)
        return CM_ERR_TOO_LARGE;
    while (slot < SIM_DISKS_MAX && disks[slot] != NULL)
        slot++;
    if (slot == SIM_DISKS_MAX)
        return CM_ERR_LIMIT;
    struct sim_disk *d = sim_calloc(1, sizeof *d);
    if (d == NULL)
        return CM_ERR_NOMEM;
    (void)snprintf(d->directory, sizeof d->directory, "%s", directory);
    d->number = number;
    d->fate = fate;
    d->sched = sched;
    d->fd = -1;
    disks[slot] = d;
    *ret_disk = d;
    return 0;
}

static void journal_clear(struct sim_disk *d)
{
    for (size_t i = 0; i < d->count; i++)
        sim_free(d->calls[i].old_bytes);
    d->count = 0;
    d->bytes = 0;
    d->unsynced = 0;
}

static uint64_t file_size(int fd)
{
    struct stat st;

    CHECK(fstat(fd, &st) == 0);
    CHECK(st.st_size >= 0);
    return (uint64_t)st.st_size;
}

static void take_file(struct sim_disk *d, const char *path)
{
    d->fd = sim_real_open(path, O_RDWR);
    CHECK(d->fd >= 0);
    void *map = mmap(NULL, SIM_DISK_MAP_SIZE, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_NORESERVE, d->fd, 0);
    CHECK(map != MAP_FAILED);
    d->map = map;
    d->size = file_size(d->fd);
}

static void let_go(struct sim_disk *d)
{
    if (d->fd < 0)
        return;
    CHECK(munmap(d->map, SIM_DISK_MAP_SIZE) == 0);
    (void)sim_real_close(d->fd);
    d->map = NULL;
    d->fd = -1;
}

void sim_disk_free(struct sim_disk *d)
{
    if (d == NULL)
        return;
    for (size_t i = 0; i < SIM_DISK_FD_MAX; i++)
        CHECK(descriptors[i].disk != d);
    for (size_t i = 0; i < SIM_DISKS_MAX; i++)
        if (disks[i] == d)
            disks[i] = NULL;
    if (entered == d)
        entered = NULL;
    journal_clear(d);
    let_go(d);
    sim_free(d->calls);
    sim_free(d);
}

void sim_disk_open_window(struct sim_disk *d)
{
    CHECK(!d->window && !d->failed);
    d->window = true;
    d->window_start = d->count;
}

void sim_disk_fail(struct sim_disk *d)
{
    CHECK(d->pending.old_bytes == NULL);
    d->failed = true;
}

void sim_disk_set_fault(struct sim_disk *d, enum sim_disk_fault fault, bool on)
{
    CHECK(fault > 0 && fault < SIM_DISK_FAULTS);
    d->faults[fault] = on;
}

void sim_disk_set_tearing(struct sim_disk *d, uint32_t ppm)
{
    CHECK(ppm <= 1000000);
    d->tearing_ppm = ppm;
}

bool sim_disk_has_lied(const struct sim_disk *d)
{
    return d->has_lied;
}

bool sim_disk_is_torn(const struct sim_disk *d)
{
    return d->torn;
}

void sim_disk_doom(struct sim_disk *d)
{
    d->doomed = true;
    sim_disk_note(d, "disk-doom", 0, slice_of(NULL, 0));
}

bool sim_disk_is_doomed(const struct sim_disk *d)
{
    return d->doomed;
}

void sim_disk_revive(struct sim_disk *d)
{
    d->doomed = false;
}

struct sim_disk *sim_disk_at(const char *directory)
{
    for (size_t i = 0; i < SIM_DISKS_MAX; i++)
        if (disks[i] != NULL && strcmp(disks[i]->directory, directory) == 0)
            return disks[i];
    return NULL;
}

void sim_disk_count(struct sim_disk *d, struct sim_faults *faults)
{
    CHECK(d != NULL);
    d->counted = faults;
}

void sim_disk_enter(struct sim_disk *d)
{
    entered = d;
}

bool sim_disk_map_is_full(void)
{
    if (entered == NULL || entered->failed || !entered->faults[SIM_DISK_MAP])
        return false;
    sim_fault_happened(entered->counted, SIM_DEED_MAP_FULL);
    return true;
}

void sim_disk_read_counters(const struct sim_disk *d,
                            struct sim_disk_counters *ret_counters)
{
    CHECK(ret_counters != NULL);
    *ret_counters = d->counters;
}

/* ---- the calls ---- */

/* A file that was made anew has nothing of the old one's to undo. */
static void forget_replaced(struct sim_disk *d, int fd)
{
    struct stat now;
    struct stat before;

    if (d->fd < 0)
        return;
    CHECK(fstat(fd, &now) == 0 && fstat(d->fd, &before) == 0);
    if (now.st_ino == before.st_ino)
        return;
    journal_clear(d);
    let_go(d);
}

void sim_disk_opened(int fd, const char *path, int flags)
{
    if (fd < 0 || fd >= SIM_DISK_FD_MAX)
        return;
    descriptors[fd].disk = NULL;
    for (size_t i = 0; i < SIM_DISKS_MAX; i++) {
        if (disks[i] == NULL)
            continue;
        size_t length = strlen(disks[i]->directory);
        if (strncmp(path, disks[i]->directory, length) != 0 ||
            strcmp(path + length, DATA_NAME) != 0)
            continue;
        descriptors[fd].disk = disks[i];
        descriptors[fd].dsync = (flags & O_DSYNC) != 0;
        forget_replaced(disks[i], fd);
        if (disks[i]->fd < 0)
            take_file(disks[i], path);
        return;
    }
}

void sim_disk_closed(int fd)
{
    if (fd >= 0 && fd < SIM_DISK_FD_MAX)
        descriptors[fd].disk = NULL;
}

bool sim_disk_watches(int fd)
{
    return fd >= 0 && fd < SIM_DISK_FD_MAX && descriptors[fd].disk != NULL;
}

void sim_disk_note(struct sim_disk *d, const char *kind, uint64_t number,
                   struct slice bytes)
{
    if (d->sched != NULL)
        sim_sched_note(d->sched, kind, d->number, number, bytes);
}

/* LMDB keeps an address in the free space of a page that a transaction freed
 * after it had written it, and may use that page again. Nothing reads it, but
 * no two processes have the same: what lies between a page's lower and upper
 * end becomes zeroes. */
static void clear_free_space(uint8_t *bytes, size_t size, uint64_t offset)
{
    size_t at = 0;

    while (offset % PAGE_SIZE == 0 && size - at >= PAGE_SIZE) {
        uint16_t flags, lower, upper;
        uint32_t pages = 1;

        memcpy(&flags, bytes + at + PAGE_FLAGS_AT, sizeof flags);
        memcpy(&lower, bytes + at + PAGE_LOWER_AT, sizeof lower);
        memcpy(&upper, bytes + at + PAGE_UPPER_AT, sizeof upper);
        if ((flags & PAGE_IS_OVERFLOW) != 0)
            memcpy(&pages, bytes + at + PAGE_LOWER_AT, sizeof pages);
        else if ((flags & PAGE_IS_TREE) != 0 && lower <= upper &&
                 upper <= PAGE_SIZE)
            memset(bytes + at + lower, 0, (size_t)upper - lower);
        if (pages == 0 || pages > (size - at) / PAGE_SIZE)
            break;
        at += (size_t)pages * PAGE_SIZE;
    }
}

static void journal_add(struct sim_disk *d, const struct call *c)
{
    if (d->count == d->capacity) {
        size_t wanted = d->capacity == 0 ? 64 : 2 * d->capacity;
        struct call *calls = sim_realloc(d->calls, wanted * sizeof *calls);
        CHECK(calls != NULL);
        d->calls = calls;
        d->capacity = wanted;
    }
    d->calls[d->count++] = *c;
    d->bytes += c->old_size + c->size;
    if (c->kind != CALL_SYNC && !c->dsync)
        d->unsynced++;
}

/* Forgets what no power cut can undo any more. */
static void journal_settle(struct sim_disk *d)
{
    if (d->window)
        return;
    if (d->unsynced == 0 || d->bytes > SIM_DISK_JOURNAL_BYTES_MAX)
        journal_clear(d);
}

/* The errno of a write that fails because of a fault, or 0. */
static int write_fault(struct sim_disk *d, uint64_t offset)
{
    uint64_t number = d->attempts++;

    if (d->failed || d->doomed)
        return EIO;
    if (offset > SIM_DISK_MAP_SIZE) /* by a page number that has rotted */
        return EFBIG;
    if (d->faults[SIM_DISK_FULL]) {
        sim_fault_happened(d->counted, SIM_DEED_DISK_FULL);
        return ENOSPC;
    }
    if (d->faults[SIM_DISK_ERROR] &&
        (sim_fate_draw(d->fate, SIM_FATE_WRITE_ERROR, d->number, number) & 1) !=
            0) {
        sim_fault_happened(d->counted, SIM_DEED_DISK_ERROR);
        return EIO;
    }
    return 0;
}

static void read_file(const struct sim_disk *d, uint8_t *ret_bytes, size_t size,
                      uint64_t offset)
{
    CHECK(offset + size <= d->size || size == 0);
    if (offset + size <= SIM_DISK_MAP_SIZE) {
        memcpy(ret_bytes, d->map + offset, size);
        return;
    }
    ssize_t got = sim_real_pread(d->fd, ret_bytes, size, offset);
    CHECK(got == (ssize_t)size);
}

static void write_whole(int fd, const uint8_t *bytes, size_t size,
                        uint64_t offset)
{
    if (size == 0)
        return;
    ssize_t put = sim_real_pwrite(fd, bytes, size, offset);
    CHECK(put == (ssize_t)size);
}

int sim_disk_begin_write(int fd, uint64_t offset, size_t size,
                         uint8_t **ret_room)
{
    CHECK(sim_disk_watches(fd));
    struct sim_disk *d = descriptors[fd].disk;
    int error = write_fault(d, offset);
    if (error != 0)
        return error;
    CHECK(d->pending.old_bytes == NULL);
    struct call c = {.kind = CALL_WRITE,
                     .dsync = descriptors[fd].dsync,
                     .offset = offset,
                     .size = size};
    if (c.dsync && d->faults[SIM_DISK_LIE]) {
        c.dsync = false;
        c.promised = true;
    }
    c.file_size = d->size;
    c.file_size_after = c.file_size;
    if (offset + size > c.file_size)
        c.file_size_after = offset + size;
    c.old_bytes = sim_alloc(2 * size + 1);
    CHECK(c.old_bytes != NULL);
    c.new_bytes = c.old_bytes + size;
    if (offset < d->size)
        c.old_size =
            d->size - offset < size ? (size_t)(d->size - offset) : size;
    read_file(d, c.old_bytes, c.old_size, offset);
    d->pending = c;
    *ret_room = c.new_bytes;
    return 0;
}

static void put_bytes(struct sim_disk *d, const struct call *c)
{
    uint64_t end = c->offset + c->size;

    if (end <= d->size && end <= SIM_DISK_MAP_SIZE) {
        memcpy(d->map + c->offset, c->new_bytes, c->size);
        return;
    }
    write_whole(d->fd, c->new_bytes, c->size, c->offset);
    if (end > d->size)
        d->size = end;
}

void sim_disk_finish_write(int fd)
{
    CHECK(sim_disk_watches(fd));
    struct sim_disk *d = descriptors[fd].disk;
    struct call c = d->pending;
    CHECK(c.old_bytes != NULL);
    d->pending.old_bytes = NULL;
    clear_free_space(c.new_bytes, c.size, c.offset);
    put_bytes(d, &c);
    d->counters.writes++;
    d->counters.bytes += c.size;
    sim_disk_note(d, c.dsync ? "disk-dsync" : "disk-write", c.offset,
                  slice_of(c.new_bytes, c.size));
    journal_add(d, &c);
    journal_settle(d);
}

int sim_disk_before_truncate(int fd, uint64_t size)
{
    CHECK(sim_disk_watches(fd));
    struct sim_disk *d = descriptors[fd].disk;
    if (d->failed)
        return EIO;
    struct call c = {.kind = CALL_TRUNCATE,
                     .file_size = d->size,
                     .file_size_after = size,
                     .offset = size};
    if (c.file_size > size) { /* keep what it cuts off */
        c.old_size = (size_t)(c.file_size - size);
        c.old_bytes = sim_alloc(c.old_size);
        CHECK(c.old_bytes != NULL);
        read_file(d, c.old_bytes, c.old_size, size);
    }
    d->size = size; /* it cannot fail now */
    sim_disk_note(d, "disk-truncate", size, slice_of(NULL, 0));
    journal_add(d, &c);
    return 0;
}

/* Whether call index is certain to be on the platter, all having returned. */
static bool is_synced(const struct sim_disk *d, size_t index)
{
    if (d->calls[index].dsync)
        return true;
    for (size_t i = index + 1; i < d->count; i++)
        if (d->calls[i].kind == CALL_SYNC)
            return true;
    return false;
}

int sim_disk_sync(int fd)
{
    CHECK(sim_disk_watches(fd));
    struct sim_disk *d = descriptors[fd].disk;
    if (d->failed)
        return EIO;
    if (d->faults[SIM_DISK_SYNC]) {
        for (size_t i = 0; i < d->count; i++)
            d->calls[i].doubtful |= !is_synced(d, i);
        sim_fault_happened(d->counted, SIM_DEED_SYNC_FAIL);
        sim_disk_note(d, "disk-nosync", d->counters.syncs, slice_of(NULL, 0));
        return EIO;
    }
    if (d->faults[SIM_DISK_LIE]) {
        for (size_t i = 0; i < d->count; i++)
            d->calls[i].promised |= !is_synced(d, i) && !d->calls[i].doubtful;
        sim_disk_note(d, "disk-lie", d->counters.syncs, slice_of(NULL, 0));
        return 0;
    }
    struct call c = {.kind = CALL_SYNC, .file_size = d->size};
    c.file_size_after = c.file_size;
    d->counters.syncs++;
    sim_disk_note(d, "disk-sync", d->counters.syncs, slice_of(NULL, 0));
    journal_add(d, &c);
    d->unsynced = 0;
    for (size_t i = 0; i < d->count; i++)
        d->unsynced += d->calls[i].doubtful;
    journal_settle(d);
    return 0;
}

/* ---- the power cut ---- */

static void undo_call(int fd, const struct call *c)
{
    if (c->kind == CALL_SYNC)
        return;
    write_whole(fd, c->old_bytes, c->old_size, c->offset);
    CHECK(sim_real_truncate(fd, c->file_size) == 0);
}

/* An unsynced write: each sector reached the platter or did not. */
static void redo_torn(struct sim_disk *d, int fd, const struct call *c,
                      uint64_t index)
{
    uint64_t at = c->offset;
    uint64_t end = c->offset + c->size;
    bool kept = false;
    bool dropped = false;

    while (at < end) {
        uint64_t sector = at / SIM_SECTOR_SIZE;
        uint64_t stop = (sector + 1) * SIM_SECTOR_SIZE;
        if (stop > end)
            stop = end;
        uint64_t place = (uint64_t)d->number << 32 | d->counters.power_cuts;
        uint64_t number = index << 40 ^ sector;
        if (sim_fate_draw(d->fate, SIM_FATE_SECTOR, place, number) & 1) {
            write_whole(fd, c->new_bytes + (at - c->offset),
                        (size_t)(stop - at), at);
            d->counters.sectors_kept++;
            kept = true;
        } else {
            d->counters.sectors_dropped++;
            dropped = true;
        }
        at = stop;
    }
    if (kept && dropped)
        CM_MARK("disk: a write was torn by a power cut");
}

static void redo_call(struct sim_disk *d, int fd, uint64_t index, bool durable)
{
    const struct call *c = &d->calls[index];

    if (c->kind == CALL_SYNC)
        return;
    if (c->kind == CALL_TRUNCATE) {
        if (durable)
            CHECK(sim_real_truncate(fd, c->file_size_after) == 0);
        return;
    }
    if (durable)
        write_whole(fd, c->new_bytes, c->size, c->offset);
    else
        redo_torn(d, fd, c, index);
}

/* Whether call index was certain to be on the platter when the power went
 * after reached calls were made, of which all but the last (unless quiet)
 * had returned. */
static bool is_durable(const struct sim_disk *d, size_t index, size_t reached,
                       bool quiet)
{
    size_t returned = quiet ? reached : reached - 1;

    CHECK(index < reached);
    if (d->calls[index].dsync && index < returned)
        return true;
    if (d->calls[index].doubtful)
        return false;
    for (size_t i = index + 1; i < returned; i++)
        if (d->calls[i].kind == CALL_SYNC)
            return true;
    return false;
}

/* The first call that a sync promised to keep and nothing keeps; count: none.
 */
static size_t first_lie(const struct sim_disk *d, size_t reached, bool quiet)
{
    for (size_t i = 0; i < reached; i++)
        if (d->calls[i].promised && !is_durable(d, i, reached, quiet))
            return i;
    return d->count;
}

/* What a power cut leaves of a disk that has lied: 0: sectors tear, as those of
 * writes without a sync do; else the cache lost its end, and so many calls are
 * left whole. */
static size_t lie_keeps(struct sim_disk *d, size_t first, size_t reached)
{
    d->has_lied = true;
    d->torn = sim_fate_chance(d->fate, SIM_FATE_LIE, d->number,
                              2 * d->counters.power_cuts, d->tearing_ppm);
    d->counters.lies++;
    sim_fault_happened(d->counted, SIM_DEED_SYNC_LIE);
    CM_MARK_IF(d->torn, "disk: what a sync had promised was torn");
    CM_MARK_IF(!d->torn, "disk: what a sync had promised was gone");
    if (d->torn)
        return 0;
    return (size_t)sim_fate_range(d->fate, SIM_FATE_LIE, d->number,
                                  2 * d->counters.power_cuts + 1, first,
                                  reached - 1);
}

static void cut_calls(struct sim_disk *d, int fd)
{
    size_t reached = d->count;
    size_t kept = 0;
    size_t lie;

    if (d->window)
        reached = (size_t)sim_fate_range(d->fate, SIM_FATE_CUT, d->number,
                                         d->counters.power_cuts,
                                         d->window_start, d->count);
    /* At either end of the window no call is under way: those before it had
     * returned long ago. */
    bool quiet =
        reached == d->count || (d->window && reached == d->window_start);
    lie = first_lie(d, reached, quiet);
    if (lie < reached)
        kept = lie_keeps(d, lie, reached);
    for (size_t i = d->count; i > 0; i--)
        undo_call(fd, &d->calls[i - 1]);
    bool ordered = lie < reached && !d->torn;
    if (ordered)
        reached = kept;
    for (size_t i = 0; i < reached; i++)
        redo_call(d, fd, i, ordered || is_durable(d, i, reached, quiet));
    d->counters.calls_undone += d->count - reached;
    sim_disk_note(d, "disk-cut", reached, slice_of(NULL, 0));
}

void sim_disk_kill(struct sim_disk *d)
{
    size_t reached = d->count;

    for (size_t i = 0; i < SIM_DISK_FD_MAX; i++)
        CHECK(descriptors[i].disk != d);
    d->counters.kills++;
    if (d->window)
        reached = (size_t)sim_fate_range(d->fate, SIM_FATE_KILL, d->number,
                                         d->counters.kills, d->window_start,
                                         d->count);
    d->counters.calls_undone += d->count - reached;
    while (d->count > reached) {
        struct call *c = &d->calls[--d->count];
        undo_call(d->fd, c);
        d->bytes -= c->old_size + c->size;
        sim_free(c->old_bytes);
    }
    if (d->fd >= 0)
        d->size = file_size(d->fd);
    d->unsynced = 0;
    for (size_t i = 0; i < d->count; i++)
        d->unsynced += d->calls[i].doubtful || !is_synced(d, i);
    sim_disk_note(d, "disk-kill", reached, slice_of(NULL, 0));
    d->window = false;
    d->failed = false;
    d->doomed = false;
    journal_settle(d);
}

void sim_disk_wipe(struct sim_disk *d)
{
    char path[SIM_DISK_PATH_MAX + 256];
    const struct dirent *entry;

    for (size_t i = 0; i < SIM_DISK_FD_MAX; i++)
        CHECK(descriptors[i].disk != d);
    journal_clear(d);
    let_go(d);
    DIR *directory = opendir(d->directory);
    CHECK(directory != NULL);
    while ((entry = readdir(directory)) != NULL) {
        (void)snprintf(path, sizeof path, "%s/%s", d->directory, entry->d_name);
        (void)unlink(path);
    }
    (void)closedir(directory);
}

void sim_disk_power_cut(struct sim_disk *d)
{
    char path[SIM_DISK_PATH_MAX + sizeof DATA_NAME];

    for (size_t i = 0; i < SIM_DISK_FD_MAX; i++)
        CHECK(descriptors[i].disk != d);
    d->counters.power_cuts++;
    d->has_lied = d->torn = false;
    if (d->fd >= 0) {
        cut_calls(d, d->fd);
        let_go(d);
    }
    (void)snprintf(path, sizeof path, "%s" LOCK_NAME, d->directory);
    (void)unlink(path);
    journal_clear(d);
    d->window = false;
    d->failed = false;
    d->doomed = false;
}
