/* Snapshots: every one that is listed must verify, be causally closed, and
 * hold just what the model says of its version vector. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/snapshot_listing.h"
#include "node/snapshot_packs.h"
#include "node/snapshot_pull.h"
#include "sim/check_internal.h"

/* A manifest's vector, in the model's terms. */
struct cut {
    struct sim_check *c;
    const char *name;
    uint64_t *seqs;                /* owned */
    struct sim_model_state *state; /* owned */
    struct sim_model_view view;
};

static void report(const struct cut *cut, const char *what)
{
    sim_check_report(cut->c, SIM_CHECK_SNAPSHOT, SIM_CHECK_ALL_HOSTS, "%s: %s",
                     cut->name, what);
}

/* Every event below the vector is known, and so is what it depends on. */
static bool is_closed(const struct cut *cut)
{
    const struct sim_model *m = cut->c->model;

    for (uint32_t a = 0; a < cut->view.count; a++) {
        for (uint64_t seq = 1; seq <= cut->seqs[a]; seq++) {
            const struct sim_model_event *e = sim_model_find(m, a, seq);
            if (e == NULL || e->tentative)
                return false;
            for (size_t i = 0; i < e->decoded.deps_count; i++) {
                if (cut->seqs[e->deps[i]] < e->decoded.deps[i].seq)
                    return false;
            }
        }
    }
    return true;
}

static bool take_vector(struct cut *cut, const struct vv *vv)
{
    struct sim_model *m = cut->c->model;
    size_t count;

    for (size_t i = 0; i < vv->count; i++)
        (void)sim_model_actor(m, &vv->entries[i].incarnation);
    count = sim_model_actors(m);
    cut->seqs = cm_calloc(count + 1, sizeof *cut->seqs);
    CHECK(cut->seqs != NULL);
    for (size_t i = 0; i < vv->count; i++) {
        uint32_t actor = sim_model_actor(m, &vv->entries[i].incarnation);
        const struct sim_model_event *e =
            sim_model_find(m, actor, vv->entries[i].seq);

        cut->seqs[actor] = vv->entries[i].seq;
        if (e == NULL || !hash_equal(&e->hash, &vv->entries[i].head))
            return false;
    }
    cut->state = sim_model_state_create(m);
    sim_model_state_replay(cut->state, cut->seqs, count, 0);
    cut->view = sim_model_state_view(cut->state);
    return true;
}

static bool is_entry(const struct cut *cut, const struct entry_id *id,
                     const struct entry *e)
{
    const struct sim_model_op *const *ops = NULL;
    size_t count = sim_model_standing(cut->c->model, &cut->view,
                                      sim_model_entry(cut->c->model, id), &ops);
    bool same = count == e->count;

    if (id->space > SPACE_CLIENT_LAST)
        return true; /* how many there are is looked at */
    for (size_t i = 0; i < count && same; i++) {
        struct sibling s = sim_model_sibling(ops[i]);
        const struct sibling *f = &e->siblings[i];

        same = s.kind == f->kind && dot_equal(&s.dot, &f->dot) &&
               s.hlc == f->hlc && s.flags == f->flags &&
               s.expires == f->expires && slice_equal(s.author, f->author) &&
               slice_equal(s.value, f->value);
    }
    return same;
}

/* The objects, which must all be there, and the entries that they hold. */
static bool check_entries(const struct cut *cut, struct object_store *d,
                          const struct manifest *m, bool damaged)
{
    const struct entry *entry = NULL;
    struct snapshot_pull pull;
    struct entry_id id;
    struct digest digest;
    size_t expected = 0;
    size_t count = 0;
    bool same = true;
    struct snapshot_packs packs;
    struct cm_detail detail = {""};
    int error = snapshot_packs_open(&packs, d, m, &detail);

    if (error != 0) {
        if (!damaged)
            report(cut, detail.text);
        return false;
    }
    error = snapshot_pull_begin(&pull, m, NULL, snapshot_packs_get, &packs);
    CHECK(error == 0);
    while ((error = snapshot_pull_next(&pull, &id, &entry)) == 0) {
        same = same && is_entry(cut, &id, entry);
        count++;
    }
    if (error != CM_ERR_NOT_FOUND && !damaged)
        report(cut, pull.detail.text);
    snapshot_pull_release(&pull);
    snapshot_packs_close(&packs);
    if (error != CM_ERR_NOT_FOUND)
        return false;
    sim_model_fold(cut->c->model, &cut->view, &digest, &expected);
    expected += sim_model_state_controls(cut->state);
    if (!same || count != expected) {
        report(cut, "it does not hold the model's state at its vector");
        return false;
    }
    return true;
}

static bool check_manifest(struct sim_check *c, struct object_store *d,
                           const char *name, bool damaged)
{
    struct cut cut = {.c = c, .name = name};
    struct cm_detail detail = {""};
    struct buffer bytes;
    struct manifest m;
    bool good = false;
    int error;

    buffer_init(&bytes, SNAPSHOT_MANIFEST_MAX);
    error = snapshot_manifest_load(d, name, c->options.authority_public_key,
                                   &bytes, &m, &detail);
    if (error != 0) {
        if (!damaged)
            report(&cut, detail.text);
        buffer_release(&bytes);
        return false;
    }
    if (!take_vector(&cut, &m.vv))
        report(&cut, "its vector names events that were never committed");
    else if (!is_closed(&cut))
        report(&cut, "its vector is not causally closed");
    else
        good = check_entries(&cut, d, &m, damaged);
    cm_free(cut.seqs);
    sim_model_state_free(cut.state);
    manifest_release(&m);
    buffer_release(&bytes);
    return good;
}

/* ---- what was acknowledged, and what is restored ---- */

void sim_check_on_snapshot(struct sim_check *c, unsigned host,
                           const char *target, const char *name)
{
    struct cm_detail detail = {""};
    struct buffer bytes;
    struct object_store d;
    struct manifest m;

    if (c == NULL)
        return;
    CHECK(host < c->options.hosts_count);
    buffer_init(&bytes, SNAPSHOT_MANIFEST_MAX);
    int error = object_store_open(&d, target, 0, &detail);
    CHECK(error == 0);
    error = snapshot_manifest_load(&d, name, c->options.authority_public_key,
                                   &bytes, &m, &detail);
    if (error == 0) {
        size_t count = c->snapshots_count + 1;
        c->snapshots = cm_realloc(c->snapshots, count * sizeof *c->snapshots);
        CHECK(c->snapshots != NULL);
        struct check_snapshot *s = &c->snapshots[c->snapshots_count++];
        (void)snprintf(s->name, sizeof s->name, "%s", name);
        vv_init(&s->vv);
        CHECK(vv_copy(&s->vv, &m.vv) == 0);
        s->generation = sim_model_generation_of(c->model, &m.generation);
        manifest_release(&m);
    }
    object_store_close(&d);
    buffer_release(&bytes);
}

void sim_check_on_prune(struct sim_check *c, const char *name)
{
    size_t kept = 0;

    for (size_t i = 0; c != NULL && i < c->snapshots_count; i++) {
        if (strcmp(c->snapshots[i].name, name) == 0)
            vv_release(&c->snapshots[i].vv);
        else
            c->snapshots[kept++] = c->snapshots[i];
    }
    if (c != NULL)
        c->snapshots_count = kept;
}

void check_snapshots_free(struct sim_check *c)
{
    for (size_t i = 0; i < c->snapshots_count; i++)
        vv_release(&c->snapshots[i].vv);
    cm_free(c->snapshots);
}

/* What vv lacks is gone with the machines. */
static void lose(struct sim_check *c, const struct vv *vv)
{
    for (uint32_t a = 0; a < sim_model_actors(c->model); a++) {
        uint64_t kept = vv_seq(vv, sim_model_incarnation(c->model, a));

        for (uint64_t seq = kept + 1; seq <= sim_model_seq(c->model, a);
             seq++) {
            struct sim_model_event *e = sim_model_find(c->model, a, seq);
            c->counters.lost += e->acknowledged;
            e->acknowledged = false;
            e->lost = true;
        }
    }
}

void sim_check_on_restore(struct sim_check *c, unsigned host,
                          const struct incarnation *incarnation,
                          const struct vv *vv, bool damaged)
{
    if (c == NULL || c->options.blind || c->forked)
        return;
    struct check_host *h = &c->hosts[host];
    uint32_t actor = sim_model_actor(c->model, incarnation);

    CHECK(host < c->options.hosts_count && h->fresh && !h->up);
    c->counters.restores++;
    check_evaluated(c, SIM_CHECK_RESTORE);
    if (sim_model_seq(c->model, actor) > 0 || vv_find(vv, incarnation) != NULL)
        sim_check_report(c, SIM_CHECK_RESTORE, host,
                         "goes on as an incarnation that has events already");
    for (size_t i = 0; i < c->snapshots_count && !damaged; i++) {
        const struct check_snapshot *s = &c->snapshots[i];
        bool newest = s->generation == sim_model_generations(c->model);

        if (newest ? !vv_dominates(vv, &s->vv)
                   : vv_dominates(&s->vv, vv) && !vv_equal(&s->vv, vv))
            sim_check_report(c, SIM_CHECK_RESTORE, host,
                             "%s was acknowledged and holds more than what "
                             "was restored",
                             s->name);
    }
    check_cover_restored(c, vv, damaged);
    lose(c, vv);
    sim_model_found(c->model, actor, vv);
    h->restored = true;
    vv_release(&h->restored_vv);
    CHECK(vv_copy(&h->restored_vv, vv) == 0);
}

void check_restored(struct sim_check *c, struct check_host *h,
                    const struct vv *vv)
{
    check_evaluated(c, SIM_CHECK_RESTORE);
    if (!vv_equal(&h->restored_vv, vv))
        sim_check_report(c, SIM_CHECK_RESTORE, h->number,
                         "begins with another vector than its snapshot's");
    h->restored = false;
}

static void check_listed(const struct sim_check *c, const struct cut *none,
                         const struct snapshot_listing *l)
{
    for (size_t i = 0; i < c->snapshots_count; i++) {
        struct cut missing = {.c = none->c, .name = c->snapshots[i].name};
        bool listed = false;

        for (size_t j = 0; j < l->count && !listed; j++)
            listed = l->items[j].error == 0 &&
                     strcmp(l->items[j].name, missing.name) == 0;
        if (!listed)
            report(&missing, "it was acknowledged and is not listed");
    }
}

unsigned sim_check_snapshot(struct sim_check *c, const char *target,
                            bool damaged)
{
    struct cut none = {.c = c, .name = "listing"};
    struct snapshot_listing listing;
    struct cm_detail detail = {""};
    struct object_store d;
    unsigned good = 0;
    if (c->forked)
        return 0;
    int error = snapshot_list(&listing, target, c->options.authority_public_key,
                              &detail);

    if (error == CM_ERR_NOT_FOUND)
        return 0;
    if (error == 0)
        error = object_store_open(&d, target, 0, &detail);
    if (error != 0) {
        if (!damaged)
            report(&none, detail.text);
        return 0;
    }
    if (!damaged)
        check_listed(c, &none, &listing);
    for (size_t i = 0; i < listing.count; i++) {
        const struct snapshot_listed *l = &listing.items[i];

        check_evaluated(c, SIM_CHECK_SNAPSHOT);
        none.name = l->name;
        if (l->error == 0)
            good += check_manifest(c, &d, l->name, damaged);
        else if (!damaged)
            report(&none, l->verdict);
    }
    c->counters.snapshots += good;
    object_store_close(&d);
    snapshot_listing_release(&listing);
    return good;
}
