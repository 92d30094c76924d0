/* Phases: load the earlier segments; check the packs that they promise; put
 * what is missing; put the segment; see that the target has it all on disk;
 * look once more what prunes did meanwhile. A promise that does not hold is no
 * error: its objects are put again.
 *
 * Why the last look, and why marks before names: a prune that began after this
 * upload may have marked what is relied upon here (nothing leads to it yet),
 * and one a grace period later may have deleted it, and then the list of marks.
 * Marks are taken away after what they mark, so what was deleted before the
 * marks are read is missing in the names that are read then; what is neither
 * marked nor missing can only be marked from now on, and lives a grace period
 * longer, in which the manifest comes. */
#include "node/snapshot_upload.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/snapshot_marks.h"
#include "node/snapshot_packs.h"
#include "node/upload_log.h"

/* A segment is closed at so many objects, to stay within its limit. */
#define SEGMENT_OBJECTS 200000

/* So often what prunes took is put again. */
#define ROUNDS_MAX 4

enum phase {
    LOAD = 1,
    CHECK_PACKS,
    PUT,
    PUT_SEGMENT,
    FLUSH,
    LOOK_AGAIN,
    DONE,
};

struct snapshot_upload {
    enum phase phase;
    struct object_store *store;
    struct mesh_id mesh;
    struct snapshot_keys keys;
    const struct snapshot_spool *spool;
    bool thorough;
    const char *log_path;
    struct upload_log log;
    size_t log_first; /* packs in known from here on are the log's */
    struct snapshot_marks marks;
    bool marks_loaded;
    struct object_list relied; /* names of packs and segments */
    unsigned round;

    struct hash earlier[SNAPSHOT_SEGMENTS_MAX];
    size_t earlier_count;
    size_t loaded;
    size_t first_pack[SNAPSHOT_SEGMENTS_MAX + 1]; /* of each, in known */
    struct snapshot_map known;
    bool *used;    /* owned: of each pack in known */
    bool *checked; /* owned: of each pack in known: was read back */
    bool *placed;  /* owned: of each item of the spool */
    size_t next_pack;
    bool together; /* small packs and segments are */

    struct snapshot_map fresh; /* for the next segment */
    bool index; /* leaves and root now; chunks come before them */
    size_t next_item;
    struct buffer pack;
    struct buffer bytes;
    struct buffer back;
    struct buffer segments; /* result */
    struct snapshot_upload_counts counts;
};

int snapshot_upload_create(struct snapshot_upload **ret_upload,
                           const struct snapshot_upload_config *config,
                           struct cm_detail *detail)
{
    struct snapshot_upload *u = cm_calloc(1, sizeof *u);

    CHECK(ret_upload != NULL && config->spool->count > 0);
    CHECK(config->segments.size <= sizeof u->earlier);
    if (u == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    u->phase = LOAD;
    u->store = config->store;
    u->mesh = *config->mesh;
    u->spool = config->spool;
    u->thorough = config->thorough || !object_store_is_remote(config->store);
    u->log_path = config->log_path;
    u->log.fd = -1;
    snapshot_keys_derive(&u->keys, config->mesh);
    u->earlier_count = config->segments.size / HASH_SIZE;
    if (config->segments.size > 0)
        memcpy(u->earlier, config->segments.data, config->segments.size);
    buffer_init(&u->pack, SNAPSHOT_PACK_MAX);
    buffer_init(&u->bytes, SNAPSHOT_OBJECT_MAX);
    buffer_init(&u->back, SNAPSHOT_PACK_MAX);
    buffer_init(&u->segments, (size_t)SNAPSHOT_SEGMENTS_MAX * HASH_SIZE);
    u->counts.bytes_total = u->spool->size;
    u->placed = cm_calloc(u->spool->count, sizeof *u->placed);
    if (u->placed == NULL) {
        snapshot_upload_free(u);
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    }
    *ret_upload = u;
    return 0;
}

void snapshot_upload_free(struct snapshot_upload *u)
{
    if (u == NULL)
        return;
    upload_log_close(&u->log);
    snapshot_marks_release(&u->marks);
    object_list_release(&u->relied);
    snapshot_map_release(&u->known);
    snapshot_map_release(&u->fresh);
    cm_free(u->used);
    cm_free(u->checked);
    cm_free(u->placed);
    buffer_release(&u->pack);
    buffer_release(&u->bytes);
    buffer_release(&u->back);
    buffer_release(&u->segments);
    cm_free(u);
}

/* Not what is there, but the way there, or this process. */
static bool is_fatal(const struct snapshot_upload *u, int error)
{
    return error == CM_ERR_NOMEM ||
           (error == CM_ERR_IO && object_store_is_remote(u->store));
}

/* ---- what is there already ---- */

/* The packs that are used if all of those that may be are whole. */
static void mark_used(struct snapshot_upload *u)
{
    memset(u->used, 0, u->known.packs_count * sizeof *u->used);
    for (size_t i = 0; i < u->spool->count; i++) {
        const struct snapshot_place *place =
            snapshot_map_find(&u->known, &u->spool->items[i].hash);

        if (place != NULL)
            u->used[place->pack] = true;
    }
}

static int plan(struct snapshot_upload *u)
{
    size_t i;

    u->together = u->earlier_count + 2 > SNAPSHOT_SEGMENTS_MAX;
    u->used = cm_calloc(u->known.packs_count + 1, sizeof *u->used);
    u->checked = cm_calloc(u->known.packs_count + 1, sizeof *u->checked);
    if (u->used == NULL || u->checked == NULL)
        return CM_ERR_NOMEM;
    for (i = 0; i < u->known.packs_count; i++) {
        char name[SNAPSHOT_NAME_SIZE];

        snapshot_pack_name(name, &u->mesh, &u->known.packs[i].hash);
        if (u->together && u->known.packs[i].size < SNAPSHOT_SMALL_PACK)
            u->known.packs[i].usable = false;
        if (snapshot_marks_have(&u->marks, name)) {
            CM_MARK("snapshot: a pack that a prune has marked is left alone");
            u->known.packs[i].usable = false;
        }
    }
    CM_MARK_IF(u->together, "snapshot: small packs are put together");
    snapshot_map_sort(&u->known);
    mark_used(u);
    return 0;
}

/* Behind the segments comes what an upload that was cut short has put. */
static int load_log(struct snapshot_upload *u)
{
    int error = 0;

    u->log_first = u->known.packs_count;
    if (u->log_path != NULL)
        error = upload_log_open(&u->log, u->log_path, &u->known);
    return error == 0 ? plan(u) : error;
}

static int load_step(struct snapshot_upload *u, struct cm_detail *detail)
{
    struct cm_detail inner = {""};
    char name[SNAPSHOT_NAME_SIZE];
    size_t packs = u->known.packs_count;
    size_t places = u->known.count;
    int error;

    if (!u->marks_loaded) {
        u->marks_loaded = true;
        error = snapshot_marks_load(&u->marks, u->store, &u->mesh, detail);
        return error != 0 ? error : SNAPSHOT_MORE;
    }
    if (u->loaded == u->earlier_count) {
        u->first_pack[u->loaded] = packs;
        u->phase = CHECK_PACKS;
        error = load_log(u);
        return error != 0 ? cm_fail(detail, error, "out of memory")
                          : SNAPSHOT_MORE;
    }
    u->first_pack[u->loaded] = packs;
    snapshot_segment_name(name, &u->mesh, &u->earlier[u->loaded]);
    error =
        snapshot_marks_have(&u->marks, name)
            ? CM_ERR_NOT_FOUND
            : snapshot_segment_load(u->store, &u->mesh, &u->earlier[u->loaded],
                                    &u->known, &inner);
    if (is_fatal(u, error)) {
        if (detail != NULL)
            *detail = inner;
        return error;
    }
    if (error != 0) {
        CM_MARK("snapshot: an earlier segment is damaged");
        u->known.packs_count = packs; /* half of it may have come */
        u->known.count = places;
    }
    u->loaded++;
    return SNAPSHOT_MORE;
}

/* An object that is there, but perhaps not on disk: whoever put it may have
 * died before the flush. */
static int settle_later(struct snapshot_upload *u, const char *name,
                        struct slice bytes, struct cm_detail *detail)
{
    return object_store_is_remote(u->store)
               ? 0
               : object_store_put_later(u->store, name, bytes, detail);
}

/* One pack that is to be named again. */
static int check_pack(struct snapshot_upload *u, size_t pack,
                      struct cm_detail *detail)
{
    const struct hash *hash = &u->known.packs[pack].hash;
    struct cm_detail inner = {""};
    char name[SNAPSHOT_NAME_SIZE];
    int error;

    snapshot_pack_name(name, &u->mesh, hash);
    error = object_store_get(u->store, name, &u->back, &inner);
    if (is_fatal(u, error)) {
        if (detail != NULL)
            *detail = inner;
        return error;
    }
    if (error == 0)
        error =
            snapshot_pack_check(&u->keys, hash, buffer_slice(&u->back), &inner);
    if (error != 0) {
        CM_MARK("snapshot: an earlier pack is damaged");
        u->known.packs[pack].usable = false;
        return 0;
    }
    return pack < u->log_first
               ? 0
               : settle_later(u, name, buffer_slice(&u->back), detail);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, *(char *const *)b);
}

static bool is_listed(const struct object_list *l, const char *name)
{
    return l->count > 0 && bsearch(name, l->names, l->count, sizeof *l->names,
                                   compare_names) != NULL;
}

/* A download of everything for each upload would cost more than it tells:
 * names have to do over a network, and the drill reads the bytes. A listing
 * that lags behind only makes us put something again. */
static int check_names(struct snapshot_upload *u, struct cm_detail *detail)
{
    static const struct hash none;
    char name[SNAPSHOT_NAME_SIZE];
    struct object_list names;
    size_t i;
    int error;

    snapshot_pack_name(name, &u->mesh, &none);
    strrchr(name, '/')[1] = '\0';
    error = object_store_list(u->store, name, &names, detail);
    if (error != 0)
        return error;
    for (i = 0; i < u->known.packs_count; i++) {
        char hash[2 * HASH_SIZE + 1];

        hex_encode(hash, slice_of(u->known.packs[i].hash.bytes, HASH_SIZE));
        if (!is_listed(&names, hash))
            u->known.packs[i].usable = false;
    }
    object_list_release(&names);
    return 0;
}

static int compare_order(const void *pa, const void *pb)
{
    const struct snapshot_place *a = pa;
    const struct snapshot_place *b = pb;
    int order = (a->pack > b->pack) - (a->pack < b->pack);

    return order != 0 ? order
                      : (a->offset > b->offset) - (a->offset < b->offset);
}

/* The next segment places those of known's packs that are used, whole; nothing
 * is looked up in known any more. */
static int adopt(struct snapshot_upload *u, size_t from, size_t end)
{
    struct snapshot_map *k = &u->known;
    size_t pack = SIZE_MAX;
    int error = 0;

    if (from < end && k->count > 1)
        qsort(k->places, k->count, sizeof *k->places, compare_order);
    for (size_t i = 0; from < end && i < k->count && error == 0; i++) {
        const struct snapshot_place *place = &k->places[i];

        if (!u->used[place->pack] || place->pack < from || place->pack >= end)
            continue;
        if (place->pack != pack)
            error =
                snapshot_map_add_pack(&u->fresh, &k->packs[place->pack].hash);
        pack = place->pack;
        if (error == 0)
            error = snapshot_map_add(&u->fresh, &place->object, place->size);
    }
    return error;
}

static int rely(struct snapshot_upload *u, const char *name)
{
    return object_list_add(&u->relied, slice_of_string(name), false);
}

/* What is certain now is placed; the rest is put. */
static int settle(struct snapshot_upload *u)
{
    int error = 0;
    size_t i;

    memset(u->used, 0, u->known.packs_count * sizeof *u->used);
    for (i = 0; i < u->spool->count; i++) {
        const struct snapshot_place *place =
            snapshot_map_find(&u->known, &u->spool->items[i].hash);

        if (place == NULL)
            continue;
        u->placed[i] = true;
        u->used[place->pack] = true;
        u->counts.bytes_done += u->spool->items[i].size;
        CM_MARK("snapshot: an object was there already");
    }
    u->counts.bytes_there = u->counts.bytes_done;
    for (i = 0; i < u->known.packs_count && error == 0; i++) {
        char name[SNAPSHOT_NAME_SIZE];

        if (!u->used[i])
            continue;
        u->counts.packs++;
        snapshot_pack_name(name, &u->mesh, &u->known.packs[i].hash);
        error = rely(u, name);
    }
    snapshot_pack_begin(&u->pack);
    u->phase = PUT;
    if (error == 0)
        error = u->pack.error;
    return error != 0 ? error : adopt(u, u->log_first, u->known.packs_count);
}

static int check_step(struct snapshot_upload *u, struct cm_detail *detail)
{
    int error = 0;

    if (u->next_pack == 0 && u->known.packs_count > 0 && !u->thorough) {
        error = check_names(u, detail);
        u->next_pack = u->known.packs_count;
    }
    while (error == 0 && u->next_pack < u->known.packs_count) {
        size_t pack = u->next_pack++;

        if (!u->used[pack] || !u->known.packs[pack].usable || u->checked[pack])
            continue;
        u->checked[pack] = true;
        error = check_pack(u, pack, detail);
        /* What it should have held may lie in others as well, which have to be
         * read then. */
        if (error == 0 && !u->known.packs[pack].usable) {
            mark_used(u);
            u->next_pack = 0;
        }
        return error != 0 ? error : SNAPSHOT_MORE;
    }
    if (error == 0) {
        error = settle(u);
        if (error != 0)
            (void)cm_fail(detail, error, "out of memory");
    }
    return error != 0 ? error : SNAPSHOT_MORE;
}

/* ---- what is new ---- */

/* Puts an object of the store's, unless it is there, and reads it back. */
static int put_back(struct snapshot_upload *u, const char *name,
                    struct slice bytes, struct cm_detail *detail)
{
    struct cm_detail inner = {""};
    int error = object_store_get(u->store, name, &u->back, &inner);

    if (rely(u, name) != 0)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    if (error == 0 && slice_equal(buffer_slice(&u->back), bytes))
        return settle_later(u, name, bytes, detail);
    if (is_fatal(u, error)) {
        /* Every attempt was made already: no second round for the put. */
        if (detail != NULL)
            *detail = inner;
        return error;
    }
    error = object_store_put_later(u->store, name, bytes, detail);
    if (error != 0)
        return error;
    inner.text[0] = '\0';
    error = object_store_get(u->store, name, &u->back, &inner);
    if (error == 0 && !slice_equal(buffer_slice(&u->back), bytes))
        error = cm_fail(&inner, CM_ERR_DAMAGED, "it has other bytes");
    if (error != 0)
        return cm_fail(detail, error,
                       "%.110s was put but does not read back: %.100s", name,
                       inner.text);
    u->counts.bytes_new += bytes.size;
    return 0;
}

/* An object that nothing refers to, so that what holds it has another name. */
static int add_filler(struct snapshot_upload *u)
{
    uint8_t bytes[32] = {0};
    struct slice content = slice_of(bytes, sizeof bytes);
    struct hash hash;
    size_t size = u->pack.size;
    int error;

    randombytes_buf(bytes, sizeof bytes);
    hash = snapshot_object_hash(&u->keys, SNAPSHOT_SEGMENT, content);
    error =
        snapshot_object_encode(&u->pack, &u->keys, SNAPSHOT_SEGMENT, content);
    CM_MARK("snapshot: a new pack would have borne a marked name");
    return error != 0 ? error
                      : snapshot_map_add(&u->fresh, &hash, u->pack.size - size);
}

static int close_pack(struct snapshot_upload *u, struct cm_detail *detail)
{
    char name[SNAPSHOT_NAME_SIZE];
    struct hash hash;
    int error;

    if (u->pack.size <= SNAPSHOT_PACK_HEADER_SIZE)
        return 0;
    hash = snapshot_pack_hash(&u->keys, buffer_slice(&u->pack));
    snapshot_pack_name(name, &u->mesh, &hash);
    if (snapshot_marks_have(&u->marks, name)) {
        error = add_filler(u);
        if (error != 0)
            return cm_fail(detail, error, "out of memory");
        hash = snapshot_pack_hash(&u->keys, buffer_slice(&u->pack));
    }
    /* The map began the pack when its name was not known yet. */
    u->fresh.packs[u->fresh.packs_count - 1].hash = hash;
    snapshot_pack_name(name, &u->mesh, &hash);
    error = put_back(u, name, buffer_slice(&u->pack), detail);
    if (error == 0)
        upload_log_add(&u->log, &u->fresh);
    u->counts.packs_new++;
    u->counts.packs++;
    u->counts.bytes_done += u->pack.size - SNAPSHOT_PACK_HEADER_SIZE;
    snapshot_pack_begin(&u->pack);
    return error != 0 ? error : u->pack.error;
}

static int add_item(struct snapshot_upload *u, size_t index,
                    struct cm_detail *detail)
{
    static const struct hash unknown;
    const struct spool_item *item = &u->spool->items[index];
    int error = snapshot_spool_read(u->spool, index, &u->bytes, detail);

    if (error != 0)
        return error;
    if (u->pack.size <= SNAPSHOT_PACK_HEADER_SIZE)
        error = snapshot_map_add_pack(&u->fresh, &unknown);
    if (error == 0)
        error = snapshot_map_add(&u->fresh, &item->hash, item->size);
    buffer_append_slice(&u->pack, buffer_slice(&u->bytes));
    if (error == 0)
        error = u->pack.error;
    u->placed[index] = true;
    u->counts.objects_new++;
    return error == 0 ? 0 : cm_fail(detail, error, "out of memory");
}

/* One pack per step. Chunks come first, so that one that is read in key order
 * is read from front to back. */
static int put_step(struct snapshot_upload *u, struct cm_detail *detail)
{
    const struct snapshot_spool *spool = u->spool;
    int error = 0;

    for (; u->next_item < spool->count && error == 0; u->next_item++) {
        const struct spool_item *item = &spool->items[u->next_item];

        if (u->placed[u->next_item] ||
            (item->kind != SNAPSHOT_CHUNK) != u->index)
            continue;
        if (!snapshot_pack_has_room(&u->pack, item->size)) {
            error = close_pack(u, detail);
            if (error == 0 && u->fresh.count >= SEGMENT_OBJECTS)
                u->phase = PUT_SEGMENT;
            return error != 0 ? error : SNAPSHOT_MORE;
        }
        error = add_item(u, u->next_item, detail);
    }
    if (error != 0)
        return error;
    if (!u->index) {
        u->index = true;
        u->next_item = 0;
        return SNAPSHOT_MORE;
    }
    error = close_pack(u, detail);
    u->phase = PUT_SEGMENT;
    return error != 0 ? error : SNAPSHOT_MORE;
}

/* ---- segments ---- */

static int encode_segment(struct snapshot_upload *u,
                          char ret_name[SNAPSHOT_NAME_SIZE],
                          struct hash *ret_hash, struct cm_detail *detail)
{
    struct buffer content;
    int error;

    buffer_init(&content, SNAPSHOT_CHUNK_MAX);
    buffer_clear(&u->bytes);
    error = snapshot_map_encode(&content, &u->fresh);
    if (error == 0)
        error = snapshot_object_encode(&u->bytes, &u->keys, SNAPSHOT_SEGMENT,
                                       buffer_slice(&content));
    *ret_hash = snapshot_object_hash(&u->keys, SNAPSHOT_SEGMENT,
                                     buffer_slice(&content));
    buffer_release(&content);
    if (error != 0)
        return cm_fail(detail, error, "cannot encode a segment: %s",
                       cm_strerror(error));
    snapshot_segment_name(ret_name, &u->mesh, ret_hash);
    return 0;
}

/* A pack that nobody needs, so that the segment has another name. */
static int put_filler(struct snapshot_upload *u, struct cm_detail *detail)
{
    static const struct hash unknown;
    int error = snapshot_map_add_pack(&u->fresh, &unknown);

    snapshot_pack_begin(&u->pack);
    if (error == 0)
        error = add_filler(u);
    if (error != 0)
        return cm_fail(detail, error, "out of memory");
    return close_pack(u, detail);
}

static int put_segment(struct snapshot_upload *u, struct cm_detail *detail)
{
    char name[SNAPSHOT_NAME_SIZE];
    struct hash hash;
    int error = encode_segment(u, name, &hash, detail);

    if (error == 0 && snapshot_marks_have(&u->marks, name)) {
        error = put_filler(u, detail);
        if (error == 0)
            error = encode_segment(u, name, &hash, detail);
    }
    if (error != 0)
        return error;
    error = put_back(u, name, buffer_slice(&u->bytes), detail);
    buffer_append(&u->segments, hash.bytes, HASH_SIZE);
    snapshot_map_release(&u->fresh);
    return error != 0 ? error : u->segments.error;
}

/* Earlier segments stay while anything that they place is in use. */
static int keep_earlier(struct snapshot_upload *u)
{
    size_t i;

    for (i = 0; i < u->earlier_count; i++) {
        bool live = false;
        size_t pack;

        for (pack = u->first_pack[i]; pack < u->first_pack[i + 1]; pack++)
            live = live || u->used[pack];
        if (live) {
            char name[SNAPSHOT_NAME_SIZE];

            snapshot_segment_name(name, &u->mesh, &u->earlier[i]);
            if (rely(u, name) != 0)
                return CM_ERR_NOMEM;
            buffer_append(&u->segments, u->earlier[i].bytes, HASH_SIZE);
        }
    }
    return u->segments.error;
}

static int segment_step(struct snapshot_upload *u, struct cm_detail *detail)
{
    bool more = u->next_item < u->spool->count;
    int error = 0;

    if (!more && u->together) {
        error = adopt(u, 0, u->log_first);
        u->earlier_count = 0;
    }
    if (error == 0 && u->fresh.packs_count > 0)
        error = put_segment(u, detail);
    if (error == 0 && !more)
        error = keep_earlier(u);
    if (error != 0)
        return cm_fail(error == CM_ERR_NOMEM ? detail : NULL, error,
                       "out of memory");
    u->phase = more ? PUT : FLUSH;
    return SNAPSHOT_MORE;
}

/* ---- what prunes did meanwhile ---- */

/* Everything below "v1/<mesh>/p/" or "i/", by full names. */
static int list_kind(struct snapshot_upload *u, char kind,
                     struct object_list *ret_names, struct cm_detail *detail)
{
    char prefix[SNAPSHOT_NAME_SIZE];
    char mesh[MESH_ID_TEXT_SIZE];

    mesh_id_format(mesh, &u->mesh);
    (void)snprintf(prefix, sizeof prefix, "v1/%s/%c/", mesh, kind);
    return object_store_list(u->store, prefix, ret_names, detail);
}

/* Whether one that the listing lacks is there all the same: a listing may lag
 * behind. */
static int is_there(struct snapshot_upload *u, const char *name, bool *ret,
                    struct cm_detail *detail)
{
    struct cm_detail inner = {""};
    int error = object_store_get(u->store, name, &u->back, &inner);

    *ret = error == 0;
    if (!is_fatal(u, error))
        return 0;
    if (detail != NULL)
        *detail = inner;
    return error;
}

/* How many of those that are relied upon are marked or gone. */
static int count_taken(struct snapshot_upload *u, size_t *ret,
                       struct cm_detail *detail)
{
    static const char kinds[] = "pi";
    int error = 0;

    *ret = 0;
    for (size_t k = 0; kinds[k] != '\0' && error == 0; k++) {
        struct object_list names;

        error = list_kind(u, kinds[k], &names, detail);
        if (error != 0)
            break;
        for (size_t i = 0; i < u->relied.count && error == 0; i++) {
            const char *name = u->relied.names[i];
            const char *last = strrchr(name, '/') + 1;
            bool there = true;

            if (last[-2] != kinds[k])
                continue;
            if (!snapshot_marks_have(&u->marks, name) &&
                !is_listed(&names, last))
                error = is_there(u, name, &there, detail);
            *ret += !there || snapshot_marks_have(&u->marks, name);
        }
        object_list_release(&names);
    }
    return error;
}

/* Once more from the beginning, with what this round has put as what is there
 * from before. */
static void begin_again(struct snapshot_upload *u)
{
    CHECK(u->segments.size <= sizeof u->earlier);
    u->earlier_count = u->segments.size / HASH_SIZE;
    memcpy(u->earlier, u->segments.data, u->segments.size);
    buffer_clear(&u->segments);
    object_list_release(&u->relied);
    upload_log_close(&u->log);
    u->log.fd = -1;
    snapshot_map_release(&u->known);
    snapshot_map_release(&u->fresh);
    cm_free(u->used);
    cm_free(u->checked);
    u->used = NULL;
    u->checked = NULL;
    memset(u->placed, 0, u->spool->count * sizeof *u->placed);
    u->loaded = 0;
    u->next_pack = 0;
    u->next_item = 0;
    u->index = false;
    u->counts.bytes_done = 0;
    u->counts.packs = 0;
    u->phase = LOAD;
}

static int look_again(struct snapshot_upload *u, struct cm_detail *detail)
{
    size_t taken;
    int error;

    snapshot_marks_release(&u->marks);
    error = snapshot_marks_load(&u->marks, u->store, &u->mesh, detail);
    if (error == 0)
        error = count_taken(u, &taken, detail);
    if (error != 0)
        return error;
    if (taken == 0) {
        u->phase = DONE;
        return SNAPSHOT_DONE;
    }
    CM_MARK("snapshot: a prune took what an upload relied upon");
    if (++u->round == ROUNDS_MAX)
        return cm_fail(detail, CM_ERR_BUSY,
                       "prunes marked or deleted what this upload has put, "
                       "%d times over; prune less often, or with a longer "
                       "--grace",
                       ROUNDS_MAX);
    begin_again(u);
    return SNAPSHOT_MORE;
}

int snapshot_upload_step(struct snapshot_upload *u, struct cm_detail *detail)
{
    int error;

    switch (u->phase) {
    case LOAD:
        return load_step(u, detail);
    case CHECK_PACKS:
        return check_step(u, detail);
    case PUT:
        return put_step(u, detail);
    case PUT_SEGMENT:
        return segment_step(u, detail);
    case FLUSH:
        /* One wait for all. A crash before it can leave packs that are not
         * whole: the next job finds and replaces them, and no manifest names
         * them. */
        error = object_store_flush(u->store, detail);
        u->phase = LOOK_AGAIN;
        return error != 0 ? error : SNAPSHOT_MORE;
    case LOOK_AGAIN:
        return look_again(u, detail);
    case DONE:
        break;
    }
    CHECK(!"a finished upload is stepped");
    return CM_ERR_INVALID;
}

struct slice snapshot_upload_segments(const struct snapshot_upload *u)
{
    CHECK(u->phase == DONE);
    return buffer_slice(&u->segments);
}

void snapshot_upload_settled(struct snapshot_upload *u)
{
    CHECK(u->phase == DONE);
    upload_log_clear(&u->log);
}

const struct snapshot_upload_counts *
snapshot_upload_counts(const struct snapshot_upload *u)
{
    return &u->counts;
}
