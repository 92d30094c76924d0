#include "node/standing_view.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/standing_read.h"

static int take_members(struct standing_view *v, const struct standing *s)
{
    size_t count = standing_members(s);

    v->members = cm_calloc(count + 1, sizeof *v->members);
    if (v->members == NULL)
        return CM_ERR_NOMEM;
    v->members_count = count;
    for (size_t i = 0; i < count; i++) {
        const struct incarnation *who = standing_member(s, i);

        v->members[i].incarnation = *who;
        v->members[i].stays = standing_stays(s, who);
        v->members[i].level = standing_level_of(s, who);
        v->evictees += !v->members[i].stays;
        if (v->members[i].level > v->level_max)
            v->level_max = v->members[i].level;
        CHECK(i == 0 ||
              incarnation_compare(&v->members[i - 1].incarnation, who) < 0);
    }
    return 0;
}

static int take_holders(struct standing_view *v, const struct standing *s)
{
    size_t room = 2 * v->members_count;
    struct standing_holder *all = cm_calloc(room + 1, sizeof *all);
    size_t total = 0;
    int error;

    if (all == NULL)
        return CM_ERR_NOMEM;
    error = standing_holders(s, all, room, &total);
    if (error != 0 || total == 0) {
        cm_free(all);
        return error;
    }
    CHECK(total <= room);
    v->holders_total = total;
    for (size_t i = 0; i < total; i++) {
        v->proposal_open = v->proposal_open || !all[i].for_fence;
        v->fence_open = v->fence_open || all[i].for_fence;
    }
    v->holders = all;
    v->holders_count =
        total < STANDING_VIEW_HOLDERS_MAX ? total : STANDING_VIEW_HOLDERS_MAX;
    return 0;
}

static int take_heard(struct standing_view *v, const struct standing *s)
{
    struct buffer heard;
    int error;

    v->heard_count = standing_heard(s, NULL, 0);
    if (v->heard_count == 0)
        return 0;
    buffer_init(&heard, HEARD_SIZE_MAX);
    error = standing_pack_heard(&heard, s);
    if (error == 0) {
        v->heard = cm_alloc(heard.size);
        error = v->heard == NULL ? CM_ERR_NOMEM : 0;
    }
    if (error == 0) {
        memcpy(v->heard, heard.data, heard.size);
        v->heard_size = heard.size;
    }
    buffer_release(&heard);
    return error;
}

struct standing_view *standing_view_new(const struct standing *s,
                                        const struct incarnation *self)
{
    struct standing_view *v = cm_calloc(1, sizeof *v);
    int error;

    if (v == NULL)
        return NULL;
    error = take_members(v, s);
    if (error == 0)
        error = take_holders(v, s);
    if (error == 0)
        error = take_heard(v, s);
    if (error != 0) {
        standing_view_release(v);
        return NULL;
    }
    v->floor_time = standing_floor_time(s);
    v->epoch = standing_epoch(s);
    v->order = standing_order(s);
    v->hash = standing_hash(s);
    v->self_member = standing_is_member(s, self);
    v->self_sealed = standing_is_sealed(s, self, &v->self_last);
    v->self_evictee = v->self_sealed || standing_is_evictee(s, self);
    v->dropped = standing_is_dropped(s);
    v->level = standing_level(s, NULL);
    v->self_level = standing_level_of(s, self);
    for (size_t i = 0; i < v->members_count; i++)
        v->behind += v->members[i].stays && v->members[i].level < v->level_max;
    return v;
}

void standing_view_release(struct standing_view *v)
{
    if (v == NULL)
        return;
    cm_free(v->members);
    cm_free(v->holders);
    cm_free(v->heard);
    cm_free(v);
}

const struct standing_view_member *
standing_view_find(const struct standing_view *v, const struct incarnation *i)
{
    size_t low = 0;
    size_t high = v->members_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = incarnation_compare(&v->members[middle].incarnation, i);

        if (order == 0)
            return &v->members[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
