/* The piggyback queue; see spread.h. */
#include "gossip/spread.h"

#include "crdt/base/check.h"

unsigned spread_tellings(size_t members)
{
    unsigned digits = 1;
    size_t power = 10;

    /* ceil(log10(members + 1)): the decimal digits of members. */
    while (members >= power && digits < 9) {
        power *= 10;
        digits++;
    }
    return SPREAD_MULTIPLIER * digits;
}

static struct spread_entry *spread_find(struct spread *s,
                                        const struct key_id *subject)
{
    size_t i;

    for (i = 0; i < s->count; i++)
        if (key_id_equal(&s->entries[i].subject, subject))
            return &s->entries[i];
    return NULL;
}

void spread_add(struct spread *s, const struct key_id *subject,
                unsigned tellings)
{
    struct spread_entry *e = spread_find(s, subject);
    size_t i;

    CHECK(tellings >= 1);
    CHECK(s->count <= SPREAD_MAX);
    if (e == NULL && s->count < SPREAD_MAX) {
        e = &s->entries[s->count++];
    } else if (e == NULL) {
        e = &s->entries[0];
        for (i = 1; i < s->count; i++)
            if (s->entries[i].left < e->left)
                e = &s->entries[i];
    }
    *e = (struct spread_entry){.subject = *subject, .left = tellings};
}

void spread_remove(struct spread *s, const struct key_id *subject)
{
    struct spread_entry *e = spread_find(s, subject);

    if (e != NULL)
        *e = s->entries[--s->count];
}

void spread_begin(struct spread *s)
{
    s->packet++;
}

struct spread_entry *spread_next(struct spread *s)
{
    struct spread_entry *ret = NULL;
    size_t i;

    for (i = 0; i < s->count; i++) {
        struct spread_entry *e = &s->entries[i];

        CHECK(e->left >= 1);
        if (e->packet != s->packet && (ret == NULL || e->left > ret->left))
            ret = e;
    }
    if (ret != NULL)
        ret->packet = s->packet;
    return ret;
}

void spread_told(struct spread *s, struct spread_entry *entry)
{
    CHECK(entry >= s->entries && entry < s->entries + s->count);
    entry->left--;
    if (entry->left == 0)
        *entry = s->entries[--s->count];
}
