/* When healing begins, how it talks to its peer, what is done about what was
 * found (heal.h tells the rules). */
#include "node/heal.h"

#include <stdio.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

#define ANY_VECTOR_AFTER 3 /* attempts of a comparison for the operator */

int heal_init(struct node *n, const char *facts_path,
              uint64_t scrub_interval_ms)
{
    struct heal *h = &n->heal;
    size_t size = facts_path != NULL ? strlen(facts_path) + 1 : 0;

    h->answer = cm_calloc(1, sizeof *h->answer);
    h->ranges = cm_calloc(HEAL_RANGES_MAX, sizeof *h->ranges);
    h->differences = cm_calloc(HEAL_DIFFERENCES_MAX, sizeof *h->differences);
    h->due_ms = UINT64_MAX;
    h->facts_ms = UINT64_MAX;
    h->scrub.due_ms = UINT64_MAX;
    h->scrub.interval_ms =
        scrub_interval_ms != 0 ? scrub_interval_ms : HEAL_SCRUB_INTERVAL_MS;
    if (size > 0)
        h->facts_path = cm_alloc(size);
    if (h->facts_path != NULL)
        memcpy(h->facts_path, facts_path, size);
    return h->answer == NULL || h->ranges == NULL || h->differences == NULL ||
                   (size > 0 && h->facts_path == NULL)
               ? CM_ERR_NOMEM
               : 0;
}

static void report(struct node *n, int error, const char *text)
{
    struct heal *h = &n->heal;
    struct heal_report r = {
        .error = error,
        .same_vector = h->same_vector,
        .same_digest = h->same_digest,
        .differences = h->differences,
        .count = h->differences_count,
        .more = h->more,
    };
    node_compare_done done = h->done;

    h->done = NULL;
    if (done == NULL)
        return;
    (void)snprintf(r.detail, sizeof r.detail, "%s", text);
    (void)snprintf(r.peer, sizeof r.peer, "%s", h->peer_name);
    done(h->done_ctx, &r);
}

void heal_release(struct node *n)
{
    struct heal *h = &n->heal;

    report(n, CM_ERR_CLOSED, "this node stops");
    compare_scan_free(h->scan); /* the lanes have ended */
    compare_scan_free(h->serving.scan);
    heal_scrub_release(n);
    heal_change_free(h->change);
    cm_free(h->answer);
    cm_free(h->ranges);
    cm_free(h->differences);
    cm_free(h->facts_path);
}

/* ---- beginning and ending ---- */

static bool begin(struct node *n, enum heal_purpose purpose,
                  const struct member_view *peer)
{
    struct heal *h = &n->heal;

    if (h->phase != HEAL_NONE || h->busy || !n->ready)
        return false;
    h->purpose = purpose;
    h->peer = peer->key_id;
    h->address = peer->address;
    (void)snprintf(h->peer_name, sizeof h->peer_name, "%s", peer->name);
    h->attempts = 0;
    h->any_vv = false;
    h->same_vector = false;
    h->same_digest = false;
    h->ranges_count = 0;
    h->differences_count = 0;
    h->fetched = 0;
    h->more = false;
    h->phase = HEAL_STATE;
    h->waiting = false;
    h->due_ms = node_now(n);
    h->counters.comparisons++;
    return true;
}

static void end(struct node *n)
{
    struct heal *h = &n->heal;

    h->phase = HEAL_NONE;
    h->waiting = false;
    h->due_ms = UINT64_MAX;
    h->abandoned = h->busy;
    if (!h->busy) {
        compare_scan_free(h->scan);
        h->scan = NULL;
    }
    heal_change_free(h->change);
    h->change = NULL;
    h->calm_ms = node_now(n) + HEAL_CALM_MS;
}

static void give_up_on_peer(struct heal *h)
{
    const size_t room = sizeof h->refused_peers / sizeof h->refused_peers[0];

    if (h->refused_count == room)
        h->refused_count = 0;
    h->refused_peers[h->refused_count++] = h->peer;
}

static void rebuild(struct node *n)
{
    struct heal *h = &n->heal;

    node_log(n, 'E',
             "heal: entry by entry will not do: the whole state of %s is "
             "adopted in place of this one",
             h->peer_name);
    h->counters.rebuilds++;
    h->rebuilding = true;
    h->rebuild_ms = node_now(n) + HEAL_REBUILD_MS;
    cut_pull_replace(n, &h->peer, &h->address);
    report(n, 0, "");
    end(n);
}

void heal_fail(struct node *n, int error, const char *text)
{
    struct heal *h = &n->heal;

    node_log(n, h->purpose == HEAL_LAW ? 'D' : 'W', "compare: with %s: %s: %s",
             h->peer_name, cm_strerror(error), text);
    /* Events that touch what is damaged wait, and so the vectors may never be
     * equal again. */
    if (h->purpose == HEAL_DAMAGE && error == CM_ERR_TIMEOUT &&
        !h->same_vector && !h->rebuilding) {
        rebuild(n);
        return;
    }
    if (h->purpose == HEAL_DAMAGE)
        give_up_on_peer(h);
    report(n, error, text);
    if (error == CM_ERR_DAMAGED)
        heal_note_damage(n);
    end(n);
}

static bool peer_lives(const struct node *n)
{
    struct member_view view;

    return n->gossip == NULL ||
           (gossip_member_find(n->gossip, &n->heal.peer, &view) &&
            (view.state == MEMBER_ALIVE || view.state == MEMBER_SUSPECT));
}

/* With events waiting for what is damaged, the vectors will hardly meet. And a
 * vector that came for repair counts such events in, so that the law may seem
 * broken to all the others meanwhile. */
static unsigned attempts_max(const struct node *n)
{
    const struct heal *h = &n->heal;
    bool few = h->purpose == HEAL_LAW ||
               (h->purpose == HEAL_DAMAGE && n->pending_events > 0);

    return few ? HEAL_ATTEMPTS_FEW : HEAL_ATTEMPTS_MAX;
}

void heal_wait(struct node *n)
{
    struct heal *h = &n->heal;

    h->waiting = false;
    if (!peer_lives(n)) { /* another one, and soon */
        give_up_on_peer(h);
        report(n, CM_ERR_TIMEOUT, "it does not live any more");
        end(n);
        return;
    }
    h->due_ms = node_now(n) + HEAL_RETRY_MS;
    if (++h->attempts < attempts_max(n))
        return;
    heal_fail(n, CM_ERR_TIMEOUT,
              "no answer about one version vector; busy or out of reach");
}

/* ---- questions and answers ---- */

int heal_ask(struct node *n, enum compare_kind kind,
             const struct schema_key *keys, size_t count)
{
    struct heal *h = &n->heal;
    struct link *l = link_to(n, &h->peer, &h->address);
    struct buffer message, frame;
    int error = l == NULL ? CM_ERR_BUSY : 0;

    buffer_init(&message, COMPARE_MESSAGE_MAX);
    buffer_init(&frame, CHANNEL_FRAME_MAX);
    h->id++;
    if (error == 0) {
        compare_message_ask(&message, kind, h->id, &h->vv, h->any_vv, keys,
                            count);
        frame_compare(&frame, buffer_slice(&message));
        error = message.error != 0 ? message.error : link_send(n, l, &frame);
    }
    buffer_release(&message);
    buffer_release(&frame);
    if (error != 0)
        return error;
    h->stream = l->stream;
    h->waiting = true;
    h->due_ms = node_now(n) + HEAL_ANSWER_MS;
    return 0;
}

static void ask_state(struct node *n)
{
    struct heal *h = &n->heal;

    h->vv = vv_hash(&n->vv);
    /* The operator wants to see, whatever the vectors are. */
    h->any_vv = h->purpose == HEAL_COMPARE && h->attempts >= ANY_VECTOR_AFTER;
    if (heal_ask(n, COMPARE_ASK_STATE, NULL, 0) != 0)
        heal_wait(n);
}

static void fetch(struct node *n);

static void next_attempt(struct node *n)
{
    switch (n->heal.phase) {
    case HEAL_NONE:
    case HEAL_APPLY:
        break;
    case HEAL_STATE:
        ask_state(n);
        break;
    case HEAL_FETCH:
        fetch(n);
        break;
    case HEAL_SPLIT:
    case HEAL_PARTS:
    case HEAL_KEYS:
        /* What was found belongs to the vector of then. */
        if (!n->heal.any_vv) {
            struct hash vv = vv_hash(&n->vv);

            if (!hash_equal(&vv, &n->heal.vv)) {
                n->heal.phase = HEAL_STATE;
                ask_state(n);
                break;
            }
        }
        heal_compare_again(n);
        break;
    }
}

static void on_state(struct node *n, const struct compare_message *m)
{
    struct heal *h = &n->heal;
    struct hash mine = vv_hash(&n->vv);

    h->same_vector = hash_equal(&mine, &m->vv);
    h->same_digest = hash_equal(&m->digest, &n->digest);
    if (!h->same_vector && !h->any_vv) {
        heal_wait(n);
        return;
    }
    h->vv = mine;
    h->peer_digest = m->digest;
    h->peer_lanes = m->lanes;
    h->differences_count = 0;
    h->more = false;
    if (h->same_digest && h->purpose == HEAL_LAW) {
        end(n); /* it was on its way */
        return;
    }
    if (h->purpose == HEAL_LAW)
        h->counters.divergences++;
    heal_compare_begin(n);
}

static void on_entries(struct node *n, struct compare_message *m)
{
    struct heal *h = &n->heal;
    int error = 0;

    for (size_t i = 0; i < m->entries_count && error == 0; i++) {
        struct slice packed;
        enum compare_entry_state state =
            compare_message_entry(&m->entries, &packed);

        if (h->fetched == h->differences_count) {
            error = CM_ERR_MALFORMED;
        } else if (state > COMPARE_ENTRY_ABSENT) {
            error = CM_ERR_DAMAGED;
        } else {
            error = heal_change_add(h->change, &h->differences[h->fetched].key,
                                    packed);
            h->fetched += error == 0;
        }
    }
    if (error == CM_ERR_LIMIT && h->change->entries_count > 0)
        error = 0; /* the rest with the next change */
    if (error != 0)
        heal_fail(n, error, "the peer cannot give what differs");
    else
        fetch(n);
}

void heal_on_frame(struct node *n, struct link *l, const struct frame *f)
{
    struct heal *h = &n->heal;
    struct compare_message *m;

    /* A scratch of its own: the answer waits for the own walk. */
    m = cm_calloc(1, sizeof *m);
    if (m == NULL || compare_message_decode(m, f->bytes) != 0) {
        l->closing = m != NULL;
        cm_free(m);
        return;
    }
    if (m->kind == COMPARE_ASK_STATE || m->kind == COMPARE_ASK_PARTS ||
        m->kind == COMPARE_ASK_KEYS || m->kind == COMPARE_ASK_ENTRIES) {
        heal_serve_ask(n, l, m);
    } else if (h->waiting && m->id == h->id && l->stream == h->stream &&
               key_id_equal(&l->peer, &h->peer)) {
        h->waiting = false;
        h->due_ms = UINT64_MAX;
        if (m->kind == COMPARE_REFUSED) {
            heal_wait(n);
        } else if (m->kind == COMPARE_STATE && h->phase == HEAL_STATE) {
            on_state(n, m);
        } else if ((m->kind == COMPARE_PARTS && h->phase == HEAL_PARTS) ||
                   (m->kind == COMPARE_KEYS && h->phase == HEAL_KEYS)) {
            h->attempts = 0; /* it makes progress */
            *h->answer = *m;
            heal_compare_answer(n);
        } else if (m->kind == COMPARE_ENTRIES && h->phase == HEAL_FETCH) {
            on_entries(n, m);
        } else {
            heal_fail(n, CM_ERR_MALFORMED, "the peer answers something else");
        }
    }
    cm_free(m);
}

void heal_link_gone(struct node *n, const struct link *l)
{
    struct heal *h = &n->heal;

    heal_serve_gone(n, l);
    if (!h->waiting || h->stream != l->stream)
        return;
    heal_wait(n); /* asked again over another one, but not for ever */
}

/* ---- mending ---- */

static void submit_change(struct node *n);

static void applied(void *context, struct intent *i)
{
    struct node *n = context;
    struct heal *h = &n->heal;
    struct heal_change *c = i->replacement;

    CHECK(h->phase == HEAL_APPLY && c != NULL);
    if (i->result == 0) {
        h->counters.healed += c->healed;
        node_log(n, 'W', "heal: %zu entries were written again as %s has them",
                 c->healed, h->peer_name);
        heal_change_free(c);
        if (h->fetched < h->differences_count) {
            h->phase = HEAL_FETCH;
            fetch(n);
        } else {
            CM_MARK("heal: the state is whole again");
            report(n, 0, "");
            end(n);
            h->refused_count = 0;
            heal_note_damage(n); /* the scrub has the last word */
        }
    } else {
        bool moved = i->result == CM_ERR_CONDITION;

        heal_change_free(c);
        if (moved) { /* compared again, from the beginning */
            h->phase = HEAL_STATE;
            h->fetched = 0;
            heal_wait(n);
        } else {
            heal_fail(n, i->result, i->detail.text);
        }
    }
    intent_free(i);
}

static void submit_change(struct node *n)
{
    struct heal *h = &n->heal;
    struct intent *i = intent_new(INTENT_HEAL);
    int error = i == NULL ? CM_ERR_NOMEM : 0;

    h->change->vv = h->vv;
    /* Once nothing differs any more, the digest is the peer's. */
    h->change->has_lanes = h->fetched == h->differences_count && h->same_vector;
    h->change->lanes = h->peer_lanes;
    h->phase = HEAL_APPLY;
    h->due_ms = UINT64_MAX;
    if (error == 0) {
        i->replacement = h->change;
        i->done = applied;
        i->context = n;
        error = n->ports.writer->submit(n->ports.ctx, i);
    }
    if (error == 0) {
        h->change = NULL; /* the intent's */
        return;
    }
    intent_free(i);
    h->phase = HEAL_FETCH;
    heal_wait(n);
}

/* Asks for the entries that are not there yet, or writes those that are. */
static void fetch(struct node *n)
{
    struct heal *h = &n->heal;
    struct schema_key keys[COMPARE_KEYS_MAX];
    size_t count = 0;
    size_t room;

    h->phase = HEAL_FETCH;
    if (h->change == NULL)
        h->change = heal_change_new();
    if (h->change == NULL) {
        heal_fail(n, CM_ERR_NOMEM, "out of memory");
        return;
    }
    room = HEAL_ENTRIES_MAX - h->change->entries_count;
    if (h->change->packed.size >= HEAL_BYTES_MAX / 2)
        room = 0;
    while (count < room && count < COMPARE_KEYS_MAX &&
           h->fetched + count < h->differences_count) {
        keys[count] = h->differences[h->fetched + count].key;
        count++;
    }
    if (count == 0)
        submit_change(n);
    else if (heal_ask(n, COMPARE_ASK_ENTRIES, keys, count) != 0)
        heal_wait(n);
}

/* ---- deciding ---- */

static void tell_differences(struct node *n)
{
    struct heal *h = &n->heal;
    static const char *const sides[] = {"absent", "there", "damaged"};

    for (size_t i = 0; i < h->differences_count && i < HEAL_TOLD_MAX; i++) {
        const struct heal_difference *d = &h->differences[i];
        struct entry_id id;

        if (schema_parse_entry(&id, schema_key_slice(&d->key)) == 0)
            node_log(
                n, 'E', "  differs: %.*s%s%.*s: here %s, there %s",
                (int)id.key.size,
                id.space <= SPACE_CLIENT_LAST ? (const char *)id.key.data : "",
                id.element.size > 0 ? " " : "", (int)id.element.size,
                (const char *)id.element.data, sides[d->here], sides[d->there]);
    }
}

static void raise_law(struct node *n)
{
    struct heal *h = &n->heal;

    (void)snprintf(h->law_text, sizeof h->law_text,
                   "the law is broken: %s has the same version vector and "
                   "another state: %zu%s entries differ; see \"confmesh "
                   "compare %s\"",
                   h->peer_name, h->differences_count,
                   h->more ? " or more" : "", h->peer_name);
    if (!h->alarm_law) {
        CM_MARK("heal: the law is broken");
        node_log(n, 'E', "%s", h->law_text);
        tell_differences(n);
    }
    h->alarm_law = true;
    h->law_peer = h->peer;
}

/* Living members that have it, this node among them if it is the own one. */
static size_t votes(const struct node *n, const struct hash *digest)
{
    return gossip_digest_heard(n->gossip, digest, NULL) +
           hash_equal(digest, &n->digest);
}

static void mend(struct node *n)
{
    struct heal *h = &n->heal;

    if (h->more || h->differences_count == HEAL_DIFFERENCES_MAX)
        rebuild(n);
    else
        fetch(n);
}

/* Whether all that differs is gone here and there at the peer's, while nobody
 * lives who could say more. What a store has lost leaves nothing behind; what
 * is there has a checksum, and dots within the vector. */
static bool lacks_alone(const struct node *n, size_t votes_count)
{
    const struct heal *h = &n->heal;
    size_t living = 1 + gossip_member_count(n->gossip, MEMBER_ALIVE) +
                    gossip_member_count(n->gossip, MEMBER_SUSPECT);

    CHECK(h->purpose == HEAL_LAW);
    if (h->more || votes_count != living)
        return false;
    for (size_t i = 0; i < h->differences_count; i++)
        if (h->differences[i].here != HEAL_ABSENT ||
            h->differences[i].there != HEAL_THERE)
            return false;
    return h->differences_count > 0;
}

/* "The replica that cannot be confirmed by a second member is rebuilt." */
static void decide(struct node *n)
{
    struct heal *h = &n->heal;
    size_t mine = votes(n, &n->digest);
    size_t theirs = votes(n, &h->peer_digest);

    if (h->scrub.inconsistent || theirs > mine ||
        (theirs == mine && lacks_alone(n, mine + theirs))) {
        h->undecided = false;
        node_log(n, 'E',
                 "heal: this node's state is the wrong one (%zu members have "
                 "it, %zu have the other): taking that of %s",
                 mine, theirs, h->peer_name);
        mend(n);
        return;
    }
    h->undecided = theirs == mine;
    if (h->undecided)
        heal_note_damage(n); /* perhaps it does not add up here */
    report(n, 0, "");
    end(n);
}

void heal_compared(struct node *n)
{
    struct heal *h = &n->heal;

    switch (h->purpose) {
    case HEAL_COMPARE:
        report(n, 0, "");
        end(n);
        return;
    case HEAL_ADOPT:
        mend(n);
        return;
    case HEAL_DAMAGE:
        if (h->differences_count > 0 || !h->same_digest) {
            /* With another digest the peer may be the damaged one. */
            if (h->same_digest || h->scrub.inconsistent ||
                votes(n, &h->peer_digest) > votes(n, &n->digest))
                mend(n);
            else
                heal_fail(n, CM_ERR_CONDITION,
                          "its state is not this node's, and nobody confirms "
                          "it");
            return;
        }
        end(n);
        return;
    case HEAL_LAW:
        if (h->differences_count == 0) { /* the digests alone differ */
            heal_note_damage(n);
            end(n);
            return;
        }
        raise_law(n);
        decide(n);
        return;
    }
}

/* ---- what begins it ---- */

void heal_ready(struct node *n)
{
    struct heal_scrub *s = &n->heal.scrub;

    s->due_ms = s->interval_ms == UINT64_MAX ? UINT64_MAX
                                             : node_now(n) + s->interval_ms;
    heal_facts_changed(n);
}

void heal_replaced(struct node *n)
{
    n->heal.rebuilding = false;
    n->heal.scrub.inconsistent = false;
    heal_note_damage(n); /* the scrub has the last word */
}

void node_note_damage(struct node *n)
{
    heal_note_damage(n); /* the next input arms the timer for it */
}

void heal_on_same_vector(struct node *n, const struct link *l)
{
    struct heal *h = &n->heal;
    struct member_view view;

    if (n->gossip == NULL || node_now(n) < h->calm_ms ||
        n->inflight_count > 0 ||
        !gossip_member_find(n->gossip, &l->peer, &view) ||
        view.state != MEMBER_ALIVE || view.digest_equal)
        return;
    (void)begin(n, HEAL_LAW, &view);
}

void heal_note_damage(struct node *n)
{
    struct heal *h = &n->heal;
    uint64_t soon = node_now(n) + HEAL_SCRUB_SOON_MS;

    if (h->noted)
        return;
    h->noted = true;
    if (h->scrub.due_ms > soon && h->scrub.scan == NULL)
        h->scrub.due_ms = soon;
}

static bool was_refused(const struct heal *h, const struct key_id *peer)
{
    for (size_t i = 0; i < h->refused_count; i++)
        if (key_id_equal(&h->refused_peers[i], peer))
            return true;
    return false;
}

/* A living member to heal from: with the same digest, if there is one. */
static bool find_peer(struct node *n, struct member_view *ret)
{
    for (int equal = 1; equal >= 0; equal--) {
        for (size_t i = 0; i < gossip_member_total(n->gossip); i++) {
            gossip_member_at(n->gossip, i, ret);
            if (ret->state == MEMBER_ALIVE && ret->has_certificate &&
                ret->digest_equal == (equal == 1) &&
                !was_refused(&n->heal, &ret->key_id))
                return true;
        }
    }
    n->heal.refused_count = 0; /* all again, the next time */
    return false;
}

static bool is_entry(const struct schema_key *key)
{
    return key->size > 0 && key->bytes[0] == SCHEMA_PREFIX_ENTRY;
}

static bool needs_peer(const struct heal *h)
{
    for (size_t i = 0; i < h->damaged_keys_count; i++)
        if (is_entry(&h->damaged_keys[i]))
            return true;
    return h->scrub.inconsistent || h->damaged > h->damaged_keys_count;
}

void heal_tick(struct node *n, uint64_t now)
{
    struct heal *h = &n->heal;
    struct member_view view;

    heal_scrub_tick(n, now);
    heal_facts_tick(n, now);
    if (n->gossip == NULL)
        return;
    if (h->alarm_law && gossip_member_find(n->gossip, &h->law_peer, &view) &&
        view.digest_equal) {
        h->alarm_law = false;
        h->undecided = false;
        node_log(n, 'I', "heal: the states are equal again");
    }
    if (h->phase != HEAL_NONE) {
        if (now < h->due_ms)
            return;
        if (h->waiting) {
            h->waiting = false; /* its time is over */
            heal_wait(n);
        } else {
            h->due_ms = UINT64_MAX;
            next_attempt(n);
        }
        return;
    }
    if (h->rebuilding && (now >= h->rebuild_ms || !cut_pull_busy(n))) {
        h->rebuilding = false; /* it did not come: another peer */
        give_up_on_peer(h);
    }
    if (needs_peer(h) && !h->rebuilding && now >= h->calm_ms) {
        h->calm_ms = now + HEAL_CALM_MS;
        if (find_peer(n, &view))
            (void)begin(n, HEAL_DAMAGE, &view);
    }
}

uint64_t heal_deadline(const struct node *n)
{
    const struct heal *h = &n->heal;
    uint64_t due = heal_scrub_deadline(n);
    uint64_t facts = heal_facts_deadline(n);

    if (facts < due)
        due = facts;
    if (h->phase != HEAL_NONE && h->due_ms < due)
        due = h->due_ms;
    if (h->phase == HEAL_NONE && n->gossip != NULL && needs_peer(h)) {
        uint64_t next = h->rebuilding ? h->rebuild_ms : h->calm_ms;

        due = next < due ? next : due;
    }
    return due;
}

static bool member_named(const struct node *n, const char *name,
                         struct member_view *ret)
{
    for (size_t i = 0; n->gossip != NULL && i < gossip_member_total(n->gossip);
         i++) {
        gossip_member_at(n->gossip, i, ret);
        if (strcmp(ret->name, name) == 0)
            return true;
    }
    return false;
}

static int operator_begins(struct node *n, const char *name,
                           enum heal_purpose purpose, node_compare_done done,
                           void *ctx, struct cm_detail *detail)
{
    struct member_view view;

    if (!member_named(n, name, &view))
        return cm_fail(detail, CM_ERR_NOT_FOUND,
                       "no member is named %s; see \"confmesh members\"", name);
    if (view.state != MEMBER_ALIVE)
        return cm_fail(detail, CM_ERR_TIMEOUT, "%s does not answer", name);
    if (!begin(n, purpose, &view))
        return cm_fail(detail, CM_ERR_BUSY,
                       "a comparison is under way; try again in a moment");
    n->heal.done = done;
    n->heal.done_ctx = ctx;
    node_drain(n);
    return 0;
}

int node_compare(struct node *n, const char *name, node_compare_done done,
                 void *ctx, struct cm_detail *detail)
{
    return operator_begins(n, name, HEAL_COMPARE, done, ctx, detail);
}

int node_adopt_from(struct node *n, const char *name, struct cm_detail *detail)
{
    int error = operator_begins(n, name, HEAL_ADOPT, NULL, NULL, detail);

    if (error == 0)
        node_log(n, 'W', "heal: the operator says that %s is right", name);
    return error;
}

void heal_status_read(const struct node *n, struct heal_status *ret_status)
{
    static const char *const phases[] = {
        "",          "asking",   "comparing", "comparing",
        "comparing", "fetching", "mending",
    };
    const struct heal *h = &n->heal;

    *ret_status = (struct heal_status){
        .phase = phases[h->phase],
        .alarm_law = h->alarm_law,
        .undecided = h->undecided,
        .law_text = h->law_text,
        .damaged = h->damaged,
        .damage_text = h->damage_text,
        .scrub_wall_ms = h->scrub.wall_ms,
        .scrub_records = h->scrub.records,
        .scrub_interval_ms = h->scrub.interval_ms,
        .inconsistent = h->scrub.inconsistent,
        .counters = h->counters,
    };
}
