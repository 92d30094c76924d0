/* What readers of a host's store see, entry by entry, against the model.
 *
 * Looks are small: the entries on which replicas disagreed lately, then the
 * next few of the store. A dump compares all of it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/check.h"
#include "sim/check_internal.h"

struct look {
    struct sim_check *c;
    struct check_host *h;
    struct store_reader *reader;
    hlc_t now;
};

static void report_store(const struct look *l, const char *what, int error)
{
    if (!check_excuses(l->c, l->h, error))
        sim_check_report(l->c, SIM_CHECK_STORE, l->h->number, "%s: %s", what,
                         cm_strerror(error));
}

static bool same_sibling(const struct sibling *a, const struct sibling *b)
{
    return a->kind == b->kind && dot_equal(&a->dot, &b->dot) &&
           a->hlc == b->hlc && a->expires == b->expires &&
           a->flags == b->flags && slice_equal(a->author, b->author) &&
           slice_equal(a->value, b->value);
}

/* A transaction is seen whole or not at all: of an event whose other
 * operations stand, this one does not. */
static bool is_torn(const struct sim_model_op *o)
{
    return o->event->decoded.ops_count > 1;
}

static void compare_siblings(const struct look *l, const struct entry_id *id,
                             const struct entry *e)
{
    struct sim_model_view v = check_view_of(l->h);
    const struct sim_model_op *const *standing = NULL;
    size_t count = sim_model_standing(
        l->c->model, &v, sim_model_entry(l->c->model, id), &standing);
    char key[CHECK_KEY_TEXT_SIZE];

    check_key_text(key, id);
    for (size_t i = 0; i < count || i < e->count; i++) {
        struct sibling expected = {.kind = SIBLING_PUT};

        if (i < count)
            expected = sim_model_sibling(standing[i]);
        if (i < count && i < e->count &&
            same_sibling(&expected, &e->siblings[i]))
            continue;
        sim_check_report(l->c,
                         e->count < count && is_torn(standing[i])
                             ? SIM_CHECK_TRANSACTION
                             : SIM_CHECK_FOLD,
                         l->h->number,
                         "entry %s has %zu siblings, the model %zu; number %zu "
                         "differs",
                         key, e->count, count, i);
        return;
    }
}

/* What a reader is shown. */
static void compare_answer(const struct look *l, const struct entry_id *id,
                           const struct entry *e)
{
    struct sim_model_view v = check_view_of(l->h);
    struct sim_model_answer expected = sim_model_resolve(
        l->c->model, &v, sim_model_entry(l->c->model, id), l->now);
    struct resolution found = entry_resolve(e, l->now);
    char key[CHECK_KEY_TEXT_SIZE];
    bool same = found.present == expected.present;

    if (expected.revoked)
        check_evaluated(l->c, SIM_CHECK_REVOKED);
    if (same && expected.winner != NULL)
        same =
            found.winner != NULL &&
            dot_equal(&found.winner->dot, &expected.winner->event->decoded.dot);
    if (same)
        return;
    check_key_text(key, id);
    sim_check_report(
        l->c, expected.revoked ? SIM_CHECK_REVOKED : SIM_CHECK_FOLD,
        l->h->number, "a reader of %s sees %s; by the model it is %s", key,
        found.present ? "a value" : "nothing",
        expected.revoked   ? "revoked"
        : expected.present ? "another value"
                           : "absent");
}

/* What a reader would be shown had no floor ever taken anything away. */
static void compare_forgetting(const struct look *l, const struct entry_id *id,
                               const struct entry *e)
{
    const struct sim_model_entry *entry = sim_model_entry(l->c->model, id);
    struct sim_model_view v = check_view_of(l->h);
    /* A value whose time the floor's has passed is gone, though that time may
     * not have come by this host's clock. */
    hlc_t now = l->h->floor_time > l->now ? l->h->floor_time : l->now;
    struct resolution found = entry_resolve(e, now);
    struct sim_model_answer never;
    char key[CHECK_KEY_TEXT_SIZE];

    if (entry == NULL)
        return;
    check_evaluated(l->c, SIM_CHECK_COMPACTION);
    v.taken = NULL;
    v.taken_size = 0;
    never = sim_model_resolve(l->c->model, &v, entry, now);
    if (found.present == never.present &&
        (!found.present ||
         dot_equal(&found.winner->dot, &never.winner->event->decoded.dot)))
        return;
    check_key_text(key, id);
    sim_check_report(l->c, SIM_CHECK_COMPACTION, l->h->number,
                     "a reader of %s sees %s; had nobody forgotten anything, "
                     "it were %s",
                     key, found.present ? "a value" : "nothing",
                     never.present ? "another value" : "absent");
}

static void compare_entry(const struct look *l, const struct entry_id *id,
                          const struct entry *e)
{
    if (id->space > SPACE_CLIENT_LAST)
        return; /* the digest has them */
    check_evaluated(l->c, SIM_CHECK_FOLD);
    compare_siblings(l, id, e);
    compare_answer(l, id, e);
    compare_forgetting(l, id, e);
}

static bool begin(struct look *ret, struct sim_check *c, struct check_host *h)
{
    struct node *n = check_node(c, h);
    int error;

    *ret = (struct look){.c = c, .h = h};
    if (n == NULL || h->unsure || (h->lapsed && !c->judging))
        return false;
    check_evaluated(c, SIM_CHECK_STORE);
    ret->now = hlc_make(sim_host_wall_ms(c->options.hosts[h->number]), 0);
    error = store_reader_begin(node_store(n), &ret->reader);
    if (error != 0) {
        report_store(ret, "the store cannot be read", error);
        return false;
    }
    return true;
}

/* What is stored is what the last commit said. */
static bool check_head(const struct look *l)
{
    struct digest kept;
    struct digest lanes = sim_model_state_digest(l->h->state);
    struct vv vv;
    bool same;
    int error;

    vv_init(&vv);
    error = store_vv(l->reader, &vv);
    if (error == 0)
        error = store_digest(l->reader, &kept);
    same = error == 0 && vv_equal(&vv, &l->h->vv) &&
           store_revision(l->reader) == l->h->revision;
    if (error != 0)
        report_store(l, "vector and digest cannot be read", error);
    else if (!same && !l->h->doubtful)
        sim_check_report(l->c, SIM_CHECK_VECTOR_BACK, l->h->number,
                         "its store shows revision %" PRIu64
                         ", its last commit was %" PRIu64,
                         store_revision(l->reader), l->h->revision);
    else if (same && !digest_equal(&kept, &lanes))
        sim_check_report(l->c, SIM_CHECK_FOLD, l->h->number,
                         "its stored digest is not that of the model");
    vv_release(&vv);
    return same;
}

/* The newest so many of those that are remembered. */
static void look_at_recent(const struct look *l, size_t limit)
{
    size_t ever = l->c->recent_count;
    size_t count = ever < CHECK_RECENT_MAX ? ever : CHECK_RECENT_MAX;
    struct entry entry;

    if (count > limit)
        count = limit;
    entry_init(&entry);
    for (size_t i = 1; i <= count; i++) {
        const struct entry_id *id =
            &l->c->recent[(ever - i) % CHECK_RECENT_MAX];
        int error = store_get(l->reader, id, &entry, NULL);

        if (error == CM_ERR_NOT_FOUND)
            entry.count = 0;
        else if (error != 0) {
            report_store(l, "an entry cannot be read", error);
            break;
        }
        compare_entry(l, id, &entry);
    }
    entry_release(&entry);
}

static void set_cursor(struct check_host *h, const struct entry_id *id)
{
    buffer_clear(&h->cursor_bytes);
    buffer_append_slice(&h->cursor_bytes, id->key);
    buffer_append_slice(&h->cursor_bytes, id->element);
    CHECK(h->cursor_bytes.error == 0);
    h->cursor = (struct entry_id){
        .space = id->space,
        .key = slice_of(h->cursor_bytes.data, id->key.size),
        .element =
            slice_of(h->cursor_bytes.data + id->key.size, id->element.size),
    };
}

/* Walks one space from after (NULL: its beginning) for up to limit entries.
 * How many there were; the last one becomes the cursor. */
static size_t walk(const struct look *l, enum space space,
                   const struct entry_id *after, size_t limit)
{
    struct store_cursor *cursor = NULL;
    const struct store_item *item = NULL;
    size_t count = 0;
    int error = store_cursor_open(l->reader, space, slice_of(NULL, 0), false,
                                  after, &cursor);

    if (error != 0) {
        report_store(l, "the store cannot be walked", error);
        return 0;
    }
    while (count < limit && (error = store_cursor_next(cursor, &item)) == 0) {
        compare_entry(l, &item->id, &item->entry);
        count++;
        if (count == limit)
            set_cursor(l->h, &item->id);
    }
    store_cursor_close(cursor);
    if (error != 0 && error != CM_ERR_NOT_FOUND)
        report_store(l, "an entry cannot be read", error);
    return count;
}

static void look_at_slice(const struct look *l)
{
    struct check_host *h = l->h;
    bool resumes =
        h->cursor.space == SPACE_REGISTER || h->cursor.space == SPACE_SET;
    enum space space = resumes ? h->cursor.space : SPACE_REGISTER;

    if (walk(l, space, resumes ? &h->cursor : NULL, CHECK_SLICE) < CHECK_SLICE)
        h->cursor.space = 0;
    if (h->cursor.space == 0 && space == SPACE_REGISTER &&
        walk(l, SPACE_SET, NULL, CHECK_SLICE) < CHECK_SLICE)
        h->cursor.space = 0;
}

void check_look_at_store(struct sim_check *c, struct check_host *h)
{
    struct look l;

    if (!begin(&l, c, h))
        return;
    if (check_head(&l)) {
        look_at_recent(&l, CHECK_RECENT_MAX);
        look_at_slice(&l);
    }
    store_reader_release(l.reader);
}

void check_look_at_contested(struct sim_check *c, struct check_host *h,
                             size_t count)
{
    struct look l;

    if (!begin(&l, c, h))
        return;
    look_at_recent(&l, count);
    store_reader_release(l.reader);
}

void check_dump(struct sim_check *c, struct check_host *h)
{
    struct look l;
    size_t count = 0;
    size_t expected = 0;
    struct digest folded;
    struct sim_model_view v = check_view_of(h);

    if (!begin(&l, c, h))
        return;
    c->counters.dumps++;
    if (check_head(&l)) {
        for (int space = SPACE_REGISTER; space <= SPACE_LAST; space++)
            count += walk(&l, (enum space)space, NULL, SIZE_MAX);
        sim_model_fold(c->model, &v, &folded, &expected);
        expected += sim_model_state_controls(h->state);
        if (count != expected)
            sim_check_report(c, SIM_CHECK_FOLD, h->number,
                             "its store has %zu entries, the model %zu", count,
                             expected);
        if (!digest_equal(&folded, sim_model_state_client_digest(h->state)))
            sim_check_report(c, SIM_CHECK_FOLD, h->number,
                             "the model contradicts itself");
    }
    store_reader_release(l.reader);
}
