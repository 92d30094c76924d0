/* Everything is checked as a restore would: a chain that a restore could not
 * follow to its end is not gone on with, a snapshot begins a new one. Listings
 * may lag behind: deltas are asked for by number until there is none. */
#include "node/snapshot_resume.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/snapshot_listing.h"

struct resume_job {
    struct object_store store;
    struct mesh_id mesh;
    struct generation_id generation;
    uint8_t authority_public_key[32];
    uint8_t sign_public_key[32];
    struct key_id signer;
    struct snapshot_keys keys;
    struct buffer sealed;
    struct snapshot_chain chain;
    uint64_t created_ms;
    uint64_t known_sequence;
    uint64_t last_listed; /* of the chain's deltas */
    size_t read_bytes;
    bool listed;
    struct buffer bytes;
    struct buffer content;
};

int resume_job_create(struct resume_job **ret_job,
                      const struct resume_config *config,
                      struct cm_detail *detail)
{
    struct resume_job *j = cm_calloc(1, sizeof *j);
    int error;

    if (j == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    j->store = (struct object_store)OBJECT_STORE_CLOSED;
    j->mesh = config->mesh;
    j->generation = config->generation;
    j->known_sequence = config->known_sequence;
    memcpy(j->authority_public_key, config->authority_public_key, 32);
    memcpy(j->sign_public_key, config->sign_public_key, 32);
    j->signer = key_id_of(config->sign_public_key);
    if (config->data_key != NULL)
        snapshot_keys_derive_encrypted(&j->keys, &j->mesh, config->data_key);
    else
        snapshot_keys_derive(&j->keys, &j->mesh);
    vv_init(&j->chain.vv);
    buffer_init(&j->sealed, MANIFEST_SEALED_MAX);
    buffer_init(&j->bytes, SNAPSHOT_MANIFEST_MAX);
    buffer_init(&j->content, SNAPSHOT_CHUNK_MAX);
    buffer_append_slice(&j->sealed, config->sealed);
    error = j->sealed.error;
    if (error != 0)
        (void)cm_fail(detail, error, "out of memory");
    else
        error = object_store_open(&j->store, config->target,
                                  OBJECT_STORE_CREATE | OBJECT_STORE_MAY_EXEC,
                                  detail);
    if (error != 0) {
        resume_job_free(j);
        return error;
    }
    *ret_job = j;
    return 0;
}

void resume_job_free(struct resume_job *j)
{
    if (j == NULL)
        return;
    object_store_close(&j->store);
    vv_release(&j->chain.vv);
    buffer_release(&j->sealed);
    buffer_release(&j->bytes);
    buffer_release(&j->content);
    sodium_memzero(&j->keys, sizeof j->keys);
    cm_free(j);
}

/* No chain: the caller's next snapshot begins one. */
static int give_up(struct resume_job *j)
{
    CM_MARK("snapshot: a chain at the target cannot be gone on with");
    snapshot_chain_release(&j->chain);
    return SNAPSHOT_DONE;
}

static bool passes(int error)
{
    return error == CM_ERR_NOMEM || error == CM_ERR_IO;
}

/* The greatest name below the signer's prefix, or the one that this node put
 * last, if it is greater; manifests are numbered with leading zeroes. To go on
 * behind an older one would hide the deltas from a restore. */
static int newest_manifest(struct resume_job *j,
                           char ret_name[SNAPSHOT_NAME_SIZE],
                           struct cm_detail *detail)
{
    char known[SNAPSHOT_NAME_SIZE];
    struct object_list names;
    int error;

    manifest_name(ret_name, &j->mesh, &j->signer, 1);
    manifest_name(known, &j->mesh, &j->signer, j->known_sequence);
    strrchr(ret_name, '/')[1] = '\0';
    error = object_store_list(&j->store, ret_name, &names, detail);
    if (error != 0)
        return error;
    if (names.count == 0) {
        ret_name[0] = '\0';
    } else {
        size_t size = strlen(ret_name);

        (void)snprintf(ret_name + size, SNAPSHOT_NAME_SIZE - size, "%s",
                       names.names[names.count - 1]);
    }
    object_list_release(&names);
    if (j->known_sequence > 0 && strcmp(known, ret_name) > 0)
        memcpy(ret_name, known, sizeof known);
    return 0;
}

static int load_manifest(struct resume_job *j, struct cm_detail *detail)
{
    struct cm_detail inner = {""};
    char name[SNAPSHOT_NAME_SIZE];
    struct manifest m;
    int error = newest_manifest(j, name, detail);

    if (error != 0)
        return error;
    if (name[0] == '\0')
        return give_up(j);
    error = snapshot_manifest_load(&j->store, name, j->authority_public_key,
                                   &j->bytes, &m, &inner);
    if (passes(error)) {
        if (detail != NULL)
            *detail = inner;
        return error;
    }
    if (error != 0)
        return give_up(j);
    if (slice_equal(m.sealed, buffer_slice(&j->sealed)) &&
        generation_id_equal(&m.generation, &j->generation)) {
        j->chain.base_sequence = m.sequence;
        j->chain.base = manifest_hash(buffer_slice(&j->bytes));
        j->created_ms = m.created_ms;
        error = vv_copy(&j->chain.vv, &m.vv);
    }
    manifest_release(&m);
    if (error != 0)
        return cm_fail(detail, error, "out of memory");
    return j->chain.base_sequence == 0 ? give_up(j) : SNAPSHOT_MORE;
}

/* Which of them there have to be, at least. */
static int list_deltas(struct resume_job *j, struct cm_detail *detail)
{
    char prefix[SNAPSHOT_NAME_SIZE];
    struct object_list names;
    int error;

    delta_name(prefix, &j->mesh, &j->signer, j->chain.base_sequence, 1);
    strrchr(prefix, '/')[1] = '\0';
    error = object_store_list(&j->store, prefix, &names, detail);
    if (error != 0)
        return error;
    for (size_t i = 0; i < names.count; i++) {
        uint64_t sequence;
        uint64_t number;

        if (delta_name_parse(&sequence, &number, names.names[i]) &&
            sequence == j->chain.base_sequence && number > j->last_listed)
            j->last_listed = number;
    }
    object_list_release(&names);
    j->listed = true;
    return j->last_listed > RESUME_DELTAS_MAX ? give_up(j) : SNAPSHOT_MORE;
}

static int cover_events(struct resume_job *j)
{
    static const struct hash unknown;
    struct slice content = buffer_slice(&j->content);
    struct slice bytes;
    size_t at = 0;
    int error = 0;

    while (error == 0 && delta_next_event(content, &at, &bytes)) {
        struct event e;

        error = event_decode(&e, bytes);
        if (error != 0)
            break;
        if (e.dot.seq > vv_seq(&j->chain.vv, &e.dot.incarnation))
            error =
                vv_set(&j->chain.vv, &e.dot.incarnation, e.dot.seq, &unknown);
        event_release(&e);
    }
    return error;
}

static int read_delta(struct resume_job *j, struct cm_detail *detail)
{
    struct snapshot_chain *c = &j->chain;
    struct cm_detail inner = {""};
    char name[SNAPSHOT_NAME_SIZE];
    struct delta d;
    int error;

    delta_name(name, &j->mesh, &j->signer, c->base_sequence, c->number + 1);
    error = object_store_get(&j->store, name, &j->bytes, &inner);
    if (error == CM_ERR_NOT_FOUND && c->number >= j->last_listed) {
        CM_MARK("snapshot: a process goes on with the chain at the target");
        return SNAPSHOT_DONE;
    }
    if (passes(error)) {
        if (detail != NULL)
            *detail = inner;
        return error;
    }
    if (error == 0)
        error = delta_decode(&d, buffer_slice(&j->bytes), j->sign_public_key,
                             &inner);
    if (error == 0 &&
        (d.number != c->number + 1 || d.base_sequence != c->base_sequence ||
         !hash_equal(&d.base, &c->base) ||
         !hash_equal(&d.previous, c->number > 0 ? &c->last : &c->base)))
        error = CM_ERR_DAMAGED;
    if (error == 0)
        error = delta_events(&j->content, &d, &j->keys, &inner);
    if (error == 0)
        error = cover_events(j);
    if (error == CM_ERR_NOMEM)
        return cm_fail(detail, error, "out of memory");
    j->read_bytes += j->bytes.size;
    if (error != 0 || j->read_bytes > RESUME_BYTES_MAX ||
        c->number == RESUME_DELTAS_MAX)
        return give_up(j);
    c->number++;
    c->last = delta_hash(buffer_slice(&j->bytes));
    return SNAPSHOT_MORE;
}

static int step(struct resume_job *j, struct cm_detail *detail)
{
    if (j->chain.base_sequence == 0)
        return load_manifest(j, detail);
    if (!j->listed)
        return list_deltas(j, detail);
    return read_delta(j, detail);
}

int resume_job_step(struct resume_job *j, struct cm_detail *detail)
{
    int error = step(j, detail);

    CHECK(error <= SNAPSHOT_MORE);
    if (error == SNAPSHOT_DONE || error < 0)
        object_store_close(&j->store);
    return error;
}

void resume_job_stop(struct resume_job *j)
{
    object_store_stop(&j->store);
}

const struct snapshot_chain *resume_job_chain(const struct resume_job *j)
{
    return &j->chain;
}

uint64_t resume_job_created_ms(const struct resume_job *j)
{
    return j->created_ms;
}
