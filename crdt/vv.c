/* One sorted array: lookups are binary searches, equal vectors are equal
 * bytes. State, floor and roster are functions of this vector alone. */
#include "crdt/vv.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/error.h"

/* Encoded: array head, incarnation, seq, head hash. */
#define ENTRY_PACKED_MIN (1 + 18 + 1 + 34)
#define ENTRY_PACKED_MAX (1 + 18 + 9 + 34)

void vv_init(struct vv *v)
{
    *v = (struct vv){0};
}

void vv_release(struct vv *v)
{
    cm_free(v->entries);
    *v = (struct vv){0};
}

int vv_copy(struct vv *ret_copy, const struct vv *v)
{
    struct vv copy = {.count = v->count, .capacity = v->count};

    CHECK(v->count <= VV_ENTRIES_MAX);
    if (v->count > 0) {
        copy.entries = cm_calloc(v->count, sizeof *copy.entries);
        if (copy.entries == NULL)
            return CM_ERR_NOMEM;
        memcpy(copy.entries, v->entries, v->count * sizeof *copy.entries);
    }
    *ret_copy = copy;
    return 0;
}

/* Index of the first entry not below incarnation. */
static size_t lower_bound(const struct vv *v,
                          const struct incarnation *incarnation)
{
    size_t low = 0;
    size_t high = v->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (incarnation_compare(&v->entries[middle].incarnation, incarnation) <
            0)
            low = middle + 1;
        else
            high = middle;
    }
    CHECK(low <= v->count);
    return low;
}

const struct vv_entry *vv_find(const struct vv *v,
                               const struct incarnation *incarnation)
{
    size_t at = lower_bound(v, incarnation);

    if (at == v->count ||
        !incarnation_equal(&v->entries[at].incarnation, incarnation))
        return NULL;
    return &v->entries[at];
}

uint64_t vv_seq(const struct vv *v, const struct incarnation *incarnation)
{
    const struct vv_entry *entry = vv_find(v, incarnation);

    return entry != NULL ? entry->seq : 0;
}

bool vv_covers(const struct vv *v, const struct dot *d)
{
    return d->seq <= vv_seq(v, &d->incarnation);
}

static int grow(struct vv *v)
{
    /* By an eighth: a mesh gathers thousands of entries that never change. */
    size_t capacity = v->capacity + v->capacity / 8 + 4;
    struct vv_entry *grown;

    CHECK(v->count == v->capacity);
    if (v->count >= VV_ENTRIES_MAX)
        return CM_ERR_LIMIT;
    if (capacity > VV_ENTRIES_MAX)
        capacity = VV_ENTRIES_MAX;
    grown = cm_realloc(v->entries, capacity * sizeof *grown);
    if (grown == NULL)
        return CM_ERR_NOMEM;
    v->entries = grown;
    v->capacity = capacity;
    return 0;
}

int vv_set(struct vv *v, const struct incarnation *incarnation, uint64_t seq,
           const struct hash *head)
{
    size_t at = lower_bound(v, incarnation);
    struct vv_entry *entry;
    int error;

    CHECK(seq >= 1);
    if (at < v->count &&
        incarnation_equal(&v->entries[at].incarnation, incarnation)) {
        CHECK(seq >= v->entries[at].seq);
        v->entries[at].seq = seq;
        v->entries[at].head = *head;
        return 0;
    }
    if (v->count == v->capacity) {
        error = grow(v);
        if (error < 0)
            return error;
    }
    entry = &v->entries[at];
    memmove(entry + 1, entry, (v->count - at) * sizeof *entry);
    *entry = (struct vv_entry){
        .incarnation = *incarnation, .seq = seq, .head = *head};
    v->count++;
    CHECK(v->count <= v->capacity);
    return 0;
}

bool vv_equal(const struct vv *a, const struct vv *b)
{
    size_t i;

    if (a->count != b->count)
        return false;
    for (i = 0; i < a->count; i++) {
        const struct vv_entry *x = &a->entries[i];
        const struct vv_entry *y = &b->entries[i];

        if (!incarnation_equal(&x->incarnation, &y->incarnation) ||
            x->seq != y->seq || !hash_equal(&x->head, &y->head))
            return false;
    }
    return true;
}

bool vv_dominates(const struct vv *a, const struct vv *b)
{
    size_t i = 0;
    size_t k;

    /* Both are sorted: one walk over the two. */
    for (k = 0; k < b->count; k++) {
        const struct vv_entry *wanted = &b->entries[k];

        while (i < a->count && incarnation_compare(&a->entries[i].incarnation,
                                                   &wanted->incarnation) < 0)
            i++;
        if (i == a->count ||
            !incarnation_equal(&a->entries[i].incarnation,
                               &wanted->incarnation) ||
            a->entries[i].seq < wanted->seq)
            return false;
    }
    return true;
}

static void pack_entry(struct buffer *out, const struct vv_entry *entry)
{
    CHECK(entry->seq >= 1);
    pack_array(out, 3);
    pack_bytes(out, entry->incarnation.bytes, INCARNATION_SIZE);
    pack_uint(out, entry->seq);
    pack_bytes(out, entry->head.bytes, HASH_SIZE);
}

/* The same bytes as hash_of(domain, vv_pack's output), piece by piece, because
 * a hash must not fail for want of memory. */
struct hash vv_hash(const struct vv *v)
{
    static const char domain[] = "confmesh version vector v1";
    uint8_t piece[ENTRY_PACKED_MAX];
    struct buffer out = {
        .data = piece, .capacity = sizeof piece, .limit = sizeof piece};
    crypto_generichash_state state;
    struct hash ret;
    size_t i;

    (void)crypto_generichash_init(&state, NULL, 0, HASH_SIZE);
    (void)crypto_generichash_update(&state, (const uint8_t *)domain,
                                    sizeof domain);
    pack_array(&out, v->count);
    (void)crypto_generichash_update(&state, out.data, out.size);
    for (i = 0; i < v->count; i++) {
        buffer_clear(&out);
        pack_entry(&out, &v->entries[i]);
        CHECK(out.error == 0);
        (void)crypto_generichash_update(&state, out.data, out.size);
    }
    CHECK(out.data == piece);
    (void)crypto_generichash_final(&state, ret.bytes, HASH_SIZE);
    return ret;
}

void vv_pack(struct buffer *out, const struct vv *v)
{
    size_t i;

    CHECK(v->count <= VV_ENTRIES_MAX);
    pack_array(out, v->count);
    for (i = 0; i < v->count; i++)
        pack_entry(out, &v->entries[i]);
}

static void unpack_entry(struct unpacker *u, struct vv_entry *ret_entry)
{
    struct vv_entry *e = ret_entry;

    unpack_array_of(u, 3);
    unpack_bytes(u, e->incarnation.bytes, INCARNATION_SIZE);
    e->seq = unpack_uint(u, UINT64_MAX);
    if (e->seq == 0)
        unpack_fail(u, CM_ERR_MALFORMED);
    unpack_bytes(u, e->head.bytes, HASH_SIZE);
}

void vv_unpack(struct unpacker *u, struct vv *ret_vv)
{
    size_t count = unpack_array(u, VV_ENTRIES_MAX);
    struct vv *v = ret_vv;

    vv_init(v);
    /* The bytes that are there bound what is allocated for them. */
    if (count > (u->in.size - u->position) / ENTRY_PACKED_MIN)
        unpack_fail(u, CM_ERR_MALFORMED);
    if (u->error != 0 || count == 0)
        return;
    v->entries = cm_calloc(count, sizeof *v->entries);
    if (v->entries == NULL) {
        unpack_fail(u, CM_ERR_NOMEM);
        return;
    }
    v->capacity = count;
    while (v->count < count && u->error == 0) {
        struct vv_entry *e = &v->entries[v->count];

        unpack_entry(u, e);
        if (u->error == 0 && v->count > 0 &&
            incarnation_compare(&e[-1].incarnation, &e->incarnation) >= 0)
            unpack_fail(u, CM_ERR_NONCANONICAL);
        v->count += u->error == 0;
    }
}
