/* The LMDB environment: opening, reopening after a fatal error, transactions,
 * and what readers ask for.
 *
 * LMDB must not be open twice in one process: closing one copy would drop the
 * other's locks. A failed environment (MDB_PANIC after a failed meta page) is
 * therefore reopened only when no transaction of it lives; live counts them. */
#include "node/store.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/store_txn.h"
#include "node/touched.h"

#define HEAP_END_MIN (80 << 10)

struct store {
    char *dir; /* owned */
    uint64_t map_size;
    MDB_env *env; /* NULL only after a failed reopening, until the next try */
    MDB_dbi dbi;
    pthread_mutex_t lock;   /* guards all of these */
    unsigned live;          /* transactions that have not ended; not the idle */
    struct store_txn *idle; /* kept readers without a snapshot */
    bool poisoned;          /* waits for live to become 0, to be reopened */
    uint64_t large;         /* transactions of STORE_LARGE_WRITES and more */
    uint64_t rested;        /* of which the memory was given back */
    struct actors actors;
};

struct actors *store_actors(struct store *s)
{
    return &s->actors;
}

const char *store_dir(const struct store *s)
{
    return s->dir;
}

MDB_dbi store_dbi(const struct store *s)
{
    return s->dbi;
}

/* LMDB writes the first pages of a new file without a sync. Until the first
 * commit a power cut would leave a file that no later start can open. */
static int env_sync_new(MDB_env *env)
{
    MDB_envinfo info;
    int rc = mdb_env_info(env, &info);

    if (rc == 0 && info.me_last_txnid == 0)
        rc = mdb_env_sync(env, 1);
    return rc;
}

/* After a failed sync the kernel may hold pages for clean that are not on disk,
 * and no later sync would write them: the file, empty still, is made anew. */
static void env_remove_new(const struct store *s)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/data.mdb", s->dir);

    if (length > 0 && (size_t)length < sizeof path)
        (void)unlink(path);
}

/* A file shorter than what its meta page speaks of was truncated, but for pages
 * at its end that nobody uses. Reading beyond the end would be a signal; so the
 * end is filled with zeroes, which are no pages, and read as damage. */
static int env_fill_end(MDB_env *env)
{
    MDB_envinfo info;
    MDB_stat stat_page;
    struct stat st;
    mdb_filehandle_t fd;
    off_t wanted;
    int rc = mdb_env_info(env, &info);

    if (rc == 0)
        rc = mdb_env_stat(env, &stat_page);
    if (rc == 0)
        rc = mdb_env_get_fd(env, &fd);
    if (rc != 0 || fstat(fd, &st) != 0)
        return rc != 0 ? rc : errno;
    wanted = (off_t)(info.me_last_pgno + 1) * (off_t)stat_page.ms_psize;
    if (st.st_size >= wanted)
        return 0;
    CM_MARK("store: the file is shorter than its pages");
    return ftruncate(fd, wanted) == 0 ? 0 : errno;
}

static int env_open(struct store *s, struct cm_detail *detail)
{
    MDB_env *env;
    MDB_txn *txn = NULL;
    MDB_dbi dbi = 0;
    bool unsynced = false;
    int rc = mdb_env_create(&env);

    CHECK(s->env == NULL);
    if (rc != 0)
        return store_error(rc, detail);
    rc = mdb_env_set_mapsize(env, (size_t)s->map_size);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(env, STORE_READERS_MAX);
    if (rc == 0)
        rc = mdb_env_open(env, s->dir, MDB_NOTLS, 0600);
    if (rc == 0) {
        rc = env_sync_new(env);
        unsynced = rc != 0;
    }
    if (rc == 0)
        rc = env_fill_end(env);
    if (rc == 0)
        rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
    if (rc == 0) {
        rc = mdb_dbi_open(txn, NULL, 0, &dbi);
        mdb_txn_abort(txn);
    }
    if (rc != 0) {
        mdb_env_close(env);
        if (unsynced)
            env_remove_new(s);
        return store_error(rc, detail);
    }
    s->env = env;
    s->dbi = dbi;
    return 0;
}

/* With s->lock held. */
static void idle_enter(struct store *s, struct store_txn *t)
{
    t->idle = true;
    t->idle_next = s->idle;
    t->idle_link = &s->idle;
    if (s->idle != NULL)
        s->idle->idle_link = &t->idle_next;
    s->idle = t;
}

static void idle_leave(struct store_txn *t)
{
    CHECK(t->idle && *t->idle_link == t);
    *t->idle_link = t->idle_next;
    if (t->idle_next != NULL)
        t->idle_next->idle_link = t->idle_link;
    t->idle = false;
}

/* No snapshot lives; kept slots are given up, their readers get new ones. */
static void env_close(struct store *s)
{
    CHECK(s->live == 0);
    while (s->idle != NULL) {
        struct store_txn *t = s->idle;

        idle_leave(t);
        mdb_txn_abort(t->mdb);
        t->mdb = NULL;
    }
    mdb_env_close(s->env);
    s->env = NULL;
}

static int begin_locked(struct store_txn *t, struct store *s,
                        struct cm_detail *detail)
{
    int rc;

    if (s->env == NULL) {
        int error = env_open(s, detail);

        if (error != 0)
            return error;
    }
    rc = mdb_txn_begin(s->env, NULL, t->write ? 0 : MDB_RDONLY, &t->mdb);
    s->poisoned = rc == MDB_PANIC && s->live > 0;
    if (rc == MDB_PANIC && s->live == 0) {
        CM_MARK("store: reopened after a failed commit");
        env_close(s);
        int error = env_open(s, detail);

        if (error != 0)
            return error;
        rc = mdb_txn_begin(s->env, NULL, t->write ? 0 : MDB_RDONLY, &t->mdb);
    }
    if (rc != 0) {
        t->mdb = NULL;
        return store_error(rc, detail);
    }
    s->live++;
    return 0;
}

bool store_is_poisoned(struct store *s)
{
    bool ret;

    (void)pthread_mutex_lock(&s->lock);
    ret = s->poisoned;
    (void)pthread_mutex_unlock(&s->lock);
    return ret;
}

uint64_t store_large(struct store *s)
{
    uint64_t ret;

    (void)pthread_mutex_lock(&s->lock);
    ret = s->large;
    (void)pthread_mutex_unlock(&s->lock);
    return ret;
}

/* Before LMDB opens: it takes 3 MB of lists of which it touches next to
 * nothing, but gets them where a burst's pages lay, if they are still there.
 * The end of a thread's heap goes only when a block of more than 64 KiB is
 * freed. */
static void trim_heap(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
    cm_free(cm_alloc(HEAP_END_MIN));
}

bool store_rest(struct store *s)
{
    bool ret = true;

    (void)pthread_mutex_lock(&s->lock);
    CHECK(s->rested <= s->large);
    if (s->rested < s->large && s->live > 0) {
        ret = false;
    } else if (s->rested < s->large) {
        CM_MARK("store: opened again to give memory back");
        s->rested = s->large;
        if (s->env != NULL)
            env_close(s);
        trim_heap();
        /* After a failure whoever begins a transaction tries, and is told. */
        (void)env_open(s, NULL);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return ret;
}

int store_txn_begin(struct store_txn *t, struct store *s, bool write,
                    struct cm_detail *detail)
{
    int error;

    *t = (struct store_txn){.store = s, .write = write};
    (void)pthread_mutex_lock(&s->lock);
    error = begin_locked(t, s, detail);
    (void)pthread_mutex_unlock(&s->lock);
    CHECK((error == 0) == (t->mdb != NULL));
    return error;
}

static void txn_ended(struct store_txn *t)
{
    t->mdb = NULL;
    CHECK(t->store->live > 0);
    t->store->live--;
    t->store->large += t->writes >= STORE_LARGE_WRITES;
}

/* Whether the slot was a kept one; then it is given up. */
static bool abort_idle(struct store_txn *t)
{
    bool idle;

    (void)pthread_mutex_lock(&t->store->lock);
    idle = t->idle;
    if (idle) {
        idle_leave(t);
        mdb_txn_abort(t->mdb);
        t->mdb = NULL;
    }
    (void)pthread_mutex_unlock(&t->store->lock);
    return idle;
}

void store_txn_abort(struct store_txn *t)
{
    if (t->store == NULL || (!t->write && abort_idle(t)) || t->mdb == NULL)
        return;
    /* Not with the mutex held: another writer may have it, and wait for this
     * transaction to end. */
    mdb_txn_abort(t->mdb);
    (void)pthread_mutex_lock(&t->store->lock);
    txn_ended(t);
    (void)pthread_mutex_unlock(&t->store->lock);
}

int store_txn_commit(struct store_txn *t, struct cm_detail *detail)
{
    int rc;

    CHECK(t->mdb != NULL && t->write);
    rc = mdb_txn_commit(t->mdb);
    (void)pthread_mutex_lock(&t->store->lock);
    txn_ended(t);
    (void)pthread_mutex_unlock(&t->store->lock);
    return store_commit_error(rc, t->store->dir, detail);
}

static MDB_val val_of(struct slice s)
{
    return (MDB_val){.mv_size = s.size, .mv_data = (void *)(uintptr_t)s.data};
}

/* ---- banks ---- */

int store_txn_bank(struct store_txn *t, unsigned *ret_bank)
{
    struct schema_head head;
    int error = t->bank_known ? 0 : store_txn_head(t, &head);

    if (error != 0)
        return error;
    if (!t->bank_known)
        store_txn_set_bank(t, head.bank);
    *ret_bank = t->bank;
    return 0;
}

void store_txn_set_bank(struct store_txn *t, unsigned bank)
{
    CHECK(bank < 2);
    t->bank = bank;
    t->bank_known = true;
}

int store_txn_place(struct store_txn *t, struct schema_key *key)
{
    unsigned bank;
    int error;

    CHECK(key->size > 0);
    if (!schema_prefix_is_banked(key->bytes[0]))
        return 0;
    error = store_txn_bank(t, &bank);
    if (error == 0)
        key->bytes[0] = schema_prefix_in(key->bytes[0], bank);
    return error;
}

/* Where it stands: key itself, or room. */
static int find_place(struct store_txn *t, const struct schema_key *key,
                      struct schema_key *room, struct slice *ret_key)
{
    unsigned bank;
    int error;

    *ret_key = schema_key_slice(key);
    CHECK(key->size > 0);
    if (!schema_prefix_is_banked(key->bytes[0]))
        return 0;
    error = store_txn_bank(t, &bank);
    if (error != 0 || bank == 0)
        return error;
    memcpy(room->bytes, key->bytes, key->size);
    room->size = key->size;
    room->bytes[0] = schema_prefix_in(key->bytes[0], bank);
    *ret_key = schema_key_slice(room);
    return 0;
}

static void note_touched(struct store_txn *t, const struct schema_key *key)
{
    if (t->touched != NULL && schema_prefix_is_banked(key->bytes[0]))
        touched_note(t->touched, schema_key_slice(key));
}

int store_txn_get(struct store_txn *t, const struct schema_key *key,
                  struct slice *ret_payload)
{
    struct schema_key room;
    struct slice place;
    MDB_val k, v;
    int error = find_place(t, key, &room, &place);
    int rc;

    CHECK(t->mdb != NULL && !t->idle);
    if (error != 0)
        return error;
    k = val_of(place);
    rc = mdb_get(t->mdb, t->store->dbi, &k, &v);
    if (rc != 0)
        return store_error(rc, NULL);
    return schema_record_open(ret_payload, place,
                              slice_of(v.mv_data, v.mv_size));
}

int store_txn_put_sealed(struct store_txn *t, struct slice key,
                         struct slice record)
{
    MDB_val k = val_of(key);
    MDB_val v = val_of(record);

    CHECK(t->mdb != NULL && t->write);
    t->writes++;
    return store_error(mdb_put(t->mdb, t->store->dbi, &k, &v, 0), NULL);
}

int store_txn_put(struct store_txn *t, const struct schema_key *key,
                  struct buffer *record)
{
    struct schema_key room;
    struct slice place;
    int error = find_place(t, key, &room, &place);

    if (error == 0)
        error = schema_record_seal(record, place);
    if (error != 0)
        return error;
    note_touched(t, key);
    return store_txn_put_sealed(t, place, buffer_slice(record));
}

int store_txn_delete(struct store_txn *t, const struct schema_key *key)
{
    struct schema_key room;
    struct slice place;
    MDB_val k;
    int error = find_place(t, key, &room, &place);

    CHECK(t->mdb != NULL && t->write);
    if (error != 0)
        return error;
    note_touched(t, key);
    t->writes++;
    k = val_of(place);
    return store_error(mdb_del(t->mdb, t->store->dbi, &k, NULL), NULL);
}

int store_txn_entry(struct store_txn *t, const struct entry_id *id,
                    struct entry *ret_entry, struct entry_local *ret_local)
{
    struct schema_key key;
    struct slice payload;
    int error;

    ret_entry->count = 0;
    if (id->key.size + id->element.size > KEY_SIZE_MAX)
        return CM_ERR_NOT_FOUND;
    schema_key_entry(&key, id);
    error = store_txn_get(t, &key, &payload);
    if (error != 0)
        return error;
    return schema_entry_unpack(ret_entry, ret_local, payload,
                               &t->store->actors);
}

int store_txn_head(struct store_txn *t, struct schema_head *ret_head)
{
    struct schema_key key;
    struct slice payload;
    int error;

    schema_key_state(&key, SCHEMA_STATE_HEAD);
    error = store_txn_get(t, &key, &payload);
    if (error == CM_ERR_NOT_FOUND) {
        *ret_head = (struct schema_head){.format = STORE_FORMAT};
        return 0;
    }
    return error != 0 ? error : schema_head_unpack(ret_head, payload);
}

int store_txn_digest(struct store_txn *t, struct digest *ret_digest)
{
    uint8_t lanes[DIGEST_BYTES];

    digest_init(ret_digest);
    for (uint8_t i = 0; i < 2; i++) {
        struct schema_key key;
        struct slice payload;
        int error;

        schema_key_state(&key, (uint8_t)(SCHEMA_STATE_LANES + i));
        error = store_txn_get(t, &key, &payload);
        if (error == CM_ERR_NOT_FOUND && i == 0)
            return 0; /* nothing was ever written */
        if (error == CM_ERR_NOT_FOUND ||
            (error == 0 && payload.size != SCHEMA_LANES_HALF))
            return CM_ERR_DAMAGED;
        if (error != 0)
            return error;
        memcpy(lanes + i * SCHEMA_LANES_HALF, payload.data, payload.size);
    }
    digest_decode(ret_digest, lanes);
    return 0;
}

int store_txn_meta(struct store_txn *t, const char *name, struct slice *ret)
{
    struct schema_key key;

    schema_key_meta(&key, name);
    return store_txn_get(t, &key, ret);
}

int store_txn_event(struct store_txn *t, const struct dot *dot,
                    struct slice *ret_bytes)
{
    struct schema_key key;
    struct schema_own own;
    uint32_t actor;
    int error;

    if (!actors_find(&t->store->actors, &dot->incarnation, &actor))
        return CM_ERR_NOT_FOUND;
    schema_key_event(&key, actor, dot->seq);
    error = store_txn_get(t, &key, ret_bytes);
    if (error != CM_ERR_NOT_FOUND)
        return error;
    error = store_txn_own(t, actor, dot->seq, &own);
    if (error == 0)
        *ret_bytes = own.bytes;
    return error;
}

int store_txn_own(struct store_txn *t, uint32_t actor, uint64_t seq,
                  struct schema_own *ret_own)
{
    struct schema_key key;
    struct slice payload;
    int error;

    schema_key_own(&key, actor, seq);
    error = store_txn_get(t, &key, &payload);
    return error != 0 ? error : schema_own_unpack(ret_own, payload);
}

/* The head knows more of this node's own incarnation than its record. */
static int overlay_own(const struct schema_head *head, uint32_t actor,
                       struct schema_actor *record)
{
    if (head->own_seq == 0 || head->own_actor != actor)
        return 0;
    if (record->entry.seq > head->own_seq)
        return CM_ERR_DAMAGED;
    record->entry.seq = head->own_seq;
    record->entry.head = head->own_hash;
    return 0;
}

int store_txn_actors(struct store_txn *t, store_actor_visit visit,
                     void *context)
{
    struct schema_key start;
    MDB_cursor *cursor;
    MDB_val k, v;
    struct schema_head head;
    int error = store_txn_head(t, &head);
    int rc;

    if (error != 0)
        return error;
    rc = mdb_cursor_open(t->mdb, t->store->dbi, &cursor);
    if (rc != 0)
        return store_error(rc, NULL);
    schema_key_actor(&start, 0);
    k = val_of(schema_key_slice(&start));
    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
         rc == 0 && error == 0; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        struct slice key = slice_of(k.mv_data, k.mv_size);
        struct slice payload;
        struct schema_actor record;
        uint32_t actor;

        if (key.size == 0 || key.data[0] != SCHEMA_PREFIX_ACTOR)
            break;
        error = schema_parse_actor(&actor, key);
        if (error == 0)
            error = schema_record_open(&payload, key,
                                       slice_of(v.mv_data, v.mv_size));
        if (error == 0)
            error = schema_actor_unpack(&record, payload);
        if (error == 0)
            error = overlay_own(&head, actor, &record);
        if (error == 0)
            error = visit(context, actor, &record);
    }
    mdb_cursor_close(cursor);
    if (error != 0)
        return error;
    return rc == MDB_NOTFOUND ? 0 : store_error(rc, NULL);
}

/* ---- opening ---- */

static int intern_actor(void *context, uint32_t actor,
                        const struct schema_actor *record)
{
    struct actors *actors = context;
    uint32_t given;
    int error;

    if (actor != actors_count(actors))
        return CM_ERR_DAMAGED;
    error = actors_intern(actors, &record->entry.incarnation, &given);
    if (error == 0 && given != actor)
        return CM_ERR_DAMAGED;
    return error;
}

/* Checks the format and names the actors. */
static int store_load(struct store *s, struct cm_detail *detail)
{
    struct store_txn t;
    struct schema_head head;
    int error = store_txn_begin(&t, s, false, detail);

    if (error != 0)
        return error;
    error = store_txn_head(&t, &head);
    if (error == CM_ERR_FORMAT_VERSION)
        (void)cm_fail(detail, error,
                      "%s/data.mdb has another format than %d; use the "
                      "version of confmesh that wrote it",
                      s->dir, STORE_FORMAT);
    if (error == 0)
        error = store_txn_actors(&t, intern_actor, &s->actors);
    if (error == CM_ERR_DAMAGED)
        (void)cm_fail(detail, error,
                      "%s/data.mdb is damaged; restore this node from a peer "
                      "or a snapshot",
                      s->dir);
    store_txn_abort(&t);
    return error;
}

int store_open(struct store **ret_store, const char *dir, uint64_t map_size,
               struct cm_detail *detail)
{
    struct store *s = cm_calloc(1, sizeof *s);
    size_t size = strlen(dir) + 1;
    int error = CM_ERR_NOMEM;

    if (s == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "store: out of memory");
    (void)pthread_mutex_init(&s->lock, NULL);
    s->map_size = map_size > 0 ? map_size : STORE_MAP_SIZE_DEFAULT;
    s->dir = cm_alloc(size);
    if (s->dir == NULL || actors_init(&s->actors) != 0) {
        (void)cm_fail(detail, error, "store: out of memory");
        goto fail;
    }
    memcpy(s->dir, dir, size);
    error = env_open(s, detail);
    if (error == 0)
        error = store_load(s, detail);
    if (error != 0)
        goto fail;
    *ret_store = s;
    return 0;
fail:
    store_close(s);
    return error;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    CHECK(s->live == 0 && s->idle == NULL); /* its readers were released */
    if (s->env != NULL)
        env_close(s);
    actors_release(&s->actors);
    (void)pthread_mutex_destroy(&s->lock);
    cm_free(s->dir);
    cm_free(s);
}

void store_usage(struct store *s, struct store_usage *ret_usage)
{
    MDB_envinfo info;
    MDB_stat stat;

    *ret_usage = (struct store_usage){.map_size = s->map_size};
    (void)pthread_mutex_lock(&s->lock);
    if (s->env != NULL && mdb_env_info(s->env, &info) == 0 &&
        mdb_env_stat(s->env, &stat) == 0) {
        ret_usage->used_bytes =
            (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
        ret_usage->entries = stat.ms_entries;
    }
    (void)pthread_mutex_unlock(&s->lock);
}

/* ---- readers ---- */

static int reader_load(struct store_reader *r)
{
    int error = store_txn_head(&r->txn, &r->head);

    if (error != 0)
        store_txn_abort(&r->txn);
    else
        store_txn_set_bank(&r->txn, r->head.bank);
    return error;
}

int store_reader_begin(struct store *s, struct store_reader **ret_reader)
{
    struct store_reader *r = cm_calloc(1, sizeof *r);
    int error;

    if (r == NULL)
        return CM_ERR_NOMEM;
    error = store_txn_begin(&r->txn, s, false, NULL);
    if (error == 0)
        error = reader_load(r);
    if (error != 0) {
        cm_free(r);
        return error;
    }
    *ret_reader = r;
    return 0;
}

void store_reader_release(struct store_reader *r)
{
    if (r == NULL)
        return;
    store_txn_abort(&r->txn);
    cm_free(r);
}

static void reset_locked(struct store_txn *t)
{
    if (t->mdb == NULL || t->idle)
        return;
    mdb_txn_reset(t->mdb);
    CHECK(t->store->live > 0);
    t->store->live--;
    idle_enter(t->store, t);
}

void store_reader_reset(struct store_reader *r)
{
    (void)pthread_mutex_lock(&r->txn.store->lock);
    reset_locked(&r->txn);
    (void)pthread_mutex_unlock(&r->txn.store->lock);
}

static int renew_locked(struct store_txn *t)
{
    reset_locked(t);
    if (t->mdb != NULL) {
        idle_leave(t);
        t->store->live++;
        if (mdb_txn_renew(t->mdb) == 0)
            return 0;
        /* The environment failed: the slot is given up, so that it can be
         * opened again. */
        mdb_txn_abort(t->mdb);
        txn_ended(t);
    }
    return begin_locked(t, t->store, NULL);
}

int store_reader_renew(struct store_reader *r)
{
    int error;

    (void)pthread_mutex_lock(&r->txn.store->lock);
    error = renew_locked(&r->txn);
    (void)pthread_mutex_unlock(&r->txn.store->lock);
    return error != 0 ? error : reader_load(r);
}

uint64_t store_revision(struct store_reader *r)
{
    return r->head.revision;
}

uint64_t store_oldest_revision(struct store_reader *r)
{
    return r->head.oldest_revision;
}

hlc_t store_hlc(struct store_reader *r)
{
    return r->head.hlc;
}

int store_get(struct store_reader *r, const struct entry_id *id,
              struct entry *ret_entry, struct entry_local *ret_local)
{
    return store_txn_entry(&r->txn, id, ret_entry, ret_local);
}

int store_digest(struct store_reader *r, struct digest *ret_digest)
{
    return store_txn_digest(&r->txn, ret_digest);
}

int store_event(struct store_reader *r, const struct dot *dot,
                struct slice *ret_bytes)
{
    return store_txn_event(&r->txn, dot, ret_bytes);
}

int store_meta(struct store_reader *r, const char *name, struct slice *ret)
{
    return store_txn_meta(&r->txn, name, ret);
}

/* ---- cursors ---- */

struct store_cursor {
    struct store_reader *reader; /* borrowed */
    MDB_cursor *mdb;             /* owned; NULL: at the end */
    struct schema_key prefix;
    struct schema_key start;
    bool exact;    /* the prefix is the whole key */
    bool started;  /* positioned by start */
    bool excluded; /* start itself is not wanted */
    struct store_item item;
};

int store_cursor_open(struct store_reader *r, enum space space,
                      struct slice key_prefix, bool exact_key,
                      const struct entry_id *after,
                      struct store_cursor **ret_cursor)
{
    struct store_cursor *c = cm_calloc(1, sizeof *c);
    int error;

    if (c == NULL)
        return CM_ERR_NOMEM;
    CHECK(r->txn.mdb != NULL && !r->txn.idle);
    c->reader = r;
    entry_init(&c->item.entry);
    *ret_cursor = c;
    if (!schema_key_prefix(&c->prefix, space, key_prefix, exact_key))
        return 0;
    c->exact = exact_key && space != SPACE_SET;
    c->start = c->prefix;
    if (after != NULL &&
        after->key.size + after->element.size <= KEY_SIZE_MAX) {
        struct schema_key key;

        schema_key_entry(&key, after);
        if (slice_compare(schema_key_slice(&key),
                          schema_key_slice(&c->prefix)) >= 0) {
            c->start = key;
            c->excluded = true;
        }
    }
    error = store_txn_place(&r->txn, &c->prefix);
    if (error == 0)
        error = store_txn_place(&r->txn, &c->start);
    if (error == 0)
        error = store_error(
            mdb_cursor_open(r->txn.mdb, r->txn.store->dbi, &c->mdb), NULL);
    if (error != 0) {
        cm_free(c);
        *ret_cursor = NULL;
    }
    return error;
}

static int cursor_move(struct store_cursor *c, MDB_val *k, MDB_val *v)
{
    int rc;

    if (c->started)
        return mdb_cursor_get(c->mdb, k, v, MDB_NEXT);
    c->started = true;
    *k = val_of(schema_key_slice(&c->start));
    rc = mdb_cursor_get(c->mdb, k, v, MDB_SET_RANGE);
    if (rc == 0 && c->excluded &&
        slice_equal(slice_of(k->mv_data, k->mv_size),
                    schema_key_slice(&c->start)))
        rc = mdb_cursor_get(c->mdb, k, v, MDB_NEXT);
    return rc;
}

int store_cursor_next(struct store_cursor *c, const struct store_item **ret)
{
    struct slice prefix, key, payload;
    MDB_val k, v;
    int rc, error;

    if (c->mdb == NULL)
        return CM_ERR_NOT_FOUND;
    prefix = schema_key_slice(&c->prefix);
    rc = cursor_move(c, &k, &v);
    if (rc != 0)
        return store_error(rc, NULL);
    key = slice_of(k.mv_data, k.mv_size);
    if (!slice_starts_with(key, prefix) ||
        (c->exact && key.size != prefix.size))
        return CM_ERR_NOT_FOUND;
    error = schema_parse_entry(&c->item.id, key);
    if (error == 0)
        error =
            schema_record_open(&payload, key, slice_of(v.mv_data, v.mv_size));
    if (error == 0)
        error = schema_entry_unpack(&c->item.entry, &c->item.local, payload,
                                    store_actors(c->reader->txn.store));
    if (error == 0)
        *ret = &c->item;
    return error;
}

void store_cursor_close(struct store_cursor *c)
{
    if (c == NULL)
        return;
    if (c->mdb != NULL)
        mdb_cursor_close(c->mdb);
    entry_release(&c->item.entry);
    cm_free(c);
}
