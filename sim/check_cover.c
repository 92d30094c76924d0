/* What a host's own word is worth: "all from before T is at the target".
 *
 * A host that puts snapshots and deltas by itself says until when its target
 * covers what it had (`covered_wall_ms` of its status). What it really had is
 * noted now and then. Once it says that it is covered, a mesh that is restored
 * from that target after total loss has to hold it, whatever moment that was:
 * no more is lost than what the newest snapshots and deltas lack.
 *
 * Its word is by its own clock. While that is made to jump, nothing is noted.
 */
#include <inttypes.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "sim/check_internal.h"

#define NOTES_MAX 64
#define JUMP_MS 1000                      /* more than any clock drifts */
#define AFTER_JUMP_US UINT64_C(300000000) /* longer than a job takes */

struct note {
    uint64_t wall_ms;
    struct vv vv;
};

struct check_cover {
    struct note notes[NOTES_MAX]; /* of ascending times */
    size_t count;
    struct note covered;  /* the newest that is; wall_ms 0: none */
    uint64_t adoptions;   /* of the host, at the last look */
    int64_t offset_ms;    /* of its clock, likewise */
    uint64_t distrust_us; /* until then */
};

static void forget(struct check_cover *k)
{
    for (size_t i = 0; i < k->count; i++)
        vv_release(&k->notes[i].vv);
    vv_release(&k->covered.vv);
    k->covered.wall_ms = 0;
    k->count = 0;
}

static struct check_cover *cover_of(struct sim_check *c, struct check_host *h)
{
    if (h->cover == NULL && h->number < c->options.uploaders) {
        h->cover = cm_calloc(1, sizeof *h->cover);
        CHECK(h->cover != NULL);
        vv_init(&h->cover->covered.vv);
    }
    return h->cover;
}

/* The first so many notes are covered. */
static void settle(struct check_cover *k, size_t count)
{
    CHECK(count > 0 && count <= k->count);
    vv_release(&k->covered.vv);
    k->covered = k->notes[count - 1];
    for (size_t i = 0; i + 1 < count; i++)
        vv_release(&k->notes[i].vv);
    for (size_t i = count; i < k->count; i++)
        k->notes[i - count] = k->notes[i];
    k->count -= count;
}

/* Whether what is noted may be compared with what the host says. */
static bool is_steady(struct check_cover *k, const struct check_host *h,
                      uint64_t now_us, uint64_t wall_ms)
{
    int64_t offset = (int64_t)wall_ms - (int64_t)(now_us / 1000);
    bool jumped =
        offset > k->offset_ms + JUMP_MS || offset + JUMP_MS < k->offset_ms;

    if (jumped && k->offset_ms != 0)
        k->distrust_us = now_us + AFTER_JUMP_US;
    if (jumped || k->adoptions != h->adoptions)
        forget(k);
    k->offset_ms = offset;
    k->adoptions = h->adoptions;
    return now_us >= k->distrust_us;
}

void check_cover_look(struct sim_check *c, struct check_host *h)
{
    struct node *n = check_node(c, h);
    struct check_cover *k = cover_of(c, h);
    struct node_status status;
    size_t covered = 0;

    if (k == NULL || n == NULL || !h->has_identity || c->forked)
        return;
    uint64_t wall_ms = sim_host_wall_ms(c->options.hosts[h->number]);
    if (!is_steady(k, h, check_now(c), wall_ms) || h->unsure || h->doubtful ||
        h->put_back || h->rotten)
        return;
    node_status_read(n, &status);
    while (covered < k->count &&
           k->notes[covered].wall_ms < status.snapshot_covered_wall_ms)
        covered++;
    if (covered > 0)
        settle(k, covered);
    if (wall_ms <= status.snapshot_covered_wall_ms || k->count == NOTES_MAX ||
        (k->count > 0 && wall_ms <= k->notes[k->count - 1].wall_ms))
        return;
    struct note *note = &k->notes[k->count++];
    note->wall_ms = wall_ms;
    vv_init(&note->vv);
    CHECK(vv_copy(&note->vv, &h->vv) == 0);
}

void check_cover_say(struct sim_check *c, struct check_host *h)
{
    struct check_cover *k = cover_of(c, h);

    if (k != NULL && k->count > 0)
        settle(k, k->count);
}

void sim_check_on_loss(struct sim_check *c)
{
    if (c == NULL || c->options.blind)
        return;
    for (unsigned i = 0; i < c->options.hosts_count; i++)
        QUIETLY(check_cover_look(c, &c->hosts[i]));
}

bool sim_check_is_forked(const struct sim_check *c)
{
    return c != NULL && c->forked;
}

void check_cover_restored(struct sim_check *c, const struct vv *vv,
                          bool damaged)
{
    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        struct check_cover *k = c->hosts[i].cover;

        if (k == NULL)
            continue;
        if (k->covered.wall_ms != 0 && !damaged) {
            check_evaluated(c, SIM_CHECK_RESTORE);
            if (!vv_dominates(vv, &k->covered.vv))
                sim_check_report(c, SIM_CHECK_RESTORE, i,
                                 "said that its target covered what it had at "
                                 "%" PRIu64 " ms; not all of that was restored",
                                 k->covered.wall_ms);
        }
        forget(k);
    }
}

void check_cover_free(struct sim_check *c)
{
    for (unsigned i = 0; i < c->options.hosts_count; i++) {
        if (c->hosts[i].cover != NULL)
            forget(c->hosts[i].cover);
        cm_free(c->hosts[i].cover);
    }
}
