/* Levels: what each incarnation has announced that it knows.
 *
 * "A new operation type may be written only when every rostered incarnation has
 * announced that it knows it." An announcement is for ever: a program of a
 * lower level does not open a directory that has made it, and from then on its
 * node sponsors nobody who knows less. So whoever has applied announcements of
 * all that it knows to be rostered can conclude that those whose adds it has
 * not seen yet know as much: an add by X before X's announcement is in its past
 * together with that, and one after it names nobody of a lower level.
 *
 * Each level is the greatest of those in applied events (announcement, adds),
 * so it does not matter in which order they came. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/standing_internal.h"

#define ROW_PACKED_MIN (1 + 18 + 1)

/* Index of the first row not below i. */
static size_t level_at(const struct standing *s, const struct incarnation *i)
{
    size_t low = 0;
    size_t high = s->levels.count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (incarnation_compare(&s->levels.items[middle].incarnation, i) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    CHECK(low <= s->levels.count);
    return low;
}

static bool has_row(const struct standing *s, const struct incarnation *i,
                    size_t at)
{
    return at < s->levels.count &&
           incarnation_equal(&s->levels.items[at].incarnation, i);
}

uint32_t standing_level_of(const struct standing *s,
                           const struct incarnation *i)
{
    size_t at = level_at(s, i);

    if (has_row(s, i, at))
        return s->levels.items[at].level;
    return incarnation_equal(i, &s->founder) ? s->founder_level : LEVEL_FIRST;
}

uint32_t standing_level(const struct standing *s,
                        const struct incarnation *except)
{
    uint32_t ret = LEVEL_MAX;
    bool any = false;

    for (size_t i = 0; i < s->members.count; i++) {
        const struct incarnation *who = &s->members.items[i].incarnation;
        uint32_t level = standing_level_of(s, who);

        if ((level >= ret && any) || !standing_stays(s, who) ||
            (except != NULL && incarnation_equal(who, except)))
            continue;
        ret = level < ret ? level : ret;
        any = true;
    }
    CHECK(!any || ret >= LEVEL_FIRST);
    return any ? ret : standing_needs(s);
}

uint32_t standing_needs(const struct standing *s)
{
    return s->needs > s->founder_level ? s->needs : s->founder_level;
}

bool standing_note_level(struct standing *s, uint32_t level)
{
    CHECK(level >= LEVEL_FIRST && level <= LEVEL_MAX);
    if (level <= standing_needs(s))
        return false;
    s->needs = level;
    return true;
}

bool standing_due_level(const struct standing *s,
                        const struct incarnation *self, uint32_t level)
{
    CHECK(level >= LEVEL_FIRST && level <= LEVEL_MAX);
    return standing_is_member(s, self) && standing_level_of(s, self) < level;
}

/* ---- changing ---- */

int standing_level_raise(struct standing *s, const struct incarnation *i,
                         uint32_t level)
{
    size_t at = level_at(s, i);
    struct standing_level_row *row;
    int error;

    if (level <= standing_level_of(s, i))
        return 0;
    if (has_row(s, i, at)) {
        s->levels.items[at].level = level;
        return 0;
    }
    error = STANDING_GROW(&s->levels);
    if (error < 0)
        return error;
    row = &s->levels.items[at];
    memmove(row + 1, row, (s->levels.count - at) * sizeof *row);
    *row = (struct standing_level_row){.incarnation = *i, .level = level};
    s->levels.count++;
    return 0;
}

void standing_level_remove(struct standing *s, const struct incarnation *i)
{
    size_t at = level_at(s, i);
    struct standing_level_row *row = &s->levels.items[at];

    if (!has_row(s, i, at))
        return;
    s->levels.count--;
    memmove(row, row + 1, (s->levels.count - at) * sizeof *row);
}

void standing_level_settle(struct standing *s)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->levels.count; i++) {
        if (standing_is_member(s, &s->levels.items[i].incarnation))
            s->levels.items[kept++] = s->levels.items[i];
    }
    s->levels.count = kept;
}

int standing_level_join(struct standing *s, const struct standing *other)
{
    int error = 0;

    for (size_t i = 0; i < other->levels.count && error == 0; i++)
        error = standing_level_raise(s, &other->levels.items[i].incarnation,
                                     other->levels.items[i].level);
    if (other->needs > s->needs)
        s->needs = other->needs;
    return error;
}

/* ---- the record ---- */

bool standing_level_any(const struct standing *s)
{
    return s->needs > LEVEL_FIRST || s->levels.count > 0;
}

void standing_level_pack(struct buffer *out, const struct standing *s)
{
    pack_uint(out, s->needs);
    pack_array(out, s->levels.count);
    for (size_t i = 0; i < s->levels.count; i++) {
        pack_array(out, 2);
        pack_bytes(out, s->levels.items[i].incarnation.bytes, INCARNATION_SIZE);
        pack_uint(out, s->levels.items[i].level);
    }
}

int standing_peek_needs(struct slice record, uint32_t *ret_level)
{
    struct unpacker u;
    uint32_t level = LEVEL_FIRST;
    size_t fields;

    unpack_init(&u, record);
    fields = record.size > 0 ? unpack_array(&u, STANDING_FIELDS_MAX) : 0;
    for (size_t i = 0; i < STANDING_FIELDS && i < fields; i++)
        unpack_skip(&u);
    if (fields == STANDING_FIELDS_MAX)
        level = (uint32_t)unpack_uint(&u, LEVEL_MAX);
    if (u.error != 0)
        return CM_ERR_MALFORMED;
    *ret_level = level;
    return 0;
}

static void unpack_row(struct standing *s, struct unpacker *u)
{
    struct standing_level_row row;

    unpack_array_of(u, 2);
    unpack_bytes(u, row.incarnation.bytes, INCARNATION_SIZE);
    row.level = (uint32_t)unpack_uint(u, LEVEL_MAX);
    if (u->error != 0)
        return;
    if (row.level <= LEVEL_FIRST ||
        (s->levels.count > 0 &&
         incarnation_compare(&s->levels.items[s->levels.count - 1].incarnation,
                             &row.incarnation) >= 0))
        unpack_fail(u, CM_ERR_NONCANONICAL);
    else if (STANDING_GROW(&s->levels) < 0)
        unpack_fail(u, CM_ERR_NOMEM);
    else
        s->levels.items[s->levels.count++] = row;
}

void standing_level_unpack(struct standing *s, struct unpacker *u)
{
    size_t count;

    s->needs = (uint32_t)unpack_uint(u, LEVEL_MAX);
    count = unpack_array(u, FLOOR_ROWS_MAX);
    if (count > (u->in.size - u->position) / ROW_PACKED_MIN)
        unpack_fail(u, CM_ERR_MALFORMED);
    for (size_t i = 0; i < count && u->error == 0; i++)
        unpack_row(s, u);
    /* Else the record has the shorter form. */
    if (u->error == 0 && !standing_level_any(s))
        unpack_fail(u, CM_ERR_NONCANONICAL);
}
