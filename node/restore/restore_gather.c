/* All that the target holds of the lost mesh's last generation, as one state.
 *
 * The chosen snapshot comes first. Every other whole one of its generation that
 * knows writes which those before lack (its signer was cut off, or goes on
 * where the first one's died) is joined to it, entry by entry (crdt/join.h).
 * To each belong the deltas that its signer put after it; a scratch replica
 * applies them (snapshot_stage.h). The order of joining does not matter. */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/join.h"
#include "node/restore/restore_gather.h"

#define TOLD_MAX 8 /* of one kind */

static void tell_lost(struct restore *r, const char *name, const char *what)
{
    if (r->lost++ < TOLD_MAX)
        restore_note("not used: %s: %s", name, what);
}

/* ---- deltas ---- */

/* One signer's chain that hangs on one manifest, as far as it has been read. */
struct chain {
    struct restore *r;
    struct restore_source *s;
    struct certificate signer;
    struct hash last;
    uint64_t number;
    struct buffer bytes;
    struct buffer content;
};

static int open_pull(struct restore *r, struct restore_source *s,
                     struct cm_detail *detail)
{
    int error = snapshot_packs_open(&s->packs, &r->store, &s->manifest, detail);

    if (error != 0)
        return error;
    s->has_packs = true;
    error = snapshot_pull_begin(&s->pull, &s->manifest,
                                s->manifest.sealed.size > 0 ? &s->keys : NULL,
                                snapshot_packs_get, &s->packs);
    s->has_pull = true;
    return error == 0 ? 0 : cm_fail(detail, error, "%s", cm_strerror(error));
}

static void close_pull(struct restore_source *s)
{
    if (s->has_pull)
        snapshot_pull_release(&s->pull);
    if (s->has_packs)
        snapshot_packs_close(&s->packs);
    s->has_pull = false;
    s->has_packs = false;
}

/* The scratch replica, when there is a first delta to apply. */
static int make_stage(struct chain *c, struct cm_detail *detail)
{
    struct restore_source *s = c->s;
    int error;

    if (s->stage != NULL)
        return 0;
    restore_scratch_path(s->dir, c->r, "stage");
    if (mkdir(s->dir, 0700) != 0) {
        s->dir[0] = '\0';
        return cm_fail(detail, CM_ERR_IO,
                       "cannot create a directory beside "
                       "--data: %s",
                       strerror(errno));
    }
    error = open_pull(c->r, s, detail);
    if (error == 0)
        error = snapshot_stage_create(&s->stage, s->dir, &s->manifest, &s->pull,
                                      detail);
    close_pull(s);
    return error;
}

/* Decodes, checks its place in the chain, applies. CM_ERR_DAMAGED and the like
 * end the chain; CM_ERR_IO, CM_ERR_FULL and CM_ERR_NOMEM the restore. */
static int apply_delta(struct chain *c, const char *name, uint64_t number,
                       struct cm_detail *detail)
{
    struct snapshot_stage_counts counts = {.applied = 0};
    struct restore_source *s = c->s;
    struct delta d;
    int error = object_store_get(&c->r->store, name, &c->bytes, detail);

    if (error == 0)
        error = delta_decode(&d, buffer_slice(&c->bytes), c->signer.sign_key,
                             detail);
    if (error != 0)
        return error;
    if (!mesh_id_equal(&d.mesh, &s->manifest.mesh) || d.number != number ||
        d.base_sequence != s->manifest.sequence ||
        !hash_equal(&d.previous, &c->last))
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "it does not continue the chain before it");
    error = delta_events(&c->content, &d,
                         s->manifest.sealed.size > 0 ? &s->keys : &c->r->plain,
                         detail);
    if (error == 0)
        error = make_stage(c, detail);
    if (error == 0)
        error = snapshot_stage_apply(s->stage, buffer_slice(&c->content),
                                     c->r->hlc_limit, &counts, detail);
    if (error != 0)
        return error;
    c->last = delta_hash(buffer_slice(&c->bytes));
    c->number = number;
    c->r->deltas++;
    c->r->events += counts.applied;
    if (counts.refused > 0)
        return CM_ERR_DAMAGED; /* told in detail */
    if (counts.skipped == 0 && !hash_is_zero(&d.state_digest) &&
        !hash_equal(&d.state_digest, snapshot_stage_digest(s->stage)))
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the state after it is not the one that it promises");
    return 0;
}

static bool ends_restore(const struct restore *r, int error)
{
    return error == CM_ERR_NOMEM || error == CM_ERR_FULL ||
           (error == CM_ERR_IO && object_store_is_remote(&r->store));
}

/* "A heartbeat tells how far a chain has come." */
static void check_heartbeat(struct chain *c)
{
    struct cm_detail detail = {""};
    char name[SNAPSHOT_NAME_SIZE];
    struct heartbeat h;

    heartbeat_name(name, &c->s->manifest.mesh, &c->s->manifest.signer);
    if (c->r->hlc_limit != UINT64_MAX ||
        object_store_get(&c->r->store, name, &c->bytes, &detail) != 0 ||
        heartbeat_decode(&h, buffer_slice(&c->bytes), c->signer.sign_key,
                         &detail) != 0)
        return;
    if (h.base_sequence == c->s->manifest.sequence && h.number > c->number)
        tell_lost(c->r, name, "it tells of later deltas than there are");
}

static int apply_listed(struct chain *c, const struct object_list *names)
{
    const struct manifest *m = &c->s->manifest;
    size_t i;

    for (i = 0; i < names->count; i++) {
        struct cm_detail detail = {""};
        char name[SNAPSHOT_NAME_SIZE];
        uint64_t sequence;
        uint64_t number;
        int error;

        if (!delta_name_parse(&sequence, &number, names->names[i]) ||
            sequence != m->sequence)
            continue;
        delta_name(name, &m->mesh, &m->signer, sequence, number);
        if (number != c->number + 1) {
            tell_lost(c->r, name, "the one before it is missing or damaged");
            break;
        }
        error = apply_delta(c, name, number, &detail);
        if (error != 0 && ends_restore(c->r, error))
            return restore_fail(c->r, RESTORE_TRANSPORT, "%s: %s", name,
                                detail.text);
        if (error != 0) {
            tell_lost(c->r, name, detail.text);
            break;
        }
    }
    return RESTORE_OK;
}

static int apply_deltas(struct restore *r, struct restore_source *s)
{
    struct chain c = {.r = r, .s = s};
    struct cm_detail detail = {""};
    char prefix[SNAPSHOT_NAME_SIZE];
    struct object_list names;
    int code;

    delta_name(prefix, &s->manifest.mesh, &s->manifest.signer, 1, 1);
    strrchr(prefix, '/')[1] = '\0';
    if (certificate_decode(&c.signer, s->manifest.certificate,
                           s->manifest.authority_public_key) != 0)
        return RESTORE_OK; /* it verified a moment ago */
    if (object_store_list(&r->store, prefix, &names, &detail) != 0)
        return restore_fail(r, RESTORE_TRANSPORT, "%s", detail.text);
    buffer_init(&c.bytes, DELTA_SIZE_MAX);
    buffer_init(&c.content, SNAPSHOT_CHUNK_MAX);
    c.last = manifest_hash(buffer_slice(&s->manifest_bytes));
    code = apply_listed(&c, &names);
    if (code == RESTORE_OK)
        check_heartbeat(&c);
    buffer_release(&c.bytes);
    buffer_release(&c.content);
    object_list_release(&names);
    if (code == RESTORE_OK && s->stage != NULL &&
        snapshot_stage_pending(s->stage) > 0)
        tell_lost(r, prefix, "some events wait for others that did not come");
    return code;
}

/* ---- sources ---- */

static const struct vv *vv_of(const struct restore_source *s)
{
    return s->stage != NULL ? snapshot_stage_vv(s->stage) : &s->manifest.vv;
}

/* Room for one more; its manifest is loaded. */
static int add_source(struct restore *r, const struct snapshot_listed *l,
                      struct restore_source **ret_source)
{
    struct restore_source *s = cm_calloc(1, sizeof *s);
    struct cm_detail detail = {""};
    int error;

    if (s == NULL || r->sources_count == RESTORE_SOURCES_MAX) {
        cm_free(s);
        return restore_fail(r, RESTORE_TRANSPORT,
                            "more than %d snapshots hold writes of their own",
                            RESTORE_SOURCES_MAX);
    }
    buffer_init(&s->manifest_bytes, SNAPSHOT_MANIFEST_MAX);
    vv_init(&s->joined);
    error = snapshot_manifest_load(&r->store, l->name, l->authority_public_key,
                                   &s->manifest_bytes, &s->manifest, &detail);
    if (error != 0) {
        buffer_release(&s->manifest_bytes);
        cm_free(s);
        return restore_fail(r, RESTORE_TRANSPORT, "%s: %s", l->name,
                            detail.text);
    }
    r->sources[r->sources_count++] = s;
    *ret_source = s;
    return RESTORE_OK;
}

void restore_sources_release(struct restore *r)
{
    size_t i;

    for (i = 0; i < r->sources_count; i++) {
        struct restore_source *s = r->sources[i];

        close_pull(s);
        snapshot_stage_free(s->stage);
        if (s->dir[0] != '\0')
            restore_remove_directory(s->dir);
        manifest_release(&s->manifest);
        buffer_release(&s->manifest_bytes);
        vv_release(&s->joined);
        sodium_memzero(&s->keys, sizeof s->keys);
        cm_free(s);
    }
    r->sources_count = 0;
    entry_release(&r->joined_entry);
}

/* Into s->joined: what it and all before it cover. */
static int join_vector(struct restore *r, struct restore_source *s)
{
    size_t i = r->sources_count - 1;
    int error = i == 0
                    ? vv_copy(&s->joined, vv_of(s))
                    : vv_join(&s->joined, &r->sources[i - 1]->joined, vv_of(s));

    CHECK(r->sources[i] == s);
    if (error == CM_ERR_FORK)
        return restore_fail(r, RESTORE_INTEGRITY,
                            "two snapshots hold different events under one "
                            "name: one of %s and %s is of a node that was "
                            "cloned; move it away",
                            r->sources[0]->manifest.signer_name,
                            s->manifest.signer_name);
    return error == 0 ? RESTORE_OK
                      : restore_fail(r, RESTORE_TRANSPORT, "out of memory");
}

static int take(struct restore *r, const struct snapshot_listed *l, bool first)
{
    struct cm_detail detail = {""};
    struct restore_source *s = NULL;
    int code = add_source(r, l, &s);
    int error;

    if (code != RESTORE_OK)
        return code;
    error = restore_unlock(r, &s->manifest, &s->keys, &detail);
    if (error == 0 && !first)
        error = restore_check_objects(r, &s->manifest, &s->keys, &detail);
    if (error != 0) {
        r->sources_count--;
        manifest_release(&s->manifest);
        buffer_release(&s->manifest_bytes);
        cm_free(s);
        if (ends_restore(r, error))
            return restore_fail(r, RESTORE_TRANSPORT, "%s: %s", l->name,
                                detail.text);
        restore_note("damaged: %s: %s", l->name, detail.text);
        r->damaged++;
        return RESTORE_OK;
    }
    code = apply_deltas(r, s);
    return code == RESTORE_OK ? join_vector(r, s) : code;
}

static bool is_covered(const struct restore *r, const struct manifest *m)
{
    return vv_dominates(&r->sources[r->sources_count - 1]->joined, &m->vv);
}

int restore_gather(struct restore *r)
{
    int code;
    size_t i;

    snapshot_keys_derive(&r->plain, &r->manifest.mesh);
    r->hlc_limit =
        r->o->at_ms > 0 ? hlc_make(r->o->at_ms, UINT16_MAX) : UINT64_MAX;
    code = take(r, r->chosen, true);

    for (i = 0; i < r->listing.count && code == RESTORE_OK; i++) {
        const struct snapshot_listed *l = &r->listing.items[i];
        struct cm_detail detail = {""};
        struct manifest m;
        bool covered;

        if (l->error != 0 || l == r->chosen || !restore_may_use(r, l) ||
            !generation_id_equal(&l->generation, &r->manifest.generation))
            continue;
        if (snapshot_manifest_load(&r->store, l->name, NULL, &r->scratch, &m,
                                   &detail) != 0)
            return restore_fail(r, RESTORE_TRANSPORT, "%s: %s", l->name,
                                detail.text);
        covered = is_covered(r, &m);
        manifest_release(&m);
        if (covered)
            continue;
        restore_note("joined: %s by %s holds writes that the others lack",
                     l->name, l->signer);
        code = take(r, l, false);
    }
    return code;
}

/* ---- the joined state ---- */

const struct vv *restore_vv(const struct restore *r)
{
    CHECK(r->sources_count > 0);
    return &r->sources[r->sources_count - 1]->joined;
}

hlc_t restore_hlc(const struct restore *r)
{
    hlc_t ret = 0;
    size_t i;

    for (i = 0; i < r->sources_count; i++) {
        const struct restore_source *s = r->sources[i];
        hlc_t hlc = s->stage != NULL ? snapshot_stage_hlc(s->stage)
                                     : s->manifest.hlc_max;

        ret = hlc > ret ? hlc : ret;
    }
    return ret;
}

const struct hash *restore_known_digest(const struct restore *r)
{
    const struct restore_source *s = r->sources[0];

    if (r->sources_count > 1)
        return NULL;
    return s->stage != NULL ? snapshot_stage_digest(s->stage)
                            : &s->manifest.state_digest;
}

static int advance(struct restore_source *s)
{
    int error = s->stage != NULL
                    ? snapshot_stage_next(s->stage, &s->id, &s->entry)
                    : snapshot_pull_next(&s->pull, &s->id, &s->entry);

    s->has_entry = error == 0;
    s->ended = error == CM_ERR_NOT_FOUND;
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

int restore_walk_begin(struct restore *r, struct cm_detail *detail)
{
    int error = 0;
    size_t i;

    for (i = 0; i < r->sources_count && error == 0; i++) {
        struct restore_source *s = r->sources[i];

        close_pull(s);
        s->consumed = true;
        s->ended = false;
        error = s->stage != NULL ? snapshot_stage_begin(s->stage, detail)
                                 : open_pull(r, s, detail);
    }
    return error;
}

/* The least id of all heads; NULL when all have ended. */
static const struct restore_source *least(const struct restore *r)
{
    const struct restore_source *ret = NULL;
    size_t i;

    for (i = 0; i < r->sources_count; i++) {
        const struct restore_source *s = r->sources[i];

        if (!s->ended &&
            (ret == NULL || entry_id_compare(&s->id, &ret->id) < 0))
            ret = s;
    }
    return ret;
}

/* Joins what the sources have under one id into r->joined_entry. */
static int join_heads(struct restore *r, const struct entry_id *id)
{
    static const struct entry nothing;
    struct entry acc = {0};
    int error = 0;
    size_t i;

    for (i = 0; i < r->sources_count && error == 0; i++) {
        struct restore_source *s = r->sources[i];
        const struct entry *entry = &nothing;
        struct entry next;
        size_t k;

        if (!s->ended && entry_id_compare(&s->id, id) == 0) {
            entry = s->entry;
            s->consumed = true;
        }
        if (i == 0) {
            for (k = 0; k < entry->count && error == 0; k++)
                error = entry_add_sibling(&acc, &entry->siblings[k]);
            continue;
        }
        error = entry_join(&next, &acc, &r->sources[i - 1]->joined, entry,
                           vv_of(s));
        if (error == 0) {
            entry_release(&acc);
            acc = next;
        }
    }
    entry_release(&r->joined_entry);
    r->joined_entry = acc;
    return error;
}

int restore_walk_next(void *context, struct entry_id *ret_id,
                      const struct entry **ret_entry)
{
    struct restore *r = context;
    const struct restore_source *first;
    struct entry_id id;
    int error = 0;
    size_t i;

    do {
        for (i = 0; i < r->sources_count && error == 0; i++) {
            struct restore_source *s = r->sources[i];

            if (s->consumed && !s->ended)
                error = advance(s);
            s->consumed = false;
        }
        if (error != 0)
            return error;
        first = least(r);
        if (first == NULL)
            return CM_ERR_NOT_FOUND;
        id = first->id;
        if (r->sources_count == 1) {
            r->sources[0]->consumed = true;
            *ret_id = id;
            *ret_entry = first->entry;
            return 0;
        }
        error = join_heads(r, &id);
    } while (error == 0 && r->joined_entry.count == 0);
    *ret_id = id;
    *ret_entry = &r->joined_entry;
    return error;
}

const char *restore_walk_detail(const struct restore *r)
{
    size_t i;

    for (i = 0; i < r->sources_count; i++) {
        const struct restore_source *s = r->sources[i];

        if (s->has_pull && s->pull.error != 0 &&
            s->pull.error != CM_ERR_NOT_FOUND)
            return s->pull.detail.text;
    }
    return NULL;
}
