/* Who uploads to a target.
 *
 * The members of the roster are put in an order by a hash of mesh and key
 * (rendezvous hashing); of those among them that have announced themselves at
 * the target (snapshot_roll.h) and live, the first two upload. All see the same
 * order, so that they agree without a word; where their views of who lives
 * differ, in a partition, more than two upload, which does no harm.
 *
 * An uploader that is dead for the membership gives way at once. One that lives
 * but brings nothing to the target any more (its network, its credentials) is
 * passed over when its announcement and heartbeat have not changed for a few
 * of its own beats: those who would be next look so often. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

#define LOOK_MS_MIN 1000            /* between two looks */
#define LOOK_BEATS 10               /* of those who need not look sooner */
#define LOOK_MS_WITHOUT_BEAT 600000 /* where nobody promises any */
#define LOOK_RETRY_MS 30000
#define STANDBYS 2     /* who look with every beat */
#define SILENT_BEATS 4 /* without a change */
#define ANNOUNCE_MS UINT64_C(3600000)
#define ANNOUNCEMENT_MS_MAX (3 * ANNOUNCE_MS) /* older ones count no more */

struct roll_task {
    struct work work;
    struct node *node;
    struct upload_target *target;
    struct roll_job *job;
    bool announces;
    uint64_t members; /* as the target's seen_members */
};

/* ---- the order ---- */

struct ranked {
    struct roll_member member;
    struct hash rank;
};

static int compare_ranked(const void *pa, const void *pb)
{
    const struct ranked *a = pa;
    const struct ranked *b = pb;

    return hash_compare(&b->rank, &a->rank);
}

static struct hash rank_of(const struct node *n, const struct key_id *key)
{
    uint8_t bytes[MESH_ID_SIZE + KEY_ID_SIZE];

    memcpy(bytes, n->mesh.bytes, MESH_ID_SIZE);
    memcpy(bytes + MESH_ID_SIZE, key->bytes, KEY_ID_SIZE);
    return hash_of("confmesh uploader v1", slice_of(bytes, sizeof bytes));
}

static bool stays(const struct node *n, const struct roster_member *m)
{
    const struct standing_view_member *v =
        n->standing != NULL ? standing_view_find(n->standing, &m->incarnation)
                            : NULL;

    return v == NULL || v->stays;
}

static bool lives(const struct node *n, const struct key_id *key)
{
    struct member_view view;

    return key_id_equal(key, &n->key_id) ||
           (n->gossip != NULL && gossip_member_find(n->gossip, key, &view) &&
            (view.state == MEMBER_ALIVE || view.state == MEMBER_SUSPECT));
}

/* Every living node of the roster once, best first. NULL when memory is short
 * or it is empty. */
static struct roll_member *ranked_members(const struct node *n,
                                          size_t *ret_count)
{
    size_t total = n->roster != NULL ? n->roster->count : 0;
    struct ranked *all = total > 0 ? cm_calloc(total, sizeof *all) : NULL;
    struct roll_member *ret = total > 0 ? cm_calloc(total, sizeof *ret) : NULL;
    size_t count = 0;
    size_t kept = 0;

    for (size_t i = 0; all != NULL && i < total; i++) {
        const struct roster_member *m = &n->roster->members[i];
        struct ranked *r = &all[count];

        /* Announcements of the dead must not crowd out those of the living. */
        if (!stays(n, m) || !lives(n, &m->certificate.key_id))
            continue;
        r->member.key = m->certificate.key_id;
        memcpy(r->member.sign_key, m->certificate.sign_key, 32);
        memcpy(r->member.name, m->certificate.name, sizeof r->member.name);
        r->rank = rank_of(n, &r->member.key);
        count++;
    }
    if (count > 1)
        qsort(all, count, sizeof *all, compare_ranked);
    for (size_t i = 0; ret != NULL && i < count; i++)
        if (i == 0 || !key_id_equal(&all[i].member.key, &all[i - 1].member.key))
            ret[kept++] = all[i].member;
    cm_free(all);
    *ret_count = kept;
    if (kept > 0)
        return ret;
    cm_free(ret);
    return NULL;
}

/* ---- who lives ---- */

/* Changes whenever somebody comes or goes. */
static uint64_t sum_of_living(const struct node *n)
{
    size_t total = n->gossip != NULL ? gossip_member_total(n->gossip) : 0;
    uint64_t ret = n->roster != NULL ? n->roster->count : 0;

    for (size_t i = 0; i < total; i++) {
        struct member_view m;
        uint64_t part;

        gossip_member_at(n->gossip, i, &m);
        if (m.state != MEMBER_ALIVE && m.state != MEMBER_SUSPECT)
            continue;
        memcpy(&part, m.key_id.bytes, sizeof part);
        ret += part;
    }
    return ret;
}

static bool is_silent(const struct upload_target *t, size_t i, uint64_t now)
{
    const struct roll_candidate *c = &t->candidates[i];

    return c->beat_ms > 0 && t->looked_ms > t->changed_ms[i] &&
           t->looked_ms - t->changed_ms[i] > SILENT_BEATS * c->beat_ms &&
           now >= t->looked_ms;
}

/* How many candidates come before this node and may be relied upon; the names
 * of the first two who may. */
static size_t rank_among(const struct node *n, const struct upload_target *t,
                         uint64_t now,
                         char ret_names[UPLOADERS_WANTED][NAME_SIZE_MAX + 1],
                         bool *ret_listed)
{
    uint64_t wall = node_wall(n);
    size_t before = SIZE_MAX;
    size_t count = 0;

    *ret_listed = false;
    for (size_t i = 0; i < t->candidates_count; i++) {
        const struct roll_candidate *c = &t->candidates[i];
        bool self = key_id_equal(&c->key, &n->key_id);

        if (!self && (!lives(n, &c->key) || is_silent(t, i, now) ||
                      c->created_ms + ANNOUNCEMENT_MS_MAX < wall))
            continue;
        if (self) {
            before = count;
            *ret_listed = true;
        }
        if (count < UPLOADERS_WANTED)
            memcpy(ret_names[count], c->name, sizeof c->name);
        count++;
    }
    return before == SIZE_MAX ? count : before;
}

/* ---- judging ---- */

static void become(struct node *n, struct upload_target *t, bool uploads)
{
    if (t->uploads == uploads)
        return;
    t->uploads = uploads;
    node_log(n, 'I', "snapshots to %s: %s", t->url, t->status.reason);
    if (!uploads)
        return;
    CM_MARK_IF(t->announced_ms != 0 && t->wall_ms == 0,
               "snapshot: a node begins to upload");
    t->uploads_since_wall_ms = node_wall(n);
    if (n->snapshot_interval_ms > 0 && t->due_ms == 0)
        t->due_ms = node_now(n) + n->snapshot_interval_ms;
    if (t->delta_due_ms > node_now(n) + n->delta_interval_ms)
        t->delta_due_ms = node_now(n);
}

static void judge(struct node *n, struct upload_target *t, uint64_t now)
{
    char names[UPLOADERS_WANTED][NAME_SIZE_MAX + 1] = {"", ""};
    char reason[sizeof t->status.reason];
    bool listed;
    size_t before;
    bool uploads;

    if (!t->looked) {
        (void)snprintf(t->status.reason, sizeof t->status.reason,
                       "it is not known yet who shares the target");
        return;
    }
    before = rank_among(n, t, now, names, &listed);
    uploads = listed && before < UPLOADERS_WANTED;
    if (uploads)
        (void)snprintf(reason, sizeof reason,
                       "this node uploads: number %zu of the living members "
                       "that announced themselves at the target",
                       before + 1);
    else if (listed)
        (void)snprintf(reason, sizeof reason,
                       "others upload (%.40s, %.40s); this node is next but "
                       "%zu",
                       names[0], names[1], before - UPLOADERS_WANTED);
    else
        (void)snprintf(reason, sizeof reason,
                       "others upload (%.40s, %.40s), and more come before "
                       "this node",
                       names[0], names[1]);
    memcpy(t->status.reason, reason, sizeof reason);
    memcpy(t->status.uploaders, names, sizeof names);
    become(n, t, uploads);
}

static bool is_member(const struct node *n)
{
    return n->standing != NULL && n->standing->self_member &&
           !n->standing->self_evictee;
}

void uploaders_tick(struct node *n, uint64_t now)
{
    uint64_t living;

    if (n->targets_count == 0 || !n->ready)
        return;
    if (!is_member(n)) {
        for (size_t i = 0; i < n->targets_count; i++) {
            (void)snprintf(n->targets[i].status.reason,
                           sizeof n->targets[i].status.reason,
                           "this node is no member of the roster: it does not "
                           "upload");
            become(n, &n->targets[i], false);
        }
        return;
    }
    living = sum_of_living(n);
    for (size_t i = 0; i < n->targets_count; i++) {
        struct upload_target *t = &n->targets[i];
        uint64_t soon = t->looked_ms + deltas_beat_ms(n) + LOOK_MS_MIN;

        /* Whoever came may share the target. */
        if (t->looked && living != t->seen_members && soon < t->look_due_ms)
            t->look_due_ms = soon > now ? soon : now;
        judge(n, t, now);
    }
}

/* ---- looking ---- */

uint64_t uploaders_look_ms(const struct node *n, const struct upload_target *t)
{
    if (!is_member(n) ||
        (n->snapshot_interval_ms == 0 && n->delta_interval_ms == 0))
        return UINT64_MAX;
    return t->look_due_ms;
}

static uint64_t look_interval(struct node *n, const struct upload_target *t,
                              size_t before)
{
    uint64_t beat = deltas_beat_ms(n);
    uint64_t ret;

    if (beat == 0)
        return LOOK_MS_WITHOUT_BEAT;
    /* While there is no manifest, the announcement tells that it comes. */
    if ((t->uploads && t->chain.base_sequence == 0) ||
        (before >= UPLOADERS_WANTED && before < UPLOADERS_WANTED + STANDBYS))
        ret = beat;
    else
        ret = LOOK_BEATS * beat;
    ret += random_below(&n->random, ret / 4 + 1);
    return ret > LOOK_MS_MIN ? ret : LOOK_MS_MIN;
}

/* Times of change are kept for those who stay on the list. */
static void take_candidates(struct upload_target *t, const struct roll_job *j,
                            uint64_t now)
{
    uint64_t changed[ROLL_CANDIDATES_MAX];
    size_t count;
    const struct roll_candidate *found = roll_job_candidates(j, &count);

    for (size_t i = 0; i < count; i++) {
        changed[i] = now;
        for (size_t k = 0; k < t->candidates_count; k++)
            if (key_id_equal(&t->candidates[k].key, &found[i].key) &&
                hash_equal(&t->candidates[k].evidence, &found[i].evidence))
                changed[i] = t->changed_ms[k];
    }
    memcpy(t->candidates, found, count * sizeof *found);
    memcpy(t->changed_ms, changed, count * sizeof *changed);
    t->candidates_count = count;
}

static bool look_step(struct work *w)
{
    return roll_job_step(((struct roll_task *)w)->job);
}

static void look_stop(struct work *w)
{
    roll_job_stop(((struct roll_task *)w)->job);
}

static void look_failed(struct node *n, struct upload_target *t,
                        const struct cm_detail *detail)
{
    uint64_t retry = deltas_beat_ms(n);

    if (retry == 0 || retry > LOOK_RETRY_MS)
        retry = LOOK_RETRY_MS;
    snapshots_failed(n, t, "looking who uploads", detail);
    t->look_due_ms = node_now(n) + retry;
}

static void look_done(struct work *w)
{
    struct roll_task *r = (struct roll_task *)w;
    struct node *n = r->node;
    struct upload_target *t = r->target;
    uint64_t now = node_now(n);
    struct cm_detail detail = {""};
    char names[UPLOADERS_WANTED][NAME_SIZE_MAX + 1];
    bool listed;

    t->busy = false;
    if (roll_job_error(r->job, &detail) != 0) {
        look_failed(n, t, &detail);
    } else {
        take_candidates(t, r->job, now);
        t->looked = true;
        t->looked_ms = now;
        t->seen_members = r->members;
        if (r->announces)
            t->announced_ms = now;
        judge(n, t, now);
        t->look_due_ms =
            now + look_interval(n, t, rank_among(n, t, now, names, &listed));
    }
    roll_job_free(r->job);
    cm_free(r);
}

static bool should_announce(const struct upload_target *t, uint64_t now)
{
    return t->announced_ms == 0 || now - t->announced_ms > ANNOUNCE_MS ||
           (t->uploads && t->chain.base_sequence == 0);
}

void uploaders_look(struct node *n, struct upload_target *t)
{
    struct roll_task *r = cm_calloc(1, sizeof *r);
    struct roll_config c = {
        .target = t->url,
        .mesh = n->mesh,
        .wall_ms = node_wall(n),
        .beat_ms = deltas_beat_ms(n),
        .announce = should_announce(t, node_now(n)),
    };
    struct cm_detail detail = {"out of memory"};

    CHECK(!t->busy);
    c.members = ranked_members(n, &c.members_count);
    if (r == NULL || c.members == NULL) {
        cm_free(r);
        cm_free(c.members);
        t->look_due_ms = node_now(n) + LOOK_RETRY_MS;
        return;
    }
    r->node = n;
    r->target = t;
    r->announces = c.announce;
    r->members = sum_of_living(n);
    memcpy(c.sign_secret_key, n->sign_secret_key, sizeof c.sign_secret_key);
    if (roll_job_create(&r->job, &c, &detail) != 0) {
        look_failed(n, t, &detail);
        cm_free(r);
    } else {
        r->work = (struct work){.step = look_step,
                                .done = look_done,
                                .stop = look_stop,
                                .lane = t->lane + 1};
        t->busy = true;
        n->ports.work->submit(n->ports.ctx, &r->work);
    }
    sodium_memzero(&c, sizeof c);
}
