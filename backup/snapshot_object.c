/* zstd is given the project's allocator and, on the way back, memory that was
 * bounded before a byte was decompressed: the declared size is checked against
 * the limit, the frame must declare the same, and the output has no more room
 * than that, so there is no bomb to go off. */
#include "backup/snapshot_object.h"

#include <stdio.h>
#include <string.h>

#define ZSTD_STATIC_LINKING_ONLY /* for the allocator */
#include <zstd.h>
#include <zstd_errors.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

#define COMPRESSION_LEVEL 3
#define MAGIC "cmo1"
#define CHECKED_SIZE 9 /* magic, kind, size */

_Static_assert(SNAPSHOT_OBJECT_HEADER_SIZE == CHECKED_SIZE + 8, "header");
_Static_assert(ZSTD_COMPRESSBOUND(SNAPSHOT_CHUNK_MAX) +
                       SNAPSHOT_OBJECT_HEADER_SIZE <=
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
        break;
    }
    CHECK(kind == SNAPSHOT_ROOT);
    return "confmesh index root v1";
}

void snapshot_keys_derive(struct snapshot_keys *ret_keys,
                          const struct mesh_id *mesh)
{
    struct slice id = slice_of(mesh->bytes, MESH_ID_SIZE);
    struct hash names = hash_of("confmesh snapshot names v1", id);
    struct hash boundaries = hash_of("confmesh snapshot boundaries v1", id);

    CHECK(ret_keys != NULL);
    memcpy(ret_keys->names, names.bytes, sizeof ret_keys->names);
    memcpy(ret_keys->boundaries, boundaries.bytes, sizeof ret_keys->boundaries);
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
    return hash_keyed(keys->names, kind_domain(kind), content);
}

static void put_header(uint8_t *to, enum snapshot_object_kind kind, size_t size)
{
    memcpy(to, MAGIC, 4);
    to[4] = (uint8_t)kind;
    put_be32(to + 5, (uint32_t)size);
}

int snapshot_object_encode(struct buffer *out, enum snapshot_object_kind kind,
                           struct slice content)
{
    size_t bound = ZSTD_compressBound(content.size);
    size_t start = out->size;
    ZSTD_CCtx *context;
    uint8_t *to;
    size_t got;

    if (content.size > SNAPSHOT_CHUNK_MAX)
        return CM_ERR_TOO_LARGE;
    to = buffer_extend(out, SNAPSHOT_OBJECT_HEADER_SIZE + bound);
    if (to == NULL)
        return out->error;
    context = ZSTD_createCCtx_advanced(zstd_memory);
    got = context == NULL
              ? 0
              : ZSTD_compressCCtx(context, to + SNAPSHOT_OBJECT_HEADER_SIZE,
                                  bound, content.data, content.size,
                                  COMPRESSION_LEVEL);
    (void)ZSTD_freeCCtx(context);
    if (context == NULL || ZSTD_isError(got)) {
        out->size = start;
        return CM_ERR_NOMEM; /* with room for the bound nothing else fails */
    }
    CHECK(got <= bound);
    put_header(to, kind, content.size);
    put_be64(to + CHECKED_SIZE,
             record_checksum(slice_of(to, CHECKED_SIZE),
                             slice_of(to + SNAPSHOT_OBJECT_HEADER_SIZE, got)));
    out->size = start + SNAPSHOT_OBJECT_HEADER_SIZE + got;
    return 0;
}

static int check_header(enum snapshot_object_kind kind, struct slice object,
                        struct slice *ret_frame, size_t *ret_size,
                        struct cm_detail *detail)
{
    struct slice frame;
    size_t size;

    if (object.size <= SNAPSHOT_OBJECT_HEADER_SIZE)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the object has %zu bytes, fewer than its header",
                       object.size);
    if (object.size > SNAPSHOT_OBJECT_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "the object has %zu bytes, the limit is %u", object.size,
                       SNAPSHOT_OBJECT_MAX);
    if (memcmp(object.data, MAGIC, 4) != 0)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the object does not begin with %s", MAGIC);
    if (object.data[4] != (uint8_t)kind)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the object is of kind %u, %u is expected",
                       object.data[4], (unsigned)kind);
    frame = slice_of(object.data + SNAPSHOT_OBJECT_HEADER_SIZE,
                     object.size - SNAPSHOT_OBJECT_HEADER_SIZE);
    if (record_checksum(slice_of(object.data, CHECKED_SIZE), frame) !=
        get_be64(object.data + CHECKED_SIZE))
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the object's checksum does not match its bytes");
    size = get_be32(object.data + 5);
    if (size > SNAPSHOT_CHUNK_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "the object declares %zu bytes of content, the limit "
                       "is %u",
                       size, SNAPSHOT_CHUNK_MAX);
    if (ZSTD_getFrameContentSize(frame.data, frame.size) != size ||
        ZSTD_findFrameCompressedSize(frame.data, frame.size) != frame.size)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the object is not one frame of the declared size");
    *ret_frame = frame;
    *ret_size = size;
    return 0;
}

static int decompress(struct buffer *ret_content, struct slice frame,
                      size_t size, struct cm_detail *detail)
{
    uint8_t *to = buffer_extend(ret_content, size);
    ZSTD_DCtx *context;
    size_t got;

    if (to == NULL)
        return ret_content->error;
    context = ZSTD_createDCtx_advanced(zstd_memory);
    if (context == NULL)
        return CM_ERR_NOMEM;
    got = ZSTD_decompressDCtx(context, to, size, frame.data, frame.size);
    (void)ZSTD_freeDCtx(context);
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
    struct slice frame = {0};
    struct hash hash;
    size_t size = 0;
    int error;

    CHECK(keys != NULL && expected != NULL);
    buffer_clear(ret_content);
    error = check_header(kind, object, &frame, &size, detail);
    if (error != 0)
        return error;
    error = decompress(ret_content, frame, size, detail);
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
