/* The digest is updated in the transaction that changes the state, once for
 * each sibling that comes or goes: it allocates nothing and cannot fail. */
#include "crdt/digest.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/check.h"

/* Heads and fields of [space, key, element, [kind, dot, hlc, flags, expires,
 * author, value]] without the value's bytes: 66 bytes of heads and numbers at
 * most, key and element in the worst case 480 and 480, author 64. */
#define PREFIX_SIZE_MAX 1280

static const uint8_t zero_nonce[crypto_stream_chacha20_NONCEBYTES];

_Static_assert(crypto_stream_chacha20_KEYBYTES == HASH_SIZE, "hash is a key");
_Static_assert(sizeof(struct digest) == DIGEST_BYTES, "lanes without padding");

/* Lanes are little-endian on the wire and in the keystream. */
static uint16_t lane_swap(uint16_t lane)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return lane;
#else
    return __builtin_bswap16(lane);
#endif
}

void digest_init(struct digest *d)
{
    memset(d, 0, sizeof *d);
}

static struct hash element_hash(const struct entry_id *id,
                                const struct sibling *s)
{
    static const char domain[] = "confmesh sibling v1";
    uint8_t prefix[PREFIX_SIZE_MAX];
    struct buffer out = {
        .data = prefix, .capacity = sizeof prefix, .limit = sizeof prefix};
    crypto_generichash_state state;
    struct hash ret;

    buffer_append(&out, domain, sizeof domain);
    pack_array(&out, 4);
    pack_uint(&out, id->space);
    pack_bin(&out, id->key);
    pack_bin(&out, id->element);
    pack_array(&out, 8);
    pack_uint(&out, s->kind);
    dot_pack(&out, &s->dot);
    pack_uint(&out, s->hlc);
    pack_uint(&out, s->flags);
    pack_uint(&out, s->expires);
    pack_bin(&out, s->author);
    pack_bin_head(&out, s->value.size);
    CHECK(out.error == 0);
    CHECK(out.data == prefix);
    (void)crypto_generichash_init(&state, NULL, 0, HASH_SIZE);
    (void)crypto_generichash_update(&state, out.data, out.size);
    if (s->value.size > 0)
        (void)crypto_generichash_update(&state, s->value.data, s->value.size);
    (void)crypto_generichash_final(&state, ret.bytes, HASH_SIZE);
    return ret;
}

static void expand(uint16_t ret_lanes[DIGEST_LANES], const struct entry_id *id,
                   const struct sibling *s)
{
    struct hash key = element_hash(id, s);

    (void)crypto_stream_chacha20((uint8_t *)ret_lanes, DIGEST_BYTES, zero_nonce,
                                 key.bytes);
}

/* A constant number of turns and no aliasing: the compiler makes these two
 * loops vector instructions. */
void digest_add(struct digest *d, const struct entry_id *id,
                const struct sibling *s)
{
    uint16_t lanes[DIGEST_LANES];
    uint16_t *restrict to = d->lanes;
    size_t i;

    expand(lanes, id, s);
    for (i = 0; i < DIGEST_LANES; i++)
        to[i] = (uint16_t)(to[i] + lane_swap(lanes[i]));
}

void digest_remove(struct digest *d, const struct entry_id *id,
                   const struct sibling *s)
{
    uint16_t lanes[DIGEST_LANES];
    uint16_t *restrict to = d->lanes;
    size_t i;

    expand(lanes, id, s);
    for (i = 0; i < DIGEST_LANES; i++)
        to[i] = (uint16_t)(to[i] - lane_swap(lanes[i]));
}

void digest_join(struct digest *d, const struct digest *other)
{
    for (size_t i = 0; i < DIGEST_LANES; i++)
        d->lanes[i] = (uint16_t)(d->lanes[i] + other->lanes[i]);
}

void digest_encode(uint8_t ret_bytes[DIGEST_BYTES], const struct digest *d)
{
    size_t i;

    for (i = 0; i < DIGEST_LANES; i++) {
        ret_bytes[2 * i] = (uint8_t)(d->lanes[i] & 0xff);
        ret_bytes[2 * i + 1] = (uint8_t)(d->lanes[i] >> 8);
    }
}

void digest_decode(struct digest *ret_digest, const uint8_t bytes[DIGEST_BYTES])
{
    size_t i;

    for (i = 0; i < DIGEST_LANES; i++)
        ret_digest->lanes[i] =
            (uint16_t)(bytes[2 * i] | (unsigned)bytes[2 * i + 1] << 8);
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
    return memcmp(a->lanes, b->lanes, sizeof a->lanes) == 0;
}

struct hash digest_finish(const struct digest *d, const struct vv *v)
{
    uint8_t bytes[DIGEST_BYTES + HASH_SIZE];
    struct hash vector = vv_hash(v);

    digest_encode(bytes, d);
    memcpy(bytes + DIGEST_BYTES, vector.bytes, HASH_SIZE);
    return hash_of("confmesh digest v1", slice_of(bytes, sizeof bytes));
}
