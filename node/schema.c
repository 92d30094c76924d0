/* Encodings of the store's keys and records. Pure: no LMDB in here, so that
 * every format can be tested and fuzzed without a file. */
#include "node/schema.h"

#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/hash.h"
#include "crdt/certificate.h"

_Static_assert(8 + 2 + KEY_SIZE_MAX + 1 <= SCHEMA_KEY_MAX,
               "keys fit LMDB's, also behind an expiry");
_Static_assert(CERTIFICATE_SIZE_MAX <= VALUE_SIZE_MAX, "one bound of values");

struct slice schema_key_slice(const struct schema_key *k)
{
    CHECK(k->size <= SCHEMA_KEY_MAX);
    return slice_of(k->bytes, k->size);
}

static const uint8_t banked[][2] = {
    {SCHEMA_PREFIX_CONFLICT, 'd'},
    {SCHEMA_PREFIX_ENTRY, 'g'},
    {SCHEMA_PREFIX_COLLAPSE, 'h'},
    {SCHEMA_PREFIX_DUE, 'y'},
};
#define BANKED_COUNT (sizeof banked / sizeof banked[0])

uint8_t schema_prefix_in(uint8_t prefix, unsigned bank)
{
    CHECK(bank < 2);
    for (size_t i = 0; i < BANKED_COUNT; i++) {
        if (banked[i][0] == prefix)
            return banked[i][bank];
    }
    return prefix;
}

unsigned schema_prefix_bank(uint8_t byte)
{
    for (size_t i = 0; i < BANKED_COUNT; i++) {
        if (banked[i][1] == byte)
            return 1;
    }
    return 0;
}

uint8_t schema_prefix_of(uint8_t byte)
{
    for (size_t i = 0; i < BANKED_COUNT; i++) {
        if (banked[i][1] == byte)
            return banked[i][0];
    }
    return byte;
}

bool schema_prefix_is_banked(uint8_t prefix)
{
    return schema_prefix_in(prefix, 1) != prefix;
}

static void key_begin(struct schema_key *k, char prefix)
{
    k->bytes[0] = (uint8_t)prefix;
    k->size = 1;
}

static void key_append(struct schema_key *k, struct slice s)
{
    CHECK(k->size + s.size <= SCHEMA_KEY_MAX);
    if (s.size > 0)
        memcpy(k->bytes + k->size, s.data, s.size);
    k->size += s.size;
}

static void key_append_byte(struct schema_key *k, uint8_t byte)
{
    key_append(k, slice_of(&byte, 1));
}

static void key_append_id(struct schema_key *k, const struct entry_id *id)
{
    CHECK(id->key.size + id->element.size <= KEY_SIZE_MAX);
    key_append_byte(k, (uint8_t)id->space);
    key_append(k, id->key);
    if (id->space == SPACE_SET) {
        key_append_byte(k, 0);
        key_append(k, id->element);
    }
}

void schema_key_entry(struct schema_key *k, const struct entry_id *id)
{
    key_begin(k, SCHEMA_PREFIX_ENTRY);
    key_append_id(k, id);
}

void schema_key_conflict(struct schema_key *k, const struct entry_id *id)
{
    key_begin(k, SCHEMA_PREFIX_CONFLICT);
    key_append_id(k, id);
}

static void key_timed(struct schema_key *k, char prefix, hlc_t time,
                      const struct entry_id *id)
{
    uint8_t bytes[8];

    put_be64(bytes, time);
    key_begin(k, prefix);
    key_append(k, slice_of(bytes, sizeof bytes));
    key_append_id(k, id);
}

void schema_key_due(struct schema_key *k, hlc_t due, const struct entry_id *id)
{
    CHECK(due != 0);
    key_timed(k, SCHEMA_PREFIX_DUE, due, id);
}

void schema_key_collapse(struct schema_key *k, hlc_t after,
                         const struct entry_id *id)
{
    key_timed(k, SCHEMA_PREFIX_COLLAPSE, after, id);
}

bool schema_key_prefix(struct schema_key *k, enum space space,
                       struct slice prefix, bool exact_key)
{
    if (prefix.size > KEY_SIZE_MAX)
        return false;
    key_begin(k, SCHEMA_PREFIX_ENTRY);
    key_append_byte(k, (uint8_t)space);
    key_append(k, prefix);
    if (exact_key && space == SPACE_SET)
        key_append_byte(k, 0);
    return true;
}

void schema_key_event(struct schema_key *k, uint32_t actor, uint64_t seq)
{
    key_begin(k, SCHEMA_PREFIX_EVENT);
    put_be32(k->bytes + 1, actor);
    put_be64(k->bytes + 5, seq);
    k->size = 13;
}

void schema_key_own(struct schema_key *k, uint32_t actor, uint64_t seq)
{
    key_begin(k, SCHEMA_PREFIX_OWN);
    put_be32(k->bytes + 1, ~actor);
    put_be64(k->bytes + 5, ~seq);
    k->size = 13;
}

void schema_key_revision(struct schema_key *k, uint64_t revision)
{
    key_begin(k, SCHEMA_PREFIX_REVISION);
    put_be64(k->bytes + 1, revision);
    k->size = 9;
}

void schema_key_actor(struct schema_key *k, uint32_t actor)
{
    key_begin(k, SCHEMA_PREFIX_ACTOR);
    put_be32(k->bytes + 1, actor);
    k->size = 5;
}

void schema_key_meta(struct schema_key *k, const char *name)
{
    struct slice text = slice_of_string(name);

    CHECK(text.size > 0 && text.size <= SCHEMA_META_NAME_MAX);
    key_begin(k, SCHEMA_PREFIX_META);
    key_append(k, text);
}

void schema_key_state(struct schema_key *k, uint8_t which)
{
    CHECK(which <= SCHEMA_STATE_LANES + 1);
    key_begin(k, SCHEMA_PREFIX_STATE);
    key_append_byte(k, which);
}

/* space key [0x00 element] */
static int parse_id(struct entry_id *ret_id, struct slice text)
{
    struct slice rest;
    const uint8_t *separator;

    if (text.size < 2 || text.data[0] < SPACE_REGISTER ||
        text.data[0] > SPACE_LAST)
        return CM_ERR_DAMAGED;
    rest = slice_of(text.data + 1, text.size - 1);
    if (text.data[0] != SPACE_SET) {
        if (rest.size > KEY_SIZE_MAX)
            return CM_ERR_DAMAGED;
        *ret_id = (struct entry_id){
            .space = (enum space)text.data[0],
            .key = rest,
        };
        return 0;
    }
    separator = memchr(rest.data, 0, rest.size);
    if (separator == NULL || separator == rest.data ||
        rest.size - 1 > KEY_SIZE_MAX)
        return CM_ERR_DAMAGED;
    size_t size = (size_t)(separator - rest.data);
    *ret_id = (struct entry_id){
        .space = SPACE_SET,
        .key = slice_of(rest.data, size),
        .element = slice_of(separator + 1, rest.size - size - 1),
    };
    return 0;
}

static int parse_behind(struct entry_id *ret_id, struct slice key, char prefix,
                        size_t skip)
{
    if (key.size <= skip || schema_prefix_of(key.data[0]) != (uint8_t)prefix)
        return CM_ERR_DAMAGED;
    return parse_id(ret_id, slice_of(key.data + skip, key.size - skip));
}

int schema_parse_entry(struct entry_id *ret_id, struct slice key)
{
    return parse_behind(ret_id, key, SCHEMA_PREFIX_ENTRY, 1);
}

int schema_parse_conflict(struct entry_id *ret_id, struct slice key)
{
    return parse_behind(ret_id, key, SCHEMA_PREFIX_CONFLICT, 1);
}

int schema_parse_due(hlc_t *ret_due, struct entry_id *ret_id, struct slice key)
{
    int error = parse_behind(ret_id, key, SCHEMA_PREFIX_DUE, 9);

    if (error == 0)
        *ret_due = get_be64(key.data + 1);
    return error;
}

int schema_parse_collapse(hlc_t *ret_after, struct entry_id *ret_id,
                          struct slice key)
{
    int error = parse_behind(ret_id, key, SCHEMA_PREFIX_COLLAPSE, 9);

    if (error == 0)
        *ret_after = get_be64(key.data + 1);
    return error;
}

int schema_parse_actor(uint32_t *ret_actor, struct slice key)
{
    if (key.size != 5 || key.data[0] != SCHEMA_PREFIX_ACTOR)
        return CM_ERR_DAMAGED;
    *ret_actor = get_be32(key.data + 1);
    return 0;
}

int schema_parse_revision(uint64_t *ret_revision, struct slice key)
{
    if (key.size != 9 || key.data[0] != SCHEMA_PREFIX_REVISION)
        return CM_ERR_DAMAGED;
    *ret_revision = get_be64(key.data + 1);
    return 0;
}

void schema_record_begin(struct buffer *record)
{
    static const uint8_t room[SCHEMA_CHECKSUM_SIZE];

    buffer_clear(record);
    buffer_append(record, room, sizeof room);
}

int schema_record_seal(struct buffer *record, struct slice key)
{
    struct slice payload;

    if (record->error != 0)
        return record->error;
    CHECK(record->size >= SCHEMA_CHECKSUM_SIZE);
    payload = slice_of(record->data + SCHEMA_CHECKSUM_SIZE,
                       record->size - SCHEMA_CHECKSUM_SIZE);
    put_be64(record->data, record_checksum(key, payload));
    return 0;
}

int schema_record_open(struct slice *ret_payload, struct slice key,
                       struct slice value)
{
    struct slice payload;

    if (value.size < SCHEMA_CHECKSUM_SIZE)
        return CM_ERR_DAMAGED;
    payload = slice_of(value.data + SCHEMA_CHECKSUM_SIZE,
                       value.size - SCHEMA_CHECKSUM_SIZE);
    if (get_be64(value.data) != record_checksum(key, payload))
        return CM_ERR_DAMAGED;
    *ret_payload = payload;
    return 0;
}

void schema_head_pack(struct buffer *out, const struct schema_head *h)
{
    CHECK(h->oldest_revision <= h->revision);
    pack_uint(out, h->format);
    pack_uint(out, h->revision);
    pack_uint(out, h->oldest_revision);
    pack_uint(out, h->hlc);
    pack_uint(out, h->own_seq);
    if (h->own_seq > 0) {
        pack_uint(out, h->own_actor);
        pack_bytes(out, h->own_hash.bytes, HASH_SIZE);
    }
    CHECK(h->bank < 2);
    if (h->bank == 1)
        pack_uint(out, 1);
}

int schema_head_unpack(struct schema_head *ret_head, struct slice payload)
{
    struct unpacker u;
    struct schema_head h = {0};

    unpack_init(&u, payload);
    h.format = unpack_uint(&u, UINT64_MAX);
    if (u.error == 0 && h.format != STORE_FORMAT)
        return CM_ERR_FORMAT_VERSION;
    h.revision = unpack_uint(&u, UINT64_MAX);
    h.oldest_revision = unpack_uint(&u, h.revision);
    h.hlc = unpack_uint(&u, UINT64_MAX);
    h.own_seq = unpack_uint(&u, UINT64_MAX);
    if (h.own_seq > 0) {
        h.own_actor = (uint32_t)unpack_uint(&u, UINT32_MAX);
        unpack_bytes(&u, h.own_hash.bytes, HASH_SIZE);
    }
    if (u.error == 0 && u.position < payload.size)
        h.bank = unpack_uint(&u, 1) == 1 ? 1 : 2;
    if (unpack_finish(&u) != 0 || h.bank > 1)
        return CM_ERR_DAMAGED;
    *ret_head = h;
    return 0;
}

/* Names and hashes come without heads: there may be thousands of records. */
#define ACTOR_FIXED (INCARNATION_SIZE + HASH_SIZE)

void schema_actor_pack(struct buffer *out, const struct schema_actor *a)
{
    CHECK(a->known_seq <= a->entry.seq);
    buffer_append(out, a->entry.incarnation.bytes, INCARNATION_SIZE);
    buffer_append(out, a->entry.head.bytes, HASH_SIZE);
    pack_uint(out, a->entry.seq);
    if (a->known_seq > 0)
        pack_uint(out, a->known_seq);
}

int schema_actor_unpack(struct schema_actor *ret_actor, struct slice payload)
{
    struct schema_actor a = {.known_seq = 0};
    struct unpacker u;

    if (payload.size < ACTOR_FIXED)
        return CM_ERR_DAMAGED;
    memcpy(a.entry.incarnation.bytes, payload.data, INCARNATION_SIZE);
    memcpy(a.entry.head.bytes, payload.data + INCARNATION_SIZE, HASH_SIZE);
    unpack_init(
        &u, slice_of(payload.data + ACTOR_FIXED, payload.size - ACTOR_FIXED));
    a.entry.seq = unpack_uint(&u, UINT64_MAX);
    if (u.error == 0 && u.position < u.in.size) {
        a.known_seq = unpack_uint(&u, a.entry.seq);
        if (a.known_seq == 0) /* then it is left out */
            return CM_ERR_DAMAGED;
    }
    if (unpack_finish(&u) != 0)
        return CM_ERR_DAMAGED;
    *ret_actor = a;
    return 0;
}

void schema_own_pack(struct buffer *out, const struct schema_own *own)
{
    CHECK(own->revision > 0);
    pack_uint(out, own->revision);
    if (own->inlined)
        pack_bin(out, own->changes);
    else
        pack_nil(out);
    pack_bin(out, own->bytes);
    while (out->error == 0 && out->size > SCHEMA_OWN_INLINE_MAX &&
           out->size < SCHEMA_OWN_PADDED_MIN)
        buffer_append_byte(out, 0);
}

int schema_own_unpack(struct schema_own *ret_own, struct slice payload)
{
    struct schema_own own = {0};
    struct unpacker u;

    unpack_init(&u, payload);
    own.revision = unpack_uint(&u, UINT64_MAX);
    own.inlined = !unpack_try_nil(&u);
    if (own.inlined)
        own.changes = unpack_bin(&u, payload.size);
    own.bytes = unpack_bin(&u, EVENT_SIZE_MAX);
    if (u.error != 0 || own.revision == 0) /* padding may follow */
        return CM_ERR_DAMAGED;
    *ret_own = own;
    return 0;
}

/* A sibling begins with one byte: its kind, and what follows of what most of
 * them lack. */
enum sibling_has {
    HAS_EXPIRES = 1 << 3,
    HAS_FLAGS = 1 << 4,
    HAS_AUTHOR = 1 << 5,
    HAS_VALUE = 1 << 6,
};
#define SIBLING_KIND_MASK 7
#define SIBLING_HLC_SIZE 8

_Static_assert(SIBLING_ACK <= SIBLING_KIND_MASK, "a kind has three bits");

static unsigned sibling_head(const struct sibling *s)
{
    unsigned head = (unsigned)s->kind;

    CHECK(head > 0 && head <= SIBLING_KIND_MASK);
    if (s->expires != 0)
        head |= HAS_EXPIRES;
    if (s->flags != 0)
        head |= HAS_FLAGS;
    if (s->author.size > 0)
        head |= HAS_AUTHOR;
    if (s->value.size > 0)
        head |= HAS_VALUE;
    return head;
}

/* As it is: a packed integer of its size would take one byte more. */
static void pack_hlc(struct buffer *out, hlc_t hlc)
{
    uint8_t bytes[SIBLING_HLC_SIZE];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(hlc >> (8 * (sizeof bytes - 1 - i)));
    buffer_append(out, bytes, sizeof bytes);
}

static hlc_t unpack_hlc(struct unpacker *u)
{
    hlc_t ret = 0;

    if (u->error == 0 && u->in.size - u->position < SIBLING_HLC_SIZE)
        unpack_fail(u, CM_ERR_MALFORMED);
    for (size_t i = 0; i < SIBLING_HLC_SIZE && u->error == 0; i++)
        ret = ret << 8 | u->in.data[u->position++];
    return ret;
}

void schema_entry_pack(struct buffer *out, const struct entry *e,
                       const struct entry_local *local,
                       const struct actors *actors)
{
    CHECK(e->count > 0);
    pack_uint(out, local->create_revision);
    pack_uint(out, local->modify_revision);
    for (size_t i = 0; i < e->count; i++) {
        const struct sibling *s = &e->siblings[i];
        uint32_t actor;
        bool found = actors_find(actors, &s->dot.incarnation, &actor);

        CHECK(found);
        pack_uint(out, sibling_head(s));
        pack_uint(out, actor);
        pack_uint(out, s->dot.seq);
        pack_hlc(out, s->hlc);
        if (s->flags != 0)
            pack_uint(out, s->flags);
        if (s->expires != 0)
            pack_uint(out, s->expires);
        if (s->author.size > 0)
            pack_bin(out, s->author);
        if (s->value.size > 0)
            pack_bin(out, s->value);
    }
}

static int sibling_unpack(struct sibling *ret, struct unpacker *u,
                          const struct actors *actors)
{
    unsigned head = (unsigned)unpack_uint(u, INT8_MAX);
    uint32_t actor = (uint32_t)unpack_uint(u, UINT32_MAX);

    *ret =
        (struct sibling){.kind = (enum sibling_kind)(head & SIBLING_KIND_MASK)};
    ret->dot.seq = unpack_uint(u, UINT64_MAX);
    ret->hlc = unpack_hlc(u);
    if ((head & HAS_FLAGS) != 0)
        ret->flags = unpack_uint(u, UINT64_MAX);
    if ((head & HAS_EXPIRES) != 0)
        ret->expires = unpack_uint(u, UINT64_MAX);
    if ((head & HAS_AUTHOR) != 0)
        ret->author = unpack_bin(u, AUTHOR_SIZE_MAX);
    if ((head & HAS_VALUE) != 0)
        ret->value = unpack_bin(u, SCHEMA_SIBLING_VALUE_MAX);
    /* One sibling has one form: what is announced is there. */
    if (u->error != 0 || ret->kind == 0 || ret->dot.seq == 0 ||
        sibling_head(ret) != head)
        return CM_ERR_DAMAGED;
    if (!actors_get(actors, actor, &ret->dot.incarnation))
        return CM_ERR_DAMAGED;
    return 0;
}

int schema_entry_unpack(struct entry *ret_entry, struct entry_local *ret_local,
                        struct slice payload, const struct actors *actors)
{
    struct unpacker u;
    struct entry_local local;

    ret_entry->count = 0;
    unpack_init(&u, payload);
    local.create_revision = unpack_uint(&u, UINT64_MAX);
    local.modify_revision = unpack_uint(&u, UINT64_MAX);
    if (u.error != 0 || u.position == payload.size)
        return CM_ERR_DAMAGED;
    for (size_t i = 0; u.position < payload.size; i++) {
        struct sibling s;
        int error = sibling_unpack(&s, &u, actors);

        /* They were written in the order of their dots, each once. */
        if (error == 0 && i > 0 &&
            dot_compare(&ret_entry->siblings[i - 1].dot, &s.dot) >= 0)
            error = CM_ERR_DAMAGED;
        if (error == 0)
            error = entry_add_sibling(ret_entry, &s);
        if (error != 0) {
            ret_entry->count = 0;
            return error == CM_ERR_NOMEM ? error : CM_ERR_DAMAGED;
        }
    }
    if (unpack_finish(&u) != 0) {
        ret_entry->count = 0;
        return CM_ERR_DAMAGED;
    }
    if (ret_local != NULL)
        *ret_local = local;
    return 0;
}
