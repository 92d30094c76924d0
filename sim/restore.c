/* A mesh from its newest snapshot: see restore.h. */
#include "sim/restore.h"

#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "crdt/certificate.h"
#include "crdt/generation.h"
#include "node/snapshot_listing.h"
#include "node/snapshot_packs.h"
#include "node/snapshot_pull.h"
#include "sim/entropy.h"

bool sim_restore_is_damaged(const struct sim_world *w)
{
    const uint64_t *counts = w->faults.counts;

    return counts[SIM_DEED_OBJECTS_LOSE] + counts[SIM_DEED_OBJECTS_FLIP] > 0;
}

static int choose_from(const struct snapshot_listing *l, struct object_store *d,
                       const struct sim_world *w, struct buffer *bytes,
                       struct manifest *ret_manifest)
{
    struct cm_detail detail = {""};

    for (size_t i = 0; i < l->count; i++) {
        int error = l->items[i].error;

        if (error == 0)
            error = snapshot_manifest_load(d, l->items[i].name,
                                           w->authority.public_key, bytes,
                                           ret_manifest, &detail);
        if (error != 0)
            continue;
        if (snapshot_objects_verify(d, ret_manifest, NULL, NULL, NULL,
                                    &detail) == 0)
            return 0;
        manifest_release(ret_manifest);
    }
    return CM_ERR_NOT_FOUND;
}

int sim_restore_choose(const struct sim_world *w, struct buffer *bytes,
                       struct manifest *ret_manifest)
{
    char target[SIM_HOST_PATH_MAX];
    struct cm_detail detail = {""};
    struct snapshot_listing listing;
    struct object_store d;

    sim_world_target(w, target);
    if (snapshot_list(&listing, target, w->authority.public_key, &detail) != 0)
        return CM_ERR_NOT_FOUND;
    int error = object_store_open(&d, target, 0, &detail);
    if (error == 0) {
        error = choose_from(&listing, &d, w, bytes, ret_manifest);
        object_store_close(&d);
    }
    snapshot_listing_release(&listing);
    return error;
}

/* One generation later, everything that the snapshot knows of sealed at what
 * it knows, so that whoever survived cannot go on beside it. */
static int make_order(struct sim_world *w, const struct manifest *m,
                      const struct store_identity *identity, struct buffer *out)
{
    struct generation_order order = {
        .mesh = mesh_id_of(w->authority.public_key),
        .number = m->generation.number + 1,
        .founder = identity->incarnation,
        .founder_certificate = identity->certificate,
        .created_ms = sim_host_wall_ms(w->hosts[0]),
        .founder_level = LEVEL_LAST,
        .sealed = m->vv, /* borrowed */
    };

    memcpy(order.previous, m->generation.hash, sizeof order.previous);
    return generation_order_encode(out, &order, w->authority.secret_key);
}

/* The tool would be started again until the store answers as it should. */
static int get(void *packs, const char *name, struct buffer *ret_bytes,
               struct cm_detail *detail)
{
    sim_objects_enter(NULL);
    return snapshot_packs_get(packs, name, ret_bytes, detail);
}

static int fill(struct sim_world *w, const struct manifest *m,
                const struct store_identity *identity, struct cm_detail *detail)
{
    char target[SIM_HOST_PATH_MAX];
    struct snapshot_packs packs;
    struct snapshot_pull pull;
    struct object_store d;
    struct replacement state = {
        .vv = &m->vv,
        .hlc_max = m->hlc_max,
        .any_clock = true,
        .generation_order = identity->generation_order,
        .next = snapshot_pull_next,
        .context = &pull,
        .state_digest = &m->state_digest,
    };

    sim_world_target(w, target);
    int error = object_store_open(&d, target, 0, detail);
    if (error != 0)
        return error;
    error = snapshot_packs_open(&packs, &d, m, detail);
    if (error != 0) {
        object_store_close(&d);
        return error;
    }
    error = snapshot_pull_begin(&pull, m, NULL, get, &packs);
    if (error == 0) {
        error = sim_host_initialise(w->hosts[0], identity, &state, detail);
        snapshot_pull_release(&pull);
    }
    snapshot_packs_close(&packs);
    object_store_close(&d);
    return error;
}

int sim_restore_found(struct sim_world *w, const struct manifest *m,
                      struct cm_detail *detail)
{
    struct store_identity identity = {.host = slice_of_string("another host")};
    struct random_stream stream;
    struct buffer certificate;
    struct buffer order;

    CHECK(!sim_host_is_up(w->hosts[0]));
    /* New machines are given the newest program. */
    for (unsigned h = 0; h < w->options.hosts; h++)
        sim_host_set_level(w->hosts[h], LEVEL_LAST);
    CM_MARK("restore: a lost mesh began again");
    sim_entropy_stream(&stream, w->options.seed, "sim restore", w->restores++);
    random_bytes_draw(&stream, identity.incarnation.bytes, INCARNATION_SIZE);
    buffer_init(&certificate, CERTIFICATE_SIZE_MAX);
    buffer_init(&order, GENERATION_ORDER_SIZE_MAX);
    sim_world_founder_certificate(w, &certificate);
    identity.certificate = buffer_slice(&certificate);
    memcpy(identity.authority_public_key, w->authority.public_key,
           sizeof identity.authority_public_key);
    int error = make_order(w, m, &identity, &order);
    identity.generation_order = buffer_slice(&order);
    if (error == 0)
        error = fill(w, m, &identity, detail);
    if (error == 0)
        sim_check_on_restore(w->check, 0, &identity.incarnation, &m->vv,
                             sim_restore_is_damaged(w));
    buffer_release(&certificate);
    buffer_release(&order);
    return error;
}
