/* A mesh from its snapshots and deltas: see restore.h. */
#include "sim/restore.h"

#include <stdarg.h>
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "crdt/certificate.h"
#include "crdt/generation.h"
#include "node/restore/restore_gather.h"
#include "sim/entropy.h"
#include "sim/memory.h"

struct sim_restore {
    struct restore restore; /* confmesh-restore's */
    struct restore_options options;
    char target[SIM_HOST_PATH_MAX];
    char scratch[SIM_HOST_PATH_MAX + 16];
};

bool sim_restore_is_damaged(const struct sim_world *w)
{
    const uint64_t *counts = w->faults.counts;

    return counts[SIM_DEED_OBJECTS_LOSE] + counts[SIM_DEED_OBJECTS_FLIP] > 0;
}

/* Nor has anybody else to hold what the operator did not have. */
static bool is_excused(const struct sim_world *w, const struct sim_restore *r)
{
    return r->options.at_ms > 0 || sim_restore_is_damaged(w);
}

/* ---- what the program around it does for confmesh-restore ---- */

void restore_note(const char *format, ...)
{
    (void)format; /* nobody reads along */
}

int restore_fail(struct restore *r, int code, const char *format, ...)
{
    va_list args;

    CHECK(code != RESTORE_OK);
    va_start(args, format);
    (void)vsnprintf(r->error, sizeof r->error, format, args);
    va_end(args);
    return code;
}

void restore_progress(const char *what, uint64_t done, uint64_t total)
{
    (void)what, (void)done, (void)total;
}

int restore_exit_of(int error)
{
    return error == CM_ERR_NOMEM ? RESTORE_TRANSPORT : RESTORE_INTEGRITY;
}

void restore_place(char ret_path[PATH_MAX], const struct restore *r)
{
    (void)snprintf(ret_path, PATH_MAX, "%s", r->o->data);
}

int restore_unlock(void *context, const struct manifest *m,
                   struct snapshot_keys *ret_keys, struct cm_detail *detail)
{
    (void)context, (void)ret_keys;
    return m->sealed.size == 0
               ? 0
               : cm_fail(detail, CM_ERR_AUTHORITY, "it is encrypted");
}

/* ---- gathering ---- */

int sim_restore_gather(struct sim_restore **ret_restore, struct sim_world *w,
                       uint64_t age_ms, struct cm_detail *detail)
{
    uint64_t now_ms = sim_host_wall_ms(w->hosts[0]);
    struct sim_restore *r = sim_calloc(1, sizeof *r);

    sim_objects_enter(NULL); /* it would be started again until it answers */
    sim_world_target(w, r->target);
    (void)snprintf(r->scratch, sizeof r->scratch, "%s/restore", w->directory);
    r->options.targets[0].url = r->target;
    r->options.targets_count = 1;
    r->options.one_thread = true;
    r->options.data = r->scratch;
    if (age_ms > 0 && age_ms < now_ms)
        r->options.at_ms = now_ms - age_ms;
    r->options.authority = "the authority's file";
    r->restore.o = &r->options;
    r->restore.stores[0].dir.fd = -1; /* not open yet */
    r->restore.authority = w->authority;
    r->restore.has_authority = true;
    buffer_init(&r->restore.manifest_bytes, SNAPSHOT_MANIFEST_MAX);
    int code = restore_choose(&r->restore);
    bool any = r->restore.has_manifest;
    if (code == RESTORE_OK)
        code = restore_gather(&r->restore);
    if (code == RESTORE_OK) {
        *ret_restore = r;
        return 0;
    }
    (void)cm_fail(detail, CM_ERR_DAMAGED, "%s", r->restore.error);
    int error =
        any || code == RESTORE_TRUST ? CM_ERR_DAMAGED : CM_ERR_NOT_FOUND;
    sim_restore_free(r);
    return error;
}

void sim_restore_free(struct sim_restore *r)
{
    if (r == NULL)
        return;
    restore_sources_release(&r->restore);
    if (r->restore.has_manifest)
        manifest_release(&r->restore.manifest);
    for (size_t i = 0; i < r->options.targets_count; i++)
        object_store_close(&r->restore.stores[i]);
    snapshot_listing_release(&r->restore.listing);
    buffer_release(&r->restore.manifest_bytes);
    sim_free(r);
}

/* ---- founding ---- */

/* One generation later, everything that is restored sealed at what it holds, so
 * that whoever survived cannot go on beside it. */
static int make_order(struct sim_world *w, const struct restore *r,
                      const struct store_identity *identity, struct buffer *out)
{
    struct generation_order order = {
        .mesh = mesh_id_of(w->authority.public_key),
        .number = r->manifest.generation.number + 1,
        .founder = identity->incarnation,
        .founder_certificate = identity->certificate,
        .created_ms = sim_host_wall_ms(w->hosts[0]),
        .founder_level = LEVEL_LAST,
        .sealed = *restore_vv(r), /* borrowed */
    };

    memcpy(order.previous, r->manifest.generation.hash, sizeof order.previous);
    return generation_order_encode(out, &order, w->authority.secret_key);
}

static int next(void *context, struct entry_id *ret_id,
                const struct entry **ret_entry)
{
    sim_objects_enter(NULL);
    return restore_walk_next(context, ret_id, ret_entry);
}

static int fill(struct sim_world *w, struct restore *r,
                const struct store_identity *identity, struct cm_detail *detail)
{
    struct replacement state = {
        .vv = restore_vv(r),
        .hlc_max = restore_hlc(r),
        .any_clock = true,
        .generation_order = identity->generation_order,
        .next = next,
        .context = r,
        .state_digest = restore_known_digest(r),
        .digest = restore_known_sum(r),
    };

    sim_objects_enter(NULL);
    int error = restore_walk_begin(r, detail);
    return error != 0
               ? error
               : sim_host_initialise(w->hosts[0], identity, &state, detail);
}

int sim_restore_found(struct sim_world *w, struct sim_restore *r,
                      struct cm_detail *detail)
{
    struct store_identity identity = {.host = slice_of_string("another host")};
    const struct vv *vv = restore_vv(&r->restore);
    struct random_stream stream;
    struct buffer certificate;
    struct buffer order;

    CHECK(!sim_host_is_up(w->hosts[0]));
    /* New machines are given the newest program. */
    for (unsigned h = 0; h < w->options.hosts; h++)
        sim_host_set_level(w->hosts[h], LEVEL_LAST);
    CM_MARK("restore: a lost mesh began again");
    CM_MARK_IF(r->restore.deltas > 0, "restore: deltas behind the snapshot");
    CM_MARK_IF(r->restore.sources_count > 1, "restore: snapshots were joined");
    sim_entropy_stream(&stream, w->options.seed, "sim restore", w->restores++);
    random_bytes_draw(&stream, identity.incarnation.bytes, INCARNATION_SIZE);
    buffer_init(&certificate, CERTIFICATE_SIZE_MAX);
    buffer_init(&order, GENERATION_ORDER_SIZE_MAX);
    sim_world_founder_certificate(w, &certificate);
    identity.certificate = buffer_slice(&certificate);
    memcpy(identity.authority_public_key, w->authority.public_key,
           sizeof identity.authority_public_key);
    int error = make_order(w, &r->restore, &identity, &order);
    identity.generation_order = buffer_slice(&order);
    if (error == 0)
        error = fill(w, &r->restore, &identity, detail);
    if (error == 0)
        sim_check_on_restore(w->check, 0, &identity.incarnation, vv,
                             is_excused(w, r));
    buffer_release(&certificate);
    buffer_release(&order);
    return error;
}
