#include "node/refusal.h"

#include <string.h>

#include "crdt/base/check.h"

static const struct refusal_text texts[] = {
#define REFUSAL_TEXT(id, what, reason, found, remedy)                          \
    {what "-" reason, what, reason, found, remedy},
    REFUSAL_MAP(REFUSAL_TEXT)
#undef REFUSAL_TEXT
};

_Static_assert(sizeof texts / sizeof *texts == REFUSAL_KINDS, "one each");

const struct refusal_text *refusal_text(enum refusal r)
{
    CHECK(r < REFUSAL_KINDS);
    return &texts[r];
}

enum refusal refusal_by_name(const char *name)
{
    for (size_t i = 0; i < REFUSAL_KINDS; i++) {
        if (strcmp(texts[i].name, name) == 0)
            return (enum refusal)i;
    }
    return REFUSAL_NONE;
}

enum refusal refusal_of_event(int error)
{
    switch (error) {
    case CM_ERR_MALFORMED:
    case CM_ERR_NONCANONICAL:
        return REFUSAL_EVENT_MALFORMED;
    case CM_ERR_TOO_LARGE:
        return REFUSAL_EVENT_TOO_LONG;
    case CM_ERR_FORMAT_VERSION:
        return REFUSAL_EVENT_FORMAT;
    case CM_ERR_SIGNATURE:
        return REFUSAL_EVENT_SIGNATURE;
    case CM_ERR_WRONG_MESH:
        return REFUSAL_EVENT_MESH;
    case CM_ERR_WRONG_GENERATION:
        return REFUSAL_EVENT_GENERATION;
    case CM_ERR_FORK:
        return REFUSAL_EVENT_FORK;
    case CM_ERR_SEALED:
        return REFUSAL_EVENT_SEALED;
    case CM_ERR_LIMIT:
        return REFUSAL_EVENT_CROWDED;
    case CM_ERR_HELD:
        return REFUSAL_EVENT_CLOCK;
    case CM_ERR_EVICTION_CONFLICT:
        return REFUSAL_EVENT_ORDER;
    case CM_ERR_DAMAGED:
        return REFUSAL_EVENT_DAMAGE;
    default:
        return REFUSAL_NONE;
    }
}

enum refusal refusal_of_order(int error)
{
    switch (error) {
    case CM_ERR_MALFORMED:
    case CM_ERR_NONCANONICAL:
    case CM_ERR_TOO_LARGE:
    case CM_ERR_FORMAT_VERSION:
        return REFUSAL_ORDER_MALFORMED;
    case CM_ERR_SIGNATURE:
        return REFUSAL_ORDER_SIGNATURE;
    case CM_ERR_WRONG_MESH:
    case CM_ERR_WRONG_GENERATION:
        return REFUSAL_ORDER_MESH;
    case CM_ERR_AUTHORITY:
        return REFUSAL_ORDER_FOREIGN;
    case CM_ERR_EVICTION_CONFLICT:
        return REFUSAL_ORDER_CONFLICT;
    case CM_ERR_LIMIT:
        return REFUSAL_ORDER_CROWDED;
    case CM_ERR_DUPLICATE:
        return REFUSAL_ORDER_REPEATED;
    default:
        return REFUSAL_NONE;
    }
}

void refusals_count(struct refusals *s, enum refusal r, const uint8_t *from,
                    uint64_t wall_ms)
{
    struct refusal_count *c;

    CHECK(r <= REFUSAL_NONE);
    if (r == REFUSAL_NONE)
        return;
    c = &s->of[r];
    s->total++;
    c->count++;
    c->last_ms = wall_ms;
    if (from != NULL)
        memcpy(c->from, from, sizeof c->from);
    else
        memset(c->from, 0, sizeof c->from);
}

void refusals_join(struct refusals *s, const struct refusals *other)
{
    if (other->total == 0)
        return;
    s->total += other->total;
    for (size_t i = 0; i < REFUSAL_KINDS; i++) {
        uint64_t count = s->of[i].count + other->of[i].count;

        if (other->of[i].count > 0 && other->of[i].last_ms >= s->of[i].last_ms)
            s->of[i] = other->of[i];
        s->of[i].count = count;
    }
}
