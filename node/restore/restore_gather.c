/* All that the targets hold of the lost mesh's last generation, as one state.
 *
 * The chosen snapshot comes first. Every other whole one of its generation that
 * knows writes which those before lack (its signer was cut off, or goes on
 * where the first one's died), in itself or in the deltas behind it, is joined
 * to it, entry by entry (crdt/join.h). The order of joining does not matter.
 * Where it was asked for, those of other generations are kept apart: what they
 * hold beyond all that is written anew (restore_build.c). */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/join.h"
#include "node/restore/restore_gather.h"

#define TOLD_MAX 8 /* of one kind */

static void on_lost(void *context, const char *name, const char *what)
{
    struct restore *r = context;

    if (r->lost++ < TOLD_MAX)
        restore_note("not used: %s: %s", name, what);
}

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    restore_progress("checking chunks", done, total);
}

/* ---- sources ---- */

static void source_free(struct restore_source *s)
{
    snapshot_state_close(s->state);
    vv_release(&s->joined);
    cm_free(s);
}

void restore_sources_release(struct restore *r)
{
    size_t i;

    for (i = 0; i < r->sources_count; i++)
        source_free(r->sources[i]);
    for (i = 0; i < r->others_count; i++)
        source_free(r->others[i]);
    r->sources_count = 0;
    r->others_count = 0;
    entry_release(&r->joined_entry);
}

static const struct vv *vv_of(const struct restore_source *s)
{
    return snapshot_state_vv(s->state);
}

/* Into s->joined: what it and all before it cover. */
static int join_vector(struct restore *r, struct restore_source *s)
{
    const struct vv *before = restore_seen(r);
    int error = before == NULL ? vv_copy(&s->joined, vv_of(s))
                               : vv_join(&s->joined, before, vv_of(s));

    if (error == CM_ERR_FORK)
        return restore_fail(r, RESTORE_INTEGRITY,
                            "two snapshots hold different events under one "
                            "name: one of %s and %s is of a node that was "
                            "cloned; move it away",
                            r->sources[0]->state->manifest.signer_name,
                            s->state->manifest.signer_name);
    return error == 0 ? RESTORE_OK
                      : restore_fail(r, RESTORE_TRANSPORT, "out of memory");
}

const struct vv *restore_seen(const struct restore *r)
{
    return r->others_count > 0    ? &r->others[r->others_count - 1]->joined
           : r->sources_count > 0 ? &r->sources[r->sources_count - 1]->joined
                                  : NULL;
}

static bool is_other(const struct restore *r, const struct snapshot_listed *l)
{
    return !generation_id_equal(&l->generation, &r->manifest.generation);
}

/* A source that is open goes to its place. */
static int keep(struct restore *r, struct restore_source *s, bool other)
{
    size_t *count = other ? &r->others_count : &r->sources_count;
    int code;

    if (*count == RESTORE_SOURCES_MAX)
        code = restore_fail(r, RESTORE_TRANSPORT,
                            "more than %d snapshots hold writes of their own",
                            RESTORE_SOURCES_MAX);
    else
        code = join_vector(r, s);
    if (code != RESTORE_OK) {
        source_free(s);
        return code;
    }
    (other ? r->others : r->sources)[(*count)++] = s;
    r->deltas += s->state->deltas;
    r->events += s->state->events;
    if (r->sources_count > 1 || other)
        restore_note("joined: %s holds writes that the others lack",
                     s->state->manifest.signer_name);
    return RESTORE_OK;
}

/* One listed snapshot with its deltas, unless the others cover it. */
static int take(struct restore *r, size_t at)
{
    struct snapshot_listed *l = &r->listing.items[at];
    char path[PATH_MAX];
    struct cm_detail detail = {""};
    struct snapshot_state_config c = {
        .store = restore_store(r, l),
        .name = l->name,
        .authority = l->authority_public_key,
        .scratch = path,
        .hlc_limit = r->hlc_limit,
        .covered = restore_seen(r),
        .verified = l == r->chosen,
        .sum = &r->sum,
        .settled = snapshot_listing_is_settled(&r->listing, at),
        .unlock = restore_unlock,
        .lost = on_lost,
        .progress = on_progress,
        .context = r,
    };
    struct restore_source *s = cm_calloc(1, sizeof *s);
    int error;

    if (s == NULL)
        return restore_fail(r, RESTORE_TRANSPORT, "out of memory");
    vv_init(&s->joined);
    restore_place(path, r);
    c.newest = !c.settled && r->o->at_ms == 0 && r->o->sequence == 0 &&
               r->o->targets[l->target].name == NULL;
    error = snapshot_state_open(&s->state, &c, &detail);
    l->looked = error == 0;
    if (error == 0 && !s->state->covered)
        return keep(r, s, is_other(r, l));
    source_free(s);
    if (error == 0)
        return RESTORE_OK;
    if (snapshot_state_is_fatal(c.store, error))
        return restore_fail(r, RESTORE_TRANSPORT, "%s: %s", l->name,
                            detail.text);
    restore_note("damaged: %s: %s", l->name, detail.text);
    r->damaged++;
    return RESTORE_OK;
}

int restore_gather(struct restore *r)
{
    size_t chosen = (size_t)(r->chosen - r->listing.items);
    int code;
    int pass;
    size_t i;

    CHECK(chosen < r->listing.count);
    r->hlc_limit =
        r->o->at_ms > 0 ? hlc_make(r->o->at_ms, UINT16_MAX) : UINT64_MAX;
    code = take(r, chosen);
    if (code == RESTORE_OK && r->sources_count == 0)
        return restore_fail(r, RESTORE_INTEGRITY,
                            "%s was whole a moment ago and is not any more",
                            r->chosen->name);
    /* The chosen one's generation first: the others are seen from it. */
    for (pass = 0; pass < (r->o->merge ? 2 : 1); pass++) {
        for (i = 0; i < r->listing.count && code == RESTORE_OK; i++) {
            const struct snapshot_listed *l = &r->listing.items[i];

            if (l->error == 0 && !l->looked && restore_may_use(r, l) &&
                is_other(r, l) == (pass == 1))
                code = take(r, i);
        }
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
        hlc_t hlc = snapshot_state_hlc(r->sources[i]->state);

        ret = hlc > ret ? hlc : ret;
    }
    return ret;
}

const struct hash *restore_known_digest(const struct restore *r)
{
    return r->sources_count > 1 ? NULL
                                : snapshot_state_digest(r->sources[0]->state);
}

const struct digest *restore_known_sum(const struct restore *r)
{
    return r->sources_count > 1 ? NULL
                                : snapshot_state_sum(r->sources[0]->state);
}

static int advance(struct restore_source *s)
{
    int error = snapshot_state_next(s->state, &s->id, &s->entry);

    s->ended = error == CM_ERR_NOT_FOUND;
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

int restore_walk_begin(struct restore *r, struct cm_detail *detail)
{
    int error = 0;
    size_t i;

    /* Several that are read side by side may share a connection. */
    for (i = 0; i < r->o->targets_count && r->sources_count > 1; i++)
        r->stores[i].hurries = false;
    for (i = 0; i < r->sources_count && error == 0; i++) {
        struct restore_source *s = r->sources[i];

        s->consumed = true;
        s->ended = false;
        error = snapshot_state_begin(s->state, detail);
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
        const char *what = snapshot_state_detail(r->sources[i]->state);

        if (what != NULL)
            return what;
    }
    return NULL;
}
