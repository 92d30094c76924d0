/* The member table; see member.h. */
#include "gossip/member.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

#define INDEX_PER_MEMBER 4 /* slots of the index; a power of two */

/* moves[from][to]; rows and columns: none, alive, suspect, dead, left. An alive
 * member may be raised to a higher counter, hence alive to alive. */
static const bool moves[MEMBER_STATES][MEMBER_STATES] = {
    [MEMBER_NONE] = {false, true, false, false, false},
    [MEMBER_ALIVE] = {false, true, true, true, true},
    [MEMBER_SUSPECT] = {false, true, false, true, true},
    [MEMBER_DEAD] = {true, true, false, false, true},
    [MEMBER_LEFT] = {true, true, false, false, false},
};

void member_table_init(struct member_table *t)
{
    *t = (struct member_table){0};
}

static void member_free(struct member *m)
{
    if (m->session != NULL)
        sodium_memzero(m->session, sizeof *m->session);
    cm_free(m->session);
    cm_free(m->certificate);
    cm_free(m);
}

void member_table_release(struct member_table *t)
{
    size_t i;

    for (i = 0; i < t->count; i++)
        member_free(t->all[i]);
    cm_free(t->all);
    cm_free(t->index);
    cm_free(t->listed);
    cm_free(t->ring);
    *t = (struct member_table){0};
}

/* The first index whose key id is >= id. */
static size_t lower_bound(struct member *const *list, size_t count,
                          const struct key_id *id)
{
    size_t low = 0;
    size_t high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (key_id_compare(&list[middle]->key_id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void list_insert(struct member **list, size_t *count, struct member *m)
{
    size_t at = lower_bound(list, *count, &m->key_id);

    memmove(list + at + 1, list + at, (*count - at) * sizeof *list);
    list[at] = m;
    (*count)++;
}

static void list_remove(struct member **list, size_t *count, struct member *m)
{
    size_t at = lower_bound(list, *count, &m->key_id);

    CHECK(at < *count && list[at] == m);
    memmove(list + at, list + at + 1, (*count - at - 1) * sizeof *list);
    (*count)--;
}

/* Every packet and every message in it names members, so finding one must not
 * cost a search through memory: open addressing. Key ids are hashes
 * themselves. Where somebody makes keys until many fall together, a walk gets
 * as long as he has certified members, and no longer. */
static size_t index_home(const struct member_table *t, const struct key_id *id)
{
    CHECK(t->index_slots > 0);
    return (size_t)get_be64(id->bytes) & (t->index_slots - 1);
}

static void index_add(struct member_table *t, struct member *m)
{
    size_t i = index_home(t, &m->key_id);

    CHECK(2 * t->count <= t->index_slots);
    while (t->index[i] != NULL)
        i = (i + 1) & (t->index_slots - 1);
    t->index[i] = m;
}

static void index_fill(struct member_table *t)
{
    size_t i;

    memset(t->index, 0, t->index_slots * sizeof *t->index);
    for (i = 0; i < t->count; i++)
        index_add(t, t->all[i]);
}

struct member *member_table_find(const struct member_table *t,
                                 const struct key_id *id)
{
    size_t i;

    if (t->count == 0)
        return NULL;
    for (i = index_home(t, id); t->index[i] != NULL;
         i = (i + 1) & (t->index_slots - 1))
        if (key_id_equal(&t->index[i]->key_id, id))
            return t->index[i];
    return NULL;
}

size_t member_table_listed_from(const struct member_table *t,
                                const struct key_id *id)
{
    return lower_bound(t->listed, t->listed_count, id);
}

static int grow_list(struct member ***list, size_t capacity)
{
    struct member **grown = cm_realloc(*list, capacity * sizeof *grown);

    if (grown == NULL)
        return CM_ERR_NOMEM;
    *list = grown;
    return 0;
}

static int table_grow(struct member_table *t)
{
    size_t capacity = t->capacity > 0 ? t->capacity * 2 : 16;
    struct member **index;

    if (t->count < t->capacity)
        return 0;
    if (grow_list(&t->all, capacity) != 0 ||
        grow_list(&t->listed, capacity) != 0 ||
        grow_list(&t->ring, capacity) != 0)
        return CM_ERR_NOMEM;
    index = cm_alloc(INDEX_PER_MEMBER * capacity * sizeof *index);
    if (index == NULL)
        return CM_ERR_NOMEM;
    cm_free(t->index);
    t->index = index;
    t->index_slots = INDEX_PER_MEMBER * capacity;
    t->capacity = capacity;
    index_fill(t);
    return 0;
}

static void ring_remove(struct member_table *t, const struct member *m)
{
    size_t to = 0;
    size_t i;
    size_t next = t->ring_next;

    for (i = 0; i < t->ring_count; i++) {
        if (t->ring[i] != m)
            t->ring[to++] = t->ring[i];
        else if (i < t->ring_next)
            next--;
    }
    t->ring_count = to;
    t->ring_next = next;
}

/* How little an entry would be missed; 0: it must stay. */
static unsigned evictable(const struct member *m)
{
    if (member_is_living(m) || m->barred)
        return 0;
    if (m->state == MEMBER_NONE)
        return m->contact_next_ms == MEMBER_NEVER ? 3 : 1;
    return 2;
}

static int table_evict(struct member_table *t)
{
    struct member *victim = NULL;
    size_t i;

    for (i = 0; i < t->count; i++) {
        struct member *m = t->all[i];

        if (evictable(m) == 0)
            continue;
        if (victim == NULL || evictable(m) > evictable(victim) ||
            (evictable(m) == evictable(victim) &&
             m->state_since_ms < victim->state_since_ms))
            victim = m;
    }
    if (victim == NULL)
        return CM_ERR_LIMIT;
    if (victim->state != MEMBER_NONE)
        member_move(t, victim, MEMBER_NONE, victim->counter,
                    victim->state_since_ms);
    ring_remove(t, victim);
    list_remove(t->all, &t->count, victim);
    index_fill(t); /* rare: the mesh is as large as it may be */
    member_free(victim);
    return 0;
}

int member_table_ensure(struct member_table *t, const struct key_id *id,
                        struct member **ret_member)
{
    struct member *m = member_table_find(t, id);

    if (m != NULL) {
        *ret_member = m;
        return 0;
    }
    if (t->count >= GOSSIP_MEMBERS_MAX && table_evict(t) != 0)
        return CM_ERR_LIMIT;
    if (table_grow(t) != 0)
        return CM_ERR_NOMEM;
    m = cm_calloc(1, sizeof *m);
    if (m == NULL)
        return CM_ERR_NOMEM;
    m->key_id = *id;
    m->contact_next_ms = MEMBER_NEVER;
    m->suspect_until_ms = MEMBER_NEVER;
    m->suspect_ping_ms = MEMBER_NEVER;
    m->hinted_ms = MEMBER_NEVER;
    m->state_given_ms = MEMBER_NEVER;
    list_insert(t->all, &t->count, m);
    index_add(t, m);
    *ret_member = m;
    return 0;
}

uint64_t member_sum(const struct key_id *id, uint64_t counter)
{
    uint8_t bytes[8];

    put_be64(bytes, counter);
    return record_checksum(slice_of(id->bytes, sizeof id->bytes),
                           slice_of(bytes, sizeof bytes));
}

bool member_is_living(const struct member *m)
{
    return m->state == MEMBER_ALIVE || m->state == MEMBER_SUSPECT;
}

bool member_may_move(unsigned from, unsigned to)
{
    CHECK(from < MEMBER_STATES && to < MEMBER_STATES);
    return moves[from][to];
}

void member_move(struct member_table *t, struct member *m, unsigned state,
                 uint64_t counter, uint64_t now_ms)
{
    unsigned from = m->state;

    CHECK(member_may_move(from, state));
    CHECK(counter >= m->counter && counter <= PACKET_COUNTER_MAX);
    if (member_is_living(m))
        t->sum -= member_sum(&m->key_id, m->counter);
    if (from == MEMBER_NONE)
        list_insert(t->listed, &t->listed_count, m);
    else
        t->state_count[from]--;
    if (state == MEMBER_NONE)
        list_remove(t->listed, &t->listed_count, m);
    else
        t->state_count[state]++;
    if (state != from)
        m->state_since_ms = now_ms;
    m->state = state;
    m->counter = counter;
    if (member_is_living(m))
        t->sum += member_sum(&m->key_id, m->counter);
    if (state != MEMBER_SUSPECT) {
        m->suspect_until_ms = MEMBER_NEVER;
        m->suspect_ping_ms = MEMBER_NEVER;
    }
    t->changes++;
}

int member_set_certificate(struct member *m, struct slice bytes,
                           const struct certificate *c)
{
    uint8_t *copy;

    CHECK(bytes.size > 0 && bytes.size <= CERTIFICATE_SIZE_MAX);
    CHECK(key_id_equal(&m->key_id, &c->key_id));
    if (m->certificate != NULL) {
        int order = slice_compare(bytes, member_certificate(m));

        /* Renewed ones replace; of two equally new any fixed rule will do. */
        if (order == 0 || c->not_before_ms < m->certificate_from_ms ||
            (c->not_before_ms == m->certificate_from_ms && order < 0))
            return 0;
    }
    copy = cm_alloc(bytes.size);
    if (copy == NULL)
        return CM_ERR_NOMEM;
    memcpy(copy, bytes.data, bytes.size);
    if (m->session != NULL && memcmp(m->box_key, c->box_key, 32) != 0) {
        sodium_memzero(m->session, sizeof *m->session);
        cm_free(m->session);
        m->session = NULL; /* its key came from the old box key */
    }
    cm_free(m->certificate);
    m->certificate = copy;
    m->certificate_size = bytes.size;
    m->certificate_from_ms = c->not_before_ms;
    memcpy(m->sign_key, c->sign_key, 32);
    memcpy(m->box_key, c->box_key, 32);
    _Static_assert(sizeof m->name == sizeof c->name, "one bound for names");
    memcpy(m->name, c->name, sizeof m->name);
    return 0;
}

struct slice member_certificate(const struct member *m)
{
    return slice_of(m->certificate, m->certificate_size);
}

static void ring_shuffle(struct member_table *t, struct random_stream *r)
{
    size_t i;

    t->ring_count = 0;
    t->ring_next = 0;
    for (i = 0; i < t->listed_count; i++)
        if (member_is_living(t->listed[i]))
            t->ring[t->ring_count++] = t->listed[i];
    for (i = t->ring_count; i > 1; i--) {
        size_t other = (size_t)random_below(r, i);
        struct member *swap = t->ring[i - 1];

        t->ring[i - 1] = t->ring[other];
        t->ring[other] = swap;
    }
}

struct member *member_table_next_probe(struct member_table *t,
                                       struct random_stream *r)
{
    unsigned round;

    for (round = 0; round < 2; round++) {
        while (t->ring_next < t->ring_count) {
            struct member *m = t->ring[t->ring_next++];

            if (member_is_living(m))
                return m;
        }
        ring_shuffle(t, r);
    }
    CHECK(t->ring_count == 0);
    return NULL;
}

void member_table_enter_ring(struct member_table *t, struct random_stream *r,
                             struct member *m)
{
    size_t at;

    CHECK(t->ring_next <= t->ring_count);
    if (t->ring_count >= t->capacity)
        return; /* the next round has it */
    at = t->ring_next +
         (size_t)random_below(r, t->ring_count - t->ring_next + 1);
    memmove(t->ring + at + 1, t->ring + at,
            (t->ring_count - at) * sizeof *t->ring);
    t->ring[at] = m;
    t->ring_count++;
}

static bool pickable(const struct member *m, const struct key_id *except,
                     struct member *const *picked, size_t count)
{
    size_t i;

    if (!member_is_living(m) || m->barred ||
        (except != NULL && key_id_equal(&m->key_id, except)))
        return false;
    for (i = 0; i < count; i++)
        if (picked[i] == m)
            return false;
    return true;
}

/* Adds to the found ones until they are count. */
static size_t pick_more(const struct member_table *t, struct random_stream *r,
                        const struct key_id *except, size_t count, size_t found,
                        struct member **ret_members)
{
    size_t tries = 4 * (count - found);
    size_t start;
    size_t i;

    CHECK(found <= count);
    if (t->listed_count == 0)
        return found;
    while (found < count && tries-- > 0) {
        struct member *m = t->listed[random_below(r, t->listed_count)];

        if (pickable(m, except, ret_members, found))
            ret_members[found++] = m;
    }
    /* Few are left, or luck was bad: take them in order. */
    start = (size_t)random_below(r, t->listed_count);
    for (i = 0; i < t->listed_count && found < count; i++) {
        struct member *m = t->listed[(start + i) % t->listed_count];

        if (pickable(m, except, ret_members, found))
            ret_members[found++] = m;
    }
    return found;
}

size_t member_table_pick(const struct member_table *t, struct random_stream *r,
                         const struct key_id *except, size_t count,
                         struct member **ret_members)
{
    return pick_more(t, r, except, count, 0, ret_members);
}

size_t member_table_pick_linked(const struct member_table *t,
                                struct random_stream *r,
                                const struct key_id *except, size_t count,
                                struct member **ret_members)
{
    size_t found = 0;
    size_t start;
    size_t i;

    if (t->listed_count == 0)
        return 0;
    start = (size_t)random_below(r, t->listed_count);
    for (i = 0; i < t->listed_count && found < count; i++) {
        struct member *m = t->listed[(start + i) % t->listed_count];

        if (m->linked && pickable(m, except, ret_members, found))
            ret_members[found++] = m;
    }
    return pick_more(t, r, except, count, found, ret_members);
}
