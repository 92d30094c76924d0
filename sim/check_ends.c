/* What a watcher believes to see of keys and elements whose values end.
 *
 * When the end of a value is told is its host's own business, so the commit
 * that tells it cannot be said beforehand (check_watch.c passes over such
 * entries). What can be said is what a watcher has to believe whenever it has
 * taken all that there is: the winner of the model's fold, which is found
 * first, and whose end counts only then (design: "resolve first, then expire").
 * It has to be gone once its time has come by the clock of the host's last
 * commit, each of which tells whatever is due; and it may not be gone before
 * its time has come by any clock that the host ever had, or by the floor's. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "sim/check_internal.h"

#define SIZE_MIN 64u

struct belief {
    const struct sim_model_entry *entry; /* NULL: free */
    bool present;
    struct dot dot;
};

struct check_ends {
    struct belief *beliefs; /* owned hash table, by entry */
    size_t size, count;
    uint64_t *seqs; /* owned; the vector that it began with */
    size_t seqs_count;
    hlc_t begun; /* when, by the host's clock, or by its floor if that is ahead:
                    what this has ended is gone from the state already */
    uint64_t next_us;
};

struct check_ends *check_ends_new(void)
{
    struct check_ends *ret = cm_calloc(1, sizeof *ret);

    CHECK(ret != NULL);
    return ret;
}

void check_ends_free(struct check_ends *e)
{
    if (e == NULL)
        return;
    cm_free(e->beliefs);
    cm_free(e->seqs);
    cm_free(e);
}

void check_ends_begin(struct check_ends *e, const struct check_host *h,
                      const uint64_t *seqs, size_t count, uint64_t wall_ms)
{
    e->seqs = cm_realloc(e->seqs, (count + 1) * sizeof *seqs);
    CHECK(e->seqs != NULL);
    if (count > 0)
        memcpy(e->seqs, seqs, count * sizeof *seqs);
    e->seqs_count = count;
    e->begun = hlc_make(wall_ms > h->wall_max_ms ? wall_ms : h->wall_max_ms, 0);
    if (h->floor_time > e->begun)
        e->begun = h->floor_time;
    if (e->size > 0)
        memset(e->beliefs, 0, e->size * sizeof *e->beliefs);
    e->count = 0;
}

static struct belief *slot_of(const struct check_ends *e,
                              const struct sim_model_entry *entry)
{
    size_t mask = e->size - 1;
    size_t at = ((uintptr_t)entry >> 5) * UINT64_C(0x9e3779b97f4a7c15) >> 32;

    for (at &= mask; e->beliefs[at].entry != NULL; at = (at + 1) & mask)
        if (e->beliefs[at].entry == entry)
            break;
    return &e->beliefs[at];
}

static void grow(struct check_ends *e)
{
    struct belief *old = e->beliefs;
    size_t size = e->size;

    if (2 * e->count < size)
        return;
    e->size = size == 0 ? SIZE_MIN : 2 * size;
    e->beliefs = cm_calloc(e->size, sizeof *e->beliefs);
    CHECK(e->beliefs != NULL);
    for (size_t i = 0; i < size; i++)
        if (old[i].entry != NULL)
            *slot_of(e, old[i].entry) = old[i];
    cm_free(old);
}

void check_ends_told(struct check_ends *e, const struct sim_model_entry *entry,
                     const struct change *change)
{
    struct belief *b;

    grow(e);
    b = slot_of(e, entry);
    e->count += b->entry == NULL;
    *b = (struct belief){
        .entry = entry,
        .present = change->kind == CHANGE_PUT || change->kind == CHANGE_ADD,
        .dot = change->dot,
    };
}

void check_ends_clock(struct check_host *h, uint64_t wall_ms, bool wrote)
{
    /* One that failed tells nothing, nor does a batch of what is known here
     * already, which ends before anything is looked for. */
    if (wrote && !h->doubtful)
        h->told_wall_ms = wall_ms;
    if (wall_ms > h->wall_max_ms)
        h->wall_max_ms = wall_ms;
}

/* ---- what is right ---- */

struct comparison {
    struct sim_check *c;
    const struct check_host *h;
    const struct check_ends *ends;
    struct sim_model_view now; /* the watcher's vector */
    struct slice prefix;
    bool all; /* also what never ends */
    bool wrong;
    char text[CHECK_KEY_TEXT_SIZE];
};

/* What nothing was told of is as it was in the beginning. What had ended then
 * by the latest of the host's clocks may have been there by the one that it had
 * just then, after years ahead: false. */
static bool belief_of(const struct comparison *k,
                      const struct sim_model_entry *entry,
                      struct belief *ret_belief)
{
    const struct check_ends *e = k->ends;
    struct sim_model_view v = {
        .seqs = e->seqs, .count = e->seqs_count, .actor = SIM_MODEL_NO_ACTOR};
    struct sim_model_answer a = {0};

    if (e->size > 0 && slot_of(e, entry)->entry != NULL) {
        *ret_belief = *slot_of(e, entry);
        return true;
    }
    a = sim_model_resolve(k->c->model, &v, entry, e->begun);
    *ret_belief =
        (struct belief){.entry = entry,
                        .present = a.present,
                        .dot = a.present ? a.winner->event->decoded.dot
                                         : (struct dot){.seq = 0}};
    return a.present || !sim_model_resolve(k->c->model, &v, entry, 0).present;
}

/* Whether the end of what wins must have been told, and may have been. */
static void judge_end(const struct comparison *k, hlc_t expires, bool *ret_must,
                      bool *ret_may)
{
    hlc_t latest = hlc_make(k->h->wall_max_ms, 0);

    if (k->ends->begun > latest)
        latest = k->ends->begun;
    if (k->h->floor_time > latest)
        latest = k->h->floor_time;
    *ret_must = expires != 0 && expires <= hlc_make(k->h->told_wall_ms, 0);
    *ret_may = expires != 0 && expires <= latest;
}

static void compare(void *context, const struct sim_model_entry *entry)
{
    struct comparison *k = context;
    struct entry_id id = sim_model_entry_id(entry);
    bool must = false, may = false;

    if (id.space > SPACE_CLIENT_LAST ||
        (!k->all && !sim_model_entry_expires(entry)) ||
        !slice_starts_with(id.key, k->prefix) || k->wrong)
        return;
    struct sim_model_answer a =
        sim_model_resolve(k->c->model, &k->now, entry, 0);
    struct belief b;

    if (!belief_of(k, entry, &b))
        return;
    check_evaluated(k->c, SIM_CHECK_WATCH);
    if (a.present)
        judge_end(k, a.winner->op->expires, &must, &may);
    if (b.present)
        k->wrong = !a.present || must ||
                   (id.space != SPACE_SET &&
                    !dot_equal(&b.dot, &a.winner->event->decoded.dot));
    else
        k->wrong = a.present && !may;
    if (k->wrong)
        check_key_text(k->text, &id);
}

bool check_ends_compare(struct check_ends *e, struct sim_check *c,
                        const struct check_host *h, const uint64_t *seqs,
                        size_t count, const char *prefix, bool all,
                        char ret_text[CHECK_KEY_TEXT_SIZE])
{
    struct comparison k = {
        .c = c,
        .h = h,
        .ends = e,
        .now = {.seqs = seqs, .count = count, .actor = SIM_MODEL_NO_ACTOR},
        .prefix = slice_of_string(prefix),
        .all = all,
    };

    if (check_now(c) < e->next_us && !c->judging && !all)
        return true;
    e->next_us = check_now(c) + CHECK_ENDS_US;
    sim_model_each_entry(c->model, compare, &k);
    if (k.wrong)
        memcpy(ret_text, k.text, sizeof k.text);
    return !k.wrong;
}
