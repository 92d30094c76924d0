/* "A restore takes a manifest's deltas in order of their numbers up to the
 * first that is missing, damaged, or does not continue the chain, and says if
 * it knows of later ones." */
#include "node/snapshot_state.h"

#include <sodium.h>
#include <string.h>

#include "backup/delta.h"
#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

/* One signer's chain that hangs on one manifest, as far as it has been read. */
struct chain {
    const struct snapshot_state_config *c;
    struct snapshot_state *s;
    struct snapshot_keys plain; /* of the mesh, without encryption */
    struct certificate signer;
    struct object_list names;
    struct hash last;
    uint64_t number;
    struct buffer bytes;
    struct buffer content;
    bool absent; /* the delta that was asked for last is not there */
    bool fatal;  /* this host fails, not the delta */
};

bool snapshot_state_is_fatal(const struct object_store *store, int error)
{
    return error == CM_ERR_NOMEM || error == CM_ERR_FULL ||
           (error == CM_ERR_IO && object_store_is_remote(store));
}

static void tell_lost(struct chain *c, const char *name, const char *what)
{
    c->s->lost++;
    if (c->c->lost != NULL)
        c->c->lost(c->c->context, name, what);
}

/* ---- objects ---- */

static bool is_encrypted(const struct snapshot_state *s)
{
    return s->manifest.sealed.size > 0;
}

static int open_pull(struct snapshot_state *s, struct cm_detail *detail)
{
    int error = snapshot_packs_open(&s->packs, s->store, &s->manifest, detail);

    if (error != 0)
        return error;
    s->has_packs = true;
    s->packs.verified = s->was_read;
    error = snapshot_pull_begin(&s->pull, &s->manifest,
                                is_encrypted(s) ? &s->keys : NULL,
                                snapshot_packs_get, &s->packs);
    s->has_pull = true;
    if (error == 0 && s->was_read)
        snapshot_reader_trust(s->pull.reader);
    if (error == 0 && s->store->hurries)
        snapshot_pull_hurry(&s->pull);
    return error == 0 ? 0 : cm_fail(detail, error, "%s", cm_strerror(error));
}

static void close_pull(struct snapshot_state *s)
{
    if (s->has_pull)
        snapshot_pull_release(&s->pull);
    if (s->has_packs)
        snapshot_packs_close(&s->packs);
    s->has_pull = false;
    s->has_packs = false;
}

/* ---- deltas ---- */

/* The scratch replica, when there is a first delta to apply. */
static int make_stage(struct chain *c, struct cm_detail *detail)
{
    struct snapshot_state *s = c->s;
    int error;

    if (s->stage != NULL)
        return 0;
    error = scratch_make(s->dir, c->c->scratch, SCRATCH_STAGE, detail);
    c->fatal = error != 0;
    if (error == 0)
        error = open_pull(s, detail);
    if (error == 0)
        error = snapshot_stage_create(&s->stage, s->dir, &s->manifest, &s->pull,
                                      s->has_sum ? &s->sum : NULL, detail);
    close_pull(s);
    if (error == 0 && c->c->staged != NULL)
        error = c->c->staged(c->c->context, s->stage, &s->manifest,
                             is_encrypted(s) ? &s->keys : NULL, detail);
    return error;
}

/* Delta number of the chain into c->content, its place in the chain checked. */
static int read_delta(struct chain *c, const char *name, uint64_t number,
                      struct delta *ret_delta, struct cm_detail *detail)
{
    const struct manifest *m = &c->s->manifest;
    int error = object_store_get(c->s->store, name, &c->bytes, detail);

    c->absent = error == CM_ERR_NOT_FOUND;
    if (error == 0)
        error = delta_decode(ret_delta, buffer_slice(&c->bytes),
                             c->signer.sign_key, detail);
    if (error != 0)
        return error;
    if (!mesh_id_equal(&ret_delta->mesh, &m->mesh) ||
        ret_delta->number != number ||
        ret_delta->base_sequence != m->sequence ||
        !hash_equal(&ret_delta->previous, &c->last))
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "it does not continue the chain before it");
    return delta_events(&c->content, ret_delta,
                        is_encrypted(c->s) ? &c->s->keys : &c->plain, detail);
}

static void step_chain(struct chain *c, uint64_t number)
{
    c->last = delta_hash(buffer_slice(&c->bytes));
    c->number = number;
}

static int apply_delta(struct chain *c, const char *name, uint64_t number,
                       struct cm_detail *detail)
{
    struct snapshot_stage_counts counts = {.applied = 0};
    struct snapshot_state *s = c->s;
    struct delta d;
    int error = read_delta(c, name, number, &d, detail);

    if (error == 0)
        error = make_stage(c, detail);
    if (error == 0) {
        error = snapshot_stage_apply(s->stage, buffer_slice(&c->content),
                                     c->c->hlc_limit, &counts, detail);
        c->fatal = error != 0;
    }
    if (error != 0)
        return error;
    step_chain(c, number);
    s->deltas++;
    s->events += counts.applied;
    if (counts.refused > 0)
        return CM_ERR_DAMAGED; /* told in detail */
    if (counts.skipped == 0 && !hash_is_zero(&d.state_digest) &&
        !hash_equal(&d.state_digest, snapshot_stage_digest(s->stage)))
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the state after it is not the one that it promises");
    return 0;
}

/* "A heartbeat tells how far a chain has come." */
static void check_heartbeat(struct chain *c)
{
    const struct manifest *m = &c->s->manifest;
    struct cm_detail detail = {""};
    char name[SNAPSHOT_NAME_SIZE];
    struct heartbeat h;
    int error;

    heartbeat_name(name, &m->mesh, &m->signer);
    if (c->c->hlc_limit != UINT64_MAX)
        return;
    error = object_store_get(c->s->store, name, &c->bytes, &detail);
    if (error != 0)
        return; /* none yet, or none any more: nothing is told by it */
    error = heartbeat_decode(&h, buffer_slice(&c->bytes), c->signer.sign_key,
                             &detail);
    if (error == 0 && !mesh_id_equal(&h.mesh, &m->mesh))
        error = cm_fail(&detail, CM_ERR_WRONG_MESH, "it is of another mesh");
    if (error != 0)
        tell_lost(c, name, detail.text);
    else if (h.base_sequence == m->sequence && h.number > c->number)
        tell_lost(c, name, "it tells of later deltas than there are");
    else if (h.base_sequence > m->sequence && c->c->newest)
        tell_lost(c, name, "it tells of a later snapshot than there is");
}

/* "A listing may lag behind": it tells only that there have to be so many. */
static uint64_t last_listed(const struct chain *c)
{
    uint64_t ret = 0;

    for (size_t i = 0; i < c->names.count; i++) {
        uint64_t sequence;
        uint64_t number;

        if (delta_name_parse(&sequence, &number, c->names.names[i]) &&
            sequence == c->s->manifest.sequence && number > ret)
            ret = number;
    }
    return ret;
}

/* Asked for by number until there is none. */
static int apply_all(struct chain *c, struct cm_detail *detail)
{
    const struct manifest *m = &c->s->manifest;
    uint64_t last = last_listed(c);

    while (c->number < DELTA_NUMBER_MAX) {
        struct cm_detail inner = {""};
        char name[SNAPSHOT_NAME_SIZE];
        uint64_t number = c->number + 1;
        int error;

        delta_name(name, &m->mesh, &m->signer, m->sequence, number);
        error = apply_delta(c, name, number, &inner);
        if (error == 0)
            continue;
        if (c->absent && number > last)
            break;
        if (c->fatal || snapshot_state_is_fatal(c->s->store, error))
            return cm_fail(detail, error, "%.120s: %.120s", name, inner.text);
        tell_lost(c, name,
                  c->absent ? "it is missing, and later ones are there"
                            : inner.text);
        break;
    }
    return 0;
}

/* Whether an event lies beyond vv, or cannot be told. */
static bool has_event_beyond(const struct chain *c, const struct vv *vv)
{
    struct slice content = buffer_slice(&c->content);
    struct slice bytes;
    size_t at = 0;
    bool ret = false;

    while (!ret && at < content.size &&
           delta_next_event(content, &at, &bytes)) {
        struct event e;

        if (event_decode(&e, bytes) != 0)
            return true;
        ret = !vv_covers(vv, &e.dot);
        event_release(&e);
    }
    return ret;
}

/* Looked at beforehand, since a stage for nothing costs a whole restore. */
static bool has_news(struct chain *c)
{
    const struct manifest *m = &c->s->manifest;
    uint64_t last = last_listed(c);
    bool ret = false;

    while (!ret && c->number < DELTA_NUMBER_MAX) {
        struct cm_detail detail = {""};
        char name[SNAPSHOT_NAME_SIZE];
        uint64_t number = c->number + 1;
        struct delta d;
        int error;

        delta_name(name, &m->mesh, &m->signer, m->sequence, number);
        error = read_delta(c, name, number, &d, &detail);
        if (c->absent && number > last)
            break;
        /* What is wrong with it is told by the ordinary way. */
        ret = error != 0 || has_event_beyond(c, c->c->covered);
        if (!ret)
            step_chain(c, number);
    }
    c->last = manifest_hash(buffer_slice(&c->s->manifest_bytes));
    c->number = 0;
    return ret;
}

/* A drill restores what nobody has read before: that is its sense. */
static int verify(struct chain *c, struct cm_detail *detail)
{
    struct snapshot_state *s = c->s;
    int error = 0;

    if (c->c->staged != NULL)
        return 0;
    if (!c->c->verified)
        error = snapshot_objects_sum(
            s->store, &s->manifest, is_encrypted(s) ? &s->keys : NULL,
            c->c->progress, c->c->context, &s->sum, detail);
    else if (c->c->sum != NULL)
        s->sum = *c->c->sum;
    s->was_read = error == 0;
    s->has_sum = error == 0 && (!c->c->verified || c->c->sum != NULL);
    return error;
}

static int read_all(struct chain *c, struct cm_detail *detail)
{
    struct snapshot_state *s = c->s;
    char prefix[SNAPSHOT_NAME_SIZE];
    int error = certificate_decode(&c->signer, s->manifest.certificate,
                                   s->manifest.authority_public_key);

    if (error != 0)
        return cm_fail(detail, error, "%s", cm_strerror(error));
    delta_name(prefix, &s->manifest.mesh, &s->manifest.signer, 1, 1);
    strrchr(prefix, '/')[1] = '\0';
    error = object_store_list(s->store, prefix, &c->names, detail);
    if (error != 0)
        return error;
    c->last = manifest_hash(buffer_slice(&s->manifest_bytes));
    s->covered = c->c->covered != NULL &&
                 vv_dominates(c->c->covered, &s->manifest.vv) &&
                 (c->c->settled || !has_news(c));
    if (!s->covered)
        error = verify(c, detail);
    if (error == 0 && !s->covered && c->c->staged != NULL)
        error = make_stage(c, detail);
    if (error == 0 && !s->covered)
        error = apply_all(c, detail);
    if (error == 0 && !s->covered)
        check_heartbeat(c);
    object_list_release(&c->names);
    if (error == 0 && s->stage != NULL && snapshot_stage_pending(s->stage) > 0)
        tell_lost(c, prefix, "some events wait for others that did not come");
    return error;
}

/* ---- the whole ---- */

static int unlock(const struct snapshot_state_config *c,
                  struct snapshot_state *s, struct cm_detail *detail)
{
    if (!is_encrypted(s))
        return 0;
    if (c->unlock == NULL)
        return cm_fail(detail, CM_ERR_AUTHORITY,
                       "the snapshot is encrypted: give --recovery-key FILE");
    return c->unlock(c->context, &s->manifest, &s->keys, detail);
}

int snapshot_state_open(struct snapshot_state **ret_state,
                        const struct snapshot_state_config *config,
                        struct cm_detail *detail)
{
    struct snapshot_state *s = cm_calloc(1, sizeof *s);
    struct chain c = {.c = config, .s = s};
    int error;

    CHECK(ret_state != NULL && config->store != NULL && detail != NULL);
    if (s == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    s->store = config->store;
    buffer_init(&s->manifest_bytes, SNAPSHOT_MANIFEST_MAX);
    error = snapshot_manifest_load(s->store, config->name, config->authority,
                                   &s->manifest_bytes, &s->manifest, detail);
    if (error != 0) {
        buffer_release(&s->manifest_bytes);
        cm_free(s);
        return error;
    }
    snapshot_keys_derive(&c.plain, &s->manifest.mesh);
    buffer_init(&c.bytes, DELTA_SIZE_MAX);
    buffer_init(&c.content, SNAPSHOT_CHUNK_MAX);
    error = unlock(config, s, detail);
    if (error == 0)
        error = read_all(&c, detail);
    buffer_release(&c.bytes);
    buffer_release(&c.content);
    if (error != 0) {
        snapshot_state_close(s);
        return error;
    }
    *ret_state = s;
    return 0;
}

void snapshot_state_close(struct snapshot_state *s)
{
    if (s == NULL)
        return;
    close_pull(s);
    snapshot_stage_free(s->stage);
    if (s->dir[0] != '\0')
        scratch_remove(s->dir);
    manifest_release(&s->manifest);
    buffer_release(&s->manifest_bytes);
    sodium_memzero(&s->keys, sizeof s->keys);
    cm_free(s);
}

const struct vv *snapshot_state_vv(const struct snapshot_state *s)
{
    return s->stage != NULL ? snapshot_stage_vv(s->stage) : &s->manifest.vv;
}

hlc_t snapshot_state_hlc(const struct snapshot_state *s)
{
    return s->stage != NULL ? snapshot_stage_hlc(s->stage)
                            : s->manifest.hlc_max;
}

const struct hash *snapshot_state_digest(const struct snapshot_state *s)
{
    return s->stage != NULL ? snapshot_stage_digest(s->stage)
                            : &s->manifest.state_digest;
}

/* What a stage gives has been through a disk since. */
const struct digest *snapshot_state_sum(const struct snapshot_state *s)
{
    return s->stage == NULL && s->has_sum ? &s->sum : NULL;
}

int snapshot_state_standing(struct snapshot_state *s, struct buffer *out)
{
    if (s->stage != NULL)
        return snapshot_stage_standing(s->stage, out);
    buffer_append_slice(out, s->manifest.standing);
    return out->error;
}

int snapshot_state_begin(struct snapshot_state *s, struct cm_detail *detail)
{
    close_pull(s);
    return s->stage != NULL ? snapshot_stage_begin(s->stage, detail)
                            : open_pull(s, detail);
}

int snapshot_state_next(void *state, struct entry_id *ret_id,
                        const struct entry **ret_entry)
{
    struct snapshot_state *s = state;

    return s->stage != NULL ? snapshot_stage_next(s->stage, ret_id, ret_entry)
                            : snapshot_pull_next(&s->pull, ret_id, ret_entry);
}

const char *snapshot_state_detail(const struct snapshot_state *s)
{
    return s->has_pull && s->pull.error != 0 &&
                   s->pull.error != CM_ERR_NOT_FOUND
               ? s->pull.detail.text
               : NULL;
}
