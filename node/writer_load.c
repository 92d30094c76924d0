/* Opening: first life of a store, and the writer's memory from the store. */
#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/writer_internal.h"

static int put_fact(struct store_txn *t, struct buffer *record,
                    const char *name, struct slice value)
{
    struct schema_key key;

    schema_key_meta(&key, name);
    schema_record_begin(record);
    buffer_append_slice(record, value);
    return store_txn_put(t, &key, record);
}

static int put_first_head(struct store_txn *t, struct buffer *record)
{
    struct schema_head head = {.format = STORE_FORMAT};
    struct schema_key key;

    schema_key_state(&key, SCHEMA_STATE_HEAD);
    schema_record_begin(record);
    schema_head_pack(record, &head);
    return store_txn_put(t, &key, record);
}

static int put_identity(struct store_txn *t, struct buffer *record,
                        const struct store_identity *identity)
{
    const struct meta_fact facts[] = {
        {META_INCARNATION,
         slice_of(identity->incarnation.bytes, INCARNATION_SIZE)},
        {META_CERTIFICATE, identity->certificate},
        {META_AUTHORITY, slice_of(identity->authority_public_key, 32)},
        {META_GENERATION, identity->generation_order},
        {META_HOST, identity->host},
        {META_READY, slice_of("1", identity->ready ? 1 : 0)},
    };
    int error = put_first_head(t, record);

    for (size_t i = 0; i < sizeof facts / sizeof facts[0] && error == 0; i++) {
        if (facts[i].value.size > 0)
            error = put_fact(t, record, facts[i].name, facts[i].value);
    }
    return error;
}

int writer_initialise(struct store *s, const struct store_identity *identity,
                      struct cm_detail *detail)
{
    struct generation_order order;
    struct store_txn t;
    struct slice old;
    struct buffer record;
    int error;

    error = generation_order_decode(&order, identity->generation_order,
                                    identity->authority_public_key);
    if (error != 0)
        return cm_fail(detail, error,
                       "generation order does not fit the authority key: %s",
                       cm_strerror(error));
    generation_order_release(&order);
    error = store_txn_begin(&t, s, true, detail);
    if (error != 0)
        return error;
    buffer_init(&record, SCHEMA_RECORD_MAX);
    error = store_txn_meta(&t, META_INCARNATION, &old);
    if (error == 0)
        error = cm_fail(detail, CM_ERR_EXISTS,
                        "this data directory has an identity already; use "
                        "another one");
    else if (error == CM_ERR_NOT_FOUND)
        error = put_identity(&t, &record, identity);
    if (error == 0)
        error = store_txn_commit(&t, detail);
    else
        store_txn_abort(&t);
    buffer_release(&record);
    return error;
}

bool writer_is_sealed(const struct writer *w, const struct incarnation *i)
{
    CHECK(w->has_order);
    return vv_find(&w->order.sealed, i) != NULL;
}

int writer_take_generation(struct writer *w, struct slice order,
                           struct cm_detail *detail)
{
    struct generation_order decoded;
    struct buffer bytes;
    int error;

    buffer_init(&bytes, GENERATION_ORDER_SIZE_MAX);
    buffer_append_slice(&bytes, order);
    error = bytes.error;
    if (error == 0)
        error = generation_order_decode(&decoded, buffer_slice(&bytes),
                                        w->authority);
    if (error != 0) {
        buffer_release(&bytes);
        return cm_fail(detail, error, "generation order: %s",
                       cm_strerror(error));
    }
    if (w->has_order)
        generation_order_release(&w->order);
    buffer_release(&w->generation_bytes);
    w->generation_bytes = bytes;
    w->order = decoded;
    w->generation = generation_id_of(decoded.number, buffer_slice(&bytes));
    w->has_order = true;
    return 0;
}

/* ---- the roster ---- */

static int insert_members(struct writer *w, struct roster *roster,
                          const struct store_item *item)
{
    struct incarnation incarnation;
    int error = 0;

    if (item->id.key.size != INCARNATION_SIZE)
        return CM_ERR_DAMAGED;
    memcpy(incarnation.bytes, item->id.key.data, INCARNATION_SIZE);
    if (!standing_is_member(w->standing, &incarnation))
        return 0;
    for (size_t i = 0; i < item->entry.count && error == 0; i++) {
        const struct sibling *s = &item->entry.siblings[i];

        error = roster_insert(roster, &incarnation, s->value, w->authority,
                              s->hlc, &s->dot);
    }
    return error;
}

/* It was evicted and works on until it has another one. */
static int insert_self(const struct writer *w, struct roster *roster,
                       struct store_reader *r)
{
    struct dot none = {.seq = 0};
    struct slice certificate;
    int error = store_txn_meta(&r->txn, META_CERTIFICATE, &certificate);

    return error != 0 ? error
                      : roster_insert(roster, &w->self, certificate,
                                      w->authority, 0, &none);
}

/* After the standing, which says who was sealed. */
static int load_roster(struct writer *w, struct store_reader *r)
{
    struct roster *roster = roster_new();
    struct store_cursor *cursor = NULL;
    const struct store_item *item;
    struct dot none = {.seq = 0};
    int error;

    if (roster == NULL)
        return CM_ERR_NOMEM;
    error = 0;
    if (standing_is_member(w->standing, &w->order.founder))
        error =
            roster_insert(roster, &w->order.founder,
                          w->order.founder_certificate, w->authority, 0, &none);
    if (error == 0 && standing_is_sealed(w->standing, &w->self, NULL))
        error = insert_self(w, roster, r);
    if (error == 0)
        error = store_cursor_open(r, SPACE_ROSTER, slice_of(NULL, 0), false,
                                  NULL, &cursor);
    while (error == 0) {
        error = store_cursor_next(cursor, &item);
        if (error == 0)
            error = insert_members(w, roster, item);
    }
    store_cursor_close(cursor);
    if (error != CM_ERR_NOT_FOUND) {
        roster_release(roster);
        return error;
    }
    roster_release(w->roster);
    w->roster = roster;
    return 0;
}

/* ---- memory from the store ---- */

static int meta_bytes(struct store_txn *t, const char *name, void *ret_bytes,
                      size_t size, struct cm_detail *detail)
{
    struct slice value;
    int error = store_txn_meta(t, name, &value);

    if (error == 0 && value.size != size)
        error = CM_ERR_DAMAGED;
    if (error == CM_ERR_NOT_FOUND)
        return cm_fail(detail, CM_ERR_NOT_READY,
                       "data directory has no %s; initialise or join first",
                       name);
    if (error != 0)
        return cm_fail(detail, error, "%s in the store: %s", name,
                       cm_strerror(error));
    memcpy(ret_bytes, value.data, size);
    return 0;
}

static int known_entry(void *context, uint32_t actor,
                       const struct schema_actor *record)
{
    struct vv *known = context;
    struct hash none = {{0}};

    (void)actor;
    if (record->known_seq == 0)
        return 0;
    return vv_set(known, &record->entry.incarnation, record->known_seq, &none);
}

/* Events signed with another key than the certified one would be refused
 * everywhere. */
static int check_key(struct writer *w, struct store_txn *t,
                     struct cm_detail *detail)
{
    struct certificate certificate;
    struct slice bytes;
    int error = store_txn_meta(t, META_CERTIFICATE, &bytes);

    if (error == 0)
        error = certificate_decode(&certificate, bytes, w->authority);
    if (error != 0)
        return cm_fail(detail, error, "certificate in the store: %s",
                       cm_strerror(error));
    if (memcmp(certificate.sign_key, w->secret_key + 32, 32) != 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "node.key is not the key that this directory's "
                       "certificate names; put the right one back");
    w->reader = !roster_may_enter(&certificate);
    return 0;
}

/* Read by orders.c. Without it a thief who was evicted would be heard again,
 * and nobody else's state here tells of him: a cut of a member does. */
static int check_barred(struct store_txn *t, struct cm_detail *detail)
{
    struct slice value;

    if (store_txn_meta(t, META_BARRED, &value) != CM_ERR_DAMAGED)
        return 0;
    CM_MARK("load: who was evicted cannot be read any more");
    return cm_fail(detail, CM_ERR_DAMAGED,
                   "the list of evicted keys in the store is damaged");
}

static int load_identity(struct writer *w, struct store_txn *t,
                         struct cm_detail *detail)
{
    struct slice order;
    struct slice value;
    int error = meta_bytes(t, META_INCARNATION, w->self.bytes, INCARNATION_SIZE,
                           detail);

    if (error == 0)
        error = meta_bytes(t, META_AUTHORITY, w->authority, 32, detail);
    if (error != 0)
        return error;
    w->mesh = mesh_id_of(w->authority);
    error = store_txn_meta(t, META_GENERATION, &order);
    if (error != 0)
        return cm_fail(detail, error, "generation in the store: %s",
                       cm_strerror(error));
    error = writer_take_generation(w, order, detail);
    if (error != 0)
        return error;
    error = check_key(w, t, detail);
    if (error != 0)
        return error;
    error = store_txn_meta(t, META_READY, &value);
    w->ready = error == 0 || error == CM_ERR_DAMAGED; /* else there is none */
    if (store_txn_meta(t, META_HAZARD, &value) != CM_ERR_NOT_FOUND)
        w->hazard = true; /* also if the record is damaged */
    return check_barred(t, detail);
}

static int load_state(struct writer *w, struct store_reader *r,
                      struct cm_detail *detail)
{
    struct vv vv, known;
    int error;

    vv_init(&vv);
    vv_init(&known);
    error = store_txn_head(&r->txn, &w->head);
    if (error == 0)
        error = store_txn_vv(&r->txn, &vv);
    if (error == 0)
        error = store_txn_actors(&r->txn, known_entry, &known);
    if (error == 0)
        error = store_txn_digest(&r->txn, &w->digest);
    if (error == 0)
        error = stage_look(&r->txn, w->head.bank, &w->shadow);
    if (error == 0)
        error = standing_reload(w, r, detail);
    if (error == 0)
        error = load_roster(w, r);
    if (error == 0)
        error = expire_look(w, &r->txn);
    if (error == 0)
        error = collapse_look(w, &r->txn);
    if (error == 0)
        error = unsent_count(&r->txn, &w->unsent);
    w->unsent_looked = false;
    if (error != 0) {
        vv_release(&vv);
        vv_release(&known);
        return cm_fail(detail, error, "loading state from the store: %s",
                       cm_strerror(error));
    }
    vv_release(&w->vv);
    vv_release(&w->known);
    w->vv = vv;
    w->known = known;
    return 0;
}

int writer_reload(struct writer *w, struct cm_detail *detail)
{
    struct store_reader reader;
    int error;

    w->stale = true;
    error = store_txn_begin(&reader.txn, w->store, false, detail);
    if (error != 0)
        return error;
    error = load_identity(w, &reader.txn, detail);
    if (error == 0)
        error = load_state(w, &reader, detail);
    store_txn_abort(&reader.txn);
    w->stale = error != 0;
    return error;
}

int writer_open(struct writer **ret_writer, struct store *s,
                const uint8_t sign_secret_key[64], struct cm_detail *detail)
{
    struct writer *w = cm_calloc(1, sizeof *w);
    int error;

    if (w == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "writer: out of memory");
    w->store = s;
    memcpy(w->secret_key, sign_secret_key, sizeof w->secret_key);
    buffer_init(&w->generation_bytes, GENERATION_ORDER_SIZE_MAX);
    buffer_init(&w->record, SCHEMA_RECORD_MAX);
    buffer_init(&w->scratch, 2 * EVENT_SIZE_MAX);
    buffer_init(&w->own.body, EVENT_SIZE_MAX);
    vv_init(&w->vv);
    vv_init(&w->known);
    vv_init(&w->adopting);
    touched_init(&w->touched, sign_secret_key);
    entry_init(&w->entry);
    pending_init(&w->pending);
    change_log_init(&w->log);
    error = writer_reload(w, detail);
    if (error == 0)
        error = writer_limit_level(w, LEVEL_LAST, detail);
    if (error != 0) {
        writer_close(w);
        return error;
    }
    CHECK(w->roster != NULL && w->standing != NULL && w->has_order);
    prune_plan(w); /* what was left when it was last at work */
    *ret_writer = w;
    return 0;
}

void writer_close(struct writer *w)
{
    if (w == NULL)
        return;
    if (w->has_order)
        generation_order_release(&w->order);
    buffer_release(&w->generation_bytes);
    buffer_release(&w->record);
    buffer_release(&w->scratch);
    buffer_release(&w->own.body);
    cm_free(w->own.deps);
    vv_release(&w->vv);
    vv_release(&w->known);
    vv_release(&w->adopting);
    touched_clear(&w->touched);
    entry_release(&w->entry);
    cm_free(w->before);
    cm_free(w->dots);
    roster_release(w->roster);
    standing_free(w->standing);
    floor_release(&w->prune.floor);
    pending_release(&w->pending);
    change_log_release(&w->log);
    sodium_memzero(w->secret_key, sizeof w->secret_key);
    cm_free(w);
}

struct incarnation writer_incarnation(const struct writer *w)
{
    return w->self;
}

struct generation_id writer_generation(const struct writer *w)
{
    return w->generation;
}
