/* zstd is given the project's allocator and, on the way back, memory that was
 * bounded before a byte was decompressed: the declared size is checked against
 * the limit, the frame must declare the same, and the output has no more room
 * than that, so there is no bomb to go off. */
#include "backup/snapshot_object.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define ZSTD_STATIC_LINKING_ONLY /* for the allocator */
#include <zstd.h>
#include <zstd_errors.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

#define COMPRESSION_LEVEL 3
#define COMPRESSION_LEVEL_FAST 1
/* A quarter of the time. Where a chunk shows that the level above would save
 * less than a thirty-second part more (keys, hashes, what is compressed or
 * encrypted already), so many chunks after it get this one. */
#define COMPRESSION_LEVEL_PLAIN (-5)
#define PLAIN_CHUNKS 31
#define PLAIN_GAIN 32
#define MAGIC "cmo1"
#define MAGIC_SEALED "cme1"
#define NONCE_SIZE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_SIZE crypto_aead_xchacha20poly1305_ietf_ABYTES
#define CHECKED_SIZE 9 /* magic, kind, size */

_Static_assert(SNAPSHOT_OBJECT_HEADER_SIZE == CHECKED_SIZE + 8, "header");
_Static_assert(SNAPSHOT_SEALED_HEADER_SIZE == CHECKED_SIZE + NONCE_SIZE,
               "sealed header");
_Static_assert(ZSTD_COMPRESSBOUND(SNAPSHOT_CHUNK_MAX) +
                       SNAPSHOT_SEALED_HEADER_SIZE + TAG_SIZE <=
                   SNAPSHOT_OBJECT_MAX,
               "an incompressible chunk fits an object");
_Static_assert(sizeof "v1//c/" + 2 * MESH_ID_SIZE + 2 * HASH_SIZE <=
                   SNAPSHOT_NAME_SIZE,
               "names fit");

static void *zstd_alloc(void *opaque, size_t size)
{
    (void)opaque;
    return cm_alloc(size);
}

static void zstd_free(void *opaque, void *address)
{
    (void)opaque;
    cm_free(address);
}

static const ZSTD_customMem zstd_memory = {zstd_alloc, zstd_free, NULL};

static const char *kind_domain(enum snapshot_object_kind kind)
{
    switch (kind) {
    case SNAPSHOT_CHUNK:
        return "confmesh chunk v1";
    case SNAPSHOT_LEAF:
        return "confmesh index leaf v1";
    case SNAPSHOT_ROOT:
        return "confmesh index root v1";
    case SNAPSHOT_SEGMENT:
        return "confmesh segment v1";
    case SNAPSHOT_EVENTS:
        break;
    }
    CHECK(kind == SNAPSHOT_EVENTS);
    return "confmesh events v1";
}

void snapshot_keys_derive(struct snapshot_keys *ret_keys,
                          const struct mesh_id *mesh)
{
    struct slice id = slice_of(mesh->bytes, MESH_ID_SIZE);
    struct hash names = hash_of("confmesh snapshot names v1", id);
    struct hash boundaries = hash_of("confmesh snapshot boundaries v1", id);

    CHECK(ret_keys != NULL);
    *ret_keys = (struct snapshot_keys){.encrypted = false};
    memcpy(ret_keys->names, names.bytes, sizeof ret_keys->names);
    memcpy(ret_keys->boundaries, boundaries.bytes, sizeof ret_keys->boundaries);
    memcpy(ret_keys->places, names.bytes, sizeof ret_keys->places);
}

static void derive(uint8_t ret_key[32], const uint8_t data_key[32],
                   const char *domain, const struct mesh_id *mesh)
{
    struct hash key =
        hash_keyed(data_key, domain, slice_of(mesh->bytes, MESH_ID_SIZE));

    memcpy(ret_key, key.bytes, 32);
    sodium_memzero(&key, sizeof key);
}

void snapshot_keys_derive_encrypted(
    struct snapshot_keys *ret_keys, const struct mesh_id *mesh,
    const uint8_t data_key[SNAPSHOT_DATA_KEY_SIZE])
{
    CHECK(data_key != NULL);
    snapshot_keys_derive(ret_keys, mesh); /* of places, which stays */
    derive(ret_keys->names, data_key, "confmesh snapshot names v1", mesh);
    derive(ret_keys->boundaries, data_key, "confmesh snapshot boundaries v1",
           mesh);
    derive(ret_keys->encryption, data_key, "confmesh snapshot encryption v1",
           mesh);
    derive(ret_keys->nonces, data_key, "confmesh snapshot nonces v1", mesh);
    ret_keys->encrypted = true;
}

void snapshot_object_name(char ret_name[SNAPSHOT_NAME_SIZE],
                          const struct mesh_id *mesh, const struct hash *hash)
{
    char mesh_text[MESH_ID_TEXT_SIZE];
    char hash_text[2 * HASH_SIZE + 1];

    mesh_id_format(mesh_text, mesh);
    hex_encode(hash_text, slice_of(hash->bytes, HASH_SIZE));
    (void)snprintf(ret_name, SNAPSHOT_NAME_SIZE, "v1/%s/c/%s", mesh_text,
                   hash_text);
}

struct hash snapshot_object_hash(const struct snapshot_keys *keys,
                                 enum snapshot_object_kind kind,
                                 struct slice content)
{
    return hash_keyed(kind == SNAPSHOT_SEGMENT ? keys->places : keys->names,
                      kind_domain(kind), content);
}

static bool is_sealed(const struct snapshot_keys *keys,
                      enum snapshot_object_kind kind)
{
    return keys->encrypted && kind != SNAPSHOT_SEGMENT;
}

static void put_header(uint8_t *to, const char *magic,
                       enum snapshot_object_kind kind, size_t size)
{
    memcpy(to, magic, 4);
    to[4] = (uint8_t)kind;
    put_be32(to + 5, (uint32_t)size);
}

/* ---- encryption ---- */

/* What one nonce belongs to: this kind with this frame, and no other. */
static void make_nonce(uint8_t ret_nonce[NONCE_SIZE],
                       const struct snapshot_keys *keys,
                       enum snapshot_object_kind kind, struct slice frame)
{
    crypto_generichash_state state;
    uint8_t byte = (uint8_t)kind;

    (void)crypto_generichash_init(&state, keys->nonces, sizeof keys->nonces,
                                  NONCE_SIZE);
    (void)crypto_generichash_update(&state, &byte, 1);
    (void)crypto_generichash_update(&state, frame.data, frame.size);
    (void)crypto_generichash_final(&state, ret_nonce, NONCE_SIZE);
}

/* "Those 9 bytes and the object's hash." */
static void make_associated(uint8_t ret[CHECKED_SIZE + HASH_SIZE],
                            const uint8_t *header, const struct hash *hash)
{
    memcpy(ret, header, CHECKED_SIZE);
    memcpy(ret + CHECKED_SIZE, hash->bytes, HASH_SIZE);
}

/* The frame stands where the ciphertext will, with room for the tag. */
static size_t seal(uint8_t *object, const struct snapshot_keys *keys,
                   enum snapshot_object_kind kind, const struct hash *hash,
                   size_t size, size_t frame_size)
{
    uint8_t *nonce = object + CHECKED_SIZE;
    uint8_t *text = object + SNAPSHOT_SEALED_HEADER_SIZE;
    uint8_t associated[CHECKED_SIZE + HASH_SIZE];

    put_header(object, MAGIC_SEALED, kind, size);
    make_nonce(nonce, keys, kind, slice_of(text, frame_size));
    make_associated(associated, object, hash);
    CHECK(crypto_aead_xchacha20poly1305_ietf_encrypt(
              text, NULL, text, frame_size, associated, sizeof associated, NULL,
              nonce, keys->encryption) == 0);
    return SNAPSHOT_SEALED_HEADER_SIZE + frame_size + TAG_SIZE;
}

void snapshot_coder_release(struct snapshot_coder *c)
{
    (void)ZSTD_freeCCtx(c->compressor);
    (void)ZSTD_freeDCtx(c->decompressor);
    c->compressor = NULL;
    c->decompressor = NULL;
}

int snapshot_object_encode(struct buffer *out, const struct snapshot_keys *keys,
                           enum snapshot_object_kind kind, struct slice content)
{
    struct snapshot_coder c = {.fast = false};
    struct hash hash = {{0}};
    int error;

    if (is_sealed(keys, kind))
        hash = snapshot_object_hash(keys, kind, content);
    error = snapshot_object_encode_by(&c, out, keys, kind, &hash, content);

    snapshot_coder_release(&c);
    return error;
}

static size_t compress_at(struct snapshot_coder *c, uint8_t *to, size_t bound,
                          struct slice content, int level)
{
    return ZSTD_compressCCtx(c->compressor, to, bound, content.data,
                             content.size, level);
}

/* The size of the frame, or zstd's error. */
static size_t compress(struct snapshot_coder *c, uint8_t *to, size_t bound,
                       enum snapshot_object_kind kind, struct slice content)
{
    int level = c->fast ? COMPRESSION_LEVEL_FAST : COMPRESSION_LEVEL;
    size_t plain;
    size_t got;

    if (kind != SNAPSHOT_CHUNK)
        return compress_at(c, to, bound, content, level);
    if (c->plain > 0) {
        c->plain--;
        return compress_at(c, to, bound, content, COMPRESSION_LEVEL_PLAIN);
    }
    plain = compress_at(c, to, bound, content, COMPRESSION_LEVEL_PLAIN);
    got = compress_at(c, to, bound, content, level);
    if (!ZSTD_isError(plain) && !ZSTD_isError(got) &&
        plain <= got + got / PLAIN_GAIN)
        c->plain = PLAIN_CHUNKS;
    return got;
}

int snapshot_object_encode_by(struct snapshot_coder *c, struct buffer *out,
                              const struct snapshot_keys *keys,
                              enum snapshot_object_kind kind,
                              const struct hash *hash, struct slice content)
{
    bool sealed = is_sealed(keys, kind);
    size_t head =
        sealed ? SNAPSHOT_SEALED_HEADER_SIZE : SNAPSHOT_OBJECT_HEADER_SIZE;
    size_t bound = ZSTD_compressBound(content.size);
    size_t start = out->size;
    uint8_t *to;
    size_t got = 0;

    if (content.size > SNAPSHOT_CHUNK_MAX)
        return CM_ERR_TOO_LARGE;
    to = buffer_extend(out, head + bound + TAG_SIZE);
    if (to == NULL)
        return out->error;
    if (c->compressor == NULL)
        c->compressor = ZSTD_createCCtx_advanced(zstd_memory);
    if (c->compressor != NULL)
        got = compress(c, to + head, bound, kind, content);
    if (c->compressor == NULL || ZSTD_isError(got)) {
        out->size = start;
        return CM_ERR_NOMEM; /* with room for the bound nothing else fails */
    }
    CHECK(got <= bound);
    if (sealed) {
        out->size = start + seal(to, keys, kind, hash, content.size, got);
        return 0;
    }
    put_header(to, MAGIC, kind, content.size);
    put_be64(to + CHECKED_SIZE, record_checksum(slice_of(to, CHECKED_SIZE),
                                                slice_of(to + head, got)));
    out->size = start + head + got;
    return 0;
}

/* Sizes, magic and kind; the declared size into ret_size. */
static int check_header(struct slice object, bool sealed,
                        enum snapshot_object_kind kind, size_t *ret_size,
                        struct cm_detail *detail)
{
    const char *magic = sealed ? MAGIC_SEALED : MAGIC;
    size_t head = sealed ? SNAPSHOT_SEALED_HEADER_SIZE + TAG_SIZE
                         : SNAPSHOT_OBJECT_HEADER_SIZE;
    size_t size;

    if (object.size <= head)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the object has %zu bytes, fewer than its header",
                       object.size);
    if (object.size > SNAPSHOT_OBJECT_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "the object has %zu bytes, the limit is %u", object.size,
                       SNAPSHOT_OBJECT_MAX);
    if (memcmp(object.data, magic, 4) != 0)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the object does not begin with %s", magic);
    if (object.data[4] != (uint8_t)kind)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the object is of kind %u, %u is expected",
                       object.data[4], (unsigned)kind);
    size = get_be32(object.data + 5);
    if (size > SNAPSHOT_CHUNK_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "the object declares %zu bytes of content, the limit "
                       "is %u",
                       size, SNAPSHOT_CHUNK_MAX);
    *ret_size = size;
    return 0;
}

/* The frame of a plain object, within it. */
static int check_plain(struct slice object, struct slice *ret_frame,
                       struct cm_detail *detail)
{
    struct slice frame = slice_of(object.data + SNAPSHOT_OBJECT_HEADER_SIZE,
                                  object.size - SNAPSHOT_OBJECT_HEADER_SIZE);

    if (record_checksum(slice_of(object.data, CHECKED_SIZE), frame) !=
        get_be64(object.data + CHECKED_SIZE))
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the object's checksum does not match its bytes");
    *ret_frame = frame;
    return 0;
}

/* The frame of an encrypted one, into memory (initialised). */
static int open_sealed(struct slice object, const struct snapshot_keys *keys,
                       const struct hash *expected, struct buffer *memory,
                       struct slice *ret_frame, struct cm_detail *detail)
{
    uint8_t associated[CHECKED_SIZE + HASH_SIZE];
    size_t size = object.size - SNAPSHOT_SEALED_HEADER_SIZE;
    uint8_t *frame = buffer_extend(memory, size - TAG_SIZE);

    if (frame == NULL)
        return memory->error;
    make_associated(associated, object.data, expected);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(
            frame, NULL, NULL, object.data + SNAPSHOT_SEALED_HEADER_SIZE, size,
            associated, sizeof associated, object.data + CHECKED_SIZE,
            keys->encryption) != 0)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the object does not decrypt: it is damaged, exchanged "
                       "or of another key");
    *ret_frame = buffer_slice(memory);
    return 0;
}

static int decompress(struct snapshot_coder *c, struct buffer *ret_content,
                      struct slice frame, size_t size, struct cm_detail *detail)
{
    uint8_t *to;
    size_t got;

    if (ZSTD_getFrameContentSize(frame.data, frame.size) != size ||
        ZSTD_findFrameCompressedSize(frame.data, frame.size) != frame.size)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the object is not one frame of the declared size");
    to = buffer_extend(ret_content, size);
    if (to == NULL)
        return ret_content->error;
    if (c->decompressor == NULL)
        c->decompressor = ZSTD_createDCtx_advanced(zstd_memory);
    if (c->decompressor == NULL)
        return CM_ERR_NOMEM;
    got =
        ZSTD_decompressDCtx(c->decompressor, to, size, frame.data, frame.size);
    if (ZSTD_isError(got) &&
        ZSTD_getErrorCode(got) == ZSTD_error_memory_allocation)
        return CM_ERR_NOMEM;
    if (got != size)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the object does not decompress to its declared size");
    return 0;
}

int snapshot_object_decode(struct buffer *ret_content,
                           const struct snapshot_keys *keys,
                           enum snapshot_object_kind kind,
                           const struct hash *expected, struct slice object,
                           struct cm_detail *detail)
{
    struct snapshot_coder c = {.fast = false};
    int error = snapshot_object_decode_by(&c, ret_content, keys, kind, expected,
                                          object, detail);

    snapshot_coder_release(&c);
    return error;
}

int snapshot_object_decode_by(struct snapshot_coder *c,
                              struct buffer *ret_content,
                              const struct snapshot_keys *keys,
                              enum snapshot_object_kind kind,
                              const struct hash *expected, struct slice object,
                              struct cm_detail *detail)
{
    bool sealed = is_sealed(keys, kind);
    struct buffer memory;
    struct slice frame = {0};
    struct hash hash;
    size_t size = 0;
    int error;

    CHECK(keys != NULL && expected != NULL);
    buffer_clear(ret_content);
    buffer_init(&memory, SNAPSHOT_OBJECT_MAX);
    error = check_header(object, sealed, kind, &size, detail);
    if (error == 0)
        error = sealed ? open_sealed(object, keys, expected, &memory, &frame,
                                     detail)
                       : check_plain(object, &frame, detail);
    if (error == 0)
        error = decompress(c, ret_content, frame, size, detail);
    buffer_release(&memory);
    if (error != 0) {
        buffer_clear(ret_content);
        return error;
    }
    hash = snapshot_object_hash(keys, kind, buffer_slice(ret_content));
    if (!hash_equal(&hash, expected)) {
        buffer_clear(ret_content);
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the object's content is not what its name promises");
    }
    return 0;
}
