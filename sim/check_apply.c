/* Events, one by one: what an event may be, and when it may be applied; then
 * the vector and the digest that must come of it. */
#include <inttypes.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/writer_internal.h"
#include "sim/check_internal.h"

#define VECTORS_MAX (1u << 20)
#define PUSHED_OVERHEAD 80 /* of a datagram with one event; rounded up */

/* ---- which event it is ---- */

static void text_of(const struct sim_model_event *e,
                    char ret_text[DOT_TEXT_SIZE])
{
    dot_format(ret_text, &e->decoded.dot);
}

/* An event follows upon the one before of its actor. */
static void check_chain(struct sim_check *c, const struct check_host *h,
                        const struct sim_model_event *e)
{
    const struct sim_model_event *before =
        sim_model_find(c->model, e->actor, e->decoded.dot.seq - 1);
    char text[DOT_TEXT_SIZE];
    const struct hash none = {{0}};
    const struct hash *expected = before != NULL ? &before->hash : &none;

    if (hash_equal(expected, &e->decoded.previous))
        return;
    text_of(e, text);
    sim_check_report(c, SIM_CHECK_ONE_EVENT, h->number,
                     "event %s does not follow upon the one before", text);
}

/* A disk that went back may lead to the very same event once more: what a node
 * owes follows from what it has applied, and its stamp from the one before
 * where the clock is behind. Then nothing has two meanings. */
static struct sim_model_event *find_same(const struct sim_check *c,
                                         const struct check_host *h,
                                         struct slice bytes)
{
    struct sim_model_event *known = NULL;
    struct event e;

    if (!h->rolled_back || event_decode(&e, bytes) != 0)
        return NULL;
    known = sim_model_find(c->model, h->actor, e.dot.seq);
    event_release(&e);
    if (known == NULL ||
        !slice_equal(bytes, slice_of(known->bytes, known->size)))
        return NULL;
    return known;
}

struct sim_model_event *
check_own_event(struct sim_check *c, struct check_host *h, struct slice bytes)
{
    struct sim_model_event *e = NULL;
    int error = sim_model_add(c->model, bytes, &e);

    if (error == 0 && e->actor == h->actor) {
        c->counters.events++;
        check_chain(c, h, e);
        return e;
    }
    if (error == CM_ERR_EXISTS)
        e = find_same(c, h, bytes);
    if (e != NULL && error == CM_ERR_EXISTS)
        return e;
    if (error == CM_ERR_EXISTS)
        sim_check_report(c, SIM_CHECK_ONE_EVENT, h->number,
                         "makes another event under a dot that it has used");
    else if (error == 0)
        sim_check_report(c, SIM_CHECK_ONE_EVENT, h->number,
                         "makes an event of another incarnation");
    else
        sim_check_report(c, SIM_CHECK_ONE_EVENT, h->number,
                         "makes an event that is none: %s", cm_strerror(error));
    h->unsure = true;
    return NULL;
}

/* A hostile member's event: of its own incarnation, signed with its key. */
static struct sim_model_event *
take_hostile(struct sim_check *c, struct check_host *h, struct slice bytes)
{
    struct sim_model_event *e = NULL;
    const struct certificate *certificate;

    if (sim_model_add(c->model, bytes, &e) != 0)
        return NULL;
    c->counters.events++;
    certificate = sim_model_certificate(c->model, e->actor);
    if (certificate == NULL ||
        event_verify(&e->decoded, certificate->sign_key) != 0)
        sim_check_report(c, SIM_CHECK_ORIGIN, h->number,
                         "applies an event that its incarnation did not sign");
    return e;
}

static bool is_hostile_actor(const struct sim_check *c, uint32_t actor)
{
    bool honest = false;

    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        const struct check_host *h = &c->hosts[i];
        if (h->has_identity && h->actor == actor && !h->hostile)
            honest = true;
    }
    return c->any_hostile && !honest;
}

struct sim_model_event *check_foreign_event(struct sim_check *c,
                                            struct check_host *h,
                                            const struct dot *dot,
                                            struct slice bytes)
{
    uint32_t actor = sim_model_actor(c->model, &dot->incarnation);
    struct sim_model_event *e = sim_model_find(c->model, actor, dot->seq);
    char text[DOT_TEXT_SIZE];

    check_evaluated(c, SIM_CHECK_ORIGIN);
    check_evaluated(c, SIM_CHECK_ONE_EVENT);
    if (e == NULL && is_hostile_actor(c, actor))
        e = take_hostile(c, h, bytes);
    if (e == NULL) {
        dot_format(text, dot);
        sim_check_report(c, SIM_CHECK_ORIGIN, h->number,
                         "applies event %s, which no origin committed", text);
        (void)sim_model_add(c->model, bytes, &e);
        h->unsure = h->unsure || e == NULL;
        return e;
    }
    if (!slice_equal(bytes, slice_of(e->bytes, e->size))) {
        h->unsure = true;
        if (is_hostile_actor(c, actor))
            return e;
        text_of(e, text);
        sim_check_report(c, SIM_CHECK_ONE_EVENT, h->number,
                         "applies another event under %s than its origin made",
                         text);
    } else if (e->tentative) {
        text_of(e, text);
        sim_check_report(c, SIM_CHECK_ORIGIN, h->number,
                         "applies event %s, which its origin lost with its "
                         "power",
                         text);
        e->tentative = false;
    }
    return e;
}

/* ---- when it may be applied ---- */

static uint64_t seq_of(const struct check_host *h, uint32_t actor)
{
    return actor < h->seqs_count ? h->seqs[actor] : 0;
}

static void check_order(struct sim_check *c, const struct check_host *h,
                        const struct sim_model_event *e)
{
    const struct event *event = &e->decoded;
    char text[DOT_TEXT_SIZE];
    char other[DOT_TEXT_SIZE];

    text_of(e, text);
    if (event->dot.seq != seq_of(h, e->actor) + 1) {
        sim_check_report(c, SIM_CHECK_CAUSAL_ORDER, h->number,
                         "applies event %s after %" PRIu64, text,
                         seq_of(h, e->actor));
        return;
    }
    for (size_t i = 0; i < event->deps_count; i++) {
        if (seq_of(h, e->deps[i]) >= event->deps[i].seq)
            continue;
        dot_format(other, &event->deps[i]);
        sim_check_report(c, SIM_CHECK_CAUSAL_ORDER, h->number,
                         "applies event %s before %s, which it depends on",
                         text, other);
        return;
    }
    for (size_t i = 0; i < event->ops_count && !e->is_void; i++) {
        for (size_t j = 0; j < event->ops[i].supersedes_count; j++) {
            const struct sim_model_op *named = e->ops[i].names[j];
            if (named == NULL ||
                named->event->decoded.dot.seq <= seq_of(h, named->event->actor))
                continue;
            text_of(named->event, other);
            sim_check_report(c, SIM_CHECK_CAUSAL_ORDER, h->number,
                             "applies event %s before %s, which it supersedes",
                             text, other);
            return;
        }
    }
}

/* ---- what an origin must have written into it ---- */

static struct check_known *known_of(struct sim_check *c, uint32_t actor)
{
    if (actor >= c->known_count) {
        size_t count = sim_model_actors(c->model);
        c->known = cm_realloc(c->known, count * sizeof *c->known);
        CHECK(c->known != NULL);
        memset(c->known + c->known_count, 0,
               (count - c->known_count) * sizeof *c->known);
        c->known_count = count;
    }
    struct check_known *k = &c->known[actor];
    if (k->count < sim_model_actors(c->model)) {
        size_t count = sim_model_actors(c->model);
        k->seqs = cm_realloc(k->seqs, count * sizeof *k->seqs);
        CHECK(k->seqs != NULL);
        memset(k->seqs + k->count, 0, (count - k->count) * sizeof *k->seqs);
        k->count = count;
    }
    return k;
}

/* An acknowledgement depends on what its proposal, or an event of the same
 * writer before it, names, too. */
static void know_implied(struct sim_check *c, struct check_known *k,
                         const struct sim_model_event *e)
{
    const struct op *op = &e->decoded.ops[0];
    uint32_t proposer;
    struct dot dot;

    if (e->decoded.ops_count != 1 || op->kind != OP_ACK ||
        op->key.size != PROPOSAL_KEY_SIZE)
        return;
    memcpy(dot.incarnation.bytes, op->key.data, INCARNATION_SIZE);
    dot.seq = get_be64(op->key.data + INCARNATION_SIZE);
    for (proposer = sim_model_actor(c->model, &dot.incarnation); dot.seq > 0;
         dot.seq--) {
        const struct sim_model_event *named =
            sim_model_find(c->model, proposer, dot.seq);

        if (proposer == e->actor || named == NULL)
            break;
        for (size_t i = 0; i < named->decoded.deps_count; i++) {
            uint32_t a = named->deps[i];
            uint64_t seq = named->decoded.deps[i].seq;

            if (a < k->count && k->seqs[a] < seq)
                k->seqs[a] = seq;
        }
    }
}

static void know(struct sim_check *c, struct check_known *k,
                 const struct sim_model_event *e)
{
    for (size_t i = 0; i < e->decoded.deps_count; i++)
        k->seqs[e->deps[i]] = e->decoded.deps[i].seq;
    know_implied(c, k, e);
}

void check_forget_known(struct sim_check *c, uint32_t actor, uint64_t last)
{
    struct check_known *k = known_of(c, actor);

    CHECK(last <= sim_model_seq(c->model, actor));
    memset(k->seqs, 0, k->count * sizeof *k->seqs);
    for (uint64_t seq = 1; seq <= last; seq++)
        know(c, k, sim_model_find(c->model, actor, seq));
}

/* "deps = the VV entries, other than its own, changed since the VV persisted
 * with the origin's previous event", or what these name. */
static void check_deps(struct sim_check *c, const struct check_host *h,
                       const struct sim_model_event *e)
{
    struct check_known *k = known_of(c, e->actor);
    char text[DOT_TEXT_SIZE];
    bool good = true;

    /* A state that was rebuilt because of rot knows not what the events before
     * depended on: the next one names all. */
    for (size_t i = 0; i < e->decoded.deps_count; i++)
        good = good && e->deps[i] != e->actor &&
               (h->rotten || e->decoded.deps[i].seq > k->seqs[e->deps[i]]);
    know(c, k, e);
    for (uint32_t a = 0; a < k->count; a++)
        good = good && (a == e->actor || k->seqs[a] == seq_of(h, a));
    if (good)
        return;
    text_of(e, text);
    sim_check_report(c, SIM_CHECK_DEPS, h->number,
                     "event %s does not depend on just what its origin had "
                     "applied",
                     text);
}

/* "Each names the dots that it supersedes: every sibling of that key or
 * element at the origin, losers and tombstones too." */
static void check_supersedes(struct sim_check *c, const struct check_host *h,
                             const struct sim_model_event *e)
{
    struct sim_model_view v = check_view_of(h);

    for (size_t i = 0; i < e->decoded.ops_count && !e->is_void; i++) {
        const struct sim_model_op *o = &e->ops[i];
        const struct sim_model_op *const *standing = NULL;
        char key[CHECK_KEY_TEXT_SIZE];
        char text[DOT_TEXT_SIZE];
        size_t count;
        bool good;

        if (o->op->kind >= OP_ROSTER_ADD)
            continue;
        count = sim_model_standing(c->model, &v, o->entry, &standing);
        good = count == o->op->supersedes_count;
        /* Written again after a return, a remove names what it then saw. */
        if (h->returned && o->op->kind == OP_SET_REMOVE)
            continue;
        for (size_t j = 0; j < count && good; j++)
            good = dot_equal(&o->op->supersedes[j],
                             &standing[j]->event->decoded.dot);
        if (good)
            continue;
        struct entry_id id = sim_model_entry_id(o->entry);
        check_key_text(key, &id);
        text_of(e, text);
        sim_check_report(c, SIM_CHECK_SUPERSEDES, h->number,
                         "event %s names %zu siblings of %s, of which %zu "
                         "stand",
                         text, o->op->supersedes_count, key, count);
    }
}

static void check_stamp(struct sim_check *c, const struct check_host *h,
                        const struct sim_model_event *e, uint64_t wall_ms)
{
    hlc_t hlc = e->decoded.hlc;
    char text[DOT_TEXT_SIZE];

    text_of(e, text);
    if (hlc <= h->hlc)
        sim_check_report(c, SIM_CHECK_HLC, h->number,
                         "event %s is dated %" PRIu64 " ms, what was seen "
                         "before %" PRIu64 " ms",
                         text, hlc_wall_ms(hlc), hlc_wall_ms(h->hlc));
    else if (wall_ms != 0 && hlc_wall_ms(hlc) > wall_ms &&
             hlc_wall_ms(hlc) > hlc_wall_ms(h->hlc) + 1)
        sim_check_report(c, SIM_CHECK_HLC, h->number,
                         "event %s is dated %" PRIu64
                         " ms, beyond the clock's %" PRIu64
                         " ms and all that was seen",
                         text, hlc_wall_ms(hlc), wall_ms);
}

/* "Held = dated more than the drift allowed ahead of local time and of the
 * median of the peers' clocks." Which median the writer went by is its own
 * word. */
static void check_drift(struct sim_check *c, const struct check_host *h,
                        const struct sim_model_event *e, uint64_t wall_ms)
{
    const struct writer *w = NULL;
    uint64_t bound = wall_ms + CLOCK_DRIFT_MAX_MS;
    char text[DOT_TEXT_SIZE];

    if (c->options.hosts != NULL)
        w = sim_host_writer(c->options.hosts[h->number]);
    if (wall_ms == 0 || e->actor == h->actor)
        return;
    if (w != NULL && w->clock_offset_ms > 0)
        bound += (uint64_t)w->clock_offset_ms;
    check_evaluated(c, SIM_CHECK_DRIFT);
    if (hlc_wall_ms(e->decoded.hlc) <= bound)
        return;
    text_of(e, text);
    sim_check_report(c, SIM_CHECK_DRIFT, h->number,
                     "applies event %s, dated %" PRIu64 " ms ahead of its "
                     "clock and %" PRIu64 " ms ahead of what is allowed",
                     text, hlc_wall_ms(e->decoded.hlc) - wall_ms,
                     hlc_wall_ms(e->decoded.hlc) - bound);
}

/* ---- applying ---- */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

/* A sum over the actors' newest events: equal for equal vectors. */
static void print_toggle(struct check_host *h, const struct sim_model_event *e,
                         bool add)
{
    for (unsigned i = 0; i < 2; i++) {
        uint64_t term = mix(get_be64(e->hash.bytes + 8 * i));
        h->print[i] += add ? term : (uint64_t)0 - term;
    }
}

static void reserve_seqs(struct sim_check *c, struct check_host *h)
{
    size_t count = sim_model_actors(c->model);

    if (h->seqs_count >= count)
        return;
    h->seqs = cm_realloc(h->seqs, count * sizeof *h->seqs);
    CHECK(h->seqs != NULL);
    memset(h->seqs + h->seqs_count, 0,
           (count - h->seqs_count) * sizeof *h->seqs);
    h->seqs_count = count;
}

static void advance(struct sim_check *c, struct check_host *h,
                    const struct sim_model_event *e)
{
    const struct sim_model_event *before =
        sim_model_find(c->model, e->actor, e->decoded.dot.seq - 1);

    if (before != NULL)
        print_toggle(h, before, false);
    print_toggle(h, e, true);
    h->seqs[e->actor] = e->decoded.dot.seq;
    CHECK(vv_set(&h->vv, &e->decoded.dot.incarnation, e->decoded.dot.seq,
                 &e->hash) == 0);
    h->hlc = hlc_merge(h->hlc, e->decoded.hlc);
}

static void keep_applied(struct check_host *h, struct sim_model_event *e)
{
    if (h->applied_count == h->applied_capacity) {
        h->applied_capacity =
            h->applied_capacity > 0 ? 2 * h->applied_capacity : 64;
        h->applied =
            cm_realloc(h->applied, h->applied_capacity * sizeof *h->applied);
        CHECK(h->applied != NULL);
    }
    h->applied[h->applied_count++] = e;
}

/* Entries on which replicas may disagree are looked at first. */
static void remember_contested(struct sim_check *c, const struct check_host *h,
                               const struct sim_model_event *e)
{
    struct sim_model_view v = check_view_of(h);

    for (size_t i = 0; i < e->decoded.ops_count && i < 4; i++) {
        const struct sim_model_op *const *standing = NULL;

        if (e->ops[i].op->supersedes_count == 0 && e->ops[i].older == NULL)
            continue;
        if (sim_model_standing(c->model, &v, e->ops[i].entry, &standing) < 2)
            continue;
        c->recent[c->recent_count++ % CHECK_RECENT_MAX] =
            sim_model_entry_id(e->ops[i].entry);
    }
}

void check_apply(struct sim_check *c, struct check_host *h,
                 struct sim_model_event *e, uint64_t wall_ms)
{
    c->counters.applications++;
    reserve_seqs(c, h);
    check_evaluated(c, SIM_CHECK_CAUSAL_ORDER);
    check_order(c, h, e);
    if (e->lost) {
        char text[DOT_TEXT_SIZE];

        text_of(e, text);
        sim_check_report(c, SIM_CHECK_RESTORE, h->number,
                         "applies event %s, which was lost with all machines",
                         text);
    }
    check_drift(c, h, e, wall_ms);
    if (e->actor == h->actor && !h->unsure) {
        check_evaluated(c, SIM_CHECK_DEPS);
        check_deps(c, h, e);
        check_evaluated(c, SIM_CHECK_SUPERSEDES);
        check_supersedes(c, h, e);
        check_evaluated(c, SIM_CHECK_HLC);
        check_stamp(c, h, e, wall_ms);
    }
    if (e->decoded.dot.seq <= h->seqs[e->actor])
        return; /* reported */
    check_seals(c, h, e);
    check_level(c, h, e);
    struct sim_model_view v = check_view_of(h);
    bool control = false;
    if (e->actor == h->actor)
        sim_model_hide(c->model, &v, e);
    sim_model_state_apply(h->state, e, &control);
    h->control = h->control || control;
    advance(c, h, e);
    keep_applied(h, e);
    if (e->actor != h->actor)
        remember_contested(c, h, e);
}

void check_log(struct check_host *h, uint64_t revision, uint64_t wall_ms,
               size_t first)
{
    if (h->log_count == h->log_capacity) {
        h->log_capacity = h->log_capacity > 0 ? 2 * h->log_capacity : 64;
        h->log = cm_realloc(h->log, h->log_capacity * sizeof *h->log);
        CHECK(h->log != NULL);
    }
    h->log[h->log_count++] = (struct check_commit){
        .revision = revision,
        .wall_ms = wall_ms,
        .first = first,
        .count = h->applied_count - first,
    };
}

/* ---- whole vectors ---- */

/* The original bytes of an event as h's own store holds them. */
static struct sim_model_event *learn(struct sim_check *c, struct check_host *h,
                                     const struct dot *dot)
{
    struct store *store = NULL;
    struct store_reader *r = NULL;
    struct sim_model_event *e = NULL;
    struct slice bytes;

    if (c->options.hosts != NULL)
        store = sim_host_store(c->options.hosts[h->number]);
    if (store == NULL || store_reader_begin(store, &r) != 0)
        return NULL;
    if (store_event(r, dot, &bytes) == 0 &&
        sim_model_add(c->model, bytes, &e) == 0)
        c->counters.events++;
    store_reader_release(r);
    return e;
}

/* The event that must be known; one of h's own may be learned. */
static struct sim_model_event *must_know(struct sim_check *c,
                                         struct check_host *h, uint32_t actor,
                                         uint64_t seq)
{
    struct sim_model_event *e = sim_model_find(c->model, actor, seq);
    struct dot dot = {*sim_model_incarnation(c->model, actor), seq};
    char text[DOT_TEXT_SIZE];

    if (e == NULL && (actor == h->actor || is_hostile_actor(c, actor)))
        e = learn(c, h, &dot);
    if (e != NULL) {
        if (e->tentative && actor == h->actor)
            e->tentative = false;
        return e;
    }
    h->unsure = true;
    dot_format(text, &dot);
    sim_check_report(c, SIM_CHECK_ORIGIN, h->number,
                     "holds event %s, which no origin committed", text);
    return NULL;
}

/* What is gone from its store without a word is mended before the run is
 * judged. */
static bool is_lapsed(struct sim_check *c, struct check_host *h,
                      const struct vv *vv, const struct hash *digest)
{
    struct digest lanes;
    struct hash expected;

    if (!h->lapsed)
        return false;
    lanes = sim_model_state_digest(h->state);
    expected = digest_finish(&lanes, vv);
    h->lapsed = !hash_equal(&expected, digest) && !c->judging;
    if (h->lapsed)
        c->lapsed_us = check_now(c);
    return h->lapsed;
}

/* Whoever adopts a state may get it from one that lacks an entry. */
static bool may_come_lapsed(const struct sim_check *c)
{
    bool any = c->lapses && check_now(c) - c->lapsed_us < CHECK_LAPSE_US;

    for (unsigned i = 0; i < c->options.hosts_count && !any; i++)
        any = c->hosts[i].lapsed;
    return any;
}

bool check_adopt(struct sim_check *c, struct check_host *h, const struct vv *vv,
                 uint64_t revision)
{
    bool good = true;

    vv_release(&h->vv);
    vv_init(&h->vv);
    h->applied_count = 0;
    h->log_count = 0;
    h->adoptions++;
    h->joined_cut = false;
    h->lapsed = h->lapsed || may_come_lapsed(c);
    h->told_wall_ms = 0;
    h->adopted_revision = revision;
    h->adopted_wall_ms = c->options.hosts != NULL
                             ? sim_host_wall_ms(c->options.hosts[h->number])
                             : 0;
    h->hlc = 0;
    memset(h->print, 0, sizeof h->print);
    for (size_t i = 0; i < vv->count; i++)
        (void)sim_model_actor(c->model, &vv->entries[i].incarnation);
    reserve_seqs(c, h);
    memset(h->seqs, 0, h->seqs_count * sizeof *h->seqs);
    for (size_t i = 0; i < vv->count; i++) {
        const struct vv_entry *entry = &vv->entries[i];
        uint32_t actor = sim_model_actor(c->model, &entry->incarnation);

        for (uint64_t seq = 1; seq <= entry->seq && good; seq++) {
            struct sim_model_event *e = must_know(c, h, actor, seq);
            good = e != NULL;
            if (good)
                advance(c, h, e);
        }
    }
    for (size_t i = 0; i < vv->count && good; i++) { /* causally closed */
        uint32_t actor = sim_model_actor(c->model, &vv->entries[i].incarnation);
        for (uint64_t seq = 1; seq <= vv->entries[i].seq; seq++) {
            const struct sim_model_event *e =
                sim_model_find(c->model, actor, seq);
            for (size_t j = 0; j < e->decoded.deps_count; j++) {
                if (seq_of(h, e->deps[j]) >= e->decoded.deps[j].seq)
                    continue;
                sim_check_report(c, SIM_CHECK_CAUSAL_ORDER, h->number,
                                 "adopts a state that is not causally closed");
                good = false;
            }
        }
    }
    sim_model_state_replay(h->state, h->seqs, h->seqs_count,
                           check_generation(c, h));
    h->control = true;
    return good;
}

/* One walk over what is missing: foreign ones first, as in a commit. */
static bool catch_up_pass(struct sim_check *c, struct check_host *h,
                          const struct vv *vv, bool own, uint64_t wall_ms)
{
    bool any = false;

    for (size_t i = 0; i < vv->count; i++) {
        const struct vv_entry *entry = &vv->entries[i];
        uint32_t actor = sim_model_actor(c->model, &entry->incarnation);

        reserve_seqs(c, h);
        if ((actor == h->actor) != own)
            continue;
        while (h->seqs[actor] < entry->seq) {
            struct sim_model_event *e =
                must_know(c, h, actor, h->seqs[actor] + 1);
            bool ready = e != NULL;

            for (size_t j = 0; ready && j < e->decoded.deps_count; j++)
                ready = seq_of(h, e->deps[j]) >= e->decoded.deps[j].seq;
            if (!ready)
                break;
            check_apply(c, h, e, wall_ms);
            any = true;
        }
    }
    return any;
}

void check_catch_up(struct sim_check *c, struct check_host *h,
                    const struct vv *vv, uint64_t revision, uint64_t wall_ms)
{
    size_t first = h->applied_count;
    bool more = true;

    while (more) {
        more = catch_up_pass(c, h, vv, false, wall_ms);
        more = catch_up_pass(c, h, vv, true, wall_ms) || more;
    }
    if (h->applied_count > first)
        check_log(h, revision, wall_ms, first);
}

/* ---- vector and digest ---- */

static struct check_vector *vector_slot(struct sim_check *c,
                                        const uint64_t print[2])
{
    size_t mask = c->vectors_size - 1;
    size_t at = (size_t)print[0] & mask;

    while ((c->vectors[at].print[0] | c->vectors[at].print[1]) != 0 &&
           memcmp(c->vectors[at].print, print, sizeof c->vectors[at].print) !=
               0)
        at = (at + 1) & mask;
    return &c->vectors[at];
}

static void grow_vectors(struct sim_check *c)
{
    struct check_vector *old = c->vectors;
    size_t size = c->vectors_size;

    if (2 * c->vectors_count < c->vectors_size)
        return;
    if (size >= VECTORS_MAX) { /* forgets: equal ones will be seen again */
        memset(old, 0, size * sizeof *old);
        c->vectors_count = 0;
        return;
    }
    c->vectors_size = 2 * size;
    c->vectors = cm_calloc(c->vectors_size, sizeof *c->vectors);
    CHECK(c->vectors != NULL);
    for (size_t i = 0; i < size; i++) {
        if ((old[i].print[0] | old[i].print[1]) != 0)
            *vector_slot(c, old[i].print) = old[i];
    }
    cm_free(old);
}

static void check_vector(struct sim_check *c, struct check_host *h,
                         const struct vv *vv)
{
    char text[DOT_TEXT_SIZE];

    if (h->vv.count == vv->count &&
        (vv->count == 0 || memcmp(h->vv.entries, vv->entries,
                                  vv->count * sizeof *vv->entries) == 0))
        return;
    for (size_t i = 0; i < h->vv.count; i++) {
        const struct vv_entry *e = &h->vv.entries[i];
        struct dot dot = {e->incarnation, e->seq};

        if (vv_seq(vv, &e->incarnation) >= e->seq)
            continue;
        dot_format(text, &dot);
        sim_check_report(c, SIM_CHECK_VECTOR_BACK, h->number,
                         "holds %s, and its vector says %" PRIu64, text,
                         vv_seq(vv, &e->incarnation));
    }
    for (size_t i = 0; i < vv->count; i++) {
        const struct vv_entry *e = &vv->entries[i];
        struct dot dot = {e->incarnation, e->seq};
        const struct vv_entry *has = vv_find(&h->vv, &e->incarnation);

        if (is_hostile_actor(c, sim_model_actor(c->model, &e->incarnation)))
            h->unsure = true; /* which of its events that is, nobody can say */
        if (h->unsure ||
            (has != NULL && has->seq >= e->seq &&
             (has->seq > e->seq || hash_equal(&has->head, &e->head))))
            continue;
        dot_format(text, &dot);
        sim_check_report(c, SIM_CHECK_CAUSAL_ORDER, h->number,
                         "its vector says %s, which it did not apply", text);
    }
    (void)check_adopt(c, h, vv, h->revision);
}

void check_state(struct sim_check *c, struct check_host *h, const struct vv *vv,
                 const struct hash *digest)
{
    struct check_vector *seen;
    struct hash expected;
    struct hash standing = check_standing_hash(c, h);

    check_evaluated(c, SIM_CHECK_VECTOR_BACK);
    check_vector(c, h, vv);
    h->digest = *digest;
    if (h->unsure)
        return;
    c->counters.digests_compared++;
    seen = vector_slot(c, h->print);
    if ((seen->print[0] | seen->print[1]) != 0)
        check_evaluated(c, SIM_CHECK_EQUAL_VECTORS);
    if ((seen->print[0] | seen->print[1]) != 0 &&
        seen->generation == check_generation(c, h) &&
        !hash_equal(&seen->standing, &standing))
        sim_check_report(c, SIM_CHECK_EQUAL_VECTORS, h->number,
                         "n%u has shown another floor or roster with this "
                         "vector",
                         seen->host);
    if ((seen->print[0] | seen->print[1]) != 0 &&
        hash_equal(&seen->digest, digest)) {
        h->lapsed = false;
        return;
    }
    if (is_lapsed(c, h, vv, digest))
        return;
    c->counters.folds++;
    check_evaluated(c, SIM_CHECK_FOLD);
    struct digest lanes = sim_model_state_digest(h->state);
    expected = digest_finish(&lanes, vv);
    if (!hash_equal(&expected, digest)) {
        sim_check_report(c, SIM_CHECK_FOLD, h->number,
                         "its digest is not that of the events in its vector "
                         "(revision %" PRIu64 ", %zu entries in the vector)",
                         h->revision, vv->count);
        return;
    }
    if ((seen->print[0] | seen->print[1]) != 0) {
        sim_check_report(c, SIM_CHECK_EQUAL_VECTORS, h->number,
                         "n%u has shown another digest with this vector",
                         seen->host);
        return;
    }
    if ((h->print[0] | h->print[1]) == 0)
        return;
    memcpy(seen->print, h->print, sizeof seen->print);
    seen->digest = *digest;
    seen->standing = standing;
    seen->generation = check_generation(c, h);
    seen->host = h->number;
    c->vectors_count++;
    c->counters.vectors++;
    grow_vectors(c);
}

/* ---- what it costs to pass them on ---- */

void check_pushes(struct sim_check *c, struct check_host *h,
                  const struct commit_result *r)
{
    uint64_t peers = c->options.hosts_count - 1;

    /* Values that end ask for a floor whenever their time has come. Each event
     * once to so many; nobody answers, and what is lost is repaired with
     * what an idle host may send. */
    if (peers > GOSSIP_FULL_FANOUT_MAX)
        peers = GOSSIP_FANOUT;
    for (size_t i = 0; i < r->events_count && c->rest_since_us != 0; i++)
        h->rest_bytes += peers * (r->events[i].bytes.size + PUSHED_OVERHEAD);
}

uint64_t check_idle_bytes(const struct check_host *h)
{
    return h->bytes > h->rest_bytes ? h->bytes - h->rest_bytes : 0;
}
