/* Copy on write: who adds a member copies the array of members once per batch
 * and shares the certificates' bytes. Adds are rare, look-ups are not. */
#include "node/roster.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

#define ROSTER_MAX VV_ENTRIES_MAX

struct roster_blob {
    _Atomic unsigned references;
    size_t size;
    uint8_t bytes[];
};

static void blob_release(struct roster_blob *b)
{
    if (b != NULL && atomic_fetch_sub(&b->references, 1) == 1)
        cm_free(b);
}

static struct roster_blob *blob_new(struct slice bytes)
{
    struct roster_blob *b = cm_alloc(sizeof *b + bytes.size);

    if (b == NULL)
        return NULL;
    atomic_init(&b->references, 1);
    b->size = bytes.size;
    if (bytes.size > 0)
        memcpy(b->bytes, bytes.data, bytes.size);
    return b;
}

struct roster *roster_new(void)
{
    struct roster *r = cm_calloc(1, sizeof *r);

    if (r != NULL)
        atomic_init(&r->references, 1);
    return r;
}

struct roster *roster_retain(struct roster *r)
{
    CHECK(atomic_load(&r->references) > 0);
    atomic_fetch_add(&r->references, 1);
    return r;
}

void roster_release(struct roster *r)
{
    if (r == NULL || atomic_fetch_sub(&r->references, 1) != 1)
        return;
    for (size_t i = 0; i < r->count; i++)
        blob_release(r->members[i].blob);
    cm_free(r->members);
    cm_free(r);
}

/* Index of the first member not below i. */
static size_t lower_bound(const struct roster *r, const struct incarnation *i)
{
    size_t low = 0;
    size_t high = r->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (incarnation_compare(&r->members[middle].incarnation, i) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    CHECK(low <= r->count);
    return low;
}

const struct roster_member *roster_find(const struct roster *r,
                                        const struct incarnation *i)
{
    size_t at = lower_bound(r, i);

    if (at < r->count && incarnation_equal(&r->members[at].incarnation, i))
        return &r->members[at];
    return NULL;
}

static bool is_older(hlc_t hlc, const struct dot *dot,
                     const struct roster_member *than)
{
    if (hlc != than->hlc)
        return hlc < than->hlc;
    return dot_compare(dot, &than->dot) < 0;
}

struct roster *roster_copy(const struct roster *r)
{
    struct roster *ret = roster_new();

    if (ret == NULL || r->count == 0)
        return ret;
    ret->members = cm_calloc(r->count + 1, sizeof *ret->members);
    if (ret->members == NULL) {
        roster_release(ret);
        return NULL;
    }
    ret->capacity = r->count + 1;
    ret->count = r->count;
    memcpy(ret->members, r->members, r->count * sizeof *ret->members);
    for (size_t i = 0; i < ret->count; i++)
        atomic_fetch_add(&ret->members[i].blob->references, 1);
    return ret;
}

static int reserve(struct roster *r)
{
    size_t capacity = r->capacity > 0 ? 2 * r->capacity : 4;
    struct roster_member *grown;

    if (r->count < r->capacity)
        return 0;
    if (r->count >= ROSTER_MAX)
        return CM_ERR_LIMIT;
    grown = cm_realloc(r->members, capacity * sizeof *grown);
    if (grown == NULL)
        return CM_ERR_NOMEM;
    r->members = grown;
    r->capacity = capacity;
    return 0;
}

int roster_insert(struct roster *r, const struct incarnation *incarnation,
                  struct slice certificate,
                  const uint8_t authority_public_key[32], hlc_t hlc,
                  const struct dot *dot)
{
    size_t at = lower_bound(r, incarnation);
    bool known = roster_find(r, incarnation) != NULL;
    struct roster_member member = {
        .incarnation = *incarnation,
        .hlc = hlc,
        .dot = *dot,
    };
    int error = reserve(r);

    CHECK(atomic_load(&r->references) == 1);
    if (error != 0)
        return error;
    member.blob = blob_new(certificate);
    if (member.blob == NULL)
        return CM_ERR_NOMEM;
    error = certificate_decode(&member.certificate,
                               slice_of(member.blob->bytes, certificate.size),
                               authority_public_key);
    if (error != 0 || (known && !is_older(hlc, dot, &r->members[at]))) {
        blob_release(member.blob);
        return error;
    }
    if (known) {
        blob_release(r->members[at].blob);
    } else {
        memmove(&r->members[at + 1], &r->members[at],
                (r->count - at) * sizeof member);
        r->count++;
    }
    r->members[at] = member;
    CHECK(roster_find(r, incarnation) != NULL);
    return 0;
}

void roster_remove(struct roster *r, const struct incarnation *i)
{
    size_t at = lower_bound(r, i);

    CHECK(atomic_load(&r->references) == 1);
    if (at == r->count || !incarnation_equal(&r->members[at].incarnation, i))
        return;
    blob_release(r->members[at].blob);
    r->count--;
    memmove(&r->members[at], &r->members[at + 1],
            (r->count - at) * sizeof *r->members);
}

bool roster_may_enter(const struct certificate *c)
{
    return (c->roles & (ROLE_WRITER | ROLE_ISSUER | ROLE_ADMIN)) != 0;
}

bool roster_may_add(const struct certificate *c)
{
    if ((c->roles & (ROLE_ISSUER | ROLE_ADMIN)) != 0)
        return true;
    if ((c->roles & ROLE_WRITER) == 0)
        return false;
    for (size_t i = 0; i < c->prefixes_count; i++) {
        if (c->prefixes[i].size == 0)
            return true;
    }
    return false;
}

struct slice roster_certificate(const struct roster_member *m)
{
    return slice_of(m->blob->bytes, m->blob->size);
}
