/* A state machine over three lists: the root gives the leaves, the leaves give
 * the chunks, the chunks give the entries. What the manifest promised bounds
 * every allocation and is compared at the end. */
#include "backup/snapshot_reader.h"

#include <sodium.h>
#include <string.h>

#include "backup/snapshot_index.h"
#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

struct snapshot_reader {
    struct mesh_id mesh;
    struct snapshot_keys keys;
    struct snapshot_coder coder;
    struct vv vv; /* owned copy */
    struct hash root_hash;
    struct hash state_digest;
    uint64_t chunk_count; /* promised */
    uint64_t entry_count;
    uint64_t sibling_count;
    uint64_t byte_count;
    hlc_t hlc_max;

    bool has_root;
    struct hash_list leaves;
    size_t leaves_read;
    struct hash_list chunks;
    size_t chunks_read;

    struct buffer content; /* of the open chunk, already checked */
    struct unpacker unpacker;
    struct entry entry;
    struct buffer last; /* bytes of last_id */
    struct entry_id last_id;
    bool has_last;

    struct digest digest;
    uint64_t entries_read;
    uint64_t keys_read; /* entries of clients */
    uint64_t siblings_read;
    uint64_t bytes_read;
    bool trusted; /* another reader has read the same */
    int error;    /* sticky */
};

int snapshot_reader_create(struct snapshot_reader **ret_reader,
                           const struct manifest *m,
                           const struct snapshot_keys *keys)
{
    struct snapshot_reader *r = cm_calloc(1, sizeof *r);
    int error;

    CHECK(ret_reader != NULL && m != NULL);
    if (r == NULL)
        return CM_ERR_NOMEM;
    r->mesh = m->mesh;
    if (keys != NULL)
        r->keys = *keys;
    else
        snapshot_keys_derive(&r->keys, &m->mesh);
    r->root_hash = m->root;
    r->state_digest = m->state_digest;
    r->chunk_count = m->chunk_count;
    r->entry_count = m->entry_count;
    r->sibling_count = m->sibling_count;
    r->byte_count = m->byte_count;
    r->hlc_max = m->hlc_max;
    vv_init(&r->vv);
    buffer_init(&r->content, SNAPSHOT_CHUNK_MAX);
    buffer_init(&r->last, 2 * KEY_SIZE_MAX);
    unpack_init(&r->unpacker, slice_of(NULL, 0));
    entry_init(&r->entry);
    digest_init(&r->digest);
    error = vv_copy(&r->vv, &m->vv);
    if (error != 0) {
        snapshot_reader_free(r);
        return error;
    }
    *ret_reader = r;
    return 0;
}

void snapshot_reader_free(struct snapshot_reader *r)
{
    if (r == NULL)
        return;
    vv_release(&r->vv);
    hash_list_release(&r->leaves);
    hash_list_release(&r->chunks);
    buffer_release(&r->content);
    buffer_release(&r->last);
    entry_release(&r->entry);
    snapshot_coder_release(&r->coder);
    sodium_memzero(&r->keys, sizeof r->keys);
    cm_free(r);
}

/* What is wanted next; false when everything was read. */
static bool wanted(const struct snapshot_reader *r,
                   enum snapshot_object_kind *ret_kind,
                   const struct hash **ret_hash)
{
    if (!r->has_root) {
        *ret_kind = SNAPSHOT_ROOT;
        *ret_hash = &r->root_hash;
    } else if (r->leaves_read < r->leaves.count) {
        *ret_kind = SNAPSHOT_LEAF;
        *ret_hash = &r->leaves.hashes[r->leaves_read];
    } else if (r->chunks_read < r->chunks.count) {
        *ret_kind = SNAPSHOT_CHUNK;
        *ret_hash = &r->chunks.hashes[r->chunks_read];
    } else {
        return false;
    }
    return true;
}

bool snapshot_reader_wants(const struct snapshot_reader *r,
                           char ret_name[SNAPSHOT_NAME_SIZE])
{
    enum snapshot_object_kind kind;
    const struct hash *hash;

    CHECK(ret_name != NULL);
    if (r->error != 0 || !wanted(r, &kind, &hash))
        return false;
    snapshot_object_name(ret_name, &r->mesh, hash);
    return true;
}

/* The next entry of the open chunk into r->entry. 0 or an error. */
static int unpack_entry(struct snapshot_reader *r, struct unpacker *u,
                        struct entry_id *ret_id, struct cm_detail *detail)
{
    size_t i;

    entry_unpack_again(u, ret_id, &r->entry);
    if (u->error != 0)
        return cm_fail(detail, u->error, "an entry of a chunk is malformed: %s",
                       cm_strerror(u->error));
    for (i = 0; i < r->entry.count; i++) {
        const struct sibling *s = &r->entry.siblings[i];

        if (!vv_covers(&r->vv, &s->dot) || s->hlc > r->hlc_max)
            return cm_fail(detail, CM_ERR_MALFORMED,
                           "an entry is newer than the manifest says that "
                           "the state is");
    }
    return 0;
}

static int remember(struct snapshot_reader *r, const struct entry_id *id,
                    struct cm_detail *detail)
{
    if (r->has_last && entry_id_compare(&r->last_id, id) >= 0)
        return cm_fail(detail, CM_ERR_NONCANONICAL,
                       "the entries are not in canonical order");
    buffer_clear(&r->last);
    buffer_append_slice(&r->last, id->key);
    buffer_append_slice(&r->last, id->element);
    if (r->last.error != 0)
        return r->last.error;
    r->last_id = (struct entry_id){
        .space = id->space,
        .key = slice_of(r->last.data, id->key.size),
        .element = slice_of(r->last.data + id->key.size, id->element.size),
    };
    r->has_last = true;
    return 0;
}

/* Reads the whole chunk once before any of it is handed out, so that draining
 * cannot fail except for want of memory. */
static int check_chunk(struct snapshot_reader *r, bool summed,
                       struct cm_detail *detail)
{
    struct unpacker u;

    unpack_init(&u, buffer_slice(&r->content));
    if (r->content.size == 0)
        return cm_fail(detail, CM_ERR_MALFORMED, "a chunk is empty");
    while (!r->trusted && u.position < r->content.size) {
        struct entry_id id;
        int error = unpack_entry(r, &u, &id, detail);
        size_t i;

        if (error == 0)
            error = remember(r, &id, detail);
        if (error != 0)
            return error;
        for (i = 0; i < r->entry.count && !summed; i++)
            digest_add(&r->digest, &id, &r->entry.siblings[i]);
        r->entries_read++;
        r->keys_read += id.space <= SPACE_CLIENT_LAST;
        r->siblings_read += r->entry.count;
    }
    r->bytes_read += r->content.size;
    if (r->entries_read > r->entry_count ||
        r->siblings_read > r->sibling_count || r->bytes_read > r->byte_count)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "the chunks hold more than the manifest says");
    return 0;
}

static int take(struct snapshot_reader *r, enum snapshot_object_kind kind,
                bool summed, struct cm_detail *detail)
{
    struct slice content = buffer_slice(&r->content);
    int error = 0;

    switch (kind) {
    case SNAPSHOT_ROOT:
        error = hash_list_unpack(&r->leaves, content, SNAPSHOT_ROOT_MAX, true);
        r->has_root = error == 0;
        break;
    case SNAPSHOT_LEAF:
        error = hash_list_unpack(&r->chunks, content, SNAPSHOT_LEAF_MAX, false);
        r->leaves_read += error == 0;
        break;
    case SNAPSHOT_CHUNK:
        error = check_chunk(r, summed, detail);
        r->chunks_read += error == 0;
        if (error != 0)
            return error;
        unpack_init(&r->unpacker, content);
        return 0;
    case SNAPSHOT_SEGMENT:
    case SNAPSHOT_EVENTS:
        CHECK(!"never wanted");
    }
    if (error != 0)
        return cm_fail(detail, error, "the index is malformed: %s",
                       cm_strerror(error));
    buffer_clear(&r->content);
    if (r->chunks.count > r->chunk_count ||
        (r->has_root && r->leaves_read == r->leaves.count &&
         r->chunks.count != r->chunk_count))
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "the index names %zu chunks, the manifest %llu",
                       r->chunks.count, (unsigned long long)r->chunk_count);
    return 0;
}

int snapshot_reader_feed(struct snapshot_reader *r, struct slice bytes,
                         struct cm_detail *detail)
{
    enum snapshot_object_kind kind;
    const struct hash *hash;
    int error;

    CHECK(r->unpacker.position == r->unpacker.in.size);
    if (r->error != 0)
        return cm_fail(detail, r->error, "an object before was refused");
    if (!wanted(r, &kind, &hash))
        return cm_fail(detail, CM_ERR_INVALID,
                       "an object came after the last one");
    unpack_init(&r->unpacker, slice_of(NULL, 0));
    error = snapshot_object_decode_by(&r->coder, &r->content, &r->keys, kind,
                                      hash, bytes, detail);
    if (error == 0) {
        error = take(r, kind, false, detail);
        /* Half of a chunk was counted: there is no second try. */
        r->error = error;
    } else if (error != CM_ERR_NOMEM) {
        r->error = error;
    }
    return error;
}

const struct hash *snapshot_reader_chunks(const struct snapshot_reader *r,
                                          size_t *ret_count)
{
    if (r->error != 0 || !r->has_root || r->leaves_read < r->leaves.count)
        return NULL;
    *ret_count = r->chunks.count;
    return r->chunks.hashes;
}

int snapshot_reader_feed_decoded(struct snapshot_reader *r,
                                 struct buffer *content, bool summed,
                                 struct cm_detail *detail)
{
    enum snapshot_object_kind kind = SNAPSHOT_ROOT;
    const struct hash *hash;
    struct buffer before = r->content;

    CHECK(r->unpacker.position == r->unpacker.in.size);
    CHECK(wanted(r, &kind, &hash) && kind == SNAPSHOT_CHUNK);
    if (r->error != 0)
        return cm_fail(detail, r->error, "an object before was refused");
    unpack_init(&r->unpacker, slice_of(NULL, 0));
    r->content = *content;
    *content = before;
    r->error = take(r, kind, summed, detail);
    return r->error;
}

int snapshot_chunk_sum(struct digest *sum, struct slice content)
{
    struct unpacker u;
    struct entry e;
    size_t i;

    entry_init(&e);
    unpack_init(&u, content);
    while (u.error == 0 && u.position < content.size) {
        struct entry_id id;

        entry_unpack_again(&u, &id, &e);
        for (i = 0; i < e.count && u.error == 0; i++)
            digest_add(sum, &id, &e.siblings[i]);
    }
    entry_release(&e);
    return u.error;
}

void snapshot_reader_sum_in(struct snapshot_reader *r, const struct digest *sum)
{
    CHECK(snapshot_reader_sums(r));
    digest_join(&r->digest, sum);
}

bool snapshot_reader_sums(const struct snapshot_reader *r)
{
    return !r->trusted;
}

bool snapshot_reader_next_entry(struct snapshot_reader *r,
                                struct entry_id *ret_id,
                                const struct entry **ret_entry)
{
    int error;

    CHECK(ret_id != NULL && ret_entry != NULL);
    if (r->error != 0 || r->unpacker.position == r->unpacker.in.size)
        return false;
    error = unpack_entry(r, &r->unpacker, ret_id, NULL);
    if (error != 0) {
        CHECK(error == CM_ERR_NOMEM); /* it was read once before */
        r->error = error;
        return false;
    }
    if (r->trusted) {
        r->entries_read++;
        r->siblings_read += r->entry.count;
    }
    *ret_entry = &r->entry;
    return true;
}

void snapshot_reader_skip(struct snapshot_reader *r)
{
    if (r->error == 0)
        unpack_init(&r->unpacker, slice_of(NULL, 0));
}

void snapshot_reader_trust(struct snapshot_reader *r)
{
    CHECK(!r->has_root);
    r->trusted = true;
}

int snapshot_reader_finish(struct snapshot_reader *r, struct cm_detail *detail)
{
    enum snapshot_object_kind kind;
    const struct hash *hash;
    struct hash digest;

    if (r->error != 0)
        return cm_fail(detail, r->error, "the snapshot could not be read: %s",
                       cm_strerror(r->error));
    if (wanted(r, &kind, &hash) || r->unpacker.position < r->unpacker.in.size)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the snapshot was not read to its end");
    if (r->chunks_read != r->chunk_count || r->entries_read != r->entry_count ||
        r->siblings_read != r->sibling_count || r->bytes_read != r->byte_count)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the snapshot holds %llu entries, its manifest says "
                       "%llu",
                       (unsigned long long)r->entries_read,
                       (unsigned long long)r->entry_count);
    if (r->trusted)
        return 0;
    digest = digest_finish(&r->digest, &r->vv);
    if (!hash_equal(&digest, &r->state_digest))
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the entries do not add up to the manifest's state "
                       "digest");
    return 0;
}

const struct digest *snapshot_reader_digest(const struct snapshot_reader *r)
{
    CHECK(r->error == 0 && !r->trusted);
    return &r->digest;
}

uint64_t snapshot_reader_keys(const struct snapshot_reader *r)
{
    CHECK(!r->trusted);
    return r->keys_read;
}

uint64_t snapshot_reader_chunks_read(const struct snapshot_reader *r)
{
    return r->chunks_read;
}
