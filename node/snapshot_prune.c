/* Mark and sweep: roots are the kept manifests; from them lead segments and
 * packs. A pack is needed while any segment of a kept manifest names it. */
#include "node/snapshot_prune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/delta.h"
#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/snapshot_marks.h"
#include "node/snapshot_packs.h"

#define HOUR_MS UINT64_C(3600000)

/* ---- which snapshots ---- */

/* Keeps the newest of each of the last `wanted` periods that have one. */
static void keep_periods(bool *keep, const uint64_t *time, size_t count,
                         uint64_t period_ms, uint64_t wanted)
{
    uint64_t last = UINT64_MAX;
    size_t i;

    for (i = 0; i < count && wanted > 0; i++) {
        uint64_t period = time[i] / period_ms;

        if (period == last)
            continue;
        last = period;
        keep[i] = true;
        wanted--;
    }
}

void prune_choose(bool *ret_keep, const uint64_t *created_ms, size_t count,
                  const struct prune_policy *policy, uint64_t wall_ms)
{
    uint64_t *time = count > 0 ? cm_calloc(count, sizeof *time) : NULL;
    uint64_t bound = wall_ms;
    size_t i;

    for (i = 0; i < count; i++)
        ret_keep[i] = i < policy->keep_last || i == 0 || time == NULL;
    if (time == NULL)
        return; /* short of memory everything is kept */
    for (i = 0; i < count; i++) {
        bound = created_ms[i] < bound ? created_ms[i] : bound;
        time[i] = bound;
    }
    keep_periods(ret_keep, time, count, HOUR_MS, policy->keep_hourly);
    keep_periods(ret_keep, time, count, 24 * HOUR_MS, policy->keep_daily);
    keep_periods(ret_keep, time, count, 7 * 24 * HOUR_MS, policy->keep_weekly);
    cm_free(time);
}

/* ---- sets of names ---- */

static int compare_text(const void *a, const void *b)
{
    return strcmp(a, *(char *const *)b);
}

static bool contains(const struct object_list *l, const char *name)
{
    return l->count > 0 && bsearch(name, l->names, l->count, sizeof *l->names,
                                   compare_text) != NULL;
}

struct prune {
    struct object_store store;
    const struct prune_policy *policy;
    uint64_t wall_ms;
    prune_tell tell;
    void *ctx;
    struct prune_counts counts;
    struct snapshot_listing listing;
    bool *keep;                /* owned: of each listed */
    struct object_list needed; /* full names */
    struct object_list old;    /* marked long enough ago */
    struct object_list marked; /* ever */
    struct buffer marks;       /* the new list */
};

static int need(struct prune *p, const char *name)
{
    return object_list_add(&p->needed, slice_of_string(name), false);
}

/* ---- marking ---- */

static int compare_signers(const void *pa, const void *pb)
{
    const struct snapshot_listed *a = pa;
    const struct snapshot_listed *b = pb;
    int order = strncmp(a->name, b->name, strlen(a->name) - 20);

    return order != 0
               ? order
               : (a->sequence < b->sequence) - (a->sequence > b->sequence);
}

static bool same_signer(const struct snapshot_listed *a,
                        const struct snapshot_listed *b)
{
    size_t size = strlen(a->name) - 20; /* up to the sequence */

    return strlen(b->name) == size + 20 && strncmp(a->name, b->name, size) == 0;
}

/* "The newest snapshot that verifies whole is always kept." */
static int keep_newest_whole(struct prune *p, char ret_name[SNAPSHOT_NAME_SIZE],
                             struct cm_detail *detail)
{
    struct buffer bytes;
    int error = CM_ERR_NOT_FOUND;
    size_t i;

    buffer_init(&bytes, SNAPSHOT_MANIFEST_MAX);
    for (i = 0; i < p->listing.count && error == CM_ERR_NOT_FOUND; i++) {
        const struct snapshot_listed *l = &p->listing.items[i];
        struct manifest m;

        if (l->error != 0)
            continue;
        error = snapshot_manifest_load(&p->store, l->name, NULL, &bytes, &m,
                                       detail);
        if (error != 0)
            break;
        error =
            snapshot_objects_verify(&p->store, &m, NULL, NULL, NULL, detail);
        manifest_release(&m);
        if (error == 0)
            (void)snprintf(ret_name, SNAPSHOT_NAME_SIZE, "%s", l->name);
        else if (error != CM_ERR_NOMEM && error != CM_ERR_IO)
            error = CM_ERR_NOT_FOUND;
    }
    buffer_release(&bytes);
    if (error == CM_ERR_NOT_FOUND && p->listing.count == 0)
        return cm_fail(detail, error,
                       "the target holds no snapshot; is it the right place?");
    if (error == CM_ERR_NOT_FOUND)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "no snapshot of the target verifies whole: nothing is "
                       "pruned; 'confmesh snapshot now' puts what is missing, "
                       "'confmesh snapshot verify' says what");
    return error;
}

static int choose(struct prune *p, const char *whole)
{
    struct snapshot_listing *l = &p->listing;
    uint64_t *created = cm_calloc(l->count, sizeof *created);
    size_t first = 0;
    size_t i;
    int error = 0;

    p->keep = cm_calloc(l->count, sizeof *p->keep);
    if (created == NULL || p->keep == NULL) {
        cm_free(created);
        return CM_ERR_NOMEM;
    }
    /* Damaged ones stay where they are: somebody has to look at them. */
    while (l->count > 0 && l->items[l->count - 1].error != 0 && error == 0)
        error = need(p, l->items[--l->count].name);
    qsort(l->items, l->count, sizeof *l->items, compare_signers);
    for (i = 0; i < l->count; i++)
        created[i] = l->items[i].created_ms;
    for (i = 1; i <= l->count; i++) {
        if (i < l->count && same_signer(&l->items[first], &l->items[i]))
            continue;
        prune_choose(p->keep + first, created + first, i - first, p->policy,
                     p->wall_ms);
        first = i;
    }
    for (i = 0; i < l->count; i++)
        p->keep[i] = p->keep[i] || strcmp(l->items[i].name, whole) == 0;
    cm_free(created);
    return error;
}

/* What one kept manifest leads to. */
static int need_objects(struct prune *p, const struct snapshot_listed *l,
                        struct cm_detail *detail)
{
    struct snapshot_packs packs;
    char name[SNAPSHOT_NAME_SIZE];
    struct buffer bytes;
    struct manifest m;
    size_t i;
    int error;

    buffer_init(&bytes, SNAPSHOT_MANIFEST_MAX);
    error =
        snapshot_manifest_load(&p->store, l->name, NULL, &bytes, &m, detail);
    if (error != 0) {
        buffer_release(&bytes);
        return error;
    }
    error = snapshot_packs_open(&packs, &p->store, &m, detail);
    if (error == 0) {
        error = need(p, l->name);
        for (i = 0; i < packs.map.packs_count && error == 0; i++) {
            snapshot_pack_name(name, &m.mesh, &packs.map.packs[i].hash);
            error = need(p, name);
        }
        for (i = 0; i < m.segments.size && error == 0; i += HASH_SIZE) {
            struct hash segment;

            memcpy(segment.bytes, m.segments.data + i, HASH_SIZE);
            snapshot_segment_name(name, &m.mesh, &segment);
            error = need(p, name);
        }
        snapshot_packs_close(&packs);
    }
    manifest_release(&m);
    buffer_release(&bytes);
    return error;
}

static int mark_needed(struct prune *p, struct cm_detail *detail)
{
    size_t i;
    int error = 0;

    for (i = 0; i < p->listing.count && error == 0; i++) {
        if (!p->keep[i])
            continue;
        p->counts.kept++;
        p->tell(p->ctx, PRUNE_KEPT, p->listing.items[i].name);
        error = need_objects(p, &p->listing.items[i], detail);
    }
    object_list_sort(&p->needed);
    return error;
}

/* ---- sweeping ---- */

/* A delta is needed while its manifest is. */
static bool is_needed(const struct prune *p, const char *name)
{
    const char *part = strstr(name, "/d/");
    const char *last = strrchr(name, '/') + 1;
    char manifest[SNAPSHOT_NAME_SIZE];
    uint64_t sequence;
    uint64_t number;

    if (part == NULL)
        return contains(&p->needed, name);
    if (!delta_name_parse(&sequence, &number, last))
        return true; /* none of ours */
    (void)snprintf(manifest, sizeof manifest, "%.*s/m/%.*s", (int)(part - name),
                   name, (int)(last + 20 - part - 3), part + 3);
    return contains(&p->needed, manifest);
}

static int sweep_one(struct prune *p, const char *name)
{
    struct cm_detail inner = {""};

    if (is_needed(p, name))
        return 0;
    if (contains(&p->old, name)) {
        p->tell(p->ctx, PRUNE_DELETED, name);
        if (!p->policy->dry_run &&
            object_store_delete(&p->store, name, &inner) != 0) {
            p->counts.failed++;
            buffer_append_string(&p->marks, name);
            buffer_append_byte(&p->marks, '\n');
        } else {
            p->counts.deleted++;
        }
        return p->marks.error;
    }
    if (contains(&p->marked, name))
        return 0; /* it waits */
    p->counts.marked++;
    p->tell(p->ctx, PRUNE_MARKED, name);
    buffer_append_string(&p->marks, name);
    buffer_append_byte(&p->marks, '\n');
    return p->marks.error;
}

/* Everything below prefix, which has at most one more level. */
static int sweep(struct prune *p, const char *prefix, struct cm_detail *detail)
{
    struct object_list names;
    int error = object_store_list(&p->store, prefix, &names, detail);
    size_t i;

    if (error != 0)
        return error;
    for (i = 0; i < names.count && error == 0; i++) {
        size_t size = strlen(names.names[i]);
        char name[SNAPSHOT_NAME_SIZE];
        int length =
            snprintf(name, sizeof name, "%s%s", prefix, names.names[i]);

        if (length <= 0 || (size_t)length >= sizeof name)
            continue;
        if (names.names[i][size - 1] != '/')
            error = sweep_one(p, name);
        else if (strlen(prefix) < 42) /* a signer's folder */
            error = sweep(p, name, detail);
        else
            continue;
    }
    object_list_release(&names);
    return error;
}

/* ---- marks of earlier prunes ---- */

static int load_marks(struct prune *p, const char *folder,
                      struct object_list *ret_lists, struct cm_detail *detail)
{
    struct buffer bytes;
    size_t i;
    int error = object_store_list(&p->store, folder, ret_lists, detail);

    if (error != 0)
        return error;
    buffer_init(&bytes, SNAPSHOT_MARKS_MAX);
    for (i = 0; i < ret_lists->count && error == 0; i++) {
        char name[SNAPSHOT_NAME_SIZE];
        uint64_t then = strtoull(ret_lists->names[i], NULL, 10);

        (void)snprintf(name, sizeof name, "%s%.40s", folder,
                       ret_lists->names[i]);
        error = object_store_get(&p->store, name, &bytes, detail);
        if (error == 0)
            error = snapshot_marks_read(&p->marked, buffer_slice(&bytes));
        if (error == 0 && then <= p->wall_ms &&
            p->wall_ms - then >= p->policy->grace_ms)
            error = snapshot_marks_read(&p->old, buffer_slice(&bytes));
    }
    buffer_release(&bytes);
    object_list_sort(&p->marked);
    object_list_sort(&p->old);
    return error;
}

/* A list is never replaced by one of the same moment: what that marked would be
 * forgotten. */
static uint64_t free_moment(const struct prune *p,
                            const struct object_list *lists)
{
    uint64_t ret = p->wall_ms;

    for (size_t i = 0; i < lists->count; i++) /* ascending */
        if (strtoull(lists->names[i], NULL, 10) == ret)
            ret++;
    return ret;
}

/* Lists that have done their work go, the new one comes. */
static int store_marks(struct prune *p, const char *folder,
                       const struct object_list *lists,
                       struct cm_detail *detail)
{
    char name[SNAPSHOT_NAME_SIZE];
    size_t i;
    int error = 0;

    if (p->policy->dry_run)
        return 0;
    if (p->marks.size > 0) {
        (void)snprintf(name, sizeof name, "%s%020llu", folder,
                       (unsigned long long)free_moment(p, lists));
        error =
            object_store_put(&p->store, name, buffer_slice(&p->marks), detail);
    }
    for (i = 0; i < lists->count && error == 0; i++) {
        uint64_t then = strtoull(lists->names[i], NULL, 10);

        if (then > p->wall_ms || p->wall_ms - then < p->policy->grace_ms)
            continue;
        (void)snprintf(name, sizeof name, "%s%.40s", folder, lists->names[i]);
        error = object_store_delete(&p->store, name, detail);
    }
    return error;
}

/* ---- one mesh ---- */

static int prune_mesh(struct prune *p, const struct mesh_id *mesh,
                      struct cm_detail *detail)
{
    static const char kinds[] = "mdip";
    struct object_list lists = {0};
    char mesh_text[MESH_ID_TEXT_SIZE];
    char folder[64];
    size_t i;
    int error;

    mesh_id_format(mesh_text, mesh);
    (void)snprintf(folder, sizeof folder, "v1/%s/t/", mesh_text);
    error = load_marks(p, folder, &lists, detail);
    for (i = 0; kinds[i] != '\0' && error == 0; i++) {
        char prefix[64];

        (void)snprintf(prefix, sizeof prefix, "v1/%s/%c/", mesh_text, kinds[i]);
        error = sweep(p, prefix, detail);
    }
    if (error == 0)
        error = store_marks(p, folder, &lists, detail);
    object_list_release(&lists);
    return error;
}

static int run(struct prune *p, const char *target, const uint8_t *authority,
               struct cm_detail *detail)
{
    char whole[SNAPSHOT_NAME_SIZE] = "";
    size_t i;
    int error = snapshot_list(&p->listing, target, authority, detail);

    if (error != 0)
        return error;
    for (i = 1; i < p->listing.count; i++)
        if (!mesh_id_equal(&p->listing.items[0].mesh,
                           &p->listing.items[i].mesh))
            return cm_fail(detail, CM_ERR_WRONG_MESH,
                           "the target holds snapshots of two meshes; prune "
                           "each in a target of its own");
    error = keep_newest_whole(p, whole, detail);
    if (error == 0)
        error = choose(p, whole);
    if (error == 0)
        error = mark_needed(p, detail);
    if (error == 0)
        error = prune_mesh(p, &p->listing.items[0].mesh, detail);
    return error;
}

int snapshot_prune(const char *target, const struct prune_policy *policy,
                   const uint8_t expected_authority[32], uint64_t wall_ms,
                   prune_tell tell, void *ctx, struct prune_counts *ret_counts,
                   struct cm_detail *detail)
{
    struct prune p = {.policy = policy,
                      .wall_ms = wall_ms,
                      .tell = tell,
                      .ctx = ctx,
                      .store = OBJECT_STORE_CLOSED};
    int error =
        object_store_open(&p.store, target, OBJECT_STORE_MAY_EXEC, detail);

    CHECK(tell != NULL && ret_counts != NULL);
    if (error != 0)
        return error;
    buffer_init(&p.marks, SNAPSHOT_MARKS_MAX);
    error = run(&p, target, expected_authority, detail);
    if (error != 0 && detail->text[0] == '\0')
        (void)cm_fail(detail, error, "%s", cm_strerror(error));
    buffer_release(&p.marks);
    object_list_release(&p.needed);
    object_list_release(&p.old);
    object_list_release(&p.marked);
    snapshot_listing_release(&p.listing);
    cm_free(p.keep);
    object_store_close(&p.store);
    *ret_counts = p.counts;
    return error;
}
