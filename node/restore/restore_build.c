/* Builds beside the wanted place and renames at the end: whoever looks sees
 * either nothing or the whole node. The host's fingerprint survives, because a
 * rename keeps the directory's inode. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "node/datadir.h"
#include "node/restore/restore_gather.h"
#include "node/store.h"
#include "node/writer.h"

/* Without trailing slashes, so that ".tmp-" can be appended. */
void restore_place(char ret_path[PATH_MAX], const struct restore *r)
{
    size_t size = strlen(r->o->data);

    CHECK(size > 0 && size < PATH_MAX - 16);
    while (size > 1 && r->o->data[size - 1] == '/')
        size--;
    memcpy(ret_path, r->o->data, size);
    ret_path[size] = '\0';
}

int restore_check_parent(struct restore *r, const char *flag, const char *path)
{
    const char *slash = strrchr(path, '/');
    char parent[PATH_MAX];

    if (slash == NULL)
        (void)snprintf(parent, sizeof parent, ".");
    else
        (void)snprintf(parent, sizeof parent, "%.*s",
                       slash == path ? 1 : (int)(slash - path), path);
    if (access(parent, W_OK | X_OK) == 0)
        return RESTORE_OK;
    return restore_fail(r, RESTORE_TRANSPORT, "%s: cannot write in %s: %s%s",
                        flag, parent, strerror(errno),
                        errno == ENOENT ? "; make that directory first"
                                        : "; name a place where this user may");
}

int restore_check_place(struct restore *r)
{
    char path[PATH_MAX];
    struct dirent *entry;
    bool empty = true;
    DIR *dir;

    restore_place(path, r);
    dir = opendir(path);
    if (dir == NULL && errno == ENOENT)
        return restore_check_parent(r, "--data", path);
    if (dir == NULL)
        return restore_fail(
            r, errno == ENOTDIR ? RESTORE_USAGE : RESTORE_TRANSPORT,
            "--data: cannot use %s: %s; name a directory that does not exist "
            "yet",
            path, strerror(errno));
    while ((entry = readdir(dir)) != NULL)
        empty = empty && (strcmp(entry->d_name, ".") == 0 ||
                          strcmp(entry->d_name, "..") == 0);
    (void)closedir(dir);
    if (!empty)
        return restore_fail(r, RESTORE_USAGE,
                            "--data: %s is not empty; name a directory that "
                            "does not exist yet",
                            path);
    return restore_check_parent(r, "--data", path);
}

/* Everything except the roster, for a mesh with another authority: the old
 * certificates mean nothing there. */
struct filtered {
    struct restore *r;
    bool without_roster;
    struct digest digest;
    bool added_up;
};

static bool is_left_out(const struct filtered *f, const struct entry_id *id)
{
    if (id->space > SPACE_CLIENT_LAST)
        return f->without_roster;
    return f->r->o->prefix != NULL &&
           !slice_starts_with(id->key, slice_of_string(f->r->o->prefix));
}

static int filtered_next(void *context, struct entry_id *ret_id,
                         const struct entry **ret_entry)
{
    struct filtered *f = context;
    size_t i;
    int error;

    do {
        error = restore_walk_next(f->r, ret_id, ret_entry);
    } while (error == 0 && is_left_out(f, ret_id));
    if (error != 0)
        return error;
    for (i = 0; i < (*ret_entry)->count && f->added_up; i++)
        digest_add(&f->digest, ret_id, &(*ret_entry)->siblings[i]);
    f->r->entries++;
    f->r->keys += ret_id->space <= SPACE_CLIENT_LAST;
    restore_progress("restoring entries", f->r->entries,
                     f->r->manifest.entry_count);
    return 0;
}

static int adopt(struct restore *r, struct writer *w, struct cm_detail *detail)
{
    const struct hash *known = restore_known_digest(r);
    struct filtered f = {.r = r, .without_roster = restore_is_new_mesh(r)};
    struct replacement replacement = {
        .vv = restore_vv(r),
        .hlc_max = restore_hlc(r),
        .any_clock = true,
        .generation_order = buffer_slice(&r->order),
        .next = filtered_next,
        .context = &f,
    };
    int error = restore_walk_begin(r, detail);

    if (error != 0)
        return error;
    f.added_up = f.without_roster || known == NULL || r->o->prefix != NULL;
    replacement.state_digest = f.added_up ? NULL : known;
    replacement.digest = f.added_up ? NULL : restore_known_sum(r);
    digest_init(&f.digest);
    detail->text[0] = '\0';
    error = writer_replace(w, &replacement, 0, detail);
    if (error == 0 && r->o->prefix != NULL && r->keys == 0)
        return cm_fail(detail, CM_ERR_NOT_FOUND,
                       "no key lies under --prefix %.120s: it would be an "
                       "empty mesh",
                       r->o->prefix);
    if (error != 0 && restore_walk_detail(r) != NULL)
        (void)cm_fail(detail, error, "%s", restore_walk_detail(r));
    if (error == 0)
        r->digest =
            f.added_up ? digest_finish(&f.digest, restore_vv(r)) : *known;
    return error;
}

/* Reads back what a node would start from. */
static int check_store(struct restore *r, struct store *store,
                       struct cm_detail *detail)
{
    struct store_reader *reader;
    struct digest digest;
    struct hash found;
    struct vv vv;
    int error = store_reader_begin(store, &reader);

    if (error != 0)
        return cm_fail(detail, error, "cannot read the new store: %s",
                       cm_strerror(error));
    vv_init(&vv);
    error = store_vv(reader, &vv);
    if (error == 0)
        error = store_digest(reader, &digest);
    if (error == 0) {
        found = digest_finish(&digest, &vv);
        if (!hash_equal(&found, &r->digest))
            error = CM_ERR_DAMAGED;
    }
    vv_release(&vv);
    store_reader_release(reader);
    if (error != 0)
        return cm_fail(detail, error,
                       "the new store does not read back as it was written: %s",
                       cm_strerror(error));
    return 0;
}

static uint64_t wall_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool is_among(struct slice keys, const uint8_t *key)
{
    for (size_t at = 0; at < keys.size; at += KEY_ID_SIZE) {
        if (memcmp(keys.data + at, key, KEY_ID_SIZE) == 0)
            return true;
    }
    return false;
}

/* Whose keys were evicted, as any of the snapshots says; else a thief would be
 * taken for a survivor. The first MANIFEST_EVICTED_MAX of them. */
static int keep_evicted(struct restore *r, struct writer *w,
                        struct cm_detail *detail)
{
    struct intent *i = intent_new(INTENT_META);
    struct commit_result *result = NULL;
    struct buffer keys;
    int error = i == NULL ? CM_ERR_NOMEM : 0;

    buffer_init(&keys, (size_t)MANIFEST_EVICTED_MAX * KEY_ID_SIZE);
    for (size_t n = 0; n < r->sources_count + r->others_count; n++) {
        const struct restore_source *from =
            n < r->sources_count ? r->sources[n]
                                 : r->others[n - r->sources_count];
        struct slice evicted = from->state->manifest.evicted;

        for (size_t at = 0; at < evicted.size; at += KEY_ID_SIZE) {
            if (keys.size < (size_t)MANIFEST_EVICTED_MAX * KEY_ID_SIZE &&
                !is_among(buffer_slice(&keys), evicted.data + at))
                buffer_append(&keys, evicted.data + at, KEY_ID_SIZE);
        }
    }
    if (error == 0 && keys.error == 0 && keys.size > 0) {
        error = intent_add_fact(i, META_BARRED, buffer_slice(&keys));
        if (error == 0)
            result = writer_commit(w, i, wall_ms());
        if (error == 0)
            error = result == NULL ? CM_ERR_NOMEM : i->result;
    }
    if (error == 0)
        error = keys.error;
    if (error != 0)
        (void)cm_fail(detail, error, "cannot store whose keys were evicted: %s",
                      cm_strerror(error));
    if (result != NULL)
        commit_result_free(result);
    intent_free(i);
    buffer_release(&keys);
    return error;
}

static int count_unsent(struct writer *w, struct unsent_counts *ret)
{
    struct commit_result *now = NULL;
    int error = writer_snapshot(w, &now);

    if (error == 0) {
        *ret = now->unsent;
        commit_result_free(now);
    }
    return error;
}

/* A batch of nothing: what is kept is judged in it, and written. */
static int settle(struct writer *w, struct unsent_counts *ret,
                  struct cm_detail *detail)
{
    struct intent *nothing = intent_new(INTENT_EXPIRE);
    struct commit_result *result =
        nothing != NULL ? writer_commit(w, nothing, wall_ms()) : NULL;
    int error = result == NULL ? CM_ERR_NOMEM : nothing->result;

    if (error == 0)
        *ret = result->unsent;
    if (error != 0)
        (void)cm_fail(detail, error, "%s", cm_strerror(error));
    if (result != NULL)
        commit_result_free(result);
    intent_free(nothing);
    return error;
}

/* "A snapshot of another generation brings what the VV does not cover as new
 * writes": by the new founder, whose first ones they are. */
static int write_anew(struct restore *r, struct writer *w,
                      struct cm_detail *detail)
{
    struct unsent_counts kept = {0};
    struct unsent_counts left = {0};
    int error = 0;
    size_t i;

    for (i = 0; i < r->others_count && error == 0; i++) {
        struct snapshot_state *s = r->others[i]->state;
        struct replacement replacement = {
            .mode = ADOPT_RETAIN,
            .vv = snapshot_state_vv(s),
            .hlc_max = snapshot_state_hlc(s),
            .generation_order = s->manifest.generation_order,
            .next = snapshot_state_next,
            .context = s,
            .other_mesh = restore_is_new_mesh(r),
        };

        error = snapshot_state_begin(s, detail);
        if (error == 0)
            error = writer_replace(w, &replacement, wall_ms(), detail);
    }
    if (error == 0 && r->others_count > 0)
        error = count_unsent(w, &kept);
    if (error == 0 && kept.waiting > 0)
        error = settle(w, &left, detail);
    r->parked = left.parked;
    r->anew = kept.waiting - left.waiting - left.parked;
    return error;
}

static int fill_store(struct restore *r, const struct datadir *d,
                      struct store *store, struct cm_detail *detail)
{
    uint8_t host[DATADIR_HOST_SIZE];
    struct store_identity identity = {
        .incarnation = r->incarnation,
        .certificate = buffer_slice(&r->certificate),
        .generation_order = buffer_slice(&r->order),
        .host = slice_of(host, sizeof host),
        .ready = false, /* writer_replace makes it ready */
    };
    struct writer *w;
    int error = datadir_host(d, host, detail);

    memcpy(identity.authority_public_key, r->authority.public_key, 32);
    if (error == 0)
        error = writer_initialise(store, &identity, detail);
    if (error == 0)
        error = writer_open(&w, store, datadir_sign_secret_key(d), detail);
    if (error != 0)
        return error;
    error = adopt(r, w, detail);
    if (error == 0)
        error = check_store(r, store, detail);
    if (error == 0)
        error = keep_evicted(r, w, detail);
    if (error == 0)
        error = write_anew(r, w, detail);
    writer_close(w);
    return error;
}

static int build_in(struct restore *r, const char *path)
{
    struct cm_detail detail = {""};
    struct store *store = NULL;
    struct datadir *d = NULL;
    int error = datadir_open(&d, path, true, &detail);
    int code = RESTORE_OK;

    if (error == 0)
        code = restore_make_identity(r, d);
    if (error == 0 && code == RESTORE_OK)
        error = store_open(&store, path, 0, &detail);
    if (error == 0 && code == RESTORE_OK)
        error = fill_store(r, d, store, &detail);
    if (store != NULL)
        store_close(store);
    datadir_close(d);
    if (code == RESTORE_OK && error != 0)
        code = restore_fail(r, restore_exit_of(error), "cannot build %s: %s",
                            path, detail.text);
    return code;
}

static int sync_path(const char *path, int flags)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    int result;

    if (fd < 0)
        return -1;
    result = fsync(fd);
    (void)close(fd);
    return result;
}

/* Every file, then the directory. */
static int sync_directory(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int result = 0;

    if (dir == NULL)
        return -1;
    while (result == 0 && (entry = readdir(dir)) != NULL) {
        int fd;

        if (entry->d_name[0] == '.')
            continue;
        fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
        result = fd < 0 ? -1 : fsync(fd);
        if (fd >= 0)
            (void)close(fd);
    }
    (void)closedir(dir);
    return result == 0 ? sync_path(path, O_DIRECTORY) : -1;
}

static int sync_parent(const char *path)
{
    char parent[PATH_MAX];
    char *slash;

    (void)snprintf(parent, sizeof parent, "%s", path);
    slash = strrchr(parent, '/');
    if (slash == NULL)
        return sync_path(".", O_DIRECTORY);
    slash[slash == parent ? 1 : 0] = '\0';
    return sync_path(parent, O_DIRECTORY);
}

static int publish(struct restore *r, const char *temporary, const char *path)
{
    if (sync_directory(temporary) != 0)
        return restore_fail(r, RESTORE_TRANSPORT, "cannot sync %s: %s",
                            temporary, strerror(errno));
    if (rename(temporary, path) != 0)
        return restore_fail(
            r, RESTORE_TRANSPORT, "cannot rename %s to %s: %s%s", temporary,
            path, strerror(errno),
            errno == EBUSY ? " (a mount point; name a directory below it)"
                           : "");
    if (sync_parent(path) != 0)
        return restore_fail(r, RESTORE_TRANSPORT,
                            "cannot sync the parent directory of %s: %s", path,
                            strerror(errno));
    return RESTORE_OK;
}

int restore_build(struct restore *r)
{
    char path[PATH_MAX];
    char temporary[SCRATCH_PATH_SIZE];
    struct cm_detail detail = {""};
    int code;

    restore_place(path, r);
    if (scratch_make(temporary, path, "tmp", &detail) != 0)
        return restore_fail(r, RESTORE_TRANSPORT, "%s", detail.text);
    code = build_in(r, temporary);
    if (code == RESTORE_OK)
        code = publish(r, temporary, path);
    if (code != RESTORE_OK)
        scratch_remove(temporary);
    return code;
}
