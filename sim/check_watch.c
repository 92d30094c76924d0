/* A watcher: reads a host's change log as a client's watch does, from the
 * revision it got to, and knows from the model what each commit changed. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "sim/check_internal.h"

#define POLL_COMMITS 64 /* of one watch, in one tick */

/* An entry that the commit touched, and what must be told of it. */
struct expected {
    struct entry_id id; /* into the model */
    enum change_kind kind;
    bool revoked;
    struct dot dot;
    struct slice value; /* PUT */
    uint64_t flags;
    bool told;
};

struct sim_check_watch {
    struct sim_check_watch *next;
    struct sim_check *check;
    struct check_host *host;
    char *prefix; /* owned */
    uint64_t revision;
    uint64_t adoptions; /* of the host, when it began or started over */
    size_t at;          /* the next commit in the host's log */
    uint64_t *seqs;     /* owned; the vector before that commit */
    size_t seqs_count;
    struct expected *expected; /* owned; of the commit being read */
    size_t expected_count;
    size_t expected_capacity;
    /* Owned; it was told that they are gone, which no event says: a fault took
     * them, and they have to come back. */
    const struct sim_model_entry **gone;
    size_t gone_count;
    size_t gone_capacity;
    bool failed; /* reported: it looks no further */
    bool polled; /* to the end, at the revision that follows */
    uint64_t polled_revision;
    struct check_ends *ends; /* owned; what it believes: check_ends.c */
};

int sim_check_watch_create(struct sim_check_watch **ret_watch,
                           struct sim_check *c, unsigned host,
                           const char *prefix)
{
    struct sim_check_watch *w = cm_calloc(1, sizeof *w);
    size_t size = strlen(prefix) + 1;

    CHECK(host < c->options.hosts_count);
    if (w == NULL)
        return CM_ERR_NOMEM;
    w->prefix = cm_alloc(size);
    if (w->prefix == NULL) {
        cm_free(w);
        return CM_ERR_NOMEM;
    }
    memcpy(w->prefix, prefix, size);
    w->ends = check_ends_new();
    w->check = c;
    w->host = &c->hosts[host];
    w->adoptions = UINT64_MAX; /* starts over at its first poll */
    w->next = c->watches;
    c->watches = w;
    *ret_watch = w;
    return 0;
}

static void free_watch(struct sim_check_watch *w)
{
    cm_free(w->prefix);
    check_ends_free(w->ends);
    cm_free(w->seqs);
    cm_free(w->expected);
    cm_free(w->gone);
    cm_free(w);
}

void check_watches_free(struct sim_check *c)
{
    while (c->watches != NULL) {
        struct sim_check_watch *w = c->watches;
        c->watches = w->next;
        free_watch(w);
    }
}

/* ---- what a commit must tell ---- */

static void reserve_seqs(struct sim_check_watch *w)
{
    size_t count = sim_model_actors(w->check->model);

    if (w->seqs_count >= count)
        return;
    w->seqs = cm_realloc(w->seqs, count * sizeof *w->seqs);
    CHECK(w->seqs != NULL);
    memset(w->seqs + w->seqs_count, 0,
           (count - w->seqs_count) * sizeof *w->seqs);
    w->seqs_count = count;
}

static struct sim_model_view view_of(const struct sim_check_watch *w)
{
    return (struct sim_model_view){
        .seqs = w->seqs, .count = w->seqs_count, .actor = SIM_MODEL_NO_ACTOR};
}

static struct expected *find_expected(struct sim_check_watch *w,
                                      const struct entry_id *id)
{
    for (size_t i = 0; i < w->expected_count; i++) {
        if (entry_id_compare(&w->expected[i].id, id) == 0)
            return &w->expected[i];
    }
    return NULL;
}

static void add_expected(struct sim_check_watch *w, const struct expected *e)
{
    if (w->expected_count == w->expected_capacity) {
        w->expected_capacity =
            w->expected_capacity > 0 ? 2 * w->expected_capacity : 16;
        w->expected =
            cm_realloc(w->expected, w->expected_capacity * sizeof *w->expected);
        CHECK(w->expected != NULL);
    }
    w->expected[w->expected_count++] = *e;
}

/* The newest operation of the commit on this entry: what tells a deletion. */
static const struct sim_model_op *last_op(const struct sim_check_watch *w,
                                          const struct check_commit *commit,
                                          const struct sim_model_entry *entry)
{
    const struct check_host *h = w->host;

    for (size_t i = commit->count; i > 0; i--) {
        const struct sim_model_event *e = h->applied[commit->first + i - 1];
        for (size_t j = 0; j < e->decoded.ops_count && !e->is_void; j++) {
            if (e->ops[j].entry == entry)
                return &e->ops[j];
        }
    }
    return NULL;
}

static void expect_entry(struct sim_check_watch *w,
                         const struct check_commit *commit,
                         const struct sim_model_entry *entry,
                         const struct sim_model_answer *before,
                         const struct sim_model_answer *after)
{
    struct entry_id id = sim_model_entry_id(entry);
    const struct sim_model_op *last = last_op(w, commit, entry);
    bool set = id.space == SPACE_SET;
    struct expected e = {.id = id};

    CHECK(last != NULL);
    if (before->present == after->present &&
        (!after->present || set || before->winner == after->winner))
        return;
    if (after->present) {
        e.kind = set ? CHANGE_ADD : CHANGE_PUT;
        e.dot = after->winner->event->decoded.dot;
        e.value = after->winner->op->value;
        e.flags = after->winner->op->flags;
    } else {
        e.kind = set ? CHANGE_REMOVE : CHANGE_DELETE;
        e.dot = last->event->decoded.dot;
        e.revoked =
            last->op->kind == OP_REVOKE || last->op->kind == OP_SET_REVOKE;
    }
    add_expected(w, &e);
}

/* Goes past the commit; fills in expected for keys below the prefix. */
static void expect_commit(struct sim_check_watch *w,
                          const struct check_commit *commit)
{
    const struct check_host *h = w->host;
    struct sim_model *m = w->check->model;
    hlc_t now = hlc_make(commit->wall_ms, 0);
    struct sim_model_view before;
    struct sim_model_view after;
    uint64_t *old;

    w->expected_count = 0;
    reserve_seqs(w);
    old = cm_alloc((w->seqs_count + 1) * sizeof *old);
    CHECK(old != NULL);
    memcpy(old, w->seqs, w->seqs_count * sizeof *old);
    before = (struct sim_model_view){
        .seqs = old, .count = w->seqs_count, .actor = SIM_MODEL_NO_ACTOR};
    for (size_t i = 0; i < commit->count; i++) {
        const struct sim_model_event *e = h->applied[commit->first + i];
        w->seqs[e->actor] = e->decoded.dot.seq;
    }
    after = view_of(w);
    for (size_t i = 0; i < commit->count; i++) {
        const struct sim_model_event *e = h->applied[commit->first + i];

        for (size_t j = 0; j < e->decoded.ops_count && !e->is_void; j++) {
            const struct sim_model_entry *entry = e->ops[j].entry;
            struct entry_id id = sim_model_entry_id(entry);

            if (id.space > SPACE_CLIENT_LAST ||
                sim_model_entry_expires(entry) ||
                find_expected(w, &id) != NULL ||
                !slice_starts_with(id.key, slice_of_string(w->prefix)))
                continue;
            struct sim_model_answer a =
                sim_model_resolve(m, &before, entry, now);
            struct sim_model_answer b =
                sim_model_resolve(m, &after, entry, now);
            expect_entry(w, commit, entry, &a, &b);
        }
    }
    cm_free(old);
}

/* ---- what it was told ---- */

struct told {
    struct sim_check_watch *watch;
    uint64_t count;
    bool wrong;
    bool untrue; /* it is not what mending may tell either */
    char text[CHECK_KEY_TEXT_SIZE];
};

static bool is_as_expected(const struct expected *e, const struct change *c)
{
    return !e->told && e->kind == c->kind && dot_equal(&e->dot, &c->dot) &&
           e->revoked == c->revoked &&
           (e->kind != CHANGE_PUT ||
            (slice_equal(e->value, c->value) && e->flags == c->flags));
}

static void note_gone(struct sim_check_watch *w,
                      const struct sim_model_entry *entry, bool gone)
{
    size_t i = 0;

    while (i < w->gone_count && w->gone[i] != entry)
        i++;
    if (!gone && i < w->gone_count)
        w->gone[i] = w->gone[--w->gone_count];
    if (!gone || i < w->gone_count)
        return;
    if (w->gone_count == w->gone_capacity) {
        w->gone_capacity = w->gone_capacity > 0 ? 2 * w->gone_capacity : 16;
        w->gone = cm_realloc(w->gone, w->gone_capacity * sizeof(*w->gone));
        CHECK(w->gone != NULL);
    }
    w->gone[w->gone_count++] = entry;
}

/* Whether it may be told beside all events: what a fault took from the store is
 * told as gone, and once it is mended, as what it is by the model. */
static bool is_mending(struct sim_check_watch *w,
                       const struct sim_model_entry *entry,
                       const struct change *change)
{
    bool there = change->kind == CHANGE_PUT || change->kind == CHANGE_ADD;
    struct sim_model_view view = view_of(w);
    const struct sim_model_op *winner;

    if (entry == NULL || change->revoked)
        return false;
    note_gone(w, entry, !there);
    if (!there || find_expected(w, &change->id) != NULL)
        return true; /* the commit after it is looked at already */
    winner = sim_model_resolve(w->check->model, &view, entry, 0).winner;
    return winner != NULL &&
           dot_equal(&winner->event->decoded.dot, &change->dot) &&
           (change->kind != CHANGE_PUT ||
            slice_equal(winner->op->value, change->value));
}

static int on_change(void *context, const struct change *change)
{
    struct told *t = context;
    struct sim_check_watch *w = t->watch;
    const struct sim_model_entry *entry =
        sim_model_entry(w->check->model, &change->id);
    struct expected *e;

    if (!slice_starts_with(change->id.key, slice_of_string(w->prefix)))
        return 0;
    if (entry != NULL)
        check_ends_told(w->ends, entry, change);
    /* When an end is told is the host's own business. */
    if (entry != NULL && sim_model_entry_expires(entry))
        return 0;
    e = find_expected(w, &change->id);
    t->count++;
    if (e != NULL && is_as_expected(e, change)) {
        e->told = true;
        note_gone(w, entry, false);
        return 0;
    }
    t->untrue = t->untrue || !w->check->lapses || !is_mending(w, entry, change);
    if (!t->wrong) {
        t->wrong = true;
        check_key_text(t->text, &change->id);
    }
    return 0;
}

static void fail(struct sim_check_watch *w, const char *what, uint64_t revision)
{
    w->failed = true;
    sim_check_report(w->check, SIM_CHECK_WATCH, w->host->number,
                     "a watcher at revision %" PRIu64 " is told %s (%" PRIu64
                     ")",
                     w->revision, what, revision);
}

/* The host's whole log again, after it adopted a state. */
static void start_over(struct sim_check_watch *w)
{
    struct check_host *h = w->host;

    w->adoptions = h->adoptions;
    w->gone_count = 0;
    w->revision = h->adopted_revision;
    w->at = 0;
    reserve_seqs(w);
    /* The vector as of the adoption: today's without what came since. */
    memset(w->seqs, 0, w->seqs_count * sizeof *w->seqs);
    memcpy(w->seqs, h->seqs, h->seqs_count * sizeof *w->seqs);
    for (size_t i = h->applied_count; i > 0; i--) {
        const struct sim_model_event *e = h->applied[i - 1];
        w->seqs[e->actor] = e->decoded.dot.seq - 1;
    }
    check_ends_begin(w->ends, h, w->seqs, w->seqs_count, h->adopted_wall_ms);
}

/* What it did not take in time lies below a floor: it reads everything anew,
 * and goes on from there. */
static bool is_left_behind(const struct sim_check_watch *w,
                           struct store_reader *r, int error)
{
    const struct check_host *h = w->host;
    bool passed = false;

    for (uint32_t a = 0; a < h->seqs_count; a++)
        passed = passed || sim_model_state_floor(h->state, a) > 0;
    /* What rots of the bytes is not mended: who lacks them takes a cut. */
    passed = passed || h->rotten;
    return error == CM_ERR_NEEDS_CUT && passed &&
           w->revision < store_oldest_revision(r);
}

static void begin_here(struct sim_check_watch *w, struct store_reader *r)
{
    struct check_host *h = w->host;

    reserve_seqs(w);
    memset(w->seqs, 0, w->seqs_count * sizeof *w->seqs);
    memcpy(w->seqs, h->seqs, h->seqs_count * sizeof *w->seqs);
    w->revision = store_revision(r);
    w->gone_count = 0;
    w->at = h->log_count;
    check_ends_begin(w->ends, h, w->seqs, w->seqs_count, 0);
}

static int on_change_of_cut(void *context, const struct change *change)
{
    struct sim_check_watch *w = context;
    const struct sim_model_entry *entry =
        sim_model_entry(w->check->model, &change->id);

    if (entry != NULL &&
        slice_starts_with(change->id.key, slice_of_string(w->prefix)))
        check_ends_told(w->ends, entry, change);
    return 0;
}

/* Over a state that was joined to the host's: whatever is told up to now has to
 * make of what the watcher believed what the host shows. false: it is told to
 * start over, which it may be. */
static bool follow_cut(struct sim_check_watch *w, struct store_reader *r)
{
    struct check_host *h = w->host;
    char text[CHECK_KEY_TEXT_SIZE];
    uint64_t revision = 0;
    int error = 0;

    if (!h->joined_cut || w->adoptions + 1 != h->adoptions ||
        w->revision > h->adopted_revision || h->rotten)
        return false;
    while (error == 0) {
        error = store_changes(r, w->revision, &revision, on_change_of_cut, w);
        if (error == 0)
            w->revision = revision;
    }
    if (error != CM_ERR_NOT_FOUND)
        return false;
    w->adoptions = h->adoptions;
    w->gone_count = 0;
    w->at = h->log_count;
    w->expected_count = 0;
    reserve_seqs(w);
    memset(w->seqs, 0, w->seqs_count * sizeof *w->seqs);
    memcpy(w->seqs, h->seqs, h->seqs_count * sizeof *w->seqs);
    if (!check_ends_compare(w->ends, w->check, h, w->seqs, w->seqs_count,
                            w->prefix, true, text))
        fail(w, text, w->revision);
    return true;
}

/* The next commit of the host's log that tells something; NULL: none. */
static const struct check_commit *next_expected(struct sim_check_watch *w)
{
    const struct check_host *h = w->host;

    w->expected_count = 0;
    while (w->at < h->log_count && w->expected_count == 0)
        expect_commit(w, &h->log[w->at++]);
    return w->expected_count > 0 ? &h->log[w->at - 1] : NULL;
}

/* One commit. false: there is none, or it was told wrongly. The host's commits
 * that change nothing below the prefix pass unseen. */
static bool take_commit(struct sim_check_watch *w, struct store_reader *r)
{
    const struct check_commit *commit = next_expected(w);
    struct told t = {.watch = w};
    uint64_t revision = 0;
    bool mending;
    int error = 0;

    do { /* commits that are outside of the prefix, or mend */
        t = (struct told){.watch = w};
        mending = false;
        error = store_changes(r, w->revision, &revision, on_change, &t);
        if (error == 0 && revision <= w->revision) {
            fail(w, "a revision again", revision);
            return false;
        }
        if (error == 0 && commit != NULL && revision > commit->revision) {
            fail(w, "too much: it missed a commit", commit->revision);
            return false;
        }
        if (error == 0) {
            w->revision = revision;
            mending = t.count > 0 && !t.untrue &&
                      (commit == NULL || revision < commit->revision);
        }
    } while (error == 0 && (t.count == 0 || mending));
    if (error == CM_ERR_NOT_FOUND) {
        if (commit != NULL)
            fail(w, "nothing of a commit", commit->revision);
        else if (!check_ends_compare(w->ends, w->check, w->host, w->seqs,
                                     w->seqs_count, w->prefix, false, t.text))
            fail(w, t.text, w->revision);
        return false;
    }
    if (is_left_behind(w, r, error)) {
        begin_here(w, r);
        return false;
    }
    if (error != 0) {
        /* Whoever is told an error reads everything anew. The commit that was
         * expected here has been taken from the log. */
        if (!check_excuses(w->check, w->host, error))
            fail(w, cm_strerror(error), revision);
        else
            begin_here(w, r);
        return false;
    }
    if (commit == NULL || revision != commit->revision) {
        fail(w, "of a commit that changed nothing", revision);
        return false;
    }
    if (t.wrong) {
        fail(w, t.text, revision);
        return false;
    }
    if (t.count != w->expected_count) {
        fail(w, "half of a commit", revision);
        return false;
    }
    w->check->counters.watched++;
    check_evaluated(w->check, SIM_CHECK_WATCH);
    return true;
}

void sim_check_watch_poll(struct sim_check_watch *w, unsigned limit)
{
    struct check_host *h = w->host;
    struct node *n = check_node(w->check, h);
    struct store_reader *r = NULL;
    unsigned taken = 0;
    uint64_t left = cm_alloc_fail_left();

    if (n == NULL || w->check->options.blind || !h->has_identity || h->unsure ||
        h->doubtful || w->failed)
        return;
    if (w->polled && w->adoptions == h->adoptions &&
        w->polled_revision == h->revision)
        return; /* nothing was committed since */
    w->polled = false;
    cm_alloc_fail_after(0); /* not meant for the check */
    if (store_reader_begin(node_store(n), &r) == 0) {
        if (w->adoptions != h->adoptions && !follow_cut(w, r))
            start_over(w);
        while (!w->failed && (limit == 0 || taken < limit) && take_commit(w, r))
            taken++;
        w->polled = !w->failed && (limit == 0 || taken < limit);
        w->polled_revision = h->revision;
        store_reader_release(r);
    }
    cm_alloc_fail_after(left);
}

void check_watches_poll(struct sim_check *c)
{
    for (struct sim_check_watch *w = c->watches; w != NULL; w = w->next)
        sim_check_watch_poll(w, POLL_COMMITS);
}

void check_watches_quiescent(struct sim_check *c, const bool *core)
{
    for (struct sim_check_watch *w = c->watches; w != NULL; w = w->next) {
        if (check_in_core(core, w->host->number))
            sim_check_watch_poll(w, 0);
        if (check_in_core(core, w->host->number) && w->gone_count > 0 &&
            !w->failed)
            fail(w, "that an entry is gone, and not that it is back",
                 w->gone_count);
    }
}
