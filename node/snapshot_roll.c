/* One listing, and two small objects of each of the first few: bounded however
 * many share the target. */
#include "node/snapshot_roll.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"

struct roll_job {
    struct object_store store;
    struct roll_config config; /* target is not kept */
    struct roll_candidate found[ROLL_CANDIDATES_MAX];
    size_t count;
    struct buffer bytes;
    int error;
    struct cm_detail detail;
};

int roll_job_create(struct roll_job **ret_job, const struct roll_config *config,
                    struct cm_detail *detail)
{
    struct roll_job *j = cm_calloc(1, sizeof *j);
    int error;

    CHECK(config->members != NULL && config->members_count > 0);
    if (j == NULL) {
        cm_free(config->members);
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    }
    j->store = (struct object_store)OBJECT_STORE_CLOSED;
    j->config = *config;
    j->config.target = NULL;
    buffer_init(&j->bytes, HEARTBEAT_SIZE_MAX);
    error =
        object_store_open(&j->store, config->target,
                          OBJECT_STORE_CREATE | OBJECT_STORE_MAY_EXEC, detail);
    if (error != 0) {
        roll_job_free(j);
        return error;
    }
    *ret_job = j;
    return 0;
}

void roll_job_free(struct roll_job *j)
{
    if (j == NULL)
        return;
    object_store_close(&j->store);
    buffer_release(&j->bytes);
    cm_free(j->config.members);
    sodium_memzero(j->config.sign_secret_key, sizeof j->config.sign_secret_key);
    cm_free(j);
}

static int announce(struct roll_job *j)
{
    struct key_id self = key_id_of(j->config.sign_secret_key + 32);
    struct announcement a = {.mesh = j->config.mesh,
                             .created_ms = j->config.wall_ms & HLC_WALL_MS_MAX,
                             .beat_ms = j->config.beat_ms};
    char name[SNAPSHOT_NAME_SIZE];
    int error;

    buffer_clear(&j->bytes);
    error = announcement_encode(&j->bytes, &a, j->config.sign_secret_key);
    if (error != 0)
        return cm_fail(&j->detail, error, "cannot encode an announcement: %s",
                       cm_strerror(error));
    announcement_name(name, &j->config.mesh, &self);
    return object_store_put(&j->store, name, buffer_slice(&j->bytes),
                            &j->detail);
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(a, *(char *const *)b);
}

/* What is missing or somebody else's makes no candidate; what cannot be read
 * makes the whole look fail. */
static int read_one(struct roll_job *j, const struct roll_member *m)
{
    struct roll_candidate *c = &j->found[j->count];
    struct cm_detail inner = {""};
    struct announcement a;
    char name[SNAPSHOT_NAME_SIZE];
    struct hash first;
    uint8_t both[2 * HASH_SIZE] = {0};
    int error;

    announcement_name(name, &j->config.mesh, &m->key);
    error = object_store_get(&j->store, name, &j->bytes, &inner);
    if (error == 0)
        error = announcement_decode(&a, buffer_slice(&j->bytes), m->sign_key,
                                    &inner);
    if (error == CM_ERR_NOMEM || (error == CM_ERR_IO)) {
        j->detail = inner;
        return error;
    }
    if (error != 0 || !mesh_id_equal(&a.mesh, &j->config.mesh)) {
        CM_MARK("snapshot: an announcement is somebody else's");
        return 0;
    }
    first = hash_of("confmesh evidence v1", buffer_slice(&j->bytes));
    memcpy(both, first.bytes, HASH_SIZE);
    heartbeat_name(name, &j->config.mesh, &m->key);
    error = object_store_get(&j->store, name, &j->bytes, &inner);
    if (error == 0) {
        first = hash_of("confmesh evidence v1", buffer_slice(&j->bytes));
        memcpy(both + HASH_SIZE, first.bytes, HASH_SIZE);
    }
    *c = (struct roll_candidate){
        .key = m->key,
        .created_ms = a.created_ms,
        .beat_ms = a.beat_ms,
        .evidence =
            hash_of("confmesh evidence v1", slice_of(both, sizeof both))};
    memcpy(c->name, m->name, sizeof c->name);
    j->count++;
    return 0;
}

static int look(struct roll_job *j)
{
    struct key_id self = key_id_of(j->config.sign_secret_key + 32);
    char prefix[SNAPSHOT_NAME_SIZE];
    struct object_list names;
    int error;

    announcement_name(prefix, &j->config.mesh, &self);
    strrchr(prefix, '/')[1] = '\0';
    error = object_store_list(&j->store, prefix, &names, &j->detail);
    if (error != 0)
        return error;
    for (size_t i = 0; i < j->config.members_count && error == 0 &&
                       j->count < ROLL_CANDIDATES_MAX;
         i++) {
        const struct roll_member *m = &j->config.members[i];
        char text[2 * KEY_ID_SIZE + 1];

        hex_encode(text, slice_of(m->key.bytes, KEY_ID_SIZE));
        /* A listing may lag behind what was put a moment ago. */
        if (key_id_equal(&m->key, &self) ||
            (names.count > 0 &&
             bsearch(text, names.names, names.count, sizeof *names.names,
                     compare_text) != NULL))
            error = read_one(j, m);
    }
    object_list_release(&names);
    return error;
}

bool roll_job_step(struct roll_job *j)
{
    j->error = j->config.announce ? announce(j) : 0;
    if (j->error == 0)
        j->error = look(j);
    object_store_close(&j->store);
    return false;
}

void roll_job_stop(struct roll_job *j)
{
    object_store_stop(&j->store);
}

int roll_job_error(const struct roll_job *j, struct cm_detail *detail)
{
    if (j->error != 0)
        *detail = j->detail;
    return j->error;
}

const struct roll_candidate *roll_job_candidates(const struct roll_job *j,
                                                 size_t *ret_count)
{
    CHECK(j->count <= ROLL_CANDIDATES_MAX);
    *ret_count = j->count;
    return j->found;
}
