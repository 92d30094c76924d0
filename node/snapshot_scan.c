/* The order matters: identity, version vector and entries come from one read
 * transaction, so the manifest describes exactly the entries; the transaction
 * ends with the scan, before anything slow begins. */
#include "node/snapshot_scan.h"

#include <sodium.h>
#include <string.h>

#include "crdt/base/check.h"

#define IDENTITY_MAX (GENERATION_ORDER_SIZE_MAX + CERTIFICATE_SIZE_MAX)

void snapshot_memory_pack(struct buffer *out, const struct snapshot_memory *m)
{
    CHECK(m != NULL);
    pack_array(out, 2);
    pack_uint(out, m->sequence);
    pack_bytes(out, m->hash.bytes, HASH_SIZE);
}

int snapshot_memory_unpack(struct snapshot_memory *ret_memory,
                           struct slice bytes)
{
    struct snapshot_memory m = {0};
    struct unpacker u;
    int error;

    unpack_init(&u, bytes);
    unpack_array_of(&u, 2);
    m.sequence = unpack_uint(&u, UINT64_MAX - 1);
    unpack_bytes(&u, m.hash.bytes, HASH_SIZE);
    error = unpack_finish(&u);
    if (error == 0)
        *ret_memory = m;
    return error;
}

static int read_fact(struct snapshot_scan *s, const char *name,
                     struct slice *ret, struct cm_detail *detail)
{
    int error = store_meta(s->reader, name, ret);

    if (error == CM_ERR_NOT_FOUND)
        return cm_fail(detail, CM_ERR_NOT_READY,
                       "the node has no %s yet; it must have joined before "
                       "it can take a snapshot",
                       name);
    if (error != 0)
        return cm_fail(detail, error, "cannot read the node's %s: %s", name,
                       cm_strerror(error));
    return 0;
}

/* Copies what the manifest needs out of the map. */
static int read_identity(struct snapshot_scan *s, struct cm_detail *detail)
{
    struct manifest *m = &s->manifest;
    struct slice authority;
    struct slice order;
    struct slice certificate;
    struct slice memory;
    struct slice ready;
    int error;

    error = read_fact(s, META_READY, &ready, detail);
    if (error == 0)
        error = read_fact(s, META_AUTHORITY, &authority, detail);
    if (error == 0)
        error = read_fact(s, META_GENERATION, &order, detail);
    if (error == 0)
        error = read_fact(s, META_CERTIFICATE, &certificate, detail);
    if (error != 0)
        return error;
    if (authority.size != sizeof m->authority_public_key)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "the stored authority key has %zu bytes, not 32",
                       authority.size);
    memcpy(m->authority_public_key, authority.data, authority.size);
    m->mesh = mesh_id_of(m->authority_public_key);
    buffer_append_slice(&s->identity, order);
    buffer_append_slice(&s->identity, certificate);
    if (s->identity.error != 0)
        return s->identity.error;
    m->generation_order = slice_of(s->identity.data, order.size);
    m->certificate = slice_of(s->identity.data + order.size, certificate.size);
    error = store_meta(s->reader, META_SNAPSHOT, &memory);
    if (error == 0)
        error = snapshot_memory_unpack(&s->memory, memory);
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

/* Floor and seals belong to the state: who adopts it could not say what an
 * absent key means without them. */
static int read_standing(struct snapshot_scan *s)
{
    struct slice bytes;
    int error = store_meta(s->reader, META_STANDING, &bytes);

    if (error == CM_ERR_NOT_FOUND)
        return 0;
    if (error != 0)
        return error;
    buffer_append_slice(&s->standing, bytes);
    s->manifest.standing = buffer_slice(&s->standing);
    return s->standing.error;
}

/* Nor could whoever adopts it tell a thief from a member that he has not met:
 * the roster forgets a key with its seal. */
static int read_evicted(struct snapshot_scan *s)
{
    struct slice bytes;
    int error = store_meta(s->reader, META_BARRED, &bytes);

    if (error == CM_ERR_NOT_FOUND || error == CM_ERR_DAMAGED)
        return 0; /* the node writes it anew, not this scan */
    if (error != 0)
        return error;
    if (bytes.size % KEY_ID_SIZE != 0 ||
        bytes.size > (size_t)MANIFEST_EVICTED_MAX * KEY_ID_SIZE)
        return 0;
    buffer_append_slice(&s->evicted, bytes);
    s->manifest.evicted = buffer_slice(&s->evicted);
    return s->evicted.error;
}

int snapshot_scan_begin(struct snapshot_scan *ret_scan, struct store *store,
                        const char *spool_dir, uint64_t wall_ms,
                        const uint8_t *data_key, struct cm_detail *detail)
{
    struct snapshot_scan *s = ret_scan;
    struct snapshot_keys keys;
    int error;

    CHECK(store != NULL && spool_dir != NULL);
    *s = (struct snapshot_scan){
        .store = store, .space = SPACE_REGISTER, .users = 1};
    s->spool.fd = -1;
    if (detail != NULL)
        detail->text[0] = '\0';
    buffer_init(&s->identity, IDENTITY_MAX);
    buffer_init(&s->standing, MANIFEST_STANDING_MAX);
    buffer_init(&s->evicted, (size_t)MANIFEST_EVICTED_MAX * KEY_ID_SIZE);
    vv_init(&s->manifest.vv);
    s->manifest.created_ms = wall_ms & HLC_WALL_MS_MAX;
    error = store_reader_begin(store, &s->reader);
    if (error == 0)
        error = read_identity(s, detail);
    if (error == 0)
        error = read_standing(s);
    if (error == 0)
        error = read_evicted(s);
    if (error == 0)
        error = store_vv(s->reader, &s->manifest.vv);
    if (error == 0) {
        s->manifest.hlc_max = store_hlc(s->reader);
        error = snapshot_spool_open(&s->spool, spool_dir, detail);
    }
    if (error == 0 && data_key != NULL)
        snapshot_keys_derive_encrypted(&keys, &s->manifest.mesh, data_key);
    if (error == 0)
        error = snapshot_writer_create(&s->writer, &s->manifest.mesh,
                                       data_key != NULL ? &keys : NULL);
    sodium_memzero(&keys, sizeof keys);
    if (error != 0) {
        snapshot_scan_release(s);
        if (detail != NULL && detail->text[0] == '\0')
            (void)cm_fail(detail, error, "cannot begin a snapshot: %s",
                          cm_strerror(error));
    }
    return error;
}

void snapshot_scan_trust(struct snapshot_scan *s)
{
    CHECK(!s->done && s->reader != NULL && s->cursor == NULL);
    if (store_digest(s->reader, &s->kept) != 0)
        return; /* the scrub mends it; the entries say the same */
    snapshot_writer_know_digest(s->writer, &s->kept);
    s->sum = SNAPSHOT_SUM_KEPT;
}

/* Within the transaction that the entries come from. */
static void compare_sums(struct snapshot_scan *s)
{
    if (s->sum == SNAPSHOT_SUM_KEPT || store_digest(s->reader, &s->kept) != 0)
        return;
    s->sum = digest_equal(&s->kept, snapshot_writer_digest(s->writer))
                 ? SNAPSHOT_SUM_AGREES
                 : SNAPSHOT_SUM_DIFFERS;
}

static int spool_objects(struct snapshot_scan *s, struct cm_detail *detail)
{
    struct snapshot_object o;
    int error = 0;

    /* Drains also after an error, which the writer expects. */
    while (snapshot_writer_next_object(s->writer, &o)) {
        if (error == 0)
            error = snapshot_spool_append(&s->spool, o.kind, &o.hash, o.bytes,
                                          detail);
    }
    return error;
}

static int add_item(struct snapshot_scan *s, const struct store_item *item,
                    struct cm_detail *detail)
{
    int error = snapshot_writer_add(s->writer, &item->id, &item->entry);

    if (error != 0)
        return cm_fail(detail, error,
                       "cannot put the key '%.*s' into a snapshot: %s%s",
                       (int)(item->id.space > SPACE_CLIENT_LAST ? 0
                             : item->id.key.size < 80 ? item->id.key.size
                                                      : 80),
                       (const char *)item->id.key.data, cm_strerror(error),
                       error == CM_ERR_TOO_LARGE
                           ? " (its concurrent values exceed 16 MiB together; "
                             "overwrite it with one value)"
                           : "");
    return spool_objects(s, detail);
}

static int next_space(struct snapshot_scan *s, struct cm_detail *detail)
{
    int error;

    store_cursor_close(s->cursor);
    s->cursor = NULL;
    if (s->space != SPACE_LAST) {
        s->space++;
        return SNAPSHOT_MORE;
    }
    error = snapshot_writer_end(s->writer);
    if (error != 0)
        return cm_fail(detail, error, "cannot end a snapshot: %s",
                       cm_strerror(error));
    error = spool_objects(s, detail);
    if (error != 0)
        return error;
    compare_sums(s);
    store_reader_release(s->reader);
    s->reader = NULL;
    s->done = true;
    return SNAPSHOT_DONE;
}

int snapshot_scan_step(struct snapshot_scan *s, struct cm_detail *detail)
{
    size_t i;
    int error;

    CHECK(!s->done && s->reader != NULL);
    if (store_is_poisoned(s->store))
        return cm_fail(detail, CM_ERR_BUSY,
                       "the disk refused a commit, and the store has to be "
                       "opened again: the scan starts over");
    if (s->cursor == NULL) {
        error = store_cursor_open(s->reader, s->space, slice_of(NULL, 0), false,
                                  NULL, &s->cursor);
        if (error != 0)
            return cm_fail(detail, error, "cannot scan the store: %s",
                           cm_strerror(error));
    }
    for (i = 0; i < SNAPSHOT_SCAN_STEP_ENTRIES; i++) {
        const struct store_item *item;

        error = store_cursor_next(s->cursor, &item);
        if (error == CM_ERR_NOT_FOUND)
            return next_space(s, detail);
        if (error != 0)
            return cm_fail(detail, error,
                           "cannot read a record while scanning the store: %s",
                           cm_strerror(error));
        error = add_item(s, item, detail);
        if (error != 0)
            return error;
    }
    return SNAPSHOT_MORE;
}

void snapshot_scan_use(struct snapshot_scan *s)
{
    CHECK(atomic_load(&s->users) > 0);
    atomic_fetch_add(&s->users, 1);
}

void snapshot_scan_leave(struct snapshot_scan *s)
{
    unsigned users = atomic_fetch_sub(&s->users, 1);

    CHECK(users > 0);
    if (users == 1)
        snapshot_spool_empty(&s->spool);
}

int snapshot_scan_manifest(struct snapshot_scan *s,
                           const uint8_t sign_secret_key[64],
                           struct buffer *out, struct cm_detail *detail)
{
    int error;

    CHECK(s->done);
    CHECK(s->manifest.sequence >= 1);
    error =
        snapshot_writer_manifest(s->writer, &s->manifest, sign_secret_key, out);
    if (error != 0)
        return cm_fail(detail, error, "cannot encode the manifest: %s",
                       cm_strerror(error));
    return 0;
}

void snapshot_scan_release(struct snapshot_scan *s)
{
    CHECK(s != NULL);
    if (s->cursor != NULL)
        store_cursor_close(s->cursor);
    if (s->reader != NULL)
        store_reader_release(s->reader);
    snapshot_writer_free(s->writer);
    snapshot_spool_close(&s->spool);
    buffer_release(&s->identity);
    buffer_release(&s->standing);
    buffer_release(&s->evicted);
    vv_release(&s->manifest.vv);
    s->cursor = NULL;
    s->reader = NULL;
    s->writer = NULL;
}
