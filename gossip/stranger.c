/* Strangers; see stranger.h. */
#include "gossip/stranger.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

void strangers_init(struct strangers *s)
{
    *s = (struct strangers){0};
    s->told.max = STRANGERS_MAX;
    s->unproven.max = STRANGERS_UNPROVEN_MAX;
}

void strangers_release(struct strangers *s)
{
    cm_free(s->told.entries);
    cm_free(s->unproven.entries);
    strangers_init(s);
}

static struct stranger *list_find(const struct stranger_list *l,
                                  const struct key_id *id)
{
    size_t i;

    for (i = 0; i < l->count; i++)
        if (key_id_equal(&l->entries[i].key_id, id))
            return &l->entries[i];
    return NULL;
}

static void list_expire(struct stranger_list *l, uint64_t now_ms)
{
    size_t i = 0;

    while (i < l->count) {
        if (now_ms - l->entries[i].heard_ms > STRANGER_FORGET_MS)
            l->entries[i] = l->entries[--l->count];
        else
            i++;
    }
}

/* A free entry, or the one heard of longest ago. NULL: memory is short. */
static struct stranger *list_slot(struct stranger_list *l)
{
    struct stranger *oldest;
    size_t i;

    CHECK(l->count <= l->max && l->max > 0);
    if (l->entries == NULL)
        l->entries = cm_calloc(l->max, sizeof *l->entries);
    if (l->entries == NULL)
        return NULL;
    if (l->count < l->max)
        return &l->entries[l->count++];
    oldest = &l->entries[0];
    for (i = 1; i < l->count; i++)
        if (l->entries[i].heard_ms < oldest->heard_ms)
            oldest = &l->entries[i];
    return oldest;
}

/* At most one contact per stranger and STRANGER_RETRY_MS, and in all at most
 * STRANGER_CONTACTS_MAX a second: strangers are easily made up. */
static bool contact_due(struct strangers *s, struct stranger *e,
                        uint64_t now_ms)
{
    if (e->asked && now_ms - e->asked_ms < STRANGER_RETRY_MS)
        return false;
    if (now_ms - s->second_ms >= 1000) {
        s->second_ms = now_ms;
        s->contacts = 0;
    }
    if (s->contacts >= STRANGER_CONTACTS_MAX)
        return false;
    s->contacts++;
    e->asked = true;
    e->asked_ms = now_ms;
    return true;
}

bool strangers_hear(struct strangers *s, uint64_t now_ms,
                    const struct key_id *id, const struct address *address,
                    const struct message *alive, bool unproven)
{
    struct stranger_list *l = unproven ? &s->unproven : &s->told;
    struct stranger *e = list_find(l, id);

    CHECK(alive == NULL || alive->type == MESSAGE_ALIVE);
    if (e == NULL) {
        list_expire(l, now_ms);
        e = list_slot(l);
        if (e == NULL)
            return false;
        *e = (struct stranger){.key_id = *id};
    }
    e->heard_ms = now_ms;
    e->address = *address;
    if (alive != NULL && (!e->has_alive || alive->counter > e->alive.counter)) {
        e->has_alive = true;
        e->alive = *alive;
    }
    return contact_due(s, e, now_ms);
}

static bool list_take(struct stranger_list *l, const struct key_id *id,
                      struct stranger *ret_stranger)
{
    struct stranger *e = list_find(l, id);

    if (e == NULL)
        return false;
    *ret_stranger = *e;
    *e = l->entries[--l->count];
    return true;
}

bool strangers_take(struct strangers *s, const struct key_id *id,
                    struct stranger *ret_stranger)
{
    struct stranger unproven;
    bool told = list_take(&s->told, id, ret_stranger);

    if (list_take(&s->unproven, id, &unproven) && !told) {
        *ret_stranger = unproven;
        return true;
    }
    return told;
}
