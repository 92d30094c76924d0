/* Damaged manifests are part of the answer, not a reason to give none: whoever
 * restores has to know that something newer was there. */
#include "node/snapshot_listing.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/delta.h"
#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/snapshot_packs.h"
#include "node/snapshot_pull.h"

#define ACCUSED_MAX (64u << 10) /* bytes of pairs of key ids */
#define PROGRESS_EVERY 256      /* objects */
#define UNLISTED_MAX 64 /* manifests of one signer that a listing lacks */

int snapshot_manifest_load(struct object_store *d, const char *name,
                           const uint8_t expected_authority[32],
                           struct buffer *ret_bytes,
                           struct manifest *ret_manifest,
                           struct cm_detail *detail)
{
    char expected[SNAPSHOT_NAME_SIZE];
    int error = object_store_get(d, name, ret_bytes, detail);

    CHECK(ret_manifest != NULL);
    if (error != 0)
        return error;
    error = manifest_decode(ret_manifest, buffer_slice(ret_bytes),
                            expected_authority, detail);
    if (error != 0)
        return error;
    manifest_name(expected, &ret_manifest->mesh, &ret_manifest->signer,
                  ret_manifest->sequence);
    if (strcmp(expected, name) != 0) {
        manifest_release(ret_manifest);
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the manifest is stored under another's name; it "
                       "belongs to %.150s",
                       expected);
    }
    return 0;
}

/* Without the key only the packs can be compared with their names. */
static int verify_packs(struct snapshot_packs *p, snapshot_progress progress,
                        void *ctx, struct cm_detail *detail)
{
    struct buffer bytes;
    int error = 0;
    size_t i;

    buffer_init(&bytes, SNAPSHOT_PACK_MAX);
    for (i = 0; i < p->map.packs_count && error == 0; i++) {
        error = snapshot_packs_check(p, i, &bytes, detail);
        if (progress != NULL)
            progress(ctx, i + 1, p->map.packs_count);
    }
    buffer_release(&bytes);
    return error;
}

/* What a reading tells besides its verdict. */
struct found {
    uint64_t keys;
    struct digest *sum; /* may be NULL */
};

static int verify_entries(struct snapshot_packs *p, const struct manifest *m,
                          const struct snapshot_keys *keys,
                          snapshot_progress progress, void *ctx,
                          struct found *found, struct cm_detail *detail)
{
    struct snapshot_pull pull;
    uint64_t told = 0;
    int error = snapshot_pull_begin(&pull, m, keys, snapshot_packs_get, p);

    if (error != 0)
        return cm_fail(detail, error, "cannot read the snapshot: %s",
                       cm_strerror(error));
    if (p->store->hurries)
        snapshot_pull_hurry(&pull);
    while ((error = snapshot_pull_skip(&pull)) == 0) {
        if (progress != NULL && pull.objects - told >= PROGRESS_EVERY) {
            told = pull.objects;
            progress(ctx, snapshot_reader_chunks_read(pull.reader),
                     m->chunk_count);
        }
    }
    if (error == CM_ERR_NOT_FOUND)
        error = 0;
    else if (detail != NULL)
        *detail = pull.detail;
    if (error == 0)
        found->keys = snapshot_reader_keys(pull.reader);
    if (error == 0 && found->sum != NULL)
        *found->sum = *snapshot_reader_digest(pull.reader);
    snapshot_pull_release(&pull);
    return error;
}

static int read_objects(struct object_store *d, const struct manifest *m,
                        const struct snapshot_keys *keys,
                        snapshot_progress progress, void *ctx,
                        struct found *found, struct cm_detail *detail)
{
    struct snapshot_packs packs;
    int error = snapshot_packs_open(&packs, d, m, detail);

    if (error != 0)
        return error;
    if (m->sealed.size > 0 && keys == NULL) {
        CHECK(found->sum == NULL);
        found->keys = UINT64_MAX;
        error = verify_packs(&packs, progress, ctx, detail);
    } else {
        error = verify_entries(&packs, m, keys, progress, ctx, found, detail);
    }
    snapshot_packs_close(&packs);
    return error;
}

int snapshot_objects_read(struct object_store *d, const struct manifest *m,
                          const struct snapshot_keys *keys,
                          snapshot_progress progress, void *ctx,
                          uint64_t *ret_keys, struct cm_detail *detail)
{
    struct found found = {.sum = NULL};
    int error = read_objects(d, m, keys, progress, ctx, &found, detail);

    if (error == 0)
        *ret_keys = found.keys;
    return error;
}

int snapshot_objects_sum(struct object_store *d, const struct manifest *m,
                         const struct snapshot_keys *keys,
                         snapshot_progress progress, void *ctx,
                         struct digest *ret_sum, struct cm_detail *detail)
{
    struct found found = {.sum = ret_sum};

    CHECK(ret_sum != NULL);
    return read_objects(d, m, keys, progress, ctx, &found, detail);
}

int snapshot_objects_verify(struct object_store *d, const struct manifest *m,
                            const struct snapshot_keys *keys,
                            snapshot_progress progress, void *ctx,
                            struct cm_detail *detail)
{
    struct found found = {.sum = NULL};

    return read_objects(d, m, keys, progress, ctx, &found, detail);
}

static bool is_listed(const struct object_list *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->names[i], name) == 0)
            return true;
    return false;
}

static int sample_packs(struct snapshot_packs *p,
                        const struct object_list *names, unsigned percent,
                        struct snapshot_sample *sample,
                        struct cm_detail *detail)
{
    struct buffer bytes;
    int error = 0;

    buffer_init(&bytes, SNAPSHOT_PACK_MAX);
    for (size_t i = 0; i < p->map.packs_count && error == 0; i++) {
        char name[SNAPSHOT_NAME_SIZE];

        snapshot_pack_name(name, &p->mesh, &p->map.packs[i].hash);
        sample->packs++;
        sample->bytes += p->map.packs[i].size;
        /* A listing may be old: what is not in it is looked at. */
        if (is_listed(names, strrchr(name, '/') + 1) &&
            randombytes_uniform(100) >= percent)
            continue;
        error = snapshot_packs_check(p, i, &bytes, detail);
        sample->read++;
    }
    buffer_release(&bytes);
    return error;
}

int snapshot_packs_sample(struct object_store *d, const struct manifest *m,
                          unsigned percent, struct snapshot_sample *ret_sample,
                          struct cm_detail *detail)
{
    char prefix[SNAPSHOT_NAME_SIZE];
    static const struct hash any;
    struct snapshot_packs packs;
    struct object_list names;
    int error = snapshot_packs_open(&packs, d, m, detail);

    CHECK(percent <= 100);
    if (error != 0)
        return error;
    *ret_sample = (struct snapshot_sample){.packs = 0};
    snapshot_pack_name(prefix, &m->mesh, &any);
    strrchr(prefix, '/')[1] = '\0';
    error = object_store_list(d, prefix, &names, detail);
    if (error == 0) {
        error = sample_packs(&packs, &names, percent, ret_sample, detail);
        object_list_release(&names);
    }
    snapshot_packs_close(&packs);
    return error;
}

/* ---- listing ---- */

static void fill(struct snapshot_listed *l, const struct manifest *m)
{
    memcpy(l->signer, m->signer_name, sizeof l->signer);
    l->mesh = m->mesh;
    memcpy(l->authority_public_key, m->authority_public_key,
           sizeof l->authority_public_key);
    l->generation = m->generation;
    l->sequence = m->sequence;
    l->created_ms = m->created_ms;
    l->hlc_max = m->hlc_max;
    l->entries = m->entry_count;
    l->chunks = m->chunk_count;
    l->bytes = m->byte_count;
    l->encrypted = m->sealed.size > 0;
}

static void set_verdict(struct snapshot_listed *l, int error,
                        const struct cm_detail *detail)
{
    l->error = error;
    (void)snprintf(l->verdict, sizeof l->verdict, "%s",
                   error == 0 ? "good" : detail->text);
}

struct walk {
    struct object_store *d;
    const uint8_t *expected_authority;
    struct snapshot_listing listing;
    size_t capacity;
    struct buffer bytes;
    /* Pairs of key ids: whose key counts no more, and who says so. */
    struct buffer accused;
    /* Of the signer whose manifests are being listed, once one is good. */
    bool has_sign_key;
    uint8_t sign_key[32];
};

static void note_signer(struct walk *w, const struct manifest *m)
{
    struct certificate c;

    if (w->has_sign_key ||
        certificate_decode(&c, m->certificate, m->authority_public_key) != 0)
        return;
    memcpy(w->sign_key, c.sign_key, sizeof w->sign_key);
    w->has_sign_key = true;
}

/* Each pair once; what goes beyond the bound is not told. */
static void note_accused(struct walk *w, const struct manifest *m)
{
    uint8_t pair[2 * KEY_ID_SIZE];

    for (size_t at = 0; at < m->evicted.size; at += KEY_ID_SIZE) {
        bool known = false;

        memcpy(pair, m->evicted.data + at, KEY_ID_SIZE);
        memcpy(pair + KEY_ID_SIZE, m->signer.bytes, KEY_ID_SIZE);
        for (size_t i = 0; i < w->accused.size && !known; i += sizeof pair)
            known = memcmp(w->accused.data + i, pair, sizeof pair) == 0;
        if (!known && w->accused.size + sizeof pair <= ACCUSED_MAX)
            buffer_append(&w->accused, pair, sizeof pair);
    }
}

/* Whether the manifest's name has that key id. */
static bool is_signed_by(const struct snapshot_listed *l, const uint8_t *key)
{
    char text[2 * KEY_ID_SIZE + 1];
    const char *at = strstr(l->name, "/m/");

    hex_encode(text, slice_of(key, KEY_ID_SIZE));
    return at != NULL && strncmp(at + 3, text, sizeof text - 1) == 0;
}

static void mark_accused(struct walk *w)
{
    struct snapshot_listing *l = &w->listing;

    for (size_t at = 0; at < w->accused.size; at += (size_t)2 * KEY_ID_SIZE) {
        const uint8_t *pair = w->accused.data + at;
        const char *accuser = NULL;

        if (memcmp(pair, pair + KEY_ID_SIZE, KEY_ID_SIZE) == 0)
            continue;
        for (size_t i = 0; i < l->count && accuser == NULL; i++)
            if (l->items[i].error == 0 &&
                is_signed_by(&l->items[i], pair + KEY_ID_SIZE))
                accuser = l->items[i].signer;
        for (size_t i = 0; i < l->count && accuser != NULL; i++)
            if (l->items[i].error == 0 && is_signed_by(&l->items[i], pair))
                memcpy(l->items[i].accuser, accuser,
                       sizeof l->items[i].accuser);
    }
}

static int add_manifest(struct walk *w, const char *name,
                        const struct mesh_id *mesh, struct cm_detail *detail)
{
    struct cm_detail inner = {""};
    struct snapshot_listed *l;
    struct manifest m;
    int error;

    if (w->listing.count == SNAPSHOT_LISTING_MAX)
        return cm_fail(detail, CM_ERR_LIMIT,
                       "the target holds more than %d manifests; prune it",
                       SNAPSHOT_LISTING_MAX);
    if (w->listing.count == w->capacity) {
        size_t capacity = w->capacity > 0 ? 2 * w->capacity : 16;
        struct snapshot_listed *grown =
            cm_realloc(w->listing.items, capacity * sizeof *grown);

        if (grown == NULL)
            return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
        w->listing.items = grown;
        w->capacity = capacity;
    }
    l = &w->listing.items[w->listing.count];
    *l = (struct snapshot_listed){.mesh = *mesh};
    (void)snprintf(l->name, sizeof l->name, "%s", name);
    error = snapshot_manifest_load(w->d, name, w->expected_authority, &w->bytes,
                                   &m, &inner);
    if (error == CM_ERR_NOMEM)
        return cm_fail(detail, error, "out of memory");
    /* A network that fails says nothing about the manifest. */
    if (error == CM_ERR_IO && object_store_is_remote(w->d)) {
        if (detail != NULL)
            *detail = inner;
        return error;
    }
    if (error == 0) {
        fill(l, &m);
        note_signer(w, &m);
        note_accused(w, &m);
        manifest_release(&m);
    }
    set_verdict(l, error, &inner);
    w->listing.count++;
    return 0;
}

/* ---- what a listing lacks ---- */

static bool is_way_lost(const struct walk *w, int error)
{
    return error == CM_ERR_NOMEM ||
           (error == CM_ERR_IO && object_store_is_remote(w->d));
}

/* Adds the signer's manifest of that number, if it is there. */
static int try_sequence(struct walk *w, const char *prefix,
                        const struct mesh_id *mesh, uint64_t sequence,
                        bool *ret_there, struct cm_detail *detail)
{
    char name[SNAPSHOT_NAME_SIZE];
    int length = snprintf(name, sizeof name, "%s%020llu", prefix,
                          (unsigned long long)sequence);
    int error;

    *ret_there = false;
    if (length <= 0 || (size_t)length >= sizeof name)
        return 0;
    error = object_store_get(w->d, name, &w->bytes, detail);
    if (is_way_lost(w, error))
        return error;
    *ret_there = error == 0;
    return error == 0 ? add_manifest(w, name, mesh, detail) : 0;
}

/* What the signer's heartbeat says to be the newest; 0: it says nothing. */
static int heartbeat_sequence(struct walk *w, const char *prefix,
                              uint64_t *ret_sequence, struct cm_detail *detail)
{
    struct cm_detail inner = {""};
    char name[SNAPSHOT_NAME_SIZE];
    struct heartbeat h;
    int error;

    *ret_sequence = 0;
    (void)snprintf(name, sizeof name, "%.*s", (int)strlen(prefix) - 1, prefix);
    if (!w->has_sign_key || strstr(name, "/m/") == NULL)
        return 0;
    strstr(name, "/m/")[1] = 'h';
    error = object_store_get(w->d, name, &w->bytes, &inner);
    if (is_way_lost(w, error)) {
        if (detail != NULL)
            *detail = inner;
        return error;
    }
    if (error == 0 &&
        heartbeat_decode(&h, buffer_slice(&w->bytes), w->sign_key, &inner) == 0)
        *ret_sequence = h.base_sequence;
    return 0;
}

/* A listing may lag behind. What came after the last that it has is asked for
 * by name: up to the one that the heartbeat tells of, in which numbers may be
 * missing (they are at other targets), and on from there while there are any.
 */
static int add_unlisted(struct walk *w, const char *prefix,
                        const struct mesh_id *mesh, uint64_t last,
                        struct cm_detail *detail)
{
    struct cm_detail inner = {""};
    uint64_t sequence = last + 1;
    uint64_t told;
    bool there = true;
    int error = heartbeat_sequence(w, prefix, &told, detail);

    if (error != 0)
        return error;
    if (told > last + UNLISTED_MAX)
        sequence = told - UNLISTED_MAX + 1;
    for (int i = 0; (there || sequence <= told) && i < 2 * UNLISTED_MAX; i++) {
        error = try_sequence(w, prefix, mesh, sequence++, &there, &inner);
        if (error == 0)
            continue;
        if (detail != NULL)
            *detail = inner;
        return error;
    }
    return 0;
}

/* Of a manifest's last part; 0: it is none. */
static uint64_t sequence_of(const char *part)
{
    return strlen(part) == 20 && strspn(part, "0123456789") == 20
               ? strtoull(part, NULL, 10)
               : 0;
}

/* Manifests of one signer: prefix = "v1/<mesh>/m/<signer>/". */
static int walk_signer(struct walk *w, const char *prefix,
                       const struct mesh_id *mesh, struct cm_detail *detail)
{
    struct object_list names;
    int error = object_store_list(w->d, prefix, &names, detail);
    uint64_t last = 0;
    size_t i;

    if (error != 0)
        return error;
    w->has_sign_key = false;
    for (i = 0; i < names.count && error == 0; i++) {
        char name[SNAPSHOT_NAME_SIZE];
        int length =
            snprintf(name, sizeof name, "%s%s", prefix, names.names[i]);
        uint64_t sequence = sequence_of(names.names[i]);

        last = sequence > last ? sequence : last;
        if (length > 0 && (size_t)length < sizeof name)
            error = add_manifest(w, name, mesh, detail);
    }
    if (error == 0 && last > 0 && last < INT64_MAX)
        error = add_unlisted(w, prefix, mesh, last, detail);
    object_list_release(&names);
    return error;
}

static int walk_mesh(struct walk *w, const char *mesh_text,
                     struct cm_detail *detail)
{
    char prefix[SNAPSHOT_NAME_SIZE];
    struct object_list signers;
    struct mesh_id mesh;
    int error;
    size_t i;

    /* Whatever is not named as a mesh is none of ours. */
    if (hex_decode(mesh.bytes, MESH_ID_SIZE, mesh_text) != 0)
        return 0;
    (void)snprintf(prefix, sizeof prefix, "v1/%s/m/", mesh_text);
    error = object_store_list(w->d, prefix, &signers, detail);
    if (error != 0)
        return error;
    for (i = 0; i < signers.count && error == 0; i++) {
        const char *signer = signers.names[i];
        char below[SNAPSHOT_NAME_SIZE];
        int length = snprintf(below, sizeof below, "%s%s", prefix, signer);

        if (length <= 0 || (size_t)length >= sizeof below)
            continue;
        error = signer[strlen(signer) - 1] == '/'
                    ? walk_signer(w, below, &mesh, detail)
                    : add_manifest(w, below, &mesh, detail);
    }
    object_list_release(&signers);
    return error;
}

static int compare_u64(uint64_t a, uint64_t b)
{
    return a < b ? 1 : a > b ? -1 : 0; /* greater first */
}

static int compare_listed(const void *pa, const void *pb)
{
    const struct snapshot_listed *a = pa;
    const struct snapshot_listed *b = pb;
    int order = (a->error != 0) - (b->error != 0);

    if (order == 0)
        order = compare_u64(a->generation.number, b->generation.number);
    if (order == 0)
        order = compare_u64(a->hlc_max, b->hlc_max);
    if (order == 0)
        order = compare_u64(a->created_ms, b->created_ms);
    if (order == 0)
        order = compare_u64(a->sequence, b->sequence);
    return order != 0 ? order : strcmp(a->name, b->name);
}

static int walk_target(struct walk *w, struct cm_detail *detail)
{
    struct object_list meshes;
    int error = object_store_list(w->d, "v1/", &meshes, detail);
    size_t i;

    if (error != 0)
        return error;
    for (i = 0; i < meshes.count && error == 0; i++) {
        size_t size = strlen(meshes.names[i]);

        if (meshes.names[i][size - 1] != '/')
            continue;
        meshes.names[i][size - 1] = '\0';
        error = walk_mesh(w, meshes.names[i], detail);
    }
    object_list_release(&meshes);
    return error;
}

int snapshot_list(struct snapshot_listing *ret_listing, const char *target,
                  const uint8_t expected_authority[32],
                  struct cm_detail *detail)
{
    struct object_store d;
    int error = object_store_open(&d, target, OBJECT_STORE_MAY_EXEC, detail);

    if (error != 0)
        return error;
    error = snapshot_list_in(ret_listing, &d, expected_authority, detail);
    object_store_close(&d);
    return error;
}

int snapshot_list_in(struct snapshot_listing *ret_listing,
                     struct object_store *store,
                     const uint8_t expected_authority[32],
                     struct cm_detail *detail)
{
    struct walk w = {.d = store, .expected_authority = expected_authority};
    int error;

    CHECK(ret_listing != NULL);
    buffer_init(&w.bytes, SNAPSHOT_MANIFEST_MAX);
    buffer_init(&w.accused, ACCUSED_MAX);
    error = walk_target(&w, detail);
    if (error == 0)
        mark_accused(&w);
    buffer_release(&w.accused);
    buffer_release(&w.bytes);
    if (error != 0) {
        snapshot_listing_release(&w.listing);
        return error;
    }
    snapshot_listing_sort(&w.listing);
    *ret_listing = w.listing;
    return 0;
}

void snapshot_listing_sort(struct snapshot_listing *l)
{
    if (l->count > 1)
        qsort(l->items, l->count, sizeof *l->items, compare_listed);
}

bool snapshot_listing_is_settled(const struct snapshot_listing *l, size_t at)
{
    const char *name = l->items[at].name;
    const char *slash = strrchr(name, '/');
    size_t size = slash != NULL ? (size_t)(slash - name) + 1 : 0;

    CHECK(at < l->count);
    for (size_t i = 0; i < at && size > 0; i++)
        if (l->items[i].looked && l->items[i].target == l->items[at].target &&
            strncmp(l->items[i].name, name, size) == 0)
            return true;
    return false;
}

void snapshot_listing_release(struct snapshot_listing *l)
{
    CHECK(l != NULL);
    cm_free(l->items);
    *l = (struct snapshot_listing){0};
}

/* The newest name of the target into ret_name. A damaged manifest may be a
 * newer one, so it is not passed over in silence: it comes first. */
static int newest_name(char ret_name[SNAPSHOT_NAME_SIZE], const char *target,
                       const uint8_t expected_authority[32],
                       struct cm_detail *detail)
{
    struct snapshot_listing l;
    int error = snapshot_list(&l, target, expected_authority, detail);

    if (error != 0)
        return error;
    if (l.count == 0)
        error =
            cm_fail(detail, CM_ERR_NOT_FOUND,
                    "%.150s holds no snapshot; is it the right place?", target);
    else
        (void)snprintf(
            ret_name, SNAPSHOT_NAME_SIZE, "%s",
            l.items[l.items[0].error == 0 && l.items[l.count - 1].error != 0
                        ? l.count - 1
                        : 0]
                .name);
    snapshot_listing_release(&l);
    return error;
}

static int verify_in(struct object_store *d, const char *name,
                     const uint8_t expected_authority[32],
                     snapshot_progress progress, void *ctx,
                     struct snapshot_listed *listed, struct cm_detail *detail)
{
    struct buffer bytes;
    struct manifest m;
    int error;

    buffer_init(&bytes, SNAPSHOT_MANIFEST_MAX);
    error =
        snapshot_manifest_load(d, name, expected_authority, &bytes, &m, detail);
    if (error == 0) {
        fill(listed, &m);
        error = snapshot_objects_verify(d, &m, NULL, progress, ctx, detail);
        manifest_release(&m);
    } else {
        struct cm_detail inner = *detail;

        error =
            cm_fail(detail, error, "manifest %.150s: %.90s", name, inner.text);
    }
    buffer_release(&bytes);
    return error;
}

int snapshot_verify(const char *target, const char *name,
                    const uint8_t expected_authority[32],
                    snapshot_progress progress, void *ctx,
                    struct snapshot_listed *ret_listed,
                    struct cm_detail *detail)
{
    struct snapshot_listed listed = {0};
    struct cm_detail inner = {""};
    struct object_store d;
    int error = object_store_open(&d, target, OBJECT_STORE_MAY_EXEC, detail);

    if (error != 0)
        return error;
    if (name != NULL)
        (void)snprintf(listed.name, sizeof listed.name, "%s", name);
    else
        error = newest_name(listed.name, target, expected_authority, &inner);
    if (error == 0)
        error = verify_in(&d, listed.name, expected_authority, progress, ctx,
                          &listed, &inner);
    object_store_close(&d);
    set_verdict(&listed, error, &inner);
    if (detail != NULL && error != 0)
        *detail = inner;
    if (ret_listed != NULL)
        *ret_listed = listed;
    return error;
}
