/* The calls of node/object_dir.h, done and then spoilt: see objects.h. */
#include "sim/objects.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/object_dir.h"
#include "sim/memory.h"

#define MILLION 1000000
#define OLD_SIZE_MAX (64u << 20)

int __real_object_dir_open(struct object_dir *ret_dir, const char *target,
                           bool create, struct cm_detail *detail);
int __wrap_object_dir_open(struct object_dir *ret_dir, const char *target,
                           bool create, struct cm_detail *detail);
int __real_object_dir_put(struct object_dir *d, const char *name,
                          struct slice bytes, struct cm_detail *detail);
int __real_object_dir_put_later(struct object_dir *d, const char *name,
                                struct slice bytes, struct cm_detail *detail);
int __real_object_dir_flush(struct object_dir *d, struct cm_detail *detail);
int __real_object_dir_get(struct object_dir *d, const char *name,
                          struct buffer *ret_bytes, struct cm_detail *detail);
int __real_object_dir_list(struct object_dir *d, const char *prefix,
                           struct object_list *ret_list,
                           struct cm_detail *detail);
int __wrap_object_dir_put(struct object_dir *d, const char *name,
                          struct slice bytes, struct cm_detail *detail);
int __wrap_object_dir_put_later(struct object_dir *d, const char *name,
                                struct slice bytes, struct cm_detail *detail);
int __wrap_object_dir_flush(struct object_dir *d, struct cm_detail *detail);
int __wrap_object_dir_get(struct object_dir *d, const char *name,
                          struct buffer *ret_bytes, struct cm_detail *detail);
int __wrap_object_dir_list(struct object_dir *d, const char *prefix,
                           struct object_list *ret_list,
                           struct cm_detail *detail);

/* One object that was put. */
struct known {
    char *path; /* owned: of the file */
    uint64_t put_us;
    bool replaced;     /* old is what was there before */
    struct buffer old; /* sizes beyond OLD_SIZE_MAX are not kept */
};

struct sim_object_log {
    struct sim_sched *sched;
    const struct sim_fate *fate;
    struct sim_faults *faults;
    struct known *known; /* owned; in the order of their first put */
    size_t count;
    size_t capacity;
};

struct sim_objects {
    struct sim_object_log *log;
    unsigned host;
    uint32_t ppm[SIM_OBJECT_FAULTS];
    uint64_t slow_us;
    uint64_t wait_us;
    uint64_t calls;
    bool dead; /* its process makes no call any more */
};

static struct sim_objects *entered; /* borrowed */

void sim_object_log_create(struct sim_object_log **ret_log,
                           struct sim_sched *sched, const struct sim_fate *fate,
                           struct sim_faults *faults)
{
    struct sim_object_log *l = sim_calloc(1, sizeof *l);

    CHECK(sched != NULL && fate != NULL);
    l->sched = sched;
    l->fate = fate;
    l->faults = faults;
    *ret_log = l;
}

void sim_object_log_free(struct sim_object_log *l)
{
    if (l == NULL)
        return;
    for (size_t i = 0; i < l->count; i++) {
        sim_free(l->known[i].path);
        buffer_release(&l->known[i].old);
    }
    sim_free(l->known);
    sim_free(l);
}

void sim_objects_create(struct sim_objects **ret_objects,
                        struct sim_object_log *log, unsigned host)
{
    struct sim_objects *o = sim_calloc(1, sizeof *o);

    CHECK(log != NULL);
    o->log = log;
    o->host = host;
    *ret_objects = o;
}

void sim_objects_free(struct sim_objects *o)
{
    if (entered == o)
        entered = NULL;
    sim_free(o);
}

void sim_objects_set_rate(struct sim_objects *o, enum sim_object_fault fault,
                          uint32_t ppm)
{
    CHECK(fault < SIM_OBJECT_FAULTS && ppm <= MILLION);
    o->ppm[fault] = ppm;
}

void sim_objects_set_dead(struct sim_objects *o, bool dead)
{
    CHECK(o != NULL);
    o->dead = dead;
}

void sim_objects_set_slow(struct sim_objects *o, uint64_t us)
{
    CHECK(o != NULL);
    o->slow_us = us;
}

uint64_t sim_objects_take_wait_us(struct sim_objects *o)
{
    uint64_t us = o->wait_us;

    o->wait_us = 0;
    return us;
}

void sim_objects_enter(struct sim_objects *o)
{
    entered = o;
}

/* ---- where targets lie ---- */

static char targets[SIM_OBJECTS_TARGETS_MAX][PATH_MAX]; /* empty: free */

unsigned sim_objects_mount(const char *real)
{
    unsigned place = 0;

    while (place < SIM_OBJECTS_TARGETS_MAX && targets[place][0] != 0)
        place++;
    CHECK(place < SIM_OBJECTS_TARGETS_MAX && strlen(real) < PATH_MAX);
    (void)snprintf(targets[place], PATH_MAX, "%s", real);
    return place;
}

void sim_objects_unmount(unsigned place)
{
    CHECK(place < SIM_OBJECTS_TARGETS_MAX && targets[place][0] != 0);
    targets[place][0] = 0;
}

int __wrap_object_dir_open(struct object_dir *ret_dir, const char *target,
                           bool create, struct cm_detail *detail)
{
    unsigned place = 0;
    char name[64];

    for (; place < SIM_OBJECTS_TARGETS_MAX; place++) {
        (void)snprintf(name, sizeof name, SIM_OBJECTS_TARGET, place);
        if (targets[place][0] != 0 && strcmp(target, name) == 0)
            break;
    }
    return __real_object_dir_open(
        ret_dir, place < SIM_OBJECTS_TARGETS_MAX ? targets[place] : target,
        create, detail);
}

/* ---- what was put ---- */

static void path_of(const struct object_dir *d, const char *name,
                    char ret_path[PATH_MAX])
{
    int length = snprintf(ret_path, PATH_MAX, "%s/%s", d->path, name);

    CHECK(length > 0 && length < PATH_MAX);
}

static struct known *find_known(struct sim_object_log *l, const char *path)
{
    for (size_t i = l->count; i > 0; i--)
        if (strcmp(l->known[i - 1].path, path) == 0)
            return &l->known[i - 1];
    return NULL;
}

static struct known *remember(struct sim_object_log *l, const char *path)
{
    struct known *k = find_known(l, path);

    if (k != NULL || l->count == SIM_OBJECTS_KNOWN_MAX)
        return k;
    if (l->count == l->capacity) {
        l->capacity = l->capacity == 0 ? 64 : 2 * l->capacity;
        l->known = sim_realloc(l->known, l->capacity * sizeof *l->known);
    }
    size_t size = strlen(path) + 1;
    k = &l->known[l->count++];
    *k = (struct known){.path = sim_alloc(size)};
    memcpy(k->path, path, size);
    buffer_init(&k->old, OLD_SIZE_MAX);
    return k;
}

/* ---- fates ---- */

static bool hits(const struct sim_objects *o, enum sim_object_fault fault)
{
    uint64_t place = (uint64_t)o->host << 8 | fault;

    return sim_fate_chance(o->log->fate, SIM_FATE_OBJECT, place, o->calls,
                           o->ppm[fault]);
}

static uint64_t draw(const struct sim_objects *o, enum sim_object_fault fault)
{
    uint64_t place = UINT64_C(1) << 63 | (uint64_t)o->host << 8 | fault;

    return sim_fate_draw(o->log->fate, SIM_FATE_OBJECT, place, o->calls);
}

static void lose_one(struct sim_objects *o)
{
    const struct sim_object_log *l = o->log;

    if (l->count == 0 || !hits(o, SIM_OBJECTS_LOSE))
        return;
    size_t pick = (size_t)(draw(o, SIM_OBJECTS_LOSE) % l->count);
    if (unlink(l->known[pick].path) == 0)
        sim_fault_happened(l->faults, SIM_DEED_OBJECTS_LOSE);
}

static void flip_one(struct sim_objects *o)
{
    const struct sim_object_log *l = o->log;
    uint64_t pick = draw(o, SIM_OBJECTS_FLIP);
    uint8_t byte;

    if (l->count == 0 || !hits(o, SIM_OBJECTS_FLIP))
        return;
    int fd = open(l->known[pick % l->count].path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    off_t size = lseek(fd, 0, SEEK_END);
    off_t at = size > 0 ? (off_t)((pick >> 16) % (uint64_t)size) : 0;
    if (size > 0 && pread(fd, &byte, 1, at) == 1) {
        byte ^= (uint8_t)(1u << (pick >> 8 & 7));
        CHECK(pwrite(fd, &byte, 1, at) == 1);
        sim_fault_happened(l->faults, SIM_DEED_OBJECTS_FLIP);
    }
    (void)close(fd);
}

/* Before each call. */
static void call_begins(struct sim_objects *o)
{
    o->calls++;
    if (o->slow_us > 0) {
        o->wait_us += o->slow_us;
        sim_fault_happened(o->log->faults, SIM_DEED_OBJECTS_SLOW);
    }
    lose_one(o);
    flip_one(o);
}

/* After it. */
static int call_ends(struct sim_objects *o, int error, const char *what,
                     struct cm_detail *detail)
{
    if (error != 0 || !hits(o, SIM_OBJECTS_ERROR))
        return error;
    sim_fault_happened(o->log->faults, SIM_DEED_OBJECTS_ERROR);
    return cm_fail(detail, CM_ERR_IO,
                   "the object store did not answer when asked to %s", what);
}

/* ---- the calls ---- */

typedef int (*put_call)(struct object_dir *d, const char *name,
                        struct slice bytes, struct cm_detail *detail);

static int refuse_dead(struct cm_detail *detail)
{
    CM_MARK("snapshot: its process ended in the middle");
    return cm_fail(detail, CM_ERR_IO, "the process has ended");
}

static int put(put_call real, struct object_dir *d, const char *name,
               struct slice bytes, struct cm_detail *detail)
{
    struct sim_objects *o = entered;
    char path[PATH_MAX];
    struct buffer before;

    if (o == NULL)
        return real(d, name, bytes, detail);
    if (o->dead)
        return refuse_dead(detail);
    call_begins(o);
    buffer_init(&before, OLD_SIZE_MAX);
    bool replaced = __real_object_dir_get(d, name, &before, NULL) == 0 &&
                    !slice_equal(buffer_slice(&before), bytes);
    int error = real(d, name, bytes, detail);
    path_of(d, name, path);
    struct known *k = error == 0 ? remember(o->log, path) : NULL;
    if (k != NULL && (replaced || k->put_us == 0)) {
        buffer_release(&k->old);
        k->old = before;
        k->replaced = replaced;
        k->put_us = o->log->sched->now_us;
        buffer_init(&before, OLD_SIZE_MAX);
    }
    buffer_release(&before);
    return call_ends(o, error, "put", detail);
}

int __wrap_object_dir_put(struct object_dir *d, const char *name,
                          struct slice bytes, struct cm_detail *detail)
{
    return put(__real_object_dir_put, d, name, bytes, detail);
}

int __wrap_object_dir_put_later(struct object_dir *d, const char *name,
                                struct slice bytes, struct cm_detail *detail)
{
    return put(__real_object_dir_put_later, d, name, bytes, detail);
}

int __wrap_object_dir_flush(struct object_dir *d, struct cm_detail *detail)
{
    /* Nothing here outlives the run: waiting for a disk would prove nothing. */
    if (entered == NULL)
        return __real_object_dir_flush(d, detail);
    if (entered->dead)
        return refuse_dead(detail);
    call_begins(entered);
    return call_ends(entered, 0, "flush", detail);
}

int __wrap_object_dir_get(struct object_dir *d, const char *name,
                          struct buffer *ret_bytes, struct cm_detail *detail)
{
    struct sim_objects *o = entered;
    char path[PATH_MAX];

    if (o == NULL)
        return __real_object_dir_get(d, name, ret_bytes, detail);
    if (o->dead)
        return refuse_dead(detail);
    call_begins(o);
    path_of(d, name, path);
    const struct known *k = find_known(o->log, path);
    if (k != NULL && hits(o, SIM_OBJECTS_OLD)) {
        sim_fault_happened(o->log->faults, SIM_DEED_OBJECTS_OLD);
        if (!k->replaced)
            return cm_fail(detail, CM_ERR_NOT_FOUND, "there is no object %s",
                           name);
        buffer_clear(ret_bytes);
        buffer_append_slice(ret_bytes, buffer_slice(&k->old));
        return ret_bytes->error;
    }
    return call_ends(o, __real_object_dir_get(d, name, ret_bytes, detail),
                     "get", detail);
}

/* Whether all that is known below path was put lately. */
static bool is_new(const struct sim_object_log *l, const char *path)
{
    size_t length = strlen(path);
    bool found = false;

    for (size_t i = 0; i < l->count; i++) {
        const struct known *k = &l->known[i];
        bool below = path[length - 1] == '/'
                         ? strncmp(k->path, path, length) == 0
                         : strcmp(k->path, path) == 0;
        if (!below)
            continue;
        found = true;
        if (l->sched->now_us - k->put_us > SIM_OBJECTS_STALE_US)
            return false;
    }
    return found;
}

int __wrap_object_dir_list(struct object_dir *d, const char *prefix,
                           struct object_list *ret_list,
                           struct cm_detail *detail)
{
    struct sim_objects *o = entered;
    char path[PATH_MAX];
    size_t kept = 0;

    if (o != NULL && o->dead)
        return refuse_dead(detail);
    int error = __real_object_dir_list(d, prefix, ret_list, detail);
    if (o == NULL || error != 0)
        return error;
    call_begins(o);
    bool stale = hits(o, SIM_OBJECTS_STALE);
    for (size_t i = 0; stale && i < ret_list->count; i++) {
        int length = snprintf(path, sizeof path, "%s/%s%s", d->path, prefix,
                              ret_list->names[i]);
        CHECK(length > 0 && length < PATH_MAX);
        char *name = ret_list->names[i];
        ret_list->names[i] = ret_list->names[kept];
        ret_list->names[kept] = name;
        kept += !is_new(o->log, path);
    }
    if (stale && kept < ret_list->count) {
        sim_fault_happened(o->log->faults, SIM_DEED_OBJECTS_STALE);
        while (ret_list->count > kept)
            cm_free(ret_list->names[--ret_list->count]);
    }
    error = call_ends(o, 0, "list", detail);
    if (error != 0)
        object_list_release(ret_list);
    return error;
}
