/* Goal: no object makes the reader crash, leak or take more memory than a
 * chunk's. Method: the input as a stored object as it is; then as content that
 * is wrapped rightly and named in a manifest, so that the decoders of index and
 * entries behind the hash are reached, too. First byte = which of these. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "backup/snapshot.h"
#include "backup/snapshot_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct mesh_id mesh = {{1, 2, 3}};

static void as_object(struct slice bytes)
{
    struct snapshot_keys keys;
    struct hash expected = {{0}};
    struct buffer content;

    snapshot_keys_derive(&keys, &mesh);
    buffer_init(&content, SNAPSHOT_CHUNK_MAX);
    (void)snapshot_object_decode(&content, &keys, SNAPSHOT_CHUNK, &expected,
                                 bytes, NULL);
    buffer_release(&content);
}

static int feed(struct snapshot_reader *r, enum snapshot_object_kind kind,
                struct slice content)
{
    const struct entry *entry;
    struct entry_id id;
    struct snapshot_keys keys;
    struct buffer object;
    int error;

    snapshot_keys_derive(&keys, &mesh);
    buffer_init(&object, SNAPSHOT_OBJECT_MAX);
    error = snapshot_object_encode(&object, &keys, kind, content);
    if (error == 0)
        error = snapshot_reader_feed(r, buffer_slice(&object), NULL);
    while (error == 0 && snapshot_reader_next_entry(r, &id, &entry))
        continue;
    buffer_release(&object);
    return error;
}

/* Packs an index object that names one hash. */
static struct hash index_of(struct buffer *out, enum snapshot_object_kind kind,
                            const struct hash *only)
{
    struct snapshot_keys keys;
    struct hash_list list = {0};

    snapshot_keys_derive(&keys, &mesh);
    (void)hash_list_add(&list, only);
    hash_list_pack(out, &list);
    hash_list_release(&list);
    return snapshot_object_hash(&keys, kind, buffer_slice(out));
}

static void as_content(enum snapshot_object_kind kind, struct slice content)
{
    struct manifest m = {.mesh = mesh,
                         .chunk_count = 1,
                         .entry_count = 1000,
                         .sibling_count = 1000,
                         .byte_count = UINT64_MAX,
                         .hlc_max = UINT64_MAX};
    struct snapshot_keys keys;
    struct snapshot_reader *r;
    struct buffer leaf;
    struct buffer root;
    struct hash hash;

    snapshot_keys_derive(&keys, &mesh);
    hash = snapshot_object_hash(&keys, kind, content);
    buffer_init(&leaf, 4096);
    buffer_init(&root, 4096);
    if (kind == SNAPSHOT_CHUNK)
        hash = index_of(&leaf, SNAPSHOT_LEAF, &hash);
    if (kind != SNAPSHOT_ROOT)
        hash = index_of(&root, SNAPSHOT_ROOT, &hash);
    m.root = hash;
    if (snapshot_reader_create(&r, &m, NULL) == 0) {
        int error = kind == SNAPSHOT_ROOT
                        ? 0
                        : feed(r, SNAPSHOT_ROOT, buffer_slice(&root));

        if (error == 0 && kind == SNAPSHOT_CHUNK)
            error = feed(r, SNAPSHOT_LEAF, buffer_slice(&leaf));
        if (error == 0)
            error = feed(r, kind, content);
        if (error == 0)
            (void)snapshot_reader_finish(r, NULL);
        snapshot_reader_free(r);
    }
    buffer_release(&leaf);
    buffer_release(&root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest;

    if (size == 0)
        return 0;
    rest = slice_of(data + 1, size - 1);
    switch (data[0] % 4) {
    case 0:
        as_object(rest);
        break;
    case 1:
        as_content(SNAPSHOT_CHUNK, rest);
        break;
    case 2:
        as_content(SNAPSHOT_LEAF, rest);
        break;
    default:
        as_content(SNAPSHOT_ROOT, rest);
        break;
    }
    return 0;
}
