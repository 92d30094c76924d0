/* The walk of a comparison: ranges that may differ lie on a stack; the one on
 * top is split by the own entries, both sides print the parts, those that
 * differ go onto the stack, or, when they are small, are listed by both sides
 * key by key. Own walk and the peer's go on at the same time. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

/* ---- the own side ---- */

static void look_at(struct node *n);

static bool walk_step(struct work *w)
{
    struct heal *h = (struct heal *)((char *)w - offsetof(struct heal, work));

    h->scan_error = compare_scan_step(h->scan);
    return h->scan_error > 0;
}

static void walk_done(struct work *w)
{
    struct heal *h = (struct heal *)((char *)w - offsetof(struct heal, work));
    struct node *n = h->node;

    h->busy = false;
    if (h->abandoned) {
        h->abandoned = false;
        compare_scan_free(h->scan);
        h->scan = NULL;
        return;
    }
    if (h->scan_error != 0) {
        heal_fail(n, h->scan_error, "this node's entries cannot be walked");
        return;
    }
    if (!h->any_vv && !hash_equal(&compare_scan_result(h->scan)->vv, &h->vv)) {
        heal_wait(n); /* events came meanwhile */
        return;
    }
    h->own_there = true;
    look_at(n);
}

static int walk(struct node *n, enum compare_mode mode,
                const struct schema_key *bounds, size_t count)
{
    struct heal *h = &n->heal;
    int error;

    if (h->busy)
        return CM_ERR_BUSY; /* one that was given up still runs */
    compare_scan_free(h->scan);
    h->scan = NULL;
    error = compare_scan_create(&h->scan, n->store, mode, bounds, count);
    if (error != 0)
        return error;
    h->own_there = false;
    h->answer_there = false;
    h->busy = true;
    h->node = n;
    h->work = (struct work){
        .step = walk_step, .done = walk_done, .lane = WORK_LANE_CUT};
    n->ports.work->submit(n->ports.ctx, &h->work);
    return 0;
}

/* ---- questions ---- */

static void ask_both(struct node *n, enum heal_phase phase)
{
    struct heal *h = &n->heal;
    bool parts = phase == HEAL_PARTS;
    int error = walk(n, parts ? COMPARE_BOUNDS : COMPARE_LIST, h->bounds,
                     h->bounds_count);

    h->phase = phase;
    if (error == 0)
        error = heal_ask(n, parts ? COMPARE_ASK_PARTS : COMPARE_ASK_KEYS,
                         h->bounds, h->bounds_count);
    if (error != 0)
        heal_wait(n);
}

static void split(struct node *n)
{
    struct heal *h = &n->heal;
    struct schema_key bounds[2] = {h->range.from, h->range.to};

    h->phase = HEAL_SPLIT;
    if (walk(n, COMPARE_SPLIT, bounds, 2) != 0)
        heal_wait(n);
}

void heal_compare_again(struct node *n)
{
    struct heal *h = &n->heal;

    if (h->phase == HEAL_SPLIT)
        split(n);
    else
        ask_both(n, h->phase);
}

static void list(struct node *n, const struct schema_key *from,
                 const struct schema_key *to)
{
    struct heal *h = &n->heal;

    h->bounds[0] = *from;
    h->bounds[1] = *to;
    h->bounds_count = 2;
    ask_both(n, HEAL_KEYS);
}

void heal_compare_next(struct node *n)
{
    struct heal *h = &n->heal;

    if (h->ranges_count == 0 || h->more) {
        heal_compared(n);
        return;
    }
    h->range = h->ranges[--h->ranges_count];
    split(n);
}

void heal_compare_begin(struct node *n)
{
    struct heal *h = &n->heal;

    memset(&h->ranges[0], 0, sizeof h->ranges[0]);
    h->ranges_count = 1;
    heal_compare_next(n);
}

/* ---- answers ---- */

static void add_difference(struct heal *h, const struct schema_key *key,
                           enum heal_side here, enum heal_side there)
{
    if (h->differences_count == HEAL_DIFFERENCES_MAX) {
        h->more = true;
        return;
    }
    h->differences[h->differences_count++] =
        (struct heal_difference){.key = *key, .here = here, .there = there};
}

static void push_range(struct heal *h, const struct schema_key *from,
                       const struct schema_key *to)
{
    if (h->ranges_count == HEAL_RANGES_MAX) {
        h->more = true;
        return;
    }
    h->ranges[h->ranges_count].from = *from;
    h->ranges[h->ranges_count].to = *to;
    h->ranges_count++;
}

static void on_split(struct node *n)
{
    struct heal *h = &n->heal;
    const struct compare_result *r = compare_scan_result(h->scan);

    for (size_t i = 0; i < r->parts_count; i++)
        h->bounds[i] = r->parts[i].from;
    h->bounds[0] = h->range.from;
    h->bounds[r->parts_count] = h->range.to;
    h->bounds_count = r->parts_count + 1;
    /* Too few to be split: key by key. */
    if (r->parts_count == 1) {
        struct heal_range whole = h->range;

        list(n, &whole.from, &whole.to);
        return;
    }
    ask_both(n, HEAL_PARTS);
}

static void on_parts(struct node *n)
{
    struct heal *h = &n->heal;
    const struct compare_result *mine = compare_scan_result(h->scan);
    const struct compare_message *theirs = h->answer;

    if (theirs->parts_count != mine->parts_count) {
        heal_fail(n, CM_ERR_MALFORMED, "the peer answers something else");
        return;
    }
    CM_MARK("compare: prints of ranges");
    /* Backwards, so that the first range is looked into first. */
    for (size_t i = mine->parts_count; i-- > 0;) {
        if (mine->parts[i].count == theirs->parts[i].count &&
            memcmp(mine->parts[i].print, theirs->parts[i].print,
                   COMPARE_PRINT_SIZE) == 0)
            continue;
        push_range(h, &h->bounds[i], &h->bounds[i + 1]);
    }
    heal_compare_next(n);
}

static enum heal_side side_of(const struct compare_item *i)
{
    return i->damaged ? HEAL_DAMAGED : HEAL_THERE;
}

/* Up to where both lists are complete; false: to the end of the range. */
static bool horizon_of(const struct compare_result *mine,
                       const struct compare_message *theirs,
                       struct schema_key *ret)
{
    const struct schema_key *a =
        mine->more ? &mine->items[mine->items_count - 1].key : NULL;
    const struct schema_key *b =
        theirs->more ? &theirs->items[theirs->items_count - 1].key : NULL;

    if (a == NULL && b == NULL)
        return false;
    if (a == NULL || (b != NULL && slice_compare(schema_key_slice(b),
                                                 schema_key_slice(a)) < 0))
        a = b;
    *ret = *a;
    return true;
}

static void compare_lists(struct heal *h, const struct compare_result *mine,
                          const struct schema_key *horizon)
{
    const struct compare_message *theirs = h->answer;
    size_t i = 0;
    size_t j = 0;

    while (i < mine->items_count || j < theirs->items_count) {
        const struct compare_item *a = &mine->items[i];
        const struct compare_item *b = &theirs->items[j];
        int order = i == mine->items_count ? 1
                    : j == theirs->items_count
                        ? -1
                        : slice_compare(schema_key_slice(&a->key),
                                        schema_key_slice(&b->key));
        const struct schema_key *key = order <= 0 ? &a->key : &b->key;

        if (horizon != NULL &&
            slice_compare(schema_key_slice(key), schema_key_slice(horizon)) > 0)
            break;
        if (order != 0 || a->damaged || b->damaged ||
            memcmp(a->print, b->print, COMPARE_PRINT_SIZE) != 0)
            add_difference(h, key, order <= 0 ? side_of(a) : HEAL_ABSENT,
                           order >= 0 ? side_of(b) : HEAL_ABSENT);
        i += order <= 0;
        j += order >= 0;
    }
}

static void on_keys(struct node *n)
{
    struct heal *h = &n->heal;
    const struct compare_result *mine = compare_scan_result(h->scan);
    struct schema_key horizon;
    bool more = horizon_of(mine, h->answer, &horizon);

    CM_MARK("compare: keys one by one");
    compare_lists(h, mine, more ? &horizon : NULL);
    if (!more || h->more) {
        heal_compare_next(n);
        return;
    }
    /* The least key behind it. */
    CHECK(horizon.size < SCHEMA_KEY_MAX);
    horizon.bytes[horizon.size++] = 0;
    list(n, &horizon, &h->bounds[1]);
}

/* Both sides' answers, or the own one alone, are there. */
static void look_at(struct node *n)
{
    struct heal *h = &n->heal;

    if (h->phase == HEAL_SPLIT && h->own_there)
        on_split(n);
    else if (h->phase == HEAL_PARTS && h->own_there && h->answer_there)
        on_parts(n);
    else if (h->phase == HEAL_KEYS && h->own_there && h->answer_there)
        on_keys(n);
}

void heal_compare_answer(struct node *n)
{
    n->heal.answer_there = true;
    look_at(n);
}
