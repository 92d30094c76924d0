/* Events are put in the order of their stamps: what an event depends on is
 * dated before it, so they apply one after the other. */
#include "node/snapshot_delta.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"

struct found_event {
    hlc_t hlc;
    struct dot dot;
    size_t offset; /* in the job's memory */
    size_t size;
};

struct delta_job {
    struct store *store;
    struct object_store target;
    uint8_t sign_secret_key[64];
    struct snapshot_keys keys;
    struct delta next; /* template of the one to be put */
    struct snapshot_chain chain;
    struct vv vv; /* of the state that was read */
    struct hash digest;
    struct buffer memory;      /* events, one after the other */
    struct found_event *found; /* owned */
    size_t count;
    size_t capacity;
    size_t put; /* of them */
    bool gathered;
    bool heartbeat; /* is wanted */
    bool done;
    struct buffer content;
    struct buffer bytes;
    struct buffer back;
    struct delta_outcome outcome;
};

#define GATHERED_MAX (256u << 20) /* bytes of events held for one job */

void snapshot_chain_release(struct snapshot_chain *c)
{
    CHECK(c != NULL);
    vv_release(&c->vv);
    *c = (struct snapshot_chain){.base_sequence = 0};
    vv_init(&c->vv);
}

int delta_job_create(struct delta_job **ret_job,
                     const struct delta_job_config *config,
                     struct cm_detail *detail)
{
    struct delta_job *j = cm_calloc(1, sizeof *j);
    int error;

    CHECK(config->chain->base_sequence > 0);
    if (j == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    j->store = config->store;
    j->target = (struct object_store)OBJECT_STORE_CLOSED;
    memcpy(j->sign_secret_key, config->sign_secret_key,
           sizeof j->sign_secret_key);
    if (config->data_key != NULL)
        snapshot_keys_derive_encrypted(&j->keys, &config->mesh,
                                       config->data_key);
    else
        snapshot_keys_derive(&j->keys, &config->mesh);
    j->heartbeat = config->heartbeat;
    j->chain = *config->chain;
    vv_init(&j->chain.vv);
    vv_init(&j->vv);
    buffer_init(&j->memory, GATHERED_MAX);
    buffer_init(&j->content, SNAPSHOT_CHUNK_MAX);
    buffer_init(&j->bytes, DELTA_SIZE_MAX);
    buffer_init(&j->back, DELTA_SIZE_MAX);
    j->next = (struct delta){.mesh = config->mesh,
                             .base = j->chain.base,
                             .base_sequence = j->chain.base_sequence,
                             .created_ms = config->wall_ms & HLC_WALL_MS_MAX};
    error = vv_copy(&j->chain.vv, &config->chain->vv);
    if (error != 0)
        (void)cm_fail(detail, error, "out of memory");
    else
        error = object_store_open(&j->target, config->target,
                                  OBJECT_STORE_CREATE | OBJECT_STORE_MAY_EXEC,
                                  detail);
    if (error != 0) {
        delta_job_free(j);
        return error;
    }
    object_store_limit(&j->target, config->rate);
    *ret_job = j;
    return 0;
}

void delta_job_free(struct delta_job *j)
{
    if (j == NULL)
        return;
    object_store_close(&j->target);
    vv_release(&j->chain.vv);
    vv_release(&j->vv);
    buffer_release(&j->memory);
    buffer_release(&j->content);
    buffer_release(&j->bytes);
    buffer_release(&j->back);
    cm_free(j->found);
    sodium_memzero(j->sign_secret_key, sizeof j->sign_secret_key);
    sodium_memzero(&j->keys, sizeof j->keys);
    cm_free(j);
}

/* ---- gathering ---- */

static int add_found(struct delta_job *j, const struct dot *dot,
                     struct slice bytes)
{
    struct event e;
    int error;

    if (j->count == j->capacity) {
        size_t capacity = j->capacity > 0 ? 2 * j->capacity : 256;
        struct found_event *grown =
            cm_realloc(j->found, capacity * sizeof *grown);

        if (grown == NULL)
            return CM_ERR_NOMEM;
        j->found = grown;
        j->capacity = capacity;
    }
    error = event_decode(&e, bytes);
    if (error != 0)
        return error;
    j->found[j->count++] = (struct found_event){.hlc = e.hlc,
                                                .dot = *dot,
                                                .offset = j->memory.size,
                                                .size = bytes.size};
    event_release(&e);
    buffer_append_slice(&j->memory, bytes);
    return j->memory.error;
}

static int gather_from(struct delta_job *j, struct store_reader *r)
{
    int error = 0;
    size_t i;

    for (i = 0; i < j->vv.count && error == 0; i++) {
        const struct vv_entry *entry = &j->vv.entries[i];
        struct dot dot = {
            .incarnation = entry->incarnation,
            .seq = vv_seq(&j->chain.vv, &entry->incarnation) + 1,
        };

        for (; dot.seq <= entry->seq && error == 0; dot.seq++) {
            struct slice bytes;

            error = store_event(r, &dot, &bytes);
            if (error == 0)
                error = add_found(j, &dot, bytes);
            else if (error == CM_ERR_NOT_FOUND)
                error = CM_ERR_NEEDS_CUT;
        }
    }
    /* So much at once is better sent as a snapshot. */
    return error == CM_ERR_TOO_LARGE ? CM_ERR_NEEDS_CUT : error;
}

/* By sequence numbers: of what came by deltas the chain has no hashes. */
static bool has_all(const struct vv *state, const struct vv *covered)
{
    for (size_t i = 0; i < covered->count; i++)
        if (vv_seq(state, &covered->entries[i].incarnation) <
            covered->entries[i].seq)
            return false;
    return true;
}

static int compare_found(const void *pa, const void *pb)
{
    const struct found_event *a = pa;
    const struct found_event *b = pb;

    if (a->hlc != b->hlc)
        return a->hlc < b->hlc ? -1 : 1;
    return dot_compare(&a->dot, &b->dot);
}

/* Vector, digest and events come from one read transaction. */
static int gather(struct delta_job *j, struct cm_detail *detail)
{
    struct store_reader *r = NULL;
    struct digest digest;
    int error = store_reader_begin(j->store, &r);

    if (error == 0)
        error = store_vv(r, &j->vv);
    if (error == 0)
        error = store_digest(r, &digest);
    if (error == 0 && !has_all(&j->vv, &j->chain.vv))
        error = CM_ERR_NEEDS_CUT;
    if (error == 0)
        error = gather_from(j, r);
    if (r != NULL)
        store_reader_release(r);
    if (error != 0)
        return cm_fail(detail, error, "cannot gather the events of a delta: %s",
                       cm_strerror(error));
    j->digest = digest_finish(&digest, &j->vv);
    if (j->count > 1)
        qsort(j->found, j->count, sizeof *j->found, compare_found);
    j->gathered = true;
    return SNAPSHOT_MORE;
}

/* ---- putting ---- */

static int put_and_read(struct delta_job *j, const char *name,
                        struct cm_detail *detail)
{
    struct cm_detail inner = {""};
    int error =
        object_store_put(&j->target, name, buffer_slice(&j->bytes), detail);

    if (error != 0)
        return error;
    error = object_store_get(&j->target, name, &j->back, &inner);
    if (error == 0 &&
        !slice_equal(buffer_slice(&j->back), buffer_slice(&j->bytes)))
        error = cm_fail(&inner, CM_ERR_DAMAGED, "it has other bytes");
    if (error != 0)
        return cm_fail(detail, error,
                       "%.120s was put but does not read back: %.90s", name,
                       inner.text);
    j->outcome.bytes += j->bytes.size;
    return 0;
}

static int put_heartbeat(struct delta_job *j, struct cm_detail *detail)
{
    struct key_id signer = key_id_of(j->sign_secret_key + 32);
    struct heartbeat h = {.mesh = j->next.mesh,
                          .base = j->chain.base,
                          .base_sequence = j->chain.base_sequence,
                          .number = j->chain.number,
                          .last = j->chain.last,
                          .created_ms = j->next.created_ms};
    char name[SNAPSHOT_NAME_SIZE];
    int error;

    buffer_clear(&j->bytes);
    error = heartbeat_encode(&j->bytes, &h, j->sign_secret_key);
    if (error != 0)
        return cm_fail(detail, error, "cannot encode a heartbeat: %s",
                       cm_strerror(error));
    heartbeat_name(name, &h.mesh, &signer);
    /* Another one follows: it is not read back. */
    error = object_store_put(&j->target, name, buffer_slice(&j->bytes), detail);
    j->outcome.bytes += j->bytes.size;
    j->outcome.heartbeat = error == 0;
    return error;
}

/* Takes events into the content up to its bound; returns how many. */
static size_t fill(struct delta_job *j)
{
    size_t n = 0;

    buffer_clear(&j->content);
    while (j->put + n < j->count && n < DELTA_EVENTS_MAX) {
        const struct found_event *f = &j->found[j->put + n];

        if (n > 0 && j->content.size + f->size + 8 > DELTA_CONTENT_MAX)
            break;
        pack_bin(&j->content, slice_of(j->memory.data + f->offset, f->size));
        n++;
    }
    return n;
}

/* The chain covers what was put. Heads are not needed to go on. */
static int cover(struct delta_job *j, size_t n)
{
    static const struct hash unknown;
    int error = 0;
    size_t i;

    if (j->put + n == j->count) {
        vv_release(&j->chain.vv);
        vv_init(&j->chain.vv);
        return vv_copy(&j->chain.vv, &j->vv);
    }
    for (i = j->put; i < j->put + n && error == 0; i++)
        error = vv_set(&j->chain.vv, &j->found[i].dot.incarnation,
                       j->found[i].dot.seq, &unknown);
    return error;
}

static int put_delta(struct delta_job *j, struct cm_detail *detail)
{
    struct key_id signer = key_id_of(j->sign_secret_key + 32);
    char name[SNAPSHOT_NAME_SIZE];
    size_t n = fill(j);
    int error = j->content.error;

    j->next.number = j->chain.number + 1;
    j->next.previous = j->chain.number > 0 ? j->chain.last : j->chain.base;
    j->next.events = n;
    j->next.state_digest =
        j->put + n == j->count ? j->digest : (struct hash){{0}};
    buffer_clear(&j->bytes);
    if (error == 0 && j->next.number > DELTA_NUMBER_MAX)
        error = CM_ERR_NEEDS_CUT;
    if (error == 0)
        error = delta_encode(&j->bytes, &j->next, &j->keys,
                             buffer_slice(&j->content), j->sign_secret_key);
    if (error != 0)
        return cm_fail(detail, error, "cannot encode a delta: %s",
                       cm_strerror(error));
    delta_name(name, &j->next.mesh, &signer, j->next.base_sequence,
               j->next.number);
    error = put_and_read(j, name, detail);
    if (error == 0)
        error = cover(j, n);
    if (error != 0)
        return error;
    CM_MARK("snapshot: a delta was put");
    j->chain.number = j->next.number;
    j->chain.last = delta_hash(buffer_slice(&j->bytes));
    j->put += n;
    j->outcome.deltas++;
    j->outcome.events += n;
    return 0;
}

static int step(struct delta_job *j, struct cm_detail *detail)
{
    int error;

    CHECK(!j->done);
    if (!j->gathered)
        return gather(j, detail);
    if (j->put < j->count) {
        error = put_delta(j, detail);
        if (error == 0 && j->put == j->count && j->heartbeat)
            error = put_heartbeat(j, detail);
    } else {
        error = put_heartbeat(j, detail);
    }
    if (error != 0)
        return error;
    j->done = j->put == j->count;
    return j->done ? SNAPSHOT_DONE : SNAPSHOT_MORE;
}

int delta_job_step(struct delta_job *j, struct cm_detail *detail)
{
    int error = step(j, detail);

    if (error == SNAPSHOT_DONE || error < 0)
        object_store_close(&j->target);
    return error;
}

void delta_job_stop(struct delta_job *j)
{
    object_store_stop(&j->target);
}

const struct snapshot_chain *delta_job_chain(const struct delta_job *j)
{
    return &j->chain;
}

const struct delta_outcome *delta_job_outcome(const struct delta_job *j)
{
    return &j->outcome;
}
