/* Calls into LMDB, counted and, where one would end the process, not made; the
 * pages that it changes, apart from all other memory: see doom.h. Linked with
 * the options of wrap.flags, as lmdb_wrap.c is. */
#include "sim/doom.h"

#include <errno.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "sim/disk_internal.h"

#define PAGE 4096
/* No offset of 16 bits, nor two of them one after the other, crosses it. */
#define STRIDE (UINT64_C(256) << 10)
#define SLOTS_MAX 2048
#define MAPS_MAX SIM_DISKS_MAX

static struct sim_dooms *watched;
static unsigned taken; /* disks that were doomed since somebody asked */

/* Where environments are mapped. */
static struct map {
    const MDB_env *env;
    const uint8_t *at;
    size_t size;
} maps[MAPS_MAX], opening;

static uint8_t *arena;
static size_t arena_used; /* slots that were ever given */
static size_t idle[SLOTS_MAX];
static size_t idle_count;

/* Names that the linker gives. */
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd,
                  off_t offset);
void *__real_malloc(size_t size);
void __real_free(void *p);
int __real_mdb_env_open(MDB_env *env, const char *path, unsigned flags,
                        mdb_mode_t mode);
void __real_mdb_env_close(MDB_env *env);
int __real_mdb_env_stat(MDB_env *env, MDB_stat *stat);
int __real_mdb_env_sync(MDB_env *env, int force);
int __real_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags,
                         MDB_txn **txn);
int __real_mdb_txn_commit(MDB_txn *txn);
int __real_mdb_txn_renew(MDB_txn *txn);
int __real_mdb_dbi_open(MDB_txn *txn, const char *name, unsigned flags,
                        MDB_dbi *dbi);
int __real_mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data);
int __real_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data,
                   unsigned flags);
int __real_mdb_del(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data);
int __real_mdb_cursor_open(MDB_txn *txn, MDB_dbi dbi, MDB_cursor **cursor);
int __real_mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data,
                          MDB_cursor_op op);
int __real_mdb_cursor_put(MDB_cursor *cursor, MDB_val *key, MDB_val *data,
                          unsigned flags);
int __real_mdb_cursor_del(MDB_cursor *cursor, unsigned flags);

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd,
                  off_t offset);
void *__wrap_malloc(size_t size);
void __wrap_free(void *p);
int __wrap_mdb_env_open(MDB_env *env, const char *path, unsigned flags,
                        mdb_mode_t mode);
void __wrap_mdb_env_close(MDB_env *env);
int __wrap_mdb_env_stat(MDB_env *env, MDB_stat *stat);
int __wrap_mdb_env_sync(MDB_env *env, int force);
int __wrap_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags,
                         MDB_txn **txn);
int __wrap_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_renew(MDB_txn *txn);
int __wrap_mdb_dbi_open(MDB_txn *txn, const char *name, unsigned flags,
                        MDB_dbi *dbi);
int __wrap_mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data);
int __wrap_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data,
                   unsigned flags);
int __wrap_mdb_del(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data);
int __wrap_mdb_cursor_open(MDB_txn *txn, MDB_dbi dbi, MDB_cursor **cursor);
int __wrap_mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data,
                          MDB_cursor_op op);
int __wrap_mdb_cursor_put(MDB_cursor *cursor, MDB_val *key, MDB_val *data,
                          unsigned flags);
int __wrap_mdb_cursor_del(MDB_cursor *cursor, unsigned flags);

/* ---- what is told to others ---- */

void sim_doom_watch(struct sim_dooms *d)
{
    watched = d;
    taken = 0;
    if (d == NULL)
        return;
    d->calls = 0;
    d->inside = d->by_file = false;
    if (arena != NULL)
        return;
    void *room = mmap(NULL, SLOTS_MAX * STRIDE, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(room != MAP_FAILED);
    arena = room;
}

unsigned sim_doom_take(void)
{
    unsigned ret = taken;

    taken = 0;
    return ret;
}

static bool is_in_arena(const void *p)
{
    return arena != NULL && (const uint8_t *)p >= arena &&
           (const uint8_t *)p < arena + SLOTS_MAX * STRIDE;
}

void sim_doom_on_fault(const void *address)
{
    const uint8_t *at = address;
    bool ours = is_in_arena(at);

    if (watched == NULL)
        return;
    for (size_t i = 0; i < MAPS_MAX && !ours; i++)
        ours = maps[i].env != NULL && at >= maps[i].at &&
               at < maps[i].at + maps[i].size;
    watched->by_file = ours;
}

/* ---- the arena ---- */

void *__wrap_malloc(size_t size)
{
    size_t slot;

    if (watched == NULL || !watched->inside || size != PAGE)
        return __real_malloc(size);
    if (idle_count > 0)
        slot = idle[--idle_count];
    else if (arena_used < SLOTS_MAX)
        slot = arena_used++;
    else
        return __real_malloc(size);
    uint8_t *page = arena + slot * STRIDE + STRIDE / 2;
    CHECK(mprotect(page, PAGE, PROT_READ | PROT_WRITE) == 0);
    memset(page, 0, PAGE);
    return page;
}

void __wrap_free(void *p)
{
    if (!is_in_arena(p)) {
        __real_free(p);
        return;
    }
    CHECK(idle_count < SLOTS_MAX);
    idle[idle_count++] = (size_t)((uint8_t *)p - arena) / STRIDE;
}

/* ---- calls ---- */

/* Whether the call must not be made. */
static bool begin(MDB_env *env)
{
    struct sim_disk *disk = mdb_env_get_userctx(env);
    bool dies = false;

    if (watched == NULL)
        return false;
    if (disk != NULL && sim_disk_is_doomed(disk))
        return true;
    watched->calls++;
    for (size_t i = 0; i < watched->count && !dies; i++)
        dies = watched->at[i] == watched->calls;
    if (dies) {
        CM_MARK("disk: LMDB died of it");
        CHECK(disk != NULL);
        sim_disk_doom(disk);
        taken++;
    }
    watched->inside = !dies;
    return dies;
}

static int end(int result)
{
    if (watched != NULL)
        watched->inside = false;
    return result;
}

/* LMDB tells nobody where it mapped the file: the greatest one that it makes
 * while it opens, but for the disk's own. */
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd,
                  off_t offset)
{
    void *ret = __real_mmap(at, size, protection, flags, fd, offset);

    if (opening.env != NULL && ret != MAP_FAILED && size > opening.size &&
        size < SIM_DISK_MAP_SIZE)
        opening = (struct map){opening.env, ret, size};
    return ret;
}

static void note_map(void)
{
    for (size_t i = 0; i < MAPS_MAX; i++) {
        if (maps[i].env == NULL) {
            maps[i] = opening;
            return;
        }
    }
}

int __wrap_mdb_env_open(MDB_env *env, const char *path, unsigned flags,
                        mdb_mode_t mode)
{
    int rc = mdb_env_set_userctx(env, sim_disk_at(path));

    if (rc != 0 || begin(env))
        return EIO;
    opening = (struct map){watched != NULL ? env : NULL, NULL, 0};
    rc = end(__real_mdb_env_open(env, path, flags, mode));
    if (rc == 0 && watched != NULL)
        note_map();
    opening.env = NULL;
    return rc;
}

void __wrap_mdb_env_close(MDB_env *env)
{
    for (size_t i = 0; i < MAPS_MAX; i++)
        if (maps[i].env == env)
            maps[i].env = NULL;
    __real_mdb_env_close(env);
}

int __wrap_mdb_env_stat(MDB_env *env, MDB_stat *stat)
{
    return begin(env) ? EIO : end(__real_mdb_env_stat(env, stat));
}

int __wrap_mdb_env_sync(MDB_env *env, int force)
{
    return begin(env) ? EIO : end(__real_mdb_env_sync(env, force));
}

int __wrap_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags,
                         MDB_txn **txn)
{
    return begin(env) ? EIO
                      : end(__real_mdb_txn_begin(env, parent, flags, txn));
}

int __wrap_mdb_txn_commit(MDB_txn *txn)
{
    if (!begin(mdb_txn_env(txn)))
        return end(__real_mdb_txn_commit(txn));
    mdb_txn_abort(txn); /* it is gone in any case */
    return EIO;
}

int __wrap_mdb_txn_renew(MDB_txn *txn)
{
    return begin(mdb_txn_env(txn)) ? EIO : end(__real_mdb_txn_renew(txn));
}

int __wrap_mdb_dbi_open(MDB_txn *txn, const char *name, unsigned flags,
                        MDB_dbi *dbi)
{
    return begin(mdb_txn_env(txn))
               ? EIO
               : end(__real_mdb_dbi_open(txn, name, flags, dbi));
}

int __wrap_mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data)
{
    return begin(mdb_txn_env(txn)) ? EIO
                                   : end(__real_mdb_get(txn, dbi, key, data));
}

/* A map that is too small cannot be had at will, for it grows with the disk:
 * what LMDB answers then is answered here. */
int __wrap_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data,
                   unsigned flags)
{
    if (sim_disk_map_is_full())
        return MDB_MAP_FULL;
    return begin(mdb_txn_env(txn))
               ? EIO
               : end(__real_mdb_put(txn, dbi, key, data, flags));
}

int __wrap_mdb_del(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data)
{
    return begin(mdb_txn_env(txn)) ? EIO
                                   : end(__real_mdb_del(txn, dbi, key, data));
}

int __wrap_mdb_cursor_open(MDB_txn *txn, MDB_dbi dbi, MDB_cursor **cursor)
{
    return begin(mdb_txn_env(txn))
               ? EIO
               : end(__real_mdb_cursor_open(txn, dbi, cursor));
}

int __wrap_mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data,
                          MDB_cursor_op op)
{
    return begin(mdb_txn_env(mdb_cursor_txn(cursor)))
               ? EIO
               : end(__real_mdb_cursor_get(cursor, key, data, op));
}

int __wrap_mdb_cursor_put(MDB_cursor *cursor, MDB_val *key, MDB_val *data,
                          unsigned flags)
{
    if (sim_disk_map_is_full())
        return MDB_MAP_FULL;
    return begin(mdb_txn_env(mdb_cursor_txn(cursor)))
               ? EIO
               : end(__real_mdb_cursor_put(cursor, key, data, flags));
}

int __wrap_mdb_cursor_del(MDB_cursor *cursor, unsigned flags)
{
    return begin(mdb_txn_env(mdb_cursor_txn(cursor)))
               ? EIO
               : end(__real_mdb_cursor_del(cursor, flags));
}
