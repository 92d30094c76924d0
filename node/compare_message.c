#include "node/compare_message.h"

#include <string.h>

#include "crdt/base/check.h"

static void unpack_key(struct unpacker *u, struct schema_key *ret)
{
    struct slice key = unpack_bin(u, SCHEMA_KEY_MAX - 1);

    *ret = (struct schema_key){.size = key.size};
    if (key.size == 0)
        return;
    memcpy(ret->bytes, key.data, key.size);
    if (key.data[0] != SCHEMA_PREFIX_ENTRY)
        unpack_fail(u, CM_ERR_MALFORMED);
}

static void decode_ask(struct compare_message *m, struct unpacker *u)
{
    m->any_vv = unpack_bool(u);
    m->keys_count = unpack_array(u, COMPARE_KEYS_MAX);
    for (size_t i = 0; i < m->keys_count && u->error == 0; i++)
        unpack_key(u, &m->keys[i]);
    if (m->kind == COMPARE_ASK_PARTS &&
        (m->keys_count < 2 || m->keys_count > COMPARE_PARTS_MAX + 1))
        unpack_fail(u, CM_ERR_MALFORMED);
    if (m->kind == COMPARE_ASK_KEYS && m->keys_count != 2)
        unpack_fail(u, CM_ERR_MALFORMED);
    if (m->kind == COMPARE_ASK_ENTRIES && m->keys_count == 0)
        unpack_fail(u, CM_ERR_MALFORMED);
    if (m->kind == COMPARE_ASK_STATE && m->keys_count != 0)
        unpack_fail(u, CM_ERR_MALFORMED);
    /* Bounds ascend; only the first and the last may be empty. */
    for (size_t i = 1; i < m->keys_count && u->error == 0; i++) {
        bool last = i + 1 == m->keys_count && m->kind != COMPARE_ASK_ENTRIES;

        if ((m->keys[i].size == 0 && !last) ||
            (m->keys[i].size > 0 &&
             slice_compare(schema_key_slice(&m->keys[i - 1]),
                           schema_key_slice(&m->keys[i])) >= 0))
            unpack_fail(u, CM_ERR_MALFORMED);
    }
}

static void decode_state(struct compare_message *m, struct unpacker *u)
{
    uint8_t lanes[DIGEST_BYTES];

    unpack_bytes(u, m->digest.bytes, HASH_SIZE);
    unpack_bytes(u, lanes, sizeof lanes);
    digest_decode(&m->lanes, lanes);
}

static void decode_parts(struct compare_message *m, struct unpacker *u)
{
    m->parts_count = unpack_array(u, COMPARE_PARTS_MAX);
    for (size_t i = 0; i < m->parts_count && u->error == 0; i++) {
        unpack_array_of(u, 2);
        m->parts[i].count = unpack_uint(u, UINT64_MAX);
        unpack_bytes(u, m->parts[i].print, COMPARE_PRINT_SIZE);
    }
}

static void decode_keys(struct compare_message *m, struct unpacker *u)
{
    m->more = unpack_bool(u);
    m->items_count = unpack_array(u, COMPARE_KEYS_MAX);
    for (size_t i = 0; i < m->items_count && u->error == 0; i++) {
        unpack_array_of(u, 3);
        unpack_key(u, &m->items[i].key);
        m->items[i].damaged = unpack_bool(u);
        unpack_bytes(u, m->items[i].print, COMPARE_PRINT_SIZE);
        if (m->items[i].key.size == 0 ||
            (i > 0 && slice_compare(schema_key_slice(&m->items[i - 1].key),
                                    schema_key_slice(&m->items[i].key)) >= 0))
            unpack_fail(u, CM_ERR_MALFORMED);
    }
    if (m->more && m->items_count == 0)
        unpack_fail(u, CM_ERR_MALFORMED);
}

enum compare_entry_state compare_message_entry(struct unpacker *u,
                                               struct slice *ret_packed)
{
    uint64_t state;

    unpack_array_of(u, 2);
    state = unpack_uint(u, COMPARE_ENTRY_TOO_LARGE);
    *ret_packed = unpack_bin(u, COMPARE_ENTRIES_BYTES_MAX);
    if ((state == COMPARE_ENTRY_THERE) != (ret_packed->size > 0))
        unpack_fail(u, CM_ERR_MALFORMED);
    return (enum compare_entry_state)state;
}

static void decode_entries(struct compare_message *m, struct unpacker *u)
{
    m->entries_count = unpack_array(u, COMPARE_KEYS_MAX);
    if (m->entries_count == 0)
        unpack_fail(u, CM_ERR_MALFORMED);
    m->entries = *u;
    for (size_t i = 0; i < m->entries_count && u->error == 0; i++) {
        struct slice packed;

        (void)compare_message_entry(u, &packed);
    }
}

static const size_t fields[] = {
    [COMPARE_ASK_STATE] = 5,   [COMPARE_STATE] = 5,    [COMPARE_ASK_PARTS] = 5,
    [COMPARE_PARTS] = 4,       [COMPARE_ASK_KEYS] = 5, [COMPARE_KEYS] = 5,
    [COMPARE_ASK_ENTRIES] = 5, [COMPARE_ENTRIES] = 4,  [COMPARE_REFUSED] = 4,
};

static void decode_content(struct compare_message *m, struct unpacker *u)
{
    switch (m->kind) {
    case COMPARE_ASK_STATE:
    case COMPARE_ASK_PARTS:
    case COMPARE_ASK_KEYS:
    case COMPARE_ASK_ENTRIES:
        decode_ask(m, u);
        break;
    case COMPARE_STATE:
        decode_state(m, u);
        break;
    case COMPARE_PARTS:
        decode_parts(m, u);
        break;
    case COMPARE_KEYS:
        decode_keys(m, u);
        break;
    case COMPARE_ENTRIES:
        decode_entries(m, u);
        break;
    case COMPARE_REFUSED:
        m->code = -(int)unpack_uint(u, 255);
        if (m->code == 0)
            unpack_fail(u, CM_ERR_MALFORMED);
        break;
    }
}

int compare_message_decode(struct compare_message *ret, struct slice bytes)
{
    struct unpacker look, u;
    uint64_t kind;

    memset(ret, 0, sizeof *ret);
    unpack_init(&look, bytes);
    (void)unpack_array(&look, 8);
    kind = unpack_uint(&look, COMPARE_KIND_LAST);
    if (look.error != 0 || kind < COMPARE_ASK_STATE)
        return CM_ERR_MALFORMED;
    ret->kind = (enum compare_kind)kind;
    unpack_init(&u, bytes);
    unpack_array_of(&u, fields[kind]);
    (void)unpack_uint(&u, COMPARE_KIND_LAST);
    ret->id = unpack_uint(&u, UINT64_MAX);
    unpack_bytes(&u, ret->vv.bytes, HASH_SIZE);
    decode_content(ret, &u);
    return unpack_finish(&u);
}

static void begin(struct buffer *out, enum compare_kind kind, uint64_t id,
                  const struct hash *vv)
{
    CHECK(kind >= COMPARE_ASK_STATE && kind <= COMPARE_KIND_LAST);
    pack_array(out, fields[kind]);
    pack_uint(out, kind);
    pack_uint(out, id);
    pack_bytes(out, vv->bytes, HASH_SIZE);
}

void compare_message_ask(struct buffer *out, enum compare_kind kind,
                         uint64_t id, const struct hash *vv, bool any_vv,
                         const struct schema_key *keys, size_t count)
{
    CHECK(count <= COMPARE_KEYS_MAX);
    begin(out, kind, id, vv);
    pack_bool(out, any_vv);
    pack_array(out, count);
    for (size_t i = 0; i < count; i++)
        pack_bin(out, schema_key_slice(&keys[i]));
}

void compare_message_state(struct buffer *out, uint64_t id,
                           const struct hash *vv, const struct hash *digest,
                           const struct digest *lanes)
{
    uint8_t bytes[DIGEST_BYTES];

    digest_encode(bytes, lanes);
    begin(out, COMPARE_STATE, id, vv);
    pack_bytes(out, digest->bytes, HASH_SIZE);
    pack_bytes(out, bytes, sizeof bytes);
}

void compare_message_parts(struct buffer *out, uint64_t id,
                           const struct compare_result *r)
{
    begin(out, COMPARE_PARTS, id, &r->vv);
    pack_array(out, r->parts_count);
    for (size_t i = 0; i < r->parts_count; i++) {
        pack_array(out, 2);
        pack_uint(out, r->parts[i].count);
        pack_bytes(out, r->parts[i].print, COMPARE_PRINT_SIZE);
    }
}

void compare_message_keys(struct buffer *out, uint64_t id,
                          const struct compare_result *r)
{
    begin(out, COMPARE_KEYS, id, &r->vv);
    pack_bool(out, r->more);
    pack_array(out, r->items_count);
    for (size_t i = 0; i < r->items_count; i++) {
        pack_array(out, 3);
        pack_bin(out, schema_key_slice(&r->items[i].key));
        pack_bool(out, r->items[i].damaged);
        pack_bytes(out, r->items[i].print, COMPARE_PRINT_SIZE);
    }
}

void compare_message_refused(struct buffer *out, uint64_t id,
                             const struct hash *vv, int code)
{
    CHECK(code < 0 && code > -256);
    begin(out, COMPARE_REFUSED, id, vv);
    pack_uint(out, (uint64_t)-code);
}

void compare_message_put_entry(struct buffer *entries,
                               enum compare_entry_state state,
                               struct slice packed)
{
    CHECK((state == COMPARE_ENTRY_THERE) == (packed.size > 0));
    pack_array(entries, 2);
    pack_uint(entries, state);
    pack_bin(entries, packed);
}

void compare_message_entries(struct buffer *out, uint64_t id,
                             const struct hash *vv, struct slice entries,
                             size_t count)
{
    CHECK(count > 0 && count <= COMPARE_KEYS_MAX);
    begin(out, COMPARE_ENTRIES, id, vv);
    pack_array(out, count);
    buffer_append_slice(out, entries);
}
