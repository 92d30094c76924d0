/* The scrub: a slow walk over every record, by checksum, and over all entries,
 * whose sum must be the digest. What it cannot read it has mended: by the
 * writer alone where memory or the entries know better, else by a peer.
 *
 * One read transaction for the whole walk, because only then the sum means
 * something; the steps are spread over time, so that the disk is left to
 * others. */
#include <stdio.h>
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"
#include "node/store_check.h"

void heal_scrub_release(struct node *n)
{
    compare_scan_free(n->heal.scrub.scan);
    n->heal.scrub.scan = NULL;
}

/* ---- what the writer can mend alone ---- */

static void mended(void *context, struct intent *i)
{
    struct node *n = context;
    struct heal_change *c = i->replacement;

    if (i->result == 0) {
        n->heal.counters.healed += c->healed;
        if (c->healed > 0 && !n->heal.scrub.looked_again) {
            n->heal.scrub.looked_again = true; /* once: a disk may be gone */
            heal_note_damage(n);
        }
        if (c->healed > 0)
            node_log(n, 'W', "heal: %zu records were made again", c->healed);
        if (c->unsent_lost > 0)
            node_log(n, 'E',
                     "heal: %zu unsent writes could not be read any more and "
                     "were given up: nobody else has them",
                     c->unsent_lost);
        if (c->named_lost > 0)
            node_log(n, 'E',
                     "heal: %zu facts of this node could not be read any more "
                     "and are forgotten, among them: %s",
                     c->named_lost, c->lost_name);
        heal_named_store(n, c);
        if (c->has_found)
            node_log(n, 'E',
                     "heal: the digest did not fit the entries and was "
                     "corrected");
    } else {
        node_log(n, 'W', "heal: %s", i->detail.text);
    }
    heal_change_free(c);
    intent_free(i);
}

static void mend_alone(struct node *n, const struct compare_result *r,
                       bool correct)
{
    struct heal_change *c = heal_change_new();
    struct intent *i = intent_new(INTENT_HEAL);

    if (c != NULL)
        for (size_t k = 0; k < r->damaged_keys_count; k++)
            if (r->damaged_keys[k].bytes[0] != SCHEMA_PREFIX_ENTRY)
                c->drop[c->drop_count++] = r->damaged_keys[k];
    if (c != NULL && correct) {
        c->has_found = true;
        c->stored = r->lanes;
        c->found = r->found;
    }
    if (c == NULL || i == NULL || (c->drop_count == 0 && !c->has_found)) {
        heal_change_free(c);
        intent_free(i);
        return;
    }
    heal_named_give(n, c);
    i->replacement = c;
    i->done = mended;
    i->context = n;
    if (n->ports.writer->submit(n->ports.ctx, i) == 0)
        return;
    heal_change_free(c); /* the next scrub */
    intent_free(i);
}

/* ---- what was found ---- */

static void name_damage(struct node *n, const struct compare_result *r)
{
    struct heal *h = &n->heal;
    struct entry_id id;

    h->damage_text[0] = '\0';
    if (r->damaged == 0)
        return;
    for (size_t i = 0; i < r->damaged_keys_count; i++) {
        if (schema_parse_entry(&id, schema_key_slice(&r->damaged_keys[i])) !=
                0 ||
            id.space > SPACE_CLIENT_LAST)
            continue;
        (void)snprintf(h->damage_text, sizeof h->damage_text,
                       "%llu records cannot be read, among them the key %.*s",
                       (unsigned long long)r->damaged, (int)id.key.size,
                       (const char *)id.key.data);
        return;
    }
    (void)snprintf(h->damage_text, sizeof h->damage_text,
                   "%llu records cannot be read",
                   (unsigned long long)r->damaged);
}

static void found(struct node *n, const struct compare_result *r)
{
    struct heal *h = &n->heal;
    bool off = r->damaged == 0 && !digest_equal(&r->found, &r->lanes);
    bool alone =
        n->gossip == NULL || gossip_member_count(n->gossip, MEMBER_ALIVE) == 0;

    h->scrub.records = r->records;
    h->scrub.bytes = r->bytes;
    h->scrub.damaged = r->damaged;
    h->scrub.wall_ms = node_wall(n);
    h->counters.scrubs++;
    h->counters.scrub_records += r->records;
    name_damage(n, r);
    if (r->damaged > 0 && h->damaged == 0)
        node_log(n, 'E', "damage: %s", h->damage_text);
    if (r->damaged == 0 && h->damaged > 0)
        node_log(n, 'I', "damage: nothing is damaged any more");
    if (r->damaged == 0)
        h->scrub.looked_again = false;
    h->damaged = r->damaged;
    h->damaged_keys_count = r->damaged_keys_count;
    memcpy(h->damaged_keys, r->damaged_keys,
           r->damaged_keys_count * sizeof r->damaged_keys[0]);
    /* Entries that do not add up: a peer's tell which ones, if there is a
     * peer. A second scrub that finds nothing else corrects the sum. */
    if (off && !h->scrub.inconsistent)
        node_log(n, 'E', "damage: the entries do not add up to their digest");
    mend_alone(n, r, off && (alone || h->scrub.inconsistent));
    h->scrub.inconsistent = off && !(alone || h->scrub.inconsistent);
    CM_MARK_IF(r->damaged > 0, "scrub: found damage");
}

static bool knows_others(const struct node *n)
{
    for (size_t i = 0; i < n->peers_count; i++)
        if (!key_id_equal(&n->peers[i].peer, &n->key_id))
            return true;
    return false;
}

/* LMDB itself goes wrong where its own pages are damaged: nothing is mended
 * through it any more. Who has peers ends, and its next start sets the file
 * aside; who is alone serves what it can, and says so. */
static void pages_damaged(struct node *n)
{
    struct heal *h = &n->heal;
    bool others = h->facts_path != NULL && knows_others(n);
    const char *what = h->scrub.pages == CM_ERR_DAMAGED
                           ? h->scrub.pages_detail.text
                           : "pages of data.mdb are damaged";

    CM_MARK("scrub: pages are damaged");
    if (h->damaged == 0)
        h->damaged = 1;
    (void)snprintf(h->damage_text, sizeof h->damage_text, "%.160s: %s", what,
                   others ? "the node ends; its next start sets "
                            "the file aside and joins anew"
                          : "restore a snapshot into a new "
                            "directory");
    node_log(n, 'E', "damage: %s", h->damage_text);
    if (others)
        node_store_failed(n);
}

/* ---- steps ---- */

static bool scrub_step(struct work *w)
{
    struct heal_scrub *s = (struct heal_scrub *)w;

    s->error = compare_scan_step(s->scan);
    s->pages = 0;
    if (s->error <= 0 && s->error != CM_ERR_NOMEM)
        s->pages = store_check_open(s->node->store, &s->pages_detail);
    return false; /* the next one after a pause */
}

static void scrub_done(struct work *w)
{
    struct heal_scrub *s = (struct heal_scrub *)w;
    struct node *n = s->node;
    uint64_t now = node_now(n);

    s->busy = false;
    if (s->error > 0) {
        s->due_ms = now + HEAL_SCRUB_STEP_MS;
        return;
    }
    if (s->error == 0) {
        n->heal.noted = false;
        found(n, compare_scan_result(s->scan));
    } else {
        node_log(n, 'E', "damage: the scrub could not go on: %s",
                 cm_strerror(s->error));
    }
    if (s->error == CM_ERR_DAMAGED || s->pages == CM_ERR_DAMAGED)
        pages_damaged(n);
    heal_scrub_release(n);
    s->due_ms = n->heal.damaged > 0 || s->inconsistent || s->error != 0
                    ? now + HEAL_SCRUB_AGAIN_MS
                : s->interval_ms != UINT64_MAX ? now + s->interval_ms
                                               : UINT64_MAX;
}

void heal_scrub_tick(struct node *n, uint64_t now)
{
    struct heal_scrub *s = &n->heal.scrub;

    if (s->busy || now < s->due_ms || !n->ready)
        return;
    s->node = n;
    if (s->scan == NULL &&
        compare_scan_create(&s->scan, n->store, COMPARE_SCRUB, NULL, 0) != 0) {
        s->due_ms = now + HEAL_SCRUB_AGAIN_MS;
        return;
    }
    s->busy = true;
    s->work = (struct work){
        .step = scrub_step, .done = scrub_done, .lane = WORK_LANE_SNAPSHOT};
    n->ports.work->submit(n->ports.ctx, &s->work);
}

uint64_t heal_scrub_deadline(const struct node *n)
{
    const struct heal_scrub *s = &n->heal.scrub;

    return s->busy || !n->ready ? UINT64_MAX : s->due_ms;
}
