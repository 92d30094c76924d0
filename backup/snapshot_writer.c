/* One open chunk, one open leaf, the root's list, and the few objects that the
 * last call closed. */
#include "backup/snapshot_writer.h"

#include <sodium.h>
#include <string.h>

#include "backup/chunker.h"
#include "backup/snapshot_index.h"
#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

/* One add closes at most two chunks and, with each, a leaf; _end closes a
 * chunk, two leaves and the root. */
#define PENDING_MAX 4

struct pending_object {
    enum snapshot_object_kind kind;
    struct hash hash;
    struct buffer bytes; /* memory kept from object to object */
};

struct snapshot_writer {
    struct mesh_id mesh;
    struct snapshot_keys keys;
    struct snapshot_coder coder;
    struct chunker chunker;
    struct buffer chunk;   /* the open chunk's content */
    struct buffer scratch; /* one encoded entry */
    struct buffer index;   /* one encoded index object */
    struct hash_list leaf; /* the open leaf */
    struct hash_list root;
    struct pending_object pending[PENDING_MAX];
    size_t pending_count;
    size_t pending_next; /* to be drained */
    struct buffer last;  /* bytes of last_id, for the order check */
    struct entry_id last_id;
    struct digest digest;
    bool knows_digest;
    struct hash root_hash;
    uint64_t chunk_count;
    uint64_t entry_count;
    uint64_t sibling_count;
    uint64_t byte_count;
    bool ended;
    int error; /* sticky */
};

int snapshot_writer_create(struct snapshot_writer **ret_writer,
                           const struct mesh_id *mesh,
                           const struct snapshot_keys *keys)
{
    struct snapshot_writer *w = cm_calloc(1, sizeof *w);
    size_t i;

    CHECK(ret_writer != NULL && mesh != NULL);
    if (w == NULL)
        return CM_ERR_NOMEM;
    w->mesh = *mesh;
    if (keys != NULL)
        w->keys = *keys;
    else
        snapshot_keys_derive(&w->keys, mesh);
    chunker_init(&w->chunker, w->keys.boundaries);
    buffer_init(&w->chunk, SNAPSHOT_CHUNK_MAX);
    buffer_init(&w->scratch, SNAPSHOT_CHUNK_MAX);
    buffer_init(&w->index, SNAPSHOT_CHUNK_MAX);
    buffer_init(&w->last, 2 * KEY_SIZE_MAX);
    for (i = 0; i < PENDING_MAX; i++)
        buffer_init(&w->pending[i].bytes, SNAPSHOT_OBJECT_MAX);
    digest_init(&w->digest);
    *ret_writer = w;
    return 0;
}

void snapshot_writer_know_digest(struct snapshot_writer *w,
                                 const struct digest *digest)
{
    CHECK(w->entry_count == 0);
    w->digest = *digest;
    w->knows_digest = true;
}

const struct digest *snapshot_writer_digest(const struct snapshot_writer *w)
{
    CHECK(w->ended);
    return &w->digest;
}

void snapshot_writer_hurry(struct snapshot_writer *w)
{
    CHECK(w->entry_count == 0);
    w->coder.fast = true;
}

void snapshot_writer_free(struct snapshot_writer *w)
{
    size_t i;

    if (w == NULL)
        return;
    buffer_release(&w->chunk);
    buffer_release(&w->scratch);
    buffer_release(&w->index);
    buffer_release(&w->last);
    for (i = 0; i < PENDING_MAX; i++)
        buffer_release(&w->pending[i].bytes);
    hash_list_release(&w->leaf);
    hash_list_release(&w->root);
    snapshot_coder_release(&w->coder);
    sodium_memzero(&w->keys, sizeof w->keys);
    cm_free(w);
}

static int emit(struct snapshot_writer *w, enum snapshot_object_kind kind,
                struct slice content, struct hash *ret_hash)
{
    struct pending_object *p = &w->pending[w->pending_count];
    int error;

    CHECK(w->pending_count < PENDING_MAX);
    buffer_clear(&p->bytes);
    p->kind = kind;
    p->hash = snapshot_object_hash(&w->keys, kind, content);
    error = snapshot_object_encode_by(&w->coder, &p->bytes, &w->keys, kind,
                                      &p->hash, content);
    if (error != 0)
        return error;
    *ret_hash = p->hash;
    w->pending_count++;
    return 0;
}

static int close_leaf(struct snapshot_writer *w)
{
    struct hash hash;
    int error;

    CHECK(w->leaf.count > 0);
    if (w->root.count == SNAPSHOT_ROOT_MAX)
        return CM_ERR_TOO_LARGE;
    buffer_clear(&w->index);
    hash_list_pack(&w->index, &w->leaf);
    if (w->index.error != 0)
        return w->index.error;
    error = emit(w, SNAPSHOT_LEAF, buffer_slice(&w->index), &hash);
    if (error == 0)
        error = hash_list_add(&w->root, &hash);
    w->leaf.count = 0;
    return error;
}

static int close_chunk(struct snapshot_writer *w)
{
    struct hash hash;
    int error;

    CHECK(w->chunk.size > 0);
    error = emit(w, SNAPSHOT_CHUNK, buffer_slice(&w->chunk), &hash);
    if (error == 0)
        error = hash_list_add(&w->leaf, &hash);
    if (error != 0)
        return error;
    w->byte_count += w->chunk.size;
    w->chunk_count++;
    buffer_clear(&w->chunk);
    chunker_reset(&w->chunker);
    return snapshot_leaf_ends(&hash, w->leaf.count) ? close_leaf(w) : 0;
}

static int remember_id(struct snapshot_writer *w, const struct entry_id *id)
{
    CHECK(w->entry_count == 0 || entry_id_compare(&w->last_id, id) < 0);
    buffer_clear(&w->last);
    buffer_append_slice(&w->last, id->key);
    buffer_append_slice(&w->last, id->element);
    if (w->last.error != 0)
        return w->last.error;
    w->last_id = (struct entry_id){
        .space = id->space,
        .key = slice_of(w->last.data, id->key.size),
        .element = slice_of(w->last.data + id->key.size, id->element.size),
    };
    return 0;
}

static int add(struct snapshot_writer *w, const struct entry_id *id,
               const struct entry *e)
{
    size_t size;
    size_t i;
    int error = remember_id(w, id);

    if (error != 0)
        return error;
    /* Its size is known only when it is encoded, and may close the chunk. */
    buffer_clear(&w->scratch);
    entry_pack(&w->scratch, id, e);
    if (w->scratch.error != 0)
        return w->scratch.error;
    size = w->scratch.size;
    if (chunker_ends_before(&w->chunker, size)) {
        error = close_chunk(w);
        if (error != 0)
            return error;
    }
    buffer_append_slice(&w->chunk, buffer_slice(&w->scratch));
    if (w->chunk.error != 0)
        return w->chunk.error;
    for (i = 0; i < e->count && !w->knows_digest; i++)
        digest_add(&w->digest, id, &e->siblings[i]);
    w->entry_count++;
    w->sibling_count += e->count;
    return chunker_add(&w->chunker, id, size) ? close_chunk(w) : 0;
}

int snapshot_writer_add(struct snapshot_writer *w, const struct entry_id *id,
                        const struct entry *e)
{
    CHECK(!w->ended);
    CHECK(e->count > 0);
    CHECK(w->pending_next == w->pending_count);
    w->pending_count = 0;
    w->pending_next = 0;
    if (w->error == 0)
        w->error = add(w, id, e);
    return w->error;
}

bool snapshot_writer_next_object(struct snapshot_writer *w,
                                 struct snapshot_object *ret_object)
{
    const struct pending_object *p;

    CHECK(ret_object != NULL);
    if (w->error != 0 || w->pending_next == w->pending_count)
        return false;
    p = &w->pending[w->pending_next++];
    snapshot_object_name(ret_object->name, &w->mesh, &p->hash);
    ret_object->kind = p->kind;
    ret_object->hash = p->hash;
    ret_object->bytes = buffer_slice(&p->bytes);
    return true;
}

static int end(struct snapshot_writer *w)
{
    int error = 0;

    if (w->chunk.size > 0)
        error = close_chunk(w);
    if (error == 0 && w->leaf.count > 0)
        error = close_leaf(w);
    if (error != 0)
        return error;
    buffer_clear(&w->index);
    hash_list_pack(&w->index, &w->root);
    if (w->index.error != 0)
        return w->index.error;
    return emit(w, SNAPSHOT_ROOT, buffer_slice(&w->index), &w->root_hash);
}

int snapshot_writer_end(struct snapshot_writer *w)
{
    CHECK(!w->ended);
    CHECK(w->pending_next == w->pending_count);
    w->pending_count = 0;
    w->pending_next = 0;
    if (w->error == 0)
        w->error = end(w);
    w->ended = w->error == 0;
    return w->error;
}

int snapshot_writer_manifest(struct snapshot_writer *w, struct manifest *m,
                             const uint8_t sign_secret_key[64],
                             struct buffer *out)
{
    CHECK(w->ended);
    CHECK(w->pending_next == w->pending_count);
    CHECK(mesh_id_equal(&m->mesh, &w->mesh));
    m->root = w->root_hash;
    m->chunk_count = w->chunk_count;
    m->entry_count = w->entry_count;
    m->sibling_count = w->sibling_count;
    m->byte_count = w->byte_count;
    m->state_digest = digest_finish(&w->digest, &m->vv);
    return manifest_encode(out, m, sign_secret_key);
}
