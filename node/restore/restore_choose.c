/* The choice: of the authority's mesh where its file is given, else only one
 * mesh may be there, and its authority must be the trusted one; then newest
 * first, the first snapshot of which every object verifies. A damaged newer
 * one is passed over, never in silence. */
#include <sodium.h>
#include <string.h>
#include <time.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/restore/restore.h"

#define TOLD_MAX 8 /* names of one kind that are listed */

/* What is said of where it was looked for. */
static const char *places(const struct restore *r)
{
    return r->o->targets_count == 1 ? r->o->targets[0].url : "the targets";
}

bool restore_is_new_mesh(const struct restore *r)
{
    return r->o->new_authority != NULL || r->adopting;
}

static bool is_signer(const struct snapshot_listed *l, struct slice signer)
{
    const char *key = strstr(l->name, "/m/");

    return slice_equal(slice_of_string(l->signer), signer) ||
           (key != NULL && signer.size == (size_t)2 * KEY_ID_SIZE &&
            strncmp(key + 3, (const char *)signer.data, signer.size) == 0);
}

/* Whoever has a stolen key signs what he likes: only a person knows whose. */
static int drop_without(struct restore *r)
{
    struct snapshot_listing *l = &r->listing;

    for (size_t n = 0; n < r->o->without_count; n++) {
        struct slice signer = slice_of_string(r->o->without[n]);
        size_t kept = 0;

        for (size_t i = 0; i < l->count; i++)
            if (!is_signer(&l->items[i], signer))
                l->items[kept++] = l->items[i];
        restore_note("passed over: %zu snapshots of %s", l->count - kept,
                     r->o->without[n]);
        l->count = kept;
    }
    return l->count > 0
               ? RESTORE_OK
               : restore_fail(r, RESTORE_TRANSPORT,
                              "%s holds no snapshot but those of --without",
                              places(r));
}

/* One line for each signer whose key was evicted, as another one says. */
static void tell_accused(const struct restore *r)
{
    for (size_t i = 0; i < r->listing.count; i++) {
        const struct snapshot_listed *l = &r->listing.items[i];
        bool told = l->error != 0 || l->accuser[0] == '\0';

        for (size_t k = 0; k < i && !told; k++)
            told = strcmp(r->listing.items[k].signer, l->signer) == 0 &&
                   r->listing.items[k].accuser[0] != '\0';
        if (!told)
            restore_note("the key of %s was evicted, as snapshots of %s say: "
                         "if it was stolen, what it signed since can hold "
                         "anything; --without %s passes over all of it",
                         l->signer, l->accuser, l->signer);
    }
}

/* The authority's file says which mesh is meant, so that one target can hold
 * several. If none is of that mesh, all stay, for check_trust to tell. Its own
 * state and another mesh's are not made one here: whose values are to win is a
 * question for somebody who sees the difference. */
static int keep_own_mesh(struct restore *r)
{
    struct snapshot_listing *l = &r->listing;
    struct mesh_id own;
    size_t kept = 0;
    size_t i;

    if (!r->has_authority || r->o->authority == NULL)
        return RESTORE_OK;
    own = mesh_id_of(r->authority.public_key);
    for (i = 0; i < l->count; i++)
        if (mesh_id_equal(&l->items[i].mesh, &own))
            kept++;
    if (kept == 0 || kept == l->count)
        return RESTORE_OK;
    if (r->o->adopt)
        return restore_fail(
            r, RESTORE_USAGE,
            "%s also holds snapshots of the authority's own mesh: restore "
            "those first, without --adopt, start the node, and then take the "
            "other mesh's keys: confmesh restore URL NAME --adopt --prefix P",
            places(r));
    restore_note("passed over: %zu snapshots of other meshes", l->count - kept);
    kept = 0;
    for (i = 0; i < l->count; i++)
        if (mesh_id_equal(&l->items[i].mesh, &own))
            l->items[kept++] = l->items[i];
    l->count = kept;
    return RESTORE_OK;
}

/* All manifests, damaged ones too, must lie below one mesh. */
static int check_one_mesh(struct restore *r)
{
    char first[MESH_ID_TEXT_SIZE];
    char other[MESH_ID_TEXT_SIZE];
    size_t i;

    for (i = 1; i < r->listing.count; i++) {
        if (mesh_id_equal(&r->listing.items[0].mesh, &r->listing.items[i].mesh))
            continue;
        mesh_id_format(first, &r->listing.items[0].mesh);
        mesh_id_format(other, &r->listing.items[i].mesh);
        return restore_fail(
            r, RESTORE_TRUST,
            "%s holds snapshots of two meshes, %s and %s; move the folder "
            "v1/ID of the one that is not wanted away, or name the wanted "
            "snapshots behind the URL ('confmesh snapshot list URL')",
            places(r), first, other);
    }
    return RESTORE_OK;
}

/* Two generations with one number never mix. */
static int check_generations(struct restore *r)
{
    const struct snapshot_listed *first = &r->listing.items[0];
    size_t i;

    for (i = 1; i < r->listing.count; i++) {
        const struct snapshot_listed *l = &r->listing.items[i];

        if (l->error == 0 && l->generation.number == first->generation.number &&
            !generation_id_equal(&l->generation, &first->generation))
            return restore_fail(
                r, RESTORE_TRUST,
                "%s holds snapshots of two generations with the number %llu "
                "(two restores happened at once); move those of one signer, "
                "%s or %s, away, restore, and merge those afterwards: "
                "confmesh restore --merge URL",
                places(r), (unsigned long long)l->generation.number,
                first->name, l->name);
    }
    return RESTORE_OK;
}

static int check_trust(struct restore *r)
{
    const uint8_t *key = r->listing.items[0].authority_public_key;
    char fingerprint[AUTHORITY_FINGERPRINT_SIZE];

    authority_fingerprint(fingerprint, key);
    if (r->o->trust != NULL && strcmp(r->o->trust, fingerprint) != 0)
        return restore_fail(r, RESTORE_TRUST,
                            "the snapshots are of the authority %s, not of "
                            "the one that --trust names; compare both with "
                            "the note of what 'confmesh init' printed",
                            fingerprint);
    r->adopting = r->o->authority != NULL &&
                  memcmp(r->authority.public_key, key, 32) != 0;
    if (r->adopting && !r->o->adopt) {
        char own[AUTHORITY_FINGERPRINT_SIZE];

        authority_fingerprint(own, r->authority.public_key);
        return restore_fail(r, RESTORE_TRUST,
                            "the authority file %.100s is %.16s..., but the "
                            "snapshots are of another mesh, %.16s...; give "
                            "the right file, or --adopt to begin the file's "
                            "mesh with them, or --new-authority FILE for a "
                            "new one; into a living one: confmesh restore URL "
                            "--adopt --prefix P",
                            r->o->authority, own, fingerprint);
    }
    if (r->adopting)
        restore_note("another mesh's snapshots are adopted: the authority's "
                     "mesh begins with this node. If nodes of it live, stop "
                     "here: the two would never mix; into a living mesh: "
                     "confmesh restore URL --adopt --prefix P");
    else if (r->o->adopt)
        restore_note("nothing to adopt: the snapshots are of the authority's "
                     "own mesh, which goes on");
    r->origin_checked =
        r->o->trust != NULL || (r->o->authority != NULL && !r->adopting);
    if (!r->origin_checked)
        restore_note("authority %s: damage checked, origin not; compare it "
                     "with your note, or give --trust FINGERPRINT",
                     fingerprint);
    return RESTORE_OK;
}

static void tell_damaged(struct restore *r)
{
    size_t i;

    for (i = 0; i < r->listing.count; i++) {
        const struct snapshot_listed *l = &r->listing.items[i];

        if (l->error == 0)
            continue;
        if (r->damaged++ < TOLD_MAX)
            restore_note("damaged: %s: %s", l->name, l->verdict);
    }
    if (r->damaged > TOLD_MAX)
        restore_note("damaged: %zu more", r->damaged - TOLD_MAX);
}

bool restore_may_use(const struct restore *r, const struct snapshot_listed *l)
{
    return (r->o->at_ms == 0 || hlc_wall_ms(l->hlc_max) <= r->o->at_ms) &&
           (r->o->sequence == 0 || l->sequence <= r->o->sequence);
}

struct object_store *restore_store(struct restore *r,
                                   const struct snapshot_listed *l)
{
    CHECK(l->target < r->o->targets_count);
    return &r->stores[l->target];
}

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    restore_progress("checking chunks", done, total);
}

static int try_candidate(struct restore *r, const struct snapshot_listed *l,
                         struct cm_detail *detail)
{
    struct object_store *store = restore_store(r, l);
    struct snapshot_keys keys = {.encrypted = false};
    int error =
        snapshot_manifest_load(store, l->name, l->authority_public_key,
                               &r->manifest_bytes, &r->manifest, detail);

    if (error != 0)
        return error;
    error = restore_unlock(r, &r->manifest, &keys, detail);
    if (error == 0)
        error = snapshot_objects_sum(store, &r->manifest,
                                     r->manifest.sealed.size > 0 ? &keys : NULL,
                                     on_progress, NULL, &r->sum, detail);
    sodium_memzero(&keys, sizeof keys);
    if (error != 0) {
        manifest_release(&r->manifest);
        return error;
    }
    r->has_manifest = true;
    r->chosen = l;
    return 0;
}

/* What --at and --seq would have to say at least. */
static int none_so_old(struct restore *r)
{
    const struct snapshot_listed *oldest = NULL;
    time_t seconds;
    char when[32] = "";
    struct tm tm;
    size_t i;

    for (i = 0; i < r->listing.count; i++) {
        const struct snapshot_listed *l = &r->listing.items[i];

        if (l->error == 0 && (oldest == NULL || l->hlc_max < oldest->hlc_max))
            oldest = l;
    }
    if (oldest == NULL)
        return restore_fail(r, RESTORE_INTEGRITY,
                            "%s holds no whole snapshot; try another copy of "
                            "the folder",
                            places(r));
    seconds = (time_t)(hlc_wall_ms(oldest->hlc_max) / 1000) + 1;
    if (gmtime_r(&seconds, &tm) != NULL)
        (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return restore_fail(r, RESTORE_TRANSPORT,
                        "%s holds no whole snapshot as old as --at or --seq "
                        "asks for; the oldest is number %llu of %s, with "
                        "writes up to %s",
                        places(r), (unsigned long long)oldest->sequence,
                        oldest->signer, when);
}

/* A slip of the pen is told: they bound, so that what is there is taken. */
static void tell_bounds(const struct restore *r)
{
    if (r->o->at_ms > (uint64_t)time(NULL) * 1000)
        restore_note("--at lies in the future: everything is taken");
    if (r->o->sequence > 0 && r->chosen->sequence != r->o->sequence)
        restore_note("no whole snapshot has the number of --seq: it begins "
                     "with the one before, %llu of %s",
                     (unsigned long long)r->chosen->sequence,
                     r->chosen->signer);
}

static int choose_newest_whole(struct restore *r)
{
    int first_error = 0;
    bool locked;
    size_t tried = 0;
    size_t i;

    for (i = 0; i < r->listing.count; i++) {
        struct snapshot_listed *l = &r->listing.items[i];
        struct cm_detail detail = {""};
        int error;

        if (l->error != 0 || !restore_may_use(r, l))
            continue;
        tried++;
        error = try_candidate(r, l, &detail);
        if (error == 0) {
            tell_bounds(r);
            return RESTORE_OK;
        }
        if (error == CM_ERR_NOMEM)
            return restore_fail(r, RESTORE_TRANSPORT, "out of memory");
        /* An older one instead of a network that fails would be a loss that
         * nobody asked for. */
        if (error == CM_ERR_IO && object_store_is_remote(restore_store(r, l)))
            return restore_fail(r, RESTORE_TRANSPORT, "%s: %s", l->name,
                                detail.text);
        locked = restore_exit_of(error) == RESTORE_TRUST;
        restore_note("%s: %s: %s", locked ? "not opened" : "damaged", l->name,
                     detail.text);
        r->damaged++;
        l->error = error; /* it is told once */
        if (first_error == 0 || !locked)
            first_error = error;
    }
    if (tried == 0 && (r->o->at_ms > 0 || r->o->sequence > 0))
        return none_so_old(r);
    CHECK(r->damaged > 0);
    if (first_error != 0 && restore_exit_of(first_error) == RESTORE_TRUST)
        return restore_fail(r, RESTORE_TRUST,
                            "none of the %zu snapshots in %s can be opened "
                            "with the keys that were given: see above",
                            r->listing.count, places(r));
    return restore_fail(
        r, first_error != 0 ? restore_exit_of(first_error) : RESTORE_INTEGRITY,
        "none of the %zu snapshots in %s is whole; try another "
        "copy of the folder",
        r->listing.count, places(r));
}

/* The greatest number that a good snapshot of the signer has; 0: none. */
static uint64_t newest_of(const struct restore *r, struct slice signer)
{
    uint64_t ret = 0;

    for (size_t i = 0; i < r->listing.count; i++) {
        const struct snapshot_listed *l = &r->listing.items[i];

        if (l->error == 0 && l->sequence > ret && restore_may_use(r, l) &&
            is_signer(l, signer))
            ret = l->sequence;
    }
    return ret;
}

/* "--min-seq against rollback": a target that serves old snapshots only. Each
 * signer counts for itself, so of several each is asked for by its name. */
static int check_stale(struct restore *r)
{
    for (size_t i = 0; i < r->o->least_count; i++) {
        const struct restore_least *least = &r->o->least[i];
        uint64_t found = newest_of(r, least->signer);

        if (found < least->sequence)
            return restore_fail(
                r, RESTORE_STALE,
                "the newest usable snapshot of %.*s is number %llu, older "
                "than --min-seq %llu (0: there is none): the target may be an "
                "old copy; look at another one, or leave --min-seq out if "
                "this is all there is",
                (int)least->signer.size, (const char *)least->signer.data,
                (unsigned long long)found, (unsigned long long)least->sequence);
    }
    if (r->chosen->sequence >= r->o->min_sequence)
        return RESTORE_OK;
    return restore_fail(r, RESTORE_STALE,
                        "the newest usable snapshot is number %llu of %s, "
                        "older than --min-seq %llu: the target may be an old "
                        "copy; look at another one, or leave --min-seq out if "
                        "this is all there is",
                        (unsigned long long)r->chosen->sequence,
                        r->chosen->signer,
                        (unsigned long long)r->o->min_sequence);
}

/* The listing of one target, appended. */
static int add_listing(struct restore *r, size_t target,
                       const struct snapshot_listing *l)
{
    const char *wanted = r->o->targets[target].name;
    struct snapshot_listed *grown;
    size_t i;

    grown = cm_realloc(r->listing.items,
                       (r->listing.count + l->count + 1) * sizeof *grown);
    if (grown == NULL)
        return restore_fail(r, RESTORE_TRANSPORT, "out of memory");
    r->listing.items = grown;
    for (i = 0; i < l->count; i++) {
        if (wanted != NULL && strcmp(wanted, l->items[i].name) != 0)
            continue;
        grown[r->listing.count] = l->items[i];
        grown[r->listing.count++].target = target;
    }
    return RESTORE_OK;
}

static int list_target(struct restore *r, size_t target)
{
    const struct restore_target *t = &r->o->targets[target];
    struct cm_detail detail = {""};
    struct snapshot_listing l;
    size_t before = r->listing.count;
    int code;
    unsigned flags =
        OBJECT_STORE_MAY_EXEC | (r->o->one_thread ? 0u : OBJECT_STORE_HURRY);
    int error = object_store_open(&r->stores[target], t->url, flags, &detail);

    if (error == 0)
        error = snapshot_list_in(&l, &r->stores[target], NULL, &detail);
    if (error != 0)
        return restore_fail(
            r, error == CM_ERR_INVALID ? RESTORE_USAGE : RESTORE_TRANSPORT,
            "%s", detail.text);
    code = add_listing(r, target, &l);
    snapshot_listing_release(&l);
    if (code == RESTORE_OK && r->listing.count == before)
        code = restore_fail(r, RESTORE_TRANSPORT,
                            "%s holds no snapshot%s%s; is it the right "
                            "place?",
                            t->url,
                            t->name != NULL ? " " : " (no manifest below v1/)",
                            t->name != NULL ? t->name : "");
    return code;
}

int restore_choose(struct restore *r)
{
    int code = RESTORE_OK;
    size_t i;

    for (i = 0; i < r->o->targets_count && code == RESTORE_OK; i++)
        code = list_target(r, i);
    if (code != RESTORE_OK)
        return code;
    snapshot_listing_sort(&r->listing);
    code = drop_without(r);
    if (code == RESTORE_OK)
        code = keep_own_mesh(r);
    if (code == RESTORE_OK)
        code = check_one_mesh(r);
    if (code == RESTORE_OK) {
        tell_damaged(r);
        tell_accused(r);
    }
    /* Good ones come first: without a first there is none. */
    if (code == RESTORE_OK && r->listing.items[0].error == 0)
        code = check_trust(r);
    if (code == RESTORE_OK && r->listing.items[0].error == 0)
        code = check_generations(r);
    if (code == RESTORE_OK)
        code = choose_newest_whole(r);
    if (code == RESTORE_OK)
        code = check_stale(r);
    return code;
}
