/* Nodes with a real store in a directory of their own, one authority, and
 * events carried between them by hand. */
#ifndef TESTS_UNIT_WRITER_FIXTURE_H
#define TESTS_UNIT_WRITER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

#include "crdt/authority.h"
#include "crdt/base/alloc.h"
#include "node/writer.h"

#define FIXTURE_WALL_MS UINT64_C(1700000000000)
#define FIXTURE_NODES_MAX 12

struct fixture_event {
    struct dot dot;
    size_t size;
    uint8_t *bytes;
};

struct fixture_node {
    char dir[64];
    struct store *store;
    struct writer *writer;
    struct incarnation incarnation;
    uint8_t public_key[32];
    uint8_t secret_key[64];
    struct buffer certificate;
    uint64_t wall_ms;
    uint64_t map_size;
    uint32_t level; /* its program's format level; 0: this one's */
    struct fixture_event *events; /* its own, in order */
    size_t events_count;
    struct hash digest; /* of the last result */
    struct hash proof;
    struct vv vv;
};

struct fixture_mesh {
    struct authority authority;
    struct mesh_id mesh;
    struct buffer order;
    uint32_t level; /* of the nodes that are made; 0: this program's */
    struct fixture_node nodes[FIXTURE_NODES_MAX];
    size_t count;
};

static inline void fixture_keys(struct fixture_node *n, uint8_t tag)
{
    uint8_t seed[32] = {tag, 1};

    crypto_sign_seed_keypair(n->public_key, n->secret_key, seed);
    randombytes_buf_deterministic(n->incarnation.bytes, INCARNATION_SIZE, seed);
}

static inline void fixture_certify(struct fixture_mesh *m,
                                   struct fixture_node *n, const char *name,
                                   unsigned roles, const char *prefix)
{
    struct certificate c = {0};

    c.mesh = m->mesh;
    memcpy(c.sign_key, n->public_key, 32);
    memset(c.box_key, 9, 32);
    (void)snprintf(c.name, sizeof c.name, "%s", name);
    c.roles = roles;
    c.prefixes[0] = slice_of_string(prefix);
    c.prefixes_count = 1;
    c.not_after_ms = UINT64_C(4000000000000);
    buffer_init(&n->certificate, CERTIFICATE_SIZE_MAX);
    assert_int_equal(
        certificate_encode(&n->certificate, &c, m->authority.secret_key), 0);
}

static inline void fixture_open(struct fixture_node *n)
{
    struct cm_detail detail = {{0}};
    int error = store_open(&n->store, n->dir, n->map_size, &detail);

    if (error == 0)
        error = writer_open(&n->writer, n->store, n->secret_key, &detail);
    if (error == 0 && n->level != 0)
        error = writer_limit_level(n->writer, n->level, &detail);
    if (error != 0)
        fail_msg("open: %s: %s", cm_strerror(error), detail.text);
}

static inline void fixture_close(struct fixture_node *n)
{
    writer_close(n->writer);
    store_close(n->store);
    n->writer = NULL;
    n->store = NULL;
}

static inline void fixture_identity(struct fixture_mesh *m,
                                    struct fixture_node *n, bool ready)
{
    struct cm_detail detail = {{0}};
    struct store_identity identity = {
        .incarnation = n->incarnation,
        .certificate = buffer_slice(&n->certificate),
        .generation_order = buffer_slice(&m->order),
        .host = slice_of("host", 4),
        .ready = ready,
    };
    struct store *s;

    (void)snprintf(n->dir, sizeof n->dir, "/tmp/confmesh-test-XXXXXX");
    assert_non_null(mkdtemp(n->dir));
    memcpy(identity.authority_public_key, m->authority.public_key, 32);
    if (n->map_size == 0)
        n->map_size = UINT64_C(1) << 30;
    n->wall_ms = FIXTURE_WALL_MS;
    assert_int_equal(store_open(&s, n->dir, n->map_size, &detail), 0);
    assert_int_equal(writer_initialise(s, &identity, &detail), 0);
    store_close(s);
    vv_init(&n->vv);
    fixture_open(n);
}

/* level: of its nodes' programs; 0: this one's. */
static inline void fixture_mesh_make_level(struct fixture_mesh *m,
                                           uint32_t level)
{
    uint8_t seed[32] = {77};
    struct generation_order order = {0};
    struct fixture_node *n = &m->nodes[0];

    assert_true(sodium_init() >= 0);
    memset(m, 0, sizeof *m);
    m->level = level;
    n->level = level;
    authority_make(&m->authority, seed);
    m->mesh = mesh_id_of(m->authority.public_key);
    fixture_keys(n, 1);
    fixture_certify(m, n, "node-1", ROLE_WRITER | ROLE_ISSUER | ROLE_ADMIN, "");
    order.mesh = m->mesh;
    order.number = 1;
    order.founder = n->incarnation;
    order.founder_certificate = buffer_slice(&n->certificate);
    order.created_ms = FIXTURE_WALL_MS;
    order.founder_level = level != 0 ? level : LEVEL_LAST;
    buffer_init(&m->order, GENERATION_ORDER_SIZE_MAX);
    assert_int_equal(
        generation_order_encode(&m->order, &order, m->authority.secret_key), 0);
    fixture_identity(m, n, true);
    m->count = 1;
}

static inline void fixture_mesh_make(struct fixture_mesh *m)
{
    fixture_mesh_make_level(m, 0);
}

static inline void fixture_remove_dir(const char *dir)
{
    const char *const names[] = {"data.mdb", "lock.mdb"};
    char path[128];

    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(dir);
}

static inline void fixture_mesh_release(struct fixture_mesh *m)
{
    for (size_t i = 0; i < m->count; i++) {
        struct fixture_node *n = &m->nodes[i];

        fixture_close(n);
        fixture_remove_dir(n->dir);
        buffer_release(&n->certificate);
        vv_release(&n->vv);
        for (size_t j = 0; j < n->events_count; j++)
            free(n->events[j].bytes);
        free(n->events);
    }
    buffer_release(&m->order);
}

static inline void fixture_keep_own(struct fixture_node *n,
                                    const struct commit_event *e)
{
    struct fixture_event *kept;

    n->events = realloc(n->events, (n->events_count + 1) * sizeof *n->events);
    assert_non_null(n->events);
    kept = &n->events[n->events_count++];
    kept->dot = e->dot;
    kept->size = e->bytes.size;
    kept->bytes = malloc(e->bytes.size);
    assert_non_null(kept->bytes);
    memcpy(kept->bytes, e->bytes.data, e->bytes.size);
}

/* Runs a batch and keeps the node's own events; the intents stay the
 * caller's. */
static inline struct commit_result *fixture_commit(struct fixture_node *n,
                                                   struct intent *batch)
{
    struct commit_result *r = writer_commit(n->writer, batch, n->wall_ms++);

    if (r == NULL)
        return NULL;
    for (size_t i = 0; i < r->events_count; i++) {
        if (r->events[i].own)
            fixture_keep_own(n, &r->events[i]);
    }
    n->digest = r->digest;
    n->proof = r->proof;
    vv_release(&n->vv);
    assert_int_equal(vv_copy(&n->vv, &r->vv), 0);
    return r;
}

static inline struct local_op fixture_op(enum op_kind kind, const char *key,
                                         const char *element, const char *value)
{
    return (struct local_op){
        .kind = kind,
        .key = slice_of_string(key),
        .element = slice_of_string(element != NULL ? element : ""),
        .value = slice_of_string(value != NULL ? value : ""),
    };
}

/* One local intent of one operation; the caller frees it. */
static inline struct intent *fixture_do(struct fixture_node *n,
                                        const struct local_op *op)
{
    struct intent *i = intent_new(INTENT_LOCAL);

    assert_non_null(i);
    assert_int_equal(intent_add_op(i, op), 0);
    commit_result_free(fixture_commit(n, i));
    return i;
}

static inline int fixture_write(struct fixture_node *n, enum op_kind kind,
                                const char *key, const char *element,
                                const char *value)
{
    struct local_op op = fixture_op(kind, key, element, value);
    struct intent *i = fixture_do(n, &op);
    int ret = i->result;

    if (ret != 0)
        print_message("%s %s: %s\n", op_kind_name(kind), key, i->detail.text);
    intent_free(i);
    return ret;
}

static inline int fixture_deliver(struct fixture_node *n, struct slice bytes)
{
    struct intent *i = intent_new(INTENT_FOREIGN);
    int ret;

    assert_non_null(i);
    assert_int_equal(intent_set_event(i, bytes), 0);
    commit_result_free(fixture_commit(n, i));
    ret = i->result;
    intent_free(i);
    return ret;
}

/* All events of from that to does not have. */
static inline void fixture_sync(struct fixture_node *to,
                                const struct fixture_node *from)
{
    for (size_t i = 0; i < from->events_count; i++) {
        int error = fixture_deliver(
            to, slice_of(from->events[i].bytes, from->events[i].size));

        assert_true(error == 0 || error == CM_ERR_DUPLICATE ||
                    error == CM_ERR_PENDING);
    }
}

/* Makes node number count + 1, rostered by node 1, with its own store. */
static inline struct fixture_node *fixture_add_node(struct fixture_mesh *m,
                                                    unsigned roles,
                                                    const char *prefix,
                                                    bool rostered)
{
    struct fixture_node *n = &m->nodes[m->count];
    char name[16];

    assert_true(m->count < FIXTURE_NODES_MAX);
    fixture_keys(n, (uint8_t)(m->count + 1));
    (void)snprintf(name, sizeof name, "node-%zu", m->count + 1);
    fixture_certify(m, n, name, roles, prefix);
    n->level = m->level;
    fixture_identity(m, n, true);
    m->count++;
    if (rostered) {
        struct local_op op = {
            .kind = OP_ROSTER_ADD,
            .key = slice_of(n->incarnation.bytes, INCARNATION_SIZE),
            .value = buffer_slice(&n->certificate),
            .level = n->level,
        };
        struct intent *i = fixture_do(&m->nodes[0], &op);

        assert_int_equal(i->result, 0);
        intent_free(i);
        fixture_sync(n, &m->nodes[0]);
    }
    return n;
}

/* The visible value, "" if none. */
static inline void fixture_get(struct fixture_node *n, enum space space,
                               const char *key, const char *element,
                               char *ret_value, size_t size)
{
    struct store_reader *r;
    struct entry e;
    struct entry_id id = {
        .space = space,
        .key = slice_of_string(key),
        .element = slice_of_string(element != NULL ? element : ""),
    };
    int error;

    ret_value[0] = '\0';
    entry_init(&e);
    assert_int_equal(store_reader_begin(n->store, &r), 0);
    error = store_get(r, &id, &e, NULL);
    if (error == 0) {
        struct resolution res = entry_resolve(&e, hlc_make(n->wall_ms, 0));

        if (res.present && space == SPACE_SET)
            (void)snprintf(ret_value, size, "in");
        else if (res.present)
            (void)snprintf(ret_value, size, "%.*s", (int)res.winner->value.size,
                           (const char *)res.winner->value.data);
    } else {
        assert_int_equal(error, CM_ERR_NOT_FOUND);
    }
    entry_release(&e);
    store_reader_release(r);
}

static inline void fixture_expect(struct fixture_node *n, const char *key,
                                  const char *value)
{
    char found[256];

    fixture_get(n, SPACE_REGISTER, key, NULL, found, sizeof found);
    assert_string_equal(found, value);
}

static inline void fixture_expect_member(struct fixture_node *n,
                                         const char *key, const char *element,
                                         bool in)
{
    char found[16];

    fixture_get(n, SPACE_SET, key, element, found, sizeof found);
    assert_string_equal(found, in ? "in" : "");
}

/* Canonical bytes of everything that a node holds. */
static inline void fixture_canonical(struct fixture_node *n, struct buffer *out)
{
    struct store_reader *r;

    buffer_clear(out);
    assert_int_equal(store_reader_begin(n->store, &r), 0);
    for (int space = SPACE_REGISTER; space <= SPACE_LAST; space++) {
        struct store_cursor *c;
        const struct store_item *item;
        int error;

        assert_int_equal(store_cursor_open(r, (enum space)space,
                                           slice_of(NULL, 0), false, NULL, &c),
                         0);
        while ((error = store_cursor_next(c, &item)) == 0)
            entry_pack(out, &item->id, &item->entry);
        assert_int_equal(error, CM_ERR_NOT_FOUND);
        store_cursor_close(c);
    }
    store_reader_release(r);
    assert_int_equal(out->error, 0);
}

static inline void fixture_expect_equal(struct fixture_node *a,
                                        struct fixture_node *b)
{
    struct buffer x, y;

    assert_true(vv_equal(&a->vv, &b->vv));
    buffer_init(&x, 64u << 20);
    buffer_init(&y, 64u << 20);
    fixture_canonical(a, &x);
    fixture_canonical(b, &y);
    assert_true(slice_equal(buffer_slice(&x), buffer_slice(&y)));
    assert_true(hash_equal(&a->digest, &b->digest));
    assert_true(hash_equal(&a->proof, &b->proof));
    buffer_release(&x);
    buffer_release(&y);
}

#endif
