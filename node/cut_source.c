/* The list of spools. Whoever asks while one of the newest state is being
 * scanned or was scanned gets that one. */
#include "node/cut_source.h"

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

static void unlink_source(struct cut_source *s)
{
    struct cut_source **at = &s->node->cuts.sources;

    while (*at != s) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = s->next;
    s->node->cuts.sources_count--;
}

static void free_source(struct cut_source *s)
{
    CHECK(s->users == 0 && !s->busy);
    unlink_source(s);
    snapshot_source_free(s->source);
    cm_free(s);
}

static bool scan_step(struct work *w)
{
    struct cut_source *s = (struct cut_source *)w;

    s->stepped = snapshot_source_step(s->source, &s->detail);
    return s->stepped > 0;
}

static void scan_done(struct work *w)
{
    struct cut_source *s = (struct cut_source *)w;
    struct node *n = s->node;

    s->busy = false;
    s->error = s->stepped;
    if (s->error == 0)
        node_log(n, 'I', "cut: %llu entries are ready to be sent, %llu bytes",
                 (unsigned long long)snapshot_source_manifest(s->source)
                     ->entry_count,
                 (unsigned long long)snapshot_source_bytes(s->source));
    else
        node_log(n, 'W', "cut: the scan failed: %s", s->detail.text);
    /* A failed one goes with its last user, and refusing those who wait for it
     * makes them let it go: kept until all have been told. */
    s->users++;
    cut_serve_scanned(n, s);
    cut_source_release(s);
}

struct cut_source *cut_source_find(struct node *n, uint64_t id)
{
    struct cut_source *s;

    for (s = n->cuts.sources; s != NULL; s = s->next) {
        if (id != 0 && s->id == id && s->error >= 0) {
            s->users++;
            return s;
        }
    }
    return NULL;
}

/* Room for one more: the one unused for longest goes. */
static bool make_room(struct node *n)
{
    struct cut_source *oldest = NULL;

    if (n->cuts.sources_count < CUT_SOURCES_MAX)
        return true;
    for (struct cut_source *s = n->cuts.sources; s != NULL; s = s->next)
        if (s->users == 0 && !s->busy &&
            (oldest == NULL || s->unused_ms < oldest->unused_ms))
            oldest = s;
    if (oldest == NULL)
        return false;
    free_source(oldest);
    return true;
}

static int create(struct node *n, struct cut_source **ret,
                  struct cm_detail *detail)
{
    struct cut_source *s = cm_calloc(1, sizeof *s);
    int error;

    if (s == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    error = snapshot_source_create(&s->source, n->store, n->sign_secret_key,
                                   n->spool_dir, node_wall(n), detail);
    if (error != 0) {
        cm_free(s);
        return error;
    }
    s->node = n;
    s->begun_ms = node_now(n);
    do
        n->ports.random->fill(n->ports.ctx, &s->id, sizeof s->id);
    while (s->id == 0);
    s->work = (struct work){
        .step = scan_step, .done = scan_done, .lane = WORK_LANE_CUT};
    s->next = n->cuts.sources;
    n->cuts.sources = s;
    n->cuts.sources_count++;
    s->busy = true;
    n->ports.work->submit(n->ports.ctx, &s->work);
    *ret = s;
    return 0;
}

int cut_source_take(struct node *n, struct cut_source **ret_source,
                    struct cm_detail *detail)
{
    struct cut_source *s;
    int error;

    for (s = n->cuts.sources; s != NULL; s = s->next) {
        if (s->error < 0 || !vv_equal(snapshot_source_vv(s->source), &n->vv))
            continue;
        CM_MARK("cut: two got the same one");
        s->users++;
        *ret_source = s;
        return 0;
    }
    if (!make_room(n))
        return cm_fail(detail, CM_ERR_BUSY,
                       "as many cuts as this node prepares at a time are under "
                       "way");
    error = create(n, &s, detail);
    if (error != 0)
        return error;
    s->users = 1;
    *ret_source = s;
    return 0;
}

void cut_source_release(struct cut_source *s)
{
    CHECK(s->users > 0);
    s->users--;
    if (s->users > 0 || s->busy)
        return;
    s->unused_ms = node_now(s->node);
    if (s->error != 0)
        free_source(s);
}

void cut_sources_tick(struct node *n, uint64_t now)
{
    struct cut_source *s = n->cuts.sources;
    uint64_t kept = 0;

    /* Newest first: what is too much is the oldest. */
    while (s != NULL) {
        struct cut_source *next = s->next;

        if (s->users == 0 && !s->busy) {
            kept += snapshot_source_bytes(s->source);
            if (now >= s->unused_ms + CUT_KEEP_MS || kept > CUT_KEEP_BYTES_MAX)
                free_source(s);
        }
        s = next;
    }
}

uint64_t cut_sources_deadline(const struct node *n)
{
    uint64_t ret = UINT64_MAX;

    for (const struct cut_source *s = n->cuts.sources; s != NULL; s = s->next)
        if (s->users == 0 && !s->busy && s->unused_ms + CUT_KEEP_MS < ret)
            ret = s->unused_ms + CUT_KEEP_MS;
    return ret;
}

void cut_sources_free(struct node *n)
{
    while (n->cuts.sources != NULL) {
        n->cuts.sources->users = 0;
        /* The lanes have ended: nothing steps any more. */
        n->cuts.sources->busy = false;
        free_source(n->cuts.sources);
    }
}
