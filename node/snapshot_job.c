/* Phases, each of resumable steps: scan, the chain at the target, upload,
 * manifest. A manifest never names a pack that was not read back. */
#include "node/snapshot_job.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/snapshot_upload.h"

enum phase {
    PHASE_SCAN = 1,
    PHASE_CHAIN = 2,
    PHASE_UPLOAD = 3,
    PHASE_MANIFEST = 4,
    PHASE_DONE = 5,
};

struct snapshot_job {
    enum phase phase;
    /* What snapshot_job_progress tells, for other threads. */
    atomic_bool uploading;
    _Atomic uint64_t done;
    _Atomic uint64_t there;
    _Atomic uint64_t total;
    char log_path[PATH_MAX];
    struct snapshot_scan own; /* unless scan is another's */
    struct snapshot_scan *scan;
    struct manifest manifest; /* its slices and vector are the scan's */
    _Atomic uint64_t *numbers;
    struct object_store store;
    struct snapshot_upload *upload;
    bool thorough;
    struct buffer sealed;   /* of the manifest */
    struct buffer segments; /* of the newest manifest at the target */
    uint8_t sign_secret_key[64];
    struct snapshot_memory previous;
    struct buffer bytes;
    struct buffer back; /* what the target gave back */
    struct snapshot_outcome outcome;
};

int snapshot_job_create(struct snapshot_job **ret_job,
                        const struct snapshot_job_config *config,
                        struct cm_detail *detail)
{
    struct snapshot_job *j = cm_calloc(1, sizeof *j);
    int error;

    CHECK(ret_job != NULL && config->store != NULL);
    CHECK(config->target != NULL && config->spool_dir != NULL);
    if (j == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    j->phase = config->scan == NULL ? PHASE_SCAN : PHASE_CHAIN;
    j->store = (struct object_store)OBJECT_STORE_CLOSED;
    if (config->log_path != NULL)
        (void)snprintf(j->log_path, sizeof j->log_path, "%s", config->log_path);
    j->scan = config->scan;
    j->numbers = config->numbers;
    j->previous = config->previous;
    j->thorough = config->thorough;
    memcpy(j->sign_secret_key, config->sign_secret_key,
           sizeof j->sign_secret_key);
    buffer_init(&j->bytes, SNAPSHOT_MANIFEST_MAX);
    buffer_init(&j->back, SNAPSHOT_MANIFEST_MAX);
    buffer_init(&j->sealed, MANIFEST_SEALED_MAX);
    buffer_init(&j->segments, (size_t)SNAPSHOT_SEGMENTS_MAX * HASH_SIZE);
    buffer_append_slice(&j->sealed, config->sealed);
    error = j->sealed.error;
    if (error != 0)
        (void)cm_fail(detail, error, "out of memory");
    else
        error = object_store_open(
            &j->store, config->target,
            OBJECT_STORE_CREATE |
                (config->target_may_exec ? OBJECT_STORE_MAY_EXEC : 0),
            detail);
    if (error == 0)
        object_store_limit(&j->store, config->rate);
    if (error == 0 && config->scan == NULL) {
        error = snapshot_scan_begin(&j->own, config->store, config->spool_dir,
                                    config->wall_ms, config->data_key, detail);
        if (error == 0 && config->trusts_sum)
            snapshot_scan_trust(&j->own);
        if (error == 0)
            j->scan = &j->own;
    }
    if (error != 0) {
        snapshot_job_free(j);
        return error;
    }
    *ret_job = j;
    return 0;
}

void snapshot_job_free(struct snapshot_job *j)
{
    if (j == NULL)
        return;
    snapshot_upload_free(j->upload);
    if (j->scan == &j->own)
        snapshot_scan_release(&j->own);
    object_store_close(&j->store);
    buffer_release(&j->bytes);
    buffer_release(&j->back);
    buffer_release(&j->sealed);
    buffer_release(&j->segments);
    sodium_memzero(j->sign_secret_key, sizeof j->sign_secret_key);
    cm_free(j);
}

struct snapshot_job_progress snapshot_job_progress(const struct snapshot_job *j)
{
    struct snapshot_job_progress p = {
        .uploading = atomic_load(&j->uploading),
        .done = atomic_load(&j->done),
        .there = atomic_load(&j->there),
        .total = atomic_load(&j->total),
    };

    /* And what has left of the pack that is on its way. */
    p.done += atomic_load(&j->store.sent);
    if (p.done > p.total)
        p.done = p.total;
    return p;
}

static bool parse_sequence(uint64_t *ret_sequence, const char *text)
{
    uint64_t ret = 0;

    if (strlen(text) != 20 || strspn(text, "0123456789") != 20 ||
        text[0] != '0')
        return false; /* below 10^19, which no chain reaches */
    for (; *text != '\0'; text++)
        ret = ret * 10 + (uint64_t)(*text - '0');
    *ret_sequence = ret;
    return true;
}

/* What the newest manifest places need not be put again. Objects under another
 * data key are no use. */
static int remember_segments(struct snapshot_job *j, const struct manifest *m)
{
    buffer_clear(&j->segments);
    if (slice_equal(m->sealed, j->manifest.sealed))
        buffer_append_slice(&j->segments, m->segments);
    return j->segments.error;
}

/* No two manifests of a signer bear one number, at whatever targets they are.
 */
static uint64_t take_number(struct snapshot_job *j, uint64_t next)
{
    uint64_t last;

    if (j->numbers == NULL)
        return next;
    last = atomic_load(j->numbers);
    do {
        if (next <= last)
            next = last + 1;
    } while (!atomic_compare_exchange_weak(j->numbers, &last, next));
    return next;
}

/* A target can hold newer manifests of this signer than the node remembers (it
 * died between the put and its commit): continue their chain. A damaged one
 * gives no link, but keeps its number. */
static int continue_chain(struct snapshot_job *j, const struct key_id *signer,
                          struct cm_detail *detail)
{
    char prefix[SNAPSHOT_NAME_SIZE];
    struct object_list names;
    uint64_t next = j->previous.sequence + 1;
    size_t i;
    int error;

    manifest_name(prefix, &j->manifest.mesh, signer, 1);
    strrchr(prefix, '/')[1] = '\0';
    error = object_store_list(&j->store, prefix, &names, detail);
    if (error != 0)
        return error;
    for (i = 0; i < names.count && error == 0; i++) {
        char name[SNAPSHOT_NAME_SIZE + 32];
        struct manifest m;
        uint64_t sequence;

        /* The one before, too: its segments are wanted. */
        if (!parse_sequence(&sequence, names.names[i]) || sequence + 1 < next)
            continue;
        next = sequence + 1;
        (void)snprintf(name, sizeof name, "%s%s", prefix, names.names[i]);
        error = snapshot_manifest_load(&j->store, name,
                                       j->manifest.authority_public_key,
                                       &j->back, &m, NULL);
        if (error == 0) {
            j->previous.sequence = sequence;
            j->previous.hash = manifest_hash(buffer_slice(&j->back));
            error = remember_segments(j, &m);
            manifest_release(&m);
        } else if (error != CM_ERR_NOMEM && error != CM_ERR_IO) {
            error = 0;
        } else {
            (void)cm_fail(detail, error, "cannot read %.120s: %s", name,
                          cm_strerror(error));
        }
    }
    object_list_release(&names);
    j->manifest.sequence = take_number(j, next);
    j->manifest.previous = j->previous.hash;
    return error;
}

static int read_manifest_back(struct snapshot_job *j, struct cm_detail *detail)
{
    struct cm_detail inner = {""};
    struct manifest m;
    int error = snapshot_manifest_load(&j->store, j->outcome.name,
                                       j->manifest.authority_public_key,
                                       &j->back, &m, &inner);

    if (error == 0) {
        if (!slice_equal(buffer_slice(&j->back), buffer_slice(&j->bytes)))
            error = cm_fail(&inner, CM_ERR_DAMAGED, "it has other bytes");
        manifest_release(&m);
    }
    if (error != 0)
        return cm_fail(detail, error,
                       "the manifest was put but does not read back: %.150s",
                       inner.text);
    return 0;
}

static int step_manifest(struct snapshot_job *j, struct cm_detail *detail)
{
    struct key_id signer = key_id_of(j->sign_secret_key + 32);
    struct manifest *m = &j->manifest;
    struct snapshot_outcome *o = &j->outcome;
    int error;

    m->segments = snapshot_upload_segments(j->upload);
    buffer_clear(&j->bytes);
    error = snapshot_writer_manifest(j->scan->writer, m, j->sign_secret_key,
                                     &j->bytes);
    if (error != 0)
        return cm_fail(detail, error, "cannot encode the manifest: %s",
                       cm_strerror(error));
    manifest_name(o->name, &m->mesh, &signer, m->sequence);
    error =
        object_store_put(&j->store, o->name, buffer_slice(&j->bytes), detail);
    if (error == 0)
        error = read_manifest_back(j, detail);
    if (error != 0)
        return error;
    o->sequence = m->sequence;
    o->manifest_hash = manifest_hash(buffer_slice(&j->bytes));
    o->created_ms = m->created_ms;
    o->entries = m->entry_count;
    o->sum = j->scan->sum;
    o->bytes += j->bytes.size;
    o->bytes_new += j->bytes.size;
    snapshot_upload_settled(j->upload);
    j->phase = PHASE_DONE;
    return SNAPSHOT_DONE;
}

static int step_chain(struct snapshot_job *j, struct cm_detail *detail)
{
    struct key_id signer = key_id_of(j->sign_secret_key + 32);
    int error;

    CHECK(j->scan->done);
    j->manifest = j->scan->manifest;
    j->manifest.sealed = buffer_slice(&j->sealed);
    if (j->numbers == NULL && j->scan->memory.sequence > j->previous.sequence)
        j->previous = j->scan->memory;
    error = continue_chain(j, &signer, detail);
    if (error == 0)
        error = snapshot_upload_create(
            &j->upload,
            &(struct snapshot_upload_config){
                .store = &j->store,
                .mesh = &j->manifest.mesh,
                .spool = &j->scan->spool,
                .segments = buffer_slice(&j->segments),
                .thorough = j->thorough,
                .log_path = j->log_path[0] != '\0' ? j->log_path : NULL},
            detail);
    atomic_store(&j->total, j->scan->spool.size);
    atomic_store(&j->uploading, true);
    j->phase = PHASE_UPLOAD;
    return error != 0 ? error : SNAPSHOT_MORE;
}

static int step_upload(struct snapshot_job *j, struct cm_detail *detail)
{
    const struct snapshot_upload_counts *counts;
    int error = snapshot_upload_step(j->upload, detail);

    counts = snapshot_upload_counts(j->upload);
    atomic_store(&j->store.sent, 0);
    atomic_store(&j->done, counts->bytes_done);
    atomic_store(&j->there, counts->bytes_there);
    if (error != SNAPSHOT_DONE)
        return error;
    j->outcome.chunks = j->scan->spool.count;
    j->outcome.chunks_new = counts->objects_new;
    j->outcome.packs = counts->packs;
    j->outcome.packs_new = counts->packs_new;
    j->outcome.bytes = j->scan->spool.size;
    j->outcome.bytes_new = counts->bytes_new;
    j->phase = PHASE_MANIFEST;
    return SNAPSHOT_MORE;
}

static int step(struct snapshot_job *j, struct cm_detail *detail)
{
    int error;

    switch (j->phase) {
    case PHASE_SCAN:
        error = snapshot_scan_step(&j->own, detail);
        if (error != SNAPSHOT_DONE)
            return error;
        j->phase = PHASE_CHAIN;
        return SNAPSHOT_MORE;
    case PHASE_CHAIN:
        return step_chain(j, detail);
    case PHASE_UPLOAD:
        return step_upload(j, detail);
    case PHASE_MANIFEST:
        return step_manifest(j, detail);
    case PHASE_DONE:
        break;
    }
    CHECK(!"a finished job is stepped");
    return CM_ERR_INVALID;
}

int snapshot_job_step(struct snapshot_job *j, struct cm_detail *detail)
{
    int error = step(j, detail);

    /* Here, where waiting is fine: for a connection or a command to end, for
     * the kernel to take the memory of packs and spool. */
    if (error == SNAPSHOT_DONE || error < 0) {
        object_store_close(&j->store);
        j->manifest.segments = slice_of(NULL, 0); /* the upload's */
        snapshot_upload_free(j->upload);
        j->upload = NULL;
        snapshot_scan_leave(j->scan);
    }
    return error;
}

void snapshot_job_stop(struct snapshot_job *j)
{
    object_store_stop(&j->store);
}

const struct snapshot_outcome *
snapshot_job_outcome(const struct snapshot_job *j)
{
    CHECK(j->phase == PHASE_DONE);
    return &j->outcome;
}

const struct vv *snapshot_job_vv(const struct snapshot_job *j)
{
    CHECK(j->phase == PHASE_DONE);
    return &j->scan->manifest.vv;
}
