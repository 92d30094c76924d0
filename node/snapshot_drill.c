/* See snapshot_drill.h. */
#include "node/snapshot_drill.h"

#include <stdio.h>
#include <string.h>

#include "crdt/base/check.h"

struct drilling {
    const struct snapshot_drill_config *c;
    struct snapshot_drill *drill;
};

/* ---- the root ---- */

/* Objects go nowhere: the last one is the root. */
static void drain(struct snapshot_writer *w, struct hash *root)
{
    struct snapshot_object o;

    while (snapshot_writer_next_object(w, &o))
        *root = o.hash;
}

static int index_stage(struct snapshot_writer *w, struct snapshot_stage *stage,
                       struct snapshot_drill *d, struct cm_detail *detail)
{
    const struct entry *entry;
    struct entry_id id;
    int error = snapshot_stage_begin(stage, detail);

    while (error == 0) {
        error = snapshot_stage_next(stage, &id, &entry);
        if (error != 0)
            break;
        error = snapshot_writer_add(w, &id, entry);
        drain(w, &d->root);
        d->entries++;
        d->keys += id.space <= SPACE_CLIENT_LAST;
    }
    if (error == CM_ERR_NOT_FOUND)
        error = snapshot_writer_end(w);
    drain(w, &d->root);
    return error;
}

static int compare_roots(void *context, struct snapshot_stage *stage,
                         const struct manifest *m,
                         const struct snapshot_keys *keys,
                         struct cm_detail *detail)
{
    struct drilling *g = context;
    struct snapshot_writer *w;
    int error = snapshot_writer_create(&w, &m->mesh, keys);

    if (error != 0)
        return cm_fail(detail, error, "out of memory");
    error = index_stage(w, stage, g->drill, detail);
    snapshot_writer_free(w);
    snapshot_stage_end(stage);
    if (error != 0)
        return cm_fail(detail, error, "cannot index what was restored: %s",
                       cm_strerror(error));
    if (!hash_equal(&g->drill->root, &m->root) ||
        g->drill->entries != m->entry_count)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "what was restored has another root than its manifest");
    return 0;
}

/* ---- which ---- */

static bool is_of(const struct snapshot_listed *l, const struct key_id *signer)
{
    char text[2 * KEY_ID_SIZE + 1];

    if (signer == NULL)
        return true;
    hex_encode(text, slice_of(signer->bytes, KEY_ID_SIZE));
    return strstr(l->name, text) != NULL;
}

static int choose(const struct snapshot_drill_config *c,
                  char ret_name[SNAPSHOT_NAME_SIZE], struct cm_detail *detail)
{
    const struct snapshot_listed *chosen = NULL;
    struct snapshot_listing l;
    int error = snapshot_list_in(&l, c->store, NULL, detail);

    if (error != 0)
        return error;
    for (size_t i = 0; i < l.count; i++) {
        const struct snapshot_listed *item = &l.items[i];

        if (!is_of(item, c->signer) ||
            (item->error == 0 && c->authority != NULL &&
             memcmp(item->authority_public_key, c->authority, 32) != 0))
            continue;
        if (item->error != 0) {
            error = cm_fail(detail, item->error, "%.110s: %.130s", item->name,
                            item->verdict);
            break;
        }
        if (chosen == NULL)
            chosen = item;
    }
    if (error == 0 && chosen == NULL)
        error = cm_fail(
            detail, CM_ERR_NOT_FOUND,
            "the target holds no snapshot to restore; is it the right place?");
    if (error == 0)
        (void)snprintf(ret_name, SNAPSHOT_NAME_SIZE, "%s", chosen->name);
    snapshot_listing_release(&l);
    return error;
}

/* ---- the whole ---- */

static void on_lost(void *context, const char *name, const char *what)
{
    struct drilling *g = context;

    if (g->drill->lost++ == 0)
        (void)snprintf(g->drill->lost_text, sizeof g->drill->lost_text,
                       "%.120s: %.120s", name, what);
}

static int unlock(void *context, const struct manifest *m,
                  struct snapshot_keys *ret_keys, struct cm_detail *detail)
{
    const struct drilling *g = context;

    if (g->c->unlock == NULL)
        return cm_fail(detail, CM_ERR_AUTHORITY,
                       "the snapshot is encrypted: give --recovery-key FILE");
    return g->c->unlock(g->c->context, m, ret_keys, detail);
}

static void fill(struct snapshot_drill *d, const struct snapshot_state *s)
{
    (void)snprintf(d->signer, sizeof d->signer, "%s", s->manifest.signer_name);
    d->sequence = s->manifest.sequence;
    d->created_ms = s->manifest.created_ms;
    d->covered_ms = hlc_wall_ms(snapshot_state_hlc(s));
    d->bytes = s->manifest.byte_count;
    d->deltas = s->deltas;
    d->events = s->events;
}

int snapshot_drill(struct snapshot_drill *ret_drill,
                   const struct snapshot_drill_config *c,
                   struct cm_detail *detail)
{
    struct snapshot_drill d = {.sequence = 0};
    struct drilling g = {.c = c, .drill = &d};
    struct snapshot_state_config config = {
        .store = c->store,
        .name = d.name,
        .authority = c->authority,
        .scratch = c->scratch,
        .hlc_limit = UINT64_MAX,
        .newest = c->name == NULL,
        .unlock = unlock,
        .lost = on_lost,
        .staged = compare_roots,
        .context = &g,
    };
    struct snapshot_state *s = NULL;
    int error = 0;

    CHECK(ret_drill != NULL && detail != NULL);
    if (c->name != NULL)
        (void)snprintf(d.name, sizeof d.name, "%s", c->name);
    else
        error = choose(c, d.name, detail);
    if (error == 0)
        error = snapshot_state_open(&s, &config, detail);
    if (error != 0)
        return error;
    fill(&d, s);
    snapshot_state_close(s);
    *ret_drill = d;
    return 0;
}
